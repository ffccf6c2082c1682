//! A whole year in an instant: calendar, session watch and life cycle together, compared with independently derived days and clock changes.

use super::*;
use crate::domain::calendar::{Calendar, CalendarSpec};
use crate::domain::history::{Manifest, OnTimeout, Verdict};
use crate::domain::lifecycle::SessionWatch;
use chrono::{Datelike, NaiveDate};
use std::sync::Arc;

const HOUR: Duration = Duration::from_secs(3_600);
const PUBLISHED: &str = include_str!("../../../../tests/fixtures/published_holidays_2000_2050.txt");

/// How L0 behaves on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum L0 {
    /// The flag comes half an hour before the open.
    InTime,
    /// Twenty minutes after the open.
    Late,
    /// Not at all.
    Never,
}

fn l0_of(date: NaiveDate) -> L0 {
    match date.ordinal() % 20 {
        7 => L0::Late,
        13 => L0::Never,
        _ => L0::InTime,
    }
}

fn at(date: NaiveDate, utc: (u32, u32)) -> Timestamp {
    Timestamp::from_datetime(date.and_hms_opt(utc.0, utc.1, 0).unwrap().and_utc())
}

fn weekday(date: &NaiveDate) -> bool {
    date.weekday().num_days_from_monday() < 5
}

fn days_of(year: i32) -> impl Iterator<Item = NaiveDate> {
    let first = NaiveDate::from_ymd_opt(year, 1, 1).unwrap();
    first.iter_days().take_while(move |date| date.year() == year)
}

/// The session days of 2026 as others publish them: the exchange's list, less the holiday that it lacks.
fn published_sessions(year: i32) -> Vec<NaiveDate> {
    let line = PUBLISHED
        .lines()
        .find_map(|line| line.strip_prefix(&format!("XBOG {year} ")))
        .unwrap();
    let closed = |date: &NaiveDate| line.split(' ').any(|day| day == date.format("%m%d").to_string());
    let chiquinquira = NaiveDate::from_ymd_opt(2026, 7, 13).unwrap();
    days_of(year)
        .filter(|date| weekday(date) && !closed(date) && *date != chiquinquira)
        .collect()
}

/// Simulates the time between two instants; returns every change of state with the reasons not to trade then.
fn live(
    calendar: &Calendar,
    from: Timestamp,
    to: Timestamp,
    l0: impl Fn(NaiveDate) -> L0,
) -> Vec<(Timestamp, State, bool)> {
    let policy = WaitPolicy {
        wait_max: HOUR,
        on_timeout: OnTimeout::Degrade,
    };
    let mut life = Lifecycle::new(&[Symbol::usdcop()], policy, false, from);
    let mut watch = SessionWatch::new([(Symbol::usdcop(), calendar.clone())], HOUR);
    let (mut now, mut changes, mut flag_at) = (from, Vec::new(), None);
    let mut pending = vec![
        Event::Started,
        Event::L0Ready(Flag {
            at: from,
            manifest: Manifest::default(),
        }),
    ];
    while now < to {
        for turn in watch.turns_until(now) {
            let coming = turn.stage == crate::domain::lifecycle::Stage::Coming;
            flag_at = match l0(turn.session.date) {
                L0::InTime if coming => Some(turn.session.opens - HOUR / 2),
                L0::Late if coming => Some(turn.session.opens + HOUR / 3),
                _ => flag_at,
            };
            pending.extend(turn.event());
        }
        if flag_at.is_some_and(|at| at <= now) {
            flag_at = None;
            pending.push(Event::L0Ready(Flag {
                at: now,
                manifest: Manifest::default(),
            }));
        }
        if life.next_deadline().is_some_and(|deadline| deadline <= now) {
            pending.push(Event::Deadline);
        }
        while !pending.is_empty() {
            for effect in life.on(pending.remove(0), now) {
                match effect {
                    Effect::Changed(change) => {
                        let unverified = life
                            .conditions()
                            .holding()
                            .any(|one| one.kind == ConditionKind::HistoryUnverified);
                        changes.push((change.at, change.to, !unverified));
                    }
                    Effect::Validate(flag) => pending.push(good(flag, now)),
                    _ => {}
                }
            }
        }
        let deadlines = [life.next_deadline(), watch.next_deadline(now), flag_at];
        now = deadlines.into_iter().flatten().min().unwrap_or(to);
    }
    changes
}

/// A validator's verdict on good history.
fn good(flag: Option<Flag>, now: Timestamp) -> Event {
    let verdict = Verdict::unreachable("", flag, now);
    let verdict = Verdict {
        reachable: true,
        fresh: true,
        complete: true,
        findings: vec![],
        ..verdict
    };
    Event::Judged(Arc::new(BTreeMap::from([(Symbol::usdcop(), verdict)])))
}

#[test]
fn a_simulated_year_has_every_session_at_its_instant_and_no_wrong_transition() {
    let sessions = published_sessions(2026);
    assert_eq!(sessions.len(), 241);
    let from = at(NaiveDate::from_ymd_opt(2026, 1, 1).unwrap(), (15, 0));
    let to = at(NaiveDate::from_ymd_opt(2026, 12, 31).unwrap(), (23, 0));
    let changes = live(&Calendar::usdcop(), from, to, l0_of);
    let start = [
        (from, State::WaitingL0, false),
        (from, State::CheckingData, false),
        (from, State::Ready, true),
        (from, State::MarketClosed, true),
    ];
    let mut expect = start.to_vec();
    for (index, date) in sessions.into_iter().enumerate() {
        let (wait, flag, open, close) = (
            at(date, (12, 0)),
            at(date, (12, 30)),
            at(date, (13, 0)),
            at(date, (17, 55)),
        );
        let verified = l0_of(date) == L0::InTime;
        let checked = if verified { flag } else { open };
        match index {
            0 => expect.push((wait, State::Ready, true)), // the flag found at the start is of this gate window
            _ => expect.extend([
                (wait, State::WaitingL0, false),
                (checked, State::CheckingData, false),
                (checked, State::Ready, verified),
            ]),
        }
        expect.push((open, State::Active, verified));
        expect.push((close, State::MarketClosed, l0_of(date) != L0::Never));
    }
    for (index, (lived, expected)) in changes.iter().zip(&expect).enumerate() {
        assert_eq!(lived, expected, "change {index}");
    }
    assert_eq!(changes.len(), expect.len());
}

#[test]
fn a_simulated_year_of_forex_follows_both_clock_changes_of_new_york() {
    let spec = CalendarSpec {
        calendar: "forex".to_owned(),
        ..CalendarSpec::default()
    };
    let forex = Calendar::new(&spec, Arc::default()).unwrap();
    let from = at(NaiveDate::from_ymd_opt(2026, 1, 3).unwrap(), (12, 0));
    let to = at(NaiveDate::from_ymd_opt(2026, 12, 26).unwrap(), (12, 0));
    let changes = live(&forex, from, to, |_| L0::InTime);
    let of = |state| {
        changes
            .iter()
            .filter(move |change| change.1 == state)
            .map(|change| change.0)
            .collect::<Vec<_>>()
    };
    // Daylight saving from Sunday 8 March to Sunday 1 November 2026, both at 02:00: 17:00 is 21:00 UTC then, else 22:00.
    let (spring, autumn) = (
        NaiveDate::from_ymd_opt(2026, 3, 8).unwrap(),
        NaiveDate::from_ymd_opt(2026, 11, 1).unwrap(),
    );
    let five_pm = |date: NaiveDate| at(date, (if spring <= date && date < autumn { 21 } else { 22 }, 0));
    let sundays: Vec<_> = days_of(2026)
        .filter(|date| date.weekday().num_days_from_monday() == 6)
        .collect();
    let opens: Vec<_> = sundays[..51].iter().map(|date| five_pm(*date)).collect();
    let closes: Vec<_> = sundays[..51]
        .iter()
        .map(|date| five_pm(*date + chrono::Days::new(5)))
        .collect();
    assert_eq!(of(State::Active), opens);
    assert_eq!(of(State::MarketClosed)[1..], closes);
}
