//! Sends a day file's write-ahead log (`-wal`) to the disk while it grows, and moves what is in it into the file, on a thread and
//! connection of its own, so that no append waits for it.

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

/// The thread, and the way to it. Dropping it lets the thread finish its work and waits for it.
#[derive(Debug)]
pub(super) struct Checkpointer {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

enum Job {
    /// The write-ahead log has grown: let the disk have it, so that a commit that must wait for the disk waits for little.
    Flush(PathBuf),
    /// The write-ahead log has grown large.
    Checkpoint(PathBuf),
    /// The file is complete: empty its write-ahead log and close the connection that appended to it.
    Finish(Connection),
    /// The file is no longer kept: move it there, or delete it.
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

    /// Asks for the write-ahead log to be flushed. When more is waiting than can be done, a later one will do.
    pub(super) fn request_flush(&self, path: PathBuf) {
        self.send_job(Job::Flush(path));
    }

    /// Asks for a checkpoint. When one is already asked for, that one will do.
    pub(super) fn request_checkpoint(&self, path: PathBuf) {
        self.send_job(Job::Checkpoint(path));
    }

    /// Hands over the connection of a file that will not be appended to again.
    pub(super) fn finish_file(&self, db: Connection) {
        self.send_job(Job::Finish(db));
    }

    /// Moves a file that is no longer kept to the backup folder, or deletes it where there is none.
    pub(super) fn retire_file(&self, path: PathBuf, backup: Option<PathBuf>) {
        self.send_job(Job::Retire(path, backup));
    }

    fn send_job(&self, job: Job) {
        let refused = self.jobs.as_ref().map(|jobs| jobs.try_send(job));
        if let Some(Err(TrySendError::Full(job) | TrySendError::Disconnected(job))) = refused {
            // Closing the connection of a finished file empties its write-ahead log all the same; a file that was to go is found again at
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

/// A file that cannot be moved stays, and is tried again when the ledger next rolls after a start.
fn remove_file(path: &Path, backup: Option<&Path>) {
    let moved = match backup {
        Some(backup) => move_to(path, backup),
        None => fs::remove_file(path),
    };
    if let Err(error) = moved {
        tracing::error!(file = %path.display(), error = %error, "a ledger file that is no longer kept could not be put away");
        return;
    }
    for suffix in ["-wal", "-shm"] {
        drop(fs::remove_file(with_suffix(path, suffix))); // usually gone already
    }
}

/// Nothing counts on it: what must be on the disk is waited for by the commit that says so. SQLite's locks are on the file and its
/// `-shm`, so closing a descriptor of the write-ahead log gives none of them up.
fn sync_log(path: &Path) {
    let flushed = fs::File::open(with_suffix(path, "-wal")).and_then(|log| log.sync_data());
    if let Err(error) = flushed {
        tracing::debug!(file = %path.display(), error = %error, "the ledger's write-ahead log could not be flushed ahead");
    }
}

/// What may still be in the write-ahead log goes into the file first. The backup may be on another disk: then it is copied whole, under
/// another name until it is complete.
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

/// `PASSIVE` never holds up an append, but under steady appends it never gets all of a write-ahead log either, and only a
/// write-ahead log that is wholly in the file starts over. So one that grew long is forced to: that holds up appends for as long
/// as the last few pages take.
fn passive_checkpoint(db: &Connection) -> rusqlite::Result<()> {
    let pages = run(db, "PASSIVE")?;
    if pages <= limits::LEDGER_WAL_PAGES_MAX {
        return Ok(());
    }
    let watch = Stopwatch::start();
    run(db, "PASSIVE")?; // what came while the first round wrote
    force_patience(pages, watch.elapsed()).map_or(Ok(()), |patience| truncating_checkpoint(db, patience))
}

/// How long a write-ahead log of so many pages may wait for its readers when it is forced to start over; `None` when it is better
/// left alone, because the disk `took` long for next to nothing: other programs use it, and appends would wait for them. The next
/// checkpoint tries again.
fn force_patience(pages: i64, took: Duration) -> Option<Duration> {
    if pages > limits::LEDGER_WAL_PAGES_FORCED {
        return Some(limits::LEDGER_BUSY_MAX);
    }
    (took <= limits::LEDGER_FORCE_CALM).then_some(limits::LEDGER_FORCE_MAX)
}

/// Makes the write-ahead log start over, unless a reader needs it for longer than that.
fn truncating_checkpoint(db: &Connection, patience: Duration) -> rusqlite::Result<()> {
    db.busy_timeout(patience)?;
    let forced = run(db, "RESTART");
    db.busy_timeout(limits::LEDGER_BUSY_MAX)?;
    forced.map(|_| ())
}

/// How many pages the write-ahead log holds.
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
