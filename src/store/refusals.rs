//! Decides whether a refusal concerns one row or every row: a row may be set aside; a table that accepts nothing is a condition. Pure.
//!
//! A refusal that names the row's own values is accepted as the row's fault, with a limit: after [`limits::REFUSED_IN_A_ROW`] of one kind
//! without an accepted one, a later row must be accepted first. A refusal whose cause may be the table is accepted only if another row of
//! its kind was accepted in the same transaction.

use crate::domain::model::Event;
use crate::limits;
use std::collections::BTreeMap;

/// The kind of a row. Rows of one kind go into the same tables.
pub(super) const fn row_kind(event: &Event) -> &'static str {
    match event {
        Event::Tick(_) => "tick",
        Event::Bar(_) => "bar",
        Event::BarEnd(_) => "bar_end",
        Event::Gap(_) => "gap",
        Event::Seam(_) => "seam",
        Event::Certificate(_) => "certificate",
        Event::Session(_) => "session",
        Event::Journal(_) => "journal",
    }
}

/// Recent results for each kind of row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Refusals(BTreeMap<&'static str, Lately>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Lately {
    /// How many were set aside since the last accepted one.
    refused: u32,
    /// Whether one was accepted in this transaction, or would be.
    proven: bool,
}

/// What to do with a refused row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    SetAside,
    /// First check whether a later row of its kind is accepted. This many were refused in a row.
    Prove(u32),
}

impl Refusals {
    /// A transaction begins.
    pub(super) fn begin_transaction(&mut self) {
        for lately in self.0.values_mut() {
            lately.proven = false;
        }
    }

    /// A row of this kind was accepted.
    pub(super) fn note_accepted(&mut self, kind: &'static str) {
        self.0.insert(
            kind,
            Lately {
                refused: 0,
                proven: true,
            },
        );
    }

    /// A later row of this kind would be accepted.
    pub(super) fn note_proven(&mut self, kind: &'static str) {
        self.0.entry(kind).or_default().proven = true;
    }

    /// A row of this kind was refused, for its own values or (`own_reason` is false) perhaps because of the table.
    pub(super) fn note_refused(&mut self, kind: &'static str, own_reason: bool) -> Advice {
        let lately = self.0.entry(kind).or_default();
        let few = lately.refused < limits::REFUSED_IN_A_ROW;
        if lately.proven || (own_reason && few) {
            lately.refused = lately.refused.saturating_add(1);
            return Advice::SetAside;
        }
        Advice::Prove(lately.refused.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_name_their_own_fault_are_set_aside_until_it_is_every_row() {
        let mut refusals = Refusals::default();
        for _ in 0..limits::REFUSED_IN_A_ROW {
            refusals.begin_transaction();
            assert_eq!(refusals.note_refused("tick", true), Advice::SetAside);
        }
        let next = limits::REFUSED_IN_A_ROW + 1;
        assert_eq!(refusals.note_refused("tick", true), Advice::Prove(next));
        assert_eq!(
            refusals.note_refused("bar", true),
            Advice::SetAside,
            "each kind by itself"
        );
        refusals.note_proven("tick");
        assert_eq!(refusals.note_refused("tick", true), Advice::SetAside);
        refusals.begin_transaction();
        assert_eq!(
            refusals.note_refused("tick", true),
            Advice::Prove(next + 1),
            "proof holds for a transaction"
        );
        refusals.note_accepted("tick");
        refusals.begin_transaction();
        assert_eq!(refusals.note_refused("tick", true), Advice::SetAside);
    }

    #[test]
    fn what_may_be_the_tables_fault_needs_another_row_that_is_accepted() {
        let mut refusals = Refusals::default();
        assert_eq!(refusals.note_refused("tick", false), Advice::Prove(1));
        refusals.note_accepted("bar");
        assert_eq!(refusals.note_refused("tick", false), Advice::Prove(1));
        refusals.note_accepted("tick");
        assert_eq!(refusals.note_refused("tick", false), Advice::SetAside);
        refusals.begin_transaction();
        assert_eq!(
            refusals.note_refused("tick", false),
            Advice::Prove(2),
            "not in this transaction yet"
        );
    }
}
