//! What candela knows and decides, as plain values. No actors, runtime, files, sockets, clock, logs or randomness: time and ids are
//! arguments, so any run can be replayed.
//!
//! *Architecture invariant*: nothing here imports another room of this crate but `limits`.

pub mod model;
pub mod calendar;
pub mod vendor;
pub mod pipeline;
pub mod history;
pub mod status;
pub mod lifecycle;
pub mod protocol;
pub mod followers;
pub mod cluster;
