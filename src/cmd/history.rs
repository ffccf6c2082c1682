//! Bars made again: of what a ledger captured, and of ticks in a file.

mod bar_file;
pub mod replay;
pub mod bars;
