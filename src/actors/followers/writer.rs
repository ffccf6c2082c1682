//! Writer: the follower that copies the ledger to the store. Its position is stored in the same transaction, so after a restart, or a
//! commit whose answer was lost, it writes nothing twice.

use crate::actors::followers::{FollowError, LedgerFollower, OutageReports, Outcome, Progress, Sink};
use crate::actors::messages::Report;
use crate::actors::services::Services;
use crate::actors::views::Views;
use crate::clock::Stopwatch;
use crate::domain::followers::{FlushSchedule, ReaderView, Step};
use crate::domain::model::{Position, Sequenced};
use crate::ledger::{LedgerError, LedgerReader, surviving_range};
use crate::limits;
use crate::store::{Adoption, Batch, Disposition, Store, StoreError, Written};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The name under which the Writer's position is stored.
pub const READER: &str = "writer";

/// Copies the ledger to the store.
pub type Writer = LedgerFollower<StoreSink>;

/// The dependencies of a Writer; they outlive its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The services that every actor may use.
    pub services: Services,
    /// A reader that holds files: the ledger drops no file before the store has it.
    pub ledger: LedgerReader,
    /// How long ticks are kept in the store; `None` keeps them. Bars are always kept.
    pub tick_retention: Option<Duration>,
    /// Whether the store was asked for its position since the process started.
    pub located: Arc<AtomicBool>,
}

/// The store as a sink.
#[derive(Debug, Clone)]
pub struct StoreSink {
    store: Store,
    ledger: Arc<Mutex<LedgerReader>>,
    deps: Deps,
}

impl Sink for StoreSink {
    type Deps = Deps;

    fn new(deps: &Deps) -> Self {
        Self {
            store: deps.services.store.clone(),
            ledger: Arc::new(Mutex::new(deps.ledger.clone())),
            deps: deps.clone(),
        }
    }

    fn services(deps: &Deps) -> &Services {
        &deps.services
    }

    fn flush_schedule() -> FlushSchedule {
        FlushSchedule::new()
    }

    fn outage_reports() -> OutageReports {
        OutageReports {
            lost: |reason, cause| Report::StoreLost { reason, cause },
            back: Report::StoreBack,
            lost_log: "failed to write to the store: the ledger holds what is not written",
            back_log: "the store can be written again",
        }
    }

    fn view(views: &Views) -> &watch::Sender<ReaderView> {
        &views.store
    }

    fn kind(&self) -> &'static str {
        self.store.kind()
    }

    /// A store that answers on a new connection with an earlier position than before is a replica that was behind: it is sent what it
    /// lacks.
    async fn step(self, step: Step) -> Outcome<Progress> {
        let mut reports = Vec::new();
        let result = match step {
            Step::Locate => self.locate(&mut reports).await,
            Step::Write { from, limit } => match self.write(from, limit).await {
                Err(FollowError::Store(StoreError::Behind { .. })) => self.locate(&mut reports).await,
                done => done,
            },
        };
        if let Ok(Progress::Located(position) | Progress::Wrote { position, .. }) = &result {
            self.deps.ledger.done_before(position.next());
        }
        Outcome {
            result,
            reports,
            at_most: None,
        }
    }

    async fn probe(self) -> Outcome<Duration> {
        let answer = self.store.ping().await;
        self.store.look_for_another_server().await;
        Outcome {
            result: answer.map_err(FollowError::Store),
            reports: Vec::new(),
            at_most: None,
        }
    }

    /// Deletes ticks that are past their retention, a batch at a time; the rest is deleted the next time.
    async fn forget(self) {
        let Some(retention) = self.deps.tick_retention else {
            return;
        };
        let before = self.deps.services.clock.now() - retention;
        match self.store.forget_ticks(before, limits::FORGET_TICKS).await {
            Ok(0) => {}
            Ok(ticks) => tracing::info!(ticks, %before, "deleted ticks that are no longer kept"),
            Err(error) => tracing::warn!(error = %error, "failed to delete ticks that are no longer kept"),
        }
    }
}

impl StoreSink {
    /// The store's position in this ledger. For a store that does not know the ledger it is the first event that is kept.
    ///
    /// The first answer after the start must lie within the ledger as it was opened: a store that has more has events of a ledger of which
    /// this one is an older copy. A store that has only events of other ledgers is reported: either this ledger or the store may be the
    /// wrong one.
    async fn locate(&self, reports: &mut Vec<Report>) -> Result<Progress, FollowError> {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let stored = self.store.reader_position(READER, ledger.lineage()).await?;
        let opened = ledger.opened_at();
        if stored > opened && !self.deps.located.load(Ordering::Relaxed) {
            ledger.renumber_at_next_start(opened)?;
            let stored = stored.0;
            let opened = opened.0;
            let events = stored.saturating_sub(opened);
            reports.push(Report::StoreAhead { events, restart: true });
            return Err(FollowError::Ahead { stored, opened });
        }
        let (stored, ahead) = if stored == Position(0) {
            adopt(&self.store, &ledger).await?
        } else {
            (stored, 0)
        };
        if ahead > 0 {
            reports.push(Report::StoreAhead {
                events: ahead,
                restart: false,
            });
        }
        if stored == Position(0) && !self.deps.located.load(Ordering::Relaxed) {
            let ancestors = ledger.ancestors().into_iter().map(|ancestor| ancestor.lineage);
            let known: Vec<String> = ancestors.chain([ledger.lineage()]).collect();
            let events = self.store.events_of_others(READER, &known).await?;
            if events > 0 {
                reports.push(Report::StoreOfAnother { events });
            }
        }
        self.deps.located.store(true, Ordering::Relaxed);
        Ok(Progress::Located(
            stored.max(Position(ledger.first_position().0.saturating_sub(1))),
        ))
    }

    /// Retries the write at once after a deadlock or a serialization failure.
    async fn write(&self, from: Position, limit: usize) -> Result<Progress, FollowError> {
        let batch = read(Arc::clone(&self.ledger), from, limit).await?;
        let mut attempts = 0_u32;
        loop {
            let took = Stopwatch::start();
            let written = self.store.write(batch.clone()).await;
            if written.is_ok() {
                let measures = &self.deps.services.views.measures;
                measures.store_write.observe(took.elapsed().as_secs_f64());
            }
            match written {
                Err(error) if error.disposition() == Disposition::Again && attempts < limits::WRITER_CONFLICTS => {
                    attempts = attempts.saturating_add(1);
                }
                done => {
                    let Written { position, rejected } = done?;
                    return Ok(Progress::Wrote { position, rejected });
                }
            }
        }
    }
}

/// The position of a store that knows this ledger by an earlier name, and how many events it has beyond it.
async fn adopt(store: &Store, ledger: &LedgerReader) -> Result<(Position, u64), FollowError> {
    let ancestors = ledger.ancestors();
    for ancestor in ancestors.iter().rev() {
        let stored = store.reader_position(READER, ancestor.lineage.clone()).await?;
        let Some((position, ahead)) = surviving_range(&ancestors, &ancestor.lineage, stored.0).filter(|_| stored.0 > 0)
        else {
            continue;
        };
        let adoption = Adoption::new(READER, ledger.lineage(), position, ancestor.heads(), &ledger.heads());
        store.adopt_lineage(adoption).await?;
        tracing::info!(
            position,
            ahead,
            before = ancestor.lineage,
            "the database continues under the ledger's new name"
        );
        return Ok((Position(position), ahead));
    }
    Ok((Position(0), 0))
}

async fn read(ledger: Arc<Mutex<LedgerReader>>, from: Position, limit: usize) -> Result<Batch, FollowError> {
    let read = tokio::task::spawn_blocking(move || {
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let events: Vec<Sequenced> = ledger.read(from, limit)?;
        Ok::<_, LedgerError>(Batch {
            reader: READER,
            lineage: ledger.lineage(),
            events,
            heads: Arc::new(ledger.heads()),
        })
    });
    let batch = read.await.map_err(|error| StoreError::Other(error.to_string()))??;
    if batch.events.is_empty() {
        return Err(StoreError::Other(format!("the ledger shows no event at position {} yet", from.0)).into());
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::messages::{Flush, Recorded};
    use crate::actors::testing::{self, heard, listen};
    use crate::clock::Clock;
    use crate::ledger::{
        Doubt, Ledger, LedgerOptions,
        event_script::{EventScript, day},
    };
    use crate::store::{
        Sqlite,
        probe::{execute_sql, query_count},
    };
    use actix::{Actor, Addr};
    use std::path::Path;
    use tokio::sync::mpsc::UnboundedReceiver;

    struct Stage {
        ledger: Ledger,
        story: EventScript,
        writer: Addr<Writer>,
        reports: UnboundedReceiver<Report>,
        view: watch::Receiver<ReaderView>,
        deps: Deps,
    }

    fn stage(folder: &Path) -> Stage {
        stage_with(folder, |_| {})
    }

    fn stage_with(folder: &Path, prepare: impl FnOnce(&mut Ledger)) -> Stage {
        stage_of(folder, 3, prepare)
    }

    /// Each `random` gives the ledger another name.
    fn stage_of(folder: &Path, random: u64, prepare: impl FnOnce(&mut Ledger)) -> Stage {
        let mut ledger = Ledger::open(&folder.join("ledger"), LedgerOptions::new(day(22), random)).unwrap();
        prepare(&mut ledger);
        let story = EventScript::continue_from(&ledger);
        let (root, reports) = listen();
        let store = Store::Sqlite(Sqlite::open(&folder.join("store.db")).unwrap());
        let services = testing::services(Clock::system(), &ledger, store, root);
        let view = services.views.store.subscribe();
        let deps = Deps {
            services,
            ledger: ledger.holding_reader(),
            tick_retention: None,
            located: Arc::default(),
        };
        Stage {
            ledger,
            story,
            writer: Writer::new(deps.clone()).start(),
            reports,
            view,
            deps,
        }
    }

    impl Stage {
        fn record(&mut self, moves: &[u8]) {
            let head = self.ledger.append(&self.story.entries_for(moves)).unwrap();
            let told = Arc::new([]);
            self.writer.try_send(Recorded { told, head }).unwrap();
        }

        async fn until(&mut self, what: &str, condition: impl FnMut(&ReaderView) -> bool) {
            let reached = self.view.wait_for(condition);
            let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
            reached.unwrap_or_else(|_| panic!("never: {what}")).unwrap();
        }

        async fn written(&mut self) {
            let head = self.ledger.head();
            self.until("all is written", |view| view.position == head).await;
        }
    }

    /// Ticks of two pairs, and one of each other kind.
    const MOVES: [u8; 12] = [0, 1, 16, 17, 5, 21, 7, 8, 6, 2, 3, 14];

    #[actix_rt::test]
    async fn what_the_ledger_holds_gets_into_the_store_by_age_count_and_flush() {
        let folder = tempfile::tempdir().unwrap();
        let mut stage = stage(folder.path());
        stage.record(&MOVES);
        stage.written().await;
        stage.record(&[0; 250]);
        stage.written().await;
        stage.record(&[1]);
        stage.writer.try_send(Flush).unwrap();
        stage.written().await;
        let store = folder.path().join("store.db");
        assert_eq!(
            query_count(&store, "SELECT count(*) FROM realtime_market_data"),
            6 + 250 + 1
        );
        assert_eq!(query_count(&store, "SELECT count(*) FROM market_data"), 2);
        assert_eq!(query_count(&store, "SELECT count(*) FROM gaps"), 1);
        assert_eq!(query_count(&store, "SELECT count(*) FROM market_sessions"), 1);
    }

    #[actix_rt::test]
    async fn a_store_in_trouble_is_a_report_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut stage = stage(folder.path());
        let store = folder.path().join("store.db");
        stage.written().await;
        execute_sql(&store, "ALTER TABLE reader_positions RENAME TO away");
        stage.record(&[0; 150]);
        stage.until("trouble shows", |view| view.trouble.is_some()).await;
        stage.record(&MOVES);
        assert_eq!(
            query_count(&store, "SELECT count(*) FROM realtime_market_data"),
            0,
            "all or nothing"
        );
        execute_sql(&store, "ALTER TABLE away RENAME TO reader_positions");
        stage.written().await;
        assert_eq!(query_count(&store, "SELECT count(*) FROM realtime_market_data"), 156);
        let reports = heard(&mut stage.reports).await;
        assert!(
            matches!(&reports[..], [Report::StoreLost { cause, .. }, Report::StoreBack] if cause.contains("candela migrate")),
            "{reports:?}"
        );
    }

    #[actix_rt::test]
    async fn a_restart_goes_on_where_the_store_stands_and_a_new_store_gets_everything() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.db");
        let mut first = stage(folder.path());
        first.record(&MOVES);
        first.written().await;
        drop(first);
        execute_sql(&store, "DELETE FROM realtime_market_data"); // would come back if it began anew
        let mut second = stage(folder.path());
        second.record(&[0]);
        second.written().await;
        assert_eq!(query_count(&store, "SELECT count(*) FROM realtime_market_data"), 1);
        drop(second);
        std::fs::rename(&store, folder.path().join("old.db")).unwrap();
        let mut third = stage(folder.path());
        third.written().await;
        assert_eq!(query_count(&store, "SELECT count(*) FROM realtime_market_data"), 7);
    }

    #[actix_rt::test]
    async fn a_store_that_has_more_than_the_ledger_keeps_it_and_gets_everything_that_comes() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.db");
        let mut first = stage(folder.path());
        first.record(&MOVES);
        first.written().await;
        let lineage = first.ledger.reader().lineage();
        drop(first);
        execute_sql(
            &store,
            &format!("UPDATE reader_positions SET position = 40 WHERE lineage = '{lineage}'"),
        );
        let mut second = stage_with(folder.path(), |ledger| {
            ledger.renumber(Doubt::StoreAhead, Position(40)).unwrap();
        });
        second.record(&[0, 0, 7]);
        second.written().await;
        assert_eq!(query_count(&store, "SELECT count(*) FROM realtime_market_data"), 6 + 2);
        assert_eq!(
            query_count(
                &store,
                "SELECT count(DISTINCT epoch) FROM realtime_market_data WHERE symbol = 'USDCOP'"
            ),
            2
        );
        assert_eq!(
            query_count(&store, "SELECT count(DISTINCT epoch) FROM gaps"),
            1,
            "the gap that both have goes on"
        );
        let head = second.ledger.reader().opened_at().0;
        let reports = heard(&mut second.reports).await;
        let events = 40 - head;
        assert_eq!(reports, [Report::StoreAhead { events, restart: false }]);
    }

    #[actix_rt::test]
    async fn a_store_that_has_only_events_of_another_ledger_says_so_once_and_gets_everything() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = stage(folder.path());
        first.record(&MOVES);
        first.written().await;
        let written = first.ledger.head().0;
        assert_eq!(heard(&mut first.reports).await, [], "a new store and a new ledger");
        drop(first);
        std::fs::rename(folder.path().join("ledger"), folder.path().join("lost")).unwrap();
        let mut second = stage_of(folder.path(), 4, |_| {});
        let told = Report::StoreOfAnother { events: written };
        let first = tokio::time::timeout(Duration::from_secs(20), second.reports.recv()).await;
        assert_eq!(first, Ok(Some(told)));
        // As after a restart of the actor, which has written nothing yet.
        second.writer = Writer::new(second.deps.clone()).start();
        second.record(&[0, 0]);
        second.written().await;
        assert_eq!(heard(&mut second.reports).await, []);
        drop(second);
        let mut third = stage(folder.path());
        third.record(&[0]);
        third.written().await;
        assert_eq!(heard(&mut third.reports).await, [], "the store knows this ledger now");
        let store = folder.path().join("store.db");
        assert_eq!(query_count(&store, "SELECT count(*) FROM realtime_market_data"), 6 + 3);
    }

    #[actix_rt::test]
    async fn a_store_whose_journal_is_of_another_ledger_says_so_although_no_position_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = stage(folder.path());
        first.record(&[0, 1, 135]);
        first.written().await;
        drop(first);
        let store = folder.path().join("store.db");
        let last = query_count(&store, "SELECT max(position) FROM candela_events");
        execute_sql(&store, "DELETE FROM reader_positions");
        std::fs::rename(folder.path().join("ledger"), folder.path().join("lost")).unwrap();
        let mut second = stage_of(folder.path(), 4, |_| {});
        let told = Report::StoreOfAnother {
            events: u64::try_from(last).unwrap(),
        };
        let first = tokio::time::timeout(Duration::from_secs(20), second.reports.recv()).await;
        assert_eq!(first, Ok(Some(told)));
    }

    #[actix_rt::test]
    async fn a_store_that_is_found_ahead_late_gets_nothing_until_a_restart_has_new_epochs() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.db");
        let mut first = stage(folder.path());
        first.record(&MOVES);
        first.written().await;
        let (lineage, opened) = (first.ledger.reader().lineage(), first.ledger.head());
        drop(first);
        execute_sql(
            &store,
            &format!("UPDATE reader_positions SET position = 40 WHERE lineage = '{lineage}'"),
        );
        let mut second = stage(folder.path());
        second.record(&[0; 60]); // further than the store by now
        second.until("trouble shows", |view| view.trouble.is_some()).await;
        assert_eq!(query_count(&store, "SELECT count(*) FROM realtime_market_data"), 6);
        let reports = heard(&mut second.reports).await;
        let told = Report::StoreAhead {
            events: 40 - opened.0,
            restart: true,
        };
        assert!(reports.contains(&told), "{reports:?}");
        drop(second);
        let mut third = stage(folder.path());
        third.written().await;
        assert_eq!(query_count(&store, "SELECT count(*) FROM realtime_market_data"), 6 + 60);
    }
}
