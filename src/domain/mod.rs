//! What candela knows and decides, as plain values. No actors, no runtime, no files, no sockets, no clock, no logs, no
//! randomness: time and ids are arguments, so that any run can be replayed.
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
