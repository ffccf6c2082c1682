//! A gap: consecutive expected bars that are missing, the cause, and whether they were obtained.

use crate::domain::model::{Interval, SlotGrid, Symbol, Timestamp};
use serde::{Deserialize, Serialize};

/// How far the filling of a gap has come.
///
/// ```text
/// open ──requested──► filling ──all bars came──► filled
///                        └──the vendor has none──► unfillable
/// ```
/// A failed request leaves it `filling`. When the clock is set back, a filled or unfillable gap may become `open` again.
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapStatus {
    /// The vendor has not been asked yet.
    Open,
    /// The vendor has been asked.
    Filling,
    /// Every bar of it was obtained.
    Filled,
    /// The vendor was asked and does not have the bars.
    Unfillable,
}

impl GapStatus {
    /// Every one.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// Its name in every protocol and table.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether bars are still missing and may yet be obtained.
    pub const fn pending(self) -> bool {
        matches!(self, Self::Open | Self::Filling)
    }
}

/// The cause of a gap in which the market was proved silent: prices were accepted before and after it on one uninterrupted link.
pub const NO_TICKS: &str = "no_ticks";

/// Consecutive missing bars. Published again, whole, each time its status or its cause changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Numbered per symbol; shown as `g-19`.
    pub id: u64,
    /// The pair.
    pub symbol: Symbol,
    /// The interval of the missing bars.
    pub interval: Interval,
    /// Open of the first missing bar.
    pub from: Timestamp,
    /// Close of the last missing bar.
    pub to: Timestamp,
    /// How many bars are missing.
    pub bars: u32,
    /// How far the filling has come.
    pub status: GapStatus,
    /// Why the bars are missing: `no_ticks`, `no_accepted_price`, `upstream_close_1006`, `not_running`, …; for `unfillable` the evidence
    /// follows it.
    pub cause: String,
}

impl Gap {
    /// Whether market data may be missing: bars may yet be obtained, and the market is not proved silent.
    pub fn is_hole(&self) -> bool {
        self.status.pending() && self.cause != NO_TICKS
    }

    /// The interval of the vendor's bars to request for it ([`SlotGrid::asked_in`]).
    pub fn asked_in(&self) -> Interval {
        SlotGrid::of_interval(self.interval).asked_in(self.from, self.to)
    }
}
