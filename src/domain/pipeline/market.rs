//! What the pipeline needs to know of one pair: its sessions, its bars, and the rules by which ticks and bars are judged.

use crate::domain::model::{Interval, Sessions, Symbol};
use crate::domain::pipeline::OnMismatch;
use crate::limits;
use std::sync::Arc;
use std::time::Duration;

/// One pair and how it trades.
#[derive(Debug, Clone)]
pub struct PairRules {
    /// The pair.
    pub symbol: Symbol,
    /// When it has sessions.
    pub sessions: Arc<dyn Sessions>,
    /// Which bars are built. The first is the base interval, whose gaps are healed.
    pub intervals: Vec<Interval>,
    /// To which bar a stamp on the boundary belongs.
    pub boundary: Boundary,
    /// How long after its interval a bar waits for late ticks before it is closed.
    pub lateness: Duration,
    /// How far from the last good price a tick may be, in basis points, before it needs confirmation.
    pub jump_basis_points: u64,
    /// What to do where the vendor's own bar tells something else than ours.
    pub on_mismatch: OnMismatch,
}

impl PairRules {
    /// Five-minute bars, with the limits that fit the pair this service exists for.
    pub fn new(symbol: Symbol, sessions: Arc<dyn Sessions>) -> Self {
        Self {
            symbol,
            sessions,
            intervals: vec![Interval::M5],
            boundary: Boundary::default(),
            lateness: limits::LATENESS,
            jump_basis_points: limits::JUMP_BASIS_POINTS,
            on_mismatch: OnMismatch::default(),
        }
    }
}

/// To which of two bars a tick belongs that is stamped exactly on the minute where they meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boundary {
    /// To the bar that begins there: a stamp is the moment of the price.
    #[default]
    Opens,
    /// To the bar that ends there: a stamp of a whole minute names the minute that is over.
    Closes,
}
