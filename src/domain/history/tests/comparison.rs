//! Tests of [`super`]: one habit of the other service at a time.

use super::*;
use crate::domain::model::{BarKey, BarState, GapStatus, Session, SessionKind, SlotGrid, Symbol, Tick};
use std::time::Duration;

const OPENS: Timestamp = Timestamp::from_secs(1_772_456_400); // 2026-03-02 08:00 in Bogota
const FIVE: Duration = Duration::from_secs(300);

fn slot_at(number: u32) -> Timestamp {
    OPENS + FIVE * number
}

fn session(bars: u32) -> Vec<Slot> {
    let session = Session {
        date: "2026-03-02".parse().unwrap(),
        opens: OPENS,
        closes: slot_at(bars),
        kind: SessionKind::Spot,
    };
    SlotGrid::BASE.slots(&session).collect()
}

/// Prices in hundredths.
fn ohlc(open: i64, high: i64, low: i64, close: i64) -> Ohlc {
    let price = |hundredths: i64| Price::from_micros(hundredths * 10_000);
    Ohlc {
        open: price(open),
        high: price(high),
        low: price(low),
        close: price(close),
    }
}

fn bar(number: u32, prices: Ohlc) -> Bar {
    Bar {
        key: BarKey {
            symbol: Symbol::usdcop(),
            interval: Interval::M5,
            opens_at: slot_at(number),
        },
        closes_at: slot_at(number + 1),
        ohlc: prices,
        ticks: 9,
        first_tick_at: None,
        last_tick_at: None,
        state: BarState::Closed,
        revision: 0,
        provenance: Provenance::Live,
        flags: Flags::default(),
        session_date: "2026-03-02".parse().unwrap(),
        session_kind: SessionKind::Spot,
    }
}

/// Four bars: the first opens at 4000.00, and each opens 0.10 above the close of the one before.
fn ours() -> Vec<Bar> {
    (0..4)
        .map(|number| {
            let from = 400_000 + i64::from(number) * 50;
            bar(number, ohlc(from, from + 60, from - 20, from + 40))
        })
        .collect()
}

fn theirs() -> Vec<(Timestamp, Ohlc)> {
    ours().iter().map(|bar| (bar.key.opens_at, bar.ohlc)).collect()
}

fn tick(at: Timestamp, arrives: Timestamp, hundredths: i64) -> AcceptedTick {
    AcceptedTick {
        tick: Tick {
            symbol: Symbol::usdcop(),
            price: Price::from_micros(hundredths * 10_000),
            bid: None,
            ask: None,
            at,
            provenance: Provenance::Live,
        },
        received_at: arrives,
    }
}

/// The causes, by slot number.
fn causes(ours: &[Bar], theirs: &[(Timestamp, Ohlc)]) -> Vec<(u64, Cause)> {
    found(ours, theirs, &[], &[])
}

fn found(ours: &[Bar], theirs: &[(Timestamp, Ohlc)], gaps: &[Gap], ticks: &[AcceptedTick]) -> Vec<(u64, Cause)> {
    let slots = session(4);
    let compared = TwoSessions {
        slots: &slots,
        ours,
        theirs,
        gaps,
        ticks,
    };
    let differences = Comparison::of(&compared).differences;
    let number = |at: Timestamp| at.since(OPENS).as_secs() / 300;
    differences
        .iter()
        .map(|difference| (number(difference.opens_at), difference.cause))
        .collect()
}

#[test]
fn equal_sessions_have_no_difference() {
    let slots = session(4);
    let (ours, theirs) = (ours(), theirs());
    let compared = TwoSessions {
        slots: &slots,
        ours: &ours,
        theirs: &theirs,
        gaps: &[],
        ticks: &[],
    };
    let comparison = Comparison::of(&compared);
    assert_eq!((comparison.expected, comparison.ours, comparison.theirs), (4, 4, 4));
    assert_eq!((comparison.equal, comparison.unexplained()), (4, 0));
    assert_eq!(comparison.differences, []);
}

#[test]
fn prices_with_fewer_decimals_are_rounded() {
    let mut ours = ours();
    ours[1].ohlc.close = Price::from_micros(4_000_904_999);
    ours[2].ohlc.close = Price::from_micros(4_001_405_100); // its nearest hundredth is not what the other has
    assert_eq!(
        causes(&ours, &theirs()),
        [(1, Cause::Rounding), (2, Cause::OtherHeardFewer)]
    );
}

#[test]
fn what_the_ticks_give_by_arrival_is_explained_by_it() {
    let edge = slot_at(1);
    let before = edge - Duration::from_millis(5);
    let ticks = [
        tick(slot_at(0), slot_at(0), 400_000),
        tick(before, edge + Duration::from_millis(100), 400_070),
        tick(edge + Duration::from_secs(9), edge + Duration::from_secs(10), 400_050),
    ];
    let ours = [
        bar(0, ohlc(400_000, 400_070, 400_000, 400_070)),
        bar(1, ohlc(400_050, 400_050, 400_050, 400_050)),
    ];
    let theirs = [
        (slot_at(0), ohlc(400_000, 400_000, 400_000, 400_000)),
        (slot_at(1), ohlc(400_070, 400_070, 400_050, 400_050)),
    ];
    let gaps = [gap(2, 4)];
    let expected = [(0, Cause::ArrivalTime), (1, Cause::ArrivalTime)];
    assert_eq!(found(&ours, &theirs, &gaps, &ticks), expected);
    // Without the ticks, only the adjacent bars show it.
    assert_eq!(found(&ours, &theirs, &gaps, &[])[1], (1, Cause::NeighbouringPrice));
}

fn gap(from: u32, to: u32) -> Gap {
    Gap {
        id: 1,
        symbol: Symbol::usdcop(),
        interval: Interval::M5,
        from: slot_at(from),
        to: slot_at(to),
        bars: to - from,
        status: GapStatus::Unfillable,
        cause: "no_ticks; the vendor has no bar".to_owned(),
    }
}

#[test]
fn a_bar_that_is_not_there_is_the_last_or_one_after_the_end_or_was_missed() {
    let mut theirs = theirs();
    theirs.pop();
    assert_eq!(causes(&ours(), &theirs), [(3, Cause::LastBarNotWritten)]);
    let mut half = self::theirs();
    half[3].1.high = Price::from_micros(4_001_700_000);
    half[3].1.close = half[3].1.high;
    assert_eq!(causes(&ours(), &half), [(3, Cause::LastBarNotWritten)], "the end of it");
    theirs.truncate(1);
    let stopped = [
        (1, Cause::StoppedBeforeClose),
        (2, Cause::StoppedBeforeClose),
        (3, Cause::LastBarNotWritten),
    ];
    assert_eq!(causes(&ours(), &theirs), stopped);
    let mut theirs = self::theirs();
    theirs.remove(1);
    assert_eq!(causes(&ours(), &theirs), [(1, Cause::OtherMissed)]);
    let mut ours = ours();
    ours[1].ticks = 0;
    assert_eq!(causes(&ours, &theirs), [(1, Cause::FilledByCandela)]);
}

#[test]
fn a_bar_that_candela_lacks_is_a_gap_or_none_of_the_session_or_unexplained() {
    let mut ours = ours();
    ours.remove(2);
    assert_eq!(causes(&ours, &theirs()), [(2, Cause::Unexplained)]);
    assert_eq!(found(&ours, &theirs(), &[gap(2, 3)], &[]), [(2, Cause::GapOfCandela)]);
    let mut flat = theirs();
    flat[2].1 = Ohlc::flat_at(ours[1].ohlc.close);
    assert_eq!(found(&ours, &flat, &[gap(2, 3)], &[]), [(2, Cause::NeighbouringPrice)]);
    let mut more = theirs();
    more.push((slot_at(4), ohlc(1, 1, 1, 1)));
    assert_eq!(causes(&self::ours(), &more), [(4, Cause::OutsideSession)]);
    // Neither has the bar, and no gap explains it.
    let neither: Vec<_> = theirs().into_iter().filter(|(at, _)| *at != slot_at(2)).collect();
    assert_eq!(causes(&ours, &neither), [(2, Cause::Unexplained)]);
    assert_eq!(found(&ours, &neither, &[gap(2, 3)], &[]), []);
}

#[test]
fn prices_that_differ_have_the_cause_that_is_known_best() {
    let mut other = theirs();
    other[1].1.low = Price::from_micros(399_000_000); // a tenth
    assert_eq!(causes(&ours(), &other), [(1, Cause::ImpossiblePrice)]);
    let mut other = theirs();
    other[1].1.high = Price::from_micros(4_000_950_000);
    assert_eq!(causes(&ours(), &other), [(1, Cause::OtherHeardFewer)]);
    other[1].1.high = Price::from_micros(4_003_000_000);
    assert_eq!(causes(&ours(), &other), [(1, Cause::Unexplained)]);
    let mut flagged = ours();
    flagged[1].flags = Flags::FEED_GAP;
    assert_eq!(causes(&flagged, &other), [(1, Cause::FlaggedByCandela)]);
    flagged[1].provenance = Provenance::Backfill;
    assert_eq!(causes(&flagged, &other), [(1, Cause::FilledByCandela)]);
    // A bar whose only flag is that the close cuts it short explains nothing.
    flagged[1].provenance = Provenance::Live;
    flagged[1].flags = Flags::PARTIAL_SESSION;
    assert_eq!(causes(&flagged, &other), [(1, Cause::Unexplained)]);
}
