//! Bars computed again: from a ledger's recorded inputs, and from ticks in a file; and certificates, from ledger and store.

mod bar_file;
pub mod replay;
pub mod bars;
pub mod verify;
