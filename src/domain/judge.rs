//! Judges ticks before they are numbered: what cannot be a price of this market now is set aside, with a reason, and counted.

use crate::domain::price::Price;
use crate::domain::tick::{SetAside, Tick};
use crate::domain::timestamp::Timestamp;
use crate::limits;

/// Judges the ticks of one symbol.
#[derive(Debug, Clone)]
pub struct Judge {
    /// How far a price may jump without confirmation.
    jump_basis_points: u64,
    /// The last good tick.
    last: Option<Tick>,
    /// A level far from the last good price, and how many ticks in a row stood there.
    elsewhere: Option<(Price, u32)>,
}

impl Judge {
    /// Without a last good price.
    #[must_use]
    pub const fn new(jump_basis_points: u64) -> Self {
        Self {
            jump_basis_points,
            last: None,
            elsewhere: None,
        }
    }

    /// Whether `tick`, heard at `now`, is good. A good tick becomes the one that the next is measured against.
    ///
    /// # Errors
    /// The reason for which it is set aside.
    pub fn admit(&mut self, tick: &Tick, now: Timestamp) -> Result<(), SetAside> {
        if tick.price.micros() <= 0 || tick.bid.is_some_and(negative) || tick.ask.is_some_and(negative) {
            return Err(SetAside::NonPositive);
        }
        if tick.bid.zip(tick.ask).is_some_and(|(bid, ask)| bid > ask) {
            return Err(SetAside::CrossedQuote);
        }
        if tick.at > now + limits::FUTURE_TOLERANCE {
            return Err(SetAside::FromTheFuture);
        }
        if let Some(last) = &self.last {
            if last == tick {
                // Only the one before it counts: with stamps of whole minutes A, B, A are three prices, and the last is the close.
                return Err(SetAside::ExactRepeat);
            }
            if tick.at.since(last.at) <= limits::JUMP_MEMORY
                && self.far(last.price, tick.price)
                && !self.confirmed(tick.price)
            {
                return Err(SetAside::AbsurdJump);
            }
        }
        self.last = Some(*tick);
        self.elsewhere = None;
        Ok(())
    }

    /// Whether two prices differ by more than the limit, measured on the first.
    const fn far(&self, from: Price, to: Price) -> bool {
        let difference = to.micros().abs_diff(from.micros());
        difference.saturating_mul(10_000) > from.micros().unsigned_abs().saturating_mul(self.jump_basis_points)
    }

    /// A market can really jump: the new level is believed when ticks in a row agree on it.
    fn confirmed(&mut self, price: Price) -> bool {
        let count = match self.elsewhere {
            Some((level, count)) if !self.far(level, price) => count.saturating_add(1),
            _ => 1,
        };
        self.elsewhere = Some((price, count));
        count >= limits::JUMP_CONFIRMATIONS
    }
}

const fn negative(price: Price) -> bool {
    price.micros() <= 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::symbol::Symbol;
    use crate::domain::tick::Provenance;
    use std::time::Duration;

    const NOON: Timestamp = Timestamp::from_secs(1_761_152_400);

    fn tick(price: &str, at: Timestamp) -> Tick {
        let price = price.parse().unwrap();
        Tick {
            symbol: Symbol::usdcop(),
            price,
            bid: None,
            ask: None,
            at,
            provenance: Provenance::Live,
        }
    }

    fn check(judge: &mut Judge, price: &str, expect: Result<(), SetAside>) {
        assert_eq!(judge.admit(&tick(price, NOON), NOON), expect, "{price}");
    }

    #[test]
    fn prices_that_cannot_be_are_set_aside() {
        let mut judge = Judge::new(limits::JUMP_BASIS_POINTS);
        check(&mut judge, "0", Err(SetAside::NonPositive));
        check(&mut judge, "-4000", Err(SetAside::NonPositive));
        let crossed = Tick {
            bid: Some(Price::from_micros(2)),
            ask: Some(Price::from_micros(1)),
            ..tick("4000", NOON)
        };
        assert_eq!(judge.admit(&crossed, NOON), Err(SetAside::CrossedQuote));
        let locked = Tick {
            bid: Some(Price::from_micros(2)),
            ask: Some(Price::from_micros(2)),
            ..tick("4000", NOON)
        };
        assert_eq!(judge.admit(&locked, NOON), Ok(()));
    }

    #[test]
    fn a_stamp_too_far_ahead_is_set_aside_and_a_little_ahead_is_not() {
        let mut judge = Judge::new(limits::JUMP_BASIS_POINTS);
        let ahead = |by| tick("4000", NOON + by);
        let just_over = limits::FUTURE_TOLERANCE + Duration::from_secs(1);
        assert_eq!(judge.admit(&ahead(just_over), NOON), Err(SetAside::FromTheFuture));
        assert_eq!(judge.admit(&ahead(limits::FUTURE_TOLERANCE), NOON), Ok(()));
    }

    #[test]
    fn only_the_same_tick_twice_in_a_row_is_a_repeat() {
        let mut judge = Judge::new(limits::JUMP_BASIS_POINTS);
        check(&mut judge, "4000", Ok(()));
        check(&mut judge, "4000", Err(SetAside::ExactRepeat));
        check(&mut judge, "4001", Ok(()));
        check(&mut judge, "4000", Ok(()));
        assert_eq!(judge.admit(&tick("4000", NOON + Duration::from_secs(1)), NOON), Ok(()));
    }

    #[test]
    fn a_lone_jump_is_set_aside_and_a_confirmed_one_is_believed() {
        let mut judge = Judge::new(limits::JUMP_BASIS_POINTS);
        check(&mut judge, "4000", Ok(()));
        check(&mut judge, "40.5", Err(SetAside::AbsurdJump));
        check(&mut judge, "4001", Ok(()));
        check(&mut judge, "4300", Err(SetAside::AbsurdJump));
        check(&mut judge, "4310", Err(SetAside::AbsurdJump));
        check(&mut judge, "4305", Ok(()));
        check(&mut judge, "4306", Ok(()));
    }

    #[test]
    fn after_a_long_silence_any_level_is_believed() {
        let mut judge = Judge::new(limits::JUMP_BASIS_POINTS);
        check(&mut judge, "4000", Ok(()));
        let later = NOON + limits::JUMP_MEMORY + Duration::from_secs(1);
        assert_eq!(judge.admit(&tick("4600", later), later), Ok(()));
    }
}
