//! The documented reader of Redis streams against the real service: it sees every tick once and in order, or says what it cannot
//! have, whatever others do to the stream and whatever becomes of candela's ledger.

use crate::child::{Candela, Lines, spawn, wait_until};
use crate::servers::{Reach, Redis, free_port};
use candela::clock::Stopwatch;
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

const KEY: &str = "candela:stream:ticks:USD/COP";
const TCP: Reach = Reach {
    tcp: true,
    password: Some("s3cret"),
    tls: false,
};

/// The service and what it needs, in a session.
struct World {
    began: Stopwatch,
    redis: Redis,
    folder: tempfile::TempDir,
    vendor: Candela,
}

impl World {
    fn new() -> Self {
        let args = ["simulate", "--symbols", "USD/COP", "--per-second", "10", "--json"];
        let folder = tempfile::tempdir().unwrap();
        let flag = r#"{"ready":true,"timestamp":"2026-03-02T07:30:00-05:00"}"#;
        std::fs::write(folder.path().join("l0_ready.flag"), flag).unwrap();
        let began = Stopwatch::start();
        Self {
            redis: Redis::start(TCP),
            folder,
            vendor: Candela::of(&mut in_market(&began, &args)),
            began,
        }
    }

    /// Starts the service on the ledger in this folder; returns its address too.
    fn service(&mut self, ledger: &str) -> (Candela, String) {
        let listening: Value = serde_json::from_str(&self.vendor.line("\"listening\"")).unwrap();
        let port = free_port().to_string();
        let mut command = in_market(&self.began, &["run"]);
        command
            .env("CANDELA__UPSTREAM__WS_URL", listening["ws_url"].as_str().unwrap())
            .env("CANDELA__UPSTREAM__REST_URL", listening["rest_url"].as_str().unwrap())
            .env("CANDELA__LEDGER__DIR", self.folder.path().join(ledger))
            .env(
                "CANDELA__STORE__SQLITE_FILE",
                self.folder.path().join(format!("{ledger}.sqlite")),
            )
            .env("REDIS_URL", self.redis.url())
            .env("READY_SIGNALS_DIR", self.folder.path())
            .env("API_KEY_G1_1", "f00dfeed")
            .env("PORT", &port);
        (Candela::of(&mut command), format!("http://127.0.0.1:{port}"))
    }

    fn ask(&self, command: &[&str]) -> redis::Value {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut built = redis::cmd(command[0]);
        built.arg(&command[1..]).query(&mut connection).unwrap()
    }
}

/// All processes share a clock, however late they start.
fn in_market(began: &Stopwatch, args: &[&str]) -> Command {
    let begin: DateTime<Utc> = "2026-03-02T13:04:00Z".parse().unwrap();
    let now = begin + began.elapsed();
    Candela::at(&format!("@{}", now.format("%Y-%m-%d %H:%M:%S")), args)
}

/// What the reader has said so far.
#[derive(Default)]
struct Input {
    /// The last number of each epoch.
    ends: BTreeMap<String, u64>,
    messages: u64,
    discontinuities: u64,
}

/// Every message is the next of its epoch, or the reader said before why not.
fn check(said: &Lines) -> Input {
    let mut heard = Input::default();
    let mut next = None;
    for line in said.text().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if let Some(hole) = line["hole"].as_array() {
            assert_eq!(next, hole[0].as_u64(), "{line}");
            next = hole[1].as_u64().map(|last| last + 1);
        } else if let Some(epoch) = line["discontinuity"].as_str() {
            assert!(!heard.ends.contains_key(epoch), "{line}");
            heard.discontinuities += 1;
            next = line["from"].as_u64();
        } else {
            let seq = line["message"]["seq"].as_u64();
            assert!(next.is_none() || next == seq, "{next:?}, but {line}");
            next = seq.map(|seq| seq + 1);
            heard.messages += 1;
            heard
                .ends
                .insert(line["epoch"].as_str().unwrap().to_owned(), seq.unwrap());
        }
    }
    heard
}

fn condition(url: &str, reason: &str) {
    wait_until(reason, || {
        let shown = Candela::run(&["status", "--json", "--url", url]);
        let status: Value = serde_json::from_str(&shown.stdout).ok()?;
        let told = |one: &Value| one["type"] == "stream_disturbed" && one["status"] == true && one["reason"] == reason;
        status["conditions"].as_array()?.iter().any(told).then_some(())
    });
}

#[test]
fn the_documented_reader_sees_every_tick_once_or_says_what_it_cannot_have() {
    let mut world = World::new();
    let (service, url) = world.service("ledger");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/redis_reader.py");
    let mut command = Command::new("python3");
    command
        .arg(script)
        .args([&world.redis.url(), "ticks:USD/COP"])
        .arg(world.folder.path().join("position.json"))
        .stdout(Stdio::piped());
    let mut reader = spawn(&mut command, libc::SIGKILL);
    let said = Lines::of(reader.stdout.take().unwrap());
    let more = |what: &str, count: u64| {
        let before = check(&said).messages;
        wait_until(what, || (check(&said).messages >= before + count).then_some(()));
    };
    more("the first ticks", 40);

    world.ask(&["XADD", KEY, "*", "a", "b"]);
    more("ticks after a stranger's entry", 15);
    condition(&url, "foreign_entry");
    world.ask(&["XTRIM", KEY, "MAXLEN", "1"]);
    condition(&url, "trimmed");
    more("ticks after a trimming", 15);
    world.ask(&["FLUSHALL"]);
    more("ticks after a flush", 50);
    assert_eq!(check(&said).discontinuities, 0);

    service.signal(libc::SIGTERM);
    assert_eq!(service.ended().code(), 0);
    let (service, _) = world.service("ledger");
    more("ticks after a restart", 40);
    let heard = check(&said);
    assert_eq!(
        (heard.discontinuities, heard.ends.len()),
        (0, 1),
        "a restart keeps the epoch"
    );

    service.signal(libc::SIGKILL);
    let (_service, _) = world.service("another");
    more("ticks after the ledger was lost", 80);
    let heard = check(&said);
    assert_eq!(
        (heard.discontinuities, heard.ends.len()),
        (1, 2),
        "another ledger is another epoch"
    );
    reader.kill().and_then(|()| reader.wait()).unwrap();
}
