//! The independent model: what the vendor sent, what the log and the database took, what anybody was told. Plain maps; no rule of the code
//! under test.

use crate::cluster::disk::{CHANNELS, Ev, events_of, whole};
use crate::cluster::lead::BAR;
use crate::cluster::plan::S;
use candela::domain::cluster::{Parcel, ParcelHash};
use candela::domain::model::Epoch;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

#[derive(Debug)]
pub(crate) struct Witness {
    /// `cluster.alone = "hold"`.
    holds: bool,
    /// The last price, when each was made, and the fold of each bar.
    pub(crate) price: u64,
    made: Vec<i64>,
    bars: BTreeMap<i64, u64>,
    /// What a seq of an epoch is, and what a position of a ledger is.
    seqs: HashMap<(Epoch, usize, u64), u64>,
    positions: HashMap<String, HashMap<u64, (usize, u64, u64)>>,
    /// What the log took: events by position, under whatever name of a ledger, and parcels.
    logged: HashSet<(u64, u64)>,
    /// Where the newest chain of a ledger begins in it: what is before has new names with it.
    opened: HashMap<String, u64>,
    parcels: HashMap<(String, u64), ParcelHash>,
    /// The highest term in the log, in the database, in its rows.
    log_term: u64,
    base_term: i64,
    row_term: i64,
    /// Terms for which the database recorded that more is told than the log has.
    alone: BTreeSet<i64>,
    /// The last price that each node told.
    pub(crate) newest: BTreeMap<usize, u64>,
    /// A leader began without any bar: earlier ones are lost.
    pub(crate) history_lost: bool,
    pub(crate) told: u64,
    pub(crate) wrong: Vec<String>,
}

impl Witness {
    pub(crate) fn new(holds: bool) -> Self {
        Self {
            holds,
            price: 0,
            made: Vec::new(),
            bars: BTreeMap::new(),
            seqs: HashMap::new(),
            positions: HashMap::new(),
            logged: HashSet::new(),
            opened: HashMap::new(),
            parcels: HashMap::new(),
            log_term: 0,
            base_term: 0,
            row_term: 0,
            alone: BTreeSet::new(),
            newest: BTreeMap::new(),
            history_lost: false,
            told: 0,
            wrong: Vec::new(),
        }
    }

    fn violated(&mut self, what: String) {
        self.wrong.push(what);
    }

    pub(crate) fn make_price(&mut self, now: i64) {
        self.price += 1;
        self.made.push(now);
        let fold = self.bars.entry(now / (BAR * S)).or_default();
        *fold = fold.wrapping_mul(31).wrapping_add(self.price);
    }

    /// The bar of a slot as the vendor knows it: slot and fold.
    pub(crate) fn bar(&self, slot: i64) -> u64 {
        let fold = self.bars.get(&slot).copied().unwrap_or(0);
        (slot.unsigned_abs() << 32) | (fold & 0xffff_ffff)
    }

    /// The last price that was made by then.
    pub(crate) fn price_at(&self, at: i64) -> u64 {
        whole(self.made.partition_point(|made| *made <= at))
    }

    pub(crate) fn bars_until(&self, slot: i64) -> impl Iterator<Item = u64> + '_ {
        self.bars.range(..slot).map(|(slot, _)| self.bar(*slot))
    }

    /// Somebody may see this event on a node.
    pub(crate) fn shown(&mut self, node: usize, lineage: &str, epochs: &[Epoch; CHANNELS], event: &Ev) {
        let key = (epochs[event.channel], event.channel, event.seq);
        let known = *self.seqs.entry(key).or_insert(event.what);
        if known != event.what {
            self.violated(format!(
                "P1: seq {} of channel {} in epoch {} means two things: {known:x} and {:x} (node {node}, position {})",
                event.seq, event.channel, key.0, event.what, event.position
            ));
        }
        let here = (event.channel, event.seq, event.what);
        let of_ledger = self.positions.entry(lineage.to_owned()).or_default();
        let known = *of_ledger.entry(event.position).or_insert(here);
        if known != here {
            self.violated(format!(
                "P2: position {} of ledger {lineage} means two things: {known:x?} and {here:x?} (node {node})",
                event.position
            ));
        }
        let made = match event.channel {
            0 => event.what <= self.price,
            1 => event.what == self.bar(i64::try_from(event.what >> 32).expect("a slot")),
            _ => true,
        };
        if !made {
            self.violated(format!("P3: {event:x?} was never made (node {node})"));
        }
    }

    /// The log had it, or the leader recorded that it tells without the log.
    pub(crate) fn was_logged(&mut self, node: usize, lineage: &str, event: &Ev, term: Option<i64>) {
        let logged = self.logged.contains(&(event.position, event.what));
        let opened = self
            .opened
            .get(lineage)
            .is_some_and(|position| event.position <= *position);
        if !logged && !opened && (self.holds || !term.is_some_and(|term| self.alone.contains(&term))) {
            self.violated(format!(
                "L1: node {node} tells position {} of ledger {lineage}, which the log never had",
                event.position
            ));
        }
    }

    /// A node tells it now.
    pub(crate) fn tells(
        &mut self,
        node: usize,
        lineage: &str,
        epochs: &[Epoch; CHANNELS],
        event: &Ev,
        term: Option<i64>,
    ) {
        self.told += 1;
        self.shown(node, lineage, epochs, event);
        self.was_logged(node, lineage, event, term);
        if event.channel == 0 {
            self.newest.insert(node, event.what);
        }
    }

    /// The log took a parcel.
    pub(crate) fn logged(&mut self, term: u64, lineage: &str, parcel: &Parcel) {
        if term < self.log_term {
            self.violated(format!(
                "L2: parcel {} of term {term} is in the log behind one of term {}",
                parcel.number, self.log_term
            ));
        }
        self.log_term = self.log_term.max(term);
        if parcel.begins_chain() {
            self.opened.insert(lineage.to_owned(), parcel.last);
        }
        self.logged
            .extend(events_of(parcel).iter().map(|event| (event.position, event.what)));
        let known = *self
            .parcels
            .entry((lineage.to_owned(), parcel.number))
            .or_insert(parcel.hash);
        if known != parcel.hash {
            self.violated(format!(
                "L3: parcel {} of ledger {lineage} has two contents",
                parcel.number
            ));
        }
    }

    /// The database granted a term.
    pub(crate) fn took(&mut self, term: i64) {
        if term <= self.base_term {
            self.violated(format!("W1: term {term} is granted after {}", self.base_term));
        }
        self.base_term = term;
    }

    pub(crate) fn alone(&mut self, term: i64) {
        self.alone.insert(term);
    }

    /// The database was restored, and has this term now.
    pub(crate) fn base_restored(&mut self, term: i64) {
        (self.base_term, self.row_term, self.history_lost) = (term, 0, true);
    }

    /// The log was restored.
    pub(crate) const fn log_restored(&mut self) {
        self.log_term = 0;
    }

    /// A row is written under a term, while the lease has another or the same; `known` is what the row was.
    pub(crate) fn stored(&mut self, (term, lease): (i64, i64), epoch: Epoch, event: &Ev, known: Option<u64>) {
        if let Some(known) = known {
            if known != event.what {
                self.violated(format!(
                    "W2: row {epoch} {} of channel {} is {known:x} and {:x}",
                    event.seq, event.channel, event.what
                ));
            }
            return;
        }
        if term != lease {
            self.violated(format!("W3: a leader of term {term} writes a row under term {lease}"));
        }
        if term < self.row_term {
            self.violated(format!(
                "W4: a row of term {term} is written after one of term {}",
                self.row_term
            ));
        }
        self.row_term = self.row_term.max(term);
        if self.seqs.get(&(epoch, event.channel, event.seq)) != Some(&event.what) {
            self.violated(format!("W5: a row of {event:x?} was never told"));
        }
    }
}
