//! Hostile clients beside well-behaved ones, against the real binary. `scripts/bench fanout --only hostile` measures the same in release.

use crate::child::Candela;
use candela::clock::Stopwatch;
use candela::domain::protocol::Continuity;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

#[path = "../../benches/fanout/attack.rs"]
mod attack;

/// A client that follows the ticks, asks for a pong now and then, and checks all that it hears.
pub(crate) struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
    continuity: Continuity,
    wrong: Vec<String>,
}

impl Client {
    fn connect(address: &str) -> Self {
        Self::connect_to(address, "/ws?channels=ticks:*,status")
    }

    pub(crate) fn connect_to(address: &str, path: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        Self {
            stream,
            bytes: Vec::new(),
            continuity: Continuity::default(),
            wrong: Vec::new(),
        }
    }

    fn ask(&mut self) {
        self.say(r#"{"action":"ping"}"#);
    }

    /// Says something in at most 65535 bytes.
    pub(crate) fn say(&mut self, text: &str) {
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        let header = match u8::try_from(text.len()) {
            Ok(short) if short < 126 => vec![0x81, 0x80 | short],
            _ => vec![0x81, 0x80 | 126, length[0], length[1]],
        };
        let frame = [&header, &[0; 4][..], text.as_bytes()].concat();
        self.stream.write_all(&frame).unwrap();
    }

    /// Reads up to the next pong.
    fn answer(&mut self) {
        while self.next()["type"] != "pong" {}
    }

    pub(crate) fn next(&mut self) -> serde_json::Value {
        loop {
            let header = match self.bytes.get(1) {
                Some(126) => 4,
                _ => 2,
            };
            if self.bytes.len() >= header {
                let length = match header {
                    4 => usize::from(u16::from_be_bytes([self.bytes[2], self.bytes[3]])),
                    _ => usize::from(self.bytes[1]),
                };
                if self.bytes.len() >= header + length {
                    let frame: Vec<u8> = self.bytes.drain(..header + length).collect();
                    if frame[0] != 0x81 {
                        continue;
                    }
                    let message = serde_json::from_slice(&frame[header..]).unwrap();
                    self.wrong.extend(self.continuity.read(&message));
                    return message;
                }
            }
            let mut read = [0; 8_192];
            let count = self.stream.read(&mut read).unwrap();
            assert!(count > 0, "a well-behaved client was disconnected");
            self.bytes.extend_from_slice(&read[..count]);
        }
    }
}

/// How long a ping takes to be answered, for all but one in a hundred.
fn p99(clients: &mut [Client], rounds: usize) -> Duration {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let watch = Stopwatch::start();
        clients.iter_mut().for_each(Client::ask);
        for client in clients.iter_mut() {
            client.answer();
            times.push(watch.elapsed());
        }
        pause();
    }
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pace of a client that keeps within its rate"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(60));
}

pub(crate) fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn each_hostile_client_gets_what_it_deserves_and_the_others_go_on() {
    let long = std::env::var_os("CANDELA_TEST_LONG").is_some();
    let (rounds, flood) = if long { (300, 10_000) } else { (60, 1_000) };
    let mut demo = Candela::start(&["demo", "--port", "0", "--json", "--seed", "7"]);
    let address = demo.address();
    let mut clients: Vec<Client> = (0..100).map(|_| Client::connect(&address)).collect();
    let alone = p99(&mut clients, rounds);
    let before = resident_kib(demo.pid());
    let attack = attack::Attack::begin(&address, flood, Duration::from_millis(50));
    // Long enough for a head that never ends to be answered: limits::REQUEST_HEAD.
    let beside = p99(&mut clients, rounds.max(300));
    let answers = attack.end();
    let grown = resident_kib(demo.pid()).saturating_sub(before);
    let wrong: Vec<&String> = clients.iter().flat_map(|client| &client.wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(attack::wrong_answers(&answers), Vec::<String>::new(), "{answers:#?}");
    assert!(grown < 64 * 1_024, "memory grew by {grown} KiB");
    assert!(
        beside < Duration::from_secs(1),
        "p99 {alone:?} alone, {beside:?} beside them"
    );
    println!(
        "p99 of 100 clients {alone:?} alone, {beside:?} beside hostile ones; memory grew by {grown} KiB; {answers:?}"
    );
}

#[test]
fn who_never_reads_and_who_reads_a_byte_a_second_are_ended_and_a_reader_misses_nothing() {
    let mut demo = Candela::start(&["demo", "--port", "0", "--json", "--speed", "300", "--seed", "7"]);
    let address = demo.address();
    let follow = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let stubborn = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4_096).unwrap(); // the kernel must not read in its place
        socket.connect(&address.parse::<SocketAddr>().unwrap().into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.write_all(follow.as_bytes()).unwrap();
        stream
    };
    let (_never, mut slowly) = (stubborn(), stubborn());
    let mut reader = Client::connect(&address);
    let watch = Stopwatch::start();
    let mut bytes = 0;
    loop {
        reader.ask();
        reader.answer();
        let due = usize::try_from(watch.elapsed().as_secs()).unwrap();
        while bytes < due {
            let mut byte = [0];
            let _ended = slowly.read(&mut byte); // once it is ended, nothing more comes
            bytes += 1;
        }
        let ended = closes(&address);
        if ended["slow_consumer"] == 2 {
            break;
        }
        assert!(watch.elapsed() < Duration::from_secs(50), "not ended: {ended}");
        pause();
    }
    assert_eq!(reader.wrong, Vec::<String>::new());
    println!("ended after {:?}", watch.elapsed());
}

/// How many connections the service has ended, by reason.
fn closes(address: &str) -> serde_json::Value {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let status: serde_json::Value = serde_json::from_str(body).unwrap();
    status["clients"]["evicted_total"].clone()
}

#[test]
fn a_shell_that_allows_few_descriptors_does_not_limit_the_clients() {
    let mut command = std::process::Command::new("sh");
    let script = format!(
        "ulimit -Sn 128; exec {} demo --port 0 --json",
        env!("CARGO_BIN_EXE_candela")
    );
    let mut demo = Candela::of(command.args(["-c", &script]));
    let address = demo.address();
    let mut clients: Vec<Client> = (0..200).map(|_| Client::connect(&address)).collect();
    clients.iter_mut().for_each(Client::ask);
    clients.iter_mut().for_each(Client::answer);
}
