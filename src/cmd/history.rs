//! Bars computed again: from a ledger's recorded inputs, and from ticks in a file.

mod bar_file;
pub mod replay;
pub mod bars;
