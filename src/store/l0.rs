//! The questions that the L0 check asks, in two round trips: all rows' instants with the counts of odd prices, then examples of
//! those and the bars that candela fetched itself.
//!
//! Six years of bars cross as one value of eight bytes a row, because collecting instants costs the database a quarter of what
//! grouping them does; comparing them with the calendar is done here.

use crate::domain::l0_table::L0Table;
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
    /// From when bars that candela fetched itself are asked for.
    pub fetched_since: Timestamp,
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
        let out = |column: &str| match self {
            Self::Sqlite => column.to_owned(),
            Self::Postgres => format!("(extract(epoch from {column}) * 1000000)::bigint"),
        };
        let examples = |kind: &str, condition: String| {
            let at = out(&time);
            format!(
                "SELECT * FROM (SELECT '{kind}' AS kind, {at} AS at_us {rows} AND {condition} ORDER BY {time} DESC LIMIT {}) AS {kind}",
                limits::VERDICT_EXAMPLES,
            )
        };
        let (pair, since) = match self {
            Self::Sqlite => ("?2", "?3".to_owned()),
            Self::Postgres => (
                "$2",
                "('epoch'::timestamptz + $3::float8 * interval '1 microsecond')".to_owned(),
            ),
        };
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

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Binds the second round trip's parameters.
macro_rules! bind_examples {
    ($sql:expr, $query:expr) => {
        diesel::sql_query($sql)
            .bind::<diesel::sql_types::Text, _>($query.table.symbol($query.symbol))
            .bind::<diesel::sql_types::Text, _>($query.symbol.compact())
            .bind::<diesel::sql_types::BigInt, _>($query.fetched_since.micros())
    };
}
pub(super) use bind_examples;
