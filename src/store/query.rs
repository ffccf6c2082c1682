//! The queries of a store, and their results.

use crate::domain::model::{AcceptedTick, Bar, Epoch, Gap, GapStatus, Interval, Symbol, Timestamp};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A query for bars: the best one of each slot, earliest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarQuery {
    /// The pair.
    pub symbol: Symbol,
    /// The interval.
    pub interval: Interval,
    /// Bars that open at or after this instant.
    pub from: Timestamp,
    /// Bars that open before this instant.
    pub to: Timestamp,
    /// The bars as they were known at this instant, without later revisions.
    pub as_of: Option<Timestamp>,
    /// Only bars that open after this instant, which is the `opens_at` of the last bar of the previous page.
    pub cursor: Option<Timestamp>,
    /// The maximum number of bars.
    pub limit: u32,
    /// Whether to return the latest bars instead of the earliest when there are more than the limit. Still earliest first.
    pub latest: bool,
}

impl BarQuery {
    /// All bars of `[from, to)`, at most `limit`.
    pub const fn between(symbol: Symbol, interval: Interval, from: Timestamp, to: Timestamp, limit: u32) -> Self {
        Self {
            symbol,
            interval,
            from,
            to,
            as_of: None,
            cursor: None,
            limit,
            latest: false,
        }
    }

    /// The earliest open.
    pub(super) fn begin(&self) -> Timestamp {
        let behind = self.cursor.map(|cursor| cursor + Duration::from_micros(1));
        behind.map_or(self.from, |behind| self.from.max(behind))
    }

    /// The end of the opens, exclusive. A bar known at an instant opened before it; a day is added for rows of another program with a wrong
    /// time zone.
    pub(super) fn end(&self) -> Timestamp {
        self.as_of
            .map_or(self.to, |as_of| self.to.min(as_of + Duration::from_hours(24)))
    }
}

/// A bar, with the store's information about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBar {
    /// The bar. One that another program wrote has provenance `l0` and no ticks.
    pub bar: Bar,
    /// `candela` for ours, otherwise the other program's name.
    pub source: String,
    /// Its seq in its channel, for ours.
    pub seq: Option<u64>,
    /// When this revision was published, for ours; when it was inserted, for others.
    pub known_at: Option<Timestamp>,
}

/// A query for ticks, by arrival, earliest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TickQuery {
    /// The pair.
    pub symbol: Symbol,
    /// Ticks received at or after this instant.
    pub from: Timestamp,
    /// Ticks received before this instant.
    pub to: Timestamp,
    /// Only ticks with a seq above this one, of any epoch.
    pub after_seq: Option<u64>,
    /// Only ticks after this place, which is the last tick of the previous page.
    pub cursor: Option<TickPlace>,
    /// The maximum number of ticks.
    pub limit: u32,
}

/// The place of a tick among those of its pair, which are ordered by arrival, then by seq. A seq alone is not a place, because seqs begin
/// anew with each epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TickPlace {
    /// When the tick was received.
    pub received_at: Timestamp,
    /// Its seq.
    pub seq: u64,
}

impl TickQuery {
    /// The earliest instant of arrival.
    pub(super) fn begin(&self) -> Timestamp {
        self.cursor.map_or(self.from, |place| self.from.max(place.received_at))
    }

    /// The place after which the page begins; without a cursor, before the whole range.
    pub(super) fn start_place(&self) -> TickPlace {
        self.cursor.unwrap_or(TickPlace {
            received_at: self.from - Duration::from_secs(1),
            seq: 0,
        })
    }

    /// Whether the page begins after a seq, not after a place.
    pub(super) const fn starts_after_seq(&self) -> bool {
        self.after_seq.is_some() && self.cursor.is_none()
    }
}

impl StoredGap {
    /// Its place.
    pub const fn place(&self) -> GapPlace {
        GapPlace {
            from: self.gap.from,
            id: self.gap.id,
            epoch: self.epoch,
        }
    }
}

impl StoredTick {
    /// Its place.
    pub const fn place(&self) -> TickPlace {
        TickPlace {
            received_at: self.tick.received_at,
            seq: self.seq,
        }
    }
}

impl fmt::Display for TickPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.received_at.micros(), self.seq)
    }
}

impl FromStr for TickPlace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, seq) = text.rsplit_once('-').ok_or(())?;
        let at: i64 = at.parse().map_err(drop)?;
        let seq: i64 = seq.parse().map_err(drop)?;
        Ok(Self {
            received_at: Timestamp::from_micros(at),
            seq: u64::try_from(seq).map_err(drop)?,
        })
    }
}

/// A tick with its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTick {
    /// The tick.
    pub tick: AcceptedTick,
    /// The epoch of its channel.
    pub epoch: Epoch,
    /// Its seq in its channel.
    pub seq: u64,
}

/// A query for gaps: those that overlap a range of time, latest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapQuery {
    /// The pair.
    pub symbol: Symbol,
    /// Gaps that end after this instant.
    pub from: Timestamp,
    /// Gaps that begin before this instant.
    pub to: Timestamp,
    /// Only gaps with this status.
    pub status: Option<GapStatus>,
    /// Only gaps before this place, which is the last gap of the previous page.
    pub cursor: Option<GapPlace>,
    /// The maximum number of gaps.
    pub limit: u32,
}

/// The place of a gap among those of its pair, which are ordered by their first missing bar. An id alone is not a place, because ids begin
/// anew with each epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GapPlace {
    /// Open of the first missing bar.
    pub from: Timestamp,
    /// Its id.
    pub id: u64,
    /// The epoch of its channel.
    pub epoch: Epoch,
}

impl fmt::Display for GapPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.from.micros(), self.id, self.epoch)
    }
}

impl FromStr for GapPlace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (rest, epoch) = text.rsplit_once('-').ok_or(())?;
        let (from, id) = rest.rsplit_once('-').ok_or(())?;
        let from: i64 = from.parse().map_err(drop)?;
        let id: i64 = id.parse().map_err(drop)?;
        Ok(Self {
            from: Timestamp::from_micros(from),
            id: u64::try_from(id).map_err(drop)?,
            epoch: epoch.parse().map_err(drop)?,
        })
    }
}

/// A gap with its dates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGap {
    /// The gap in its present state.
    pub gap: Gap,
    /// The epoch of its channel.
    pub epoch: Epoch,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When its status last changed.
    pub updated_at: Timestamp,
}

/// One row of `market_sessions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// The pair.
    pub symbol: Symbol,
    /// The market's date.
    pub date: chrono::NaiveDate,
    /// When it opened.
    pub start: Option<Timestamp>,
    /// When it closed; `None` while it is open.
    pub end: Option<Timestamp>,
    /// `active` or `closed`.
    pub status: String,
    /// The number of stored ticks, once it is closed.
    pub ticks: Option<u64>,
    /// The number of stored five-minute bars, once it is closed.
    pub bars: Option<u64>,
    /// The number of gaps that overlap it, once it is closed.
    pub gaps: Option<u64>,
}

/// One row of `system_health`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthRow {
    /// The state's name.
    pub status: String,
    /// Further details, as JSON.
    pub details: serde_json::Value,
    /// How long the database took to answer, in milliseconds.
    pub response_ms: Option<u32>,
    /// What is wrong, if anything.
    pub error: Option<String>,
    /// When the row was made.
    pub at: Timestamp,
}
