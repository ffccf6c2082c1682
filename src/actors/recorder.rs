//! Recorder: writes down what was decided, and only then tells it.
//!
//! owns   the ledger's appending end, the list of readers, a look at the ledger's folder each second
//! hears  Handed (Aggregator: the tray has something)
//! says   Recorded → Writer, Publisher, each Fanout · LedgerUnwritable, LedgerWritable → Root · LatestView → views
//! fails  on a full or broken disk it keeps the batch, tells nothing new, and tries again; after a panic the batch is still in hand

use crate::actors::messages::{Handed, Item, Recorded, Report, Told};
use crate::actors::tray::Tray;
use crate::domain::bar::Bar;
use crate::domain::event::{Entry, Event, Numbered, Position};
use crate::domain::interval::Interval;
use crate::domain::symbol::Symbol;
use crate::domain::tick::AcceptedTick;
use crate::ledger::{Ledger, LedgerError};
use crate::limits;
use actix::{Actor, AsyncContext, Context, Handler, Recipient, Supervised};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The newest of everything that is written down.
#[derive(Debug, Clone, Default)]
pub struct LatestView {
    /// How far the ledger goes.
    pub head: Position,
    /// The last tick of each pair, with its seq.
    pub ticks: BTreeMap<Symbol, (u64, AcceptedTick)>,
    /// The last bar told of each pair and interval.
    pub bars: BTreeMap<(Symbol, Interval), Bar>,
}

/// What a Recorder is made of; outlives its restarts.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The appending end.
    pub ledger: Arc<Mutex<Ledger>>,
    /// Where decisions come from.
    pub tray: Tray,
    /// Who is told, by name.
    pub readers: Vec<(String, Recipient<Recorded>)>,
    /// Root.
    pub up: Recipient<Report>,
    /// What it shows.
    pub view: watch::Sender<LatestView>,
}

/// See the module.
#[derive(Debug)]
pub struct Recorder {
    parts: Parts,
    /// For each reader: its mailbox was full, so it must be reminded.
    owed: Vec<bool>,
    unwritable: bool,
    reminding: bool,
}

impl Recorder {
    /// Not started yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            owed: vec![true; parts.readers.len()],
            parts,
            unwritable: false,
            reminding: false,
        }
    }

    /// Writes one batch and tells it. What is left is looked at with the next message, which it sends itself.
    fn write(&mut self, ctx: &mut Context<Self>) {
        let Some(batch) = self.parts.tray.take(limits::APPEND_ENTRIES) else {
            return;
        };
        match self.append(&batch) {
            Ok(head) => {
                self.writable_again();
                self.tell(&batch, head, ctx);
                self.parts.tray.written();
                if !self.parts.tray.is_empty() {
                    drop(ctx.address().try_send(Handed)); // a full mailbox is as good
                }
            }
            Err(error) => {
                self.cannot_write(&error);
                ctx.run_later(limits::APPEND_RETRY, |actor, ctx| actor.write(ctx));
            }
        }
    }

    /// A folder that is gone is noticed also while there is nothing to append.
    fn look(&mut self) {
        let looked = self.parts.ledger.lock().unwrap_or_else(PoisonError::into_inner).look();
        match looked {
            Err(error) => self.cannot_write(&error),
            Ok(()) if self.parts.tray.is_empty() => self.writable_again(),
            Ok(()) => {} // only appending shows
        }
    }

    fn append(&self, batch: &[Entry]) -> Result<Position, LedgerError> {
        let mut ledger = self.parts.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(date) = batch.iter().find_map(Entry::opens_session) {
            ledger.roll(date)?;
        }
        ledger.append(batch)
    }

    fn tell(&mut self, batch: &[Entry], head: Position, ctx: &mut Context<Self>) {
        let told: Arc<[Told]> = batch.iter().filter_map(told).collect();
        self.show(&told, head);
        let recorded = Recorded { told, head };
        for ((_, reader), owed) in self.parts.readers.iter().zip(&mut self.owed) {
            *owed = reader.try_send(recorded.clone()).is_err();
        }
        self.remind_later(ctx);
    }

    /// A reader whose mailbox was full hears how far the ledger goes as soon as it has room, and catches up from there.
    fn remind_later(&mut self, ctx: &mut Context<Self>) {
        if self.reminding || !self.owed.contains(&true) {
            return;
        }
        self.reminding = true;
        ctx.run_later(limits::REMIND_READER, |actor, ctx| {
            actor.reminding = false;
            let head = actor.parts.view.borrow().head;
            let reminder = Recorded {
                told: Arc::new([]),
                head,
            };
            for ((_, reader), owed) in actor.parts.readers.iter().zip(&mut actor.owed) {
                *owed = *owed && reader.try_send(reminder.clone()).is_err();
            }
            actor.remind_later(ctx);
        });
    }

    fn show(&self, told: &[Told], head: Position) {
        self.parts.view.send_modify(|view| {
            view.head = head;
            for told in told {
                match &told.item {
                    Item::Event(Numbered {
                        event: Event::Tick(tick),
                        seq,
                        ..
                    }) => {
                        view.ticks.insert(tick.tick.symbol, (*seq, *tick));
                    }
                    Item::Event(Numbered {
                        event: Event::Bar(bar), ..
                    }) => {
                        view.bars.insert((bar.key.symbol, bar.key.interval), *bar);
                    }
                    Item::Event(_) | Item::Partial { .. } => {}
                }
            }
        });
    }

    fn cannot_write(&mut self, error: &LedgerError) {
        if !self.unwritable {
            tracing::error!(error = %error, "failed to append to the ledger: nothing new is told until it can be written");
            let (reason, cause) = (error.reason(), error.to_string());
            let told = Report::LedgerUnwritable { reason, cause };
            self.unwritable = self.parts.up.try_send(told).is_ok();
        }
    }

    fn writable_again(&mut self) {
        if self.unwritable && self.parts.up.try_send(Report::LedgerWritable).is_ok() {
            tracing::info!("the ledger can be written again");
            self.unwritable = false;
        }
    }
}

fn told(entry: &Entry) -> Option<Told> {
    match entry {
        Entry::Event(numbered) => Some(Item::Event(numbered.clone()).into()),
        Entry::Partial { bar, base } => Some(Item::Partial { bar: *bar, base: *base }.into()),
        Entry::Heard(_) => None,
    }
}

impl Actor for Recorder {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let head = self.parts.ledger.lock().unwrap_or_else(PoisonError::into_inner).head();
        self.parts.view.send_modify(|view| view.head = view.head.max(head));
        self.remind_later(ctx); // a fresh Recorder does not know whom it owes
        ctx.run_interval(limits::LEDGER_LOOK_IDLE, |actor, _| actor.look());
        self.write(ctx);
    }
}

impl Supervised for Recorder {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.parts.clone());
    }
}

impl Handler<Handed> for Recorder {
    type Result = ();

    fn handle(&mut self, _: Handed, ctx: &mut Context<Self>) {
        self.write(ctx);
    }
}
