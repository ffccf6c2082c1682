//! Runs the simulation: sockets, REST, and the state that they share.

pub mod config;
mod stage;
mod acts;
mod talk;
mod play;
mod outbox;
mod pipe;
pub mod report;
mod socket;
mod rest;
pub mod server;

pub(crate) use acts::Target;
pub use config::SimConfig;
pub(crate) use outbox::{Next, Outbox};
pub(crate) use pipe::{Pipe, Valve};
pub(crate) use play::Play;
pub use report::{Counters, Report};
pub use server::{SimError, SimHandle};
pub(crate) use stage::{Socket, Stage};
