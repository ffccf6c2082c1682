//! What a simulated upstream is started with.

use crate::clock::Clock;
use crate::domain::model::Timestamp;
use crate::sim::market::Market;
use crate::sim::scenario::Scenario;
use crate::sim::vendor::Plan;
use std::fmt;
use std::net::SocketAddr;

/// See [`crate::sim::start`].
#[derive(Clone)]
pub struct SimConfig {
    /// Market time; may run faster than real time.
    pub clock: Clock,
    /// The pairs and their prices.
    pub market: Market,
    /// What goes wrong, and when.
    pub scenario: Scenario,
    /// The keys that are known; without any, every key is.
    pub keys: Vec<String>,
    /// What the plan allows each key.
    pub plan: Plan,
    /// When the session opens that a scenario counts from. Without it: the replayed day's open, or the five-minute slot in
    /// which the server starts.
    pub opens: Option<Timestamp>,
    /// Where to listen; port 0 takes a free one.
    pub bind: SocketAddr,
}

impl SimConfig {
    /// A market without faults, for any key, on a free port of loopback.
    pub fn new(clock: Clock, market: Market) -> Self {
        Self {
            clock,
            market,
            scenario: Scenario::default(),
            keys: Vec::new(),
            plan: Plan::default(),
            opens: None,
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }
}

impl fmt::Debug for SimConfig {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            clock,
            market,
            scenario,
            keys,
            plan,
            opens,
            bind,
        } = self;
        f.debug_struct("SimConfig")
            .field("clock", clock)
            .field("market", market)
            .field("scenario", scenario)
            .field("keys", &keys.len())
            .field("plan", plan)
            .field("opens", opens)
            .field("bind", bind)
            .finish()
    }
}
