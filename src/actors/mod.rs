//! //! Actors: each owns one domain value, turns messages into calls and effects into messages, and holds one timer.

pub mod repeat;
pub mod supervision;
pub mod core;
pub mod cluster;
pub mod followers;
pub mod vendor;
pub mod fanout;
pub mod control;
pub mod messages;
pub mod views;
pub mod services;
pub mod tree;
#[cfg(test)]
pub(crate) mod testing;
