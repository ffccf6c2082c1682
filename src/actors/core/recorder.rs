//! Recorder: appends decided entries to the ledger, and publishes them only then (T1).
//!
//! owns   the right to append to the ledger, the list of readers, a check of the ledger's folder each second
//! hears  Handed (Aggregator: the commit queue has entries)
//! says   Recorded → Writer, Publisher, Tap and each Fanout, or LogKeeper, which stands before them · LedgerUnwritable, LedgerWritable →
//!        Root · LatestView → views
//! fails  on a full or broken disk it keeps the batch, publishes nothing, and retries; after a panic the batch is still in hand

use crate::actors::core::{CommitQueue, LedgerReports, TellsReaders, ToldReaders};
use crate::actors::messages::{Handed, Item, Recorded, Told};
use crate::actors::repeat::RepeatEvery;
use crate::actors::services::Services;
use crate::actors::views::Views;
use crate::clock::Stopwatch;
use crate::domain::model::{Event, JournalEntry, Position, Sequenced};
use crate::ledger::{Ledger, LedgerError};
use crate::limits;
use actix::{Actor, AsyncContext, Context, Handler, Recipient, Supervised};
use std::sync::{Arc, Mutex, PoisonError};

/// The dependencies of a Recorder; they outlive its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The services that every actor may use.
    pub services: Services,
    /// The ledger, for appending.
    pub ledger: Arc<Mutex<Ledger>>,
    /// The source of decided entries.
    pub commit_queue: CommitQueue,
    /// The readers, by name.
    pub readers: Vec<(String, Recipient<Recorded>)>,
    /// Whether it may show what it wrote at once: no LogKeeper stands between the ledger and its readers.
    pub shows: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Recorder {
    deps: Deps,
    readers: ToldReaders,
    ledger_reports: LedgerReports,
}

impl Recorder {
    /// Not started yet.
    pub fn new(deps: Deps) -> Self {
        Self {
            readers: ToldReaders::new(deps.readers.clone()),
            deps,
            ledger_reports: LedgerReports::default(),
        }
    }

    /// Writes one batch and publishes it. For the rest it sends itself another message.
    fn write(&mut self, ctx: &mut Context<Self>) {
        let commit_queue = &self.deps.commit_queue;
        let Some(appended) = commit_queue.append_next(limits::APPEND_ENTRIES, |batch| self.append(batch)) else {
            return;
        };
        match appended {
            Ok((batch, head)) => {
                self.ledger_reports.succeeded(&self.deps.services.root);
                self.tell(&batch, head, ctx);
                self.deps.commit_queue.written();
                if !self.deps.commit_queue.is_empty() {
                    drop(ctx.address().try_send(Handed)); // a full mailbox has such a message already
                }
            }
            Err(error) => {
                self.ledger_reports.failed(&error, &self.deps.services.root);
                ctx.run_later(limits::APPEND_RETRY, |actor, ctx| actor.write(ctx));
            }
        }
    }

    /// Checks the ledger's folder, so that a missing one is noticed even when there is nothing to append.
    fn check_folder(&mut self) {
        let looked = self
            .deps
            .ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .check_folder();
        match looked {
            Err(error) => self.ledger_reports.failed(&error, &self.deps.services.root),
            Ok(()) if self.deps.commit_queue.is_empty() => self.ledger_reports.succeeded(&self.deps.services.root),
            Ok(()) => {} // only an append shows that it can be written
        }
    }

    fn append(&self, batch: &[JournalEntry]) -> Result<Position, LedgerError> {
        let mut ledger = self.deps.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(date) = batch.iter().find_map(JournalEntry::opens_session) {
            ledger.roll(date)?;
        }
        let took = Stopwatch::start();
        let appended = ledger.append(batch);
        let measures = &self.deps.services.views.measures;
        measures.ledger_append.observe(took.elapsed().as_secs_f64());
        appended
    }

    fn tell(&mut self, batch: &[JournalEntry], head: Position, ctx: &mut Context<Self>) {
        let told: Arc<[Told]> = batch.iter().filter_map(told).collect();
        if self.deps.shows {
            show(&self.deps.services.views, &told, head);
        }
        count_events(&self.deps.services, &told);
        self.readers.tell(&Recorded { told, head });
        self.remind_later(ctx);
    }
}

/// Counts for the metrics what was written down.
pub(crate) fn count_events(services: &Services, told: &[Told]) {
    let now = services.clock.now();
    for told in told {
        if let Item::Event(Sequenced { event, .. }) = &told.item {
            let measures = &services.views.measures;
            measures.count_event(event, now, |market| services.clock.real(market));
        }
    }
}

/// Updates the view of the latest prices and bars.
pub(crate) fn show(views: &Views, told: &[Told], head: Position) {
    views.latest.send_modify(|view| {
        view.head = head;
        for told in told {
            match &told.item {
                Item::Event(Sequenced {
                    event: Event::Tick(tick),
                    seq,
                    ..
                }) => {
                    view.ticks_total = view.ticks_total.saturating_add(1);
                    view.ticks.insert(tick.tick.symbol, (*seq, *tick));
                }
                Item::Event(Sequenced {
                    event: Event::Bar(bar), ..
                }) => {
                    view.bars.insert((bar.key.symbol, bar.key.interval), *bar);
                }
                Item::Event(Sequenced {
                    event: Event::Journal(_),
                    ..
                }) => view.journal = view.journal.saturating_add(1),
                Item::Event(_) | Item::Partial { .. } => {}
            }
        }
    });
}

/// The item to publish of an entry; `None` for an input.
pub(crate) fn told(entry: &JournalEntry) -> Option<Told> {
    match entry {
        JournalEntry::Event(numbered) => Some(Item::Event(numbered.clone()).into()),
        JournalEntry::Partial { bar, base } => Some(Item::Partial { bar: *bar, base: *base }.into()),
        JournalEntry::Input(_) => None,
    }
}

impl TellsReaders for Recorder {
    fn readers(&mut self) -> &mut ToldReaders {
        &mut self.readers
    }

    fn told_head(&self) -> Position {
        self.deps.services.views.latest.borrow().head
    }
}

impl Actor for Recorder {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if self.deps.shows {
            let head = self.deps.ledger.lock().unwrap_or_else(PoisonError::into_inner).head();
            self.deps
                .services
                .views
                .latest
                .send_modify(|view| view.head = view.head.max(head));
        }
        self.remind_later(ctx); // after a restart it is not known whose mailbox was full
        ctx.repeat_every(limits::LEDGER_LOOK_IDLE, |actor, _| actor.check_folder());
        self.write(ctx);
    }
}

impl Supervised for Recorder {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}

impl Handler<Handed> for Recorder {
    type Result = ();

    fn handle(&mut self, _: Handed, ctx: &mut Context<Self>) {
        self.write(ctx);
    }
}
