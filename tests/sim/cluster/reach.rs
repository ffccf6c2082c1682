//! What a run met: how often each fault began and how often it changed what would have happened, and what was seen besides.

use crate::cluster::plan::Fault;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What a long run has to see.
const SOMETIMES: [&str; 18] = [
    "a node leads",
    "a leader waits for the log",
    "a leader tells alone",
    "a leader saw that another has the lease",
    "the log refused a stale leader",
    "the database refused a stale leader",
    "the Writer has no lease",
    "a follower could not go on with the log",
    "a node fetched from another what the log no longer had",
    "a node put its ledger aside and began anew",
    "a takeover could not be proved",
    "a ledger was not shown to be whole",
    "the database was ahead of a ledger",
    "the log was ahead of a ledger",
    "a client goes on at another node",
    "a client is told that it cannot go on",
    "a killed leader was succeeded in time",
    "a leader handed on in time",
];

#[derive(Debug, Clone, Default)]
pub(crate) struct Reach {
    begun: BTreeMap<Fault, u64>,
    /// Operations that faults changed: each once for a node and a fault, however often it was tried again.
    acted: BTreeMap<Fault, u64>,
    /// Faults that changed something at least once.
    hits: BTreeMap<Fault, u64>,
    seen: BTreeMap<&'static str, u64>,
}

impl Reach {
    pub(crate) fn begin(&mut self, fault: Fault) {
        *self.begun.entry(fault).or_default() += 1;
    }

    /// A fault changed an operation, for the first time or not.
    pub(crate) fn act(&mut self, fault: Fault, first: bool) {
        *self.acted.entry(fault).or_default() += 1;
        if first {
            *self.hits.entry(fault).or_default() += 1;
        }
    }

    pub(crate) fn see(&mut self, what: &'static str) {
        debug_assert!(SOMETIMES.contains(&what), "{what}");
        *self.seen.entry(what).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.begun, &other.begun),
            (&mut self.acted, &other.acted),
            (&mut self.hits, &other.hits),
        ] {
            for (fault, count) in theirs {
                *mine.entry(*fault).or_default() += count;
            }
        }
        for (what, count) in &other.seen {
            *self.seen.entry(what).or_default() += count;
        }
    }

    /// How many faults really occurred.
    pub(crate) fn hits(&self) -> u64 {
        self.hits.values().sum()
    }

    /// How many operations they changed.
    pub(crate) fn acts(&self) -> u64 {
        self.acted.values().sum()
    }

    pub(crate) fn never(&self) -> Vec<String> {
        let faults = Fault::ALL.iter().filter(|fault| !self.hits.contains_key(*fault));
        let mut never: Vec<String> = faults.map(|fault| format!("{fault:?} changed nothing")).collect();
        let unseen = SOMETIMES.iter().filter(|what| !self.seen.contains_key(*what));
        never.extend(unseen.map(|what| format!("never: {what}")));
        never
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!("{:<20}{:>12}{:>12}{:>14}", "fault", "begun", "occurred", "operations");
        let of = |counts: &BTreeMap<Fault, u64>, fault| counts.get(&fault).copied().unwrap_or(0);
        for fault in Fault::ALL {
            let (begun, hits, acted) = (of(&self.begun, fault), of(&self.hits, fault), of(&self.acted, fault));
            write!(text, "\n{:<20}{begun:>12}{hits:>12}{acted:>14}", format!("{fault:?}")).expect("writes");
        }
        for what in SOMETIMES {
            let count = self.seen.get(what).copied().unwrap_or(0);
            write!(text, "\n{count:>12} times: {what}").expect("writes");
        }
        text
    }
}
