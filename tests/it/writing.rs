//! A Writer that writes a ledger of its own into PostgreSQL, and what it reports.

use crate::recorded::ledger;
use actix::{Actor, Addr, Context, Handler};
use candela::actors::followers::{Writer, writer::Deps};
use candela::actors::messages::{Recorded, Report};
use candela::actors::services::Services;
use candela::cache::{Cache, Memory};
use candela::clock::Clock;
use candela::domain::followers::ReaderView;
use candela::domain::model::JournalEntry;
use candela::ledger::Ledger;
use candela::store::{Postgres, Sqlite, Store};
use secrecy::SecretString;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// Keeps what Root would hear.
#[derive(Default, Clone)]
struct Root(Arc<Mutex<Vec<Report>>>);
impl Actor for Root {
    type Context = Context<Self>;
}
impl Handler<Report> for Root {
    type Result = ();
    fn handle(&mut self, report: Report, _: &mut Context<Self>) {
        self.0.lock().unwrap().push(report);
    }
}

/// What a follower of this ledger stands on, and what it reports.
pub(crate) fn services(
    ledger: &Ledger,
    (store, cache): (Store, Cache),
    clock: Clock,
) -> (Services, Arc<Mutex<Vec<Report>>>) {
    let root = Root::default();
    let reports = Arc::clone(&root.0);
    let up = root.start().recipient();
    let services = Services::new(clock, ledger.reader(), (store, cache), Arc::default(), up);
    (services, reports)
}

/// A store for those who do not use it.
pub(crate) fn any_store(folder: &Path) -> Store {
    Store::Sqlite(Sqlite::open(&folder.join("unused.db")).unwrap())
}

/// A Writer on a ledger of its own.
pub(crate) struct Stage {
    pub(crate) ledger: Ledger,
    pub(crate) store: Store,
    writer: Addr<Writer>,
    view: watch::Receiver<ReaderView>,
    pub(crate) reports: Arc<Mutex<Vec<Report>>>,
    _folder: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(folder.path());
        let store = Store::Postgres(Postgres::new(&SecretString::from(url.to_owned()), 3).unwrap());
        let memory = Cache::Memory(Memory::default());
        let (services, reports) = services(&ledger, (store.clone(), memory), Clock::system());
        let view = services.views.store.subscribe();
        let deps = Deps {
            services,
            ledger: ledger.holding_reader(),
            tick_retention: None,
            located: Arc::default(),
        };
        Self {
            ledger,
            store,
            writer: Writer::new(deps).start(),
            view,
            reports,
            _folder: folder,
        }
    }

    /// As the Recorder does: what finds the mailbox full is said again later.
    pub(crate) fn record(&mut self, entries: &[JournalEntry]) {
        let head = self.ledger.append(entries).unwrap();
        let told = Arc::new([]);
        self.writer.try_send(Recorded { told, head }).ok();
    }

    /// Lets the Writer work for a while.
    pub(crate) async fn breathe(&mut self, ms: u64) {
        let never = self.view.wait_for(|_| false);
        tokio::time::timeout(Duration::from_millis(ms), never).await.ok();
    }

    pub(crate) async fn until(&mut self, what: &str, condition: impl FnMut(&ReaderView) -> bool) {
        let reached = tokio::time::timeout(Duration::from_secs(60), self.view.wait_for(condition)).await;
        reached.unwrap_or_else(|_| panic!("never: {what}")).unwrap();
    }

    /// What is wrong now.
    pub(crate) fn why(&self) -> String {
        let trouble = self.view.borrow().trouble.clone();
        trouble.map(|(_, cause)| cause).unwrap_or_default()
    }

    pub(crate) async fn written(&mut self) {
        let head = self.ledger.head();
        let told = Arc::new([]);
        self.writer.send(Recorded { told, head }).await.unwrap();
        self.until("all is written", |view| view.position == head).await;
    }
}
