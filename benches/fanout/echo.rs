//! WebSocket echo: clients that each send a message, wait until it is back, and send the next.

use super::peers;
use super::reader::handshake;
use super::report::{Section, less, more};
use super::server::Server;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CLIENTS: usize = 200;
const PAYLOAD: &[u8; 64] = &[b'x'; 64];

pub(super) fn section(short: bool) -> Section {
    let columns = [
        more("echoes/s"),
        less("p99 ms"),
        less("µs of processor"),
        less("resident MiB"),
    ];
    let mut section = Section::new(format!("WebSocket echo of 64 bytes, {CLIENTS} clients"), &columns);
    let mut contenders = vec!["actix"];
    if cfg!(feature = "test-hooks") {
        contenders.push("candela");
    } else {
        section.note("candela's echo is a route of the feature test-hooks, which this was built without");
    }
    contenders.extend(peers::echoing());
    section.compare("1 in flight each", if short { 3 } else { 5 }, &contenders, |which| {
        measure(which, Duration::from_secs(if short { 1 } else { 2 }))
    });
    section
}

fn measure(which: &str, time: Duration) -> Vec<f64> {
    let server = Server::start(which);
    let path = if which == "candela" { "/test/echo" } else { "/ws" };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let before = server.cpu();
    let began = Instant::now();
    let mut delays_us = runtime.block_on(async {
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(echo(server.address.clone(), path, began + time));
        }
        clients.join_all().await.concat()
    });
    let took = began.elapsed().as_secs_f64();
    let [.., cpu] = server.cpu().per(before, delays_us.len());
    let resident = server.resident_kib() / 1_024.0;
    server.end();
    delays_us.sort_unstable();
    let p99 = delays_us[delays_us.len() * 99 / 100];
    vec![delays_us.len() as f64 / took, f64::from(p99) / 1_000.0, cpu, resident]
}

/// One client until then; how long each of its echoes took, in microseconds.
async fn echo(address: String, path: &str, until: Instant) -> Vec<u32> {
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(handshake(&address, path).as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    let question = [&[0x81, 0x80 | 64][..], &[0; 4], PAYLOAD].concat();
    let mut answer = [0; PAYLOAD.len() + 2];
    let mut delays_us = Vec::new();
    while Instant::now() < until {
        let sent = Instant::now();
        stream.write_all(&question).await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[2..], PAYLOAD[..], "the echo differs");
        delays_us.push(u32::try_from(sent.elapsed().as_micros()).unwrap());
    }
    delays_us
}
