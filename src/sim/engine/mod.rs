//! Runs the simulation: sockets, REST, and their shared state.

pub mod config;
#[expect(
    clippy::module_inception,
    reason = "the room is named after its main noun and shows it at its own level"
)]
mod engine;
mod actions;
mod requests;
mod engine_handle;
mod outbox;
mod controlled_stream;
pub mod report;
mod socket;
mod rest;
pub mod server;

pub(crate) use actions::Target;
pub use config::SimConfig;
pub(crate) use controlled_stream::{ConnectionControl, ControlledStream};
pub(crate) use engine::{Engine, Socket};
pub(crate) use engine_handle::EngineHandle;
pub(crate) use outbox::{Next, Outbox};
pub use report::{Counters, Report};
pub use server::{SimError, SimHandle};
