//! The simulated cluster: nodes with the machines of `domain::cluster` and a ledger each, wired as `src/actors/cluster`, `src/app/cluster.rs`
//! and `src/app/standby.rs` wire them, around a cluster log, a database with the lease, and clients that go from node to node.
//!
//! ```text
//!  plan ──► world: one clock, one queue ──► nodes ── calls ──► log, base (the database), peers
//!                                             └── told ──► clients
//!  witness: what was sent, logged, told and stored, as plain maps; it knows no rule of the code under test
//! ```

mod plan;
mod disk;
mod log;
mod base;
mod net;
mod node;
mod lease;
mod begin;
mod follow;
mod lead;
mod store;
mod clients;
mod witness;
mod faults;
mod reach;
mod world;
mod runner;

pub(crate) use runner::{again, seeds};
