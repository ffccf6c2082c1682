//! The inputs since the last event, by which entries that are appended again are recognised. An event is known by its position, an input by
//! the events around it or, if there are none, by being equal.

use super::error::LedgerError;
use super::files::sql_int;
use super::rows;
use crate::domain::model::{Input, JournalEntry};
use crate::limits;
use rusqlite::{Connection, params};
use std::collections::VecDeque;
use std::path::Path;

#[derive(Debug, Clone, Default)]
pub(super) struct Tail {
    /// The number of inputs since the last event.
    count: usize,
    /// The newest of them.
    recent: VecDeque<Input>,
}

impl Tail {
    pub(super) fn push(&mut self, heard: &Input) {
        self.count = self.count.saturating_add(1);
        if self.recent.len() >= limits::LEDGER_TAIL_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(heard.clone());
    }

    pub(super) fn forget(&mut self) {
        self.count = 0;
        self.recent.clear();
    }

    pub(super) fn read(db: &Connection, path: &Path, head: u64) -> Result<Self, LedgerError> {
        let error = LedgerError::of_sqlite("read inputs of", path);
        let newest = i64::try_from(limits::LEDGER_TAIL_MAX).unwrap_or(i64::MAX);
        let mut statement = db
            .prepare("SELECT * FROM inputs WHERE after_position = ?1 AND id > (SELECT ifnull(max(id), 0) FROM inputs) - ?2 ORDER BY id")
            .map_err(error)?;
        let mut found = statement.query(params![sql_int(head), newest]).map_err(error)?;
        let mut tail = Self::default();
        while let Some(row) = found.next().map_err(error)? {
            let read = rows::check_sum(row, rows::INPUT_COLUMNS).and_then(|()| rows::input_from_row(row));
            tail.push(&read.map_err(|problem| LedgerError::Corrupt {
                file: path.to_owned(),
                table: "inputs",
                row: row.get(0).unwrap_or(0),
                problem,
            })?);
        }
        Ok(tail)
    }

    /// How many leading entries of `entries` are already written in a ledger that ends at `head`.
    pub(super) fn known_prefix(&self, entries: &[JournalEntry], head: u64) -> usize {
        let old = entries
            .iter()
            .position(|entry: &JournalEntry| matches!(entry, JournalEntry::Event(event) if event.position.0 > head))
            .unwrap_or(entries.len());
        let old = entries.get(..old).unwrap_or_default();
        let last = old.iter().enumerate().rev().find_map(|(i, entry)| match entry {
            JournalEntry::Event(event) => Some((i, event.position.0)),
            JournalEntry::Input(_) | JournalEntry::Partial { .. } => None,
        });
        match last {
            Some((i, position)) if position == head => {
                let after = i.saturating_add(1);
                after.saturating_add(length_of(old.get(after..).unwrap_or_default(), self.count))
            }
            Some(_) => old.len(),
            None => length_of(old, self.overlap_length(old)),
        }
    }

    /// How many leading inputs of `entries` are those at the end of the ledger. Inputs with equal instant and bytes count as the same one;
    /// replaying one of them instead of two gives the same bars.
    fn overlap_length(&self, entries: &[JournalEntry]) -> usize {
        let heard: Vec<&Input> = entries.iter().filter_map(as_heard).collect();
        let Some(first) = heard.first() else { return 0 };
        let same_instant = self.recent.partition_point(|known| known.at < first.at);
        (same_instant..self.recent.len())
            .find(|start| {
                self.recent
                    .range(*start..)
                    .zip(&heard)
                    .all(|(known, new)| known == *new)
            })
            .map_or(0, |start| self.recent.len().saturating_sub(start).min(heard.len()))
    }
}

fn as_heard(entry: &JournalEntry) -> Option<&Input> {
    match entry {
        JournalEntry::Input(heard) => Some(heard),
        JournalEntry::Event(_) | JournalEntry::Partial { .. } => None,
    }
}

/// The number of leading entries that contain the first `inputs` inputs.
fn length_of(entries: &[JournalEntry], inputs: usize) -> usize {
    if inputs == 0 {
        return 0;
    }
    let mut seen = 0_usize;
    let end = entries.iter().position(|entry| {
        seen = seen.saturating_add(usize::from(as_heard(entry).is_some()));
        seen == inputs
    });
    end.map_or(entries.len(), |end| end.saturating_add(1))
}
