//! The REST interface: it reads snapshots, the ledger and the store, and waits for no actor.

pub(crate) mod health;
pub(crate) mod status;
pub(crate) mod events;
pub(crate) mod market;
pub(crate) mod history;
pub(crate) mod certificates;
pub(crate) mod csv;
pub(crate) mod parquet;
mod parquet_text;
mod stream;
pub(crate) mod metrics;
mod metric_samples;
mod metric_table;
pub(crate) mod process_numbers;
pub(crate) mod pages;
pub(crate) mod runbooks;
pub(crate) mod parcels;
