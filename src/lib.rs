//! candela: a supervised real-time market-data service for USD/COP and other FX pairs.
#![forbid(unsafe_code)]

pub mod limits;
pub mod clock;
pub mod domain;
pub mod exit;
pub mod settings;
pub mod log_queue;
pub mod telemetry;
pub mod notify;
pub mod calendar_file;
pub mod lock_file;
pub mod tls;
pub mod ledger;
pub mod schema;
pub mod store;
pub mod measures;
pub mod client_list;
pub mod views;
pub mod cache;
pub mod carrier;
pub mod actors;
pub mod web;
pub mod sim;
pub mod app;
pub mod cmd;
#[cfg(any(test, feature = "test-hooks"))]
#[path = "tests/fuzzing.rs"]
pub mod fuzzing;
