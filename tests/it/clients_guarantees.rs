//! `candela protocol-check` against the service through restarts, drains and a network that fails; and against servers that
//! break their word, which it must notice.

use crate::child::{Candela, Ended, wait_until};
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is in a tick's frame and in no other.
const TICK: &[u8] = br#""type":"market_data""#;

/// What stands between a client and the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    /// All is passed on.
    Faithful,
    /// Each so manieth tick is dropped.
    Drops(usize),
    /// Each so manieth tick comes twice.
    Repeats(usize),
    /// Each so manieth tick comes after the one that follows it.
    Reorders(usize),
    /// Each connection is reset after so many messages.
    Resets(usize),
    /// Each connection falls silent for a while after so many messages.
    Stalls(usize),
}

/// A server that passes on what another says, or most of it.
struct Proxy {
    url: String,
    /// Whom it speaks for: a service that is restarted has another port.
    behind: Arc<Mutex<String>>,
}

impl Proxy {
    fn start(behind: &str, between: Between) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        let behind = Arc::new(Mutex::new(behind.to_owned()));
        let target = Arc::clone(&behind);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let address = target.lock().unwrap().clone();
                std::thread::spawn(move || {
                    let _ended = pass_on(&client, &address, between);
                    let _gone = client.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Self { url, behind }
    }
}

fn pass_on(client: &TcpStream, behind: &str, between: Between) -> std::io::Result<()> {
    let mut server = TcpStream::connect(behind)?;
    let (mut heard, mut asked) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ended = std::io::copy(&mut heard, &mut asked);
        let _gone = asked.shutdown(std::net::Shutdown::Both);
    });
    let mut client = client;
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
        if !frame.windows(TICK.len()).any(|part| part == TICK) {
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
            Between::Stalls(after) if messages == after => pause(),
            _ => {}
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a network that says nothing for a while is what is played"
)]
fn pause() {
    std::thread::sleep(Duration::from_secs(3));
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

/// A demo on the data of this folder, and its address.
fn demo(data: Option<&str>) -> (Candela, String) {
    let mut args = vec!["demo", "--port", "0", "--json", "--speed", "100", "--seed", "7"];
    args.extend(data.into_iter().flat_map(|data| ["--data", data]));
    let mut demo = Candela::start(&args);
    let said: serde_json::Value = serde_json::from_str(&demo.line("\"listening\"")).unwrap();
    let ws = said["ws"].as_str().unwrap();
    let address = ws
        .strip_prefix("ws://")
        .and_then(|rest| rest.strip_suffix("/ws"))
        .unwrap();
    (demo, address.to_owned())
}

fn graded(url: &str, seconds: &str) -> Ended {
    Candela::run(&["protocol-check", url, "--seconds", seconds])
}

/// How often it came back, as it says.
fn reconnects(said: &str) -> usize {
    let counted = said
        .lines()
        .find_map(|line| line.split_once(" reconnects")?.0.rsplit_once(", "));
    counted.map_or(0, |(_, count)| count.parse().unwrap())
}

#[test]
fn a_server_that_drops_repeats_or_reorders_is_found_out() {
    let (_demo, address) = demo(None);
    let cases = [
        (Between::Faithful, 0),
        (Between::Drops(20), 1),
        (Between::Repeats(20), 1),
        (Between::Reorders(20), 1),
    ];
    let checks = cases.map(|(between, code)| {
        let url = Proxy::start(&address, between).url;
        std::thread::spawn(move || {
            let ended = graded(&url, "5");
            assert_eq!(ended.code(), code, "{between:?}:\n{}{}", ended.stdout, ended.stderr);
            assert_eq!(
                ended.stdout.contains("FAIL"),
                code == 1,
                "{between:?}:\n{}",
                ended.stdout
            );
        })
    });
    for check in checks {
        check.join().unwrap();
    }
}

#[test]
fn a_network_that_dies_breaks_no_guarantee() {
    let (_demo, address) = demo(None);
    let checks = [Between::Resets(60), Between::Stalls(60)].map(|between| {
        let url = Proxy::start(&address, between).url;
        std::thread::spawn(move || {
            let ended = graded(&url, "8");
            assert_eq!(ended.code(), 0, "{between:?}:\n{}{}", ended.stdout, ended.stderr);
            assert!(
                between != Between::Resets(60) || reconnects(&ended.stdout) > 1,
                "{}",
                ended.stdout
            );
        })
    });
    for check in checks {
        check.join().unwrap();
    }
}

#[test]
fn drains_kills_and_restarts_break_no_guarantee() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let (mut running, address) = demo(Some(&data));
    let proxy = Proxy::start(&address, Between::Faithful);
    let url = proxy.url.clone();
    let check = std::thread::spawn(move || graded(&url, "16"));
    let bars = AtomicUsize::new(0);
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        wait_until("a bar while it is followed", || {
            bars.fetch_add(1, Ordering::Relaxed);
            running.stdout.find("\"bar\"")
        });
        running.signal(signal);
        drop(if signal == libc::SIGTERM {
            running.ended().stdout
        } else {
            running.output_of_the_killed()
        });
        let (next, address) = demo(Some(&data));
        running = next;
        *proxy.behind.lock().unwrap() = address;
    }
    let ended = check.join().unwrap();
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
    assert!(reconnects(&ended.stdout) >= 2, "{}", ended.stdout);
}

#[test]
#[cfg(feature = "test-hooks")]
fn a_fan_out_shard_that_panics_breaks_no_guarantee_and_no_connection() {
    let (_demo, address) = demo(None);
    let url = format!("ws://{address}/ws");
    let check = std::thread::spawn(move || graded(&url, "6"));
    let clients = || {
        let status = ask(&address, "GET", "/status").unwrap_or_default();
        status.contains("\"connected\":1").then_some(())
    };
    wait_until("the checker to be connected", clients);
    for shard in ["fanout-0", "fanout-1"] {
        let answer = ask(&address, "POST", &format!("/test/panic/{shard}")).unwrap();
        assert!(answer.contains("202"), "{answer}");
    }
    let ended = check.join().unwrap();
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
    assert_eq!(reconnects(&ended.stdout), 0, "{}", ended.stdout);
    let status = ask(&address, "GET", "/status").unwrap();
    assert!(status.contains("\"restarts\":1"), "{status}");
}

#[cfg(feature = "test-hooks")]
fn ask(address: &str, method: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\n{length}Connection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
