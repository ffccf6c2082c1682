//! The sessions around the present, as the ledger records them. A calendar that people correct is an input like any other: a day is
//! replayed with what was known of the calendar at each moment.

use crate::domain::model::{Session, Sessions, Symbol, Timestamp};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The sessions of a range of dates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownSessions {
    /// The pair.
    pub symbol: Symbol,
    /// The first date of the range, in the market's zone.
    pub from: NaiveDate,
    /// The last date of the range.
    pub to: NaiveDate,
    /// The sessions of these dates, earliest first; a date without one is closed.
    pub sessions: Vec<Session>,
    /// Whether this is a copy that the opening of a session records, so that its day can be replayed alone; otherwise the calendar was
    /// corrected.
    pub carried: bool,
}

impl KnownSessions {
    /// What a calendar says at `now`, from the present date to the date of the next session. That session is later than the present date
    /// and than `after`.
    pub fn at(now: Timestamp, after: NaiveDate, symbol: Symbol, calendar: &dyn Sessions, carried: bool) -> Self {
        let date = now.datetime().with_timezone(&calendar.zone()).date_naive();
        let present = calendar.at(now).map_or(date, |session| session.date);
        let last = date.max(present).max(after);
        let mut next = calendar.after(now);
        while let Some(session) = next.filter(|session| session.date <= last) {
            next = calendar.after(session.opens);
        }
        let from = date.min(present);
        let to = next.map_or(last, |session| session.date);
        let dates = from.iter_days().take_while(|date| *date <= to);
        Self {
            symbol,
            from,
            to,
            sessions: dates.filter_map(|date| calendar.on(date).0).collect(),
            carried,
        }
    }

    /// Whether the range includes a date.
    pub fn covers(&self, date: NaiveDate) -> bool {
        self.from <= date && date <= self.to
    }
}

/// A calendar of which a range of dates is known from the ledger.
#[derive(Debug, Clone)]
pub struct RecordedSessions {
    /// The recorded range.
    pub known: KnownSessions,
    /// The calendar for all other dates.
    pub calendar: Arc<dyn Sessions>,
}

impl Sessions for RecordedSessions {
    fn at(&self, at: Timestamp) -> Option<Session> {
        let known = self.known.sessions.iter().find(|session| session.contains(at));
        known
            .copied()
            .or_else(|| self.calendar.at(at).filter(|session| !self.known.covers(session.date)))
    }

    fn after(&self, at: Timestamp) -> Option<Session> {
        let known = self.known.sessions.iter().find(|session| session.opens > at).copied();
        let mut rest = self.calendar.after(at);
        while let Some(session) = rest.filter(|session| self.known.covers(session.date)) {
            rest = self.calendar.after(session.opens);
        }
        [known, rest].into_iter().flatten().min_by_key(|session| session.opens)
    }

    fn zone(&self) -> chrono_tz::Tz {
        self.calendar.zone()
    }

    fn on(&self, date: NaiveDate) -> (Option<Session>, String) {
        let (session, reason) = self.calendar.on(date);
        if !self.known.covers(date) {
            return (session, reason);
        }
        let known = self.known.sessions.iter().find(|session| session.date == date);
        (known.copied(), reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{Listed, SessionKind};

    /// 2026-03-02T13:00:00Z, a Monday; 08:00 in Bogota.
    const OPEN: i64 = 1_772_456_400;

    fn session(day: i64, hours: i64) -> Session {
        let opens = Timestamp::from_secs(OPEN + day * 86_400);
        Session {
            date: opens.datetime().date_naive(),
            opens,
            closes: Timestamp::from_secs(OPEN + day * 86_400 + hours * 3_600),
            kind: SessionKind::Spot,
        }
    }

    fn listed(sessions: &[Session]) -> Listed {
        Listed {
            sessions: sessions.to_vec(),
            zone: chrono_tz::America::Bogota,
        }
    }

    #[test]
    fn what_was_known_holds_for_its_dates_and_the_calendar_for_all_others() {
        let before = listed(&[session(0, 5), session(1, 5), session(2, 5)]);
        let noon = Timestamp::from_secs(OPEN + 7_200);
        let known = KnownSessions::at(noon, session(0, 5).date, Symbol::usdcop(), &before, true);
        assert_eq!(known.sessions, [session(0, 5), session(1, 5)]);
        // The day was cut, tomorrow is a holiday, and the day after has other hours.
        let corrected = listed(&[session(0, 1), session(2, 3)]);
        let recorded = RecordedSessions {
            known,
            calendar: Arc::new(corrected),
        };
        assert_eq!(recorded.at(noon), Some(session(0, 5)));
        assert_eq!(recorded.after(noon), Some(session(1, 5)));
        assert_eq!(recorded.after(session(1, 5).opens), Some(session(2, 3)));
        assert_eq!(recorded.on(session(1, 5).date).0, Some(session(1, 5)));
        assert_eq!(recorded.on(session(2, 3).date).0, Some(session(2, 3)));
        let text = serde_json::to_string(&recorded.known).unwrap();
        assert_eq!(serde_json::from_str::<KnownSessions>(&text).unwrap(), recorded.known);
    }

    #[test]
    fn a_holiday_between_this_session_and_the_next_is_known_as_closed() {
        let calendar = listed(&[session(0, 5), session(3, 5)]);
        let today = session(0, 5);
        let known = KnownSessions::at(today.opens, today.date, Symbol::usdcop(), &calendar, false);
        assert!(known.covers(session(1, 5).date) && known.covers(session(3, 5).date));
        assert_eq!(known.sessions, [session(0, 5), session(3, 5)]);
    }
}
