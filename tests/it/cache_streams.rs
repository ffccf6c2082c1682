//! Redis streams that somebody else writes to, trims, deletes or renumbers: noticed, told, and filled again from the ledger.

use crate::cache_redis::{ask, cache};
use crate::recorded::{Day, OPEN, ledger};
use crate::servers::{Redis as Server, redis};
use crate::writing::{any_store, services};
use actix::{Actor, Addr};
use candela::actors::followers::Publisher;
use candela::actors::messages::{Recorded, Report};
use candela::clock::Clock;
use candela::domain::followers::ReaderView;
use candela::ledger::{Ledger, LedgerOptions};
use candela::limits;
use redis::streams::StreamRangeReply;
use redis::{AsyncCommands, Value};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

const KEY: &str = "candela:stream:ticks:USD/COP";

/// A Publisher that tells a ledger of its own to a server, with one stream of ticks to look at.
struct Scene {
    server: Server,
    ledger: Ledger,
    day: Day,
    ticks: u64,
    publisher: Addr<Publisher>,
    view: watch::Receiver<ReaderView>,
    reports: Arc<Mutex<Vec<Report>>>,
    _folder: tempfile::TempDir,
}

/// An entry: the parts of its id, its epoch and the number in its message.
type Entry = (u64, u64, String, u64);

fn publish(ledger: &Ledger, url: &str) -> (Addr<Publisher>, watch::Receiver<ReaderView>, Arc<Mutex<Vec<Report>>>) {
    let folder = tempfile::tempdir().unwrap(); // of a store that nobody uses
    let places = (any_store(folder.path()), cache(url));
    let (services, reports) = services(ledger, places, Clock::system());
    let view = services.views.cache.subscribe();
    (Publisher::new(services).start(), view, reports)
}

impl Scene {
    async fn new() -> Self {
        let server = redis();
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(folder.path());
        let (publisher, view, reports) = publish(&ledger, &server.url());
        let mut scene = Self {
            server,
            ledger,
            day: Day::new(),
            ticks: 0,
            publisher,
            view,
            reports,
            _folder: folder,
        };
        scene.tick(15).await;
        scene
    }

    fn record(&mut self, count: u64) {
        let begun = if self.ticks == 0 { 0 } else { self.day.entries.len() };
        for _ in 0..count {
            let at = OPEN + Duration::from_millis(100 * self.ticks);
            let micros = 4_012_350_000 + i64::try_from(self.ticks).unwrap() * 10_000;
            self.day.tick(at, OPEN, micros);
            self.ticks += 1;
        }
        for part in self.day.entries[begun..].chunks(500) {
            self.ledger.append(part).unwrap();
        }
    }

    /// So many more ticks; returns when all are told.
    async fn tick(&mut self, count: u64) {
        self.record(count);
        let (told, head) = (Arc::new([]), self.ledger.head());
        self.publisher.try_send(Recorded { told, head }).unwrap();
        self.until("all is told", |view| view.position == head && view.trouble.is_none())
            .await;
    }

    async fn until(&mut self, what: &str, condition: impl FnMut(&ReaderView) -> bool) {
        let reached = tokio::time::timeout(Duration::from_secs(30), self.view.wait_for(condition)).await;
        drop(reached.unwrap_or_else(|_| panic!("never: {what}")).unwrap());
    }

    async fn ask(&self, command: &[&str]) -> Value {
        ask(&self.server.url(), command).await
    }

    /// All of the stream that candela wrote, after the id.
    async fn entries(&self, after: &str) -> Vec<Entry> {
        let client = redis::Client::open(self.server.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let reply: StreamRangeReply = connection.xrange(KEY, after, "+").await.unwrap();
        let entry = |id: &redis::streams::StreamId| {
            let (generation, seq) = id.id.split_once('-').unwrap();
            let epoch: String = id.get("epoch")?;
            let message: serde_json::Value = serde_json::from_str(&id.get::<String>("message").unwrap()).unwrap();
            assert_eq!(id.get::<u64>("seq"), message["seq"].as_u64());
            Some((
                generation.parse().unwrap(),
                seq.parse().unwrap(),
                epoch,
                message["seq"].as_u64().unwrap(),
            ))
        };
        reply.ids.iter().filter_map(entry).collect()
    }

    /// The stream has every tick once, in order, under one generation, and nothing else. Returns the generation.
    async fn whole(&self) -> u64 {
        let entries = self.entries("-").await;
        let generation = entries.first().unwrap().0;
        let first = (self.ticks + 1).saturating_sub(limits::STREAM_ENTRIES).max(1);
        let held: Vec<u64> = entries
            .iter()
            .map(|entry| entry.3)
            .filter(|seq| *seq >= first)
            .collect();
        assert_eq!(held, (first..=self.ticks).collect::<Vec<_>>());
        let ids = entries.iter().all(|entry| entry.0 == generation && entry.1 == entry.3);
        assert!(ids, "{entries:?}");
        let length = self.ask(&["XLEN", KEY]).await;
        assert_eq!(length, Value::Int(i64::try_from(entries.len()).unwrap()));
        generation
    }

    /// Root hears that the stream was disturbed in this way.
    async fn told(&self, reason: &str) {
        for _ in 0..300 {
            let told = |report: &Report| {
                matches!(report, Report::StreamDisturbed { channel, disturbance }
                if channel.to_string() == "ticks:USD/COP" && disturbance.name() == reason)
            };
            if self.reports.lock().unwrap().iter().any(told) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never told: {reason}; {:?}", self.reports.lock().unwrap());
    }
}

#[actix_rt::test]
async fn a_strangers_entry_is_noticed_told_and_removed_and_no_tick_is_missing() {
    let mut scene = Scene::new().await;
    let generation = scene.whole().await;
    scene.ask(&["XADD", KEY, "*", "a", "b"]).await;
    scene.tick(15).await;
    scene.told("foreign_entry").await;
    assert!(scene.whole().await > generation);
    let after = scene.entries(&format!("({generation}-15")).await;
    assert!(
        after.iter().any(|entry| entry.3 == 16),
        "who read up to 15 finds 16 above it"
    );
}

#[actix_rt::test]
async fn what_others_did_to_a_stream_is_noticed_without_a_tick() {
    let scene = Scene::new().await;
    let first = scene.whole().await;
    let mut generation = first;
    for (command, reason, rises) in [
        (&["DEL", KEY][..], "deleted", false),
        (&["XTRIM", KEY, "MAXLEN", "5"], "trimmed", true),
        (&["XSETID", KEY, "99999999999999-0"], "renumbered", true),
        (&["FLUSHALL"], "deleted", false),
        (&["SET", KEY, "x"], "wrong_type", false),
        (
            &["XADD", KEY, "18446744073709551615-18446744073709551615", "a", "b"],
            "foreign_entry",
            false,
        ),
    ] {
        scene.reports.lock().unwrap().clear();
        scene.ask(command).await;
        scene.told(reason).await;
        let now = scene.whole().await;
        assert_eq!(now > generation, rises, "{reason}: {generation} {now}");
        assert!(now >= generation, "{reason}: {generation} {now}");
        generation = now;
    }
}

#[actix_rt::test]
async fn a_stream_that_is_disturbed_again_and_again_is_not_shown_as_up_to_date() {
    let mut scene = Scene::new().await;
    scene.ask(&["XADD", KEY, "*", "a", "b"]).await;
    scene.tick(1).await;
    scene.ask(&["XADD", KEY, "*", "a", "b"]).await;
    scene.record(1);
    let (told, head) = (Arc::new([]), scene.ledger.head());
    scene.publisher.try_send(Recorded { told, head }).unwrap();
    scene
        .until("a distance", |view| view.head == head && view.position < head)
        .await;
    scene.until("whole again", |view| view.position == head).await;
    scene.whole().await;
}

#[actix_rt::test]
async fn another_epoch_shows_in_the_id_and_a_stream_is_bounded() {
    let mut scene = Scene::new().await;
    scene.tick(25).await;
    let (generation, held) = (scene.whole().await, scene.entries("-").await);
    let (_, last, epoch, _) = held.last().unwrap().clone();
    assert_eq!(last, 40);
    // The ledger folder is lost: another one begins.
    let folder = tempfile::tempdir().unwrap();
    scene.ledger = Ledger::open(folder.path(), LedgerOptions::new(OPEN.datetime().date_naive(), 78)).unwrap();
    (scene.publisher, scene.view, scene.reports) = publish(&scene.ledger, &scene.server.url());
    (scene.day, scene.ticks) = (Day::new(), 0);
    scene.tick(40).await;
    let after = scene.entries(&format!("({generation}-{last}")).await;
    assert_eq!(
        after.iter().map(|entry| entry.3).collect::<Vec<_>>(),
        (1..=40).collect::<Vec<_>>()
    );
    assert!(after.iter().all(|entry| entry.0 > generation && entry.2 != epoch));
    let renumbered = scene.whole().await;
    // The same ledger again: a restart goes on under the same ids, and fills what it missed.
    scene.record(5);
    (scene.publisher, scene.view, scene.reports) = publish(&scene.ledger, &scene.server.url());
    scene.tick(1).await;
    assert_eq!(scene.whole().await, renumbered);
    assert!(
        scene.reports.lock().unwrap().is_empty(),
        "{:?}",
        scene.reports.lock().unwrap()
    );
    scene.tick(5_000).await;
    assert_eq!(scene.whole().await, renumbered, "a catch-up keeps the ids");
    let Value::Int(length) = scene.ask(&["XLEN", KEY]).await else {
        panic!("no length")
    };
    let bound = i64::try_from(limits::STREAM_ENTRIES).unwrap();
    assert!((bound..bound + 200).contains(&length), "{length}");
}
