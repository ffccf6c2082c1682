//! Told to stop, candela says goodbye to its clients, writes down what it decided, and is gone within ten seconds.

use crate::child::Candela;
use awc::ws::Frame;
use candela::clock::Stopwatch;
use futures_util::StreamExt;
use std::time::Duration;

/// What `docker stop` allows.
const ALLOWED: Duration = Duration::from_secs(10);

/// A demo on a free port, and its WebSocket address.
fn demo() -> (Candela, String) {
    let mut candela = Candela::start(&["demo", "--port", "0", "--json"]);
    let line = candela.line("\"listening\"");
    let listening: serde_json::Value = serde_json::from_str(&line).unwrap();
    let url = listening["ws"]
        .as_str()
        .unwrap_or_else(|| panic!("no ws in {line}"))
        .to_owned();
    (candela, url)
}

/// Reads until the connection ends: what was said, and the code it was closed with.
async fn farewell(url: &str, connected: tokio::sync::oneshot::Sender<()>) -> (Vec<String>, Option<u16>) {
    let (_, mut socket) = awc::Client::new()
        .ws(url)
        .connect()
        .await
        .expect("the demo takes clients");
    let (mut said, mut code) = (Vec::new(), None);
    let mut connected = Some(connected);
    while let Some(Ok(frame)) = socket.next().await {
        match frame {
            Frame::Text(text) => {
                said.push(String::from_utf8_lossy(&text).into_owned());
                if let Some(connected) = connected.take() {
                    connected.send(()).ok();
                }
            }
            Frame::Close(reason) => code = reason.map(|reason| u16::from(reason.code)),
            _ => {}
        }
    }
    (said, code)
}

#[actix_web::test]
async fn every_client_is_told_before_it_stops() {
    let (candela, url) = demo();
    let clients = 20;
    let (mut connected, mut farewells) = (Vec::new(), Vec::new());
    for _ in 0..clients {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        connected.push(receiver);
        farewells.push(farewell(&url, sender));
    }
    let stop = async {
        futures_util::future::join_all(connected).await;
        candela.signal(libc::SIGTERM);
        Stopwatch::start()
    };
    let all = futures_util::future::join(futures_util::future::join_all(farewells), stop);
    let (farewells, watch) = tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .expect("all are told");
    let ended = candela.ended();
    assert!(watch.elapsed() < ALLOWED, "it took {:?}", watch.elapsed());
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    for (said, code) in farewells {
        assert!(
            said.first().is_some_and(|first| first.contains("\"welcome\"")),
            "{said:?}"
        );
        assert!(
            said.iter().any(|text| text.contains("\"goaway\"")),
            "no goaway among {} messages",
            said.len()
        );
        assert!(matches!(code, Some(1001 | 1012)), "closed with {code:?}");
    }
}

#[test]
fn without_clients_it_stops_at_once() {
    for number in [libc::SIGTERM, libc::SIGINT] {
        let (candela, _) = demo();
        candela.signal(number);
        let watch = Stopwatch::start();
        assert_eq!(candela.ended().code(), 0);
        assert!(
            watch.elapsed() < Duration::from_secs(5),
            "it took {:?}",
            watch.elapsed()
        );
    }
}

#[test]
fn status_of_a_running_service_is_shown() {
    let (candela, url) = demo();
    let url = url.replace("ws://", "http://").replace("/ws", "");
    let ended = Candela::run(&["status", "--json", "--url", &url]);
    let status: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
    assert!(status["state"]["name"].is_string(), "{status}");
    let page = Candela::run(&["status", "--url", &url]).stdout;
    assert!(page.contains(" since ") && page.contains("clients:"), "{page}");
    assert!(candela.folder().exists());
}
