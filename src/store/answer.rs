//! Rows of the stores, and their conversion to domain values. Columns of statements written by hand ([`super::sql`]) are found by name,
//! those of diesel's queries ([`super::reads`]) by position.

use crate::domain::model::{
    AcceptedTick, Bar, BarKey, BarState, Epoch, Flags, Gap, GapStatus, Ohlc, Provenance, SessionKind, Symbol, Tick,
};
use crate::store::{
    error::StoreError,
    query::{BarQuery, GapQuery, StoredBar, StoredGap, StoredSession, StoredTick},
    rows::bogota_date,
    values::{Day, Instant, Numeric, Whole},
};
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{Queryable, QueryableByName};
use std::time::Duration;

#[derive(Debug, QueryableByName)]
pub(super) struct NumberOut {
    #[diesel(sql_type = BigInt)]
    pub(super) number: i64,
}

#[derive(Debug, Queryable, QueryableByName)]
pub(super) struct BarOut {
    #[diesel(sql_type = Nullable<Text>)]
    source: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    provenance: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    session_kind: Option<String>,
    #[diesel(sql_type = BigInt)]
    open_micros: Numeric,
    #[diesel(sql_type = BigInt)]
    high_micros: Numeric,
    #[diesel(sql_type = BigInt)]
    low_micros: Numeric,
    #[diesel(sql_type = BigInt)]
    close_micros: Numeric,
    #[diesel(sql_type = BigInt)]
    datetime_us: Instant,
    #[diesel(sql_type = Nullable<BigInt>)]
    closes_at_us: Option<Instant>,
    #[diesel(sql_type = Nullable<BigInt>)]
    first_tick_at_us: Option<Instant>,
    #[diesel(sql_type = Nullable<BigInt>)]
    last_tick_at_us: Option<Instant>,
    #[diesel(sql_type = Nullable<BigInt>)]
    known_at_us: Option<Instant>,
    #[diesel(sql_type = BigInt)]
    ticks: Whole,
    #[diesel(sql_type = BigInt)]
    revision: Whole,
    #[diesel(sql_type = BigInt)]
    flags: Whole,
    #[diesel(sql_type = Nullable<BigInt>)]
    seq: Option<Whole>,
    #[diesel(sql_type = Nullable<Text>)]
    session_date: Option<Day>,
}

impl BarOut {
    /// Converts a row. A row of another program lacks columns that only candela fills: it counts as prepared, final and without ticks.
    pub(super) fn into_bar(self, query: &BarQuery) -> Result<StoredBar, Damage> {
        let opens_at = self.datetime_us.0;
        let length = query.interval.length().unwrap_or(Duration::ZERO);
        let revision = to_number(self.revision)?;
        let kind = self.session_kind.as_deref();
        let bar = Bar {
            key: BarKey {
                symbol: query.symbol,
                interval: query.interval,
                opens_at,
            },
            closes_at: self.closes_at_us.map_or(opens_at + length, |at| at.0),
            ohlc: Ohlc {
                open: self.open_micros.0,
                high: self.high_micros.0,
                low: self.low_micros.0,
                close: self.close_micros.0,
            },
            ticks: to_number(self.ticks)?,
            first_tick_at: self.first_tick_at_us.map(|at| at.0),
            last_tick_at: self.last_tick_at_us.map(|at| at.0),
            state: if revision == 0 {
                BarState::Closed
            } else {
                BarState::Revised
            },
            revision,
            provenance: self
                .provenance
                .as_deref()
                .map_or(Ok(Provenance::L0), parse_provenance)?,
            flags: Flags::from_bits(to_number(self.flags)?),
            session_date: self.session_date.map_or_else(|| bogota_date(opens_at), |day| day.0),
            session_kind: if kind == Some(SessionKind::NextDay.name()) {
                SessionKind::NextDay
            } else {
                SessionKind::Spot
            },
        };
        Ok(StoredBar {
            bar,
            source: self.source.unwrap_or_default(),
            seq: self.seq.map(to_number).transpose()?,
            known_at: self.known_at_us.map(|at| at.0),
        })
    }
}

#[derive(Debug, Queryable, QueryableByName)]
pub(super) struct TickOut {
    #[diesel(sql_type = Text)]
    epoch: String,
    #[diesel(sql_type = Nullable<Text>)]
    provenance: Option<String>,
    #[diesel(sql_type = BigInt)]
    last_micros: Numeric,
    #[diesel(sql_type = Nullable<BigInt>)]
    bid_micros: Option<Numeric>,
    #[diesel(sql_type = Nullable<BigInt>)]
    ask_micros: Option<Numeric>,
    #[diesel(sql_type = BigInt)]
    time_us: Instant,
    #[diesel(sql_type = BigInt)]
    event_time_us: Instant,
    #[diesel(sql_type = BigInt)]
    seq: Whole,
}

impl TickOut {
    pub(super) fn into_tick(self, symbol: Symbol) -> Result<StoredTick, Damage> {
        let tick = Tick {
            symbol,
            price: self.last_micros.0,
            bid: self.bid_micros.map(|price| price.0),
            ask: self.ask_micros.map(|price| price.0),
            at: self.event_time_us.0,
            provenance: self
                .provenance
                .as_deref()
                .map_or(Ok(Provenance::Live), parse_provenance)?,
        };
        Ok(StoredTick {
            tick: AcceptedTick {
                tick,
                received_at: self.time_us.0,
            },
            epoch: parse_epoch(&self.epoch)?,
            seq: to_number(self.seq)?,
        })
    }
}

fn parse_epoch(text: &str) -> Result<Epoch, Damage> {
    text.parse().map_err(|_| Damage(format!("{text:?} is not an epoch")))
}

#[derive(Debug, Queryable)]
pub(super) struct GapOut {
    bar_interval: String,
    status: String,
    cause: String,
    epoch: String,
    from_at: Instant,
    to_at: Instant,
    opened_at: Instant,
    updated_at: Instant,
    id: Whole,
    bars: Whole,
}

impl GapOut {
    pub(super) fn into_gap(self, query: &GapQuery) -> Result<StoredGap, Damage> {
        let gap = Gap {
            id: to_number(self.id)?,
            symbol: query.symbol,
            interval: self.bar_interval.parse().map_err(|error| Damage(format!("{error}")))?,
            from: self.from_at.0,
            to: self.to_at.0,
            bars: to_number(self.bars)?,
            status: *GapStatus::ALL
                .iter()
                .find(|status| status.name() == self.status)
                .ok_or_else(|| Damage(format!("{:?} is not a status of a gap", self.status)))?,
            cause: self.cause,
        };
        Ok(StoredGap {
            epoch: parse_epoch(&self.epoch)?,
            gap,
            opened_at: self.opened_at.0,
            updated_at: self.updated_at.0,
        })
    }
}

#[derive(Debug, Queryable)]
pub(super) struct SessionOut {
    session_date: Day,
    symbol: String,
    status: Option<String>,
    start_time: Option<Instant>,
    end_time: Option<Instant>,
    ticks: Option<Whole>,
    bars: Option<Whole>,
    gaps: Option<Whole>,
}

impl SessionOut {
    pub(super) fn into_session(self) -> Result<StoredSession, Damage> {
        let symbol = &self.symbol;
        Ok(StoredSession {
            symbol: symbol
                .parse()
                .map_err(|_| Damage(format!("{symbol:?} is not a pair")))?,
            date: self.session_date.0,
            start: self.start_time.map(|at| at.0),
            end: self.end_time.map(|at| at.0),
            status: self.status.unwrap_or_default(),
            ticks: self.ticks.map(to_number).transpose()?,
            bars: self.bars.map(to_number).transpose()?,
            gaps: self.gaps.map(to_number).transpose()?,
        })
    }
}

/// Converts each row of a table.
pub(super) fn convert<R, T>(
    rows: Vec<R>,
    table: &'static str,
    into: impl FnMut(R) -> Result<T, Damage>,
) -> Result<Vec<T>, StoreError> {
    let converted = rows.into_iter().map(into).collect::<Result<_, _>>();
    converted.map_err(|damage: Damage| damage.in_table(table))
}

/// What is wrong with a stored row; the caller adds the table.
#[derive(Debug)]
pub(super) struct Damage(String);

impl Damage {
    pub(super) const fn new(problem: String) -> Self {
        Self(problem)
    }

    pub(super) fn in_table(self, table: &'static str) -> StoreError {
        StoreError::Corrupt { table, problem: self.0 }
    }
}

fn to_number<T: TryFrom<i64>>(Whole(number): Whole) -> Result<T, Damage> {
    T::try_from(number).map_err(|_| Damage(format!("{number} is out of range")))
}

fn parse_provenance(name: &str) -> Result<Provenance, Damage> {
    Provenance::named(name).ok_or_else(|| Damage(format!("{name:?} is not a provenance")))
}
