//! The service's interface to clients: WebSocket sessions and REST, on HTTP worker threads that each own their clients.
//!
//! ```text
//!  listener ─► worker thread: routes ─► ClientRegistry ◄── fan-out shard of this thread ◄── Recorded
//!                               └─► Client (an actor a session): reads the client's messages
//! ```
//!
//! *Architecture invariant*: REST reads snapshots, the ledger and the store; it never waits for an actor, except for the answer to an
//! operator's action.

pub mod server;
mod shared;
mod ws;
mod sse;
pub(crate) mod rest;
mod udf;
mod td;
mod admin;
mod api_docs;

pub use server::{
    Extras, RunningServer, ServeError, TlsError, TlsFiles, WebParts, descriptors::reserve_descriptors, serve,
};
#[cfg(feature = "test-hooks")]
pub use shared::hooks::{Does, Hooks};
pub use shared::{DoorLimits, StartShard, Tokens, TokensError};
#[cfg(any(test, feature = "test-hooks"))]
pub(crate) use ws::{InboundMessage, Messages};

#[cfg(test)]
pub(crate) mod tests;
