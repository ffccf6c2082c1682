//! The pipeline's counters: over all pairs since the day's ledger file began, and for each pair in its session.

use crate::domain::model::{RejectReason, RoundedSource, Symbol};
use crate::domain::pipeline::Compared;
use std::collections::BTreeMap;

/// Counters since the day's ledger file began.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct PipelineCounts {
    /// Accepted ticks.
    pub ticks_accepted: u64,
    /// Rejected ticks, by reason.
    pub ticks_set_aside: BTreeMap<RejectReason, u64>,
    /// Prices and bars whose digits beyond the sixth decimal were rounded away.
    pub rounded: BTreeMap<Symbol, BTreeMap<RoundedSource, u64>>,
    /// Closed bars of the base interval, from any source.
    pub bars_closed: u64,
    /// Revisions of bars of the base interval.
    pub bars_revised: u64,
    /// Gaps opened.
    pub gaps_opened: u64,
    /// Gaps that were filled.
    pub gaps_filled: u64,
    /// Gaps for which the vendor has no bars.
    pub gaps_unfillable: u64,
    /// Our bars that were compared with the vendor's own.
    pub bars_compared: u64,
    /// Of these, bars that differ from the vendor's.
    pub bars_mismatched: u64,
}

/// Counters of one pair in the session that is open, or was last. The comparisons are serialized as `/status` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct PairCounts {
    /// Closed bars of the base interval, from any source.
    #[serde(skip)]
    pub bars_closed: u64,
    /// Our bars that were compared with the vendor's own.
    #[serde(rename = "bars")]
    pub bars_compared: u64,
    /// Of these, bars that differ from the vendor's.
    #[serde(rename = "mismatched")]
    pub bars_mismatched: u64,
}

impl PairCounts {
    pub(super) fn add_compared(&mut self, compared: &Compared) {
        self.bars_compared = self.bars_compared.saturating_add(compared.bars);
        self.bars_mismatched = self.bars_mismatched.saturating_add(compared.mismatch_count());
    }
}

impl PipelineCounts {
    /// Ticks rejected for any reason.
    pub fn set_aside(&self) -> u64 {
        self.ticks_set_aside.values().sum()
    }
}
