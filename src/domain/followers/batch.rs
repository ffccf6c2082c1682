//! Decides when a follower of the ledger writes waiting events: by count, by age, on request, and again after a failure.
//!
//! ```text
//!            events known, and count or age reached        wrote: all
//!  Waiting ───────────────────────────────────► Writing ──────────────► Waiting
//!     ▲                                          │   ▲
//!     └── (nothing waits)            failed      │   └─ wrote: more waits, enough of it
//!                 Troubled ◄─────────────────────┘
//!                    └── retry_at passed ──► Locating ──► Writing
//! ```

use crate::domain::model::{Position, Timestamp, backoff};
use crate::limits;
use std::time::Duration;

/// The schedule of one follower: the ledger's head, the follower's position, and when to write next.
#[derive(Debug, Clone)]
pub struct FlushSchedule {
    /// `None` until the store has reported its position.
    written: Option<Position>,
    /// Whether the store may be at another position than before: after a failure a copy that lags may answer.
    unsure: bool,
    /// Whether there can be such a copy.
    asks_again: bool,
    head: Position,
    /// Since when the oldest waiting event is known.
    waiting_since: Option<Timestamp>,
    writing: bool,
    failures: u32,
    retry_at: Option<Timestamp>,
    /// Write up to this position without waiting for count or age.
    flush_to: Position,
    /// Write as soon as this number of events waits.
    batch: u64,
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask the store for its position.
    Locate,
    /// Write events from this position on.
    Write {
        /// The position of the first event.
        from: Position,
        /// The maximum number of events.
        limit: usize,
    },
}

impl Default for FlushSchedule {
    fn default() -> Self {
        Self::new()
    }
}

impl FlushSchedule {
    /// A schedule whose follower's position is not known yet.
    pub const fn new() -> Self {
        Self {
            written: None,
            unsure: false,
            asks_again: true,
            head: Position(0),
            waiting_since: None,
            writing: false,
            failures: 0,
            retry_at: None,
            flush_to: Position(0),
            batch: limits::WRITER_BATCH,
        }
    }

    /// A schedule that writes as soon as possible, for a target that has no position of its own.
    pub const fn at_once() -> Self {
        let mut schedule = Self::new();
        schedule.batch = 1;
        schedule.asks_again = false;
        schedule
    }

    /// The ledger's head has advanced to `head`.
    pub fn note_head(&mut self, head: Position, now: Timestamp) {
        self.head = self.head.max(head);
        if self.distance() > 0 {
            self.waiting_since.get_or_insert(now);
        }
    }

    /// Makes everything known so far due at once.
    pub fn flush_all(&mut self) {
        self.flush_to = self.head;
        self.retry_at = None;
    }

    /// The next step, if one is due. The caller runs it, and reports the result with [`FlushSchedule::note_written`] or
    /// [`FlushSchedule::note_failure`].
    #[must_use]
    pub fn next_step(&mut self, now: Timestamp) -> Option<Step> {
        self.waiting_since = self.waiting_since.map(|at| at.min(now)); // a clock that was set back
        self.retry_at = self.retry_at.map(|at| at.min(now + limits::WRITER_RETRY_LONGEST));
        if self.writing || self.next_deadline().is_none_or(|due| now < due) {
            return None;
        }
        self.writing = true;
        let Some(written) = self.written.filter(|_| !self.unsure) else {
            return Some(Step::Locate);
        };
        let limit = usize::try_from(self.distance()).unwrap_or(usize::MAX);
        Some(Step::Write {
            from: written.next(),
            limit: limit.min(limits::WRITER_CATCH_UP),
        })
    }

    /// Events up to `position` were written, or found to be there already.
    pub fn note_written(&mut self, position: Position, now: Timestamp) {
        self.failures = 0;
        self.waiting_since = None;
        self.note_located(position, now);
    }

    /// The store is at `position`, which may lie behind its earlier position: events are written again from there. This does not show that
    /// it can be written to.
    pub fn note_located(&mut self, position: Position, now: Timestamp) {
        self.writing = false;
        self.unsure = false;
        self.retry_at = None;
        self.written = Some(position);
        if self.distance() > 0 {
            self.waiting_since.get_or_insert(now);
        } else {
            self.waiting_since = None;
        }
    }

    /// A step failed. The wait doubles each time; `jitter` (from 0 to below 1) shortens it by up to a half, so that several followers do
    /// not retry together.
    pub fn note_failure(&mut self, now: Timestamp, jitter: f64) {
        self.writing = false;
        self.unsure = self.asks_again;
        let first = limits::WRITER_RETRY_FIRST;
        let longest = limits::WRITER_RETRY_LONGEST;
        let wait = backoff::delay(first, self.failures, longest);
        let jitter = if (0.0..1.0).contains(&jitter) { jitter } else { 0.0 };
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + wait.mul_f64(1.0 - jitter / 2.0));
    }

    /// When [`FlushSchedule::next_step`] has something to do; `None` while nothing waits or a step is running.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        const AT_ONCE: Timestamp = Timestamp::from_micros(i64::MIN);
        if self.writing {
            return None;
        }
        if let Some(retry_at) = self.retry_at {
            return Some(retry_at);
        }
        let Some(written) = self.written.filter(|_| !self.unsure) else {
            return Some(AT_ONCE);
        };
        let since = self.waiting_since?;
        if self.distance() >= self.batch || written < self.flush_to || self.failures > 0 {
            return Some(AT_ONCE);
        }
        Some(since + limits::WRITER_AGE)
    }

    /// The number of waiting events; 0 until the store has reported its position.
    pub const fn distance(&self) -> u64 {
        match self.written {
            Some(written) => self.head.0.saturating_sub(written.0),
            None => 0,
        }
    }

    /// The follower's position, once it is known.
    pub const fn written(&self) -> Option<Position> {
        self.written
    }

    /// The ledger's head.
    pub const fn head(&self) -> Position {
        self.head
    }

    /// How long events have waited.
    pub fn age(&self, now: Timestamp) -> Duration {
        self.waiting_since.map_or(Duration::ZERO, |since| now.since(since))
    }
}

/// A follower of the ledger, as `/status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct ReaderView {
    /// `sqlite`, `postgresql`, `redis`, `memory`.
    pub kind: &'static str,
    /// The last position that it has written.
    pub position: Position,
    /// The ledger's head.
    pub head: Position,
    /// Since when events wait that are not written yet.
    pub waiting_since: Option<Timestamp>,
    /// What is wrong with its target, and since when.
    pub trouble: Option<(Timestamp, String)>,
    /// Whether its last operation failed. A target that is only slow is not lost.
    pub lost: bool,
    /// Events that the target refused and that were set aside since the process started.
    pub rejected_total: u64,
    /// How long the last write took, microseconds of real time.
    pub last_write_us: u64,
    /// How long the last trivial request took, microseconds of real time.
    pub answer_us: u64,
}

impl ReaderView {
    /// The number of waiting events.
    pub const fn distance(&self) -> u64 {
        self.head.0.saturating_sub(self.position.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOON: Timestamp = Timestamp::from_secs(1_761_152_400);

    fn located(at: u64) -> FlushSchedule {
        let mut schedule = FlushSchedule::new();
        assert_eq!(schedule.next_step(NOON), Some(Step::Locate));
        schedule.note_written(Position(at), NOON);
        schedule
    }

    fn write(from: u64, limit: usize) -> Option<Step> {
        Some(Step::Write {
            from: Position(from),
            limit,
        })
    }

    #[test]
    fn a_hundred_are_written_at_once_and_fewer_when_they_are_old() {
        let mut schedule = located(7);
        schedule.note_head(Position(106), NOON);
        assert_eq!(schedule.next_step(NOON), None);
        assert_eq!(schedule.next_deadline(), Some(NOON + limits::WRITER_AGE));
        schedule.note_head(Position(107), NOON);
        assert_eq!(schedule.next_step(NOON), write(8, 100));
        assert_eq!(schedule.next_step(NOON), None, "one at a time");
        schedule.note_head(Position(110), NOON);
        schedule.note_written(Position(107), NOON);
        assert_eq!(schedule.next_step(NOON), None);
        assert_eq!(schedule.next_step(NOON + limits::WRITER_AGE), write(108, 3));
    }

    #[test]
    fn a_flush_waits_for_nothing() {
        let mut schedule = located(7);
        schedule.note_head(Position(9), NOON);
        schedule.flush_all();
        assert_eq!(schedule.next_step(NOON), write(8, 2));
        schedule.note_failure(NOON, 0.0);
        schedule.flush_all();
        assert_eq!(schedule.next_step(NOON), Some(Step::Locate));
        schedule.note_located(Position(7), NOON);
        assert_eq!(schedule.next_step(NOON), write(8, 2));
        schedule.note_written(Position(9), NOON);
        assert_eq!(schedule.next_deadline(), None);
    }

    #[test]
    fn trouble_is_tried_again_ever_later_and_a_success_forgets_it() {
        let mut schedule = located(0);
        schedule.note_head(Position(500), NOON);
        let mut now = NOON;
        let mut waits = Vec::new();
        assert_eq!(schedule.next_step(now), write(1, 500));
        for i in 0..8 {
            if i > 0 {
                assert_eq!(schedule.next_step(now), Some(Step::Locate));
                schedule.note_located(Position(0), now);
                assert_eq!(
                    schedule.next_step(now),
                    write(1, 500),
                    "at once, and no reason to hope yet"
                );
            }
            schedule.note_failure(now, 0.0);
            assert_eq!(schedule.next_step(now), None);
            let due = schedule.next_deadline().unwrap();
            waits.push(due.since(now));
            now = due;
        }
        assert!(waits.iter().zip(waits.iter().skip(1)).all(|(one, next)| one <= next));
        assert_eq!(
            (waits[0], waits[7]),
            (limits::WRITER_RETRY_FIRST, limits::WRITER_RETRY_LONGEST)
        );
        assert_eq!(schedule.next_step(now), Some(Step::Locate));
        schedule.note_located(Position(0), now);
        assert_eq!(schedule.next_step(now), write(1, 500));
        schedule.note_written(Position(500), now);
        schedule.note_head(Position(1_000), now);
        assert_eq!(schedule.next_step(now), write(501, 500));
        schedule.note_failure(now, 0.0);
        assert_eq!(schedule.next_deadline(), Some(now + limits::WRITER_RETRY_FIRST));
    }

    #[test]
    fn a_store_that_stands_further_back_after_trouble_is_written_from_there() {
        let mut schedule = located(500);
        schedule.note_head(Position(600), NOON);
        assert_eq!(schedule.next_step(NOON), write(501, 100));
        schedule.note_failure(NOON, 0.0);
        let later = NOON + limits::WRITER_RETRY_FIRST;
        assert_eq!(schedule.next_step(later), Some(Step::Locate));
        schedule.note_located(Position(420), later);
        assert_eq!(schedule.next_step(later), write(421, 180));
    }

    proptest! {
        #[test]
        fn every_position_is_written_once_and_in_order(moves in prop::collection::vec((0_u8..4, 1_u64..9_000), 1..200)) {
            let mut schedule = located(0);
            let (mut now, mut head, mut written) = (NOON, 0, 0);
            for (what, number) in moves {
                match what {
                    0 => { head += number; schedule.note_head(Position(head), now); }
                    1 => now = now + Duration::from_millis(number),
                    2 => schedule.flush_all(),
                    _ => {}
                }
                while let Some(step) = schedule.next_step(now) {
                    let Step::Write { from, limit } = step else {
                        schedule.note_located(Position(written), now);
                        continue;
                    };
                    prop_assert_eq!(from.0, written + 1);
                    prop_assert!(limit >= 1 && from.0 + u64::try_from(limit).unwrap() - 1 <= head);
                    if what == 3 { schedule.note_failure(now, 0.3); break; }
                    written += u64::try_from(limit).unwrap();
                    schedule.note_written(Position(written), now);
                }
            }
            schedule.flush_all();
            while let Some(step) = schedule.next_step(now) {
                if let Step::Write { limit, .. } = step {
                    written += u64::try_from(limit).unwrap();
                }
                schedule.note_written(Position(written), now);
            }
            prop_assert_eq!((written, schedule.distance()), (head, 0));
        }
    }
}
