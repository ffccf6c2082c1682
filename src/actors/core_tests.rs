//! Aggregator and Recorder together, on a real ledger, panicked under load.

use crate::actors::aggregator::{self, Aggregator, Inbox, PipelineView};
use crate::actors::messages::{Arrived, Item, Recorded, Report};
use crate::actors::recorder::{self, LatestView, Recorder};
use crate::actors::supervise::{Row, WhenSpent, mailbox, supervise};
use crate::actors::tray::Tray;
use crate::actors::vitals::Vitals;
use crate::clock::Clock;
use crate::domain::event::{Arrival, Event, Heard, HeardKind, LinkChange, Numbered, Position, Says};
use crate::domain::interval::Interval;
use crate::domain::pipeline::Market;
use crate::domain::session::Always;
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use crate::domain::wire;
use crate::ledger::{Ledger, Options};
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
        wedged_after: None,
        when_spent: WhenSpent::Exit,
    }
}

/// Hears everything that is told, with a mailbox that overflows.
#[derive(Default)]
struct Reader {
    told: Arc<Mutex<Vec<Numbered>>>,
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

struct Root;
impl Actor for Root {
    type Context = Context<Self>;
}
impl Handler<Report> for Root {
    type Result = ();
    fn handle(&mut self, _: Report, _: &mut Context<Self>) {}
}

struct Core {
    aggregator: Addr<Aggregator>,
    vitals: [Vitals; 2],
    ledger: Arc<Mutex<Ledger>>,
    clock: Clock,
    told: Arc<Mutex<Vec<Numbered>>>,
    tray: Tray,
}

fn markets() -> Vec<Market> {
    let intervals = vec![Interval::M5, Interval::M1];
    vec![Market {
        intervals,
        ..Market::new(Symbol::usdcop(), Arc::new(Always))
    }]
}

fn core(folder: &Path) -> Core {
    let clock = Clock::manual(NOON);
    let ledger = Ledger::open(folder, Options::new(NOON.datetime().date_naive(), 7)).unwrap();
    let reader = ledger.reader();
    let (ledger, tray, told) = (Arc::new(Mutex::new(ledger)), Tray::default(), Arc::default());
    let probe = Reader {
        told: Arc::clone(&told),
        heads: Arc::default(),
    }
    .start();
    let up = Root.start().recipient();
    let (to_recorder, mail) = mailbox::<Recorder>(&row("recorder"));
    let vitals = [Vitals::new("aggregator", 64), Vitals::new("recorder", 64)];
    let parts = recorder::Parts {
        ledger: Arc::clone(&ledger),
        tray: tray.clone(),
        readers: vec![("probe".to_owned(), probe.recipient())],
        up: up.clone(),
        view: tokio::sync::watch::Sender::new(LatestView::default()),
    };
    supervise(
        row("recorder"),
        mail,
        Recorder::new(parts),
        vitals[1].clone(),
        up.clone(),
    );
    let (aggregator, mail) = mailbox::<Aggregator>(&row("aggregator"));
    let parts = aggregator::Parts {
        markets: markets(),
        ledger: reader,
        tray: tray.clone(),
        recorder: to_recorder.recipient(),
        up: up.clone(),
        clock: clock.clone(),
        view: tokio::sync::watch::Sender::new(PipelineView::default()),
        inbox: Inbox::default(),
        begun: Arc::default(),
        breaks: Arc::default(),
    };
    supervise(row("aggregator"), mail, Aggregator::new(parts), vitals[0].clone(), up);
    Core {
        aggregator,
        vitals,
        ledger,
        clock,
        told,
        tray,
    }
}

impl Core {
    async fn hear(&self, what: HeardKind) {
        let heard = Heard {
            at: self.clock.now(),
            what,
        };
        let says = wire::says(&heard).unwrap_or(Says::Nothing);
        self.aggregator
            .send(Arrived(vec![Arrival { heard, says }]))
            .await
            .unwrap();
    }

    /// The `i`th tick; every tick has a price of its own.
    async fn tick(&self, i: i64) {
        let stamp = self.clock.now().secs();
        let price = format!("{}.{:04}", 4_000 + i / 10_000, i % 10_000);
        let frame = format!(r#"{{"event":"price","symbol":"USD/COP","timestamp":{stamp},"price":{price}}}"#);
        self.hear(HeardKind::Frame(frame.into())).await;
    }

    async fn settled(&self) {
        tokio::time::timeout(Duration::from_secs(20), self.tray.emptied())
            .await
            .unwrap();
    }

    fn written(&self) -> Vec<Numbered> {
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

fn prices(events: &[Numbered]) -> Vec<i64> {
    let price = |numbered: &Numbered| match numbered.event {
        Event::Tick(accepted) => Some(accepted.tick.price.micros()),
        _ => None,
    };
    events.iter().filter_map(price).collect()
}

async fn panicked_under_load(child: usize) {
    let folder = tempfile::tempdir().unwrap();
    let core = core(folder.path());
    core.hear(HeardKind::Link(LinkChange::Up {
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
        .hear(HeardKind::Link(LinkChange::Up {
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
        .hear(HeardKind::Link(LinkChange::Up {
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
