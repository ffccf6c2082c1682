//! Thin shells: each owns one domain value, turns messages into calls and effects into messages, and holds one timer.

pub mod messages;
pub mod supervise;
pub mod vitals;
pub mod tray;
pub mod rebuild;
pub mod recorder;
pub mod aggregator;
mod follower;
pub mod writer;
pub mod tap;
pub mod watchdog;
pub mod publisher;
#[cfg(test)]
mod core_tests;
mod frame_guard;
pub mod vendor;
mod opening;
mod feed_log;
mod feed_parts;
pub mod feed;
pub mod l0_watcher;
pub mod session_clock;
mod completion;
pub mod validator;
pub mod line;
pub mod seat;
pub mod deck;
pub mod rings;
pub mod runs;
pub mod reads_ledger;
pub mod fanout;
mod deliver;
mod beginning;
mod attach;
mod archive;
pub mod key_pool;
pub(crate) mod rest_call;
#[cfg(test)]
mod upstream_stage;
pub mod backfill;
pub mod poller;
mod health_keys;
pub mod health;
pub mod root;
pub mod tree_parts;
mod nursery;
pub mod tree;
