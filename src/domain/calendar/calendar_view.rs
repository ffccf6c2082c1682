//! A range of the calendar for people and programs: table, JSON, iCalendar.

use crate::domain::calendar::{Calendar, Day};
use crate::domain::model::{SessionKind, SlotGrid, Timestamp};
use chrono::{Datelike, NaiveDate, Weekday};
use serde::Serialize;
use std::fmt;

/// One date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DayView {
    /// The market's date.
    pub date: NaiveDate,
    /// `Mon` to `Sun`.
    pub weekday: String,
    /// `spot`, `next_day` or `closed`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Why the day is open or closed.
    pub reason: String,
    /// When its session opens, in the market's zone.
    pub opens: Option<String>,
    /// When its session closes, exclusive.
    pub closes: Option<String>,
    /// Number of five-minute bars of its session.
    pub expected_bars: usize,
    /// Whether the day is ordinary: a spot session on any day or no session on a weekend, without an override.
    #[serde(skip)]
    pub ordinary: bool,
    #[serde(skip)]
    span: Option<(Timestamp, Timestamp)>,
}

/// All dates of a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CalendarView {
    /// `colombia`, `forex` or `always`.
    pub calendar: &'static str,
    /// The market's zone.
    pub zone: &'static str,
    /// First date.
    pub from: NaiveDate,
    /// Last date.
    pub to: NaiveDate,
    /// Dates with a session.
    pub sessions: usize,
    /// Of these, dates of type `next_day`.
    pub next_day: usize,
    /// Dates from Monday to Friday without a session.
    pub closed_weekdays: usize,
    /// Number of five-minute bars of all sessions.
    pub expected_bars: usize,
    /// All dates.
    pub days: Vec<DayView>,
}

fn is_weekend(date: NaiveDate) -> bool {
    matches!(date.weekday(), Weekday::Sat | Weekday::Sun)
}

impl DayView {
    /// The view of one date.
    pub fn of(calendar: &Calendar, date: NaiveDate) -> Self {
        let Day { date, session, reason } = calendar.day(date);
        let zone = calendar.rules().zone;
        let decided = calendar.overrides().get(calendar.rules().kind, date).is_some();
        let usual = match session {
            Some(session) => session.kind == SessionKind::Spot,
            None => is_weekend(date),
        };
        Self {
            date,
            weekday: date.weekday().to_string(),
            kind: session.map_or("closed", |session| session.kind.name()),
            reason,
            opens: session.map(|session| session.opens.rfc3339(zone)),
            closes: session.map(|session| session.closes.rfc3339(zone)),
            expected_bars: session.map_or(0, |session| SlotGrid::BASE.count(&session)),
            ordinary: usual && !decided,
            span: session.map(|session| (session.opens, session.closes)),
        }
    }
}

impl fmt::Display for DayView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}  {:<8}  {}", self.date, self.weekday, self.kind, self.reason)
    }
}

impl CalendarView {
    /// The view of the dates from `from` to `to`.
    pub fn of(calendar: &Calendar, from: NaiveDate, to: NaiveDate) -> Self {
        let dates = from.iter_days().take_while(|date| *date <= to);
        let days: Vec<_> = dates.map(|date| DayView::of(calendar, date)).collect();
        let closed_weekdays = days.iter().filter(|day| day.span.is_none() && !is_weekend(day.date));
        Self {
            calendar: calendar.rules().kind.name(),
            zone: calendar.rules().zone.name(),
            from,
            to,
            sessions: days.iter().filter(|day| day.span.is_some()).count(),
            next_day: days
                .iter()
                .filter(|day| day.kind == SessionKind::NextDay.name())
                .count(),
            closed_weekdays: closed_weekdays.count(),
            expected_bars: days.iter().map(|day| day.expected_bars).sum(),
            days,
        }
    }

    /// The range as an iCalendar file: one event per session, and an all-day event for each day that is not ordinary.
    pub fn ics(&self, now: Timestamp) -> String {
        let mut lines = vec![
            "BEGIN:VCALENDAR".to_owned(),
            "VERSION:2.0".to_owned(),
            "PRODID:-//candela//calendar//EN".to_owned(),
            format!("X-WR-CALNAME:{} sessions", self.calendar),
        ];
        let mut event = |uid: String, times: [String; 2], summary: String, day: &DayView| {
            lines.extend([
                "BEGIN:VEVENT".to_owned(),
                format!("UID:{uid}-{}-{}@candela", self.calendar, day.date),
            ]);
            lines.push(format!("DTSTAMP:{}", ics_instant(now)));
            lines.extend(times);
            lines.push(format!("SUMMARY:{}", escape_text(&summary)));
            lines.push(format!("DESCRIPTION:{}", escape_text(&day.reason)));
            lines.extend(["TRANSP:TRANSPARENT".to_owned(), "END:VEVENT".to_owned()]);
        };
        for day in &self.days {
            if let Some((opens, closes)) = day.span {
                let times = [
                    format!("DTSTART:{}", ics_instant(opens)),
                    format!("DTEND:{}", ics_instant(closes)),
                ];
                event("session".to_owned(), times, format!("Session ({})", day.kind), day);
            }
            if !day.ordinary {
                let next = day.date.succ_opt().unwrap_or(day.date);
                let times = [ics_date("DTSTART", day.date), ics_date("DTEND", next)];
                event("day".to_owned(), times, format!("{}: {}", day.kind, day.reason), day);
            }
        }
        lines.push("END:VCALENDAR".to_owned());
        lines.iter().map(|line| fold_line(line)).collect()
    }
}

fn ics_instant(at: Timestamp) -> String {
    at.datetime().format("%Y%m%dT%H%M%SZ").to_string()
}

fn ics_date(key: &str, date: NaiveDate) -> String {
    format!("{key};VALUE=DATE:{}", date.format("%Y%m%d"))
}

/// The table: all days that are not ordinary, then the counts.
impl fmt::Display for CalendarView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Calendar {} ({}), {} to {}",
            self.calendar, self.zone, self.from, self.to
        )?;
        for day in self.days.iter().filter(|day| !day.ordinary) {
            writeln!(f, "{day}")?;
        }
        writeln!(
            f,
            "{} sessions ({} of them next_day), {} weekdays closed, {} five-minute bars",
            self.sessions, self.next_day, self.closed_weekdays, self.expected_bars
        )
    }
}

/// Escapes a text as RFC 5545, 3.3.11 requires.
fn escape_text(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace(';', "\\;")
        .replace(',', "\\,")
        .replace('\n', "\\n")
        .replace('\r', "")
}

/// Folds a line as RFC 5545, 3.1 requires: at most 75 bytes, the rest on lines that begin with a blank.
fn fold_line(line: &str) -> String {
    let mut text = String::with_capacity(line.len() + 8);
    let mut width = 0;
    for letter in line.chars() {
        if width + letter.len_utf8() > 75 {
            text.push_str("\r\n ");
            width = 1;
        }
        text.push(letter);
        width += letter.len_utf8();
    }
    text + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(from: &str, to: &str) -> CalendarView {
        CalendarView::of(&Calendar::usdcop(), from.parse().unwrap(), to.parse().unwrap())
    }

    #[test]
    fn the_table_shows_what_is_not_ordinary_and_counts_the_rest() {
        let expect = "Calendar colombia (America/Bogota), 2026-11-23 to 2026-12-08\n\
            2026-11-26  Thu  next_day  United States: Thanksgiving Day (Thu no. 4 of November); dollars settle the next day\n\
            2026-12-08  Tue  closed    Immaculate Conception (fixed day)\n\
            11 sessions (1 of them next_day), 1 weekdays closed, 649 five-minute bars\n";
        assert_eq!(view("2026-11-23", "2026-12-08").to_string(), expect);
    }

    #[test]
    fn json_has_every_day_with_type_reason_and_hours() {
        let json = serde_json::to_value(view("2026-12-08", "2026-12-09")).unwrap();
        let expect = serde_json::json!([
            {"date": "2026-12-08", "weekday": "Tue", "type": "closed", "reason": "Immaculate Conception (fixed day)",
             "opens": null, "closes": null, "expected_bars": 0},
            {"date": "2026-12-09", "weekday": "Wed", "type": "spot", "reason": "business day",
             "opens": "2026-12-09T08:00:00-05:00", "closes": "2026-12-09T12:55:00-05:00", "expected_bars": 59},
        ]);
        assert_eq!(json.get("days"), Some(&expect));
    }

    #[test]
    fn icalendar_lines_are_folded_escaped_and_ended_as_the_standard_says() {
        let ics = view("2026-11-26", "2026-11-26").ics(Timestamp::from_secs(1_795_000_000));
        assert!(
            ics.contains("DTSTART:20261126T130000Z\r\nDTEND:20261126T175500Z\r\n"),
            "{ics}"
        );
        assert!(
            ics.contains("DTSTART;VALUE=DATE:20261126\r\nDTEND;VALUE=DATE:20261127\r\n"),
            "{ics}"
        );
        assert!(ics.contains("of November)\\;"), "{ics}");
        assert!(ics.ends_with("END:VCALENDAR\r\n"));
        assert!(
            ics.split("\r\n").all(|line| line.len() <= 75 && !line.contains('\n')),
            "{ics}"
        );
    }
}
