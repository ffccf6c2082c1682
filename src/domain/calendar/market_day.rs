//! Classifies one date: open or closed, when, and why.
//!
//! ```text
//! entry of the override file ─► weekend ─► Colombian holiday ─► United States bank holiday ─► ordinary business day
//!   closed, or a session        closed       closed               next_day session, or closed    spot session
//! ```
//! The first rule that applies decides, and its text is the day's reason.

use crate::domain::calendar::{
    Action, Almanac, COLOMBIA, CalendarKind, CalendarRules, Hours, NextDay, Overrides, UNITED_STATES, YEARS,
};
use crate::domain::model::{Session, SessionKind, Timestamp};
use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Weekday};
use std::sync::{Arc, LazyLock};

/// One date of the calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// The market's date.
    pub date: NaiveDate,
    /// Its session, unless it is closed.
    pub session: Option<Session>,
    /// Why the day is open or closed.
    pub reason: String,
}

/// Classifies dates. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DayBook {
    /// The rules of the calendar.
    pub rules: CalendarRules,
    /// The override entries.
    pub overrides: Arc<Overrides>,
}

static COLOMBIAN: LazyLock<Almanac> = LazyLock::new(|| Almanac::of(&COLOMBIA));
static AMERICAN: LazyLock<Almanac> = LazyLock::new(|| Almanac::of(&UNITED_STATES));

impl DayBook {
    /// The session of a date, if any, with the reason.
    pub fn day(&self, date: NaiveDate) -> Day {
        let (kind, reason) = self.classify_day(date);
        let session = kind.and_then(|kind| self.session_times(date, kind));
        Day { date, session, reason }
    }

    /// The session of a date, without computing the reason.
    pub fn session_on(&self, date: NaiveDate) -> Option<Session> {
        self.session_times(date, self.settlement_kind(date)?)
    }

    /// The session that a date would have without holidays and without an entry that closes it.
    pub fn usual_session_on(&self, date: NaiveDate) -> Option<Session> {
        let weekday = self.rules.kind == CalendarKind::Colombia && !is_weekend(date) && YEARS.contains(&date.year());
        let usual = weekday.then(|| self.session_times(date, SessionKind::Spot)).flatten();
        self.session_on(date).or(usual)
    }

    /// The date in the market's zone.
    pub fn local_date(&self, at: Timestamp) -> NaiveDate {
        at.datetime().with_timezone(&self.rules.zone).date_naive()
    }

    /// How the day settles if it has a session; `None` when it is closed.
    fn settlement_kind(&self, date: NaiveDate) -> Option<SessionKind> {
        if !YEARS.contains(&date.year()) {
            return None;
        }
        let entry = self.overrides.get(self.rules.kind, date).map(|entry| entry.action);
        let open = match entry {
            Some(Action::Close) => return None,
            Some(Action::Open(_)) => true,
            None => self.rules.kind == CalendarKind::Always || !is_weekend(date),
        };
        if !open {
            return None;
        }
        if self.rules.kind != CalendarKind::Colombia {
            return Some(SessionKind::Spot);
        }
        let kind = if AMERICAN.contains(date) {
            SessionKind::NextDay
        } else {
            SessionKind::Spot
        };
        let ruled_out =
            COLOMBIAN.contains(date) || (kind == SessionKind::NextDay && self.rules.next_day == NextDay::Close);
        (entry.is_some() || !ruled_out).then_some(kind)
    }

    /// How the day settles, with the reason.
    fn classify_day(&self, date: NaiveDate) -> (Option<SessionKind>, String) {
        let kind = self.settlement_kind(date);
        if !YEARS.contains(&date.year()) {
            return (kind, format!("outside the years {} to {}", YEARS.start(), YEARS.end()));
        }
        if let Some(entry) = self.overrides.get(self.rules.kind, date) {
            return (kind, entry.to_string());
        }
        if self.rules.kind == CalendarKind::Always {
            return (kind, "open every day".to_owned());
        }
        if is_weekend(date) {
            return (kind, date.format("%A").to_string());
        }
        if self.rules.kind == CalendarKind::Forex {
            return (kind, "weekday".to_owned());
        }
        let colombian = holiday_names(&COLOMBIAN, date);
        if !colombian.is_empty() {
            return (kind, colombian);
        }
        let american = holiday_names(&AMERICAN, date);
        if american.is_empty() {
            return (kind, "business day".to_owned());
        }
        let settles = if kind.is_some() {
            "dollars settle the next day"
        } else {
            "closed by next_day = \"close\""
        };
        (kind, format!("United States: {american}; {settles}"))
    }

    fn session_times(&self, date: NaiveDate, kind: SessionKind) -> Option<Session> {
        const FIVE_PM: Option<NaiveTime> = NaiveTime::from_hms_opt(17, 0, 0);
        let said = match self.overrides.get(self.rules.kind, date).map(|entry| entry.action) {
            Some(Action::Open(hours)) => hours,
            _ => None,
        };
        let on = |Hours { open, close }| (date.and_time(open), date.and_time(close));
        let (opens, closes) = match (said, self.rules.kind) {
            (Some(hours), _) => on(hours),
            (None, CalendarKind::Colombia) => on(self.rules.hours),
            (None, CalendarKind::Forex) => (date.pred_opt()?.and_time(FIVE_PM?), date.and_time(FIVE_PM?)),
            (None, CalendarKind::Always) => (date.and_time(NaiveTime::MIN), date.succ_opt()?.and_time(NaiveTime::MIN)),
        };
        let opens = self.instant(opens)?;
        let closes = self.instant(closes)?;
        (opens < closes).then_some(Session {
            date,
            opens,
            closes,
            kind,
        })
    }

    /// The instant of a local time. A time that occurs twice is its first occurrence; one that the clocks skip is an hour later.
    pub fn instant(&self, local: NaiveDateTime) -> Option<Timestamp> {
        let zone = self.rules.zone;
        zone.from_local_datetime(&local)
            .earliest()
            .or_else(|| zone.from_local_datetime(&(local + TimeDelta::hours(1))).earliest())
            .map(Timestamp::from_datetime)
    }
}

fn is_weekend(date: NaiveDate) -> bool {
    matches!(date.weekday(), Weekday::Sat | Weekday::Sun)
}

fn holiday_names(almanac: &Almanac, date: NaiveDate) -> String {
    almanac.on(date).map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar::CalendarSpec;
    use crate::domain::model::SlotGrid;

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn book(next_day: &str, overrides: &str) -> DayBook {
        let spec = CalendarSpec {
            next_day: Some(next_day.to_owned()),
            ..CalendarSpec::default()
        };
        DayBook {
            rules: spec.rules().unwrap(),
            overrides: Arc::new(Overrides::read(overrides).unwrap()),
        }
    }

    fn check_day(book: &DayBook, day: &str, expect: &str) {
        let day = book.day(date(day));
        let kind = day.session.map_or("closed", |session| session.kind.name());
        assert_eq!(format!("{kind}: {}", day.reason), expect, "{}", day.date);
    }

    #[test]
    fn each_day_has_its_type_and_its_reason() {
        let book = book("run", "");
        check_day(&book, "2026-07-10", "spot: business day");
        check_day(&book, "2026-07-11", "closed: Saturday");
        check_day(
            &book,
            "2026-07-13",
            "closed: Our Lady of Chiquinquira (9 July, moved to Monday)",
        );
        check_day(&book, "2026-04-03", "closed: Good Friday (Easter -2 days)");
        check_day(
            &book,
            "2026-12-31",
            "closed: Year-end closing (last weekday of the year)",
        );
        let next_day = "next_day: United States: Thanksgiving Day (Thu no. 4 of November); dollars settle the next day";
        check_day(&book, "2026-11-26", next_day);
        let closed = "closed: United States: Thanksgiving Day (Thu no. 4 of November); closed by next_day = \"close\"";
        check_day(&self::book("close", ""), "2026-11-26", closed);
        check_day(&book, "2101-01-03", "closed: outside the years 1984 to 2100");
    }

    #[test]
    fn an_entry_opens_a_holiday_in_its_own_hours_and_closes_a_business_day() {
        let open = "[[day]]\ndate = 2026-07-13\naction = \"open\"\nopens = \"09:00\"\ncloses = \"11:00\"\nreason = \"moved\"\nby = \"ana\"\n";
        let close = "[[day]]\ndate = 2026-07-14\naction = \"close\"\nreason = \"strike\"\n";
        let book = book("run", &format!("{open}{close}"));
        check_day(&book, "2026-07-13", "spot: opened by ana: moved");
        check_day(&book, "2026-07-14", "closed: closed by the override file: strike");
        assert_eq!(SlotGrid::BASE.count(&book.session_on(date("2026-07-13")).unwrap()), 24);
    }
}
