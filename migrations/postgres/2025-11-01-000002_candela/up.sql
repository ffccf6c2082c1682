-- Columns and tables beside what the old service had; nothing it reads or writes changes. Its unique key (symbol, datetime,
-- source) stays, because its upserts name it: so market_data holds five-minute bars only, and the others stand in interval_bars.

ALTER TABLE market_data
    ADD COLUMN IF NOT EXISTS "interval" VARCHAR(10) NOT NULL DEFAULT '5m',
    ADD COLUMN IF NOT EXISTS revision INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS ticks INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS closes_at TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS first_tick_at TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS last_tick_at TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS provenance VARCHAR(16),
    ADD COLUMN IF NOT EXISTS flags SMALLINT NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS session_date DATE,
    ADD COLUMN IF NOT EXISTS session_kind VARCHAR(16),
    ADD COLUMN IF NOT EXISTS epoch VARCHAR(4),
    ADD COLUMN IF NOT EXISTS seq BIGINT,
    ADD COLUMN IF NOT EXISTS known_at TIMESTAMPTZ;

CREATE TABLE interval_bars (
    id BIGSERIAL PRIMARY KEY,
    symbol VARCHAR(10) NOT NULL,
    datetime TIMESTAMPTZ NOT NULL,
    open DECIMAL(12,6),
    high DECIMAL(12,6),
    low DECIMAL(12,6),
    close DECIMAL(12,6),
    volume INTEGER DEFAULT 0,
    source VARCHAR(50),
    created_at TIMESTAMPTZ DEFAULT now(),
    updated_at TIMESTAMPTZ DEFAULT now(),
    "interval" VARCHAR(10) NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0,
    ticks INTEGER NOT NULL DEFAULT 0,
    closes_at TIMESTAMPTZ,
    first_tick_at TIMESTAMPTZ,
    last_tick_at TIMESTAMPTZ,
    provenance VARCHAR(16),
    flags SMALLINT NOT NULL DEFAULT 0,
    session_date DATE,
    session_kind VARCHAR(16),
    epoch VARCHAR(4),
    seq BIGINT,
    known_at TIMESTAMPTZ,
    UNIQUE (symbol, "interval", datetime, source)
);

CREATE TABLE bar_revisions (
    symbol VARCHAR(10) NOT NULL,
    "interval" VARCHAR(10) NOT NULL,
    datetime TIMESTAMPTZ NOT NULL,
    revision INTEGER NOT NULL,
    open DECIMAL(12,6) NOT NULL,
    high DECIMAL(12,6) NOT NULL,
    low DECIMAL(12,6) NOT NULL,
    close DECIMAL(12,6) NOT NULL,
    ticks INTEGER NOT NULL,
    closes_at TIMESTAMPTZ NOT NULL,
    first_tick_at TIMESTAMPTZ,
    last_tick_at TIMESTAMPTZ,
    provenance VARCHAR(16) NOT NULL,
    flags SMALLINT NOT NULL,
    session_date DATE NOT NULL,
    session_kind VARCHAR(16) NOT NULL,
    epoch VARCHAR(4) NOT NULL,
    seq BIGINT NOT NULL,
    known_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (symbol, "interval", datetime, revision)
);

ALTER TABLE realtime_market_data
    ADD COLUMN IF NOT EXISTS epoch VARCHAR(4),
    ADD COLUMN IF NOT EXISTS seq BIGINT,
    ADD COLUMN IF NOT EXISTS event_time TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS provenance VARCHAR(16);
-- Partial, so that the old service's rows, which have no numbers, cost nothing here.
CREATE UNIQUE INDEX realtime_market_data_seq ON realtime_market_data (symbol, epoch, seq) WHERE epoch IS NOT NULL;

ALTER TABLE market_sessions
    ADD COLUMN IF NOT EXISTS session_kind VARCHAR(16),
    ADD COLUMN IF NOT EXISTS ticks BIGINT,
    ADD COLUMN IF NOT EXISTS bars BIGINT,
    ADD COLUMN IF NOT EXISTS gaps BIGINT;

CREATE TABLE gaps (
    symbol VARCHAR(10) NOT NULL,
    epoch VARCHAR(4) NOT NULL,
    id BIGINT NOT NULL,
    "interval" VARCHAR(10) NOT NULL,
    from_at TIMESTAMPTZ NOT NULL,
    to_at TIMESTAMPTZ NOT NULL,
    bars INTEGER NOT NULL,
    status VARCHAR(16) NOT NULL,
    cause TEXT NOT NULL,
    seq BIGINT NOT NULL,
    opened_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (symbol, epoch, id)
);
CREATE INDEX gaps_from ON gaps (symbol, from_at);

CREATE TABLE reader_positions (
    reader VARCHAR(50) NOT NULL,
    lineage VARCHAR(32) NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (reader, lineage)
);

CREATE TABLE rejected_events (
    lineage VARCHAR(32) NOT NULL,
    position BIGINT NOT NULL,
    reason TEXT NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (lineage, position)
);

-- One best bar for each slot: ours when it is whole, else a prepared one, else ours with its flags.
CREATE VIEW market_bars AS
SELECT DISTINCT ON (symbol, "interval", datetime) * FROM (
    SELECT id::bigint AS id, symbol, datetime, open, high, low, close, volume, source, created_at, updated_at, "interval",
        revision, ticks, closes_at, first_tick_at, last_tick_at, provenance, flags, session_date, session_kind, epoch, seq, known_at
    FROM market_data
    UNION ALL
    SELECT id, symbol, datetime, open, high, low, close, volume, source, created_at, updated_at, "interval",
        revision, ticks, closes_at, first_tick_at, last_tick_at, provenance, flags, session_date, session_kind, epoch, seq, known_at
    FROM interval_bars
) b
ORDER BY symbol, "interval", datetime,
    CASE WHEN source = 'candela' AND flags & 3 = 0 THEN 0 WHEN source = 'candela' THEN 2
         WHEN source = 'twelvedata_websocket_aggregated' THEN 3 ELSE 1 END, id DESC;
