//! Tests of [`super`].

use super::*;
use crate::domain::calendar::{CalendarSpec, Overrides};
use std::sync::Arc;

const HOUR: Duration = Duration::from_secs(3_600);

fn at(text: &str) -> Timestamp {
    Timestamp::from_datetime(chrono::DateTime::parse_from_rfc3339(text).unwrap())
}

fn watch(calendar: Calendar) -> SessionWatch {
    SessionWatch::new([(Symbol::usdcop(), calendar)], HOUR)
}

fn calendar(kind: &str) -> Calendar {
    let spec = CalendarSpec {
        calendar: kind.to_owned(),
        ..CalendarSpec::default()
    };
    Calendar::new(&spec, Arc::default()).unwrap()
}

/// The turns that a look reports, as `date stage`.
fn look(watch: &mut SessionWatch, now: &str) -> Vec<String> {
    let turns = watch.turns_until(at(now)).into_iter();
    turns
        .map(|turn| {
            format!(
                "{} {:?}{}",
                turn.session.date,
                turn.stage,
                if turn.unbroken { " unbroken" } else { "" }
            )
        })
        .collect()
}

#[test]
fn a_day_is_told_turn_by_turn_and_each_once() {
    let mut watch = watch(Calendar::usdcop());
    assert_eq!(look(&mut watch, "2026-01-15T00:00:00-05:00"), ["2026-01-14 Idle"]);
    let mut now = at("2026-01-15T00:00:00-05:00");
    let mut told = Vec::new();
    while let Some(next) = watch
        .next_deadline(now)
        .filter(|next| *next < at("2026-01-16T00:00:00-05:00"))
    {
        now = next;
        told.extend(watch.turns_until(now).into_iter().map(|turn| (now, turn.stage)));
        assert!(watch.turns_until(now).is_empty());
    }
    let expect = [
        ("07:00:00", Stage::Coming),
        ("07:55:00", Stage::Soon),
        ("08:00:00", Stage::Open),
        ("12:50:00", Stage::Closing),
        ("12:55:00", Stage::Idle),
    ];
    assert_eq!(
        told,
        expect.map(|(time, stage)| (at(&format!("2026-01-15T{time}-05:00")), stage))
    );
}

#[test]
fn a_first_look_tells_only_where_the_market_is() {
    let first = |now| look(&mut watch(Calendar::usdcop()), now);
    assert_eq!(first("2026-01-15T10:00:00-05:00"), ["2026-01-15 Open"]);
    assert_eq!(
        first("2026-01-15T07:59:30-05:00"),
        ["2026-01-14 Idle", "2026-01-15 Coming", "2026-01-15 Soon"]
    );
    assert_eq!(
        first("2026-01-15T12:54:30-05:00"),
        ["2026-01-15 Open", "2026-01-15 Closing"]
    );
    assert_eq!(first("2026-01-17T10:00:00-05:00"), ["2026-01-16 Idle"]);
}

#[test]
fn a_clock_that_jumps_ahead_skips_no_session() {
    let mut watch = watch(Calendar::usdcop());
    assert_eq!(look(&mut watch, "2026-01-15T10:00:00-05:00"), ["2026-01-15 Open"]);
    assert_eq!(
        look(&mut watch, "2026-01-20T09:00:00-05:00"),
        [
            "2026-01-15 Idle",
            "2026-01-16 Open",
            "2026-01-16 Idle",
            "2026-01-19 Open",
            "2026-01-19 Idle",
            "2026-01-20 Open"
        ]
    );
    let years = look(&mut watch, "2030-01-20T09:00:00-05:00");
    assert_eq!(years.len(), 1 + 2 * limits::SESSIONS_SKIPPED); // a Sunday: nothing open
}

#[test]
fn a_session_slept_through_while_it_was_coming_is_told() {
    let mut watch = watch(Calendar::usdcop());
    assert_eq!(
        look(&mut watch, "2026-01-15T07:30:00-05:00"),
        ["2026-01-14 Idle", "2026-01-15 Coming"]
    );
    assert_eq!(
        look(&mut watch, "2026-01-15T14:00:00-05:00"),
        ["2026-01-15 Open", "2026-01-15 Idle"]
    );
}

#[test]
fn a_clock_set_back_a_little_opens_nothing_twice_and_set_back_far_it_closes() {
    let mut watch = watch(Calendar::usdcop());
    assert_eq!(look(&mut watch, "2026-01-15T08:00:00-05:00"), ["2026-01-15 Open"]);
    assert!(look(&mut watch, "2026-01-15T07:59:59-05:00").is_empty());
    assert!(look(&mut watch, "2026-01-15T08:00:00-05:00").is_empty());
    assert_eq!(
        look(&mut watch, "2026-01-15T07:30:00-05:00"),
        ["2026-01-15 Idle", "2026-01-15 Coming"]
    );
    assert_eq!(look(&mut watch, "2026-01-15T08:00:00-05:00"), ["2026-01-15 Open"]);
}

#[test]
fn a_clock_set_back_by_days_closes_the_session_and_tells_none_again() {
    let mut watch = watch(Calendar::usdcop());
    assert_eq!(look(&mut watch, "2026-01-15T10:00:00-05:00"), ["2026-01-15 Open"]);
    assert_eq!(
        look(&mut watch, "2026-01-13T10:00:00-05:00"),
        ["2026-01-15 Idle", "2026-01-13 Open"]
    );
}

#[test]
fn sessions_without_a_break_close_and_open_in_one_instant() {
    let mut watch = watch(calendar("always"));
    assert_eq!(look(&mut watch, "2026-01-15T23:00:00Z"), ["2026-01-15 Open"]);
    assert_eq!(
        look(&mut watch, "2026-01-16T00:00:00Z"),
        ["2026-01-15 Idle unbroken", "2026-01-16 Open"]
    );
}

#[test]
fn a_day_closed_by_hand_closes_at_the_next_look_and_reopens_when_it_is_taken_back() {
    let mut watch = watch(Calendar::usdcop());
    assert_eq!(look(&mut watch, "2026-01-15T10:00:00-05:00"), ["2026-01-15 Open"]);
    let entry = "[[day]]\ndate = 2026-01-15\naction = \"close\"\nreason = \"halt\"\n";
    let halted = Calendar::new(&CalendarSpec::default(), Arc::new(Overrides::read(entry).unwrap())).unwrap();
    watch.recalendar(Symbol::usdcop(), halted);
    assert_eq!(look(&mut watch, "2026-01-15T10:00:01-05:00"), ["2026-01-15 Idle"]);
    watch.recalendar(Symbol::usdcop(), Calendar::usdcop());
    assert_eq!(look(&mut watch, "2026-01-15T10:30:00-05:00"), ["2026-01-15 Open"]);
}

#[test]
fn a_turn_says_to_the_life_cycle_what_it_means() {
    let turns = watch(Calendar::usdcop()).turns_until(at("2026-11-26T10:00:00-05:00"));
    assert_eq!(turns[0].event(), Some(Event::SessionOpened(Symbol::usdcop())));
    let closed = |unbroken| {
        Turn {
            stage: Stage::Idle,
            unbroken,
            ..turns[0]
        }
        .event()
    };
    assert_eq!(
        (closed(false), closed(true)),
        (Some(Event::SessionClosed(Symbol::usdcop())), None)
    );
}
