//! The pipeline against its invariants, on scripted days.

use crate::domain::model::{
    Bar, Decoded, Event, Fetched, Flags, Gap, GapStatus, Inbound, Input, InputKind, Interval, JournalEntry, LastClose,
    LinkChange, Listed, Ohlc, Position, Provenance, RejectReason, Requested, Session, SessionKind, SessionPhase,
    Symbol, Timestamp, VendorBar,
};
use crate::domain::pipeline::{Boundary, PairRules, Pipeline};
use crate::domain::vendor::wire;
use crate::limits;
use bytes::Bytes;
use std::sync::Arc;

/// 2025-10-22 08:00 in Bogota.
pub(crate) const OPEN: i64 = 1_761_138_000;
/// Half an hour: six bars.
pub(super) const SPAN: i64 = 1_800;

pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(OPEN + secs)
}

pub(crate) fn session(day: i64) -> Session {
    let opens = at(day * 86_400);
    let closes = at(day * 86_400 + SPAN);
    Session {
        date: opens.datetime().date_naive(),
        opens,
        closes,
        kind: SessionKind::Spot,
    }
}

pub(crate) fn markets() -> Vec<PairRules> {
    let sessions = Arc::new(Listed {
        sessions: vec![session(0), session(1)],
        zone: chrono_tz::America::Bogota,
    });
    let intervals = vec![Interval::M5, Interval::M15, Interval::Session];
    vec![PairRules {
        intervals,
        ..PairRules::new(Symbol::usdcop(), sessions)
    }]
}

fn pipeline() -> Pipeline {
    known(Pipeline::new(&markets(), Position(0), [], at(-600)))
}

/// A pipeline that knows the close of the day before.
pub(crate) fn known(mut pipeline: Pipeline) -> Pipeline {
    pipeline.restore_close(LastClose {
        symbol: Symbol::usdcop(),
        price: "3990".parse().unwrap(),
        at: at(-70_000),
        firm_from: at(-70_000),
    });
    pipeline
}

pub(crate) fn frame(stamp: i64, price: &str) -> Bytes {
    Bytes::from(format!(
        r#"{{"event":"price","symbol":"USD/COP","timestamp":{},"price":{price}}}"#,
        OPEN + stamp
    ))
}

/// Decodes an input as the feed does.
pub(crate) fn arrival(now: Timestamp, what: InputKind) -> Inbound {
    let heard = Input { at: now, what };
    let says = wire::says(&heard).unwrap_or(Decoded::Nothing);
    Inbound { heard, says }
}

pub(crate) fn up() -> InputKind {
    InputKind::Link(LinkChange::Up {
        symbols: vec![Symbol::usdcop()],
    })
}

pub(crate) fn down(cause: &str) -> InputKind {
    InputKind::Link(LinkChange::Down {
        cause: cause.to_owned(),
    })
}

pub(crate) fn fetched(from: i64, to: i64, bars: &[(i64, [&str; 4])]) -> Inbound {
    let price = |text: &str| text.parse().unwrap();
    let bars = bars.iter().map(|(opens, [open, high, low, close])| VendorBar {
        opens_at: at(*opens),
        ohlc: Ohlc {
            open: price(open),
            high: price(high),
            low: price(low),
            close: price(close),
        },
    });
    let (symbol, interval) = (Symbol::usdcop(), Interval::M5);
    let says = Decoded::Bars(Fetched {
        symbol,
        interval,
        from: at(from),
        to: at(to),
        bars: bars.collect(),
        unusable: Vec::new(),
    });
    Inbound {
        heard: Input {
            at: at(to + 60),
            what: InputKind::Answer(Bytes::new()),
        },
        says,
    }
}

/// A pipeline and all its entries.
pub(crate) struct Day {
    pub(crate) pipeline: Pipeline,
    pub(crate) entries: Vec<JournalEntry>,
}

impl Day {
    /// A day that is subscribed before the open.
    pub(super) fn begun() -> Self {
        let mut day = Self {
            pipeline: pipeline(),
            entries: Vec::new(),
        };
        day.apply_input(-60, up());
        day
    }

    /// A day that knows nothing of the day before but the last numbers; `entries` are the entries of the day to replay.
    pub(super) fn begun_with(
        entries: &[JournalEntry],
        head: Position,
        heads: Vec<(crate::domain::model::Channel, u64)>,
    ) -> Self {
        let JournalEntry::Input(first) = &entries[0] else {
            panic!("a day begins with an input")
        };
        Self {
            pipeline: Pipeline::new(&markets(), head, heads, first.at),
            entries: Vec::new(),
        }
    }

    pub(crate) fn apply_input(&mut self, now: i64, what: InputKind) {
        self.pipeline.accept(arrival(at(now), what), &mut self.entries);
    }

    /// A tick that arrives a second after its stamp.
    pub(crate) fn tick(&mut self, stamp: i64, price: &str) {
        self.apply_input(stamp + 1, InputKind::Frame(frame(stamp, price)));
    }

    pub(crate) fn until(&mut self, now: i64) {
        self.pipeline.advance(at(now), &mut self.entries);
    }

    pub(crate) fn bars(&self, interval: Interval) -> Vec<Bar> {
        bars(&self.entries, interval)
    }

    pub(crate) fn gaps(&self) -> Vec<Gap> {
        let gap = |entry: &JournalEntry| match entry {
            JournalEntry::Event(numbered) => match &numbered.event {
                Event::Gap(gap) => Some(gap.clone()),
                _ => None,
            },
            _ => None,
        };
        self.entries.iter().filter_map(gap).collect()
    }
}

pub(crate) fn bars(entries: &[JournalEntry], interval: Interval) -> Vec<Bar> {
    let bar = |entry: &JournalEntry| match entry {
        JournalEntry::Event(numbered) => match numbered.event {
            Event::Bar(bar) if bar.key.interval == interval => Some(bar),
            _ => None,
        },
        _ => None,
    };
    entries.iter().filter_map(bar).collect()
}

pub(crate) fn shown(bar: &Bar) -> String {
    let Ohlc { open, high, low, close } = bar.ohlc;
    format!(
        "{open} {high} {low} {close} n{} r{} {}",
        bar.ticks,
        bar.revision,
        bar.state.name()
    )
}

#[test]
fn a_bar_closes_by_its_deadline_and_not_by_the_next_tick() {
    let mut day = Day::begun();
    for (stamp, price) in [(1, "4000"), (90, "4012.5"), (200, "3990.25"), (299, "4001")] {
        day.tick(stamp, price);
    }
    day.until(300);
    assert_eq!(day.bars(Interval::M5), []);
    day.until(300 + 2);
    assert_eq!(
        day.bars(Interval::M5).iter().map(shown).collect::<Vec<_>>(),
        ["4000 4012.5 3990.25 4001 n4 r0 closed"]
    );
}

#[test]
fn a_tick_on_the_boundary_opens_the_next_bar_unless_stamps_name_the_minute_that_is_over() {
    for (boundary, expect) in [(Boundary::Opens, [1, 1]), (Boundary::Closes, [2, 0])] {
        let mut markets = markets();
        markets[0].boundary = boundary;
        let mut day = Day {
            pipeline: known(Pipeline::new(&markets, Position(0), [], at(-600))),
            entries: Vec::new(),
        };
        day.apply_input(-60, up());
        day.tick(60, "4000");
        day.tick(300, "4001");
        day.until(SPAN);
        let bars = day.bars(Interval::M5);
        let ticks = |i: usize| bars.get(i).map_or(0, |bar| bar.ticks);
        assert_eq!([ticks(0), ticks(1)], expect);
    }
}

#[test]
fn a_late_tick_revises_and_the_first_revision_stays_as_it_was_told() {
    let mut day = Day::begun();
    day.tick(10, "4000");
    day.tick(20, "4002");
    day.until(310);
    day.apply_input(320, InputKind::Frame(frame(299, "3999")));
    day.apply_input(321, InputKind::Frame(frame(5, "4005")));
    assert_eq!(
        day.bars(Interval::M5).iter().map(shown).collect::<Vec<_>>(),
        [
            "4000 4002 4000 4002 n2 r0 closed",
            "4000 4002 3999 3999 n3 r1 revised",
            "4005 4005 3999 3999 n4 r2 revised"
        ]
    );
}

#[test]
fn a_silent_slot_is_a_gap_for_want_of_ticks_and_a_dead_link_is_named() {
    let mut day = Day::begun();
    day.tick(10, "4000");
    day.until(602);
    // That the market was silent is not known before a later price.
    assert_eq!(day.gaps().last().unwrap().cause, "no_accepted_price");
    day.apply_input(610, down("upstream_close_1006"));
    day.until(1_202);
    let gaps = day.gaps();
    let last = gaps.last().unwrap();
    assert_eq!(
        (last.cause.as_str(), last.bars, last.from, last.to),
        ("upstream_close_1006", 2, at(600), at(1_200))
    );
    assert_eq!(last.id, 2, "neighbouring slots with one cause are one gap");
}

#[test]
fn a_bar_that_was_not_watched_all_the_time_is_flagged_and_asked_for() {
    let mut day = Day::begun();
    day.tick(10, "4000");
    day.apply_input(100, down("upstream_close_1000"));
    day.apply_input(120, up());
    day.tick(130, "4001");
    day.until(302);
    assert_eq!(day.bars(Interval::M5)[0].flags, Flags::FEED_GAP);
    assert_eq!(day.gaps()[0].cause, "upstream_close_1000");
    day.pipeline.accept(
        fetched(0, 300, &[(0, ["4000", "4009", "3999", "4001"])]),
        &mut day.entries,
    );
    let bars = day.bars(Interval::M5);
    assert_eq!(shown(&bars[1]), "4000 4009 3999 4001 n2 r1 revised");
    assert_eq!(
        (bars[1].flags, bars[1].provenance),
        (Flags::default(), Provenance::Backfill)
    );
    assert_eq!(day.gaps().last().unwrap().status, GapStatus::Filled);
}

#[test]
fn the_vendors_answer_fills_what_it_has_and_settles_what_it_has_not() {
    let mut day = Day::begun();
    day.apply_input(0, down("silent"));
    day.until(1_502);
    day.apply_input(
        1_503,
        InputKind::Requested(Requested {
            symbol: Symbol::usdcop(),
            interval: Interval::M5,
            from: at(0),
            to: at(1_500),
        }),
    );
    assert_eq!(day.gaps().last().unwrap().status, GapStatus::Filling);
    let flat = ["4000"; 4];
    day.pipeline
        .accept(fetched(0, 1_500, &[(0, flat), (900, flat)]), &mut day.entries);
    let settled: Vec<_> = day
        .gaps()
        .iter()
        .filter(|gap| !gap.status.pending())
        .map(|gap| (gap.status, gap.from, gap.bars))
        .collect();
    assert_eq!(
        settled,
        [
            (GapStatus::Unfillable, at(300), 2),
            (GapStatus::Filled, at(900), 1),
            (GapStatus::Unfillable, at(1_200), 1),
            (GapStatus::Filled, at(0), 1)
        ],
        "a record says filled only of slots that have their bar"
    );
    assert_eq!(
        day.bars(Interval::M5)
            .iter()
            .map(|bar| bar.key.opens_at)
            .collect::<Vec<_>>(),
        [at(0), at(900)]
    );
    assert_eq!(day.pipeline.pending_gaps().count(), 0);
}

#[test]
fn a_start_in_mid_session_asks_for_what_was_before_it() {
    let mut day = Day {
        pipeline: known(Pipeline::new(&markets(), Position(0), [], at(700))),
        entries: Vec::new(),
    };
    day.apply_input(701, up());
    day.tick(710, "4000");
    day.until(902);
    let gap = day.gaps().last().cloned().unwrap();
    assert_eq!(
        (gap.from, gap.to, gap.bars, gap.cause.as_str()),
        (at(0), at(900), 3, "not_connected")
    );
    assert_eq!(day.bars(Interval::M5)[0].flags, Flags::LATE_START);
}

#[test]
fn sessions_are_announced_and_ticks_outside_are_counted_not_stored() {
    let mut day = Day::begun();
    day.tick(-30, "4000");
    day.tick(10, "4001");
    day.until(SPAN + 100);
    day.tick(SPAN + 101, "4002");
    day.until(86_400);
    let phases = day.entries.iter().filter_map(|entry| match entry {
        JournalEntry::Event(numbered) => match &numbered.event {
            Event::Session(change) => Some((change.phase, numbered.at)),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(
        phases.collect::<Vec<_>>(),
        [
            (SessionPhase::OpeningSoon, at(-300)),
            (SessionPhase::Open, at(0)),
            (SessionPhase::ClosingSoon, at(SPAN - 300)),
            (SessionPhase::Closed, at(SPAN)),
            (SessionPhase::OpeningSoon, at(86_400 - 300)),
            (SessionPhase::Open, at(86_400)),
        ]
    );
    assert_eq!(
        day.pipeline.counts().ticks_set_aside.get(&RejectReason::OffSession),
        Some(&2)
    );
    assert_eq!(day.pipeline.counts().ticks_accepted, 1);
}

#[test]
fn longer_intervals_are_composed_of_the_same_ticks_and_end_after_their_bars() {
    let mut day = Day::begun();
    for slot in 0..6 {
        day.tick(slot * 300 + 10, &format!("{}", 4_000 + slot));
    }
    day.until(SPAN + 2);
    assert_eq!(day.bars(Interval::M5).len(), 6);
    assert_eq!(shown(&day.bars(Interval::M15)[1]), "4003 4005 4003 4005 n3 r0 closed");
    assert_eq!(
        shown(&day.bars(Interval::Session)[0]),
        "4000 4005 4000 4005 n6 r0 closed"
    );
    let mut closed = 0;
    for entry in &day.entries {
        match entry {
            JournalEntry::Event(numbered) => match &numbered.event {
                Event::Bar(bar) if bar.key.interval == Interval::M5 => closed += 1,
                Event::BarEnd(end) if end.interval == Interval::M5 => {
                    assert_eq!(end.opens_at, at((closed - 1) * 300));
                    assert_eq!(end.complete, [Symbol::usdcop()]);
                }
                _ => {}
            },
            JournalEntry::Partial { bar, .. } => assert_eq!(
                bar.key.opens_at,
                at(closed * 300),
                "no partial before its forerunner closed"
            ),
            JournalEntry::Input(_) => {}
        }
    }
}

#[test]
fn after_a_restart_the_time_in_between_is_a_gap_that_says_so() {
    let mut day = Day::begun();
    day.tick(10, "4000");
    day.tick(200, "4001");
    let mut again = rebuilt(&day.entries);
    assert_eq!(again.pipeline.at(), at(201));
    again.apply_input(1_300, InputKind::Started);
    let gaps = again.gaps();
    let last = gaps.last().unwrap();
    assert_eq!(
        (last.cause.as_str(), last.from, last.to),
        ("not_running", at(0), at(1_200))
    );
    assert_eq!(again.bars(Interval::M5)[0].flags, Flags::FEED_GAP);
}

/// The state that a restart rebuilds from the written entries.
pub(super) fn rebuilt(entries: &[JournalEntry]) -> Day {
    let mut day = Day {
        pipeline: pipeline(),
        entries: Vec::new(),
    };
    for entry in entries {
        if let JournalEntry::Input(heard) = entry {
            let says = wire::says(heard).unwrap_or(Decoded::Nothing);
            day.pipeline.replay(
                Inbound {
                    heard: heard.clone(),
                    says,
                },
                &mut day.entries,
            );
        }
    }
    day
}

#[test]
fn a_new_session_can_be_replayed_from_its_own_first_entry() {
    let mut day = Day::begun();
    day.tick(10, "4000");
    day.until(86_400 - 1);
    let before = day.entries.len();
    let heads = day.pipeline.heads().to_vec();
    let head = day.pipeline.head();
    day.tick(86_400 + 5, "4010");
    day.tick(86_400 + 100, "4011");
    day.until(86_400 + 302);
    let today = &day.entries[before..];
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
fn lateness_is_shorter_than_the_shortest_bar() {
    for &interval in Interval::ALL {
        assert!(interval.length().is_none_or(|length| limits::LATENESS < length));
    }
}

#[test]
fn bars_told_as_whole_before_a_silent_death_was_noticed_are_told_again_as_flawed_and_healed() {
    let mut day = Day::begun();
    for stamp in [10, 200, 310, 400] {
        day.tick(stamp, "4000");
    }
    day.until(650);
    let told = |day: &Day| -> Vec<(u32, bool)> {
        let bar = |entry: &JournalEntry| match entry {
            JournalEntry::Event(crate::domain::model::Sequenced {
                event: Event::Bar(bar), ..
            }) if bar.key.interval == Interval::M5 => Some((bar.revision, bar.flags.contains(Flags::FEED_GAP))),
            _ => None,
        };
        day.entries.iter().filter_map(bar).collect()
    };
    assert_eq!(told(&day), [(0, false), (0, false)]);
    let doubt = LinkChange::Doubt {
        since: at(401),
        cause: "silent".to_owned(),
    };
    day.apply_input(660, InputKind::Link(doubt));
    day.apply_input(660, down("silent"));
    assert_eq!(
        told(&day),
        [(0, false), (0, false), (1, true)],
        "only the bar that was not over when the silence began"
    );
    let gap = day.pipeline.pending_gaps().next().unwrap();
    assert_eq!((gap.from, gap.to, gap.cause.as_str()), (at(300), at(600), "silent"));
    day.pipeline.accept(
        fetched(300, 600, &[(300, ["4000", "4010", "3990", "4005"])]),
        &mut day.entries,
    );
    assert_eq!(told(&day).last(), Some(&(2, false)), "the vendor's bar takes its place");
    assert_eq!(day.pipeline.pending_gaps().count(), 0);
}

#[test]
fn each_pairs_bars_are_counted_in_its_own_session() {
    let euro: Symbol = "EUR/USD".parse().unwrap();
    let mut markets = markets();
    let other = markets[0].clone();
    markets.push(PairRules { symbol: euro, ..other });
    let mut pipeline = Pipeline::new(&markets, Position(0), [], at(-600));
    let mut out = Vec::new();
    pipeline.accept(arrival(at(-30), up()), &mut out); // the link has USD/COP alone
    for second in (1..700).step_by(60) {
        pipeline.accept(arrival(at(second), InputKind::Frame(frame(second, "4000"))), &mut out);
    }
    pipeline.advance(at(SPAN - 60), &mut out);
    let counted = |pipeline: &Pipeline| {
        let of = pipeline.counts_of_pairs();
        [Symbol::usdcop(), euro].map(|pair| of[&pair].bars_closed)
    };
    let (both, [ours, none]) = (pipeline.counts().bars_closed, counted(&pipeline));
    assert!(ours >= 3 && none == 0 && both == ours, "{both} {ours} {none}");
    pipeline.advance(at(86_400 + 10), &mut out); // the next day's session
    assert_eq!(counted(&pipeline), [0, 0]);
}
