//! A file that one process locks as long as it lives, and that names the process.

use crate::clock::Clock;
use crate::domain::followers::lease::Holder;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The kernel's id of the time since this machine was booted.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
const HOST: &str = "/proc/sys/kernel/hostname";

/// A locked file. The lock ends with the process, however that ends.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    holder: Holder,
}

/// Why a file could not be locked.
#[derive(Debug)]
pub enum LockError {
    /// Another process has locked it, and may have written its name.
    Held(Option<Holder>),
    /// The system's error.
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl LockFile {
    /// Locks a file for this process, and creates it and its folder if needed.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(path: &Path) -> Result<Self, LockError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut line = String::new();
                let read = file.read_to_string(&mut line);
                return Err(LockError::Held(read.ok().and_then(|_| Holder::of_line(&line))));
            }
            Err(TryLockError::Error(source)) => return Err(source.into()),
        }
        let holder = this_process(id_of(&file)?);
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", holder.line())?;
        Ok(Self { file, holder })
    }

    /// This process, identified by the file: a later process that locks the file has the same id.
    pub const fn holder(&self) -> &Holder {
        &self.holder
    }
}

/// The id of a process that locks this file; `None` if the file does not exist.
pub fn id_at(path: &Path) -> Option<String> {
    File::open(path).and_then(|file| id_of(&file)).ok()
}

impl Drop for LockFile {
    /// Closing the file is not enough while a forked child has not yet started its program: the child has the file open as well.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::debug!(error = %error, "the lock ends with its file");
        }
    }
}

fn this_process(id: String) -> Holder {
    let host = fs::read_to_string(HOST).unwrap_or_default();
    Holder {
        id,
        host: host.trim().to_owned(),
        pid: std::process::id(),
        since: Clock::system().now(),
    }
}

/// This process under an id that no other process has or will have.
pub fn this_process_alone() -> Holder {
    this_process(format!("{}:{}:{:x}", boot(), std::process::id(), fastrand::u64(..)))
}

/// Identifies a file by its place on this machine: a copy has another id, and so has the same file on another machine.
fn id_of(file: &File) -> io::Result<String> {
    let found = file.metadata()?;
    Ok(format!("{}:{:x}:{:x}", boot(), found.dev(), found.ino()))
}

/// If the kernel does not say, a random number: then a restart counts as another holder.
fn boot() -> String {
    let boot = fs::read_to_string(BOOT).unwrap_or_default();
    match boot.trim() {
        "" => format!("{:016x}", fastrand::u64(..)),
        known => known.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_second_learns_who_has_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/lock");
        let held = LockFile::take(&path).unwrap();
        match LockFile::take(&path) {
            Err(LockError::Held(Some(by))) => assert_eq!(by, *held.holder()),
            other => panic!("{other:?}"),
        }
        assert_eq!(held.holder().pid, std::process::id());
        let before = held.holder().id.clone();
        drop(held);
        assert_eq!(
            LockFile::take(&path).unwrap().holder().id,
            before,
            "the same folder again"
        );
        let copy = folder.path().join("copy");
        fs::copy(&path, &copy).unwrap();
        assert_ne!(
            LockFile::take(&copy).unwrap().holder().id,
            before,
            "a copy is another folder"
        );
    }

    #[test]
    fn a_file_that_was_given_up_is_free_though_a_forked_child_still_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = LockFile::take(&path).unwrap();
        let _of_the_child = held.file.try_clone().unwrap();
        assert!(LockFile::take(&path).is_err());
        drop(held);
        assert!(LockFile::take(&path).is_ok());
    }

    #[test]
    fn a_file_of_an_older_candela_that_says_nothing_is_held_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let other = File::create(&path).unwrap();
        other.try_lock().unwrap();
        assert!(matches!(LockFile::take(&path), Err(LockError::Held(None))));
    }
}
