//! Tests of [`super`], including the promises of the old service.

use super::*;
use crate::domain::calendar::CalendarSpec;
use crate::domain::history::Manifest;
use std::sync::Arc;

fn at(text: &str) -> Timestamp {
    Timestamp::from_datetime(chrono::DateTime::parse_from_rfc3339(text).unwrap())
}

/// A history with every bar of the sessions in these dates.
fn history(from: &str, to: &str, calendar: &Calendar) -> Vec<Timestamp> {
    let sessions = calendar.sessions(from.parse().unwrap(), to.parse().unwrap());
    sessions
        .flat_map(|session| calendar.slots(&session, Interval::M5))
        .collect()
}

fn stored(rows: &[Timestamp]) -> History {
    let mut rows = rows.to_vec();
    rows.sort();
    History {
        rows,
        ..History::default()
    }
}

fn verdict(history: &History, now: &str) -> Verdict {
    Verdict::on(history, None, &Calendar::usdcop(), at(now))
}

fn names(verdict: &Verdict) -> Vec<&'static str> {
    verdict.failures().map(|finding| finding.name).collect()
}

#[test]
fn friday_noon_is_fresh_on_monday_morning_and_after_a_holiday() {
    let calendar = Calendar::usdcop();
    let full = stored(&history("2025-12-01", "2026-01-09", &calendar)); // Monday 12 January 2026 is Epiphany
    let tuesday = verdict(&full, "2026-01-13T07:59:00-05:00");
    assert!(tuesday.passed(), "{tuesday:?}");
    assert_eq!(tuesday.age.unwrap().as_secs() / 3_600, 91);
    assert_eq!(tuesday.age_in_market_days.unwrap().as_secs() / 3_600, 19);
    let wednesday = verdict(&full, "2026-01-14T07:59:00-05:00");
    assert_eq!(names(&wednesday), ["stale", "incomplete"]);
}

#[test]
fn age_is_counted_from_the_instant_and_never_from_wall_time_of_another_zone() {
    let full = stored(&history("2026-01-13", "2026-01-15", &Calendar::usdcop()));
    let now = "2026-01-15T14:50:00-05:00"; // two hours after the bar of 12:50
    assert_eq!(verdict(&full, now).age, Some(Duration::from_secs(7_200)));
    assert_eq!(
        verdict(&stored(&[at("2026-01-15T20:00:00Z")]), now).age,
        Some(Duration::ZERO)
    );
}

#[test]
fn a_full_week_is_complete_and_ninety_five_percent_is_enough() {
    let calendar = Calendar::usdcop();
    let mut rows = history("2026-01-13", "2026-01-20", &calendar);
    let now = "2026-01-21T07:00:00-05:00";
    let full = verdict(&stored(&rows), now);
    assert_eq!(
        (full.expected, full.present, full.completeness_percent()),
        (295, 295, 100.0)
    );
    rows.drain(100..114);
    let some = verdict(&stored(&rows), now);
    assert!(some.passed() && some.complete);
    assert_eq!(
        (some.present, some.missing.len(), some.completeness_percent()),
        (281, 14, 95.25)
    );
    rows.remove(60);
    assert_eq!(names(&verdict(&stored(&rows), now)), ["incomplete"]);
}

#[test]
fn todays_open_session_is_not_expected_yet_and_holidays_never_are() {
    let full = stored(&history("2026-01-02", "2026-01-13", &Calendar::usdcop()));
    let verdict = verdict(&full, "2026-01-14T10:00:00-05:00");
    assert_eq!(verdict.expected, 4 * 59); // 7, 8, 9, 13 and no Epiphany on the 12th; 14 still runs
}

#[test]
fn bars_that_candela_fetched_complete_the_history_and_are_counted_apart() {
    let rows = history("2026-01-06", "2026-01-15", &Calendar::usdcop());
    let mut history = stored(&rows[..rows.len() - 59]);
    let now = "2026-01-16T07:00:00-05:00";
    let before = verdict(&history, now);
    assert!(!before.passed());
    let day = (at("2026-01-15T13:00:00Z"), at("2026-01-15T17:55:00Z"));
    assert_eq!(before.missing_stretches(), [day]);
    history.fetched = before.missing;
    let after = verdict(&history, now);
    assert!(after.passed(), "{after:?}");
    assert_eq!((after.fetched, after.missing.len()), (59, 0));
}

#[test]
fn missing_slots_become_stretches_newest_first() {
    let mut rows = history("2026-01-13", "2026-01-15", &Calendar::usdcop());
    rows.drain(58..61); // the last bar of a day and the first two of the next
    let stretches = verdict(&stored(&rows), "2026-01-15T14:00:00-05:00").missing_stretches();
    let text = |index: usize| (stretches[index].0.to_string(), stretches[index].1.to_string());
    assert_eq!(
        text(0),
        ("2026-01-14T13:00:00Z".to_owned(), "2026-01-14T13:10:00Z".to_owned())
    );
    assert_eq!(
        text(1),
        ("2026-01-13T17:50:00Z".to_owned(), "2026-01-13T17:55:00Z".to_owned())
    );
}

#[test]
fn what_makes_the_verdict_no_comes_first_and_in_sentences() {
    let empty = verdict(&History::default(), "2026-01-16T07:00:00-05:00");
    assert_eq!(names(&empty), ["empty", "incomplete"]);
    assert_eq!((empty.reason(), empty.fresh, empty.complete), ("empty", false, false));
    let gone = Verdict::unreachable("connection refused", None, at("2026-01-16T07:00:00-05:00"));
    assert_eq!((gone.reason(), gone.passed()), ("database_unreachable", false));
    assert_eq!(gone.message(), "The history cannot be read: connection refused.");
}

#[test]
fn a_shift_fails_the_verdict_when_it_touches_the_last_week() {
    let calendar = Calendar::usdcop();
    let moved = |rows: Vec<Timestamp>| rows.into_iter().map(|at| Timestamp::from_secs(at.secs() - 5 * 3_600));
    let mut rows = history("2025-11-04", "2026-01-15", &calendar);
    rows.extend(moved(history("2025-11-04", "2025-11-04", &calendar)).skip(1));
    let old = verdict(&stored(&rows), "2026-01-16T07:00:00-05:00");
    assert!(old.passed(), "{old:?}"); // strays inside a complete week-old day are no shift of whole days
    let recent: Vec<_> = moved(history("2026-01-09", "2026-01-15", &calendar)).collect();
    let shifted = verdict(&stored(&recent), "2026-01-16T07:00:00-05:00");
    assert!(names(&shifted).contains(&"time_shift"), "{shifted:?}");
    assert!(shifted.message().contains("5 hours early"), "{shifted:?}");
}

#[test]
fn broken_prices_fail_the_verdict_only_in_the_last_week() {
    let mut history = stored(&history("2025-12-01", "2026-01-15", &Calendar::usdcop()));
    (history.broken, history.broken_examples) = (2, vec![history.rows[9]]);
    let old = verdict(&history, "2026-01-16T07:00:00-05:00");
    let broken = old.findings.iter().find(|finding| finding.name == "ohlc_violations");
    let example = history.broken_examples[0].rfc3339(Calendar::usdcop().zone());
    assert!(old.passed() && broken.unwrap().examples == [example]);
    history.broken_examples.insert(0, *history.rows.last().unwrap());
    assert_eq!(
        names(&verdict(&history, "2026-01-16T07:00:00-05:00")),
        ["ohlc_violations"]
    );
}

#[test]
fn sixty_bars_a_session_are_told_apart_from_fifty_nine() {
    let spec = CalendarSpec {
        close: Some("13:00".to_owned()),
        ..CalendarSpec::default()
    };
    let long = Calendar::new(&spec, Arc::default()).unwrap();
    let rows = stored(&history("2026-01-06", "2026-01-15", &long));
    let short = verdict(&rows, "2026-01-16T07:00:00-05:00");
    assert!(short.passed(), "{short:?}");
    let note = &short.findings[0];
    assert_eq!(
        (note.name, note.count, note.severity),
        ("rows_at_close", 7, Severity::Note)
    );
    let long = Verdict::on(&rows, None, &long, at("2026-01-16T07:00:00-05:00"));
    assert!(long.passed() && long.findings.is_empty(), "{long:?}");
}

#[test]
fn fewer_rows_than_the_flag_promises_fail_the_verdict() {
    let rows = stored(&history("2026-01-06", "2026-01-15", &Calendar::usdcop()));
    let now = at("2026-01-16T07:00:00-05:00");
    let flag = |rows| Flag {
        at: now,
        manifest: Manifest {
            rows: Some(rows),
            ..Manifest::default()
        },
    };
    let judge = |rows_said| Verdict::on(&rows, Some(flag(rows_said)), &Calendar::usdcop(), now);
    assert!(judge(413).passed());
    assert_eq!(names(&judge(414)), ["fewer_rows_than_the_flag_says"]);
}
