//! Clients' requests, valid and invalid.

use crate::clock::Stopwatch;
use crate::domain::calendar::{Calendar, SessionView};
use crate::domain::protocol::frames::text_frame;
use crate::views::{ServiceView, SymbolView};
use crate::web::tests::stage::Stage;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::AsyncReadExt;

#[actix_rt::test]
async fn channels_in_the_address_are_all_that_is_followed() {
    let stage = Stage::new();
    let mut client = stage.client("/ws?channels=ticks:USD/COP,ticks:usdcop").await;
    let subscribed = client.until("subscribed").await.pop().unwrap();
    assert_eq!(
        subscribed["subscriptions"],
        json!(["ticks:USD/COP"]),
        "no status, and none twice"
    );
    let mut client = stage.client("/ws?channels=").await;
    assert_eq!(
        client.until("subscribed").await.pop().unwrap()["subscriptions"],
        json!([])
    );
}

#[actix_rt::test]
async fn when_health_makes_no_snapshot_any_more_clients_hear_that_nothing_is_known() {
    let stage = Stage::new();
    let pair = SymbolView {
        feed: "live".to_owned(),
        safe_to_trade: true,
        ..SymbolView::default()
    };
    let mut view = ServiceView {
        made_at: Some(Stopwatch::start()),
        symbols: [("USD/COP".parse().unwrap(), pair)].into(),
        ..ServiceView::default()
    };
    view.state.name = "active".to_owned();
    let told = view.status_message();
    stage.view.send_replace(Arc::new(view.clone()));
    stage.status.send_replace(text_frame(told.to_string().as_bytes()));
    let mut client = stage.client("/ws?channels=status").await;
    let first = client.until("status").await.pop().unwrap();
    assert_eq!(first["safe_to_trade"]["USD/COP"], true);
    assert!(stage.get("/health/ready").await.0.contains("200"));
    let outdated = client.until("status").await.pop().unwrap();
    assert_eq!(outdated["safe_to_trade"]["USD/COP"], false, "{outdated}");
    assert_eq!(outdated["unsafe_reasons"]["USD/COP"], json!(["status_unknown"]));
    assert_eq!(outdated["conditions"][0]["type"], "actor_unresponsive");
    assert!(stage.get("/health/ready").await.0.contains("503"));
    let (_, status) = stage.get("/status").await;
    assert_eq!(status["symbols"]["USD/COP"]["safe_to_trade"], false);
    view.made_at = Some(Stopwatch::start());
    stage.view.send_replace(Arc::new(view));
    let back = client.until("status").await.pop().unwrap();
    assert_eq!(back["safe_to_trade"]["USD/COP"], true, "{back}");
    assert!(stage.get("/health/ready").await.0.contains("200"));
}

#[actix_rt::test]
async fn what_cannot_be_followed_is_refused_before_the_upgrade() {
    let stage = Stage::new();
    let many = ["ticks:USD/COP"; 65].join(",");
    for (channels, status, parameter) in [
        ("bars.1h:USD/COP", "404", Value::Null), // a known interval that is not made here
        ("trades:USD/COP", "404", Value::Null),
        ("ticks:USD/CPO", "404", Value::Null),
        (many.as_str(), "400", json!("channels")),
        ("status&channels=status", "400", json!("channels")),
    ] {
        let mut client = stage.raw(&format!("/ws?channels={channels}"), "").await;
        let head = client.head().await;
        let mut body = client.bytes.to_vec();
        client.stream.read_to_end(&mut body).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert!(
            head.contains(status) && head.contains("application/problem+json"),
            "{channels}: {head}"
        );
        assert_eq!(body["parameter"], parameter, "{channels}");
    }
}

#[actix_rt::test]
async fn a_subscription_that_is_refused_changes_nothing() {
    let stage = Stage::with(|parts| {
        let pair = |n| format!("A{n:02}/USD").parse().unwrap();
        parts.symbols = (0..40).map(pair).collect();
    });
    let mut client = stage.client("/ws/A00USD").await;
    client.settle().await;
    client
        .say(&json!({"action": "subscribe", "channels": ["ticks:*", "quality:*"]}))
        .await;
    assert_eq!(client.json().await["code"], 1202);
    client.say(&json!({"action": "unsubscribe", "channels": []})).await;
    let kept = client.json().await["subscriptions"].clone();
    assert_eq!(
        kept,
        json!(["ticks:A00/USD", "bars.5m:A00/USD", "session:A00/USD", "status"])
    );
    for _ in 0..2 {
        client
            .say(&json!({"action": "subscribe", "channels": ["ticks:*"]}))
            .await; // the same forty again are no more
        let subscribed = client.until("subscribed").await.pop().unwrap();
        assert_eq!(subscribed["subscriptions"].as_array().unwrap().len(), 40);
    }
}

#[actix_rt::test]
async fn the_welcome_says_when_the_session_closes_and_a_snapshot_how_the_service_is() {
    let stage = Stage::new();
    let mut view = ServiceView {
        ageless: true,
        ..Default::default()
    };
    let session = SessionView::of(&Calendar::usdcop(), stage.clock.now());
    view.sessions.insert("USD/COP".parse().unwrap(), session);
    stage.view.send_replace(Arc::new(view));
    let status =
        json!({"type": "status", "server_status": "active", "safe_to_trade": {"USD/COP": false}, "conditions": []});
    stage.status.send_replace(crate::domain::protocol::frames::text_frame(
        status.to_string().as_bytes(),
    ));
    let mut client = stage.client("/ws/USDCOP").await;
    let messages = client.settle().await;
    let session = &messages[0]["session"]["USD/COP"];
    assert_eq!(
        (&session["status"], &session["closes"]),
        (&json!("open"), &json!("2025-10-22T12:55:00-05:00"))
    );
    let snapshot = messages.iter().find(|message| message["type"] == "snapshot").unwrap();
    assert_eq!(
        snapshot["state"],
        json!({"server_status": "active", "safe_to_trade": false})
    );
}

#[actix_rt::test]
async fn silence_is_broken_by_a_heartbeat_that_says_up_to_where_all_is_told() {
    let stage = Stage::new();
    stage.ticks(2);
    let mut client = stage.client("/ws?channels=ticks:USD/COP,session:USD/COP").await;
    let welcome = client.settle().await[0].clone();
    let silent = crate::clock::Stopwatch::start();
    let heartbeat = client.json().await;
    let seconds = silent.elapsed().as_secs_f64();
    assert_eq!(heartbeat["type"], "heartbeat");
    assert_eq!(
        heartbeat["heads"],
        json!({"ticks:USD/COP": {"epoch": "ab12", "seq": 2}, "session:USD/COP": {"epoch": "ab12", "seq": 0}})
    );
    let promised = welcome["heartbeat_seconds"].as_f64().unwrap();
    assert!((promised - 1.0..promised + 5.0).contains(&seconds), "{seconds}");
    assert!(
        heartbeat["server_time"].as_str().unwrap().ends_with("-05:00"),
        "{heartbeat}"
    );
    stage.ticks(1);
    assert_eq!(client.json().await["seq"], 3);
}

#[actix_rt::test]
async fn what_is_only_read_says_so_to_who_wants_to_write() {
    let stage = Stage::new();
    let request = "POST /market/bars HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let head = stage.send(request).await.head().await.to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 405") && head.contains("application/problem+json"),
        "{head}"
    );
    assert!(head.contains("allow: get, head, options"), "{head}");
}

#[actix_rt::test]
async fn the_addresses_of_sockets_answer_every_method_as_the_others_do() {
    let stage = Stage::new();
    for path in ["/ws", "/ws/USDCOP"] {
        for (method, status) in [("HEAD", 426), ("OPTIONS", 204), ("POST", 405)] {
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let head = stage.send(&request).await.head().await.to_ascii_lowercase();
            assert!(
                head.starts_with(&format!("http/1.1 {status}")),
                "{method} {path}: {head}"
            );
            assert!(status == 426 || head.contains("allow: get, head, options"), "{head}");
        }
    }
}

#[actix_rt::test]
async fn a_wrong_parameter_is_named_with_what_was_given_and_what_is_allowed() {
    let stage = Stage::new();
    for (query, status, parameter, given, allowed, detail) in [
        (
            "limit=0",
            400,
            "limit",
            "0",
            "a whole number from 1 to 10000",
            "limit: \"0\" is not a whole number from 1 to 10000",
        ),
        (
            "limit=1&limit=2",
            400,
            "limit",
            "2",
            "one value",
            "limit is given more than once",
        ),
        (
            "interval=9m",
            400,
            "interval",
            "9m",
            "one of 5m",
            "interval: \"9m\" is not one of 5m",
        ),
        (
            "symbol=",
            404,
            "symbol",
            "",
            "one of USD/COP, EUR/USD",
            "\"\" is not served here",
        ),
        (
            "symbol=USDCPO",
            404,
            "symbol",
            "USDCPO",
            "one of USD/COP, EUR/USD",
            "USDCPO is not served here; did you mean USD/COP?",
        ),
        (
            "from=2026-01-02&to=2026-01-01",
            400,
            "to",
            "2026-01-01",
            "an instant at or after from",
            "to: \"2026-01-01\" is not an instant at or after from",
        ),
        (
            "limi=3",
            400,
            "limi",
            "3",
            "symbol, interval, from, to, as_of, order, limit, cursor, format, price",
            "\"limi\" is not a parameter of this address: there are symbol, interval, from, to, as_of, order, limit, cursor, format, price; did you mean limit?",
        ),
    ] {
        let (head, body) = stage.get(&format!("/market/bars?{query}")).await;
        assert!(head.contains(&status.to_string()), "{query}: {head}");
        let told = [&body["parameter"], &body["given"], &body["allowed"], &body["detail"]];
        assert_eq!(told, [parameter, given, allowed, detail], "{query}");
    }
    let (_, body) = stage.get("/market/symbols?x=1").await;
    assert_eq!(
        body["detail"],
        "\"x\" is not a parameter of this address: there are none"
    );
    let (_, body) = stage.get("/market/calendar?from=9999-01-01").await;
    assert_eq!(
        body["detail"],
        "from: \"9999-01-01\" is not a date such as 2026-01-02, from 1900 to 2200"
    );
}
