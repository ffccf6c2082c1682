DROP TABLE quality_log;
DROP INDEX bar_revisions_log;
