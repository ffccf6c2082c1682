//! The cadence of one pair's accepted prices, learned per half-hour of the day, and the silence that is judged against it.
//!
//! A price that is *heard* (received, whatever its judgement) proves the link; only an *accepted* price teaches the cadence and ends the
//! pair's silence.
//!
//! A silence is noticed after twice the 99th percentile of the gaps in the same half-hour. A quiet pair is not a dead link, so each silence
//! that a new link did not end doubles the patience. Outside the session no price is expected. The wait for a session's first price is
//! learned separately, because it is longer on many mornings.

use crate::domain::model::{Price, Session, Sessions, Timestamp};
use crate::limits;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Why the prices that come are suspicious.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suspicion {
    /// The same value many times in a row over a long time.
    Frozen,
    /// Far fewer prices than usual in this half-hour.
    Collapsed,
}

impl Suspicion {
    /// Its name on `/status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::Collapsed => "rate_collapsed",
        }
    }
}

/// A price and its quote, which a frozen feed repeats.
pub type Quote = (Price, Option<Price>, Option<Price>);

/// A period without prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// When the silence is long enough to be noticed.
    pub noticed_at: Timestamp,
    /// How long after the last price it is noticed.
    pub patience: Duration,
}

/// The learned cadence of one pair.
#[derive(Debug, Clone)]
pub struct Cadence {
    sessions: Arc<dyn Sessions>,
    /// The delay that a busy machine may add to a gap between prices.
    jitter: Duration,
    /// The current or next session; the edition of the calendar that it comes from, and when it was looked up.
    session: Option<Session>,
    known_by: (u64, Timestamp),
    half_hours: BTreeMap<i64, Gaps>,
    whole_day: Gaps,
    openings: Gaps,
    /// When a price was last accepted, and when one was last received.
    last_at: Option<Timestamp>,
    heard_at: Option<Timestamp>,
    /// Since when an uninterrupted link has delivered the pair.
    watching_since: Option<Timestamp>,
    /// Consecutive silences that a new link did not end.
    strikes: u32,
    same: Option<(Quote, Timestamp, u32)>,
    recent: VecDeque<Timestamp>,
}

impl Cadence {
    /// A cadence without observations. `jitter` is added to every patience.
    pub fn new(sessions: Arc<dyn Sessions>, jitter: Duration) -> Self {
        Self {
            sessions,
            jitter,
            session: None,
            known_by: (0, Timestamp::from_micros(i64::MAX)),
            half_hours: BTreeMap::new(),
            whole_day: Gaps::default(),
            openings: Gaps::default(),
            last_at: None,
            heard_at: None,
            watching_since: None,
            strikes: 0,
            same: None,
            recent: VecDeque::new(),
        }
    }

    /// The pair is confirmed on a link.
    pub const fn watch(&mut self, now: Timestamp) {
        self.watching_since = Some(now);
    }

    /// Market time is discontinuous: a watched pair is watched from `now` on.
    pub fn broken(&mut self, now: Timestamp) {
        self.watching_since = self.watching_since.map(|_| now);
        self.last_at = self.last_at.filter(|at| *at <= now);
        self.heard_at = self.heard_at.filter(|at| *at <= now);
        self.recent.retain(|at| *at <= now);
        self.session = None;
    }

    /// The link ended; `silent` if it was given up for its silence.
    pub fn unwatch(&mut self, silent: bool) {
        self.watching_since = None;
        self.strikes = self.strikes.saturating_add(u32::from(silent));
    }

    /// A price arrived and is not judged yet.
    pub fn heard(&mut self, quote: Quote, now: Timestamp) {
        self.strikes = 0;
        self.heard_at = Some(now);
        self.same = match self.same {
            Some((same, since, count)) if same == quote => Some((same, since, count.saturating_add(1))),
            _ => Some((quote, now, 1)),
        };
    }

    /// `count` more prices were accepted, the last of them at `now`.
    pub fn accepted(&mut self, count: u64, now: Timestamp) {
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(limits::CADENCE_GAPS);
        let Some(session) = self.session_at(now).filter(|session| session.contains(now)) else {
            self.last_at = Some(now);
            return;
        };
        let watched_from = self.watching_since.unwrap_or(now);
        match self.last_at.filter(|last| *last >= session.opens) {
            Some(last) if last >= watched_from => self.learn_gaps(last, now.since(last), count),
            None if watched_from <= session.opens => self.openings.push(now.since(session.opens)),
            _ => {}
        }
        self.last_at = Some(now);
        self.recent.extend(std::iter::repeat_n(now, count));
        while self
            .recent
            .front()
            .is_some_and(|at| now.since(*at) > limits::CADENCE_RATE_SPAN)
            || self.recent.len() > limits::CADENCE_GAPS
        {
            self.recent.pop_front();
        }
    }

    /// The pair's current or coming silence, after its last accepted price; `None` while the pair is not watched, or if the session ends
    /// before the silence is noticed.
    #[must_use]
    pub fn silence(&mut self, now: Timestamp) -> Option<Silence> {
        self.silence_after(self.last_at, now)
    }

    /// The silence after the last received price, accepted or not: while any price comes, the link is not given up.
    #[must_use]
    pub fn stillness(&mut self, now: Timestamp) -> Option<Silence> {
        self.silence_after(self.last_at.max(self.heard_at), now)
    }

    fn silence_after(&mut self, last: Option<Timestamp>, now: Timestamp) -> Option<Silence> {
        let watched_from = self.watching_since?;
        let session = self.session_at(now)?;
        let last = last.filter(|last| *last >= session.opens);
        let since = last.unwrap_or(session.opens).max(watched_from).max(session.opens);
        let patience = self.patience_after(since, last.is_none() && since == session.opens);
        let noticed_at = since + patience;
        (noticed_at < session.closes).then_some(Silence { noticed_at, patience })
    }

    /// The 99th percentile of the gaps between prices around `at`, once it is learned.
    pub fn p99(&self, at: Timestamp) -> Option<Duration> {
        self.half_hours
            .get(&half_hour(at))
            .and_then(Gaps::learned_p99)
            .or_else(|| self.whole_day.learned_p99())
    }

    /// Whether the prices that come look wrong.
    pub fn suspicion(&self, now: Timestamp) -> Option<Suspicion> {
        let (_, since, count) = self.same?;
        let (_, last) = self.watching_since.zip(self.heard_at)?;
        if count >= limits::FROZEN_TICKS && last.since(since) >= limits::FROZEN_FOR {
            return Some(Suspicion::Frozen);
        }
        self.has_collapsed(now).then_some(Suspicion::Collapsed)
    }

    /// When a price was last accepted.
    pub const fn last_at(&self) -> Option<Timestamp> {
        self.last_at
    }

    /// Whether a span that was watched entirely and lies in the session had fewer than a tenth of the usual prices.
    fn has_collapsed(&self, now: Timestamp) -> bool {
        let start = now - limits::CADENCE_RATE_SPAN;
        let whole = self
            .session
            .is_some_and(|session| session.contains(now) && session.opens <= start);
        let watched = self.watching_since.is_some_and(|since| since <= start);
        let Some(gaps) = self.half_hours.get(&half_hour(now)).filter(|_| whole && watched) else {
            return false;
        };
        if gaps.ring.len() < limits::CADENCE_LEARNED {
            return false;
        }
        let usual = limits::CADENCE_RATE_SPAN.as_micros() / gaps.mean().as_micros().max(1);
        let seen = self.recent.iter().filter(|at| **at >= start).count();
        usual >= limits::COLLAPSE_USUAL_MIN && u128::try_from(seen).unwrap_or(0).saturating_mul(10) < usual
    }

    /// Learns `count` equal gaps that add up to `time`.
    fn learn_gaps(&mut self, from: Timestamp, time: Duration, count: usize) {
        let gap = u32::try_from(count).ok().and_then(|count| time.checked_div(count));
        for gap in std::iter::repeat_n(gap.unwrap_or(time), count) {
            self.half_hours.entry(half_hour(from)).or_default().push(gap);
            self.whole_day.push(gap);
        }
    }

    /// Twice the 99th percentile of the gaps after a price at `base`; a default before that is learned.
    pub fn usual(&self, base: Timestamp) -> Duration {
        let unlearned = limits::SILENCE_UNLEARNED;
        let usual = self.p99(base).map_or(unlearned, |p99| p99.saturating_mul(2));
        if half_hour(base) == half_hour(base + usual) {
            return usual;
        }
        // The next half-hour may be quieter.
        usual.max(self.p99(base + usual).map_or(unlearned, |p99| p99.saturating_mul(2)))
    }

    fn patience_after(&self, base: Timestamp, opening: bool) -> Duration {
        let mut usual = self.usual(base).max(limits::SILENCE_LEAST);
        if opening {
            let learned = self.openings.ring.len() >= limits::CADENCE_OPENINGS;
            let first = if learned {
                self.openings.p99.saturating_mul(2)
            } else {
                limits::SILENCE_OPENING
            };
            usual = usual.max(first);
        }
        usual.saturating_mul(2_u32.saturating_pow(self.strikes.min(6))) + self.jitter
    }

    /// The session at `now`, or the next one.
    fn session_at(&mut self, now: Timestamp) -> Option<Session> {
        let edition = self.sessions.edition();
        let (by, since) = self.known_by;
        let known = self
            .session
            .filter(|session| by == edition && since <= now && now < session.closes);
        if known.is_none() {
            self.session = self.sessions.at(now).or_else(|| self.sessions.after(now));
            self.known_by = (edition, now);
        }
        self.session
    }
}

/// The half-hour of the UTC day.
const fn half_hour(at: Timestamp) -> i64 {
    at.secs().rem_euclid(86_400) / 1_800
}

/// The newest gaps and their 99th percentile.
#[derive(Debug, Clone, Default)]
struct Gaps {
    ring: VecDeque<Duration>,
    total: Duration,
    p99: Duration,
    /// How many gaps were added since the percentile was computed.
    unsorted: u32,
}

impl Gaps {
    /// The 99th percentile, once there are enough gaps.
    fn learned_p99(&self) -> Option<Duration> {
        (self.ring.len() >= limits::CADENCE_LEARNED).then_some(self.p99)
    }

    fn push(&mut self, gap: Duration) {
        self.ring.push_back(gap);
        self.total = self.total.saturating_add(gap);
        if self.ring.len() > limits::CADENCE_GAPS {
            let oldest = self.ring.pop_front().unwrap_or_default();
            self.total = self.total.saturating_sub(oldest);
        }
        // Few gaps are sorted each time; a fast feed recomputes its percentile every 32nd price.
        self.unsorted = self.unsorted.saturating_add(1);
        if self.ring.len() < limits::CADENCE_LEARNED || self.unsorted >= 32 || gap > self.p99 {
            self.p99 = self.percentile();
            self.unsorted = 0;
        }
    }

    fn percentile(&self) -> Duration {
        let mut gaps: Vec<Duration> = self.ring.iter().copied().collect();
        let rank = gaps.len().saturating_mul(99).div_ceil(100).saturating_sub(1);
        if rank >= gaps.len() {
            return Duration::ZERO;
        }
        *gaps.select_nth_unstable(rank).1
    }

    fn mean(&self) -> Duration {
        let count = u32::try_from(self.ring.len()).unwrap_or(u32::MAX).max(1);
        self.total.checked_div(count).unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "tests/cadence.rs"]
mod tests;
