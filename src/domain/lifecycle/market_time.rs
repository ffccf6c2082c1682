//! Disciplined market time: follows the wall clock while that keeps pace with the machine's steady clock, and follows no jump.
//!
//! ```text
//!             wall clock jumps by more than CLOCK_STEP
//!  trusted ──────────────────────────────────────────► distrusted: market time runs on the steady clock
//!     ▲                                                    │  ▲ it jumps again, or drifts
//!     │        keeps pace for CLOCK_TRUSTED_AFTER,         │  └── the wait begins anew
//!     └─ or the vendor's timestamps agree with it alone ───┘
//!          if it differs, market time is set to it, which is published as a Break
//! ```
//! Small differences (a slewed clock) are corrected at a bounded rate, so that market time never runs backwards without a [`Break`]. While
//! the vendor's timestamps agree with market time and not with the wall clock, the wall clock is not adopted.

use crate::domain::model::Timestamp;
use crate::limits;
use std::fmt;
use std::time::Duration;

/// Why market time is discontinuous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakCause {
    /// Market time was set to the wall clock.
    ClockStepped,
    /// The process did not run.
    ProcessPaused,
}

impl BreakCause {
    /// A name that can be the cause of a gap.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClockStepped => "clock_stepped",
            Self::ProcessPaused => "process_paused",
        }
    }
}

/// A discontinuity of market time: nothing was observed between its two instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Break {
    /// The last instant before it.
    pub since: Timestamp,
    /// The first instant after it; earlier than `since` where the clock was set back.
    pub until: Timestamp,
    /// The cause.
    pub cause: BreakCause,
}

impl Break {
    /// How far market time moved, in milliseconds; negative if it moved back.
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
    /// How far it is ahead of market time, in milliseconds; negative if it is behind.
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

/// Market time. Steady time is the time passed since a fixed instant.
#[derive(Debug, Clone)]
pub struct MarketTime {
    /// Market time minus steady time, in microseconds.
    offset: i64,
    /// The steady clock when `offset` was last adjusted.
    adjusted: Duration,
    /// The last market time returned.
    last: Timestamp,
    stray: Option<Stray>,
}

/// A wall clock that is not trusted.
#[derive(Debug, Clone, Copy)]
struct Stray {
    /// Wall time minus steady time, in microseconds.
    offset: i64,
    /// Since when it has kept pace with the steady clock at that offset.
    since: Duration,
    /// Consecutive vendor timestamps that agree with it and not with market time.
    agreed: u32,
    /// Whether vendor timestamps agree with market time and not with it.
    contradicted: bool,
    /// Whether it was distrusted at the start, because it shows less than the ledger's last time.
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

/// The difference between clocks that is ignored, in microseconds.
const PACE_US: u64 = limits::CLOCK_STEP.as_secs() * 1_000_000;

fn to_micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

const fn is_near(one: i64, other: i64, us: u64) -> bool {
    one.abs_diff(other) <= us
}

impl MarketTime {
    /// Market time that begins with the wall clock, because there is nothing to compare it with.
    pub fn starting(wall: Timestamp, steady: Duration) -> Self {
        Self {
            offset: wall.micros().saturating_sub(to_micros(steady)),
            adjusted: steady,
            last: wall,
            stray: None,
        }
    }

    /// Market time for one reading of both clocks, and the break if this reading sets market time to the wall clock.
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

    /// Takes the timestamp of a price that has just come as evidence for one of two clocks that disagree by more than a timestamp may be
    /// off.
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

    /// At the start the wall clock shows less than the last recorded time: one of them is wrong.
    pub const fn before_ledger(&mut self, steady: Duration) {
        let mut stray = Stray::new(self.offset, steady);
        stray.before_ledger = true;
        self.stray = Some(stray);
    }

    /// Why the wall clock is not trusted; `None` if it is.
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

    /// Corrects a small difference at a bounded rate.
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
