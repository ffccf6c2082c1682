//! The tray between Aggregator and Recorder: what was decided and is not written down yet.
//!
//! It outlives both actors. Numbers were given out for everything on it, so none of it may be lost: the Recorder takes a batch in
//! hand, and only when that is written is it gone. A Recorder that fails with a batch in hand takes the same batch again.
//!
//! *Architecture invariant*: bounded by [`limits::TRAY_ENTRIES`]; when it is full the Aggregator waits, and in the end the vendor does.

use crate::domain::event::Entry;
use crate::limits;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Shared by one Aggregator and one Recorder. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tray(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something was written.
    written: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Entry>,
    in_hand: Option<Arc<[Entry]>>,
    closed: bool,
}

impl Tray {
    /// Puts entries on the tray, in order; leaves `entries` empty. The caller asks for room before it decides, not after.
    pub fn put(&self, entries: &mut Vec<Entry>) {
        let mut state = self.state();
        if state.closed {
            entries.clear();
        }
        state.queue.extend(entries.drain(..));
    }

    /// Draws the end: what is put on it from now on is let go. The service stops; nobody is told of it, and the next start decides
    /// it anew from what was heard.
    pub fn close(&self) {
        self.state().closed = true;
    }

    /// Whether there is room for another arrival and what comes of it.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.len() < limits::TRAY_ENTRIES
    }

    /// How many entries are not written yet.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = self.state();
        state.queue.len() + state.in_hand.as_ref().map_or(0, |batch| batch.len())
    }

    /// Whether everything is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batch in hand, else the next: whole parcels, about `most` entries. A parcel that opens a session begins a batch of its
    /// own, because the ledger begins a new file there.
    #[must_use]
    pub fn take(&self, most: usize) -> Option<Arc<[Entry]>> {
        let mut state = self.state();
        if state.in_hand.is_none() && !state.queue.is_empty() {
            let cut = state.cut(most);
            let batch: Arc<[Entry]> = state.queue.drain(..cut).collect();
            state.in_hand = Some(batch);
        }
        state.in_hand.clone()
    }

    /// The batch in hand is written down.
    pub fn written(&self) {
        self.state().in_hand = None;
        self.0.written.notify_waiters();
    }

    /// Waits until everything on it is written.
    pub async fn emptied(&self) {
        self.wait_until(Self::is_empty).await;
    }

    /// Waits until there is room.
    pub async fn roomy(&self) {
        self.wait_until(Self::has_room).await;
    }

    async fn wait_until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            let written = self.0.written.notified(); // made before the look, so that nothing is missed in between
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
        let mut parcel = 0; // where the parcel begins that is looked at
        for (i, entry) in self.queue.iter().enumerate() {
            if entry.begins_parcel() {
                if i >= most {
                    return i;
                }
                parcel = i;
            }
            if parcel > 0 && entry.opens_session().is_some() {
                return parcel;
            }
        }
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Event, Heard, HeardKind, Numbered, Position, SessionChange, SessionPhase};
    use crate::domain::session::SessionKind;
    use crate::domain::symbol::Symbol;
    use crate::domain::timestamp::Timestamp;

    fn heard() -> Entry {
        Entry::Heard(Heard {
            at: Timestamp::from_secs(0),
            what: HeardKind::Deadline,
        })
    }

    fn session(phase: SessionPhase) -> Entry {
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
        Entry::Event(Numbered {
            position: Position(1),
            channel: None,
            seq: 0,
            at,
            event,
        })
    }

    fn sizes(entries: Vec<Entry>, most: usize) -> Vec<usize> {
        let tray = Tray::default();
        tray.put(&mut { entries });
        let mut sizes = Vec::new();
        while let Some(batch) = tray.take(most) {
            sizes.push(batch.len());
            tray.written();
        }
        sizes
    }

    #[test]
    fn batches_are_whole_parcels() {
        let soon = || session(SessionPhase::OpeningSoon);
        let entries = || vec![heard(), soon(), soon(), heard(), heard(), soon()];
        assert_eq!(sizes(entries(), 1), [3, 1, 2]);
        assert_eq!(sizes(entries(), 4), [4, 2]);
        assert_eq!(sizes(entries(), 100), [6]);
    }

    #[test]
    fn a_parcel_that_opens_a_session_begins_a_batch() {
        let open = || session(SessionPhase::Open);
        assert_eq!(sizes(vec![heard(), heard(), open(), heard()], 100), [1, 3]);
        assert_eq!(sizes(vec![heard(), open(), heard(), open()], 100), [2, 2]);
    }

    #[test]
    fn a_batch_in_hand_is_taken_again_until_it_is_written() {
        let tray = Tray::default();
        tray.put(&mut vec![heard()]);
        assert_eq!(tray.take(9).unwrap().len(), 1);
        tray.put(&mut vec![heard(), heard()]);
        assert_eq!(tray.take(9).unwrap().len(), 1);
        assert_eq!(tray.len(), 3);
        tray.written();
        assert_eq!(tray.take(9).unwrap().len(), 2);
    }

    #[test]
    fn a_closed_tray_holds_what_was_on_it_and_takes_nothing_more() {
        let tray = Tray::default();
        tray.put(&mut vec![heard()]);
        tray.close();
        let mut late = vec![heard(), heard()];
        tray.put(&mut late);
        assert_eq!((tray.len(), late.len()), (1, 0));
        assert_eq!(tray.take(9).unwrap().len(), 1);
    }
}
