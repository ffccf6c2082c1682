//! The questions that the L0 check asks, in two round trips: all rows' instants with the counts of odd prices, then examples of
//! those and the bars that candela fetched itself.
//!
//! Six years of bars cross as one value of eight bytes a row, because collecting instants costs the database a quarter of what
//! grouping them does; comparing them with the calendar is done here.

use crate::domain::bar::Ohlc;
use crate::domain::event::VendorBar;
use crate::domain::l0_table::L0Table;
use crate::domain::price::Price;
use crate::domain::seam::SeamBars;
use crate::domain::symbol::Symbol;
use crate::domain::tally::History;
use crate::domain::timestamp::Timestamp;
use crate::limits;
use crate::store::rows::SOURCE;
use crate::store::sql::Dialect;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

/// Rows made from live prices by candela's predecessor, besides [`SOURCE`]: they are no history.
const LIVE_SOURCES: [&str; 3] = ["websocket", "twelvedata_websocket", "twelvedata_websocket_aggregated"];

/// Microseconds from the Unix epoch to 2000-01-01, where PostgreSQL's instants begin.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// What the check is about.
#[derive(Debug, Clone)]
pub struct HistoryQuery {
    /// Where the history lies.
    pub table: L0Table,
    /// Of which pair.
    pub symbol: Symbol,
    /// From when bars of our own, and the bars around a seam, are asked for.
    pub since: Timestamp,
}

/// The answer of the first round trip on PostgreSQL.
#[derive(Debug, QueryableByName)]
pub(super) struct InstantsOut {
    #[diesel(sql_type = Nullable<Binary>)]
    pub(super) instants: Option<Vec<u8>>,
    #[diesel(sql_type = BigInt)]
    pub(super) flat: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) broken: i64,
}

/// One row of the first round trip on SQLite.
#[derive(Debug, QueryableByName)]
pub(super) struct RowOut {
    #[diesel(sql_type = BigInt)]
    pub(super) at_us: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) oddity: i64,
}

/// One row of the second round trip.
#[derive(Debug, QueryableByName)]
pub(super) struct ExampleOut {
    #[diesel(sql_type = Text)]
    pub(super) kind: String,
    #[diesel(sql_type = BigInt)]
    pub(super) at_us: i64,
}

/// What one broken row adds to the sum of oddities; a flat one adds 1.
const BROKEN: i64 = 1 << 32;

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

const FLAT: &str = "high = low AND open = low AND close = low";
const SOUND: &str = "low <= open AND low <= close AND open <= high AND close <= high AND low > 0";

impl Dialect {
    const fn parameter(self) -> &'static str {
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
            self.parameter(),
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
    const fn pair_and_since(self) -> (&'static str, &'static str) {
        match self {
            Self::Sqlite => ("?2", "?3"),
            Self::Postgres => ("$2", "('epoch'::timestamptz + $3::float8 * interval '1 microsecond')"),
        }
    }

    /// Sound bars since an instant: of the history, and of candela.
    pub(super) fn seam(self, table: &L0Table) -> String {
        let (time, rows, (pair, since)) = (table.time_column(), self.history_rows(table), self.pair_and_since());
        let price = |column: &str| match self {
            Self::Sqlite => format!("{column} AS {column}_micros"),
            Self::Postgres => format!("({column} * 1000000)::bigint AS {column}_micros"),
        };
        let prices = ["open", "high", "low", "close"].map(price).join(", ");
        format!(
            "SELECT 'history' AS kind, {} AS at_us, {prices} {rows} AND {SOUND} AND {time} >= {since} UNION ALL \
             SELECT CASE WHEN provenance = 'backfill' THEN 'fetched' ELSE 'live' END AS kind, {} AS at_us, {prices} FROM market_data \
             WHERE symbol = {pair} AND source = '{SOURCE}' AND {SOUND} AND datetime >= {since} ORDER BY at_us",
            self.micros_of_instant(&time),
            self.micros_of_instant("datetime"),
        )
    }

    /// The first round trip. Flat counts only rows that are otherwise sound; what is not sound is broken.
    pub(super) fn history(self, table: &L0Table) -> String {
        let (time, rows) = (table.time_column(), self.history_rows(table));
        let oddity = format!("CASE WHEN {FLAT} AND low > 0 THEN 1 WHEN {SOUND} THEN 0 ELSE {BROKEN} END");
        match self {
            Self::Sqlite => format!("SELECT {time} AS at_us, {oddity} AS oddity {rows} ORDER BY {time}"),
            // One sum holds both counts.
            Self::Postgres => format!(
                "SELECT string_agg(timestamptz_send({time}), '') AS instants, \
                 coalesce(sum({oddity})::bigint, 0) % {BROKEN} AS flat, coalesce(sum({oddity})::bigint, 0) / {BROKEN} AS broken {rows}"
            ),
        }
    }

    /// The second round trip: examples of what the first one counted, and the bars candela fetched.
    pub(super) fn history_examples(self, table: &L0Table, history: &History) -> String {
        let (time, rows) = (table.time_column(), self.history_rows(table));
        let out = |column: &str| self.micros_of_instant(column);
        let examples = |kind: &str, condition: String| {
            let at = out(&time);
            format!(
                "SELECT * FROM (SELECT '{kind}' AS kind, {at} AS at_us {rows} AND {condition} ORDER BY {time} DESC LIMIT {}) AS {kind}",
                limits::VERDICT_EXAMPLES,
            )
        };
        let (pair, since) = self.pair_and_since();
        let mut parts = vec![format!(
            "SELECT 'fetched' AS kind, {} AS at_us FROM market_data WHERE symbol = {pair} AND source = '{SOURCE}' \
             AND provenance = 'backfill' AND datetime >= {since}",
            out("datetime"),
        )];
        if history.flat > 0 {
            parts.push(examples("flat", format!("({FLAT})")));
        }
        if history.broken > 0 {
            parts.push(examples("broken", format!("(({SOUND}) IS NOT TRUE)")));
        }
        parts.join(" UNION ALL ")
    }
}

/// The history that PostgreSQL's first answer describes.
pub(super) fn from_instants(answer: InstantsOut) -> History {
    let bytes = answer.instants.unwrap_or_default();
    let instant =
        |bytes: &[u8; 8]| Timestamp::from_micros(i64::from_be_bytes(*bytes).saturating_add(POSTGRES_EPOCH_US));
    let mut rows: Vec<_> = bytes.as_chunks::<8>().0.iter().map(instant).collect();
    rows.sort_unstable();
    History {
        rows,
        flat: count(answer.flat),
        broken: count(answer.broken),
        ..History::default()
    }
}

/// The history that SQLite's first answer describes.
pub(super) fn from_rows(answer: &[RowOut]) -> History {
    let of = |oddity| u64::try_from(answer.iter().filter(|row| row.oddity == oddity).count()).unwrap_or(u64::MAX);
    History {
        rows: answer.iter().map(|row| Timestamp::from_micros(row.at_us)).collect(),
        flat: of(1),
        broken: of(BROKEN),
        ..History::default()
    }
}

/// Adds what the second round trip brought.
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

/// The bars around a seam, sorted by whose they are.
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

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Binds the second round trip's parameters.
macro_rules! bind_examples {
    ($sql:expr, $query:expr) => {
        diesel::sql_query($sql)
            .bind::<diesel::sql_types::Text, _>($query.table.symbol($query.symbol))
            .bind::<diesel::sql_types::Text, _>($query.symbol.compact())
            .bind::<diesel::sql_types::BigInt, _>($query.since.micros())
    };
}
pub(super) use bind_examples;
