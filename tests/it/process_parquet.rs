//! What a long Parquet file costs: the time to its first byte, bars a second of one core, and memory. The short form asks for a part
//! of a year; with `CANDELA_TEST_LONG` it is a million bars and the figures are printed, and with a build of profile `dist` as
//! `CANDELA_TEST_BINARY` they are held against the goals.

use crate::child::{Candela, wait_until};
use crate::servers::postgres;
use bytes::Bytes;
use candela::clock::Stopwatch;
use candela::store::{Migrate, Postgres, Sqlite};
use parquet::file::reader::{FileReader, SerializedFileReader};
use secrecy::SecretString;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

#[path = "many_bars.rs"]
mod many_bars;

/// Goals of a build of profile `dist` on an idle machine.
const FIRST_BYTE: Duration = Duration::from_millis(50);
const BARS_A_SECOND: f64 = 1e6;
/// More than after the first short files. Holds for the short form in every build.
const GROWTH_KB: u64 = 16 * 1_024;
/// How often the file is asked for; the median is what counts.
const TIMES: usize = 5;

fn long() -> bool {
    std::env::var_os("CANDELA_TEST_LONG").is_some()
}

/// How many sessions the file has.
fn count() -> usize {
    if long() { 3_400 } else { 120 }
}

/// The service on one core, with what it needs to answer and no vendor.
fn service() -> Command {
    let plain = Candela::command(&["run"]);
    let mut command = Command::new("taskset");
    command
        .args(["-c", "0"])
        .arg(plain.get_program())
        .args(plain.get_args());
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").envs([
        ("PORT", "0"),
        ("LOG_LEVEL", "INFO"),
        ("API_KEY_G1_1", "f00dfeed"),
        ("CANDELA__UPSTREAM__WS_URL", "ws://127.0.0.1:9"),
        ("CANDELA__UPSTREAM__REST_URL", "http://127.0.0.1:9"),
        ("CANDELA__MARKET__INTERVALS", "5m,1m"),
    ]);
    command
}

/// The file, the time to the first byte of it, and to its last.
fn ask(address: &str, path: &str) -> (Bytes, Duration, Duration) {
    let watch = Stopwatch::start();
    let mut socket = TcpStream::connect(address).unwrap();
    write!(socket, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let (mut answer, mut part, mut first) = (Vec::new(), vec![0; 256 * 1_024], None);
    loop {
        let read = socket.read(&mut part).unwrap();
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&part[..read]);
        if first.is_none() && answer.windows(4).any(|bytes| bytes == b"PAR1") {
            first = Some(watch.elapsed());
        }
    }
    let all = watch.elapsed();
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let said = String::from_utf8_lossy(&answer[..head.min(400)]).into_owned();
    assert!(said.contains(" 200 "), "{said}");
    (Bytes::from(answer).slice(head..), first.expect("a first byte"), all)
}

fn median(mut all: Vec<f64>) -> (f64, f64, f64) {
    all.sort_by(f64::total_cmp);
    (all[all.len() / 2], all[0], all[all.len() - 1])
}

/// Asks for the whole file some times, and says what it took.
fn a_long_file_costs_little(store: &str, mut command: Command, bars: u64) {
    let service = Candela::of(&mut command);
    let line = wait_until("the service to listen", || service.stderr.find("candela listens"));
    let line: Value = serde_json::from_str(&line).unwrap();
    let address = line["address"].as_str().unwrap();
    let of = |interval: &str, from: &str| format!("/market/bars?interval={interval}&from={from}&format=parquet");
    // What the first files allocate, and what the store keeps of the database, does not depend on the length of a file. Each thread
    // that takes part keeps memory of its own: so many short files that all have had a turn.
    for _ in 0..20 {
        ask(address, &of("1m", "2010-01-01&to=2010-03-01"));
    }
    let idle = service.most_memory();
    let (mut firsts, mut of_wall, mut of_core) = (Vec::new(), Vec::new(), Vec::new());
    let count = f64::from(u32::try_from(bars).unwrap());
    for _ in 0..TIMES {
        let before = service.processor_seconds();
        let (file, first, all) = ask(address, &of("1m", "2010-01-01"));
        let took = service.processor_seconds() - before;
        let rows = SerializedFileReader::new(file)
            .unwrap()
            .metadata()
            .file_metadata()
            .num_rows();
        assert_eq!(u64::try_from(rows).unwrap(), bars);
        firsts.push(first.as_secs_f64() * 1e3);
        of_wall.push(count / all.as_secs_f64());
        of_core.push(count / took.max(0.01));
    }
    let grown = service.most_memory().saturating_sub(idle); // the kernel counts pages inexactly
    let (first, wall, core) = (median(firsts), median(of_wall), median(of_core));
    println!(
        "{store}: {bars} bars; first byte {:.1} ms ({:.1} to {:.1}); bars a second of its processor time {:.0} ({:.0} to {:.0}), \
         by the clock {:.0} ({:.0} to {:.0}); memory {grown} kB more than {idle} kB at rest",
        first.0, first.1, first.2, core.0, core.1, core.2, wall.0, wall.1, wall.2
    );
    let release = std::env::var_os("CANDELA_TEST_BINARY").is_some();
    if release || !long() {
        assert!(grown < GROWTH_KB, "{grown} kB more than the {idle} kB at rest");
    }
    if release && long() {
        assert!(
            first.0 / 1e3 < FIRST_BYTE.as_secs_f64(),
            "first byte after {:.1} ms",
            first.0
        );
        assert!(core.0 > BARS_A_SECOND, "{:.0} bars a second", core.0);
    }
}

#[test]
fn a_long_parquet_file_from_sqlite_costs_little_time_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(Sqlite::open(&path).unwrap());
    let opens = many_bars::sessions(count());
    let sql = many_bars::for_sqlite(&opens);
    rusqlite::Connection::open(&path).unwrap().execute_batch(&sql).unwrap();
    let mut command = service();
    command.env("CANDELA__STORE__SQLITE_FILE", &path);
    command.env("CANDELA__LEDGER__DIR", folder.path().join("ledger"));
    a_long_file_costs_little("SQLite", command, many_bars::bars_of(&opens));
}

#[tokio::test]
async fn a_long_parquet_file_from_postgresql_costs_little_time_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let database = postgres();
    let store = Postgres::new(&SecretString::from(database.url.clone()), 1).unwrap();
    store.migrate_schema(Migrate::Run).await.unwrap();
    let opens = many_bars::sessions(count());
    database.sql(&many_bars::for_postgres(&opens));
    database.sql("ANALYZE");
    let mut command = service();
    command.env("DATABASE_URL", &database.url);
    command.env("CANDELA__LEDGER__DIR", folder.path().join("ledger"));
    a_long_file_costs_little("PostgreSQL", command, many_bars::bars_of(&opens));
}
