//! Statements that read bars and ticks in pages, where they need `WITH`, a subquery in `FROM` or recursion, which diesel cannot express.
//! The cost of a page depends on what it returns, not on the size of the tables: the ends of the page are found in an index alone, then the
//! rows between them are read.
//!
//! A condition on two columns, such as open time and time of knowledge, has no index of its own. So the statement first checks whether
//! anything is known at all: nothing is, if a history was loaded after the instant.

use crate::domain::model::Interval;
use crate::store::{rows::BASE, sql::Dialect};

/// A row of another program may lack a price, and is then not a bar.
const WHOLE: &str = "open IS NOT NULL AND high IS NOT NULL AND low IS NOT NULL AND close IS NOT NULL";

/// The columns of a bar, in both tables that hold revisions.
const BAR: &str = "datetime, open, high, low, close, ticks, closes_at, first_tick_at, last_tick_at, provenance, flags,
    session_date, session_kind, seq, known_at, revision, source";

/// The order of the rows of one slot, best first: the rule of the view `market_bars`.
const BEST: &str = "CASE WHEN source = 'candela' AND flags & 3 = 0 THEN 0 WHEN source = 'candela' THEN 2
    WHEN source = 'twelvedata_websocket_aggregated' THEN 3 ELSE 1 END, id DESC";

/// Rows of a table that may be on a page.
struct Part {
    table: &'static str,
    /// The condition for the rows.
    rows: String,
    /// A condition that there is any such row at all, if it is cheaper to check than to search in the order of slots.
    any: Option<String>,
}

const fn page_part(table: &'static str, rows: String, any: Option<String>) -> Part {
    Part { table, rows, any }
}

impl Dialect {
    /// Parameters: symbol, interval, from, to, limit.
    pub(super) fn select_bars(self, interval: Interval, latest: bool) -> String {
        let table = if interval == BASE {
            "market_data"
        } else {
            "interval_bars"
        };
        format!(
            "{} SELECT {} FROM (SELECT b.*, row_number() OVER (PARTITION BY datetime ORDER BY {BEST}) AS choice
                FROM {table} b WHERE {} AND {WHOLE}) chosen WHERE choice = 1 ORDER BY datetime {}",
            self.select_page(&[page_part(table, WHOLE.to_owned(), None)], latest),
            self.bar_out(),
            self.on_page(),
            sort_order(latest),
        )
    }

    /// Parameters: symbol, interval, from, to, limit, as of. Selects the last of our revisions that was known at that instant, or the row
    /// of another program that existed at it, by the rule of the view `market_bars`.
    pub(super) fn bars_as_of(self, interval: Interval, latest: bool) -> String {
        let of_symbol = self.of_symbol();
        let as_of = self.instant_parameter(6);
        let on_page = self.on_page();
        let ours = format!("known_at <= {as_of}");
        let theirs = format!("source <> 'candela' AND created_at <= {as_of} AND {WHOLE}");
        // With `min`, not `EXISTS`, for which a server may scan the whole table.
        let any_of_ours = format!(
            "(SELECT min(known_at) FROM bar_revisions WHERE {of_symbol} AND \"interval\" = {}) <= {as_of}",
            self.parameter(2)
        );
        let any_of_theirs =
            format!("(SELECT min(created_at) FROM market_data WHERE {of_symbol} AND source <> 'candela') <= {as_of}");
        let mut parts = vec![page_part("bar_revisions", ours.clone(), Some(any_of_ours))];
        let mut candidates = format!(
            "SELECT {BAR}, CASE WHEN flags & 3 = 0 THEN 0 ELSE 2 END AS preference, 0 AS id FROM (
                SELECT r.*, 'candela' AS source, row_number() OVER (PARTITION BY datetime ORDER BY revision DESC) AS newest
                FROM bar_revisions r WHERE {on_page} AND {ours}) ours WHERE newest = 1"
        );
        if interval == BASE {
            parts.push(page_part("market_data", theirs.clone(), Some(any_of_theirs)));
            candidates = format!(
                "{candidates} UNION ALL
                SELECT {BAR}, CASE WHEN source = 'twelvedata_websocket_aggregated' THEN 3 ELSE 1 END AS preference, id
                FROM market_data WHERE {on_page} AND {theirs}"
            );
        }
        format!(
            "{} SELECT {} FROM (
                SELECT c.*, row_number() OVER (PARTITION BY datetime ORDER BY preference, id DESC) AS choice
                FROM ({candidates}) c
             ) chosen WHERE choice = 1 ORDER BY datetime {}",
            self.select_page(&parts, latest),
            self.bar_out(),
            sort_order(latest),
        )
    }

    fn of_symbol(self) -> String {
        format!("symbol = {}", self.parameter(1))
    }

    /// The first and the last slot of a page that these rows fill. Parameters: symbol, interval, from, to, limit.
    fn select_page(self, parts: &[Part], latest: bool) -> String {
        let of_symbol = self.of_symbol();
        let interval = self.parameter(2);
        let order = sort_order(latest);
        let limit = self.parameter(5);
        let from = self.instant_parameter(3);
        let to = self.instant_parameter(4);
        let slots = parts.iter().enumerate().map(|(i, part)| {
            let to = match &part.any {
                Some(any) => format!("CASE WHEN {any} THEN {to} ELSE {from} END"),
                None => to.clone(),
            };
            format!(
                "SELECT datetime FROM (SELECT DISTINCT datetime FROM {} WHERE {of_symbol} AND \"interval\" = {interval}
                    AND datetime >= {from} AND datetime < {to} AND {} ORDER BY datetime {order} LIMIT {limit}) part{i}",
                part.table, part.rows,
            )
        });
        let slots: Vec<String> = slots.collect();
        format!(
            "WITH page AS (SELECT min(datetime) AS first_slot, max(datetime) AS last_slot FROM (
                SELECT DISTINCT datetime FROM ({}) found ORDER BY datetime {order} LIMIT {limit}) slots)",
            slots.join(" UNION ALL "),
        )
    }

    /// The condition that a row's slot is on the page.
    fn on_page(self) -> String {
        format!(
            "{} AND \"interval\" = {} AND datetime >= (SELECT first_slot FROM page) AND datetime <= (SELECT last_slot FROM page)",
            self.of_symbol(),
            self.parameter(2),
        )
    }

    pub(super) fn tick_out(self) -> String {
        let mut columns: Vec<String> = vec!["epoch".to_owned(), "provenance".to_owned()];
        columns.extend(["last", "bid", "ask"].map(|column| self.price_out(column)));
        columns.extend(["time", "event_time"].map(|column| self.instant_out(column)));
        columns.push(self.integer_out("seq"));
        columns.join(", ")
    }

    /// Parameters: symbol, from, to, limit, and the seq after which ticks are returned.
    pub(super) fn ticks_above(self) -> String {
        format!(
            "SELECT {} FROM realtime_market_data WHERE {} AND time >= {} AND time < {} AND epoch IS NOT NULL AND seq > {}
                ORDER BY time, seq LIMIT {}",
            self.tick_out(), self.of_symbol(), self.first_above(&self.instant_parameter(2)), self.instant_parameter(3), self.parameter(5), self.parameter(4),
        )
    }

    /// When the first tick with a seq above parameter 5 arrived, in any epoch, or `from` if that is later: earlier rows are not read. There
    /// are few epochs, and each is found in the index.
    fn first_above(self, from: &str) -> String {
        let of_symbol = self.of_symbol();
        let seq = self.parameter(5);
        let next = format!("SELECT min(t.epoch) FROM realtime_market_data t WHERE {of_symbol} AND t.epoch");
        format!(
            "(WITH RECURSIVE epochs (epoch) AS (SELECT ({next} IS NOT NULL) UNION ALL
                SELECT ({next} > epochs.epoch) FROM epochs WHERE epochs.epoch IS NOT NULL)
             SELECT CASE WHEN min(first_at) > {from} THEN min(first_at) ELSE {from} END FROM (
                SELECT (SELECT t.time FROM realtime_market_data t
                    WHERE {of_symbol} AND t.epoch = epochs.epoch AND t.epoch IS NOT NULL AND t.seq > {seq} ORDER BY t.seq LIMIT 1) AS first_at
                FROM epochs) firsts)"
        )
    }
}

const fn sort_order(latest: bool) -> &'static str {
    if latest { "DESC" } else { "ASC" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{Symbol, Timestamp};
    use crate::store::{BarQuery, Sqlite, TickPlace, TickQuery, reads::ticks_behind};
    use diesel::debug_query;
    use rusqlite::{Connection, StatementStatus, params_from_iter, types::Value};

    /// Parameters: the interval, the seconds between bars, and the numbers of history bars, own bars and ticks.
    const FILL: [&str; 5] = [
        "INSERT INTO market_data (symbol, datetime, open, high, low, close, source, created_at)
         SELECT 'USDCOP', g * 300000000, 1, 1, 1, 1, 'l0', 9000000000000 FROM numbers",
        "INSERT INTO bar_revisions SELECT 'USDCOP', '5m', g * 300000000, 0, 1, 1, 1, 1, 5, (g + 1) * 300000000, NULL, NULL, 'live', 0,
         '1970-01-01', 'spot', 'a1b2', g, (g + 1) * 300000000 FROM numbers",
        "INSERT INTO bar_revisions SELECT 'USDCOP', '1m', g * 60000000, 0, 1, 1, 1, 1, 5, (g + 1) * 60000000, NULL, NULL, 'backfill', 0,
         '1970-01-01', 'spot', 'a1b2', g, 9000000000000 FROM numbers",
        "INSERT INTO interval_bars (symbol, \"interval\", datetime, open, high, low, close, source)
         SELECT 'USDCOP', '1m', g * 60000000, 1, 1, 1, 1, 'candela' FROM numbers",
        "INSERT INTO realtime_market_data (symbol, time, last, source, epoch, seq, event_time)
         SELECT 'USDCOP', g * 1000000, 1, 'candela', 'a1b2', g, g * 1000000 FROM numbers",
    ];

    /// An instant after every row, in microseconds.
    const FOREVER: i64 = 10_000_000_000_000;

    /// The statements that read ticks, with their parameters.
    fn asked_for_ticks(rows: i64) -> Vec<(&'static str, String, Vec<Value>)> {
        let last = rows - 60;
        let above = vec![text("USDCOP"), whole(0), whole(FOREVER), whole(50), whole(last)];
        let place = TickPlace {
            received_at: Timestamp::from_micros(last * 1_000_000),
            seq: 0,
        };
        let behind = TickQuery {
            symbol: Symbol::usdcop(),
            from: Timestamp::from_micros(0),
            to: Timestamp::from_micros(FOREVER),
            after_seq: None,
            cursor: Some(place),
            limit: 50,
        };
        let behind = debug_query::<diesel::sqlite::Sqlite, _>(&ticks_behind!(sqlite, &behind)).to_string();
        let (behind, _) = behind.split_once("-- binds").unwrap();
        let at = whole(last * 1_000_000);
        let place = [
            text("USDCOP"),
            at.clone(),
            whole(FOREVER),
            at,
            whole(0),
            whole(0),
            whole(50),
        ];
        vec![
            ("ticks above a number", Dialect::Sqlite.ticks_above(), above),
            ("ticks behind a place", behind.to_owned(), place.to_vec()),
        ]
    }

    /// The statements on tables of `rows` rows, each with its parameters.
    fn asked(rows: i64) -> Vec<(&'static str, String, Vec<Value>)> {
        const SQL: Dialect = Dialect::Sqlite;
        let (forever, early) = (FOREVER, 30_000_000_001_i64);
        let until = |interval: &str, to| vec![text("USDCOP"), text(interval), whole(0), whole(to), whole(50)];
        let bars = |interval| until(interval, forever);
        let as_of = |interval, at: i64| {
            let query = BarQuery {
                as_of: Some(Timestamp::from_micros(at)),
                ..BarQuery::between(
                    Symbol::usdcop(),
                    BASE,
                    Timestamp::from_micros(0),
                    Timestamp::from_micros(forever),
                    50,
                )
            };
            [until(interval, query.end().micros()), vec![whole(at)]].concat()
        };
        let mut asked = asked_for_ticks(rows);
        for latest in [true, false] {
            let (m5, m1) = (Interval::M5, Interval::M1);
            asked.extend([
                ("five minutes", SQL.select_bars(m5, latest), bars("5m")),
                ("one minute", SQL.select_bars(m1, latest), bars("1m")),
                (
                    "an hour, of which there is none",
                    SQL.select_bars(Interval::H1, latest),
                    bars("1h"),
                ),
                ("before history", SQL.bars_as_of(m5, latest), as_of("5m", early)),
                ("after history", SQL.bars_as_of(m5, latest), as_of("5m", forever)),
                (
                    "one minute before it was known",
                    SQL.bars_as_of(m1, latest),
                    as_of("1m", early),
                ),
                (
                    "one minute after it was known",
                    SQL.bars_as_of(m1, latest),
                    as_of("1m", forever),
                ),
            ]);
        }
        asked
    }

    /// The number of SQLite steps for each statement on tables of `rows` rows, and the number of rows that it returns.
    fn steps(rows: i64) -> Vec<(&'static str, i32, usize)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        drop(Sqlite::open(&path).unwrap());
        let db = Connection::open(&path).unwrap();
        for insert in FILL {
            let numbers = format!(
                "WITH RECURSIVE numbers (g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM numbers WHERE g < {rows}) {insert}"
            );
            db.execute_batch(&numbers).unwrap();
        }
        let mut taken = Vec::new();
        for (name, sql, values) in asked(rows) {
            let mut statement = db.prepare(&sql).unwrap();
            let found = statement
                .query_map(params_from_iter(values), |_| Ok(()))
                .unwrap()
                .count();
            taken.push((name, statement.get_status(StatementStatus::VmStep), found));
        }
        taken
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    const fn whole(number: i64) -> Value {
        Value::Integer(number)
    }

    #[test]
    fn a_page_costs_what_it_returns_however_much_there_is() {
        let (few, many) = (steps(2_000), steps(40_000));
        for ((name, few, _), (_, many, found)) in few.into_iter().zip(many) {
            assert!(
                many < few + few / 2 + 500,
                "{name}: {few} steps, and {many} among twenty times the rows"
            );
            let none = name.contains("none") || name.contains("one minute before");
            assert_eq!(found, if none { 0 } else { 50 }, "{name}");
        }
    }
}
