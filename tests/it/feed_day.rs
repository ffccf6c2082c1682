//! A session lived by the feed and the pipeline against the simulated upstream, under a scenario, many times faster than real.

use actix::{Actor, Context, Handler, Recipient};
use candela::actors::aggregator::PipelineView;
use candela::actors::backfill::{self, Backfill, BackfillView};
use candela::actors::feed::{Feed, FeedParts, FeedSettings};
use candela::actors::key_pool::{self, KeyPool};
use candela::actors::messages::{Arrived, Report};
use candela::actors::poller::{self, Poller, PollerView};
use candela::actors::vendor;
use candela::clock::Clock;
use candela::domain::bar::Bar;
use candela::domain::budget::Forecast;
use candela::domain::event::{Arrival, Entry, Event, HeardKind, LinkChange, Position};
use candela::domain::feed_view::FeedView;
use candela::domain::gap::Gap;
use candela::domain::keys::{KeyPolicy, KeySlot};
use candela::domain::keys_view::KeysView;
use candela::domain::mismatch::{OnMismatch, Unchecked};
use candela::domain::pipeline::{self, Pipeline};
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
        let unchecked: Vec<Unchecked> = self.pipeline.unchecked().collect();
        self.view.send_if_modified(|view| {
            let changed = view.gaps != gaps || view.unchecked != unchecked;
            (view.gaps, view.unchecked) = (gaps, unchecked);
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
    let clock = Clock::scaled(play.opens - Duration::from_secs(40), play.speed);
    let market = play.market.clone().only_in(sessions.clone());
    let mut config = SimConfig::new(clock.clone(), market.clone());
    config.scenario = play.scenario();
    config.opens = Some(play.opens);
    config.keys = play.keys();
    let sim = start(config).unwrap();
    // What a busy machine may keep a tick waiting does not shrink when the market runs faster.
    let lateness = Duration::from_millis(150).mul_f64(play.speed);
    let markets = [pipeline::Market {
        lateness,
        on_mismatch: play.on_mismatch,
        ..pipeline::Market::new(Symbol::usdcop(), sessions)
    }];
    let pipeline = Pipeline::new(&markets, Position(0), [], clock.now());
    let (view, gaps) = watch::channel(PipelineView::default());
    let desk = Arc::new(Mutex::new(Desk {
        pipeline,
        entries: Vec::new(),
        causes: Vec::new(),
        view,
    }));
    let upstream = start_upstream(&sim, &clock, play, &desk, gaps.clone());
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
    upstream.wanted.send(false).unwrap();
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
}

/// Starts key pool, feed, backfill and, where wanted, the poller.
fn start_upstream(
    sim: &SimHandle,
    clock: &Clock,
    play: &Play,
    desk: &Arc<Mutex<Desk>>,
    gaps: watch::Receiver<PipelineView>,
) -> Upstream {
    let probe = Probe(Arc::clone(desk)).start();
    let arrived: Recipient<Arrived> = probe.clone().recipient();
    let slots = (1..).map(|number| KeySlot { group: 1, number });
    let (keys_view, keys) = watch::channel(KeysView::default());
    let pool = KeyPool::new(key_pool::Parts {
        keys: slots.zip(play.keys().into_iter().map(SecretString::from)).collect(),
        policy: KeyPolicy {
            spacing: Duration::from_secs(8),
            per_minute: 8,
            per_day: 800,
        },
        clock: clock.clone(),
        book: KeyUseBook::in_memory().unwrap(),
        retired: Arc::default(),
        up: probe.clone().recipient(),
        view: keys_view,
    })
    .start();
    let tls = vendor::tls(&[]);
    let (wanted, want) = watch::channel(true);
    let (feed_view, feed) = watch::channel(FeedView::idle(clock.now()));
    let (poller_view, poller) = watch::channel(PollerView::default());
    if let Some(patience) = play.polling {
        Poller::new(poller::Parts {
            rest_url: sim.rest_url(),
            tls: Arc::clone(&tls),
            symbols: vec![(Symbol::usdcop(), play.sessions())],
            patience,
            clock: clock.clone(),
            wanted: want.clone(),
            feed: feed.clone(),
            keys,
            lease: pool.clone().recipient(),
            answered: pool.clone().recipient(),
            arrived: arrived.clone(),
            up: probe.clone().recipient(),
            view: poller_view,
        })
        .start();
    }
    Feed::new(FeedParts {
        settings: FeedSettings {
            url: sim.ws_url(),
            symbols: vec![(Symbol::usdcop(), play.sessions())],
            tls: Arc::clone(&tls),
        },
        clock: clock.clone(),
        wanted: want,
        lease: pool.clone().recipient(),
        answered: pool.clone().recipient(),
        arrived: arrived.clone(),
        root: probe.recipient(),
        view: Arc::new(feed_view),
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
    Upstream { wanted, poller, feed }
}

fn finish(desk: &Mutex<Desk>, opens: Timestamp, report: candela::sim::Report, truth: Vec<MarketBar>) -> Lived {
    let desk = desk.lock().unwrap();
    let (mut told, mut bars, mut gaps) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for entry in &desk.entries {
        if let Entry::Event(numbered) = entry {
            match &numbered.event {
                Event::Bar(bar) => {
                    told.push(*bar);
                    bars.insert(bar.key.opens_at, *bar);
                }
                Event::Gap(gap) => {
                    gaps.insert(gap.id, gap.clone());
                }
                Event::Tick(_) | Event::BarEnd(_) | Event::Session(_) | Event::Seam(_) => {}
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
