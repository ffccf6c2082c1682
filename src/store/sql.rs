//! The statements, written once for both stores. A dialect says how prices and instants, which cross as integers, become the
//! store's own types and come back.

use crate::domain::interval::Interval;
use crate::store::rows::BASE;

/// Which SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// Parameter `n` in millionths, as a price.
    fn price(self, n: u8) -> String {
        match self {
            Self::Sqlite => format!("?{n}"),
            Self::Postgres => format!("${n}::bigint * 0.000001"),
        }
    }

    /// Parameter `n` in microseconds, as an instant.
    pub(super) fn instant(self, n: u8) -> String {
        match self {
            Self::Sqlite => format!("?{n}"),
            Self::Postgres => format!("('epoch'::timestamptz + ${n}::float8 * interval '1 microsecond')"),
        }
    }

    /// Parameter `n` as `2025-10-22`, as a date.
    fn date(self, n: u8) -> String {
        match self {
            Self::Sqlite => format!("?{n}"),
            Self::Postgres => format!("${n}::date"),
        }
    }

    pub(super) fn plain(self, n: u8) -> String {
        match self {
            Self::Sqlite => format!("?{n}"),
            Self::Postgres => format!("${n}"),
        }
    }

    fn price_out(self, column: &str) -> String {
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

    fn integer_out(self, column: &str) -> String {
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

    const fn now(self) -> &'static str {
        match self {
            Self::Sqlite => "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
            Self::Postgres => "now()",
        }
    }

    /// Parameters of every statement that writes a bar: symbol, interval, opens, open, high, low, close, ticks, closes, first
    /// tick, last tick, provenance, flags, session date, session kind, epoch, seq, known at, revision.
    fn bar_values(self) -> String {
        let mut values: Vec<String> = Vec::new();
        for n in 1_u8..=19 {
            values.push(match n {
                3 | 9 | 10 | 11 | 18 => self.instant(n),
                4..=7 => self.price(n),
                14 => self.date(n),
                _ => self.plain(n),
            });
        }
        values.join(", ")
    }

    /// The table of an interval's bars, and what to do there with a bar that is there: a later revision takes its place.
    pub(super) fn bar_conflict(self, interval: Interval) -> (&'static str, String) {
        let (table, key) = if interval == BASE {
            ("market_data", "symbol, datetime, source")
        } else {
            ("interval_bars", "symbol, \"interval\", datetime, source")
        };
        let sets = [
            "open",
            "high",
            "low",
            "close",
            "ticks",
            "closes_at",
            "first_tick_at",
            "last_tick_at",
            "provenance",
            "flags",
            "session_date",
            "session_kind",
            "epoch",
            "seq",
            "known_at",
            "revision",
        ]
        .map(|column| format!("{column} = excluded.{column}"))
        .join(", ");
        let now = self.now();
        let conflict = format!(
            "ON CONFLICT ({key}) DO UPDATE SET {sets}, updated_at = {now} WHERE {table}.revision < excluded.revision"
        );
        (table, conflict)
    }

    /// Puts in a bar, or its later revision in its place.
    pub(super) fn upsert_bar(self, interval: Interval) -> String {
        let (table, conflict) = self.bar_conflict(interval);
        let values = self.bar_values();
        format!("INSERT INTO {table} ({BAR_COLUMNS}, source, volume) VALUES ({values}, 'candela', 0) {conflict}")
    }

    pub(super) fn insert_revision(self) -> String {
        format!(
            "INSERT INTO bar_revisions ({BAR_COLUMNS}) VALUES ({}) ON CONFLICT DO NOTHING",
            self.bar_values()
        )
    }

    /// Parameters: symbol, epoch, id, interval, from, to, bars, status, cause, seq, at.
    pub(super) fn upsert_gap(self) -> String {
        let p = |n| self.plain(n);
        format!(
            "INSERT INTO gaps (symbol, epoch, id, \"interval\", from_at, to_at, bars, status, cause, seq, opened_at, updated_at)
             VALUES ({}, {}, {}, {}, {from}, {to}, {}, {}, {}, {}, {at}, {at})
             ON CONFLICT (symbol, epoch, id) DO UPDATE SET from_at = excluded.from_at, to_at = excluded.to_at, bars = excluded.bars,
                status = excluded.status, cause = excluded.cause, seq = excluded.seq, updated_at = excluded.updated_at
             WHERE gaps.seq < excluded.seq",
            p(1), p(2), p(3), p(4), p(7), p(8), p(9), p(10),
            from = self.instant(5),
            to = self.instant(6),
            at = self.instant(11),
        )
    }

    /// Parameters: date, opens, kind.
    pub(super) fn open_session(self) -> String {
        format!(
            "INSERT INTO market_sessions (session_date, start_time, session_kind, status) VALUES ({}, {}, {}, 'active')
             ON CONFLICT (session_date) DO UPDATE SET start_time = excluded.start_time, session_kind = excluded.session_kind,
                updated_at = {} WHERE market_sessions.start_time IS DISTINCT FROM excluded.start_time",
            self.date(1), self.instant(2), self.plain(3), self.now(),
        )
    }

    /// Parameter: date. Counts again what is stored of a session that is closed: its last bar comes seconds after its close, and
    /// what backfill brings comes later.
    pub(super) fn recount_session(self) -> String {
        format!(
            "UPDATE market_sessions SET updated_at = {},
                ticks = (SELECT count(*) FROM realtime_market_data WHERE time >= start_time AND time < end_time AND source = 'candela'),
                bars = (SELECT count(*) FROM market_data WHERE datetime >= start_time AND datetime < end_time AND source = 'candela'),
                gaps = (SELECT count(*) FROM gaps WHERE from_at < end_time AND to_at > start_time)
             WHERE session_date = {} AND status = 'closed' AND end_time IS NOT NULL",
            self.now(), self.date(1),
        )
    }

    /// Parameters: date, opens, kind, closes. Counts what is stored of the session by now.
    pub(super) fn close_session(self) -> String {
        let (opens, closes) = (self.instant(2), self.instant(4));
        format!(
            "INSERT INTO market_sessions (session_date, start_time, session_kind, end_time, status, ticks, bars, gaps)
             VALUES ({}, {opens}, {}, {closes}, 'closed',
                (SELECT count(*) FROM realtime_market_data WHERE time >= {opens} AND time < {closes} AND source = 'candela'),
                (SELECT count(*) FROM market_data WHERE datetime >= {opens} AND datetime < {closes} AND source = 'candela'),
                (SELECT count(*) FROM gaps WHERE from_at < {closes} AND to_at > {opens}))
             ON CONFLICT (session_date) DO UPDATE SET end_time = excluded.end_time, status = excluded.status,
                ticks = excluded.ticks, bars = excluded.bars, gaps = excluded.gaps, updated_at = {}
             WHERE market_sessions.end_time IS DISTINCT FROM excluded.end_time",
            self.date(1), self.plain(3), self.now(),
        )
    }

    /// Parameters: reader, lineage, position.
    pub(super) fn advance(self) -> String {
        format!(
            "INSERT INTO reader_positions (reader, lineage, position) VALUES ({}, {}, {})
             ON CONFLICT (reader, lineage) DO UPDATE SET position = excluded.position
             WHERE reader_positions.position < excluded.position",
            self.plain(1),
            self.plain(2),
            self.plain(3),
        )
    }

    /// Parameters: lineage, position, reason, event.
    pub(super) fn reject(self) -> String {
        format!(
            "INSERT INTO rejected_events (lineage, position, reason, event) VALUES ({}, {}, {}, {}) ON CONFLICT DO NOTHING",
            self.plain(1),
            self.plain(2),
            self.plain(3),
            self.plain(4),
        )
    }

    /// Parameters: reader, lineage.
    pub(super) fn position(self) -> String {
        format!(
            "SELECT position AS number FROM reader_positions WHERE reader = {} AND lineage = {}",
            self.plain(1),
            self.plain(2)
        )
    }

    /// Parameters: status, details, response time, error, at.
    pub(super) fn health(self) -> String {
        let details = match self {
            Self::Sqlite => "?2",
            Self::Postgres => "$2::jsonb",
        };
        format!(
            "INSERT INTO system_health (service_name, status, details, response_time_ms, error_message, created_at)
             VALUES ('candela', {}, {details}, {}, {}, {})",
            self.plain(1),
            self.plain(3),
            self.plain(4),
            self.instant(5),
        )
    }

    /// Parameters: before, at most so many.
    pub(super) fn forget_ticks(self) -> String {
        format!(
            "DELETE FROM realtime_market_data WHERE id IN (SELECT id FROM realtime_market_data
                WHERE time < {} AND source = 'candela' ORDER BY time LIMIT {})",
            self.instant(1),
            self.plain(2)
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

    /// Parameters 1 to 4: symbol, interval, from, to.
    fn slots(self) -> String {
        let (symbol, interval, from, to) = (self.plain(1), self.plain(2), self.instant(3), self.instant(4));
        format!("symbol = {symbol} AND \"interval\" = {interval} AND datetime >= {from} AND datetime < {to}")
    }

    /// That a slot is on the page, which the slots of these rows fill. Which row is the best of its slot is then sought for the
    /// page alone: years of bars cost nothing.
    fn on_page(self, rows: [(&str, &str); 2], latest: bool) -> String {
        let (order, limit) = (order(latest), self.plain(5));
        let [one, other] = rows.map(|(table, condition)| {
            format!("SELECT DISTINCT datetime FROM {table} WHERE {condition} ORDER BY datetime {order} LIMIT {limit}")
        });
        let (side, end) = if latest { (">=", "min") } else { ("<=", "max") };
        format!(
            "datetime {side} (SELECT {end}(datetime) FROM (SELECT DISTINCT datetime FROM (SELECT datetime FROM ({one}) AS one
                UNION ALL SELECT datetime FROM ({other}) AS other) AS found ORDER BY datetime {order} LIMIT {limit}) AS page)"
        )
    }

    /// Parameters: symbol, interval, from, to, limit.
    pub(super) fn bars(self, latest: bool) -> String {
        let whole = format!("{} AND {WHOLE}", self.slots());
        format!(
            "SELECT {} FROM market_bars WHERE {whole} AND {} ORDER BY datetime {} LIMIT {}",
            self.bar_out(),
            self.on_page([("market_data", &whole), ("interval_bars", &whole)], latest),
            order(latest),
            self.plain(5),
        )
    }

    /// Parameters: symbol, interval, from, to, limit, as of. The last of our revisions that was known then, or the row of
    /// another program that was there then, by the rule of the view `market_bars`.
    pub(super) fn bars_as_of(self, latest: bool) -> String {
        let (slot, as_of) = (self.slots(), self.instant(6));
        let columns =
            "datetime, open, high, low, close, ticks, closes_at, first_tick_at, last_tick_at, provenance, flags,
            session_date, session_kind, seq, known_at, revision, source";
        let ours = format!("{slot} AND known_at <= {as_of}");
        let theirs = format!("{slot} AND source <> 'candela' AND created_at <= {as_of} AND {WHOLE}");
        let page = self.on_page([("bar_revisions", &ours), ("market_data", &theirs)], latest);
        format!(
            "SELECT {} FROM (
                SELECT c.*, row_number() OVER (PARTITION BY datetime ORDER BY preference) AS choice FROM (
                    SELECT {columns}, CASE WHEN flags & 3 = 0 THEN 0 ELSE 2 END AS preference FROM (
                        SELECT r.*, 'candela' AS source, row_number() OVER (PARTITION BY datetime ORDER BY revision DESC) AS newest
                        FROM bar_revisions r WHERE {ours} AND {page}) ours WHERE newest = 1
                    UNION ALL
                    SELECT {columns}, CASE WHEN source = 'twelvedata_websocket_aggregated' THEN 3 ELSE 1 END AS preference
                    FROM market_data WHERE {theirs} AND {page}) c
             ) chosen WHERE choice = 1 ORDER BY datetime {} LIMIT {}",
            self.bar_out(), order(latest), self.plain(5),
        )
    }

    fn tick_out(self) -> String {
        let mut columns: Vec<String> = vec!["epoch".to_owned(), "provenance".to_owned()];
        columns.extend(["last", "bid", "ask"].map(|column| self.price_out(column)));
        columns.extend(["time", "event_time"].map(|column| self.instant_out(column)));
        columns.push(self.integer_out("seq"));
        columns.join(", ")
    }

    /// Parameters: symbol, from, to, after seq, limit.
    pub(super) fn ticks(self) -> String {
        format!(
            "SELECT {} FROM realtime_market_data WHERE symbol = {} AND time >= {} AND time < {} AND seq > {} AND epoch IS NOT NULL
             ORDER BY time, seq LIMIT {}",
            self.tick_out(), self.plain(1), self.instant(2), self.instant(3), self.plain(4), self.plain(5),
        )
    }

    /// Parameter: symbol.
    pub(super) fn latest_tick(self) -> String {
        format!(
            "SELECT {} FROM realtime_market_data WHERE symbol = {} AND epoch IS NOT NULL ORDER BY time DESC, seq DESC LIMIT 1",
            self.tick_out(),
            self.plain(1),
        )
    }

    /// Parameters: symbol, from, to, status or nothing, limit.
    pub(super) fn gaps(self) -> String {
        let instants = ["from_at", "to_at", "opened_at", "updated_at"]
            .map(|column| self.instant_out(column))
            .join(", ");
        format!(
            "SELECT \"interval\" AS bar_interval, status, cause, {instants}, {}, {} FROM gaps
             WHERE symbol = {} AND to_at > {} AND from_at < {} AND ({status} = '' OR status = {status}) ORDER BY from_at, id LIMIT {}",
            self.integer_out("id"), self.integer_out("bars"), self.plain(1), self.instant(2), self.instant(3), self.plain(5),
            status = self.plain(4),
        )
    }

    /// Parameter: limit. The newest sessions first.
    pub(super) fn sessions(self) -> String {
        let instants = ["start_time", "end_time"]
            .map(|column| self.instant_out(column))
            .join(", ");
        let counts = ["ticks", "bars", "gaps"]
            .map(|column| self.integer_out(column))
            .join(", ");
        format!(
            "SELECT {}, status, {instants}, {counts} FROM market_sessions ORDER BY market_sessions.session_date DESC LIMIT {}",
            self.date_out("session_date"),
            self.plain(1),
        )
    }
}

/// In the order of the parameters of a bar.
pub(super) const BAR_COLUMNS: &str =
    "symbol, \"interval\", datetime, open, high, low, close, ticks, closes_at, first_tick_at, last_tick_at,
    provenance, flags, session_date, session_kind, epoch, seq, known_at, revision";

/// A row of another program may lack a price: it is no bar.
const WHOLE: &str = "open IS NOT NULL AND high IS NOT NULL AND low IS NOT NULL AND close IS NOT NULL";

const fn order(latest: bool) -> &'static str {
    if latest { "DESC" } else { "ASC" }
}
