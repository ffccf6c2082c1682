//! A year of quiet days causes no alarm; a stall on any of these days does.

use super::*;
use crate::domain::model::{Listed, SessionKind};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// Monday 2026-01-05, 13:00 UTC.
const FIRST_OPEN: Timestamp = Timestamp::from_secs(1_767_618_000);

/// A year of Bogota mornings: weekdays, except that every seventeenth is closed like a holiday.
fn year() -> Listed {
    let days = (0..364_u32).filter(|day| day % 7 < 5 && day % 17 != 3);
    let sessions = days.map(|day| {
        let opens = FIRST_OPEN + DAY * day;
        let date = opens.datetime().date_naive();
        Session {
            date,
            opens,
            closes: opens + Duration::from_secs(17_700),
            kind: SessionKind::Spot,
        }
    });
    Listed {
        sessions: sessions.collect(),
        zone: chrono_tz::America::Bogota,
    }
}

impl Cadence {
    /// A price that is accepted at once.
    fn tick(&mut self, quote: Quote, now: Timestamp) {
        self.heard(quote, now);
        self.accepted(1, now);
    }
}

fn silent_at(cadence: &mut Cadence, now: Timestamp) -> Option<Timestamp> {
    cadence.silence(now).map(|silence| silence.noticed_at)
}

fn quote(price: i64) -> Quote {
    (Price::from_micros(price), None, None)
}

/// Plays one session with a price a minute, some seconds of jitter and an occasional missing minute.
fn play(
    cadence: &mut Cadence,
    session: Session,
    dice: &mut fastrand::Rng,
    mut each: impl FnMut(&mut Cadence, Timestamp),
) {
    let mut at = session.opens + MINUTE * dice.u32(0..3);
    while at < session.closes {
        let tick_at = at + Duration::from_millis(dice.u64(0..4_000));
        each(cadence, tick_at);
        cadence.tick(quote(dice.i64(4_000_000_000..4_100_000_000)), tick_at);
        at = at + if dice.u32(0..200) == 0 { MINUTE * 2 } else { MINUTE };
    }
}

#[test]
fn a_year_of_one_price_a_minute_with_holidays_raises_no_alarm() {
    for seed in 0..2 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let list = year();
        let mut cadence = Cadence::new(Arc::new(list.clone()), Duration::ZERO);
        cadence.watch(FIRST_OPEN - DAY);
        for session in &list.sessions {
            play(&mut cadence, *session, &mut dice, |cadence, at| {
                let noticed = silent_at(cadence, at - Duration::from_millis(1));
                assert!(
                    noticed.is_none_or(|noticed| noticed >= at),
                    "false alarm at {at}: {noticed:?}, seed {seed}"
                );
                assert_eq!(cadence.suspicion(at), None, "{at}, seed {seed}");
            });
            let night = session.closes + Duration::from_secs(3_600);
            let noticed = silent_at(&mut cadence, night);
            assert!(
                noticed.is_none_or(|at| list.at(at).is_some() && at > night),
                "alarm off the session: {noticed:?}"
            );
        }
    }
}

#[test]
fn a_stall_is_noticed_within_twice_the_learned_gap() {
    let mut dice = fastrand::Rng::with_seed(7);
    let list = year();
    let mut cadence = Cadence::new(Arc::new(list.clone()), Duration::ZERO);
    cadence.watch(FIRST_OPEN - DAY);
    for (day, session) in list.sessions.iter().enumerate() {
        let stall = session.opens + MINUTE * (95 + u32::try_from(day).unwrap() % 150);
        play(&mut cadence, *session, &mut dice, |_, _| {});
        if day < 30 {
            continue;
        }
        let mut stalled = cadence.clone();
        stalled.last_at = Some(stall);
        let p99 = stalled.p99(stall).unwrap();
        assert!(p99 >= MINUTE && p99 < MINUTE * 3, "{p99:?}");
        let noticed = silent_at(&mut stalled, stall + MINUTE).unwrap();
        let worst = p99.max(stalled.p99(stall + p99 * 2).unwrap()) * 2;
        assert!(noticed.since(stall) <= worst, "{day}: {noticed} after {stall}");
    }
}

#[test]
fn a_pair_with_a_thousand_prices_a_second_is_silent_after_a_second_not_after_milliseconds() {
    let open = year().sessions[0].opens;
    let mut cadence = Cadence::new(Arc::new(year()), Duration::ZERO);
    cadence.watch(open);
    let mut at = open;
    for number in 0..2_000 {
        at = at + Duration::from_millis(1);
        cadence.tick(quote(number), at);
    }
    assert_eq!(cadence.usual(at), Duration::from_millis(2));
    assert_eq!(silent_at(&mut cadence, at).unwrap().since(at), limits::SILENCE_LEAST);
}

#[test]
fn silence_that_a_new_link_did_not_end_is_met_with_more_patience_until_a_price_comes() {
    let open = year().sessions[0].opens;
    let mut cadence = Cadence::new(Arc::new(year()), Duration::ZERO);
    let wait = |cadence: &mut Cadence| {
        cadence.watch(open + MINUTE);
        silent_at(cadence, open + MINUTE).unwrap().since(open + MINUTE)
    };
    let first = wait(&mut cadence);
    cadence.unwatch(true);
    assert_eq!(wait(&mut cadence), first * 2);
    cadence.unwatch(false);
    assert_eq!(wait(&mut cadence), first * 2, "a close is not silence");
    cadence.tick(quote(1), open + MINUTE);
    assert_eq!(wait(&mut cadence), first);
}

#[test]
fn prices_that_are_heard_and_not_accepted_teach_nothing_and_end_the_links_silence_alone() {
    let mut cadence = Cadence::new(Arc::new(year()), Duration::ZERO);
    cadence.watch(FIRST_OPEN);
    for minute in 0..100_u32 {
        let now = FIRST_OPEN + MINUTE * minute;
        cadence.tick(quote(minute.into()), now);
        cadence.heard(quote(7), now + MINUTE / 2);
    }
    assert_eq!(cadence.p99(FIRST_OPEN), Some(MINUTE), "every other price was accepted");
    let last = FIRST_OPEN + MINUTE * 99;
    for second in 1..600_u32 {
        cadence.heard(quote(second.into()), last + Duration::from_secs(1) * second);
    }
    let now = last + MINUTE * 10;
    assert_eq!(cadence.p99(FIRST_OPEN), Some(MINUTE));
    assert_eq!(
        silent_at(&mut cadence, now),
        Some(last + MINUTE * 2),
        "nothing was accepted"
    );
    let still = cadence.stillness(now).unwrap().noticed_at;
    assert_eq!(still, now - Duration::from_secs(1) + MINUTE * 2, "prices come");
}

#[test]
fn prices_that_are_told_together_are_as_many_and_as_far_apart() {
    let mut cadence = Cadence::new(Arc::new(year()), Duration::ZERO);
    cadence.watch(FIRST_OPEN);
    (0..40_u32).for_each(|i| cadence.accepted(5, FIRST_OPEN + MINUTE * i));
    assert_eq!(cadence.p99(FIRST_OPEN), Some(MINUTE / 5));
    cadence.accepted(u64::MAX, FIRST_OPEN + MINUTE * 41);
    assert!(cadence.recent.len() <= limits::CADENCE_GAPS);
}

#[test]
fn nothing_is_expected_while_nobody_watches() {
    let mut cadence = Cadence::new(Arc::new(year()), Duration::ZERO);
    assert_eq!(silent_at(&mut cadence, FIRST_OPEN), None);
    cadence.watch(FIRST_OPEN);
    assert!(silent_at(&mut cadence, FIRST_OPEN).is_some());
    cadence.unwatch(false);
    assert_eq!(silent_at(&mut cadence, FIRST_OPEN), None);
}

#[test]
fn a_gap_during_which_the_link_was_down_teaches_nothing() {
    let mut cadence = Cadence::new(Arc::new(year()), Duration::ZERO);
    cadence.watch(FIRST_OPEN);
    for minute in 0..100 {
        cadence.tick(quote(minute), FIRST_OPEN + MINUTE * u32::try_from(minute).unwrap());
    }
    let before = cadence.p99(FIRST_OPEN);
    cadence.unwatch(false);
    cadence.watch(FIRST_OPEN + MINUTE * 190);
    cadence.tick(quote(1), FIRST_OPEN + MINUTE * 200);
    assert_eq!((before, cadence.p99(FIRST_OPEN)), (Some(MINUTE), Some(MINUTE)));
}

#[test]
fn a_quote_that_never_changes_is_suspect_after_a_while() {
    let mut cadence = Cadence::new(Arc::new(year()), Duration::ZERO);
    cadence.watch(FIRST_OPEN);
    let frozen_at: Vec<u32> = (0..40)
        .filter(|minute| {
            let now = FIRST_OPEN + MINUTE * *minute;
            cadence.tick(quote(5), now);
            cadence.suspicion(now) == Some(Suspicion::Frozen)
        })
        .collect();
    assert_eq!(frozen_at.first(), Some(&30));
    cadence.tick(quote(6), FIRST_OPEN + MINUTE * 41);
    assert_eq!(cadence.suspicion(FIRST_OPEN + MINUTE * 41), None);
}

#[test]
fn a_collapsed_rate_is_suspect_even_when_no_single_gap_is_long() {
    let second = Duration::from_secs(1);
    let mut cadence = Cadence::new(Arc::new(year()), Duration::ZERO);
    cadence.watch(FIRST_OPEN);
    for tick in 0..1_000 {
        // Bursts of ten, ten seconds apart: the percentile of the gaps is ten seconds.
        let at = FIRST_OPEN + second * (tick / 10) * 10 + Duration::from_millis(u64::from(tick % 10));
        cadence.tick(quote(i64::from(tick)), at);
    }
    let busy = FIRST_OPEN + second * 1_000;
    assert_eq!(cadence.suspicion(busy), None);
    for tick in 0..20 {
        cadence.tick(quote(tick), busy + second * 18 * u32::try_from(tick).unwrap());
    }
    assert_eq!(cadence.suspicion(busy + second * 360), Some(Suspicion::Collapsed));
}

#[test]
fn where_market_time_runs_fast_a_hiccup_of_the_machine_is_no_silence() {
    let jitter = Duration::from_secs(99);
    let noticed = |jitter| {
        let (list, mut dice) = (year(), fastrand::Rng::with_seed(3));
        let mut cadence = Cadence::new(Arc::new(list.clone()), jitter);
        cadence.watch(FIRST_OPEN - DAY);
        play(&mut cadence, list.sessions[0], &mut dice, |_, _| {});
        let last = cadence.last_at().unwrap();
        // Checked in the middle of the session, where its close has no effect.
        cadence.last_at = Some(last - Duration::from_secs(7_200));
        silent_at(&mut cadence, last - Duration::from_secs(7_200)).unwrap()
    };
    assert_eq!(noticed(jitter), noticed(Duration::ZERO) + jitter);
}

/// A calendar that can be corrected.
#[derive(Debug)]
struct Corrected(std::sync::Mutex<(Listed, u64)>);

impl Sessions for Corrected {
    fn at(&self, at: Timestamp) -> Option<Session> {
        self.0.lock().unwrap().0.at(at)
    }
    fn after(&self, at: Timestamp) -> Option<Session> {
        self.0.lock().unwrap().0.after(at)
    }
    fn zone(&self) -> chrono_tz::Tz {
        chrono_tz::America::Bogota
    }
    fn edition(&self) -> u64 {
        self.0.lock().unwrap().1
    }
}

#[test]
fn a_calendar_that_is_corrected_before_or_in_a_session_counts_at_once() {
    let calendar = Arc::new(Corrected(std::sync::Mutex::new((year(), 1))));
    let mut cadence = Cadence::new(calendar.clone(), Duration::ZERO);
    let early = FIRST_OPEN - MINUTE * 10;
    cadence.watch(early);
    let noticed = silent_at(&mut cadence, early).unwrap();
    let correct = |by: u32, closes_after: u32| {
        let mut held = calendar.0.lock().unwrap();
        held.1 += 1;
        let session = &mut held.0.sessions[0];
        session.opens = FIRST_OPEN + MINUTE * by;
        session.closes = session.opens + MINUTE * closes_after;
    };
    correct(60, 200);
    assert_eq!(silent_at(&mut cadence, early), Some(noticed + MINUTE * 60));
    let opened = FIRST_OPEN + MINUTE * 60;
    assert!(silent_at(&mut cadence, opened).is_some());
    correct(60, 1);
    assert_eq!(silent_at(&mut cadence, opened), None, "it ends before that is noticed");
}
