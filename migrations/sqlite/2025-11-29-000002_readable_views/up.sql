-- What the tables hold, for people and programs that open this file beside candela: prices in units (a six-digit decimal survives a
-- floating-point number), instants as texts in UTC, which sort as they follow each other, flags by name. The integers of the tables stand
-- beside them where rows are found by them. A view is never written to. A bar of another program lacks what only candela writes: it
-- counts as prepared, of the day in Bogota, and as long as its interval, as over REST.

CREATE VIEW readable_bars AS
SELECT symbol, "interval",
    strftime('%Y-%m-%d %H:%M:%S', datetime / 1000000, 'unixepoch') || printf('.%06d+00:00', datetime % 1000000) AS open_time,
    strftime('%Y-%m-%d %H:%M:%S', ends_at / 1000000, 'unixepoch') || printf('.%06d+00:00', ends_at % 1000000) AS close_time,
    open / 1000000.0 AS open, high / 1000000.0 AS high, low / 1000000.0 AS low, close / 1000000.0 AS close,
    ticks, revision, coalesce(provenance, 'l0') AS provenance,
    substr(iif(flags & 1, '|late_start', '') || iif(flags & 2, '|feed_gap', '') || iif(flags & 4, '|no_ticks', '') || iif(flags & 8, '|vendor_mismatch', '') || iif(flags & 16, '|partial_session', ''), 2) AS flags,
    coalesce(session_date, strftime('%Y-%m-%d', datetime / 1000000 - 18000, 'unixepoch')) AS session_date,
    coalesce(session_kind, 'spot') AS session_type, source,
    strftime('%Y-%m-%d %H:%M:%S', known_at / 1000000, 'unixepoch') || printf('.%06d+00:00', known_at % 1000000) AS known_at,
    datetime
FROM (SELECT *, coalesce(closes_at, datetime + CASE "interval" WHEN '1m' THEN 60000000 WHEN '5m' THEN 300000000 WHEN '15m' THEN 900000000
    WHEN '30m' THEN 1800000000 WHEN '1h' THEN 3600000000 END) AS ends_at FROM market_bars);

CREATE VIEW readable_revisions AS
SELECT symbol, "interval",
    strftime('%Y-%m-%d %H:%M:%S', datetime / 1000000, 'unixepoch') || printf('.%06d+00:00', datetime % 1000000) AS open_time,
    strftime('%Y-%m-%d %H:%M:%S', closes_at / 1000000, 'unixepoch') || printf('.%06d+00:00', closes_at % 1000000) AS close_time,
    revision,
    open / 1000000.0 AS open, high / 1000000.0 AS high, low / 1000000.0 AS low, close / 1000000.0 AS close,
    ticks, provenance,
    substr(iif(flags & 1, '|late_start', '') || iif(flags & 2, '|feed_gap', '') || iif(flags & 4, '|no_ticks', '') || iif(flags & 8, '|vendor_mismatch', '') || iif(flags & 16, '|partial_session', ''), 2) AS flags,
    session_date, session_kind AS session_type, epoch, seq,
    strftime('%Y-%m-%d %H:%M:%S', known_at / 1000000, 'unixepoch') || printf('.%06d+00:00', known_at % 1000000) AS known_at,
    datetime
FROM bar_revisions;

CREATE VIEW readable_ticks AS
SELECT symbol, epoch, seq,
    strftime('%Y-%m-%d %H:%M:%S', event_time / 1000000, 'unixepoch') || printf('.%06d+00:00', event_time % 1000000) AS "timestamp",
    strftime('%Y-%m-%d %H:%M:%S', time / 1000000, 'unixepoch') || printf('.%06d+00:00', time % 1000000) AS received_at,
    last / 1000000.0 AS price, bid / 1000000.0 AS bid, ask / 1000000.0 AS ask,
    provenance, source, time
FROM realtime_market_data;

CREATE VIEW readable_gaps AS
SELECT symbol, epoch, id, "interval",
    strftime('%Y-%m-%d %H:%M:%S', from_at / 1000000, 'unixepoch') || printf('.%06d+00:00', from_at % 1000000) AS from_at,
    strftime('%Y-%m-%d %H:%M:%S', to_at / 1000000, 'unixepoch') || printf('.%06d+00:00', to_at % 1000000) AS to_at,
    bars, status, cause,
    strftime('%Y-%m-%d %H:%M:%S', opened_at / 1000000, 'unixepoch') || printf('.%06d+00:00', opened_at % 1000000) AS opened_at,
    strftime('%Y-%m-%d %H:%M:%S', updated_at / 1000000, 'unixepoch') || printf('.%06d+00:00', updated_at % 1000000) AS updated_at
FROM gaps;

CREATE VIEW readable_sessions AS
SELECT session_date, symbol,
    strftime('%Y-%m-%d %H:%M:%S', start_time / 1000000, 'unixepoch') || printf('.%06d+00:00', start_time % 1000000) AS start_time,
    strftime('%Y-%m-%d %H:%M:%S', end_time / 1000000, 'unixepoch') || printf('.%06d+00:00', end_time % 1000000) AS end_time,
    status, session_kind AS session_type, ticks, bars, gaps
FROM market_sessions;
