//! `candela run` as operators run it: the real binary on PostgreSQL and Redis, fed by the simulated vendor, in the market's hours.
//! The wall clock is set, and runs forty times as fast, by libfaketime: candela does not know.

use crate::child::{Candela, wait_until};
use crate::servers::{postgres, redis};
use serde_json::Value;
use std::process::Command;

/// `candela ARGS` in a world in which it is a Monday in March 2026, four minutes past the open of USD/COP, and time flies.
fn in_session(args: &[&str]) -> Command {
    Candela::at("@2026-03-02 13:04:00 x40", args)
}

/// The simulated vendor, and the address of one of its interfaces by the name it gives it.
fn vendor() -> (Candela, impl Fn(&str) -> String) {
    let mut vendor = Candela::of(&mut in_session(&["simulate", "--symbols", "USD/COP", "--json"]));
    let line = vendor.line("\"listening\"");
    let listening: Value = serde_json::from_str(&line).unwrap();
    (vendor, move |name| listening[name].as_str().unwrap().to_owned())
}

/// Where a service that logs JSON listens.
fn address(service: &Candela) -> String {
    let line = wait_until("the service to listen", || service.stderr.find("candela listens"));
    let line: Value = serde_json::from_str(&line).unwrap();
    format!("http://{}", line["address"].as_str().unwrap())
}

#[test]
fn the_service_runs_on_the_servers_and_environment_of_the_old_one() {
    let (database, cache) = (postgres(), redis());
    let (_vendor, at) = vendor();
    let signals = tempfile::tempdir().unwrap();
    let flag = r#"{"ready":true,"timestamp":"2026-03-02T07:30:00-05:00"}"#;
    std::fs::write(signals.path().join("l0_ready.flag"), flag).unwrap();
    let mut command = in_session(&["run"]);
    command.env("DATABASE_URL", &database.url).env("REDIS_URL", cache.url());
    command
        .env("READY_SIGNALS_DIR", signals.path())
        .env("STARTUP_TIMEOUT_MINUTES", "1");
    command.envs([("PORT", "0"), ("LOG_LEVEL", "INFO"), ("API_KEY_G1_1", "f00dfeed")]);
    command.env("CANDELA__UPSTREAM__WS_URL", at("ws_url"));
    command.env("CANDELA__UPSTREAM__REST_URL", at("rest_url"));
    let service = Candela::of(&mut command);
    let url = address(&service);

    let bars = "select count(*) from market_data where source = 'candela' and symbol = 'USDCOP'";
    wait_until("a bar in PostgreSQL", || {
        let there = database.sql("select to_regclass('market_data') is not null") == "t";
        (there && database.sql(bars) != "0").then_some(())
    });
    assert!(
        database
            .sql("select count(*) from realtime_market_data")
            .parse::<u32>()
            .unwrap()
            > 0
    );
    let latest = read(&cache.url(), "usdcop:latest_price");
    let latest: Value = serde_json::from_str(&latest).unwrap();
    assert!(latest["symbol"].is_string() && latest["price"].is_number(), "{latest}");

    let shown = Candela::run(&["status", "--json", "--url", &url]).stdout;
    let status: Value = serde_json::from_str(&shown).unwrap();
    let kinds: Vec<&str> = status["readers"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|reader| reader["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["postgresql", "redis"], "{status}");
    assert!(!format!("{status}").contains("f00dfeed"), "a key is shown");

    service.signal(libc::SIGTERM);
    let ended = service.ended();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(!ended.stderr.contains("f00dfeed"), "a key is logged");
}

/// The text under `key`.
fn read(url: &str, key: &str) -> String {
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    redis::cmd("GET").arg(key).query(&mut connection).unwrap()
}
