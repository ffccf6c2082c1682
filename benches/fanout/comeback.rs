//! A restart with 10,000 clients: the whole service is killed under them and started again; all come back, each with its
//! position, and each gets all that was told since.

use super::whole::Whole;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const CLIENTS: usize = 10_000;
/// Ticks a second: a lively market. All clients together are told ten thousand times that.
const RATE: usize = 5;
/// Threads that play the clients.
const PLAYERS: usize = 4;

/// A client that follows, and where it was when it began.
struct Client {
    _stream: TcpStream,
    epoch: String,
    seq: u64,
    /// Ticks that it missed and got, or `None` where one was left out, came twice or was refused.
    replayed: Option<usize>,
}

pub(super) fn run() {
    let mut service = Whole::start(RATE);
    let address: Arc<str> = service.address.clone().into();
    wait_for_ticks(&address);
    let players: Vec<_> = (0..PLAYERS)
        .map(|_| play(&address, vec![None; CLIENTS / PLAYERS]))
        .collect();
    let before: Vec<Vec<Client>> = players.into_iter().map(|player| player.join().unwrap()).collect();
    let positions: Vec<Vec<_>> = before
        .iter()
        .map(|clients| clients.iter().map(position).collect())
        .collect();
    let began = Instant::now();
    service.restart();
    let served = began.elapsed();
    drop(before);
    let players: Vec<_> = positions.into_iter().map(|known| play(&address, known)).collect();
    let after: Vec<Client> = players.into_iter().flat_map(|player| player.join().unwrap()).collect();
    let took = began.elapsed();
    let replayed: Vec<usize> = after.iter().filter_map(|client| client.replayed).collect();
    println!(
        "killed with {CLIENTS} clients ({}): answers after {:.2} s, all are back after {:.2} s; {} of them with every tick they \
         missed ({} to {}), in order and once",
        Whole::stores(),
        served.as_secs_f64(),
        took.as_secs_f64(),
        replayed.len(),
        replayed.iter().min().unwrap_or(&0),
        replayed.iter().max().unwrap_or(&0),
    );
}

fn position(client: &Client) -> Option<(String, u64)> {
    Some((client.epoch.clone(), client.seq))
}

/// A channel has an epoch to come back with once something was told in it.
fn wait_for_ticks(address: &str) {
    while follow(address, None).is_none_or(|client| client.seq == 0) {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// So many clients come, one after the other, each from its position; who is turned away comes again.
fn play(address: &Arc<str>, known: Vec<Option<(String, u64)>>) -> JoinHandle<Vec<Client>> {
    let address = Arc::clone(address);
    std::thread::spawn(move || {
        let come = |position: Option<(String, u64)>| loop {
            match follow(&address, position.as_ref()) {
                Some(client) => break client,
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        known.into_iter().map(come).collect()
    })
}

/// Connects, subscribes from a position if it has one, and reads until the replay has ended; `None` when it is turned away.
fn follow(address: &str, since: Option<&(String, u64)>) -> Option<Client> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = format!(
        "GET /ws?channels=status HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let asked = since.map(|(epoch, seq)| format!(r#","since":{{"ticks:USD/COP":{{"epoch":"{epoch}","seq":{seq}}}}}"#));
    let ask = format!(
        r#"{{"action":"subscribe","channels":["ticks:USD/COP"]{},"options":{{"snapshot":false}}}}"#,
        asked.as_deref().unwrap_or_default()
    );
    stream.write_all(&masked(ask.as_bytes())).ok()?;
    let mut seen = Vec::new();
    let mut bytes = [0_u8; 65_536];
    while memchr::memmem::find(&seen, b"replay_end").is_none() {
        let read = stream.read(&mut bytes).ok().filter(|read| *read > 0)?;
        seen.extend_from_slice(&bytes[..read]);
    }
    let texts = texts(&seen);
    let mut answers = texts.iter().filter(|text| text.contains(r#""type":"subscribed""#));
    let answer = answers.next_back()?; // the first is to the channels of the address
    let answer: Value = serde_json::from_str(answer).ok()?;
    let channel = &answer["channels"][0];
    let head = channel["seq"].as_u64()?;
    let ticks = texts.iter().filter(|text| text.contains(r#""type":"market_data""#));
    let seqs = ticks.filter_map(|tick| tick.split_once(r#""seq":"#)?.1.split_once(',')?.0.parse::<u64>().ok());
    let missed = since.map_or(head, |(_, seq)| *seq) + 1..=head;
    let whole = channel["recovered"] == true && seqs.take_while(|seq| *seq <= head).eq(missed.clone());
    Some(Client {
        _stream: stream,
        epoch: channel["epoch"].as_str().unwrap_or_default().to_owned(),
        seq: head,
        replayed: whole.then(|| missed.count()),
    })
}

/// The texts of the frames that are there whole, after the answer to the handshake.
fn texts(mut bytes: &[u8]) -> Vec<&str> {
    let head = memchr::memmem::find(bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    bytes = &bytes[head..];
    let mut texts = Vec::new();
    while let [_, length, rest @ ..] = bytes {
        let (length, rest) = match (length, rest) {
            (126, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            (short, rest) => (usize::from(*short), rest),
        };
        let Some((text, rest)) = rest.split_at_checked(length) else {
            break;
        };
        texts.extend(std::str::from_utf8(text));
        bytes = rest;
    }
    texts
}

/// A client's text frame, masked with zeros.
fn masked(text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&[0x81, 0xfe][..], &length, &[0; 4], text].concat()
}
