-- The journal: what the service did or found, when, and why. Kept longer than the ledger's days.

CREATE TABLE candela_events (
    lineage TEXT NOT NULL,
    position BIGINT NOT NULL,
    told_at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    symbol TEXT,
    body TEXT NOT NULL,
    PRIMARY KEY (lineage, position)
) WITHOUT ROWID;
CREATE INDEX candela_events_by_time ON candela_events (told_at, position);
