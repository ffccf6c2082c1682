//! Override entries: days opened or closed against the rules, in a TOML file that the `calendar` command also writes.
//!
//! ```toml
//! [[day]]
//! date = 2026-05-05
//! action = "close"            # or "open", with opens = "08:00" and closes = "11:00" for other hours than usual
//! reason = "national strike"
//! calendar = "colombia"       # the default
//! by = "ana"                  # who and when: written by `candela calendar close`, optional by hand
//! at = "2026-05-04T16:10:00-05:00"
//! replaces = true             # replaces an earlier entry for the same day, which stays as history
//! ```

use crate::domain::calendar::{CalendarKind, CalendarProblem, Hours, YEARS, calendar_spec::cut};
use chrono::{Datelike, NaiveDate};
use std::collections::BTreeMap;
use std::fmt;
use toml::de::{DeTable, DeValue};

/// What an entry does to its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Removes the session.
    Close,
    /// Adds a session, with these hours or the usual ones.
    Open(Option<Hours>),
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The market's date.
    pub date: NaiveDate,
    /// The calendar whose symbols it applies to.
    pub calendar: CalendarKind,
    /// What it does.
    pub action: Action,
    /// Why the day is opened or closed.
    pub reason: String,
    /// Who decided it.
    pub by: Option<String>,
    /// When it was decided, as written.
    pub at: Option<String>,
    /// Whether it replaces an earlier entry.
    pub replaces: bool,
}

/// The valid entries, by calendar and date.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides(BTreeMap<(CalendarKind, NaiveDate), Override>);

impl Overrides {
    /// Parses a file's text, or returns all its problems with line numbers.
    pub fn read(text: &str) -> Result<Self, Vec<CalendarProblem>> {
        let (file, errors) = DeTable::parse_recoverable(text);
        let mut broken = Vec::new();
        let mut problems = Vec::new();
        for error in &errors {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            broken.push(line);
            problems.push(in_file(line, CalendarProblem::Toml(error.message().to_owned())));
        }
        let mut read: BTreeMap<_, (usize, Override)> = BTreeMap::new();
        for (key, value) in file.get_ref() {
            let line = line_of(text, key.span().start);
            let (DeValue::Array(days), "day") = (value.get_ref(), key.get_ref().as_ref()) else {
                if !broken.contains(&line) {
                    problems.push(in_file(line, CalendarProblem::Key(cut(key.get_ref()))));
                }
                continue;
            };
            let begins: Vec<usize> = days.iter().map(|day| line_of(text, day.span().start)).collect();
            let ends = begins.iter().copied().skip(1).chain([usize::MAX]);
            for ((day, line), end) in days.iter().zip(begins.iter().copied()).zip(ends) {
                if broken.iter().any(|broken| (line..end).contains(broken)) {
                    continue; // what cannot be read is told already, and the rest of the entry means nothing
                }
                let mut wrong = Vec::new();
                let entry = read_entry(day.get_ref(), &mut wrong);
                problems.extend(wrong.into_iter().map(|problem| in_file(line, problem)));
                let Some(entry) = entry else { continue };
                let key = (entry.calendar, entry.date);
                match read.get(&key) {
                    Some((other, earlier)) if earlier.action != entry.action && !entry.replaces => {
                        let date = entry.date;
                        let calendar = entry.calendar;
                        let other = *other;
                        problems.push(in_file(line, CalendarProblem::Contradiction { date, calendar, other }));
                    }
                    _ => drop(read.insert(key, (line, entry))),
                }
            }
        }
        if problems.is_empty() {
            return Ok(Self(read.into_iter().map(|(key, (_, entry))| (key, entry)).collect()));
        }
        Err(problems)
    }

    /// The valid entry for a day.
    pub fn get(&self, calendar: CalendarKind, date: NaiveDate) -> Option<&Override> {
        self.0.get(&(calendar, date))
    }

    /// The valid entries, by calendar and date.
    pub fn iter(&self) -> impl Iterator<Item = &Override> {
        self.0.values()
    }
}

impl Override {
    /// The entry's table, as written to the file.
    pub fn to_toml(&self) -> String {
        let mut lines = vec!["[[day]]".to_owned(), format!("date = {}", self.date)];
        let action = if self.action == Action::Close { "close" } else { "open" };
        lines.push(format!("action = \"{action}\""));
        if let Action::Open(Some(hours)) = self.action {
            lines.push(format!("opens = \"{}\"", hours.open.format("%H:%M:%S")));
            lines.push(format!("closes = \"{}\"", hours.close.format("%H:%M:%S")));
        }
        lines.push(format!("reason = {}", toml_text(&self.reason)));
        lines.push(format!("calendar = \"{}\"", self.calendar));
        lines.extend(self.by.iter().map(|by| format!("by = {}", toml_text(by))));
        lines.extend(self.at.iter().map(|at| format!("at = {}", toml_text(at))));
        if self.replaces {
            lines.push("replaces = true".to_owned());
        }
        lines.join("\n") + "\n"
    }
}

fn toml_text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.action == Action::Close {
            "closed"
        } else {
            "opened"
        };
        write!(f, "{verb} by {}", self.by.as_deref().unwrap_or("the override file"))?;
        if let Some(at) = &self.at {
            write!(f, " on {at}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

fn in_file(line: usize, problem: CalendarProblem) -> CalendarProblem {
    CalendarProblem::InFile {
        line,
        problem: Box::new(problem),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// Parses one `[[day]]`; `None` when anything in it is wrong.
fn read_entry(value: &DeValue<'_>, wrong: &mut Vec<CalendarProblem>) -> Option<Override> {
    const KEYS: [&str; 9] = [
        "date", "action", "reason", "calendar", "opens", "closes", "by", "at", "replaces",
    ];
    let DeValue::Table(table) = value else {
        wrong.push(CalendarProblem::Key("day".to_owned()));
        return None;
    };
    let strange = table.keys().filter(|key| !KEYS.contains(&key.get_ref().as_ref()));
    wrong.extend(strange.map(|key| CalendarProblem::Key(cut(key.get_ref()))));
    let replaces = match table.get("replaces").map(|value| value.get_ref()) {
        None => false,
        Some(DeValue::Boolean(value)) => *value,
        Some(_) => {
            wrong.push(CalendarProblem::Key("replaces (not true or false)".to_owned()));
            false
        }
    };
    let date = read_text(table, "date", true, wrong).and_then(|given| read_date(&given, wrong));
    let action = read_text(table, "action", true, wrong);
    let reason = read_text(table, "reason", true, wrong);
    let calendar =
        read_text(table, "calendar", false, wrong).unwrap_or_else(|| CalendarKind::Colombia.name().to_owned());
    let hours = match (
        read_text(table, "opens", false, wrong),
        read_text(table, "closes", false, wrong),
    ) {
        (None, None) => None,
        (Some(open), Some(close)) if action.as_deref() != Some("close") => Hours::read(&open, &close, wrong),
        _ => {
            wrong.push(CalendarProblem::HalfHours);
            None
        }
    };
    let action = match action?.as_str() {
        "close" => Action::Close,
        "open" => Action::Open(hours),
        other => {
            wrong.push(CalendarProblem::Action(cut(other)));
            Action::Close
        }
    };
    let kind = CalendarKind::named(&calendar);
    if kind.is_none() {
        wrong.push(CalendarProblem::Calendar(cut(&calendar)));
    }
    let by = read_text(table, "by", false, wrong);
    let at = read_text(table, "at", false, wrong);
    let entry = Override {
        date: date?,
        calendar: kind?,
        action,
        reason: reason?,
        by,
        at,
        replaces,
    };
    wrong.is_empty().then_some(entry)
}

/// Parses a date such as `2026-05-05` in the calendar's years.
pub fn read_date(given: &str, wrong: &mut Vec<CalendarProblem>) -> Option<NaiveDate> {
    let Ok(date) = given.parse::<NaiveDate>() else {
        wrong.push(CalendarProblem::Date(cut(given)));
        return None;
    };
    if !YEARS.contains(&date.year()) {
        let first = *YEARS.start();
        let last = *YEARS.end();
        wrong.push(CalendarProblem::Year { date, first, last });
        return None;
    }
    Some(date)
}

/// A value as text: quoted, or an unquoted date or time.
fn read_text(table: &DeTable<'_>, key: &'static str, must: bool, wrong: &mut Vec<CalendarProblem>) -> Option<String> {
    match table.get(key).map(|value| value.get_ref()) {
        Some(DeValue::String(text)) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Some(DeValue::Datetime(at)) => Some(at.to_string()),
        None if !must => None,
        None => {
            wrong.push(CalendarProblem::Missing { key });
            None
        }
        Some(_) => {
            wrong.push(CalendarProblem::NotText { key });
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_wrong(text: &str, expect: &[&str]) {
        let problems = Overrides::read(text).unwrap_err();
        assert_eq!(
            problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
            expect,
            "{text}"
        );
    }

    fn entry(date: &str, rest: &str) -> String {
        format!("[[day]]\ndate = \"{date}\"\nreason = \"why\"\n{rest}\n")
    }

    #[test]
    fn a_date_is_read_with_and_without_quotes() {
        let file = "[[day]]\ndate = 2026-05-05\naction = \"close\"\nreason = \"strike\"\n[[day]]\ndate = \"2026-05-06\"\naction = \"open\"\nopens = 09:00:00\ncloses = \"11:30\"\nreason = \"late\"\nby = \"ana\"\n";
        let read = Overrides::read(file).unwrap();
        let said: Vec<_> = read.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["closed by the override file: strike", "opened by ana: late"]);
        let day = NaiveDate::from_ymd_opt(2026, 5, 6).unwrap();
        let Some(Action::Open(Some(hours))) = read.get(CalendarKind::Colombia, day).map(|entry| entry.action) else {
            panic!("an open with hours");
        };
        assert_eq!(hours.to_string(), "09:00–11:30");
        assert!(read.get(CalendarKind::Forex, day).is_none());
    }

    #[test]
    fn every_problem_of_a_file_is_reported_with_its_line() {
        let file = [
            entry("2026-13-01", "action = \"close\""),
            entry("2026-05-05", "action = \"shut\""),
            entry("1950-05-05", "action = \"close\"\ncalender = \"forex\""),
            entry("2026-05-05", "action = \"open\"\nopens = \"09:00\""),
            "[[day]]\ndate = 5\naction = \"open\"\nopens = \"11:00\"\ncloses = \"09:00\"\n".to_owned(),
            "[days]\n".to_owned(),
        ];
        check_wrong(
            &file.concat(),
            &[
                "line 1: date \"2026-13-01\" is not a day such as 2026-05-05",
                "line 5: action \"shut\" is not one of close, open",
                "line 9: \"calender\" is not known here: the file holds [[day]] tables with date, action, reason, calendar, opens, closes, by, at, replaces",
                "line 9: 1950-05-05 is outside the years 1984 to 2100 that the calendar knows",
                "line 14: opens and closes must both be given, with action = \"open\", or neither",
                "line 19: date must be a text in quotes",
                "line 19: reason is missing",
                "line 19: the session would close before it opens (11:00–09:00): close must be later than open, on the same day",
                "line 24: \"days\" is not known here: the file holds [[day]] tables with date, action, reason, calendar, opens, closes, by, at, replaces",
            ],
        );
        check_wrong(
            "[[day]]\ndate = \n",
            &["line 2: string values must be quoted, expected literal string"],
        );
    }

    #[test]
    fn entries_that_contradict_each_other_are_refused_unless_the_later_replaces() {
        let (close, open) = (
            entry("2026-05-05", "action = \"close\""),
            entry("2026-05-05", "action = \"open\""),
        );
        let sentence = "line 5: 2026-05-05 (colombia) contradicts line 1: remove one of them, or write replaces = true in the later";
        check_wrong(&format!("{close}{open}"), &[sentence]);
        assert!(Overrides::read(&format!("{close}{close}")).is_ok());
        let replaced = Overrides::read(&format!("{close}{open}replaces = true\n")).unwrap();
        let day = NaiveDate::from_ymd_opt(2026, 5, 5).unwrap();
        assert_eq!(
            replaced.get(CalendarKind::Colombia, day).unwrap().action,
            Action::Open(None)
        );
    }

    #[test]
    fn an_entry_is_read_back_as_it_was_written() {
        let hours = Hours::read("08:00", "11:00", &mut Vec::new());
        for action in [Action::Close, Action::Open(None), Action::Open(hours)] {
            let entry = Override {
                date: NaiveDate::from_ymd_opt(2026, 12, 24).unwrap(),
                calendar: CalendarKind::Forex,
                action,
                reason: "a \"quoted\" reason\nover two lines, ñ".to_owned(),
                by: Some("o'brien".to_owned()),
                at: Some("2026-12-23T09:00:00-05:00".to_owned()),
                replaces: true,
            };
            let read = Overrides::read(&entry.to_toml()).unwrap();
            assert_eq!(read.iter().collect::<Vec<_>>(), [&entry]);
        }
    }
}
