//! The lease of a store: the exclusive right to write to it.

use crate::domain::followers::lease::{AnotherWriter, Answer, Held, Holder, Place, Succession};
use crate::lock_file::{LockError, LockFile};
use crate::store::{Sqlite, Store, error::StoreError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Store {
    /// The place that the lease is for.
    pub const fn place(&self) -> Place {
        match self {
            Self::Sqlite(_) => Place::StoreFile,
            Self::Postgres(_) => Place::Database,
        }
    }

    /// From now on nothing is written unless this holder has the lease. A file is locked as long as it is open ([`Sqlite::alone`]).
    pub fn claim(&self, by: Holder) {
        if let Self::Postgres(store) = self {
            store.claim(by);
        }
    }

    /// Requests the lease, or renews it.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn renew_lease(&self) -> Result<Answer, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(Answer::Granted(1)),
            Self::Postgres(store) => store.renew_lease().await,
        }
    }

    /// From now on a lease that was lost is not requested again: another process may have written events that this ledger lacks.
    pub fn claim_for_leader(&self) {
        if let Self::Postgres(store) = self {
            store.claim_for_leader();
        }
    }

    /// Whether this process has given its lease back, and so leads no longer.
    pub fn has_given_back(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(store) => store.has_given_back(),
        }
    }

    /// Whether it is the lease of a cluster's leader.
    pub fn is_leaders(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(store) => store.is_leaders(),
        }
    }

    /// Takes the lease if nobody has it, without blocking the writes of a holder.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn take_free_lease(&self) -> Result<Answer, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(Answer::Granted(1)),
            Self::Postgres(store) => store.take_free_lease().await,
        }
    }

    /// The same, but one that has run out is left to its holder: it is returned as held, with no time left.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn take_ownerless_lease(&self) -> Result<Answer, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(Answer::Granted(1)),
            Self::Postgres(store) => store.take_ownerless_lease().await,
        }
    }

    /// The present holder of the lease, without requesting it; `None` if nobody has it, or if its table does not exist yet.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer in time.
    pub async fn lease_holder(&self) -> Result<Option<Held>, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(store) => store.lease_holder().await,
        }
    }

    /// The previous holder of the lease.
    pub fn succession(&self) -> Succession {
        match self {
            Self::Sqlite(_) => Succession::default(),
            Self::Postgres(store) => store.succession(),
        }
    }

    /// Records with the lease that this process leads, and whether the cluster log has everything that is published under it. `false` when
    /// another process has the lease by now.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer; then only what the cluster log has may be published.
    pub async fn set_provable(&self, provable: bool) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(true),
            Self::Postgres(store) => store.set_provable(provable).await,
        }
    }

    /// Releases the lease. If that fails, the lease expires.
    pub async fn release_lease(&self) {
        if let Self::Postgres(store) = self {
            store.release_lease().await;
        }
    }
}

impl Sqlite {
    /// Opens the file for this process alone, for as long as one of the clones lives.
    ///
    /// # Errors
    /// [`StoreError::AnotherWriter`] when another candela has it open; otherwise as [`Sqlite::open`].
    pub fn alone(path: &Path) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        Ok(Self::open(path)?.held_by(Arc::new(lock)))
    }
}

/// Locks a store's file for this process.
///
/// # Errors
/// [`StoreError::AnotherWriter`] when another candela has it open.
pub fn lock(path: &Path) -> Result<LockFile, StoreError> {
    LockFile::take(&lock_of(path)).map_err(|error| match error {
        LockError::Held(by) => StoreError::AnotherWriter(AnotherWriter {
            place: Place::StoreFile,
            by,
        }),
        LockError::Io(error) => StoreError::BadFile {
            file: path.to_owned(),
            problem: error.to_string(),
        },
    })
}

/// The lock file beside the store's file, which is the same for every name of that file.
fn lock_of(path: &Path) -> PathBuf {
    let mut name = path.canonicalize().unwrap_or_else(|_| path.to_owned()).into_os_string();
    name.push(".lock");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_file_is_one_process_s_by_whatever_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/store.db"); // whose folder is made
        let store = Sqlite::alone(&path).unwrap();
        let other = folder.path().join("other.db");
        std::os::unix::fs::symlink(&path, &other).unwrap();
        for name in [&path, &other] {
            let error = Sqlite::alone(name).unwrap_err();
            let pid = std::process::id();
            assert!(
                matches!(&error, StoreError::AnotherWriter(other) if other.by.as_ref().is_some_and(|by| by.pid == pid)),
                "{error}"
            );
        }
        Sqlite::open(&path).unwrap(); // who only reads, or is a test
        drop(store);
        Sqlite::alone(&other).unwrap();
    }
}
