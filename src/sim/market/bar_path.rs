//! Ticks that make up a given bar: their open, high, low and close are exactly the bar's.
//!
//! ```text
//! open → first turn → second turn → close      the turns are the high and the low, in the order that needs less way
//! ```

use crate::domain::model::{Ohlc, Price, Timestamp};
use crate::limits;
use crate::sim::market::{Quote, SeededRng};

/// The ticks of a bar that opens at `opens`. Stamps are whole seconds inside the slot, strictly rising, so no two ticks are
/// alike; every price lies between the bar's low and high.
pub fn ticks_of_bar(rng: SeededRng, opens: Timestamp, bar: &Ohlc) -> Vec<Quote> {
    let place = u64::try_from(opens.secs()).unwrap_or(0);
    let prices = path_through(rng, place, bar);
    let seconds = limits::SIM_SLOT.as_secs();
    let count = u64::try_from(prices.len()).unwrap_or(1).max(1);
    let share = (seconds / count).max(1);
    let stamped = prices.into_iter().zip(0_u64..).map(|(price, index)| {
        let into = index * share + rng.value_below(place, 1_000 + index, share);
        let at = Timestamp::from_secs(opens.secs().saturating_add_unsigned(into));
        Quote { at, price }
    });
    stamped.collect()
}

/// The prices from the open to the close, through the high and the low.
fn path_through(rng: SeededRng, place: u64, bar: &Ohlc) -> Vec<Price> {
    if bar.low == bar.high {
        let count = usize::try_from(1 + rng.value_below(place, 0, 3)).unwrap_or(1);
        return vec![bar.open; count];
    }
    let [up_first, down_first] = [[bar.high, bar.low], [bar.low, bar.high]]
        .map(|[one, two]| distance(bar.open, one) + distance(one, two) + distance(two, bar.close));
    let turns = if up_first <= down_first {
        [bar.high, bar.low]
    } else {
        [bar.low, bar.high]
    };
    let [first, second] = turns;
    let mut prices = vec![bar.open];
    for (leg, target) in [(1, first), (2, second), (3, bar.close)] {
        let from = prices.last().copied().unwrap_or(bar.open);
        let steps = 2 + rng.value_below(place, 10 + leg, 12);
        prices.extend(
            (1..steps).map(|step| step_between(rng, place, leg * 100 + step, from, target, (step, steps), bar)),
        );
        prices.push(target);
    }
    prices
}

fn distance(from: Price, to: Price) -> i64 {
    to.minus(from).micros().abs()
}

/// A price on the way from one turn to the next, near the straight line, and on the vendor's grid if that stays inside the bar.
fn step_between(
    rng: SeededRng,
    place: u64,
    index: u64,
    from: Price,
    to: Price,
    (step, steps): (u64, u64),
    bar: &Ohlc,
) -> Price {
    const GRID: i64 = 10_000;
    let [done, all] = [step, steps].map(|count| i64::try_from(count).unwrap_or(1));
    let span = to.minus(from).micros();
    let beside = rng.value_within(place, index, span.abs() / 8);
    let raw = from.micros() + span * done / all + beside;
    let on_grid = (raw + GRID / 2).div_euclid(GRID) * GRID;
    Price::from_micros(on_grid).clamp(bar.low, bar.high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bar() -> impl Strategy<Value = Ohlc> {
        (3_000_000_000_i64..5_000_000_000, 0_i64..40_000_000, 0_u8..=8, 0_u8..=8).prop_map(
            |(low, range, open, close)| {
                let inside = |eighths: u8| Price::from_micros(low + range * i64::from(eighths) / 8);
                Ohlc {
                    open: inside(open),
                    high: inside(8),
                    low: inside(0),
                    close: inside(close),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn ticks_make_exactly_the_bar_they_came_from(seed in any::<u64>(), slot in 5_000_000_i64..6_000_000, bar in bar()) {
            let opens = Timestamp::from_secs(slot * 300);
            let ticks = ticks_of_bar(SeededRng::new(seed), opens, &bar);
            prop_assert_eq!(crate::sim::market::ohlc_of(&ticks), Some(bar));
            prop_assert!(ticks.iter().all(|tick| tick.at.micros() % 1_000_000 == 0));
            prop_assert!(ticks.windows(2).all(|pair| pair[0].at < pair[1].at));
            prop_assert!(ticks[0].at >= opens && ticks[ticks.len() - 1].at < opens + limits::SIM_SLOT);
        }

        #[test]
        fn a_flat_bar_gives_at_least_one_tick(seed in any::<u64>()) {
            let ticks = ticks_of_bar(SeededRng::new(seed), Timestamp::from_secs(0), &Ohlc::flat_at(Price::from_micros(5)));
            prop_assert!((1..=3).contains(&ticks.len()));
        }
    }
}
