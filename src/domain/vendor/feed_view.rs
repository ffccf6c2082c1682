//! The link as `/status` shows it.

use crate::domain::model::{Symbol, Timestamp};
use crate::domain::vendor::{Status, Suspicion};
use std::time::Duration;

/// The whole link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedView {
    /// `idle`, `connecting`, `confirming`, `live`, `silent` or `waiting`.
    pub state: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// Handshakes that succeeded.
    pub connections_total: u64,
    /// When anything last came.
    pub last_frame_at: Option<Timestamp>,
    /// When a price last came.
    pub last_price_at: Option<Timestamp>,
    /// Why the last link ended.
    pub last_cause: Option<String>,
    /// The plan streams none of the pairs: they are refused, though a later attempt will ask again.
    pub refused_all: bool,
    /// Each pair.
    pub symbols: Vec<SubscriptionView>,
}

/// One pair on the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionView {
    /// The pair.
    pub symbol: Symbol,
    /// Asked, confirmed or refused.
    pub status: Status,
    /// When a price of it was last accepted.
    pub last_price_at: Option<Timestamp>,
    /// Its learned 99th-percentile gap between accepted prices.
    pub gap_p99: Option<Duration>,
    /// Twice that, or a default before it is learned: how old its last price may be.
    pub patience: Duration,
    /// Accepted prices are overdue.
    pub silent: bool,
    /// Prices come, and none is accepted.
    pub unaccepted: bool,
    /// Prices come, and look wrong.
    pub suspicion: Option<Suspicion>,
}

impl SubscriptionView {
    /// Whether the link brings prices of the pair that are accepted.
    pub fn brings_prices(&self) -> bool {
        self.status == Status::Confirmed && !self.silent && !self.unaccepted
    }
}

impl FeedView {
    /// A link before prices were first wanted.
    pub const fn idle(now: Timestamp) -> Self {
        Self {
            state: "idle",
            since: now,
            connections_total: 0,
            last_frame_at: None,
            last_price_at: None,
            last_cause: None,
            refused_all: false,
            symbols: Vec::new(),
        }
    }

    /// Whether the link is up, and the prices of every pair it brings are overdue: one quiet pair does not make the link silent.
    pub fn all_silent(&self) -> bool {
        let mut brought = self.symbols.iter().filter(|line| line.status == Status::Confirmed);
        self.state == "silent" && brought.all(|line| line.silent)
    }
}
