//! The delay after a number of failures.

use std::time::Duration;

/// `first`, doubled for each of the `failures`, and at most `longest`. The caller adds jitter.
pub fn delay(first: Duration, failures: u32, longest: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_longest_and_never_overflows() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(5));
        let waits: Vec<u128> = (0..8)
            .map(|failures| delay(first, failures, longest).as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(delay(Duration::MAX, u32::MAX, longest), longest);
        assert_eq!(delay(Duration::ZERO, 7, longest), Duration::ZERO);
    }
}
