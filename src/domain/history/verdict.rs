//! The outcome of the check of the L0 history: whether it is fresh and complete, and what else was found.
//!
//! *Fresh*: the newest bar is less than a day old, not counting dates without a session. *Complete*: at least 95 % of the slots that the
//! calendar expects in the finished sessions of the last seven days have a bar. Rows that candela or its predecessor made from live prices
//! are not history and do not count.

use crate::domain::calendar::Calendar;
use crate::domain::history::{Flag, History, tally::survey, verdict_findings as findings};
use crate::domain::model::{Interval, ServiceEvent, ServiceEventKind, Sessions, Symbol, Timestamp};
use crate::limits;
use chrono::{Days, NaiveDate, NaiveTime};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Informative.
    Note,
    /// Relevant for users of the whole history.
    Warning,
    /// The check fails.
    Failure,
}

/// A finding of the check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name: `time_shift`, `mixed_days`, `missing_slots`, ….
    pub name: &'static str,
    /// Its severity.
    pub severity: Severity,
    /// The number of rows, slots or days.
    pub count: u64,
    /// A sentence with the numbers.
    pub message: String,
    /// Examples.
    pub examples: Vec<String>,
}

/// The outcome of one check. Its instants are not serialized: the caller writes them in its zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// When the history was checked.
    #[serde(skip)]
    pub at: Timestamp,
    /// The flag that requested the check.
    #[serde(skip)]
    pub flag: Option<Flag>,
    /// Whether the database answered.
    pub reachable: bool,
    /// Rows of the history.
    pub rows: u64,
    /// The newest bar.
    #[serde(skip)]
    pub newest: Option<Timestamp>,
    /// Wall time since the newest bar.
    #[serde(rename = "age_hours", serialize_with = "as_hours")]
    pub age: Option<Duration>,
    /// The same, not counting dates without a session.
    #[serde(rename = "age_hours_in_market_days", serialize_with = "as_hours")]
    pub age_in_market_days: Option<Duration>,
    /// Whether `age_in_market_days` is less than a day.
    pub fresh: bool,
    /// Rows with prices of more than six decimals, which are rounded when read.
    pub rounded: u64,
    /// Slots that the calendar expects in the finished sessions of the last seven days.
    pub expected: u64,
    /// Of these, slots with a bar.
    pub present: u64,
    /// Of those, slots whose bar candela fetched itself.
    pub fetched: u64,
    /// Whether enough of the expected slots have a bar.
    pub complete: bool,
    /// The slots without a bar, earliest first, up to a limit.
    #[serde(skip)]
    pub missing: Vec<Timestamp>,
    /// All findings.
    pub findings: Vec<Finding>,
}

/// A range from the open of a missing bar to the close of the last bar missing with it.
pub type Stretch = (Timestamp, Timestamp);

/// The verdicts of one check, one for each pair.
pub type Verdicts = BTreeMap<Symbol, Verdict>;

/// Whether the history of at least one pair passed.
pub fn any_passed(verdicts: &Verdicts) -> bool {
    verdicts.values().any(Verdict::passed)
}

/// The percentage of expected slots that must have a bar.
const COMPLETE_PERCENT: u64 = 95;
/// The age from which history is no longer fresh.
const FRESH: Duration = Duration::from_secs(86_400);
/// How many days back completeness is checked.
const RECENT_DAYS: u64 = 7;

impl Verdict {
    /// The journal entry of this verdict.
    pub fn entry(&self, symbol: Symbol) -> ServiceEvent {
        let failures = self
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Failure);
        let failures: Vec<&str> = failures.map(|finding| finding.message.as_str()).collect();
        let (cause, outcome) = match (self.reachable, self.passed()) {
            (false, _) => ("unreachable", "could not be read"),
            (true, true) => ("passed", "passed its check"),
            (true, false) => ("failed", "failed its check"),
        };
        let why = if failures.is_empty() {
            String::new()
        } else {
            format!(": {}", failures.join("; "))
        };
        let message = format!("The history of {symbol} {outcome}{why}.").replace("..", ".");
        ServiceEvent::new(ServiceEventKind::Verdict, self.at, cause, message)
            .with_cause(cause)
            .on(Some(symbol))
            .with("expected", self.expected.to_string())
            .with("present", self.present.to_string())
    }

    /// The verdict on a history that could be read.
    pub fn on(history: &History, flag: Option<Flag>, calendar: &Calendar, now: Timestamp) -> Self {
        let survey = survey(&history.rows, calendar);
        let recent = Recent::of(history, calendar, now);
        let newest = history.rows.iter().chain(&history.fetched).max().copied();
        let age_in_market_days = newest.map(|newest| market_age(newest, now, calendar));
        let mut verdict = Self {
            at: now,
            flag,
            reachable: true,
            rows: survey.rows,
            rounded: history.rounded,
            newest,
            age: newest.map(|newest| now.since(newest)),
            age_in_market_days,
            fresh: age_in_market_days.is_some_and(|age| age < FRESH),
            expected: recent.expected,
            present: recent.present,
            fetched: recent.fetched,
            complete: recent.present * 100 >= recent.expected * COMPLETE_PERCENT && newest.is_some(),
            missing: recent.missing,
            findings: Vec::new(),
        };
        verdict.findings = verdict.own_findings(calendar);
        verdict.findings.extend(findings::of(
            &survey,
            history,
            recent.date,
            recent.first,
            calendar.zone(),
        ));
        verdict
            .findings
            .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        verdict
    }

    /// The verdict on a pair other than the first of the settings, which is the pair that L0 is for. The flag's row count does not concern
    /// this pair, and an empty history means that L0 does not hold the pair: `no_history`.
    pub fn on_other_pair(history: &History, flag: Option<Flag>, calendar: &Calendar, now: Timestamp) -> Self {
        let mut verdict = Self {
            flag,
            ..Self::on(history, None, calendar, now)
        };
        for finding in verdict.findings.iter_mut().filter(|finding| finding.name == "empty") {
            finding.name = "no_history";
        }
        verdict
    }

    /// The verdict when the database does not answer.
    pub fn unreachable(why: &str, flag: Option<Flag>, now: Timestamp) -> Self {
        let finding = findings::failure("database_unreachable", 1, format!("The history cannot be read: {why}."));
        Self {
            at: now,
            flag,
            reachable: false,
            rows: 0,
            rounded: 0,
            newest: None,
            age: None,
            age_in_market_days: None,
            fresh: false,
            expected: 0,
            present: 0,
            fetched: 0,
            complete: false,
            missing: Vec::new(),
            findings: vec![finding],
        }
    }

    /// Whether the history passed, so that the gate may open.
    pub fn passed(&self) -> bool {
        self.reachable && self.fresh && self.complete && self.failures().next().is_none()
    }

    /// The findings on which it failed.
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.severity == Severity::Failure)
    }

    /// The name of the first failure, for conditions; `passed` when there is none.
    pub fn reason(&self) -> &'static str {
        self.failures().next().map_or("passed", |finding| finding.name)
    }

    /// The messages of all failures, joined.
    pub fn message(&self) -> String {
        self.failures()
            .map(|finding| finding.message.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// A sentence about a verdict that passed.
    pub fn summarize(&self) -> String {
        format!(
            "the history passed its check: {} of {} bars of the last week's sessions are there",
            self.present, self.expected,
        )
    }

    /// Percentage of the expected slots with a bar, as the old service showed it; 100 when none is expected.
    pub fn completeness_percent(&self) -> f64 {
        let per_mille = (self.present * 10_000).checked_div(self.expected).unwrap_or(10_000);
        f64::from(u32::try_from(per_mille).unwrap_or(u32::MAX)) / 100.0
    }

    /// The missing slots as ranges to request from the vendor.
    pub fn missing_stretches(&self) -> Vec<Stretch> {
        stretches(&self.missing)
    }

    /// On which days slots are missing, as the end of a sentence.
    fn missing_days(&self, calendar: &Calendar) -> String {
        let mut days: Vec<NaiveDate> = self.missing.iter().map(|slot| calendar.local_date(*slot)).collect();
        days.dedup();
        match days.as_slice() {
            [] => String::new(),
            [day] => format!(", all of {day}"),
            [first, .., last] => format!(", on {} days from {first} to {last}", days.len()),
        }
    }

    fn own_findings(&self, calendar: &Calendar) -> Vec<Finding> {
        let mut list = Vec::new();
        match (self.newest, self.age, self.age_in_market_days) {
            (Some(newest), Some(age), Some(counted)) if !self.fresh => list.push(findings::failure(
                "stale",
                1,
                format!(
                    "The newest bar is of {}, {} hours old ({} without dates that have no session); it must be less than 24.",
                    newest.rfc3339(calendar.zone()), whole_hours(age), whole_hours(counted),
                ),
            )),
            (None, ..) => list.push(findings::failure("empty", 1, "The history has no rows.".to_owned())),
            _ => {}
        }
        let lacking = self.expected - self.present;
        if lacking > 0 {
            let message = format!(
                "The history has {} of {} bars of the last {RECENT_DAYS} days' sessions ({} %, needed {COMPLETE_PERCENT} %): {lacking} are missing{}.",
                self.present,
                self.expected,
                self.completeness_percent(),
                self.missing_days(calendar),
            );
            let mut finding = findings::failure("incomplete", lacking, message);
            if self.complete {
                finding.severity = Severity::Note;
            }
            let shown = self.missing.iter().take(limits::VERDICT_EXAMPLES);
            finding.examples = shown.map(|slot| slot.rfc3339(calendar.zone())).collect();
            list.push(finding);
        }
        if let Some(rows) = self
            .flag
            .as_ref()
            .and_then(|flag| flag.manifest.rows)
            .filter(|rows| *rows > self.rows)
        {
            let message = format!("The ready flag says {rows} rows; the table has {}.", self.rows);
            list.push(findings::failure(
                "fewer_rows_than_the_flag_says",
                rows - self.rows,
                message,
            ));
        }
        list
    }
}

/// Base slots, earliest first, as ranges `[from, to)` of the vendor's bars, newest first. A range that ends with a session's cut slot
/// extends beyond the session, as the vendor's bar does.
pub fn stretches(slots: &[Timestamp]) -> Vec<Stretch> {
    let length = Interval::BASE.vendor_length();
    let mut stretches: Vec<Stretch> = Vec::new();
    for slot in slots {
        match stretches.last_mut() {
            Some((_, to)) if *to == *slot => *to = *slot + length,
            _ => stretches.push((*slot, *slot + length)),
        }
    }
    stretches.reverse();
    stretches
}

/// The finished sessions of the last seven days.
struct Recent {
    date: NaiveDate,
    first: Timestamp,
    expected: u64,
    present: u64,
    fetched: u64,
    missing: Vec<Timestamp>,
}

impl Recent {
    fn of(history: &History, calendar: &Calendar, now: Timestamp) -> Self {
        let today = calendar.local_date(now);
        let from = today.checked_sub_days(Days::new(RECENT_DAYS)).unwrap_or(today);
        let slots: Vec<Timestamp> = calendar
            .sessions(from, today)
            .filter(|session| session.closes <= now)
            .flat_map(|session| calendar.slots(&session, Interval::BASE))
            .collect();
        let fetched: BTreeSet<_> = history.fetched.iter().collect();
        let mut recent = Self {
            date: from,
            first: calendar.instant(from.and_time(NaiveTime::MIN)).unwrap_or(now),
            expected: u64::try_from(slots.len()).unwrap_or(u64::MAX),
            present: 0,
            fetched: 0,
            missing: Vec::new(),
        };
        for slot in slots {
            let stored = history.rows.binary_search(&slot).is_ok();
            let ours = !stored && fetched.contains(&slot);
            recent.present += u64::from(stored || ours);
            recent.fetched += u64::from(ours);
            if !stored && !ours && recent.missing.len() < limits::VERDICT_MISSING {
                recent.missing.push(slot);
            }
        }
        recent
    }
}

/// Serializes hours with two decimals, or null.
fn as_hours<S: Serializer>(age: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match age {
        Some(age) => serializer.serialize_f64((age.as_secs_f64() / 36.0).round() / 100.0),
        None => serializer.serialize_none(),
    }
}

/// Time from `newest` to `now`, not counting dates without a session in the market's zone.
pub fn market_age(newest: Timestamp, now: Timestamp, calendar: &Calendar) -> Duration {
    if now.since(newest) > Duration::from_secs(366 * 86_400) {
        return now.since(newest); // a year of holidays would not make it fresh
    }
    let first = calendar.local_date(newest);
    let last = calendar.local_date(now);
    let idle: Duration = first
        .iter_days()
        .take_while(|date| *date <= last)
        .filter(|date| calendar.session_on(*date).is_none())
        .filter_map(|date| {
            let begins = calendar.instant(date.and_time(NaiveTime::MIN))?.max(newest);
            let ends = calendar.instant(date.succ_opt()?.and_time(NaiveTime::MIN))?.min(now);
            Some(ends.since(begins))
        })
        .sum();
    now.since(newest).saturating_sub(idle)
}

const fn whole_hours(age: Duration) -> u64 {
    age.as_secs() / 3_600
}

#[cfg(test)]
#[path = "tests/verdict.rs"]
mod tests;
