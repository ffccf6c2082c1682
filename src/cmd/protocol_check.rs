//! `candela protocol-check URL`: grades a server from outside against what clients are promised.

#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value indexed by what is not there gives null, and never panics"
)]

use crate::cmd::ask::AskError;
use crate::domain::continuity::Continuity;
use crate::exit::Exit;
use actix_codec::Framed;
use awc::BoxedSocket;
use awc::ws::{Codec, Frame, Message};
use clap::Args;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

/// Grades a server against the guarantees of the WebSocket protocol, from outside.
#[derive(Debug, Clone, Args)]
pub struct ProtocolCheckArgs {
    /// The server's WebSocket address.
    #[arg(default_value = "ws://127.0.0.1:8080/ws")]
    url: String,
    /// How many seconds to listen to live data.
    #[arg(long, default_value_t = 10, value_name = "N")]
    seconds: u64,
    /// One JSON object a line instead of the table.
    #[arg(long)]
    json: bool,
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// One thing that was checked, and what was wrong with it.
struct Grade {
    what: &'static str,
    wrong: Vec<String>,
}

impl ProtocolCheckArgs {
    /// Runs it.
    ///
    /// # Errors
    /// [`AskError`] when nobody answers there.
    pub fn run(&self) -> anyhow::Result<Exit> {
        let grades = actix_rt::System::new().block_on(self.check())?;
        let mut out = std::io::stdout().lock();
        for grade in &grades {
            if self.json {
                let line = json!({"check": grade.what, "passed": grade.wrong.is_empty(), "wrong": grade.wrong});
                writeln!(out, "{line}")?;
                continue;
            }
            writeln!(
                out,
                "{}  {}",
                if grade.wrong.is_empty() { "pass" } else { "FAIL" },
                grade.what
            )?;
            for wrong in grade.wrong.iter().take(5) {
                writeln!(out, "      {wrong}")?;
            }
        }
        let failed = grades.iter().any(|grade| !grade.wrong.is_empty());
        Ok(if failed { Exit::Unavailable } else { Exit::Clean })
    }

    async fn check(&self) -> Result<Vec<Grade>, AskError> {
        let mut first = Connection::open(&self.url).await?;
        let welcome = first.next(PATIENCE).await.unwrap_or_default();
        let mut grades = vec![welcome_grade(&welcome)];
        let symbol = welcome["symbols"][0].as_str().unwrap_or("USD/COP").to_owned();
        grades.push(Grade {
            what: "requests are answered, and mistakes have their codes",
            wrong: first.answers(&symbol).await,
        });
        first.listen(Duration::from_secs(self.seconds)).await;
        let ticks = format!("ticks:{symbol}");
        let (epoch, seq) = first.position(&ticks);
        grades.push(first.grade("live data is contiguous on each channel"));
        first.close().await;
        let mut second = Connection::open(&self.url).await?;
        let wrong = second.resumes(&ticks, epoch.as_ref(), seq).await;
        grades.push(Grade {
            what: "who comes back gets all it missed, once, in order",
            wrong,
        });
        second.listen(Duration::from_secs(self.seconds.div_ceil(4))).await;
        grades.push(second.grade("data after a resume is contiguous"));
        second.close().await;
        Ok(grades)
    }
}

fn welcome_grade(welcome: &Value) -> Grade {
    let mut wrong = Vec::new();
    if welcome["type"] != "welcome" {
        wrong.push(format!("the first message is {welcome}"));
    }
    for field in [
        "protocol",
        "connection",
        "server_time",
        "server_status",
        "symbols",
        "session",
        "limits",
        "heartbeat_seconds",
    ] {
        if welcome.get(field).is_none() {
            wrong.push(format!("welcome has no {field}"));
        }
    }
    Grade {
        what: "welcome comes first and is whole",
        wrong,
    }
}

/// One connection and what it saw.
struct Connection {
    socket: Framed<BoxedSocket, Codec>,
    continuity: Continuity,
    wrong: Vec<String>,
    epochs: Value,
}

impl Connection {
    async fn open(url: &str) -> Result<Self, AskError> {
        let client = awc::Client::new();
        let connected = client.ws(url).connect().await;
        let (_, socket) = connected.map_err(|error| AskError::Unreachable {
            url: url.to_owned(),
            why: error.to_string(),
        })?;
        Ok(Self {
            socket,
            continuity: Continuity::default(),
            wrong: Vec::new(),
            epochs: json!({}),
        })
    }

    /// The next JSON message, if one comes in time.
    async fn next(&mut self, patience: Duration) -> Option<Value> {
        loop {
            let frame = tokio::time::timeout(patience, self.socket.next()).await.ok()??;
            match frame {
                Ok(Frame::Text(text)) => {
                    let message: Value = serde_json::from_slice(&text).unwrap_or_default();
                    self.wrong.extend(self.continuity.read(&message));
                    self.remember(&message);
                    return Some(message);
                }
                Ok(Frame::Ping(bytes)) => drop(self.socket.send(Message::Pong(bytes)).await),
                Ok(Frame::Close(reason)) => {
                    self.wrong.push(format!("closed: {reason:?}"));
                    return None;
                }
                Ok(_) => {}
                Err(error) => {
                    self.wrong.push(format!("the connection failed: {error}"));
                    return None;
                }
            }
        }
    }

    fn remember(&mut self, message: &Value) {
        for answer in message["channels"].as_array().into_iter().flatten() {
            if let (Some(channel), Some(epoch)) = (answer["channel"].as_str(), answer.get("epoch"))
                && let Some(epochs) = self.epochs.as_object_mut()
            {
                epochs.insert(channel.to_owned(), epoch.clone());
            }
        }
    }

    async fn say(&mut self, message: &Value) {
        if let Err(error) = self.socket.send(Message::Text(message.to_string().into())).await {
            self.wrong.push(format!("the connection failed: {error}"));
        }
    }

    /// The next message of `kind`.
    async fn until(&mut self, kind: &str) -> Option<Value> {
        loop {
            let message = self.next(PATIENCE).await?;
            if message["type"] == kind {
                return Some(message);
            }
        }
    }

    async fn answers(&mut self, symbol: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        for (message, kind, field, expect) in [
            (json!({"action": "ping", "id": 41}), "pong", "id", json!(41)),
            (json!({"action": "leap", "id": "x"}), "error", "code", json!(1003)),
            (
                json!({"action": "subscribe", "channels": ["trades:USD/COP"]}),
                "error",
                "code",
                json!(1104),
            ),
            (
                json!({"action": "subscribe", "channels": ["ticks:ZZZ/ZZZ"]}),
                "error",
                "code",
                json!(1105),
            ),
            (json!([1]), "error", "code", json!(1002)),
            (
                json!({"action": "subscribe", "id": 9, "channels": [format!("ticks:{symbol}"), format!("bars.5m:{symbol}")]}),
                "subscribed",
                "id",
                json!(9),
            ),
        ] {
            self.say(&message).await;
            let answer = match kind {
                "subscribed" => loop {
                    match self.until(kind).await {
                        Some(answer) if answer.get("id").is_none() => {}
                        other => break other,
                    }
                },
                _ => self.until(kind).await,
            };
            match answer {
                Some(answer) if answer[field] == expect => {}
                other => wrong.push(format!("{message} was answered {}", other.unwrap_or_default())),
            }
        }
        self.say(&json!({"type": "heartbeat"})).await;
        if self.until("heartbeat_response").await.is_none() {
            wrong.push("the old heartbeat was not answered".to_owned());
        }
        wrong
    }

    async fn listen(&mut self, time: Duration) {
        let until = crate::clock::Stopwatch::start();
        while let Some(left) = time.checked_sub(until.elapsed()) {
            self.next(left).await;
        }
    }

    fn position(&self, channel: &str) -> (Option<Value>, u64) {
        let seq = self.continuity.positions().get(channel).copied().unwrap_or(0);
        (self.epochs.get(channel).cloned(), seq)
    }

    /// Asks for what came after `seq` less some, and checks that exactly that is brought.
    async fn resumes(&mut self, channel: &str, epoch: Option<&Value>, seq: u64) -> Vec<String> {
        let from = seq.saturating_sub(20);
        self.until("subscribed").await;
        self.say(&json!({"action": "unsubscribe", "channels": [channel]})).await;
        self.until("unsubscribed").await;
        self.say(&json!({"action": "subscribe", "id": 10, "channels": [channel],
            "since": {channel: {"epoch": epoch, "seq": from}}, "options": {"snapshot": false}}))
            .await;
        let Some(answer) = self.until("subscribed").await else {
            return vec!["the subscription was not answered".to_owned()];
        };
        let answer = &answer["channels"][0];
        if answer["recovered"] != json!(true) {
            return vec![format!("a position seen seconds ago was not recovered: {answer}")];
        }
        let Some(end) = self.until("replay_end").await else {
            return vec!["the replay does not end".to_owned()];
        };
        let brought = end["seq"].as_u64().unwrap_or(0).saturating_sub(from);
        if end["count"].as_u64() != Some(brought) {
            return vec![format!("the replay from {from} on ends with {end}")];
        }
        std::mem::take(&mut self.wrong)
    }

    fn grade(&mut self, what: &'static str) -> Grade {
        let mut wrong = std::mem::take(&mut self.wrong);
        if self.continuity.messages() < 3 {
            wrong.push("hardly anything came".to_owned());
        }
        Grade { what, wrong }
    }

    async fn close(mut self) {
        drop(self.socket.send(Message::Close(None)).await);
        drop(tokio::time::timeout(Duration::from_secs(2), self.socket.next()).await);
    }
}
