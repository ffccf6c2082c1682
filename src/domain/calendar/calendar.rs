//! When a symbol's market has sessions, and why there is none on other days, for any instant of [`YEARS`].

use crate::domain::calendar::{CalendarProblem, CalendarRules, CalendarSpec, Day, DayBook, Overrides, YEARS};
use crate::domain::model::{Interval, Session, Sessions, SlotGrid, Timestamp};
use chrono::{Datelike, Days, NaiveDate, NaiveDateTime};
use chrono_tz::Tz;
use std::sync::Arc;

/// One symbol's calendar. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Calendar {
    book: DayBook,
    /// How often the calendar was corrected.
    edition: u64,
}

/// The state of the market at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// In this session.
    Open(Session),
    /// Between sessions.
    Closed {
        /// The session that closed last; `None` before the calendar begins.
        previous: Option<Session>,
        /// The session that opens next; `None` after the calendar ends.
        next: Option<Session>,
        /// Why there is no session now.
        reason: String,
    },
}

impl Calendar {
    /// A calendar from the settings and the override entries.
    pub fn new(spec: &CalendarSpec, overrides: Arc<Overrides>) -> Result<Self, Vec<CalendarProblem>> {
        Ok(Self::from_rules(spec.rules()?, overrides))
    }

    /// A calendar from valid rules.
    pub const fn from_rules(rules: CalendarRules, overrides: Arc<Overrides>) -> Self {
        Self {
            book: DayBook { rules, overrides },
            edition: 0,
        }
    }

    /// The same calendar with other override entries, as a new edition.
    pub fn with_overrides(&self, overrides: Arc<Overrides>) -> Self {
        Self {
            edition: self.edition.saturating_add(1),
            ..Self::from_rules(self.book.rules, overrides)
        }
    }

    /// The calendar of USD/COP: Colombia, 08:00 to 12:55.
    #[expect(clippy::expect_used, reason = "the default settings are tested to be right")]
    pub fn usdcop() -> Self {
        Self::new(&CalendarSpec::default(), Arc::default()).expect("the default calendar has rules")
    }

    /// The rules of the calendar.
    pub const fn rules(&self) -> &CalendarRules {
        &self.book.rules
    }

    /// The override entries.
    pub fn overrides(&self) -> &Overrides {
        &self.book.overrides
    }

    /// The session of a date, if any, with the reason.
    pub fn day(&self, date: NaiveDate) -> Day {
        self.book.day(date)
    }

    /// The session of a date, without computing the reason.
    pub fn session_on(&self, date: NaiveDate) -> Option<Session> {
        self.book.session_on(date)
    }

    /// The instant of a local time in the market's zone.
    pub fn instant(&self, local: NaiveDateTime) -> Option<Timestamp> {
        self.book.instant(local)
    }

    /// The session that a date would have without holidays; the same as [`Calendar::session_on`] where there are none.
    pub fn usual_session_on(&self, date: NaiveDate) -> Option<Session> {
        self.book.usual_session_on(date)
    }

    /// The date in the market's zone.
    pub fn local_date(&self, at: Timestamp) -> NaiveDate {
        self.book.local_date(at)
    }

    /// The state of the market at `now`.
    pub fn phase(&self, now: Timestamp) -> Phase {
        if let Some(session) = self.at(now) {
            return Phase::Open(session);
        }
        let date = self.book.local_date(now);
        let reason = match self.book.session_on(date) {
            Some(session) if now < session.opens => "before the open".to_owned(),
            Some(_) => "after the close".to_owned(),
            None => self.book.day(date).reason,
        };
        Phase::Closed {
            previous: self.before(now),
            next: self.after(now),
            reason,
        }
    }

    /// The last session that closed at or before `at`. `None` only before the calendar begins.
    pub fn before(&self, at: Timestamp) -> Option<Session> {
        let last = NaiveDate::from_ymd_opt(*YEARS.end(), 12, 31)?;
        let mut date = self.book.local_date(at).succ_opt()?.min(last);
        while YEARS.contains(&date.year()) {
            if let Some(session) = self.book.session_on(date).filter(|session| session.closes <= at) {
                return Some(session);
            }
            date = date.pred_opt()?;
        }
        None
    }

    /// The sessions whose dates lie in `[from, to]`, earliest first.
    pub fn sessions(&self, from: NaiveDate, to: NaiveDate) -> impl Iterator<Item = Session> {
        from.iter_days()
            .take_while(move |date| *date <= to)
            .filter_map(|date| self.book.session_on(date))
    }

    /// The opens of the bars expected on a date; none when the market is closed.
    pub fn slots_on(&self, date: NaiveDate, interval: Interval) -> Vec<Timestamp> {
        self.book
            .session_on(date)
            .map(|session| self.slots(&session, interval))
            .unwrap_or_default()
    }

    /// The opens of a session's bars.
    pub fn slots(&self, session: &Session, interval: Interval) -> Vec<Timestamp> {
        SlotGrid::of_interval(interval)
            .slots(session)
            .map(|slot| slot.opens_at)
            .collect()
    }
}

impl Sessions for Calendar {
    fn at(&self, at: Timestamp) -> Option<Session> {
        let date = self.book.local_date(at);
        let dates = [Some(date), date.succ_opt()]; // the evening belongs to the next forex day
        let mut sessions = dates
            .into_iter()
            .flatten()
            .filter_map(|date| self.book.session_on(date));
        sessions.find(|session| session.contains(at))
    }

    fn after(&self, at: Timestamp) -> Option<Session> {
        let first = NaiveDate::from_ymd_opt(*YEARS.start(), 1, 1)?;
        let mut date = self.book.local_date(at).checked_sub_days(Days::new(1))?.max(first);
        while YEARS.contains(&date.year()) {
            if let Some(session) = self.book.session_on(date).filter(|session| session.opens > at) {
                return Some(session);
            }
            date = date.succ_opt()?;
        }
        None
    }

    fn edition(&self) -> u64 {
        self.edition
    }

    fn zone(&self) -> Tz {
        self.book.rules.zone
    }

    fn on(&self, date: NaiveDate) -> (Option<Session>, String) {
        let day = self.book.day(date);
        (day.session, day.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar::CalendarKind;
    use proptest::prelude::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::from_datetime(chrono::DateTime::parse_from_rfc3339(text).unwrap())
    }

    fn calendar(kind: &str, overrides: &str) -> Calendar {
        let spec = CalendarSpec {
            calendar: kind.to_owned(),
            ..CalendarSpec::default()
        };
        Calendar::new(&spec, Arc::new(Overrides::read(overrides).unwrap())).unwrap()
    }

    fn closing_at(close: &str, next_day: &str) -> Calendar {
        let spec = CalendarSpec {
            close: Some(close.to_owned()),
            next_day: Some(next_day.to_owned()),
            ..CalendarSpec::default()
        };
        Calendar::new(&spec, Arc::default()).unwrap()
    }

    #[test]
    fn a_session_of_bogota_is_the_same_utc_hours_all_year_and_excludes_its_close() {
        let calendar = Calendar::usdcop();
        for day in ["2026-01-15", "2026-03-09", "2026-07-15", "2026-11-03"] {
            let session = calendar.session_on(date(day)).unwrap();
            assert_eq!(session.opens, at(&format!("{day}T13:00:00Z")));
            assert_eq!(session.closes, at(&format!("{day}T17:55:00Z")));
        }
        assert!(matches!(
            calendar.phase(at("2026-01-15T17:54:59.999999Z")),
            Phase::Open(_)
        ));
        assert!(matches!(
            calendar.phase(at("2026-01-15T17:55:00Z")),
            Phase::Closed { .. }
        ));
    }

    #[test]
    fn the_latest_session_is_the_open_one_or_the_last_that_was() {
        let calendar = Calendar::usdcop();
        for (now, day) in [
            ("2026-11-20T13:00:00Z", "2026-11-20"),
            ("2026-11-20T17:55:00Z", "2026-11-20"),
            ("2026-11-23T12:59:59Z", "2026-11-20"), // over a weekend
            ("2026-11-23T13:00:01Z", "2026-11-23"),
            ("2026-04-05T12:00:00Z", "2026-04-01"), // over Easter
        ] {
            let latest = calendar.latest(at(now)).map(|session| session.date);
            assert_eq!(latest, Some(date(day)), "{now}");
        }
        let never = calendar.latest(at("1900-01-01T00:00:00Z"));
        assert!(never.is_none_or(|session| session.opens <= at("1900-01-01T00:00:00Z")));
    }

    #[test]
    fn a_session_has_59_bars_or_60_as_the_settings_close_it() {
        let (calendar, long) = (Calendar::usdcop(), closing_at("13:00", "run"));
        let count = |calendar: &Calendar, interval| calendar.slots_on(date("2026-01-15"), interval).len();
        assert_eq!((count(&calendar, Interval::M5), count(&long, Interval::M5)), (59, 60));
        assert_eq!(
            (count(&calendar, Interval::M1), count(&calendar, Interval::M15)),
            (295, 20)
        );
        assert_eq!(
            (count(&calendar, Interval::H1), count(&calendar, Interval::Session)),
            (5, 1)
        );
        assert_eq!(
            calendar.slots_on(date("2026-01-15"), Interval::D1),
            [at("2026-01-15T13:00:00Z")] // where the bars that are built begin
        );
        assert!(calendar.slots_on(date("2026-01-17"), Interval::M5).is_empty());
        let range = SlotGrid::BASE.expected(&calendar, at("2026-01-15T17:50:00Z"), at("2026-01-16T13:05:00Z"));
        let opens: Vec<_> = range.iter().map(|expected| expected.slot.opens_at).collect();
        assert_eq!(opens, [at("2026-01-15T17:50:00Z"), at("2026-01-16T13:00:00Z")]);
    }

    #[test]
    fn the_search_for_the_next_open_crosses_a_long_closure() {
        let days =
            (1..=28).map(|day| format!("[[day]]\ndate = 2026-02-{day:02}\naction = \"close\"\nreason = \"strike\"\n"));
        let calendar = calendar("colombia", &days.collect::<String>());
        assert_eq!(
            calendar.after(at("2026-01-30T18:00:00Z")).map(|session| session.opens),
            Some(at("2026-03-02T13:00:00Z"))
        );
        assert_eq!(
            calendar
                .before(at("2026-03-02T12:00:00Z"))
                .map(|session| session.closes),
            Some(at("2026-01-30T17:55:00Z"))
        );
    }

    #[test]
    fn forex_runs_from_sunday_to_friday_and_follows_the_clocks_of_new_york() {
        let calendar = calendar("forex", "");
        for (now, next) in [
            ("2026-03-07T12:00:00Z", "2026-03-08T21:00:00Z"), // the clocks went forward that Sunday
            ("2026-10-31T12:00:00Z", "2026-11-01T22:00:00Z"), // and back on that one
        ] {
            assert_eq!(calendar.after(at(now)).map(|session| session.opens), Some(at(next)));
        }
        let friday = calendar.at(at("2026-03-13T20:59:59Z")).unwrap();
        assert_eq!(
            (friday.date, friday.closes),
            (date("2026-03-13"), at("2026-03-13T21:00:00Z"))
        );
        assert_eq!(calendar.at(at("2026-03-13T21:00:00Z")), None);
        assert_eq!(
            calendar.at(at("2026-03-12T21:00:00Z")).map(|session| session.date),
            Some(date("2026-03-13"))
        );
    }

    #[test]
    fn always_has_no_end_of_day() {
        let calendar = calendar("always", "");
        let session = calendar.at(at("2026-03-08T23:59:59.999999Z")).unwrap();
        assert_eq!(
            calendar.after(session.opens).map(|next| next.opens),
            Some(session.closes)
        );
    }

    #[test]
    fn years_have_the_counted_sessions() {
        let count = |year: i32| {
            let (first, last) = (date(&format!("{year}-01-01")), date(&format!("{year}-12-31")));
            Calendar::usdcop().sessions(first, last).count()
        };
        assert_eq!([2024, 2025, 2026, 2027].map(count), [245, 244, 241, 244]);
    }

    #[test]
    fn outside_its_years_the_calendar_ends_without_hanging() {
        let calendar = Calendar::usdcop();
        assert_eq!(
            calendar.after(at("2100-12-31T23:00:00Z")).map(|session| session.opens),
            None
        );
        assert_eq!(
            calendar.after(at("1950-01-01T00:00:00Z")).map(|session| session.opens),
            Some(at("1984-01-02T13:00:00Z"))
        );
        assert_eq!(
            calendar
                .before(at("1983-12-31T23:00:00Z"))
                .map(|session| session.closes),
            None
        );
        assert!(
            calendar
                .before(at("2200-01-01T00:00:00Z"))
                .map(|session| session.closes)
                .is_some()
        );
    }

    proptest! {
        #[test]
        fn every_instant_lies_in_one_session_or_between_two(secs in 500_000_000_i64..4_000_000_000, kind in 0_usize..3) {
            let calendar = calendar(CalendarKind::ALL[kind].name(), "");
            let now = Timestamp::from_secs(secs);
            match calendar.phase(now) {
                Phase::Open(session) => prop_assert!(session.contains(now)),
                Phase::Closed { previous, next, .. } => {
                    let (previous, next) = (previous.unwrap(), next.unwrap());
                    prop_assert!(previous.closes <= now && now < next.opens);
                    prop_assert_eq!(calendar.before(next.opens), Some(previous));
                    prop_assert_eq!(calendar.after(previous.opens), Some(next));
                }
            }
        }
    }
}
