//! The findings of a survey, as sentences with numbers and examples.

use crate::domain::history::{Finding, History, Severity, Shift, Survey};
use crate::domain::model::Timestamp;
use crate::limits;
use chrono::NaiveDate;
use chrono_tz::Tz;
use std::fmt::Display;

fn finding<T: Display>(
    severity: Severity,
    name: &'static str,
    count: u64,
    message: String,
    examples: impl IntoIterator<Item = T>,
) -> Finding {
    let examples = examples
        .into_iter()
        .take(limits::VERDICT_EXAMPLES)
        .map(|example| example.to_string());
    Finding {
        name,
        severity,
        count,
        message,
        examples: examples.collect(),
    }
}

/// A finding that fails the verdict.
pub(crate) fn failure(name: &'static str, count: u64, message: String) -> Finding {
    finding(Severity::Failure, name, count, message, [""; 0])
}

/// All findings of a survey. A finding that affects the recent sessions, which begin on `recent`, fails the verdict.
pub(crate) fn of(
    survey: &Survey,
    history: &History,
    recent: NaiveDate,
    recent_at: Timestamp,
    zone: Tz,
) -> Vec<Finding> {
    let mut list = Vec::new();
    if let Some(shift) = &survey.shift {
        list.extend(find_shifts(shift, survey, recent));
    }
    list.extend(find_missing(survey));
    list.extend(off_session(survey));
    list.extend(find_few_rows(survey));
    list.extend(find_bad_prices(history, survey.rows, recent_at, zone));
    list
}

fn find_shifts(shift: &Shift, survey: &Survey, recent: NaiveDate) -> Vec<Finding> {
    let [shifted, mixed] = [&shift.shifted, &shift.mixed].map(|dates| match dates.last() {
        Some(last) if *last >= recent => Severity::Failure,
        _ => Severity::Warning,
    });
    let hours = match shift.hours.unsigned_abs() {
        1 => "1 hour".to_owned(),
        more => format!("{more} hours"),
    };
    let early = if shift.hours < 0 { "early" } else { "late" };
    let mut message = format!(
        "{} of {} bars lie {hours} {early}, outside their session: their hours are of another zone than their label. {} sessions lie mostly beside themselves.",
        shift.rows,
        survey.rows,
        shift.shifted.len(),
    );
    if let Some(since) = shift.since {
        let what = if shift.lasting {
            "It lasts since"
        } else {
            "The last stretch began on"
        };
        message += &format!(" {what} {since}.");
    }
    let mut list = vec![finding(
        shifted,
        "time_shift",
        shift.rows,
        message,
        newest_first(&shift.shifted),
    )];
    if !shift.mixed.is_empty() {
        let count = to_u64(shift.mixed.len());
        let message = format!("{count} days have bars both inside their session and {hours} {early}.");
        list.push(finding(mixed, "mixed_days", count, message, newest_first(&shift.mixed)));
    }
    list
}

fn find_missing(survey: &Survey) -> Vec<Finding> {
    let mut list = Vec::new();
    let lacking = survey.expected - survey.present;
    if lacking > 0 {
        let message = format!(
            "{lacking} of {} expected bars of the whole history are missing: {} sessions have none, {} lack some.",
            survey.expected,
            survey.empty.len(),
            survey.partial.len(),
        );
        let examples = survey
            .partial
            .iter()
            .rev()
            .map(|(date, lacking)| format!("{date}: {lacking}"));
        list.push(finding(Severity::Warning, "missing_slots", lacking, message, examples));
    }
    if !survey.empty.is_empty() {
        let message = format!("{} sessions have no bar.", survey.empty.len());
        let examples = survey.empty.iter().rev();
        list.push(finding(
            Severity::Warning,
            "empty_sessions",
            to_u64(survey.empty.len()),
            message,
            examples,
        ));
    }
    list
}

fn off_session(survey: &Survey) -> Vec<Finding> {
    let mut list = Vec::new();
    for (name, days, what) in [
        ("closed_day_rows", &survey.closed_days, "that have no session"),
        (
            "outside_hours_rows",
            &survey.outside,
            "before their session opens or after it closes",
        ),
    ] {
        let rows = days.iter().map(|(_, rows)| rows).sum();
        if rows > 0 {
            let message = format!("{rows} bars lie on {} dates {what}; they do not count.", days.len());
            let examples = days.iter().rev().map(|(date, rows)| format!("{date}: {rows}"));
            list.push(finding(Severity::Warning, name, rows, message, examples));
        }
    }
    if survey.at_close > 0 {
        let message = format!(
            "{} bars begin at the instant their session closes: this history counts one bar more a session. Set close five minutes later to expect it.",
            survey.at_close,
        );
        list.push(finding(
            Severity::Note,
            "rows_at_close",
            survey.at_close,
            message,
            [""; 0],
        ));
    }
    list
}

fn find_few_rows(survey: &Survey) -> Vec<Finding> {
    let mut list = Vec::new();
    for (name, rows, what) in [
        (
            "duplicates",
            &survey.duplicates,
            "repeat a slot that has a row already; each slot counts once",
        ),
        (
            "off_grid",
            &survey.off_grid,
            "do not begin at a whole five minutes; they fill no slot",
        ),
    ] {
        if !rows.is_empty() {
            let message = format!("{} rows {what}.", rows.len());
            list.push(finding(
                Severity::Warning,
                name,
                to_u64(rows.len()),
                message,
                rows.iter().rev(),
            ));
        }
    }
    list
}

fn find_bad_prices(history: &History, rows: u64, recent_at: Timestamp, zone: Tz) -> Vec<Finding> {
    let mut list = Vec::new();
    if history.broken > 0 {
        let touches = history
            .broken_examples
            .first()
            .is_some_and(|newest| *newest >= recent_at);
        let severity = if touches { Severity::Failure } else { Severity::Warning };
        let message = format!(
            "{} bars break low ≤ open, close ≤ high, or have a price that is missing or not positive.",
            history.broken
        );
        list.push(finding(
            severity,
            "ohlc_violations",
            history.broken,
            message,
            history.broken_examples.iter().map(|at| at.rfc3339(zone)),
        ));
    }
    if history.rounded > 0 {
        let message = format!(
            "{} bars have prices with more than six decimals, which are rounded to six where they are read.",
            history.rounded
        );
        list.push(finding(
            Severity::Note,
            "rounded_prices",
            history.rounded,
            message,
            Vec::<Timestamp>::new(),
        ));
    }
    if history.flat * 2 > rows {
        let percent = history.flat * 100 / rows.max(1);
        let message = format!(
            "{} of {rows} bars ({percent} %) have open = high = low = close: they were made from closes only.",
            history.flat,
        );
        list.push(finding(
            Severity::Warning,
            "flat_bars",
            history.flat,
            message,
            history.flat_examples.iter().map(|at| at.rfc3339(zone)),
        ));
    }
    list
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn newest_first(dates: &[NaiveDate]) -> Vec<NaiveDate> {
    dates.iter().rev().copied().collect()
}
