//! Comparison of our bars with the vendor's through the whole pipeline: published events, replays, and random days.

use crate::domain::model::{
    Bar, Decoded, Event, Flags, InputKind, Interval, JournalEntry, Position, Provenance, Symbol,
};
use crate::domain::pipeline::{
    OnMismatch, PairRules, Pipeline,
    tests::{
        pipeline::{Day, SPAN, arrival, at, down, known, markets, up},
        pipeline_random::{Step, lived, steps},
    },
};
use crate::domain::vendor::{SeriesRequest, rest::capture, wire};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The captured answer of the vendor for `[from, to)`: flat bars at these prices.
fn answer(now: i64, (from, to): (i64, i64), bars: &[(i64, &str)]) -> InputKind {
    let request = SeriesRequest {
        symbols: vec![Symbol::usdcop()],
        interval: Interval::M5,
        from: at(from),
        to: at(to),
    };
    let value = |(opens, price): &(i64, &str)| {
        let stamp = at(*opens).datetime().format("%Y-%m-%d %H:%M:%S");
        format!(r#"{{"datetime":"{stamp}","open":"{price}","high":"{price}","low":"{price}","close":"{price}"}}"#)
    };
    let values: Vec<String> = bars.iter().map(value).collect();
    let body = format!(r#"{{"values":[{}],"status":"ok"}}"#, values.join(","));
    InputKind::Answer(capture(&request.path(), at(now), body.as_bytes()))
}

fn begun(policy: OnMismatch) -> Day {
    let markets: Vec<PairRules> = markets()
        .into_iter()
        .map(|market| PairRules {
            on_mismatch: policy,
            ..market
        })
        .collect();
    let mut day = Day {
        pipeline: known(Pipeline::new(&markets, Position(0), [], at(-600))),
        entries: Vec::new(),
    };
    day.apply_input(-60, up());
    day
}

/// Three bars of one price each, and the vendor's answer once all are old enough; its second bar differs.
fn compared(policy: OnMismatch) -> Day {
    let mut day = begun(policy);
    for (slot, price) in [(0, "4000"), (1, "4001"), (2, "4002")] {
        day.tick(slot * 300 + 10, price);
    }
    day.until(1_100);
    let theirs = [(0, "4000.00024"), (300, "4007"), (600, "4001.99976")];
    day.apply_input(1_101, answer(1_101, (0, 900), &theirs));
    day
}

fn revised(day: &Day) -> Vec<Bar> {
    let bars = day.bars(Interval::M5);
    bars.into_iter().filter(|bar| bar.revision > 0).collect()
}

#[test]
fn a_bar_that_the_vendor_tells_otherwise_is_told_again_as_the_policy_says() {
    for (policy, close, from) in [
        (OnMismatch::Flag, "4001", Provenance::Live),
        (OnMismatch::Replace, "4007", Provenance::Backfill),
    ] {
        let day = compared(policy);
        let [told] = revised(&day)[..] else {
            panic!("{policy:?}: one bar is told again: {:?}", revised(&day))
        };
        assert_eq!((told.key.opens_at, told.revision), (at(300), 1));
        assert_eq!((told.ohlc.close.to_string().as_str(), told.provenance), (close, from));
        assert!(told.flags.contains(Flags::VENDOR_MISMATCH), "{policy:?}");
        let counts = day.pipeline.counts();
        assert_eq!(
            (counts.bars_compared, counts.bars_mismatched, counts.bars_revised),
            (3, 1, 1)
        );
        assert_eq!(day.pipeline.unchecked_bars().next(), None);
    }
    let kept = compared(OnMismatch::Keep);
    assert_eq!((revised(&kept), kept.pipeline.counts().bars_compared), (vec![], 0));
}

#[test]
fn a_revision_by_comparison_is_numbered_told_and_replayed_like_any_other() {
    let day = compared(OnMismatch::Flag);
    let mut again = begun(OnMismatch::Flag);
    again.entries.clear();
    again.pipeline = known(Pipeline::new(&markets(), Position(0), [], at(-600)));
    for entry in &day.entries {
        if let JournalEntry::Input(heard) = entry {
            again
                .pipeline
                .replay(arrival(heard.at, heard.what.clone()), &mut again.entries);
        }
    }
    assert_eq!(again.entries, day.entries);
    let seqs = day.entries.iter().filter_map(|entry| match entry {
        JournalEntry::Event(numbered) if matches!(numbered.event, Event::Bar(bar) if bar.key.interval == Interval::M5) => {
            Some(numbered.seq)
        }
        _ => None,
    });
    assert_eq!(seqs.collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn what_a_restart_finds_uncompared_is_what_was() {
    let mut day = begun(OnMismatch::Flag);
    for slot in 0..4 {
        day.tick(slot * 300 + 10, "4000");
    }
    day.until(1_250);
    day.apply_input(1_251, answer(1_251, (0, 300), &[(0, "4000")]));
    let left = day.pipeline.unchecked_bars().next().unwrap();
    assert_eq!(
        (left.from, left.to, left.bars, left.over),
        (at(300), at(1_200), 3, false)
    );
    let again = crate::domain::pipeline::tests::pipeline::rebuilt(&day.entries);
    assert_eq!(again.pipeline.unchecked_bars().next(), Some(left));
    day.until(SPAN + 60);
    assert!(day.pipeline.unchecked_bars().next().unwrap().over);
    day.until(86_400 + 10);
    assert_eq!(
        day.pipeline.unchecked_bars().next(),
        None,
        "bars of a session before can no longer be revised"
    );
}

#[test]
fn a_bar_that_was_doubted_meanwhile_is_healed_and_not_compared() {
    let mut day = begun(OnMismatch::Flag);
    day.tick(10, "4000");
    day.apply_input(100, down("upstream_close_1006"));
    day.apply_input(130, up());
    day.until(700);
    assert_eq!(day.pipeline.unchecked_bars().next(), None);
    day.apply_input(701, answer(701, (0, 300), &[(0, "4009")]));
    let [told] = revised(&day)[..] else {
        panic!("healed once")
    };
    assert_eq!((told.flags, told.provenance), (Flags::default(), Provenance::Backfill));
    assert_eq!(day.pipeline.counts().bars_compared, 0);
}

/// A random day with the vendor's answers at random moments, some of them wrong.
fn answered(day_steps: &[Step], answers: &[(usize, i64, i64)], policy: OnMismatch) -> Day {
    let plain = lived(day_steps);
    let inputs: Vec<_> = plain
        .entries
        .iter()
        .filter_map(|entry| match entry {
            JournalEntry::Input(heard) if heard.what != InputKind::Deadline => Some(heard.clone()),
            _ => None,
        })
        .collect();
    let mut day = begun(policy);
    for (i, heard) in inputs.iter().enumerate() {
        if !matches!(
            heard.what,
            InputKind::Carried(_) | InputKind::CarriedClose(_) | InputKind::Calendar(_)
        ) {
            day.pipeline
                .accept(arrival(heard.at, heard.what.clone()), &mut day.entries);
        }
        let now = heard.at.secs() - at(0).secs();
        for (_, from, price) in answers.iter().filter(|(after, ..)| *after == i) {
            let price = price.to_string();
            let bars: Vec<(i64, &str)> = (0..6).map(|slot| (slot * 300, price.as_str())).collect();
            day.apply_input(now, answer(now, (from * 300, SPAN), &bars));
        }
    }
    day.until(SPAN + 60);
    day.apply_input(
        SPAN + 400,
        answer(SPAN + 400, (0, SPAN), &[(0, "4000"), (600, "4001"), (1_500, "4002")]),
    );
    day
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// B1, B2 and B4 with comparisons: revisions rise by one, no bar is published again unless it changed, a replay agrees.
    #[test]
    fn invariants_hold_with_comparisons_on_any_day(
        steps in steps(),
        answers in prop::collection::vec((0_usize..150, 0_i64..6, 3_990_i64..4_010), 0..8),
        replace in any::<bool>(),
    ) {
        let policy = if replace { OnMismatch::Replace } else { OnMismatch::Flag };
        let day = answered(&steps, &answers, policy);
        let mut last: BTreeMap<_, Bar> = BTreeMap::new();
        for bar in day.bars(Interval::M5) {
            prop_assert!(bar.ohlc.is_ordered());
            if let Some(before) = last.insert(bar.key, bar) {
                prop_assert_eq!(bar.revision, before.revision + 1);
                let changed = bar.ohlc != before.ohlc || bar.flags != before.flags || bar.ticks != before.ticks;
                prop_assert!(changed || bar.provenance != before.provenance, "{:?} says nothing new", bar);
            } else {
                prop_assert_eq!(bar.revision, 0);
            }
        }
        prop_assert_eq!(day.pipeline.unchecked_bars().next(), None, "the last answer covers all");
        let mut again = begun(policy);
        again.entries.clear();
        let markets: Vec<PairRules> = markets().into_iter().map(|market| PairRules { on_mismatch: policy, ..market }).collect();
        again.pipeline = known(Pipeline::new(&markets, Position(0), [], at(-600)));
        for entry in &day.entries {
            if let JournalEntry::Input(heard) = entry {
                let says = wire::says(heard).unwrap_or(Decoded::Nothing);
                again.pipeline.replay(crate::domain::model::Inbound { heard: heard.clone(), says }, &mut again.entries);
            }
        }
        prop_assert_eq!(&again.entries, &day.entries);
    }
}
