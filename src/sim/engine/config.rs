//! The configuration of a simulated upstream.

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
    /// The faults, and when they happen.
    pub scenario: Scenario,
    /// The known keys; an empty list accepts every key.
    pub keys: Vec<String>,
    /// What the plan allows each key.
    pub plan: Plan,
    /// When the session opens from which a scenario counts. If `None`: the replayed day's open, or the five-minute slot in which the server
    /// starts.
    pub opens: Option<Timestamp>,
    /// The address to listen on; port 0 picks a free one.
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
    /// Leaves the keys out.
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
