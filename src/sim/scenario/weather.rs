//! The troubles that last, and until when.

use crate::domain::model::Timestamp;
use crate::sim::scenario::{RestTrouble, Trouble};

/// Troubles in force. A later one of the same kind wins.
#[derive(Debug, Clone, Default)]
pub(crate) struct Weather(Vec<(Trouble, Option<Timestamp>)>);

impl Weather {
    /// A trouble begins; without an end it stays.
    pub(crate) fn begin(&mut self, trouble: Trouble, until: Option<Timestamp>, now: Timestamp) {
        self.0.retain(|(_, until)| until.is_none_or(|until| now < until));
        self.0.push((trouble, until));
    }

    /// All troubles end.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The answer of the latest trouble in force that has one.
    pub(crate) fn find<T>(&self, now: Timestamp, what: impl Fn(&Trouble) -> Option<T>) -> Option<T> {
        let in_force = self
            .0
            .iter()
            .rev()
            .filter(|(_, until)| until.is_none_or(|until| now < until));
        in_force.map(|(trouble, _)| trouble).find_map(what)
    }

    /// Whether exactly this trouble is in force.
    pub(crate) fn has(&self, wanted: &Trouble, now: Timestamp) -> bool {
        self.find(now, |trouble| (trouble == wanted).then_some(())).is_some()
    }

    /// Whether this goes wrong with REST requests.
    pub(crate) fn has_rest(&self, wanted: RestTrouble, now: Timestamp) -> bool {
        self.has(&Trouble::Rest(wanted), now)
    }

    /// Whether a trouble with keys is in force for the key at `place`.
    pub(crate) fn has_for_key(&self, kind: fn(Option<usize>) -> Trouble, place: usize, now: Timestamp) -> bool {
        self.has(&kind(None), now) || self.has(&kind(Some(place)), now)
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
        let mut weather = Weather::default();
        weather.begin(Trouble::Mute, Some(at(10)), at(0));
        weather.begin(Trouble::Quoted, None, at(0));
        assert!(weather.has(&Trouble::Mute, at(9)) && !weather.has(&Trouble::Mute, at(10)));
        assert!(weather.has(&Trouble::Quoted, at(1_000_000)));
        weather.clear();
        assert!(!weather.has(&Trouble::Quoted, at(0)));
    }

    #[test]
    fn the_later_of_two_wins_and_the_earlier_returns() {
        let mut weather = Weather::default();
        let status = |weather: &Weather, now| {
            weather.find(now, |trouble| {
                if let Trouble::RefuseUpgrades(status) = trouble {
                    Some(*status)
                } else {
                    None
                }
            })
        };
        weather.begin(Trouble::RefuseUpgrades(503), None, at(0));
        weather.begin(Trouble::RefuseUpgrades(429), Some(at(5)), at(1));
        assert_eq!(
            (status(&weather, at(4)), status(&weather, at(5))),
            (Some(429), Some(503))
        );
    }

    #[test]
    fn a_trouble_of_all_keys_is_one_of_each() {
        let mut weather = Weather::default();
        weather.begin(Trouble::ExpiredKey(Some(2)), None, at(0));
        assert!(
            weather.has_for_key(Trouble::ExpiredKey, 2, at(0)) && !weather.has_for_key(Trouble::ExpiredKey, 1, at(0))
        );
        weather.begin(Trouble::ExpiredKey(None), None, at(0));
        assert!(weather.has_for_key(Trouble::ExpiredKey, 1, at(0)));
    }
}
