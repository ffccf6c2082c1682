//! The commit queue between Aggregator and Recorder: entries that are decided and not yet in the ledger.
//!
//! It outlives both actors. Every event on it has its numbers, so none may be lost: the Recorder removes a batch only when it is written. A
//! Recorder that fails takes the same batch again.
//!
//! *Architecture invariant*: bounded by [`limits::COMMIT_QUEUE_ENTRIES`]; when it is full the Aggregator waits, then the Feed, and
//! the vendor's TCP window fills.

use crate::domain::model::{JournalEntry, Position};
use crate::limits;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A written batch, and the position that it reached.
pub type Appended = (Arc<[JournalEntry]>, Position);

/// Shared by one Aggregator and one Recorder. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct CommitQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Signals that a batch was written.
    written: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<JournalEntry>,
    in_hand: Option<Arc<[JournalEntry]>>,
    closed: bool,
}

impl CommitQueue {
    /// Appends entries in order and leaves `entries` empty. The caller checks [`CommitQueue::has_room`] before it decides.
    pub fn push_all(&self, entries: &mut Vec<JournalEntry>) {
        let mut state = self.state();
        if state.closed {
            entries.clear();
        }
        state.queue.extend(entries.drain(..));
    }

    /// Closes the queue: later entries are dropped. They were never published, and the next start decides them again from the recorded
    /// inputs.
    pub fn close(&self) {
        self.state().closed = true;
    }

    /// Whether there is room for another input and its events.
    pub fn has_room(&self) -> bool {
        self.len() < limits::COMMIT_QUEUE_ENTRIES
    }

    /// How many entries are not written yet.
    pub fn len(&self) -> usize {
        let state = self.state();
        state.queue.len() + state.in_hand.as_ref().map_or(0, |batch| batch.len())
    }

    /// Whether everything is written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batch in hand, else the next one: whole transactions, about `most` entries. A transaction that opens a session begins a batch,
    /// because the ledger begins a new file with it.
    pub fn take(&self, most: usize) -> Option<Arc<[JournalEntry]>> {
        let mut state = self.state();
        if state.in_hand.is_none() && !state.queue.is_empty() {
            let cut = state.cut(most);
            let batch: Arc<[JournalEntry]> = state.queue.drain(..cut).collect();
            state.in_hand = Some(batch);
        }
        state.in_hand.clone()
    }

    /// Appends the next batch, as [`CommitQueue::take`] returns it. Only afterwards may it be published, with the position that was
    /// reached. It stays in hand until [`CommitQueue::written`].
    ///
    /// # Errors
    /// The error of `append`: the same batch is next again.
    pub fn append_next<E>(
        &self,
        most: usize,
        append: impl FnOnce(&[JournalEntry]) -> Result<Position, E>,
    ) -> Option<Result<Appended, E>> {
        let batch = self.take(most)?;
        Some(append(&batch).map(|head| (batch, head)))
    }

    /// Removes the batch in hand, which is written.
    pub fn written(&self) {
        self.state().in_hand = None;
        self.0.written.notify_waiters();
    }

    /// Waits until every entry is written.
    pub async fn wait_until_empty(&self) {
        self.wait_until(Self::is_empty).await;
    }

    /// Waits until there is room.
    pub async fn wait_for_room(&self) {
        self.wait_until(Self::has_room).await;
    }

    async fn wait_until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            let written = self.0.written.notified(); // registered before the check, so that no wake-up is missed
            if holds(self) {
                return;
            }
            written.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Where the next batch ends.
    fn cut(&self, most: usize) -> usize {
        let mut transaction = 0; // the start of the transaction being examined
        for (i, entry) in self.queue.iter().enumerate() {
            if entry.begins_transaction() {
                if i >= most {
                    return i;
                }
                transaction = i;
            }
            if transaction > 0 && entry.opens_session().is_some() {
                return transaction;
            }
        }
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{
        Event, Input, InputKind, Position, Sequenced, SessionChange, SessionKind, SessionPhase, Symbol, Timestamp,
    };

    fn heard() -> JournalEntry {
        JournalEntry::Input(Input {
            at: Timestamp::from_secs(0),
            what: InputKind::Deadline,
        })
    }

    fn session(phase: SessionPhase) -> JournalEntry {
        let at = Timestamp::from_secs(0);
        let (symbol, date, kind) = (Symbol::usdcop(), chrono::NaiveDate::default(), SessionKind::Spot);
        let event = Event::Session(SessionChange {
            symbol,
            phase,
            date,
            kind,
            opens: at,
            closes: at,
        });
        JournalEntry::Event(Sequenced {
            position: Position(1),
            channel: None,
            seq: 0,
            at,
            event,
        })
    }

    fn sizes(entries: Vec<JournalEntry>, most: usize) -> Vec<usize> {
        let commit_queue = CommitQueue::default();
        commit_queue.push_all(&mut { entries });
        let mut sizes = Vec::new();
        while let Some(batch) = commit_queue.take(most) {
            sizes.push(batch.len());
            commit_queue.written();
        }
        sizes
    }

    #[test]
    fn batches_are_whole_transactions() {
        let soon = || session(SessionPhase::OpeningSoon);
        let entries = || vec![heard(), soon(), soon(), heard(), heard(), soon()];
        assert_eq!(sizes(entries(), 1), [3, 1, 2]);
        assert_eq!(sizes(entries(), 4), [4, 2]);
        assert_eq!(sizes(entries(), 100), [6]);
    }

    #[test]
    fn a_transaction_that_opens_a_session_begins_a_batch() {
        let open = || session(SessionPhase::Open);
        assert_eq!(sizes(vec![heard(), heard(), open(), heard()], 100), [1, 3]);
        assert_eq!(sizes(vec![heard(), open(), heard(), open()], 100), [2, 2]);
    }

    #[test]
    fn a_batch_in_hand_is_taken_again_until_it_is_written() {
        let commit_queue = CommitQueue::default();
        commit_queue.push_all(&mut vec![heard()]);
        assert_eq!(commit_queue.take(9).unwrap().len(), 1);
        commit_queue.push_all(&mut vec![heard(), heard()]);
        assert_eq!(commit_queue.take(9).unwrap().len(), 1);
        assert_eq!(commit_queue.len(), 3);
        commit_queue.written();
        assert_eq!(commit_queue.take(9).unwrap().len(), 2);
    }

    #[test]
    fn a_closed_queue_keeps_its_entries_and_takes_nothing_more() {
        let commit_queue = CommitQueue::default();
        commit_queue.push_all(&mut vec![heard()]);
        commit_queue.close();
        let mut late = vec![heard(), heard()];
        commit_queue.push_all(&mut late);
        assert_eq!((commit_queue.len(), late.len()), (1, 0));
        assert_eq!(commit_queue.take(9).unwrap().len(), 1);
    }
}
