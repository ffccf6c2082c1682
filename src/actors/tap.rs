//! Tap: passes bars, gaps and sessions on to a command that shows them, in order and without a hole.
//!
//! owns   its position in the ledger
//! hears  Recorded (Recorder)
//! says   events, through a bounded channel, to whoever reads it
//! fails  when the channel is full it stays where it is and goes on from the ledger; a restart does the same

use crate::actors::messages::{Item, Recorded};
use crate::domain::event::{Event, Numbered, Position};
use crate::ledger::LedgerReader;
use crate::limits;
use actix::{Actor, AsyncContext, Context, Handler, Supervised};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// What a Tap is made of; outlives its restarts.
#[derive(Debug, Clone)]
pub struct Parts {
    /// To catch up from.
    pub ledger: LedgerReader,
    /// Who shows it.
    pub out: mpsc::Sender<Numbered>,
    /// The next position to pass on.
    pub next: Arc<AtomicU64>,
}

/// See the module.
#[derive(Debug)]
pub struct Tap {
    parts: Parts,
    planned: bool,
}

impl Tap {
    /// Not started yet.
    #[must_use]
    pub const fn new(parts: Parts) -> Self {
        Self { parts, planned: false }
    }

    fn next(&self) -> Position {
        Position(self.parts.next.load(Ordering::Relaxed))
    }

    /// Passes one event on; `false` when there is no room.
    fn pass(&self, numbered: &Numbered) -> bool {
        if numbered.position < self.next() {
            return true;
        }
        let shown = matches!(
            numbered.event,
            Event::Bar(_) | Event::Gap(_) | Event::Seam(_) | Event::Session(_)
        );
        if shown
            && matches!(
                self.parts.out.try_send(numbered.clone()),
                Err(mpsc::error::TrySendError::Full(_))
            )
        {
            return false;
        }
        self.parts.next.store(numbered.position.next().0, Ordering::Relaxed);
        true
    }

    /// Reads on from the ledger until nothing is left or there is no room; then looks again later.
    fn catch_up(&mut self, ctx: &mut Context<Self>) {
        match self.parts.ledger.read(self.next(), limits::CATCH_UP_EVENTS) {
            Ok(page) if page.is_empty() => {}
            Ok(page) => {
                let _all = page.iter().all(|numbered| self.pass(numbered));
                self.plan(ctx);
            }
            Err(error) => {
                tracing::warn!(error = %error, "failed to read the ledger");
                self.plan(ctx);
            }
        }
    }

    fn plan(&mut self, ctx: &mut Context<Self>) {
        if !self.planned {
            self.planned = true;
            ctx.run_later(limits::REMIND_READER, |actor, ctx| {
                actor.planned = false;
                actor.catch_up(ctx);
            });
        }
    }
}

impl Actor for Tap {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.catch_up(ctx);
    }
}

impl Supervised for Tap {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.parts.clone());
    }
}

impl Handler<Recorded> for Tap {
    type Result = ();

    fn handle(&mut self, msg: Recorded, ctx: &mut Context<Self>) {
        if self.planned {
            return; // it is behind, and reads on by itself
        }
        for told in msg.told.iter() {
            if let Item::Event(numbered) = &told.item
                && (numbered.position > self.next() || !self.pass(numbered))
            {
                return self.catch_up(ctx);
            }
        }
        if self.next() <= msg.head {
            self.catch_up(ctx);
        }
    }
}
