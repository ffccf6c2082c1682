DROP VIEW readable_sessions;
DROP VIEW readable_gaps;
DROP VIEW readable_ticks;
DROP VIEW readable_revisions;
DROP VIEW readable_bars;
