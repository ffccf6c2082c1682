//! The session of one pair as `/market/session` shows it: the old service's members and newer ones.

use crate::domain::calendar::{Calendar, Phase};
use crate::domain::model::{Session, SlotGrid, Timestamp};
use serde::Serialize;

/// Whether a pair's market is in a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum SessionView {
    /// In a session.
    Open {
        /// When it opened, in the market's zone.
        current_session_start: String,
        /// When it closes, exclusive.
        current_session_end: String,
        /// Whole minutes until it closes.
        minutes_until_close: u64,
        /// The session.
        #[serde(flatten)]
        session: SessionDetail,
    },
    /// Between sessions.
    Closed {
        /// When the next session opens, in the market's zone; `None` after the calendar's last year.
        next_open: Option<String>,
        /// Whole minutes until it opens.
        minutes_until_open: Option<u64>,
        /// Why there is no session now.
        reason: String,
        /// The session that opens next.
        next: Option<SessionDetail>,
    },
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionDetail {
    /// The market's date.
    pub session_date: chrono::NaiveDate,
    /// `spot` or `next_day`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Why there is a session: `business day`, a United States holiday, or the override that opens the day.
    #[serde(rename = "reason")]
    pub why: String,
    /// Number of five-minute bars of the whole session.
    pub expected_bars: usize,
}

impl SessionDetail {
    fn of(calendar: &Calendar, session: &Session) -> Self {
        Self {
            session_date: session.date,
            kind: session.kind.name(),
            why: calendar.day(session.date).reason,
            expected_bars: SlotGrid::BASE.count(session),
        }
    }
}

impl SessionView {
    /// Whether the market is in a session.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// Number of five-minute bars of the whole present session.
    pub const fn expected_bars(&self) -> Option<usize> {
        match self {
            Self::Open { session, .. } => Some(session.expected_bars),
            Self::Closed { .. } => None,
        }
    }

    /// The view at `now`.
    pub fn of(calendar: &Calendar, now: Timestamp) -> Self {
        let zone = calendar.rules().zone;
        match calendar.phase(now) {
            Phase::Open(session) => Self::Open {
                current_session_start: session.opens.rfc3339(zone),
                current_session_end: session.closes.rfc3339(zone),
                minutes_until_close: session.closes.since(now).as_secs() / 60,
                session: SessionDetail::of(calendar, &session),
            },
            Phase::Closed { next, reason, .. } => Self::Closed {
                next_open: next.map(|session| session.opens.rfc3339(zone)),
                minutes_until_open: next.map(|session| session.opens.since(now).as_secs() / 60),
                reason,
                next: next.map(|session| SessionDetail::of(calendar, &session)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(now: &str, expect: &serde_json::Value) {
        let now = Timestamp::from_datetime(chrono::DateTime::parse_from_rfc3339(now).unwrap());
        let json = serde_json::to_value(SessionView::of(&Calendar::usdcop(), now)).unwrap();
        assert_eq!(&json, expect);
    }

    #[test]
    fn an_open_session_has_the_old_members_and_its_type_reason_and_bars() {
        check(
            "2026-11-26T10:00:30-05:00",
            &serde_json::json!({
                "status": "open",
                "current_session_start": "2026-11-26T08:00:00-05:00",
                "current_session_end": "2026-11-26T12:55:00-05:00",
                "minutes_until_close": 174,
                "session_date": "2026-11-26",
                "type": "next_day",
                "reason": "United States: Thanksgiving Day (Thu no. 4 of November); dollars settle the next day",
                "expected_bars": 59,
            }),
        );
    }

    #[test]
    fn a_closed_market_says_why_and_looks_over_holidays_for_the_next_open() {
        check(
            "2026-04-02T10:00:00-05:00",
            &serde_json::json!({
                "status": "closed",
                "next_open": "2026-04-06T08:00:00-05:00",
                "minutes_until_open": 5640,
                "reason": "Maundy Thursday (Easter -3 days)",
                "next": {"session_date": "2026-04-06", "type": "spot", "reason": "business day", "expected_bars": 59},
            }),
        );
    }
}
