//! More than one machine: the parcels in which the ledger of one node reaches the others, and what a node makes of each.
//!
//! Pure decisions. What carries parcels is in the room `carrier`, what numbers and keeps them in the ledger.

mod parcel;
mod log;
mod follow;
mod leader;

pub use follow::{EntryStep, LogFound, LogPlace, Start, start};
pub use leader::{LeaderNews, LogNews};
pub use log::{Contact, LogAnswer, LogEntry, LogHead, OpeningMark, contact};
pub use parcel::{ChainOpening, OpeningError, Parcel, ParcelHash};
