//! Tap: sends bars, gaps and sessions to the demo's screen, in order and without a gap.
//!
//! owns   its position in the ledger
//! hears  Recorded (Recorder)
//! says   events, through a bounded channel, to the screen
//! fails  when the channel is full it keeps its position and continues from the ledger; a restart does the same

use crate::actors::messages::{Item, Recorded};
use crate::actors::services::Services;
use crate::domain::model::{Event, Position, Sequenced};
use crate::limits;
use actix::{Actor, AsyncContext, Context, Handler, Supervised};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// The dependencies of a Tap; they outlive its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The services that every actor may use.
    pub services: Services,
    /// The command's channel.
    pub out: mpsc::Sender<Sequenced>,
    /// The next position to send.
    pub next: Arc<AtomicU64>,
}

/// See the module.
#[derive(Debug)]
pub struct Tap {
    deps: Deps,
    planned: bool,
}

impl Tap {
    /// Not started yet.
    pub const fn new(deps: Deps) -> Self {
        Self { deps, planned: false }
    }

    fn next(&self) -> Position {
        Position(self.deps.next.load(Ordering::Relaxed))
    }

    /// Sends one event; `false` when the channel is full.
    fn pass(&self, numbered: &Sequenced) -> bool {
        if numbered.position < self.next() {
            return true;
        }
        let shown = matches!(
            numbered.event,
            Event::Bar(_) | Event::Gap(_) | Event::Seam(_) | Event::Session(_)
        );
        if shown
            && matches!(
                self.deps.out.try_send(numbered.clone()),
                Err(mpsc::error::TrySendError::Full(_))
            )
        {
            return false;
        }
        self.deps.next.store(numbered.position.next().0, Ordering::Relaxed);
        true
    }

    /// Reads from the ledger until nothing is left or the channel is full, and tries again later in that case.
    fn catch_up(&mut self, ctx: &mut Context<Self>) {
        match self.deps.services.ledger.read(self.next(), limits::CATCH_UP_EVENTS) {
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
        *self = Self::new(self.deps.clone());
    }
}

impl Handler<Recorded> for Tap {
    type Result = ();

    fn handle(&mut self, msg: Recorded, ctx: &mut Context<Self>) {
        if self.planned {
            return; // it is behind, and reads the ledger already
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
