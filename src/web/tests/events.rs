//! Event streams: a client of the fan-out like any other, with another framing.

use crate::actors::messages::Item;
use crate::domain::protocol::Close;
use crate::web::tests::stage::{Client, Stage, eventually};
use serde_json::Value;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// One event: its id, if any, its name, and its data.
#[derive(Debug, Clone, PartialEq)]
struct Heard {
    id: Option<String>,
    name: String,
    data: Value,
}

/// A client that reads a stream's chunks.
struct Listener {
    client: Client,
    text: String,
}

impl Listener {
    async fn open(stage: &Stage, path: &str, more: &str) -> Self {
        let host = stage.server.address();
        let mut client = stage
            .send(&format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n{more}\r\n"))
            .await;
        let head = client.head().await.to_ascii_lowercase();
        for line in [
            "200 ok",
            "content-type: text/event-stream",
            "cache-control: no-store",
            "x-accel-buffering: no",
        ] {
            assert!(head.contains(line), "{line}: {head}");
        }
        Self {
            client,
            text: String::new(),
        }
    }

    /// The next block: up to an empty line; `None` at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            let bytes = self.client.bytes.split();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            if !self.client.read().await {
                return None;
            }
        }
    }

    async fn next(&mut self) -> Option<Heard> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name))?;
                Some(line.strip_prefix(": ")?.to_owned())
            };
            if let Some(name) = field("event") {
                return Some(Heard {
                    id: field("id"),
                    name,
                    data: serde_json::from_str(&field("data").unwrap()).unwrap(),
                });
            }
        }
    }

    /// Events up to and including the first with this name.
    async fn until(&mut self, name: &str) -> Vec<Heard> {
        let mut heard = Vec::new();
        loop {
            let event = self.next().await.expect("the stream goes on");
            let found = event.name == name;
            heard.push(event);
            if found {
                return heard;
            }
        }
    }

    /// The seqs of the next `count` ticks, and the id after them.
    async fn ticks(&mut self, count: usize) -> (Vec<u64>, String) {
        let (mut seqs, mut id) = (Vec::new(), String::new());
        while seqs.len() < count {
            let event = self.next().await.expect("the stream goes on");
            if event.name == "market_data" {
                seqs.push(event.data["seq"].as_u64().unwrap());
            }
            id = event.id.unwrap_or(id);
        }
        (seqs, id)
    }
}

#[actix_rt::test]
async fn a_stream_goes_on_where_its_last_id_says() {
    let stage = Stage::new();
    let path = "/sse?channels=ticks:USDCOP,bars.5m:USD/COP,status";
    let mut listener = Listener::open(&stage, path, "").await;
    let opening = listener.until("replay_end").await;
    let names: Vec<&str> = opening.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["welcome", "subscribed", "snapshot", "replay_end"]);
    assert_eq!(opening[0].data["protocol"], "candela.v1");
    listener.until("replay_end").await;
    stage.ticks(3);
    let (seqs, id) = listener.ticks(3).await;
    assert_eq!(seqs, [1, 2, 3]);
    drop(listener);
    // Missed while the client was away.
    stage.ticks(4);
    let bar = stage.write_bar();
    stage.tell(vec![Item::Event(bar)]);
    for more in [format!("Last-Event-ID: {id}\r\n"), String::new()] {
        let path = match more.is_empty() {
            true => format!("{path}&last_event_id={}", id.replace(':', "%3A").replace('@', "%40")),
            false => format!("{path}&last_event_id=ticks:USD/COP@.1"), // the header is newer
        };
        let mut listener = Listener::open(&stage, &path, &more).await;
        let answer = listener.until("subscribed").await.pop().unwrap();
        assert_eq!(answer.data["channels"][0]["recovered"], true, "{answer:?}");
        let (seqs, _) = listener.ticks(4).await;
        assert_eq!(seqs, [4, 5, 6, 7], "{more}");
        let bar = listener.until("bar").await.pop().unwrap();
        assert!(bar.id.unwrap().contains("bars.5m:USD/COP@"), "its place is in the id");
    }
    // A position of another epoch cannot be resumed, and the answer says so.
    let mut listener = Listener::open(&stage, path, "Last-Event-ID: ticks:USD/COP@zzzz.2\r\n").await;
    let answer = listener.until("subscribed").await.pop().unwrap();
    assert_eq!(answer.data["channels"][0]["reason"], "epoch_changed", "{answer:?}");
    stage.ticks(1);
    assert_eq!(listener.ticks(1).await.0, [8]);
}

#[actix_rt::test]
async fn what_cannot_be_followed_is_refused_with_what_can() {
    let stage = Stage::new();
    for (path, detail) in [
        ("/sse?channels=tiks:USD/COP", "did you mean ticks:USD/COP?"),
        ("/sse?channels=ticks:USD/CPO", "did you mean USD/COP?"),
        ("/sse?channels=bars.1m:USD/COP", "bars of 1m are not made here"),
        ("/sse?channels=,", "PAIR is one of USD/COP, EUR/USD, or *"),
        ("/sse?last_event_id=7", "the id of an event of this service"),
        ("/sse?symbol=USDCOP", "is not a parameter of this address"),
    ] {
        let (status, body) = stage.get(path).await;
        assert!(status.contains("400"), "{path}: {status} {body}");
        assert!(body["detail"].as_str().unwrap().contains(detail), "{path}: {body}");
        assert!(
            body["parameter"].is_string() && body["allowed"].is_string(),
            "{path}: {body}"
        );
    }
    let (head, body) = stage.get_with("/sse", "Last-Event-ID: \u{fffd}\r\n").await;
    assert!(head.contains("400"), "{head} {body}");
    let (head, _) = stage.get_with("/sse", "Origin: http://evil.example\r\n").await;
    assert!(head.contains("403"), "{head}");
    let mut client = stage
        .send("HEAD /sse HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        .await;
    assert!(client.head().await.contains("text/event-stream"));
    assert_eq!(stage.counts.connected.load(Ordering::Relaxed), 0);
}

#[actix_rt::test]
async fn there_is_room_for_so_many_and_no_more() {
    let stage = Stage::with(|parts| parts.door.connections = 1);
    let mut first = Listener::open(&stage, "/sse", "").await;
    first.until("subscribed").await;
    let (head, body) = stage.get_with("/sse", "").await;
    assert!(
        head.contains("503") && head.to_ascii_lowercase().contains("retry-after: 5"),
        "{head}"
    );
    assert_eq!(body["code"], 1203, "{body}");
    drop(first);
    // A client that is gone is noticed when it is written to.
    let counts = &stage.counts;
    for _ in 0..500 {
        stage.ticks(1);
        actix_rt::time::sleep(Duration::from_millis(10)).await;
        if counts.connected.load(Ordering::Relaxed) == 0 {
            break;
        }
    }
    Listener::open(&stage, "/sse", "").await.until("subscribed").await;
}

#[actix_rt::test]
async fn who_does_not_read_is_conflated_and_then_closed_as_on_the_socket() {
    let mut stage = Stage::with(|parts| parts.window.age = Duration::from_secs(1));
    stage.receive_buffer = 4 * 1_024;
    let mut listener = Listener::open(&stage, "/sse?channels=ticks:USD/COP", "").await;
    listener.until("replay_end").await;
    let counts = &stage.counts;
    let mut slow = false;
    for _ in 0..400 {
        stage.ticks(60);
        actix_rt::time::sleep(Duration::from_millis(20)).await;
        slow |= counts.conflating.load(Ordering::Relaxed) == 1;
        if counts.connected.load(Ordering::Relaxed) == 0 {
            break;
        }
    }
    assert!(slow, "it was never called slow");
    eventually("it is let go", || counts.closed().get("slow_consumer") == Some(&1)).await;
}

#[actix_rt::test]
async fn a_drain_ends_the_streams_and_who_comes_meanwhile_is_told_to_come_back() {
    let stage = Stage::new();
    let mut listener = Listener::open(&stage, "/sse", "").await;
    listener.until("subscribed").await;
    let _lingers = stage.client("/ws").await; // it does not answer its close frame: the drain waits for it
    let farewell = async {
        let goaway = listener.until("goaway").await.pop().unwrap();
        let mut late = Listener::open(&stage, "/sse", "").await;
        let told = late.block().await.unwrap();
        assert!(
            told.starts_with("retry: 1000\nevent: goaway\n") && late.block().await.is_none(),
            "{told}"
        );
        let close = listener.until("close").await.pop().unwrap();
        assert!(listener.next().await.is_none(), "it ends");
        (goaway, close)
    };
    let ((goaway, close), ()) = futures_util::future::join(farewell, stage.server.drain(Close::Restarting)).await;
    assert_eq!(goaway.data["reconnect_after_ms"], 1_000);
    assert_eq!(
        (&close.data["code"], &close.data["name"]),
        (&1012.into(), &"restarting".into())
    );
}
