//! Tests of this room as a whole.

mod cluster;
mod log_follower;
