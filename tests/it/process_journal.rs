//! The journal of a real process: written before it is told, there after a restart, told in pages and on the channel `events`.

use crate::child::{Candela, wait_until};
use crate::process_gate::World;
use crate::servers::free_port;
use awc::ws::{Frame, Message};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};

/// A Monday before the market opens, and a while later.
const BEFORE: &str = "@2026-03-02 12:30:00";
const LATER: &str = "@2026-03-02 12:45:00";

fn events(life: &World, query: &str) -> Vec<Value> {
    let answer = life.get(&format!("/status/events?{query}"));
    answer["events"].as_array().cloned().unwrap_or_default()
}

/// Waits for an entry.
fn entry(life: &World, query: &str, holds: impl Fn(&Value) -> bool) -> Value {
    wait_until(query, || events(life, query).into_iter().find(|entry| holds(entry)))
}

fn refuses_with_a_sentence(life: &World) {
    for (query, says) in [
        ("type=foo", "type: \"foo\" is not one of started, settings, state"),
        ("kind=state", "\"kind\" is not a parameter of this address"),
        ("from=2020-01-01", "one request may span at most 92"),
        ("cursor=x", "cursor: \"x\" is not the next_cursor of a page of events"),
        ("symbol=EURUSD", "EURUSD is not served here"),
    ] {
        let refused = life.get(&format!("/status/events?{query}"));
        assert!(
            refused["detail"].as_str().unwrap_or_default().contains(says),
            "{query}: {refused}"
        );
    }
}

#[test]
fn the_journal_tells_what_happened_also_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("signals")).unwrap();
    let life = World::new(BEFORE, data.path(), &[]);
    let first = entry(&life, "type=started", |_| true);
    assert_eq!(first["cause"], "first_start", "{first}");
    let settings = entry(&life, "type=settings", |_| true).to_string();
    assert!(
        settings.contains("upstream.ws_url") && !settings.contains("f00dfeed"),
        "{settings}"
    );
    entry(&life, "type=gate", |entry| entry["cause"] == "flag_missing");
    let raised = |entry: &Value| entry["subject"] == "history_unverified";
    assert!(entry(&life, "type=condition_raised", raised)["details"]["clears_when"].is_string());
    life.hook("/test/panic/poller");
    let restarted = entry(&life, "type=restarted", |entry| entry["subject"] == "poller");
    assert!(
        restarted["cause"].as_str().unwrap().contains("asked to panic"),
        "{restarted}"
    );

    let all = events(&life, "");
    let page = life.get("/status/events?limit=2");
    assert_eq!(page["events"].as_array().unwrap()[..], all[..2]);
    let rest = events(&life, &format!("cursor={}", page["next_cursor"].as_str().unwrap()));
    assert_eq!(rest[..all.len() - 2], all[2..], "pages neither leave out nor repeat");

    refuses_with_a_sentence(&life);
    let explained = life.get("/status/explain");
    let sentences = explained["sentences"].to_string();
    assert!(
        explained["good"] == false && sentences.contains("ready flag"),
        "{explained}"
    );
    life.stop();

    let mut command = Candela::command(&["explain", "--json"]);
    command.env("CANDELA__LEDGER__DIR", data.path().join("ledger"));
    command.env("PORT", free_port().to_string());
    let ended = Candela::of(&mut command).ended();
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    let explained: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (&explained["state"], &explained["source"]),
        (&json!("shutdown"), &json!("ledger"))
    );
    let first = explained["sentences"][0].as_str().unwrap();
    assert!(
        first.starts_with("candela does not run: it was stopped at 2026-03-02T07:30"),
        "{first}"
    );

    let life = World::new(LATER, data.path(), &[]);
    let again = entry(&life, "type=started", |entry| entry["cause"] != "first_start");
    assert_eq!(again["cause"], "stopped", "{again}");
    let kept = events(&life, "");
    assert_eq!(kept[..all.len()], all[..], "the entries of the run before");
    life.stop();
}

#[actix_web::test]
async fn the_channel_events_replays_what_the_pages_tell() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("signals")).unwrap();
    let life = World::new(BEFORE, data.path(), &[]);
    entry(&life, "type=gate", |_| true);
    let url = life.url.replace("http", "ws") + "/ws";
    let (_, mut socket) = awc::Client::new().ws(&url).connect().await.unwrap();
    let ask = json!({"action": "subscribe", "channels": ["events"], "since": {"events": {"last": 4}}});
    socket.send(Message::Text(ask.to_string().into())).await.unwrap();
    life.hook("/test/panic/poller");
    let mut told: Vec<Value> = Vec::new();
    while !told.iter().any(|event| event["data"]["subject"] == "poller") {
        if let Some(Ok(Frame::Text(text))) = socket.next().await {
            let message: Value = serde_json::from_slice(&text).unwrap();
            told.extend((message["type"] == "event").then_some(message));
        }
    }
    let seqs: Vec<u64> = told.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(seqs.windows(2).all(|two| two[0] + 1 == two[1]), "{seqs:?}");
    assert!(told.len() >= 5, "{told:?}");
    let written = events(&life, "");
    for event in &told {
        assert!(written.contains(&event["data"]), "{event} is told and not written");
    }
    life.stop();
}
