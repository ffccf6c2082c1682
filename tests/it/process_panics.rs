//! Every child of the real binary panics while prices flow and a client listens: the numbers go on without a hole, the store
//! ends with what the ledger holds, and a child that fails for good does what its row says.

use crate::child::{Candela, wait_until};
use awc::ws::Frame;
use candela::clock::Stopwatch;
use candela::domain::model::{Event, Position, Sequenced};
use candela::ledger::{Ledger, LedgerOptions};
use futures_util::StreamExt;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// All children but the fan-out shards, of which there is one a processor.
const CHILDREN: [&str; 15] = [
    "lease_keeper",
    "writer",
    "publisher",
    "tap",
    "recorder",
    "aggregator",
    "key_pool",
    "backfill",
    "feed",
    "poller",
    "l0_watcher",
    "validator",
    "session_clock",
    "health",
    "root",
];

fn demo(data: &str) -> (Candela, Value) {
    let args = [
        "demo", "--port", "0", "--json", "--speed", "200", "--seed", "7", "--data", data,
    ];
    let mut demo = Candela::start(&args);
    let said = serde_json::from_str(&demo.line("\"listening\"")).unwrap();
    (demo, said)
}

/// Patient: many processes start at once.
fn client() -> awc::Client {
    awc::Client::builder().timeout(crate::child::PATIENCE).finish()
}

async fn get(url: &str) -> Value {
    let watch = Stopwatch::start();
    let mut answer = client().get(url).send().await.unwrap();
    while answer.status() == 408 && watch.elapsed() < crate::child::PATIENCE {
        answer = client().get(url).send().await.unwrap(); // a machine with too much to do was too late to read the request
    }
    let body = answer.body().limit(1 << 20).await.unwrap();
    let said = String::from_utf8_lossy(&body);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {:?}\n{said}", answer.status()))
}

async fn panic(at: &str, child: &str) {
    let answer = client().post(format!("{at}/test/panic/{child}")).send().await;
    assert_eq!(answer.unwrap().status(), 202, "{child}");
}

/// How often each child was restarted, of those that live.
async fn restarts(at: &str) -> BTreeMap<String, u64> {
    let status = get(&format!("{at}/status")).await;
    let actors = status["actors"].as_array().unwrap().iter();
    let living = actors.filter(|actor| actor["standing"] == "alive");
    living
        .map(|actor| {
            (
                actor["name"].as_str().unwrap().to_owned(),
                actor["restarts"].as_u64().unwrap(),
            )
        })
        .collect()
}

/// The numbers a client saw on each channel, in the order of their coming, until the service said goodbye.
async fn listen(ws: String) -> BTreeMap<String, Vec<u64>> {
    let mut seen = BTreeMap::<String, Vec<u64>>::new();
    let (_, mut socket) = awc::Client::new().ws(ws).connect().await.unwrap();
    while let Some(Ok(frame)) = socket.next().await {
        let Frame::Text(text) = frame else { continue };
        let said: Value = serde_json::from_slice(&text).unwrap();
        if let (Some(channel), Some(seq), Some("market_data" | "bar" | "gap")) =
            (said["channel"].as_str(), said["seq"].as_u64(), said["type"].as_str())
            && said["state"] != "partial"
        {
            seen.entry(channel.to_owned()).or_default().push(seq);
        }
    }
    seen
}

fn ledger(data: &Path) -> Vec<Sequenced> {
    let today = chrono::NaiveDate::from_ymd_opt(2025, 10, 22).unwrap();
    let ledger = Ledger::open(&data.join("ledger"), LedgerOptions::new(today, 3_650)).unwrap();
    let (mut reader, mut events) = (ledger.reader(), Vec::new());
    loop {
        let next = Position(1 + u64::try_from(events.len()).unwrap());
        let page = reader.read(next, 1_000).unwrap();
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

#[actix_web::test]
async fn every_child_panics_under_load_and_nothing_is_lost_or_doubled() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (mut demo, said) = demo(&data.display().to_string());
    let at = said["url"].as_str().unwrap().trim_end_matches('/').to_owned();
    demo.line("\"bar\"");
    let ws = format!("{}/USDCOP", said["ws"].as_str().unwrap());
    let client = std::thread::spawn(move || actix_web::rt::System::new().block_on(listen(ws)));
    let shards: Vec<String> = restarts(&at)
        .await
        .into_keys()
        .filter(|name| name.starts_with("fanout"))
        .collect();
    let children: BTreeSet<String> = CHILDREN.map(str::to_owned).into_iter().chain(shards).collect();
    assert_eq!(restarts(&at).await.into_keys().collect::<BTreeSet<_>>(), children);
    for child in &children {
        panic(&at, child).await;
        let patience = Stopwatch::start();
        while restarts(&at).await.get(child) != Some(&1) {
            assert!(patience.elapsed() < Duration::from_secs(20), "{child} is not restarted");
            actix_web::rt::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let status = get(&format!("{at}/status")).await;
    assert_eq!(
        status["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["type"] == "actor_parked")
            .count(),
        0
    );
    let bars = demo.stdout.text().matches("\"event\":\"bar\"").count();
    wait_until("bars after the last restart", || {
        (demo.stdout.text().matches("\"event\":\"bar\"").count() >= bars + 2).then_some(())
    });
    demo.signal(libc::SIGTERM);
    let seen = client.join().unwrap();
    let ended = demo.ended();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);

    let events = ledger(&data);
    for (numbered, position) in events.iter().zip(1..) {
        assert_eq!(numbered.position, Position(position), "positions go on");
    }
    assert!(seen.values().any(|numbers| numbers.len() > 100), "{seen:?}");
    for (channel, numbers) in &seen {
        let first = numbers.first().copied().unwrap_or_default();
        let expected: Vec<u64> = (first..).take(numbers.len()).collect();
        assert_eq!(numbers, &expected, "{channel}: a hole or a double");
        let written = events
            .iter()
            .filter(|one| one.channel.is_some_and(|at| at.to_string() == *channel));
        // What is decided after the goodbye is written, and told to a client that comes back.
        assert!(
            written.map(|one| one.seq).max() >= numbers.last().copied(),
            "{channel}: told and not written"
        );
    }
    let ticks = events.iter().filter(|one| matches!(one.event, Event::Tick(_))).count();
    let rows = rusqlite::Connection::open(data.join("candela.db")).unwrap();
    let stored: i64 = rows
        .query_row("SELECT count(*) FROM realtime_market_data", [], |row| row.get(0))
        .unwrap();
    assert_eq!(
        usize::try_from(stored).unwrap(),
        ticks,
        "the store holds the ledger's ticks"
    );
}

/// Panics a child again and again until it is out of budget.
async fn exhaust(child: &'static str) -> (&'static str, i32, String, Option<u16>) {
    let folder = tempfile::tempdir().unwrap();
    let (demo, said) = demo(&folder.path().display().to_string());
    let at = said["url"].as_str().unwrap().trim_end_matches('/').to_owned();
    let ws = format!("{}?channels=status", said["ws"].as_str().unwrap());
    let client = std::thread::spawn(move || actix_web::rt::System::new().block_on(close_of(ws)));
    for panics in 0..4 {
        let patience = Stopwatch::start();
        while restarts(&at).await.get(child) != Some(&panics) {
            assert!(patience.elapsed() < Duration::from_secs(30), "{child} is not restarted");
            actix_web::rt::time::sleep(Duration::from_millis(50)).await;
        }
        panic(&at, child).await;
    }
    let ended = actix_web::rt::task::spawn_blocking(move || demo.ended()).await.unwrap();
    (child, ended.code(), ended.stderr, client.join().unwrap())
}

/// The code with which a connection is closed.
async fn close_of(ws: String) -> Option<u16> {
    let (_, mut socket) = awc::Client::new().ws(ws).connect().await.unwrap();
    while let Some(Ok(frame)) = socket.next().await {
        if let Frame::Close(reason) = frame {
            return reason.map(|reason| reason.code.into());
        }
    }
    None
}

#[actix_web::test]
async fn a_child_without_which_nothing_goes_on_ends_the_process_when_its_budget_is_spent() {
    let vital = ["recorder", "aggregator", "session_clock", "root"];
    for (child, code, stderr, close) in futures_util::future::join_all(vital.map(exhaust)).await {
        assert_eq!(code, 70, "{child}: {stderr}");
        let told = child == "root" || close == Some(1012); // without Root nobody takes leave: the process just ends
        assert!(
            told,
            "{child}: who follows is told that the service restarts, not {close:?}"
        );
        // Root says it of the others, the watchdog of Root.
        let ends = ["required actor exhausted its restart budget", "the process ends"];
        let said = stderr
            .lines()
            .any(|line| line.contains(child) && ends.iter().any(|end| line.contains(end)));
        assert!(said, "{child}: {stderr}");
    }
}
