//! The test feed, and which clients can see it.

use crate::web::tests::stage::Stage;
use serde_json::{Value, json};
use std::time::Duration;

fn with_pattern() -> Stage {
    Stage::with(|parts| parts.extras.pattern = true)
}

#[actix_rt::test]
async fn the_pattern_is_followed_and_resumed_and_has_its_gap_and_its_revision() {
    let stage = with_pattern();
    let mut client = stage.client("/ws?channels=ticks:TEST/USD,bars.1m:TEST/USD").await;
    let subscribed = client.until("subscribed").await.pop().unwrap();
    let heads = subscribed["channels"].as_array().unwrap().clone();
    assert!(
        heads
            .iter()
            .all(|head| head["epoch"] == "test" && head["seq"].as_u64() > Some(1_000))
    );
    for _ in 0..2 {
        client.until("replay_end").await;
    }
    let (mut bars, mut ends, mut ticks) = (Vec::new(), Vec::new(), 0);
    let mut last: Vec<u64> = heads.iter().map(|head| head["seq"].as_u64().unwrap()).collect();
    let steps = 12;
    for _ in 0..steps {
        stage.clock.advance(Duration::from_secs(60)); // START begins a cycle of ten minutes
        loop {
            let message = client.json().await;
            if let Some(seq) = message["seq"].as_u64() {
                let place = usize::from(message["type"] == "bar");
                assert_eq!(
                    message.get("from").and_then(Value::as_u64).unwrap_or(seq),
                    last[place] + 1,
                    "{message}"
                );
                last[place] = seq;
            }
            match message["type"].as_str().unwrap() {
                "market_data" => ticks += 1,
                "bar" if message["seq"].is_u64() => bars.push(message["data"].clone()),
                "bar_end" => {
                    ends.push(message["incomplete"]["TEST/USD"].clone());
                    break;
                }
                _ => {}
            }
        }
    }
    assert!(ticks > 500, "{ticks}");
    let minutes: Vec<&str> = bars
        .iter()
        .map(|bar| bar["open_time"].as_str().unwrap().get(14..16).unwrap())
        .collect();
    assert_eq!(
        minutes,
        ["00", "01", "02", "03", "05", "06", "07", "06", "08", "09", "10", "11"]
    );
    assert_eq!(bars[7]["state"], "revised");
    let incomplete: Vec<usize> = (0..ends.len()).filter(|i| ends[*i] == "no_ticks").collect();
    assert_eq!(incomplete, [4]);

    let mut late = stage.client("/ws?channels=status").await;
    late.until("subscribed").await;
    late.say(
        &json!({"action": "subscribe", "channels": ["bars.1m:TEST/USD"], "since": {"bars.1m:TEST/USD": heads[1]}}),
    )
    .await;
    let messages = late.until("replay_end").await;
    assert_eq!(messages[0]["channels"][0]["replayed"], bars.len());
    let again: Vec<&Value> = messages
        .iter()
        .filter(|m| m["type"] == "bar")
        .map(|m| &m["data"])
        .collect();
    assert_eq!(again, bars.iter().collect::<Vec<_>>());
}

#[actix_rt::test]
async fn the_pattern_is_no_market_and_only_who_names_it_sees_it() {
    let stage = with_pattern();
    stage.clock.advance(Duration::from_secs(100));
    let mut client = stage.client("/ws").await;
    let messages = client.settle().await;
    let shown = json!(messages).to_string();
    assert!(!shown.contains("TEST"), "{shown}");
    client
        .say(&json!({"action": "subscribe", "channels": ["ticks:*"]}))
        .await;
    let subscribed = client.until("subscribed").await.pop().unwrap();
    assert_eq!(subscribed["subscriptions"], json!(["ticks:USD/COP", "ticks:EUR/USD"]));
    for path in ["/market/symbols", "/status"] {
        assert!(!stage.get(path).await.1.to_string().contains("TEST"), "{path}");
    }
    for path in [
        "/market/bars?symbol=TEST/USD",
        "/market/latest?symbol=TEST/USD",
        "/ws/TEST/USD",
    ] {
        assert!(stage.get(path).await.0.contains("404"), "{path}");
    }
    for channel in ["quality:TEST/USD", "bars.5m:TEST/USD"] {
        client.say(&json!({"action": "subscribe", "channels": [channel]})).await;
        assert_eq!(client.until("error").await.pop().unwrap()["code"], 1105, "{channel}");
    }
}

#[actix_rt::test]
async fn without_the_setting_there_is_no_pattern() {
    let stage = Stage::new();
    let mut client = stage.raw("/ws?channels=ticks:TEST/USD", "").await;
    assert!(client.head().await.contains("404"));
}
