//! Decides for a new leader whether it has everything that was published before, and how its ledger continues the cluster log.

use crate::domain::cluster::{Contact, LogHead, ParcelHash, contact};

/// Why a ledger that followed the cluster log to its end does not end where the cluster log does; `None` if it does.
pub fn look_at_end(head: Option<&LogHead>, own: (u64, ParcelHash)) -> Option<String> {
    match head {
        Some(head) if (head.number, head.hash) == own => None,
        Some(head) => Some(format!(
            "the cluster log ends with parcel {}, and this ledger with {}",
            head.number, own.0
        )),
        None => Some("the cluster log is empty".to_owned()),
    }
}

/// Why it is not certain that everything that the former leader published is in this ledger. `followed` says why it did not reach the end of
/// the cluster log; `provable`: the former leader recorded that the cluster log has everything that it published.
pub fn why_unproven(followed: Option<String>, provable: bool) -> Option<String> {
    let alone = "the previous leader published events to its own clients that it could not put into the cluster log";
    followed.or_else(|| (!provable).then(|| alone.to_owned()))
}

/// How a leader's ledger continues the cluster log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meeting {
    /// What the leader records beside its lease: whether the cluster log may have everything that was published.
    pub provable: bool,
    /// Only what the cluster log has is shown until it takes the rest.
    pub bounded: bool,
    /// The ledger takes new names: the cluster log has more of it than itself.
    pub renumbers: bool,
    /// The ledger begins another chain of parcels after this number.
    pub begins_after: Option<u64>,
}

/// Decides how the ledger named `lineage`, which ends with parcel `last`, continues a cluster log that ends at `head`. `own` is the ledger's
/// hash of the parcel with the cluster log's last number; `provable`: as far as the ledger goes, everything published is in the cluster log.
pub fn meet(head: Option<&LogHead>, (last, own): (u64, Option<ParcelHash>), lineage: &str, provable: bool) -> Meeting {
    let found = contact(head, last, own);
    let foreign = head.filter(|_| found == Contact::Foreign);
    Meeting {
        provable: provable && found != Contact::Fill,
        bounded: matches!(found, Contact::GoOn { .. }),
        renumbers: foreign.is_some_and(|head| head.lineage == lineage),
        begins_after: foreign.map(|head| head.number),
    }
}

impl Meeting {
    /// The cluster log does not answer: the end of the ledger may not be in it, and is shown from now on.
    pub const AWAY: Self = Self {
        provable: false,
        bounded: false,
        renumbers: false,
        begins_after: None,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(number: u64) -> LogHead {
        LogHead {
            number,
            hash: ParcelHash::NONE.then(number, b"body"),
            term: 1,
            lineage: "a".to_owned(),
        }
    }

    #[test]
    fn what_the_log_has_more_of_this_ledger_renumbers_it() {
        let log = head(7);
        let met = |last, own, name| meet(Some(&log), (last, own), name, true);
        let go_on = met(9, Some(log.hash), "a");
        assert!(go_on.provable && go_on.bounded && !go_on.renumbers && go_on.begins_after.is_none());
        let ahead = met(6, None, "a");
        assert!(ahead.renumbers && ahead.begins_after == Some(7) && !ahead.bounded);
        let other = met(9, None, "b");
        assert!(!other.renumbers && other.begins_after == Some(7));
        let empty = meet(None, (9, None), "a", true);
        assert!(!empty.provable && empty.begins_after.is_none());
    }

    #[test]
    fn only_the_end_of_the_log_of_a_leader_who_recorded_it_proves_everything() {
        let log = head(7);
        assert_eq!(look_at_end(Some(&log), (7, log.hash)), None);
        assert!(look_at_end(Some(&log), (7, ParcelHash::NONE)).is_some());
        assert!(look_at_end(Some(&log), (6, log.hash)).is_some() && look_at_end(None, (6, log.hash)).is_some());
        assert_eq!(why_unproven(None, true), None);
        assert!(why_unproven(None, false).unwrap().contains("could not put"));
        assert_eq!(why_unproven(Some("away".to_owned()), false).as_deref(), Some("away"));
    }
}
