-- The certificates of sessions, each with its later revisions: what the bars of a session are, where they came from, and their hash.

CREATE TABLE candela_certificates (
    symbol TEXT NOT NULL,
    session_date TEXT NOT NULL,
    revision BIGINT NOT NULL,
    epoch TEXT NOT NULL,
    seq BIGINT NOT NULL,
    told_at BIGINT NOT NULL,
    hash TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (symbol, session_date, revision, epoch)
) WITHOUT ROWID;
