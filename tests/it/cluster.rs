//! An ingest and an edge as real processes, on a real PostgreSQL and a real Redis, fed by the simulated vendor: both tell the same, the
//! edge's clients stay while the ingest dies and comes back, and the database has what the vendor told.

use crate::child::{Candela, wait_until};
use crate::process_time::real_time;
use crate::servers::{Database, Redis, postgres, redis};
use awc::ws::{Frame, Message};
use candela::clock::Stopwatch;
use candela::domain::protocol::Continuity;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// A Monday, in a session of USD/COP, just before a bar closes.
const BEGIN: &str = "2026-03-02T13:04:50Z";

/// What every process of a test shares.
pub(crate) struct World {
    pub(crate) began: MarketTime,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) vendor: Candela,
    pub(crate) database: Database,
    pub(crate) redis: Redis,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::beginning(BEGIN)
    }

    /// One in which it is this instant now.
    pub(crate) fn beginning(begin: &str) -> Self {
        Self::with_rate(begin, 50)
    }

    /// The same, whose vendor makes so many prices a second.
    pub(crate) fn with_rate(begin: &str, per_second: u32) -> Self {
        let began = MarketTime::of(begin);
        let folder = tempfile::tempdir().unwrap();
        let flag = r#"{"ready":true,"timestamp":"2026-03-02T07:30:00-05:00"}"#;
        std::fs::write(folder.path().join("l0_ready.flag"), flag).unwrap();
        let per_second = per_second.to_string();
        let args = [
            "simulate",
            "--symbols",
            "USD/COP",
            "--per-second",
            &per_second,
            "--json",
        ];
        let vendor = Candela::of(&mut in_market(&began, &args));
        Self {
            began,
            folder,
            vendor,
            database: postgres(),
            redis: redis(),
        }
    }

    pub(crate) fn node(&self, role: &str, ledger: &str) -> Command {
        self.command("run", role, ledger)
    }

    pub(crate) fn command(&self, what: &str, role: &str, ledger: &str) -> Command {
        let mut command = in_market(&self.began, &[what]);
        command
            .env("CANDELA__CLUSTER__ROLE", role)
            .env("CANDELA__LEDGER__DIR", self.folder.path().join(ledger))
            .env(
                "CANDELA__STORE__SQLITE_FILE",
                self.folder.path().join(format!("{ledger}.sqlite")),
            )
            .env("REDIS_URL", self.redis.url())
            .env("READY_SIGNALS_DIR", self.folder.path())
            .env("LOG_LEVEL", "INFO")
            .env("PORT", "0");
        command
    }

    pub(crate) fn ingest(&mut self) -> Node {
        self.ingest_on("ingest")
    }

    /// One that has a ledger folder of its own: it leads, or stands by.
    pub(crate) fn ingest_on(&mut self, ledger: &str) -> Node {
        let mut command = self.ingest_command("run", "ingest", ledger);
        Node::of(&mut command)
    }

    pub(crate) fn ingest_command(&mut self, what: &str, role: &str, ledger: &str) -> Command {
        let listening: Value = serde_json::from_str(&self.vendor.line("\"listening\"")).unwrap();
        let mut command = self.command(what, role, ledger);
        command
            .env("CANDELA__UPSTREAM__WS_URL", listening["ws_url"].as_str().unwrap())
            .env("CANDELA__UPSTREAM__REST_URL", listening["rest_url"].as_str().unwrap())
            .env("DATABASE_URL", &self.database.url)
            .envs((1..=8).map(|key| (format!("API_KEY_G1_{key}"), format!("f00dfeed{key}"))));
        command
    }

    pub(crate) fn edge(&self, ledger: &str) -> Node {
        let mut command = self.node("edge", ledger);
        command.env("DATABASE_URL", &self.database.url);
        Node::of(&mut command)
    }

    pub(crate) fn ask(&self, command: &[&str]) -> redis::Value {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut built = redis::cmd(command[0]);
        built.arg(&command[1..]).query(&mut connection).unwrap()
    }

    pub(crate) fn log_has(&self, count: i64) {
        wait_until("parcels in the log", || {
            let length = self.ask(&["XLEN", "{candela}:log"]);
            matches!(length, redis::Value::Int(found) if found >= count).then_some(())
        });
    }
}

/// All processes share a clock to the microsecond, however late they start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MarketTime {
    begin: DateTime<Utc>,
    began: Stopwatch,
    /// How many milliseconds it is ahead of the machine's clock, or behind it.
    ahead_ms: i64,
}

impl MarketTime {
    fn of(begin: &str) -> Self {
        let begin: DateTime<Utc> = begin.parse().unwrap();
        let real = i64::try_from(real_time().as_millis()).unwrap();
        Self {
            begin,
            began: Stopwatch::start(),
            ahead_ms: begin.timestamp_millis() - real,
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.begin + TimeDelta::from_std(self.began.elapsed()).unwrap()
    }
}

pub(crate) fn in_market(began: &MarketTime, args: &[&str]) -> Command {
    let sign = if began.ahead_ms < 0 { '-' } else { '+' };
    let ahead = began.ahead_ms.unsigned_abs();
    Candela::at(&format!("{sign}{}.{:03}", ahead / 1_000, ahead % 1_000), args)
}

/// A process that listens.
pub(crate) struct Node {
    pub(crate) process: Candela,
    pub(crate) address: String,
}

impl Node {
    pub(crate) fn of(command: &mut Command) -> Self {
        let process = Candela::of(command);
        let line = wait_until("a node to listen", || process.stderr.find("candela listens"));
        let line: Value = serde_json::from_str(&line).unwrap();
        let address = line["address"].as_str().unwrap().to_owned();
        Self { process, address }
    }

    pub(crate) fn status(&self) -> Value {
        let shown = Candela::run(&["status", "--json", "--url", &format!("http://{}", self.address)]);
        serde_json::from_str(&shown.stdout).unwrap_or_default()
    }

    pub(crate) fn state(&self) -> String {
        self.status()["state"]["name"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn holds(&self, kind: &str) -> bool {
        let status = self.status();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        conditions
            .iter()
            .any(|one| one["type"] == kind && one["status"] == true)
    }

    pub(crate) fn comes_to(&self, state: &str) {
        wait_until(&format!("state {state}"), || (self.state() == state).then_some(()));
    }

    /// The first sample of `/metrics` that begins so.
    pub(crate) fn metric(&self, begins: &str) -> Option<f64> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        write!(stream, "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        let line = page.lines().find(|line| line.starts_with(begins))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    pub(crate) fn kill(self) {
        self.process.signal(libc::SIGKILL);
        self.process.output_of_the_killed();
    }
}

/// What a client saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// What was told, by channel, epoch and number.
    pub(crate) told: BTreeMap<(String, String, u64), String>,
    pub(crate) epochs: BTreeMap<String, String>,
    pub(crate) answers: Vec<Value>,
    /// Bars that were still forming, by channel, the last number before them, and version.
    pub(crate) forming: BTreeMap<(String, u64, u64), Value>,
    /// Everything that broke the protocol.
    pub(crate) wrong: Vec<String>,
    pub(crate) ended: bool,
}

/// A client that follows everything from a position on, in a thread of its own, until the server ends it.
pub(crate) struct Client(pub(crate) Arc<Mutex<Seen>>);

impl Client {
    pub(crate) fn of(node: &Node, since: Value) -> Self {
        let url = format!("http://{}/ws?channels=status", node.address);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            actix_rt::System::new().block_on(async {
                let (_, mut socket) = awc::Client::new().ws(url).connect().await.unwrap();
                let every = ["ticks:*", "bars.5m:*", "quality:*", "session:*", "events"];
                let follow = json!({"action": "subscribe", "id": 1, "channels": every, "since": since}).to_string();
                socket.send(Message::Text(follow.into())).await.unwrap();
                let mut continuity = Continuity::default();
                while let Some(Ok(frame)) = socket.next().await {
                    match frame {
                        Frame::Text(text) => shared.lock().unwrap().hear(&text, &mut continuity),
                        Frame::Ping(bytes) => socket.send(Message::Pong(bytes)).await.unwrap(),
                        _ => {}
                    }
                }
                shared.lock().unwrap().ended = true;
            });
        });
        Self(seen)
    }

    /// How many ticks it was told.
    pub(crate) fn ticks(&self) -> usize {
        let seen = self.0.lock().unwrap();
        seen.told
            .keys()
            .filter(|(channel, ..)| channel.starts_with("ticks:"))
            .count()
    }

    pub(crate) fn hears_more(&self, count: usize) {
        let before = self.ticks();
        wait_until("more ticks", || {
            let seen = self.0.lock().unwrap();
            assert!(!seen.ended, "the client was sent away: {:?}", seen.wrong);
            drop(seen);
            (self.ticks() >= before + count).then_some(())
        });
    }

    pub(crate) fn last_tick(&self) -> (String, u64) {
        let seen = self.0.lock().unwrap();
        let last = seen.told.keys().rfind(|(channel, ..)| channel.starts_with("ticks:"));
        last.map(|(_, epoch, seq)| (epoch.clone(), *seq)).unwrap()
    }
}

impl Seen {
    pub(crate) fn hear(&mut self, text: &[u8], continuity: &mut Continuity) {
        let message: Value = serde_json::from_slice(text).unwrap();
        self.wrong.extend(continuity.read(&message));
        let kind = message["type"].as_str().unwrap_or_default();
        if kind == "subscribed" {
            for channel in message["channels"].as_array().unwrap() {
                if let (Some(name), Some(epoch)) = (channel["channel"].as_str(), channel["epoch"].as_str()) {
                    self.epochs.insert(name.to_owned(), epoch.to_owned());
                }
            }
            return self.answers.push(message);
        }
        let number = |name: &str| message[name].as_u64().unwrap_or_default();
        if message["data"]["forming"] == true {
            let channel = message["channel"].as_str().unwrap_or_default().to_owned();
            let place = (channel, number("base"), number("version"));
            self.forming.insert(place, message["data"].clone());
        }
        let numbered = message["data"].is_object() && !["snapshot", "replay_end"].contains(&kind);
        if let (true, Some(channel), Some(seq)) = (numbered, message["channel"].as_str(), message["seq"].as_u64()) {
            let epoch = self.epochs.get(channel).cloned().unwrap_or_default();
            // A client that fell behind has fewer ticks, and `from` says which; the tick itself is the same.
            let mut content = message.clone();
            content.as_object_mut().unwrap().remove("from");
            let text = content.to_string();
            let place = (channel.to_owned(), epoch, seq);
            if let Some(known) = self.told.insert(place, text.clone())
                && known != text
            {
                self.wrong.push(format!("{channel} {seq} has two contents"));
            }
        }
    }
}

/// Whatever both were told under the same number is the same; returns how much that is.
pub(crate) fn tell_the_same(one: &Client, other: &Client) -> usize {
    let one = one.0.lock().unwrap();
    let other = other.0.lock().unwrap();
    assert_eq!((&one.wrong, &other.wrong), (&vec![], &vec![]));
    let mut both = 0;
    for (place, text) in &one.told {
        let Some(known) = other.told.get(place) else { continue };
        assert_eq!(known, text, "{place:?}");
        both += 1;
    }
    both
}

/// The same once they share more than so much.
#[track_caller]
pub(crate) fn come_to_tell_the_same(one: &Client, other: &Client, more_than: usize) {
    wait_until("two clients to share enough", || {
        (tell_the_same(one, other) > more_than).then_some(())
    });
}

/// Numbers of each channel have no hole.
pub(crate) fn is_gapless(client: &Client) {
    let seen = client.0.lock().unwrap();
    let mut last: BTreeMap<&String, (&String, u64)> = BTreeMap::new();
    for (channel, epoch, seq) in seen.told.keys() {
        if let Some((before, number)) = last.insert(channel, (epoch, *seq)) {
            assert_eq!((before, number + 1), (epoch, *seq), "{channel}");
        }
    }
}

/// Each tick up to this number comes to be a row, once, of one epoch, and rows have no hole.
pub(crate) fn are_rows_once(sql: impl Fn(&str) -> String, last: u64) {
    let rows =
        "SELECT count(*), count(DISTINCT seq), count(DISTINCT epoch), min(seq), max(seq) FROM realtime_market_data";
    wait_until("the database to have them", || {
        let row = sql(rows);
        let numbers: Vec<u64> = row.split('|').map(|number| number.parse().unwrap_or(0)).collect();
        if numbers[4] < last {
            return None;
        }
        assert_eq!(numbers, [numbers[4], numbers[4], 1, 1, numbers[4]], "{row}");
        Some(())
    });
}

/// An edge counts what it told, as its ingest does.
fn counts_what_it_tells(edge: &Node) {
    for (counter, least) in [
        ("candela_ticks_accepted_total", 50.0),
        ("candela_tick_delay_seconds_count", 50.0),
        ("candela_ledger_append_seconds_count", 3.0),
        ("candela_bars_total{symbol=\"USD/COP\",interval=\"5m\"", 1.0),
        ("candela_clients_connected", 1.0),
        ("candela_clients_messages_total", 50.0),
    ] {
        wait_until(&format!("{counter} of at least {least} on an edge"), || {
            (edge.metric(counter) >= Some(least)).then_some(())
        });
    }
}

/// Beside an ingest that has the lease, and without a way to the vendor.
fn is_checked_as_an_edge(world: &World) {
    let mut check = world.command("check", "edge", "checked");
    let checked = Candela::of(check.env("DATABASE_URL", &world.database.url)).ended();
    assert_eq!(checked.code(), 0, "{}", checked.stdout);
    assert!(checked.stdout.contains("an edge needs none"), "{}", checked.stdout);
}

#[test]
fn an_edge_tells_what_its_ingest_tells_and_keeps_its_clients_while_the_ingest_dies_and_comes_back() {
    let mut world = World::new();
    let ingest = world.ingest();
    world.log_has(3);
    let edge = world.edge("edge");
    ingest.comes_to("active");
    edge.comes_to("active");
    is_checked_as_an_edge(&world);
    let start = json!("session_start");
    let at_ingest = Client::of(&ingest, start.clone());
    let at_edge = Client::of(&edge, start.clone());
    at_edge.hears_more(100);
    counts_what_it_tells(&edge);
    // Bars form there as on the ingest.
    wait_until("an edge's clients to see a bar form", || {
        let told = at_ingest.0.lock().unwrap().forming.clone();
        let seen = at_edge.0.lock().unwrap().forming.clone();
        let both: Vec<_> = seen.iter().filter(|(place, _)| told.contains_key(*place)).collect();
        assert!(
            both.iter().all(|(place, bar)| told.get(*place) == Some(*bar)),
            "{both:?}"
        );
        (both.len() >= 3).then_some(())
    });
    // Where a client is ahead of the edge, the edge waits until it is there.
    let (epoch, seq) = at_ingest.last_tick();
    let ahead = json!({"ticks:USD/COP": {"epoch": epoch, "seq": seq + 25}});
    let hopped = Client::of(&edge, ahead);
    hopped.hears_more(5);
    let answers = hopped.0.lock().unwrap().answers.clone();
    let answer = answers.into_iter().find(|answer| answer["id"] == 1).unwrap();
    let ticks = answer["channels"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["channel"] == "ticks:USD/COP");
    assert_eq!(ticks.unwrap()["recovered"], true, "{answer}");
    ingest.kill();
    let both = tell_the_same(&at_ingest, &at_edge);
    assert!(both > 100, "{both}");
    wait_until("the edge to say that it is old", || {
        edge.holds("log_stale").then_some(())
    });
    assert_eq!(edge.state(), "error");
    let shown = edge.status();
    assert_eq!(shown["symbols"]["USD/COP"]["safe_to_trade"], false, "{shown}");
    let ingest = world.ingest();
    at_edge.hears_more(100);
    edge.comes_to("active");
    // What happened meanwhile is told on the edge as well.
    let again = Client::of(&ingest, start.clone());
    again.hears_more(20);
    come_to_tell_the_same(&again, &at_edge, 200);
    is_gapless(&at_edge);
    wait_until("the journal to tell of the death", || {
        let seen = at_edge.0.lock().unwrap();
        let mut journal = seen.told.iter().filter(|((channel, ..), _)| channel == "events");
        journal.any(|(_, text)| text.contains("ended_unasked")).then_some(())
    });
    assert!(!at_edge.0.lock().unwrap().ended);
    // An edge that begins later has the whole session, and one that comes back goes on.
    let late = world.edge("late");
    let at_late = Client::of(&late, start.clone());
    at_late.hears_more(20);
    come_to_tell_the_same(&at_late, &at_edge, 200);
    late.kill();
    let late = world.edge("late");
    let at_late = Client::of(&late, start);
    at_late.hears_more(20);
    come_to_tell_the_same(&at_late, &at_edge, 200);
    are_rows_once(|sql| world.database.sql(sql), again.last_tick().1);
    edge.process.signal(libc::SIGTERM);
    let ended = edge.process.ended();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

#[test]
fn a_log_that_is_away_is_said_on_both_and_an_emptied_one_is_filled_again() {
    let mut world = World::new();
    let ingest = world.ingest();
    world.log_has(3);
    let edge = world.edge("edge");
    edge.comes_to("active");
    let start = json!("session_start");
    let at_ingest = Client::of(&ingest, start.clone());
    let at_edge = Client::of(&edge, start.clone());
    at_edge.hears_more(20);
    world.redis.kill();
    wait_until("the ingest to say it", || ingest.holds("log_down").then_some(()));
    at_ingest.hears_more(50); // it goes on for its own clients
    wait_until("the edge to say it", || edge.holds("log_stale").then_some(()));
    world.redis.restart(); // empty
    at_edge.hears_more(50);
    edge.comes_to("active");
    wait_until("the ingest to be well", || (!ingest.holds("log_down")).then_some(()));
    come_to_tell_the_same(&at_ingest, &at_edge, 50);
    is_gapless(&at_edge);
    // One that begins on the log that was filled again has the whole session too.
    let late = world.edge("late");
    let at_late = Client::of(&late, start);
    at_late.hears_more(20);
    come_to_tell_the_same(&at_late, &at_edge, 50);
}

#[test]
fn an_edge_that_was_away_for_longer_than_the_log_reaches_gets_the_rest_from_another_node() {
    let mut world = World::new();
    let _ingest = world.ingest();
    world.log_has(3);
    let edge = world.edge("edge");
    let away = world.edge("away");
    let start = json!("session_start");
    let at_edge = Client::of(&edge, start.clone());
    let before = Client::of(&away, start.clone());
    before.hears_more(50);
    away.kill();
    let (_, last) = before.last_tick();
    at_edge.hears_more(100);
    let redis::Value::Int(length) = world.ask(&["XLEN", "{candela}:log"]) else {
        panic!("no log")
    };
    world.log_has(length + 20); // on a busy machine one parcel has many ticks
    world.ask(&["XTRIM", "{candela}:log", "MAXLEN", "=", "5"]);
    let away = world.edge("away");
    assert!(
        away.process.stderr.find("come from another node").is_some(),
        "{}",
        away.process.stderr.text()
    );
    let after = Client::of(&away, start);
    after.hears_more(20);
    come_to_tell_the_same(&after, &at_edge, 150);
    is_gapless(&after);
    let seen = after.0.lock().unwrap();
    let mut ticks = seen.told.keys().filter(|(channel, ..)| channel.starts_with("ticks:"));
    assert!(ticks.any(|(.., seq)| *seq == last), "it has what it told before");
    drop(seen);
    assert!(!world.folder.path().join("away/aside").exists());
}

#[test]
fn an_edge_without_a_log_ends_with_a_sentence() {
    let world = World::new();
    let ended = Candela::of(&mut world.node("edge", "edge")).ended();
    assert_eq!(ended.code(), 75, "{}", ended.stderr);
    assert!(ended.stderr.contains("the cluster log is empty"), "{}", ended.stderr);
    let mut ingest = world.node("ingest", "ingest");
    let ended = Candela::of(&mut ingest).ended();
    assert_eq!(ended.code(), 78, "{}", ended.stderr);
    assert!(ended.stderr.contains("DATABASE_URL"), "{}", ended.stderr);
}
