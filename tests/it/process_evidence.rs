//! What the real binary says of a pair while the vendor refuses it, while a part of the service hangs, and while its clock is wrong.

use crate::child::{Candela, wait_until};
use candela::clock::Stopwatch;
use candela::domain::calendar::Calendar;
use candela::domain::model::Interval;
use candela::store::Sqlite;
use chrono::NaiveDate;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

const FLAG: &str = r#"{"ready":true,"timestamp":"2026-03-02T07:30:00-05:00"}"#;

/// A vendor and a service of two pairs, each with a clock of its own; the history of USD/COP is verified.
struct World {
    _vendor: Candela,
    service: Candela,
    address: String,
}

impl World {
    fn new(data: &Path, vendor_at: &str, service_at: &str, scenario: &str) -> Self {
        std::fs::write(data.join("play.txt"), scenario).unwrap();
        let play = data.join("play.txt").display().to_string();
        let args = [
            "simulate",
            "--symbols",
            "USD/COP,EUR/USD",
            "--json",
            "--scenario",
            &play,
        ];
        let mut vendor = Candela::of(&mut Candela::at(vendor_at, &args));
        let listening: Value = serde_json::from_str(&vendor.line("\"listening\"")).unwrap();
        let mut command = Candela::at(service_at, &["run"]);
        command.env("READY_SIGNALS_DIR", data.join("signals"));
        command.env("CANDELA__STORE__SQLITE_FILE", data.join("candela.db"));
        command.env("CANDELA__LEDGER__DIR", data.join("ledger"));
        command.env("CANDELA__UPSTREAM__WS_URL", listening["ws_url"].as_str().unwrap());
        command.env("CANDELA__UPSTREAM__REST_URL", listening["rest_url"].as_str().unwrap());
        command.env("CANDELA__MARKET__SYMBOLS", "USD/COP,EUR/USD");
        command.envs([("PORT", "0"), ("LOG_LEVEL", "INFO"), ("API_KEY_G1_1", "f00dfeed")]);
        let service = Candela::of(&mut command);
        let line = wait_until("the service to listen", || service.stderr.find("candela listens"));
        let line: Value = serde_json::from_str(&line).unwrap();
        Self {
            _vendor: vendor,
            service,
            address: line["address"].as_str().unwrap().to_owned(),
        }
    }

    fn ask(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn status(&self) -> Value {
        let answer = self.ask("GET", "/status");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or_default()
    }

    fn ready(&self) -> bool {
        self.ask("GET", "/health/ready").starts_with("HTTP/1.1 200")
    }

    fn hang(&self, actor: &str, ms: u32) {
        let answer = self.ask("POST", &format!("/test/hang/{actor}?ms={ms}"));
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    }
}

fn pair<'a>(status: &'a Value, symbol: &str) -> &'a Value {
    &status["symbols"][symbol]
}

fn reasons(status: &Value, symbol: &str) -> Vec<String> {
    let reasons = pair(status, symbol)["reasons"].as_array().cloned().unwrap_or_default();
    reasons
        .iter()
        .filter_map(|one| one.as_str().map(str::to_owned))
        .collect()
}

/// The condition of this kind that holds, for this pair or for the service as a whole.
fn condition(status: &Value, kind: &str, symbol: Option<&str>) -> Option<Value> {
    let holds = |one: &&Value| one["type"] == kind && one["status"] == true && one["symbol"].as_str() == symbol;
    status["conditions"].as_array()?.iter().find(holds).cloned()
}

/// Six sessions and more of USD/COP's history, as a pipeline stores it, and its flag.
fn prepare(data: &Path) {
    let path = data.join("candela.db");
    drop(Sqlite::open(&path).unwrap());
    let db = rusqlite::Connection::open(&path).unwrap();
    let insert = "INSERT INTO market_data (symbol, datetime, open, high, low, close, source) \
                  VALUES ('USDCOP', ?1, 3700000000, 3701000000, 3699000000, 3700000000, 'twelvedata')";
    let first = NaiveDate::from_ymd_opt(2026, 2, 18).unwrap();
    let days = first.iter_days().take(12);
    for slot in days.flat_map(|date| Calendar::usdcop().slots_on(date, Interval::M5)) {
        db.execute(insert, [slot.micros()]).unwrap();
    }
    std::fs::create_dir_all(data.join("signals")).unwrap();
    std::fs::write(data.join("signals/l0_ready.flag"), FLAG).unwrap();
}

#[test]
fn a_refused_pair_is_told_apart_and_a_part_that_hangs_makes_nothing_safe_within_five_seconds() {
    let data = tempfile::tempdir().unwrap();
    prepare(data.path());
    let scenario = "at start refuse symbol EUR/USD\nat start rest refuse EUR/USD\n";
    let world = World::new(data.path(), "@2026-03-02 12:59:40", "@2026-03-02 12:59:45", scenario);
    let before = world.status();
    for symbol in ["USD/COP", "EUR/USD"] {
        assert_eq!(pair(&before, symbol)["safe_to_trade"], false, "{before}");
        assert!(!reasons(&before, symbol).is_empty(), "{before}");
    }
    let safe = |symbol: &str| {
        wait_until(&format!("{symbol} to be safe"), || {
            let status = world.status();
            (pair(&status, symbol)["safe_to_trade"] == true).then_some(status)
        })
    };
    let status = safe("USD/COP");
    assert_eq!(pair(&status, "USD/COP")["feed"], "live");
    assert!(world.ready());
    let status = wait_until("the refusal to be told", || {
        let status = world.status();
        condition(&status, "symbol_refused", Some("EUR/USD"))
            .is_some()
            .then_some(status)
    });
    let of_refused = reasons(&status, "EUR/USD");
    for reason in ["symbol_refused", "no_accepted_price", "history_unverified"] {
        assert!(of_refused.contains(&reason.to_owned()), "{reason}: {of_refused:?}");
    }
    assert_eq!(pair(&status, "EUR/USD")["safe_to_trade"], false);
    assert_eq!(condition(&status, "symbol_refused", Some("USD/COP")), None);

    for actors in [&["aggregator"][..], &["recorder", "feed"], &["root"], &["health"]] {
        actors.iter().for_each(|one| world.hang(one, 7_000));
        let hung = Stopwatch::start();
        let named = |told: Value| {
            let reason = told["reason"].as_str().unwrap_or_default();
            actors.iter().all(|one| reason.contains(one))
        };
        let status = wait_until(&format!("word that {actors:?} hang"), || {
            let status = world.status();
            let told = condition(&status, "actor_unresponsive", None);
            told.is_some_and(named).then_some(status)
        });
        assert!(
            hung.elapsed() < Duration::from_secs(5),
            "{actors:?}: {:?}",
            hung.elapsed()
        );
        assert_eq!(pair(&status, "USD/COP")["safe_to_trade"], false, "{actors:?}: {status}");
        assert!(!world.ready(), "{actors:?}");
        safe("USD/COP");
        assert!(world.ready());
    }
    let log = world.service.stderr.text();
    assert!(!log.contains("key refused"), "no key is to blame: {log}");
}

#[test]
fn a_clock_that_is_seventy_seconds_slow_is_told_with_its_size_and_nothing_is_safe() {
    let data = tempfile::tempdir().unwrap();
    prepare(data.path());
    let world = World::new(data.path(), "@2026-03-02 13:01:20", "@2026-03-02 13:00:10", "");
    let status = wait_until("word of the clock", || {
        let status = world.status();
        condition(&status, "clock_skewed", None).is_some().then_some(status)
    });
    let told = condition(&status, "clock_skewed", None).unwrap();
    assert_eq!(told["reason"], "clock_slow");
    let message = told["message"].as_str().unwrap();
    let size = (60..=75).any(|secs| message.contains(&format!("-{secs} s")));
    assert!(size, "{message}");
    for symbol in ["USD/COP", "EUR/USD"] {
        assert_eq!(pair(&status, symbol)["safe_to_trade"], false);
        let reasons = reasons(&status, symbol);
        assert!(reasons.contains(&"clock_skewed".to_owned()), "{reasons:?}");
        assert!(reasons.contains(&"no_accepted_price".to_owned()), "{reasons:?}");
    }
    let rejected = wait_until("prices to be counted", || {
        let status = world.status();
        let count = pair(&status, "USD/COP")["rejected"]["from_the_future"].as_u64()?;
        (count >= 3).then_some(count)
    });
    let metrics = world.ask("GET", "/metrics");
    let line = "candela_ticks_rejected_total{symbol=\"USD/COP\",reason=\"from_the_future\"}";
    assert!(metrics.contains(line), "{rejected}: {metrics}");
    let logged = wait_until("a line in the log", || world.service.stderr.find("prices set aside"));
    assert!(logged.contains("from_the_future"), "{logged}");
    let logged = wait_until("the condition in the log", || world.service.stderr.find("clock_skewed"));
    assert!(
        logged.contains("\"WARN\"") && logged.contains("The machine's clock is slow"),
        "{logged}"
    );
}
