//! What the vendor's own clients receive from the WebSocket below `/td`.

use crate::domain::protocol::Close;
use crate::web::WebParts;
use crate::web::tests::guarded::with_tokens;
use crate::web::tests::stage::{Client, START, Stage, eventually, tick_event};
use actix_http::ws::{CloseCode, Frame, Message};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

const PATH: &str = "/td/quotes/price?apikey=any";

fn on(parts: &mut WebParts) {
    parts.extras.twelvedata = true;
}

fn symbols(action: &str, symbols: &str) -> Value {
    json!({"action": action, "params": {"symbols": symbols}})
}

/// Sends a text; returns the answer.
async fn ask(client: &mut Client, said: &Value) -> Value {
    client.say(said).await;
    client.json().await
}

/// Waits until everything that was sent before has been handled.
async fn settle(client: &mut Client) {
    let answer = ask(client, &json!({"action": "heartbeat"})).await;
    assert_eq!(answer, json!({"event": "heartbeat", "status": "ok"}));
}

/// One tick of a pair other than the first.
fn euro(stage: &Stage) {
    let symbol = "EUR/USD".parse().unwrap();
    let channel = crate::domain::model::Channel::ticks(symbol);
    let event = tick_event(symbol, 0, stage.clock.now());
    stage.tell_events(vec![stage.number(Some(channel), event)]);
}

#[actix_rt::test]
async fn prices_come_as_the_vendor_sends_them() {
    let stage = Stage::with(on);
    for path in [PATH, "/td/v1/quotes/price?apikey=any&source=python"] {
        let mut client = stage.client(path).await;
        let status = ask(&mut client, &symbols("subscribe", "USD/COP, ABC/DEF,usdcop")).await;
        let item = json!({"symbol": "USD/COP", "exchange": "PHYSICAL CURRENCY", "type": "PHYSICAL_CURRENCY"});
        assert_eq!(
            status,
            json!({"event": "subscribe-status", "status": "warning", "success": [item],
                "fails": [{"symbol": "ABC/DEF"}, {"symbol": "usdcop"}]})
        );
        settle(&mut client).await;
        euro(&stage);
        stage.tell_events(vec![stage.write_bar()]);
        stage.ticks(2);
        for price in [4_000.0, 4_000.01] {
            let event = client.json().await;
            assert_eq!(
                (
                    &event["event"],
                    &event["symbol"],
                    &event["timestamp"],
                    event["price"].as_f64()
                ),
                (&json!("price"), &json!("USD/COP"), &json!(START), Some(price)),
                "{event}"
            );
            assert_eq!(
                (&event["currency_quote"], event.get("channel")),
                (&json!("Colombian Peso"), None)
            );
        }
        let again = ask(&mut client, &symbols("subscribe", "USD/COP,EUR/USD")).await;
        assert_eq!(again["status"], "ok", "{again}");
        settle(&mut client).await;
        euro(&stage);
        assert_eq!(client.json().await["symbol"], "EUR/USD");
        stage.ticks(1);
        assert_eq!(client.json().await["symbol"], "USD/COP");
        settle(&mut client).await; // nothing came twice
    }
}

#[actix_rt::test]
async fn what_is_no_longer_wanted_no_longer_comes() {
    let stage = Stage::with(on);
    let mut client = stage.client(PATH).await;
    ask(&mut client, &symbols("subscribe", "USD/COP,EUR/USD")).await;
    let status = ask(&mut client, &symbols("unsubscribe", "USD/COP,GBP/JPY")).await;
    assert_eq!(
        (&status["event"], &status["status"], &status["fails"]),
        (
            &json!("unsubscribe-status"),
            &json!("warning"),
            &json!([{"symbol": "GBP/JPY"}])
        ),
        "{status}"
    );
    settle(&mut client).await;
    stage.ticks(1);
    euro(&stage);
    assert_eq!(client.json().await["symbol"], "EUR/USD");
    let reset = ask(&mut client, &json!({"action": "reset"})).await;
    assert_eq!(reset, json!({"event": "reset-status", "status": "ok"}));
    settle(&mut client).await;
    stage.ticks(1);
    euro(&stage);
    settle(&mut client).await;
    let status = ask(&mut client, &symbols("unsubscribe", "EUR/USD")).await;
    assert_eq!(status["status"], "error", "{status}");
}

#[actix_rt::test]
async fn what_is_not_understood_is_answered_and_a_ping_gets_its_pong() {
    let stage = Stage::with(on);
    let mut client = stage.client(PATH).await;
    for said in [
        json!({}),
        json!([]),
        json!({"action": "auth", "token": "x"}),
        json!({"type": "ping"}),
    ] {
        let error = ask(&mut client, &said).await;
        assert_eq!(
            (&error["event"], &error["status"]),
            (&json!("message-processing"), &json!("error")),
            "{said}: {error}"
        );
        assert!(
            error["messages"][0]
                .as_str()
                .unwrap()
                .contains("subscribe, unsubscribe")
        );
    }
    let many = vec!["USD/COP"; 65].join(",");
    let error = ask(&mut client, &symbols("subscribe", &many)).await;
    assert_eq!(error["messages"][0], "65 symbols are named; one event may name 64.");
    client.send(Message::Ping("ping".into())).await;
    assert_eq!(client.frame().await, Some(Frame::Pong("ping".into())));
    let mut told = Vec::new();
    for _ in 0..45 {
        client.say(&json!({"action": "heartbeat"})).await;
    }
    for _ in 0..45 {
        told.push(client.json().await["event"].clone());
    }
    assert!(told.contains(&json!("message-processing")), "over the rate: {told:?}");
    client.send(Message::Close(Some(CloseCode::Normal.into()))).await;
    assert_eq!(client.closed().await.0, 1_000, "its own close is answered");
}

#[actix_rt::test]
async fn a_key_is_a_token_and_opens_its_pairs() {
    let stage = Stage::new();
    let mut client = stage.raw(PATH, "").await;
    assert!(client.head().await.contains("404"), "off by default");
    let file = tempfile::NamedTempFile::new().unwrap();
    let tokens = with_tokens(&file);
    let stage = Stage::with(|parts| {
        tokens(parts);
        on(parts);
    });
    for path in [PATH, "/td/quotes/price"] {
        let mut client = stage.raw(path, "").await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 401"), "{head}");
        while client.read().await {}
        let body: Value = serde_json::from_slice(&client.bytes).unwrap();
        assert_eq!(
            (&body["code"], &body["status"]),
            (&json!(401), &json!("error")),
            "{body}"
        );
    }
    let (status, body) = stage.get("/td/quotes/price?apikey=sesame").await;
    assert!(status.contains("400") && body["code"] == 400, "{status} {body}");
    let mut client = stage.raw("/td/quotes/price", "X-TD-APIKEY: peso\r\n").await;
    assert!(client.head().await.contains("101"));
    let status = ask(&mut client, &symbols("subscribe", "EUR/USD,USD/COP")).await;
    assert_eq!(status["fails"], json!([{"symbol": "EUR/USD"}]), "{status}");
}

#[actix_rt::test]
async fn a_drain_ends_it_without_a_close_frame() {
    let stage = Stage::with(on);
    let mut client = stage.client(PATH).await;
    ask(&mut client, &symbols("subscribe", "USD/COP")).await;
    settle(&mut client).await;
    let _lingers = stage.client("/ws").await; // the drain waits for it
    let farewell = async {
        assert_eq!(client.frame().await, None);
        let mut late = stage.raw(PATH, "").await;
        late.head().await
    };
    let (head, ()) = futures_util::future::join(farewell, stage.server.drain(Close::Restarting)).await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    let counts = &stage.counts;
    eventually("all are gone", || counts.connected.load(Ordering::Relaxed) == 0).await;
    assert_eq!(counts.closed().get("restarting"), Some(&2));
}
