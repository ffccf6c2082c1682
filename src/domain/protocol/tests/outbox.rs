//! Tests of the outbox.

use super::*;
use crate::domain::model::Symbol;
use crate::domain::protocol::Replay;
use proptest::prelude::*;
use std::collections::BTreeMap;

const NOW: Duration = Duration::from_secs(100);

fn ticks() -> Channel {
    Channel::ticks(Symbol::usdcop())
}

fn bars() -> Channel {
    Channel::bars(Interval::M5, Symbol::usdcop())
}

/// A frame that contains its seq.
fn frame(seq: u64) -> Bytes {
    Bytes::from(seq.to_string())
}

fn seq_of(frame: &Bytes) -> u64 {
    std::str::from_utf8(frame).unwrap().parse().unwrap()
}

fn small() -> Window {
    Window {
        control: 4,
        data: 8,
        age: Duration::from_secs(10),
    }
}

fn taken(outbox: &mut Outbox, budget: usize) -> Vec<Out> {
    let mut outs = Vec::new();
    outbox.take(budget, NOW, &mut outs);
    outs
}

/// Offers ticks `from..=to`.
fn offer_ticks(outbox: &mut Outbox, from: u64, to: u64) {
    for seq in from..=to {
        assert_eq!(outbox.offer(ticks(), seq, &frame(seq), NOW), Offered::Queued);
    }
}

#[test]
fn a_client_that_keeps_up_gets_every_message_in_order() {
    let mut outbox = Outbox::new(small());
    outbox.follow(ticks(), 7, Options::default());
    offer_ticks(&mut outbox, 8, 10);
    let expect: Vec<Out> = (8..=10).map(|seq| Out::Frame(frame(seq))).collect();
    assert_eq!(taken(&mut outbox, usize::MAX), expect);
    assert!(outbox.is_empty());
}

#[test]
fn what_it_has_or_does_not_follow_is_dropped_and_a_hole_is_named() {
    let mut outbox = Outbox::new(small());
    outbox.follow(ticks(), 7, Options::default());
    assert_eq!(outbox.offer(ticks(), 7, &frame(7), NOW), Offered::Duplicate);
    assert_eq!(outbox.offer(bars(), 1, &frame(1), NOW), Offered::NotFollowed);
    assert_eq!(outbox.offer(ticks(), 9, &frame(9), NOW), Offered::Hole { expected: 8 });
    assert!(outbox.is_empty());
}

#[test]
fn an_answer_about_a_channel_names_what_the_client_has_before_it() {
    let mut outbox = Outbox::new(small());
    assert_eq!(outbox.told_before_an_answer(ticks()), None);
    outbox.follow(ticks(), 7, Options::default());
    assert_eq!(outbox.told_before_an_answer(ticks()), Some(7));
    offer_ticks(&mut outbox, 8, 9);
    assert_eq!(outbox.told_before_an_answer(ticks()), Some(7), "both wait behind it");
    assert_eq!(taken(&mut outbox, 1), [Out::Frame(frame(8))]);
    assert_eq!(outbox.told_before_an_answer(ticks()), Some(8));
    taken(&mut outbox, usize::MAX);
    assert_eq!(outbox.told_before_an_answer(ticks()), Some(9));
    outbox.hold(ticks(), 20, true);
    assert_eq!(
        outbox.told_before_an_answer(ticks()),
        Some(9),
        "10 to 20 are replayed after it"
    );
}

#[test]
fn from_half_full_the_newest_replaces_and_extends_what_it_covers() {
    let mut outbox = Outbox::new(small());
    outbox.follow(ticks(), 0, Options::default());
    offer_ticks(&mut outbox, 1, 20);
    let outs = taken(&mut outbox, usize::MAX);
    let expect = vec![
        Out::Slow {
            warn: true,
            conflated: 0,
        },
        Out::Frame(frame(1)),
        Out::Frame(frame(2)),
        Out::Frame(frame(3)),
        Out::Covering {
            frame: frame(20),
            from: 4,
        },
        Out::Slow {
            warn: false,
            conflated: 16,
        },
    ];
    assert_eq!(outs, expect);
}

#[test]
fn control_goes_before_data_and_a_closed_bar_takes_its_partial_away() {
    let mut outbox = Outbox::new(small());
    outbox.follow(ticks(), 0, Options::default());
    outbox.follow(bars(), 4, Options::default());
    offer_ticks(&mut outbox, 1, 1);
    assert_eq!(outbox.offer_partial(bars(), 4, &frame(100), NOW), Offered::Queued);
    assert_eq!(outbox.offer_partial(bars(), 4, &frame(101), NOW), Offered::Queued);
    assert_eq!(outbox.offer(bars(), 5, &frame(5), NOW), Offered::Queued);
    assert_eq!(outbox.offer_partial(bars(), 4, &frame(102), NOW), Offered::Held);
    let expect = vec![Out::Frame(frame(5)), Out::Frame(frame(1))];
    assert_eq!(taken(&mut outbox, usize::MAX), expect);
}

#[test]
fn a_full_or_old_control_lane_ends_the_client() {
    let mut outbox = Outbox::new(small());
    for seq in 0..4 {
        outbox.say(&frame(seq), NOW);
    }
    assert_eq!(outbox.overdue(NOW + Duration::from_secs(10)), None);
    assert_eq!(outbox.overdue(NOW + Duration::from_secs(11)), Some(Evict::ControlOld));
    outbox.say(&frame(9), NOW);
    assert_eq!(outbox.overdue(NOW), Some(Evict::ControlFull));
}

#[test]
fn nothing_follows_what_a_full_control_lane_lost() {
    let mut outbox = Outbox::new(small());
    outbox.follow(bars(), 0, Options::default());
    (1..=5).for_each(|seq| outbox.say(&frame(seq), NOW));
    assert_eq!(taken(&mut outbox, usize::MAX).len(), 4);
    outbox.say(&frame(6), NOW);
    assert_eq!(taken(&mut outbox, usize::MAX), []);
    assert_eq!(outbox.overdue(NOW), Some(Evict::ControlFull));
}

#[test]
fn a_burst_of_what_must_not_be_dropped_is_brought_as_there_is_room() {
    let mut outbox = Outbox::new(small());
    outbox.follow(bars(), 0, Options::default());
    let offered: Vec<Offered> = (1..=9).map(|seq| outbox.offer(bars(), seq, &frame(seq), NOW)).collect();
    assert_eq!(
        offered[..4],
        [Offered::Queued, Offered::Queued, Offered::Queued, Offered::Later]
    );
    assert_eq!(offered[4..], [Offered::Held; 5]);
    assert_eq!(outbox.overdue(NOW), None);
    assert_eq!(taken(&mut outbox, usize::MAX).len(), 3);
    assert_eq!(outbox.replaying(), Some((bars(), 4, 4)));
}

#[test]
fn who_must_not_miss_a_tick_is_ended_rather_than_conflated() {
    let mut outbox = Outbox::new(small());
    let options = Options {
        close_when_slow: true,
        ..Options::default()
    };
    outbox.follow(ticks(), 0, options);
    offer_ticks(&mut outbox, 1, 3);
    assert_eq!(outbox.overdue(NOW), None);
    offer_ticks(&mut outbox, 4, 4);
    assert_eq!(outbox.overdue(NOW), Some(Evict::Refuses));
    offer_ticks(&mut outbox, 5, 6);
    let whole: Vec<Out> = (1..=4).map(|seq| Out::Frame(frame(seq))).collect();
    assert_eq!(taken(&mut outbox, usize::MAX), whole, "it resumes behind 4");
    offer_ticks(&mut outbox, 7, 7);
    assert_eq!(taken(&mut outbox, usize::MAX), []);
}

#[test]
fn live_messages_are_held_until_the_replay_is_complete() {
    let mut outbox = Outbox::new(small());
    outbox.follow(ticks(), 5, Options::default());
    outbox.hold(ticks(), 7, true);
    assert_eq!(outbox.offer(ticks(), 8, &frame(8), NOW), Offered::Held);
    assert_eq!(outbox.replaying(), Some((ticks(), 6, 7)));
    assert_eq!(outbox.replay(ticks(), 6, &frame(6), NOW), None);
    assert_eq!(outbox.replay(ticks(), 6, &frame(6), NOW), None, "twice is once");
    let whole = Replay {
        after: 5,
        to: 7,
        asked: true,
    };
    assert_eq!(outbox.replay(ticks(), 7, &frame(7), NOW), Some(whole));
    assert_eq!(outbox.replaying(), None);
    offer_ticks(&mut outbox, 8, 8);
    let expect: Vec<Out> = (6..=8).map(|seq| Out::Frame(frame(seq))).collect();
    assert_eq!(taken(&mut outbox, usize::MAX), expect);
}

#[test]
fn a_hole_is_mended_behind_what_still_waits() {
    let mut outbox = Outbox::new(small());
    outbox.follow(ticks(), 0, Options::default());
    offer_ticks(&mut outbox, 1, 3);
    assert_eq!(outbox.offer(ticks(), 6, &frame(6), NOW), Offered::Hole { expected: 4 });
    outbox.hold(ticks(), 6, false);
    assert_eq!(
        outbox.replaying(),
        Some((ticks(), 1, 6)),
        "all that was not sent, in one order"
    );
    for seq in 1..=6 {
        let _more = outbox.replay(ticks(), seq, &frame(seq), NOW);
        if seq == 3 {
            assert_eq!(taken(&mut outbox, usize::MAX).len(), 3);
        }
    }
    let expect: Vec<Out> = (4..=6).map(|seq| Out::Frame(frame(seq))).collect();
    assert_eq!(taken(&mut outbox, usize::MAX), expect);
}

#[test]
fn who_gives_up_its_rate_gets_what_waited_for_it_first() {
    let mut outbox = Outbox::new(small());
    let options = Options {
        spacing: Some(Duration::from_secs(100)),
        ..Options::default()
    };
    outbox.follow(ticks(), 0, options);
    offer_ticks(&mut outbox, 1, 5);
    assert_eq!(taken(&mut outbox, usize::MAX), vec![Out::Frame(frame(1))]);
    assert_eq!(outbox.complete().collect::<Vec<_>>(), [(ticks(), 1)], "2 to 5 wait");
    assert!(!outbox.follow(ticks(), 0, Options::default()));
    offer_ticks(&mut outbox, 6, 6);
    let waited = Out::Covering {
        frame: frame(5),
        from: 2,
    };
    assert_eq!(taken(&mut outbox, usize::MAX), vec![waited, Out::Frame(frame(6))]);
    assert_eq!(outbox.complete().collect::<Vec<_>>(), [(ticks(), 6)]);
}

#[test]
fn who_wants_no_forming_bars_any_more_gets_none_that_waited() {
    let mut outbox = Outbox::new(small());
    let every = |hz: Option<Duration>, partials| Options {
        spacing: hz,
        partials,
        ..Options::default()
    };
    for spacing in [None, Some(Duration::from_secs(1))] {
        outbox.follow(bars(), 0, every(spacing, true));
        for version in 1..=2 {
            assert_eq!(outbox.offer_partial(bars(), 0, &frame(version), NOW), Offered::Queued);
        }
        outbox.follow(bars(), 0, every(spacing, false));
        assert_eq!(taken(&mut outbox, usize::MAX), []);
        assert_eq!(outbox.next_deadline(), None);
    }
}

#[test]
fn a_rate_is_kept_and_the_last_value_is_always_delivered() {
    let mut outbox = Outbox::new(small());
    let options = Options {
        spacing: Some(Duration::from_millis(250)),
        ..Options::default()
    };
    outbox.follow(ticks(), 0, options);
    offer_ticks(&mut outbox, 1, 5);
    assert_eq!(taken(&mut outbox, usize::MAX), vec![Out::Frame(frame(1))]);
    let due = outbox.next_deadline().unwrap();
    assert_eq!(due, NOW + Duration::from_millis(250));
    let mut outs = Vec::new();
    outbox.take(usize::MAX, due, &mut outs);
    assert_eq!(
        outs,
        vec![Out::Covering {
            frame: frame(5),
            from: 2
        }]
    );
    assert_eq!(outbox.next_deadline(), None);
}

#[test]
fn an_event_without_a_channel_is_told_once_to_those_who_follow_its_interval() {
    let mut outbox = Outbox::new(small());
    let offer = |outbox: &mut Outbox| outbox.offer_loose(Interval::M5, Position(9), &frame(1), NOW);
    assert_eq!(offer(&mut outbox), Offered::NotFollowed);
    outbox.follow(bars(), 0, Options::default());
    assert_eq!(offer(&mut outbox), Offered::Queued);
    assert_eq!(offer(&mut outbox), Offered::Duplicate);
}

#[test]
fn the_end_of_an_interval_waits_for_its_bars() {
    let mut outbox = Outbox::new(small());
    outbox.follow(bars(), 0, Options::default());
    outbox.hold(bars(), 1, false);
    assert_eq!(outbox.offer(bars(), 2, &frame(2), NOW), Offered::Held);
    let end = outbox.offer_loose(Interval::M5, Position(7), &frame(99), NOW);
    assert_eq!((end, taken(&mut outbox, usize::MAX)), (Offered::Queued, Vec::new()));
    outbox.replay(bars(), 1, &frame(1), NOW);
    outbox.hold(bars(), 2, false);
    outbox.replay(bars(), 2, &frame(2), NOW);
    let expect = [1, 2, 99].map(|seq| Out::Frame(frame(seq)));
    assert_eq!(taken(&mut outbox, usize::MAX), expect);
}

#[test]
fn a_close_frame_goes_last_and_nothing_follows_it() {
    let mut outbox = Outbox::new(small());
    outbox.follow(ticks(), 0, Options::default());
    offer_ticks(&mut outbox, 1, 1);
    outbox.finish(&frame(99));
    assert_eq!(outbox.offer(ticks(), 2, &frame(2), NOW), Offered::NotFollowed);
    outbox.say(&frame(3), NOW);
    assert_eq!(taken(&mut outbox, 1), vec![Out::Frame(frame(1)), Out::Frame(frame(99))]);
    assert_eq!(taken(&mut outbox, usize::MAX), vec![]);
}

/// One step in the life of a client.
#[derive(Debug, Clone)]
enum Step {
    Tick(bool),
    Bar,
    Partial,
    Take(usize),
    Again,
    Resubscribe,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => any::<bool>().prop_map(Step::Tick),
        1 => Just(Step::Bar),
        2 => Just(Step::Partial),
        2 => (0..40_usize).prop_map(Step::Take),
        1 => Just(Step::Again),
        1 => Just(Step::Resubscribe),
    ];
    prop::collection::vec(step, 1..300)
}

/// A client that checks continuity with one integer per channel, as PROTOCOL 3 promises.
#[derive(Default)]
struct Reader {
    last: BTreeMap<u64, u64>,
}

impl Reader {
    /// Frames carry `channel × 1,000,000 + seq`; partial bars carry channel 9.
    fn read(&mut self, outs: Vec<Out>) {
        for out in outs {
            let (code, from) = match &out {
                Out::Frame(frame) => (seq_of(frame), None),
                Out::Covering { frame, from } => (seq_of(frame), Some(*from)),
                Out::Slow { .. } => continue,
            };
            let (channel, seq) = (code / 1_000_000, code % 1_000_000);
            if channel == 9 {
                continue;
            }
            let last = self.last.entry(channel).or_default();
            assert_eq!(from.unwrap_or(seq), *last + 1, "channel {channel}: coverage has a hole");
            *last = seq;
        }
    }
}

proptest! {
    #[test]
    fn over_any_history_coverage_is_continuous(steps in steps()) {
        let other = Channel::ticks("EUR/USD".parse().unwrap());
        let channels = [ticks(), other, bars()];
        let mut heads = [0_u64; 3];
        let mut outbox = Outbox::new(Window { control: 10_000, ..small() });
        for channel in channels {
            outbox.follow(channel, 0, Options::default());
        }
        let mut reader = Reader::default();
        let code = |i: usize, seq: u64| frame(u64::try_from(i).unwrap() * 1_000_000 + seq);
        for step in steps {
            let i = match step {
                Step::Tick(first) => usize::from(first),
                Step::Bar => 2,
                Step::Partial => {
                    let offered = outbox.offer_partial(bars(), heads[2], &frame(9_000_000), NOW);
                    prop_assert_eq!(offered, Offered::Queued);
                    continue;
                }
                Step::Take(budget) => {
                    reader.read(taken(&mut outbox, budget));
                    continue;
                }
                Step::Again => {
                    let offered = outbox.offer(ticks(), heads[0], &code(0, heads[0]), NOW);
                    prop_assert_eq!(offered, Offered::Duplicate);
                    continue;
                }
                Step::Resubscribe => {
                    reader.read(taken(&mut outbox, usize::MAX));
                    outbox.unfollow(ticks());
                    let last = *reader.last.entry(0).or_default();
                    outbox.follow(ticks(), last, Options::default());
                    outbox.hold(ticks(), heads[0], true);
                    for seq in last + 1..=heads[0] {
                        outbox.replay(ticks(), seq, &code(0, seq), NOW);
                    }
                    continue;
                }
            };
            heads[i] += 1;
            prop_assert_eq!(outbox.offer(channels[i], heads[i], &code(i, heads[i]), NOW), Offered::Queued);
            prop_assert!(outbox.data.len() <= 8, "bounded");
        }
        reader.read(taken(&mut outbox, usize::MAX));
        for (i, head) in heads.iter().enumerate().filter(|(_, head)| **head > 0) {
            prop_assert_eq!(reader.last[&u64::try_from(i).unwrap()], *head, "the last value always arrives");
        }
    }
}
