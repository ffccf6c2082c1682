//! Reads the command line, and runs the command.
#![forbid(unsafe_code)]

fn main() {}
