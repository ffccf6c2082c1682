//! Moves what is in a day file's log (`-wal`) into the file, on a thread and connection of its own, so that no append waits
//! for it.

use super::error::LedgerError;
use crate::limits;
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle};

/// The thread, and the way to it. Dropping it lets the thread finish its work and waits for it.
#[derive(Debug)]
pub(super) struct Checkpointer {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

enum Job {
    /// The log has grown.
    Checkpoint(PathBuf),
    /// The file is complete: empty its log and close the connection that appended to it.
    Finish(Connection),
}

impl Checkpointer {
    pub(super) fn start() -> Result<Self, LedgerError> {
        let (jobs, inbox) = sync_channel(limits::LEDGER_CHECKPOINTS_WAITING);
        let thread = Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || work(&inbox))
            .map_err(|source| LedgerError::Folder {
                path: PathBuf::from("checkpoint thread"),
                source,
            })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Asks for a checkpoint. When one is already asked for, that one will do.
    pub(super) fn ask(&self, path: PathBuf) {
        self.give(Job::Checkpoint(path));
    }

    /// Hands over the connection of a file that will not be appended to again.
    pub(super) fn finish(&self, db: Connection) {
        self.give(Job::Finish(db));
    }

    fn give(&self, job: Job) {
        let refused = self.jobs.as_ref().map(|jobs| jobs.try_send(job));
        if let Some(Err(TrySendError::Full(job) | TrySendError::Disconnected(job))) = refused {
            drop(job); // closing the connection of a finished file empties its log all the same
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

fn work(inbox: &Receiver<Job>) {
    let mut open: Option<(PathBuf, Connection)> = None;
    for job in inbox {
        let done = match job {
            Job::Checkpoint(path) => {
                if open.as_ref().is_none_or(|(of, _)| *of != path) {
                    open = connect(&path).map(|db| (path.clone(), db));
                }
                open.as_ref().map_or(Ok(()), |(_, db)| checkpoint(db))
            }
            Job::Finish(db) => {
                open = None;
                run(&db, "TRUNCATE").map(|_| ())
            }
        };
        if let Err(error) = done {
            tracing::warn!(error = %error, "ledger checkpoint failed, will be tried again");
        }
    }
}

fn connect(path: &PathBuf) -> Option<Connection> {
    let db = Connection::open(path).ok()?;
    db.busy_timeout(limits::LEDGER_BUSY_MAX).ok()?;
    db.execute_batch("PRAGMA wal_autocheckpoint=0").ok()?;
    Some(db)
}

/// `PASSIVE` never holds up an append. Only a log that steady readers kept from starting over is emptied by force, which holds
/// up appends for as long as the last few pages take.
fn checkpoint(db: &Connection) -> rusqlite::Result<()> {
    let pages = run(db, "PASSIVE")?;
    if pages > limits::LEDGER_LOG_PAGES_MAX {
        run(db, "TRUNCATE")?;
    }
    Ok(())
}

/// How many pages the log holds.
fn run(db: &Connection, mode: &str) -> rusqlite::Result<i64> {
    db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))
}
