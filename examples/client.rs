//! Follows ticks and five-minute bars, resumes after every disconnect, and checks that nothing is missing.
//! `cargo run --example client -- ws://127.0.0.1:8080/ws USD/COP [seconds]`
#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "JSON gives null; a program prints"
)]

use awc::ws::{Frame, Message};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use std::time::Duration;

#[derive(Default)]
struct Follower {
    positions: Map<String, Value>,
    counts: [u64; 3],
}
impl Follower {
    fn hear(&mut self, message: &Value) {
        let answers = message["channels"].as_array().into_iter().flatten();
        let begun = answers.filter(|answer| answer["seq"].is_u64() && answer["recovered"] != true);
        match message["type"].as_str().unwrap_or_default() {
            "subscribed" => begun.for_each(|answer| self.keep(answer, &answer["epoch"])),
            "error" => println!("error: {}", message["message"]),
            "discontinuity" => self.keep(message, &message["epoch"]),
            "market_data" | "bar" | "gap" | "seam" | "certificate" | "skipped" if message["seq"].is_u64() => {
                self.check(message);
            }
            _ => {}
        }
    }
    fn keep(&mut self, at: &Value, epoch: &Value) {
        let channel = at["channel"].as_str().unwrap_or_default().to_owned();
        self.positions
            .insert(channel, json!({"epoch": epoch, "seq": at["seq"]}));
    }
    /// The next message's `from` is the last `seq` + 1, or the server said `skipped` in its place.
    fn check(&mut self, message: &Value) {
        let channel = message["channel"].as_str().unwrap_or_default();
        let from = message.get("from").unwrap_or(&message["seq"]).as_u64();
        let known = self.positions.get(channel).cloned().unwrap_or_default();
        let hole = known["seq"].as_u64().is_some_and(|seq| from != Some(seq + 1));
        let is = [message["type"] == "market_data", message["type"] == "bar", hole];
        (self.counts.iter_mut().zip(is)).for_each(|(count, one)| *count += u64::from(one));
        if hole || message["type"] == "bar" {
            println!("{}{message}", if hole { "HOLE before " } else { "" });
        }
        self.keep(message, &known["epoch"]);
    }
    async fn follow(&mut self, url: &str, channels: &[String]) {
        loop {
            actix_rt::time::sleep(Duration::from_millis(200)).await;
            let Ok((_, mut socket)) = awc::Client::new().ws(url).connect().await else {
                continue;
            };
            let ask = json!({"action": "subscribe", "channels": channels, "since": self.positions});
            drop(socket.send(Message::Text(ask.to_string().into())).await);
            while let Some(Ok(frame)) = socket.next().await {
                match frame {
                    Frame::Text(text) => self.hear(&serde_json::from_slice(&text).unwrap_or_default()),
                    Frame::Ping(bytes) => drop(socket.send(Message::Pong(bytes)).await),
                    _ => {}
                }
            }
        }
    }
}

#[actix_rt::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or("ws://127.0.0.1:8080/ws".to_owned()) + "?channels=status";
    let symbol = args.next().unwrap_or("USD/COP".to_owned());
    let until = args.next().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
    let channels = ["ticks", "bars.5m", "quality"].map(|topic| format!("{topic}:{symbol}"));
    let mut follower = Follower::default();
    drop(actix_rt::time::timeout(Duration::from_secs(until), follower.follow(&url, &channels)).await);
    let [ticks, bars, holes] = follower.counts;
    println!("{}", json!({"ticks": ticks, "bars": bars, "holes": holes}));
}
