//! Syncs a day file's write-ahead log (`-wal`) while it grows, and moves its content into the file, on a separate thread and connection, so
//! that no append waits for it.

use super::error::LedgerError;
use super::files::with_suffix;
use crate::clock::Stopwatch;
use crate::limits;
use rusqlite::Connection;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// The checkpoint thread, and its queue of jobs. Dropping it waits until the queue is worked off.
#[derive(Debug)]
pub(super) struct Checkpointer {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

enum Job {
    /// The write-ahead log has grown: sync it ahead, so that a commit that must wait for the disk waits briefly.
    Flush(PathBuf),
    /// The write-ahead log has grown large.
    Checkpoint(PathBuf),
    /// The file is complete: empty its write-ahead log and close the connection that appended to it.
    Finish(Connection),
    /// The file is no longer kept: move it into this folder, or delete it.
    Retire(PathBuf, Option<PathBuf>),
}

impl Checkpointer {
    pub(super) fn start() -> Result<Self, LedgerError> {
        let (jobs, inbox) = sync_channel(limits::LEDGER_CHECKPOINTS_WAITING);
        let thread = Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || run_jobs(&inbox))
            .map_err(|source| LedgerError::Folder {
                path: PathBuf::from("checkpoint thread"),
                source,
            })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Requests a sync of the write-ahead log. Dropped when the queue is full; a later request serves as well.
    pub(super) fn request_flush(&self, path: PathBuf) {
        self.send_job(Job::Flush(path));
    }

    /// Requests a checkpoint. Dropped when the queue is full; a later request serves as well.
    pub(super) fn request_checkpoint(&self, path: PathBuf) {
        self.send_job(Job::Checkpoint(path));
    }

    /// Passes on the connection of a file that is complete.
    pub(super) fn finish_file(&self, db: Connection) {
        self.send_job(Job::Finish(db));
    }

    /// Moves a file that is no longer kept to the backup folder, or deletes it if there is none.
    pub(super) fn retire_file(&self, path: PathBuf, backup: Option<PathBuf>) {
        self.send_job(Job::Retire(path, backup));
    }

    fn send_job(&self, job: Job) {
        let refused = self.jobs.as_ref().map(|jobs| jobs.try_send(job));
        if let Some(Err(TrySendError::Full(job) | TrySendError::Disconnected(job))) = refused {
            // Closing the connection of a finished file also empties its write-ahead log; a file that was to be removed is found again at
            // the next start.
            drop(job);
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn run_jobs(inbox: &Receiver<Job>) {
    let mut open: Option<(PathBuf, Connection)> = None;
    for job in inbox {
        let done = match job {
            Job::Flush(path) => {
                sync_log(&path);
                Ok(())
            }
            Job::Checkpoint(path) => {
                if open.as_ref().is_none_or(|(of, _)| *of != path) {
                    open = open_file(&path).map(|db| (path.clone(), db));
                }
                open.as_ref().map_or(Ok(()), |(_, db)| passive_checkpoint(db))
            }
            Job::Finish(db) => {
                open = None;
                run(&db, "TRUNCATE").map(|_| ())
            }
            Job::Retire(path, backup) => {
                open = None;
                remove_file(&path, backup.as_deref());
                Ok(())
            }
        };
        if let Err(error) = done {
            tracing::warn!(error = %error, "ledger checkpoint failed, will be tried again");
        }
    }
}

fn open_file(path: &PathBuf) -> Option<Connection> {
    let db = Connection::open(path).ok()?;
    db.busy_timeout(limits::LEDGER_BUSY_MAX).ok()?;
    db.execute_batch("PRAGMA wal_autocheckpoint=0").ok()?;
    Some(db)
}

/// Removes a file. One that cannot be moved stays, and is tried again when the ledger next rolls after a start.
fn remove_file(path: &Path, backup: Option<&Path>) {
    let moved = match backup {
        Some(backup) => move_to(path, backup),
        None => fs::remove_file(path),
    };
    if let Err(error) = moved {
        tracing::error!(file = %path.display(), error = %error, "a ledger file that is no longer kept could not be moved away");
        return;
    }
    for suffix in ["-wal", "-shm"] {
        drop(fs::remove_file(with_suffix(path, suffix))); // usually gone already
    }
}

/// Syncs the write-ahead log ahead of time. Nothing relies on it: a commit that must be on disk waits for that itself. SQLite's locks are
/// on the file and its `-shm`, so closing a descriptor of the write-ahead log releases none of them.
fn sync_log(path: &Path) {
    let flushed = fs::File::open(with_suffix(path, "-wal")).and_then(|log| log.sync_data());
    if let Err(error) = flushed {
        tracing::debug!(file = %path.display(), error = %error, "the ledger's write-ahead log could not be flushed ahead");
    }
}

/// Moves a file to the backup folder, after its write-ahead log is moved into it. If the backup is on another disk, the file is copied
/// under a temporary name first.
fn move_to(path: &Path, backup: &Path) -> std::io::Result<()> {
    if let Some(db) = open_file(&path.to_owned()) {
        run(&db, "TRUNCATE").map_err(std::io::Error::other)?;
    }
    let Some(name) = path.file_name() else { return Ok(()) };
    fs::create_dir_all(backup)?;
    let target = backup.join(name);
    let partial = backup.join(name).with_extension("partial");
    if fs::rename(path, &target).is_ok() {
        return Ok(());
    }
    fs::copy(path, &partial)?;
    fs::File::open(&partial)?.sync_all()?;
    fs::rename(&partial, &target)?;
    fs::remove_file(path)
}

/// Runs a `PASSIVE` checkpoint, which never blocks an append. Under steady appends it never moves all of the write-ahead log, though, and
/// the log starts over only when all of it is in the file. So a long log is forced to start over, which blocks appends while the last few
/// pages are written.
fn passive_checkpoint(db: &Connection) -> rusqlite::Result<()> {
    let pages = run(db, "PASSIVE")?;
    if pages <= limits::LEDGER_WAL_PAGES_MAX {
        return Ok(());
    }
    let watch = Stopwatch::start();
    run(db, "PASSIVE")?; // what came while the first round wrote
    force_patience(pages, watch.elapsed()).map_or(Ok(()), |patience| truncating_checkpoint(db, patience))
}

/// How long a write-ahead log of `pages` pages may wait for its readers when it is forced to start over; `None` to leave it until the next
/// checkpoint, because the disk `took` long for very little: other programs use it, and appends would wait for them.
fn force_patience(pages: i64, took: Duration) -> Option<Duration> {
    if pages > limits::LEDGER_WAL_PAGES_FORCED {
        return Some(limits::LEDGER_BUSY_MAX);
    }
    (took <= limits::LEDGER_FORCE_CALM).then_some(limits::LEDGER_FORCE_MAX)
}

/// Makes the write-ahead log start over, unless a reader needs it for longer than `patience`.
fn truncating_checkpoint(db: &Connection, patience: Duration) -> rusqlite::Result<()> {
    db.busy_timeout(patience)?;
    let forced = run(db, "RESTART");
    db.busy_timeout(limits::LEDGER_BUSY_MAX)?;
    forced.map(|_| ())
}

/// Runs a checkpoint. Returns the number of pages in the write-ahead log.
fn run(db: &Connection, mode: &str) -> rusqlite::Result<i64> {
    db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))
}

#[cfg(test)]
mod tests {
    use super::{force_patience, open_file, run, truncating_checkpoint};
    use crate::clock::Stopwatch;
    use crate::limits;
    use std::time::Duration;

    #[test]
    fn a_log_is_left_alone_while_others_have_the_disk_unless_it_is_hopeless() {
        let (long, hopeless) = (limits::LEDGER_WAL_PAGES_MAX + 1, limits::LEDGER_WAL_PAGES_FORCED + 1);
        let [quick, slow] = [limits::LEDGER_FORCE_CALM, 2 * limits::LEDGER_FORCE_CALM];
        assert_eq!(force_patience(long, quick), Some(limits::LEDGER_FORCE_MAX));
        assert_eq!(force_patience(long, slow), None);
        assert_eq!(force_patience(hopeless, slow), Some(limits::LEDGER_BUSY_MAX));
    }

    #[test]
    fn a_log_that_is_made_to_start_over_waits_but_a_moment_for_its_readers_and_keeps_what_they_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let [appender, checkpointer, reader] = [(); 3].map(|()| open_file(&path).unwrap());
        appender
            .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t (x)")
            .unwrap();
        let append = || appender.execute("INSERT INTO t VALUES (zeroblob(100000))", []).unwrap();
        let pages = || run(&checkpointer, "PASSIVE").unwrap();
        append();
        reader.execute_batch("BEGIN").unwrap();
        reader.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
        append();
        let (before, watch) = (pages(), Stopwatch::start());
        truncating_checkpoint(&checkpointer, limits::LEDGER_FORCE_MAX).unwrap();
        assert!(watch.elapsed() < Duration::from_secs(1), "{:?}", watch.elapsed());
        append();
        assert!(pages() > before, "the reader still has what it reads");
        reader.execute_batch("COMMIT").unwrap();
        truncating_checkpoint(&checkpointer, limits::LEDGER_FORCE_MAX).unwrap();
        append();
        assert!(pages() < before, "{} pages after {before}", pages());
    }
}
