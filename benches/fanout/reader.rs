//! The reading client, the same for both servers: connects, upgrades, and counts the ticks that arrive.

use memchr::memmem;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// How a server speaks to its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// WebSocket; the answer to each channel's subscription ends with a message of its own.
    Greeted,
    /// WebSocket; nothing follows the handshake.
    Silent,
    /// The protocol of NATS.
    Nats,
}

impl Wire {
    /// Of the server of this name.
    pub(super) fn of(which: &str) -> Self {
        match which {
            "candela" | "guarded" | "closing" => Self::Greeted,
            "nats" => Self::Nats,
            _ => Self::Silent,
        }
    }
}

/// A connected client, past whatever the server says at first, and what it read beyond that.
pub(super) struct Reader {
    stream: TcpStream,
    wire: Wire,
    beyond: Vec<u8>,
}

/// So many of them, of one pair's ticks.
pub(super) fn connect(address: &str, clients: usize, wire: Wire) -> Vec<Reader> {
    (0..clients)
        .map(|_| connect_to(address, wire, &["ticks:USD/COP"]))
        .collect()
}

/// A client of these channels.
pub(super) fn connect_to(address: &str, wire: Wire, channels: &[&str]) -> Reader {
    let request = match wire {
        Wire::Nats => "CONNECT {\"verbose\":false}\r\nSUB ticks 1\r\nPING\r\n".to_owned(),
        _ => handshake(address, &format!("/ws?channels={}", channels.join(","))),
    };
    let (ending, times): (&[u8], _) = match wire {
        Wire::Greeted => (b"\"replay_end\"}", channels.len()),
        Wire::Silent => (b"\r\n\r\n", 1),
        Wire::Nats => (b"PONG\r\n", 1),
    };
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut seen = Vec::new();
    let mut bytes = [0_u8; 4_096];
    loop {
        if let Some(at) = memmem::find_iter(&seen, ending).nth(times - 1) {
            let beyond = seen.split_off(at + ending.len());
            return Reader { stream, wire, beyond };
        }
        let read = stream.read(&mut bytes).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&bytes[..read]);
    }
}

/// The request of a WebSocket's handshake.
pub(super) fn handshake(address: &str, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// What the readers of one run saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) received: usize,
    /// From the making of each tick to its arrival, in microseconds, sorted.
    pub(super) delays_us: Vec<u32>,
    /// When each arrived, in microseconds since the epoch, where that is asked for.
    pub(super) arrived_us: Vec<u64>,
    pub(super) bytes: usize,
}

/// What is noted of the messages beside their number.
#[derive(Debug, Clone)]
pub(super) enum Timing {
    Nothing,
    /// The delay of ticks that were made within these microseconds since the epoch.
    Made(Range<u64>),
    /// When each message arrives.
    Arrivals,
}

impl Timing {
    /// The delay of every tick.
    pub(super) const ALL: Self = Self::Made(0..u64::MAX);
}

impl Seen {
    /// The delay that all but this share of the ticks kept within, in milliseconds.
    pub(super) fn delay_ms(&self, beyond: f64) -> f64 {
        let count = self.delays_us.len();
        let place = (count as f64 * (1.0 - beyond)) as usize;
        self.delays_us
            .get(place.min(count.saturating_sub(1)))
            .map_or(f64::NAN, |us| f64::from(*us) / 1_000.0)
    }

    /// The delays of all messages are those after one instant.
    pub(super) fn after(mut self, us: u64) -> Self {
        let after = |arrived: &u64| u32::try_from(arrived.saturating_sub(us)).unwrap_or(u32::MAX);
        self.delays_us = self.arrived_us.iter().map(after).collect();
        self.delays_us.sort_unstable();
        self
    }
}

/// Reads until `expected` messages arrived over all clients, or for so long.
pub(super) fn count(clients: Vec<Reader>, expected: usize, patience: Duration, timing: Timing) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let seen = std::rc::Rc::new(std::cell::RefCell::new(Seen::default()));
        let (done, mut finished) = tokio::sync::mpsc::channel::<()>(1);
        for Reader { stream, wire, beyond } in clients {
            let (seen, done, timing) = (std::rc::Rc::clone(&seen), done.clone(), timing.clone());
            tokio::task::spawn_local(async move {
                stream.set_nonblocking(true).unwrap();
                let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
                let mut frames = Frames::of(wire);
                seen.borrow_mut().received += frames.count(&beyond);
                let mut bytes = vec![0_u8; 65_536];
                let stamp = memmem::Finder::new(STAMP);
                let mut kept = 0; // the end of what was read before, which may hold the beginning of a stamp
                while let Ok(read) = stream.read(&mut bytes[kept..]).await {
                    if read == 0 {
                        break;
                    }
                    let end = kept + read;
                    let mut seen = seen.borrow_mut();
                    let came = frames.count(&bytes[kept..end]);
                    seen.received += came;
                    seen.bytes += read;
                    match &timing {
                        Timing::Nothing => {}
                        Timing::Made(timed) => {
                            delays(&stamp, &bytes[..end], timed, &mut seen.delays_us);
                            kept = end.min(STAMP.len() + DIGITS - 1);
                            bytes.copy_within(end - kept..end, 0);
                        }
                        Timing::Arrivals => seen.arrived_us.extend(std::iter::repeat_n(now_us(), came)),
                    }
                    if seen.received >= expected {
                        let _sent_before = done.try_send(());
                    }
                }
            });
        }
        drop(tokio::time::timeout(patience, finished.recv()).await);
        let mut seen = seen.take();
        seen.delays_us.sort_unstable();
        seen
    })
}

/// Before the instant at which a tick was made.
const STAMP: &[u8] = b"\"received_us\":";
/// Of that instant.
const DIGITS: usize = 16;

/// Microseconds since the epoch.
pub(super) fn now_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_micros()).unwrap()
}

/// The age of each tick whose stamp lies whole within these bytes.
fn delays(stamp: &memmem::Finder<'_>, bytes: &[u8], timed: &Range<u64>, into: &mut Vec<u32>) {
    let now = now_us();
    for at in stamp.find_iter(bytes) {
        let digits = bytes
            .get(at + STAMP.len()..at + STAMP.len() + DIGITS)
            .unwrap_or_default();
        let made = digits
            .iter()
            .fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
        if !digits.is_empty() && timed.contains(&made) {
            into.push(u32::try_from(now.saturating_sub(made)).unwrap_or(u32::MAX));
        }
    }
}

/// Counts the messages that pass, without keeping them.
struct Frames {
    wire: Wire,
    header: Vec<u8>,
    /// Bytes of the current payload that are still to come.
    left: usize,
}

impl Frames {
    const fn of(wire: Wire) -> Self {
        Self {
            wire,
            header: Vec::new(),
            left: 0,
        }
    }

    fn count(&mut self, mut bytes: &[u8]) -> usize {
        let mut frames = 0;
        while !bytes.is_empty() {
            if self.left > 0 {
                let step = self.left.min(bytes.len());
                self.left -= step;
                bytes = &bytes[step..];
                continue;
            }
            self.header.push(bytes[0]);
            bytes = &bytes[1..];
            let length = match self.wire {
                Wire::Nats => nats_length(&self.header),
                _ => websocket_length(&self.header),
            };
            if let Some(length) = length {
                frames += usize::from(matches!(self.header[0], 0x81 | b'M'));
                self.header.clear();
                self.left = length;
            }
        }
        frames
    }
}

/// The bytes of the payload, once the header is whole.
fn websocket_length(header: &[u8]) -> Option<usize> {
    match header {
        [_, 126, high, low] => Some(usize::from(u16::from_be_bytes([*high, *low]))),
        [_, short] if *short < 126 => Some(usize::from(*short)),
        _ => None,
    }
}

/// `MSG subject id bytes`, then so many bytes and the end of a line; other lines have nothing after them.
fn nats_length(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"\r\n")?;
    let message = line
        .starts_with(b"MSG ")
        .then(|| line.rsplit(|byte| *byte == b' ').next());
    let length = message
        .flatten()
        .map(|digits| std::str::from_utf8(digits).unwrap().parse::<usize>().unwrap() + 2);
    Some(length.unwrap_or(0))
}
