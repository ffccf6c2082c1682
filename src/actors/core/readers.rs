//! Who is told what was written, and whom a full mailbox keeps owing a reminder.

use crate::actors::messages::Recorded;
use crate::domain::model::Position;
use crate::limits;
use actix::{Actor, AsyncContext, Context, Recipient};
use std::sync::Arc;

/// Readers of what is written, by name.
#[derive(Debug)]
pub(crate) struct ToldReaders {
    readers: Vec<(String, Recipient<Recorded>)>,
    /// For each reader: its mailbox was full, so it must be reminded.
    owed: Vec<bool>,
    /// A reminder is planned.
    reminding: bool,
}

impl ToldReaders {
    /// Of whom nothing is known yet: each is reminded first.
    pub(crate) fn new(readers: Vec<(String, Recipient<Recorded>)>) -> Self {
        Self {
            owed: vec![true; readers.len()],
            reminding: false,
            readers,
        }
    }

    /// Tells all.
    pub(crate) fn tell(&mut self, recorded: &Recorded) {
        for ((_, reader), owed) in self.readers.iter().zip(&mut self.owed) {
            *owed = reader.try_send(recorded.clone()).is_err();
        }
    }

    /// Whether somebody must be reminded.
    fn owes(&self) -> bool {
        self.owed.contains(&true)
    }

    /// A reader whose mailbox was full hears how far the ledger goes as soon as it has room, and catches up from there.
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

/// An actor that tells readers what was written.
pub(crate) trait TellsReaders: Actor<Context = Context<Self>> {
    /// Whom it tells.
    fn readers(&mut self) -> &mut ToldReaders;

    /// Up to where they may read by themselves.
    fn told_head(&self) -> Position;

    /// Reminds those whose mailbox was full, until each has room.
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
