//! What a long Parquet file costs the service, beside CSV and pages of JSON of the same range: the time to the first byte, bars a second of
//! the service's processor time, and what its memory grows by. From SQLite, and from the PostgreSQL that `DATABASE_URL` names, which must
//! have no bars; what is not named is not measured.
//!
//! ```text
//! parquet                       a million one-minute bars, five times
//! parquet --sessions 100        of so many sessions
//! parquet --times 3             so often; medians are printed, with the least and the greatest
//! ```

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a benchmark prints what it measured and may panic"
)]

#[path = "../tests/it/many_bars.rs"]
mod many_bars;

use candela::store::{Migrate, Postgres, Sqlite};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio_postgres::NoTls;

/// Asked for before anything is measured: what the first answers allocate does not depend on how long they are.
const SHORT: &str = "&to=2010-03-01";
/// How many of these.
const SHORT_TIMES: usize = 20;

/// How the range is asked for.
#[derive(Debug, Clone, Copy)]
enum Form {
    Parquet,
    ParquetFloat,
    Csv,
    JsonPages,
}

impl Form {
    const ALL: [Self; 4] = [Self::Parquet, Self::ParquetFloat, Self::Csv, Self::JsonPages];

    const fn name(self) -> &'static str {
        match self {
            Self::Parquet => "Parquet",
            Self::ParquetFloat => "Parquet, float64",
            Self::Csv => "CSV",
            Self::JsonPages => "JSON, 10,000 a page",
        }
    }

    const fn query(self) -> &'static str {
        match self {
            Self::Parquet => "format=parquet",
            Self::ParquetFloat => "format=parquet&price=float64",
            Self::Csv => "format=csv",
            Self::JsonPages => "limit=10000&order=asc",
        }
    }
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let number = |name: &str, usual: usize| match words.iter().position(|word| word == name) {
        Some(at) => words.get(at + 1).and_then(|word| word.parse().ok()).expect(name),
        None => usual,
    };
    let opens = many_bars::sessions(number("--sessions", 3_400));
    let times = number("--times", 5);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    drop(Sqlite::open(&file).unwrap());
    let filled = rusqlite::Connection::open(&file)
        .unwrap()
        .execute_batch(&many_bars::for_sqlite(&opens));
    filled.unwrap();
    measure(
        "SQLite",
        ("CANDELA__STORE__SQLITE_FILE", file.to_str().unwrap()),
        &opens,
        times,
    );
    match std::env::var("DATABASE_URL") {
        Ok(url) => {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(fill_postgres(&url, &opens));
            measure("PostgreSQL", ("DATABASE_URL", &url), &opens, times);
        }
        Err(_) => println!("PostgreSQL: skipped, DATABASE_URL is not set"),
    }
}

async fn fill_postgres(url: &str, opens: &[i64]) {
    let store = Postgres::new(&url.to_owned().into(), 1).unwrap();
    store.migrate_schema(Migrate::Run).await.unwrap();
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let there: i64 = client
        .query_one("SELECT count(*) FROM interval_bars", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(
        there, 0,
        "DATABASE_URL names a database that has bars: give an empty one"
    );
    client.batch_execute(&many_bars::for_postgres(opens)).await.unwrap();
    client.batch_execute("ANALYZE").await.unwrap();
}

/// Prints the rows of a store.
fn measure(store: &str, setting: (&str, &str), opens: &[i64], times: usize) {
    let bars = many_bars::bars_of(opens);
    println!(
        "{store}: {bars} one-minute bars of {} sessions, {times} times",
        opens.len()
    );
    for form in Form::ALL {
        let service = Service::start(setting);
        for _ in 0..SHORT_TIMES {
            service.ask(form, SHORT);
        }
        let idle = service.most_memory();
        let mut firsts = Vec::new();
        let mut rates = Vec::new();
        let mut bytes = 0;
        for _ in 0..times {
            let before = service.processor_seconds();
            let (first, length) = service.ask(form, "");
            let took = service.processor_seconds() - before;
            firsts.push(first.as_secs_f64() * 1e3);
            rates.push(f64::from(u32::try_from(bars).unwrap()) / took.max(0.01));
            bytes = length;
        }
        println!(
            "  {:<20} first byte {} ms; bars a second of processor time {}; memory +{} kB on {idle} kB; {bytes} bytes",
            form.name(),
            spread(firsts, 1),
            spread(rates, 0),
            service.most_memory().saturating_sub(idle),
        );
    }
}

/// The median, and what it lies between.
fn spread(mut all: Vec<f64>, decimals: usize) -> String {
    all.sort_by(f64::total_cmp);
    let (median, least, most) = (all[all.len() / 2], all[0], all[all.len() - 1]);
    format!("{median:.decimals$} ({least:.decimals$} to {most:.decimals$})")
}

/// The service on one core, with what it needs to answer and no vendor. Ends with its value.
struct Service {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Service {
    fn start((name, value): (&str, &str)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new("taskset")
            .args(["-c", "0", env!("CARGO_BIN_EXE_candela"), "run"])
            .current_dir(&folder)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .envs([
                ("PORT", "0"),
                ("LOG_LEVEL", "INFO"),
                ("API_KEY_G1_1", "f00dfeed"),
                ("CANDELA__UPSTREAM__WS_URL", "ws://127.0.0.1:9"),
                ("CANDELA__UPSTREAM__REST_URL", "http://127.0.0.1:9"),
                ("CANDELA__MARKET__INTERVALS", "5m,1m"),
                ("CANDELA__LEDGER__DIR", "ledger"),
                (name, value),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("taskset starts candela");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.contains("candela listens"))
            .expect("candela listens");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self {
            child,
            address: line["address"].as_str().unwrap().to_owned(),
            _folder: folder,
        }
    }

    /// Asks for the range: the time to the first byte of the body, and how many bytes there were.
    fn ask(&self, form: Form, more: &str) -> (Duration, usize) {
        let path = format!("/market/bars?interval=1m&from=2010-01-01{more}&{}", form.query());
        let (first, mut length, mut next) = self.get(&path);
        while let Some(cursor) = next {
            let (_, bytes, following) = self.get(&format!("{path}&cursor={cursor}"));
            length += bytes;
            next = following;
        }
        (first, length)
    }

    /// One answer. Of a page of JSON also the place of the next one.
    fn get(&self, path: &str) -> (Duration, usize, Option<String>) {
        let begun = Instant::now();
        let mut socket = TcpStream::connect(&self.address).unwrap();
        write!(socket, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address).unwrap();
        let mut reader = BufReader::with_capacity(256 * 1_024, socket);
        let mut status = String::new();
        reader.read_line(&mut status).unwrap();
        assert!(status.contains(" 200 "), "{path}: {status}");
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        assert!(!reader.fill_buf().unwrap().is_empty(), "{path} has no body");
        let first = begun.elapsed();
        let mut length = 0;
        let mut end = Vec::new();
        loop {
            let part = reader.fill_buf().unwrap();
            if part.is_empty() {
                return (first, length, next_cursor(&end));
            }
            let read = part.len();
            end.extend_from_slice(&part[read.saturating_sub(CURSOR)..]);
            end.drain(..end.len().saturating_sub(CURSOR));
            length += read;
            reader.consume(read);
        }
    }

    fn most_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn processor_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields = stat.rsplit_once(") ").unwrap().1.split_whitespace().skip(11).take(2);
        let ticks: f64 = fields.map(|ticks| ticks.parse::<f64>().unwrap()).sum();
        ticks / 100.0
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

/// Where a page of JSON names the next one: within so many bytes of its end.
const CURSOR: usize = 120_000;

fn next_cursor(end: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(end);
    let (_, rest) = text.rsplit_once("\"next_cursor\":\"")?;
    Some(rest.split_once('"')?.0.replace('+', "%2B"))
}
