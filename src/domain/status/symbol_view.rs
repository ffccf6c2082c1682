//! What is shown of one pair: on `/status`, in metrics, and by a leader to its edges.

use crate::domain::model::{RejectReason, RoundedSource, Timestamp};
use crate::domain::vendor::SubscriptionView;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One pair.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SymbolView {
    /// `live`, `polled`, `stale`, `down`, `closed`.
    pub feed: String,
    /// What is known of the feed's rhythm, while the pair is on the link.
    pub cadence: Option<CadenceView>,
    /// Whether a strategy should act on it.
    pub safe_to_trade: bool,
    /// Why not: names of [`UnsafeReason`](super::UnsafeReason).
    pub reasons: Vec<String>,
    /// Prices set aside, by reason.
    pub rejected: BTreeMap<RejectReason, u64>,
    /// Prices and bars of which digits beyond the sixth decimal were rounded away, by where they came from.
    pub rounded: BTreeMap<RoundedSource, u64>,
    /// The last accepted tick's stamp.
    pub last_tick: Option<Timestamp>,
    /// Bars closed in the session.
    pub bars_today: u64,
}

/// What is known of the rhythm of a pair's prices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CadenceView {
    /// The learned 99th-percentile gap between accepted prices.
    pub gap_p99_seconds: Option<u64>,
    /// How old the last accepted price may be before it counts as silent.
    #[serde(default)]
    pub limit_seconds: Option<u64>,
    /// Accepted prices are overdue.
    pub silent: bool,
    /// Prices come, and none is accepted.
    pub unaccepted: bool,
    /// Prices come, and look wrong: the name of a [`Suspicion`](crate::domain::vendor::Suspicion).
    pub suspect: Option<Cow<'static, str>>,
}

impl CadenceView {
    /// What the link shows of a pair.
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
