//! The only reader of clocks. All other code takes the time as an argument or from a [`Clock`].
//!
//! *Market time* is what the service takes for the wall clock's time: each reading compares the wall clock with the steady clock
//! (`domain::lifecycle::market_time`), so that no part acts on a jump. Under `demo` it runs faster than real time and starts where the
//! replayed session starts. *Real time* is only ever a duration: how long to sleep, how long something took.

use crate::domain::lifecycle::{Break, BreakCause, Distrust, MarketTime};
use crate::domain::model::Timestamp;
use crate::limits;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant; // the standard one, but tests can pause it

/// The source of market time. Cheap to clone; clones agree.
#[derive(Debug, Clone)]
pub struct Clock {
    source: Source,
    breaks: Arc<Breaks>,
}

#[derive(Debug, Clone)]
enum Source {
    /// The wall clock of the machine, as far as it is trusted.
    System(Hands, Arc<Mutex<MarketTime>>),
    /// `origin + (real time since started) × speed`, plus what [`Clock::advance`] added.
    Scaled {
        origin: Timestamp,
        /// Empty while the clock is held.
        started: Arc<OnceLock<Instant>>,
        speed: f64,
        added_us: Arc<AtomicI64>,
    },
    /// Stands still until a test moves it.
    Manual(Arc<AtomicI64>),
}

/// The two clocks of the machine.
#[derive(Debug, Clone)]
enum Hands {
    /// The machine's clocks; the steady one counts from here.
    Machine(std::time::Instant),
    /// A test's clocks: wall time, and steady time since the start, in microseconds.
    #[cfg(test)]
    Moved(Arc<(AtomicI64, AtomicI64)>),
}

impl Hands {
    #[expect(clippy::disallowed_methods, reason = "this file is the one place that reads clocks")]
    fn wall(&self) -> Timestamp {
        match self {
            Self::Machine(_) => Timestamp::from_datetime(chrono::Utc::now()),
            #[cfg(test)]
            Self::Moved(moved) => Timestamp::from_micros(moved.0.load(Ordering::Relaxed)),
        }
    }

    fn steady(&self) -> Duration {
        match self {
            Self::Machine(origin) => origin.elapsed(),
            #[cfg(test)]
            Self::Moved(moved) => Duration::from_micros(moved.1.load(Ordering::Relaxed).unsigned_abs()),
        }
    }
}

/// The breaks of market time, for the parts that must know them.
#[derive(Debug)]
struct Breaks {
    /// A thread reads the clock continually: when no reading was made, the process did not run.
    watched: AtomicBool,
    origin: std::time::Instant,
    state: Mutex<BreakList>,
}

#[derive(Debug, Default)]
struct BreakList {
    /// When the clock was last read, while it is watched.
    read: Duration,
    /// How many there were in all.
    total: u64,
    /// The newest of them, oldest first.
    last: VecDeque<Break>,
}

impl BreakList {
    fn push(&mut self, found: Break) {
        self.total = self.total.saturating_add(1);
        self.last.push_back(found);
        if self.last.len() > limits::CLOCK_BREAKS {
            self.last.pop_front();
        }
    }
}

impl Breaks {
    #[expect(clippy::disallowed_methods, reason = "this file is the one place that reads clocks")]
    fn new() -> Arc<Self> {
        Arc::new(Self {
            watched: AtomicBool::new(false),
            origin: std::time::Instant::now(),
            state: Mutex::default(),
        })
    }

    fn list(&self) -> MutexGuard<'_, BreakList> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a reading of `now`. The first reader after a pause notes the pause before any reader goes on.
    fn read(&self, now: Timestamp, speed: f64) {
        let mut list = self.list();
        let read = self.origin.elapsed();
        let unread = read.saturating_sub(std::mem::replace(&mut list.read, read));
        if unread >= limits::PROCESS_PAUSED {
            let since = now - unread.mul_f64(speed);
            list.push(Break {
                since,
                until: now,
                cause: BreakCause::ProcessPaused,
            });
        }
    }
}

impl Clock {
    const fn of(source: Source, breaks: Arc<Breaks>) -> Self {
        Self { source, breaks }
    }

    /// The machine's wall clock.
    #[expect(clippy::disallowed_methods, reason = "this file is the one place that reads clocks")]
    pub fn system() -> Self {
        Self::disciplined(Hands::Machine(std::time::Instant::now()))
    }

    fn disciplined(hands: Hands) -> Self {
        let time = MarketTime::starting(hands.wall(), hands.steady());
        Self::of(Source::System(hands, Arc::new(Mutex::new(time))), Breaks::new())
    }

    /// A machine's clocks that a test moves by [`Moved`].
    #[cfg(test)]
    pub(crate) fn moved(at: Timestamp) -> (Self, Moved) {
        let hands = Arc::new((AtomicI64::new(at.micros()), AtomicI64::new(0)));
        (Self::disciplined(Hands::Moved(Arc::clone(&hands))), Moved(hands))
    }

    /// A clock that shows `origin` now and then runs `speed` times as fast as real time. A speed that is not a positive
    /// finite number counts as 1.
    pub fn scaled(origin: Timestamp, speed: f64) -> Self {
        let clock = Self::held(origin, speed);
        clock.release();
        clock
    }

    /// The same, standing at `origin` until [`Clock::release`].
    pub fn held(origin: Timestamp, speed: f64) -> Self {
        let speed = if speed.is_finite() && speed > 0.0 { speed } else { 1.0 };
        let source = Source::Scaled {
            origin,
            started: Arc::default(),
            speed,
            added_us: Arc::default(),
        };
        Self::of(source, Breaks::new())
    }

    /// Starts a held clock. Has no effect on a clock that runs already, or was never held.
    #[expect(clippy::disallowed_methods, reason = "this file is the one place that reads clocks")]
    pub fn release(&self) {
        if let Source::Scaled { started, .. } = &self.source {
            started.get_or_init(Instant::now);
        }
    }

    /// A clock that shows `at` until [`Clock::advance`] moves it.
    pub fn manual(at: Timestamp) -> Self {
        Self::of(Source::Manual(Arc::new(AtomicI64::new(at.micros()))), Breaks::new())
    }

    /// Whether it is held: made held, and not released yet.
    pub fn stands(&self) -> bool {
        matches!(&self.source, Source::Scaled { started, .. } if started.get().is_none())
    }

    /// Market time now, UTC.
    pub fn now(&self) -> Timestamp {
        let now = self.read_source();
        self.note(now);
        now
    }

    fn note(&self, now: Timestamp) {
        if self.breaks.watched.load(Ordering::Relaxed) {
            self.breaks.read(now, self.speed());
        }
    }

    fn read_source(&self) -> Timestamp {
        match &self.source {
            Source::System(hands, time) => self.disciplined_now(hands, time),
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

    /// Reads the wall clock between two readings of the steady clock: if the thread was suspended in between, it reads again.
    fn disciplined_now(&self, hands: &Hands, time: &Mutex<MarketTime>) -> Timestamp {
        let mut time = time.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let before = hands.steady();
            let wall = hands.wall();
            let after = hands.steady();
            if after.saturating_sub(before) > limits::CLOCK_READ {
                continue;
            }
            let (now, set) = time.read(wall, before);
            if let Some(set) = set {
                self.breaks.list().push(set); // before anybody else reads the new time
            }
            return now;
        }
    }

    /// From now on a thread reads the clock continually: when it was not read for [`limits::PROCESS_PAUSED`], the process did not run.
    pub fn watched(&self) {
        self.breaks.list().read = self.breaks.origin.elapsed();
        self.breaks.watched.store(true, Ordering::Relaxed);
    }

    /// Reads the clock only to compare the wall clock and to notice a pause.
    pub fn beat(&self) {
        let now = self.read_source();
        self.note(now);
    }

    /// How many breaks market time has had.
    pub fn breaks(&self) -> u64 {
        self.breaks.list().total
    }

    /// The breaks of market time after the first `seen`, and counts them in `seen`.
    pub fn breaks_after(&self, seen: &mut u64) -> Vec<Break> {
        let list = self.breaks.list();
        let news = usize::try_from(list.total.saturating_sub(*seen)).unwrap_or(usize::MAX);
        *seen = list.total;
        let skipped = list.last.len().saturating_sub(news);
        list.last.iter().skip(skipped).copied().collect()
    }

    /// Why the wall clock is not trusted now; `None`: it is trusted, or time is not taken from it.
    pub fn distrust(&self) -> Option<Distrust> {
        let Source::System(_, time) = &self.source else {
            return None;
        };
        self.beat(); // with what the wall clock says now
        time.lock().unwrap_or_else(PoisonError::into_inner).distrust()
    }

    /// The vendor's stamp on a price that has just arrived: evidence for or against a wall clock that is not trusted.
    pub fn witness(&self, stamp: Timestamp) {
        if let Source::System(hands, time) = &self.source {
            let mut time = time.lock().unwrap_or_else(PoisonError::into_inner);
            time.witness(stamp, hands.steady());
        }
    }

    /// The last instant that was recorded before the start. A wall clock that is behind it by more than a step is not trusted.
    pub fn recorded(&self, last: Timestamp) {
        if let Source::System(hands, time) = &self.source
            && self.now() + limits::CLOCK_STEP < last
        {
            let mut time = time.lock().unwrap_or_else(PoisonError::into_inner);
            time.before_ledger(hands.steady());
        }
    }

    /// Moves a scaled or manual clock forward (a demo skips the night; a test moves time). The system clock does not move.
    pub fn advance(&self, by: Duration) {
        let us = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        match &self.source {
            Source::System(..) => {}
            Source::Scaled { added_us, .. } => {
                added_us.fetch_add(us, Ordering::Relaxed);
            }
            Source::Manual(now) => {
                now.fetch_add(us, Ordering::Relaxed);
            }
        }
    }

    /// How many seconds of market time pass in one real second.
    pub const fn speed(&self) -> f64 {
        match &self.source {
            Source::Scaled { speed, .. } => *speed,
            Source::System(..) | Source::Manual(_) => 1.0,
        }
    }

    /// Real time to sleep until market time shows `deadline`; zero when it has passed.
    pub fn until(&self, deadline: Timestamp) -> Duration {
        self.real(deadline.since(self.now()))
    }

    /// How much real time a stretch of market time takes on this clock.
    pub fn real(&self, market: Duration) -> Duration {
        market.div_f64(self.speed())
    }
}

/// Moves the clocks of [`Clock::moved`].
#[cfg(test)]
#[derive(Debug, Clone)]
pub(crate) struct Moved(Arc<(AtomicI64, AtomicI64)>);

#[cfg(test)]
impl Moved {
    /// Both clocks run.
    pub(crate) fn run(&self, by: Duration) {
        let us = i64::try_from(by.as_micros()).unwrap();
        self.0.1.fetch_add(us, Ordering::Relaxed);
        self.0.0.fetch_add(us, Ordering::Relaxed);
    }

    /// The wall clock jumps.
    pub(crate) fn jump(&self, by_ms: i64) {
        self.0.0.fetch_add(by_ms * 1_000, Ordering::Relaxed);
    }
}

/// Measures how long something took in real time.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "this file is the one place that reads clocks")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Real time since the start.
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
    fn clones_of_a_disciplined_clock_see_no_jump_and_are_all_told_of_what_was_adopted() {
        let start = Timestamp::from_secs(1_772_456_400);
        let (clock, hands) = Clock::moved(start);
        let other = clock.clone();
        hands.run(Duration::from_secs(1));
        hands.jump(-3_600_000);
        assert_eq!(other.now(), start + Duration::from_secs(1));
        assert_eq!(clock.distrust().unwrap().ahead_ms, -3_600_000);
        hands.run(limits::CLOCK_TRUSTED_AFTER);
        assert_eq!(other.now(), clock.now());
        assert_eq!(clock.distrust(), None);
        let mut seen = 0;
        let breaks = clock.breaks_after(&mut seen);
        assert_eq!((breaks.len(), seen, breaks[0].by_ms()), (1, 1, -3_600_000));
        assert_eq!((other.breaks_after(&mut seen), other.breaks()), (Vec::new(), 1));
    }

    #[test]
    fn a_start_before_what_was_recorded_is_not_trusted() {
        let (clock, _hands) = Clock::moved(Timestamp::from_secs(1_000));
        clock.recorded(Timestamp::from_secs(1_001));
        assert_eq!(clock.distrust(), None);
        clock.recorded(Timestamp::from_secs(4_600));
        assert_eq!(clock.distrust().unwrap().reason, "before_ledger");
    }

    #[test]
    fn a_senseless_speed_counts_as_one() {
        for speed in [0.0, -3.0, f64::NAN, f64::INFINITY] {
            assert!((Clock::scaled(Timestamp::from_micros(0), speed).speed() - 1.0).abs() < f64::EPSILON);
        }
    }
}
