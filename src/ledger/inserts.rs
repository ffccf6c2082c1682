//! The prepared statements of one append: inputs, ticks, bars, other events, and new channels.

use super::end::End;
use super::names;
use super::rows::{self, INSERT_BAR, INSERT_INPUT, INSERT_NOTE, INSERT_TICK};
use crate::domain::model::{Channel, Event, Input, Sequenced};
use rusqlite::{CachedStatement, Transaction, params};

/// The statements of one append.
pub(super) struct Inserts<'t> {
    transaction: &'t Transaction<'t>,
    input: CachedStatement<'t>,
    tick: CachedStatement<'t>,
}

impl<'t> Inserts<'t> {
    pub(super) fn prepare(transaction: &'t Transaction<'t>) -> rusqlite::Result<Self> {
        Ok(Self {
            transaction,
            input: transaction.prepare_cached(INSERT_INPUT)?,
            tick: transaction.prepare_cached(INSERT_TICK)?,
        })
    }

    pub(super) fn insert_input(&mut self, heard: &Input, end: &mut End) -> rusqlite::Result<()> {
        end.input = end.input.saturating_add(1);
        end.tail.push(heard);
        rows::insert_input(&mut *self.input, end.input, end.head, heard)
    }

    pub(super) fn insert_event(&mut self, numbered: &Sequenced) -> rusqlite::Result<()> {
        match &numbered.event {
            Event::Tick(accepted) => rows::insert_tick(&mut *self.tick, numbered, accepted),
            Event::Bar(bar) => {
                let mut insert = self.transaction.prepare_cached(INSERT_BAR)?;
                rows::insert_bar(&mut *insert, numbered, bar)
            }
            Event::BarEnd(_)
            | Event::Gap(_)
            | Event::Session(_)
            | Event::Seam(_)
            | Event::Certificate(_)
            | Event::Journal(_) => {
                let mut insert = self.transaction.prepare_cached(INSERT_NOTE)?;
                rows::insert_note(&mut *insert, numbered)
            }
        }
    }

    /// Inserts the head of a channel that is new to this ledger.
    pub(super) fn insert_head(&self, end: &End, channel: Option<Channel>) -> rusqlite::Result<()> {
        let Some((channel, head)) = channel.and_then(|channel| Some((channel, end.heads.get(&channel)?))) else {
            return Ok(());
        };
        self.transaction
            .execute(
                "INSERT INTO heads VALUES (?1, ?2, 0)",
                params![channel.to_string(), head.epoch.as_str()],
            )
            .and_then(|_| names::seal(self.transaction))
    }
}
