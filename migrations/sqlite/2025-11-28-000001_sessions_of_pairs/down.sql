-- Sessions of other pairs go. Where there are some, what is still in the ledger is read from its beginning again: rows that are there
-- stay as they are, and the sessions come back with the step.
DELETE FROM reader_positions WHERE EXISTS (SELECT 1 FROM market_sessions WHERE symbol <> 'USDCOP');
CREATE TABLE sessions_by_date (
    id INTEGER PRIMARY KEY NOT NULL,
    session_date TEXT NOT NULL UNIQUE,
    start_time BIGINT,
    end_time BIGINT,
    status TEXT DEFAULT 'active',
    created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)),
    updated_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)),
    session_kind TEXT,
    ticks BIGINT,
    bars BIGINT,
    gaps BIGINT
);
INSERT INTO sessions_by_date (id, session_date, start_time, end_time, status, created_at, updated_at, session_kind, ticks, bars, gaps)
SELECT id, session_date, start_time, end_time, status, created_at, updated_at, session_kind, ticks, bars, gaps FROM market_sessions
WHERE symbol = 'USDCOP';
DROP TABLE market_sessions;
ALTER TABLE sessions_by_date RENAME TO market_sessions;
