//! Hostile clients, one thread a kind, and what each of them is answered. The measuring program and the tests use the same.

use candela::clock::Stopwatch;
use socket2::{Domain, Socket, Type};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often each kind was answered in each way: `("oversize", "1009")`.
pub(crate) type Answers = BTreeMap<(&'static str, String), usize>;

/// What each kind must be answered, and nothing else. `gone` is an end without a close frame, `held` a connection that stays.
pub(crate) const EXPECTED: [(&str, &[&str]); 13] = [
    ("never reads", &["held"]),
    ("a byte a second", &["held"]),
    ("oversize", &["1009"]),
    ("oversize fragments", &["1009"]),
    ("unmasked", &["1002"]),
    ("unknown opcode", &["1002"]),
    ("long control frame", &["1002"]),
    ("bad UTF-8", &["1007"]),
    ("binary", &["1003"]),
    ("control flood", &["4029"]),
    ("message flood", &["4029"]),
    ("half open", &["408", "gone"]),
    ("slow handshake", &["408", "gone"]),
];

/// Hostile clients at work.
pub(crate) struct Attack {
    over: Arc<AtomicBool>,
    answers: Arc<Mutex<Answers>>,
    threads: Vec<JoinHandle<()>>,
}

impl Attack {
    /// Begins one; `flood` connections are opened at once, `pause` lies between two offences of one kind.
    pub(crate) fn begin(address: &str, flood: usize, pause: Duration) -> Self {
        let mut attack = Self {
            over: Arc::default(),
            answers: Arc::default(),
            threads: Vec::new(),
        };
        attack.hold(address, "never reads", |_| Duration::from_secs(3_600));
        attack.hold(address, "a byte a second", |stream| {
            let mut byte = [0];
            let _read = stream.read(&mut byte);
            Duration::from_secs(1)
        });
        let masked = |first: u8, payload: &[u8]| frame(first, 0x80, payload);
        attack.offend(address, "oversize", pause, vec![oversize()]);
        attack.offend(
            address,
            "oversize fragments",
            pause,
            vec![masked(0x01, &[b'x'; 40_000]), masked(0x00, &[b'x'; 40_000])],
        );
        attack.offend(address, "unmasked", pause, vec![frame(0x81, 0, b"{}")]);
        attack.offend(address, "unknown opcode", pause, vec![masked(0x83, b"")]);
        attack.offend(address, "long control frame", pause, vec![masked(0x89, &[0; 126])]);
        attack.offend(address, "bad UTF-8", pause, vec![masked(0x81, b"\xff\xfe")]);
        attack.offend(address, "binary", pause, vec![masked(0x82, b"x")]);
        attack.offend(address, "control flood", pause, vec![masked(0x89, b"x").repeat(200)]);
        attack.offend(address, "message flood", pause, vec![masked(0x81, b"[]").repeat(200)]);
        attack.dawdle(address, "half open", b"");
        attack.dawdle(
            address,
            "slow handshake",
            b"GET /ws HTTP/1.1\r\nHost: x\r\nX-Slow: 0123456789",
        );
        attack.flood(address, flood);
        attack
    }

    /// Ends it; what was answered.
    pub(crate) fn end(self) -> Answers {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a hostile client fails");
        }
        std::mem::take(&mut *self.answers.lock().unwrap())
    }

    fn spawn(&mut self, work: impl FnOnce(&dyn Fn() -> bool, &dyn Fn(&'static str, String)) + Send + 'static) {
        let (over, answers) = (Arc::clone(&self.over), Arc::clone(&self.answers));
        self.threads.push(std::thread::spawn(move || {
            let goes_on = || !over.load(Ordering::Relaxed);
            let answered = |kind, answer| *answers.lock().unwrap().entry((kind, answer)).or_default() += 1;
            work(&goes_on, &answered);
        }));
    }

    /// Thirty connections that follow everything and read as `reads` does.
    fn hold(&mut self, address: &str, kind: &'static str, reads: fn(&mut TcpStream) -> Duration) {
        let address = address.to_owned();
        self.spawn(move |goes_on, answered| {
            let mut held: Vec<TcpStream> = (0..30).filter_map(|_| connect(&address).ok()?).collect();
            held.iter().for_each(|_| answered(kind, "held".to_owned()));
            let (watch, mut due) = (Stopwatch::start(), Duration::ZERO);
            while goes_on() {
                if watch.elapsed() >= due {
                    let waits = held.iter_mut().map(reads).max().unwrap_or(Duration::from_secs(1));
                    due = watch.elapsed() + waits;
                }
                pause_for(Duration::from_millis(50));
            }
        });
    }

    /// One connection after the other that breaks the protocol.
    fn offend(&mut self, address: &str, kind: &'static str, pause: Duration, frames: Vec<Vec<u8>>) {
        let address = address.to_owned();
        self.spawn(move |goes_on, answered| {
            while goes_on() {
                match connect(&address) {
                    Ok(Some(mut stream)) => {
                        for frame in &frames {
                            let _cut_short = stream.write_all(frame); // the server may have answered already
                        }
                        answered(kind, closed_with(&mut stream));
                    }
                    Ok(None) => answered("refused at the door", "503".to_owned()),
                    Err(error) => answered(kind, error.to_string()),
                }
                pause_for(pause);
            }
        });
    }

    /// A hundred connections that never finish their request: a byte at a time of `request`, or nothing at all.
    fn dawdle(&mut self, address: &str, kind: &'static str, request: &'static [u8]) {
        let address = address.to_owned();
        self.spawn(move |goes_on, answered| {
            let mut bytes = request.iter();
            let mut streams: Vec<TcpStream> = (0..100).filter_map(|_| reach(&address).ok()).collect();
            for stream in &streams {
                stream.set_nonblocking(true).unwrap();
            }
            while goes_on() && !streams.is_empty() {
                let next = bytes.next();
                streams.retain_mut(|stream| {
                    if let Some(byte) = next {
                        let _too_late = stream.write_all(&[*byte]);
                    }
                    let mut answer = [0; 512];
                    match stream.read(&mut answer) {
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                        Ok(read) if answer[..read].windows(5).any(|part| part == b" 408 ") => {
                            answered(kind, "408".to_owned());
                        }
                        _ => answered(kind, "gone".to_owned()),
                    }
                    false
                });
                pause_for(Duration::from_millis(250));
            }
        });
    }

    /// So many connections at once, each with a good handshake that it does not wait for; they go again after a second.
    fn flood(&mut self, address: &str, connections: usize) {
        let address = address.to_owned();
        self.spawn(move |_, _| {
            let request = handshake(&address);
            let open = |_| {
                let mut stream = reach(&address).ok()?;
                stream.write_all(request.as_bytes()).ok()?;
                Some(stream)
            };
            let held: Vec<TcpStream> = (0..connections).filter_map(open).collect();
            pause_for(Duration::from_secs(1));
            drop(held);
        });
    }
}

/// What is wrong with the answers, by the table above.
pub(crate) fn wrong_answers(answers: &Answers) -> Vec<String> {
    let mut wrong = Vec::new();
    for (kind, allowed) in EXPECTED {
        let own = answers.iter().filter(|((known, _), _)| *known == kind);
        if own.clone().count() == 0 {
            wrong.push(format!("{kind} was never answered"));
        }
        for ((_, answer), count) in own.filter(|((_, answer), _)| !allowed.contains(&answer.as_str())) {
            wrong.push(format!(
                "{kind} was answered {answer} {count} times, where {allowed:?} is right"
            ));
        }
    }
    wrong
}

#[expect(clippy::disallowed_methods, reason = "a program of its own, that waits on purpose")]
fn pause_for(time: Duration) {
    std::thread::sleep(time);
}

fn handshake(address: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A connection from an address of their own: so a server can tell them from the others.
fn reach(address: &str) -> std::io::Result<TcpStream> {
    let target: SocketAddr = address.parse().expect("an address and a port");
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into())?;
    socket.connect(&target.into())?;
    Ok(socket.into())
}

/// A connection past its handshake; `None` where the server has no room for it.
fn connect(address: &str) -> std::io::Result<Option<TcpStream>> {
    let mut stream = reach(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(handshake(address).as_bytes())?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(head.starts_with(b"HTTP/1.1 101").then_some(stream))
}

/// The code of the close frame that comes, whatever comes before it.
fn closed_with(stream: &mut TcpStream) -> String {
    loop {
        let Ok((first, payload)) = read_frame(stream) else {
            return "gone".to_owned();
        };
        if first == 0x88 && payload.len() >= 2 {
            return u16::from_be_bytes([payload[0], payload[1]]).to_string();
        }
    }
}

fn read_frame(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 2];
    stream.read_exact(&mut header)?;
    let length = match header[1] {
        126 => {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            usize::from(u16::from_be_bytes(length))
        }
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok((header[0], payload))
}

/// A frame; `mask` is the mask bit, and the mask is of zeros.
fn frame(first: u8, mask: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u8::try_from(payload.len()) {
        Ok(short) if short < 126 => bytes.push(mask | short),
        _ => {
            bytes.push(mask | 126);
            bytes.extend_from_slice(&u16::try_from(payload.len()).expect("a short frame").to_be_bytes());
        }
    }
    if mask != 0 {
        bytes.extend_from_slice(&[0; 4]);
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// A frame that declares eight gigabytes, and some of them.
fn oversize() -> Vec<u8> {
    let mut bytes = vec![0x82, 0xff];
    bytes.extend_from_slice(&(8_u64 << 30).to_be_bytes());
    bytes.resize(200_000, b'x');
    bytes
}
