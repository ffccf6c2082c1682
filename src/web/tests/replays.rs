//! Clients that come back for more than memory and ledger have, and promises that cannot be kept.

use crate::actors::fanout::Fanout;
use crate::domain::model::{Channel, Event, Gap, GapStatus, Interval, Symbol};
use crate::store::{Sqlite, Store, probe::execute_sql};
use crate::web::tests::stage::{Client, START, Stage};
use actix::{AsyncContext, Context};
use actix_http::ws::Message;
use serde_json::{Value, json};
use std::time::Duration;

/// A stage with a store that holds `bars` bars, of which the ledger holds those from `in_ledger` on.
async fn with_history(bars: usize, in_ledger: u64) -> (tempfile::TempDir, Stage) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::Sqlite(Sqlite::open(&folder.path().join("store.db")).unwrap());
    let given = store.clone();
    let stage = Stage::with(move |parts| parts.extras.store = Some(given));
    let write = |_| {
        let bar = stage.write_bar();
        stage.clock.advance(Duration::from_secs(300));
        bar
    };
    stage.tell_events((0..bars).map(write).collect());
    store.write(stage.ledger.batch()).await.unwrap();
    stage.ledger.forget_before(in_ledger);
    (folder, stage)
}

async fn asks(stage: &Stage, channels: &Value, since: &Value) -> Client {
    let mut client = stage.client("/ws?channels=status").await;
    client.until("subscribed").await;
    client
        .say(&json!({"action": "subscribe", "channels": channels, "since": since, "options": {"snapshot": false}}))
        .await;
    client
}

fn seqs(messages: &[Value]) -> Vec<u64> {
    let told = messages.iter().filter(|message| message["type"] == "bar");
    told.map(|bar| bar["seq"].as_u64().unwrap()).collect()
}

#[actix_rt::test]
async fn bars_that_the_ledger_has_let_go_are_replayed_from_the_store_and_live_ones_follow() {
    // More than the ring buffer holds, so that memory, ledger and store each serve a part.
    let (_folder, stage) = with_history(2_200, 2_000).await;
    let at = crate::domain::model::Timestamp::from_secs(START + 300 * 39).to_string();
    let mut clients = Vec::new();
    for (since, first) in [
        (json!({"epoch": "ab12", "seq": 40}), 41),
        (json!({"seq": 0}), 1),
        (json!({"last": 2_161}), 40),
        (json!({"time": at}), 40),
        (json!({"time": "2001-01-01T00:00:00Z"}), 1),
    ] {
        let mut client = asks(&stage, &json!(["bars.5m:USD/COP"]), &since).await;
        let messages = client.until("replay_end").await;
        let answer = &messages[0]["channels"][0];
        assert_eq!(
            (&messages[0]["type"], &answer["recovered"]),
            (&json!("subscribed"), &json!(true)),
            "{since}"
        );
        assert_eq!(seqs(&messages), (first..=2_200).collect::<Vec<_>>(), "{since}");
        assert_eq!(messages.last().unwrap()["count"], 2_201 - first);
        clients.push(client);
    }
    let next = stage.write_bar();
    stage.tell_events(vec![next]);
    for client in &mut clients {
        assert_eq!(client.json().await["seq"], 2_201);
    }
}

#[actix_rt::test]
async fn a_bar_from_the_store_is_the_object_that_was_told() {
    let (_folder, stage) = with_history(30, 1).await;
    let told = asks(&stage, &json!(["bars.5m:USD/COP"]), &json!({"seq": 0}))
        .await
        .until("replay_end")
        .await;
    // Another service on the same store, whose memory and ledger begin later.
    let (folder, later) = with_history(1_100, 1_100).await;
    let again = asks(&later, &json!(["bars.5m:USD/COP"]), &json!({"seq": 0}))
        .await
        .until("replay_end")
        .await;
    drop(folder);
    assert_eq!(told[1..=30], again[1..=30]);
}

#[actix_rt::test]
async fn gaps_that_the_ledger_has_let_go_are_replayed_in_each_of_their_states() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::Sqlite(Sqlite::open(&folder.path().join("store.db")).unwrap());
    let given = store.clone();
    let stage = Stage::with(move |parts| parts.extras.store = Some(given));
    let channel = Channel::quality(Symbol::usdcop());
    let at = stage.clock.now();
    let gap = |id, status| Gap {
        id,
        symbol: Symbol::usdcop(),
        interval: Interval::M5,
        from: at,
        to: at + Duration::from_secs(300),
        bars: 1,
        status,
        cause: "upstream_close_1006".to_owned(),
    };
    let states = |id| [gap(id, GapStatus::Open), gap(id, GapStatus::Filled)];
    let gaps = (1..=600).flat_map(states);
    stage.tell_events(gaps.map(|gap| stage.number(Some(channel), Event::Gap(gap))).collect());
    store.write(stage.ledger.batch()).await.unwrap();
    stage.ledger.forget_before(1_190);
    let mut client = asks(&stage, &json!(["quality:USD/COP"]), &json!({"seq": 3})).await;
    let messages = client.until("replay_end").await;
    assert_eq!(messages[0]["channels"][0]["replayed"], 1_197);
    let gaps: Vec<_> = messages[1..=3]
        .iter()
        .map(|gap| (&gap["seq"], &gap["data"]["id"], &gap["data"]["status"]))
        .collect();
    let expect = [(4, "g-2", "filled"), (5, "g-3", "open"), (6, "g-3", "filled")];
    let expect = expect.map(|(seq, id, status)| (json!(seq), json!(id), json!(status)));
    assert_eq!(gaps, expect.each_ref().map(|(seq, id, status)| (seq, id, status)));
}

#[actix_rt::test]
async fn a_store_with_a_hole_or_that_cannot_be_read_recovers_nothing_and_says_why() {
    let (folder, stage) = with_history(1_100, 1_100).await;
    let file = folder.path().join("store.db");
    execute_sql(&file, "DELETE FROM bar_revisions WHERE seq = 20");
    let refused = async |since: Value| {
        let mut client = asks(&stage, &json!(["bars.5m:USD/COP"]), &since).await;
        let messages = client.until("replay_end").await;
        assert_eq!(
            (seqs(&messages), &messages.last().unwrap()["count"]),
            (vec![], &json!(0)),
            "{since}"
        );
        let answer = messages[0]["channels"][0].clone();
        assert_eq!(
            (&answer["recovered"], &answer["reason"]),
            (&json!(false), &json!("position_expired")),
            "{since}"
        );
        assert!(messages.iter().any(|message| message["type"] == "snapshot"));
        answer
    };
    assert_eq!(refused(json!({"seq": 5})).await.get("detail"), None);
    refused(json!({"time": "2001-01-01T00:00:00Z"})).await;
    let mut client = asks(&stage, &json!(["bars.5m:USD/COP"]), &json!({"seq": 20})).await;
    assert_eq!(client.until("replay_end").await[0]["channels"][0]["replayed"], 1_080);
    let mut client = asks(&stage, &json!(["bars.5m:USD/COP"]), &json!({"last": 2_000})).await;
    assert_eq!(
        client.until("replay_end").await[0]["channels"][0]["replayed"],
        1_080,
        "as many as there are"
    );
    execute_sql(&file, "ALTER TABLE bar_revisions RENAME TO away");
    let answer = refused(json!({"seq": 25})).await;
    assert!(
        answer["detail"].as_str().unwrap().contains("cannot be read now"),
        "{answer}"
    );
}

/// A client whose replay of ticks has begun and cannot continue until the client reads.
async fn midway() -> (Stage, Client) {
    let mut stage = Stage::new();
    stage.receive_buffer = 16 * 1024;
    for _ in 0..50 {
        stage.ticks(100);
    }
    let mut client = asks(&stage, &json!(["ticks:USD/COP"]), &json!({"seq": 0})).await;
    let subscribed = client.until("subscribed").await;
    assert_eq!(subscribed.last().unwrap()["channels"][0]["recovered"], true);
    (stage, client)
}

#[actix_rt::test]
async fn a_replay_whose_rest_expires_is_not_passed_off_as_whole() {
    let (stage, mut client) = midway().await;
    stage.ledger.forget_before(4_500);
    let error = client.until("error").await.pop().unwrap();
    assert_eq!(
        (&error["code"], &error["name"]),
        (&json!(1302), &json!("position_expired"))
    );
    assert_eq!(error["channel"], "ticks:USD/COP");
    assert_eq!(client.closed().await.0, 4011);
}

#[actix_rt::test]
async fn a_replay_whose_rest_cannot_be_read_ends_the_connection_and_nothing_is_lost() {
    let (stage, mut client) = midway().await;
    stage.ledger.make_unreadable();
    let (code, reason) = client.closed().await;
    assert_eq!((code, reason.contains("resume")), (4011, true), "{reason}");
}

#[actix_rt::test]
async fn who_comes_while_nobody_can_answer_is_sent_away_to_come_back() {
    let stage = Stage::with(|parts| {
        parts.start_shard = std::sync::Arc::new(|_, _| Context::<Fanout>::new().address());
    });
    let mut client = stage.client("/ws/USDCOP").await;
    client.until("welcome").await;
    assert_eq!(client.closed().await.0, 4003);
}

#[actix_rt::test]
async fn too_much_at_once_is_refused_by_name() {
    let stage = Stage::new();
    let mut client = stage.client("/ws?channels=status").await;
    client.until("subscribed").await;
    client
        .say(&json!({"action": "subscribe", "id": "a", "channels": ["ticks:USD/COP"], "since": {"last": 100_001}}))
        .await;
    let error = client.json().await;
    assert_eq!((&error["code"], &error["id"]), (&json!(1301), &json!("a")));
    let large = format!("{{\"action\":\"ping\",\"id\":\"{}\"}}", "x".repeat(70_000));
    client.send(Message::Text(large.into())).await;
    let error = client.json().await;
    assert_eq!(
        (&error["code"], &error["name"]),
        (&json!(1204), &json!("message_too_large"))
    );
    assert_eq!(client.closed().await.0, 1009);
}

#[actix_rt::test]
async fn a_channel_has_its_epoch_before_its_first_message_and_can_be_resumed_from_there() {
    let stage = Stage::new();
    let mut client = asks(&stage, &json!(["ticks:USD/COP"]), &Value::Null).await;
    let answer = client.until("subscribed").await[0]["channels"][0].clone();
    assert_eq!((&answer["epoch"], &answer["seq"]), (&json!("ab12"), &json!(0)));
    drop(client);
    stage.ticks(2);
    let since = json!({"ticks:USD/COP": {"epoch": answer["epoch"], "seq": answer["seq"]}});
    let mut client = asks(&stage, &json!(["ticks:USD/COP"]), &since).await;
    assert_eq!(client.until("replay_end").await[0]["channels"][0]["replayed"], 2);
}

#[actix_rt::test]
async fn who_follows_already_is_promised_nothing_again() {
    let stage = Stage::new();
    stage.ticks(3);
    let mut client = asks(&stage, &json!(["ticks:USD/COP"]), &json!({"seq": 1})).await;
    client.until("replay_end").await;
    client
        .say(&json!({"action": "subscribe", "channels": ["ticks:USD/COP"], "since": {"seq": 0}}))
        .await;
    let answer = client.json().await["channels"][0].clone();
    assert_eq!((answer.get("recovered"), &answer["seq"]), (None, &json!(3)), "{answer}");
    stage.ticks(1);
    assert_eq!(client.json().await["seq"], 4);
}

#[actix_rt::test]
async fn a_burst_of_bars_closes_nobody_who_reads() {
    let stage = Stage::new();
    let mut client = stage.client("/ws?channels=bars.5m:USD/COP").await;
    client.settle().await;
    let burst: Vec<_> = (0..3_000).map(|_| stage.write_bar()).collect();
    stage.tell_events(burst);
    for seq in 1..=3_000 {
        let bar = client.json().await;
        assert_eq!((&bar["type"], &bar["seq"]), (&json!("bar"), &json!(seq)));
    }
}

#[actix_rt::test]
async fn who_was_told_more_by_another_thread_resumes_from_there() {
    let stage = Stage::new();
    let mut client = stage.client("/ws?channels=status").await;
    client.until("subscribed").await;
    let bar = stage.write_bar(); // told to the client by another thread, and here in a moment
    let since = json!({"epoch": "ab12", "seq": 1});
    client
        .say(&json!({"action": "subscribe", "channels": ["bars.5m:USD/COP"], "since": since}))
        .await;
    stage.client("/ws").await.settle().await; // until then the question is asked
    stage.tell_events(vec![bar]);
    let answer = client.until("subscribed").await.pop().unwrap();
    assert_eq!(answer["channels"][0]["recovered"], true, "{answer}");
    let next = stage.write_bar();
    stage.tell_events(vec![next]);
    client.until("replay_end").await;
    assert_eq!(client.json().await["seq"], 2);
}
