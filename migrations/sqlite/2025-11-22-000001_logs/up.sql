-- What clients were told, by number, for replays that reach further back than the ledger: bars have their numbers already.

CREATE INDEX bar_revisions_log ON bar_revisions (symbol, "interval", epoch, seq);

CREATE TABLE quality_log (
    symbol TEXT NOT NULL,
    epoch TEXT NOT NULL,
    seq BIGINT NOT NULL,
    told_at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (symbol, epoch, seq)
) WITHOUT ROWID;
