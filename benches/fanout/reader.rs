//! The reading client, the same for both servers: connects, upgrades, and counts the ticks that arrive.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Connected clients, past whatever the server says at first.
pub(super) fn connect(address: &str, clients: usize, greeted: bool) -> Vec<TcpStream> {
    let request = format!(
        "GET /ws?channels=ticks:USD/COP HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    (0..clients).map(|_| connect_one(address, &request, greeted)).collect()
}

fn connect_one(address: &str, request: &str, greeted: bool) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let ending: &[u8] = if greeted { b"replay_end" } else { b"\r\n\r\n" };
    let mut seen = Vec::new();
    let mut bytes = [0_u8; 4_096];
    while !seen.windows(ending.len()).any(|part| part == ending) {
        let read = stream.read(&mut bytes).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&bytes[..read]);
    }
    if greeted {
        let at = seen.windows(ending.len()).position(|part| part == ending).unwrap();
        while !seen[at..].contains(&b'}') {
            let read = stream.read(&mut bytes).unwrap();
            seen.extend_from_slice(&bytes[..read]);
        }
    }
    stream
}

/// Reads until `expected` ticks arrived over all clients, or nothing came for a while.
pub(super) fn count(clients: Vec<TcpStream>, expected: usize, patience: Duration) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let total = std::rc::Rc::new(std::cell::Cell::new(0_usize));
        let (done, mut finished) = tokio::sync::mpsc::channel::<()>(1);
        for stream in clients {
            let (total, done) = (std::rc::Rc::clone(&total), done.clone());
            tokio::task::spawn_local(async move {
                stream.set_nonblocking(true).unwrap();
                let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
                let mut frames = Frames::default();
                let mut bytes = vec![0_u8; 16_384];
                while let Ok(read) = stream.read(&mut bytes).await {
                    if read == 0 {
                        break;
                    }
                    total.set(total.get() + frames.count(&bytes[..read]));
                    if total.get() >= expected {
                        let _sent_before = done.try_send(());
                    }
                }
            });
        }
        drop(tokio::time::timeout(patience, finished.recv()).await);
        total.get()
    })
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
