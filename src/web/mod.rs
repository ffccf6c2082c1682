//! What the outside sees: WebSocket sessions and the REST interface, on HTTP worker threads that each own their clients.
//!
//! ```text
//!  listener ─► worker thread: routes ─► Deck of clients ◄── fan-out shard of this thread ◄── Recorded
//!                               └─► Client (an actor a session): reads what the client says
//! ```
//!
//! *Architecture invariant*: REST reads snapshots and the ledger; it never waits for an actor.

pub mod server;
mod listen;
mod admit;
mod client;
mod access;
mod wanted;
mod reader;
mod wire;
mod body;
mod upgrade;
mod handshake;
mod answers;
mod thread;
mod problem;
mod health;
mod market;
mod history;
mod csv;
mod query;
mod pages;
mod openapi;
mod asyncapi;
mod shapes;
mod routes;
mod layers;
mod door;
mod descriptors;
mod tokens;
mod tls;
mod metrics;
#[cfg(feature = "test-hooks")]
mod hooks;

pub use descriptors::reserve_descriptors;
pub use door::DoorLimits;
#[cfg(feature = "test-hooks")]
pub use hooks::{Does, Hooks};
pub use server::{Extras, RunningServer, ServeError, WebParts, serve};
pub use thread::StartShard;
pub use tls::{TlsError, TlsFiles};
pub use tokens::{Tokens, TokensError};

#[cfg(test)]
mod paper;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod misfits;
#[cfg(test)]
mod sessions_test;
#[cfg(test)]
mod restarts_test;
#[cfg(test)]
mod replays_test;
#[cfg(test)]
mod pattern_test;
#[cfg(test)]
mod wishes_test;
#[cfg(test)]
mod stream_test;
#[cfg(test)]
mod history_test;
#[cfg(test)]
mod hostile_test;
#[cfg(test)]
mod guarded_test;
#[cfg(test)]
mod secured_test;
