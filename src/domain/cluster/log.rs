//! The cluster log that carries parcels between nodes: its entries, and its answers to a leader that appends.

use crate::domain::cluster::{Parcel, ParcelHash};

/// An entry of the cluster log. Its number is that of its parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The term of the leader that appended it.
    pub term: u64,
    /// The name of the leader's ledger.
    pub lineage: String,
    /// The parcel.
    pub parcel: Parcel,
}

/// What one read of the cluster log brings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogRead {
    /// Entries, in order.
    pub entries: Vec<LogEntry>,
    /// Bars that are still forming, as texts, each told after the entries before it.
    pub forming: Vec<String>,
    /// Where the next read of those begins.
    pub mark: String,
}

/// The newest entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogHead {
    /// The number of its parcel.
    pub number: u64,
    /// That parcel's hash.
    pub hash: ParcelHash,
    /// The term of the leader that appended it.
    pub term: u64,
    /// The name of the leader's ledger.
    pub lineage: String,
}

/// An opening in the cluster log, where a node can begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpeningMark {
    /// The number of its parcel.
    pub number: u64,
    /// Whether a chain begins with it, so that earlier parcels belong to another chain.
    pub begins_chain: bool,
}

/// The cluster log's answer to appended parcels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogAnswer {
    /// It has all of them.
    Taken,
    /// A leader of a later term has written to it.
    Stale {
        /// The later term.
        term: u64,
    },
    /// It has another parcel under this number, or one that cannot be compared: of another leader or another ledger.
    Differs {
        /// The number.
        number: u64,
    },
    /// It ends before the first of them, so that parcels are missing in between; 0 when it is empty and they do not begin with an opening.
    Hole {
        /// Its last number.
        head: u64,
    },
    /// It is full; a sentence.
    Full(String),
    /// It does not answer; a sentence.
    Away(String),
}

/// What a leader does with a cluster log that it has not written to before, or that is not as it left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    /// Continue with this number.
    GoOn {
        /// The next parcel.
        next: u64,
    },
    /// The cluster log is empty: begin with the newest opening of the ledger.
    Fill,
    /// The cluster log belongs to another ledger, or has parcels that this ledger lost: this ledger cannot continue it.
    Foreign,
}

/// Decides what to do with a cluster log that ends at `head`, for a ledger that ends at `last`. `own` is the ledger's hash of the parcel
/// with the cluster log's last number.
pub fn contact(head: Option<&LogHead>, last: u64, own: Option<ParcelHash>) -> Contact {
    let Some(head) = head else { return Contact::Fill };
    if head.number <= last && own == Some(head.hash) {
        return Contact::GoOn {
            next: head.number.saturating_add(1),
        };
    }
    Contact::Foreign
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_gone_on_with_only_where_the_ledger_has_its_last_parcel() {
        let hash = ParcelHash::NONE.then(7, b"seven");
        let head = LogHead {
            number: 7,
            hash,
            term: 3,
            lineage: "a".to_owned(),
        };
        assert_eq!(contact(None, 9, None), Contact::Fill);
        assert_eq!(contact(Some(&head), 9, Some(hash)), Contact::GoOn { next: 8 });
        assert_eq!(contact(Some(&head), 7, Some(hash)), Contact::GoOn { next: 8 });
        assert_eq!(contact(Some(&head), 9, Some(ParcelHash::NONE)), Contact::Foreign);
        assert_eq!(
            contact(Some(&head), 9, None),
            Contact::Foreign,
            "no longer kept, or skipped"
        );
        assert_eq!(
            contact(Some(&head), 6, None),
            Contact::Foreign,
            "the ledger lost its end"
        );
    }
}
