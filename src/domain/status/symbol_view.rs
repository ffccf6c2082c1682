//! What is shown of one pair: on `/status`, in metrics, and by a leader to its edges.

use crate::domain::model::{RejectReason, RoundedSource, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// One pair.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SymbolView {
    /// `live`, `polled`, `stale`, `down`, `closed`.
    pub feed: String,
    /// What is known of the feed's rhythm.
    pub cadence: Value,
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
