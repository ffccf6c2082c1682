//! What polling may cost: how often to ask so that the credits last until the session closes, and whether they will.

use crate::domain::timestamp::Timestamp;
use crate::limits;
use std::time::Duration;

/// What there is to spend, and on what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Credits that polling may still use today.
    pub left: u32,
    /// Keys that may be used today.
    pub keys: u32,
    /// Between two calls on one key.
    pub spacing: Duration,
    /// Pairs to poll: one credit each.
    pub symbols: u32,
    /// Until the session closes.
    pub remaining: Duration,
}

/// Whether today's plan fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// When it was made.
    pub at: Timestamp,
    /// Credits used today so far.
    pub used: u32,
    /// Credits that will have been used when the session closes.
    pub expected: u32,
    /// Credits that all usable keys have in a day.
    pub available: u32,
}

impl Forecast {
    /// Whether the day's credits suffice.
    #[must_use]
    pub const fn fits(&self) -> bool {
        self.expected <= self.available
    }
}

/// How long to wait between two rounds of polling; `None` when there is nothing to spend.
#[must_use]
pub fn poll_every(budget: Budget) -> Option<Duration> {
    if budget.keys == 0 || budget.symbols == 0 {
        return None;
    }
    let rounds = budget.left.checked_div(budget.symbols).filter(|rounds| *rounds > 0)?;
    let lasting = budget.remaining.checked_div(rounds).unwrap_or_default();
    let spaced = budget.spacing.checked_div(budget.keys).unwrap_or_default();
    // A minute holds a bar's ticks apart from the next bar's; slower than that a bar's high and low mean little.
    Some(
        lasting
            .max(spaced.saturating_mul(budget.symbols))
            .max(limits::POLL_FASTEST),
    )
}

/// Credits that rounds of polling at this pace will use until the session closes.
#[must_use]
pub fn cost(every: Duration, symbols: u32, remaining: Duration) -> u32 {
    let rounds = remaining.as_millis().checked_div(every.as_millis().max(1)).unwrap_or(0);
    u32::try_from(rounds).unwrap_or(u32::MAX).saturating_mul(symbols)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Duration = Duration::from_secs(17_700);

    fn budget(left: u32, keys: u32, symbols: u32) -> Budget {
        Budget {
            left,
            keys,
            spacing: Duration::from_secs(8),
            symbols,
            remaining: SESSION,
        }
    }

    #[test]
    fn one_free_key_lasts_a_whole_session() {
        let every = poll_every(budget(720, 1, 1)).unwrap();
        assert!(
            every > Duration::from_secs(24) && every < Duration::from_secs(25),
            "{every:?}"
        );
        assert!(cost(every, 1, SESSION) <= 720);
    }

    #[test]
    fn many_keys_poll_as_fast_as_makes_sense_and_no_faster() {
        assert_eq!(poll_every(budget(12_000, 16, 1)), Some(limits::POLL_FASTEST));
        let three = poll_every(budget(12_000, 2, 8)).unwrap();
        assert_eq!(
            three,
            Duration::from_secs(32),
            "eight pairs on two keys, eight seconds apart"
        );
    }

    #[test]
    fn without_credits_keys_or_pairs_there_is_no_polling() {
        for empty in [budget(0, 1, 1), budget(9, 0, 1), budget(9, 1, 0), budget(2, 1, 3)] {
            assert_eq!(poll_every(empty), None);
        }
    }

    #[test]
    fn a_plan_that_costs_more_than_there_is_does_not_fit() {
        let forecast = Forecast {
            at: Timestamp::from_secs(0),
            used: 100,
            expected: 801,
            available: 800,
        };
        assert!(!forecast.fits());
        assert!(
            Forecast {
                expected: 800,
                ..forecast
            }
            .fits()
        );
    }
}
