//! What the statements of [`super::sql`] return, and how it becomes the domain's values again.

use crate::domain::bar::{Bar, BarKey, BarState, Flags, Ohlc};
use crate::domain::channel::Epoch;
use crate::domain::gap::{Gap, GapStatus};
use crate::domain::price::Price;
use crate::domain::session::SessionKind;
use crate::domain::symbol::Symbol;
use crate::domain::tick::{AcceptedTick, Provenance, Tick};
use crate::domain::timestamp::Timestamp;
use crate::store::error::StoreError;
use crate::store::query::{BarQuery, GapQuery, StoredBar, StoredGap, StoredSession, StoredTick};
use crate::store::rows::bogota_date;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};
use std::time::Duration;

#[derive(Debug, QueryableByName)]
pub(super) struct NumberOut {
    #[diesel(sql_type = BigInt)]
    pub(super) number: i64,
}

#[derive(Debug, QueryableByName)]
pub(super) struct BarOut {
    #[diesel(sql_type = Nullable<Text>)]
    source: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    provenance: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    session_kind: Option<String>,
    #[diesel(sql_type = BigInt)]
    open_micros: i64,
    #[diesel(sql_type = BigInt)]
    high_micros: i64,
    #[diesel(sql_type = BigInt)]
    low_micros: i64,
    #[diesel(sql_type = BigInt)]
    close_micros: i64,
    #[diesel(sql_type = BigInt)]
    datetime_us: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    closes_at_us: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    first_tick_at_us: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    last_tick_at_us: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    known_at_us: Option<i64>,
    #[diesel(sql_type = BigInt)]
    ticks: i64,
    #[diesel(sql_type = BigInt)]
    revision: i64,
    #[diesel(sql_type = BigInt)]
    flags: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    seq: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    session_date: Option<String>,
}

impl BarOut {
    /// A row of another program lacks what only we know: it counts as prepared, settled and of no ticks.
    pub(super) fn into_bar(self, query: &BarQuery) -> Result<StoredBar, Damage> {
        let opens_at = Timestamp::from_micros(self.datetime_us);
        let length = query.interval.length().unwrap_or(Duration::ZERO);
        let revision = number(self.revision)?;
        let kind = self.session_kind.as_deref();
        let bar = Bar {
            key: BarKey {
                symbol: query.symbol,
                interval: query.interval,
                opens_at,
            },
            closes_at: self.closes_at_us.map_or(opens_at + length, Timestamp::from_micros),
            ohlc: Ohlc {
                open: Price::from_micros(self.open_micros),
                high: Price::from_micros(self.high_micros),
                low: Price::from_micros(self.low_micros),
                close: Price::from_micros(self.close_micros),
            },
            ticks: number(self.ticks)?,
            first_tick_at: self.first_tick_at_us.map(Timestamp::from_micros),
            last_tick_at: self.last_tick_at_us.map(Timestamp::from_micros),
            state: if revision == 0 {
                BarState::Closed
            } else {
                BarState::Revised
            },
            revision,
            provenance: self.provenance.as_deref().map_or(Ok(Provenance::L0), provenance)?,
            flags: Flags::from_bits(number(self.flags)?),
            session_date: match &self.session_date {
                Some(date) => date.parse().map_err(|_| Damage(format!("{date:?} is no date")))?,
                None => bogota_date(opens_at),
            },
            session_kind: if kind == Some(SessionKind::NextDay.name()) {
                SessionKind::NextDay
            } else {
                SessionKind::Spot
            },
        };
        Ok(StoredBar {
            bar,
            source: self.source.unwrap_or_default(),
            seq: self.seq.map(number).transpose()?,
            known_at: self.known_at_us.map(Timestamp::from_micros),
        })
    }
}

#[derive(Debug, QueryableByName)]
pub(super) struct TickOut {
    #[diesel(sql_type = Text)]
    epoch: String,
    #[diesel(sql_type = Nullable<Text>)]
    provenance: Option<String>,
    #[diesel(sql_type = BigInt)]
    last_micros: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    bid_micros: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    ask_micros: Option<i64>,
    #[diesel(sql_type = BigInt)]
    time_us: i64,
    #[diesel(sql_type = BigInt)]
    event_time_us: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

impl TickOut {
    pub(super) fn into_tick(self, symbol: Symbol) -> Result<StoredTick, Damage> {
        let tick = Tick {
            symbol,
            price: Price::from_micros(self.last_micros),
            bid: self.bid_micros.map(Price::from_micros),
            ask: self.ask_micros.map(Price::from_micros),
            at: Timestamp::from_micros(self.event_time_us),
            provenance: self.provenance.as_deref().map_or(Ok(Provenance::Live), provenance)?,
        };
        Ok(StoredTick {
            tick: AcceptedTick {
                tick,
                received_at: Timestamp::from_micros(self.time_us),
            },
            epoch: epoch(&self.epoch)?,
            seq: number(self.seq)?,
        })
    }
}

fn epoch(text: &str) -> Result<Epoch, Damage> {
    text.parse().map_err(|_| Damage(format!("{text:?} is no epoch")))
}

#[derive(Debug, QueryableByName)]
pub(super) struct GapOut {
    #[diesel(sql_type = Text)]
    bar_interval: String,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Text)]
    cause: String,
    #[diesel(sql_type = Text)]
    epoch: String,
    #[diesel(sql_type = BigInt)]
    from_at_us: i64,
    #[diesel(sql_type = BigInt)]
    to_at_us: i64,
    #[diesel(sql_type = BigInt)]
    opened_at_us: i64,
    #[diesel(sql_type = BigInt)]
    updated_at_us: i64,
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    bars: i64,
}

impl GapOut {
    pub(super) fn into_gap(self, query: &GapQuery) -> Result<StoredGap, Damage> {
        let known = [
            GapStatus::Open,
            GapStatus::Filling,
            GapStatus::Filled,
            GapStatus::Unfillable,
        ];
        let gap = Gap {
            id: number(self.id)?,
            symbol: query.symbol,
            interval: self.bar_interval.parse().map_err(|error| Damage(format!("{error}")))?,
            from: Timestamp::from_micros(self.from_at_us),
            to: Timestamp::from_micros(self.to_at_us),
            bars: number(self.bars)?,
            status: known
                .into_iter()
                .find(|status| status.name() == self.status)
                .ok_or_else(|| Damage(format!("{:?} is no status of a gap", self.status)))?,
            cause: self.cause,
        };
        Ok(StoredGap {
            epoch: epoch(&self.epoch)?,
            gap,
            opened_at: Timestamp::from_micros(self.opened_at_us),
            updated_at: Timestamp::from_micros(self.updated_at_us),
        })
    }
}

#[derive(Debug, QueryableByName)]
pub(super) struct SessionOut {
    #[diesel(sql_type = Text)]
    session_date: String,
    #[diesel(sql_type = Text)]
    symbol: String,
    #[diesel(sql_type = Nullable<Text>)]
    status: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    start_time_us: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    end_time_us: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    ticks: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    bars: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    gaps: Option<i64>,
}

impl SessionOut {
    pub(super) fn into_session(self) -> Result<StoredSession, Damage> {
        let (date, symbol) = (&self.session_date, &self.symbol);
        Ok(StoredSession {
            symbol: symbol.parse().map_err(|_| Damage(format!("{symbol:?} is no pair")))?,
            date: date.parse().map_err(|_| Damage(format!("{date:?} is no date")))?,
            start: self.start_time_us.map(Timestamp::from_micros),
            end: self.end_time_us.map(Timestamp::from_micros),
            status: self.status.unwrap_or_default(),
            ticks: self.ticks.map(number).transpose()?,
            bars: self.bars.map(number).transpose()?,
            gaps: self.gaps.map(number).transpose()?,
        })
    }
}

/// What is wrong with a stored row; the caller knows its table.
#[derive(Debug)]
pub(super) struct Damage(String);

impl Damage {
    pub(super) const fn new(problem: String) -> Self {
        Self(problem)
    }

    pub(super) fn of(self, table: &'static str) -> StoreError {
        StoreError::Corrupt { table, problem: self.0 }
    }
}

fn number<T: TryFrom<i64>>(number: i64) -> Result<T, Damage> {
    T::try_from(number).map_err(|_| Damage(format!("{number} is out of range")))
}

fn provenance(name: &str) -> Result<Provenance, Damage> {
    Provenance::named(name).ok_or_else(|| Damage(format!("{name:?} is no provenance")))
}
