//! Gaps and their evidence: the recorded outcomes of their slots, on scripted days.

use crate::domain::model::{
    Bar, BarKey, Channel, Decoded, Flags, Gap, GapStatus, Inbound, InputKind, Interval, LinkChange, Position, Price,
    Provenance, Requested, Symbol,
};
use crate::domain::pipeline::{
    Pipeline, ToldDays,
    tests::{
        pipeline::{Day, at, bars, down, fetched, frame, markets, up},
        reopen::CorrectedDay,
    },
};
use std::collections::BTreeMap;

/// A day whose first bar was received only in part.
fn flawed_day() -> Day {
    let mut day = Day::begun();
    day.tick(10, "4000");
    day.apply_input(100, down("upstream_close_1006"));
    day.apply_input(120, up());
    day.tick(130, "4001");
    day.until(302);
    day
}

#[test]
fn a_flawed_bar_that_the_vendor_cannot_better_stands_and_its_gap_is_not_filled() {
    let mut day = flawed_day();
    day.pipeline.accept(fetched(0, 300, &[]), &mut day.entries);
    let bars = day.bars(Interval::M5);
    assert_eq!((bars.len(), bars[0].revision, bars[0].flags), (1, 0, Flags::FEED_GAP));
    let gap = day.gaps().last().cloned().unwrap();
    assert_eq!((gap.status, gap.bars), (GapStatus::Unfillable, 1));
    assert_eq!(
        gap.cause,
        "upstream_close_1006; the vendor has no bar, candela's bar stays flawed"
    );
    let counts = day.pipeline.counts();
    assert_eq!(
        (counts.gaps_opened, counts.gaps_filled, counts.gaps_unfillable),
        (1, 0, 1)
    );
}

#[test]
fn an_answer_that_does_not_cover_the_whole_slot_is_no_evidence_about_it() {
    for (from, to) in [(0, 299), (1, 300), (300, 600)] {
        let mut day = flawed_day();
        day.pipeline.accept(fetched(from, to, &[]), &mut day.entries);
        assert_eq!(day.pipeline.pending_gaps().count(), 1, "{from} to {to}");
    }
}

#[test]
fn a_bar_of_the_vendor_that_cannot_be_used_fills_nothing_and_is_named() {
    let mut day = Day::begun();
    day.apply_input(0, down("silent"));
    day.until(302);
    let mut answer = fetched(0, 300, &[]);
    if let Decoded::Bars(fetched) = &mut answer.says {
        fetched.unusable.push(at(0));
    }
    day.pipeline.accept(answer, &mut day.entries);
    let gap = day.gaps().last().cloned().unwrap();
    assert_eq!(
        (gap.status, gap.cause.as_str()),
        (GapStatus::Unfillable, "silent; the vendor's bar cannot be used")
    );
}

#[test]
fn a_late_tick_in_an_outage_makes_a_bar_that_is_still_flawed() {
    let mut day = Day::begun();
    day.apply_input(0, down("upstream_close_1006"));
    day.apply_input(301, up());
    day.until(302);
    assert_eq!(day.bars(Interval::M5), []);
    day.apply_input(303, InputKind::Frame(frame(290, "4000")));
    let bars = day.bars(Interval::M5);
    assert_eq!((bars[0].revision, bars[0].flags), (0, Flags::FEED_GAP));
    day.pipeline.accept(fetched(0, 300, &[]), &mut day.entries);
    let gap = day.gaps().last().cloned().unwrap();
    assert_eq!(gap.status, GapStatus::Unfillable, "{gap:?}");
}

#[test]
fn a_late_tick_that_makes_a_whole_bar_fills_its_gap_at_once_in_its_own_interval_and_the_longer_ones() {
    let mut hour = CorrectedDay::begun(Some((0, 900)));
    for stamp in [10, 610, 670, 730, 790, 850] {
        hour.day.tick(stamp, "4000");
    }
    hour.day.until(902);
    let pending = |hour: &CorrectedDay, interval| {
        let gaps = hour.day.pipeline.pending_gaps().filter(|gap| gap.interval == interval);
        gaps.map(|gap| (gap.from, gap.to)).collect::<Vec<_>>()
    };
    assert_eq!(pending(&hour, Interval::M5), [(at(300), at(600))]);
    assert_eq!(pending(&hour, Interval::M1), [(at(60), at(600))]);
    hour.day.apply_input(902, InputKind::Frame(frame(410, "4007")));
    assert_eq!(pending(&hour, Interval::M5), []);
    let told = hour
        .day
        .gaps()
        .into_iter()
        .rfind(|gap| gap.interval == Interval::M5)
        .unwrap();
    assert_eq!(
        (told.status, told.from, told.to, told.bars),
        (GapStatus::Filled, at(300), at(600), 1)
    );
    assert_eq!(hour.day.pipeline.counts().gaps_filled, 1);
    assert_eq!(
        pending(&hour, Interval::M1),
        [(at(60), at(600))],
        "eight of its minutes are missing"
    );
    let high = |interval| {
        hour.day
            .bars(interval)
            .last()
            .map(|bar| (bar.ohlc.high.to_string(), bar.flags))
    };
    for interval in [Interval::M15, Interval::Session, Interval::D1] {
        assert_eq!(
            high(interval),
            Some(("4007".to_owned(), Flags::default())),
            "{interval}"
        );
    }
    // The vendor's bar of the slot is compared with ours, like any other.
    hour.day
        .pipeline
        .accept(fetched(300, 600, &[(300, ["4007"; 4])]), &mut hour.day.entries);
    assert_eq!(hour.day.bars(Interval::M5).last().unwrap().provenance, Provenance::Live);
}

#[test]
fn a_late_tick_that_makes_the_only_missing_minute_fills_the_gap_of_minutes() {
    let mut day = CorrectedDay::begun(Some((0, 900))).day;
    for stamp in (10..900).step_by(60).filter(|stamp| *stamp != 430) {
        day.tick(stamp, "4000");
    }
    day.apply_input(900, down("silent")); // what was not heard is not known to be silence
    day.until(902);
    let pending = |day: &Day| {
        let gaps = day.pipeline.pending_gaps();
        gaps.map(|gap| (gap.interval, gap.from, gap.to)).collect::<Vec<_>>()
    };
    assert_eq!(pending(&day), [(Interval::M1, at(420), at(480))]);
    day.apply_input(902, InputKind::Frame(frame(430, "4007")));
    assert_eq!(pending(&day), []);
    let told = day.gaps().last().cloned().unwrap();
    assert_eq!((told.interval, told.status), (Interval::M1, GapStatus::Filled));
}

/// An hour with all intervals; the link was down for three minutes in its fifth bar.
fn cut_hour() -> CorrectedDay {
    let mut hour = CorrectedDay::begun(Some((0, 3_600)));
    let ticks = |hour: &mut CorrectedDay, from: i64, to: i64| {
        for stamp in (from..to).step_by(20) {
            hour.day.tick(stamp, &(4_000 + stamp % 7).to_string());
        }
    };
    ticks(&mut hour, 5, 1_260);
    hour.day.apply_input(1_260, down("upstream_close_1006"));
    hour.day.apply_input(1_440, up());
    ticks(&mut hour, 1_445, 3_600);
    hour.day.until(3_610);
    hour
}

const VENDOR: [&str; 4] = ["4000", "4050", "3990", "4003"];

#[test]
fn a_healed_bar_heals_the_bars_of_every_longer_interval_that_hold_it() {
    let mut hour = cut_hour();
    let seqs = |hour: &CorrectedDay| hour.day.pipeline.heads().to_vec();
    let before = seqs(&hour);
    hour.day
        .pipeline
        .accept(fetched(1_200, 1_500, &[(1_200, VENDOR)]), &mut hour.day.entries);
    let price = |text: &str| text.parse::<Price>().unwrap();
    for (interval, opens) in [
        (Interval::M5, 1_200),
        (Interval::M15, 900),
        (Interval::M30, 0),
        (Interval::H1, 0),
        (Interval::Session, 0),
        (Interval::D1, 0),
    ] {
        let told: Vec<Bar> = hour.day.bars(interval);
        let told: Vec<&Bar> = told.iter().filter(|bar| bar.key.opens_at == at(opens)).collect();
        assert_eq!(told.len(), 2, "{interval}");
        assert_eq!((told[0].revision, told[0].flags), (0, Flags::FEED_GAP), "{interval}");
        let healed = told[1];
        assert_eq!(
            (healed.ohlc.high, healed.ohlc.low),
            (price("4050"), price("3990")),
            "{interval}"
        );
        assert_eq!((healed.revision, healed.flags), (1, Flags::default()), "{interval}");
        let provenance = if interval == Interval::M5 {
            Provenance::Backfill
        } else {
            Provenance::Mixed
        };
        assert_eq!(healed.provenance, provenance, "{interval}");
        assert_eq!(healed.ticks, told[0].ticks, "{interval}");
        let channel = Channel::bars(interval, Symbol::usdcop());
        let seq = |heads: &[(Channel, u64)]| heads.iter().find(|head| head.0 == channel).unwrap().1;
        assert_eq!(seq(&seqs(&hour)), seq(&before) + 1, "{interval}");
    }
}

fn in_minutes(mut answer: Inbound) -> Inbound {
    if let Decoded::Bars(fetched) = &mut answer.says {
        fetched.interval = Interval::M1;
    }
    answer
}

/// A session of twelve minutes; its last slot, which is cut short, was not received.
fn cut_session() -> CorrectedDay {
    let mut cut = CorrectedDay::begun(Some((0, 720)));
    for stamp in (5..600).step_by(20) {
        cut.day.tick(stamp, "4000");
    }
    cut.day.apply_input(600, down("silent"));
    cut.day.until(725);
    cut
}

fn slot_gap(cut: &CorrectedDay) -> Gap {
    let told = cut.day.gaps().into_iter();
    let mut told = told.filter(|gap| gap.interval == Interval::M5);
    told.next_back().unwrap()
}

#[test]
fn a_slot_that_the_sessions_end_cuts_is_healed_by_the_vendors_minutes_and_not_by_a_bar_that_goes_on_after_it() {
    let mut cut = cut_session();
    let asked = Requested {
        symbol: Symbol::usdcop(),
        interval: Interval::M1,
        from: at(600),
        to: at(720),
    };
    cut.day.apply_input(726, InputKind::Requested(asked));
    assert_eq!((slot_gap(&cut).status, slot_gap(&cut).bars), (GapStatus::Filling, 1));
    let entries = &mut cut.day.entries;
    cut.day.pipeline.accept(fetched(600, 900, &[(600, VENDOR)]), entries);
    assert_eq!(
        slot_gap(&cut).status,
        GapStatus::Filling,
        "its 4050 may have come after the close"
    );
    let minutes = [
        (600, ["4000", "4003", "3999", "4001"]),
        (660, ["4001", "4004", "4000", "4002"]),
    ];
    let entries = &mut cut.day.entries;
    cut.day
        .pipeline
        .accept(in_minutes(fetched(600, 720, &minutes)), entries);
    assert_eq!(slot_gap(&cut).status, GapStatus::Filled);
    let prices = |interval| {
        let bar = *cut.day.bars(interval).last().unwrap();
        let of = bar.ohlc;
        let prices = [of.open, of.high, of.low, of.close].map(|price| price.to_string());
        (bar.closes_at, bar.flags, prices.join(" "))
    };
    let partial = |text: &str| (at(720), Flags::PARTIAL_SESSION, text.to_owned());
    assert_eq!(prices(Interval::M5), partial("4000 4004 3999 4002"));
    for interval in [Interval::M15, Interval::M30, Interval::H1] {
        assert_eq!(prices(interval), partial("4000 4004 3999 4002"), "{interval}");
    }
    assert_eq!(prices(Interval::Session).2, "4000 4004 3999 4002");
    assert_eq!(cut.day.pipeline.pending_gaps().count(), 0, "its minutes came as well");
}

#[test]
fn a_cut_slot_is_healed_also_while_the_clock_is_doubtful_by_minutes_that_cover_it_and_only_by_those() {
    let minute = |opens| (opens, ["4000", "4003", "3999", "4001"]);
    let cases = [
        (vec![minute(600)], GapStatus::Open),
        (vec![minute(660)], GapStatus::Open),
        (vec![minute(600), minute(660)], GapStatus::Filled),
    ];
    for (minutes, expect) in cases {
        let mut cut = cut_session();
        cut.day.apply_input(86_340, up());
        for stamp in (86_405..86_500).step_by(20) {
            // On the next day our clock is 40 s ahead of the timestamps.
            cut.day.apply_input(stamp + 40, InputKind::Frame(frame(stamp, "4000")));
        }
        let answer = in_minutes(fetched(600, 720, &minutes));
        cut.day.pipeline.accept(answer, &mut cut.day.entries);
        assert_eq!(slot_gap(&cut).status, expect, "{minutes:?}");
        let healed = |bar: &Bar| bar.key.opens_at == at(600) && bar.provenance == Provenance::Backfill;
        let bars = cut.day.bars(Interval::M5);
        assert_eq!(bars.iter().any(healed), expect == GapStatus::Filled, "{minutes:?}");
    }
}

#[test]
fn a_cut_slot_is_unfillable_only_when_the_vendor_answered_for_its_minutes() {
    let mut cut = cut_session();
    let entries = &mut cut.day.entries;
    cut.day.pipeline.accept(fetched(600, 900, &[]), entries);
    assert_eq!(slot_gap(&cut).status, GapStatus::Open);
    let first = in_minutes(fetched(600, 660, &[(600, VENDOR)]));
    cut.day.pipeline.accept(first, &mut cut.day.entries);
    assert_eq!(slot_gap(&cut).status, GapStatus::Open, "half of the slot makes no bar");
    cut.day
        .pipeline
        .accept(in_minutes(fetched(600, 720, &[])), &mut cut.day.entries);
    let gap = slot_gap(&cut);
    assert_eq!(
        (gap.status, gap.cause.as_str()),
        (GapStatus::Unfillable, "silent; the vendor has no bar")
    );
}

#[test]
fn a_part_that_is_healed_before_the_longer_bar_closes_is_in_its_first_revision() {
    let mut hour = CorrectedDay::begun(Some((0, 3_600)));
    hour.day.tick(10, "4000");
    hour.day.apply_input(20, down("silent"));
    hour.day.apply_input(200, up());
    hour.day.until(302);
    hour.day
        .pipeline
        .accept(fetched(0, 300, &[(0, VENDOR)]), &mut hour.day.entries);
    for slot in 1..12 {
        hour.day.tick(slot * 300 + 10, "4001");
    }
    hour.day.until(3_610);
    for interval in [
        Interval::M15,
        Interval::M30,
        Interval::H1,
        Interval::Session,
        Interval::D1,
    ] {
        let first = hour.day.bars(interval)[0];
        assert_eq!(
            (
                first.revision,
                first.flags,
                first.ohlc.high.to_string(),
                first.ohlc.low.to_string()
            ),
            (0, Flags::default(), "4050".to_owned(), "3990".to_owned()),
            "{interval}"
        );
    }
}

#[test]
fn a_longer_bar_without_a_tick_is_told_when_its_parts_have_come() {
    let mut hour = CorrectedDay::begun(Some((0, 3_600)));
    hour.day.apply_input(0, down("silent"));
    hour.day.until(905);
    assert_eq!(hour.day.bars(Interval::M15), []);
    hour.day.pipeline.accept(
        fetched(0, 600, &[(0, VENDOR), (300, ["4003"; 4])]),
        &mut hour.day.entries,
    );
    assert_eq!(hour.day.bars(Interval::M15), [], "its third part may still come");
    hour.day.pipeline.accept(fetched(600, 900, &[]), &mut hour.day.entries);
    let told = hour.day.bars(Interval::M15);
    assert_eq!(told.len(), 1);
    assert_eq!(
        (
            told[0].revision,
            told[0].flags,
            told[0].provenance,
            told[0].ohlc.high.to_string()
        ),
        (0, Flags::default(), Provenance::Backfill, "4050".to_owned())
    );
}

#[test]
fn missing_minutes_are_gaps_of_their_own_that_the_vendor_is_asked_for() {
    let mut hour = cut_hour();
    let minutes = |hour: &CorrectedDay| -> Vec<Gap> {
        let pending = hour
            .day
            .pipeline
            .pending_gaps()
            .filter(|gap| gap.interval == Interval::M1);
        pending.cloned().collect()
    };
    let found = minutes(&hour);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].from, found[0].to, found[0].bars, found[0].cause.as_str()),
        (at(1_260), at(1_440), 3, "upstream_close_1006")
    );
    let asked = Requested {
        symbol: Symbol::usdcop(),
        interval: Interval::M1,
        from: at(1_260),
        to: at(1_440),
    };
    hour.day.apply_input(3_620, InputKind::Requested(asked));
    let status = |hour: &CorrectedDay| {
        let gaps = hour.day.pipeline.pending_gaps();
        gaps.map(|gap| (gap.interval, gap.status)).collect::<Vec<_>>()
    };
    assert_eq!(
        status(&hour),
        [(Interval::M5, GapStatus::Open), (Interval::M1, GapStatus::Filling)]
    );
    let mut answer = fetched(1_260, 1_440, &[(1_260, ["4001"; 4]), (1_380, ["4002"; 4])]);
    if let Decoded::Bars(fetched) = &mut answer.says {
        fetched.interval = Interval::M1;
    }
    hour.day.pipeline.accept(answer, &mut hour.day.entries);
    assert_eq!(minutes(&hour), []);
    let told = hour
        .day
        .gaps()
        .into_iter()
        .filter(|gap| gap.interval == Interval::M1 && !gap.status.pending());
    let told: Vec<_> = told.map(|gap| (gap.from, gap.to, gap.status)).collect();
    assert_eq!(
        told,
        [
            (at(1_320), at(1_380), GapStatus::Unfillable),
            (at(1_380), at(1_440), GapStatus::Filled),
            (at(1_260), at(1_320), GapStatus::Filled),
        ]
    );
    let healed = hour
        .day
        .bars(Interval::M1)
        .into_iter()
        .filter(|bar| bar.provenance == Provenance::Backfill);
    assert_eq!(healed.count(), 2);
}

#[test]
fn a_late_tick_in_a_missing_minute_and_the_vendors_bar_after_it_are_two_revisions() {
    let mut hour = cut_hour();
    hour.day.apply_input(3_612, InputKind::Frame(frame(1_270, "4001")));
    let answer = fetched(1_260, 1_440, &[(1_260, ["4001", "4002", "4001", "4002"])]);
    hour.day.pipeline.accept(in_minutes(answer), &mut hour.day.entries);
    let told = hour.day.bars(Interval::M1).into_iter();
    let told = told.filter(|bar| bar.key.opens_at == at(1_260));
    let told: Vec<_> = told.map(|bar| (bar.revision, bar.provenance)).collect();
    assert_eq!(told, [(0, Provenance::Live), (1, Provenance::Backfill)]);
}

#[test]
fn a_bar_of_the_vendors_is_whole_whatever_outage_of_ours_is_noticed_later() {
    let mut day = Day::begun();
    for stamp in [10, 310, 610] {
        day.tick(stamp, "4000");
    }
    day.apply_input(750, down("silent"));
    day.apply_input(760, up());
    day.tick(770, "4001");
    day.until(903);
    day.pipeline
        .accept(fetched(600, 900, &[(600, VENDOR)]), &mut day.entries);
    let doubted = |day: &mut Day, now: i64, since: i64| {
        let known = day.entries.len();
        let doubt = LinkChange::Doubt {
            since: at(since),
            cause: "silent".to_owned(),
        };
        day.apply_input(now, InputKind::Link(doubt));
        let told = &day.entries[known..];
        [Interval::M5, Interval::M15].map(|interval| {
            let bars = bars(told, interval).into_iter();
            bars.map(|bar| (bar.key.opens_at, bar.flags)).collect::<Vec<_>>()
        })
    };
    assert_eq!(doubted(&mut day, 965, 771), [vec![], vec![]]);
    assert_eq!(day.pipeline.pending_gaps().count(), 0);
    let flawed = |opens: i64| vec![(at(opens), Flags::FEED_GAP)];
    assert_eq!(doubted(&mut day, 966, 400), [flawed(300), flawed(0)]);
}

#[test]
fn quiet_minutes_become_gaps_only_when_the_session_is_over() {
    let mut quiet = CorrectedDay::begun(Some((0, 600)));
    for stamp in [10, 130, 310, 550] {
        quiet.day.tick(stamp, "4000");
    }
    quiet.day.until(601);
    assert_eq!(quiet.day.gaps(), []);
    quiet.day.until(602);
    let stretches: Vec<_> = quiet
        .day
        .gaps()
        .iter()
        .map(|gap| (gap.from, gap.to, gap.interval))
        .collect();
    let minute = Interval::M1;
    assert_eq!(
        stretches,
        [
            (at(60), at(120), minute),
            (at(180), at(300), minute),
            (at(360), at(540), minute),
        ]
    );
}

#[test]
fn a_quiet_minute_that_a_late_tick_made_is_no_gap_when_the_session_is_over() {
    let mut quiet = CorrectedDay::begun(Some((0, 600)));
    for stamp in [10, 130, 190, 250, 310, 370, 430, 490, 550] {
        quiet.day.tick(stamp, "4000");
    }
    quiet.day.apply_input(551, InputKind::Frame(frame(70, "4001")));
    quiet.day.until(602);
    assert_eq!(quiet.day.gaps(), []);
    let told = quiet.day.bars(Interval::M1).into_iter();
    let told: Vec<_> = told.filter(|bar| bar.key.opens_at == at(60)).collect();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].revision, told[0].provenance), (0, Provenance::Live));
}

#[test]
fn a_session_that_is_over_is_healed_in_every_interval_also_after_a_restart() {
    let two_days = || {
        let mut day = Day::begun();
        for slot in 0..6 {
            day.tick(slot * 300 + 10, "4000");
            if slot == 2 {
                day.apply_input(750, down("silent"));
                day.apply_input(760, up());
            }
        }
        day.until(86_400 + 100);
        day
    };
    let heal = |day: &mut Day| {
        let known = day.entries.len();
        day.pipeline
            .accept(fetched(600, 900, &[(600, VENDOR)]), &mut day.entries);
        let told = day.entries.split_off(known);
        [Interval::M5, Interval::M15, Interval::Session].map(|interval| {
            let bars = bars(&told, interval);
            assert_eq!(bars.len(), 1, "{interval}");
            (bars[0].revision, bars[0].flags, bars[0].ohlc.high.to_string())
        })
    };
    let healed = (1, Flags::default(), "4050".to_owned());
    let expect = [healed.clone(), healed.clone(), healed];
    let mut lived = two_days();
    assert_eq!(heal(&mut lived), expect);
    // The newest file begins with the second session; earlier bars come from the ledger.
    let lived = two_days();
    let mut last: BTreeMap<BarKey, Bar> = BTreeMap::new();
    for interval in [Interval::M5, Interval::M15, Interval::Session] {
        last.extend(lived.bars(interval).into_iter().map(|bar| (bar.key, bar)));
    }
    let mut restarted = Day {
        pipeline: Pipeline::new(&markets(), Position(0), [], at(86_400)),
        entries: Vec::new(),
    };
    let gap = lived.gaps().last().cloned().unwrap();
    let known: Vec<Bar> = last.into_values().collect();
    let told = ToldDays {
        sessions: Vec::new(), // of a ledger that has them no more
        bars: known,
    };
    restarted.pipeline.restore_gap(gap, &told);
    restarted.until(86_400 + 100);
    assert_eq!(heal(&mut restarted), expect);
}
