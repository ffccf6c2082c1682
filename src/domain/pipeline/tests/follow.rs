//! Sessions that follow each other without a break: the next one opens at the instant at which the last one closes.

use crate::domain::model::{
    Always, Event, Input, InputKind, Interval, JournalEntry, Position, RejectReason, SessionPhase, Symbol, Timestamp,
};
use crate::domain::pipeline::{
    PairRules, Pipeline,
    tests::pipeline::{Day, arrival, bars, known, shown, up},
};
use bytes::Bytes;
use std::sync::Arc;

/// 2025-10-23 00:00 UTC.
const MIDNIGHT: i64 = 1_761_177_600;

fn ms(ms: i64) -> Timestamp {
    Timestamp::from_micros(MIDNIGHT * 1_000_000 + ms * 1_000)
}

fn markets() -> Vec<PairRules> {
    vec![PairRules {
        intervals: vec![Interval::M5, Interval::M1],
        ..PairRules::new(Symbol::usdcop(), Arc::new(Always))
    }]
}

/// A price timestamped `stamp` seconds after midnight and received `heard` milliseconds after it.
fn hear(day: &mut Day, heard: i64, stamp: i64, price: &str) {
    let text = format!(
        r#"{{"event":"price","symbol":"USD/COP","timestamp":{},"price":{price}}}"#,
        MIDNIGHT + stamp
    );
    let frame = InputKind::Frame(Bytes::from(text));
    day.pipeline.accept(arrival(ms(heard), frame), &mut day.entries);
}

fn turn_of_the_day() -> Day {
    let mut day = Day {
        pipeline: known(Pipeline::new(&markets(), Position(0), [], ms(-600_000))),
        entries: Vec::new(),
    };
    day.pipeline.accept(arrival(ms(-599_000), up()), &mut day.entries);
    for stamp in (-590..-10).step_by(20) {
        hear(&mut day, stamp * 1_000 + 200, stamp, "4000");
    }
    hear(&mut day, -2_800, -3, "4001");
    hear(&mut day, 400, 0, "4002"); // of the next session
    hear(&mut day, 900, -1, "4003"); // of the last one, late
    hear(&mut day, 1_500, 1, "4004");
    hear(&mut day, 2_400, 2, "4005");
    for stamp in (20..600).step_by(20) {
        hear(&mut day, stamp * 1_000 + 200, stamp, "4006");
    }
    day.pipeline.advance(ms(602_000), &mut day.entries);
    day
}

fn heard(entries: &[JournalEntry]) -> impl Iterator<Item = Input> {
    entries.iter().filter_map(|entry| match entry {
        JournalEntry::Input(heard) => Some(heard.clone()),
        _ => None,
    })
}

fn replayed(mut pipeline: Pipeline, entries: &[JournalEntry]) -> Vec<JournalEntry> {
    let mut again = Vec::new();
    for heard in heard(entries) {
        pipeline.replay(arrival(heard.at, heard.what), &mut again);
    }
    again
}

/// The entries of the second session, as its ledger file holds them, and the index at which the first session's end.
fn second(day: &Day) -> (Vec<JournalEntry>, usize) {
    let opens = |entry: &JournalEntry| entry.opens_session().is_some();
    let opened: Vec<usize> = (0..day.entries.len()).filter(|i| opens(&day.entries[*i])).collect();
    let begins = (0..=opened[1])
        .rev()
        .find(|i| day.entries[*i].begins_transaction())
        .unwrap();
    (day.entries[begins..].to_vec(), begins)
}

#[test]
fn every_session_opens_and_no_price_around_the_turn_is_rejected() {
    let day = turn_of_the_day();
    let turns = day.entries.iter().filter_map(|entry| match entry {
        JournalEntry::Event(numbered) => match &numbered.event {
            Event::Session(change) => Some((change.phase, change.opens, numbered.at)),
            _ => None,
        },
        _ => None,
    });
    let (today, tomorrow) = (ms(-86_400_000), ms(0));
    assert_eq!(
        turns.collect::<Vec<_>>(),
        [
            (SessionPhase::Open, today, ms(-600_000)),
            (SessionPhase::ClosingSoon, today, ms(-300_000)),
            (SessionPhase::Closed, today, ms(0)),
            (
                SessionPhase::Open,
                tomorrow,
                Timestamp::from_micros(ms(2_000).micros() + 1)
            ),
        ]
    );
    let shown_at = |opens: i64| {
        let all = day.bars(Interval::M5).into_iter();
        all.filter(|bar| bar.key.opens_at == ms(opens))
            .map(|bar| shown(&bar))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown_at(-300_000), ["4000 4003 4000 4003 n16 r0 closed"]);
    assert_eq!(shown_at(0), ["4002 4006 4002 4006 n17 r0 closed"]);
    assert_eq!(shown_at(300_000), ["4006 4006 4006 4006 n15 r0 closed"]);
    assert_eq!(
        day.pipeline.counts().ticks_set_aside.get(&RejectReason::OffSession),
        None
    );
    assert_eq!(
        day.gaps().iter().filter(|gap| gap.from >= ms(-300_000)).count(),
        0,
        "{:?}",
        day.gaps()
    );
}

#[test]
fn both_days_replay_together_and_each_by_itself() {
    let day = turn_of_the_day();
    let begun = known(Pipeline::new(&markets(), Position(0), [], ms(-600_000)));
    assert_eq!(replayed(begun, &day.entries), day.entries, "B4");
    let (today, begins) = second(&day);
    assert_eq!(
        bars(&day.entries[..begins], Interval::M5).last().unwrap().closes_at,
        ms(0)
    );
    let carries = |heard: Input| matches!(heard.what, InputKind::CarriedTick(_) | InputKind::CarriedClose(_));
    assert_eq!(heard(&today).filter(|heard| carries(heard.clone())).count(), 3);
    let mut before = known(Pipeline::new(&markets(), Position(0), [], ms(-600_000)));
    let mut told = Vec::new();
    for heard in heard(&day.entries[..begins]) {
        before.replay(arrival(heard.at, heard.what), &mut told);
    }
    let first = heard(&today).next().unwrap();
    let alone = Pipeline::new(&markets(), before.head(), before.heads().to_vec(), first.at);
    assert_eq!(replayed(alone, &today), today, "the second day alone");
}
