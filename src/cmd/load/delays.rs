//! How long things took: counted in buckets that are at most a thirty-second apart, so that millions of them need a few kilobytes.

use crate::limits;
use serde_json::{Value, json};

/// Buckets of one power of two.
const PARTS: u64 = 32;

/// Delays in microseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Delays {
    counts: Vec<u64>,
    count: u64,
    most: u64,
}

impl Delays {
    pub(super) fn add(&mut self, micros: u64) {
        let bucket = bucket_of(micros);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket.saturating_add(1), 0); // at most some two thousand
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.count = self.count.saturating_add(1);
        self.most = self.most.max(micros);
    }

    /// The delay that so many of a thousand do not exceed, rounded up to the end of its bucket; nothing without any.
    pub(super) fn quantile(&self, of_thousand: u64) -> Option<u64> {
        let rank = self.count.saturating_mul(of_thousand).div_ceil(1_000).max(1);
        let mut seen = 0_u64;
        let place = self.counts.iter().position(|count| {
            seen = seen.saturating_add(*count);
            seen >= rank
        })?;
        Some(end_of(place).min(self.most))
    }

    /// Whether half of them are longer than any delay: the service's market time is not the time of this machine, as in a demo.
    fn are_of_another_clock(&self) -> bool {
        self.quantile(500) > Some(limits::LOAD_DELAY)
    }

    /// Without figures if the two clocks cannot be compared.
    pub(super) fn for_programs(&self) -> Value {
        let known = !self.are_of_another_clock();
        let shown = |micros: Option<u64>| micros.filter(|_| known);
        json!({"count": self.count, "p50_us": shown(self.quantile(500)), "p99_us": shown(self.quantile(990)),
            "max_us": shown((self.count > 0).then_some(self.most))})
    }

    pub(super) fn for_people(&self) -> String {
        if self.are_of_another_clock() {
            return "not known: the service's market time is not the time of this machine, as in a demo".to_owned();
        }
        match (self.quantile(500), self.quantile(990)) {
            (Some(half), Some(most)) => format!(
                "p50 {}, p99 {}, max {}, from the tick's arrival at the service to a client here",
                millis(half),
                millis(most),
                millis(self.most)
            ),
            _ => "none".to_owned(),
        }
    }
}

fn millis(micros: u64) -> String {
    format!("{}.{:01} ms", micros / 1_000, micros % 1_000 / 100)
}

/// The values below `PARTS` have a bucket each; above, each power of two has `PARTS` of them.
fn bucket_of(micros: u64) -> usize {
    let shift = u64::from(micros.max(1).ilog2()).saturating_sub(u64::from(PARTS.ilog2()));
    let part = micros >> shift;
    usize::try_from(shift.saturating_mul(PARTS).saturating_add(part)).unwrap_or(usize::MAX)
}

/// The largest value of a bucket.
fn end_of(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    let shift = (bucket / PARTS).saturating_sub(1);
    let part = bucket.saturating_sub(shift.saturating_mul(PARTS));
    (part.saturating_add(1) << shift.min(57)).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_list_within_a_bucket() {
        let mut delays = Delays::default();
        assert_eq!(delays.quantile(500), None);
        (1..=1_000).for_each(|micros| delays.add(micros * 10));
        let near = |of_thousand, exact: u64| {
            let found = delays.quantile(of_thousand).unwrap();
            assert!(
                found >= exact && found <= exact + exact / 32 + 1,
                "{of_thousand}: {found}"
            );
        };
        near(500, 5_000);
        near(990, 9_900);
        assert_eq!(
            (delays.quantile(1_000), delays.most, delays.count),
            (Some(10_000), 10_000, 1_000)
        );
    }

    #[test]
    fn delays_of_another_clock_are_no_figures() {
        let mut delays = Delays::default();
        delays.add(1_500);
        assert_eq!(delays.for_programs()["p50_us"], 1_500);
        assert!(delays.for_people().starts_with("p50 1.5 ms"), "{}", delays.for_people());
        (0..3).for_each(|_| delays.add(34_899_667_017_500_000)); // a demo of last year
        assert_eq!(delays.for_programs()["p50_us"], Value::Null);
        assert_eq!(delays.for_programs()["count"], 4);
        assert!(delays.for_people().starts_with("not known"), "{}", delays.for_people());
    }

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket_and_the_bucket_is_narrow(micros in 0_u64..1_u64 << 56) {
            let bucket = bucket_of(micros);
            prop_assert!(micros <= end_of(bucket));
            prop_assert!(end_of(bucket) <= micros + micros / 32 + 1);
            prop_assert!(bucket == 0 || end_of(bucket - 1) < micros || bucket_of(end_of(bucket - 1)) < bucket);
            prop_assert!(bucket < 4_096);
        }
    }
}
