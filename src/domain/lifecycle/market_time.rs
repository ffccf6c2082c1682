//! Market time, disciplined: it follows the wall clock while that keeps pace with the machine's steady clock, and no jump.
//!
//! ```text
//!             wall clock jumps by more than CLOCK_STEP
//!  trusted ──────────────────────────────────────────► distrusted: market time runs on the steady clock
//!     ▲                                                    │  ▲ it jumps again, or drifts
//!     │        keeps pace for CLOCK_TRUSTED_AFTER,         │  └── the wait begins anew
//!     └─ or the vendor's stamps agree with it alone ───────┘
//!          where it is elsewhere: market time is set to it, as a Break that everybody is told
//! ```
//! Small differences (a clock that is slewed) are made up at a bounded rate, so that market time never runs backwards without a
//! [`Break`]. While the vendor's stamps agree with market time and not with the wall clock, the wall clock is not adopted.

use crate::domain::model::Timestamp;
use crate::limits;
use std::fmt;
use std::time::Duration;

/// Why market time has a stretch that was not observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakCause {
    /// Market time was set to the wall clock.
    ClockStepped,
    /// The process did not run.
    ProcessPaused,
}

impl BreakCause {
    /// A name fit for a gap's cause.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClockStepped => "clock_stepped",
            Self::ProcessPaused => "process_paused",
        }
    }
}

/// Market time went from one instant to another without anybody watching what lies between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Break {
    /// The last instant before it.
    pub since: Timestamp,
    /// The first instant after it; earlier than `since` where the clock was set back.
    pub until: Timestamp,
    /// Why.
    pub cause: BreakCause,
}

impl Break {
    /// By how many milliseconds market time moved; negative: back.
    pub const fn by_ms(&self) -> i64 {
        self.until.micros().saturating_sub(self.since.micros()) / 1_000
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { since, until, cause } = self;
        match cause {
            BreakCause::ClockStepped => write!(f, "Market time was set from {since} to {until}."),
            BreakCause::ProcessPaused => write!(
                f,
                "The process did not run for {}, from {since} to {until}.",
                format_seconds(self.by_ms())
            ),
        }
    }
}

fn format_seconds(ms: i64) -> String {
    let ms = ms.unsigned_abs();
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

/// Why the wall clock is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distrust {
    /// By how many milliseconds it is ahead of market time; negative: behind.
    pub ahead_ms: i64,
    /// A name for programs: `stepped`, `stepped_back`, `contradicted` or `before_ledger`.
    pub reason: &'static str,
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.ahead_ms < 0 { "behind" } else { "ahead of" };
        let apart = format_seconds(self.ahead_ms);
        let trusted =
            "market time runs on the machine's steady clock until the wall clock has kept pace with it for a minute";
        match self.reason {
            "contradicted" => write!(
                f,
                "The wall clock is {apart} {side} market time, and the vendor's stamps agree with market time: set the machine's clock right."
            ),
            "before_ledger" => write!(
                f,
                "The wall clock shows less than the ledger's last stamp: it was wrong then or is now; it is trusted when it has kept \
                 pace with the machine's steady clock for a minute."
            ),
            "stepped_back" => write!(f, "The wall clock jumped and came back; {trusted}."),
            _ => write!(f, "The wall clock jumped and is {apart} {side} market time; {trusted}."),
        }
    }
}

/// The machine. Steady time is given as what has passed since a fixed instant.
#[derive(Debug, Clone)]
pub struct MarketTime {
    /// Market time less steady time, in microseconds.
    offset: i64,
    /// The steady clock when `offset` was last adjusted.
    adjusted: Duration,
    /// The last market time given out.
    last: Timestamp,
    stray: Option<Stray>,
}

/// A wall clock that is not trusted.
#[derive(Debug, Clone, Copy)]
struct Stray {
    /// Wall time less steady time, in microseconds.
    offset: i64,
    /// Since when it keeps pace with the steady clock there.
    since: Duration,
    /// Stamps in a row that agree with it and not with market time.
    agreed: u32,
    /// Stamps agree with market time and not with it.
    contradicted: bool,
    /// It was distrusted at the start: it shows less than the ledger's last stamp.
    before_ledger: bool,
}

impl Stray {
    const fn new(offset: i64, since: Duration) -> Self {
        Self {
            offset,
            since,
            agreed: 0,
            contradicted: false,
            before_ledger: false,
        }
    }
}

/// Microseconds of a difference between clocks that counts as none.
const PACE_US: u64 = limits::CLOCK_STEP.as_secs() * 1_000_000;

fn to_micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

const fn is_near(one: i64, other: i64, us: u64) -> bool {
    one.abs_diff(other) <= us
}

impl MarketTime {
    /// The first reading is taken as it is: there is nothing to measure it against.
    pub fn starting(wall: Timestamp, steady: Duration) -> Self {
        Self {
            offset: wall.micros().saturating_sub(to_micros(steady)),
            adjusted: steady,
            last: wall,
            stray: None,
        }
    }

    /// Market time for one reading of both clocks, and the break when market time is set to the wall clock by it.
    pub fn read(&mut self, wall: Timestamp, steady: Duration) -> (Timestamp, Option<Break>) {
        let offset = wall.micros().saturating_sub(to_micros(steady));
        let set = match &mut self.stray {
            None if is_near(offset, self.offset, PACE_US) => {
                self.follow_offset(offset, steady);
                false
            }
            None => {
                self.stray = Some(Stray::new(offset, steady));
                false
            }
            Some(stray) if !is_near(offset, stray.offset, PACE_US) => {
                self.stray = Some(Stray::new(offset, steady));
                false
            }
            Some(stray) => {
                let kept_pace = steady.saturating_sub(stray.since) >= limits::CLOCK_TRUSTED_AFTER;
                let agreed = stray.agreed >= limits::CLOCK_STAMPS;
                (kept_pace && !stray.contradicted) || agreed
            }
        };
        if !set {
            self.last = self.last.max(self.time_at(steady));
            return (self.last, None);
        }
        self.stray = None;
        self.adjusted = steady;
        let since = self.last.max(self.time_at(steady));
        if is_near(offset, self.offset, PACE_US) {
            self.last = since;
            return (since, None);
        }
        self.offset = offset;
        self.last = wall;
        let cause = BreakCause::ClockStepped;
        (
            wall,
            Some(Break {
                since,
                until: wall,
                cause,
            }),
        )
    }

    /// The vendor stamped a price that just came: it speaks for one of two clocks that disagree by more than a stamp may be off.
    pub fn witness(&mut self, stamp: Timestamp, steady: Duration) {
        let market = self.time_at(steady);
        let Some(stray) = &mut self.stray else { return };
        let wall = Timestamp::from_micros(to_micros(steady).saturating_add(stray.offset));
        let us = u64::try_from(to_micros(limits::FUTURE_TOLERANCE)).unwrap_or(0);
        let [market_agrees, wall_agrees] = [market, wall].map(|clock| is_near(clock.micros(), stamp.micros(), us));
        match (market_agrees, wall_agrees) {
            (true, false) => {
                stray.agreed = 0;
                stray.contradicted = true;
            }
            (false, true) => {
                stray.agreed = stray.agreed.saturating_add(1);
                stray.contradicted = false;
            }
            (true, true) | (false, false) => {}
        }
    }

    /// At the start the wall clock shows less than what was recorded last: one of them was wrong.
    pub const fn before_ledger(&mut self, steady: Duration) {
        let mut stray = Stray::new(self.offset, steady);
        stray.before_ledger = true;
        self.stray = Some(stray);
    }

    /// Why the wall clock is not trusted; `None`: it is.
    pub fn distrust(&self) -> Option<Distrust> {
        let stray = self.stray?;
        let reason = match stray {
            Stray {
                before_ledger: true, ..
            } => "before_ledger",
            Stray { contradicted: true, .. } => "contradicted",
            Stray { offset, .. } if is_near(offset, self.offset, PACE_US) => "stepped_back",
            Stray { .. } => "stepped",
        };
        Some(Distrust {
            ahead_ms: stray.offset.saturating_sub(self.offset) / 1_000,
            reason,
        })
    }

    fn time_at(&self, steady: Duration) -> Timestamp {
        Timestamp::from_micros(to_micros(steady).saturating_add(self.offset))
    }

    /// Makes up a small difference, never faster than market time runs.
    fn follow_offset(&mut self, offset: i64, steady: Duration) {
        let room = to_micros(steady.saturating_sub(self.adjusted) / limits::CLOCK_SLEW);
        if room > 0 {
            let difference = offset.saturating_sub(self.offset);
            self.offset = self.offset.saturating_add(difference.clamp(-room, room));
            self.adjusted = steady;
        }
    }
}

#[cfg(test)]
#[path = "tests/market_time.rs"]
mod tests;
