//! `candela compare` on both stores: the real binary, on rows as candela and the service before it write them.

use crate::child::{Candela, Ended};
use crate::servers::postgres;
use candela::domain::calendar::Calendar;
use candela::domain::model::{Interval, Timestamp};
use candela::store::{Migrate, Sqlite};
use serde_json::Value;
use std::path::Path;

const DAY: &str = "2026-03-02";
const OTHER: &str = "twelvedata_websocket_aggregated";

/// A row of `market_data`; prices in thousandths.
struct Row {
    at: Timestamp,
    source: &'static str,
    prices: [i64; 4],
}

/// The session of candela, and that of the other service, which rounds nothing, takes a price of a tenth in the bar of 08:10, hears
/// nothing from 10:00 to 10:05, has a bar after the close, and lacks the last one.
fn rows() -> Vec<Row> {
    let slots = Calendar::usdcop().slots_on(DAY.parse().unwrap(), Interval::M5);
    assert_eq!(slots.len(), 59);
    let mut rows = Vec::new();
    for (number, at) in slots.iter().enumerate() {
        let open = 4_000_000 + i64::try_from(number).unwrap() * 125;
        let prices = [open, open + 600, open - 250, open + 90];
        let mut other = prices;
        if number == 2 {
            other[2] = prices[2] / 10;
        }
        rows.push(Row {
            at: *at,
            source: "candela",
            prices,
        });
        if number != 24 && number != 58 {
            rows.push(Row {
                at: *at,
                source: OTHER,
                prices: other,
            });
        }
    }
    let last = rows.last().unwrap().at;
    rows.push(Row {
        at: last + std::time::Duration::from_secs(300),
        source: OTHER,
        prices: [4_000_000; 4],
    });
    rows
}

/// One statement; how an instant and a price are written depends on the store.
fn insert(rows: &[Row], instant: impl Fn(Timestamp) -> String, price: impl Fn(i64) -> String) -> String {
    let values: Vec<String> = rows
        .iter()
        .map(|row| {
            let [open, high, low, close] = row.prices.map(&price);
            let ticks = if row.source == "candela" { 9 } else { 0 };
            let at = instant(row.at);
            format!(
                "('USDCOP', {at}, {open}, {high}, {low}, {close}, '{}', {ticks}, 0, 0)",
                row.source
            )
        })
        .collect();
    format!(
        "INSERT INTO market_data (symbol, datetime, open, high, low, close, source, ticks, revision, flags) VALUES {}",
        values.join(", ")
    )
}

fn into_file(rows: &[Row], path: &Path) {
    let text = insert(
        rows,
        |at| at.micros().to_string(),
        |thousandths| (thousandths * 1_000).to_string(),
    );
    rusqlite::Connection::open(path).unwrap().execute_batch(&text).unwrap();
}

fn compare(settings: (&str, &str), args: &[&str]) -> Ended {
    let mut line = vec!["compare"];
    line.extend(args);
    Candela::of(Candela::command(&line).env(settings.0, settings.1)).ended()
}

/// Slot, cause and whether it is explained.
fn told(ended: &Ended) -> Vec<(String, String, bool)> {
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
    let differences = answer["differences"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    differences
        .iter()
        .map(|one| {
            (
                text(&one["open_time"]),
                text(&one["cause"]),
                one["explained"].as_bool().unwrap(),
            )
        })
        .collect()
}

fn each_difference_has_its_cause(settings: (&str, &str)) {
    let ended = compare(settings, &["--date", DAY, "--json"]);
    let expected = [
        ("2026-03-02T08:10:00-05:00", "impossible_price", true),
        ("2026-03-02T10:00:00-05:00", "other_missed", true),
        ("2026-03-02T12:50:00-05:00", "last_bar_not_written", true),
        ("2026-03-02T12:55:00-05:00", "outside_session", true),
    ];
    let expected = expected.map(|(at, cause, explained)| (at.to_owned(), cause.to_owned(), explained));
    assert_eq!(told(&ended), expected);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let page = compare(settings, &["--date", DAY]).stdout;
    assert!(
        page.starts_with("USD/COP, session of 2026-03-02: 59 bars expected, 59 of candela, 58 of "),
        "{page}"
    );
    assert!(
        page.contains("56 are equal, 4 differ, 0 of them without a known cause"),
        "{page}"
    );
    assert!(
        page.contains("   1 × impossible_price: the other service accepted a price"),
        "{page}"
    );
}

#[test]
fn a_session_of_both_services_is_compared_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(Sqlite::open(&path).unwrap());
    into_file(&rows(), &path);
    let settings = ("CANDELA__STORE__SQLITE_FILE", path.to_str().unwrap());
    each_difference_has_its_cause(settings);

    // A bar of the other with a range that nothing explains.
    let wider = format!(
        "UPDATE market_data SET high = high + 3000000 WHERE source = '{OTHER}' AND datetime = 1772462400000000"
    );
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch(&wider)
        .unwrap();
    let ended = compare(settings, &["--date", DAY, "--json"]);
    let unexplained = ("2026-03-02T09:40:00-05:00".to_owned(), "unexplained".to_owned(), false);
    assert!(told(&ended).contains(&unexplained), "{}", ended.stdout);
    assert_eq!(ended.code(), 1);
}

#[tokio::test]
async fn a_session_of_both_services_is_compared_on_postgresql() {
    let database = postgres();
    let url = secrecy::SecretString::from(database.url.clone());
    let store = candela::store::Postgres::new(&url, 1).unwrap();
    store.migrate_schema(Migrate::Run).await.unwrap();
    let instant = |at: Timestamp| format!("to_timestamp({})", at.secs());
    database.sql(&insert(&rows(), instant, |thousandths| {
        format!("{thousandths} / 1000.0")
    }));
    each_difference_has_its_cause(("DATABASE_URL", &database.url));
}

#[test]
fn what_cannot_be_compared_is_said_in_one_sentence_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let settings = ("CANDELA__STORE__SQLITE_FILE", path.to_str().unwrap());
    let check = |args: &[&str], code: i32, says: &str| {
        let ended = compare(settings, args);
        assert!(ended.stderr.contains(says), "{args:?}: {}", ended.stderr);
        assert_eq!(
            (ended.code(), ended.stderr.lines().count()),
            (code, 1),
            "{}",
            ended.stderr
        );
    };
    check(
        &["--date", DAY],
        78,
        "there is no store: neither DATABASE_URL is set nor is there a file",
    );
    drop(Sqlite::open(&path).unwrap());
    check(
        &["--date", DAY],
        69,
        "has no bar of candela for USD/COP on 2026-03-02; it has none at all: was candela running then",
    );
    check(
        &["--date", "2026-03-01"],
        64,
        "2026-03-01 has no session of USD/COP (Sunday)",
    );
    check(
        &["--symbol", "EUR/USD"],
        64,
        "EUR/USD is not among the pairs of the settings (USD/COP)",
    );
    let mut rows = rows();
    rows.retain(|row| row.source == "candela");
    rows[7].source = "other";
    into_file(&rows, &path);
    check(
        &["--date", DAY],
        69,
        "has no bar of twelvedata_websocket_aggregated for USD/COP on 2026-03-02; it has 58 of candela, 1 of other: name the other service's with --source",
    );
    check(
        &["--date", "2031-03-03"],
        75,
        "the session of 2031-03-03 closes at 2031-03-03T12:55:00-05:00: compare it when it is over",
    );
}
