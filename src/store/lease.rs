//! The right to write to a store.

use crate::domain::followers::lease::{AnotherWriter, Answer, Holder, Place};
use crate::lock_file::{LockError, LockFile};
use crate::store::{Sqlite, Store, error::StoreError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Store {
    /// What is written to.
    pub const fn place(&self) -> Place {
        match self {
            Self::Sqlite(_) => Place::StoreFile,
            Self::Postgres(_) => Place::Database,
        }
    }

    /// From now on nothing is written but while this holder has the lease. A file is held as long as it is open ([`Sqlite::alone`]).
    pub fn claim(&self, by: Holder) {
        if let Self::Postgres(store) = self {
            store.claim(by);
        }
    }

    /// Asks for the lease, or renews it.
    ///
    /// # Errors
    /// [`StoreError`] when nobody answers.
    pub async fn renew_lease(&self) -> Result<Answer, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(Answer::Granted(1)),
            Self::Postgres(store) => store.renew_lease().await,
        }
    }

    /// Gives the lease back. One that cannot be given back runs out.
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
    /// [`StoreError::AnotherWriter`] when another candela has it; else as [`Sqlite::open`].
    pub fn alone(path: &Path) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        Ok(Self::open(path)?.held_by(Arc::new(lock)))
    }
}

/// Takes a store's file for this process.
///
/// # Errors
/// [`StoreError::AnotherWriter`] when another candela has it.
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

/// Beside the file itself, by whatever way it is named.
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
