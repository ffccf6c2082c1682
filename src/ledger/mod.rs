//! The ledger: the local, durable, numbered record of inputs and of the events they caused. Nothing is published that is not in it (T1).
//!
//! ```text
//!  folder/lock                       held by the one process that appends
//!  folder/mark                       the last position that was acknowledged
//!  folder/ledger-2025-10-22.db       one SQLite file per session date: inputs · ticks · bars · notes · heads · meta · parcels
//!  folder/ledger-2025-10-23.db ◄──── Ledger::append (one transaction per call)
//!         │                     └──► wal ──► checkpoint, by a separate connection and thread
//!         └──────────────► LedgerReader (read-only; any number): Writer, Publisher, Fanout, replay, REST
//! ```
//!
//! SQLite in WAL mode handles torn writes, checksums and concurrent readers. Durability: an acknowledged append survives the death of the
//! process; one that holds an event other than a tick also survives power loss (`synchronous=FULL`), together with everything that was
//! appended before. Power loss may take the ticks since then: a ledger that cannot be shown to be whole begins new epochs and takes a new
//! name (`mark`, `renumber`).
//!
//! *Architecture invariant*: only `Ledger` writes, and each folder has one at most. Positions count 1, 2, 3, … over all files, without
//! gaps, and are never reused (T2).

mod error;
mod rows;
mod names;
mod files;
mod shared;
mod tail;
mod end;
mod mark;
mod open_files;
mod renumber;
mod parcel_body;
mod parcels;
mod follow;
mod checkpoint;
mod append;
mod read;
mod inputs;
mod inserts;
mod key_use;

use crate::lock_file::LockFile;
pub use append::{Ledger, LedgerOptions, needs_sync};
pub use error::{Disposition, LedgerError};
pub use files::holder_id;
#[cfg(test)]
pub(crate) use files::write_sums;
pub use follow::{ChainEnd, followed_chain, has_led, note_followed, set_aside};
pub use inputs::Inputs;
pub use key_use::{KeyUseBook, KeyUseError};
pub use mark::{Doubt, MarkText, find_doubt};
pub use parcels::{ParcelEnds, Parcels};
pub use read::LedgerReader;
pub use renumber::{Ancestor, Renumbered, surviving_range};

/// Locks a ledger's folder until the result is dropped: no service can run on it meanwhile.
///
/// # Errors
/// [`LedgerError::InUse`] while a service runs on it.
pub fn lock_folder(folder: &std::path::Path) -> Result<LockFile, LedgerError> {
    files::lock_folder(folder)
}

#[cfg(any(test, feature = "test-hooks"))]
#[path = "tests/fuzzing.rs"]
pub mod fuzzing;
#[cfg(test)]
pub(crate) mod event_script;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod renumber_tests;
#[cfg(test)]
mod parcel_tests;
