//! Follows ticks and five-minute bars, resumes after every disconnect, and checks that nothing is missing.
//!
//!     cargo run --example client -- ws://127.0.0.1:8080/ws USD/COP [seconds]
#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a JSON value indexed by a name gives null; a program prints"
)]

use awc::ws::{Frame, Message};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use std::time::Duration;

#[derive(Default)]
struct Follower {
    positions: Map<String, Value>,
    ticks: u64,
    bars: u64,
    holes: u64,
}

impl Follower {
    fn hear(&mut self, message: &Value) {
        match message["type"].as_str().unwrap_or_default() {
            "subscribed" => {
                let answers = message["channels"].as_array().into_iter().flatten();
                answers
                    .filter(|answer| answer["seq"].is_u64() && answer["recovered"] != true)
                    .for_each(|answer| self.keep(answer));
            }
            "discontinuity" => self.keep(message),
            kind @ ("market_data" | "bar" | "gap" | "skipped") if message["seq"].is_u64() => self.check(kind, message),
            _ => {}
        }
    }

    fn keep(&mut self, at: &Value) {
        let channel = at["channel"].as_str().unwrap_or_default().to_owned();
        self.positions
            .insert(channel, json!({"epoch": at["epoch"], "seq": at["seq"]}));
    }

    /// The next message's `from` is the last `seq` + 1, or the server said `skipped` in its place.
    fn check(&mut self, kind: &str, message: &Value) {
        let channel = message["channel"].as_str().unwrap_or_default();
        let from = message.get("from").unwrap_or(&message["seq"]).as_u64();
        let known = self.positions.get(channel).cloned().unwrap_or_default();
        if known["seq"].as_u64().is_some_and(|seq| from != Some(seq + 1)) {
            self.holes += 1;
            println!("HOLE in {channel} after {} before {from:?}", known["seq"]);
        }
        self.keep(&json!({"channel": channel, "epoch": known["epoch"], "seq": message["seq"]}));
        self.ticks += u64::from(kind == "market_data");
        if kind == "bar" {
            self.bars += 1;
            println!(
                "{} {} {}",
                message["data"]["open_time"], message["data"]["close"], message["data"]["state"]
            );
        }
    }
}

#[actix_rt::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "ws://127.0.0.1:8080/ws".to_owned()) + "?channels=status";
    let symbol = args.next().unwrap_or_else(|| "USD/COP".to_owned());
    let seconds = args.next().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
    let channels = ["ticks", "bars.5m", "quality"].map(|topic| format!("{topic}:{symbol}"));
    let mut follower = Follower::default();
    drop(tokio::time::timeout(Duration::from_secs(seconds), follow(&mut follower, &url, &channels)).await);
    println!(
        "{}",
        json!({"ticks": follower.ticks, "bars": follower.bars, "holes": follower.holes})
    );
}

async fn follow(follower: &mut Follower, url: &str, channels: &[String]) {
    loop {
        if let Ok((_, mut socket)) = awc::Client::new().ws(url).connect().await {
            let ask = json!({"action": "subscribe", "channels": channels, "since": follower.positions});
            drop(socket.send(Message::Text(ask.to_string().into())).await);
            while let Some(Ok(frame)) = socket.next().await {
                match frame {
                    Frame::Text(text) => follower.hear(&serde_json::from_slice(&text).unwrap_or_default()),
                    Frame::Ping(bytes) => drop(socket.send(Message::Pong(bytes)).await),
                    _ => {}
                }
            }
        }
        println!("disconnected");
        actix_rt::time::sleep(Duration::from_millis(500)).await;
    }
}
