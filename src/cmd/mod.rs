//! One file a subcommand.

pub mod run;
pub mod demo;
pub mod calendar;
pub mod check;
pub mod cluster;
pub mod admin;
pub mod compare;
pub mod status;
pub mod top;
pub mod protocol_check;
pub mod load;
pub mod ask;
mod checked_client;
mod page;
pub mod output;
pub mod simulate;
pub mod failure;
pub mod migrate;
pub mod backfill;
pub mod keys;
pub mod gaps;
pub mod export;
pub mod history;
pub mod mcp;
pub mod explain;
pub mod shell;
