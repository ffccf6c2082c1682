//! The simulated upstream's WebSocket, over real sockets.

use crate::sim_client::{OPEN, Seen, Watcher, simulator};
use candela::domain::model::Symbol;
use candela::sim::Market;
use serde_json::json;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(150);

/// Stamps of the market's ticks between two instants, in seconds after the open.
fn ticks(from: u64, to: u64) -> usize {
    let [from, to] = [from, to].map(|secs| OPEN + Duration::from_secs(secs));
    Market::walk(1, &[Symbol::usdcop()])
        .ticks(Symbol::usdcop(), from, to, to)
        .len()
}

#[actix_rt::test]
async fn a_subscriber_sees_status_prices_and_heartbeats() {
    let (sim, clock) = simulator("");
    let mut watcher = Watcher::subscribed(&sim).await;
    watcher.say(json!({"action": "heartbeat"})).await;
    assert_eq!(
        watcher.next().await,
        Seen::Json(json!({"event": "heartbeat", "status": "ok"}))
    );
    clock.advance(MINUTE);
    let Seen::Json(price) = watcher.next().await else {
        panic!("no price")
    };
    assert_eq!(
        (&price["event"], &price["symbol"]),
        (&json!("price"), &json!("USD/COP"))
    );
    assert!(price["price"].is_number() && price["timestamp"].is_i64());
    let report = sim.report();
    assert_eq!(
        (
            report.open,
            report.counters.subscribes_total,
            report.counters.heartbeats_total
        ),
        (1, 1, 1)
    );
}

/// Plays an act after the first minute's ticks and says how the connection ended, and after how many prices.
async fn ended_by(act: &str) -> (usize, Seen) {
    let (sim, clock) = simulator(&format!("at +1m {act}"));
    let mut watcher = Watcher::subscribed(&sim).await;
    clock.advance(MINUTE * 2);
    let mut all = watcher.rest().await;
    let last = all.pop().unwrap();
    (all.iter().filter(|seen| seen.event() == "price").count(), last)
}

#[actix_rt::test]
async fn a_connection_ends_as_told_and_not_before_all_was_said() {
    let said = ticks(1, 60);
    assert_eq!(ended_by("drop 1000").await, (said, Seen::Close(1000)));
    assert_eq!(ended_by("drop 1011").await, (said, Seen::Close(1011)));
    assert_eq!(ended_by("drop 1006").await, (said, Seen::End));
    let (count, reset) = ended_by("drop rst").await;
    assert!(
        matches!(&reset, Seen::Broken(error) if error.contains("reset")),
        "{reset:?}"
    );
    assert!(count <= said);
}

#[actix_rt::test]
async fn a_half_open_connection_answers_nothing_and_does_not_end() {
    let (sim, clock) = simulator("at +1m half-open");
    let mut watcher = Watcher::subscribed(&sim).await;
    clock.advance(MINUTE - Duration::from_secs(1));
    for _ in 0..ticks(1, 60) {
        assert_eq!(watcher.next().await.event(), "price");
    }
    clock.advance(MINUTE);
    watcher.say(json!({"action": "heartbeat"})).await;
    assert_eq!(watcher.within(SHORT).await, None);
    let mut other = Watcher::subscribed(&sim).await;
    clock.advance(MINUTE);
    assert_eq!(other.next().await.event(), "price", "who comes later is served");
}

#[actix_rt::test]
async fn bytes_that_break_the_protocol_reach_the_client_as_they_are() {
    for (name, expect) in [("not-json", "<html>"), ("bad-utf8", "\u{fffd}"), ("binary", "Binary")] {
        let (sim, clock) = simulator(&format!("at +1s send {name}"));
        let mut watcher = Watcher::subscribed(&sim).await;
        clock.advance(Duration::from_secs(1));
        let seen = loop {
            let seen = watcher.next().await;
            if seen.event() != "price" {
                break seen;
            }
        };
        assert!(
            matches!(&seen, Seen::Other(text) if text.contains(expect)),
            "{name}: {seen:?}"
        );
    }
    for name in ["bad-frame", "masked"] {
        let (sim, clock) = simulator(&format!("at +1s send {name}"));
        let mut watcher = Watcher::subscribed(&sim).await;
        clock.advance(Duration::from_secs(1));
        assert!(matches!(watcher.rest().await.last(), Some(Seen::Broken(_))), "{name}");
    }
}

#[actix_rt::test]
async fn one_connection_too_many_closes_the_oldest_of_that_key() {
    let (sim, _clock) = simulator("");
    let mut first = Watcher::subscribed(&sim).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(Watcher::subscribed(&sim).await);
    }
    assert_eq!(first.next().await, Seen::Close(1000));
    Watcher::open(&sim, "key-number-two").await.map(drop).unwrap();
    let report = sim.report();
    assert_eq!(report.counters.evicted_total, 1);
    assert_eq!(
        report.violations(),
        ["key …-one: 1 connections beyond those of the plan"]
    );
}

#[actix_rt::test]
async fn acts_can_be_played_from_outside() {
    let (sim, _clock) = simulator("");
    let mut watcher = Watcher::subscribed(&sim).await;
    assert!(sim.perform_action("explode").is_err());
    sim.perform_action("drop 1001").unwrap();
    assert_eq!(watcher.next().await, Seen::Close(1001));
    assert_eq!(sim.report().counters.played.len(), 1);
}

#[actix_rt::test]
async fn a_stopped_simulator_frees_its_port() {
    let (sim, _clock) = simulator("");
    let address = sim.address();
    let mut watcher = Watcher::subscribed(&sim).await;
    sim.stop();
    assert!(matches!(watcher.next().await, Seen::End | Seen::Broken(_)));
    assert!(std::net::TcpListener::bind(address).is_ok());
}

#[actix_rt::test]
async fn a_port_in_use_is_named() {
    let (sim, clock) = simulator("");
    let mut config = candela::sim::SimConfig::new(clock, Market::walk(1, &[]));
    config.bind = sim.address();
    let error = candela::sim::start(config).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot listen on {}: ", sim.address())),
        "{error}"
    );
}
