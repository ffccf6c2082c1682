//! The simulated upstream: a stand-in for TwelveData. It serves the vendor's WebSocket and REST interface on loopback, with a market that
//! is either a seeded walk or a day of real bars, and misbehaves as a scenario says.
//!
//! *Architecture invariant*: imports only `domain`, `clock` and `limits`; nothing of the service imports it but `cmd`.

pub mod market;
pub mod vendor;
pub mod scenario;
pub mod engine;

pub use engine::{Report, SimConfig, SimError, SimHandle, server::start};
pub use market::{Day, DayError, History, HistoryError, Market};
pub use scenario::{Scenario, ScenarioError};
