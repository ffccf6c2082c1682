//! The lasting faults, and until when each lasts.

use crate::domain::model::Timestamp;
use crate::sim::scenario::{Fault, RestFault};

/// Faults in force. A later one of the same kind wins.
#[derive(Debug, Clone, Default)]
pub(crate) struct ActiveFaults(Vec<(Fault, Option<Timestamp>)>);

impl ActiveFaults {
    /// Starts a fault; without an end it stays.
    pub(crate) fn start_fault(&mut self, trouble: Fault, until: Option<Timestamp>, now: Timestamp) {
        self.0.retain(|(_, until)| until.is_none_or(|until| now < until));
        self.0.push((trouble, until));
    }

    /// Ends all faults.
    pub(crate) fn clear_faults(&mut self) {
        self.0.clear();
    }

    /// The value of `what` for the latest fault in force that has one.
    pub(crate) fn find_active<T>(&self, now: Timestamp, what: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let in_force = self
            .0
            .iter()
            .rev()
            .filter(|(_, until)| until.is_none_or(|until| now < until));
        in_force.map(|(trouble, _)| trouble).find_map(what)
    }

    /// Whether exactly this fault is in force.
    pub(crate) fn is_active(&self, wanted: &Fault, now: Timestamp) -> bool {
        self.find_active(now, |trouble| (trouble == wanted).then_some(()))
            .is_some()
    }

    /// Whether this fault of REST requests is in force.
    pub(crate) fn has_rest(&self, wanted: RestFault, now: Timestamp) -> bool {
        self.is_active(&Fault::Rest(wanted), now)
    }

    /// Whether a fault of this kind is in force for the key at `place`.
    pub(crate) fn has_for_key(&self, kind: fn(Option<usize>) -> Fault, place: usize, now: Timestamp) -> bool {
        self.is_active(&kind(None), now) || self.is_active(&kind(Some(place)), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_trouble_ends_when_its_time_is_over() {
        let mut faults = ActiveFaults::default();
        faults.start_fault(Fault::Mute, Some(at(10)), at(0));
        faults.start_fault(Fault::Quoted, None, at(0));
        assert!(faults.is_active(&Fault::Mute, at(9)) && !faults.is_active(&Fault::Mute, at(10)));
        assert!(faults.is_active(&Fault::Quoted, at(1_000_000)));
        faults.clear_faults();
        assert!(!faults.is_active(&Fault::Quoted, at(0)));
    }

    #[test]
    fn the_later_of_two_wins_and_the_earlier_returns() {
        let mut faults = ActiveFaults::default();
        let status = |faults: &ActiveFaults, now| {
            faults.find_active(now, |trouble| {
                if let Fault::RefuseUpgrades(status) = trouble {
                    Some(*status)
                } else {
                    None
                }
            })
        };
        faults.start_fault(Fault::RefuseUpgrades(503), None, at(0));
        faults.start_fault(Fault::RefuseUpgrades(429), Some(at(5)), at(1));
        assert_eq!((status(&faults, at(4)), status(&faults, at(5))), (Some(429), Some(503)));
    }

    #[test]
    fn a_trouble_of_all_keys_is_one_of_each() {
        let mut faults = ActiveFaults::default();
        faults.start_fault(Fault::ExpiredKey(Some(2)), None, at(0));
        assert!(faults.has_for_key(Fault::ExpiredKey, 2, at(0)) && !faults.has_for_key(Fault::ExpiredKey, 1, at(0)));
        faults.start_fault(Fault::ExpiredKey(None), None, at(0));
        assert!(faults.has_for_key(Fault::ExpiredKey, 1, at(0)));
    }
}
