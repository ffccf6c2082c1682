-- One row a pair and session. A unique key of SQLite is changed by making the table anew.

CREATE TABLE sessions_of_pairs (
    id INTEGER PRIMARY KEY NOT NULL,
    session_date TEXT NOT NULL,
    symbol TEXT NOT NULL DEFAULT 'USDCOP',
    start_time BIGINT,
    end_time BIGINT,
    status TEXT DEFAULT 'active',
    created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)),
    updated_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)),
    session_kind TEXT,
    ticks BIGINT,
    bars BIGINT,
    gaps BIGINT,
    UNIQUE (session_date, symbol)
);
INSERT INTO sessions_of_pairs (id, session_date, start_time, end_time, status, created_at, updated_at, session_kind, ticks, bars, gaps)
SELECT id, session_date, start_time, end_time, status, created_at, updated_at, session_kind, ticks, bars, gaps FROM market_sessions;
DROP TABLE market_sessions;
ALTER TABLE sessions_of_pairs RENAME TO market_sessions;
