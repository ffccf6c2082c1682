-- The four tables of the service that candela replaces, as it made them. Where it has made them they are left alone.

CREATE TABLE IF NOT EXISTS market_data (
    id SERIAL PRIMARY KEY,
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
    UNIQUE (symbol, datetime, source)
);
CREATE INDEX IF NOT EXISTS idx_market_data_symbol_datetime ON market_data (symbol, datetime);
CREATE INDEX IF NOT EXISTS idx_market_data_datetime ON market_data (datetime);

CREATE TABLE IF NOT EXISTS realtime_market_data (
    id SERIAL PRIMARY KEY,
    symbol VARCHAR(10) NOT NULL,
    time TIMESTAMPTZ NOT NULL,
    bid DECIMAL(12,6),
    ask DECIMAL(12,6),
    last DECIMAL(12,6),
    spread DECIMAL(12,6),
    volume INTEGER DEFAULT 0,
    session_date DATE,
    trading_session BOOLEAN DEFAULT true,
    source VARCHAR(50),
    created_at TIMESTAMPTZ DEFAULT now()
);
CREATE INDEX IF NOT EXISTS idx_realtime_symbol_time ON realtime_market_data (symbol, time);
CREATE INDEX IF NOT EXISTS idx_realtime_time ON realtime_market_data (time);

CREATE TABLE IF NOT EXISTS system_health (
    id SERIAL PRIMARY KEY,
    service_name VARCHAR(100) NOT NULL,
    status VARCHAR(50) NOT NULL,
    details JSONB,
    response_time_ms INTEGER,
    error_message TEXT,
    created_at TIMESTAMPTZ DEFAULT now()
);
CREATE INDEX IF NOT EXISTS idx_system_health_service ON system_health (service_name, created_at);

CREATE TABLE IF NOT EXISTS market_sessions (
    id SERIAL PRIMARY KEY,
    session_date DATE NOT NULL UNIQUE,
    start_time TIMESTAMPTZ,
    end_time TIMESTAMPTZ,
    status VARCHAR(20) DEFAULT 'active',
    created_at TIMESTAMPTZ DEFAULT now(),
    updated_at TIMESTAMPTZ DEFAULT now()
);
