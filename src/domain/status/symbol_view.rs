//! The view of one pair: on `/status`, in metrics, and from a leader to its edges.

use crate::domain::model::{RejectReason, RoundedSource, Timestamp};
use crate::domain::vendor::SubscriptionView;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The view of one pair.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SymbolView {
    /// `live`, `polled`, `stale`, `down`, `closed`.
    pub feed: String,
    /// The learned cadence of the pair's prices, while it is on the link.
    pub cadence: Option<CadenceView>,
    /// Whether a strategy may act on it.
    pub safe_to_trade: bool,
    /// The reasons against it: names of [`UnsafeReason`](super::UnsafeReason).
    pub reasons: Vec<String>,
    /// Rejected prices, by reason.
    pub rejected: BTreeMap<RejectReason, u64>,
    /// Prices and bars whose digits beyond the sixth decimal were rounded away, by source.
    pub rounded: BTreeMap<RoundedSource, u64>,
    /// The timestamp of the last accepted tick.
    pub last_tick: Option<Timestamp>,
    /// Bars closed in the session.
    pub bars_today: u64,
}

/// The learned cadence of a pair's prices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CadenceView {
    /// The learned 99th percentile of the gaps between accepted prices.
    pub gap_p99_seconds: Option<u64>,
    /// The age of the last accepted price from which the pair counts as silent.
    #[serde(default)]
    pub limit_seconds: Option<u64>,
    /// Accepted prices are overdue.
    pub silent: bool,
    /// Prices come, but none is accepted.
    pub unaccepted: bool,
    /// Why the prices that come look wrong: the name of a [`Suspicion`](crate::domain::vendor::Suspicion).
    pub suspect: Option<Cow<'static, str>>,
}

impl CadenceView {
    /// The view of a pair's subscription.
    pub fn new(line: &SubscriptionView) -> Self {
        Self {
            gap_p99_seconds: line.gap_p99.map(|gap| gap.as_secs()),
            limit_seconds: Some(line.patience.as_secs()),
            silent: line.silent,
            unaccepted: line.unaccepted,
            suspect: line.suspicion.map(|suspicion| suspicion.name().into()),
        }
    }
}
