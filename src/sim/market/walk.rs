//! A generated market: prices as a function of seed, pair and time.
//!
//! The price is a sum of slow and fast waves of random height, each four times as long and twice as high as the one before, which is how a
//! random walk looks at every scale. Unlike a walk it can be computed for any instant at once, so the REST interface has yesterday's bars
//! without having run then. All arithmetic is in whole millionths: the same on every machine.

use crate::domain::model::{Price, Symbol, Timestamp};
use crate::limits;
use crate::sim::market::{Quote, SeededRng};

/// One pair of the generated market.
#[derive(Debug, Clone, Copy)]
pub struct Walk {
    rng: SeededRng,
    base: i64,
    step: i64,
    /// Ticks a second, each one step above the one before; `None` for one tick every few seconds.
    per_second: Option<u16>,
}

/// Lengths of the waves in seconds, shortest first. The height of wave `k` is `2^k` hundredths of a percent.
const WAVES: [u64; 9] = [20, 80, 320, 1_280, 5_120, 20_480, 81_920, 327_680, 1_310_720];

/// Base price and smallest step, in millionths, of the pairs with a known magnitude.
const KNOWN: [(&str, i64, i64); 9] = [
    ("USD/COP", 3_900_000_000, 10_000),
    ("EUR/USD", 1_090_000, 10),
    ("GBP/USD", 1_280_000, 10),
    ("USD/JPY", 148_000_000, 1_000),
    ("USD/MXN", 18_500_000, 100),
    ("USD/BRL", 5_400_000, 100),
    ("USD/CLP", 930_000_000, 10_000),
    ("XAU/USD", 2_650_000_000, 10_000),
    ("BTC/USD", 98_000_000_000, 10_000),
];

impl Walk {
    /// The walk of one pair under a seed.
    pub fn new(seed: u64, symbol: Symbol) -> Self {
        let rng = SeededRng::new(seed).fork(symbol.as_str());
        let (base, step) = KNOWN
            .into_iter()
            .find(|(name, ..)| *name == symbol.as_str())
            .map_or_else(|| unknown_pair(rng), |(_, base, step)| (base, step));
        Self {
            rng,
            base,
            step,
            per_second: None,
        }
    }

    /// The same walk with this many ticks in each second.
    pub const fn with_tick_rate(mut self, per_second: u16) -> Self {
        self.per_second = Some(per_second);
        self
    }

    /// The price at a second.
    pub fn price_at(&self, at: Timestamp) -> Price {
        let second = u64::try_from(at.secs()).unwrap_or(0);
        let shift: i64 = WAVES
            .into_iter()
            .enumerate()
            .map(|(wave, length)| self.wave_at(wave, length, second))
            .sum();
        let micros = self.base.saturating_add(shift);
        Price::from_micros(micros.div_euclid(self.step).saturating_mul(self.step).max(self.step))
    }

    /// How far one wave moves the price at a second: an interpolation between its heights at both ends, along a curve that is level there.
    fn wave_at(&self, wave: usize, length: u64, second: u64) -> i64 {
        const ONE: i64 = 1 << 16;
        let wave = u64::try_from(wave).unwrap_or(0);
        let height = (self.base / 10_000) << wave;
        let count = second / length;
        let into = second % length;
        let [from, to] = [count, count + 1].map(|end| self.rng.value_within(end, wave + 1, height));
        let along = i64::try_from(into * ONE.unsigned_abs() / length).unwrap_or(0);
        let smooth = along * along / ONE * (3 * ONE - 2 * along) / ONE;
        let moved = i128::from(to - from) * i128::from(smooth) / i128::from(ONE);
        from + i64::try_from(moved).unwrap_or(0)
    }

    /// Every tick of the piece that begins at `from`. A piece is a slot, with a tick every few seconds on whole, strictly rising seconds;
    /// in a busy market it is a second, with ticks spread over it.
    pub fn ticks_of_piece(&self, from: Timestamp) -> Vec<Quote> {
        if let Some(per_second) = self.per_second {
            return self.ticks_of_second(from.secs(), per_second).collect();
        }
        let open = from.secs();
        let length = limits::SIM_SLOT.as_secs();
        let place = u64::try_from(open).unwrap_or(0);
        let mut ticks = Vec::with_capacity(80);
        let mut into = self.rng.value_below(place, 100, 4);
        while into < length {
            let at = Timestamp::from_secs(open.saturating_add_unsigned(into));
            let price = self.price_at(at);
            ticks.push(Quote { at, price });
            into += 1 + self.rng.value_below(place, 101 + into, 7);
        }
        ticks
    }

    /// The ticks that a bar needs: those of the slot; of a busy second only the first and the last up to `now`, between which all others
    /// lie. So a bar of a busy market is not computed from hundreds of thousands of ticks.
    pub fn slot_outline(&self, slot: Timestamp, now: Timestamp) -> Vec<Quote> {
        let Some(per_second) = self.per_second else {
            return self.ticks_of_piece(slot);
        };
        let seconds = (slot.secs()..=now.secs()).take(usize::try_from(limits::SIM_SLOT.as_secs()).unwrap_or(0));
        let ends = seconds.flat_map(|second| {
            let passed = now.micros().saturating_sub(second.saturating_mul(1_000_000));
            let last = (passed / tick_spacing(per_second)).min(i64::from(per_second) - 1);
            let first = self.price_at(Timestamp::from_secs(second));
            [0, last].map(|tick| self.busy_tick(first, second, tick, per_second))
        });
        ends.collect()
    }

    fn ticks_of_second(&self, second: i64, per_second: u16) -> impl Iterator<Item = Quote> + use<> {
        let walk = *self;
        let first = self.price_at(Timestamp::from_secs(second));
        (0..i64::from(per_second)).map(move |tick| walk.busy_tick(first, second, tick, per_second))
    }

    /// The `tick`th tick of a busy second that begins at the price `first`.
    fn busy_tick(&self, first: Price, second: i64, tick: i64, per_second: u16) -> Quote {
        let micros = second
            .saturating_mul(1_000_000)
            .saturating_add(tick.saturating_mul(tick_spacing(per_second)));
        Quote {
            at: Timestamp::from_micros(micros),
            price: Price::from_micros(first.micros().saturating_add(tick.saturating_mul(self.step))),
        }
    }
}

/// Microseconds between the ticks of a busy second.
fn tick_spacing(per_second: u16) -> i64 {
    1_000_000 / i64::from(per_second.max(1))
}

/// A base price and step for a pair that is not in [`KNOWN`].
fn unknown_pair(rng: SeededRng) -> (i64, i64) {
    (1_000_000 + rng.value_within(0, 0, 400_000), 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::market::ohlc_of;
    use proptest::prelude::*;

    fn usdcop(seed: u64) -> Walk {
        Walk::new(seed, Symbol::usdcop())
    }

    #[test]
    fn a_busy_second_has_its_ticks_each_with_a_price_of_its_own() {
        let slot = Timestamp::from_secs(1_761_138_000);
        let seconds = (0..300).map(|second| slot + std::time::Duration::from_secs(second));
        let ticks: Vec<Quote> = seconds
            .flat_map(|second| usdcop(1).with_tick_rate(25).ticks_of_piece(second))
            .collect();
        assert_eq!(ticks.len(), 25 * 300);
        let mut known: Vec<_> = ticks.iter().map(|tick| (tick.at, tick.price)).collect();
        known.dedup();
        assert_eq!(known.len(), ticks.len());
        for now in [
            slot + limits::SIM_SLOT,
            slot + std::time::Duration::from_micros(3_530_000),
        ] {
            let seen: Vec<_> = ticks.iter().copied().filter(|tick| tick.at <= now).collect();
            let outline = usdcop(1).with_tick_rate(25).slot_outline(slot, now);
            assert_eq!(ohlc_of(&outline), ohlc_of(&seen));
            assert!(outline.len() < seen.len());
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_day_and_another_seed_another() {
        let slot = Timestamp::from_secs(1_761_138_000);
        assert_eq!(usdcop(1).ticks_of_piece(slot), usdcop(1).ticks_of_piece(slot));
        assert_ne!(usdcop(1).ticks_of_piece(slot), usdcop(2).ticks_of_piece(slot));
    }

    #[test]
    fn five_minute_moves_are_of_the_size_the_real_market_has() {
        let walk = usdcop(3);
        let mut moves: Vec<i64> = (0..2_000)
            .map(|slot| {
                let [from, to] =
                    [slot, slot + 1].map(|at| walk.price_at(Timestamp::from_secs(1_761_138_000 + at * 300)));
                to.minus(from).micros().abs() * 100_000 / from.micros()
            })
            .collect();
        moves.sort_unstable();
        let (median, last) = (moves[1_000], moves[1_999]);
        assert!((15..80).contains(&median), "median {median} tenths of a basis point");
        assert!(last < 1_000, "largest {last} tenths of a basis point");
    }

    proptest! {
        #[test]
        fn stamps_are_whole_seconds_that_rise_within_the_slot(seed in any::<u64>(), slot in 0_i64..8_000_000) {
            let opens = Timestamp::from_secs(slot * 300);
            let ticks = usdcop(seed).ticks_of_piece(opens);
            prop_assert!(ticks.len() > 30);
            prop_assert!(ticks.iter().all(|tick| tick.at.micros() % 1_000_000 == 0));
            prop_assert!(ticks.windows(2).all(|pair| pair[0].at < pair[1].at));
            prop_assert!(ticks[0].at >= opens && ticks[ticks.len() - 1].at < opens + limits::SIM_SLOT);
        }

        #[test]
        fn prices_stay_plausible(seed in any::<u64>(), second in 0_i64..4_000_000_000) {
            let price = usdcop(seed).price_at(Timestamp::from_secs(second)).micros();
            prop_assert!((3_600_000_000..4_200_000_000).contains(&price), "{price}");
            prop_assert_eq!(price % 10_000, 0);
            let odd = Walk::new(seed, "ABC/XYZ".parse().unwrap()).price_at(Timestamp::from_secs(second));
            prop_assert!(odd.micros() > 0);
        }
    }
}
