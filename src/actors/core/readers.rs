//! The readers of the ledger that are sent each batch, and reminders for those whose mailbox was full.

use crate::actors::messages::Recorded;
use crate::domain::model::Position;
use crate::limits;
use actix::{Actor, AsyncContext, Context, Recipient};
use std::sync::Arc;

/// The readers of what is written, by name.
#[derive(Debug)]
pub(crate) struct ToldReaders {
    readers: Vec<(String, Recipient<Recorded>)>,
    /// For each reader: whether its mailbox was full, so that it must be reminded.
    owed: Vec<bool>,
    /// Whether a reminder is scheduled.
    reminding: bool,
}

impl ToldReaders {
    /// Nothing is known of the readers yet: each is reminded first.
    pub(crate) fn new(readers: Vec<(String, Recipient<Recorded>)>) -> Self {
        Self {
            owed: vec![true; readers.len()],
            reminding: false,
            readers,
        }
    }

    /// Sends the batch to every reader.
    pub(crate) fn tell(&mut self, recorded: &Recorded) {
        for ((_, reader), owed) in self.readers.iter().zip(&mut self.owed) {
            *owed = reader.try_send(recorded.clone()).is_err();
        }
    }

    /// Whether a reader must be reminded.
    fn owes(&self) -> bool {
        self.owed.contains(&true)
    }

    /// Sends the ledger's head to each reader whose mailbox was full; the reader catches up from the ledger.
    fn remind(&mut self, head: Position) {
        let reminder = Recorded {
            told: Arc::new([]),
            head,
        };
        for ((_, reader), owed) in self.readers.iter().zip(&mut self.owed) {
            *owed = *owed && reader.try_send(reminder.clone()).is_err();
        }
    }
}

/// An actor that sends readers what was written.
pub(crate) trait TellsReaders: Actor<Context = Context<Self>> {
    fn readers(&mut self) -> &mut ToldReaders;

    /// The last position that readers may read.
    fn told_head(&self) -> Position;

    /// Reminds the readers whose mailbox was full, until each has room.
    fn remind_later(&mut self, ctx: &mut Context<Self>) {
        let readers = self.readers();
        if readers.reminding || !readers.owes() {
            return;
        }
        readers.reminding = true;
        ctx.run_later(limits::REMIND_READER, |actor, ctx| {
            let head = actor.told_head();
            let readers = actor.readers();
            readers.reminding = false;
            readers.remind(head);
            actor.remind_later(ctx);
        });
    }
}
