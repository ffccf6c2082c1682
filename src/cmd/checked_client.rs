//! The client of `protocol-check` and `load`: subscribes to channels, checks every message, and reconnects after each disconnect with its
//! positions.

#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value indexed by what is not there gives null, and never panics"
)]

use crate::clock::Stopwatch;
use crate::cmd::ask::{ServiceError, TokenArg};
use crate::domain::protocol::Continuity;
use actix_codec::Framed;
use awc::BoxedSocket;
use awc::error::WsClientError;
use awc::ws::{Codec, Frame, Message};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long an answer may take, and how long a server may be away.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const AWAY: Duration = Duration::from_secs(60);

/// One client, with everything that it observed.
pub(super) struct CheckedClient {
    url: String,
    token: TokenArg,
    socket: Option<Framed<BoxedSocket, Codec>>,
    continuity: Continuity,
    /// The channels that it subscribes to, also after a reconnect.
    channels: Vec<String>,
    pub(super) wrong: Vec<String>,
    pub(super) reconnects: u32,
    /// How often the server closed with each code.
    pub(super) closes: BTreeMap<u16, u64>,
    /// The wait that a `goaway` asked for.
    delay: Duration,
}

/// What the answer to a handshake means.
fn why_not_connected(url: String, error: &WsClientError) -> ServiceError {
    let WsClientError::InvalidResponseStatus(status) = error else {
        let why = error.to_string();
        return ServiceError::Unreachable { url, why };
    };
    match status.as_u16() {
        401 | 403 => ServiceError::NoToken {
            url,
            why: status.to_string(),
        },
        503 => ServiceError::Refused {
            url,
            why: "no more connections are accepted now (503)".to_owned(),
        },
        400..500 => ServiceError::Refused {
            url,
            why: status.to_string(),
        },
        _ => ServiceError::Strange {
            url,
            why: format!("it answers a WebSocket handshake with {status}"),
        },
    }
}

impl CheckedClient {
    /// Connects, without a subscription yet.
    ///
    /// # Errors
    /// [`ServiceError`] when no server answers there.
    pub(super) async fn open(url: &str, token: &TokenArg) -> Result<Self, ServiceError> {
        let separator = if url.contains('?') { '&' } else { '?' };
        let mut client = Self {
            url: format!("{url}{separator}channels=status"),
            token: token.clone(),
            socket: None,
            continuity: Continuity::default(),
            channels: Vec::new(),
            wrong: Vec::new(),
            reconnects: 0,
            closes: BTreeMap::new(),
            delay: Duration::from_millis(100),
        };
        client.connect().await?;
        Ok(client)
    }

    async fn connect(&mut self) -> Result<(), ServiceError> {
        let client = awc::Client::new();
        let mut request = client.ws(&self.url);
        if let Some((name, value)) = self.token.authorization_header() {
            request = request.header(name, value);
        }
        let connected = request.connect().await;
        let (_, socket) = connected.map_err(|error| why_not_connected(self.url.clone(), &error))?;
        self.socket = Some(socket);
        Ok(())
    }

    /// The next JSON message of this connection, if one arrives in time. `None` also at its end.
    pub(super) async fn next(&mut self, patience: Duration) -> Option<Value> {
        loop {
            let socket = self.socket.as_mut()?;
            let frame = tokio::time::timeout(patience, socket.next()).await.ok()?;
            match frame {
                Some(Ok(Frame::Text(text))) => {
                    let message: Value = serde_json::from_slice(&text).unwrap_or_default();
                    self.wrong.extend(self.continuity.read(&message));
                    if let Some(after) = message["reconnect_after_ms"].as_u64() {
                        self.delay = Duration::from_millis(after);
                    }
                    return Some(message);
                }
                Some(Ok(Frame::Ping(bytes))) => drop(socket.send(Message::Pong(bytes)).await),
                Some(Ok(Frame::Close(reason))) => {
                    let code = reason.map_or(1005, |reason| u16::from(reason.code));
                    let count = self.closes.entry(code).or_default();
                    *count = count.saturating_add(1);
                    if !may_close(code) {
                        self.wrong.push(format!("closed with {code}"));
                    }
                    drop(socket.send(Message::Close(None)).await);
                    self.socket = None;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => self.socket = None,
            }
        }
    }

    /// The next message of `kind`.
    pub(super) async fn read_until(&mut self, kind: &str) -> Option<Value> {
        loop {
            let message = self.next(PATIENCE).await?;
            if message["type"] == kind {
                return Some(message);
            }
        }
    }

    /// Sends a message; a connection that has ended is noticed when the next message is read.
    pub(super) async fn send_message(&mut self, message: &Value) {
        if let Some(socket) = &mut self.socket {
            drop(socket.send(Message::Text(message.to_string().into())).await);
        }
    }

    /// Subscribes to channels from now on, also after each disconnect.
    pub(super) async fn follow_channels(&mut self, channels: &[String]) {
        self.channels = channels.to_vec();
        self.send_message(&json!({"action": "subscribe", "channels": channels}))
            .await;
    }

    /// Reads messages for some time, and reconnects whenever the connection ends. With `naps`, it pauses reading every few seconds.
    pub(super) async fn listen_for(&mut self, time: Duration, naps: bool) {
        const WORK: Duration = Duration::from_secs(4);
        const NAP: Duration = Duration::from_millis(1_500);
        let watch = Stopwatch::start();
        let mut rested = Duration::ZERO;
        while let Some(left) = time.checked_sub(watch.elapsed()) {
            if self.next(left.min(WORK)).await.is_none() && self.socket.is_none() && !self.come_back().await {
                return;
            }
            if naps && watch.elapsed() >= rested.saturating_add(WORK) {
                rested = watch.elapsed();
                actix_rt::time::sleep(NAP.min(left)).await;
            }
        }
    }

    /// Drops the connection without a word, as a network does.
    pub(super) fn cut(&mut self) {
        self.socket = None;
    }

    /// Whether it has no connection.
    pub(super) const fn is_away(&self) -> bool {
        self.socket.is_none()
    }

    /// Reconnects with its positions; returns whether the server was back in time. If not, that is one of the faults.
    pub(super) async fn come_back(&mut self) -> bool {
        self.continuity.reconnected();
        let watch = Stopwatch::start();
        while watch.elapsed() < AWAY {
            actix_rt::time::sleep(self.delay).await;
            self.delay = Duration::from_millis(250);
            if self.connect().await.is_ok() {
                self.reconnects = self.reconnects.saturating_add(1);
                let channels = self.channels.clone();
                let since = self.continuity.since();
                self.send_message(&json!({"action": "subscribe", "channels": channels, "since": since,
                    "options": {"snapshot": false}}))
                    .await;
                return true;
            }
        }
        self.wrong.push(format!("the server stayed away for {AWAY:?}"));
        false
    }

    /// The epoch and seq in a channel.
    pub(super) fn position_of(&self, channel: &str) -> (Option<String>, u64) {
        let place = self.continuity.positions().get(channel);
        place.map_or((None, 0), |place| (place.epoch.clone(), place.seq))
    }

    /// How many messages it read, and how often the server said that it could not replay everything.
    pub(super) const fn message_counts(&self) -> (u64, u64) {
        (self.continuity.messages(), self.continuity.told())
    }

    pub(super) async fn close(mut self) {
        self.send_message(&json!({"action": "unsubscribe", "channels": self.channels}))
            .await;
        if let Some(mut socket) = self.socket.take() {
            drop(socket.send(Message::Close(None)).await);
            drop(tokio::time::timeout(Duration::from_secs(2), socket.next()).await);
        }
    }
}

/// Whether a client reconnects after this close code; any other code says that one side broke the protocol.
const fn may_close(code: u16) -> bool {
    matches!(
        code,
        1000 | 1001 | 1005 | 1006 | 1011 | 1012 | 1013 | 4003 | 4010 | 4011
    )
}
