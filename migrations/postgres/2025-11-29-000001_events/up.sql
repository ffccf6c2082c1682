-- The journal: what the service did or found, when, and why. Kept longer than the ledger's days.

CREATE TABLE candela_events (
    lineage VARCHAR(32) NOT NULL,
    position BIGINT NOT NULL,
    told_at TIMESTAMPTZ NOT NULL,
    kind VARCHAR(24) NOT NULL,
    symbol VARCHAR(11),
    body TEXT NOT NULL,
    PRIMARY KEY (lineage, position)
);
CREATE INDEX candela_events_by_time ON candela_events (told_at, position);
