//! `candela protocol-check URL`: checks a server from outside against the promises of its protocol.

#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value indexed by what is not there gives null, and never panics"
)]

use crate::cmd::{
    ask::{ServiceError, TokenArg, read_ws_url},
    checked_client::{CheckedClient, PATIENCE},
};
use crate::exit::Exit;
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

/// Grades a server against the guarantees of the WebSocket protocol, from outside.
#[derive(Debug, Clone, Args)]
pub struct ProtocolCheckArgs {
    /// The server's WebSocket address.
    #[arg(default_value = "ws://127.0.0.1:8080/ws", value_parser = read_ws_url)]
    url: String,
    /// How many seconds to follow live data, over restarts and disconnects.
    #[arg(long, default_value_t = 10, value_name = "N")]
    seconds: u64,
    /// One JSON object a line instead of the table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    token: TokenArg,
}

/// The result of one check: its problems, and further remarks.
struct Grade {
    what: &'static str,
    wrong: Vec<String>,
    note: String,
}

impl Grade {
    const fn from_problems(what: &'static str, wrong: Vec<String>) -> Self {
        Self {
            what,
            wrong,
            note: String::new(),
        }
    }
}

impl ProtocolCheckArgs {
    /// Runs all checks.
    ///
    /// # Errors
    /// [`ServiceError`] when no server answers there.
    pub fn run(&self) -> anyhow::Result<Exit> {
        let grades = actix_rt::System::new().block_on(self.run_checks())?;
        let mut out = std::io::stdout().lock();
        for grade in &grades {
            let passed = grade.wrong.is_empty();
            if self.json {
                let line = json!({"check": grade.what, "passed": passed, "wrong": grade.wrong, "note": grade.note});
                writeln!(out, "{line}")?;
                continue;
            }
            writeln!(out, "{}  {}", if passed { "pass" } else { "FAIL" }, grade.what)?;
            if !grade.note.is_empty() {
                writeln!(out, "      {}", grade.note)?;
            }
            for wrong in grade.wrong.iter().take(5) {
                writeln!(out, "      {wrong}")?;
            }
            if grade.wrong.len() > 5 {
                writeln!(out, "      and {} more", grade.wrong.len() - 5)?;
            }
        }
        let failed = grades.iter().any(|grade| !grade.wrong.is_empty());
        Ok(if failed { Exit::Found } else { Exit::Clean })
    }

    async fn run_checks(&self) -> Result<Vec<Grade>, ServiceError> {
        let mut first = CheckedClient::open(&self.url, &self.token).await?;
        let welcome = first.next(PATIENCE).await.unwrap_or_default();
        let mut grades = vec![welcome_grade(&welcome)];
        let symbol = welcome["symbols"][0].as_str().unwrap_or("USD/COP").to_owned();
        let ticks = format!("ticks:{symbol}");
        let wrong = check_answers(&mut first, &symbol).await;
        grades.push(Grade::from_problems(
            "requests are answered, and errors have their codes",
            wrong,
        ));
        let mut every = ["ticks:*", "bars.5m:*", "quality:*", "session:*", "status"]
            .map(str::to_owned)
            .to_vec();
        if opens_events(&mut first).await {
            every.push("events".to_owned());
        }
        first.follow_channels(&every).await;
        first.listen_for(Duration::from_secs(self.seconds), true).await;
        let (epoch, seq) = first.position_of(&ticks);
        grades.push(check_followed(
            "live data is contiguous on each channel, also over disconnects",
            &mut first,
        ));
        first.close().await;
        let mut second = CheckedClient::open(&self.url, &self.token).await?;
        let wrong = check_resume(&mut second, &ticks, epoch.as_deref(), seq).await;
        grades.push(Grade::from_problems(
            "a client that reconnects receives all it missed, once, in order",
            wrong,
        ));
        second
            .listen_for(Duration::from_secs(self.seconds.div_ceil(4)), false)
            .await;
        grades.push(check_followed("data after a resume is contiguous", &mut second));
        second.close().await;
        let mut third = CheckedClient::open(&self.url, &self.token).await?;
        grades.push(check_conflation(&mut third, &ticks, self.seconds.div_ceil(4)).await);
        third.close().await;
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
        "authenticated",
    ] {
        if welcome.get(field).is_none() {
            wrong.push(format!("welcome has no {field}"));
        }
    }
    Grade::from_problems("welcome comes first and is whole", wrong)
}

/// Whether the journal is open to this client: it is to tokens that open every pair.
async fn opens_events(client: &mut CheckedClient) -> bool {
    let asked = json!({"action": "subscribe", "id": "events", "channels": ["events"]});
    client.send_message(&asked).await;
    loop {
        match client.next(PATIENCE).await {
            Some(answer) if answer["id"] == "events" => return answer["type"] == "subscribed",
            Some(_) => {}
            None => return false,
        }
    }
}

/// The result of what a client observed so far.
fn check_followed(what: &'static str, client: &mut CheckedClient) -> Grade {
    let mut wrong = std::mem::take(&mut client.wrong);
    let (messages, told) = client.message_counts();
    if messages < 3 {
        wrong.push("hardly any messages were received".to_owned());
    }
    let note = format!(
        "{messages} messages, {} reconnects, {told} breaks reported",
        client.reconnects
    );
    Grade { what, wrong, note }
}

async fn check_answers(client: &mut CheckedClient, symbol: &str) -> Vec<String> {
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
        client.send_message(&message).await;
        let answer = match kind {
            "subscribed" => loop {
                match client.read_until(kind).await {
                    Some(answer) if answer.get("id").is_none() => {}
                    other => break other,
                }
            },
            _ => client.read_until(kind).await,
        };
        match answer {
            Some(answer) if answer[field] == expect => {}
            other => wrong.push(format!("{message} was answered {}", other.unwrap_or_default())),
        }
    }
    client.send_message(&json!({"type": "heartbeat"})).await;
    if client.read_until("heartbeat_response").await.is_none() {
        wrong.push("the old heartbeat was not answered".to_owned());
    }
    wrong
}

/// Resumes from some messages before `seq`, and checks that exactly those are replayed.
async fn check_resume(client: &mut CheckedClient, channel: &str, epoch: Option<&str>, seq: u64) -> Vec<String> {
    let from = seq.saturating_sub(20);
    client
        .send_message(&json!({"action": "subscribe", "id": 10, "channels": [channel],
            "since": {channel: {"epoch": epoch, "seq": from}}, "options": {"snapshot": false}}))
        .await;
    let answer = loop {
        match client.read_until("subscribed").await {
            Some(answer) if answer["id"] != 10 => {}
            other => break other,
        }
    };
    let Some(answer) = answer else {
        return vec!["the subscription was not answered".to_owned()];
    };
    let answer = &answer["channels"][0];
    if answer["recovered"] != json!(true) {
        return vec![format!("a position received seconds ago was not recovered: {answer}")];
    }
    let Some(end) = client.read_until("replay_end").await else {
        return vec!["the replay does not end".to_owned()];
    };
    let brought = end["seq"].as_u64().unwrap_or(0).saturating_sub(from);
    if end["count"].as_u64() != Some(brought) {
        return vec![format!("the replay from {from} on ends with {end}")];
    }
    std::mem::take(&mut client.wrong)
}

/// Subscribes with a rate below that of the ticks: those that arrive must cover the others.
async fn check_conflation(client: &mut CheckedClient, channel: &str, seconds: u64) -> Grade {
    let what = "a client that requests less receives the newest, and the range that it covers";
    client
        .send_message(
            &json!({"action": "subscribe", "channels": [channel], "options": {"max_hz": 2, "snapshot": false}}),
        )
        .await;
    client.listen_for(Duration::from_secs(seconds.max(2)), false).await;
    let mut grade = check_followed(what, client);
    let allowed = seconds.max(2).saturating_mul(2).saturating_add(20);
    let (messages, _) = client.message_counts();
    if messages > allowed {
        grade
            .wrong
            .push(format!("{messages} messages were received at two a second"));
    }
    grade
}
