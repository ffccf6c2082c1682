//! The floor: accepts, answers the handshake, and then does nothing but write the ready-made frame to each socket.

use candela::domain::protocol::frames::text_frame;
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// As long as a tick's frame.
pub(super) const TICK: &str = concat!(
    r#"{"type":"market_data","channel":"ticks:USD/COP","seq":981221,"data":{"event":"price","symbol":"USD/COP","#,
    r#""price":4012.35,"timestamp":1767361204,"received_us":1767361204123456,"source":"live"},"#,
    r#""timestamp":"2026-01-02T08:40:04-05:00"}"#
);

pub(super) fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    SockRef::from(&listener).listen(4_096).unwrap();
    println!("{}", listener.local_addr().unwrap());
    let sockets: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let joined = Arc::clone(&sockets);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0_u8; 2_048];
            let _read = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_nonblocking(true).unwrap();
            joined.lock().unwrap().push(stream);
        }
    });
    let sent = Arc::new(AtomicUsize::new(0));
    super::server::converse(|line| match line {
        "clients" => Some(sockets.lock().unwrap().len() as f64),
        "sent" => Some(sent.load(Ordering::Relaxed) as f64),
        "forget" => {
            sockets.lock().unwrap().clear();
            None
        }
        other => {
            let numbers: Vec<u64> = other.split(' ').skip(1).map(|text| text.parse().unwrap()).collect();
            let sockets = std::mem::take(&mut *sockets.lock().unwrap());
            let sent = Arc::clone(&sent);
            std::thread::spawn(move || write_all(&sockets, &numbers, &sent));
            None
        }
    });
}

fn write_all(sockets: &[TcpStream], numbers: &[u64], sent: &AtomicUsize) {
    let frame = text_frame(TICK.as_bytes());
    let stamp = TICK.find("1767361204123456").unwrap() + frame.len() - TICK.len();
    let mut burst = frame.repeat(usize::try_from(numbers[0]).unwrap());
    let sockets: Vec<SockRef<'_>> = sockets.iter().map(SockRef::from).collect();
    let began = Instant::now();
    for i in 0..numbers[1] {
        let now = super::reader::now_us().to_string();
        for frame in burst.chunks_mut(frame.len()) {
            frame[stamp..stamp + now.len()].copy_from_slice(now.as_bytes());
        }
        for socket in &sockets {
            let mut left = burst.as_slice();
            while !left.is_empty() {
                match socket.send(left) {
                    Ok(taken) => left = &left[taken..],
                    Err(_) => std::thread::sleep(Duration::from_micros(100)),
                }
            }
        }
        sent.fetch_add(1, Ordering::Relaxed);
        let due = Duration::from_micros(numbers[2] * (i + 1));
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
}
