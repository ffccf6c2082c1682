//! The reading client, the same for both servers: connects, upgrades, and counts the ticks that arrive.

use memchr::memmem;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// A connected client, past whatever the server says at first, and what it read beyond that.
pub(super) struct Reader {
    stream: TcpStream,
    beyond: Vec<u8>,
}

/// So many of them.
pub(super) fn connect(address: &str, clients: usize, greeted: bool) -> Vec<Reader> {
    let request = format!(
        "GET /ws?channels=ticks:USD/COP HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    (0..clients).map(|_| connect_one(address, &request, greeted)).collect()
}

fn connect_one(address: &str, request: &str, greeted: bool) -> Reader {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let ending: &[u8] = if greeted { b"\"replay_end\"}" } else { b"\r\n\r\n" };
    let mut seen = Vec::new();
    let mut bytes = [0_u8; 4_096];
    loop {
        if let Some(at) = memmem::find(&seen, ending) {
            let beyond = seen.split_off(at + ending.len());
            return Reader { stream, beyond };
        }
        let read = stream.read(&mut bytes).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&bytes[..read]);
    }
}

/// What the readers of one run saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) received: usize,
    /// From the making of each tick to its arrival, in microseconds, sorted.
    pub(super) delays_us: Vec<u32>,
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
}

/// Reads until `expected` ticks arrived over all clients, or for so long. Ticks that were made within
/// `timed`, in microseconds since the epoch, are timed.
pub(super) fn count(clients: Vec<Reader>, expected: usize, patience: Duration, timed: Range<u64>) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let seen = std::rc::Rc::new(std::cell::RefCell::new(Seen::default()));
        let (done, mut finished) = tokio::sync::mpsc::channel::<()>(1);
        for Reader { stream, beyond } in clients {
            let (seen, done, timed) = (std::rc::Rc::clone(&seen), done.clone(), timed.clone());
            tokio::task::spawn_local(async move {
                stream.set_nonblocking(true).unwrap();
                let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
                let mut frames = Frames::default();
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
                    seen.received += frames.count(&bytes[kept..end]);
                    if !timed.is_empty() {
                        delays(&stamp, &bytes[..end], &timed, &mut seen.delays_us);
                        kept = end.min(STAMP.len() + DIGITS - 1);
                        bytes.copy_within(end - kept..end, 0);
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

/// Counts the text frames that pass, without keeping them.
#[derive(Default)]
struct Frames {
    header: Vec<u8>,
    /// Bytes of the current payload that are still to come.
    left: usize,
}

impl Frames {
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
            let length = match self.header.as_slice() {
                [_, 126, high, low] => Some(usize::from(u16::from_be_bytes([*high, *low]))),
                [_, short] if *short < 126 => Some(usize::from(*short)),
                _ => None,
            };
            if let Some(length) = length {
                frames += usize::from(self.header[0] == 0x81);
                self.header.clear();
                self.left = length;
            }
        }
        frames
    }
}
