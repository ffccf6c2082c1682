//! The one reader of clocks. Everything else is told the time.
//!
//! *Market time* is what the service believes the wall clock says; under `demo` it runs faster than real time and starts where
//! the replayed session starts. *Real time* is only ever a duration: what to sleep, how long something took.

use crate::domain::timestamp::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant; // the standard one, but tests can pause it

/// Where market time comes from. Cheap to clone; clones agree.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    /// The wall clock of the machine.
    System,
    /// `origin + (real time since started) × speed`, plus what [`Clock::advance`] added.
    Scaled {
        origin: Timestamp,
        /// Empty while it is held.
        started: Arc<OnceLock<Instant>>,
        speed: f64,
        added_us: Arc<AtomicI64>,
    },
    /// Stands still until a test moves it.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's wall clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that shows `origin` now and then runs `speed` times as fast as real time. A speed that is not a positive
    /// finite number counts as 1.
    #[must_use]
    pub fn scaled(origin: Timestamp, speed: f64) -> Self {
        let clock = Self::held(origin, speed);
        clock.release();
        clock
    }

    /// The same, standing at `origin` until [`Clock::release`].
    #[must_use]
    pub fn held(origin: Timestamp, speed: f64) -> Self {
        let speed = if speed.is_finite() && speed > 0.0 { speed } else { 1.0 };
        Self(Source::Scaled {
            origin,
            started: Arc::default(),
            speed,
            added_us: Arc::default(),
        })
    }

    /// Lets a held clock run. Once; again, or on another clock, changes nothing.
    #[expect(clippy::disallowed_methods, reason = "this file is the one place that reads clocks")]
    pub fn release(&self) {
        if let Source::Scaled { started, .. } = &self.0 {
            started.get_or_init(Instant::now);
        }
    }

    /// A clock that shows `at` until [`Clock::advance`] moves it.
    #[must_use]
    pub fn manual(at: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(at.micros()))))
    }

    /// Whether it is held: made so, and not released yet.
    #[must_use]
    pub fn stands(&self) -> bool {
        matches!(&self.0, Source::Scaled { started, .. } if started.get().is_none())
    }

    /// Market time now, UTC.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this file is the one place that reads clocks")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::from_datetime(chrono::Utc::now()),
            Source::Scaled {
                origin,
                started,
                speed,
                added_us,
            } => {
                let added = Duration::from_micros(u64::try_from(added_us.load(Ordering::Relaxed)).unwrap_or(0));
                let ran = started.get().map(tokio::time::Instant::elapsed).unwrap_or_default();
                *origin + ran.mul_f64(*speed) + added
            }
            Source::Manual(us) => Timestamp::from_micros(us.load(Ordering::Relaxed)),
        }
    }

    /// Moves a scaled or manual clock forward (a demo skips the night; a test moves time). The system clock does not move.
    pub fn advance(&self, by: Duration) {
        let us = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        match &self.0 {
            Source::System => {}
            Source::Scaled { added_us, .. } => {
                added_us.fetch_add(us, Ordering::Relaxed);
            }
            Source::Manual(now) => {
                now.fetch_add(us, Ordering::Relaxed);
            }
        }
    }

    /// How many seconds of market time pass in one real second.
    #[must_use]
    pub const fn speed(&self) -> f64 {
        match &self.0 {
            Source::Scaled { speed, .. } => *speed,
            Source::System | Source::Manual(_) => 1.0,
        }
    }

    /// Real time to sleep until market time shows `deadline`; zero when it has passed.
    #[must_use]
    pub fn until(&self, deadline: Timestamp) -> Duration {
        self.real(deadline.since(self.now()))
    }

    /// How much real time a stretch of market time takes on this clock.
    #[must_use]
    pub fn real(&self, market: Duration) -> Duration {
        market.div_f64(self.speed())
    }
}

/// Measures how long something took in real time.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this file is the one place that reads clocks")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Real time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(Timestamp::from_micros(1_000_000));
        let twin = clock.clone();
        clock.advance(Duration::from_secs(2));
        assert_eq!(twin.now(), Timestamp::from_micros(3_000_000));
        assert_eq!(
            twin.until(Timestamp::from_micros(3_500_000)),
            Duration::from_millis(500)
        );
        assert_eq!(twin.until(Timestamp::from_micros(1)), Duration::ZERO);
    }

    #[test]
    fn a_scaled_clock_divides_what_there_is_to_sleep() {
        let clock = Clock::scaled(Timestamp::from_micros(0), 100.0);
        assert_eq!(clock.real(Duration::from_secs(300)), Duration::from_secs(3));
        clock.advance(Duration::from_secs(3600));
        assert!(clock.now() >= Timestamp::from_micros(3_600_000_000));
    }

    #[test]
    fn a_held_clock_stands_until_it_is_released() {
        let origin = Timestamp::from_secs(5);
        let clock = Clock::held(origin, 1e9);
        assert_eq!(clock.now(), origin);
        assert!(clock.stands());
        clock.release();
        assert!(!clock.stands());
        assert!(clock.now() > origin);
    }

    #[test]
    fn a_senseless_speed_counts_as_one() {
        for speed in [0.0, -3.0, f64::NAN, f64::INFINITY] {
            assert!((Clock::scaled(Timestamp::from_micros(0), speed).speed() - 1.0).abs() < f64::EPSILON);
        }
    }
}
