//! Detects that an open file is no longer the one in the folder. A file that was deleted, moved or replaced takes appended entries with it,
//! and SQLite does not report that.

use super::error::LedgerError;
use super::files::with_suffix;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files of the writing end, each with the device and inode that it had when it was opened.
#[derive(Debug)]
pub(super) struct OpenFiles(Vec<(PathBuf, (u64, u64))>);

impl OpenFiles {
    /// The present files of `folder` and of its day file `day`.
    pub(super) fn of_day(folder: &Path, day: &Path) -> Result<Self, LedgerError> {
        let must = [folder.join("lock"), folder.join("mark"), day.to_owned()];
        let may = ["-wal", "-shm"].map(|suffix| with_suffix(day, suffix));
        let mut files = Vec::new();
        for path in must {
            let found = inode_of(&path).map_err(|source| LedgerError::Folder {
                path: path.clone(),
                source,
            })?;
            files.push((path, found));
        }
        files.extend(
            may.into_iter()
                .filter_map(|path| Some((path.clone(), inode_of(&path).ok()?))),
        );
        Ok(Self(files))
    }

    /// Checks that every file is the one that was opened.
    ///
    /// # Errors
    /// [`LedgerError::Gone`] with the first file that is missing or was replaced.
    pub(super) fn check_present(&self) -> Result<(), LedgerError> {
        for (path, known) in &self.0 {
            let what = match inode_of(path) {
                Ok(found) if found == *known => continue,
                Ok(_) => "was replaced".to_owned(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => "is gone".to_owned(),
                Err(error) => format!("cannot be looked at ({error})"),
            };
            return Err(LedgerError::Gone {
                file: path.clone(),
                what,
            });
        }
        Ok(())
    }
}

fn inode_of(path: &Path) -> std::io::Result<(u64, u64)> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}
