//! What candela knows and decides, as plain values. No actors, no runtime, no files, no sockets, no clock, no logs, no
//! randomness: time and ids are arguments, so that any run can be replayed.
//!
//! *Architecture invariant*: nothing here imports another room of this crate but `limits`.

pub mod timestamp;
pub mod moment;
pub mod symbol;
pub mod price;
pub mod interval;
pub mod session;
pub mod slot_grid;
pub mod holidays;
pub mod calendar_spec;
pub mod overrides;
pub mod market_day;
pub mod calendar;
pub mod calendar_view;
pub mod health;
pub mod l0;
pub mod tally;
pub mod l0_table;
pub mod verdict;
pub mod verdict_findings;
pub mod scale;
pub mod seam;
pub mod lifecycle_events;
pub mod lifecycle;
pub mod lifecycle_view;
mod lifecycle_gate;
pub mod session_watch;
pub mod market_time;
pub mod session_view;
pub mod tick;
pub mod bar;
pub mod gap;
pub mod channel;
pub mod stream;
pub mod event;
pub mod wire;
pub mod rest;
pub mod trouble;
pub mod pattern;
pub mod frames;
pub mod delivery;
pub mod lanes;
pub mod outbox;
pub mod stamp_lag;
pub mod acceptance;
pub mod judge;
pub mod sequence;
pub mod bars;
pub mod compose;
pub mod watch;
pub mod gap_book;
pub mod mismatch;
pub mod market;
pub mod pipeline;
mod book;
#[cfg(test)]
mod pipeline_tests;
#[cfg(test)]
mod first_price_tests;
#[cfg(test)]
mod silence_tests;
#[cfg(test)]
mod pipeline_random_tests;
#[cfg(test)]
mod pipeline_time_tests;
#[cfg(test)]
mod audit_tests;
#[cfg(test)]
mod gap_tests;
#[cfg(test)]
mod reopen_tests;
pub mod backoff;
pub mod cadence;
pub mod pulse;
pub mod feed_view;
pub mod lines;
pub mod safety;
pub mod evident_conditions;
pub mod rejection_log;
pub mod link_io;
pub mod link;
pub mod batch;
pub mod protocol;
pub mod requests;
pub mod continuity;
pub mod key;
pub mod keys;
pub mod keys_view;
pub mod budget;
pub mod gaps;
pub mod poll;
pub mod past;
pub mod repeats;
