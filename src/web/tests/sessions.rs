//! What well-behaved clients see.

use crate::actors::messages::Item;
use crate::domain::model::Timestamp;
use crate::domain::protocol::Close;
use crate::web::tests::stage::{START, Stage, bar, eventually};
use actix_http::ws::Message;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;

fn seqs(messages: &[Value], channel: &str) -> Vec<u64> {
    let of = messages
        .iter()
        .filter(|m| m["channel"] == channel && m.get("data").is_some() && m["type"] != "snapshot");
    of.filter_map(|m| m["seq"].as_u64()).collect()
}

#[actix_rt::test]
async fn welcome_comes_first_then_the_default_channels_and_live_ticks() {
    let stage = Stage::new();
    stage.write_ticks(3);
    let mut client = stage.client("/ws").await;
    let messages = client.settle().await;
    assert_eq!(messages[0]["type"], "welcome");
    assert_eq!(messages[0]["symbols"], json!(["USD/COP", "EUR/USD"]));
    assert_eq!(messages[1]["type"], "subscribed");
    let ticks = &messages[1]["channels"][0];
    assert_eq!(
        (&ticks["channel"], &ticks["seq"], &ticks["epoch"]),
        (&json!("ticks:USD/COP"), &json!(3), &json!("ab12"))
    );
    let snapshot = messages
        .iter()
        .find(|m| m["type"] == "snapshot" && m["channel"] == "ticks:USD/COP")
        .unwrap();
    assert_eq!(snapshot["data"]["last_tick"]["price"], json!(4000.02));
    stage.ticks(3);
    for seq in 4..=6 {
        let tick = client.json().await;
        assert_eq!((&tick["type"], &tick["seq"]), (&json!("market_data"), &json!(seq)));
    }
}

#[actix_rt::test]
async fn an_old_client_finds_what_it_knew() {
    let stage = Stage::new();
    let mut client = stage.client("/ws/USDCOP").await;
    client.settle().await;
    client.say(&json!({"type": "heartbeat"})).await;
    let answer = client.json().await;
    assert_eq!(
        (&answer["type"], &answer["symbol"]),
        (&json!("heartbeat_response"), &json!("USDCOP"))
    );
    assert!(answer["timestamp"].is_string() && answer["server_status"].is_string());
    stage.ticks(1);
    let tick = client.json().await;
    assert_eq!(tick["data"]["symbol"], "USD/COP");
    assert_eq!(tick["data"]["price"], json!(4000));
    assert!(tick["data"]["timestamp"].is_i64() && tick["timestamp"].is_string());
}

#[actix_rt::test]
async fn every_spelling_of_a_symbol_names_its_stream_and_another_is_refused_before_the_upgrade() {
    let stage = Stage::new();
    for path in [
        "/ws/USDCOP",
        "/ws/USD-COP",
        "/ws/USD%2FCOP",
        "/ws/USD/COP",
        "/ws/usdcop",
    ] {
        let mut client = stage.client(path).await;
        assert_eq!(client.json().await["symbols"], json!(["USD/COP"]), "{path}");
    }
    let (status, body) = stage.get("/ws/USDCPO").await;
    assert!(status.contains("404"), "{status}");
    assert_eq!(body["symbols"], json!(["USD/COP", "EUR/USD"]));
    assert!(body["detail"].as_str().unwrap().contains("did you mean"), "{body}");
}

#[actix_rt::test]
async fn a_bar_comes_after_its_forming_selves_with_seq_and_bar_end() {
    let stage = Stage::new();
    let mut client = stage.client("/ws/USDCOP").await;
    client.settle().await;
    let forming = Item::Partial {
        bar: bar(Timestamp::from_secs(START)),
        base: 0,
    };
    stage.tell(vec![forming]);
    let partial = client.json().await;
    assert_eq!((&partial["type"], &partial["base"]), (&json!("bar"), &json!(0)));
    let closed = stage.write_bar();
    stage.tell_events(vec![closed]);
    let closed = client.json().await;
    assert_eq!(
        (&closed["channel"], &closed["seq"]),
        (&json!("bars.5m:USD/COP"), &json!(1))
    );
    assert_eq!(closed["data"]["close"], json!(4000));
}

#[actix_rt::test]
async fn who_comes_back_gets_exactly_what_it_missed() {
    let stage = Stage::new();
    stage.ticks(10);
    let mut client = stage.client("/ws?channels=status").await;
    client.until("subscribed").await;
    client
        .say(&json!({"action": "subscribe", "id": 7, "channels": ["ticks:USD/COP"],
            "since": {"ticks:USD/COP": {"epoch": "ab12", "seq": 4}}, "options": {"snapshot": false}}))
        .await;
    let messages = client.until("replay_end").await;
    assert_eq!(messages[0]["id"], 7);
    let answer = &messages[0]["channels"][0];
    assert_eq!((&answer["recovered"], &answer["replayed"]), (&json!(true), &json!(6)));
    assert_eq!(seqs(&messages, "ticks:USD/COP"), (5..=10).collect::<Vec<_>>());
    assert_eq!(messages.last().unwrap()["count"], 6);
    stage.ticks(1);
    assert_eq!(client.json().await["seq"], 11);
}

#[actix_rt::test]
async fn a_replay_longer_than_memory_and_outbox_arrives_whole_while_live_ticks_go_on() {
    let stage = Stage::new();
    stage.write_ticks(5_000);
    let mut client = stage.client("/ws?channels=status").await;
    client.until("subscribed").await;
    client
        .say(&json!({"action": "subscribe", "channels": ["ticks:USD/COP"],
            "since": {"seq": 0, "epoch": "ab12"}, "options": {"snapshot": false}}))
        .await;
    client.until("subscribed").await;
    stage.ticks(50);
    let mut messages = client.until("replay_end").await;
    let head = messages.last().unwrap()["seq"].as_u64().unwrap();
    while head < 5_050 && messages.last().unwrap()["seq"] != 5_050 {
        messages.push(client.json().await);
    }
    let seqs = seqs(&messages, "ticks:USD/COP");
    assert_eq!(seqs, (1..=5_050).collect::<Vec<_>>());
}

#[actix_rt::test]
async fn a_position_that_cannot_be_met_is_named_and_nothing_is_replayed() {
    let stage = Stage::new();
    stage.ticks(3);
    for (since, reason) in [
        (json!({"epoch": "zzzz", "seq": 1}), "epoch_changed"),
        (json!({"epoch": "ab12", "seq": 9}), "position_ahead"),
    ] {
        let mut client = stage.client("/ws?channels=status").await;
        client.until("subscribed").await;
        client
            .say(&json!({"action": "subscribe", "channels": ["ticks:USD/COP"], "since": since}))
            .await;
        let messages = client.until("replay_end").await;
        assert_eq!(messages[0]["channels"][0]["reason"], reason);
        assert_eq!(messages.last().unwrap()["count"], 0);
        assert!(messages.iter().any(|m| m["type"] == "snapshot"));
    }
}

#[actix_rt::test]
async fn the_last_n_and_an_instant_are_places_to_begin() {
    let stage = Stage::new();
    for _ in 0..5 {
        stage.ticks(2);
        stage.clock.advance(Duration::from_secs(60));
    }
    let since_third_minute = Timestamp::from_secs(START + 120).to_string();
    for (since, first) in [(json!({"last": 3}), 8), (json!({"time": since_third_minute}), 5)] {
        let mut client = stage.client("/ws?channels=status").await;
        client.until("subscribed").await;
        client
            .say(&json!({"action": "subscribe", "channels": ["ticks:USDCOP"], "since": since}))
            .await;
        let messages = client.until("replay_end").await;
        assert_eq!(
            seqs(&messages, "ticks:USD/COP"),
            (first..=10).collect::<Vec<_>>(),
            "{since}"
        );
    }
}

#[actix_rt::test]
async fn a_shard_that_lost_messages_brings_them_from_the_ledger() {
    let stage = Stage::new();
    let mut client = stage.client("/ws/USDCOP").await;
    client.settle().await;
    stage.ticks(2);
    stage.write_ticks(1_500);
    stage.ticks(1);
    let mut last = 0;
    while last < 1_503 {
        let message = client.json().await;
        if message["type"] == "market_data" {
            let from = message.get("from").unwrap_or(&message["seq"]);
            assert_eq!(*from, last + 1, "{message}");
            last = message["seq"].as_u64().unwrap();
        }
    }
}

#[actix_rt::test]
async fn unsubscribing_stops_a_channel_and_a_rate_conflates_it() {
    let stage = Stage::new();
    let mut client = stage.client("/ws?channels=status").await;
    client.until("subscribed").await;
    client
        .say(&json!({"action": "subscribe", "channels": ["ticks:USD/COP"], "options": {"max_hz": 5}}))
        .await;
    client.until("replay_end").await;
    stage.ticks(30);
    let first = client.json().await;
    assert_eq!(first["seq"], 1);
    let second = client.json().await;
    assert_eq!((&second["from"], &second["seq"]), (&json!(2), &json!(30)));
    client
        .say(&json!({"action": "unsubscribe", "id": "x", "channels": ["ticks:*"]}))
        .await;
    let gone = client.json().await;
    assert_eq!((&gone["type"], &gone["id"]), (&json!("unsubscribed"), &json!("x")));
    assert_eq!(gone["subscriptions"], json!(["status"]));
    stage.ticks(1);
    client.say(&json!({"action": "ping", "id": 1})).await;
    assert_eq!(client.json().await["type"], "pong");
}

#[actix_rt::test]
async fn errors_have_codes_and_leave_the_connection_open() {
    let stage = Stage::new();
    let mut client = stage.client("/ws/USDCOP").await;
    client.settle().await;
    for (message, code) in [
        (
            json!({"action": "subscribe", "channels": ["ticks:USD/CPO"], "id": 3}),
            1105,
        ),
        (json!({"action": "subscribe", "channels": ["bars.1h:USD/COP"]}), 1104),
        (json!({"action": "jump"}), 1003),
        (json!([]), 1002),
    ] {
        client.say(&message).await;
        let error = client.json().await;
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("error"), &json!(code)),
            "{error}"
        );
    }
    client.send(Message::Text("{".into())).await;
    assert_eq!(client.json().await["code"], 1001);
}

#[actix_rt::test]
async fn the_status_is_told_when_it_changes() {
    let stage = Stage::new();
    let mut client = stage.client("/ws/USDCOP").await;
    client.settle().await;
    let frame = crate::domain::protocol::frames::text_frame(br#"{"type":"status","server_status":"active"}"#);
    stage.status.send_replace(frame);
    assert_eq!(client.json().await["server_status"], "active");
}

#[actix_rt::test]
async fn a_drain_tells_everyone_and_ends_in_time() {
    let stage = Stage::new();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = stage.client("/ws").await;
        client.settle().await;
        clients.push(client);
    }
    let drain = stage.server.drain(Close::Restarting);
    let told = async {
        for client in &mut clients {
            assert_eq!(client.json().await["type"], "goaway");
            assert_eq!(client.closed().await.0, 1012);
        }
    };
    let both = futures_util::future::join(drain, told);
    tokio::time::timeout(Duration::from_secs(9), both)
        .await
        .expect("within the time that docker gives");
}

#[actix_rt::test]
async fn a_closed_client_leaves_nothing_behind() {
    let stage = Stage::new();
    let mut client = stage.client("/ws").await;
    client.settle().await;
    assert_eq!(stage.counts.connected.load(Ordering::Relaxed), 1);
    client
        .send(Message::Close(Some(actix_http::ws::CloseCode::Normal.into())))
        .await;
    assert_eq!(client.closed().await.0, 1000);
    let counts = std::sync::Arc::clone(&stage.counts);
    eventually("the client is gone", || counts.connected.load(Ordering::Relaxed) == 0).await;
    stage.ticks(1);
}

#[actix_rt::test]
async fn rest_answers_from_views_and_from_what_was_told() {
    let stage = Stage::new();
    let (status, body) = stage.get("/market/latest").await;
    assert!(status.contains("404"), "{status}");
    assert_eq!(body["error"], "No data available");
    let mut client = stage.client("/ws").await;
    client.settle().await;
    stage.ticks(1);
    client.json().await;
    let (_, body) = stage.get("/market/latest?symbol=usd-cop").await;
    assert_eq!(
        (&body["price"], &body["bid"], &body["source"]),
        (&json!(4000), &json!(4000), &json!("live"))
    );
    stage.clock.advance(Duration::from_secs(301));
    assert!(stage.get("/market/latest").await.0.contains("404"));
    let mut view = crate::views::ServiceView {
        ageless: true,
        ..Default::default()
    };
    view.state.name = "active".to_owned();
    stage.view.send_replace(std::sync::Arc::new(view));
    let (_, body) = stage.get("/status").await;
    assert_eq!(body["websocket_connections"]["active_connections"], 1);
    assert_eq!(body["service_status"], "active");
    assert_eq!(body["websocket_connections"]["messages_sent"], 1);
    assert_eq!(body["websocket_connections"]["connections_by_symbol"], json!({}));
    let mut alone = stage.client("/ws/USDCOP").await;
    alone.settle().await;
    let (_, body) = stage.get("/status").await;
    assert_eq!(
        body["websocket_connections"]["connections_by_symbol"],
        json!({"USDCOP": 1})
    );
    let (_, body) = stage.get("/health").await;
    assert_eq!(body["service_info"]["name"], "enhanced_websocket_service");
    assert!(stage.get("/health/live").await.0.contains("200"));
    assert!(stage.get("/health/ready").await.0.contains("200"));
    let (status, body) = stage.get("/nowhere").await;
    assert!(status.contains("404"));
    assert_eq!(body["status"], 404);
}
