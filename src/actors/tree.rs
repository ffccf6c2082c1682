//! The whole supervision tree on one page. Children start in this order, sinks first, and stop in the reverse order. Every mailbox is made
//! before any actor runs and outlives restarts: an address never changes.

mod edge;
mod spawner;

pub use edge::EdgeParts;

use crate::actors::cluster::{LogKeeper, NodeName, log_keeper};
use crate::actors::control::{
    Certificates, Health, JournalKeeper, L0Watcher, LeaseKeeper, Root, SessionClock, Validator, health, l0_watcher,
    root, session_clock, validator,
};
use crate::actors::core::{Aggregator, Carried, CommitQueue, Recorder, aggregator, recorder};
use crate::actors::fanout::{self, Fanout};
use crate::actors::followers::{Publisher, Tap, Writer, tap, writer};
use crate::actors::messages::{
    Arrived, Flush, Recorded, Report, RunAction,
    WhenSpent::{Exit, FallBack, KeepTrying},
};
use crate::actors::services::Services;
use crate::actors::supervision::{
    Row, Vitals,
    supervise::mailbox,
    watchdog::{self, WatchdogHold},
};
use crate::actors::tree::spawner::{Spawner, row};
use crate::actors::vendor::{
    Backfill, Feed, FeedSettings, KeyPool, KeyPoolLink, Poller, VendorAccess, backfill, feed, key_pool, poller,
};
use crate::actors::views::Views;
use crate::cache::Cache;
use crate::carrier::Carrier;
use crate::clock::{Clock, Stopwatch};
use crate::domain::calendar::Calendar;
use crate::domain::cluster::NodeRole;
use crate::domain::history::{L0Table, WaitPolicy};
use crate::domain::model::{Sequenced, Symbol};
use crate::domain::pipeline::PairRules;
use crate::domain::protocol::Zones;
use crate::domain::status::Journal;
use crate::domain::vendor::{KeyPolicy, KeySlot};
use crate::ledger::{KeyUseBook, Ledger};
use crate::limits;
use crate::store::Store;
use actix::{Addr, Arbiter, Recipient};
use secrecy::SecretString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
#[rustfmt::skip]
pub(super) mod rows {
    use super::*;
    //                             name          mailbox            restarts    back-off, ms   when the budget is spent
    pub(in crate::actors) const LEASES: Row     = row("lease_keeper", limits::CONTROL,  5, MINUTE,  1_000, 5_000,  KeepTrying); // whoever writes is fenced
    pub(in crate::actors) const WRITER: Row     = row("writer",     limits::WRITER,     5, MINUTE,  1_000, 30_000, KeepTrying); // the ledger holds, the store lags
    pub(in crate::actors) const PUBLISHER: Row  = row("publisher",  limits::PUBLISHER,  5, MINUTE,  1_000, 30_000, KeepTrying); // the cache is a convenience
    pub(in crate::actors) const TAP: Row        = row("tap",        limits::TAP,        5, MINUTE,  1_000, 30_000, KeepTrying); // it only shows
    pub(in crate::actors) const FANOUT: Row     = row("fanout",     limits::FANOUT,     3, MINUTE,  10,    5_000,  Exit);       // clients resume after a restart
    pub(in crate::actors) const RECORDER: Row   = row("recorder",   limits::RECORDER,   3, MINUTE,  10,    1_000,  Exit);       // nothing may be told unwritten
    pub(in crate::actors) const KEEPER: Row     = row("log_keeper", limits::WRITER,     5, MINUTE,  100,   5_000,  Exit);       // what the log has is told through it
    pub(in crate::actors) const FOLLOWER: Row   = row("log_follower", limits::CONTROL,  3, MINUTE,  10,    1_000,  Exit);       // an edge has nothing else to tell
    pub(in crate::actors) const AGGREGATOR: Row = row("aggregator", limits::AGGREGATOR, 3, MINUTE,  10,    1_000,  Exit);       // a bug in the core: start clean
    pub(in crate::actors) const KEY_POOL: Row   = row("key_pool",   limits::CONTROL,    3, MINUTE,  1_000, 5_000,  Exit);       // a key used wrongly is a key lost
    pub(in crate::actors) const BACKFILL: Row   = row("backfill",   limits::CONTROL,    5, MINUTE,  1_000, 60_000, FallBack);   // gaps stay open, and are said to be
    pub(in crate::actors) const FEED: Row       = row("feed",       limits::CONTROL,    20, HOUR,   100,   60_000, FallBack);   // poll and backfill instead
    pub(in crate::actors) const POLLER: Row     = row("poller",     limits::CONTROL,    5, MINUTE,  1_000, 60_000, FallBack);   // the link is the better way
    pub(in crate::actors) const CLOCK: Row      = row("session_clock", limits::CONTROL, 3, MINUTE,  1_000, 5_000,  Exit);       // nobody else knows the market's hours
    pub(in crate::actors) const L0: Row         = row("l0_watcher", limits::CONTROL,    5, MINUTE,  1_000, 30_000, FallBack);   // the gate times out, and says so
    pub(in crate::actors) const VALIDATOR: Row  = row("validator",  limits::CONTROL,    5, MINUTE,  1_000, 30_000, FallBack);   // the gate goes on without, and says so
    pub(in crate::actors) const HEALTH: Row     = row("health",     limits::CONTROL,    5, MINUTE,  1_000, 30_000, KeepTrying); // the last snapshot stands
    pub(in crate::actors) const ROOT: Row       = row("root",       limits::ROOT,       3, MINUTE,  10,    1_000,  Exit);       // nobody else decides
}

/// The table above, in starting order. `/status` shows those that run: `log_keeper` only on an ingest, `log_follower` only on an edge.
pub const CHILDREN: [Row; 18] = [
    rows::LEASES,
    rows::WRITER,
    rows::PUBLISHER,
    rows::TAP,
    rows::FANOUT,
    rows::RECORDER,
    rows::KEEPER,
    rows::FOLLOWER,
    rows::AGGREGATOR,
    rows::KEY_POOL,
    rows::BACKFILL,
    rows::FEED,
    rows::POLLER,
    rows::CLOCK,
    rows::L0,
    rows::VALIDATOR,
    rows::HEALTH,
    rows::ROOT,
];

/// A running tree.
pub struct Tree {
    /// Every child, in starting order.
    pub vitals: Vec<Vitals>,
    /// The views that they write.
    pub views: Views,
    /// Decided entries that are not in the ledger yet.
    pub commit_queue: CommitQueue,
    /// Sends `Stopping` to Root.
    pub root: Recipient<Report>,
    /// Runs the actions that operators request; none on an edge.
    pub run_action: Option<Recipient<RunAction>>,
    /// Has the Writer write what waits; `None` on an edge.
    pub writer: Option<Recipient<Flush>>,
    /// Takes the journal's entries from Root and Health.
    pub journal: JournalKeeper,
    /// The ledger, for appending.
    pub ledger: Arc<Mutex<crate::ledger::Ledger>>,
    /// Starts the fan-out shard of an HTTP thread, on that thread.
    pub start_shard: Arc<dyn Fn(usize, fanout::Deps) -> Addr<Fanout> + Send + Sync>,
    arbiters: Vec<Arbiter>,
    _watched: WatchdogHold,
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").finish_non_exhaustive() // its vitals say the rest
    }
}

impl Tree {
    /// Starts every child but the fan-out shards, which start with their HTTP threads.
    ///
    /// # Errors
    /// When the system gives no thread for the watchdog.
    #[rustfmt::skip]
    pub fn start(parts: TreeParts) -> std::io::Result<Self> {
        let TreeParts { markets, clock, ledger, zones, store, cache, tick_retention, taps, shards, vendor, calendars, calendar_file, gate, journal, log } = parts;
        let (root, root_mail) = mailbox::<Root>(&rows::ROOT);
        let services = Services::new(clock.clone(), ledger.reader(), (store, cache), zones, root.clone().recipient());
        let mut children = Spawner { up: services.root.clone(), rows: Vec::new(), arbiters: Vec::new() };
        let commit_queue = CommitQueue::default();
        let followed = follow(&calendars);
        let by = ledger.holder().clone();
        let holding = ledger.holding_reader();
        let next = ledger.head().next();
        let renumbered = ledger.renumbered();
        let ledger = Arc::new(Mutex::new(ledger));

        // Sinks first: an actor is only ever given addresses of actors that exist.
        children.start(rows::LEASES, LeaseKeeper::new, services.clone());
        let writer = children.start(rows::WRITER, Writer::new, writer::Deps { services: services.clone(), ledger: holding, tick_retention, located: Arc::default() });
        let publisher = children.start(rows::PUBLISHER, Publisher::new, services.clone());
        let mut readers: Vec<(String, Recipient<Recorded>)> = vec![("writer".to_owned(), writer.clone().recipient()), ("publisher".to_owned(), publisher.recipient())];
        for out in taps {
            let tap = children.start(rows::TAP, Tap::new, tap::Deps { services: services.clone(), out, next: Arc::new(next.0.into()) });
            readers.push(("tap".to_owned(), tap.recipient()));
        }
        let start_shard = children.shards(shards, &mut readers);
        let shows = log.is_none();
        if let Some(LogParts { carrier, begun_after, tells_alone, took_over }) = log {
            let name = NodeName { by, role: NodeRole::Leader, took_over };
            let keeper = children.start(rows::KEEPER, LogKeeper::new, log_keeper::Deps { services: services.clone(), carrier, readers, begun_after, tells_alone, name });
            readers = vec![("log_keeper".to_owned(), keeper.recipient())];
        }
        let recorder = children.start(rows::RECORDER, Recorder::new, recorder::Deps { services: services.clone(), ledger: Arc::clone(&ledger), commit_queue: commit_queue.clone(), readers, shows });
        let aggregator = children.start(rows::AGGREGATOR, Aggregator::new, aggregator::Deps { services: services.clone(), markets: markets.clone(), commit_queue: commit_queue.clone(), recorder: recorder.recipient(), carried: Carried::default() });
        let arrived = aggregator.recipient::<Arrived>();
        let can_fetch = !vendor.keys.is_empty();
        let spacing = vendor.key_policy.spacing;
        let journal = JournalKeeper::new(journal, arrived.clone(), clock.clone());
        let pool = children.start(rows::KEY_POOL, KeyPool::new, key_pool::Deps { services: services.clone(), keys: vendor.keys, policy: vendor.key_policy, book: vendor.key_use, away: vendor.key_away, retired: Arc::default(), withdrawn: Arc::default() });
        let keys = KeyPoolLink { acquire: pool.clone().recipient(), answered: pool.clone().recipient() };
        let rest = VendorAccess { rest_url: vendor.rest_url, tls: Arc::clone(&vendor.feed.tls), keys: keys.clone() };
        children.start(rows::BACKFILL, Backfill::new, backfill::Deps { services: services.clone(), vendor: rest.clone(), arrived: arrived.clone() });
        children.start(rows::POLLER, Poller::new, poller::Deps { services: services.clone(), vendor: rest, symbols: vendor.feed.symbols.clone(), patience: vendor.poll_after, arrived: arrived.clone() });
        children.start(rows::FEED, Feed::new, feed::Deps { services: services.clone(), settings: vendor.feed, keys, arrived: arrived.clone() });
        let (flag, flag_mail) = mailbox::<L0Watcher>(&rows::L0);
        if let Some((_, calendar)) = calendars.first() {
            children.supervise(rows::L0, flag_mail, L0Watcher::new, l0_watcher::Deps { services: services.clone(), folder: gate.flag_folder, calendar: calendar.subscribe() });
        }
        let pairs: Vec<Symbol> = calendars.iter().map(|(pair, _)| *pair).collect();
        let certificates = Arc::new(Mutex::new(Certificates::new(services.ledger.clone(), pairs.iter().copied())));
        let validator = children.start(rows::VALIDATOR, Validator::new, validator::Deps { services: services.clone(), table: gate.l0_table, pairs: followed.clone(), marked: Arc::default(), certificates, arrived });
        children.start(rows::CLOCK, SessionClock::new, session_clock::Deps { services: services.clone(), calendars, calendar_file, lead: gate.policy.wait_max });
        children.enrol(rows::HEALTH, "health");
        children.enrol(rows::ROOT, "root");
        children.start(rows::HEALTH, Health::new, health::Deps { services: services.clone(), markets, calendars: followed, children: children.vitals(), started_at: clock.now(), spacing, journal: journal.clone() });
        let commands = root::Commands { flag: flag.recipient(), validate: validator.clone().recipient(), fill: validator.clone().recipient(), seam: validator.recipient(), key: pool.recipient() };
        let kept = Arc::new(Mutex::new(root::first_lifecycle(&pairs, gate.policy, can_fetch, renumbered, clock.now())));
        children.supervise(rows::ROOT, root_mail, Root::new, root::Deps { services: services.clone(), kept, children: children.rows.clone(), commands, journal: journal.clone() });
        let watched = watchdog::watch(children.rows.clone(), clock)?;
        Ok(Self { vitals: children.vitals(), views: services.views, commit_queue, run_action: Some(root.clone().recipient()), root: root.recipient(), writer: Some(writer.recipient()), journal, ledger, start_shard, arbiters: children.arbiters, _watched: watched })
    }

    /// Ends the threads of the children, the last started first.
    pub fn stop(self) {
        for arbiter in self.arbiters.into_iter().rev() {
            arbiter.stop();
        }
    }

    /// Stops the tree, and waits up to [`limits::TREE_END`] until no child can append to the ledger.
    pub async fn end(self) {
        let ledger = Arc::clone(&self.ledger);
        self.stop();
        let waited = Stopwatch::start();
        while Arc::strong_count(&ledger) > 1 && waited.elapsed() < limits::TREE_END {
            tokio::time::sleep(limits::TREE_END_LOOK).await;
        }
    }
}

/// Subscribes to the calendars: each receiver sees the latest correction.
fn follow(shared: &[(Symbol, Arc<watch::Sender<Calendar>>)]) -> Vec<(Symbol, watch::Receiver<Calendar>)> {
    shared
        .iter()
        .map(|(pair, calendar): &(Symbol, Arc<watch::Sender<Calendar>>)| (*pair, calendar.subscribe()))
        .collect()
}

/// The parts that the tree is built from.
#[derive(Debug)]
pub struct TreeParts {
    /// The pairs.
    pub markets: Vec<PairRules>,
    /// Market time.
    pub clock: Clock,
    /// The ledger, for appending.
    pub ledger: Ledger,
    /// The time zone in which each market's times are shown.
    pub zones: Arc<Zones>,
    /// Bars, ticks and gaps in the database.
    pub store: Store,
    /// Latest prices and streams, in Redis or memory.
    pub cache: Cache,
    /// How long ticks are kept in the store.
    pub tick_retention: Option<Duration>,
    /// Where the demo's screen receives bars, gaps and sessions.
    pub taps: Vec<mpsc::Sender<Sequenced>>,
    /// How many HTTP worker threads there will be, each with a fan-out shard.
    pub shards: usize,
    /// The vendor's side.
    pub vendor: VendorParts,
    /// The pairs' calendars, to follow and to correct.
    pub calendars: Vec<(Symbol, Arc<watch::Sender<Calendar>>)>,
    /// The calendar's override file, if any.
    pub calendar_file: Option<PathBuf>,
    /// What the gate waits for.
    pub gate: GateParts,
    /// The journal, with the entries of this start.
    pub journal: Journal,
    /// The cluster log, on an ingest.
    pub log: Option<LogParts>,
}

/// The cluster log to which an ingest publishes its ledger.
#[derive(Debug)]
pub struct LogParts {
    /// The log's transport.
    pub carrier: Carrier,
    /// The log's last number when this process began its chain behind it.
    pub begun_after: Option<u64>,
    /// Whether events are published while the cluster log is away.
    pub tells_alone: bool,
    /// Whether it took over from another leader.
    pub took_over: bool,
}

/// The vendor's side: the link, REST, keys and limits.
#[derive(Debug)]
pub struct VendorParts {
    /// The link to it.
    pub feed: FeedSettings,
    /// Its REST interface.
    pub rest_url: String,
    /// Its keys.
    pub keys: Vec<(KeySlot, SecretString)>,
    /// What it allows on one key.
    pub key_policy: KeyPolicy,
    /// The credits used today, and where that is kept.
    pub key_use: KeyUseBook,
    /// The key with which another process may still have a link.
    pub key_away: Option<KeySlot>,
    /// How long the link may be without a pair before the pair is polled.
    pub poll_after: Duration,
}

/// What the gate waits for.
#[derive(Debug)]
pub struct GateParts {
    /// The folder of the ready flag.
    pub flag_folder: PathBuf,
    /// The table that holds the history.
    pub l0_table: L0Table,
    /// How long to wait for the history, and what follows then.
    pub policy: WaitPolicy,
}
