//! What becomes of a Redis server, or is wrong with the way to it: trouble shows in time with its reason, and clears by itself when
//! the cause is gone. Streams then hold what was missed.

use crate::cache_redis::{ask, cache};
use crate::recorded::{Day, OPEN, ledger};
use crate::servers::{Manner, Reach, Redis as Server, Relay, redis};
use crate::writing::{any_store, services};
use actix::{Actor, Addr};
use candela::actors::followers::Publisher;
use candela::actors::messages::{Recorded, Report};
use candela::clock::{Clock, Stopwatch};
use candela::domain::followers::ReaderView;
use candela::ledger::Ledger;
use redis::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

const TCP: Reach = Reach {
    tcp: true,
    password: Some("s3cret"),
    tls: false,
};

/// How soon trouble must show.
const SOON: Duration = Duration::from_secs(5);

/// A Publisher that tells a ledger of its own to a server.
struct Scene {
    ledger: Ledger,
    day: Day,
    ticks: u64,
    publisher: Addr<Publisher>,
    view: watch::Receiver<ReaderView>,
    reports: Arc<Mutex<Vec<Report>>>,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(folder.path());
        let places = (any_store(folder.path()), cache(url));
        let (services, reports) = services(&ledger, places, Clock::system());
        let view = services.views.cache.subscribe();
        let mut scene = Self {
            ledger,
            day: Day::new(),
            ticks: 0,
            publisher: Publisher::new(services).start(),
            view,
            reports,
            _folder: folder,
        };
        scene.tick();
        scene
    }

    /// One more tick of each pair.
    fn tick(&mut self) {
        let told = self.day.entries.len();
        let told = if self.ticks == 0 { 0 } else { told };
        let at = OPEN + Duration::from_millis(100 * self.ticks);
        let micros = 4_012_350_000 + i64::try_from(self.ticks).unwrap() * 10_000;
        self.day.tick(at, OPEN, micros);
        self.ticks += 1;
        let head = self.ledger.append(&self.day.entries[told..]).unwrap();
        let told = Arc::new([]);
        self.publisher.try_send(Recorded { told, head }).unwrap();
    }

    async fn until(&mut self, what: &str, condition: impl FnMut(&ReaderView) -> bool) {
        let reached = tokio::time::timeout(Duration::from_secs(30), self.view.wait_for(condition)).await;
        drop(reached.unwrap_or_else(|_| panic!("never: {what}")).unwrap());
    }

    async fn told(&mut self) {
        let head = self.ledger.head();
        self.until("all is told", |view| view.position == head).await;
    }

    /// A tick comes while things are as they are: trouble shows soon, for this reason, and says `because`.
    async fn trouble(&mut self, reason: &str, because: &str) {
        self.tick();
        let watch = Stopwatch::start();
        let shows = |view: &ReaderView| view.trouble.as_ref().is_some_and(|(_, text)| text.contains(because));
        self.until(because, shows).await;
        assert!(watch.elapsed() < SOON, "{because} showed after {:?}", watch.elapsed());
        let is_it = |report: &Report| {
            matches!(report, Report::CacheLost { reason: given, cause }
                if *given == reason && cause.contains(because) && !cause.contains("s3cret"))
        };
        let reports = self.reports.lock().unwrap().clone();
        assert!(reports.iter().any(is_it), "{reports:?}");
    }

    /// The cause is gone: the stream of `url` holds every tick, in order, and Root is told.
    async fn healed(&mut self, url: &str) {
        self.told().await;
        self.until("trouble clears", |view| view.trouble.is_none()).await;
        let length = ask(url, &["XLEN", "candela:stream:ticks:USD/COP"]).await;
        assert_eq!(length, Value::Int(i64::try_from(self.ticks).unwrap()));
        let reports = self.reports.lock().unwrap().clone();
        assert_eq!(reports.last(), Some(&Report::CacheBack), "{reports:?}");
    }
}

#[actix_rt::test]
async fn a_server_that_comes_later_is_told_everything() {
    let mut server = Server::start(TCP);
    server.kill(); // not there at the start
    let mut scene = Scene::new(&server.url());
    scene.trouble("unreachable", "cannot be reached").await;
    server.restart();
    scene.healed(&server.url()).await;
}

#[actix_rt::test]
async fn a_server_that_takes_two_seconds_for_each_answer_is_called_slow_and_still_told() {
    let server = Server::start(TCP);
    let relay = Relay::before(server.port());
    let mut scene = Scene::new(&relay.of(&server.url()));
    scene.told().await;
    relay.set(Manner::Late(Duration::from_secs(2)));
    scene.trouble("slow", "no answer").await;
    scene.told().await;
    relay.set(Manner::Pass);
    scene.healed(&server.url()).await;
}

#[actix_rt::test]
async fn a_connection_that_is_cut_before_its_answer_puts_nothing_in_twice() {
    let server = Server::start(TCP);
    let relay = Relay::before(server.port());
    let mut scene = Scene::new(&relay.of(&server.url()));
    scene.told().await;
    relay.set(Manner::CutAnswer(b"XADD"));
    scene.trouble("unreachable", "").await;
    while relay.cuts() < 2 {
        scene.tick(); // what was cut is found in the stream, and only something new is written
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    relay.set(Manner::Pass);
    scene.healed(&server.url()).await;
}

#[actix_rt::test]
async fn a_password_that_is_missing_is_named_until_none_is_asked_for() {
    let server = Server::start(TCP);
    let without = server.url().replace(":s3cret@", "");
    let mut scene = Scene::new(&without);
    scene.trouble("login_refused", "NOAUTH").await;
    ask(&server.url(), &["CONFIG", "SET", "requirepass", ""]).await;
    scene.healed(&without).await;
}

#[actix_rt::test]
async fn a_password_that_was_changed_is_named_until_it_is_the_old_one_again() {
    let server = Server::start(TCP);
    let changed = server.url().replace("s3cret", "an0ther");
    let mut scene = Scene::new(&server.url());
    scene.told().await;
    ask(&server.url(), &["CONFIG", "SET", "requirepass", "an0ther"]).await;
    ask(&changed, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    scene.trouble("login_refused", "correct the user or password").await;
    ask(&changed, &["CONFIG", "SET", "requirepass", "s3cret"]).await;
    scene.healed(&server.url()).await;
}

#[actix_rt::test]
async fn a_replica_that_only_reads_is_named_until_it_is_the_primary() {
    let server = redis();
    let mut scene = Scene::new(&server.url());
    scene.told().await;
    ask(&server.url(), &["REPLICAOF", "127.0.0.1", "1"]).await;
    scene.trouble("not_allowed", "name the primary in REDIS_URL").await;
    ask(&server.url(), &["REPLICAOF", "NO", "ONE"]).await;
    scene.healed(&server.url()).await;
}

#[actix_rt::test]
async fn a_server_without_room_is_named_until_it_has_some() {
    let server = redis();
    let mut scene = Scene::new(&server.url());
    scene.told().await;
    ask(&server.url(), &["CONFIG", "SET", "maxmemory", "1"]).await;
    scene.trouble("full", "maxmemory").await;
    ask(&server.url(), &["CONFIG", "SET", "maxmemory", "0"]).await;
    scene.healed(&server.url()).await;
}

#[actix_rt::test]
async fn a_database_number_that_does_not_exist_is_named() {
    let server = Server::start(TCP);
    let mut scene = Scene::new(&server.url().replace("/0", "/99"));
    scene
        .trouble("no_such_database", "correct the number in REDIS_URL")
        .await;
}
