//! Writer: keeps the store up with the ledger.
//!
//! owns   a Follower (domain::batch::Pacer), one timer at its next deadline, at most one write at a time
//! hears  Recorded (Recorder) · Flush (Root)
//! says   StoreLost, StoreBack, StoreAhead → Root · ReaderView → views
//! fails  never on the store: the ledger holds what could not be written, and the write is tried again with back-off. Its position
//!        is in the store, so a restart, or a commit whose answer was lost, writes nothing twice

use crate::actors::follower::{Follower, Words};
use crate::actors::messages::{Flush, Recorded, Report};
use crate::clock::{Clock, Stopwatch};
use crate::domain::batch::{Pacer, ReaderView, Step};
use crate::domain::event::{Numbered, Position};
use crate::ledger::{LedgerError, LedgerReader, stands};
use crate::limits;
use crate::store::{Adoption, Batch, Disposition, Store, StoreError, Written};
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, Supervised, WrapFuture};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The name that the Writer's position is kept under.
pub const READER: &str = "writer";

/// What a Writer is made of; outlives its restarts.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where it writes to.
    pub store: Store,
    /// Where it reads from: a holding reader, so that no file goes before it is written.
    pub ledger: LedgerReader,
    /// How long ticks are kept there; `None` keeps them. Bars are always kept.
    pub tick_retention: Option<Duration>,
    /// The store was asked where it stands since the process started.
    pub located: Arc<AtomicBool>,
    /// Market time.
    pub clock: Clock,
    /// Root.
    pub up: Recipient<Report>,
    /// What it shows.
    pub view: watch::Sender<ReaderView>,
}

/// See the module.
#[derive(Debug)]
pub struct Writer {
    ledger: Arc<Mutex<LedgerReader>>,
    parts: Parts,
    follower: Follower,
    timer: Option<SpawnHandle>,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(
        "the database has the ledger's events up to position {stored}, and the ledger ended at {opened} when it was opened: a restart \
         begins new epochs"
    )]
    Ahead { stored: u64, opened: u64 },
}

impl Trouble {
    const fn reason(&self) -> &'static str {
        match self {
            Self::Store(error) => error.reason(),
            Self::Ledger(_) => "ledger_unreadable",
            Self::Ahead { .. } => "store_ahead",
        }
    }
}

impl Writer {
    /// Not started yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let words = Words {
            lost: |reason, cause| Report::StoreLost { reason, cause },
            back: Report::StoreBack,
            lost_log: "failed to write to the store: the ledger holds what is not written",
            back_log: "the store can be written again",
        };
        let (clock, up) = (parts.clock.clone(), parts.up.clone());
        Self {
            ledger: Arc::new(Mutex::new(parts.ledger.clone())),
            follower: Follower::new(Pacer::new(), clock, up, parts.view.clone(), words),
            timer: None,
            parts,
        }
    }

    /// Does what is due, and sets the timer for what is not.
    fn proceed(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(step) = self.follower.step() {
            let took = Stopwatch::start();
            let work = work(
                self.parts.store.clone(),
                Arc::clone(&self.ledger),
                step,
                Arc::clone(&self.parts.located),
            );
            let slow = ctx.run_later(limits::FOLLOWER_SLOW, |actor, _| actor.follower.slow());
            ctx.spawn(work.into_actor(self).map(move |done, actor, ctx| {
                ctx.cancel_future(slow);
                match done {
                    Ok(Done::Located { position, ahead }) => {
                        actor.tell_ahead(ahead, false);
                        actor.follower.located(position);
                        actor.parts.ledger.done_before(position.next());
                    }
                    Ok(Done::Wrote(written)) => {
                        actor.follower.wrote(written.position, written.rejected, &took);
                        actor.parts.ledger.done_before(written.position.next());
                    }
                    Err(trouble) => {
                        if let Trouble::Ahead { stored, opened } = trouble {
                            actor.tell_ahead(stored.saturating_sub(opened), true);
                        }
                        actor.follower.failed(trouble.reason(), &trouble);
                    }
                }
                actor.proceed(ctx);
            }));
        } else if let Some(wait) = self.follower.wait() {
            self.timer = Some(ctx.run_later(wait, Self::proceed));
        }
        self.follower.show(self.parts.store.kind());
    }

    fn tell_ahead(&self, events: u64, restart: bool) {
        if events > 0 {
            drop(self.parts.up.try_send(Report::StoreAhead { events, restart })); // one that must restart is found again
        }
    }

    /// Asks whether it is there, also when there is nothing to say: an outage at night is known in the morning.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let store = self.parts.store.clone();
        ctx.spawn(
            async move {
                let answer = store.ping().await;
                store.look_for_another_server().await;
                answer
            }
            .into_actor(self)
            .map(|answer, actor, _| match answer {
                Ok(took) => actor.follower.answered(took),
                Err(error) => actor.follower.unanswered(error.reason(), &error),
            }),
        );
    }

    /// Deletes ticks that are no longer kept, some at a time: what is left waits for the next time.
    fn forget(&mut self, ctx: &mut Context<Self>) {
        let Some(retention) = self.parts.tick_retention else {
            return;
        };
        let (store, before) = (self.parts.store.clone(), self.parts.clock.now() - retention);
        let forgetting = async move {
            match store.forget_ticks(before, limits::FORGET_TICKS).await {
                Ok(0) => {}
                Ok(ticks) => tracing::info!(ticks, %before, "deleted ticks that are no longer kept"),
                Err(error) => tracing::warn!(error = %error, "failed to delete ticks that are no longer kept"),
            }
        };
        ctx.spawn(forgetting.into_actor(self));
    }
}

/// What a step did.
enum Done {
    /// Asked the store where it stands.
    Located {
        position: Position,
        /// How many events of this ledger it has that the ledger has not.
        ahead: u64,
    },
    /// Wrote.
    Wrote(Written),
}

/// One step, off the actor's thread where it blocks. A store that answers on a new connection and stands further back than it did is
/// a copy that was behind: it gets what it lacks.
async fn work(
    store: Store,
    ledger: Arc<Mutex<LedgerReader>>,
    step: Step,
    located: Arc<AtomicBool>,
) -> Result<Done, Trouble> {
    let Step::Write { from, limit } = step else {
        return locate(&store, &ledger, &located).await;
    };
    let batch = read(Arc::clone(&ledger), from, limit).await?;
    match write(&store, batch).await {
        Err(Trouble::Store(StoreError::Behind { .. })) => locate(&store, &ledger, &located).await,
        done => done.map(Done::Wrote),
    }
}

/// Where the store stands in this ledger. A store that has never seen it begins with what is kept of it.
///
/// The first answer after the start must lie within what the ledger had then: a store that has more was told other events by a
/// ledger that this one is an older copy of.
async fn locate(store: &Store, ledger: &Mutex<LedgerReader>, located: &AtomicBool) -> Result<Done, Trouble> {
    let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (stored, opened) = (store.position(READER, ledger.lineage()).await?, ledger.opened_at());
    if stored > opened && !located.load(Ordering::Relaxed) {
        ledger.renumber_at_next_start(opened)?;
        let (stored, opened) = (stored.0, opened.0);
        return Err(Trouble::Ahead { stored, opened });
    }
    let (stored, ahead) = if stored == Position(0) {
        adopt(store, &ledger).await?
    } else {
        (stored, 0)
    };
    located.store(true, Ordering::Relaxed);
    let position = stored.max(Position(ledger.first().0.saturating_sub(1)));
    Ok(Done::Located { position, ahead })
}

/// Where a store that does not know this ledger's name stands in it, by a name that it had before.
async fn adopt(store: &Store, ledger: &LedgerReader) -> Result<(Position, u64), Trouble> {
    let ancestors = ledger.ancestors();
    for ancestor in ancestors.iter().rev() {
        let stored = store.position(READER, ancestor.lineage.clone()).await?;
        let Some((position, ahead)) = stands(&ancestors, &ancestor.lineage, stored.0).filter(|_| stored.0 > 0) else {
            continue;
        };
        let adoption = Adoption::new(READER, ledger.lineage(), position, ancestor.heads(), &ledger.heads());
        store.adopt(adoption).await?;
        tracing::info!(
            position,
            ahead,
            before = ancestor.lineage,
            "the database goes on with the ledger's new name"
        );
        return Ok((Position(position), ahead));
    }
    Ok((Position(0), 0))
}

async fn read(ledger: Arc<Mutex<LedgerReader>>, from: Position, limit: usize) -> Result<Batch, Trouble> {
    let read = tokio::task::spawn_blocking(move || {
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let events: Vec<Numbered> = ledger.read(from, limit)?;
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

/// A deadlock or a serialization failure is answered by doing the same again at once.
async fn write(store: &Store, batch: Batch) -> Result<Written, Trouble> {
    let mut attempts = 0_u32;
    loop {
        match store.write(batch.clone()).await {
            Err(error) if error.disposition() == Disposition::Again && attempts < limits::WRITER_CONFLICTS => {
                attempts = attempts.saturating_add(1);
            }
            done => return Ok(done?),
        }
    }
}

impl Actor for Writer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.follower.heard(self.parts.ledger.head());
        ctx.run_interval(limits::STORE_LOOK, Self::look);
        ctx.run_interval(limits::FORGET_EVERY, Self::forget);
        self.proceed(ctx);
    }
}

impl Supervised for Writer {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.parts.clone());
    }
}

impl Handler<Recorded> for Writer {
    type Result = ();

    fn handle(&mut self, msg: Recorded, ctx: &mut Context<Self>) {
        self.follower.heard(msg.head);
        self.proceed(ctx);
    }
}

impl Handler<Flush> for Writer {
    type Result = ();

    fn handle(&mut self, _: Flush, ctx: &mut Context<Self>) {
        self.follower.flush(self.parts.ledger.head());
        self.proceed(ctx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::story::{Story, day};
    use crate::ledger::{Doubt, Ledger, Options};
    use crate::store::Sqlite;
    use crate::store::probe::{count, execute};
    use actix::Addr;
    use std::path::Path;

    #[derive(Default)]
    struct Root(Vec<Report>);
    impl Actor for Root {
        type Context = Context<Self>;
    }
    impl Handler<Report> for Root {
        type Result = ();
        fn handle(&mut self, report: Report, _: &mut Context<Self>) {
            self.0.push(report);
        }
    }
    #[derive(actix::Message)]
    #[rtype(result = "Vec<Report>")]
    struct Heard;
    impl Handler<Heard> for Root {
        type Result = Vec<Report>;
        fn handle(&mut self, _: Heard, _: &mut Context<Self>) -> Vec<Report> {
            self.0.clone()
        }
    }

    struct Stage {
        ledger: Ledger,
        story: Story,
        writer: Addr<Writer>,
        root: Addr<Root>,
        view: watch::Receiver<ReaderView>,
    }

    fn stage(folder: &Path) -> Stage {
        stage_with(folder, |_| {})
    }

    fn stage_with(folder: &Path, prepare: impl FnOnce(&mut Ledger)) -> Stage {
        let mut ledger = Ledger::open(&folder.join("ledger"), Options::new(day(22), 3)).unwrap();
        prepare(&mut ledger);
        let (story, root) = (Story::after(&ledger), Root::default().start());
        let (sender, view) = watch::channel(ReaderView::default());
        let parts = Parts {
            store: Store::Sqlite(Sqlite::open(&folder.join("store.db")).unwrap()),
            ledger: ledger.holding_reader(),
            tick_retention: None,
            located: Arc::default(),
            clock: Clock::system(),
            up: root.clone().recipient(),
            view: sender,
        };
        Stage {
            ledger,
            story,
            writer: Writer::new(parts).start(),
            root,
            view,
        }
    }

    impl Stage {
        fn record(&mut self, moves: &[u8]) {
            let head = self.ledger.append(&self.story.tell(moves)).unwrap();
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
        assert_eq!(count(&store, "SELECT count(*) FROM realtime_market_data"), 6 + 250 + 1);
        assert_eq!(count(&store, "SELECT count(*) FROM market_data"), 2);
        assert_eq!(count(&store, "SELECT count(*) FROM gaps"), 1);
        assert_eq!(count(&store, "SELECT count(*) FROM market_sessions"), 1);
    }

    #[actix_rt::test]
    async fn a_store_in_trouble_is_a_report_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut stage = stage(folder.path());
        let store = folder.path().join("store.db");
        stage.written().await;
        execute(&store, "ALTER TABLE reader_positions RENAME TO away");
        stage.record(&[0; 150]);
        stage.until("trouble shows", |view| view.trouble.is_some()).await;
        stage.record(&MOVES);
        assert_eq!(
            count(&store, "SELECT count(*) FROM realtime_market_data"),
            0,
            "all or nothing"
        );
        execute(&store, "ALTER TABLE away RENAME TO reader_positions");
        stage.written().await;
        assert_eq!(count(&store, "SELECT count(*) FROM realtime_market_data"), 156);
        let reports = stage.root.send(Heard).await.unwrap();
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
        execute(&store, "DELETE FROM realtime_market_data"); // would come back if it began anew
        let mut second = stage(folder.path());
        second.record(&[0]);
        second.written().await;
        assert_eq!(count(&store, "SELECT count(*) FROM realtime_market_data"), 1);
        drop(second);
        std::fs::rename(&store, folder.path().join("old.db")).unwrap();
        let mut third = stage(folder.path());
        third.written().await;
        assert_eq!(count(&store, "SELECT count(*) FROM realtime_market_data"), 7);
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
        execute(
            &store,
            &format!("UPDATE reader_positions SET position = 40 WHERE lineage = '{lineage}'"),
        );
        let mut second = stage_with(folder.path(), |ledger| {
            ledger.renumber(Doubt::StoreAhead, Position(40)).unwrap();
        });
        second.record(&[0, 0, 7]);
        second.written().await;
        assert_eq!(count(&store, "SELECT count(*) FROM realtime_market_data"), 6 + 2);
        assert_eq!(
            count(
                &store,
                "SELECT count(DISTINCT epoch) FROM realtime_market_data WHERE symbol = 'USDCOP'"
            ),
            2
        );
        assert_eq!(
            count(&store, "SELECT count(DISTINCT epoch) FROM gaps"),
            1,
            "the gap that both have goes on"
        );
        let head = second.ledger.reader().opened_at().0;
        let reports = second.root.send(Heard).await.unwrap();
        let events = 40 - head;
        assert_eq!(reports, [Report::StoreAhead { events, restart: false }]);
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
        execute(
            &store,
            &format!("UPDATE reader_positions SET position = 40 WHERE lineage = '{lineage}'"),
        );
        let mut second = stage(folder.path());
        second.record(&[0; 60]); // further than the store by now
        second.until("trouble shows", |view| view.trouble.is_some()).await;
        assert_eq!(count(&store, "SELECT count(*) FROM realtime_market_data"), 6);
        let reports = second.root.send(Heard).await.unwrap();
        let told = Report::StoreAhead {
            events: 40 - opened.0,
            restart: true,
        };
        assert!(reports.contains(&told), "{reports:?}");
        drop(second);
        let mut third = stage(folder.path());
        third.written().await;
        assert_eq!(count(&store, "SELECT count(*) FROM realtime_market_data"), 6 + 60);
    }
}
