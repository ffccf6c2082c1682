//! A stage for the tests of `web`: a server on a free port, a ledger in memory, and clients on raw sockets.

use crate::actors::fanout::{ClientCounts, Fanout, LedgerSource};
use crate::actors::messages::{Item, Recorded, Told};
use crate::clock::Clock;
use crate::domain::model::{
    AcceptedTick, Bar, BarKey, BarState, Channel, Event, Flags, Interval, Ohlc, Price, Provenance, Sequenced,
    SessionKind, Symbol, Tick, Timestamp,
};
use crate::domain::protocol::{Window, Zones};
use crate::views::ServiceView;
use crate::web::serve;
use crate::web::tests::memory_ledger::MemoryLedger;
use crate::web::{DoorLimits, Extras, RunningServer, WebParts};
use actix::{Addr, Context};
use actix_codec::{Decoder, Encoder};
use actix_http::ws::{CloseCode, Codec, Frame, Message};
use bytes::{Bytes, BytesMut};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

pub(crate) const START: i64 = 1_761_138_000;
/// Longer than a server stays silent.
const DEADLINE: Duration = Duration::from_secs(25);

/// The stage.
pub(crate) struct Stage {
    pub(crate) server: RunningServer,
    pub(crate) ledger: MemoryLedger,
    pub(super) shards: Arc<Mutex<Vec<Addr<Fanout>>>>,
    pub(crate) counts: Arc<ClientCounts>,
    pub(crate) view: watch::Sender<Arc<ServiceView>>,
    pub(crate) status: watch::Sender<Bytes>,
    pub(crate) clock: Clock,
    /// How much the kernel holds for a client that does not read.
    pub(super) receive_buffer: u32,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    #[expect(clippy::disallowed_methods, reason = "the server must live as long as the test")]
    pub(crate) fn with(change: impl FnOnce(&mut WebParts)) -> Self {
        let ledger = MemoryLedger::default();
        let shards: Arc<Mutex<Vec<Addr<Fanout>>>> = Arc::default();
        let counts: Arc<ClientCounts> = Arc::default();
        let (view, views) = watch::channel(Arc::new(ServiceView {
            ageless: true,
            ..ServiceView::default()
        }));
        let (status, statuses) = watch::channel(Bytes::new());
        let clock = Clock::manual(Timestamp::from_secs(START));
        let (started, opened) = (Arc::clone(&shards), ledger.clone());
        let mut parts = WebParts {
            bind: "127.0.0.1:0".parse().unwrap(),
            workers: 1,
            symbols: vec![Symbol::usdcop(), "EUR/USD".parse().unwrap()],
            intervals: vec![Interval::M5],
            zones: Zones::new(vec![(Symbol::usdcop(), chrono_tz::America::Bogota)]),
            clock: clock.clone(),
            counts: Arc::clone(&counts),
            view: views,
            status: statuses,
            ledger: Arc::new(move || Box::new(opened.clone())),
            session_start: None,
            start_shard: Arc::new(move |_, parts| {
                let mut context = Context::new();
                context.set_mailbox_capacity(1_024);
                let address = context.run(Fanout::new(parts));
                started.lock().unwrap().push(address.clone());
                address
            }),
            origins: vec!["http://localhost:3000".to_owned()],
            door: DoorLimits {
                connections: 50_000,
                per_address: 50_000,
                per_second: 1_000_000,
            },
            extras: Extras::default(),
            window: Window::default(),
            #[cfg(feature = "test-hooks")]
            hooks: crate::web::Hooks::default(),
        };
        change(&mut parts);
        let mut server = serve(parts).unwrap();
        actix_rt::spawn(server.take_server().unwrap());
        Self {
            server,
            ledger,
            shards,
            counts,
            view,
            status,
            clock,
            receive_buffer: 256 * 1024,
        }
    }

    /// Appends an event without publishing it.
    pub(crate) fn number(&self, channel: Option<Channel>, event: Event) -> Sequenced {
        self.ledger.number(channel, self.clock.now(), event)
    }

    /// Appends `count` ticks without publishing them.
    pub(super) fn write_ticks(&self, count: usize) -> Vec<Sequenced> {
        let tick = |i| tick_event(Symbol::usdcop(), i, self.clock.now());
        let channel = Channel::ticks(Symbol::usdcop());
        (0..count).map(|i| self.number(Some(channel), tick(i))).collect()
    }

    /// Appends a closed bar without publishing it.
    pub(crate) fn write_bar(&self) -> Sequenced {
        let bar = bar(self.clock.now());
        self.number(Some(Channel::bars(Interval::M5, Symbol::usdcop())), Event::Bar(bar))
    }

    /// Sends the items to the shards.
    pub(crate) fn tell(&self, items: Vec<Item>) {
        let told: Arc<[Told]> = items.into_iter().map(Told::from).collect();
        let head = self.ledger.head();
        for shard in self.shards.lock().unwrap().iter() {
            shard
                .try_send(Recorded {
                    told: Arc::clone(&told),
                    head,
                })
                .unwrap();
        }
    }

    pub(crate) fn tell_events(&self, events: Vec<Sequenced>) {
        self.tell(events.into_iter().map(Item::Event).collect());
    }

    /// Appends and publishes `count` ticks.
    pub(crate) fn ticks(&self, count: usize) {
        let events = self.write_ticks(count);
        self.tell_events(events);
    }

    pub(crate) async fn client(&self, path: &str) -> Client {
        let mut client = self.raw(path, "").await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        client
    }

    /// A client that has sent its handshake, with these additional header lines.
    pub(super) async fn raw(&self, path: &str, more: &str) -> Client {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n",
            self.server.address()
        ))
        .await
    }

    /// A client that has sent these bytes.
    pub(crate) async fn send(&self, request: &str) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(self.receive_buffer).unwrap();
        let mut stream = socket.connect(self.server.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        Client {
            stream,
            bytes: BytesMut::new(),
            codec: Codec::new().client_mode().max_size(1 << 24),
        }
    }

    /// The response to a GET: status line and body.
    pub(crate) async fn get(&self, path: &str) -> (String, Value) {
        let (head, body) = self.get_with(path, "").await;
        (head.lines().next().unwrap_or_default().to_owned(), body)
    }

    /// The response to a POST of JSON with additional header lines: head and body.
    pub(crate) async fn post(&self, path: &str, more: &str, body: &str) -> (String, Value) {
        let host = self.server.address();
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n{more}\r\n{body}"
        );
        let mut client = self.send(&request).await;
        let head = client.head().await;
        let mut body = client.bytes.to_vec();
        client.stream.read_to_end(&mut body).await.unwrap();
        (head, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// The response to a GET with additional header lines: head and body.
    pub(crate) async fn get_with(&self, path: &str, more: &str) -> (String, Value) {
        let host = self.server.address();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n");
        let mut client = self.send(&request).await;
        let head = client.head().await;
        let mut body = client.bytes.to_vec();
        let read = tokio::time::timeout(DEADLINE, client.stream.read_to_end(&mut body)).await;
        read.expect("the answer ends in time").unwrap();
        (head, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}

/// A price that depends only on `i`.
pub(crate) fn tick_event(symbol: Symbol, i: usize, at: Timestamp) -> Event {
    let price = Price::from_micros(4_000_000_000 + i64::try_from(i).unwrap() * 10_000);
    Event::Tick(AcceptedTick {
        tick: Tick {
            symbol,
            price,
            bid: None,
            ask: None,
            at,
            provenance: Provenance::Live,
        },
        received_at: at,
    })
}

pub(crate) fn bar(opens_at: Timestamp) -> Bar {
    Bar {
        key: BarKey {
            symbol: Symbol::usdcop(),
            interval: Interval::M5,
            opens_at,
        },
        closes_at: opens_at + Duration::from_secs(300),
        ohlc: Ohlc::flat_at(Price::from_micros(4_000_000_000)),
        ticks: 3,
        first_tick_at: None,
        last_tick_at: None,
        state: BarState::Closed,
        revision: 0,
        provenance: Provenance::Live,
        flags: Flags::default(),
        session_date: chrono::NaiveDate::from_ymd_opt(2025, 10, 22).unwrap(),
        session_kind: SessionKind::Spot,
    }
}

/// A WebSocket client over a raw socket.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) bytes: BytesMut,
    codec: Codec,
}

impl Client {
    /// Reads up to the end of the response's head.
    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.bytes.split_to(end + 4);
                return String::from_utf8_lossy(&head).into_owned();
            }
            if !self.read().await {
                return String::from_utf8_lossy(&self.bytes).into_owned();
            }
        }
    }

    pub(super) async fn read(&mut self) -> bool {
        let read = tokio::time::timeout(DEADLINE, self.stream.read_buf(&mut self.bytes));
        read.await.expect("the server answers in time").unwrap_or(0) > 0
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.codec.decode(&mut self.bytes).unwrap() {
                return Some(frame);
            }
            if !self.read().await {
                return None;
            }
        }
    }

    /// The next JSON message.
    pub(crate) async fn json(&mut self) -> Value {
        match self.frame().await {
            Some(Frame::Text(text)) => serde_json::from_slice(&text).unwrap(),
            other => panic!("not a text: {other:?}"),
        }
    }

    /// Messages up to and including the first of type `kind`.
    pub(crate) async fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut messages = Vec::new();
        loop {
            let message = self.json().await;
            let found = message["type"] == kind;
            messages.push(message);
            if found {
                return messages;
            }
        }
    }

    /// The welcome and the messages that follow for the default channels.
    pub(crate) async fn settle(&mut self) -> Vec<Value> {
        let mut messages = self.until("subscribed").await;
        let count = messages.last().unwrap()["channels"].as_array().unwrap().len();
        let logs = messages.last().unwrap()["channels"].as_array().unwrap();
        let ends = count - usize::from(logs.iter().any(|channel| channel["channel"] == "status"));
        for _ in 0..ends {
            messages.extend(self.until("replay_end").await);
        }
        messages
    }

    pub(crate) async fn say(&mut self, message: &Value) {
        self.send(Message::Text(message.to_string().into())).await;
    }

    pub(crate) async fn send(&mut self, message: Message) {
        let mut bytes = BytesMut::new();
        self.codec.encode(message, &mut bytes).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The close frame that ends the connection; checks that the connection ends after it.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.frame().await {
                Some(Frame::Close(Some(reason))) => {
                    let code = u16::from(reason.code);
                    self.send(Message::Close(Some(CloseCode::from(code).into()))).await;
                    while self.frame().await.is_some() {}
                    return (code, reason.description.unwrap_or_default());
                }
                Some(_) => {}
                None => panic!("the connection ended without a close frame"),
            }
        }
    }
}

/// Waits until `holds`, with a deadline.
pub(super) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        actix_rt::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within ten seconds");
}
