//! What the real binary says of prices with wrong stamps, of a database that comes back, and of two pairs with hours of their own;
//! and what a quiet pair costs.

use crate::child::{Candela, wait_until};
use crate::process_gate::World;
use crate::process_session::{HurriedTime, prepare};
use crate::servers::{Database, Postgres, Reach};
use candela::domain::calendar::Calendar;
use candela::domain::model::{Interval, Symbol, Timestamp};
use candela::sim::Market;
use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use std::fmt::Write as _;
use std::sync::LazyLock;

/// What came of the morning.
struct Played {
    /// When the database answered again, and when the history had passed its check.
    database_back: DateTime<Utc>,
    verified: DateTime<Utc>,
    /// When the first price with a wrong stamp was set aside, and when that was a condition, with `/status` then.
    in_millis: (DateTime<Utc>, DateTime<Utc>, Value),
    hours_old: (DateTime<Utc>, DateTime<Utc>, Value),
    /// Bars that were stored of prices with wrong stamps, and the rows of sessions.
    stored: String,
    sessions: String,
}

static MORNING: LazyLock<Played> = LazyLock::new(play);

const TCP: Reach = Reach {
    tcp: true,
    password: Some("s3cret"),
    tls: false,
};

/// When stamps turn from milliseconds to two hours ago, and when the session of the other pair closes.
const TURN: &str = "2026-03-02T13:04:00Z";

/// Ten times as fast: four minutes of a session that runs. The database is away when the service starts.
fn play() -> Played {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let mut server = Postgres::start(TCP);
    let database = server.database();
    let symbol = Symbol::usdcop();
    let opens = Timestamp::from_secs(1_772_456_400); // 08:00 in Bogota
    let length = Interval::M5.vendor_length();
    let before = Market::walk(1, &[symbol]).bars(symbol, length, opens - length, opens, opens, 1);
    let close = before[0].ohlc.close;
    prepare(|sql| drop(server.sql(&database.name, sql)), &database.url, data, close);
    server.kill();
    let scenario = "at start milli-stamps for 2m\nat 08:04:00 behind 2h for 1h\n";
    std::fs::write(data.join("play.txt"), scenario).unwrap();
    let play = data.join("play.txt").display().to_string();

    let time = HurriedTime::from("2026-03-02T13:02:00Z", 10);
    let args = [
        "simulate",
        "--symbols",
        "USD/COP,EUR/USD",
        "--json",
        "--scenario",
        &play,
    ];
    let vendor = Candela::of(&mut time.command(&args));
    let settings = [
        ("DATABASE_URL", database.url.as_str()),
        ("CANDELA__MARKET__SYMBOLS", "USD/COP,EUR/USD"),
        ("CANDELA__MARKET__OVERRIDE__EURUSD__CLOSE", "08:04"),
        ("API_KEY_G1_2", "f00dfee2"),
    ];
    let world = World::beside(vendor, time.command(&["run"]), data, &settings);
    wait_until("word that the history cannot be read", || {
        let told = condition(&world.get("/status"), "history_unverified", Some("USD/COP"))
            .or_else(|| condition(&world.get("/status"), "history_unverified", None))?;
        (told["reason"] == "database_unreachable").then_some(())
    });
    server.restart();
    let database_back = time.now();
    wait_until("the history to be verified", || {
        let passed = "SELECT count(*) FROM system_health WHERE status = 'l0_passed'";
        (server.sql(&database.name, passed) != "0").then_some(())
    });
    let verified = time.now();

    let noticed = wait_until("a price to be set aside", || {
        (rejected(&world.get("/status")) > 0).then(|| time.now())
    });
    let told = |reason: &str| {
        wait_until(&format!("stamps to be told as {reason}"), || {
            let status = world.get("/status");
            let told = condition(&status, "stamps_lagging", Some("USD/COP"))?;
            (told["reason"] == reason).then(|| (time.now(), status))
        })
    };
    let (at, status) = told("unit");
    let in_millis = (noticed, at, status);
    let (at, status) = told("old");
    let hours_old = (TURN.parse().unwrap(), at, status);
    let (stored, sessions) = tables(&server, &database);
    world.stop();
    Played {
        database_back,
        verified,
        in_millis,
        hours_old,
        stored,
        sessions,
    }
}

/// The bars of the day that were stored outside the morning (missing history of the days before is fetched), and the rows of sessions once one of them is closed.
fn tables(server: &Postgres, database: &Database) -> (String, String) {
    let outside = "SELECT symbol, datetime, open, low, source FROM market_data WHERE source = 'candela' \
                   AND datetime >= '2026-03-01' AND (datetime < '2026-03-02 13:00Z' OR datetime > '2026-03-02 13:30Z')";
    let sessions = "SELECT symbol, start_time AT TIME ZONE 'UTC', end_time AT TIME ZONE 'UTC', status \
                    FROM market_sessions ORDER BY symbol";
    wait_until("the close of one pair's session", || {
        server.sql(&database.name, sessions).contains("closed").then_some(())
    });
    (
        server.sql(&database.name, outside),
        server.sql(&database.name, sessions),
    )
}

/// How many prices of USD/COP were set aside.
fn rejected(status: &Value) -> u64 {
    let counts = status["symbols"]["USD/COP"]["rejected"].as_object();
    counts.map_or(0, |counts| counts.values().filter_map(Value::as_u64).sum())
}

fn condition(status: &Value, kind: &str, symbol: Option<&str>) -> Option<Value> {
    let holds = |one: &&Value| one["type"] == kind && one["status"] == true && one["symbol"].as_str() == symbol;
    status["conditions"].as_array()?.iter().find(holds).cloned()
}

/// Told within a minute of the first such price, by name and size, with the prices counted by reason; and nothing is safe.
fn assert_told((noticed, told, status): &(DateTime<Utc>, DateTime<Utc>, Value), reason: &str, size: &str) {
    let took = *told - *noticed;
    assert!(took.num_seconds() <= 60, "{took}");
    let told = condition(status, "stamps_lagging", Some("USD/COP")).unwrap();
    assert_eq!(told["reason"], reason, "{told}");
    assert!(told["message"].as_str().unwrap().contains(size), "{told}");
    let pair = &status["symbols"]["USD/COP"];
    assert_eq!(pair["safe_to_trade"], false, "{pair}");
    assert_ne!(pair["reasons"].as_array().map_or(0, Vec::len), 0, "{pair}");
    assert!(rejected(status) > 0, "{pair}");
}

#[test]
fn stamps_in_milliseconds_are_told_within_a_minute_and_nothing_is_safe() {
    assert_told(&MORNING.in_millis, "unit", "not seconds");
    assert_eq!(MORNING.stored, "", "a bar was stored at a wrong time");
}

#[test]
fn stamps_of_two_hours_ago_are_told_with_their_size_and_nothing_is_safe() {
    let told = condition(&MORNING.hours_old.2, "stamps_lagging", Some("USD/COP")).unwrap();
    let message = told["message"].as_str().unwrap();
    let sized = (7_180..=7_240).any(|secs| message.contains(&format!(" {secs} s ")));
    assert!(sized, "{message}");
    assert_told(&MORNING.hours_old, "old", " s before they arrive");
    assert_eq!(MORNING.stored, "", "a bar was stored two hours back");
}

#[test]
fn history_is_checked_again_within_seconds_of_the_databases_return() {
    let took = MORNING.verified - MORNING.database_back;
    assert!(took.num_seconds() < 120, "{took} of market time, ten times as fast");
}

#[test]
fn two_pairs_with_hours_of_their_own_have_a_session_each() {
    assert_eq!(
        MORNING.sessions.lines().collect::<Vec<_>>(),
        [
            "EURUSD|2026-03-02 13:00:00|2026-03-02 13:04:00|closed",
            "USDCOP|2026-03-02 13:00:00||active"
        ]
    );
}

/// A day on which a pair has a price in seven minutes, after ten that are whole.
fn quiet_history() -> String {
    let mut text = "time,symbol,open,high,low,close\n".to_owned();
    let mut row = |at: Timestamp| writeln!(text, "{at},USD/COP,3900,3900,3900,3900").unwrap();
    let quiet = NaiveDate::from_ymd_opt(2025, 10, 22).unwrap();
    let calendar = Calendar::usdcop();
    let before = quiet.checked_sub_days(chrono::Days::new(10)).unwrap();
    for date in before.iter_days().take(10) {
        calendar.slots_on(date, Interval::M5).into_iter().for_each(&mut row);
    }
    for (slot, index) in calendar.slots_on(quiet, Interval::M5).into_iter().zip(0..) {
        if (0..60).any(|tick| tick * 7 / 5 == index) {
            row(slot);
        }
    }
    text
}

#[test]
fn a_quiet_pair_costs_a_handful_of_credits_in_two_hours() {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("quiet.csv");
    std::fs::write(&history, quiet_history()).unwrap();
    let history = history.display().to_string();
    let args = [
        "demo",
        "--port",
        "0",
        "--json",
        "--speed",
        "600",
        "--history",
        &history,
        "--date",
        "2025-10-22",
    ];
    let mut demo = Candela::start(&args);
    let address = demo.address();
    demo.line("\"2025-10-22T10:00:00-05:00\""); // the bar that opens after two hours
    let shown = Candela::run(&["status", "--json", "--url", &format!("http://{address}")]);
    let status: Value = serde_json::from_str(&shown.stdout).unwrap();
    let keys = status["keys"].as_array().unwrap();
    let spent: u64 = keys.iter().filter_map(|key| key["used_day"].as_u64()).sum();
    let empty = demo.stdout.text().matches("\"event\":\"gap\"").count();
    assert!(empty >= 5, "{empty} changes of gaps: the pair is not quiet");
    assert!((1..=10).contains(&spent), "{spent} credits for {empty} changes of gaps");
    demo.signal(libc::SIGTERM);
    assert_eq!(demo.ended().code(), 0);
}
