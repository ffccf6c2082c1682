//! Answers that were observed, and answers that are possible.

use super::*;
use proptest::prelude::*;

const NINE: Timestamp = Timestamp::from_secs(1_772_460_000); // 2026-03-02T14:00:00Z

fn request() -> SeriesRequest {
    SeriesRequest {
        symbols: vec![Symbol::usdcop()],
        interval: Interval::M5,
        from: NINE,
        to: NINE + Duration::from_secs(900),
    }
}

fn bars(values: &str, at: Timestamp) -> Fetched {
    let body = format!(r#"{{"meta":{{"symbol":"USD/COP"}},"values":[{values}],"status":"ok"}}"#);
    series(&request(), body.as_bytes(), at).unwrap().0
}

fn value(datetime: &str, close: &str) -> String {
    format!(r#"{{"datetime":"{datetime}","open":"4012.1","high":"4015","low":"4010.00001","close":"{close}"}}"#)
}

fn late() -> Timestamp {
    NINE + Duration::from_secs(86_400)
}

#[test]
fn a_request_is_read_back_from_its_path() {
    let request = request();
    assert_eq!(
        request.path(),
        "/time_series?symbol=USD/COP&interval=5min&start_date=2026-03-02T14:00:00&end_date=2026-03-02T14:15:00&timezone=UTC&order=asc&outputsize=5000"
    );
    assert_eq!(SeriesRequest::from_path(&request.path()), Some(request));
    assert_eq!(SeriesRequest::from_path("/time_series?symbol=USD/COP"), None);
}

#[test]
fn bars_come_out_earliest_first_whatever_the_order() {
    let newest_first = format!(
        "{},{}",
        value("2026-03-02 14:05:00", "4011"),
        value("2026-03-02 14:00:00", "4012.35")
    );
    let fetched = bars(&newest_first, late());
    let closes: Vec<_> = fetched
        .bars
        .iter()
        .map(|bar| (bar.opens_at, bar.ohlc.close.to_string()))
        .collect();
    let five = Duration::from_secs(300);
    assert_eq!(closes, [(NINE, "4012.35".to_owned()), (NINE + five, "4011".to_owned())]);
    assert_eq!((fetched.from, fetched.to), (request().from, request().to));
}

#[test]
fn a_bar_outside_the_stretch_or_not_yet_closed_is_left_out() {
    let three = ["13:55", "14:10", "14:15"]
        .map(|at| value(&format!("2026-03-02 {at}:00"), "4011"))
        .join(",");
    assert_eq!(bars(&three, late()).bars.len(), 1);
    let early = bars(&three, NINE + Duration::from_secs(899));
    assert_eq!(
        (early.bars.len(), early.to),
        (0, NINE + Duration::from_secs(600)),
        "neither in nor out"
    );
}

#[test]
fn one_unreadable_bar_does_not_spoil_the_others_and_the_first_duplicate_stays() {
    let mixed = [
        value("2026-03-02 14:00:00", "4011"),
        value("2026-03-02 14:00:00", "4012"),
        value("2026-03-02 14:05:00", "9999"),
        value("yesterday", "4011"),
        r#"{"datetime":"2026-03-02 14:10:00","open":"0","high":"0","low":"0","close":"0"}"#.to_owned(),
        "{}".to_owned(),
    ];
    let fetched = bars(&mixed.join(","), late());
    assert_eq!(
        fetched
            .bars
            .iter()
            .map(|bar| bar.ohlc.close.to_string())
            .collect::<Vec<_>>(),
        ["4011"]
    );
}

#[test]
fn a_bar_that_cannot_be_used_is_named_and_one_without_a_time_leaves_no_evidence_of_absence() {
    let broken = r#"{"datetime":"2026-03-02 14:10:00","open":"0","high":"0","low":"0","close":"0"}"#;
    let fetched = bars(broken, late());
    assert_eq!(fetched.unusable, [NINE + Duration::from_secs(600)]);
    assert_eq!((fetched.from, fetched.to), (request().from, request().to));
    let usable = value("2026-03-02 14:10:00", "4011");
    assert_eq!(bars(&format!("{broken},{usable}"), late()).unusable, []);
    let timeless = [value("2026-03-02 14:00:00", "4011"), value("yesterday", "4011")].join(",");
    let fetched = bars(&timeless, late());
    assert_eq!((fetched.bars.len(), fetched.from), (1, fetched.to));
}

#[test]
fn no_data_is_an_answer_without_bars_and_other_errors_are_errors() {
    let none = br#"{"code":400,"message":"No data is available on the specified dates. Try setting different start/end dates.","status":"error","meta":{}}"#;
    assert_eq!(series(&request(), none, late()).unwrap().0.bars, []);
    let spent = br#"{"code":429,"message":"You have run out of API credits for the day.","status":"error"}"#;
    let error = series(&request(), spent, late()).unwrap_err();
    assert!(
        matches!(
            error,
            AnswerError::Refused(Refusal {
                trouble: Trouble::DaySpent,
                ..
            })
        ),
        "{error}"
    );
    assert!(series(&request(), b"<html>", late()).is_err());
    assert!(series(&request(), br#"{"status":"ok"}"#, late()).is_err());
}

#[test]
fn an_answer_of_the_largest_size_speaks_only_of_what_it_holds() {
    let one = value("2026-03-02 14:00:00", "4011");
    let full = vec![one; limits::SERIES_BARS].join(",");
    assert_eq!(bars(&full, late()).to, NINE + Duration::from_secs(300));
}

#[test]
fn the_absence_of_a_bar_that_just_closed_says_nothing_yet() {
    let one = value("2026-03-02 14:00:00", "4011");
    let slot = |count: u32| NINE + Duration::from_secs(300) * count;
    let to = |at: Timestamp| bars(&one, at).to;
    assert_eq!(
        to(slot(3) + Duration::from_secs(20)),
        slot(2),
        "14:05 is settled, 14:10 is not"
    );
    assert_eq!(to(slot(3) + limits::VENDOR_SETTLES), slot(3));
    assert_eq!(to(slot(1) + Duration::from_secs(20)), slot(1), "what is there is there");
    let none = br#"{"code":400,"message":"No data is available on the specified dates.","status":"error"}"#;
    assert_eq!(series(&request(), none, slot(1)).unwrap().0.to, NINE);
}

#[test]
fn a_polled_price_is_stamped_with_its_arrival() {
    let answer = capture(&price_path(&[Symbol::usdcop()]), NINE, br#"{"price":"4275.45"}"#);
    let Decoded::Price(tick) = says(&answer, late()).unwrap() else {
        panic!("no price")
    };
    assert_eq!(
        (tick.symbol, tick.price.to_string(), tick.at),
        (Symbol::usdcop(), "4275.45".to_owned(), NINE)
    );
    assert_eq!(tick.provenance, Provenance::Polled);
}

#[test]
fn a_captured_answer_says_again_what_it_said_whenever_it_is_read() {
    let body = format!(
        r#"{{"values":[{}],"status":"ok"}}"#,
        value("2026-03-02 14:00:00", "4011")
    );
    let judged = NINE + Duration::from_secs(610);
    let answer = capture(&request().path(), judged, body.as_bytes());
    let expect = Decoded::Bars(series(&request(), body.as_bytes(), judged).unwrap().0);
    assert_eq!(says(&answer, late()).unwrap(), expect);
    assert_eq!(says(&answer, NINE).unwrap(), expect);
    assert!(matches!(says(b"/quote?x=1\n{}", NINE), Err(AnswerError::Path(_))));
}

#[test]
fn an_answer_about_many_pairs_is_taken_apart() {
    let both = [Symbol::usdcop(), "EUR/USD".parse().unwrap(), "GBP/USD".parse().unwrap()];
    let body = br#"{"USD/COP":{"price":"4275.45"},"EUR/USD":{"code":404,"message":"symbol","status":"error"}}"#;
    let parts = parts(&both, body).unwrap();
    assert_eq!(parts.len(), 2);
    assert!(price(parts[0].0, parts[0].1, NINE).is_ok() && price(parts[1].0, parts[1].1, NINE).is_err());
    assert_eq!(super::parts(&both[..1], b"x").unwrap(), [(both[0], b"x".as_slice())]);
    assert!(super::parts(&both, br#"{"code":429,"message":"","status":"error"}"#).is_err());
}

#[test]
fn use_is_read_on_plans_with_and_without_a_daily_cap() {
    let free = br#"{"timestamp":"2026-03-02 14:00:00","current_usage":3,"plan_limit":8,"daily_usage":"17","plan_daily_limit":800,"plan_category":"basic"}"#;
    let expect = Usage {
        minute_used: Some(3),
        minute_limit: Some(8),
        day_used: Some(17),
        day_limit: Some(800),
    };
    assert_eq!(usage(free), Ok(expect));
    assert_eq!(
        usage(br#"{"current_usage":3,"plan_limit":377}"#).unwrap().day_limit,
        None
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(says(&bytes, NINE));
        drop(says(&capture(&request().path(), NINE, &bytes), NINE));
        drop(usage(&bytes));
        drop(parts(&[Symbol::usdcop(), Symbol::usdcop()], &bytes));
        drop(refusal(200, &bytes));
    }
}
