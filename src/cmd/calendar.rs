//! `candela calendar`: shows the sessions of a year, and records days that are opened or closed against the rules.

use crate::calendar_file::{self, CalendarFileError};
use crate::domain::calendar::{
    Action, Calendar, CalendarProblem, CalendarRules, CalendarView, DayView, Hours, Override, overrides::read_date,
};
use crate::domain::model::Timestamp;
use chrono::{Datelike, NaiveDate};
use clap::{Args, Subcommand};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Show the market's sessions, or open and close days by hand.
#[derive(Debug, Args)]
pub struct CalendarArgs {
    /// The year to show; the present one when not given.
    #[arg(long)]
    year: Option<i32>,
    /// For programs: every day of the year as JSON.
    #[arg(long, conflicts_with = "ics")]
    json: bool,
    /// For calendar applications: sessions and special days as iCalendar.
    #[arg(long)]
    ics: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Record that a day has no session.
    Close {
        #[command(flatten)]
        entry: EntryArgs,
    },
    /// Record that a day has a session, in the usual hours or others.
    Open {
        #[command(flatten)]
        entry: EntryArgs,
        /// When it opens, such as 09:00; the usual time when not given.
        #[arg(long, requires = "closes")]
        opens: Option<String>,
        /// When it closes, such as 11:00.
        #[arg(long, requires = "opens")]
        closes: Option<String>,
    },
}

#[derive(Debug, Args)]
struct EntryArgs {
    /// The market's date, such as 2026-05-05.
    date: String,
    /// Why; shown wherever the day is.
    #[arg(long)]
    reason: String,
    /// Who decides.
    #[arg(long, env = "USER")]
    by: String,
    /// Take the place of an earlier entry for the same day.
    #[arg(long)]
    replace: bool,
}

/// The calendar's settings.
#[derive(Debug, Clone)]
pub struct CalendarSettings {
    /// Calendar, zone, hours.
    pub rules: CalendarRules,
    /// The override file, if the settings name one; it need not exist yet.
    pub overrides: Option<PathBuf>,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each sentence is its own documentation")]
pub enum CalendarError {
    /// Settings or arguments are invalid; all problems at once.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Wrong(Vec<CalendarProblem>),
    /// The override file is invalid or cannot be read or written.
    #[error(transparent)]
    File(#[from] CalendarFileError),
    #[error("no override file is set: name one as market.calendar_file in the settings")]
    NoFile,
    #[error("write output: {0}")]
    Output(#[from] io::Error),
}

/// Runs the command; `now` is the present.
pub fn run(
    args: &CalendarArgs,
    settings: &CalendarSettings,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<(), CalendarError> {
    let overrides = settings.overrides.as_deref().map(calendar_file::load).transpose()?;
    let calendar = Calendar::from_rules(settings.rules, Arc::new(overrides.unwrap_or_default()));
    match &args.verb {
        None => print_calendar(args, &calendar, now, out),
        Some(Verb::Close { entry }) => {
            let entry = new_entry(entry, Action::Close, &calendar, now).map_err(CalendarError::Wrong)?;
            record_override(settings, &calendar, &entry, out)
        }
        Some(Verb::Open { entry, opens, closes }) => {
            let mut wrong = Vec::new();
            let hours = match (opens, closes) {
                (Some(opens), Some(closes)) => Hours::read(opens, closes, &mut wrong),
                _ => None,
            };
            let made = new_entry(entry, Action::Open(hours), &calendar, now);
            wrong.extend(made.as_ref().err().into_iter().flatten().cloned());
            match made {
                Ok(entry) if wrong.is_empty() => record_override(settings, &calendar, &entry, out),
                _ => Err(CalendarError::Wrong(wrong)),
            }
        }
    }
}

fn print_calendar(
    args: &CalendarArgs,
    calendar: &Calendar,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<(), CalendarError> {
    let mut wrong = Vec::new();
    let year = args.year.unwrap_or_else(|| calendar.local_date(now).year());
    let first = read_date(&format!("{year:04}-01-01"), &mut wrong);
    let (Some(from), Some(to)) = (first, NaiveDate::from_ymd_opt(year, 12, 31)) else {
        return Err(CalendarError::Wrong(wrong));
    };
    let view = CalendarView::of(calendar, from, to);
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &view).map_err(io::Error::from)?;
        writeln!(out)?;
    } else if args.ics {
        write!(out, "{}", view.ics(now))?;
    } else {
        write!(out, "{view}")?;
    }
    Ok(())
}

fn new_entry(
    args: &EntryArgs,
    action: Action,
    calendar: &Calendar,
    now: Timestamp,
) -> Result<Override, Vec<CalendarProblem>> {
    let mut wrong = Vec::new();
    let date = read_date(&args.date, &mut wrong);
    let reason = args.reason.trim().to_owned();
    let by = args.by.trim().to_owned();
    for (key, text) in [("reason", &reason), ("by", &by)] {
        if text.is_empty() {
            wrong.push(CalendarProblem::Missing { key });
        }
    }
    match date {
        Some(date) if wrong.is_empty() => Ok(Override {
            date,
            calendar: calendar.rules().kind,
            action,
            reason,
            by: Some(by),
            at: Some(now.rfc3339(calendar.rules().zone)),
            replaces: args.replace,
        }),
        _ => Err(wrong),
    }
}

fn record_override(
    settings: &CalendarSettings,
    calendar: &Calendar,
    entry: &Override,
    out: &mut impl Write,
) -> Result<(), CalendarError> {
    let path = settings.overrides.as_deref().ok_or(CalendarError::NoFile)?;
    let overrides = calendar_file::append(path, entry)?;
    let after = Calendar::from_rules(settings.rules, Arc::new(overrides));
    writeln!(out, "before: {}", DayView::of(calendar, entry.date))?;
    writeln!(out, "now:    {}", DayView::of(&after, entry.date))?;
    writeln!(
        out,
        "recorded in {}; a running service notices within a second",
        path.display()
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::path::Path;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: CalendarArgs,
    }

    /// The output of the command, or its error.
    fn check(line: &[&str], file: Option<&Path>) -> Result<String, String> {
        let args = Line::try_parse_from(line).map_err(|error| error.to_string())?.args;
        let settings = CalendarSettings {
            rules: *Calendar::usdcop().rules(),
            overrides: file.map(Path::to_path_buf),
        };
        let mut out = Vec::new();
        let now = Timestamp::from_secs(1_767_360_600); // 2 January 2026, 08:30 in Bogota
        run(&args, &settings, now, &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_year_is_shown_as_table_json_and_icalendar() {
        let table = check(&["calendar"], None).unwrap();
        assert!(
            table.starts_with("Calendar colombia (America/Bogota), 2026-01-01 to 2026-12-31\n"),
            "{table}"
        );
        assert!(
            table.contains("\n2026-07-13  Mon  closed    Our Lady of Chiquinquira"),
            "{table}"
        );
        assert!(
            table.ends_with("241 sessions (7 of them next_day), 20 weekdays closed, 14219 five-minute bars\n"),
            "{table}"
        );
        let json: serde_json::Value =
            serde_json::from_str(&check(&["calendar", "--year", "2024", "--json"], None).unwrap()).unwrap();
        assert_eq!(
            (&json["sessions"], json["days"].as_array().unwrap().len()),
            (&245.into(), 366)
        );
        let ics = check(&["calendar", "--ics"], None).unwrap();
        assert_eq!(ics.matches("SUMMARY:Session (").count(), 241);
    }

    #[test]
    fn closing_and_opening_a_day_is_recorded_with_who_when_and_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calendar.toml");
        let close = ["calendar", "close", "2026-05-05", "--reason", "strike", "--by", "ana"];
        let said = check(&close, Some(&path)).unwrap();
        let now = "now:    2026-05-05  Tue  closed    closed by ana on 2026-01-02T08:30:00-05:00: strike\n";
        assert!(
            said.starts_with("before: 2026-05-05  Tue  spot      business day\n") && said.contains(now),
            "{said}"
        );
        let open = [
            "calendar",
            "open",
            "2026-05-05",
            "--reason",
            "off",
            "--by",
            "bo",
            "--opens",
            "09:00",
            "--closes",
            "11:00",
        ];
        let refused = check(&open, Some(&path)).unwrap_err();
        assert!(refused.contains("contradicts line 1"), "{refused}");
        check(&[&open[..], &["--replace"]].concat(), Some(&path)).unwrap();
        assert!(
            check(&["calendar", "--year", "2026"], Some(&path))
                .unwrap()
                .contains("spot      opened by bo")
        );
    }

    #[test]
    fn wrong_arguments_are_refused_together_and_nothing_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calendar.toml");
        let open = [
            "calendar",
            "open",
            "2026-02-30",
            "--reason",
            " ",
            "--by",
            "ana",
            "--opens",
            "9",
            "--closes",
            "8",
        ];
        let refused = check(&open, Some(&path)).unwrap_err();
        assert_eq!(refused.lines().count(), 4, "{refused}");
        assert!(!path.exists());
        let close = ["calendar", "close", "2026-05-05", "--reason", "strike", "--by", "ana"];
        assert!(check(&close, None).unwrap_err().contains("no override file is set"));
        assert!(
            check(&["calendar", "--year", "1983"], None)
                .unwrap_err()
                .contains("outside the years 1984 to 2100")
        );
    }
}
