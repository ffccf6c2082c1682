//! Peers that a user can install: Bun (`npm install --global bun`), Python's websockets (`pip install websockets`), NATS (Debian's
//! `nats-server`). One that is not there is named and skipped. Those of WebSocket run a small program of `peers/` that sends the floor's
//! messages by the means of their library; NATS is published to over its own protocol, and read over it.

use super::floor::TICK;
use super::reader::now_us;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PEERS: [&str; 3] = ["bun", "websockets", "nats"];

/// The peers that are installed; tells which are not.
pub(super) fn present() -> Vec<&'static str> {
    let (present, absent): (Vec<_>, Vec<_>) = PEERS.into_iter().partition(|peer| answers(probe(peer)));
    if !absent.is_empty() {
        println!("skipped, because they are not installed: {}", absent.join(", "));
    }
    present
}

/// Those of them that speak WebSocket and echo.
pub(super) fn echoing() -> Vec<&'static str> {
    let mut peers = PEERS.to_vec();
    peers.retain(|peer| *peer != "nats" && answers(probe(peer)));
    peers
}

fn probe(peer: &str) -> Command {
    let (program, args): (&str, &[&str]) = match peer {
        "bun" => ("bun", &["--version"]),
        "websockets" => ("python3", &["-c", "import websockets.asyncio.server"]),
        _ => ("nats-server", &["--version"]),
    };
    let mut command = Command::new(program);
    command.args(args);
    command
}

fn answers(mut probe: Command) -> bool {
    let quiet = probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// The program of a peer that is not served by this one.
pub(super) fn command(which: &str) -> Option<Command> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/fanout/peers");
    let mut command = match which {
        "bun" => {
            let mut command = Command::new("bun");
            command.arg(format!("{folder}/bun.js"));
            command
        }
        "websockets" => {
            let mut command = Command::new("python3");
            command.arg(format!("{folder}/websockets_server.py"));
            command
        }
        _ => return None,
    };
    // What a peer says of a client that hangs up is of no interest.
    command.env("TICK", TICK).stderr(Stdio::null());
    Some(command)
}

/// The child that runs NATS, and publishes to it.
pub(super) fn serve_nats() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut nats = Command::new("nats-server")
        .args(["-a", "127.0.0.1", "-p", &address.port().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let publisher = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
        assert!(began.elapsed() < Duration::from_secs(10), "nats-server does not listen");
    };
    let mut reading = publisher.try_clone().unwrap();
    (&publisher).write_all(b"CONNECT {\"verbose\":false}\r\n").unwrap();
    let mut answering = publisher.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 1_024];
        while reading.read(&mut bytes).is_ok_and(|read| read > 0) {
            if bytes.starts_with(b"PING") {
                answering.write_all(b"PONG\r\n").unwrap();
            }
        }
    });
    println!("{address}");
    let sent = Arc::new(AtomicUsize::new(0));
    let id = nats.id();
    super::server::converse(|line| match line {
        "pid" => Some(f64::from(id)),
        "clients" => Some(f64::INFINITY), // each waited for its subscription
        "sent" => Some(sent.load(Ordering::Relaxed) as f64),
        other => {
            let numbers: Vec<u64> = other.split(' ').skip(1).map(|text| text.parse().unwrap()).collect();
            let (mut publisher, sent) = (publisher.try_clone().unwrap(), Arc::clone(&sent));
            std::thread::spawn(move || publish(&mut publisher, &numbers, &sent));
            None
        }
    });
    nats.kill().and_then(|()| nats.wait()).unwrap();
}

fn publish(nats: &mut TcpStream, numbers: &[u64], sent: &AtomicUsize) {
    let began = Instant::now();
    for i in 0..numbers[1] {
        let tick = TICK.replace("1767361204123456", &now_us().to_string());
        let message = format!("PUB ticks {}\r\n{tick}\r\n", tick.len());
        let burst = message.repeat(usize::try_from(numbers[0]).unwrap());
        nats.write_all(burst.as_bytes()).unwrap();
        sent.fetch_add(1, Ordering::Relaxed);
        let due = Duration::from_micros(numbers[2] * (i + 1));
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
}
