//! When the pipeline has something to do without an arrival: the next deadline of all pairs, and sessions that open a moment early.
//!
//! The next deadline is kept. Every price asks for it, and none changes it.

use super::Pipeline;
use crate::domain::model::{Input, InputKind, JournalEntry, Symbol, Tick, Timestamp};
use crate::domain::pipeline::SymbolState;

impl Pipeline {
    /// The next instant at which [`Pipeline::advance`] has something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        debug_assert_eq!(
            (self.due, self.opening),
            self.plan(),
            "a change of a pair was not planned"
        );
        self.due
    }

    fn plan(&self) -> (Option<Timestamp>, bool) {
        let due = self.pairs.iter().filter_map(SymbolState::next_deadline).min();
        (due, self.pairs.iter().any(SymbolState::awaits_opening))
    }

    /// Finds the next deadline anew. Follows every change of a pair but a price.
    pub(super) fn replan(&mut self) {
        (self.due, self.opening) = self.plan();
    }

    pub(super) fn keep_deadlines(&mut self, now: Timestamp, out: &mut Vec<JournalEntry>) {
        while self.keep_deadline(now, out) {}
    }

    /// Processes the next deadline, if it is due; several may be due at one instant.
    pub(super) fn keep_deadline(&mut self, now: Timestamp, out: &mut Vec<JournalEntry>) -> bool {
        let Some(due) = self.next_deadline().filter(|due| *due <= now) else {
            return false;
        };
        self.at = self.at.max(due); // slots of a session that goes on were over before it did
        self.heard = self.at;
        out.push(JournalEntry::Input(Input {
            at: self.at,
            what: InputKind::Deadline,
        }));
        self.close_due(due, out);
        self.turn_sessions(due, out);
        self.replan();
        true
    }

    /// Opens the next session a moment early when a price is timestamped inside it, because clocks differ.
    pub(super) fn open_early(&mut self, tick: &Tick, at: Timestamp, out: &mut Vec<JournalEntry>) {
        if self.opening && self.pairs.iter().any(|pair| pair.opens_with(tick, at)) {
            out.push(JournalEntry::Input(Input {
                at,
                what: InputKind::Opened(tick.symbol),
            }));
            self.open_now(tick.symbol, at, out);
        }
    }

    pub(super) fn open_now(&mut self, symbol: Symbol, at: Timestamp, out: &mut Vec<JournalEntry>) {
        let pairs = self.pairs.iter_mut().filter(|pair| pair.market.symbol == symbol);
        pairs.for_each(|pair| pair.open_at(at));
        self.turn_sessions(at, out);
        self.replan();
    }
}
