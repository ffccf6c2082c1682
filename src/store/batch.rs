//! The content of one transaction: events of the ledger, in order, and the reader's position after them.

use crate::domain::model::{Channel, Event, Head, Sequenced};
use crate::store::rows::Rows;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Events for one transaction.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The reader, under whose name the position is stored.
    pub reader: &'static str,
    /// The ledger's name.
    pub lineage: String,
    /// The events, by position.
    pub events: Vec<Sequenced>,
    /// The epochs of their channels.
    pub heads: Arc<BTreeMap<Channel, Head>>,
}

impl Batch {
    /// The reader's position after the batch.
    pub(super) fn last_position(&self) -> i64 {
        let last = self.events.last().map_or(0, |event| event.position.0);
        i64::try_from(last).unwrap_or(i64::MAX)
    }

    /// The position of the first event. Before the batch the reader is at the position before it.
    pub(super) fn first_position(&self) -> i64 {
        let first = self.events.first().map_or(0, |event| event.position.0);
        i64::try_from(first).unwrap_or(i64::MAX)
    }

    pub(super) fn to_rows(&self) -> Rows {
        Rows::from_events(&self.events, &self.heads, &self.lineage)
    }

    /// A batch with one event of this one.
    pub(super) fn single(&self, event: &Sequenced) -> Self {
        Self {
            reader: self.reader,
            lineage: self.lineage.clone(),
            events: vec![event.clone()],
            heads: Arc::clone(&self.heads),
        }
    }

    /// A batch with the newest event after `event` for which `holds` is true.
    pub(super) fn newest_after(&self, event: &Sequenced, holds: impl Fn(&Event) -> bool) -> Option<Self> {
        let later = self.events.iter().rev();
        let mut later = later.take_while(|later| later.position > event.position);
        later.find(|later| holds(&later.event)).map(|later| self.single(later))
    }

    /// Splits the batch in two; `None` for a single event.
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
