//! The cluster log, which answers as the scripts of `src/carrier/redis.rs` do.

use crate::cluster::disk::whole;
use crate::cluster::witness::Witness;
use candela::domain::cluster::{LogAnswer, LogEntry, LogFound, LogHead, OpeningMark, ParcelHash};
use candela::limits;
use std::collections::{BTreeMap, VecDeque};

/// What is in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    entries: BTreeMap<u64, LogEntry>,
    openings: VecDeque<OpeningMark>,
    term: u64,
    /// The leader's report: its count, and until when it is there.
    said: Option<(u64, i64)>,
    /// When each node said that it serves.
    nodes: BTreeMap<usize, i64>,
}

#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) held: Held,
    keep: usize,
    pub(crate) copy: Option<Held>,
}

/// The first half of what a starting follower asks; the other commands come a moment later.
#[derive(Debug, Clone, Default)]
pub(crate) struct Near {
    first: u64,
    at: Option<ParcelHash>,
    after: Option<(u64, ParcelHash)>,
}

impl Log {
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            held: Held::default(),
            keep,
            copy: None,
        }
    }

    pub(crate) fn head(&self) -> Option<LogHead> {
        let entry = self.held.entries.last_key_value()?.1;
        Some(LogHead {
            number: entry.parcel.number,
            hash: entry.parcel.hash,
            term: entry.term,
            lineage: entry.lineage.clone(),
        })
    }

    /// The script APPEND: what it appended before it refuses stays.
    pub(crate) fn append(&mut self, term: u64, entries: &[LogEntry], witness: &mut Witness) -> LogAnswer {
        let (mut head, mut hash, mut known) = (0, ParcelHash::NONE, self.held.term);
        if let Some(newest) = self.head() {
            (head, hash, known) = (newest.number, newest.hash, known.max(newest.term));
        }
        if known > term {
            return LogAnswer::Stale { term: known };
        }
        self.held.term = term;
        for entry in entries {
            let parcel = &entry.parcel;
            if parcel.number <= head {
                let found = self.held.entries.get(&parcel.number);
                if found.is_none_or(|found| found.parcel.hash != parcel.hash) {
                    return LogAnswer::Differs { number: parcel.number };
                }
                continue;
            }
            if !parcel.begins_chain() {
                if parcel.number != head + 1 && !(head == 0 && parcel.opens) {
                    return LogAnswer::Hole { head };
                }
                if head > 0 && hash != parcel.previous {
                    return LogAnswer::Differs { number: head };
                }
            }
            if parcel.opens {
                self.held.openings.push_back(OpeningMark {
                    number: parcel.number,
                    begins_chain: parcel.begins_chain(),
                });
                if whole(self.held.openings.len()) > limits::CLUSTER_OPENINGS {
                    self.held.openings.pop_front();
                }
            }
            self.held
                .entries
                .insert(parcel.number, LogEntry { term, ..entry.clone() });
            witness.logged(term, &entry.lineage, parcel);
            (head, hash) = (parcel.number, parcel.hash);
        }
        while self.held.entries.len() > self.keep {
            self.held.entries.pop_first();
        }
        LogAnswer::Taken
    }

    pub(crate) fn entries_after(&self, after: u64, limit: usize) -> Vec<LogEntry> {
        let entries = self.held.entries.range(after + 1..);
        entries.take(limit).map(|(_, entry)| entry.clone()).collect()
    }

    pub(crate) fn near(&self, own: u64) -> Near {
        let after = self.held.entries.range(own + 1..).next();
        Near {
            first: self.held.entries.first_key_value().map_or(0, |(number, _)| *number),
            at: self.held.entries.get(&own).map(|entry| entry.parcel.hash),
            after: after.map(|(number, entry)| (*number, entry.parcel.previous)),
        }
    }

    pub(crate) fn found(&self, near: &Near) -> LogFound {
        LogFound {
            head: self.head(),
            first: near.first,
            at: near.at,
            after: near.after,
            openings: self.held.openings.iter().cloned().collect(),
        }
    }

    pub(crate) fn say(&mut self, term: u64, count: u64, now: i64) {
        if self.held.term <= term {
            let ttl = i64::try_from(limits::LEADER_SILENT.as_micros()).expect("seconds");
            self.held.said = Some((count, now + ttl));
        }
    }

    pub(crate) fn hear(&self, now: i64) -> Option<u64> {
        self.held.said.filter(|(_, until)| now < *until).map(|(count, _)| count)
    }

    /// Says that a node serves, and hears which did lately, the newest first.
    pub(crate) fn meet(&mut self, own: Option<usize>, now: i64) -> Vec<usize> {
        if let Some(own) = own {
            self.held.nodes.insert(own, now);
        }
        let young = i64::try_from(limits::LOG_AGE_MOST.as_micros()).expect("seconds");
        let nodes = self.held.nodes.iter().filter(|(_, at)| now - **at <= young);
        nodes.map(|(node, _)| *node).rev().collect()
    }

    /// Only some of the newest entries are left.
    pub(crate) fn trim(&mut self, keep: usize) -> bool {
        let before = self.held.entries.len();
        while self.held.entries.len() > keep {
            self.held.entries.pop_first();
        }
        before != self.held.entries.len()
    }
}
