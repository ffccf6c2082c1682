//! Why a service ends, and what its stop writes. Bars close by the clock as long as the pipeline decides, so the commit queue is closed
//! first: then the ledger has a last event, which its readers can reach.

use super::App;
use crate::actors::core::CommitQueue;
use crate::actors::messages::Flush;
use crate::actors::views::LatestView;
use crate::domain::followers::ReaderView;
use crate::exit::Exit;
use crate::ledger::Ledger;
use crate::limits;
use actix::Recipient;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Why the service should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A signal, the drain that an operator requested, or the end of the given time.
    Asked,
    /// There is nothing more to do: the demo is over.
    Over,
    /// A standby has the lease, and goes on as the leader.
    Leased,
    /// The service cannot go on.
    Failed(Exit),
}

/// The parts that write, as a stop needs them.
#[derive(Debug, Clone)]
pub(super) struct Writing {
    pub(super) commit_queue: CommitQueue,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) latest: watch::Receiver<LatestView>,
    /// `None` on an edge, which writes to no store.
    pub(super) writer: Option<Recipient<Flush>>,
    pub(super) store: watch::Receiver<ReaderView>,
}

impl Writing {
    /// Closes the commit queue, and waits until its entries are written and published. Returns how many could not be written.
    pub(super) async fn ledger_ends(&self) -> usize {
        self.commit_queue.close();
        drop(tokio::time::timeout(limits::STOP_WRITING, self.commit_queue.wait_until_empty()).await);
        let left = self.commit_queue.len();
        if left > 0 {
            tracing::error!(
                left,
                "the last decisions could not be written to the ledger and were not published: the next start requests their bars"
            );
        }
        left
    }

    /// Waits a moment until the cluster log has all of the ledger: events that it lacks are sent to no client, and the next leader requests
    /// their bars.
    pub(super) async fn logged(&self) {
        let head = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).head();
        let mut latest = self.latest.clone();
        let logged = latest.wait_for(|view| view.head >= head);
        if tokio::time::timeout(limits::STOP_LOGGING, logged).await.is_err() {
            tracing::warn!("the cluster log does not have the end of the ledger");
        }
    }

    /// Waits until the Writer reaches the end of the ledger. Returns how many events the next start has to write.
    pub(super) async fn stored(&self, within: Duration) -> u64 {
        let Some(writer) = &self.writer else { return 0 };
        let head = self.latest.borrow().head.0;
        let mut store = self.store.clone();
        let there = async {
            writer.send(Flush).await.unwrap_or_default(); // a Writer that fails now restarts by itself
            drop(store.wait_for(|view| view.position.0 >= head).await);
        };
        drop(tokio::time::timeout(within, there).await);
        let left = head.saturating_sub(self.store.borrow().position.0);
        if left > 0 {
            tracing::warn!(
                left,
                "the database does not have all events yet: the ledger keeps the rest, and the next start or the next leader writes it"
            );
        }
        left
    }

    /// Empties the ledger's write-ahead log, so that its files alone are complete. A write-ahead log that is not emptied loses nothing: the
    /// next start reads it.
    pub(super) async fn ledger_rests(&self) {
        let ledger = Arc::clone(&self.ledger);
        let emptied =
            tokio::task::spawn_blocking(move || ledger.lock().unwrap_or_else(PoisonError::into_inner).empty_log());
        match tokio::time::timeout(limits::STOP_CHECKPOINT, emptied).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                tracing::warn!(%error, "failed to empty the ledger's write-ahead log: the next start does");
            }
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("the ledger's write-ahead log is not emptied in time: the next start empties it");
            }
        }
    }
}

/// Waits until the service should end, while `beside` runs: a signal, the end of `run_for`, of `over` or of `beside`, the lease of a
/// standby, or a failure.
///
/// # Errors
/// When the system gives no signal handler.
pub async fn until_over(
    app: &App,
    run_for: Option<Duration>,
    over: impl Future<Output = ()>,
    beside: impl Future<Output = ()>,
) -> std::io::Result<Ending> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut failing = app.tree.views.ending.subscribe();
    let failed = async {
        loop {
            if let Some(exit) = *failing.borrow_and_update() {
                return exit;
            }
            if failing.changed().await.is_err() {
                return Exit::GaveUp;
            }
        }
    };
    Ok(tokio::select! {
        _ = interrupt.recv() => Ending::Asked,
        _ = terminate.recv() => Ending::Asked,
        () = after(run_for) => Ending::Asked,
        () = over => Ending::Over,
        () = app.leased() => Ending::Leased,
        exit = failed => match exit {
            Exit::Clean => Ending::Asked, // an operator requested it
            exit => Ending::Failed(exit),
        },
        () = beside => Ending::Over,
    })
}

async fn after(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::core::{Recorder, recorder};
    use crate::actors::followers::{Writer, writer};
    use crate::actors::messages::Handed;
    use crate::actors::testing::{self, listen};
    use crate::clock::Clock;
    use crate::ledger::{
        LedgerOptions,
        event_script::{EventScript, day},
    };
    use crate::store::{
        Sqlite, Store,
        probe::{execute_sql, query_count},
    };
    use actix::{Actor, Addr};
    use std::path::Path;

    /// A service that decides as fast as it can.
    struct Stage {
        writing: Writing,
        recorder: Addr<Recorder>,
        story: EventScript,
    }

    fn stage(folder: &Path) -> Stage {
        let ledger = Ledger::open(&folder.join("ledger"), LedgerOptions::new(day(22), 3)).unwrap();
        let (story, (root, _)) = (EventScript::continue_from(&ledger), listen());
        let store = Store::Sqlite(Sqlite::open(&folder.join("store.db")).unwrap());
        let services = testing::services(Clock::system(), &ledger, store, root);
        let writer = Writer::new(writer::Deps {
            services: services.clone(),
            ledger: ledger.holding_reader(),
            tick_retention: None,
            located: Arc::default(),
        });
        let (writer, ledger, commit_queue) = (writer.start(), Arc::new(Mutex::new(ledger)), CommitQueue::default());
        let (latest, store) = (services.views.latest.subscribe(), services.views.store.subscribe());
        let recorder = Recorder::new(recorder::Deps {
            services,
            ledger: Arc::clone(&ledger),
            commit_queue: commit_queue.clone(),
            readers: vec![("writer".to_owned(), writer.clone().recipient())],
            shows: true,
        });
        let writing = Writing {
            commit_queue,
            ledger,
            latest,
            writer: Some(writer.recipient()),
            store,
        };
        Stage {
            writing,
            recorder: recorder.start(),
            story,
        }
    }

    impl Stage {
        /// Decides some entries, as the clock makes a service do at any time, and waits until the Recorder was sent `Handed`.
        async fn decide(&mut self, moves: &[u8]) {
            self.writing.commit_queue.push_all(&mut self.story.entries_for(moves));
            self.recorder.send(Handed).await.unwrap();
        }

        fn head(&self) -> u64 {
            self.writing.ledger.lock().unwrap().head().0
        }
    }

    /// A tick and a bar.
    const MOVES: [u8; 2] = [0, 5];

    #[actix_rt::test]
    async fn a_bar_that_closes_during_the_stop_is_in_the_ledger_and_in_the_store_or_in_neither() {
        let folder = tempfile::tempdir().unwrap();
        let mut stage = stage(folder.path());
        stage.decide(&MOVES).await;
        stage.decide(&MOVES).await;
        assert_eq!(stage.writing.ledger_ends().await, 0);
        stage.decide(&MOVES).await; // while clients are sent away
        assert_eq!(stage.writing.stored(limits::STOP_WRITING).await, 0);
        stage.decide(&MOVES).await; // until the thread ends
        assert_eq!(stage.head(), 4);
        let store = folder.path().join("store.db");
        assert_eq!(query_count(&store, "SELECT max(position) FROM reader_positions"), 4);
        assert_eq!(query_count(&store, "SELECT count(*) FROM realtime_market_data"), 2);
    }

    #[actix_rt::test]
    async fn what_the_store_does_not_get_in_time_is_counted_and_left_to_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let mut stage = stage(folder.path());
        stage.decide(&MOVES).await;
        assert_eq!(stage.writing.stored(limits::STOP_WRITING).await, 0);
        let store = folder.path().join("store.db");
        execute_sql(&store, "ALTER TABLE reader_positions RENAME TO away");
        stage.decide(&[0, 0, 5]).await;
        assert_eq!(stage.writing.ledger_ends().await, 0);
        assert_eq!(stage.writing.stored(limits::STOP_WRITING).await, 3);
    }

    #[actix_rt::test]
    async fn a_ledger_at_rest_is_its_files_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut stage = stage(folder.path());
        stage.decide(&MOVES).await;
        let file = folder.path().join("ledger/ledger-2025-10-22.db");
        let log = file.with_extension("db-wal");
        assert!(std::fs::metadata(&log).unwrap().len() > 0);
        stage.writing.ledger_ends().await;
        stage.writing.stored(limits::STOP_WRITING).await;
        stage.writing.ledger_rests().await;
        assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
        let alone = folder.path().join("copy.db");
        std::fs::copy(&file, &alone).unwrap();
        assert_eq!(query_count(&alone, "SELECT count(*) FROM bars"), 1);
    }
}
