//! The credit budget of polling: the interval at which credits last until the session closes, and whether they suffice.

use crate::domain::model::Timestamp;
use crate::limits;
use std::time::Duration;

/// The credits available to polling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spendable {
    /// Credits that polling may still use today.
    pub left: u32,
    /// Credits used today, for anything.
    pub used: u32,
    /// Credits used today, plus the credits that usable keys have left today.
    pub available: u32,
    /// Keys that polling may use today.
    pub keys: u32,
    /// Minimum time between two calls with one key.
    pub spacing: Duration,
    /// Credits of a key in a minute, and so the maximum number of pairs in one call.
    pub per_minute: u32,
}

/// A forecast of the day's credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// When it was made.
    pub at: Timestamp,
    /// Credits used today so far.
    pub used: u32,
    /// Credits that will have been used when the session closes.
    pub expected: u32,
    /// Credits used today, plus the credits that usable keys have left today.
    pub available: u32,
    /// Pairs should be polled and no credits are left.
    pub starved: bool,
}

impl Forecast {
    /// Whether the day's credits suffice.
    pub const fn fits(&self) -> bool {
        !self.starved && self.expected <= self.available
    }
}

/// The wait between two rounds of polling `symbols` pairs; `None` when no credits are left.
pub fn poll_every(budget: Spendable, symbols: u32, remaining: Duration) -> Option<Duration> {
    if budget.keys == 0 || symbols == 0 {
        return None;
    }
    let rounds = budget.left.checked_div(symbols).filter(|rounds| *rounds > 0)?;
    let lasting = remaining.checked_div(rounds).unwrap_or_default();
    let calls = symbols.div_ceil(budget.per_minute.max(1));
    let spaced = budget
        .spacing
        .saturating_mul(calls)
        .checked_div(budget.keys)
        .unwrap_or_default();
    let minutes = Duration::from_secs(60).saturating_mul(symbols);
    let by_minute = minutes
        .checked_div(budget.per_minute.saturating_mul(budget.keys).max(1))
        .unwrap_or_default();
    Some(lasting.max(spaced).max(by_minute).max(limits::POLL_FASTEST))
}

/// The credits that polling at this interval uses until the session closes.
pub fn cost(every: Duration, symbols: u32, remaining: Duration) -> u32 {
    let rounds = remaining.as_millis().checked_div(every.as_millis().max(1)).unwrap_or(0);
    u32::try_from(rounds).unwrap_or(u32::MAX).saturating_mul(symbols)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Duration = Duration::from_secs(17_700);

    fn every(left: u32, keys: u32, symbols: u32) -> Option<Duration> {
        let budget = Spendable {
            left,
            keys,
            spacing: Duration::from_secs(8),
            per_minute: 8,
            ..Spendable::default()
        };
        poll_every(budget, symbols, SESSION)
    }

    #[test]
    fn one_free_key_lasts_a_whole_session() {
        let every = every(720, 1, 1).unwrap();
        assert!(
            every > Duration::from_secs(24) && every < Duration::from_secs(25),
            "{every:?}"
        );
        assert!(cost(every, 1, SESSION) <= 720);
    }

    #[test]
    fn many_keys_poll_as_fast_as_makes_sense_and_no_faster_than_their_minutes_allow() {
        assert_eq!(every(12_000, 16, 1), Some(limits::POLL_FASTEST));
        assert_eq!(
            every(120_000, 2, 8),
            Some(Duration::from_secs(30)),
            "eight credits a round, sixteen a minute"
        );
        assert_eq!(every(120_000, 1, 20), Some(Duration::from_secs(150)));
    }

    #[test]
    fn without_credits_keys_or_pairs_there_is_no_polling() {
        for (left, keys, symbols) in [(0, 1, 1), (9, 0, 1), (9, 1, 0), (2, 1, 3)] {
            assert_eq!(every(left, keys, symbols), None);
        }
    }

    #[test]
    fn a_plan_that_costs_more_than_there_is_does_not_fit() {
        let forecast = Forecast {
            at: Timestamp::from_secs(0),
            used: 100,
            expected: 801,
            available: 800,
            starved: false,
        };
        assert!(!forecast.fits());
        assert!(
            Forecast {
                expected: 800,
                ..forecast
            }
            .fits()
        );
        let starved = Forecast {
            expected: 100,
            starved: true,
            ..forecast
        };
        assert!(!starved.fits(), "nothing is left, and prices are wanted");
    }
}
