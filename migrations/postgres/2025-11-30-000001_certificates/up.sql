-- The certificates of sessions, each with its later revisions: what the bars of a session are, where they came from, and their hash.

CREATE TABLE candela_certificates (
    symbol VARCHAR(11) NOT NULL,
    session_date DATE NOT NULL,
    revision BIGINT NOT NULL,
    epoch VARCHAR(4) NOT NULL,
    seq BIGINT NOT NULL,
    told_at TIMESTAMPTZ NOT NULL,
    hash VARCHAR(64) NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (symbol, session_date, revision, epoch)
);
