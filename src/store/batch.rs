//! What one transaction writes: events of the ledger, in order, and how far its reader has come with them.

use crate::domain::model::{Channel, Event, Head, Sequenced};
use crate::store::rows::Rows;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Events for one transaction.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Who reads: the name its position is kept under.
    pub reader: &'static str,
    /// Which ledger.
    pub lineage: String,
    /// The events, by position.
    pub events: Vec<Sequenced>,
    /// The epochs of their channels.
    pub heads: Arc<BTreeMap<Channel, Head>>,
}

impl Batch {
    /// The reader's position once this is written.
    pub(super) fn last_position(&self) -> i64 {
        let last = self.events.last().map_or(0, |event| event.position.0);
        i64::try_from(last).unwrap_or(i64::MAX)
    }

    /// Where the reader must stand for none of this to be written yet: one before this.
    pub(super) fn first_position(&self) -> i64 {
        let first = self.events.first().map_or(0, |event| event.position.0);
        i64::try_from(first).unwrap_or(i64::MAX)
    }

    pub(super) fn to_rows(&self) -> Rows {
        Rows::from_events(&self.events, &self.heads, &self.lineage)
    }

    /// One event of it alone.
    pub(super) fn single(&self, event: &Sequenced) -> Self {
        Self {
            reader: self.reader,
            lineage: self.lineage.clone(),
            events: vec![event.clone()],
            heads: Arc::clone(&self.heads),
        }
    }

    /// The newest event after `event` of which this holds, alone.
    pub(super) fn newest_after(&self, event: &Sequenced, holds: impl Fn(&Event) -> bool) -> Option<Self> {
        let later = self.events.iter().rev();
        let mut later = later.take_while(|later| later.position > event.position);
        later.find(|later| holds(&later.event)).map(|later| self.single(later))
    }

    /// Two batches that together are this one, or `None` when it is a single event.
    pub(super) fn split_in_half(&self) -> Option<(Self, Self)> {
        if self.events.len() < 2 {
            return None;
        }
        let (first, second) = self.events.split_at(self.events.len() / 2);
        Some((self.with_events(first), self.with_events(second)))
    }

    fn with_events(&self, events: &[Sequenced]) -> Self {
        Self {
            reader: self.reader,
            lineage: self.lineage.clone(),
            events: events.to_vec(),
            heads: Arc::clone(&self.heads),
        }
    }
}
