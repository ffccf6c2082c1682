//! Measures continuously how far the vendor's timestamps are from our clock.
//!
//! Timestamps are whole seconds and often whole minutes, and single ones are odd. So a difference counts only where the newest timestamps
//! agree on it: the *least* lag of the newest samples detects old timestamps, the *median* a clock of ours that is slow.

use crate::domain::model::Timestamp;
use crate::limits;
use std::collections::VecDeque;

/// The newest differences between arrival and timestamp of one pair, one per second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StampLag(VecDeque<Sample>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    received: Timestamp,
    /// Arrival minus timestamp; negative when the timestamp is ahead of our clock.
    lag_us: i64,
    whole_minute: bool,
}

/// A reading of the newest timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LagReading {
    /// The number of samples.
    pub samples: usize,
    /// The smallest difference, microseconds; positive when even the freshest timestamp is that old.
    pub least_us: i64,
    /// The median difference, microseconds.
    pub median_us: i64,
    /// Whether every timestamp is a whole minute, and so may be almost a minute away from its price.
    pub whole_minutes: bool,
}

impl StampLag {
    /// A price with this timestamp arrived.
    pub fn note(&mut self, stamp: Timestamp, received: Timestamp) {
        let lag_us = received.micros().saturating_sub(stamp.micros());
        let whole_minute = stamp.secs() % 60 == 0;
        if let Some(newest) = self.0.back_mut()
            && newest.received.secs() == received.secs()
        {
            newest.lag_us = newest.lag_us.min(lag_us);
            newest.whole_minute &= whole_minute;
            return;
        }
        self.0.push_back(Sample {
            received,
            lag_us,
            whole_minute,
        });
        while self.0.len() > limits::LAG_SAMPLES_LEAST
            && self
                .0
                .front()
                .is_some_and(|sample: &Sample| received.since(sample.received) > limits::LAG_WINDOW)
        {
            self.0.pop_front();
        }
        if self.0.len() > limits::LAG_SAMPLES {
            self.0.pop_front();
        }
    }

    /// Drops all samples: another session begins.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The present reading; `None` without samples.
    pub fn read_lag(&self) -> Option<LagReading> {
        let mut lags: Vec<i64> = self.0.iter().map(|sample| sample.lag_us).collect();
        lags.sort_unstable();
        Some(LagReading {
            samples: lags.len(),
            least_us: lags.first().copied()?,
            median_us: lags.get(lags.len() / 2).copied()?,
            whole_minutes: self.0.iter().all(|sample| sample.whole_minute),
        })
    }
}

impl LagReading {
    /// Whether there are enough samples for a condition; a single one may be odd.
    pub const fn is_settled(&self) -> bool {
        self.samples >= limits::LAG_SAMPLES_LEAST
    }

    /// How old even the freshest timestamp is, microseconds, if that is more than the limit.
    pub fn behind_us(&self) -> Option<i64> {
        (self.least_us > self.limit_us()).then_some(self.least_us)
    }

    /// How far the timestamps are ahead of our clock, microseconds, if that is more than the limit.
    pub fn ahead_us(&self) -> Option<i64> {
        (self.median_us < -self.limit_us()).then_some(-self.median_us)
    }

    fn limit_us(&self) -> i64 {
        let minute = if self.whole_minutes {
            limits::LAG_MINUTE
        } else {
            std::time::Duration::ZERO
        };
        i64::try_from((limits::LAG + minute).as_micros()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_772_460_000;

    /// Prices every five seconds whose timestamps are `away` seconds from their arrival, plus a fraction of a second of transit.
    fn stamped(away: i64, stamps: impl Fn(i64) -> i64) -> LagReading {
        let mut lag = StampLag::default();
        for i in 0..24 {
            let received = Timestamp::from_micros((NOON + i * 5) * 1_000_000 + 300_000);
            lag.note(Timestamp::from_secs(stamps(NOON + i * 5 + away)), received);
        }
        lag.read_lag().unwrap()
    }

    #[test]
    fn stamps_of_the_second_are_neither_old_nor_ahead() {
        let reading = stamped(0, |secs| secs);
        assert!(reading.is_settled() && reading.behind_us().is_none() && reading.ahead_us().is_none());
        assert_eq!(
            stamped(16, |secs| secs).ahead_us(),
            None,
            "the vendor was seen 16 s ahead"
        );
    }

    #[test]
    fn whole_minutes_are_no_difference_whichever_end_they_name() {
        let down = stamped(0, |secs| secs - secs.rem_euclid(60));
        let up = stamped(0, |secs| secs - secs.rem_euclid(60) + 60);
        assert!(down.whole_minutes && down.behind_us().is_none() && down.ahead_us().is_none());
        assert!(up.whole_minutes && up.behind_us().is_none() && up.ahead_us().is_none());
    }

    #[test]
    fn a_constant_difference_is_told_with_its_size() {
        assert_eq!(stamped(70, |secs| secs).ahead_us(), Some(69_700_000));
        assert_eq!(stamped(-90, |secs| secs).behind_us(), Some(90_300_000));
        assert_eq!(stamped(-7_200, |secs| secs).behind_us(), Some(7_200_300_000));
        let minutes = stamped(-7_200, |secs| secs - secs.rem_euclid(60));
        assert!(
            minutes
                .behind_us()
                .is_some_and(|us| (7_200_000_000..7_260_000_000).contains(&us))
        );
    }

    #[test]
    fn one_odd_stamp_says_nothing_and_one_right_stamp_ends_a_lag() {
        let mut lag = StampLag::default();
        let at = |secs: i64| Timestamp::from_secs(NOON + secs);
        for i in 0..5 {
            lag.note(at(i * 5), at(i * 5));
        }
        lag.note(at(25 - 7_200), at(25));
        assert_eq!(lag.read_lag().unwrap().behind_us(), None);
        for i in 6..40 {
            lag.note(at(i * 5 - 7_200), at(i * 5));
        }
        assert!(lag.read_lag().unwrap().behind_us().is_some());
        lag.note(at(200), at(200));
        assert_eq!(lag.read_lag().unwrap().behind_us(), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut lag = StampLag::default();
        for i in 0..10_000 {
            lag.note(Timestamp::from_secs(NOON + i), Timestamp::from_secs(NOON + i));
        }
        assert!(lag.0.len() <= limits::LAG_SAMPLES);
    }
}
