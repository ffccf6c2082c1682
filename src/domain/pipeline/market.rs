//! The rules of one pair: its sessions, its bars, and how ticks and bars are judged.

use crate::domain::model::{Interval, Sessions, Symbol};
use crate::domain::pipeline::OnMismatch;
use crate::limits;
use std::sync::Arc;
use std::time::Duration;

/// The rules of one pair.
#[derive(Debug, Clone)]
pub struct PairRules {
    /// The pair.
    pub symbol: Symbol,
    /// The sessions of its market.
    pub sessions: Arc<dyn Sessions>,
    /// The intervals of its bars. The first is the base interval, in which gaps are filled.
    pub intervals: Vec<Interval>,
    /// The bar to which a tick on the boundary of two bars belongs.
    pub boundary: Boundary,
    /// How long after its interval a bar waits for late ticks before it is closed.
    pub lateness: Duration,
    /// How far from the last good price a tick may be, in basis points, before it needs confirmation.
    pub jump_basis_points: u64,
    /// What to do when the vendor's own bar differs from ours.
    pub on_mismatch: OnMismatch,
}

impl PairRules {
    /// Five-minute bars, with the limits for USD/COP.
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

/// The bar to which a tick belongs that is timestamped exactly where two bars meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boundary {
    /// The bar that begins there: a timestamp is the moment of the price.
    #[default]
    Opens,
    /// The bar that ends there: a timestamp of a whole minute names the minute that has ended.
    Closes,
}
