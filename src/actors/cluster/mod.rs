//! More than one machine: what an ingest publishes, and what an edge makes of it.

pub mod log_keeper;
pub mod log_follower;
pub mod edge_root;

pub use edge_root::EdgeRoot;
pub use log_follower::LogFollower;
pub use log_keeper::LogKeeper;

#[cfg(test)]
mod tests;
