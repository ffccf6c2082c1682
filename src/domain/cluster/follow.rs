//! Decides for a node that follows the cluster log where it begins, and what to do with each entry.
//!
//! ```text
//!  entry                                      step
//!  term lower than one seen before            Lower      a leader that no longer leads: ignored
//!  number not beyond the last                 Known, or Diverged if the last number has another hash
//!  opening that begins a chain                Anew       the ledger has another name, or went on unnumbered: begin there
//!  number = last + 1 and previous = its hash  Take
//!  number = last + 1, other hash              Diverged   begin anew
//!  beyond that                                Hole       fetch again; if it is no longer there, begin anew
//! ```

use crate::domain::cluster::{LogEntry, LogHead, OpeningMark, ParcelHash};

/// The last parcel that a follower took, and the highest term that it has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPlace {
    number: u64,
    hash: ParcelHash,
    term: u64,
}

/// What to do with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryStep {
    /// Append and publish it.
    Take,
    /// The follower has it.
    Known,
    /// Parcels before it are missing.
    Hole,
    /// It begins a chain that does not continue what the follower has.
    Anew,
    /// It differs from the parcel that the follower has under its number, or does not continue it.
    Diverged,
    /// It was appended under a term that has ended.
    Lower,
}

impl LogPlace {
    /// A follower that has everything up to this parcel. The term of that parcel is learned with the next entry.
    pub const fn at(number: u64, hash: ParcelHash) -> Self {
        Self { number, hash, term: 0 }
    }

    /// The last parcel that was taken.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The highest term seen.
    pub const fn term(&self) -> u64 {
        self.term
    }

    /// Decides on an entry. The caller confirms one that it takes with [`LogPlace::taken`].
    pub fn on(&mut self, entry: &LogEntry) -> EntryStep {
        let parcel = &entry.parcel;
        if entry.term < self.term {
            return EntryStep::Lower;
        }
        self.term = entry.term;
        if parcel.number == self.number && parcel.hash != self.hash {
            return EntryStep::Diverged;
        }
        if parcel.number <= self.number {
            return EntryStep::Known;
        }
        if parcel.begins_chain() {
            return EntryStep::Anew;
        }
        if parcel.number > self.number.saturating_add(1) {
            return EntryStep::Hole;
        }
        if parcel.previous == self.hash {
            EntryStep::Take
        } else {
            EntryStep::Diverged
        }
    }

    /// The entry was written to the follower's ledger.
    pub fn taken(&mut self, entry: &LogEntry) {
        (self.number, self.hash) = (entry.parcel.number, entry.parcel.hash);
    }
}

/// What a starting follower finds in the cluster log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogFound {
    /// Its last entry; `None` when it is empty.
    pub head: Option<LogHead>,
    /// Its first number.
    pub first: u64,
    /// The hash of the entry with the follower's last number, if it is there.
    pub at: Option<ParcelHash>,
    /// Number and `previous` of the first entry after it.
    pub after: Option<(u64, ParcelHash)>,
    /// Openings, earliest first, including some that the cluster log no longer holds.
    pub openings: Vec<OpeningMark>,
}

/// Where a starting follower begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With its own ledger, which the cluster log continues.
    GoOn,
    /// With this opening, because its ledger is empty or is not continued.
    Anew {
        /// The opening's number.
        number: u64,
    },
    /// Nowhere, because the cluster log has no opening; a sentence.
    Nothing(&'static str),
}

/// Whether other nodes can have what a ledger lacks that ends with parcel `number`: it is of the cluster log's ledger, and ends before the
/// cluster log begins.
pub fn is_behind(number: u64, lineage: &str, found: &LogFound) -> bool {
    let same = found.head.as_ref().is_some_and(|head| head.lineage == lineage);
    same && number.saturating_add(1) < found.first
}

/// Decides where a follower begins that has everything up to parcel `own` of the ledger with this name. `led`: it wrote the end of that ledger
/// itself, as a leader, so that the cluster log may never have had it: it is shown only where it is found there.
pub fn start(own: Option<(u64, ParcelHash, &str)>, led: bool, found: &LogFound) -> Start {
    let Some(head) = &found.head else {
        return match own {
            Some(_) if led => {
                Start::Nothing("the cluster log is empty, and this ledger may have more than anybody was sent")
            }
            Some(_) => Start::GoOn, // old, and said to be, until the cluster log is filled
            None => Start::Nothing("the cluster log is empty: start an ingest on it first"),
        };
    };
    if let Some((number, hash, lineage)) = own {
        // A chain that begins behind it is not its own: it would end there again.
        let ends = found.after.is_some_and(|(_, previous)| previous == ParcelHash::NONE);
        let continued = found.after == Some((number.saturating_add(1), hash));
        let emptied = !led && number > head.number && lineage == head.lineage; // the cluster log lost its end, and is filled again
        if (found.at == Some(hash) && !ends) || (found.at.is_none() && continued) || emptied {
            return Start::GoOn;
        }
    }
    let mut begin = None;
    for opening in found.openings.iter().rev() {
        if opening.number < found.first {
            break;
        }
        if opening.number <= head.number {
            begin = Some(opening.number);
            if opening.begins_chain {
                break;
            }
        }
    }
    match begin {
        Some(number) => Start::Anew { number },
        None => Start::Nothing("the cluster log no longer holds an opening: raise cluster.log_entries on the ingest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cluster::Parcel;
    use bytes::Bytes;

    /// Parcels 1 to 9; a chain begins with each number in `begins`.
    fn chain(begins: &[u64], body: &str) -> Vec<Parcel> {
        let mut hash = ParcelHash::NONE;
        let parcels = (1..10).map(|number| {
            let begin = begins.contains(&number);
            let previous = if begin { ParcelHash::NONE } else { hash };
            let body = Bytes::from(format!("{body}{number}"));
            hash = previous.then(number, &body);
            Parcel {
                number,
                last: number,
                previous,
                hash,
                opens: begin,
                body,
            }
        });
        parcels.collect()
    }

    fn entry(term: u64, parcel: &Parcel) -> LogEntry {
        LogEntry {
            term,
            lineage: "a".to_owned(),
            parcel: parcel.clone(),
        }
    }

    #[test]
    fn only_what_continues_is_taken() {
        let ours = chain(&[1, 8], "");
        let other = chain(&[1, 8], "other ");
        let mut follower = LogPlace::at(3, ours[2].hash);
        assert_eq!(follower.on(&entry(2, &ours[3])), EntryStep::Take);
        assert_eq!(
            follower.on(&entry(2, &ours[3])),
            EntryStep::Take,
            "it was not written down yet"
        );
        follower.taken(&entry(2, &ours[3]));
        assert_eq!((follower.number(), follower.term()), (4, 2));
        assert_eq!(follower.on(&entry(2, &ours[3])), EntryStep::Known);
        assert_eq!(follower.on(&entry(2, &ours[1])), EntryStep::Known);
        assert_eq!(follower.on(&entry(2, &ours[5])), EntryStep::Hole);
        assert_eq!(follower.on(&entry(1, &ours[4])), EntryStep::Lower);
        assert_eq!(follower.on(&entry(2, &other[3])), EntryStep::Diverged);
        assert_eq!(follower.on(&entry(3, &other[4])), EntryStep::Diverged);
        assert_eq!(follower.on(&entry(3, &ours[7])), EntryStep::Anew);
        assert_eq!(follower.on(&entry(3, &ours[4])), EntryStep::Take);
    }

    fn found(parcels: &[Parcel], own: u64) -> LogFound {
        let last = parcels.last().unwrap();
        LogFound {
            head: Some(LogHead {
                number: last.number,
                hash: last.hash,
                term: 1,
                lineage: "a".to_owned(),
            }),
            first: parcels[0].number,
            at: parcels
                .iter()
                .find(|parcel| parcel.number == own)
                .map(|parcel| parcel.hash),
            after: parcels
                .iter()
                .find(|parcel| parcel.number > own)
                .map(|parcel| (parcel.number, parcel.previous)),
            openings: [(1, true), (4, false), (7, false)]
                .map(|(number, begins_chain)| OpeningMark { number, begins_chain })
                .to_vec(),
        }
    }

    #[test]
    fn a_start_goes_on_where_the_log_continues_it_and_else_begins_with_the_oldest_opening_of_the_chain() {
        let ours = chain(&[1], "");
        let at = |number: usize| Some((ours[number - 1].number, ours[number - 1].hash, "a"));
        assert_eq!(start(at(5), false, &found(&ours, 5)), Start::GoOn);
        assert_eq!(start(at(9), false, &found(&ours, 9)), Start::GoOn);
        assert_eq!(
            start(at(2), false, &found(&ours[2..], 2)),
            Start::GoOn,
            "the cluster log begins with the next"
        );
        assert_eq!(
            start(at(2), false, &found(&ours[3..], 2)),
            Start::Anew { number: 4 },
            "one is missing"
        );
        assert_eq!(start(None, false, &found(&ours, 0)), Start::Anew { number: 1 });
        assert_eq!(start(None, false, &found(&ours[4..], 0)), Start::Anew { number: 7 });
        assert!(matches!(start(None, false, &found(&ours[7..], 0)), Start::Nothing(_)));
        let strange = Some((5, ParcelHash::NONE, "a"));
        assert_eq!(start(strange, false, &found(&ours, 5)), Start::Anew { number: 1 });
        let anew = chain(&[1, 6], "");
        let mut behind = found(&anew, 5);
        behind.openings[1] = OpeningMark {
            number: 6,
            begins_chain: true,
        };
        let last = Some((5, anew[4].hash, "a"));
        assert_eq!(
            start(last, false, &behind),
            Start::Anew { number: 6 },
            "another chain begins behind it"
        );
        let mut renamed = found(&ours, 5);
        renamed.openings[2].begins_chain = true;
        assert_eq!(start(strange, false, &renamed), Start::Anew { number: 7 });
    }

    #[test]
    fn a_log_that_is_empty_or_shorter_than_what_we_have_is_waited_for() {
        let ours = chain(&[1], "");
        let own = Some((9, ours[8].hash, "a"));
        assert_eq!(start(own, false, &LogFound::default()), Start::GoOn);
        assert!(matches!(start(None, false, &LogFound::default()), Start::Nothing(_)));
        assert_eq!(start(own, false, &found(&ours[..5], 9)), Start::GoOn);
        let other = Some((9, ours[8].hash, "b"));
        assert_eq!(start(other, false, &found(&ours[..5], 9)), Start::Anew { number: 1 });
    }

    #[test]
    fn a_former_leader_goes_on_only_where_the_log_has_its_end() {
        let ours = chain(&[1], "");
        let own = Some((9, ours[8].hash, "a"));
        assert_eq!(start(own, true, &found(&ours, 9)), Start::GoOn);
        assert_eq!(start(own, true, &found(&ours[..5], 9)), Start::Anew { number: 1 });
        assert!(matches!(start(own, true, &LogFound::default()), Start::Nothing(_)));
        let before = Some((5, ours[4].hash, "a"));
        assert_eq!(
            start(before, true, &found(&ours[5..], 5)),
            Start::GoOn,
            "the next continues it"
        );
    }
}
