//! One file a subcommand.

pub mod calendar;
