//! A restart with 10,000 clients: all of them come back, each with its position, and each gets all that it missed.

use super::{Server, served};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const CLIENTS: usize = 10_000;
/// Ticks that each of them missed.
const MISSED: u64 = 100;
/// Threads that play the clients.
const PLAYERS: usize = 4;

pub(super) fn run() {
    let server = Server::start("restarted");
    let address: Arc<str> = server.address.clone().into();
    let began = Instant::now();
    let whole = Arc::new(AtomicUsize::new(0));
    let players: Vec<_> = (0..PLAYERS)
        .map(|_| {
            let (address, whole) = (Arc::clone(&address), Arc::clone(&whole));
            std::thread::spawn(move || {
                let mut kept = Vec::new();
                for _ in 0..CLIENTS / PLAYERS {
                    let (stream, gapless) = resume(&address);
                    whole.fetch_add(usize::from(gapless), Ordering::Relaxed);
                    kept.push(stream);
                }
                kept
            })
        })
        .collect();
    let kept: Vec<_> = players.into_iter().map(|player| player.join().unwrap()).collect();
    let took = began.elapsed();
    println!(
        "{} clients came back in {:.2} s, {} of them with all {MISSED} ticks they missed, in order and once",
        kept.iter().map(Vec::len).sum::<usize>(),
        took.as_secs_f64(),
        whole.load(Ordering::Relaxed)
    );
    drop(kept);
    server.end();
}

/// Connects, asks for all after a position, and reads until the replay has ended. Whether exactly what was missed came.
fn resume(address: &str) -> (TcpStream, bool) {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "GET /ws?channels=status HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let after = served::TOLD - MISSED;
    let ask = format!(
        r#"{{"action":"subscribe","channels":["ticks:USD/COP"],"since":{{"epoch":"aaaa","seq":{after}}},"options":{{"snapshot":false}}}}"#
    );
    stream.write_all(&masked(ask.as_bytes())).unwrap();
    let mut seen = Vec::new();
    let mut bytes = [0_u8; 16_384];
    while !seen.windows(10).any(|part| part == b"replay_end") {
        let read = stream.read(&mut bytes).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&bytes[..read]);
    }
    let text = String::from_utf8_lossy(&seen);
    let ticks = text.split(r#""type":"market_data""#).skip(1);
    let seqs = ticks.filter_map(|tick| tick.split_once(r#""seq":"#)?.1.split_once(',')?.0.parse::<u64>().ok());
    let gapless = seqs.eq(after + 1..=served::TOLD);
    (stream, gapless)
}

/// A client's text frame, masked with zeros.
fn masked(text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&[0x81, 0xfe][..], &length, &[0; 4], text].concat()
}
