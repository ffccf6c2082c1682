//! Tests of `series`.

use super::*;
use std::time::Duration;

const OPEN: Timestamp = Timestamp::from_secs(1_761_138_000); // 2025-10-22 13:00 UTC, 08:00 Bogota

fn market() -> Market {
    Market::walk(1, &[Symbol::usdcop()])
}

fn params(text: &str) -> Params {
    let pair = |part: &str| {
        part.split_once('=')
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    Params::new(text.split('&').filter_map(pair).collect())
}

fn ask(text: &str, minutes: u64) -> Result<Value, ApiError> {
    let now = OPEN + Duration::from_secs(60 * minutes);
    let question = Question::read(&params(text), false, now)?;
    let bars = question.bars(&market(), "USD/COP", Twists::default(), now)?;
    Ok(question.json_body("USD/COP", &bars, Twists::default()))
}

fn datetimes(answer: &Value) -> Vec<&str> {
    answer["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value["datetime"].as_str().unwrap())
        .collect()
}

fn check_refused(text: &str, code: u16, expect: &str) {
    let error = ask(text, 60).unwrap_err();
    assert!(
        error.code == code && error.message.contains(expect),
        "{text}: {error:?}"
    );
}

#[test]
fn newest_first_in_utc_with_prices_as_texts() {
    let answer = ask("interval=5min&outputsize=3", 12).unwrap();
    assert_eq!(
        datetimes(&answer),
        ["2025-10-22 13:10:00", "2025-10-22 13:05:00", "2025-10-22 13:00:00"]
    );
    assert!(answer["values"][0]["open"].is_string() && answer["values"][0].get("volume").is_none());
    assert_eq!(answer["meta"]["currency_quote"], "Colombian Peso");
    assert_eq!(answer["status"], "ok");
}

#[test]
fn a_window_is_read_and_written_in_its_zone() {
    let window =
        "interval=5min&timezone=America/Bogota&order=asc&start_date=2025-10-22 08:05:00&end_date=2025-10-22T08:15:00";
    assert_eq!(
        datetimes(&ask(window, 60).unwrap()),
        ["2025-10-22 08:05:00", "2025-10-22 08:10:00", "2025-10-22 08:15:00"]
    );
    let question = Question::read(&params(window), true, OPEN).unwrap();
    assert_eq!(
        question
            .bars(
                &market(),
                "USD/COP",
                Twists::default(),
                OPEN + Duration::from_secs(3_600)
            )
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn names_of_parameters_have_any_case_and_zones_have_not() {
    assert_eq!(
        datetimes(&ask("INTERVAL=5min&OutputSize=1", 1).unwrap()),
        ["2025-10-22 13:00:00"]
    );
    check_refused("interval=5min&timezone=america/bogota", 400, "Invalid **timezone**");
}

#[test]
fn days_and_sizes_follow_the_documents() {
    assert_eq!(
        datetimes(&ask("interval=1day&outputsize=2", 5).unwrap()),
        ["2025-10-22", "2025-10-21"]
    );
    let weeks = "interval=1week&outputsize=2&timezone=America/Bogota";
    assert_eq!(
        datetimes(&ask(weeks, 5).unwrap()),
        ["2025-10-20", "2025-10-13"],
        "Mondays, in no zone"
    );
    assert_eq!(
        datetimes(&ask("interval=1month&outputsize=1", 5).unwrap()),
        ["2025-10-01"]
    );
    assert_eq!(datetimes(&ask("interval=1min", 600).unwrap()).len(), 30);
    assert_eq!(
        datetimes(&ask("interval=5min&start_date=2025-10-22", 0).unwrap()).len(),
        157
    );
    assert_eq!(
        datetimes(&ask("interval=5min&date=2025-10-22", 60 * 24).unwrap()).len(),
        288
    );
}

#[test]
fn senseless_questions_are_refused_as_the_vendor_does() {
    check_refused("", 400, "**interval** parameter is missing");
    check_refused("interval=7min", 400, "Invalid **interval** provided: 7min");
    check_refused("interval=5min&outputsize=5001", 400, "Invalid **outputsize**");
    check_refused("interval=5min&order=up", 400, "Invalid **order**");
    check_refused("interval=5min&dp=12", 400, "Invalid **dp**");
    check_refused("interval=5min&start_date=soon", 400, "Invalid **start_date**");
    check_refused(
        "interval=5min&start_date=2025-10-22&end_date=2025-10-22",
        400,
        "must be later",
    );
    check_refused(
        "interval=5min&start_date=2030-01-01&end_date=2030-01-02",
        400,
        "No data is available",
    );
    assert_eq!(find_served(&market(), "EUR/USD").unwrap_err().code, 404);
    assert_eq!(find_served(&market(), "USDCOP").unwrap_err().code, 404);
}

#[test]
fn twists_change_what_they_say_and_nothing_else() {
    let question = Question::read(&params("interval=5min&order=asc&outputsize=2"), false, OPEN).unwrap();
    let bars = |twists| {
        question
            .bars(&market(), "USD/COP", twists, OPEN + Duration::from_secs(600))
            .unwrap()
    };
    let plain = bars(Twists::default());
    let doubled = bars(Twists {
        duplicates: true,
        ..Twists::default()
    });
    assert_eq!(
        (doubled.len(), doubled[0], doubled[1].opens_at),
        (4, plain[0], plain[0].opens_at)
    );
    assert_ne!(
        bars(Twists {
            mismatch: true,
            ..Twists::default()
        }),
        plain
    );
}

#[test]
fn prices_are_written_exactly_rounded_or_noisily() {
    let price = Price::from_micros(3_270_260_010);
    assert_eq!(price_text(price, None, false), "3270.26001");
    assert_eq!(price_text(price, Some(2), false), "3270.26");
    assert_eq!(price_text(price, Some(0), false), "3270");
    assert_eq!(price_text(price, Some(8), false), "3270.26001000");
    assert_eq!(price_text(Price::from_micros(3_270_260_000), None, true), "3270.26001");
    assert_eq!(price_text(Price::from_micros(999_999), Some(2), false), "1.00");
}

#[test]
fn csv_has_a_head_and_the_delimiter_asked_for() {
    let question = Question::read(&params("interval=5min&outputsize=1"), false, OPEN).unwrap();
    let bars = question.bars(&market(), "USD/COP", Twists::default(), OPEN).unwrap();
    let text = question.csv_body(&bars, ";", Twists::default());
    assert!(
        text.starts_with("datetime;open;high;low;close\n2025-10-22 13:00:00;3796.94;"),
        "{text}"
    );
}
