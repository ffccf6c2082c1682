//! A day at a thousand ticks a second while servers, and candela itself, are killed again and again: afterwards PostgreSQL holds
//! what the ledger holds, everything a client saw is in it, and no client waited long.
//!
//! libfaketime puts the vendor and the service into the market's hours. The short form takes seconds; with `CANDELA_TEST_LONG` it
//! is ten minutes, and fifty kills of candela.

use crate::child::{Candela, wait_until};
use crate::equal::assert_equal;
use crate::servers::{Database, Postgres, Reach, Redis};
use awc::ws::{Frame, Message};
use candela::clock::Stopwatch;
use candela::domain::model::{Event, Position, Sequenced};
use candela::ledger::{Ledger, LedgerOptions};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Ticks a second.
const PER_SECOND: &str = "1000";
/// A Monday, just before the first bar of USD/COP closes.
const BEGIN: &str = "2026-03-02T13:04:45Z";

/// How long a client may wait for the next tick.
const PAUSE: Duration = Duration::from_millis(100);

const TCP: Reach = Reach {
    tcp: true,
    password: Some("s3cret"),
    tls: false,
};

pub(super) fn is_long() -> bool {
    std::env::var_os("CANDELA_TEST_LONG").is_some()
}

/// A world whose clock all processes share, however late they start.
pub(super) struct World {
    pub(super) began: Stopwatch,
    pub(super) folder: tempfile::TempDir,
    pub(super) postgres: Postgres,
    pub(super) database: Database,
    pub(super) redis: Redis,
    /// The store is this file, and not the database.
    pub(super) sqlite: Option<PathBuf>,
    _vendor: Candela,
    /// Where the vendor listens: WebSocket, REST.
    pub(super) at: (String, String),
    pub(super) port: u16,
}

impl World {
    fn new() -> Self {
        Self::of(PER_SECOND)
    }

    /// With so many ticks a second.
    pub(super) fn of(per_second: &str) -> Self {
        Self::playing(per_second, "")
    }

    /// With a scenario of the vendor's.
    pub(super) fn playing(per_second: &str, scenario: &str) -> Self {
        let began = Stopwatch::start();
        let folder = tempfile::tempdir().unwrap();
        let play = folder.path().join("play.txt").display().to_string();
        std::fs::write(&play, scenario).unwrap();
        let mut args = vec!["simulate", "--symbols", "USD/COP", "--per-second", per_second, "--json"];
        args.extend(["--scenario", &play]);
        let mut vendor = Candela::of(&mut in_market(&began, &args));
        let line = vendor.line("\"listening\"");
        let said: Value = serde_json::from_str(&line).unwrap();
        let at = |name: &str| said[name].as_str().unwrap().to_owned();
        let flag = r#"{"ready":true,"timestamp":"2026-03-02T07:30:00-05:00"}"#;
        std::fs::write(folder.path().join("l0_ready.flag"), flag).unwrap();
        let postgres = Postgres::start(TCP);
        let database = postgres.database();
        let redis = Redis::start(TCP);
        Self {
            began,
            folder,
            postgres,
            database,
            redis,
            sqlite: None,
            at: (at("ws_url"), at("rest_url")),
            _vendor: vendor,
            port: crate::servers::free_port(),
        }
    }

    /// The service, on the data it had.
    pub(super) fn service(&self) -> Candela {
        let mut command = in_market(&self.began, &["run"]);
        let data = self.folder.path().join("ledger");
        match &self.sqlite {
            Some(file) => command.env("CANDELA__STORE__SQLITE_FILE", file),
            None => command.env("DATABASE_URL", &self.database.url),
        };
        command
            .env("REDIS_URL", self.redis.url())
            .env("READY_SIGNALS_DIR", self.folder.path())
            .env("STARTUP_TIMEOUT_MINUTES", "1")
            .env("PORT", self.port.to_string())
            .envs((1..=8).map(|key| (format!("API_KEY_G1_{key}"), format!("f00dfeed{key}")))) // a start need not wait for one
            .env("CANDELA__UPSTREAM__WS_URL", &self.at.0)
            .env("CANDELA__UPSTREAM__REST_URL", &self.at.1)
            .env("CANDELA__LEDGER__DIR", data);
        Candela::of(&mut command)
    }

    /// The instant that it is for all of its processes.
    pub(super) fn now(&self) -> DateTime<Utc> {
        market_time(&self.began)
    }

    /// Waits until PostgreSQL has what the client has seen by now: a stop does not wait long for a server that was away.
    pub(super) fn caught_up(&self, client: &Client) {
        let last = client.seen.lock().unwrap().last.unwrap();
        let sql = "SELECT coalesce(max(seq), 0) FROM realtime_market_data";
        wait_until("PostgreSQL to catch up", || {
            let stored: u64 = self.postgres.sql(&self.database.name, sql).parse().unwrap();
            (stored >= last).then_some(())
        });
    }

    pub(super) fn ledger(&self) -> Ledger {
        let today = NaiveDate::from_ymd_opt(2026, 3, 2).unwrap();
        Ledger::open(&self.folder.path().join("ledger"), LedgerOptions::new(today, 10)).unwrap()
    }
}

/// `candela ARGS` in the market's time, which began with `began`.
pub(super) fn in_market(began: &Stopwatch, args: &[&str]) -> std::process::Command {
    Candela::at(&market_time(began).format("@%Y-%m-%d %H:%M:%S").to_string(), args)
}

fn market_time(began: &Stopwatch) -> DateTime<Utc> {
    let begin: DateTime<Utc> = BEGIN.parse().unwrap();
    begin + TimeDelta::from_std(began.elapsed()).unwrap()
}

/// What a client of the service, or of the vendor itself, saw.
#[derive(Default)]
pub(super) struct Seen {
    /// Prices by `seq`, of the service's ticks.
    prices: BTreeMap<u64, Value>,
    doubled: usize,
    /// What was told under each epoch and number, and each number that was told with two contents.
    pub(super) numbers: BTreeMap<(String, u64), String>,
    pub(super) two_meanings: Vec<String>,
    /// The epoch and number that came last.
    pub(super) newest: Option<(String, u64)>,
    /// Answers that said that not all that was missed can be told.
    refused: Vec<String>,
    /// The last number, and every place where the next one did not follow it, with what was said last besides ticks.
    last: Option<u64>,
    said: String,
    pub(super) holes: Vec<String>,
    messages: usize,
    longest_pause: Duration,
    /// Every pause that is worth looking at: when it ended, by the world's clock, and how long it was.
    pauses: Vec<(Duration, Duration)>,
}

impl Seen {
    fn paused(&mut self, ended: Duration, length: Duration) {
        self.longest_pause = self.longest_pause.max(length);
        if length > PAUSE / 2 {
            self.pauses.push((ended, length));
        }
    }

    /// From now on it counts: the link is up.
    fn forget_pauses(&mut self) {
        self.longest_pause = Duration::ZERO;
        self.pauses.clear();
    }

    /// Pauses longer than a client may wait, and how many of them began or ended while the other one waited as well.
    fn long_pauses(&self, other: &Self) -> (usize, usize) {
        let long: Vec<_> = self.pauses.iter().filter(|(_, length)| *length > PAUSE).collect();
        let shared = |(ended, length): &&&(Duration, Duration)| {
            let meets = |(end, span): &(Duration, Duration)| {
                *end + PAUSE > ended.saturating_sub(*length) && *ended + PAUSE > end.saturating_sub(*span)
            };
            other.pauses.iter().any(meets)
        };
        (long.len(), long.iter().filter(shared).count())
    }
}

/// A client that comes back when it is cut off, and goes on where it was.
pub(super) struct Client {
    pub(super) seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Client {
    /// Says `hello` after connecting; `{since}` in it is the last position.
    fn start(began: &Stopwatch, url: String, hello: &'static str) -> Self {
        let began = *began;
        let (seen, over) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let (kept, ended) = (Arc::clone(&seen), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let mut since = String::new();
                while !ended.load(Ordering::Relaxed) {
                    follow(&began, &url, hello, &mut since, &kept, &ended).await;
                    actix_web::rt::time::sleep(Duration::from_millis(50)).await;
                }
            });
        });
        Self { seen, over, thread }
    }

    pub(super) fn end(self) -> Seen {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    pub(super) fn saw(&self, messages: usize) {
        all_saw(std::slice::from_ref(self), messages);
    }

    fn messages(&self) -> usize {
        self.seen.lock().unwrap().messages
    }
}

/// Each of them saw so many more, all in the same time.
pub(super) fn all_saw(clients: &[Client], messages: usize) {
    let wanted: Vec<usize> = clients.iter().map(|client| client.messages() + messages).collect();
    for (client, wanted) in clients.iter().zip(wanted) {
        wait_until("the client to see ticks", || {
            (client.messages() >= wanted).then_some(())
        });
    }
}

/// Follows one connection to its end.
async fn follow(began: &Stopwatch, url: &str, hello: &str, since: &mut String, seen: &Mutex<Seen>, over: &AtomicBool) {
    let Ok((_, mut socket)) = awc::Client::new().ws(url).connect().await else {
        return;
    };
    let hello = hello.replace("{since}", since);
    if socket.send(Message::Text(hello.into())).await.is_err() {
        return;
    }
    let (mut epoch, mut last) = (Value::Null, None::<Stopwatch>); // a channel without a message has no epoch yet
    while let Some(Ok(frame)) = socket.next().await {
        let Frame::Text(text) = frame else { continue };
        let said: Value = serde_json::from_slice(&text).unwrap();
        if said["type"] == "subscribed" {
            epoch = said["channels"][0]["epoch"].clone();
            if said["channels"][0]["recovered"] == false {
                seen.lock().unwrap().refused.push(said["channels"][0].to_string());
            }
        }
        if said["type"] != "market_data" && said["event"] != "price" {
            seen.lock().unwrap().said = said.to_string();
        } else {
            let mut seen = seen.lock().unwrap();
            seen.messages += 1;
            seen.paused(
                began.elapsed(),
                last.as_ref().map(Stopwatch::elapsed).unwrap_or_default(),
            );
            last = Some(Stopwatch::start());
            if let Some(seq) = said["seq"].as_u64() {
                if let Some(last) = seen.last.replace(seq)
                    && seq != last + 1
                {
                    let hole = format!("{last} to {seq}, after {}", seen.said);
                    seen.holes.push(hole);
                }
                *since = format!(r#","since":{{"ticks:USD/COP":{{"epoch":{epoch},"seq":{seq}}}}}"#);
                let number = (epoch.as_str().unwrap_or_default().to_owned(), seq);
                let content = said["data"]["price"].to_string();
                seen.newest = Some(number.clone());
                if let Some(known) = seen.numbers.insert(number.clone(), content.clone())
                    && known != content
                {
                    seen.two_meanings.push(format!("{number:?}: {known}, then {content}"));
                }
                seen.doubled += usize::from(seen.prices.insert(seq, said["data"]["price"].clone()).is_some());
            }
        }
        if over.load(Ordering::Relaxed) {
            return;
        }
    }
}

pub(super) fn of_service(world: &World) -> Client {
    let hello = r#"{"action":"subscribe","channels":["ticks:USD/COP"],"options":{"on_slow":"close"}{since}}"#;
    Client::start(
        &world.began,
        format!("ws://127.0.0.1:{}/ws?channels=status", world.port),
        hello,
    )
}

pub(super) fn pass(time: Duration) {
    let watch = Stopwatch::start();
    wait_until("time to pass", || (watch.elapsed() >= time).then_some(()));
}

/// All of a ledger, in its order.
pub(super) fn events(ledger: &Ledger) -> Vec<Sequenced> {
    let (mut reader, mut all) = (ledger.reader(), Vec::new());
    loop {
        let next = all.last().map_or(Position(1), |last: &Sequenced| last.position.next());
        let page = reader.read(next, 5_000).unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// The price of each tick in a ledger, by its number.
pub(super) fn ticks(ledger: &Ledger) -> BTreeMap<u64, String> {
    let price = |event: Sequenced| match event.event {
        Event::Tick(tick) => Some((event.seq, tick.tick.price.to_string())),
        _ => None,
    };
    events(ledger).into_iter().filter_map(price).collect()
}

/// Everything the client saw is written down under its number, and it saw every number from its first to its last.
pub(super) fn assert_kept(ledger: &Ledger, seen: &Seen) {
    assert_eq!(seen.doubled, 0, "a number came twice");
    assert!(seen.refused.is_empty(), "{:?}", seen.refused);
    let written = ticks(ledger);
    for (seq, price) in &seen.prices {
        assert_eq!(written.get(seq), Some(&price.to_string()), "tick {seq}");
    }
    assert!(seen.holes.is_empty(), "{:#?}", seen.holes);
}

#[test]
fn killing_postgresql_and_redis_every_few_seconds_loses_nothing_and_clients_do_not_wait() {
    let mut world = World::new();
    let service = world.service();
    let client = of_service(&world);
    let vendor = format!("{}?apikey=c0ffee", world.at.0);
    let control = Client::start(
        &world.began,
        vendor,
        r#"{"action":"subscribe","params":{"symbols":"USD/COP"}}"#,
    );
    client.saw(2_000);
    control.saw(1);
    client.seen.lock().unwrap().forget_pauses();
    control.seen.lock().unwrap().forget_pauses();
    let rounds = if is_long() { 200 } else { 4 };
    for _ in 0..rounds {
        pass(Duration::from_millis(1_500));
        world.postgres.kill();
        world.redis.kill();
        pass(Duration::from_millis(1_000));
        world.postgres.restart();
        world.redis.restart();
    }
    client.saw(3_000);
    world.caught_up(&client);
    let (seen, control) = (client.end(), control.end());
    service.signal(libc::SIGTERM);
    let ended = service.ended();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let ledger = world.ledger();
    assert_kept(&ledger, &seen);
    assert_equal(&world.postgres, &world.database, &ledger);
    let (long, shared) = seen.long_pauses(&control);
    println!(
        "{} ticks; the longest pause of a client {:?}, of one at the vendor itself {:?}; {long} pauses over {PAUSE:?}, {shared} of them \
         while the one at the vendor waited as well",
        seen.messages, seen.longest_pause, control.longest_pause
    );
    // This machine pauses by itself as well: what the vendor's own client waited is not the service's doing.
    let allowed = PAUSE + control.longest_pause;
    assert!(
        seen.longest_pause <= allowed,
        "a client waited {:?}",
        seen.longest_pause
    );
}

#[test]
fn killing_candela_again_and_again_loses_nothing_that_was_told() {
    let world = World::new();
    let client = of_service(&world);
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..if is_long() { 50 } else { 5 } {
        let service = world.service();
        client.saw(500);
        pass(Duration::from_millis(random.u64(0..700)));
        service.signal(libc::SIGKILL);
        service.output_of_the_killed();
    }
    let service = world.service();
    client.saw(3_000);
    world.caught_up(&client);
    let seen = client.end();
    service.signal(libc::SIGTERM);
    let ended = service.ended();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let ledger = world.ledger();
    assert_kept(&ledger, &seen);
    assert_equal(&world.postgres, &world.database, &ledger);
}

/// `/status` as it is now; nothing while nobody answers.
pub(super) fn status(port: u16) -> Option<Value> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
    socket
        .write_all(b"GET /status HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

/// The condition of this type that holds, if one does.
pub(super) fn condition(status: &Value, kind: &str) -> Option<Value> {
    let mut all = status["conditions"].as_array()?.iter();
    all.find(|condition| condition["type"] == kind && condition["status"] == true)
        .cloned()
}

#[test]
fn a_ledger_folder_that_is_deleted_under_the_service_is_noticed_within_seconds() {
    let world = World::new();
    let service = world.service();
    let client = of_service(&world);
    client.saw(100);
    std::fs::remove_dir_all(world.folder.path().join("ledger")).unwrap();
    let watch = Stopwatch::start();
    let (now, found) = wait_until("the condition to hold", || {
        let now = status(world.port)?;
        let found = condition(&now, "ledger_unwritable")?;
        Some((now, found))
    });
    assert!(watch.elapsed() < Duration::from_secs(5), "{:?}", watch.elapsed());
    assert_eq!(found["reason"], "folder_gone", "{found}");
    assert_eq!(now["symbols"]["USD/COP"]["safe_to_trade"], false, "{}", now["symbols"]);
    client.end();
    service.signal(libc::SIGTERM);
    service.ended();
}
