//! The pipeline against its invariants, on random days.

use crate::domain::model::{
    Bar, BarState, Event, Gap, InputKind, Interval, JournalEntry, Ohlc, Position, Price, Tick, Timestamp,
};
use crate::domain::pipeline::tests::pipeline::{Day, SPAN, arrival, at, down, frame, rebuilt, up};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// One step of a random day.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Tick { late: i64, price: i64 },
    Wait(i64),
    Down,
    Up,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (-20_i64..700, 3_950_i64..4_050).prop_map(|(late, price)| Step::Tick { late: late.max(0), price }),
        4 => (1_i64..200).prop_map(Step::Wait),
        1 => Just(Step::Down),
        2 => Just(Step::Up),
    ];
    prop::collection::vec(step, 0..150)
}

pub(crate) fn lived(steps: &[Step]) -> Day {
    let mut day = Day::begun();
    let mut now = -30;
    for step in steps {
        match step {
            Step::Tick { late, price } => day.apply_input(now, InputKind::Frame(frame(now - late, &price.to_string()))),
            Step::Wait(secs) => {
                now += secs;
                day.until(now);
            }
            Step::Down => day.apply_input(now, down("upstream_close_1006")),
            Step::Up => day.apply_input(now, up()),
        }
    }
    day.until(now.max(SPAN + 60));
    day
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// B1, B2, B3 and T2 over any day.
    #[test]
    fn invariants_hold_on_any_day(steps in steps()) {
        let day = lived(&steps);
        let mut position = 0;
        let mut seqs = BTreeMap::new();
        let mut revisions: BTreeMap<_, Vec<Bar>> = BTreeMap::new();
        for entry in &day.entries {
            let JournalEntry::Event(numbered) = entry else { continue };
            position += 1;
            prop_assert_eq!(numbered.position, Position(position));
            if let Some(channel) = numbered.channel {
                let seq = seqs.entry(channel).or_insert(0);
                *seq += 1;
                prop_assert_eq!(numbered.seq, *seq);
            }
            if let Event::Bar(bar) = &numbered.event {
                prop_assert!(bar.ohlc.is_ordered());
                revisions.entry(bar.key).or_default().push(*bar);
            }
        }
        for bars in revisions.values() {
            for (bar, revision) in bars.iter().zip(0..) {
                prop_assert_eq!(bar.revision, revision);
                prop_assert_eq!(bar.state, if revision == 0 { BarState::Closed } else { BarState::Revised });
            }
        }
        let pending: Vec<&Gap> = day.pipeline.pending_gaps().collect();
        for slot in 0..6 {
            let opens_at = at(slot * 300);
            let told = revisions.keys().any(|key| key.interval == Interval::M5 && key.opens_at == opens_at);
            let known = pending.iter().any(|gap| gap.from <= opens_at && opens_at < gap.to);
            prop_assert!(told || known, "slot {} is neither a bar nor a gap", slot);
        }
    }

    /// The last revision of each bar equals the result of sorting all its ticks by timestamp, then arrival.
    #[test]
    fn bars_equal_a_naive_model(steps in steps()) {
        let day = lived(&steps);
        let mut ticks: Vec<Tick> = day.entries.iter().filter_map(|entry| match entry {
            JournalEntry::Event(numbered) => match numbered.event { Event::Tick(accepted) => Some(accepted.tick), _ => None },
            _ => None,
        }).collect();
        ticks.sort_by_key(|tick| tick.at);
        for interval in [Interval::M5, Interval::M15, Interval::Session] {
            let mut last: BTreeMap<Timestamp, Bar> = BTreeMap::new();
            for bar in day.bars(interval) {
                last.insert(bar.key.opens_at, bar);
            }
            let length = interval.length().unwrap_or(Duration::from_secs(1_800));
            let mut model: BTreeMap<Timestamp, Vec<Price>> = BTreeMap::new();
            for tick in &ticks {
                model.entry(tick.at.floor(length)).or_default().push(tick.price);
            }
            // A longer bar that had no tick in time is published once its missing base bars are settled.
            let unsettled = |opens_at: &Timestamp| {
                let mut pending = day.pipeline.pending_gaps();
                interval != Interval::M5 && pending.any(|gap| gap.from < *opens_at + length && *opens_at < gap.to)
            };
            model.retain(|opens_at, _| last.contains_key(opens_at) || !unsettled(opens_at));
            prop_assert_eq!(last.keys().collect::<Vec<_>>(), model.keys().collect::<Vec<_>>());
            for (opens_at, prices) in model {
                let expect = Ohlc {
                    open: prices[0],
                    high: *prices.iter().max().unwrap(),
                    low: *prices.iter().min().unwrap(),
                    close: prices[prices.len() - 1],
                };
                prop_assert_eq!(last[&opens_at].ohlc, expect);
            }
        }
    }

    /// B4, and a restart at any moment: the captured inputs give the same entries again.
    #[test]
    fn a_captured_day_gives_the_same_entries_again(steps in steps(), cut in 0_usize..400) {
        let day = lived(&steps);
        prop_assert_eq!(&rebuilt(&day.entries).entries, &day.entries);
        // Cut at the end of a transaction, as a crash would.
        let heard: Vec<usize> = (0..day.entries.len()).filter(|i| day.entries[*i].begins_transaction()).collect();
        let end = heard.get(cut % heard.len().max(1)).copied().unwrap_or(0);
        let before = &day.entries[..end];
        let mut again = rebuilt(before);
        prop_assert_eq!(&again.entries[..], before);
        for entry in &day.entries[end..] {
            if let JournalEntry::Input(heard) = entry {
                again.pipeline.replay(arrival(heard.at, heard.what.clone()), &mut again.entries);
            }
        }
        prop_assert_eq!(&again.entries, &day.entries);
    }
}
