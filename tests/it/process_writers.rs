//! Two candelas that would write to the same place, as real processes on real servers: the second is refused and told by whom, one
//! that died is succeeded within seconds, and of one that was stopped and goes on not one row or key comes any more.

use crate::child::{Candela, Ended, wait_until};
use crate::servers::{Database, Redis, postgres, redis};
use crate::witness::Witness;
use awc::ws::{CloseCode, Frame, Message};
use candela::clock::Stopwatch;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A Monday, in a session of USD/COP.
const BEGIN: &str = "2026-03-02T13:04:00Z";
/// A lease, the time until somebody looks, and the start of a process on a busy machine.
const WITHIN: Duration = Duration::from_secs(20);

/// What every process of a test shares.
struct World {
    began: Stopwatch,
    folder: tempfile::TempDir,
    vendor: Candela,
    database: Database,
    redis: Redis,
}

impl World {
    fn new() -> Self {
        let began = Stopwatch::start();
        let folder = tempfile::tempdir().unwrap();
        let flag = r#"{"ready":true,"timestamp":"2026-03-02T07:30:00-05:00"}"#;
        std::fs::write(folder.path().join("l0_ready.flag"), flag).unwrap();
        let args = ["simulate", "--symbols", "USD/COP", "--per-second", "10", "--json"];
        let vendor = Candela::of(&mut in_market(&began, &args));
        Self {
            began,
            folder,
            vendor,
            database: postgres(),
            redis: redis(),
        }
    }

    /// The service on the ledger in this folder, and what else makes it another.
    fn service(&mut self, ledger: &str, more: &[(&str, &str)]) -> Candela {
        let listening: Value = serde_json::from_str(&self.vendor.line("\"listening\"")).unwrap();
        let mut command = in_market(&self.began, &["run"]);
        command
            .env("CANDELA__UPSTREAM__WS_URL", listening["ws_url"].as_str().unwrap())
            .env("CANDELA__UPSTREAM__REST_URL", listening["rest_url"].as_str().unwrap())
            .env("CANDELA__LEDGER__DIR", self.folder.path().join(ledger))
            .env("CANDELA__STORE__SQLITE_FILE", self.folder.path().join("one.sqlite"))
            .env("DATABASE_URL", &self.database.url)
            .env("REDIS_URL", self.redis.url())
            .env("READY_SIGNALS_DIR", self.folder.path())
            .env("LOG_LEVEL", "INFO")
            .env("API_KEY_G1_1", format!("f00dfeed{ledger}1"))
            .env("API_KEY_G1_2", format!("f00dfeed{ledger}2"))
            .env("PORT", "0");
        for (name, value) in more {
            if value.is_empty() {
                command.env_remove(name);
            } else {
                command.env(name, value);
            }
        }
        Candela::of(&mut command)
    }

    fn rows(&self) -> u64 {
        let count = "SELECT count(*) FROM realtime_market_data";
        self.database.sql(count).parse().unwrap()
    }

    fn more_rows(&self, what: &str, count: u64) {
        let before = self.rows();
        wait_until(what, || (self.rows() >= before + count).then_some(()));
    }

    fn ask(&self, command: &[&str]) -> redis::Value {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut built = redis::cmd(command[0]);
        built.arg(&command[1..]).query(&mut connection).unwrap()
    }

    /// The epoch of each entry of the stream of ticks, in order.
    fn stream_epochs(&self) -> Vec<String> {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut range = redis::cmd("XRANGE");
        range.arg(&["candela:stream:ticks:USD/COP", "-", "+"]);
        let entries: Vec<(String, BTreeMap<String, String>)> = range.query(&mut connection).unwrap();
        entries
            .into_iter()
            .map(|(_, mut fields)| fields.remove("epoch").unwrap())
            .collect()
    }
}

/// All processes share a clock, however late they start.
fn in_market(began: &Stopwatch, args: &[&str]) -> std::process::Command {
    let begin: DateTime<Utc> = BEGIN.parse().unwrap();
    let now = begin + TimeDelta::from_std(began.elapsed()).unwrap();
    Candela::at(&now.format("@%Y-%m-%d %H:%M:%S").to_string(), args)
}

/// Its address.
fn is_in(service: &Candela) -> String {
    let line = wait_until("a service to listen", || service.stderr.find("candela listens"));
    let line: Value = serde_json::from_str(&line).unwrap();
    line["address"].as_str().unwrap().to_owned()
}

fn is_refused(ended: &Ended, by: u32, place: &str) {
    assert_eq!(ended.code(), 75, "{}", ended.stderr);
    let sentence = format!("another candela writes to {place} (process {by} on ");
    assert!(ended.stderr.contains(&sentence), "{}", ended.stderr);
    assert!(!ended.stderr.contains("candela listens"), "{}", ended.stderr);
}

fn status(address: &str) -> Value {
    let shown = Candela::run(&["status", "--json", "--url", &format!("http://{address}")]);
    serde_json::from_str(&shown.stdout).unwrap_or_default()
}

/// Commands that would write are refused, and one that has nothing to change is not.
fn changes_are_refused_beside_a_service(world: &World, service: u32) {
    let file = world.folder.path().join("two").display().to_string();
    let migrated =
        Candela::of(Candela::command(&["migrate", "--revert"]).env("DATABASE_URL", &world.database.url)).ended();
    assert_eq!(migrated.code(), 75, "{}", migrated.stdout);
    let fill = ["backfill", "--from", "2026-02-26", "--to", "2026-02-26"];
    let mut fill = Candela::command(&fill);
    fill.env("DATABASE_URL", &world.database.url)
        .env("CANDELA__LEDGER__DIR", &file)
        .env("API_KEY_G1_1", "f00dfeed");
    is_refused(&Candela::of(&mut fill).ended(), service, "the database");
    let mut checked = Candela::command(&["migrate"]);
    let checked = Candela::of(checked.env("DATABASE_URL", &world.database.url)).ended();
    assert_eq!(
        (checked.code(), checked.stdout.as_str()),
        (0, "the tables are up to date"),
        "nothing changes"
    );
}

#[test]
fn the_second_on_one_database_or_redis_is_refused_and_a_killed_first_is_succeeded_within_seconds() {
    let mut world = World::new();
    let record = Witness::of(&mut world.vendor);
    let first = world.service("one", &[]);
    let address = is_in(&first);
    world.more_rows("rows of the first", 20);
    let shown = status(&address);
    assert_eq!(shown["leader"], true);
    let held: Vec<_> = shown["leases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lease| (&lease["place"], &lease["state"]))
        .collect();
    assert_eq!(
        held,
        [(&json!("database"), &json!("held")), (&json!("redis"), &json!("held"))]
    );

    let epochs = world.stream_epochs();
    let refused = Stopwatch::start();
    is_refused(&world.service("two", &[]).ended(), first.pid(), "the database");
    is_refused(
        &world.service("two", &[("DATABASE_URL", "")]).ended(),
        first.pid(),
        "Redis",
    );
    assert!(refused.elapsed() < 2 * WITHIN, "{:?}", refused.elapsed());
    changes_are_refused_beside_a_service(&world, first.pid());
    assert_eq!(status(&address)["leader"], true, "the first goes on");
    assert!(
        world.stream_epochs().starts_with(&epochs),
        "its streams are as they were"
    );

    first.signal(libc::SIGKILL);
    first.output_of_the_killed();
    let again = Stopwatch::start();
    let first = world.service("one", &[]);
    is_in(&first);
    assert!(
        again.elapsed() < WITHIN,
        "the same ledger goes on at once: {:?}",
        again.elapsed()
    );
    assert!(
        first.stderr.find("another candela holds the lease").is_none(),
        "nor does it wait"
    );
    world.more_rows("rows of the first again", 20);

    first.signal(libc::SIGKILL);
    first.output_of_the_killed();
    let succeeded = Stopwatch::start();
    let second = world.service("two", &[]);
    is_in(&second);
    assert!(succeeded.elapsed() < WITHIN, "{:?}", succeeded.elapsed());
    world.more_rows("rows of the second", 20);
    second.signal(libc::SIGTERM);
    assert_eq!(second.ended().code(), 0);
    let third = world.service("three", &[]); // what was given back need not run out
    is_in(&third);
    assert!(third.stderr.find("another candela has the lease").is_none());
    record.has_all(&world.database, 40);
}

/// A client that reads until it is closed; gives the close frame's code.
fn client(address: &str) -> JoinHandle<Option<CloseCode>> {
    let url = format!("ws://{address}/ws/USDCOP");
    let connected = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&connected);
    let reading = std::thread::spawn(move || {
        actix_rt::System::new().block_on(async {
            let (_, mut socket) = awc::Client::new().ws(url).connect().await.unwrap();
            told.store(true, Ordering::Relaxed);
            while let Some(Ok(frame)) = socket.next().await {
                match frame {
                    Frame::Ping(text) => drop(socket.send(Message::Pong(text)).await),
                    Frame::Close(reason) => return reason.map(|reason| reason.code),
                    _ => {}
                }
            }
            None
        })
    });
    wait_until("a client to connect", || {
        connected.load(Ordering::Relaxed).then_some(())
    });
    reading
}

#[test]
fn one_that_was_stopped_while_another_took_over_writes_nothing_more_and_tells_its_clients() {
    let mut world = World::new();
    let record = Witness::of(&mut world.vendor);
    let first = world.service("one", &[]);
    let reader = client(&is_in(&first));
    world.more_rows("rows of the first", 20);
    first.signal(libc::SIGSTOP);
    let stopped = Stopwatch::start();
    let second = world.service("two", &[]);
    is_in(&second);
    assert!(stopped.elapsed() < WITHIN, "{:?}", stopped.elapsed());
    world.more_rows("rows of the second", 20);
    let newest = "SELECT DISTINCT ON (symbol) epoch FROM realtime_market_data ORDER BY symbol, id DESC";
    let epoch = world.database.sql(newest);
    let of_the_first = || {
        let count = format!("SELECT count(*), max(seq) FROM realtime_market_data WHERE epoch <> '{epoch}'");
        world.database.sql(&count)
    };
    let before = of_the_first();
    let health = world.database.sql("SELECT count(*) FROM system_health");

    first.signal(libc::SIGCONT);
    let woken = Stopwatch::start();
    assert_eq!(reader.join().unwrap(), Some(CloseCode::Restart), "its clients are told");
    let pid = second.pid();
    let ended = first.ended();
    assert!(woken.elapsed() < WITHIN, "{:?}", woken.elapsed());
    assert_eq!(ended.code(), 75, "{}", ended.stderr);
    let said = format!("another candela writes to the database (process {pid} on ");
    assert!(ended.stderr.contains(&said), "{}", ended.stderr);
    world.more_rows("more rows of the second", 20);

    assert_eq!(of_the_first(), before, "not one row");
    assert!(
        world
            .database
            .sql("SELECT count(*) FROM system_health")
            .parse::<u32>()
            .unwrap()
            <= health.parse::<u32>().unwrap() + 1
    );
    let epochs = world.stream_epochs();
    let taken_over = epochs.iter().position(|one| *one == epoch).unwrap();
    assert!(
        epochs[taken_over..].iter().all(|one| *one == epoch),
        "not one entry: {epochs:?}"
    );
    let redis::Value::BulkString(line) = world.ask(&["GET", "candela:writer"]) else {
        panic!("nobody has Redis")
    };
    assert!(String::from_utf8(line).unwrap().contains(&format!(" {pid} ")));
    record.has_all(&world.database, 40);
}

#[test]
fn one_store_file_is_one_process_s_and_free_as_soon_as_that_is_gone() {
    let mut world = World::new();
    let alone = [("DATABASE_URL", ""), ("REDIS_URL", "")];
    let first = world.service("one", &alone);
    is_in(&first);
    is_refused(&world.service("two", &alone).ended(), first.pid(), "the store file");
    let ledger = world.service("one", &alone).ended();
    assert_eq!(ledger.code(), 75);
    assert!(
        ledger.stderr.contains(&format!("(process {} on ", first.pid())),
        "{}",
        ledger.stderr
    );
    first.signal(libc::SIGKILL);
    first.output_of_the_killed();
    is_in(&world.service("two", &alone));
}
