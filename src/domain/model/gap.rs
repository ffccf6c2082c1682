//! A gap: consecutive expected bars that are not there, why, and what became of them.

use crate::domain::model::{Interval, SlotGrid, Symbol, Timestamp};
use serde::{Deserialize, Serialize};

/// How far the healing of a gap has come.
///
/// ```text
/// open ──asked for──► filling ──all bars came──► filled
///   ▲                    │ └──the vendor has none──► unfillable
///   └──attempt failed────┘
/// ```
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapStatus {
    /// Nobody has asked the vendor yet.
    Open,
    /// The vendor was asked.
    Filling,
    /// Every bar of it is there now.
    Filled,
    /// The vendor was asked and has no such bars.
    Unfillable,
}

impl GapStatus {
    /// Its name on every wire and in every table.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether bars are still missing and may yet come.
    pub const fn pending(self) -> bool {
        matches!(self, Self::Open | Self::Filling)
    }
}

/// The cause of a stretch in which accepted prices before and after it, on one line without interruption, prove that the market was
/// silent.
pub const NO_TICKS: &str = "no_ticks";

/// A stretch of missing bars. Told again, whole, each time its status or its cause changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Counted up per symbol; shown as `g-19`.
    pub id: u64,
    /// The pair.
    pub symbol: Symbol,
    /// Of which bars.
    pub interval: Interval,
    /// Open of the first missing bar.
    pub from: Timestamp,
    /// Close of the last missing bar.
    pub to: Timestamp,
    /// How many bars are missing.
    pub bars: u32,
    /// How far healing has come.
    pub status: GapStatus,
    /// `no_ticks`, `no_accepted_price`, `upstream_close_1006`, `not_running`, …: why they are missing; for `unfillable` the evidence follows it.
    pub cause: String,
}

impl Gap {
    /// Whether something that the market had may be missing: bars may yet come, and nothing proves that there was nothing to hear.
    pub fn is_hole(&self) -> bool {
        self.status.pending() && self.cause != NO_TICKS
    }

    /// The interval in which the vendor is asked for it ([`SlotGrid::asked_in`]).
    pub fn asked_in(&self) -> Interval {
        SlotGrid::of_interval(self.interval).asked_in(self.from, self.to)
    }
}
