//! What slow clients cost: a stream holds a little of itself in memory, however long it is and whatever the store.

use crate::child::{Candela, wait_until};
use crate::servers::postgres;
use candela::store::{Migrate, Postgres, Sqlite};
use secrecy::SecretString;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

/// Half a year of one-minute bars: a stream of thirty megabytes.
const BARS: u32 = 260_000;
/// How many clients read it at once.
const CLIENTS: usize = 10;
/// How much each reads: a part of it.
const READ: usize = 1_500_000;
/// How much the process may grow by. All streams, were they held, would take four times as much; a client costs about two megabytes.
const GROWTH_KB: u64 = 80_000;

/// The bars, where an instant is made of seconds by `instant`.
fn fill(instant: &str, price: &str) -> String {
    format!(
        "WITH RECURSIVE minutes (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM minutes WHERE n < {BARS})
         INSERT INTO interval_bars (symbol, \"interval\", datetime, open, high, low, close, source)
         SELECT 'USDCOP', '1m', {instant}, {price}, {price}, {price}, {price}, 'candela' FROM minutes"
    )
}

fn service() -> Command {
    let mut command = Candela::command(&["run"]);
    command.envs([("PORT", "0"), ("LOG_LEVEL", "INFO"), ("API_KEY_G1_1", "f00dfeed")]);
    command.envs([
        ("CANDELA__UPSTREAM__WS_URL", "ws://127.0.0.1:9"),
        ("CANDELA__UPSTREAM__REST_URL", "http://127.0.0.1:9"),
        ("CANDELA__MARKET__INTERVALS", "5m,1m"),
    ]);
    command
}

fn ask(address: &str, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    socket
}

/// Reads a part of the stream with many clients at once, a little at a time.
fn slow_clients_cost_little(mut command: Command) {
    let service = Candela::of(&mut command);
    let line = wait_until("the service to listen", || service.stderr.find("candela listens"));
    let line: Value = serde_json::from_str(&line).unwrap();
    let address = line["address"].as_str().unwrap();
    let mut page = String::new();
    ask(address, "/market/bars?interval=1m")
        .read_to_string(&mut page)
        .unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    let idle = service.most_memory();

    let path = "/market/bars?interval=1m&from=2020-01-01&format=csv";
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| ask(address, path)).collect();
    let mut part = vec![0; 15_000];
    for _ in 0..READ / part.len() {
        for client in &mut clients {
            client.read_exact(&mut part).unwrap();
        }
    }
    let last = String::from_utf8_lossy(&part);
    assert!(last.contains("USD/COP,1m,2020-01-"), "{last}");
    let grown = service.most_memory() - idle;
    assert!(grown < GROWTH_KB, "{grown} kB more than the {idle} kB at rest");
}

#[test]
fn slow_readers_of_a_long_stream_from_sqlite_cost_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(Sqlite::open(&path).unwrap());
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(&fill("(1577854800 + n * 60) * 1000000", "4000000000"))
        .unwrap();
    let mut command = service();
    command.env("CANDELA__STORE__SQLITE_FILE", &path);
    slow_clients_cost_little(command);
}

#[tokio::test]
async fn slow_readers_of_a_long_stream_from_postgresql_cost_little_memory() {
    let database = postgres();
    let store = Postgres::new(&SecretString::from(database.url.clone()), 1).unwrap();
    store.migrate_schema(Migrate::Run).await.unwrap();
    database.sql(&fill("to_timestamp(1577854800 + n * 60)", "4000"));
    let mut command = service();
    command.env("DATABASE_URL", &database.url);
    slow_clients_cost_little(command);
}
