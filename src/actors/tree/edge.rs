//! The tree of an edge: it follows the cluster log instead of the vendor, and no child writes to a store or to Redis.

use super::{Spawner, Tree, follow, rows};
use crate::actors::cluster::{EdgeRoot, LogFollower, NodeName, edge_root, log_follower};
use crate::actors::control::{Health, JournalKeeper, SessionClock, health, session_clock};
use crate::actors::core::{Aggregator, CommitQueue};
use crate::actors::services::Services;
use crate::actors::supervision::{supervise::mailbox, watchdog};
use crate::cache::{Cache, Memory};
use crate::carrier::Carrier;
use crate::clock::Clock;
use crate::domain::calendar::Calendar;
use crate::domain::cluster::NodeRole;
use crate::domain::model::Symbol;
use crate::domain::pipeline::PairRules;
use crate::domain::protocol::Zones;
use crate::domain::status::Journal;
use crate::ledger::Ledger;
use crate::store::Store;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// The parts that the tree of an edge is built from.
#[derive(Debug)]
pub struct EdgeParts {
    /// The pairs.
    pub markets: Vec<PairRules>,
    /// Market time.
    pub clock: Clock,
    /// A ledger that follows the leader's.
    pub ledger: Ledger,
    /// The cluster log that it follows.
    pub carrier: Carrier,
    /// Whether it stands by, or is an edge for good.
    pub role: NodeRole,
    /// The time zone in which each market's times are shown.
    pub zones: Arc<Zones>,
    /// The store that history is read from.
    pub store: Store,
    /// How many HTTP worker threads there will be, each with a fan-out shard.
    pub shards: usize,
    /// The pairs' calendars, to follow and to correct.
    pub calendars: Vec<(Symbol, Arc<watch::Sender<Calendar>>)>,
    /// The calendar's override file, if any.
    pub calendar_file: Option<PathBuf>,
    /// How long before a session its opening is announced.
    pub lead: Duration,
}

impl Tree {
    /// Starts every child of an edge but the fan-out shards, which start with their HTTP threads.
    ///
    /// # Errors
    /// When the system gives no thread for the watchdog.
    #[rustfmt::skip]
    pub fn start_edge(parts: EdgeParts) -> std::io::Result<Self> {
        let EdgeParts { markets, clock, ledger, carrier, role, zones, store, shards, calendars, calendar_file, lead } = parts;
        let (root, root_mail) = mailbox::<EdgeRoot>(&rows::ROOT);
        let cache = Cache::Memory(Memory::default());
        let services = Services::new(clock.clone(), ledger.reader(), (store, cache), zones, root.clone().recipient());
        services.views.log.send_replace(Some(Default::default()));
        let mut children = Spawner { up: services.root.clone(), rows: Vec::new(), arbiters: Vec::new() };
        let followed = follow(&calendars);
        let name = NodeName { by: ledger.holder().clone(), role, took_over: false };
        let ledger = Arc::new(Mutex::new(ledger));
        let mut readers = Vec::new();
        let start_shard = children.shards(shards, &mut readers);
        children.start(rows::FOLLOWER, LogFollower::new, log_follower::Deps { services: services.clone(), ledger: Arc::clone(&ledger), carrier, readers, name });
        let (nobody, _) = mailbox::<Aggregator>(&rows::AGGREGATOR); // an edge numbers nothing, so it has no journal of its own
        let journal = JournalKeeper::new(Journal::default(), nobody.recipient(), clock.clone());
        children.start(rows::CLOCK, SessionClock::new, session_clock::Deps { services: services.clone(), calendars, calendar_file, lead });
        children.enrol(rows::HEALTH, "health");
        children.enrol(rows::ROOT, "root");
        children.start(rows::HEALTH, Health::new, health::Deps { services: services.clone(), markets, calendars: followed, children: children.vitals(), started_at: clock.now(), spacing: Duration::ZERO, journal: journal.clone() });
        children.supervise(rows::ROOT, root_mail, EdgeRoot::new, edge_root::Deps { services: services.clone(), children: children.rows.clone() });
        let watched = watchdog::watch(children.rows.clone(), clock)?;
        Ok(Self { vitals: children.vitals(), views: services.views, commit_queue: CommitQueue::default(), run_action: None, root: root.recipient(), writer: None, journal, ledger, start_shard, arbiters: children.arbiters, _watched: watched })
    }
}
