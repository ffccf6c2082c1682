//! The tick filter, by its verdicts on sequences of prices.

use super::*;
use crate::domain::model::{Ohlc, Provenance, SeamBars, Symbol, VendorBar};
use std::time::Duration;

const NOON: Timestamp = Timestamp::from_secs(1_761_152_400);

fn tick(price: &str, at: Timestamp) -> Tick {
    let price = price.parse().unwrap();
    Tick {
        symbol: Symbol::usdcop(),
        price,
        bid: None,
        ask: None,
        at,
        provenance: Provenance::Live,
    }
}

fn closed_at(price: &str) -> LastClose {
    LastClose {
        symbol: Symbol::usdcop(),
        price: price.parse().unwrap(),
        at: NOON - Duration::from_secs(72_000),
        firm_from: NOON - Duration::from_secs(72_000),
    }
}

/// A filter that knows yesterday's close, if there is one.
fn judge(close: Option<&str>) -> TickFilter {
    let mut judge = TickFilter::new(limits::JUMP_BASIS_POINTS);
    if let Some(close) = close {
        assert_eq!(judge.learn(closed_at(close), NOON), []);
    }
    judge
}

fn check(judge: &mut TickFilter, price: &str, expect: &TickVerdict) {
    assert_eq!(judge.check_tick(&tick(price, NOON), NOON), *expect, "{price}");
}

/// The accepted prices of a sequence that arrives `every` seconds apart, in order, and the number of dropped ones.
fn accepted(judge: &mut TickFilter, prices: &[&str], every: u64) -> (Vec<String>, u64) {
    let (mut good, mut dropped) = (Vec::new(), 0);
    for (i, price) in (0_u32..).zip(prices) {
        let now = NOON + Duration::from_secs(every) * i;
        let tick = tick(price, now);
        match judge.check_tick(&tick, now) {
            TickVerdict::Good => good.push(tick.price.to_string()),
            TickVerdict::Confirmed(ticks) => good.extend(ticks.iter().map(|heard| heard.tick.price.to_string())),
            TickVerdict::Held => {}
            TickVerdict::Aside(reason) => panic!("{price}: {reason:?}"),
        }
        dropped += judge.take_dropped().map_or(0, |(_, count)| count);
    }
    (good, dropped)
}

fn check_accepted(close: Option<&str>, prices: &[&str], expect: &[&str], dropped: u64) {
    let expect: Vec<String> = expect.iter().map(|price| (*price).to_owned()).collect();
    assert_eq!(
        accepted(&mut judge(close), prices, 5),
        (expect, dropped),
        "{prices:?} after {close:?}"
    );
}

#[test]
fn prices_that_cannot_be_are_set_aside() {
    let mut judge = judge(Some("4000"));
    check(&mut judge, "0", &TickVerdict::Aside(RejectReason::NonPositive));
    check(&mut judge, "-4000", &TickVerdict::Aside(RejectReason::NonPositive));
    let crossed = Tick {
        bid: Some(Price::from_micros(2)),
        ask: Some(Price::from_micros(1)),
        ..tick("4000", NOON)
    };
    assert_eq!(
        judge.check_tick(&crossed, NOON),
        TickVerdict::Aside(RejectReason::CrossedQuote)
    );
    let locked = quoted("4000", Some("4000"), Some("4000"));
    assert_eq!(judge.check_tick(&locked, NOON), TickVerdict::Good);
}

/// A tick at noon with a quote.
fn quoted(price: &str, bid: Option<&str>, ask: Option<&str>) -> Tick {
    Tick {
        bid: bid.map(|text| text.parse().unwrap()),
        ask: ask.map(|text| text.parse().unwrap()),
        ..tick(price, NOON)
    }
}

#[test]
fn a_bid_or_ask_far_from_its_own_price_is_set_aside_whatever_the_price() {
    let set_aside = TickVerdict::Aside(RejectReason::FarQuote);
    for (price, bid, ask) in [
        ("4000", Some("400"), Some("4001")),
        ("4000", Some("3999"), Some("40010")),
        ("4000", Some("3879.99"), None), // 300.025 basis points
        ("4000", None, Some("4120.01")),
        ("400", Some("3999"), Some("4001")), // the price is the one that is wrong
    ] {
        let tick = quoted(price, bid, ask);
        assert_eq!(judge(Some("4000")).check_tick(&tick, NOON), set_aside, "{tick:?}");
        assert_eq!(
            judge(None).check_tick(&tick, NOON),
            set_aside,
            "{tick:?} as the first of all"
        );
    }
    for (bid, ask) in [
        (Some("3880"), Some("4120")), // 300 basis points
        (Some("3880"), None),
        (None, Some("4120")),
    ] {
        let tick = quoted("4000", bid, ask);
        assert_eq!(
            judge(Some("4000")).check_tick(&tick, NOON),
            TickVerdict::Good,
            "{tick:?}"
        );
    }
}

#[test]
fn a_stamp_too_far_ahead_is_set_aside_and_a_little_ahead_is_not() {
    let mut judge = judge(Some("4000"));
    let ahead = |by| tick("4000", NOON + by);
    let just_over = limits::FUTURE_TOLERANCE + Duration::from_secs(1);
    assert_eq!(
        judge.check_tick(&ahead(just_over), NOON),
        TickVerdict::Aside(RejectReason::FromTheFuture)
    );
    assert_eq!(
        judge.check_tick(&ahead(limits::FUTURE_TOLERANCE), NOON),
        TickVerdict::Good
    );
}

#[test]
fn only_the_same_tick_twice_in_a_row_is_a_repeat() {
    let mut judge = judge(Some("4000"));
    check(&mut judge, "4000", &TickVerdict::Good);
    check(&mut judge, "4000", &TickVerdict::Aside(RejectReason::ExactRepeat));
    check(&mut judge, "4001", &TickVerdict::Good);
    check(&mut judge, "4000", &TickVerdict::Good);
    assert_eq!(
        judge.check_tick(&tick("4000", NOON + Duration::from_secs(1)), NOON),
        TickVerdict::Good
    );
    check(&mut judge, "399", &TickVerdict::Held);
    check(&mut judge, "399", &TickVerdict::Aside(RejectReason::ExactRepeat));
}

#[test]
fn a_lone_jump_is_set_aside_and_a_confirmed_one_is_believed_with_the_ticks_that_confirm_it() {
    let prices = ["4000", "40.5", "4001", "4300", "4310", "4305", "4306"];
    let expect = ["4000", "4001", "4300", "4310", "4305", "4306"];
    check_accepted(Some("4000"), &prices, &expect, 1);
}

#[test]
fn a_first_price_of_another_unit_is_set_aside_and_the_right_ones_after_it_are_not() {
    for wrong in ["399", "39.9", "39900", "0.000251"] {
        let prices = [wrong, "3990", "3990.5", "3991", "3991.5"];
        check_accepted(Some("3990"), &prices, &prices[1..], 1);
    }
}

#[test]
fn a_wrong_price_that_repeats_does_not_become_the_market() {
    let mut prices = vec!["399", "399.1", "399", "399.2", "399", "399.1", "399.3", "399"];
    prices.push("3990");
    check_accepted(Some("3990"), &prices, &["3990"], 8);
}

#[test]
fn a_market_that_moved_overnight_is_believed_and_loses_no_tick() {
    let prices = ["4990", "4991", "4992", "4993"];
    check_accepted(Some("3990"), &prices, &prices, 0);
}

#[test]
fn another_magnitude_is_believed_once_it_has_lasted_and_loses_no_tick() {
    let prices = vec!["399"; 70];
    let (good, dropped) = accepted(&mut judge(Some("3990")), &prices, 5);
    assert_eq!((good.len(), dropped), (70, 0));
    let (good, _) = accepted(&mut judge(Some("3990")), &prices[..60], 5); // 4 minutes and 55 seconds
    assert_eq!(good.len(), 0);
    let (good, _) = accepted(&mut judge(Some("3990")), &prices[..6], 420); // a pair that is quoted every seven minutes
    assert_eq!(good.len(), 6);
}

#[test]
fn a_wrong_magnitude_that_was_believed_is_left_as_soon_as_the_right_one_is_confirmed() {
    let mut judge = judge(Some("3990"));
    accepted(&mut judge, &vec!["399"; 70], 5);
    let now = NOON + Duration::from_secs(400);
    assert_eq!(judge.check_tick(&tick("3990", now), now), TickVerdict::Held);
    assert_eq!(judge.check_tick(&tick("3990.5", now), now), TickVerdict::Held);
    assert!(matches!(judge.check_tick(&tick("3991", now), now), TickVerdict::Confirmed(ticks) if ticks.len() == 3));
}

#[test]
fn without_a_last_close_the_first_prices_are_held_until_others_confirm_them() {
    let right = ["3990", "3990.5", "3991", "3991.5"];
    check_accepted(None, &right, &right, 0);
    check_accepted(None, &["399", "3990", "3990.5", "3991", "3991.5"], &right, 1);
    check_accepted(None, &["3990", "399", "3990.5", "3991", "3991.5"], &right, 1);
    check_accepted(None, &["3990", "3990.5"], &[], 0);
    let slow = accepted(&mut judge(None), &["3990", "3991"], 420);
    assert_eq!(slow.0, ["3990", "3991"], "two that agree minutes apart are enough");
}

#[test]
fn a_close_that_is_found_later_decides_about_the_prices_that_are_held() {
    let mut judge = judge(None);
    for price in ["3990", "399", "3991"] {
        check(&mut judge, price, &TickVerdict::Held);
    }
    let good = judge.learn(closed_at("3985"), NOON);
    let prices: Vec<String> = good.iter().map(|heard| heard.tick.price.to_string()).collect();
    assert_eq!(prices, ["3990", "3991"]);
    assert_eq!(judge.take_dropped(), Some((RejectReason::AbsurdJump, 1)));
    assert_eq!(judge.held_ticks(), None);
}

#[test]
fn the_last_close_of_a_store_is_its_newest_unless_that_is_of_another_magnitude() {
    let bar = |minutes: u64, close: &str| VendorBar {
        opens_at: NOON - Duration::from_secs(60 * minutes),
        ohlc: Ohlc::flat_at(close.parse().unwrap()),
    };
    let of = |history: &[VendorBar], live: &[VendorBar], verified| {
        let bars = SeamBars {
            history: history.to_vec(),
            live: live.to_vec(),
            fetched: Vec::new(),
        };
        let found = LastClose::of(Symbol::usdcop(), &bars, verified, NOON)?;
        Some((found.price.to_string(), found.firm_from <= NOON))
    };
    let history = [bar(30, "3980"), bar(25, "3985"), bar(20, "3990")];
    assert_eq!(of(&history, &[], true), Some(("3990".to_owned(), true)));
    assert_eq!(of(&history, &[], false), Some(("3990".to_owned(), false)));
    assert_eq!(of(&history, &[bar(15, "3992")], false), Some(("3992".to_owned(), true)));
    let wrong = [history[0], history[1], history[2], bar(15, "399")];
    assert_eq!(of(&wrong, &[], true), Some(("3985".to_owned(), true)));
    assert_eq!(of(&[], &[], true), None);
}

#[test]
fn a_wrong_row_in_the_store_does_not_take_the_place_of_a_price_that_is_known() {
    let mut judge = judge(Some("3990"));
    let newer = LastClose {
        at: NOON,
        firm_from: NOON,
        ..closed_at("399")
    };
    assert_eq!(judge.learn(newer, NOON), []);
    assert_eq!(
        judge.close().map(|close| close.price.to_string()).as_deref(),
        Some("3990")
    );
}

#[test]
fn neither_a_long_silence_nor_a_new_session_makes_any_level_believed() {
    let mut judge = judge(Some("3990"));
    check(&mut judge, "3991", &TickVerdict::Good);
    let later = NOON + Duration::from_secs(3 * 86_400);
    assert_eq!(judge.check_tick(&tick("399", later), later), TickVerdict::Held);
    judge.open_session();
    assert_eq!(judge.take_dropped(), Some((RejectReason::AbsurdJump, 1)));
    assert_eq!(judge.check_tick(&tick("3995", later), later), TickVerdict::Good);
}

#[test]
fn what_is_held_is_bounded() {
    let mut judge = judge(Some("3990"));
    for i in 0..limits::HELD_TICKS + 50 {
        let at = NOON + Duration::from_millis(u64::try_from(i).unwrap());
        assert_eq!(judge.check_tick(&tick("399", at), at), TickVerdict::Held);
    }
    assert_eq!(judge.held_ticks().map(|(count, _)| count), Some(limits::HELD_TICKS));
    assert_eq!(judge.take_dropped(), Some((RejectReason::AbsurdJump, 50)));
}

#[test]
fn where_a_price_was_beyond_the_scale_those_beside_it_are_not_taken_for_flat() {
    let mut judge = judge(None);
    judge.refuse_beyond_scale();
    check(&mut judge, "0.00025", &TickVerdict::Aside(RejectReason::BeyondScale));
    check(&mut judge, "3990", &TickVerdict::Held);
}
