//! What the vendor's own clients receive from `/td`.

use crate::web::WebParts;
use crate::web::tests::guarded::with_tokens;
use crate::web::tests::stage::Stage;
use crate::web::tests::surfaces::{MONDAY, bytes, three_days, with_parts};
use serde_json::{Value, json};

fn on(parts: &mut WebParts) {
    parts.extras.twelvedata = true;
}

fn datetimes(answer: &Value) -> Vec<&str> {
    let values = answer["values"].as_array().unwrap().iter();
    values.map(|value| value["datetime"].as_str().unwrap()).collect()
}

#[actix_rt::test]
async fn a_series_comes_newest_first_in_the_zone_that_is_asked_for() {
    let (_folder, stage) = with_parts(&three_days(), None, on).await;
    let (status, answer) = stage
        .get("/td/time_series?symbol=USD/COP&interval=5min&apikey=any&source=python")
        .await;
    assert!(status.contains("200"), "{status}");
    assert_eq!(answer["meta"]["currency_quote"], "Colombian Peso");
    let times = datetimes(&answer);
    assert_eq!(
        (times.len(), times[0], times[29]),
        (30, "2025-10-22 17:55:00", "2025-10-22 15:30:00")
    );
    assert_eq!(answer["values"][0]["open"], "4000");
    let window = "symbol=usdcop&interval=5min&timezone=America/Bogota&order=ASC&start_date=2025-10-21&end_date=2025-10-21%2008:10:00&dp=2";
    let (_, answer) = stage.get(&format!("/td/time_series?{window}")).await;
    assert_eq!(
        datetimes(&answer),
        ["2025-10-21 08:00:00", "2025-10-21 08:05:00", "2025-10-21 08:10:00"],
        "the end is inclusive"
    );
    assert_eq!(answer["values"][0]["close"], "4000.00");
    let (head, body) = bytes(&stage, &format!("/td/time_series?{window}&format=CSV&outputsize=1")).await;
    assert!(head.contains("content-type: text/csv\r\n"), "{head}");
    assert_eq!(
        body,
        "datetime;open;high;low;close\n2025-10-21 08:10:00;4000.00;4000.00;4000.00;4000.00\n"
    );
    let (head, body) = bytes(
        &stage,
        "/td/time_series?symbol=USD/COP,ABC/DEF&interval=5min&outputsize=1",
    )
    .await;
    assert!(head.contains("is_batch: true"), "{head}");
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&body["USD/COP"]["status"], &body["ABC/DEF"]["code"]),
        (&json!("ok"), &json!(404)),
        "{body}"
    );
}

#[actix_rt::test]
async fn longer_bars_are_made_of_those_of_five_minutes_and_say_which_lack_one() {
    let mut opens = three_days();
    opens.remove(5);
    let (_folder, stage) = with_parts(&opens, None, on).await;
    // The third day's session is not over.
    for (interval, count, newest) in [
        ("15min", 40, "2025-10-21 17:45:00"),
        ("45min", 14, "2025-10-21 17:15:00"),
        ("1h", 10, "2025-10-21 17:00:00"),
        ("8h", 4, "2025-10-21 16:00:00"),
        ("1day", 2, "2025-10-21"),
    ] {
        let asked = format!("symbol=USD/COP&interval={interval}&start_date=2025-10-19&timezone=UTC");
        let (_, answer) = stage.get(&format!("/td/time_series?{asked}")).await;
        let times = datetimes(&answer);
        assert_eq!((times.len(), times[0]), (count, newest), "{answer}");
        let lacking = answer["meta"]["incomplete"].as_array().unwrap();
        assert_eq!((lacking.len(), &lacking[0]), (1, &lacking_at(interval)), "{answer}");
    }
    let day = "symbol=USD/COP&interval=1day&timezone=America/Bogota&start_date=2025-10-21";
    let (_, answer) = stage.get(&format!("/td/time_series?{day}")).await;
    assert_eq!(datetimes(&answer), ["2025-10-21"], "a day has no zone");
    assert!(answer["meta"].get("incomplete").is_none(), "{answer}");
    let (status, answer) = stage.get("/td/time_series?symbol=USD/COP&interval=1week").await;
    assert!(status.contains("400"), "the week is not over: {answer}");
    let (_, first) = stage.get("/td/earliest_timestamp?symbol=USD/COP&interval=1week").await;
    assert_eq!(first, json!({"datetime": "2025-10-20", "unix_time": MONDAY}));
}

/// The bar that holds Monday's sixth slot, 13:25 UTC.
fn lacking_at(interval: &str) -> Value {
    json!(match interval {
        "15min" => "2025-10-20 13:15:00",
        "45min" => "2025-10-20 12:45:00",
        "1h" => "2025-10-20 13:00:00",
        "8h" => "2025-10-20 08:00:00",
        _ => "2025-10-20",
    })
}

#[actix_rt::test]
async fn every_method_answers_in_the_vendors_shape() {
    let (_folder, stage) = with_parts(&three_days(), None, on).await;
    for (path, member) in [
        ("price?symbol=USD/COP", "price"),
        ("quote?symbol=USD/COP", "previous_close"),
        ("eod?symbol=USD/COP", "close"),
        ("exchange_rate?symbol=USD/COP", "rate"),
        ("earliest_timestamp?symbol=USD/COP&interval=5min", "unix_time"),
        ("forex_pairs", "data"),
        ("symbol_search?symbol=cop", "data"),
        ("api_usage", "plan_limit"),
        ("technical_indicators", "data"),
    ] {
        let (status, answer) = stage.get(&format!("/td/{path}")).await;
        assert!(
            status.contains("200") && !answer[member].is_null(),
            "{path}: {status} {answer}"
        );
    }
    let (_, first) = stage.get("/td/earliest_timestamp?symbol=USD/COP&interval=5min").await;
    assert_eq!(first["unix_time"], MONDAY + 46_800);
    let (_, states) = stage.get("/td/market_state").await;
    assert_eq!(states[0]["is_market_open"], true, "{states}");
    let mut client = stage.client("/ws").await;
    client.settle().await;
    stage.ticks(1);
    client.json().await;
    let (_, price) = stage.get("/td/price?symbol=USD/COP").await;
    assert_eq!(price["price"], "4000", "the last accepted price");
}

#[actix_rt::test]
async fn a_date_is_the_one_that_is_asked_for() {
    let (_folder, stage) = with_parts(&three_days(), None, on).await;
    for (path, member, expected) in [
        ("eod?symbol=USD/COP", "datetime", json!("2025-10-21")),
        ("eod?symbol=USD/COP&date=2025-10-20", "datetime", json!("2025-10-20")),
        ("eod?symbol=USD/COP&date=yesterday", "datetime", json!("2025-10-21")),
        (
            "exchange_rate?symbol=USD/COP&date=2025-10-20%2014:02:00",
            "timestamp",
            json!(MONDAY + 50_400),
        ),
        (
            "exchange_rate?symbol=USD/COP&date=2025-10-20%2009:02:00&timezone=America/Bogota",
            "timestamp",
            json!(MONDAY + 50_400),
        ),
        ("quote?symbol=USD/COP&interval=1day", "symbol", json!("USD/COP")),
        (
            "price?symbol=USD/COP&exchange=forex&type=physical_currency",
            "price",
            json!("4000"),
        ),
        ("market_state?code=usdcop", "0/name", json!("USD/COP")),
        (
            "forex_pairs?currency_base=usd&currency_quote=COP",
            "data/0/symbol",
            json!("USD/COP"),
        ),
        (
            "forex_pairs?currency_base=US%20Dollar",
            "data/0/symbol",
            json!("USD/COP"),
        ),
    ] {
        let (status, answer) = stage.get(&format!("/td/{path}")).await;
        assert_eq!(
            answer.pointer(&format!("/{member}")),
            Some(&expected),
            "{path}: {status} {answer}"
        );
    }
    for (day, newest) in [("today", "2025-10-22 17:55:00"), ("Yesterday", "2025-10-21 17:55:00")] {
        let (_, answer) = stage
            .get(&format!("/td/time_series?symbol=USD/COP&interval=5min&date={day}"))
            .await;
        assert_eq!((datetimes(&answer).len(), datetimes(&answer)[0]), (60, newest), "{day}");
    }
    for (path, expected) in [
        ("market_state?code=XNYS", json!([])),
        ("market_state?exchange=NYSE", json!([])),
    ] {
        assert_eq!(stage.get(&format!("/td/{path}")).await.1, expected, "{path}");
    }
}

#[actix_rt::test]
async fn what_is_wrong_is_said_as_the_vendor_says_it() {
    let (_folder, stage) = with_parts(&three_days(), None, on).await;
    for (path, code, says) in [
        ("time_series?symbol=USD/COP", 400, "**interval**"),
        (
            "price?symbol=USD/COP&format=xml",
            400,
            "Invalid **format** provided: xml",
        ),
        (
            "time_series?symbol=USD/COP&interval=7min",
            400,
            "**interval** provided: 7min. Check the documentation for the values it may have. There are 1min, 5min",
        ),
        (
            "time_series?symbol=USD/COP&interval=1min",
            400,
            "1min is not made here; there are 5min, 15min, 30min",
        ),
        (
            "time_series?symbol=USD/COP&interval=5min&outputsize=5001",
            400,
            "**outputsize**",
        ),
        (
            "time_series?symbol=USD/COP&interval=5min&timezone=Bogota",
            400,
            "**timezone**",
        ),
        ("time_series?symbol=USD/COP&interval=5min&order=up", 400, "**order**"),
        (
            "time_series?symbol=USD/COP&interval=5min&start_date=2020-01-01&end_date=2020-01-02",
            400,
            "No data is available",
        ),
        ("time_series?symbol=USD/CPO&interval=5min", 404, "**symbol**"),
        ("price", 404, "**symbol**"),
        ("price?symbol=USD/COP&dp=12", 400, "**dp**"),
        ("symbol_search", 400, "**symbol**"),
        (
            "quote?symbol=USD/COP&interval=1h",
            400,
            "1h. Check the documentation for the values it may have. A quote is of 1day",
        ),
        (
            "time_series?symbol=USD/COP&interval=5min&previous_close=true",
            400,
            "**previous_close**",
        ),
        (
            "time_series?symbol=USD/COP,USD/COP&interval=5min&format=CSV",
            400,
            "CSV has one **symbol**",
        ),
        (
            "time_series?symbol=USD/COP&interval=5min&format=CSV&delimiter=5",
            400,
            "**delimiter**",
        ),
        ("price?symbol=USD/COP&format=CSV&delimiter=%0A", 400, "**delimiter**"),
        (
            "time_series?symbol=USD/COP&interval=5min&exchange=NASDAQ",
            404,
            "**symbol**",
        ),
        (
            "time_series?symbol=USD/COP&interval=5min&type=Common%20Stock",
            404,
            "**symbol**",
        ),
        ("price?symbol=USD/COP&mic_code=XNAS", 404, "**symbol**"),
        ("eod?symbol=USD/COP&date=2025-10-18", 400, "No data is available"),
        ("eod?symbol=USD/COP&date=soon", 400, "**date**"),
        (
            "exchange_rate?symbol=USD/COP&date=2020-01-01",
            400,
            "No data is available",
        ),
        (
            "exchange_rate?symbol=USD/COP&date=2100-01-01",
            400,
            "No data is available",
        ),
        ("", 404, "there are time_series"),
        (
            "rsi?symbol=USD/COP",
            404,
            "/rsi is not served here; there are time_series",
        ),
    ] {
        let (status, answer) = stage.get(&format!("/td/{path}")).await;
        assert!(status.contains(&code.to_string()), "{path}: {status} {answer}");
        assert_eq!(
            (&answer["code"], &answer["status"]),
            (&json!(code), &json!("error")),
            "{path}: {answer}"
        );
        assert!(answer["message"].as_str().unwrap().contains(says), "{path}: {answer}");
    }
    assert_eq!(stage.get("/td").await.1["code"], 404);
    let (head, answer) = stage.post("/td/price?symbol=USD/COP", "", "").await;
    assert!(head.contains(" 405 ") && head.contains("application/json"), "{head}");
    let said = json!({"code": 405, "message": "/td/price is read-only: use GET or HEAD", "status": "error"});
    assert_eq!(answer, said);
    let many = vec!["USD/COP"; 65].join(",");
    assert_eq!(stage.get(&format!("/td/price?symbol={many}")).await.1["code"], 414);
}

#[actix_rt::test]
async fn a_key_is_a_token_and_the_setting_must_be_on() {
    let stage = Stage::new();
    assert!(stage.get("/td/api_usage").await.0.contains("404"), "off by default");
    let file = tempfile::NamedTempFile::new().unwrap();
    let tokens = with_tokens(&file);
    let stage = Stage::with(|parts| {
        tokens(parts);
        on(parts);
    });
    for more in ["", "Authorization: apikey wrong\r\n"] {
        let (head, answer) = stage.get_with("/td/api_usage", more).await;
        assert!(head.contains("401"), "{head}");
        assert_eq!(
            (&answer["code"], &answer["status"]),
            (&json!(401), &json!("error")),
            "{answer}"
        );
    }
    for (path, more) in [
        ("/td/api_usage?apikey=sesame", ""),
        ("/td/api_usage", "Authorization: apikey sesame\r\n"),
        ("/td/api_usage", "X-TD-APIKEY: sesame\r\n"),
    ] {
        assert!(stage.get_with(path, more).await.0.contains("200"), "{path} {more}");
    }
    let (_, pairs) = stage.get("/td/forex_pairs?apikey=peso").await;
    assert_eq!(pairs["data"].as_array().unwrap().len(), 1, "{pairs}");
    assert_eq!(stage.get("/td/price?symbol=EUR/USD&apikey=peso").await.1["code"], 403);
}
