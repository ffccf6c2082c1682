//! What clients see of a fan-out shard that fails and restarts.

use crate::actors::fanout::{Fanout, LedgerSource};
use crate::domain::model::{Channel, Head, Position, Sequenced};
use crate::web::tests::stage::Stage;
use actix::{ActorContext, Context, Handler, Supervisor};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Ends the shard; its supervisor starts the next.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Stumble;

impl Handler<Stumble> for Fanout {
    type Result = ();
    fn handle(&mut self, _: Stumble, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

/// A ledger that can be replaced by another one with the same content.
struct Replaced {
    ledger: Box<dyn LedgerSource>,
    replaced: Arc<AtomicBool>,
}

impl LedgerSource for Replaced {
    fn head(&self) -> Position {
        self.ledger.head()
    }
    fn heads(&self) -> BTreeMap<Channel, Head> {
        let mut heads = self.ledger.heads();
        if self.replaced.load(Ordering::Relaxed) {
            heads.values_mut().for_each(|head| head.epoch = "cd34".parse().unwrap());
        }
        heads
    }
    fn read(&mut self, from: Position, limit: usize) -> Result<Vec<Sequenced>, String> {
        self.ledger.read(from, limit)
    }
    fn read_channel(&mut self, channel: Channel, from: u64, to: u64, limit: usize) -> Result<Vec<Sequenced>, String> {
        self.ledger.read_channel(channel, from, to, limit)
    }
    fn first_seq(&mut self, channel: Channel) -> Result<Option<u64>, String> {
        self.ledger.first_seq(channel)
    }
}

/// A stage whose shards restart, and the switch that replaces its ledger.
fn supervised() -> (Stage, Arc<AtomicBool>) {
    let replaced: Arc<AtomicBool> = Arc::default();
    let shards = Arc::new(Mutex::new(Vec::new()));
    let (switch, started) = (Arc::clone(&replaced), Arc::clone(&shards));
    let mut stage = Stage::with(move |parts| {
        let opens = Arc::clone(&parts.ledger);
        parts.ledger = Arc::new(move || {
            let (ledger, replaced) = (opens(), Arc::clone(&switch));
            Box::new(Replaced { ledger, replaced })
        });
        parts.start_shard = Arc::new(move |_, parts| {
            let shard = Supervisor::start(move |ctx: &mut Context<Fanout>| {
                ctx.set_mailbox_capacity(1_024);
                Fanout::new(parts)
            });
            started.lock().unwrap().push(shard.clone());
            shard
        });
    });
    stage.shards = shards;
    (stage, replaced)
}

fn stumble(stage: &Stage) {
    for shard in stage.shards.lock().unwrap().iter() {
        shard.try_send(Stumble).unwrap();
    }
}

#[actix_rt::test]
async fn a_shard_that_fails_between_ticks_leaves_no_hole_and_no_connection_ends() {
    let (stage, _) = supervised();
    let mut client = stage.client("/ws/USDCOP").await;
    client.settle().await;
    for _ in 0..5 {
        stage.ticks(3);
        stumble(&stage);
        stage.write_ticks(2); // nobody is told of these
        stage.ticks(3);
    }
    let mut last = 0;
    while last < 40 {
        let message = client.json().await;
        if message["type"] == "market_data" {
            let from = message.get("from").unwrap_or(&message["seq"]);
            assert_eq!(*from, last + 1, "{message}");
            last = message["seq"].as_u64().unwrap();
        }
    }
}

#[actix_rt::test]
async fn a_log_that_began_anew_is_announced_to_those_who_follow_it() {
    let (stage, replaced) = supervised();
    stage.ticks(2);
    let mut client = stage.client("/ws/USDCOP").await;
    client.settle().await;
    replaced.store(true, Ordering::Relaxed);
    stumble(&stage);
    let mut notices = Vec::new();
    for _ in 0..3 {
        notices.extend(client.until("discontinuity").await.pop());
    }
    let notice = notices
        .iter()
        .find(|notice| notice["channel"] == "ticks:USD/COP")
        .unwrap();
    assert_eq!(
        (
            &notice["channel"],
            &notice["old_epoch"],
            &notice["epoch"],
            &notice["seq"]
        ),
        (&json!("ticks:USD/COP"), &json!("ab12"), &json!("cd34"), &json!(2))
    );
    stage.ticks(1);
    assert_eq!(client.json().await["seq"], 3);
    let mut late = stage.client("/ws?channels=status").await;
    late.until("subscribed").await;
    late.say(&json!({"action": "subscribe", "channels": ["ticks:USD/COP"], "since": {"epoch": "ab12", "seq": 1}}))
        .await;
    assert_eq!(
        late.until("subscribed").await[0]["channels"][0]["reason"],
        "epoch_changed"
    );
}

#[actix_rt::test]
async fn a_wildcard_goes_on_from_the_position_of_each_channel() {
    let (stage, _) = supervised();
    stage.ticks(10);
    let mut client = stage.client("/ws?channels=status").await;
    client.until("subscribed").await;
    client
        .say(&json!({"action": "subscribe", "channels": ["ticks:*"],
            "since": {"ticks:USDCOP": {"epoch": "ab12", "seq": 7}}, "options": {"snapshot": false}}))
        .await;
    let messages = client.until("subscribed").await;
    let channels = &messages[0]["channels"];
    assert_eq!(
        (&channels[0]["recovered"], &channels[0]["replayed"]),
        (&json!(true), &json!(3))
    );
    assert_eq!(channels[1].get("recovered"), None, "{channels}");
    let both = [client.until("replay_end").await, client.until("replay_end").await].concat();
    let ticks = both.iter().filter(|message| message["type"] == "market_data");
    let seqs: Vec<u64> = ticks.filter_map(|tick| tick["seq"].as_u64()).collect();
    assert_eq!(seqs, [8, 9, 10]);
}
