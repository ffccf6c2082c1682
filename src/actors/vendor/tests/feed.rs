//! The feed against a scripted vendor on a real socket, with every way in which a link can end.

use super::*;
use crate::actors::vendor::{
    FeedSettings,
    tests::upstream_stage::{Ground, Heap, until},
    vendor,
};
use crate::clock::Clock;
use crate::domain::model::Always;
use crate::domain::model::RejectReason;
use crate::domain::pipeline::{AcceptanceView, acceptance::Streak};
use crate::domain::vendor::FeedView;
use secrecy::SecretString;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;

const CONFIRMED: &str = r#"{"event":"subscribe-status","status":"ok","success":[{"symbol":"USD/COP"}],"fails":null}"#;
const PRICE: &str = r#"{"event":"price","symbol":"USD/COP","timestamp":1772352540,"price":4012.35}"#;

/// What the vendor does with one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// Closes before it answers the upgrade.
    HangUp,
    /// Answers the upgrade with this status and body.
    Refuse(&'static str, &'static str),
    /// Confirms, sends a price, then ends in this way.
    Serve(End),
    /// Ends after the upgrade, before the status message.
    Upgrade(End),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Close(u16),
    Drop,
    Reset,
    Garbage,
    BadOpcode,
    /// Declares a frame of eight gigabytes and starts to send it.
    Huge,
    /// Stays open as long as the other end does.
    Stay,
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap();
    let head = if len < 126 {
        vec![0x80 | opcode, u8::try_from(len).unwrap()]
    } else {
        [&[0x80 | opcode, 126][..], &len.to_be_bytes()].concat()
    };
    [head, payload.to_vec()].concat()
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn upgrade(stream: &mut TcpStream, head: &str) -> std::io::Result<()> {
    let key = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .starts_with("sec-websocket-key:")
                .then(|| line.split_once(':').unwrap().1.trim())
        })
        .unwrap();
    let accept = String::from_utf8(actix_http::ws::hash_key(key.as_bytes()).to_vec()).unwrap();
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

fn end(stream: &mut TcpStream, how: End) -> std::io::Result<()> {
    match how {
        End::Close(code) => stream.write_all(&frame(8, &code.to_be_bytes())),
        End::Drop => Ok(()),
        End::Reset => socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO)),
        End::Garbage => (0..limits::GARBLED_IN_A_ROW).try_for_each(|_| stream.write_all(&frame(1, b"{\"pri"))),
        End::BadOpcode => stream.write_all(&[0x8f, 0]),
        End::Huge => {
            stream.write_all(&[&[0x81, 127][..], &(8_u64 << 30).to_be_bytes()].concat())?;
            (0..64).try_for_each(|_| stream.write_all(&[b'x'; 65_536]))
        }
        End::Stay => {
            let mut buffer = [0; 1_024];
            while stream.read(&mut buffer)? > 0 {}
            Ok(())
        }
    }
}

fn serve(stream: &mut TcpStream, act: Act) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let Some(head) = read_head(stream) else { return Ok(()) };
    match act {
        Act::HangUp => Ok(()),
        Act::Refuse(status, body) => write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
        Act::Upgrade(how) => {
            upgrade(stream, &head)?;
            end(stream, how)
        }
        Act::Serve(how) => {
            upgrade(stream, &head)?;
            let mut subscribe = [0; 1_024];
            assert!(stream.read(&mut subscribe)? > 0);
            stream.write_all(&frame(1, CONFIRMED.as_bytes()))?;
            stream.write_all(&frame(1, PRICE.as_bytes()))?;
            // A pong proves that the price was read: a reset would discard it otherwise.
            stream.write_all(&frame(9, b"are you there"))?;
            assert!(stream.read(&mut subscribe)? > 0);
            end(stream, how)
        }
    }
}

/// Listens, and plays one act a connection; after the last act it serves without end. Returns its address and a count of connections.
fn vendor(acts: Vec<Act>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/v1/quotes/price", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            let act = acts.get(number).copied().unwrap_or(Act::Serve(End::Stay));
            drop(serve(&mut stream.unwrap(), act)); // the other end may be gone: that is its affair
        }
    });
    (url, count)
}

impl Heap {
    fn prices(&self) -> usize {
        let arrivals = self.arrivals();
        let priced = arrivals
            .iter()
            .filter(|arrival| matches!(arrival.says, Decoded::Price(_)));
        priced.count()
    }

    fn causes(&self) -> Vec<String> {
        let cause = |arrival: &Inbound| match &arrival.heard.what {
            InputKind::Link(LinkChange::Down { cause }) => Some(cause.clone()),
            _ => None,
        };
        self.arrivals().iter().filter_map(cause).collect()
    }
}

struct Running {
    ground: Ground,
    heap: Heap,
    wanted: watch::Sender<bool>,
    view: watch::Receiver<FeedView>,
}

fn run(url: String, keys: &[&str]) -> Running {
    let ground = Ground::new(keys, 800, Clock::system());
    let views = &ground.services.views;
    views.wanted.send_replace(true);
    Feed::new(Deps {
        services: ground.services.clone(),
        settings: FeedSettings {
            url,
            symbols: vec![(crate::domain::model::Symbol::usdcop(), Arc::new(Always))],
            tls: vendor::tls(&[]),
        },
        keys: ground.keys.clone(),
        arrived: ground.arrived.clone(),
    })
    .start();
    Running {
        heap: ground.heap.clone(),
        wanted: views.wanted.clone(),
        view: views.feed.subscribe(),
        ground,
    }
}

/// Accepts every price, and publishes the view that an Aggregator would.
#[expect(clippy::disallowed_methods, reason = "it ends with the test's own runtime")]
fn accept_all(running: &Running) {
    let (heap, services) = (running.heap.clone(), running.ground.services.clone());
    actix_rt::spawn(async move {
        loop {
            let arrivals = heap.arrivals();
            let mut prices = arrivals.iter().filter(|one| matches!(one.says, Decoded::Price(_)));
            let accepted = AcceptanceView {
                live: u64::try_from(heap.prices()).unwrap(),
                live_at: prices.next_back().map(|price| price.heard.at),
                ..AcceptanceView::default()
            };
            services.views.pipeline.send_if_modified(|view| {
                let shown = view.prices.entry(crate::domain::model::Symbol::usdcop()).or_default();
                std::mem::replace(shown, accepted.clone()) != accepted
            });
            actix_rt::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[actix_rt::test]
async fn every_end_at_every_step_is_survived_and_named() {
    let ends = [
        (End::Close(1000), "upstream_close_1000"),
        (End::Close(1006), "protocol_error"),
        (End::Close(1012), "upstream_close_1012"),
        (End::Drop, "upstream_close_1006"),
        (End::Reset, "upstream_reset"),
        (End::Garbage, "garbage"),
        (End::BadOpcode, "protocol_error"),
        (End::Huge, "frame_too_long"),
    ];
    let acts: Vec<Act> = ends
        .iter()
        .flat_map(|(end, _)| [Act::Serve(*end), Act::Upgrade(*end), Act::HangUp])
        .collect();
    let (url, connections) = vendor(acts.clone());
    let names: Vec<String> = (0..=acts.len()).map(|number| format!("key-{number}")).collect();
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    let running = run(url, &keys); // no key makes two handshakes within its spacing
    accept_all(&running);
    until("a price on the last link", || running.heap.prices() > ends.len()).await;
    assert_eq!(connections.load(Ordering::SeqCst), acts.len() + 1);
    let causes = running.heap.causes();
    let allowed =
        |expect: &str, cause: &str| cause == expect || (cause == "upstream_reset" && expect != "upstream_close_1000");
    for ((end, expect), cause) in ends.iter().zip(&causes) {
        assert!(allowed(expect, cause), "{end:?} was called {cause}");
    }
    assert_eq!(
        causes.len(),
        ends.len(),
        "ends before the first price of a link are not told twice: {causes:?}"
    );
}

/// How long prices were missing after each of `count` kills.
async fn recoveries(count: usize) -> Vec<Duration> {
    let kinds = [End::Close(1000), End::Drop, End::Reset, End::Garbage];
    let (url, _) = vendor((0..count).map(|i| Act::Serve(kinds[i % 4])).collect());
    let running = run(url, &["k"]);
    accept_all(&running);
    until("a price after the last kill", || running.heap.prices() > count).await;
    let arrivals = running.heap.stamped.lock().unwrap();
    let mut down = None;
    let mut took = Vec::new();
    for (at, arrival) in arrivals.iter() {
        match (&arrival.heard.what, &arrival.says) {
            (InputKind::Link(LinkChange::Down { .. }), _) => down = Some(*at),
            (_, Decoded::Price(_)) => took.extend(down.take().map(|down| down.elapsed().saturating_sub(at.elapsed()))),
            _ => {}
        }
    }
    took
}

#[actix_rt::test]
async fn a_hundred_kills_are_each_recovered_from_within_a_second() {
    // Four links: a single one would make more requests a minute than the vendor allows.
    let links = futures_util::future::join_all((0..4).map(|_| recoveries(25)));
    let mut took = links.await.concat();
    took.sort();
    assert_eq!(took.len(), 100);
    assert!(
        took[98] < Duration::from_secs(1),
        "p99 {:?}, median {:?}",
        took[98],
        took[50]
    );
    println!("recovered: median {:?}, p99 {:?}", took[50], took[98]);
}

#[actix_rt::test]
async fn a_refused_upgrade_is_told_by_its_body_and_another_key_is_tried() {
    let bad = r#"{"code":401,"message":"**apikey** parameter is incorrect","status":"error"}"#;
    let acts = vec![
        Act::Refuse("200 OK", bad),
        Act::Refuse("403 Forbidden", ""),
        Act::Refuse("302 Found", ""),
        Act::Refuse("429 Too Many Requests", ""),
    ];
    let (url, connections) = vendor(acts);
    let running = run(url, &["one", "two", "three", "four", "five"]);
    until("a price", || running.heap.prices() > 0).await;
    assert_eq!(connections.load(Ordering::SeqCst), 5);
    assert_eq!(running.heap.causes(), ["refused_401"]);
    let reports = running.heap.reports();
    assert_eq!(
        reports,
        [
            Report::LinkDown {
                cause: "refused_401".to_owned()
            },
            Report::LinkUp
        ]
    );
}

#[actix_rt::test]
async fn a_ping_is_answered_and_a_stop_closes_the_link_until_wanted_again() {
    let (url, connections) = vendor(vec![]);
    let running = run(url, &["k"]);
    until("a price", || running.heap.prices() == 1).await;
    assert_eq!(running.view.borrow().state, "live");
    running.wanted.send(false).unwrap();
    until("stopped", || running.view.borrow().state == "idle").await;
    assert_eq!(running.heap.causes(), ["stopped"]);
    running.wanted.send(true).unwrap();
    until("a price again", || running.heap.prices() == 2).await;
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[actix_rt::test]
async fn a_pair_of_which_no_price_is_accepted_is_shown_as_such_until_one_of_the_links_is() {
    let (url, _) = vendor(vec![]);
    let running = run(url, &["k"]);
    until("a price", || running.heap.prices() == 1).await;
    let usdcop = crate::domain::model::Symbol::usdcop();
    let shown = &running.ground.services.views.pipeline;
    let now = running.ground.services.clock.now();
    let streak = Streak {
        since: now - limits::REJECTED_STREAK_LASTS,
        newest: now,
        count: limits::REJECTED_STREAK,
        reason: RejectReason::FromTheFuture,
        line: Some(1),
    };
    let refused = AcceptanceView {
        streak: Some(streak),
        ..AcceptanceView::default()
    };
    shown.send_modify(|view| drop(view.prices.insert(usdcop, refused)));
    until("told", || running.view.borrow().symbols[0].unaccepted).await;
    let polled = AcceptanceView {
        accepted: 1,
        ..AcceptanceView::default()
    };
    shown.send_modify(|view| drop(view.prices.insert(usdcop, polled)));
    actix_rt::time::sleep(limits::VIEW_EVERY + limits::LOOK_EVERY * 2).await;
    assert!(
        running.view.borrow().symbols[0].unaccepted,
        "the link still brings none"
    );
    let live = AcceptanceView {
        accepted: 2,
        live: 1,
        live_at: Some(now),
        ..AcceptanceView::default()
    };
    shown.send_modify(|view| drop(view.prices.insert(usdcop, live)));
    until("over", || !running.view.borrow().symbols[0].unaccepted).await;
    assert_eq!(running.view.borrow().symbols[0].last_price_at, Some(now));
}

#[actix_rt::test]
async fn a_failure_names_the_host_and_the_cause_and_never_the_key() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            drop(
                stream
                    .unwrap()
                    .write_all(b"this is no TLS at all, and no HTTP either\r\n\r\n"),
            );
        }
    });
    let key = SecretString::from("sesame-open");
    for (url, cause) in [
        (format!("wss://{address}/v1"), "tls_failed"),
        (format!("ws://{address}/v1"), "connect_failed"),
        ("ws://127.0.0.1:1/v1".to_owned(), "connection_refused"),
        ("ws://no-such-host.invalid/v1".to_owned(), "name_not_found"),
        ("gopher://127.0.0.1/".to_owned(), "wrong_address"),
    ] {
        let failure = vendor::connect(vendor::tls(&[]), &url, &key).await.err().unwrap();
        let said = format!("{failure} {failure:?}");
        assert!(said.contains(cause), "{url}: {said}");
        assert!(said.contains(&vendor::host(&url)) && !said.contains("sesame"), "{said}");
    }
}
