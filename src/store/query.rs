//! What can be asked of a store, and what it answers.

use crate::domain::model::{AcceptedTick, Bar, Epoch, Gap, GapStatus, Interval, Symbol, Timestamp};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Which bars: the best one of each slot, earliest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarQuery {
    /// The pair.
    pub symbol: Symbol,
    /// The interval.
    pub interval: Interval,
    /// Opening at or after this.
    pub from: Timestamp,
    /// Opening before this.
    pub to: Timestamp,
    /// As they were known then; later revisions did not happen.
    pub as_of: Option<Timestamp>,
    /// Only those that open after this: the `opens_at` of the last bar of the page before.
    pub cursor: Option<Timestamp>,
    /// At most so many.
    pub limit: u32,
    /// The latest ones instead of the earliest, where there are more than the limit. Still earliest first.
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

    /// At or after which they open.
    pub(super) fn begin(&self) -> Timestamp {
        let behind = self.cursor.map(|cursor| cursor + Duration::from_micros(1));
        behind.map_or(self.from, |behind| self.from.max(behind))
    }

    /// Before which they open. What was known at an instant opened before it; a day is left for another program's wrong time zone.
    pub(super) fn end(&self) -> Timestamp {
        self.as_of
            .map_or(self.to, |as_of| self.to.min(as_of + Duration::from_hours(24)))
    }
}

/// A bar with what the store knows of it beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBar {
    /// The bar. One that another program prepared has provenance `l0` and no ticks.
    pub bar: Bar,
    /// `candela` for ours, else the other program's name.
    pub source: String,
    /// Its number in its channel, for ours.
    pub seq: Option<u64>,
    /// When this revision was told, for ours; when it was inserted, for others.
    pub known_at: Option<Timestamp>,
}

/// Which ticks, by arrival, earliest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TickQuery {
    /// The pair.
    pub symbol: Symbol,
    /// Received at or after this.
    pub from: Timestamp,
    /// Received before this.
    pub to: Timestamp,
    /// Only those with a number above this one, of any epoch.
    pub after_seq: Option<u64>,
    /// Only those behind this place: the last tick of the page before.
    pub cursor: Option<TickPlace>,
    /// At most so many.
    pub limit: u32,
}

/// A place among the ticks of a pair, which stand by when they were received, then by number. Numbers alone are no places: they begin
/// anew with each epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TickPlace {
    /// When the tick was received.
    pub received_at: Timestamp,
    /// Its number.
    pub seq: u64,
}

impl TickQuery {
    /// The earliest instant at which one of them may have been received.
    pub(super) fn begin(&self) -> Timestamp {
        self.cursor.map_or(self.from, |place| self.from.max(place.received_at))
    }

    /// Where the page begins: without a cursor, before everything of the stretch.
    pub(super) fn start_place(&self) -> TickPlace {
        self.cursor.unwrap_or(TickPlace {
            received_at: self.from - Duration::from_secs(1),
            seq: 0,
        })
    }

    /// Whether a number alone says where they begin.
    pub(super) const fn starts_after_seq(&self) -> bool {
        self.after_seq.is_some() && self.cursor.is_none()
    }
}

impl StoredGap {
    /// Where it stands.
    pub const fn place(&self) -> GapPlace {
        GapPlace {
            from: self.gap.from,
            id: self.gap.id,
            epoch: self.epoch,
        }
    }
}

impl StoredTick {
    /// Where it stands.
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
    /// The incarnation of its channel.
    pub epoch: Epoch,
    /// Its number in its channel.
    pub seq: u64,
}

/// Which gaps: those that touch a stretch, the latest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapQuery {
    /// The pair.
    pub symbol: Symbol,
    /// Ending after this.
    pub from: Timestamp,
    /// Beginning before this.
    pub to: Timestamp,
    /// Only in this status.
    pub status: Option<GapStatus>,
    /// Only those before this place: the last gap of the page before.
    pub cursor: Option<GapPlace>,
    /// At most so many.
    pub limit: u32,
}

/// A place among the gaps of a pair, which stand by their first missing bar. Ids alone are no places: they begin anew with each
/// epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GapPlace {
    /// Open of the first missing bar.
    pub from: Timestamp,
    /// Its id.
    pub id: u64,
    /// The incarnation of its channel.
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

/// A gap with its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGap {
    /// The gap as it stands.
    pub gap: Gap,
    /// The incarnation of its channel.
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
    /// Ticks that were stored in it, once closed.
    pub ticks: Option<u64>,
    /// Five-minute bars that were stored of it, once closed.
    pub bars: Option<u64>,
    /// Gaps that touch it, once closed.
    pub gaps: Option<u64>,
}

/// One row of `system_health`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthRow {
    /// The state's name.
    pub status: String,
    /// Everything else, as JSON.
    pub details: serde_json::Value,
    /// How long the database took to answer.
    pub response_ms: Option<u32>,
    /// What is wrong, if anything.
    pub error: Option<String>,
    /// When.
    pub at: Timestamp,
}
