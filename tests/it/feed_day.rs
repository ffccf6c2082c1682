//! A session lived by the feed and the pipeline against the simulated upstream, under a scenario, many times faster than real.

use actix::{Actor, Context, Handler, Recipient};
use candela::actors::aggregator::PipelineView;
use candela::actors::backfill::{self, Backfill, BackfillView};
use candela::actors::feed::{Feed, FeedParts, FeedSettings};
use candela::actors::key_pool::{self, KeyPool};
use candela::actors::messages::{Arrived, Report};
use candela::actors::vendor;
use candela::clock::Clock;
use candela::domain::bar::Bar;
use candela::domain::event::{Arrival, Entry, Event, HeardKind, LinkChange, Position};
use candela::domain::feed_view::FeedView;
use candela::domain::gap::Gap;
use candela::domain::interval::Interval;
use candela::domain::keys::{KeyPolicy, KeySlot};
use candela::domain::keys_view::KeysView;
use candela::domain::pipeline::{self, Boundary, Pipeline};
use candela::domain::session::{Listed, Session, SessionKind};
use candela::domain::symbol::Symbol;
use candela::domain::timestamp::Timestamp;
use candela::ledger::KeyUseBook;
use candela::sim::market::MarketBar;
use candela::sim::{Market, Scenario, SimConfig, SimHandle, start};
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

const OPEN: Timestamp = Timestamp::from_secs(1_761_138_000);
const FIVE: Duration = Duration::from_secs(300);
const KEYS: [&str; 8] = [
    "key-of-one",
    "key-of-two",
    "key-of-three",
    "key-of-four",
    "key-of-five",
    "key-of-six",
    "key-of-seven",
    "key-of-eight",
];

/// The aggregator's place: the pipeline without a ledger.
struct Desk {
    pipeline: Pipeline,
    entries: Vec<Entry>,
    causes: Vec<String>,
    view: watch::Sender<PipelineView>,
}

impl Desk {
    fn accept(&mut self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            if let HeardKind::Link(LinkChange::Down { cause }) = &arrival.heard.what {
                self.causes.push(cause.clone());
            }
            self.pipeline.accept(arrival, &mut self.entries);
        }
        self.show();
    }

    fn advance(&mut self, now: Timestamp) {
        self.pipeline.advance(now, &mut self.entries);
        self.show();
    }

    fn show(&self) {
        let gaps: Vec<Gap> = self.pipeline.pending_gaps().cloned().collect();
        self.view.send_if_modified(|view| {
            let changed = view.gaps != gaps;
            view.gaps = gaps;
            changed
        });
    }
}

struct Probe(Arc<Mutex<Desk>>);

impl Actor for Probe {
    type Context = Context<Self>;
}

impl Handler<Arrived> for Probe {
    type Result = ();
    fn handle(&mut self, arrived: Arrived, _: &mut Context<Self>) {
        self.0.lock().unwrap().accept(arrived.0);
    }
}

impl Handler<Report> for Probe {
    type Result = ();
    fn handle(&mut self, _: Report, _: &mut Context<Self>) {}
}

/// A lived session.
pub(crate) struct Lived {
    /// The last revision of each bar.
    pub(crate) bars: BTreeMap<Timestamp, Bar>,
    /// The last word on each gap.
    pub(crate) gaps: BTreeMap<u64, Gap>,
    /// Why the link went down, each time.
    pub(crate) causes: Vec<String>,
    /// Ticks set aside, by the name of the reason.
    pub(crate) set_aside: BTreeMap<&'static str, u64>,
    /// What the vendor saw.
    pub(crate) report: candela::sim::Report,
    /// What an undisturbed watcher would have built.
    pub(crate) truth: Vec<MarketBar>,
}

impl Lived {
    /// Bars that were told without any flag, and are wrong.
    pub(crate) fn silently_wrong(&self) -> Vec<Timestamp> {
        let wrong = |true_bar: &&MarketBar| {
            let told = self.bars.get(&true_bar.opens_at);
            told.is_some_and(|told| told.flags.bits() == 0 && told.ohlc != true_bar.ohlc)
        };
        self.truth.iter().filter(wrong).map(|bar| bar.opens_at).collect()
    }

    /// Bars that are neither there nor in a gap.
    pub(crate) fn unaccounted(&self) -> Vec<Timestamp> {
        let in_gap = |at: Timestamp| self.gaps.values().any(|gap| gap.from <= at && at < gap.to);
        let opens = self.truth.iter().map(|bar| bar.opens_at);
        opens.filter(|at| !self.bars.contains_key(at) && !in_gap(*at)).collect()
    }

    /// Minutes after the open at which bars differ from the truth, for whatever reason.
    pub(crate) fn different(&self) -> Vec<u64> {
        let differs =
            |true_bar: &&MarketBar| self.bars.get(&true_bar.opens_at).map(|bar| bar.ohlc) != Some(true_bar.ohlc);
        self.truth
            .iter()
            .filter(differs)
            .map(|bar| bar.opens_at.since(OPEN).as_secs() / 60)
            .collect()
    }
}

/// Lives so many minutes under a scenario file at a speed, and then as long again as healing takes, at most so many minutes.
pub(crate) async fn live(scenario: &str, minutes: u64, speed: f64) -> Lived {
    let closes = OPEN + Duration::from_secs(60 * minutes);
    let zone = chrono_tz::America::Bogota;
    let date = OPEN.datetime().date_naive();
    let session = Session {
        date,
        opens: OPEN,
        closes,
        kind: SessionKind::Spot,
    };
    let sessions = Arc::new(Listed {
        sessions: vec![session],
        zone,
    });
    let clock = Clock::scaled(OPEN - Duration::from_secs(40), speed);
    let market = Market::walk(11, &[Symbol::usdcop()]).only_in(sessions.clone());
    let mut config = SimConfig::new(clock.clone(), market.clone());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scenarios/{scenario}.txt"));
    config.scenario = Scenario::read(&file).unwrap();
    config.opens = Some(OPEN);
    config.keys = KEYS.map(str::to_owned).to_vec();
    let sim = start(config).unwrap();
    let markets = [pipeline::Market {
        symbol: Symbol::usdcop(),
        sessions: sessions.clone(),
        intervals: vec![Interval::M5],
        boundary: Boundary::Opens,
    }];
    let pipeline = Pipeline::new(&markets, Position(0), [], clock.now());
    let (view, gaps) = watch::channel(PipelineView::default());
    let desk = Arc::new(Mutex::new(Desk {
        pipeline,
        entries: Vec::new(),
        causes: Vec::new(),
        view,
    }));
    let wanted = start_upstream(&sim, &clock, sessions, &desk, gaps.clone());
    let healed_by = closes + Duration::from_secs(60 * minutes.max(30));
    while clock.now() < closes + Duration::from_secs(30) || (!gaps.borrow().gaps.is_empty() && clock.now() < healed_by)
    {
        actix_rt::time::sleep(Duration::from_millis(5)).await;
        desk.lock().unwrap().advance(clock.now());
    }
    wanted.send(false).unwrap();
    let truth = market.bars(Symbol::usdcop(), FIVE, OPEN, closes, clock.now(), 1_000);
    finish(&desk, sim.report(), truth)
}

/// Starts key pool, feed and backfill.
fn start_upstream(
    sim: &SimHandle,
    clock: &Clock,
    sessions: Arc<Listed>,
    desk: &Arc<Mutex<Desk>>,
    gaps: watch::Receiver<PipelineView>,
) -> watch::Sender<bool> {
    let probe = Probe(Arc::clone(desk)).start();
    let arrived: Recipient<Arrived> = probe.clone().recipient();
    let slots = (1..).map(|number| KeySlot { group: 1, number });
    let pool = KeyPool::new(key_pool::Parts {
        keys: slots.zip(KEYS.map(SecretString::from)).collect(),
        policy: KeyPolicy {
            spacing: Duration::from_secs(8),
            per_minute: 8,
            per_day: 800,
        },
        clock: clock.clone(),
        book: KeyUseBook::in_memory().unwrap(),
        retired: Arc::default(),
        view: watch::channel(KeysView::default()).0,
    })
    .start();
    let tls = vendor::tls(&[]);
    let (wanted, want) = watch::channel(true);
    Feed::new(FeedParts {
        settings: FeedSettings {
            url: sim.ws_url(),
            symbols: vec![(Symbol::usdcop(), sessions)],
            tls: Arc::clone(&tls),
        },
        clock: clock.clone(),
        wanted: want,
        lease: pool.clone().recipient(),
        answered: pool.clone().recipient(),
        arrived: arrived.clone(),
        root: probe.recipient(),
        view: Arc::new(watch::channel(FeedView::idle(clock.now())).0),
    })
    .start();
    Backfill::new(backfill::Parts {
        rest_url: sim.rest_url(),
        tls,
        clock: clock.clone(),
        pipeline: gaps,
        lease: pool.clone().recipient(),
        answered: pool.recipient(),
        arrived,
        view: watch::channel(BackfillView::default()).0,
    })
    .start();
    wanted
}

fn finish(desk: &Mutex<Desk>, report: candela::sim::Report, truth: Vec<MarketBar>) -> Lived {
    let desk = desk.lock().unwrap();
    let (mut bars, mut gaps) = (BTreeMap::new(), BTreeMap::new());
    for entry in &desk.entries {
        if let Entry::Event(numbered) = entry {
            match &numbered.event {
                Event::Bar(bar) => {
                    bars.insert(bar.key.opens_at, *bar);
                }
                Event::Gap(gap) => {
                    gaps.insert(gap.id, gap.clone());
                }
                Event::Tick(_) | Event::BarEnd(_) | Event::Session(_) => {}
            }
        }
    }
    let counts = desk.pipeline.counts();
    let set_aside = counts
        .ticks_set_aside
        .iter()
        .map(|(reason, count)| (reason.name(), *count))
        .collect();
    Lived {
        bars,
        gaps,
        causes: desk.causes.clone(),
        set_aside,
        report,
        truth,
    }
}
