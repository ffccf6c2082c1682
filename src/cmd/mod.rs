//! One file a subcommand.

pub mod calendar;
pub mod check;
pub mod status;
pub mod ask;
mod page;
pub mod simulate;
