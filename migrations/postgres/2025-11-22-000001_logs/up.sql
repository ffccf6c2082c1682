-- What clients were told, by number, for replays that reach further back than the ledger: bars have their numbers already.

CREATE INDEX bar_revisions_log ON bar_revisions (symbol, "interval", epoch, seq);

CREATE TABLE quality_log (
    symbol VARCHAR(11) NOT NULL,
    epoch VARCHAR(4) NOT NULL,
    seq BIGINT NOT NULL,
    told_at TIMESTAMPTZ NOT NULL,
    kind VARCHAR(16) NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (symbol, epoch, seq)
);
