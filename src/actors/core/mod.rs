//! From inputs to the ledger: decide, queue, append, rebuild.

pub mod commit_queue;
pub mod rebuild;
mod readers;
mod ledger_reports;
pub mod recorder;
pub mod aggregator;

pub use aggregator::{Aggregator, Carried};
pub use commit_queue::CommitQueue;
pub(crate) use ledger_reports::LedgerReports;
pub(crate) use readers::{TellsReaders, ToldReaders};
pub use rebuild::Record;
pub use recorder::Recorder;

#[cfg(test)]
mod tests;
