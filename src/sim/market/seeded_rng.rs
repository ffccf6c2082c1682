//! Random numbers that are the same in every run: a hash of a seed and a place. Each number can be computed without those before it, so
//! yesterday's market is the same whether or not a program ran then.

/// A source of numbers that depend on the seed and on the place, on nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeededRng(u64);

impl SeededRng {
    /// The numbers of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x5851_f42d_4c95_7f2d))
    }

    /// The numbers for one subject, unrelated to those for another.
    pub fn fork(self, subject: &str) -> Self {
        let folded = subject.bytes().fold(self.0, |state, byte| mix(state ^ u64::from(byte)));
        Self(folded)
    }

    /// The number at a place.
    pub const fn value_at(self, place: u64, index: u64) -> u64 {
        mix(self.0 ^ mix(place) ^ mix(index.wrapping_mul(0xd6e8_feb8_6659_fd93)))
    }

    /// A number in `0..below` at a place; 0 when `below` is 0.
    pub fn value_below(self, place: u64, index: u64, below: u64) -> u64 {
        self.value_at(place, index).checked_rem(below).unwrap_or(0)
    }

    /// A number in `-reach..=reach` at a place.
    pub fn value_within(self, place: u64, index: u64, reach: i64) -> i64 {
        let span = reach.unsigned_abs().saturating_mul(2).saturating_add(1);
        i64::try_from(self.value_below(place, index, span)).unwrap_or(0) - reach.saturating_abs()
    }
}

/// The finalizer of `SplitMix64`.
const fn mix(seed: u64) -> u64 {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_falls_the_same_way_and_another_does_not() {
        let throw = |seed| {
            (0..8)
                .map(|place| SeededRng::new(seed).value_at(place, 0))
                .collect::<Vec<_>>()
        };
        assert_eq!(throw(7), throw(7));
        assert_ne!(throw(7), throw(8));
        assert_ne!(SeededRng::new(7).fork("USD/COP"), SeededRng::new(7).fork("EUR/USD"));
    }

    #[test]
    fn numbers_stay_within_reach_and_use_all_of_it() {
        let rng = SeededRng::new(1);
        let seen: Vec<i64> = (0..4_000).map(|place| rng.value_within(place, 3, 10)).collect();
        assert_eq!((seen.iter().min(), seen.iter().max()), (Some(&-10), Some(&10)));
        assert_eq!(rng.value_below(5, 5, 0), 0);
        assert_eq!(rng.value_within(5, 5, 0), 0);
    }
}
