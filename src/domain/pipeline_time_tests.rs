//! The pipeline on days on which time itself is disturbed: pauses, clocks that differ from the vendor's, clocks that are set.

use crate::domain::bar::Flags;
use crate::domain::event::{Entry, HeardKind, Unwatched};
use crate::domain::interval::Interval;
use crate::domain::pipeline::Pipeline;
use crate::domain::pipeline_tests::{Day, SPAN, arrival, at, frame, markets, rebuilt, shown};
use crate::domain::symbol::Symbol;
use crate::domain::tick::SetAside;
use crate::domain::timestamp::Timestamp;

fn unwatched(until: i64, cause: &str) -> HeardKind {
    HeardKind::Unwatched(Unwatched {
        until: at(until),
        cause: cause.to_owned(),
    })
}

#[test]
fn a_pause_of_the_process_is_an_outage_and_no_silence_of_the_market() {
    let mut day = Day::begun();
    day.tick(10, "4000");
    day.hear(20, unwatched(920, "process_paused"));
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
        let frame = HeardKind::Frame(frame(i.div_euclid(20), &price));
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
        day.pipeline.counts().ticks_set_aside.get(&SetAside::OffSession),
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
        day.hear(
            stamp + 10,
            HeardKind::Frame(frame(stamp, &format!("{}", 4_100 + stamp - SPAN))),
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
    day.hear(86_400 - 2, HeardKind::Frame(frame(86_400, "4010")));
    day.tick(86_400 + 100, "4011");
    day.until(86_400 + 302);
    let today = &day.entries[before..];
    let Entry::Heard(first) = &today[0] else {
        panic!("a day begins with an input")
    };
    assert_eq!(first.what, HeardKind::Opened(Symbol::usdcop()));
    let mut alone = Day {
        pipeline: Pipeline::new(&markets(), head, heads, first.at),
        entries: Vec::new(),
    };
    for entry in today {
        if let Entry::Heard(heard) = entry {
            alone
                .pipeline
                .replay(arrival(heard.at, heard.what.clone()), &mut alone.entries);
        }
    }
    assert_eq!(alone.entries, today);
}
