//! Statements that diesel cannot express. A dialect converts prices and instants, which are passed as integers, to the store's own types
//! and back.
//!
//! Statements for PostgreSQL alone are text because the writing connection is not a diesel connection (`postgres::write` says why); a row
//! of health and the deletion of ticks are text because each is one statement with the fence of the lease (`WITH`). Sessions are text, once
//! for both stores, because the statement that writes a session counts other tables in subqueries.

use crate::domain::model::{Interval, Symbol};
use crate::store::rows::BASE;

/// The SQL dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// Parameter `n` in microseconds, as an instant.
    pub(super) fn instant_parameter(self, n: u8) -> String {
        match self {
            Self::Sqlite => format!("?{n}"),
            Self::Postgres => format!("('epoch'::timestamptz + ${n}::float8 * interval '1 microsecond')"),
        }
    }

    /// Parameter `n` as `2025-10-22`, as a date.
    pub(super) fn date_parameter(self, n: u8) -> String {
        match self {
            Self::Sqlite => format!("?{n}"),
            Self::Postgres => format!("${n}::date"),
        }
    }

    pub(super) fn parameter(self, n: u8) -> String {
        match self {
            Self::Sqlite => format!("?{n}"),
            Self::Postgres => format!("${n}"),
        }
    }

    pub(super) fn price_out(self, column: &str) -> String {
        match self {
            Self::Sqlite => format!("{column} AS {column}_micros"),
            Self::Postgres => format!("({column} * 1000000)::bigint AS {column}_micros"),
        }
    }

    pub(super) fn instant_out(self, column: &str) -> String {
        match self {
            Self::Sqlite => format!("{column} AS {column}_us"),
            Self::Postgres => format!("(extract(epoch from {column}) * 1000000)::bigint AS {column}_us"),
        }
    }

    pub(super) fn integer_out(self, column: &str) -> String {
        match self {
            Self::Sqlite => column.to_owned(),
            Self::Postgres => format!("{column}::bigint AS {column}"),
        }
    }

    fn date_out(self, column: &str) -> String {
        match self {
            Self::Sqlite => column.to_owned(),
            Self::Postgres => format!("to_char({column}, 'YYYY-MM-DD') AS {column}"),
        }
    }

    const fn now_expression(self) -> &'static str {
        match self {
            Self::Sqlite => "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
            Self::Postgres => "now()",
        }
    }

    /// The table of an interval's bars, and its conflict clause: a later revision replaces an existing bar.
    pub(super) fn bar_conflict(self, interval: Interval) -> (&'static str, String) {
        let (table, key) = if interval == BASE {
            ("market_data", "symbol, datetime, source")
        } else {
            ("interval_bars", "symbol, \"interval\", datetime, source")
        };
        let sets = REVISED
            .split_whitespace()
            .map(|column| format!("{column} = excluded.{column}"));
        let sets = sets.collect::<Vec<_>>().join(", ");
        let now = self.now_expression();
        let conflict = format!(
            "ON CONFLICT ({key}) DO UPDATE SET {sets}, updated_at = {now} WHERE {table}.revision < excluded.revision"
        );
        (table, conflict)
    }

    /// Parameters: symbol, epoch, id, interval, from, to, bars, status, cause, seq, at.
    pub(super) fn upsert_gap(self) -> String {
        let [symbol, epoch, id, interval, bars, status, cause, seq] =
            [1, 2, 3, 4, 7, 8, 9, 10].map(|n| self.parameter(n));
        format!(
            "INSERT INTO gaps (symbol, epoch, id, \"interval\", from_at, to_at, bars, status, cause, seq, opened_at, updated_at)
             VALUES ({symbol}, {epoch}, {id}, {interval}, {from}, {to}, {bars}, {status}, {cause}, {seq}, {at}, {at})
             ON CONFLICT (symbol, epoch, id) DO UPDATE SET from_at = excluded.from_at, to_at = excluded.to_at, bars = excluded.bars,
                status = excluded.status, cause = excluded.cause, seq = excluded.seq, updated_at = excluded.updated_at
             WHERE gaps.seq < excluded.seq",
            from = self.instant_parameter(5),
            to = self.instant_parameter(6),
            at = self.instant_parameter(11),
        )
    }

    /// The table of a pair's sessions, and its key. The programs before candela upsert USD/COP's rows by their date alone, so PostgreSQL
    /// keeps those of other pairs in a table that inherits from theirs.
    fn sessions_of(self, pair: Symbol) -> (&'static str, &'static str) {
        match self {
            Self::Postgres if pair == Symbol::usdcop() => ("market_sessions", "session_date"),
            Self::Postgres => ("market_sessions_of_pairs", "session_date, symbol"),
            Self::Sqlite => ("market_sessions", "session_date, symbol"),
        }
    }

    /// Parameters: date, opens, kind, symbol, when it was published. A session whose open was published after its stored end was closed
    /// early and continues; one whose open is written again after its close stays closed, because that was published before its end.
    pub(super) fn open_session(self, pair: Symbol) -> String {
        let (table, key) = self.sessions_of(pair);
        let goes_on = format!("{table}.end_time <= {}", self.instant_parameter(5));
        format!(
            "INSERT INTO {table} (session_date, start_time, session_kind, symbol, status) VALUES ({}, {}, {}, {}, 'active')
             ON CONFLICT ({key}) DO UPDATE SET start_time = excluded.start_time, session_kind = excluded.session_kind,
                status = CASE WHEN {goes_on} THEN 'active' ELSE {table}.status END,
                end_time = CASE WHEN {goes_on} THEN NULL ELSE {table}.end_time END,
                updated_at = {}
             WHERE {table}.start_time IS DISTINCT FROM excluded.start_time OR {table}.session_kind IS NULL OR {goes_on}",
            self.date_parameter(1), self.instant_parameter(2), self.parameter(3), self.parameter(4), self.now_expression(),
        )
    }

    /// Parameter: date. Counts the stored rows of each pair's closed session again: its last bar comes seconds after its close, and
    /// backfilled bars come later.
    pub(super) fn recount_session(self) -> String {
        format!(
            "UPDATE market_sessions SET updated_at = {},
                ticks = (SELECT count(*) FROM realtime_market_data
                    WHERE realtime_market_data.symbol = market_sessions.symbol AND time >= start_time AND time < end_time
                    AND source = 'candela'),
                bars = (SELECT count(*) FROM market_data
                    WHERE market_data.symbol = market_sessions.symbol AND datetime >= start_time AND datetime < end_time
                    AND source = 'candela'),
                gaps = (SELECT count(*) FROM gaps
                    WHERE gaps.symbol = market_sessions.symbol AND from_at < end_time AND to_at > start_time)
             WHERE session_date = {} AND status = 'closed' AND end_time IS NOT NULL",
            self.now_expression(),
            self.date_parameter(1),
        )
    }

    /// Parameters: date, opens, kind, symbol, closes. Counts the rows of the pair's session that are stored by now.
    pub(super) fn close_session(self, pair: Symbol) -> String {
        let (table, key) = self.sessions_of(pair);
        let opens = self.instant_parameter(2);
        let closes = self.instant_parameter(5);
        let symbol = self.parameter(4);
        format!(
            "INSERT INTO {table} (session_date, start_time, session_kind, symbol, end_time, status, ticks, bars, gaps)
             VALUES ({}, {opens}, {}, {symbol}, {closes}, 'closed',
                (SELECT count(*) FROM realtime_market_data WHERE symbol = {symbol} AND time >= {opens} AND time < {closes}
                    AND source = 'candela'),
                (SELECT count(*) FROM market_data WHERE symbol = {symbol} AND datetime >= {opens} AND datetime < {closes}
                    AND source = 'candela'),
                (SELECT count(*) FROM gaps WHERE symbol = {symbol} AND from_at < {closes} AND to_at > {opens}))
             ON CONFLICT ({key}) DO UPDATE SET end_time = excluded.end_time, status = excluded.status,
                session_kind = excluded.session_kind, ticks = excluded.ticks, bars = excluded.bars, gaps = excluded.gaps, updated_at = {}
             WHERE {table}.end_time IS DISTINCT FROM excluded.end_time OR {table}.ticks IS NULL",
            self.date_parameter(1), self.parameter(3), self.now_expression(),
        )
    }

    /// Parameters: reader, lineage, position.
    pub(super) fn advance_position(self) -> String {
        format!(
            "INSERT INTO reader_positions (reader, lineage, position) VALUES ({}, {}, {})
             ON CONFLICT (reader, lineage) DO UPDATE SET position = excluded.position
             WHERE reader_positions.position < excluded.position",
            self.parameter(1),
            self.parameter(2),
            self.parameter(3),
        )
    }

    /// Parameters: lineage, position, reason, event.
    pub(super) fn insert_rejected(self) -> String {
        format!(
            "INSERT INTO rejected_events (lineage, position, reason, event) VALUES ({}, {}, {}, {}) ON CONFLICT DO NOTHING",
            self.parameter(1),
            self.parameter(2),
            self.parameter(3),
            self.parameter(4),
        )
    }

    /// Parameters: status, details, response time, error, at. Writes nothing if `fence` gives no row.
    pub(super) fn insert_health(self, fence: &str) -> String {
        let details = match self {
            Self::Sqlite => "?2",
            Self::Postgres => "$2::jsonb",
        };
        format!(
            "WITH fence AS ({fence})
             INSERT INTO system_health (service_name, status, details, response_time_ms, error_message, created_at)
             SELECT 'candela', {}, {details}, {}, {}, {} FROM fence",
            self.parameter(1),
            self.parameter(3),
            self.parameter(4),
            self.instant_parameter(5),
        )
    }

    /// Parameters: before, limit. Deletes nothing if `fence` gives no row.
    pub(super) fn forget_ticks(self, fence: &str) -> String {
        format!(
            "WITH fence AS ({fence}) DELETE FROM realtime_market_data WHERE id IN (SELECT id FROM realtime_market_data
                WHERE time < {} AND source = 'candela' ORDER BY time LIMIT {})
                AND EXISTS (SELECT 1 FROM fence)",
            self.instant_parameter(1),
            self.parameter(2)
        )
    }

    pub(super) fn bar_out(self) -> String {
        let mut columns: Vec<String> = vec!["source".to_owned(), "provenance".to_owned(), "session_kind".to_owned()];
        columns.extend(["open", "high", "low", "close"].map(|column| self.price_out(column)));
        columns.extend(
            ["datetime", "closes_at", "first_tick_at", "last_tick_at", "known_at"]
                .map(|column| self.instant_out(column)),
        );
        columns.extend(["ticks", "revision", "flags", "seq"].map(|column| self.integer_out(column)));
        columns.push(self.date_out("session_date"));
        columns.join(", ")
    }
}

/// The columns of a bar that a later revision replaces.
const REVISED: &str = "open high low close ticks closes_at first_tick_at last_tick_at provenance flags session_date session_kind epoch seq
    known_at revision";

/// The columns of a bar, in the order of its parameters.
pub(super) const BAR_COLUMNS: &str =
    "symbol, \"interval\", datetime, open, high, low, close, ticks, closes_at, first_tick_at, last_tick_at,
    provenance, flags, session_date, session_kind, epoch, seq, known_at, revision";
