//! Thins out the log lines of a repeating failure: logged the first time, when it changes, at intervals with a count, and when it ends.

use crate::domain::model::Timestamp;
use crate::limits;
use std::collections::BTreeMap;

/// The current failures of one kind of attempt, by their text.
#[derive(Debug, Clone, Default)]
pub struct Repeats(BTreeMap<String, Run>);

/// Equal failures since the last success.
#[derive(Debug, Clone, Copy)]
struct Run {
    said_at: Timestamp,
    times: u64,
}

impl Repeats {
    /// Counts a failure. Returns its count if it should be logged now. Failures that alternate are each logged once.
    pub fn again(&mut self, what: &str, now: Timestamp) -> Option<u64> {
        if let Some(run) = self.0.get_mut(what) {
            run.times = run.times.saturating_add(1);
            let due = now.since(run.said_at) >= limits::REPEATS_LOGGED;
            return due.then(|| {
                run.said_at = now;
                run.times
            });
        }
        if self.0.len() >= limits::REPEATS_KINDS {
            self.0.clear(); // texts that differ each time: then each is news
        }
        let run = Run { said_at: now, times: 1 };
        self.0.insert(what.to_owned(), run);
        Some(1)
    }

    /// The attempt succeeded. Returns how many failures preceded it, if any.
    pub fn over(&mut self) -> Option<u64> {
        let runs = std::mem::take(&mut self.0);
        let times = runs.values().map(|run| run.times).fold(0, u64::saturating_add);
        (times > 0).then_some(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOON: Timestamp = Timestamp::from_secs(1_772_460_000);

    #[test]
    fn an_outage_of_hours_is_a_line_now_and_then_and_says_how_often() {
        let mut repeats = Repeats::default();
        let said: Vec<u64> = (0..720_u32)
            .filter_map(|i| repeats.again("refused", NOON + Duration::from_secs(10) * i))
            .collect();
        assert_eq!(said.len(), 12, "two hours: {said:?}");
        assert_eq!(said[..3], [1, 61, 121]);
        assert_eq!(repeats.over(), Some(720));
        assert_eq!(repeats.over(), None);
    }

    #[test]
    fn another_cause_is_said_at_once_and_causes_that_take_turns_only_once() {
        let mut repeats = Repeats::default();
        let said: Vec<Option<u64>> = ["a", "a", "b", "b", "a"]
            .iter()
            .map(|what| repeats.again(what, NOON))
            .collect();
        assert_eq!(said, [Some(1), None, Some(1), None, None]);
    }
}
