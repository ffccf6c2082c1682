//! How hostile and broken clients are answered, and that other clients do not notice.

use crate::web::tests::stage::{Stage, eventually};
use actix_http::ws::{Frame, Message};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[actix_rt::test]
async fn a_handshake_that_is_not_rfc_6455_is_refused() {
    let stage = Stage::new();
    let good = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let ask = |version: &str, change: (&str, &str)| {
        let lines = good.iter().map(|(name, value)| {
            let value = if *name == change.0 { change.1 } else { value };
            format!("{name}: {value}\r\n")
        });
        let lines: String = lines.collect();
        format!("GET /ws {version}\r\nHost: x\r\n{lines}\r\n")
    };
    for (version, change, expect) in [
        ("HTTP/1.1", ("Sec-WebSocket-Key", "abc"), "400"),
        ("HTTP/1.1", ("Sec-WebSocket-Version", "8"), "426"),
        ("HTTP/1.1", ("Upgrade", "h2c"), "426"),
        ("HTTP/1.0", ("", ""), "400"),
        ("HTTP/1.1", ("", ""), "101"),
    ] {
        let mut client = stage.send(&ask(version, change)).await;
        let head = client.head().await;
        assert!(head.contains(expect), "{version} {change:?}: {head}");
        if expect == "426" {
            assert!(head.to_lowercase().contains("sec-websocket-version: 13"), "{head}");
        }
    }
}

#[actix_rt::test]
async fn a_page_of_another_origin_is_refused_before_the_upgrade() {
    let stage = Stage::new();
    for (origin, expect) in [("https://evil.example", "403"), ("http://localhost:3000", "101")] {
        let mut client = stage.raw("/ws", &format!("Origin: {origin}\r\n")).await;
        assert!(client.head().await.contains(expect), "{origin}");
    }
}

#[actix_rt::test]
async fn violations_end_with_their_code() {
    let stage = Stage::new();
    let mut oversize = vec![0x82, 0xff];
    oversize.extend_from_slice(&(8_u64 << 30).to_be_bytes());
    for (bytes, code) in [
        (vec![0x81, 0x01, b'x'], 1002),
        (vec![0x83, 0x80, 0, 0, 0, 0], 1002),
        (vec![0x80, 0x80, 0, 0, 0, 0], 1002),
        (vec![0x81, 0x81, 0, 0, 0, 0, 0xff], 1007),
        (vec![0x82, 0x80, 0, 0, 0, 0], 1003),
        (oversize, 1009),
    ] {
        let mut client = stage.client("/ws").await;
        client.stream.write_all(&bytes).await.unwrap();
        assert_eq!(client.closed().await.0, code, "{bytes:?}");
    }
}

#[actix_rt::test]
async fn an_oversize_frame_that_is_streamed_anyway_is_read_and_thrown_away() {
    let stage = Stage::new();
    let mut client = stage.client("/ws").await;
    let mut bytes = vec![0x82, 0xff];
    bytes.extend_from_slice(&(8_u64 << 30).to_be_bytes());
    bytes.resize(512 * 1024, b'x');
    client.stream.write_all(&bytes).await.unwrap();
    assert_eq!(client.closed().await.0, 1009);
}

#[actix_rt::test]
async fn a_client_that_talks_too_much_is_told_and_then_closed() {
    let stage = Stage::new();
    let mut client = stage.client("/ws").await;
    client.settle().await;
    for _ in 0..70 {
        client
            .send(Message::Text(json!({"action": "ping"}).to_string().into()))
            .await;
    }
    let mut limited = 0;
    loop {
        match client.frame().await {
            Some(Frame::Text(text)) if text.windows(4).any(|part| part == b"1201") => limited += 1,
            Some(Frame::Text(_)) => {}
            Some(Frame::Close(reason)) => {
                assert_eq!(u16::from(reason.unwrap().code), 4029);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(limited, 40);
}

#[actix_rt::test]
async fn who_never_reads_is_conflated_then_ended_and_nobody_else_notices() {
    let mut stage = Stage::with(|parts| parts.window.age = std::time::Duration::from_millis(500));
    stage.receive_buffer = 4_096;
    let mut jammed = stage.client("/ws/USDCOP").await;
    jammed.settle().await;
    let mut healthy = stage.client("/ws/USDCOP").await;
    healthy.settle().await;
    let counts = Arc::clone(&stage.counts);
    let mut seq = 0;
    let mut rounds = 0;
    while counts.connected.load(Ordering::Relaxed) == 2 {
        stage.ticks(100);
        for _ in 0..100 {
            seq += 1;
            let tick = healthy.json().await;
            if tick["type"] == "heartbeat" {
                seq -= 1;
                continue;
            }
            assert_eq!((&tick["seq"], tick.get("from")), (&json!(seq), None));
        }
        rounds += 1;
        assert!(rounds < 20_000, "the jammed client was never ended");
        actix_rt::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(counts.closed().get("slow_consumer"), Some(&1));
    drop(jammed);
}

#[actix_rt::test]
async fn a_client_that_vanishes_without_a_word_is_forgotten() {
    let stage = Stage::new();
    let mut client = stage.client("/ws").await;
    client.settle().await;
    drop(client);
    let counts = Arc::clone(&stage.counts);
    eventually("the client is gone", || counts.connected.load(Ordering::Relaxed) == 0).await;
}

#[actix_rt::test]
async fn more_connections_than_allowed_are_refused() {
    let stage = Stage::with(|parts| parts.door.connections = 1);
    let mut first = stage.client("/ws").await;
    first.settle().await;
    let mut second = stage.raw("/ws", "").await;
    assert!(second.head().await.contains("503"));
}

#[actix_rt::test]
async fn a_port_in_use_is_named_with_a_remedy() {
    let stage = Stage::new();
    let taken = stage.server.address();
    let error = std::panic::catch_unwind(|| drop(Stage::with(|parts| parts.bind = taken))).unwrap_err();
    let text = error.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(text.contains("InUse"), "{text}");
}

/// Actix gives up a connection when a request's head arrives slowly, and checks its deadline before it reads what waits in the socket: when
/// the machine was too busy to read, the client must not count as slow.
#[cfg(feature = "test-hooks")]
#[actix_rt::test]
#[expect(clippy::disallowed_methods, reason = "the server's thread is to stand still")]
async fn a_request_that_came_in_time_is_answered_by_a_thread_that_stood_still() {
    let stage = Stage::with(|parts| {
        parts.hooks.hang = Arc::new(|_, time| {
            std::thread::sleep(time);
            true
        });
    });
    let address = stage.server.address();
    let mut early = tokio::net::TcpStream::connect(address).await.unwrap();
    actix_rt::time::sleep(Duration::from_millis(200)).await; // until the server's thread has it
    let mut holds_up = tokio::net::TcpStream::connect(address).await.unwrap();
    let hang = format!("POST /test/hang/all?ms=7000 HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
    holds_up.write_all(hang.as_bytes()).await.unwrap();
    actix_rt::time::sleep(Duration::from_millis(200)).await;
    let asked = format!("GET /health/live HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    early.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = String::new();
    early.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
