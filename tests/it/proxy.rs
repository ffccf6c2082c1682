//! What stands between clients and a service: it passes all on, breaks what a server must not, or fails as networks do. It also
//! serves the example's page, so that a browser finds page and WebSocket at one address.

use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is in a tick's frame and in no other.
const TICK: &[u8] = br#""type":"market_data""#;
/// What is in the frame of an entry of the journal and in no other.
const ENTRY: &[u8] = br#""type":"event""#;

/// What stands between a client and the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Between {
    /// All is passed on.
    Faithful,
    /// Each so manieth tick is dropped.
    Drops(usize),
    /// Each so manieth tick comes twice.
    Repeats(usize),
    /// Each so manieth tick comes after the one that follows it.
    Reorders(usize),
    /// Each entry of the journal comes twice.
    RepeatsEntries,
    /// Each connection is reset after so many messages.
    Resets(usize),
    /// Each connection falls silent for a while after so many messages.
    Stalls(usize),
}

/// A server that passes on what another says, or most of it.
pub(crate) struct Proxy {
    pub(crate) url: String,
    /// Whom it speaks for: a service that is restarted has another port.
    pub(crate) behind: Arc<Mutex<String>>,
    seen: Arc<Seen>,
}

/// What went through.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    recovered: AtomicUsize,
    unrecovered: AtomicUsize,
}

impl Proxy {
    pub(crate) fn start(behind: &str, between: Between) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        let behind = Arc::new(Mutex::new(behind.to_owned()));
        let (target, seen) = (Arc::clone(&behind), Arc::new(Seen::default()));
        let counted = Arc::clone(&seen);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (address, counted) = (target.lock().unwrap().clone(), Arc::clone(&counted));
                std::thread::spawn(move || {
                    let _ended = answer(&client, &address, between, &counted);
                    let _gone = client.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Self { url, behind, seen }
    }

    /// How often a client connected.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// How many answers promised all that was missed, and how many did not.
    pub(crate) fn recoveries(&self) -> (usize, usize) {
        let seen = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (seen(&self.seen.recovered), seen(&self.seen.unrecovered))
    }
}

/// Answers a request: with the example's page, or with what the service says.
fn answer(mut client: &TcpStream, behind: &str, between: Between, seen: &Seen) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head);
    if text.starts_with("GET /ws") {
        seen.connections.fetch_add(1, Ordering::Relaxed);
        return pass_on(client, &head, behind, between, seen);
    }
    let body = if text.starts_with("GET /client.html") {
        // The page counts as loaded when its picture is there: until then the browser keeps it open.
        include_str!("../../examples/client.html").to_owned() + "<img src=\"/later\">"
    } else {
        pause(Duration::from_secs(8));
        String::new()
    };
    write!(
        client,
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn pass_on(mut client: &TcpStream, asked: &[u8], behind: &str, between: Between, seen: &Seen) -> std::io::Result<()> {
    let mut server = TcpStream::connect(behind)?;
    server.write_all(asked)?;
    let (mut heard, mut told) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ended = std::io::copy(&mut heard, &mut told);
        let _gone = told.shutdown(std::net::Shutdown::Both);
    });
    let mut byte = [0];
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        server.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    client.write_all(&head)?;
    let (mut messages, mut ticks, mut late) = (0, 0, None);
    loop {
        let frame = read_frame(&mut server)?;
        messages += 1;
        let has = |part: &[u8]| frame.windows(part.len()).any(|of| of == part);
        let counted = usize::from(has(b"\"recovered\":true"));
        seen.recovered.fetch_add(counted, Ordering::Relaxed);
        let counted = usize::from(has(b"\"recovered\":false"));
        seen.unrecovered.fetch_add(counted, Ordering::Relaxed);
        if between == Between::RepeatsEntries && has(ENTRY) {
            client.write_all(&frame.repeat(2))?;
        } else if !has(TICK) {
            client.write_all(&frame)?;
        } else {
            ticks += 1;
            match between {
                Between::Drops(each) if ticks % each == 0 => {}
                Between::Repeats(each) if ticks % each == 0 => client.write_all(&frame.repeat(2))?,
                Between::Reorders(each) if ticks % each == 0 => late = Some(frame),
                _ => {
                    client.write_all(&frame)?;
                    client.write_all(&late.take().unwrap_or_default())?;
                }
            }
        }
        match between {
            Between::Resets(after) if messages == after => {
                return SockRef::from(client).set_linger(Some(Duration::ZERO));
            }
            Between::Stalls(after) if messages == after => pause(Duration::from_secs(3)),
            _ => {}
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a network that says nothing for a while is what is played"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// One unmasked frame, with its header.
fn read_frame(server: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut frame = vec![0; 2];
    server.read_exact(&mut frame)?;
    let length = match frame[1] {
        126 => {
            frame.resize(4, 0);
            server.read_exact(&mut frame[2..])?;
            usize::from(u16::from_be_bytes([frame[2], frame[3]]))
        }
        127 => {
            frame.resize(10, 0);
            server.read_exact(&mut frame[2..])?;
            usize::try_from(u64::from_be_bytes(frame[2..10].try_into().unwrap())).unwrap()
        }
        short => usize::from(short),
    };
    let header = frame.len();
    frame.resize(header + length, 0);
    server.read_exact(&mut frame[header..])?;
    Ok(frame)
}
