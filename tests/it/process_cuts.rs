//! Candela is killed and the end of its ledger's log cut off, again and again, while clients and a reader of Redis follow: among what
//! all of them and the tables hold no number has two meanings, and the tables hold what the vendor told, in its order, each tick once.
//!
//! The short form is a few rounds and clients; with `CANDELA_TEST_LONG` it is 200 rounds (or as many as its value names) and 20 clients.

use crate::child::wait_until;
use crate::process_kills::{Client, World, all_saw, condition, is_long, of_service, pass, status};
use crate::witness::Witness;
use candela::clock::Stopwatch;
use candela::domain::model::Price;
use chrono::NaiveDateTime;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Ticks a second: twenty clients on two cores keep up.
const PER_SECOND: &str = "200";
/// When the first slot of the session opens, 08:00 in Bogota.
const FIRST_SLOT: i64 = 1_772_456_400;
pub(super) const STREAM: &str = "candela:stream:ticks:USD/COP";

fn rounds() -> u32 {
    let named = std::env::var_os("CANDELA_TEST_LONG").and_then(|text| text.to_str()?.parse().ok());
    if is_long() {
        named.filter(|rounds| *rounds > 1).unwrap_or(200)
    } else {
        2
    }
}

/// Where the frames of a log of SQLite end that belong to it: behind them stands what is left of the log before it, which a
/// cut may take without harm (<https://www.sqlite.org/fileformat2.html#walformat>).
fn end_of_log(log: &[u8]) -> usize {
    let page = u32::from_be_bytes(log[8..12].try_into().unwrap());
    let frame = 24 + usize::try_from(page).unwrap();
    let salts = &log[16..24];
    let own = |frame: &&[u8]| &frame[8..16] == salts;
    32 + frame * log[32..].chunks_exact(frame).take_while(own).count()
}

/// Cuts bytes off the end of the ledger's log.
fn cut_log(folder: &Path, bytes: u64) {
    let log = folder.join("ledger-2026-03-02.db-wal");
    let length = u64::try_from(end_of_log(&std::fs::read(&log).unwrap())).unwrap();
    let file = std::fs::File::options().write(true).open(&log).unwrap();
    file.set_len(length.saturating_sub(bytes)).unwrap();
}

/// The price that was told under each epoch and number.
type Numbers = BTreeMap<(String, u64), String>;

/// What is held under each epoch and number: each price, in millionths, with who holds it.
#[derive(Default)]
struct Meanings(BTreeMap<(String, u64), BTreeMap<i64, String>>);

impl Meanings {
    fn add(&mut self, who: &str, number: (String, u64), micros: i64) {
        let prices = self.0.entry(number).or_default();
        prices.entry(micros).or_insert_with(|| who.to_owned());
    }

    fn add_told(&mut self, who: &str, numbers: Numbers) {
        // A channel without a message has no epoch yet: what comes on such a connection is compared by who reads it later.
        for (number, price) in numbers.into_iter().filter(|((epoch, _), _)| !epoch.is_empty()) {
            self.add(who, number, price.parse::<Price>().unwrap().micros());
        }
    }

    fn doubles(&self) -> Vec<String> {
        let doubles = self.0.iter().filter(|(_, prices)| prices.len() > 1);
        doubles
            .map(|(number, prices)| format!("{number:?}: {prices:?}"))
            .collect()
    }
}

/// Reads the newest entries of the stream of Redis again and again.
struct StreamReader {
    over: Arc<AtomicBool>,
    thread: JoinHandle<(Numbers, Vec<String>)>,
}

impl StreamReader {
    fn start(url: String) -> Self {
        let over = Arc::<AtomicBool>::default();
        let ended = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
            let (mut numbers, mut doubles) = (BTreeMap::new(), Vec::new());
            while !ended.load(Ordering::Relaxed) {
                let newest = redis::cmd("XREVRANGE")
                    .arg(&[STREAM, "+", "-", "COUNT", "500"])
                    .query(&mut connection);
                let newest: Vec<(String, BTreeMap<String, String>)> = newest.unwrap();
                for (_, entry) in newest {
                    let message: Value = serde_json::from_str(&entry["message"]).unwrap();
                    let number = (entry["epoch"].clone(), entry["seq"].parse().unwrap());
                    assert_eq!(message["seq"].as_u64(), Some(number.1), "{message}");
                    let price = message["data"]["price"].to_string();
                    match numbers.insert(number.clone(), price.clone()) {
                        Some(known) if known != price => doubles.push(format!("{number:?}: {known}, then {price}")),
                        _ => {}
                    }
                }
                pass(Duration::from_millis(200));
            }
            (numbers, doubles)
        });
        Self { over, thread }
    }

    fn end(self) -> (Numbers, Vec<String>) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// A tick in the store.
pub(super) struct Row {
    pub(super) epoch: String,
    pub(super) seq: u64,
    pub(super) micros: i64,
    /// What the vendor stamped it, in seconds.
    pub(super) stamp: i64,
    pub(super) provenance: String,
}

/// Every tick in the store, in the order in which they were written.
pub(super) fn rows(world: &World) -> Vec<Row> {
    let Some(file) = &world.sqlite else {
        let sql = "SELECT epoch, seq, (last * 1000000)::bigint, extract(epoch FROM event_time)::bigint, provenance \
                   FROM realtime_market_data ORDER BY id";
        let said = world.postgres.sql(&world.database.name, sql);
        let row = |line: &str| {
            let mut parts = line.split('|');
            let mut next = || parts.next().unwrap().to_owned();
            Row {
                epoch: next(),
                seq: next().parse().unwrap(),
                micros: next().parse().unwrap(),
                stamp: next().parse().unwrap(),
                provenance: next(),
            }
        };
        return said.lines().map(row).collect();
    };
    let db = rusqlite::Connection::open(file).unwrap();
    let sql = "SELECT epoch, seq, last, event_time / 1000000, provenance FROM realtime_market_data ORDER BY id";
    let mut asked = db.prepare(sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        Ok(Row {
            epoch: row.get(0)?,
            seq: row.get::<_, i64>(1)?.unsigned_abs(),
            micros: row.get(2)?,
            stamp: row.get(3)?,
            provenance: row.get(4)?,
        })
    };
    let rows = asked.query_map([], row).unwrap();
    rows.map(Result::unwrap).collect()
}

/// A bar: when it opens, in seconds, and open, high, low and close in millionths.
type StoredBar = (i64, [i64; 4]);

/// The bars of candela in the store that were made whole: by the vendor, or by prices without a gap.
fn whole_bars(world: &World) -> Vec<StoredBar> {
    let of_candela = "FROM market_data WHERE source = 'candela' AND flags = 0 ORDER BY datetime";
    let Some(file) = &world.sqlite else {
        let price = |name: &str| format!("({name} * 1000000)::bigint");
        let prices = ["open", "high", "low", "close"].map(price).join(", ");
        let sql = format!("SELECT extract(epoch FROM datetime)::bigint, {prices} {of_candela}");
        let said = world.postgres.sql(&world.database.name, &sql);
        let row = |line: &str| {
            let numbers: Vec<i64> = line.split('|').map(|part| part.parse().unwrap()).collect();
            (numbers[0], [1, 2, 3, 4].map(|at| numbers[at]))
        };
        return said.lines().map(row).collect();
    };
    let db = rusqlite::Connection::open(file).unwrap();
    let sql = format!("SELECT datetime / 1000000, open, high, low, close {of_candela}");
    let mut asked = db.prepare(&sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?]));
    let rows = asked.query_map([], row).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The vendor's own bars, of the history that the service requests as well, as it answers to anybody.
fn bars_of_the_vendor(world: &World) -> Vec<StoredBar> {
    let address = world.at.1.trim_start_matches("http://").trim_end_matches('/');
    let mut socket = TcpStream::connect(address).unwrap();
    let query =
        "symbol=USD/COP&interval=5min&order=asc&timezone=UTC&start_date=2026-02-01&outputsize=5000&apikey=witness";
    write!(socket, "GET /time_series?{query} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let said: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let bar = |bar: &Value| {
        let opens = NaiveDateTime::parse_from_str(bar["datetime"].as_str().unwrap(), "%Y-%m-%d %H:%M:%S").unwrap();
        let price = |name: &str| bar[name].as_str().unwrap().parse::<Price>().unwrap().micros();
        (opens.and_utc().timestamp(), ["open", "high", "low", "close"].map(price))
    };
    said["values"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"))
        .iter()
        .map(bar)
        .collect()
}

/// Waits until the vendor's bar has healed the first slot, and compares all whole bars with the vendor's. Returns how many there are.
pub(super) fn compare_with_the_vendors(world: &World) -> usize {
    let bars = wait_until("the vendor's bar to heal the first slot", || {
        let bars = whole_bars(world);
        bars.iter().any(|(opens, _)| *opens == FIRST_SLOT).then_some(bars)
    });
    let of_the_vendor = bars_of_the_vendor(world);
    for bar in &bars {
        assert!(of_the_vendor.contains(bar), "{bar:?} is none of {of_the_vendor:?}");
    }
    bars.len()
}

fn cut_again_and_again(world: &World) {
    let record = Witness::at(&world.at.0);
    let clients: Vec<Client> = (0..if is_long() { 20 } else { 5 }).map(|_| of_service(world)).collect();
    let stream = StreamReader::start(world.redis.url());
    let mut random = fastrand::Rng::with_seed(17);
    let mut renumbered = 0;
    let began = Stopwatch::start();
    for round in 0..rounds() {
        let service = world.service();
        all_saw(&clients, 100);
        let now = wait_until("/status to answer", || status(world.port));
        renumbered += usize::from(condition(&now, "ledger_renumbered").is_some());
        service.signal(libc::SIGKILL);
        service.output_of_the_killed();
        // The small cuts take a part of the last transaction, the large ones all of the log.
        let most = if round % 2 == 0 { 400_000 } else { 20_000 };
        cut_log(&world.folder.path().join("ledger"), random.u64(1..most));
        if round % 10 == 9 {
            println!("{} rounds after {:?}", round + 1, began.elapsed());
        }
    }
    let service = world.service();
    all_saw(&clients, 500);
    let now = wait_until("/status to answer", || status(world.port));
    assert!(condition(&now, "ledger_renumbered").is_some(), "{}", now["conditions"]);
    let mut meanings = Meanings::default();
    let mut newest = None;
    for (client, index) in clients.into_iter().zip(1..) {
        let seen = client.end();
        assert!(seen.two_meanings.is_empty(), "client {index}: {:#?}", seen.two_meanings);
        newest = seen.newest;
        meanings.add_told(&format!("client {index}"), seen.numbers);
    }
    let (epoch, last) = newest.unwrap();
    wait_until("the store to have the newest tick", || {
        let all = rows(world);
        all.iter()
            .any(|row| row.epoch == epoch && row.seq == last)
            .then_some(())
    });
    let bars = compare_with_the_vendors(world);
    let (numbers, doubles) = stream.end();
    assert!(doubles.is_empty(), "the stream of Redis: {doubles:#?}");
    assert!(numbers.len() > 500, "{} entries were read", numbers.len());
    let told = meanings.0.len();
    meanings.add_told("the reader of Redis", numbers);
    service.signal(libc::SIGTERM);
    assert_eq!(service.ended().code(), 0);
    let all = rows(world);
    let known = all
        .iter()
        .filter(|row| meanings.0.contains_key(&(row.epoch.clone(), row.seq)))
        .count();
    for row in &all {
        meanings.add("a table", (row.epoch.clone(), row.seq), row.micros);
    }
    // Each kill, with the cut after it, takes one stretch of the vendor's record.
    let stored: Vec<_> = all.iter().map(|row| (row.stamp, row.micros.to_string())).collect();
    let stretches = record.stretches(&stored).unwrap();
    println!(
        "{} rounds, {renumbered} renumbered; {} whole bars; {told} numbers told, {} rows, {known} of them told, in {} stretches of the \
         vendor's record",
        rounds(),
        bars,
        all.len(),
        stretches.len()
    );
    let most = usize::try_from(rounds()).unwrap() + 1;
    assert!(stretches.len() <= most, "{stretches:?}");
    assert!(meanings.doubles().is_empty(), "{:#?}", meanings.doubles());
    assert!(known > 500, "{known} rows were seen by somebody as well");
    assert!(renumbered > 0, "no cut was noticed");
}

#[test]
fn a_log_that_is_cut_after_each_kill_gives_no_number_two_meanings_and_postgresql_gets_all_that_comes() {
    cut_again_and_again(&World::of(PER_SECOND));
}

#[test]
fn a_log_that_is_cut_after_each_kill_gives_no_number_two_meanings_and_sqlite_gets_all_that_comes() {
    let mut world = World::of(PER_SECOND);
    world.sqlite = Some(world.folder.path().join("store.sqlite"));
    cut_again_and_again(&world);
}
