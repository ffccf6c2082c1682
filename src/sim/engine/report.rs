//! What the simulated vendor observed: counters, performed actions, and the rules that each key broke.

use crate::domain::model::Timestamp;
use crate::limits;
use crate::sim::vendor::{Account, KeyUse, accounts::key_tail};

/// All counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// TCP connections accepted.
    pub accepted_total: u64,
    /// WebSocket upgrades requested.
    pub upgrades_total: u64,
    /// Upgrades not granted.
    pub refused_total: u64,
    /// Upgrades granted.
    pub opened_total: u64,
    /// Connections ended by an act.
    pub dropped_total: u64,
    /// Connections closed because the same key opened a newer one.
    pub evicted_total: u64,
    /// Connections reset because the client did not read.
    pub too_slow_total: u64,
    /// Events from clients.
    pub events_total: u64,
    /// Subscribes among them.
    pub subscribes_total: u64,
    /// Heartbeats among them.
    pub heartbeats_total: u64,
    /// Price events sent, once for each connection.
    pub prices_total: u64,
    /// REST requests.
    pub rest_total: u64,
    /// REST requests answered with an error, whatever the HTTP status.
    pub rest_errors_total: u64,
    /// Actions performed, with their time; only the latest if there are many.
    pub played: Vec<(Timestamp, String)>,
}

impl Counters {
    pub(super) fn count_action(&mut self, text: &str, now: Timestamp) {
        if self.played.len() >= limits::SIM_SCENARIO_LINES {
            self.played.remove(0);
        }
        self.played.push((now, text.to_owned()));
    }
}

/// The use of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReport {
    /// Its last characters; a key is never shown whole.
    pub tail: String,
    /// Its use, and the rules that it broke.
    pub used: KeyUse,
}

/// A snapshot of all counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// All counts.
    pub counters: Counters,
    /// WebSocket connections open now.
    pub open: usize,
    /// The keys, in the order of the list or of their first use.
    pub keys: Vec<KeyReport>,
}

impl Report {
    pub(crate) fn new<'a>(counters: &Counters, open: usize, accounts: impl Iterator<Item = &'a Account>) -> Self {
        Self {
            counters: counters.clone(),
            open,
            keys: accounts
                .map(|account: &Account| KeyReport {
                    tail: account.key_tail(),
                    used: account.use_.clone(),
                })
                .collect(),
        }
    }

    /// The use of a key, found by its last characters.
    pub fn key_use(&self, key: &str) -> Option<&KeyUse> {
        let tail = key_tail(key);
        self.keys
            .iter()
            .find(|report| report.tail == tail)
            .map(|report| &report.used)
    }

    /// A sentence for each rule of the vendor that a key broke; empty if none did.
    pub fn violations(&self) -> Vec<String> {
        let sentences = self.keys.iter().flat_map(|key| {
            let tail = &key.tail;
            let used = &key.used;
            let least = used.spacing_min.unwrap_or_default();
            [
                (
                    used.spacing_broken,
                    format!("calls too soon after the one before, the closest after {least:?}"),
                ),
                (used.minute_broken, "calls beyond the credits of a minute".to_owned()),
                (used.day_broken, "calls beyond the credits of a day".to_owned()),
                (used.events_broken, "events beyond those of a minute".to_owned()),
                (used.refused_again, "uses after it was refused for the day".to_owned()),
                (
                    used.came_early,
                    "uses before the time of a Retry-After was over".to_owned(),
                ),
                (used.evicted_total, "connections beyond those of the plan".to_owned()),
            ]
            .map(|(count, what)| (count, format!("key {tail}: {count} {what}")))
        });
        sentences
            .filter(|(count, _)| *count > 0)
            .map(|(_, sentence)| sentence)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_what_was_broken_is_a_violation() {
        let good = KeyReport {
            tail: "…0001".to_owned(),
            used: KeyUse {
                calls_total: 5,
                ..KeyUse::default()
            },
        };
        let used = KeyUse {
            spacing_broken: 2,
            spacing_min: Some(Duration::from_secs(3)),
            ..KeyUse::default()
        };
        let bad = KeyReport {
            tail: "…0002".to_owned(),
            used,
        };
        let report = Report {
            keys: vec![good, bad],
            ..Report::default()
        };
        assert_eq!(
            report.violations(),
            ["key …0002: 2 calls too soon after the one before, the closest after 3s"]
        );
        assert_eq!(report.key_use("secret-0001").map(|used| used.calls_total), Some(5));
        assert_eq!(report.key_use("secret-0009"), None);
    }
}
