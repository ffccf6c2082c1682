//! The mechanism of supervision: restarts within a budget, what is known of each child, and the watchdog.

pub mod supervise;
pub mod vitals;
pub mod watchdog;

pub use supervise::{Mail, Row};
pub(crate) use vitals::Stuck;
pub use vitals::Vitals;
