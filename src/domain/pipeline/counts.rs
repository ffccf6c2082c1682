//! What the pipeline counts: over all pairs since the ledger file of the day began, and of each pair in its session.

use crate::domain::model::{RejectReason, RoundedSource, Symbol};
use crate::domain::pipeline::Compared;
use std::collections::BTreeMap;

/// What was counted since the ledger file of the day began.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct PipelineCounts {
    /// Ticks that were judged good and numbered.
    pub ticks_accepted: u64,
    /// Ticks set aside, by reason.
    pub ticks_set_aside: BTreeMap<RejectReason, u64>,
    /// Prices and bars of which digits beyond the sixth decimal were rounded away.
    pub rounded: BTreeMap<Symbol, BTreeMap<RoundedSource, u64>>,
    /// Bars of the base interval closed, whoever made them.
    pub bars_closed: u64,
    /// Revisions of such bars.
    pub bars_revised: u64,
    /// Gaps opened.
    pub gaps_opened: u64,
    /// Gaps whose every bar came.
    pub gaps_filled: u64,
    /// Gaps the vendor has no bars for.
    pub gaps_unfillable: u64,
    /// Bars of ours that were compared with the vendor's own.
    pub bars_compared: u64,
    /// Of these, bars that tell something else than the vendor's.
    pub bars_mismatched: u64,
}

/// What was counted of one pair in the session that is open, or was last. Its comparisons are serialized as `/status` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct PairCounts {
    /// Bars of the base interval closed, whoever made them.
    #[serde(skip)]
    pub bars_closed: u64,
    /// Bars of ours that were compared with the vendor's own.
    #[serde(rename = "bars")]
    pub bars_compared: u64,
    /// Of these, bars that tell something else than the vendor's.
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
    /// Ticks set aside for any reason.
    pub fn set_aside(&self) -> u64 {
        self.ticks_set_aside.values().sum()
    }
}
