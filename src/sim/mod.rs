//! The simulated upstream: TwelveData as a character in a play. It speaks the vendor's WebSocket and REST on loopback, shows a
//! market that is either a seeded walk or a day of real bars, and misbehaves on cue.
//!
//! *Architecture invariant*: imports only `domain`, `clock` and `limits`; nothing of the service imports it but `cmd`.

pub mod config;
pub mod server;
pub mod report;
pub mod market;
pub mod walk;
pub mod dice;
pub mod history;
pub mod day;
pub mod weave;
pub mod scenario;
pub mod script;
pub mod oddities;
pub mod accounts;
pub mod series;
mod stage;
mod acts;
mod weather;
mod talk;
mod frames;
mod play;
mod rest;
mod socket;
mod outbox;
mod pipe;

pub use config::SimConfig;
pub use day::{Day, DayError};
pub use history::{History, HistoryError};
pub use market::Market;
pub use report::Report;
pub use scenario::Scenario;
pub use script::ScenarioError;
pub use server::{SimError, SimHandle, start};
