//! The journal in the store: every entry by its position in the ledger, for queries that reach back further than the ledger.

use crate::domain::model::{JournalPlace, JournalQuery, PlacedEntry, Sequenced, ServiceEvent, Timestamp};
use crate::store::{answer::Damage, sql::Dialect};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};

/// One row of `candela_events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JournalRow {
    pub(super) lineage: String,
    pub(super) position: i64,
    pub(super) told_at: Timestamp,
    pub(super) kind: &'static str,
    pub(super) symbol: Option<String>,
    pub(super) body: String,
}

impl JournalRow {
    /// The row of an event, if the journal shows the event.
    pub(super) fn from_event(event: &Sequenced, lineage: &str) -> Option<Self> {
        let entry = ServiceEvent::of(event)?;
        Some(Self {
            lineage: lineage.to_owned(),
            position: i64::try_from(event.position.0).unwrap_or(i64::MAX),
            told_at: event.at,
            kind: entry.kind.name(),
            symbol: entry.symbol.map(|symbol| symbol.compact()),
            body: serde_json::to_string(&entry).ok()?, // these always encode
        })
    }
}

impl Dialect {
    /// Parameters: lineage, position, published at, kind, symbol or null, body.
    pub(super) fn insert_event(self) -> String {
        format!(
            "INSERT INTO candela_events (lineage, position, told_at, kind, symbol, body) VALUES ({}, {}, {}, {}, {}, {}) ON CONFLICT DO NOTHING",
            self.parameter(1),
            self.parameter(2),
            self.instant_parameter(3),
            self.parameter(4),
            self.parameter(5),
            self.parameter(6),
        )
    }

    /// Parameters: from, to, kind or an empty text, symbol or an empty text, the instant and the position of the place before, limit.
    pub(super) fn select_journal(self) -> String {
        format!(
            "SELECT position, {}, body FROM candela_events WHERE told_at >= {} AND told_at < {}
                AND ({kind} = '' OR kind = {kind}) AND ({symbol} = '' OR symbol IS NULL OR symbol = {symbol})
                AND (told_at, position) > ({}, {}) ORDER BY told_at, position LIMIT {}",
            self.instant_out("told_at"),
            self.instant_parameter(1),
            self.instant_parameter(2),
            self.instant_parameter(5),
            self.parameter(6),
            self.parameter(7),
            kind = self.parameter(3),
            symbol = self.parameter(4),
        )
    }
}

#[derive(Debug, QueryableByName)]
pub(super) struct JournalOut {
    #[diesel(sql_type = BigInt)]
    position: i64,
    #[diesel(sql_type = BigInt)]
    told_at_us: i64,
    #[diesel(sql_type = Text)]
    body: String,
}

impl JournalOut {
    pub(super) fn into_entry(self) -> Result<PlacedEntry, Damage> {
        let entry = serde_json::from_str(&self.body)
            .map_err(|error| Damage::new(format!("the body of event {}: {error}", self.position)))?;
        let place = JournalPlace {
            at: Timestamp::from_micros(self.told_at_us),
            position: u64::try_from(self.position).unwrap_or(0),
        };
        Ok(PlacedEntry { place, entry })
    }
}

/// The place after which a query's entries begin; before every entry if it has none.
pub(super) fn place_after(query: &JournalQuery) -> (i64, i64) {
    query.after.map_or((query.from.micros(), -1), |place| {
        (place.at.micros(), i64::try_from(place.position).unwrap_or(i64::MAX))
    })
}

macro_rules! bind_event {
    ($sql:expr, $row:expr) => {{
        use diesel::sql_types::{BigInt, Nullable, Text};
        diesel::sql_query($sql)
            .bind::<Text, _>($row.lineage.as_str())
            .bind::<BigInt, _>($row.position)
            .bind::<BigInt, _>($row.told_at.micros())
            .bind::<Text, _>($row.kind)
            .bind::<Nullable<Text>, _>($row.symbol.as_deref())
            .bind::<Text, _>($row.body.as_str())
    }};
}

macro_rules! bind_journal {
    ($sql:expr, $query:expr) => {{
        use diesel::sql_types::{BigInt, Text};
        let query = $query;
        let (at, position) = crate::store::journal::place_after(query);
        diesel::sql_query($sql)
            .bind::<BigInt, _>(query.from.micros())
            .bind::<BigInt, _>(query.to.micros())
            .bind::<Text, _>(query.kind.map_or("", |kind| kind.name()))
            .bind::<Text, _>(query.symbol.map_or_else(String::new, |symbol| symbol.compact()))
            .bind::<BigInt, _>(at)
            .bind::<BigInt, _>(position)
            .bind::<BigInt, _>(i64::from(query.limit))
    }};
}

pub(super) use {bind_event, bind_journal};
