-- The tables of the PostgreSQL store, by the same names. Prices are integers in millionths, instants integers in microseconds
-- since 1970 UTC, dates texts.

CREATE TABLE market_data (
    id INTEGER PRIMARY KEY NOT NULL,
    symbol TEXT NOT NULL,
    datetime BIGINT NOT NULL,
    open BIGINT,
    high BIGINT,
    low BIGINT,
    close BIGINT,
    volume BIGINT DEFAULT 0,
    source TEXT,
    created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)),
    updated_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)),
    "interval" TEXT NOT NULL DEFAULT '5m',
    revision BIGINT NOT NULL DEFAULT 0,
    ticks BIGINT NOT NULL DEFAULT 0,
    closes_at BIGINT,
    first_tick_at BIGINT,
    last_tick_at BIGINT,
    provenance TEXT,
    flags BIGINT NOT NULL DEFAULT 0,
    session_date TEXT,
    session_kind TEXT,
    epoch TEXT,
    seq BIGINT,
    known_at BIGINT,
    UNIQUE (symbol, datetime, source)
);
CREATE INDEX market_data_datetime ON market_data (datetime);

CREATE TABLE interval_bars (
    id INTEGER PRIMARY KEY NOT NULL,
    symbol TEXT NOT NULL,
    datetime BIGINT NOT NULL,
    open BIGINT,
    high BIGINT,
    low BIGINT,
    close BIGINT,
    volume BIGINT DEFAULT 0,
    source TEXT,
    created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)),
    updated_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)),
    "interval" TEXT NOT NULL,
    revision BIGINT NOT NULL DEFAULT 0,
    ticks BIGINT NOT NULL DEFAULT 0,
    closes_at BIGINT,
    first_tick_at BIGINT,
    last_tick_at BIGINT,
    provenance TEXT,
    flags BIGINT NOT NULL DEFAULT 0,
    session_date TEXT,
    session_kind TEXT,
    epoch TEXT,
    seq BIGINT,
    known_at BIGINT,
    UNIQUE (symbol, "interval", datetime, source)
);

CREATE TABLE bar_revisions (
    symbol TEXT NOT NULL,
    "interval" TEXT NOT NULL,
    datetime BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    open BIGINT NOT NULL,
    high BIGINT NOT NULL,
    low BIGINT NOT NULL,
    close BIGINT NOT NULL,
    ticks BIGINT NOT NULL,
    closes_at BIGINT NOT NULL,
    first_tick_at BIGINT,
    last_tick_at BIGINT,
    provenance TEXT NOT NULL,
    flags BIGINT NOT NULL,
    session_date TEXT NOT NULL,
    session_kind TEXT NOT NULL,
    epoch TEXT NOT NULL,
    seq BIGINT NOT NULL,
    known_at BIGINT NOT NULL,
    PRIMARY KEY (symbol, "interval", datetime, revision)
) WITHOUT ROWID;

CREATE TABLE realtime_market_data (
    id INTEGER PRIMARY KEY NOT NULL,
    symbol TEXT NOT NULL,
    time BIGINT NOT NULL,
    bid BIGINT,
    ask BIGINT,
    last BIGINT,
    spread BIGINT,
    volume BIGINT DEFAULT 0,
    session_date TEXT,
    trading_session BIGINT DEFAULT 1,
    source TEXT,
    created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)),
    epoch TEXT,
    seq BIGINT,
    event_time BIGINT,
    provenance TEXT
);
CREATE INDEX realtime_market_data_symbol_time ON realtime_market_data (symbol, time);
CREATE UNIQUE INDEX realtime_market_data_seq ON realtime_market_data (symbol, epoch, seq) WHERE epoch IS NOT NULL;

CREATE TABLE system_health (
    id INTEGER PRIMARY KEY NOT NULL,
    service_name TEXT NOT NULL,
    status TEXT NOT NULL,
    details TEXT,
    response_time_ms BIGINT,
    error_message TEXT,
    created_at BIGINT DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER))
);
CREATE INDEX system_health_service ON system_health (service_name, created_at);

CREATE TABLE market_sessions (
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

CREATE TABLE gaps (
    symbol TEXT NOT NULL,
    epoch TEXT NOT NULL,
    id BIGINT NOT NULL,
    "interval" TEXT NOT NULL,
    from_at BIGINT NOT NULL,
    to_at BIGINT NOT NULL,
    bars BIGINT NOT NULL,
    status TEXT NOT NULL,
    cause TEXT NOT NULL,
    seq BIGINT NOT NULL,
    opened_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (symbol, epoch, id)
) WITHOUT ROWID;
CREATE INDEX gaps_from ON gaps (symbol, from_at);

CREATE TABLE reader_positions (
    reader TEXT NOT NULL,
    lineage TEXT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (reader, lineage)
) WITHOUT ROWID;

CREATE TABLE rejected_events (
    lineage TEXT NOT NULL,
    position BIGINT NOT NULL,
    reason TEXT NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (lineage, position)
) WITHOUT ROWID;

-- One best bar for each slot: ours when it is whole, else a prepared one, else ours with its flags.
CREATE VIEW market_bars AS
SELECT * FROM (
    SELECT b.*, row_number() OVER (PARTITION BY symbol, "interval", datetime ORDER BY
        CASE WHEN source = 'candela' AND flags & 3 = 0 THEN 0 WHEN source = 'candela' THEN 2
             WHEN source = 'twelvedata_websocket_aggregated' THEN 3 ELSE 1 END, id DESC) AS preference
    FROM (SELECT * FROM market_data UNION ALL SELECT * FROM interval_bars) b
) WHERE preference = 1;
