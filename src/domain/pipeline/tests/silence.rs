//! Received is not accepted: gaps and clock conditions when prices come and are rejected.

use crate::domain::model::{
    Decoded, Fetched, Gap, GapStatus, Inbound, Input, InputKind, Interval, LinkChange, RejectReason, Requested, Symbol,
    Unwatched,
};
use crate::domain::pipeline::{
    AcceptanceView, LagReading,
    tests::pipeline::{Day, SPAN, arrival, at, down, frame, session, up},
};
use crate::domain::status::{
    AllEvidence, ConditionKind, Evidence, EvidentConditions, LinkEvidence, PairEvidence, PollingEvidence,
    PriceEvidence, UnsafeReason, evident_conditions::clock_skew_us,
};
use crate::domain::vendor::Status;
use bytes::Bytes;
use std::time::Duration;

fn ask(day: &mut Day, from: i64, to: i64, now: i64) {
    let asked = Requested {
        symbol: Symbol::usdcop(),
        interval: Interval::M5,
        from: at(from),
        to: at(to),
    };
    day.apply_input(now, InputKind::Requested(asked));
}

/// The vendor answers that it has no bar in this range.
fn none(day: &mut Day, from: i64, to: i64, now: i64) {
    let fetched = Fetched {
        unusable: Vec::new(),
        symbol: Symbol::usdcop(),
        interval: Interval::M5,
        from: at(from),
        to: at(to),
        bars: Vec::new(),
    };
    let heard = Input {
        at: at(now),
        what: InputKind::Answer(Bytes::new()),
    };
    let says = Decoded::Bars(fetched);
    day.pipeline.accept(Inbound { heard, says }, &mut day.entries);
}

fn prices(day: &Day) -> AcceptanceView {
    day.pipeline.prices().next().unwrap().1
}

/// Evidence in which everything is well but the prices.
fn evidence(prices: &AcceptanceView) -> Evidence {
    Evidence {
        session: Some(session(0)),
        active: true,
        history_verified: true,
        link: LinkEvidence {
            up: true,
            line: Some(Status::Confirmed),
            ..LinkEvidence::default()
        },
        polling: PollingEvidence::default(),
        prices: Some(PriceEvidence {
            last: prices.last,
            lag: prices.lag,
            ..PriceEvidence::default()
        }),
        unresponsive: false,
        clock_stepped: false,
        clock_skewed: false,
        ledger_writable: true,
        sole_writer: true,
        jitter: Duration::ZERO,
    }
}

/// The conditions at a moment of the session.
fn conditions(day: &Day, now: i64) -> Vec<(ConditionKind, String, String)> {
    let prices = prices(day);
    let evidence = Evidence {
        link: LinkEvidence::default(),
        prices: None,
        ..evidence(&prices)
    };
    let readings: Vec<LagReading> = prices.lag.into_iter().collect();
    let pair = PairEvidence {
        symbol: Symbol::usdcop(),
        evidence,
        prices: Some(prices),
        poll_error: None,
    };
    let mut evident = EvidentConditions::default();
    let evidence = AllEvidence {
        pairs: vec![pair],
        skew_us: clock_skew_us(&readings),
        unresponsive: Vec::new(),
    };
    evident.update(&evidence, at(now));
    let held = evident.list().into_iter().filter(|one| one.status);
    held.map(|one| (one.kind, one.reason, one.message)).collect()
}

#[test]
fn a_slot_without_prices_is_silent_only_where_prices_before_and_after_it_prove_it() {
    let mut day = Day::begun();
    day.tick(10, "4000");
    day.until(602);
    assert_eq!(day.gaps().last().unwrap().cause, "no_accepted_price");
    assert!(day.pipeline.pending_gaps().any(Gap::is_hole));
    day.tick(610, "4001");
    let told = day.gaps().pop().unwrap();
    assert_eq!((told.status, told.cause.as_str()), (GapStatus::Open, "no_ticks"));
    assert!(day.pipeline.pending_gaps().any(|gap| !gap.is_hole()) && day.pipeline.counts().gaps_opened == 1);
    ask(&mut day, 300, 600, 615);
    let told = day.gaps().pop().unwrap();
    assert_eq!((told.status, told.cause.as_str()), (GapStatus::Filling, "no_ticks"));
    none(&mut day, 300, 600, 800);
    let told = day.gaps().pop().unwrap();
    assert_eq!(
        (told.status, told.cause.as_str()),
        (GapStatus::Unfillable, "no_ticks; the vendor has no bar")
    );
}

#[test]
fn an_interrupted_line_a_pause_or_a_late_tick_leaves_an_empty_slot_unproven() {
    let unwatched = |from: i64, to: i64| {
        let unwatched = Unwatched {
            until: at(to),
            cause: "process_paused".to_owned(),
        };
        (from, InputKind::Unwatched(unwatched))
    };
    let between: [(&str, Vec<(i64, InputKind)>); 3] = [
        ("lost", vec![(100, down("upstream_close_1006")), (120, up())]),
        ("paused", vec![unwatched(100, 161)]),
        ("started", vec![(100, InputKind::Started), (120, up())]),
    ];
    for (what, inputs) in between {
        let mut day = Day::begun();
        day.tick(10, "4000");
        inputs
            .into_iter()
            .for_each(|(secs, input)| day.apply_input(secs, input));
        day.until(602);
        day.tick(610, "4001");
        let gaps: Vec<Gap> = day.pipeline.pending_gaps().cloned().collect();
        let holes: Vec<&str> = gaps
            .iter()
            .filter(|gap| gap.is_hole())
            .map(|gap| gap.cause.as_str())
            .collect();
        assert!(holes.contains(&"no_accepted_price"), "{what}: {gaps:?}");
    }
    let mut day = Day::begun();
    day.tick(10, "4000");
    day.until(602);
    day.apply_input(605, InputKind::Frame(frame(590, "4001"))); // makes a bar: the slot was not silent
    day.tick(910, "4002");
    let late = day.gaps().into_iter().rfind(|gap| gap.from == at(300)).unwrap();
    assert_eq!(
        (late.status, late.cause.as_str()),
        (GapStatus::Filled, "no_accepted_price")
    );
}

#[test]
fn with_our_clock_seventy_seconds_slow_nothing_is_called_silent_or_unfillable() {
    let mut day = Day::begun();
    for secs in (0..1_500).step_by(5) {
        day.apply_input(
            secs,
            InputKind::Frame(frame(secs + 70, &format!("{}", 4_000 + secs % 7))),
        );
        if secs == 60 {
            let held = conditions(&day, secs);
            assert!(
                held.iter()
                    .any(|(kind, reason, message)| *kind == ConditionKind::ClockSkewed
                        && reason == "clock_slow"
                        && message.contains("-70 s")),
                "{held:?}"
            );
        }
        if secs % 300 == 180 && secs > 300 {
            ask(&mut day, 0, secs - 180, secs);
            none(&mut day, 0, secs - 180, secs);
        }
    }
    let counts = prices(&day);
    assert_eq!(
        (counts.accepted, counts.rejected[&RejectReason::FromTheFuture]),
        (0, 300)
    );
    assert_eq!(counts.rejection_reason(at(0)), Some("streak"));
    let gaps = day.gaps();
    assert!(!gaps.is_empty());
    assert!(gaps.iter().all(|gap| gap.status.pending()), "{gaps:?}");
    assert!(gaps.iter().all(|gap| gap.cause == "no_accepted_price"), "{gaps:?}");
    // The clock is corrected: the vendor's answer counts again.
    for secs in (1_500..1_680).step_by(5) {
        day.apply_input(secs, InputKind::Frame(frame(secs, &format!("{}", 4_000 + secs % 7))));
    }
    assert_eq!(conditions(&day, 1_680), []);
    none(&mut day, 0, 1_500, 1_700);
    assert!(day.gaps().iter().any(|gap| gap.status == GapStatus::Unfillable));
}

#[test]
fn stamps_that_are_hours_or_a_day_old_or_no_seconds_are_told_within_a_minute() {
    type Stamped = fn(i64) -> i64;
    let cases: [(&str, Stamped, &str); 3] = [
        ("old", |stamp| stamp - 7_200, "7200 s"),
        ("old", |stamp| stamp - 86_400, "86400 s"),
        ("unit", |stamp| stamp * 1_000, "milliseconds"),
    ];
    for (reason, stamped, size) in cases {
        let mut day = Day::begun();
        for secs in (300..360).step_by(5) {
            let stamp = stamped(at(secs).secs()) - at(0).secs();
            day.apply_input(secs, InputKind::Frame(frame(stamp, &format!("{}", 4_000 + secs % 7))));
        }
        let held = conditions(&day, 360);
        let kinds: Vec<ConditionKind> = held.iter().map(|(kind, _, _)| *kind).collect();
        assert_eq!(
            kinds,
            [ConditionKind::StampsLagging, ConditionKind::TicksRejected],
            "{held:?}"
        );
        assert!(held[0].1 == reason && held[0].2.contains(size), "{held:?}");
        let counts = prices(&day);
        assert_eq!(
            (counts.accepted, counts.rejected[&RejectReason::OffSession]),
            (0, 12),
            "{reason}"
        );
    }
}

#[test]
fn what_was_known_of_stamps_and_rejections_ends_with_the_session() {
    let mut day = Day::begun();
    for secs in (SPAN - 100..SPAN).step_by(5) {
        day.apply_input(secs, InputKind::Frame(frame(secs + 70, "4000")));
    }
    assert!(!conditions(&day, SPAN - 1).is_empty());
    day.until(SPAN + 1);
    assert_eq!(conditions(&day, SPAN + 1), []);
}

#[test]
fn a_link_that_goes_down_is_the_cause_also_where_prices_prove_the_rest() {
    let mut day = Day::begun();
    day.tick(10, "4000");
    let down = LinkChange::Down {
        cause: "upstream_close_1006".to_owned(),
    };
    day.pipeline
        .accept(arrival(at(320), InputKind::Link(down)), &mut day.entries);
    day.apply_input(330, up());
    day.tick(610, "4001");
    assert_eq!(day.gaps().pop().unwrap().cause, "upstream_close_1006");
}

#[test]
fn stamps_that_lag_so_far_that_no_price_is_accepted_are_named_among_the_reasons() {
    let mut day = Day::begun();
    for i in 1..20 {
        day.apply_input(i * 10, InputKind::Frame(frame(i * 10 - 7_200, "4000")));
    }
    assert_eq!(
        evidence(&prices(&day)).assess(at(200)).reasons,
        [UnsafeReason::NoAcceptedPrice, UnsafeReason::StampsLagging]
    );
    let mut well = Day::begun();
    (1..20).for_each(|i| well.tick(i * 10, "4000"));
    assert_eq!(evidence(&prices(&well)).assess(at(195)).reasons, []);
}
