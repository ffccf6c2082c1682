//! Tests of `compose`.

use super::*;
use crate::domain::calendar::Calendar;
use crate::domain::model::{Event, Ohlc, SessionKind};
use crate::web::tests::stage::{bar, tick_event};

const MORNING: i64 = 1_761_138_000; // 2025-10-22 13:00 UTC, 08:00 in Bogota

fn at(secs: i64, price: i64, date: &str) -> Bar {
    let mut bar = bar(Timestamp::from_secs(secs));
    bar.ohlc = Ohlc::flat_at(Price::from_micros(price * 1_000_000));
    bar.session_date = date.parse().unwrap();
    bar
}

fn two_days() -> Bars {
    vec![
        at(MORNING - 86_400, 3_200, "2025-10-21"),
        at(MORNING, 4_000, "2025-10-22"),
        at(MORNING + 300, 3_600, "2025-10-22"),
    ]
}

#[test]
fn a_quote_is_of_the_session_and_compares_with_the_close_before_it() {
    let quote = quote(Symbol::usdcop(), (None, None), &two_days(), true, Some(2)).unwrap();
    assert_eq!(quote["datetime"], "2025-10-22");
    assert_eq!(
        (&quote["open"], &quote["high"], &quote["low"]),
        (&json!("4000.00"), &json!("4000.00"), &json!("3600.00"))
    );
    assert_eq!(
        (&quote["close"], &quote["previous_close"]),
        (&json!("3600.00"), &json!("3200.00"))
    );
    assert_eq!(
        (&quote["change"], &quote["percent_change"]),
        (&json!("400.00"), &json!("12.50000"))
    );
    assert_eq!(quote["last_quote_at"], MORNING + 600);
    assert_eq!(
        super::quote(Symbol::usdcop(), (None, None), &[], true, None),
        Err(ApiError::no_data())
    );
}

#[test]
fn a_quote_of_a_session_without_a_bar_has_nothing_of_the_session_before_but_its_close() {
    let begun = Calendar::usdcop().at(Timestamp::from_secs(MORNING + 86_400 + 60));
    let Event::Tick(mut tick) = tick_event(Symbol::usdcop(), 1, Timestamp::from_secs(MORNING + 86_460)) else {
        panic!("no tick");
    };
    tick.tick.price = Price::from_micros(3_960_000_000);
    let quote = quote(Symbol::usdcop(), (Some(&tick), begun), &two_days(), true, Some(2)).unwrap();
    assert_eq!(
        (&quote["datetime"], &quote["timestamp"]),
        (&json!("2025-10-23"), &json!(MORNING + 86_400))
    );
    assert_eq!(
        (&quote["open"], &quote["high"], &quote["low"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(
        (&quote["close"], &quote["previous_close"], &quote["percent_change"]),
        (&json!("3960.00"), &json!("3600.00"), &json!("10.00000"))
    );
}

#[test]
fn the_end_of_a_day_is_that_of_a_session_that_is_over() {
    let of = |unfinished: &[NaiveDate]| eod(Symbol::usdcop(), &two_days(), unfinished, None).unwrap();
    assert_eq!(
        (&of(&[])["datetime"], &of(&[])["close"]),
        (&json!("2025-10-22"), &json!("3600"))
    );
    assert_eq!(of(&["2025-10-22".parse().unwrap()])["datetime"], "2025-10-21");
}

#[test]
fn a_session_is_unfinished_until_its_last_bar_is_stored() {
    let calendar = Calendar::usdcop();
    let today = calendar.at(Timestamp::from_secs(MORNING)).unwrap();
    let at = |at| unfinished(Some(&calendar), at);
    assert_eq!(at(today.closes - Duration::from_secs(60)), [today.date, today.date]);
    assert_eq!(at(today.closes), [today.date]);
    assert_eq!(
        at(today.closes + limits::BAR_STORED - Duration::from_secs(1)),
        [today.date]
    );
    assert!(at(today.closes + limits::BAR_STORED).is_empty());
    assert!(unfinished(None, today.opens).is_empty());
}

#[test]
fn a_market_says_how_long_until_it_changes() {
    let session = Session {
        date: "2025-10-22".parse().unwrap(),
        opens: Timestamp::from_secs(MORNING),
        closes: Timestamp::from_secs(MORNING + 17_700),
        kind: SessionKind::Spot,
    };
    let open = state(
        Symbol::usdcop(),
        Timestamp::from_secs(MORNING + 3_661),
        Some(session),
        None,
    );
    assert_eq!(
        (&open["is_market_open"], &open["time_after_open"]),
        (&json!(true), &json!("01:01:01"))
    );
    assert_eq!(
        (&open["time_to_open"], &open["time_to_close"]),
        (&json!("00:00:00"), &json!("03:53:59"))
    );
    let closed = state(
        Symbol::usdcop(),
        Timestamp::from_secs(MORNING - 90_000),
        None,
        Some(session),
    );
    assert_eq!(
        (&closed["is_market_open"], &closed["time_to_open"]),
        (&json!(false), &json!("25:00:00"))
    );
}

#[test]
fn rows_turn() {
    let bars = two_days();
    let of = |bar: &Bar| (bar.key.opens_at, bar.ohlc);
    let newest = rows(bars.iter().map(of), Some(1), false);
    assert_eq!(
        newest[0],
        (Timestamp::from_secs(MORNING + 300), ["3600.0"; 4].map(str::to_owned))
    );
    assert_eq!(rows(bars.iter().map(of), None, true)[2].0, newest[0].0);
}

#[test]
fn csv_has_a_line_a_record() {
    let text = csv(
        &json!({"data": [{"a": "x;y", "b": 1}, {"a": "z", "b": null}], "status": "ok"}),
        ";",
    );
    assert_eq!(text, "a;b\n\"x;y\";1\nz;\n");
    assert_eq!(csv(&json!({"price": "4000.5"}), ","), "price\n4000.5\n");
}

#[test]
fn pairs_have_their_groups() {
    let symbols = ["EUR/USD", "EUR/GBP", "USD/COP"].map(|text| text.parse().unwrap());
    let shown = pairs(symbols.into_iter(), |_, _, _| true);
    let groups: Vec<&str> = shown["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| pair["currency_group"].as_str().unwrap())
        .collect();
    assert_eq!(groups, ["Major", "Minor", "Exotic"]);
}
