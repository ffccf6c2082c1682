//! What a stop writes down. Bars close by the clock as long as anybody decides, so the end is drawn first: then the ledger has a last
//! event, and its readers can come to it.

use crate::actors::messages::Flush;
use crate::actors::recorder::LatestView;
use crate::actors::tray::Tray;
use crate::domain::batch::ReaderView;
use crate::ledger::Ledger;
use crate::limits;
use actix::Recipient;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The parts that write, as a stop needs them.
#[derive(Debug, Clone)]
pub(super) struct Writing {
    pub(super) tray: Tray,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) latest: watch::Receiver<LatestView>,
    pub(super) writer: Recipient<Flush>,
    pub(super) store: watch::Receiver<ReaderView>,
}

impl Writing {
    /// From now on nothing is decided; what was is written to the ledger, and told. Returns how many decisions could not be.
    pub(super) async fn ledger_ends(&self) -> usize {
        self.tray.close();
        drop(tokio::time::timeout(limits::STOP_WRITING, self.tray.emptied()).await);
        let left = self.tray.len();
        if left > 0 {
            tracing::error!(
                left,
                "what was decided last could not be written to the ledger, and was not told: it is asked for after the next start"
            );
        }
        left
    }

    /// The Writer, the last reader, comes to where the ledger ends. Returns how many events the next start has to write.
    pub(super) async fn stored(&self) -> u64 {
        let behind = |view: &ReaderView, head: u64| head.saturating_sub(view.position.0);
        let head = self.latest.borrow().head.0;
        let mut store = self.store.clone();
        let there = async {
            self.writer.send(Flush).await.unwrap_or_default(); // one that fails now begins again by itself
            drop(store.wait_for(|view| behind(view, head) == 0).await);
        };
        drop(tokio::time::timeout(limits::STOP_WRITING, there).await);
        let left = behind(&self.store.borrow(), head);
        if left > 0 {
            tracing::warn!(
                left,
                "the database does not have all events yet: the ledger keeps the rest, and the next start writes it"
            );
        }
        left
    }

    /// Leaves a ledger whose log is empty, so that its files alone are all of it. A log that is not emptied loses nothing: the next
    /// start reads it.
    pub(super) async fn ledger_rests(&self) {
        let ledger = Arc::clone(&self.ledger);
        let emptied =
            tokio::task::spawn_blocking(move || ledger.lock().unwrap_or_else(PoisonError::into_inner).empty_log());
        match tokio::time::timeout(limits::STOP_CHECKPOINT, emptied).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "failed to empty the ledger's log: the next start does"),
            Ok(Err(_)) | Err(_) => tracing::warn!("the ledger's log is not emptied in time: the next start empties it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::messages::{Handed, Report};
    use crate::actors::recorder::{self, Recorder};
    use crate::actors::writer::{self, Writer};
    use crate::clock::Clock;
    use crate::ledger::Options;
    use crate::ledger::story::{Story, day};
    use crate::store::probe::{count, execute};
    use crate::store::{Sqlite, Store};
    use actix::{Actor, Addr, Context, Handler};
    use std::path::Path;

    struct Root;
    impl Actor for Root {
        type Context = Context<Self>;
    }
    impl Handler<Report> for Root {
        type Result = ();
        fn handle(&mut self, _: Report, _: &mut Context<Self>) {}
    }

    /// A service that decides as fast as it can.
    struct Stage {
        writing: Writing,
        recorder: Addr<Recorder>,
        story: Story,
    }

    fn stage(folder: &Path) -> Stage {
        let ledger = Ledger::open(&folder.join("ledger"), Options::new(day(22), 3)).unwrap();
        let (story, root) = (Story::after(&ledger), Root.start());
        let (written, store) = watch::channel(ReaderView::default());
        let (shown, latest) = watch::channel(LatestView::default());
        let writer = Writer::new(writer::Parts {
            store: Store::Sqlite(Sqlite::open(&folder.join("store.db")).unwrap()),
            ledger: ledger.holding_reader(),
            tick_retention: None,
            located: Arc::default(),
            clock: Clock::system(),
            up: root.clone().recipient(),
            view: written,
        });
        let (writer, ledger, tray) = (writer.start(), Arc::new(Mutex::new(ledger)), Tray::default());
        let recorder = Recorder::new(recorder::Parts {
            ledger: Arc::clone(&ledger),
            tray: tray.clone(),
            readers: vec![("writer".to_owned(), writer.clone().recipient())],
            up: root.recipient(),
            view: shown,
        });
        let writing = Writing {
            tray,
            ledger,
            latest,
            writer: writer.recipient(),
            store,
        };
        Stage {
            writing,
            recorder: recorder.start(),
            story,
        }
    }

    impl Stage {
        /// Decides something, as the clock makes a service do at any time, and waits until the Recorder has seen it.
        async fn decide(&mut self, moves: &[u8]) {
            self.writing.tray.put(&mut self.story.tell(moves));
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
        assert_eq!(stage.writing.stored().await, 0);
        stage.decide(&MOVES).await; // until the thread ends
        assert_eq!(stage.head(), 4);
        let store = folder.path().join("store.db");
        assert_eq!(count(&store, "SELECT max(position) FROM reader_positions"), 4);
        assert_eq!(count(&store, "SELECT count(*) FROM realtime_market_data"), 2);
    }

    #[actix_rt::test]
    async fn what_the_store_does_not_get_in_time_is_counted_and_left_to_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let mut stage = stage(folder.path());
        stage.decide(&MOVES).await;
        assert_eq!(stage.writing.stored().await, 0);
        let store = folder.path().join("store.db");
        execute(&store, "ALTER TABLE reader_positions RENAME TO away");
        stage.decide(&[0, 0, 5]).await;
        assert_eq!(stage.writing.ledger_ends().await, 0);
        assert_eq!(stage.writing.stored().await, 3);
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
        stage.writing.stored().await;
        stage.writing.ledger_rests().await;
        assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
        let alone = folder.path().join("copy.db");
        std::fs::copy(&file, &alone).unwrap();
        assert_eq!(count(&alone, "SELECT count(*) FROM bars"), 1);
    }
}
