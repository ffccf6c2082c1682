//! The queries of the L0 check. PostgreSQL is queried in two round trips: first the ends of the history and the bars that candela fetched,
//! then the instants of all rows with counts and examples of odd prices. SQLite, where a round trip costs nothing, is queried for the rows
//! first. The queries are texts, because a setting names their table.
//!
//! Six years of bars are returned as one value of eight bytes per row, because collecting instants costs the database a quarter of what
//! grouping them does; they are compared with the calendar here. PostgreSQL 15 aggregates in one process only, so each half of the history
//! is queried on a connection of its own, and two processes work at once.

use crate::domain::history::{History, L0Table};
use crate::domain::model::{Ohlc, Price, SeamBars, Symbol, Timestamp, VendorBar};
use crate::limits;
use crate::store::{rows::SOURCE, sql::Dialect};
use diesel::QueryableByName;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text};

/// Sources, besides [`SOURCE`], of rows that candela's predecessor made from live prices: they are not history.
const LIVE_SOURCES: [&str; 3] = ["websocket", "twelvedata_websocket", "twelvedata_websocket_aggregated"];

/// Microseconds from the Unix epoch to 2000-01-01, where PostgreSQL's instants begin.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// The parameters of the check.
#[derive(Debug, Clone)]
pub struct HistoryQuery {
    /// The table of the history.
    pub table: L0Table,
    /// The pair.
    pub symbol: Symbol,
    /// The instant from which our own bars, and the bars around a seam, are returned.
    pub since: Timestamp,
}

/// One half of a history that is divided at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    /// Before the instant.
    Older,
    /// From the instant on.
    Newer,
}

/// PostgreSQL's result for one half.
#[derive(Debug, QueryableByName)]
pub(super) struct HalfOut {
    #[diesel(sql_type = Nullable<Binary>)]
    instants: Option<Vec<u8>>,
    #[diesel(sql_type = BigInt)]
    flat: i64,
    #[diesel(sql_type = BigInt)]
    broken: i64,
    #[diesel(sql_type = BigInt)]
    rounded: i64,
    #[diesel(sql_type = Array<BigInt>)]
    flat_examples: Vec<i64>,
    #[diesel(sql_type = Array<BigInt>)]
    broken_examples: Vec<i64>,
}

/// One row of SQLite's first query.
#[derive(Debug, QueryableByName)]
pub(super) struct RowOut {
    #[diesel(sql_type = BigInt)]
    pub(super) at_us: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) oddity: i64,
}

/// One instant of the other queries, with its kind.
#[derive(Debug, QueryableByName)]
pub(super) struct ExampleOut {
    #[diesel(sql_type = Text)]
    pub(super) kind: String,
    #[diesel(sql_type = BigInt)]
    pub(super) at_us: i64,
}

/// The mark of a broken row; a flat row is marked 1.
const BROKEN: i64 = 2;

/// One bar around a seam.
#[derive(Debug, QueryableByName)]
pub(super) struct SeamOut {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = BigInt)]
    at_us: i64,
    #[diesel(sql_type = BigInt)]
    open_micros: i64,
    #[diesel(sql_type = BigInt)]
    high_micros: i64,
    #[diesel(sql_type = BigInt)]
    low_micros: i64,
    #[diesel(sql_type = BigInt)]
    close_micros: i64,
}

/// All four prices are equal. A flat row is also sound.
const FLAT: &str = "high = low AND open = low AND close = low AND low > 0";
const SOUND: &str = "low <= open AND low <= close AND open <= high AND close <= high AND low > 0";

/// Whether a row of PostgreSQL's has more than six decimals. A row that is not sound or too large counts as broken instead, and a column
/// may be of floats.
const FINE: &str = "CASE WHEN low > 0 AND low <= high AND high < 1000000 AND open BETWEEN low AND high AND close BETWEEN low AND high \
    THEN open::numeric <> round(open::numeric, 6) OR high::numeric <> round(high::numeric, 6) \
    OR low::numeric <> round(low::numeric, 6) OR close::numeric <> round(close::numeric, 6) ELSE false END";

/// Counts the rows of a PostgreSQL table with more than six decimals.
pub(super) fn count_rounded(table: &L0Table) -> String {
    format!("SELECT count(*) AS number FROM {} WHERE {FINE}", table.table())
}

impl Dialect {
    const fn placeholder(self) -> &'static str {
        match self {
            Self::Sqlite => "?1",
            Self::Postgres => "$1",
        }
    }

    fn history_rows(self, table: &L0Table) -> String {
        let live: Vec<_> = LIVE_SOURCES
            .iter()
            .chain([&SOURCE])
            .map(|source| format!("'{source}'"))
            .collect();
        format!(
            "FROM {} WHERE symbol = {} AND (source IS NULL OR source NOT IN ({}))",
            table.table(),
            self.placeholder(),
            live.join(", "),
        )
    }

    fn micros_of_instant(self, column: &str) -> String {
        match self {
            Self::Sqlite => column.to_owned(),
            Self::Postgres => format!("(extract(epoch from {column}) * 1000000)::bigint"),
        }
    }

    /// Parameters 2 and 3: a pair as `market_data` spells it, and an instant.
    fn pair_and_since(self) -> (&'static str, String) {
        let pair = match self {
            Self::Sqlite => "?2",
            Self::Postgres => "$2",
        };
        (pair, self.instant_parameter(3))
    }

    /// Selects the sound bars since an instant, of the history and of candela.
    pub(super) fn select_seam(self, table: &L0Table) -> String {
        let time = table.time_column();
        let rows = self.history_rows(table);
        let (pair, since) = self.pair_and_since();
        let prices = ["open", "high", "low", "close"]
            .map(|column: &str| match self {
                Self::Sqlite => format!("{column} AS {column}_micros"),
                Self::Postgres => format!("({column} * 1000000)::bigint AS {column}_micros"),
            })
            .join(", ");
        format!(
            "SELECT 'history' AS kind, {} AS at_us, {prices} {rows} AND {SOUND} AND {time} >= {since} UNION ALL \
             SELECT CASE WHEN provenance = 'backfill' THEN 'fetched' ELSE 'live' END AS kind, {} AS at_us, {prices} FROM market_data \
             WHERE symbol = {pair} AND source = '{SOURCE}' AND {SOUND} AND datetime >= {since} ORDER BY at_us",
            self.micros_of_instant(&time),
            self.micros_of_instant("datetime"),
        )
    }

    /// SQLite's first query. Flat rows are otherwise sound; rows that are not sound are broken.
    pub(super) fn select_history(self, table: &L0Table) -> String {
        let time = table.time_column();
        let rows = self.history_rows(table);
        format!(
            "SELECT {time} AS at_us, CASE WHEN {FLAT} THEN 1 WHEN {SOUND} THEN 0 ELSE {BROKEN} END AS oddity {rows} ORDER BY {time}"
        )
    }

    /// PostgreSQL's first query: the first and the last row, of any program, and the bars that candela fetched.
    pub(super) fn history_ends(self, table: &L0Table) -> String {
        let time = table.time_column();
        let symbol = self.placeholder();
        let at = self.micros_of_instant("ends.at");
        let [first, last] = ["min", "max"].map(|which| {
            let ends = format!(
                "SELECT {which}({time}) AS at FROM {} WHERE symbol = {symbol}",
                table.table()
            );
            format!("SELECT 'end' AS kind, {at} AS at_us FROM ({ends}) AS ends WHERE ends.at IS NOT NULL")
        });
        [first, last, self.fetched_column()].join(" UNION ALL ")
    }

    /// PostgreSQL's second query, for one half; parameter 2 is the instant between the halves.
    ///
    /// A row is counted as flat or as moving, and is broken if it is neither. Examples are searched only if there are any, from the newest
    /// row back (`OFFSET 0` keeps the planner from sorting all rows first).
    pub(super) fn history_half(self, table: &L0Table, half: Half) -> String {
        let time = table.time_column();
        let side = if half == Half::Older { "<" } else { ">=" };
        let rows = format!(
            "{} AND {time} {side} {}",
            self.history_rows(table),
            self.instant_parameter(2)
        );
        let at = self.micros_of_instant(&time);
        let most = limits::VERDICT_EXAMPLES;
        let not_sound = format!("({SOUND}) IS NOT TRUE");
        let [flat, broken] = [
            ("counted.flat", FLAT),
            ("counted.total - counted.flat - counted.moving", &not_sound),
        ]
        .map(|(counted, condition)| {
            let newest = format!(
                "SELECT {at} AS at_us, open, high, low, close {rows} AND {counted} > 0 ORDER BY {time} DESC OFFSET 0"
            );
            format!("ARRAY(SELECT at_us FROM ({newest}) AS newest WHERE {condition} LIMIT {most})")
        });
        format!(
            "WITH counted AS MATERIALIZED (SELECT string_agg(timestamptz_send({time}), '') AS instants, count(*) AS total, \
             count(*) FILTER (WHERE {FLAT}) AS flat, count(*) FILTER (WHERE low < high AND {SOUND}) AS moving, \
             count(*) FILTER (WHERE {FINE}) AS rounded {rows}) \
             SELECT instants, flat, total - flat - moving AS broken, rounded, {flat} AS flat_examples, {broken} AS broken_examples FROM counted",
        )
    }

    /// Selects the bars that candela fetched.
    fn fetched_column(self) -> String {
        let (pair, since) = self.pair_and_since();
        format!(
            "SELECT 'fetched' AS kind, {} AS at_us FROM market_data WHERE symbol = {pair} AND source = '{SOURCE}' \
             AND provenance = 'backfill' AND datetime >= {since}",
            self.micros_of_instant("datetime"),
        )
    }

    /// SQLite's second query: examples of what the first one counted, and the bars that candela fetched.
    pub(super) fn history_examples(self, table: &L0Table, history: &History) -> String {
        let time = table.time_column();
        let rows = self.history_rows(table);
        let at = self.micros_of_instant(&time);
        let most = limits::VERDICT_EXAMPLES;
        let mut parts = vec![self.fetched_column()];
        for (kind, count, condition) in [
            ("flat", history.flat, format!("({FLAT})")),
            ("broken", history.broken, format!("(({SOUND}) IS NOT TRUE)")),
        ] {
            if count > 0 {
                parts.push(format!(
                    "SELECT * FROM (SELECT '{kind}' AS kind, {at} AS at_us {rows} AND {condition} \
                     ORDER BY {time} DESC LIMIT {most}) AS {kind}"
                ));
            }
        }
        parts.join(" UNION ALL ")
    }
}

/// Reads PostgreSQL's first result: the instant between the halves, unless there is no row, and the bars that candela fetched.
pub(super) fn from_ends(answer: Vec<ExampleOut>) -> (Option<Timestamp>, History) {
    let (ends, fetched): (Vec<_>, Vec<_>) = answer.into_iter().partition(|row| row.kind == "end");
    let first = ends.iter().map(|end| end.at_us).min();
    let last = ends.iter().map(|end| end.at_us).max();
    let middle = first.zip(last).map(|(first, last)| i64::midpoint(first, last));
    (
        middle.map(Timestamp::from_micros),
        with_examples(History::default(), fetched),
    )
}

/// Adds both halves of PostgreSQL's second result to the history.
pub(super) fn with_halves(mut history: History, halves: [HalfOut; 2]) -> History {
    for half in halves {
        let bytes = half.instants.unwrap_or_default();
        history
            .rows
            .extend(bytes.as_chunks::<8>().0.iter().map(instant_from_bytes));
        history.flat = history.flat.saturating_add(to_count(half.flat));
        history.broken = history.broken.saturating_add(to_count(half.broken));
        history.rounded = history.rounded.saturating_add(to_count(half.rounded));
        add_newest(&mut history.flat_examples, half.flat_examples);
        add_newest(&mut history.broken_examples, half.broken_examples);
    }
    history.rows.sort_unstable();
    history
}

fn instant_from_bytes(bytes: &[u8; 8]) -> Timestamp {
    Timestamp::from_micros(i64::from_be_bytes(*bytes).saturating_add(POSTGRES_EPOCH_US))
}

/// Adds instants, and keeps the newest, as many as a verdict shows.
fn add_newest(list: &mut Vec<Timestamp>, more: Vec<i64>) {
    list.extend(more.into_iter().map(Timestamp::from_micros));
    list.sort_unstable_by_key(|at| std::cmp::Reverse(*at));
    list.truncate(limits::VERDICT_EXAMPLES);
}

/// Reads SQLite's first result.
pub(super) fn from_rows(answer: &[RowOut]) -> History {
    History {
        rows: answer.iter().map(|row| Timestamp::from_micros(row.at_us)).collect(),
        flat: count_oddity(answer, 1),
        broken: count_oddity(answer, BROKEN),
        ..History::default()
    }
}

fn count_oddity(answer: &[RowOut], oddity: i64) -> u64 {
    u64::try_from(answer.iter().filter(|row| row.oddity == oddity).count()).unwrap_or(u64::MAX)
}

/// Adds the instants of a result to the lists of their kinds.
pub(super) fn with_examples(mut history: History, answer: Vec<ExampleOut>) -> History {
    for example in answer {
        let list = match example.kind.as_str() {
            "flat" => &mut history.flat_examples,
            "broken" => &mut history.broken_examples,
            _ => &mut history.fetched,
        };
        list.push(Timestamp::from_micros(example.at_us));
    }
    history
}

/// Sorts the bars around a seam by their origin.
pub(super) fn seam_bars(answer: Vec<SeamOut>) -> SeamBars {
    let mut bars = SeamBars::default();
    for row in answer {
        let list = match row.kind.as_str() {
            "history" => &mut bars.history,
            "fetched" => &mut bars.fetched,
            _ => &mut bars.live,
        };
        let [open, high, low, close] =
            [row.open_micros, row.high_micros, row.low_micros, row.close_micros].map(Price::from_micros);
        list.push(VendorBar {
            opens_at: Timestamp::from_micros(row.at_us),
            ohlc: Ohlc { open, high, low, close },
        });
    }
    bars
}

fn to_count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Binds the pair, as both tables spell it, and the instant `since`.
macro_rules! bind_examples {
    ($sql:expr, $query:expr) => {
        diesel::sql_query($sql)
            .bind::<diesel::sql_types::Text, _>($query.table.symbol($query.symbol))
            .bind::<diesel::sql_types::Text, _>($query.symbol.compact())
            .bind::<diesel::sql_types::BigInt, _>($query.since.micros())
    };
}
pub(super) use bind_examples;
