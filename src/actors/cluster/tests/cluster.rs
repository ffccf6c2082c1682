//! LogKeeper and LogFollower over a log in memory.

use crate::actors::cluster::{LogFollower, LogKeeper, log_follower, log_keeper};
use crate::actors::messages::{Recorded, Report};
use crate::actors::services::Services;
use crate::actors::testing::{heard, listen, node_name, services};
use crate::actors::views::LeaseView;
use crate::carrier::{Carrier, Carry, MemoryLog};
use crate::clock::{Clock, Stopwatch};
use crate::domain::cluster::{LogAnswer, LogEntry, NodeRole};
use crate::domain::followers::lease::{Place, Standing};
use crate::domain::model::Position;
use crate::ledger::event_script::{EventScript, day};
use crate::ledger::{Ledger, LedgerOptions, Parcels};
use crate::limits;
use crate::store::{Postgres, Sqlite, Store};
use actix::{Actor, Addr};
use secrecy::SecretString;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

pub(super) fn ledger(folder: &Path, parcels: Parcels) -> Ledger {
    let options = LedgerOptions {
        parcels,
        ..LedgerOptions::new(day(22), 7)
    };
    Ledger::open(folder, options).unwrap()
}

struct Ingest {
    keeper: Addr<LogKeeper>,
    ledger: Ledger,
    story: EventScript,
    services: Services,
    log: Carrier,
    told: UnboundedReceiver<Recorded>,
    reports: UnboundedReceiver<Report>,
}

impl Ingest {
    fn new(folder: &Path, tells_alone: bool) -> Self {
        let store = Store::Sqlite(Sqlite::open(&folder.join("store.db")).unwrap());
        Self::over(store, folder, tells_alone)
    }

    fn over(store: Store, folder: &Path, tells_alone: bool) -> Self {
        let ledger = ledger(&folder.join("ledger"), Parcels::Counted);
        let (root, reports) = listen();
        let (reader, told) = listen();
        let services = services(Clock::system(), &ledger, store, root);
        let log = Carrier::Memory(MemoryLog::new(100));
        let keeper = LogKeeper::new(log_keeper::Deps {
            services: services.clone(),
            carrier: log.clone(),
            readers: vec![("reader".to_owned(), reader)],
            begun_after: None,
            tells_alone,
            name: node_name(&ledger, NodeRole::Leader),
        });
        Self {
            keeper: keeper.start(),
            ledger,
            story: EventScript::default(),
            services,
            log,
            told,
            reports,
        }
    }

    fn lead(&self, term: i64) {
        let standing = Standing::Held { term };
        let lease = LeaseView {
            standing,
            renewed: Some(Stopwatch::start()),
            ..LeaseView::new(Place::Database)
        };
        self.services.views.leases.send_replace(vec![lease]);
    }

    fn set_away(&self, away: bool) {
        if let Carrier::Memory(log) = &self.log {
            log.set_away(away);
        }
    }

    async fn record(&mut self, moves: &[u8]) -> Position {
        let head = self.ledger.append(&self.story.entries_for(moves)).unwrap();
        let told = Arc::new([]);
        self.keeper.send(Recorded { told, head }).await.unwrap();
        head
    }

    /// Waits until a reader was sent a position.
    async fn tells(&mut self, head: Position) {
        let within = Duration::from_secs(5);
        let until = async { while self.told.recv().await.unwrap().head < head {} };
        tokio::time::timeout(within, until).await.unwrap();
    }
}

#[actix_rt::test]
async fn what_the_log_has_is_told_and_nothing_before() {
    for tells_alone in [false, true] {
        what_is_not_logged_is_not_told(tells_alone).await;
    }
}

async fn what_is_not_logged_is_not_told(tells_alone: bool) {
    let folder = tempfile::tempdir().unwrap();
    let mut ingest = Ingest::new(folder.path(), tells_alone);
    let head = ingest.record(&[0, 5]).await;
    let began = Stopwatch::start();
    while began.elapsed() < limits::LOG_PATIENCE + limits::LOG_RETRY {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let told = heard(&mut ingest.told).await;
        assert!(
            told.iter().all(|told| told.head == Position(0)),
            "nobody leads yet: {told:?}"
        );
    }
    let reports = heard(&mut ingest.reports).await;
    assert!(matches!(reports.as_slice(), [Report::LogAway { .. }]), "{reports:?}");
    ingest.lead(3);
    ingest.tells(head).await;
    let logged = ingest.log.head().await.unwrap().unwrap();
    assert_eq!((logged.number, logged.term), (ingest.ledger.last_parcel(), 3));
    let reports = heard(&mut ingest.reports).await;
    assert!(matches!(reports.as_slice(), [Report::LogBack]), "{reports:?}");
}

#[actix_rt::test]
async fn one_that_may_tell_alone_goes_on_after_a_moment_and_fills_the_log_later() {
    let folder = tempfile::tempdir().unwrap();
    let began = Stopwatch::start(); // the log takes nothing from the beginning: nobody leads yet
    let mut ingest = Ingest::new(folder.path(), true);
    ingest.set_away(true);
    ingest.lead(3);
    let head = ingest.record(&[0, 5]).await;
    ingest.tells(head).await;
    assert!(began.elapsed() >= limits::LOG_PATIENCE);
    ingest.set_away(false);
    assert_eq!(ingest.log.head().await.unwrap(), None);
    let head = ingest.record(&[0]).await;
    ingest.tells(head).await;
    let filled = async {
        while ingest.log.head().await.unwrap().map(|head| head.number) != Some(ingest.ledger.last_parcel()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), filled).await.unwrap();
}

#[actix_rt::test]
async fn what_was_appended_while_it_was_not_there_is_told_and_the_leader_is_heard_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut ingest = Ingest::new(folder.path(), false);
    let head = ingest.ledger.append(&ingest.story.entries_for(&[0, 5])).unwrap();
    ingest.services.ledger.bound_told(Position(0));
    let began = Stopwatch::start();
    ingest.lead(3);
    let said = async {
        while ingest.log.hear().await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), said).await.unwrap();
    assert!(began.elapsed() < limits::LEADER_SAYS / 2, "{:?}", began.elapsed());
    ingest.tells(head).await;
}

#[actix_rt::test]
async fn a_log_that_was_emptied_while_nothing_came_is_filled_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut ingest = Ingest::new(folder.path(), false);
    ingest.lead(3);
    let head = ingest.record(&[0, 5]).await;
    ingest.tells(head).await;
    let Carrier::Memory(log) = &ingest.log else { panic!() };
    log.empty();
    ingest.lead(3);
    let filled = async {
        while ingest.log.head().await.unwrap().map(|head| head.number) != Some(ingest.ledger.last_parcel()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), filled).await.unwrap();
}

#[actix_rt::test]
async fn one_that_may_tell_alone_tells_nothing_while_the_database_does_not_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = SecretString::from("postgresql://candela@127.0.0.1:1/candela".to_owned());
    let store = Store::Postgres(Postgres::new(&nobody, 1).unwrap());
    let mut ingest = Ingest::over(store, folder.path(), true);
    ingest.set_away(true);
    let head = ingest.record(&[0, 5]).await;
    let began = Stopwatch::start();
    while began.elapsed() < limits::LOG_PATIENCE + limits::LOG_RETRY * 4 {
        ingest.lead(3); // renewed all the time
        tokio::time::sleep(Duration::from_millis(50)).await;
        let told = heard(&mut ingest.told).await;
        assert!(told.iter().all(|told| told.head < head), "{told:?}");
    }
    ingest.set_away(false);
    ingest.tells(head).await;
}

#[actix_rt::test]
async fn a_log_of_a_later_leader_or_of_another_ledger_ends_the_process() {
    for (term, later) in [(3, 9), (3, 3)] {
        let folder = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let mut other = ledger(other.path(), Parcels::Counted);
        other.append(&EventScript::default().entries_for(&[5, 0])).unwrap();
        let mut ingest = Ingest::new(folder.path(), false);
        let entries = entries(&other, later);
        assert_eq!(ingest.log.append(later, &entries).await, LogAnswer::Taken);
        ingest.lead(term);
        ingest.record(&[0, 5]).await;
        let within = Duration::from_secs(5);
        let report = tokio::time::timeout(within, async {
            loop {
                let report = ingest.reports.recv().await.unwrap();
                if matches!(report, Report::LogForeign { .. }) {
                    return;
                }
            }
        });
        report.await.unwrap();
    }
}

pub(super) fn entries(ledger: &Ledger, term: u64) -> Vec<LogEntry> {
    let parcels = ledger.reader().read_parcels(1, 100).unwrap();
    let entry = |parcel| LogEntry {
        term,
        lineage: ledger.reader().lineage(),
        parcel,
    };
    parcels.into_iter().map(entry).collect()
}

#[actix_rt::test]
async fn a_follower_tells_what_the_log_brings_and_ends_where_it_does_not_continue() {
    let folder = tempfile::tempdir().unwrap();
    let mut leader = ledger(&folder.path().join("leader"), Parcels::Counted);
    let mut story = EventScript::default();
    leader.append(&story.entries_for(&[0, 5, 14])).unwrap();
    let log = MemoryLog::new(100);
    assert_eq!(log.append(3, &entries(&leader, 3)).await, LogAnswer::Taken);
    let opening = entries(&leader, 3).remove(0).parcel;
    let own = ledger(&folder.path().join("edge"), Parcels::Followed(Some(opening)));
    let (root, mut reports) = listen();
    let (reader, mut told) = listen::<Recorded>();
    let store = Store::Sqlite(Sqlite::open(&folder.path().join("store.db")).unwrap());
    let services = services(Clock::system(), &own, store, root);
    let name = node_name(&own, NodeRole::Edge);
    let own = Arc::new(Mutex::new(own));
    let deps = log_follower::Deps {
        name,
        services: services.clone(),
        ledger: Arc::clone(&own),
        carrier: Carrier::Memory(log.clone()),
        readers: vec![("reader".to_owned(), reader)],
    };
    LogFollower::new(deps).start();
    let within = Duration::from_secs(5);
    let both = async { while told.recv().await.unwrap().head < Position(2) {} };
    tokio::time::timeout(within, both).await.unwrap();
    assert_eq!(own.lock().unwrap().head(), Position(2));
    assert_eq!(services.views.latest.borrow().ticks.len(), 1);
    leader.append(&story.entries_for(&[1])).unwrap();
    assert_eq!(log.append(4, &entries(&leader, 4)).await, LogAnswer::Taken);
    let next = async { while told.recv().await.unwrap().told.len() != 1 {} };
    tokio::time::timeout(within, next).await.unwrap();
    leader.begin_parcels_after(0).unwrap();
    assert_eq!(log.append(4, &entries(&leader, 4)).await, LogAnswer::Taken);
    let report = tokio::time::timeout(within, reports.recv()).await.unwrap().unwrap();
    assert!(matches!(report, Report::LogForeign { .. }), "{report:?}");
    assert_eq!(own.lock().unwrap().head(), Position(3));
}
