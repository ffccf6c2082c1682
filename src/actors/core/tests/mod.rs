//! Tests of this room as a whole.

mod core;
mod rebuild;
