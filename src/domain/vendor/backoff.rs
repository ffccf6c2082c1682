//! The wait before the next attempt: exponential with full jitter, reset only by an accepted price.
//!
//! A link that was opened and then closed proves nothing: a client that reset its backoff on *connect* once made 17,000 handshakes a day.
//! So only an accepted price resets the wait, and only [`limits::RECONNECT_FAST`] times in a row: two processes that displace each other on
//! one key each receive a price in between.

use crate::domain::model::{Timestamp, backoff::delay};
use crate::limits;
use std::time::Duration;

/// The backoff of one link.
#[derive(Debug, Clone)]
pub struct Backoff {
    /// Attempts since the last reset.
    failures: u32,
    /// How many short-lived links may still reset the wait.
    fast_left: u32,
    /// When `fast_left` last grew.
    refilled_at: Timestamp,
}

impl Backoff {
    /// A backoff without failures.
    pub const fn new(now: Timestamp) -> Self {
        Self {
            failures: 0,
            fast_left: limits::RECONNECT_FAST,
            refilled_at: now,
        }
    }

    /// The wait before the next attempt: `jitter` (from 0 to below 1) of a ceiling that doubles with each failure.
    #[must_use]
    pub fn wait(&mut self, jitter: f64) -> Duration {
        let ceiling = delay(limits::RECONNECT_FIRST, self.failures, limits::RECONNECT_LONGEST);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(if (0.0..1.0).contains(&jitter) { jitter } else { 1.0 })
    }

    /// Resets the failures after a link with an accepted price ended, having lived for `lived`, unless too many short-lived links did so.
    pub fn forgive(&mut self, lived: Duration, now: Timestamp) {
        let refills = now.since(self.refilled_at).as_secs() / limits::RECONNECT_FAST_REFILL.as_secs();
        if refills > 0 {
            let grown = self
                .fast_left
                .saturating_add(u32::try_from(refills).unwrap_or(u32::MAX));
            self.fast_left = grown.min(limits::RECONNECT_FAST);
            self.refilled_at = now;
        }
        if lived >= limits::RECONNECT_FAST_REFILL {
            self.failures = 0;
        } else if self.fast_left > 0 {
            self.fast_left = self.fast_left.saturating_sub(1);
            self.failures = 0;
        }
    }

    /// Attempts since the last reset.
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_secs(1_772_460_000);
    const ALMOST: f64 = 0.999_999;

    #[test]
    fn the_first_wait_leaves_room_to_recover_within_a_second() {
        assert!(Backoff::new(NOON).wait(ALMOST) <= Duration::from_millis(250));
        assert_eq!(Backoff::new(NOON).wait(0.0), Duration::ZERO);
    }

    #[test]
    fn waits_double_up_to_the_longest_and_never_overflow() {
        let mut backoff = Backoff::new(NOON);
        let waits: Vec<Duration> = (0..40).map(|_| backoff.wait(ALMOST)).collect();
        assert!(waits[3] > waits[2] && waits[2] > waits[1]);
        assert!(waits.iter().all(|wait| *wait <= limits::RECONNECT_LONGEST));
        assert!(waits[39] > limits::RECONNECT_LONGEST.mul_f64(0.99));
    }

    #[test]
    fn jitter_is_full_and_senseless_luck_waits_longest() {
        for (jitter, expect) in [(0.5, 125), (f64::NAN, 250), (7.0, 250), (-1.0, 250)] {
            assert_eq!(
                Backoff::new(NOON).wait(jitter),
                Duration::from_millis(expect),
                "{jitter}"
            );
        }
    }

    #[test]
    fn a_hundred_quick_losses_are_forgiven_but_a_duel_over_a_key_is_not() {
        let mut backoff = Backoff::new(NOON);
        let mut slow = 0;
        for _ in 0..10_000 {
            assert!(backoff.wait(ALMOST) <= limits::RECONNECT_LONGEST);
            backoff.forgive(Duration::from_millis(300), NOON);
            slow += u32::from(backoff.failures() > 0);
        }
        assert_eq!(slow, 10_000 - limits::RECONNECT_FAST);
        backoff.forgive(Duration::from_secs(120), NOON);
        assert_eq!(backoff.failures(), 0, "a link that lived is forgiven");
    }

    #[test]
    fn patience_grows_back() {
        let mut backoff = Backoff::new(NOON);
        for _ in 0..=limits::RECONNECT_FAST {
            assert!(backoff.wait(ALMOST) <= limits::RECONNECT_LONGEST);
            backoff.forgive(Duration::ZERO, NOON);
        }
        assert_eq!(backoff.failures(), 1);
        backoff.forgive(Duration::ZERO, NOON + limits::RECONNECT_FAST_REFILL);
        assert_eq!(backoff.failures(), 0);
    }
}
