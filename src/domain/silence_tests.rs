//! Heard is not accepted: what is said of slots and stamps when prices come and are not believed.

use crate::domain::acceptance::AcceptanceView;
use crate::domain::event::{Arrival, Asked, Fetched, Heard, HeardKind, LinkChange, Says};
use crate::domain::evident_conditions::{AllEvidence, EvidentConditions, PairEvidence, clock_skew_us};
use crate::domain::gap::GapStatus;
use crate::domain::health::ConditionKind;
use crate::domain::interval::Interval;
use crate::domain::pipeline_tests::{Day, SPAN, arrival, at, frame, session, up};
use crate::domain::safety::{Evidence, LinkEvidence, PollingEvidence};
use crate::domain::stamp_lag::LagReading;
use crate::domain::symbol::Symbol;
use crate::domain::tick::SetAside;
use bytes::Bytes;
use std::time::Duration;

fn ask(day: &mut Day, from: i64, to: i64, now: i64) {
    let asked = Asked {
        symbol: Symbol::usdcop(),
        interval: Interval::M5,
        from: at(from),
        to: at(to),
    };
    day.hear(now, HeardKind::Asked(asked));
}

/// The vendor has no bar in this stretch.
fn none(day: &mut Day, from: i64, to: i64, now: i64) {
    let fetched = Fetched {
        unusable: Vec::new(),
        symbol: Symbol::usdcop(),
        interval: Interval::M5,
        from: at(from),
        to: at(to),
        bars: Vec::new(),
    };
    let heard = Heard {
        at: at(now),
        what: HeardKind::Answer(Bytes::new()),
    };
    let says = Says::Bars(fetched);
    day.pipeline.accept(Arrival { heard, says }, &mut day.entries);
}

fn prices(day: &Day) -> AcceptanceView {
    day.pipeline.prices().next().unwrap().1
}

/// The conditions that hold at a moment of the session.
fn conditions(day: &Day, now: i64) -> Vec<(ConditionKind, String, String)> {
    let prices = prices(day);
    let evidence = Evidence {
        session: Some(session(0)),
        active: true,
        history_verified: true,
        link: LinkEvidence::default(),
        polling: PollingEvidence::default(),
        prices: None,
        unresponsive: false,
        clock_stepped: false,
        clock_skewed: false,
        ledger_writable: true,
        jitter: Duration::ZERO,
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
    evident.look(&evidence, at(now));
    let held = evident.list().into_iter().filter(|one| one.status);
    held.map(|one| (one.kind, one.reason, one.message)).collect()
}

#[test]
fn a_slot_without_prices_is_silent_only_where_prices_before_and_after_it_prove_it() {
    let mut day = Day::begun();
    day.tick(10, "4000");
    day.until(602);
    assert_eq!(day.gaps().last().unwrap().cause, "no_accepted_price");
    day.tick(610, "4001");
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
fn with_our_clock_seventy_seconds_slow_nothing_is_called_silent_or_unfillable() {
    let mut day = Day::begun();
    for secs in (0..1_500).step_by(5) {
        day.hear(
            secs,
            HeardKind::Frame(frame(secs + 70, &format!("{}", 4_000 + secs % 7))),
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
    assert_eq!((counts.accepted, counts.rejected[&SetAside::FromTheFuture]), (0, 300));
    assert_eq!(counts.rejection(at(0)), Some("streak"));
    let gaps = day.gaps();
    assert!(!gaps.is_empty());
    assert!(gaps.iter().all(|gap| gap.status.pending()), "{gaps:?}");
    assert!(gaps.iter().all(|gap| gap.cause == "no_accepted_price"), "{gaps:?}");
    // The clock is put right: the vendor's word counts again.
    for secs in (1_500..1_680).step_by(5) {
        day.hear(secs, HeardKind::Frame(frame(secs, &format!("{}", 4_000 + secs % 7))));
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
            day.hear(secs, HeardKind::Frame(frame(stamp, &format!("{}", 4_000 + secs % 7))));
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
            (counts.accepted, counts.rejected[&SetAside::OffSession]),
            (0, 12),
            "{reason}"
        );
    }
}

#[test]
fn what_was_known_of_stamps_and_rejections_ends_with_the_session() {
    let mut day = Day::begun();
    for secs in (SPAN - 100..SPAN).step_by(5) {
        day.hear(secs, HeardKind::Frame(frame(secs + 70, "4000")));
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
        .accept(arrival(at(320), HeardKind::Link(down)), &mut day.entries);
    day.hear(330, up());
    day.tick(610, "4001");
    assert_eq!(day.gaps().pop().unwrap().cause, "upstream_close_1006");
}
