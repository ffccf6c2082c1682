//! A trading session: the span of one market day in which bars are expected.

use crate::domain::model::Timestamp;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// How the market settles on a day that has a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    /// Same-day settlement: an ordinary business day.
    Spot,
    /// A Colombian business day that is a US federal holiday: dollars settle the next day.
    NextDay,
}

impl SessionKind {
    /// `spot` or `next_day`: its name in every protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::NextDay => "next_day",
        }
    }
}

/// One session, `[opens, closes)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The market's calendar date.
    pub date: NaiveDate,
    /// First instant of the session.
    pub opens: Timestamp,
    /// First instant after the session.
    pub closes: Timestamp,
    /// How it settles.
    pub kind: SessionKind,
}

impl Session {
    /// Whether `at` lies in `[opens, closes)`.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.opens <= at && at < self.closes
    }
}

/// When a market has sessions. The calendar implements it; tests use [`Always`] or a fixed list.
pub trait Sessions: fmt::Debug + Send + Sync {
    /// The session that contains `at`, if there is one.
    fn at(&self, at: Timestamp) -> Option<Session>;

    /// The first session that opens after `at`. `None` only when the calendar ends.
    fn after(&self, at: Timestamp) -> Option<Session>;

    /// The session open at `at`, or the last one before it; `None` when the market was closed for the two weeks before.
    fn latest(&self, at: Timestamp) -> Option<Session> {
        let from = at - Duration::from_secs(14 * 86_400);
        let mut next = self.at(from).or_else(|| self.after(from));
        let mut latest = None;
        while let Some(session) = next.filter(|session| session.opens <= at) {
            latest = Some(session);
            next = self.after(session.opens);
        }
        latest
    }

    /// The zone in which times are shown to people.
    fn zone(&self) -> chrono_tz::Tz;

    /// A number that changes whenever the calendar is corrected.
    fn edition(&self) -> u64 {
        0
    }

    /// The session of a market date, with the reason why the day has one or not.
    fn on(&self, date: NaiveDate) -> (Option<Session>, String) {
        let midnight = date.and_hms_opt(0, 0, 0).unwrap_or_default().and_utc();
        let before = Timestamp::from_datetime(midnight) - Duration::from_secs(172_800);
        let mut next = self.at(before).or_else(|| self.after(before));
        while let Some(session) = next.filter(|session| session.date < date) {
            next = self.after(session.opens);
        }
        match next.filter(|session| session.date == date) {
            Some(session) => (Some(session), "a session".to_owned()),
            None => (None, "no session".to_owned()),
        }
    }
}

/// One session per UTC day, without a break: calendar `always`.
#[derive(Debug, Clone, Copy)]
pub struct Always;

impl Sessions for Always {
    fn at(&self, at: Timestamp) -> Option<Session> {
        const DAY: Duration = Duration::from_secs(86_400);
        let opens = at.floor(DAY);
        Some(Session {
            date: opens.datetime().date_naive(),
            opens,
            closes: opens + DAY,
            kind: SessionKind::Spot,
        })
    }

    fn after(&self, at: Timestamp) -> Option<Session> {
        self.at(at + Duration::from_secs(86_400))
    }

    fn zone(&self) -> chrono_tz::Tz {
        chrono_tz::UTC
    }
}

/// A fixed list of sessions, for a replayed day or a test.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The sessions, earliest first.
    pub sessions: Vec<Session>,
    /// The zone in which times are shown to people.
    pub zone: chrono_tz::Tz,
}

impl Sessions for Listed {
    fn at(&self, at: Timestamp) -> Option<Session> {
        self.sessions.iter().copied().find(|session| session.contains(at))
    }

    fn after(&self, at: Timestamp) -> Option<Session> {
        self.sessions.iter().copied().find(|session| session.opens > at)
    }

    fn zone(&self) -> chrono_tz::Tz {
        self.zone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_includes_its_open_and_not_its_close() {
        let session = Always.at(Timestamp::from_secs(1_761_138_000)).unwrap();
        assert!(session.contains(session.opens) && !session.contains(session.closes));
        assert_eq!(Always.after(session.opens).unwrap().opens, session.closes);
    }
}
