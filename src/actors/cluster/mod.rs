//! More than one machine: LogKeeper publishes an ingest's ledger; LogFollower and EdgeRoot make an edge.

pub mod log_keeper;
pub mod log_follower;
pub mod edge_root;
mod log_append;
mod node_teller;

pub use edge_root::EdgeRoot;
pub use log_follower::LogFollower;
pub use log_keeper::LogKeeper;
pub use node_teller::NodeName;

#[cfg(test)]
mod tests;
