//! A session lived by the feed and the pipeline against the simulated upstream, under a scenario, many times faster than real.

use crate::writing::any_store;
use actix::{Actor, Context, Handler, Recipient};
use candela::actors::messages::{Arrived, Report};
use candela::actors::services::Services;
use candela::actors::vendor::{
    self, Backfill, Feed, FeedSettings, KeyPool, KeyPoolLink, Poller, VendorAccess, backfill, feed, key_pool, poller,
};
use candela::actors::views::{PipelineView, PollerView};
use candela::cache::{Cache, Memory};
use candela::clock::Clock;
use candela::domain::model::{
    Bar, Event, Gap, Inbound, InputKind, JournalEntry, LinkChange, Listed, Position, Session, SessionKind, Symbol,
    Timestamp,
};
use candela::domain::pipeline::{self, AcceptanceView, OnMismatch, Pipeline, Unchecked};
use candela::domain::vendor::{FeedView, Forecast, KeyPolicy, KeySlot};
use candela::ledger::{KeyUseBook, Ledger, LedgerOptions};
use candela::sim::market::MarketBar;
use candela::sim::start;
use candela::sim::{Market, Scenario, SimConfig, SimHandle};
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

const OPEN: Timestamp = Timestamp::from_secs(1_761_138_000);
const FIVE: Duration = Duration::from_secs(300);
/// What is lived.
#[derive(Clone)]
pub(crate) struct Play {
    /// The market, silent outside the session.
    pub(crate) market: Market,
    /// Scenario files, played together.
    pub(crate) scenarios: &'static [&'static str],
    /// Further lines of a scenario.
    pub(crate) script: String,
    /// What to do where the vendor's bars differ.
    pub(crate) on_mismatch: OnMismatch,
    /// Whether the day is lived on until the last bar is compared with the vendor's.
    pub(crate) compares: bool,
    /// First instant of the session.
    pub(crate) opens: Timestamp,
    /// How long it lasts.
    pub(crate) minutes: u64,
    /// Market seconds a second.
    pub(crate) speed: f64,
    /// How many keys there are.
    pub(crate) keys: u8,
    /// How long the link may be down before prices are polled; without it they never are.
    pub(crate) polling: Option<Duration>,
    /// How long after the session healing may take.
    pub(crate) healing: Duration,
}

impl Play {
    /// A made-up market for so many minutes under some scenario files.
    pub(crate) fn walk(scenarios: &'static [&'static str], minutes: u64) -> Self {
        Self {
            market: Market::walk(11, &[Symbol::usdcop()]),
            scenarios,
            script: String::new(),
            on_mismatch: OnMismatch::Flag,
            compares: false,
            opens: OPEN,
            minutes,
            speed: 150.0,
            keys: 8,
            polling: None,
            healing: Duration::from_secs(60 * minutes.max(30)),
        }
    }

    fn closes(&self) -> Timestamp {
        self.opens + Duration::from_secs(60 * self.minutes)
    }

    fn sessions(&self) -> Arc<Listed> {
        let date = self.opens.datetime().date_naive();
        let (opens, closes) = (self.opens, self.closes());
        let sessions = vec![Session {
            date,
            opens,
            closes,
            kind: SessionKind::Spot,
        }];
        Arc::new(Listed {
            sessions,
            zone: chrono_tz::America::Bogota,
        })
    }

    fn keys(&self) -> Vec<String> {
        (1..=self.keys)
            .map(|number| format!("scenario-key-{number:04}"))
            .collect()
    }

    fn scenario(&self) -> Scenario {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let read = |name: &&str| Scenario::read(&folder.join(format!("{name}.txt"))).unwrap().lines;
        let further: Scenario = self.script.parse().unwrap();
        let lines = self.scenarios.iter().flat_map(read).chain(further.lines);
        Scenario { lines: lines.collect() }
    }
}

/// The aggregator's place: the pipeline without a ledger.
struct Desk {
    pipeline: Pipeline,
    entries: Vec<JournalEntry>,
    causes: Vec<String>,
    view: watch::Sender<PipelineView>,
}

impl Desk {
    fn accept(&mut self, arrivals: Vec<Inbound>) {
        for arrival in arrivals {
            if let InputKind::Link(LinkChange::Down { cause }) = &arrival.heard.what {
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
        let unchecked: Vec<Unchecked> = self.pipeline.unchecked_bars().collect();
        // The feed learns a pair's rhythm from the prices that were accepted.
        let prices: BTreeMap<Symbol, AcceptanceView> = self.pipeline.prices().collect();
        self.view.send_if_modified(|view| {
            let changed = view.gaps != gaps || view.unchecked != unchecked || view.prices != prices;
            (view.gaps, view.unchecked, view.prices) = (gaps, unchecked, prices);
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
    /// Every bar that was told, in order.
    pub(crate) told: Vec<Bar>,
    /// The last word on each gap.
    pub(crate) gaps: BTreeMap<u64, Gap>,
    /// Why the link went down, each time.
    pub(crate) causes: Vec<String>,
    /// Ticks set aside, by the name of the reason.
    pub(crate) set_aside: BTreeMap<&'static str, u64>,
    /// What polling expected the day to cost, each time it made up its mind.
    pub(crate) forecasts: Vec<Forecast>,
    /// Whether the link's prices looked wrong at some time.
    pub(crate) suspected: bool,
    /// When the session opened.
    pub(crate) opens: Timestamp,
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

    /// Whether every bar that was ever told, the first time or revised, is the true one.
    pub(crate) fn always_right(&self) -> bool {
        let truth: BTreeMap<_, _> = self.truth.iter().map(|bar| (bar.opens_at, bar.ohlc)).collect();
        self.told
            .iter()
            .all(|bar| truth.get(&bar.key.opens_at) == Some(&bar.ohlc))
    }

    /// Minutes after the open at which bars differ from the truth, for whatever reason.
    pub(crate) fn different(&self) -> Vec<u64> {
        let differs =
            |true_bar: &&MarketBar| self.bars.get(&true_bar.opens_at).map(|bar| bar.ohlc) != Some(true_bar.ohlc);
        self.truth
            .iter()
            .filter(differs)
            .map(|bar| bar.opens_at.since(self.opens).as_secs() / 60)
            .collect()
    }
}

/// Lives a session, and then as long as healing takes.
pub(crate) async fn live(play: &Play) -> Lived {
    let (sessions, closes) = (play.sessions(), play.closes());
    // A second of real time for all that is started beside it: the link must stand at the open.
    let before = Duration::from_secs(1).mul_f64(play.speed);
    let clock = Clock::scaled(play.opens - before, play.speed);
    let market = play.market.clone().only_in(sessions.clone());
    let mut config = SimConfig::new(clock.clone(), market.clone());
    config.scenario = play.scenario();
    config.opens = Some(play.opens);
    config.keys = play.keys();
    let sim = start(config).unwrap();
    // What a busy machine may keep a tick waiting does not shrink when the market runs faster.
    let lateness = Duration::from_millis(150).mul_f64(play.speed);
    let markets = [pipeline::PairRules {
        lateness,
        on_mismatch: play.on_mismatch,
        ..pipeline::PairRules::new(Symbol::usdcop(), sessions)
    }];
    let pipeline = Pipeline::new(&markets, Position(0), [], clock.now());
    let desk = Arc::new(Mutex::new(Desk {
        pipeline,
        entries: Vec::new(),
        causes: Vec::new(),
        view: watch::Sender::default(),
    }));
    let gaps = desk.lock().unwrap().view.subscribe();
    let upstream = start_upstream(&sim, &clock, play, &desk);
    let (mut forecasts, mut suspected) = (Vec::new(), false);
    let left = || !gaps.borrow().gaps.is_empty() || (play.compares && !gaps.borrow().unchecked.is_empty());
    let healing = || left() && clock.now() < closes + play.healing;
    while clock.now() < closes + lateness + Duration::from_secs(30) || healing() {
        actix_rt::time::sleep(Duration::from_millis(5)).await;
        desk.lock().unwrap().advance(clock.now());
        suspected |= upstream
            .feed
            .borrow()
            .symbols
            .iter()
            .any(|line| line.suspicion.is_some());
        let forecast = upstream.poller.borrow().forecast;
        if forecasts.last() != forecast.as_ref() {
            forecasts.extend(forecast);
        }
    }
    upstream.wanted.send_replace(false);
    let truth = market.bars(Symbol::usdcop(), FIVE, play.opens, closes, clock.now(), 1_000);
    Lived {
        forecasts,
        suspected,
        ..finish(&desk, play.opens, sim.report(), truth)
    }
}

/// What runs: it ends when nobody holds it any more.
struct Upstream {
    wanted: watch::Sender<bool>,
    poller: watch::Receiver<PollerView>,
    feed: watch::Receiver<FeedView>,
    _folder: tempfile::TempDir,
}

/// What the actors stand on: a ledger and a store that none of them uses, and views of which the desk has the pipeline's.
fn services(folder: &Path, clock: &Clock, desk: &Mutex<Desk>, root: Recipient<Report>) -> Services {
    let ledger = Ledger::open(folder, LedgerOptions::new(OPEN.datetime().date_naive(), 77)).unwrap();
    let places = (any_store(folder), Cache::Memory(Memory::default()));
    let mut services = Services::new(clock.clone(), ledger.reader(), places, Arc::default(), root);
    services.views.pipeline = desk.lock().unwrap().view.clone();
    services.views.wanted.send_replace(true);
    services
}

/// Starts key pool, feed, backfill and, where wanted, the poller.
fn start_upstream(sim: &SimHandle, clock: &Clock, play: &Play, desk: &Arc<Mutex<Desk>>) -> Upstream {
    let probe = Probe(Arc::clone(desk)).start();
    let folder = tempfile::tempdir().unwrap();
    let services = services(folder.path(), clock, desk, probe.clone().recipient());
    let arrived: Recipient<Arrived> = probe.recipient();
    let slots = (1..).map(|number| KeySlot { group: 1, number });
    let pool = KeyPool::new(key_pool::Deps {
        away: None,
        services: services.clone(),
        keys: slots.zip(play.keys().into_iter().map(SecretString::from)).collect(),
        policy: KeyPolicy {
            spacing: Duration::from_secs(8),
            per_minute: 8,
            per_day: 800,
        },
        book: KeyUseBook::in_memory().unwrap(),
        retired: Arc::default(),
        withdrawn: Arc::default(),
    })
    .start();
    let keys = KeyPoolLink {
        acquire: pool.clone().recipient(),
        answered: pool.recipient(),
    };
    let tls = vendor::tls(&[]);
    let access = VendorAccess {
        rest_url: sim.rest_url(),
        tls: Arc::clone(&tls),
        keys: keys.clone(),
    };
    if let Some(patience) = play.polling {
        Poller::new(poller::Deps {
            services: services.clone(),
            vendor: access.clone(),
            symbols: vec![(Symbol::usdcop(), play.sessions())],
            patience,
            arrived: arrived.clone(),
        })
        .start();
    }
    Feed::new(feed::Deps {
        services: services.clone(),
        settings: FeedSettings {
            url: sim.ws_url(),
            symbols: vec![(Symbol::usdcop(), play.sessions())],
            tls,
        },
        keys,
        arrived: arrived.clone(),
    })
    .start();
    Backfill::new(backfill::Deps {
        services: services.clone(),
        vendor: access,
        arrived,
    })
    .start();
    Upstream {
        wanted: services.views.wanted.clone(),
        poller: services.views.poller.subscribe(),
        feed: services.views.feed.subscribe(),
        _folder: folder,
    }
}

fn finish(desk: &Mutex<Desk>, opens: Timestamp, report: candela::sim::Report, truth: Vec<MarketBar>) -> Lived {
    let desk = desk.lock().unwrap();
    let (mut told, mut bars, mut gaps) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for entry in &desk.entries {
        if let JournalEntry::Event(numbered) = entry {
            match &numbered.event {
                Event::Bar(bar) => {
                    told.push(*bar);
                    bars.insert(bar.key.opens_at, *bar);
                }
                Event::Gap(gap) => {
                    gaps.insert(gap.id, gap.clone());
                }
                Event::Tick(_)
                | Event::BarEnd(_)
                | Event::Session(_)
                | Event::Seam(_)
                | Event::Certificate(_)
                | Event::Journal(_) => {}
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
        told,
        bars,
        gaps,
        causes: desk.causes.clone(),
        set_aside,
        forecasts: Vec::new(),
        suspected: false,
        opens,
        report,
        truth,
    }
}
