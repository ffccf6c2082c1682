//! More than one machine: the parcels in which the ledger of one node reaches the others, and what a node does with each.
//!
//! Pure decisions. `src/carrier` transports parcels; `src/ledger` numbers and stores them.

mod parcel;
mod log;
mod follow;
mod leader;

pub use follow::{EntryStep, LogFound, LogPlace, Start, start};
pub use leader::{LeaderNews, LogNews};
pub use log::{Contact, LogAnswer, LogEntry, LogHead, OpeningMark, contact};
pub use parcel::{ChainOpening, OpeningError, Parcel, ParcelHash};
