//! A plain client of the simulated upstream, for its own tests: awc, and raw sockets where the handshake itself goes wrong.

use actix_codec::Framed;
use awc::ws::{Codec, Frame, Message};
use awc::{BoxedSocket, Client};
use candela::clock::Clock;
use candela::domain::model::{Symbol, Timestamp};
use candela::sim::start;
use candela::sim::{Market, SimConfig, SimHandle};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;

/// 2025-10-22 08:00 in Bogota.
pub(crate) const OPEN: Timestamp = Timestamp::from_secs(1_761_138_000);
const PATIENCE: Duration = Duration::from_secs(20);

/// A simulator whose clock stands at the open until the test moves it.
pub(crate) fn simulator(scenario: &str) -> (SimHandle, Clock) {
    let clock = Clock::manual(OPEN);
    let market = Market::walk(1, &[Symbol::usdcop(), "EUR/USD".parse().unwrap()]);
    let mut config = SimConfig::new(clock.clone(), market);
    config.scenario = scenario.parse().unwrap();
    config.keys = vec!["key-number-one".to_owned(), "key-number-two".to_owned()];
    (start(config).unwrap(), clock)
}

/// What a client sees of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A JSON text.
    Json(Value),
    /// A text that is no JSON, or a frame that is no text.
    Other(String),
    /// A close frame.
    Close(u16),
    /// The end of the stream without a close frame.
    End,
    /// An error of the socket or of the protocol.
    Broken(String),
}

impl Seen {
    pub(crate) fn event(&self) -> &str {
        match self {
            Self::Json(value) => value["event"].as_str().unwrap_or("none"),
            _ => "none",
        }
    }
}

/// One WebSocket connection to the simulator.
pub(crate) struct Watcher(Framed<BoxedSocket, Codec>);

impl Watcher {
    pub(crate) async fn open(sim: &SimHandle, key: &str) -> Result<Self, String> {
        let url = format!("{}?apikey={key}", sim.ws_url());
        let opening = Client::new().ws(url).connect();
        let opened = tokio::time::timeout(PATIENCE, opening)
            .await
            .map_err(|_| "no answer".to_owned())?;
        opened
            .map(|(_, framed)| Self(framed))
            .map_err(|error| error.to_string())
    }

    /// Opens and subscribes to USD/COP, and waits for the answer.
    pub(crate) async fn subscribed(sim: &SimHandle) -> Self {
        let mut watcher = Self::open(sim, "key-number-one").await.unwrap();
        watcher
            .say(json!({"action": "subscribe", "params": {"symbols": "USD/COP"}}))
            .await;
        assert_eq!(watcher.next().await.event(), "subscribe-status");
        watcher
    }

    pub(crate) async fn say(&mut self, event: Value) {
        self.0.send(Message::Text(event.to_string().into())).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Seen {
        self.within(PATIENCE).await.expect("the simulator says something")
    }

    /// What is seen next, or nothing within a time.
    pub(crate) async fn within(&mut self, span: Duration) -> Option<Seen> {
        let frame = tokio::time::timeout(span, self.0.next()).await.ok()?;
        Some(match frame {
            None => Seen::End,
            Some(Err(error)) => Seen::Broken(error.to_string()),
            Some(Ok(Frame::Close(reason))) => Seen::Close(reason.map_or(1005, |reason| reason.code.into())),
            Some(Ok(Frame::Text(text))) => match serde_json::from_slice(&text) {
                Ok(value) => Seen::Json(value),
                Err(_) => Seen::Other(String::from_utf8_lossy(&text).into_owned()),
            },
            Some(Ok(other)) => Seen::Other(format!("{other:?}")),
        })
    }

    /// Everything until the connection is over.
    pub(crate) async fn rest(&mut self) -> Vec<Seen> {
        let mut all = Vec::new();
        loop {
            let seen = self.next().await;
            let last = matches!(seen, Seen::Close(_) | Seen::End | Seen::Broken(_));
            all.push(seen);
            if last {
                return all;
            }
        }
    }
}
