//! A bar: open, high, low and close of one symbol over one interval, with its revision and where it came from.

use crate::domain::model::{Interval, Price, Provenance, SessionKind, Slot, Symbol, Timestamp};
use chrono::NaiveDate;
use serde::{Serialize, Serializer};

/// What identifies a bar: every revision of it has the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BarKey {
    /// The pair.
    pub symbol: Symbol,
    /// The interval.
    pub interval: Interval,
    /// The first instant of the bar.
    pub opens_at: Timestamp,
}

/// The four prices. `low ≤ open, close ≤ high` (invariant B1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ohlc {
    /// First price by event time.
    pub open: Price,
    /// Highest price.
    pub high: Price,
    /// Lowest price.
    pub low: Price,
    /// Last price by event time.
    pub close: Price,
}

impl Ohlc {
    /// All four at one price.
    pub const fn flat_at(price: Price) -> Self {
        Self {
            open: price,
            high: price,
            low: price,
            close: price,
        }
    }

    /// Whether invariant B1 holds.
    pub fn is_ordered(&self) -> bool {
        self.low <= self.open.min(self.close) && self.open.max(self.close) <= self.high
    }
}

/// Whether a bar is final.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BarState {
    /// Still forming: published, never stored.
    Partial,
    /// Its interval is over.
    Closed,
    /// Corrected since it was closed.
    Revised,
}

impl BarState {
    /// Its name in every protocol.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A set of warnings about a bar's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(u8);

impl Flags {
    /// Candela began to receive prices after the bar had begun.
    pub const LATE_START: Self = Self(1);
    /// The feed was down for part of the bar.
    pub const FEED_GAP: Self = Self(2);
    /// The vendor's own bar differs by more than floating-point noise.
    pub const VENDOR_MISMATCH: Self = Self(8);
    /// The end of the session cuts the bar short.
    pub const PARTIAL_SESSION: Self = Self(16);

    const NAMES: [(Self, &'static str); 5] = [
        (Self::LATE_START, "late_start"),
        (Self::FEED_GAP, "feed_gap"),
        (Self(4), "no_ticks"), // reserved: a slot without a tick has no bar
        (Self::VENDOR_MISMATCH, "vendor_mismatch"),
        (Self::PARTIAL_SESSION, "partial_session"),
    ];

    /// The union of both sets.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The intersection of both sets.
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// This set without the flags of `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether this set contains all of `other`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The number that the stores keep.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set with this number, as the stores keep it; unknown bits are dropped.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 31)
    }

    /// The names of the flags that are set, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .filter(move |(flag, _)| self.contains(*flag))
            .map(|(_, name)| name)
    }
}

impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

/// One revision of one bar. Immutable once published (invariant B2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Symbol, interval and first instant.
    pub key: BarKey,
    /// The first instant after the bar.
    pub closes_at: Timestamp,
    /// The prices.
    pub ohlc: Ohlc,
    /// How many accepted ticks it was made of; zero for a bar of the vendor's.
    pub ticks: u32,
    /// Timestamp of the first tick, for a bar made of ticks.
    pub first_tick_at: Option<Timestamp>,
    /// Timestamp of the last tick, for a bar made of ticks.
    pub last_tick_at: Option<Timestamp>,
    /// Partial, closed or revised.
    pub state: BarState,
    /// 0 when first closed; each correction adds one.
    pub revision: u32,
    /// Where its prices came from.
    pub provenance: Provenance,
    /// Warnings about its data.
    pub flags: Flags,
    /// The market's date of its session.
    pub session_date: NaiveDate,
    /// How that session settles.
    pub session_kind: SessionKind,
}

impl Bar {
    /// The slot that it fills.
    pub const fn slot(&self) -> Slot {
        Slot {
            opens_at: self.key.opens_at,
            closes_at: self.closes_at,
        }
    }

    /// Turns it into its next revision.
    pub const fn revise(&mut self) {
        self.state = BarState::Revised;
        self.revision = self.revision.saturating_add(1);
    }
}
