//! The pipeline on days with disturbed time: pauses, clocks that differ from the vendor's, clocks that are set.

use crate::domain::model::{
    Bar, Event, Flags, Gap, GapStatus, InputKind, Interval, JournalEntry, Position, RejectReason, SessionPhase, Symbol,
    Timestamp, Unwatched,
};
use crate::domain::pipeline::tests::pipeline::{
    Day, SPAN, arrival, at, bars, down, fetched, frame, markets, rebuilt, shown, up,
};
use crate::domain::pipeline::{Pipeline, ToldDays};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

fn unwatched(until: i64, cause: &str) -> InputKind {
    InputKind::Unwatched(Unwatched {
        until: at(until),
        cause: cause.to_owned(),
    })
}

#[test]
fn a_pause_of_the_process_is_an_outage_and_no_silence_of_the_market() {
    let mut day = Day::begun();
    day.tick(10, "4000");
    day.apply_input(20, unwatched(920, "process_paused"));
    day.tick(925, "4001");
    day.until(1_202);
    let bars = day.bars(Interval::M5);
    let flags: Vec<_> = bars.iter().map(|bar| (bar.key.opens_at, bar.flags)).collect();
    assert_eq!(flags, [(at(0), Flags::FEED_GAP), (at(900), Flags::FEED_GAP)]);
    let gap = day.gaps().last().cloned().unwrap();
    assert_eq!(
        (gap.cause.as_str(), gap.from, gap.to, gap.bars),
        ("process_paused", at(0), at(1_200), 4)
    );
    day.tick(1_210, "4002");
    day.until(1_502);
    assert_eq!(day.bars(Interval::M5).last().unwrap().flags, Flags::default());
    assert_eq!(rebuilt(&day.entries).entries, day.entries, "B4");
}

#[test]
fn ticks_stamped_inside_the_session_before_our_clock_reached_its_open_belong_to_it() {
    let mut day = Day::begun();
    // Our clock is a second and a half behind: 20 ticks a second.
    let ms = |ms: i64| Timestamp::from_micros(at(0).micros() + ms * 1_000);
    for i in -20_i64..60 {
        let price = format!("{}", 4_000 + i);
        let frame = InputKind::Frame(frame(i.div_euclid(20), &price));
        day.pipeline
            .accept(arrival(ms(i * 50 - 1_500), frame), &mut day.entries);
    }
    day.until(302);
    assert_eq!(
        day.bars(Interval::M5).iter().map(shown).collect::<Vec<_>>(),
        ["4000 4059 4000 4059 n60 r0 closed"],
        "the open is the first tick that is stamped in the session"
    );
    assert_eq!(day.bars(Interval::M5)[0].flags, Flags::default());
    assert_eq!(
        day.pipeline.counts().ticks_set_aside.get(&RejectReason::OffSession),
        Some(&20),
        "those stamped before it do not belong to it"
    );
    assert_eq!(rebuilt(&day.entries).entries, day.entries, "B4");
}

#[test]
fn ticks_stamped_inside_the_session_after_our_clock_closed_it_belong_to_it() {
    let mut day = Day::begun();
    for stamp in [10, 310, 610, 910, 1_210, 1_510] {
        day.tick(stamp, "4000");
    }
    // Our clock is ten seconds ahead.
    for stamp in SPAN - 12..SPAN + 3 {
        day.apply_input(
            stamp + 10,
            InputKind::Frame(frame(stamp, &format!("{}", 4_100 + stamp - SPAN))),
        );
    }
    day.until(SPAN + 60);
    let last = *day.bars(Interval::M5).last().unwrap();
    assert_eq!((last.ticks, last.ohlc.close), (13, "4099".parse().unwrap()));
}

#[test]
fn a_session_that_was_opened_by_a_tick_can_be_replayed_from_its_own_first_entry() {
    let mut day = Day::begun();
    day.until(86_400 - 10);
    let before = day.entries.len();
    let (heads, head) = (day.pipeline.heads().to_vec(), day.pipeline.head());
    day.apply_input(86_400 - 2, InputKind::Frame(frame(86_400, "4010")));
    day.tick(86_400 + 100, "4011");
    day.until(86_400 + 302);
    let today = &day.entries[before..];
    let JournalEntry::Input(first) = &today[0] else {
        panic!("a day begins with an input")
    };
    assert_eq!(first.what, InputKind::Opened(Symbol::usdcop()));
    let mut alone = Day::begun_with(today, head, heads);
    for entry in today {
        if let JournalEntry::Input(heard) = entry {
            alone
                .pipeline
                .replay(arrival(heard.at, heard.what.clone()), &mut alone.entries);
        }
    }
    assert_eq!(alone.entries, today);
}

#[test]
fn an_outage_that_runs_on_when_a_day_begins_is_the_same_when_the_day_is_replayed_alone() {
    let cases = [
        (SPAN + 100, down("stopped"), "stopped"),
        (86_390, unwatched(86_710, "process_paused"), "process_paused"),
    ];
    for (lost_at, lost, cause) in cases {
        let mut day = Day::begun();
        day.until(SPAN + 60);
        day.apply_input(lost_at, lost);
        day.until(86_390);
        let (before, yesterday) = (day.entries.len(), last_words(&day));
        let (heads, head) = (day.pipeline.heads().to_vec(), day.pipeline.head());
        day.until(86_720);
        day.apply_input(86_720, up());
        day.tick(86_730, "4011");
        day.until(86_400 + 602);
        let flags = day.bars(Interval::M5).last().unwrap().flags;
        assert_eq!(
            (flags, day.gaps().last().unwrap().cause.as_str()),
            (Flags::FEED_GAP, cause)
        );
        let today = &day.entries[before..];
        let mut alone = Day::begun_with(today, head, heads);
        for gap in yesterday.into_values() {
            alone.pipeline.restore_gap(gap, &ToldDays::default());
        }
        for entry in today {
            if let JournalEntry::Input(heard) = entry {
                let again = arrival(heard.at, heard.what.clone());
                alone.pipeline.replay(again, &mut alone.entries);
            }
        }
        assert_eq!(alone.entries, today, "{cause}");
    }
}

/// The ends of five-minute bars published from an entry on: the open, and when.
fn ends(entries: &[JournalEntry]) -> Vec<(Timestamp, Timestamp)> {
    let end = |entry: &JournalEntry| match entry {
        JournalEntry::Event(numbered) => match &numbered.event {
            Event::BarEnd(end) if end.interval == Interval::M5 => Some((end.opens_at, numbered.at)),
            _ => None,
        },
        _ => None,
    };
    entries.iter().filter_map(end).collect()
}

/// Ticks every half minute with correct timestamps, received by a clock that is `ahead` seconds ahead.
fn ticks(day: &mut Day, (from, to): (i64, i64), ahead: i64) {
    for stamp in (from..to).filter(|stamp| stamp.rem_euclid(30) == 10) {
        let price = (4_000 + stamp / 30).to_string();
        day.apply_input(stamp + 1 + ahead, InputKind::Frame(frame(stamp, &price)));
    }
}

/// The last state of each gap.
fn last_words(day: &Day) -> BTreeMap<u64, Gap> {
    day.gaps().into_iter().map(|gap| (gap.id, gap)).collect()
}

/// The clock is ten minutes ahead from the start: by the right time's open, two slots are closed without a tick.
fn ahead_from_the_start() -> Day {
    let mut day = Day::begun();
    ticks(&mut day, (0, 400), 600);
    day
}

#[test]
fn bars_close_in_their_time_after_a_clock_that_was_ahead_is_corrected() {
    let mut day = ahead_from_the_start();
    let revised = day.bars(Interval::M5).len();
    assert_eq!(revised, 13, "each tick revises a slot that was closed before its time");
    let begun = day.entries.len();
    day.apply_input(1_000, unwatched(400, "clock_stepped"));
    ticks(&mut day, (400, SPAN), 0);
    day.until(SPAN + 10);
    let closed: Vec<_> = bars(&day.entries[begun..], Interval::M5);
    let closed: Vec<_> = closed
        .iter()
        .map(|bar| (bar.key.opens_at, bar.revision, bar.ticks))
        .collect();
    let in_time = [(300, 3), (600, 0), (900, 0), (1_200, 0), (1_500, 0)];
    assert_eq!(closed, in_time.map(|(opens, revision)| (at(opens), revision, 10)));
    let late = Duration::from_secs(2);
    assert_eq!(
        ends(&day.entries[begun..]),
        [300, 600, 900, 1_200, 1_500].map(|opens| (at(opens), at(opens + 300) + late))
    );
    let whole = *day.bars(Interval::M15).last().unwrap();
    assert_eq!(
        (whole.key.opens_at, whole.ticks, whole.flags),
        (at(900), 30, Flags::default())
    );
    assert_eq!(rebuilt(&day.entries).entries, day.entries, "B4");
}

#[test]
fn what_a_clock_that_was_ahead_declared_of_slots_that_were_not_over_is_withdrawn() {
    let mut day = Day::begun();
    // Requested twenty seconds after the open, when the vendor's first bar has only begun.
    day.until(615);
    let mut answer = fetched(0, 600, &[(0, ["4000"; 4])]);
    answer.heard.at = at(620);
    day.pipeline.accept(answer, &mut day.entries);
    let statuses = |day: &Day| -> Vec<(Timestamp, Timestamp, u32, GapStatus)> {
        let words = last_words(day).into_values();
        words.map(|gap| (gap.from, gap.to, gap.bars, gap.status)).collect()
    };
    assert!(
        statuses(&day)
            .iter()
            .any(|(.., status)| *status == GapStatus::Unfillable),
        "{:?}",
        last_words(&day)
    );
    ticks(&mut day, (20, 700), 600);
    day.until(1_300);
    day.apply_input(1_300, unwatched(700, "clock_stepped"));
    // The vendor's bar was not final, our bar of the next slot is whole, and the slots that are not over belong to no gap.
    let pending: Vec<_> = day.pipeline.pending_gaps().cloned().collect();
    let stretches: Vec<_> = pending.iter().map(|gap| (gap.from, gap.to, gap.status)).collect();
    assert_eq!(stretches, [(at(0), at(300), GapStatus::Open)], "{pending:?}");
    let mut settled = statuses(&day);
    settled.retain(|(.., status)| *status != GapStatus::Open);
    assert_eq!(
        settled,
        [
            (at(300), at(600), 1, GapStatus::Filled),
            (at(600), at(600), 0, GapStatus::Filled)
        ],
        "{:?}",
        last_words(&day)
    );
    let right = ["4000", "4009", "4000", "4009"];
    day.pipeline.accept(fetched(0, 300, &[(0, right)]), &mut day.entries);
    ticks(&mut day, (700, SPAN), 0);
    day.until(SPAN + 10);
    let healed = day.bars(Interval::M5);
    let last = *healed.iter().rfind(|bar| bar.key.opens_at == at(0)).unwrap();
    assert_eq!((last.ohlc.high, last.revision), ("4009".parse().unwrap(), 1));
    let open: Vec<_> = day.pipeline.pending_gaps().map(|gap| (gap.from, gap.to)).collect();
    assert_eq!(
        open,
        [(at(600), at(900))],
        "only the slot in which the clock was set is flawed"
    );
}

#[test]
fn a_gap_that_a_corrected_clock_makes_shorter_is_counted_once() {
    let mut day = Day::begun();
    day.apply_input(0, down("silent"));
    day.until(602);
    assert_eq!(day.gaps().last().unwrap().bars, 2);
    day.apply_input(700, unwatched(450, "clock_stepped"));
    let gap = day.gaps().last().cloned().unwrap();
    assert_eq!((gap.status, gap.bars), (GapStatus::Open, 1));
    assert_eq!(day.pipeline.counts().gaps_opened, 1);
}

#[test]
fn a_session_that_a_clock_ahead_closed_goes_on_when_the_clock_is_corrected() {
    let mut day = Day::begun();
    ticks(&mut day, (0, 600), 0);
    day.apply_input(600, unwatched(2_100, "clock_stepped"));
    ticks(&mut day, (610, 700), 1_500);
    day.until(2_200);
    let turns = |day: &Day| -> Vec<SessionPhase> {
        let phase = |entry: &JournalEntry| match entry {
            JournalEntry::Event(numbered) => match &numbered.event {
                Event::Session(change) => Some(change.phase),
                _ => None,
            },
            _ => None,
        };
        day.entries.iter().filter_map(phase).collect()
    };
    assert_eq!(turns(&day).last(), Some(&SessionPhase::Closed));
    day.apply_input(2_200, unwatched(700, "clock_stepped"));
    ticks(&mut day, (700, SPAN), 0);
    assert_eq!(turns(&day).iter().rev().nth(1), Some(&SessionPhase::Open));
    day.until(SPAN + 10);
    let last: BTreeMap<_, _> = day
        .bars(Interval::M5)
        .into_iter()
        .map(|bar| (bar.key.opens_at, bar))
        .collect();
    assert_eq!(last.len(), 6);
    assert!(last.values().all(|bar| bar.ticks == 10), "{last:?}");
    let session = *day.bars(Interval::Session).last().unwrap();
    assert_eq!(session.ticks, 60);
    assert_eq!(rebuilt(&day.entries).entries, day.entries, "B4");
}

#[test]
fn a_bar_that_was_told_as_closed_forms_again_under_a_higher_revision_and_at_once() {
    let mut day = ahead_from_the_start();
    let told = day.bars(Interval::M5).last().copied().unwrap();
    day.apply_input(1_000, unwatched(400, "clock_stepped"));
    let begun = day.entries.len();
    ticks(&mut day, (400, 460), 0);
    let partial = |entry: &JournalEntry| match entry {
        JournalEntry::Partial { bar, .. } => Some(*bar),
        _ => None,
    };
    let forming: Vec<_> = day.entries[begun..].iter().filter_map(partial).collect();
    assert!(!forming.is_empty());
    assert!(
        forming
            .iter()
            .all(|bar| bar.key == told.key && bar.revision == told.revision + 1),
        "{forming:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Wherever the clock is set, in a session and beyond it: revisions rise by one, the day replays to the same, and once the clock is
    /// right every slot that is not over yet closes in its time, with all its ticks.
    #[test]
    fn a_day_whose_clock_is_set_at_random_and_then_right_stays_whole(
        steps in prop::collection::vec((10_i64..300, 0_i64..2_400), 0..6),
    ) {
        let mut day = Day::begun();
        let (mut now, mut ahead) = (0, 0);
        for (wait, next) in steps.into_iter().chain([(30, 0)]) {
            ticks(&mut day, (now, now + wait), ahead);
            now += wait;
            day.until(now + ahead);
            if next != ahead {
                day.apply_input(now + ahead, unwatched(now + next, "clock_stepped"));
            }
            ahead = next;
        }
        let begun = day.entries.len();
        ticks(&mut day, (now, SPAN), 0);
        day.until(SPAN + 3_000);
        let mut told: BTreeMap<_, Vec<Bar>> = BTreeMap::new();
        for interval in [Interval::M5, Interval::M15, Interval::Session] {
            day.bars(interval).into_iter().for_each(|bar| told.entry(bar.key).or_default().push(bar));
        }
        for bars in told.values() {
            let revisions: Vec<_> = bars.iter().map(|bar| bar.revision).collect();
            prop_assert_eq!(&revisions, &(0..).take(revisions.len()).collect::<Vec<u32>>());
        }
        let first = now / 300 * 300;
        let expect: Vec<i64> = (first..SPAN).step_by(300).collect();
        let slots: Vec<_> = ends(&day.entries[begun..]);
        let in_time = expect.iter().map(|opens| (at(*opens), at(opens + 302)));
        prop_assert_eq!(slots, in_time.collect::<Vec<_>>());
        for opens in expect.iter().filter(|opens| **opens > now) {
            let last = *day.bars(Interval::M5).iter().rfind(|bar| bar.key.opens_at == at(*opens)).unwrap();
            prop_assert_eq!((last.ticks, last.flags), (10, Flags::default()));
        }
        prop_assert_eq!(rebuilt(&day.entries).entries, day.entries);
    }
}

#[test]
fn what_the_vendor_lacked_in_a_gap_that_is_not_settled_is_asked_again_on_the_next_day_as_after_a_restart() {
    const OTHER: [&str; 4] = ["4000", "4050", "3950", "4001"];
    let mut lived = Day::begun();
    lived.apply_input(0, down("silent"));
    lived.apply_input(599, up());
    for slot in 2..6 {
        lived.tick(slot * 300 + 10, "4000");
    }
    lived.pipeline.accept(fetched(0, 300, &[]), &mut lived.entries); // heard at 360: the clock runs on
    lived.until(86_400 - 500);
    let gap = lived.gaps().into_iter().rfind(|gap| gap.status.pending()).unwrap();
    lived.until(86_400 + 100);
    let mut restarted = Day {
        pipeline: Pipeline::new(&markets(), Position(0), [], at(86_400 - 500)),
        entries: Vec::new(),
    };
    let told = ToldDays {
        sessions: Vec::new(),
        bars: lived.bars(Interval::M5),
    };
    restarted.pipeline.restore_gap(gap, &told);
    restarted.until(86_400 + 100);
    let heal = |day: &mut Day| {
        let known = day.entries.len();
        let answer = fetched(0, 600, &[(0, OTHER), (300, OTHER)]);
        day.pipeline.accept(answer, &mut day.entries);
        let gaps: Vec<_> = day
            .gaps()
            .last()
            .map(|gap| (gap.status, gap.bars))
            .into_iter()
            .collect();
        (bars(&day.entries[known..], Interval::M5).len(), gaps)
    };
    let expect = (2, vec![(GapStatus::Filled, 2)]);
    assert_eq!(heal(&mut lived), expect);
    assert_eq!(heal(&mut restarted), expect);
}
