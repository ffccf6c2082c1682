//! One file a subcommand.

pub mod calendar;
pub mod status;
mod ask;
mod page;
