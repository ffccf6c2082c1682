//! The calendar of a symbol in the settings, and its validation.

use crate::domain::model::Interval;
use chrono::{NaiveDate, NaiveTime, Timelike};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which days have sessions.
#[derive(strum::Display, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CalendarKind {
    /// Monday to Friday without Colombian holidays; on United States bank holidays dollars settle the next day.
    Colombia,
    /// Sunday 17:00 to Friday 17:00 New York: five sessions a week, each named after the day on which it ends.
    Forex,
    /// Every day, around the clock, one session a day.
    Always,
}

impl CalendarKind {
    /// All calendars.
    pub const ALL: [Self; 3] = [Self::Colombia, Self::Forex, Self::Always];

    /// Its name in settings and override files.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The inverse of [`CalendarKind::name`].
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    const fn default_zone(self) -> Tz {
        match self {
            Self::Colombia => Tz::America__Bogota,
            Self::Forex => Tz::America__New_York,
            Self::Always => Tz::UTC,
        }
    }
}

/// What to do on a Colombian business day on which dollars settle the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NextDay {
    /// A session of type `next_day`: prices move as on other days.
    #[default]
    Run,
    /// No session.
    Close,
}

/// Hours of a day, `[open, close)`, as local time in the market's zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hours {
    /// The first instant.
    pub open: NaiveTime,
    /// The first instant after.
    pub close: NaiveTime,
}

impl Hours {
    /// Parses `08:00` and `12:55`. Every problem is added to `problems` and names the value.
    pub fn read(open: &str, close: &str, problems: &mut Vec<CalendarProblem>) -> Option<Self> {
        let mut time = |key: &'static str, given: &str| {
            let time = read_time(given);
            if time.is_none() {
                problems.push(CalendarProblem::Time { key, given: cut(given) });
            }
            time
        };
        let open_at = time("open", open);
        let close_at = time("close", close);
        let hours = Self {
            open: open_at?,
            close: close_at?,
        };
        let base = Interval::BASE.vendor_length().as_secs();
        if u64::from(hours.open.num_seconds_from_midnight()) % base != 0 {
            problems.push(CalendarProblem::OffGrid(hours.open));
            return None;
        }
        if hours.open >= hours.close {
            problems.push(CalendarProblem::CloseBeforeOpen(hours));
            return None;
        }
        Some(hours)
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}–{}", self.open.format("%H:%M"), self.close.format("%H:%M"))
    }
}

/// A calendar as the settings spell it; `None` means the calendar's own default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CalendarSpec {
    /// `colombia`, `forex` or `always`.
    pub calendar: String,
    /// An IANA zone such as `America/Bogota`.
    pub zone: Option<String>,
    /// Local time of the open; calendar `colombia` only; default 08:00.
    pub open: Option<String>,
    /// Local time of the close, exclusive; calendar `colombia` only; default 12:55.
    pub close: Option<String>,
    /// `run` or `close`; calendar `colombia` only; default `run`.
    pub next_day: Option<String>,
}

impl Default for CalendarSpec {
    fn default() -> Self {
        Self {
            calendar: CalendarKind::Colombia.name().to_owned(),
            zone: None,
            open: None,
            close: None,
            next_day: None,
        }
    }
}

/// A valid [`CalendarSpec`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalendarRules {
    /// Which days have sessions.
    pub kind: CalendarKind,
    /// The zone of days and hours.
    pub zone: Tz,
    /// The hours of calendar `colombia`; `forex` and `always` have their own.
    pub hours: Hours,
    /// What to do on days on which dollars settle the next day.
    pub next_day: NextDay,
}

/// A problem in a calendar's settings or in an override file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each sentence is its own documentation")]
pub enum CalendarProblem {
    #[error("calendar {0:?} is not one of colombia, forex, always")]
    Calendar(String),
    #[error("zone {0:?} is not an IANA time zone such as America/Bogota")]
    Zone(String),
    #[error("{key} {given:?} is not a time of day such as 08:00")]
    Time { key: &'static str, given: String },
    #[error(
        "open {} does not lie on the five-minute grid of the vendor's bars: a session may open at 08:00 or 08:05, and close at any time",
        .0.format("%H:%M:%S")
    )]
    OffGrid(NaiveTime),
    #[error("the session would close before it opens ({0}): close must be later than open, on the same day")]
    CloseBeforeOpen(Hours),
    #[error("next_day {0:?} is not one of run, close")]
    NextDay(String),
    #[error("calendar {calendar} has hours of its own: remove {key}, or use calendar colombia")]
    NotYours { calendar: CalendarKind, key: &'static str },
    #[error("line {line}: {problem}")]
    InFile { line: usize, problem: Box<CalendarProblem> },
    #[error("{0}")]
    Toml(String),
    #[error(
        "{0:?} is not known here: the file holds [[day]] tables with date, action, reason, calendar, opens, closes, by, at, replaces"
    )]
    Key(String),
    #[error("{key} is missing")]
    Missing { key: &'static str },
    #[error("{key} must be a text in quotes")]
    NotText { key: &'static str },
    #[error("date {0:?} is not a day such as 2026-05-05")]
    Date(String),
    #[error("{date} is outside the years {first} to {last} that the calendar knows")]
    Year { date: NaiveDate, first: i32, last: i32 },
    #[error("action {0:?} is not one of close, open")]
    Action(String),
    #[error("opens and closes must both be given, with action = \"open\", or neither")]
    HalfHours,
    #[error("{date} ({calendar}) contradicts line {other}: remove one of them, or write replaces = true in the later")]
    Contradiction {
        date: NaiveDate,
        calendar: CalendarKind,
        other: usize,
    },
}

impl CalendarSpec {
    /// The rules, or all problems of the settings.
    pub fn rules(&self) -> Result<CalendarRules, Vec<CalendarProblem>> {
        let mut problems = Vec::new();
        let kind = CalendarKind::named(&self.calendar);
        if kind.is_none() {
            problems.push(CalendarProblem::Calendar(cut(&self.calendar)));
        }
        let zone = self.zone.as_deref().map(|name| name.parse::<Tz>().map_err(|_| name));
        if let Some(Err(name)) = zone {
            problems.push(CalendarProblem::Zone(cut(name)));
        }
        let hours = Hours::read(
            self.open.as_deref().unwrap_or("08:00"),
            self.close.as_deref().unwrap_or("12:55"),
            &mut problems,
        );
        let next_day = match self.next_day.as_deref() {
            None | Some("run") => NextDay::Run,
            Some("close") => NextDay::Close,
            Some(other) => {
                problems.push(CalendarProblem::NextDay(cut(other)));
                NextDay::Run
            }
        };
        if let Some(calendar @ (CalendarKind::Forex | CalendarKind::Always)) = kind {
            let foreign = [
                ("open", &self.open),
                ("close", &self.close),
                ("next_day", &self.next_day),
            ];
            let foreign = foreign.into_iter().filter(|(_, value)| value.is_some());
            problems.extend(foreign.map(|(key, _)| CalendarProblem::NotYours { calendar, key }));
        }
        match (kind, hours) {
            (Some(kind), Some(hours)) if problems.is_empty() => Ok(CalendarRules {
                kind,
                zone: zone.and_then(Result::ok).unwrap_or(kind.default_zone()),
                hours,
                next_day,
            }),
            _ => Err(problems),
        }
    }
}

/// Parses `08:00` or `08:00:30`, nothing else.
fn read_time(text: &str) -> Option<NaiveTime> {
    NaiveTime::parse_from_str(text, "%H:%M")
        .or_else(|_| NaiveTime::parse_from_str(text, "%H:%M:%S"))
        .ok()
}

/// A text cut to a length that is safe to show.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(calendar: &str, zone: &str, open: &str, close: &str, next_day: &str) -> Vec<String> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let spec = CalendarSpec {
            calendar: calendar.to_owned(),
            zone: some(zone),
            open: some(open),
            close: some(close),
            next_day: some(next_day),
        };
        spec.rules().unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        assert_eq!(
            problems("colombian", "America/Bogotá", "8 am", "25:00", "maybe"),
            [
                "calendar \"colombian\" is not one of colombia, forex, always",
                "zone \"America/Bogotá\" is not an IANA time zone such as America/Bogota",
                "open \"8 am\" is not a time of day such as 08:00",
                "close \"25:00\" is not a time of day such as 08:00",
                "next_day \"maybe\" is not one of run, close",
            ]
        );
    }

    #[test]
    fn a_session_that_closes_before_it_opens_is_refused() {
        let sentence =
            "the session would close before it opens (13:00–08:00): close must be later than open, on the same day";
        assert_eq!(problems("colombia", "", "13:00", "08:00", ""), [sentence]);
        assert_eq!(problems("colombia", "", "08:00", "08:00", "").len(), 1);
    }

    #[test]
    fn an_open_off_the_grid_of_the_vendors_bars_is_refused_and_a_close_may_be_anything() {
        let sentence = |open| {
            format!(
                "open {open} does not lie on the five-minute grid of the vendor's bars: a session may open at 08:00 or 08:05, and close at any time"
            )
        };
        assert_eq!(problems("colombia", "", "08:02", "", ""), [sentence("08:02:00")]);
        assert_eq!(
            problems("colombia", "", "08:00:30", "12:55", ""),
            [sentence("08:00:30")]
        );
        for close in ["12:58", "08:07", "12:54:59"] {
            let mut wrong = Vec::new();
            assert!(Hours::read("08:05", close, &mut wrong).is_some(), "{wrong:?}");
        }
    }

    #[test]
    fn hours_are_refused_where_the_calendar_has_its_own() {
        assert_eq!(
            problems("forex", "", "08:00", "", "run"),
            [
                "calendar forex has hours of its own: remove open, or use calendar colombia",
                "calendar forex has hours of its own: remove next_day, or use calendar colombia",
            ]
        );
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let rules = CalendarSpec::default().rules().unwrap();
        assert_eq!((rules.kind, rules.zone), (CalendarKind::Colombia, Tz::America__Bogota));
        assert_eq!(rules.hours.to_string(), "08:00–12:55");
        assert_eq!(rules.next_day, NextDay::Run);
    }
}
