//! The service as production wires it: one of each machine of `domain`, made at a start and gone with a crash.

use crate::disk::{Disk, Reader};
use crate::plan::{Kind, PairPlan, Plan};
use candela::actors::core::{CommitQueue, rebuild::rebuild};
use candela::domain::calendar::{Calendar, CalendarSpec, Overrides};
use candela::domain::followers::{FlushSchedule, Streams};
use candela::domain::history::{BackfillPlanner, Flag, Sighting, WaitPolicy};
use candela::domain::lifecycle::{Break, Lifecycle, MarketTime, SessionWatch};
use candela::domain::model::{
    Channel, Decoded, Inbound, Input, InputKind, JournalEntry, LinkChange, Session, Sessions, Symbol, Timestamp,
};
use candela::domain::pipeline::{PairRules, Pipeline};
use candela::domain::vendor::{Event as LinkEvent, Judged, KeyPolicy, KeySlot, KeyUse, Link, LinkSettings, Poll, Pool};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// A calendar that is corrected while the service runs, shared as production shares its own.
#[derive(Debug, Clone)]
pub(crate) struct Shared(pub(crate) Arc<RwLock<Calendar>>);

impl Shared {
    pub(crate) fn now(&self) -> Calendar {
        self.0.read().expect("one thread").clone()
    }
}

impl Sessions for Shared {
    fn at(&self, at: Timestamp) -> Option<Session> {
        self.0.read().expect("one thread").at(at)
    }

    fn after(&self, at: Timestamp) -> Option<Session> {
        self.0.read().expect("one thread").after(at)
    }

    fn zone(&self) -> chrono_tz::Tz {
        self.0.read().expect("one thread").zone()
    }

    fn edition(&self) -> u64 {
        self.0.read().expect("one thread").edition()
    }
}

/// The calendar of a pair as settings would spell it.
pub(crate) fn calendar(pair: &PairPlan) -> Calendar {
    let time = |minutes: i64| Some(format!("{:02}:{:02}", minutes / 60, minutes % 60));
    let spec = match pair.kind {
        Kind::Colombia => CalendarSpec {
            open: time(pair.open),
            close: time(pair.close),
            ..CalendarSpec::default()
        },
        Kind::Forex => CalendarSpec {
            calendar: "forex".to_owned(),
            ..CalendarSpec::default()
        },
        Kind::Always => CalendarSpec {
            calendar: "always".to_owned(),
            ..CalendarSpec::default()
        },
    };
    Calendar::new(&spec, Arc::new(Overrides::default())).expect("a right calendar")
}

pub(crate) const POLICY: KeyPolicy = KeyPolicy {
    spacing: Duration::from_secs(8),
    per_minute: 8,
    per_day: 800,
};

/// How long the gate waits for the flag before it goes on.
pub(crate) const LEAD: Duration = Duration::from_secs(1_200);

/// A connection to the vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) number: u64,
    pub(crate) open: bool,
}

/// A process that runs.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) time: MarketTime,
    pub(crate) breaks: Vec<Break>,
    pub(crate) markets: Vec<PairRules>,
    pub(crate) link: Link,
    pub(crate) socket: Socket,
    pub(crate) key: Option<KeySlot>,
    pub(crate) told_served: bool,
    pub(crate) pool: Pool,
    pub(crate) pipeline: Pipeline,
    pub(crate) commit_queue: CommitQueue,
    pub(crate) decided: Vec<JournalEntry>,
    pub(crate) appending: bool,
    pub(crate) unwritable: bool,
    pub(crate) poll: Poll,
    pub(crate) polling: bool,
    pub(crate) planner: BackfillPlanner,
    pub(crate) healing: bool,
    pub(crate) heal_signature: u64,
    pub(crate) heal_wait: Option<Timestamp>,
    pub(crate) poll_due: Option<Timestamp>,
    pub(crate) poll_looked: Timestamp,
    /// When a session turns next.
    pub(crate) watch_due: Option<Timestamp>,
    pub(crate) sighted: Option<Sighting>,
    pub(crate) asked_with: Option<Flag>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) watch: SessionWatch,
    pub(crate) wanted: bool,
    pub(crate) writer: FlushSchedule,
    pub(crate) located: bool,
    pub(crate) opened_at: u64,
    pub(crate) publisher: FlushSchedule,
    pub(crate) streams: Streams,
    /// When a price of each pair was last answered by polling.
    pub(crate) answered: BTreeMap<Symbol, Timestamp>,
    /// The process was stopped until then.
    pub(crate) paused_until: Option<i64>,
}

/// Every channel that will be written.
pub(crate) fn channels(plan: &Plan) -> Vec<Channel> {
    let of = |pair: &PairPlan| {
        let bars = pair
            .intervals
            .iter()
            .map(|interval| Channel::bars(*interval, pair.symbol))
            .collect::<Vec<_>>();
        [
            Channel::ticks(pair.symbol),
            Channel::quality(pair.symbol),
            Channel::session(pair.symbol),
        ]
        .into_iter()
        .chain(bars)
        .collect::<Vec<_>>()
    };
    plan.pairs.iter().flat_map(of).collect()
}

impl Service {
    /// Starts on what the disk has. `wall` is what the machine's clock shows, `steady` the steady one.
    #[expect(clippy::too_many_lines, reason = "every part of the process is made here")]
    pub(crate) fn start(
        plan: &Plan,
        calendars: &[Shared],
        disk: &Rc<RefCell<Disk>>,
        used: &BTreeMap<KeySlot, KeyUse>,
        (wall, steady): (Timestamp, Duration),
    ) -> Self {
        let markets: Vec<PairRules> = plan
            .pairs
            .iter()
            .zip(calendars)
            .map(|(pair, calendar)| PairRules {
                intervals: pair.intervals.clone(),
                boundary: pair.boundary,
                on_mismatch: pair.on_mismatch,
                ..PairRules::new(pair.symbol, Arc::new(calendar.clone()))
            })
            .collect();
        let symbols: Vec<(Symbol, Arc<dyn Sessions>)> = markets
            .iter()
            .map(|market| (market.symbol, Arc::clone(&market.sessions)))
            .collect();
        let names: Vec<Symbol> = markets.iter().map(|market| market.symbol).collect();
        let slots = (1..=plan.keys).map(|number| KeySlot {
            group: 1 + number % 2,
            number: 1 + number / 2,
        });
        let reader = Reader(Rc::clone(disk));
        let began_empty = disk.borrow().head().0 == 0 && disk.borrow().first_date().is_empty();
        let pipeline = rebuild(&reader, &markets, wall).expect("the simulated disk is read");
        let mut time = MarketTime::starting(wall, steady);
        if wall + Duration::from_secs(2) < pipeline.at() {
            time.before_ledger(steady);
        }
        let settings = LinkSettings {
            symbols: symbols.clone(),
            patience: Duration::from_secs(5),
            jitter: Duration::ZERO,
        };
        let used: Vec<KeyUse> = used.values().copied().collect();
        let named = plan
            .pairs
            .iter()
            .zip(calendars)
            .map(|(pair, calendar)| (pair.symbol, calendar.now()));
        let policy = WaitPolicy {
            wait_max: LEAD,
            ..WaitPolicy::default()
        };
        let mut writer = FlushSchedule::new();
        let mut publisher = FlushSchedule::at_once();
        let opened = disk.borrow().head();
        writer.note_head(opened, wall);
        publisher.note_head(opened, wall);
        let mut service = Self {
            time,
            breaks: Vec::new(),
            link: Link::new(settings, wall),
            socket: Socket { number: 0, open: false },
            key: None,
            told_served: false,
            pool: Pool::new(slots.collect(), POLICY, &used, wall),
            pipeline,
            commit_queue: CommitQueue::default(),
            decided: Vec::new(),
            appending: false,
            unwritable: false,
            poll: Poll::new(&symbols, Duration::from_secs(30), wall),
            polling: false,
            planner: BackfillPlanner::default(),
            healing: false,
            heal_signature: u64::MAX,
            heal_wait: None,
            poll_due: None,
            poll_looked: Timestamp::from_micros(0),
            watch_due: None,
            sighted: None,
            asked_with: None,
            lifecycle: Lifecycle::new(&names, policy, true, wall),
            watch: SessionWatch::new(named, LEAD),
            wanted: false,
            writer,
            located: false,
            opened_at: opened.0,
            publisher,
            streams: Streams::default(),
            answered: BTreeMap::new(),
            paused_until: None,
            markets,
        };
        if !began_empty {
            service.decide(
                Input {
                    at: wall,
                    what: InputKind::Started,
                },
                Decoded::Nothing,
            );
        }
        service
    }

    /// The pipeline decides on one input; what comes of it goes on the commit queue.
    pub(crate) fn decide(&mut self, heard: Input, says: Decoded) {
        self.pipeline.accept(Inbound { heard, says }, &mut self.decided);
        self.commit_queue.push_all(&mut self.decided);
    }

    /// The same, and returns what was decided.
    pub(crate) fn decide_and_see(&mut self, heard: Input, says: Decoded) -> Vec<JournalEntry> {
        self.pipeline.accept(Inbound { heard, says }, &mut self.decided);
        let seen = self.decided.clone();
        self.commit_queue.push_all(&mut self.decided);
        let now = self.pipeline.at();
        for (symbol, prices) in self.pipeline.prices() {
            let judged = Judged {
                accepted: prices.live,
                accepted_at: prices.live_at,
                in_vain: prices.is_in_vain(now),
            };
            drop(self.link.on(LinkEvent::Judged(symbol, judged), now, 0.0)); // it answers nothing
        }
        seen
    }

    pub(crate) fn tell_link(&mut self, change: LinkChange, now: Timestamp) {
        self.decide(
            Input {
                at: now,
                what: InputKind::Link(change),
            },
            Decoded::Nothing,
        );
    }
}
