//! The simulated upstream's REST interface, over real sockets.

use crate::sim_client::{OPEN, simulator};
use candela::clock::Clock;
use candela::domain::model::Symbol;
use candela::sim::{Market, SimHandle};
use serde_json::Value;
use std::time::Duration;

const KEY: &str = "key-number-one";
const HOUR: Duration = Duration::from_secs(3_600);

struct Answer {
    status: u16,
    headers: awc::http::header::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{}", self.text))
    }

    fn credits(&self) -> (Option<&str>, Option<&str>) {
        let header = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok());
        (header("api-credits-used"), header("api-credits-left"))
    }
}

async fn get_with(sim: &SimHandle, path: &str) -> Result<Answer, String> {
    let request = awc::Client::default().get(format!("{}{path}", sim.rest_url()));
    let mut response = request
        .timeout(Duration::from_secs(2))
        .send()
        .await
        .map_err(|error| error.to_string())?;
    let body = response
        .body()
        .limit(8 << 20)
        .await
        .map_err(|error| error.to_string())?;
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: String::from_utf8_lossy(&body).into_owned(),
    })
}

async fn get(sim: &SimHandle, path: &str) -> Answer {
    let joint = if path.contains('?') { '&' } else { '?' };
    get_with(sim, &format!("{path}{joint}apikey={KEY}")).await.unwrap()
}

const BARS: &str = "/time_series?symbol=USD/COP&interval=5min&order=asc&start_date=2025-10-22%2013:00:00&end_date=2025-10-22%2013:59:59";

/// A simulator an hour after the open.
fn an_hour_in(scenario: &str) -> (SimHandle, Clock) {
    let (sim, clock) = simulator(scenario);
    clock.advance(HOUR);
    (sim, clock)
}

#[actix_rt::test]
async fn bars_are_those_of_the_market_whoever_watched() {
    let (sim, clock) = an_hour_in("at +0s refuse connections for 30m\nat +0s mute for 30m");
    let answer = get(&sim, BARS).await.json();
    let expect = Market::walk(1, &[Symbol::usdcop()]).bars(
        Symbol::usdcop(),
        Duration::from_secs(300),
        OPEN,
        OPEN + HOUR,
        clock.now(),
        100,
    );
    let values = answer["values"].as_array().unwrap();
    assert_eq!((values.len(), expect.len()), (12, 12));
    for (value, bar) in values.iter().zip(expect) {
        assert_eq!(
            value["datetime"].as_str().unwrap(),
            bar.opens_at.datetime().format("%Y-%m-%d %H:%M:%S").to_string()
        );
        assert_eq!(value["open"].as_str().unwrap(), bar.ohlc.open.to_string());
        assert_eq!(value["close"].as_str().unwrap(), bar.ohlc.close.to_string());
    }
}

#[actix_rt::test]
async fn credits_are_counted_and_shown_and_run_out() {
    let (sim, clock) = an_hour_in("");
    assert_eq!(
        get(&sim, "/price?symbol=USD/COP").await.credits(),
        (Some("1"), Some("7"))
    );
    assert_eq!(
        get(&sim, "/price?symbol=USD/COP,EUR/USD").await.credits(),
        (Some("3"), Some("5"))
    );
    for _ in 0..5 {
        get(&sim, "/price?symbol=USD/COP").await;
    }
    let refused = get(&sim, "/price?symbol=USD/COP").await;
    let body = refused.json();
    assert_eq!(
        (refused.status, &body["code"], &body["status"]),
        (429, &429.into(), &"error".into())
    );
    let text = body["message"].as_str().unwrap();
    assert!(text.starts_with("You have run out of API credits for the current minute. 9 API credits were used, with the current limit being 8."), "{text}");
    clock.advance(Duration::from_secs(60));
    let usage = get(&sim, "/api_usage").await.json();
    assert_eq!((&usage["current_usage"], &usage["daily_usage"]), (&1.into(), &9.into()));
    let violations = sim.report().violations();
    assert!(
        violations[0].contains("7 calls too soon") && violations[1].contains("1 calls beyond the credits of a minute"),
        "{violations:?}"
    );
}

#[actix_rt::test]
async fn a_key_is_read_from_query_or_header_and_refused_when_unknown_or_expired() {
    let (sim, _clock) = an_hour_in("at +0s expire key 2");
    for path in [
        "/price?symbol=USD/COP",
        "/price?symbol=USD/COP&apikey=nonsense",
        "/price?symbol=USD/COP&APIKEY=key-number-two",
    ] {
        let answer = get_with(&sim, path).await.unwrap();
        assert_eq!((answer.status, &answer.json()["code"]), (401, &401.into()), "{path}");
    }
    for (name, value) in [
        ("Authorization", format!("apikey {KEY}")),
        ("X-TD-APIKEY", KEY.to_owned()),
    ] {
        let request = awc::Client::default().get(format!("{}/price?symbol=USD/COP", sim.rest_url()));
        assert_eq!(
            request.insert_header((name, value)).send().await.unwrap().status(),
            200,
            "{name}"
        );
    }
}

/// Asks for an hour of bars under a trouble: the status, and the answer's text.
async fn under(act: &str) -> Result<(u16, String), String> {
    let (sim, _clock) = an_hour_in(&format!("at +0s {act}"));
    get_with(&sim, &format!("{BARS}&apikey={KEY}"))
        .await
        .map(|answer| (answer.status, answer.text))
}

async fn check_error(act: &str, status: u16, expect: &str) {
    let (seen, text) = under(act).await.unwrap();
    assert!(seen == status && text.contains(expect), "{act}: {seen} {text}");
}

#[actix_rt::test]
async fn rest_goes_wrong_as_told() {
    check_error("rest empty", 400, "No data is available on the specified dates.").await;
    check_error(
        "exhaust key all minute",
        429,
        "run out of API credits for the current minute. 9 ",
    )
    .await;
    check_error(
        "exhaust key 1 day",
        429,
        "run out of API credits for the day. 801 API credits were used, with the current limit being 800",
    )
    .await;
    check_error("rest status 500", 500, "\"code\":500").await;
    check_error("rest status 403", 403, "\"code\":403").await;
    check_error("rest html", 502, "<html>").await;
    assert!(under("rest reset").await.is_err());
    assert!(under("rest hang").await.is_err());
    let (_, cut) = under("rest cut").await.unwrap();
    assert!(serde_json::from_str::<Value>(&cut).is_err());
}

#[actix_rt::test]
async fn an_error_may_come_under_status_200() {
    let (sim, _clock) = an_hour_in("at +0s rest errors-200\nat +0s rest empty");
    let answer = get(&sim, BARS).await;
    assert_eq!((answer.status, &answer.json()["code"]), (200, &400.into()));
}

#[actix_rt::test]
async fn data_can_lie_a_little() {
    let values = async |act: &str| {
        let (_, text) = under(act).await.unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["values"]
            .as_array()
            .unwrap()
            .clone()
    };
    let plain = values("bid-ask").await;
    assert_eq!(values("rest duplicates").await.len(), 24);
    let noisy = values("rest noise").await;
    let [exact, noise] = [&plain[0], &noisy[0]].map(|value| value["open"].as_str().unwrap().parse::<f64>().unwrap());
    assert!((exact - noise).abs() < 0.001 && noisy[0]["open"].as_str().unwrap().split('.').nth(1).unwrap().len() == 5);
    assert_ne!(values("rest mismatch").await, plain);
}

#[actix_rt::test]
async fn a_request_can_be_the_cue_of_an_act() {
    let (sim, _clock) = an_hour_in("on rest #2 drop rst");
    assert!(
        get_with(&sim, &format!("/price?symbol=USD/COP&apikey={KEY}"))
            .await
            .is_ok()
    );
    assert!(
        get_with(&sim, &format!("/price?symbol=USD/COP&apikey={KEY}"))
            .await
            .is_err()
    );
    assert_eq!(get_with(&sim, "/no/such/path").await.unwrap().status, 404);
}

#[actix_rt::test]
async fn the_last_price_is_told_in_three_ways() {
    let (sim, clock) = an_hour_in("");
    let last = Market::walk(1, &[Symbol::usdcop()])
        .last_tick(Symbol::usdcop(), clock.now())
        .unwrap();
    assert_eq!(
        get(&sim, "/price?symbol=USD/COP").await.json()["price"],
        last.price.to_string()
    );
    let quote = get(&sim, "/quote?symbol=USD/COP").await.json();
    assert_eq!(
        (&quote["close"], &quote["last_quote_at"]),
        (&last.price.to_string().into(), &last.at.secs().into())
    );
    assert!(get(&sim, "/exchange_rate?symbol=USD/COP").await.json()["rate"].is_number());
}
