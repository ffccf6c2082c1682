//! Aggregator and Recorder together, on a real ledger, panicked under load.

use crate::actors::core::{Aggregator, Carried, CommitQueue, Recorder, aggregator, recorder};
use crate::actors::messages::{Arrived, Item, Recorded, WhenSpent};
use crate::actors::supervision::{
    Row, Vitals,
    supervise::{mailbox, supervise},
};
use crate::actors::testing::{self, listen};
use crate::clock::Clock;
use crate::domain::model::{
    Always, Decoded, Event, Inbound, Input, InputKind, Interval, LinkChange, Position, Sequenced, Symbol, Timestamp,
};
use crate::domain::pipeline::PairRules;
use crate::domain::vendor::wire;
use crate::ledger::{Ledger, LedgerOptions};
use crate::store::{Sqlite, Store};
use actix::prelude::*;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const NOON: Timestamp = Timestamp::from_secs(1_761_152_400);

fn row(name: &'static str) -> Row {
    Row {
        name,
        mailbox: 64,
        restarts: 1_000,
        window: Duration::from_secs(60),
        backoff_first: Duration::from_micros(100),
        backoff_longest: Duration::from_millis(1),
        when_spent: WhenSpent::Exit,
    }
}

/// Receives everything that is published, with a mailbox that overflows.
#[derive(Default)]
struct Reader {
    told: Arc<Mutex<Vec<Sequenced>>>,
    heads: Arc<Mutex<Vec<Position>>>,
}
impl Actor for Reader {
    type Context = Context<Self>;
}
impl Handler<Recorded> for Reader {
    type Result = ();
    fn handle(&mut self, msg: Recorded, _: &mut Context<Self>) {
        self.heads.lock().unwrap().push(msg.head);
        for told in msg.told.iter() {
            if let Item::Event(numbered) = &told.item {
                self.told.lock().unwrap().push(numbered.clone());
            }
        }
    }
}

struct Core {
    aggregator: Addr<Aggregator>,
    vitals: [Vitals; 2],
    ledger: Arc<Mutex<Ledger>>,
    clock: Clock,
    told: Arc<Mutex<Vec<Sequenced>>>,
    commit_queue: CommitQueue,
}

fn markets() -> Vec<PairRules> {
    let intervals = vec![Interval::M5, Interval::M1];
    vec![PairRules {
        intervals,
        ..PairRules::new(Symbol::usdcop(), Arc::new(Always))
    }]
}

fn core(folder: &Path) -> Core {
    let clock = Clock::manual(NOON);
    let ledger = Ledger::open(folder, LedgerOptions::new(NOON.datetime().date_naive(), 7)).unwrap();
    let (root, _) = listen();
    let store = Store::Sqlite(Sqlite::open(&folder.join("store.db")).unwrap());
    let services = testing::services(clock.clone(), &ledger, store, root.clone());
    let (ledger, commit_queue, told) = (Arc::new(Mutex::new(ledger)), CommitQueue::default(), Arc::default());
    let probe = Reader {
        told: Arc::clone(&told),
        heads: Arc::default(),
    }
    .start();
    let (to_recorder, mail) = mailbox::<Recorder>(&row("recorder"));
    let vitals = [Vitals::new("aggregator", 64), Vitals::new("recorder", 64)];
    let deps = recorder::Deps {
        services: services.clone(),
        ledger: Arc::clone(&ledger),
        commit_queue: commit_queue.clone(),
        readers: vec![("probe".to_owned(), probe.recipient())],
        shows: true,
    };
    supervise(
        row("recorder"),
        mail,
        Recorder::new(deps),
        vitals[1].clone(),
        root.clone(),
    );
    let (aggregator, mail) = mailbox::<Aggregator>(&row("aggregator"));
    let deps = aggregator::Deps {
        services,
        markets: markets(),
        commit_queue: commit_queue.clone(),
        recorder: to_recorder.recipient(),
        carried: Carried::default(),
    };
    supervise(row("aggregator"), mail, Aggregator::new(deps), vitals[0].clone(), root);
    Core {
        aggregator,
        vitals,
        ledger,
        clock,
        told,
        commit_queue,
    }
}

impl Core {
    async fn hear(&self, what: InputKind) {
        let heard = Input {
            at: self.clock.now(),
            what,
        };
        let says = wire::says(&heard).unwrap_or(Decoded::Nothing);
        self.aggregator
            .send(Arrived(vec![Inbound { heard, says }]))
            .await
            .unwrap();
    }

    /// The `i`th tick; every tick has a price of its own.
    async fn tick(&self, i: i64) {
        let stamp = self.clock.now().secs();
        let price = format!("{}.{:04}", 4_000 + i / 10_000, i % 10_000);
        let frame = format!(r#"{{"event":"price","symbol":"USD/COP","timestamp":{stamp},"price":{price}}}"#);
        self.hear(InputKind::Frame(frame.into())).await;
    }

    async fn settled(&self) {
        tokio::time::timeout(Duration::from_secs(20), self.commit_queue.wait_until_empty())
            .await
            .unwrap();
    }

    fn written(&self) -> Vec<Sequenced> {
        let mut reader = self.ledger.lock().unwrap().reader();
        let mut events = Vec::new();
        loop {
            let page = reader
                .read(Position(1 + u64::try_from(events.len()).unwrap()), 500)
                .unwrap();
            if page.is_empty() {
                return events;
            }
            events.extend(page);
        }
    }
}

fn prices(events: &[Sequenced]) -> Vec<i64> {
    let price = |numbered: &Sequenced| match numbered.event {
        Event::Tick(accepted) => Some(accepted.tick.price.micros()),
        _ => None,
    };
    events.iter().filter_map(price).collect()
}

async fn panicked_under_load(child: usize) {
    let folder = tempfile::tempdir().unwrap();
    let core = core(folder.path());
    core.hear(InputKind::Link(LinkChange::Up {
        symbols: vec![Symbol::usdcop()],
    }))
    .await;
    let address = core.aggregator.clone();
    for i in 0..2_000 {
        if i % 200 == 100 {
            core.vitals[child].ask_to_panic();
        }
        core.clock.advance(Duration::from_millis(700));
        core.tick(i).await;
    }
    core.settled().await;
    let written = core.written();
    let expect: Vec<i64> = (0..2_000).map(|i| 4_000_000_000 + i * 100).collect();
    assert_eq!(prices(&written), expect, "every accepted tick once, in order");
    for (numbered, position) in written.iter().zip(1..) {
        assert_eq!(numbered.position, Position(position));
    }
    assert!(
        core.vitals[child].restarts() >= 3,
        "restarts are counted: {}",
        core.vitals[child].restarts()
    );
    assert_eq!(core.vitals[1 - child].restarts(), 0, "the other one goes on");
    assert!(address.connected());
    let told = core.told.lock().unwrap().clone();
    let unwritten = told.iter().find(|numbered| !written.contains(numbered));
    assert_eq!(unwritten, None, "T1: nothing is told that is not in the ledger");
    let mut revisions: Vec<_> = written
        .iter()
        .filter_map(|numbered| match numbered.event {
            Event::Bar(bar) => Some((bar.key, bar.revision)),
            _ => None,
        })
        .collect();
    let count = revisions.len();
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), count, "no revision twice");
    assert!(count >= 4 + 22, "bars closed on the way: {count}");
}

#[actix_rt::test]
async fn an_aggregator_that_panics_under_load_loses_and_doubles_nothing() {
    panicked_under_load(0).await;
}

#[actix_rt::test]
async fn a_recorder_that_panics_under_load_loses_and_doubles_nothing() {
    panicked_under_load(1).await;
}

#[actix_rt::test]
async fn a_restarted_process_goes_on_where_the_ledger_ends() {
    let folder = tempfile::tempdir().unwrap();
    let first = core(folder.path());
    first
        .hear(InputKind::Link(LinkChange::Up {
            symbols: vec![Symbol::usdcop()],
        }))
        .await;
    for i in 0..50 {
        first.clock.advance(Duration::from_secs(5));
        first.tick(i).await;
    }
    first.settled().await;
    let before = first.written();
    let Core { ledger, .. } = first;
    drop(ledger);
    // The actors of the first run hold the ledger's lock as a process would; a copy of the folder is what a crash leaves.
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let second = core(copy.path());
    second.clock.advance(Duration::from_secs(900));
    second
        .hear(InputKind::Link(LinkChange::Up {
            symbols: vec![Symbol::usdcop()],
        }))
        .await;
    second.tick(50).await;
    second.settled().await;
    let after = second.written();
    assert_eq!(after[..before.len()], before);
    assert_eq!(prices(&after).len(), 51);
    let gap = after[before.len()..].iter().find_map(|numbered| match &numbered.event {
        Event::Gap(gap) if gap.cause == "not_running" => Some(gap.clone()),
        _ => None,
    });
    assert_eq!(gap.unwrap().from, NOON, "the bar that was cut off is asked for again");
    for (numbered, position) in after.iter().zip(1..) {
        assert_eq!(numbered.position, Position(position));
    }
}
