//! The ledger: the local, durable, numbered record of what was heard and what came of it. Nothing is told that is not in it.
//!
//! ```text
//!  folder/lock                       held by the one process that appends
//!  folder/mark                       the last position that was acknowledged
//!  folder/ledger-2025-10-22.db       one SQLite file a session date: inputs · ticks · bars · notes · heads · meta · parcels
//!  folder/ledger-2025-10-23.db ◄──── Ledger::append (one transaction a call)
//!         │                     └──► wal ──► checkpoint, by a connection and thread of its own
//!         └──────────────► LedgerReader (read-only; any number): Writer, Publisher, Fanout, replay, REST
//! ```
//!
//! SQLite in WAL mode, because torn writes, checksums and concurrent readers are solved there. What survives: an acknowledged
//! append survives the death of the process; one that holds anything but ticks also survives power loss
//! (`synchronous=FULL`), and with it all that was appended before. After power loss the ticks since then may be gone: a ledger that
//! cannot be shown to be whole begins new epochs and takes a new name (`mark`, `renumber`).
//!
//! *Architecture invariant*: only `Ledger` writes, and there is one in the world for each folder. Positions count 1, 2, 3, …
//! over all files, are gapless and never reused (T2).

mod error;
mod rows;
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
pub use follow::{ChainEnd, followed_chain, set_aside};
pub use inputs::Inputs;
pub use key_use::{KeyUseBook, KeyUseError};
pub use mark::{Doubt, MarkText, find_doubt};
pub use parcels::{ParcelEnds, Parcels};
pub use read::LedgerReader;
pub use renumber::{Ancestor, Renumbered, surviving_range};

/// Takes a ledger's folder for as long as what is returned lives: no service can run on it meanwhile.
///
/// # Errors
/// [`LedgerError::InUse`] while one does.
pub fn lock_folder(folder: &std::path::Path) -> Result<LockFile, LedgerError> {
    files::lock_folder(folder)
}

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
