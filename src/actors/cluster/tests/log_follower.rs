//! LogFollower: what it believes of its leader, a ledger that takes nothing, and a Root whose mailbox is full.

use super::cluster::{entries, ledger};
use crate::actors::cluster::{LogFollower, log_follower};
use crate::actors::messages::{Recorded, Report};
use crate::actors::services::Services;
use crate::actors::testing::{listen, node_name, services};
use crate::carrier::{Carrier, Carry, MemoryLog};
use crate::clock::Clock;
use crate::domain::cluster::{LeaderNews, LogAnswer, LogNews, NodeRole};
use crate::domain::model::Position;
use crate::ledger::event_script::EventScript;
use crate::ledger::{Ledger, Parcels};
use crate::limits;
use crate::store::{Sqlite, Store};
use actix::{Actor, AsyncContext, Context, Handler, Recipient};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const WITHIN: Duration = Duration::from_secs(5);

/// A leader's ledger, the log, and an edge on it.
struct Edge {
    leader: Ledger,
    story: EventScript,
    log: MemoryLog,
    own: Arc<Mutex<Ledger>>,
    services: Services,
    told: UnboundedReceiver<Recorded>,
}

impl Edge {
    async fn new(folder: &Path, root: Recipient<Report>) -> Self {
        let mut leader = ledger(&folder.join("leader"), Parcels::Counted);
        let mut story = EventScript::default();
        leader.append(&story.entries_for(&[0, 5])).unwrap();
        let log = MemoryLog::new(100);
        let all = entries(&leader, 1);
        assert_eq!(log.append(1, &all).await, LogAnswer::Taken);
        let own = ledger(&folder.join("edge"), Parcels::Followed(Some(all[0].parcel.clone())));
        let store = Store::Sqlite(Sqlite::open(&folder.join("store.db")).unwrap());
        let services = services(Clock::system(), &own, store, root);
        let name = node_name(&own, NodeRole::Edge);
        let own = Arc::new(Mutex::new(own));
        let (reader, told) = listen();
        LogFollower::new(log_follower::Deps {
            name,
            services: services.clone(),
            ledger: Arc::clone(&own),
            carrier: Carrier::Memory(log.clone()),
            readers: vec![("reader".to_owned(), reader)],
        })
        .start();
        let mut edge = Self {
            leader,
            story,
            log,
            own,
            services,
            told,
        };
        edge.tells(Position(2)).await;
        edge
    }

    async fn tells(&mut self, head: Position) {
        let until = async { while self.told.recv().await.unwrap().head < head {} };
        tokio::time::timeout(WITHIN, until).await.unwrap();
    }

    async fn append(&mut self, moves: &[u8]) -> Position {
        let head = self.leader.append(&self.story.entries_for(moves)).unwrap();
        let all = entries(&self.leader, 1);
        assert_eq!(self.log.append(1, &all).await, LogAnswer::Taken);
        head
    }

    async fn say(&self, said: u64) {
        let news = LeaderNews {
            said,
            ..LeaderNews::default()
        };
        let text = serde_json::to_string(&news).unwrap();
        assert!(self.log.say(1, &text, limits::LEADER_SILENT).await.unwrap());
    }

    /// What it shows of the log after the next two checks.
    async fn shows(&self) -> LogNews {
        tokio::time::sleep(limits::LEADER_HEARD * 2).await;
        self.services.views.log.borrow().clone().unwrap()
    }
}

#[actix_rt::test]
async fn only_a_new_word_of_the_leader_shows_that_it_lives() {
    let folder = tempfile::tempdir().unwrap();
    let (root, _reports) = listen();
    let mut edge = Edge::new(folder.path(), root).await;
    edge.say(7).await;
    let news = edge.shows().await;
    assert!(
        news.leader.is_some() && news.believed().is_none(),
        "it may be its last: {news:?}"
    );
    edge.say(8).await;
    assert!(edge.shows().await.believed().is_some());
    let head = edge.append(&[0]).await;
    edge.tells(head).await;
    let age = edge.shows().await.age.unwrap();
    assert!(
        age > limits::LEADER_HEARD * 2,
        "a parcel is no word of the leader: {age:?}"
    );
}

/// A Root that handles nothing for a moment, its mailbox full.
struct Busy(UnboundedSender<Report>);

impl Actor for Busy {
    type Context = Context<Self>;
}

impl Handler<Report> for Busy {
    type Result = ();
    fn handle(&mut self, report: Report, ctx: &mut Context<Self>) {
        if report == Report::LogBack {
            ctx.wait(actix::fut::wrap_future(tokio::time::sleep(Duration::from_secs(1))));
        }
        drop(self.0.send(report));
    }
}

/// A Root that fills its own mailbox on request.
fn busy() -> (Recipient<Report>, UnboundedReceiver<Report>) {
    let (sender, reports) = unbounded_channel();
    let busy = Busy::create(|ctx| {
        ctx.set_mailbox_capacity(1);
        Busy(sender)
    });
    (busy.recipient(), reports)
}

async fn fill(root: &Recipient<Report>) {
    drop(root.try_send(Report::LogBack));
    tokio::time::sleep(Duration::from_millis(50)).await; // it is at that one now
    while root.try_send(Report::LedgerWritable).is_ok() {}
}

#[actix_rt::test]
async fn a_ledger_that_takes_nothing_is_tried_again_after_a_pause_whether_root_hears_of_it_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let (root, _reports) = busy();
    let mut edge = Edge::new(folder.path(), root.clone()).await;
    edge.own.lock().unwrap().limit_pages(Some(1));
    fill(&root).await;
    let moves = [0; 200]; // more than the pages that are there can hold
    let before = edge.log.reads();
    let head = edge.append(&moves).await;
    tokio::time::sleep(limits::APPEND_RETRY * 2).await;
    let reads = edge.log.reads() - before;
    assert!((1..=4).contains(&reads), "{reads}");
    assert_eq!(edge.own.lock().unwrap().head(), Position(2));
    edge.own.lock().unwrap().limit_pages(None);
    edge.tells(head).await;
}

#[actix_rt::test]
async fn a_log_that_does_not_continue_is_told_as_soon_as_root_has_room() {
    let folder = tempfile::tempdir().unwrap();
    let (root, mut reports) = busy();
    let mut edge = Edge::new(folder.path(), root.clone()).await;
    fill(&root).await;
    edge.leader.begin_parcels_after(0).unwrap();
    let reads = edge.log.reads();
    edge.append(&[0]).await;
    let told = async { while !matches!(reports.recv().await.unwrap(), Report::LogForeign { .. }) {} };
    tokio::time::timeout(WITHIN, told).await.unwrap();
    assert!(edge.log.reads() <= reads + 2, "it reads no more");
}
