//! What faults changed, each change once: a disk that stays full and is asked again and again has refused one thing.

use crate::plan::Fault;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct Acts {
    /// Which fault of the plan, and on what.
    known: BTreeSet<(usize, u64)>,
    pub(crate) counts: BTreeMap<Fault, u64>,
}

impl Acts {
    /// The fault with this number of the plan changed what becomes of a thing: of a price, of what is appended next, of a question.
    /// Without a thing, 0, a fault acts once.
    pub(crate) fn note(&mut self, number: usize, fault: Fault, thing: u64) {
        if self.known.insert((number, thing)) {
            *self.counts.entry(fault).or_default() += 1;
        }
    }
}

/// The thing that a price of a pair is.
pub(crate) fn price(pair: usize, i: usize) -> u64 {
    let [pair, i] = [pair, i].map(|number| u64::try_from(number).unwrap_or(0));
    (pair + 1) << 40 | i
}
