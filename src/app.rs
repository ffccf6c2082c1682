//! Builds the service from its parts, runs it, and stops it in order.
//!
//! ```text
//!  start:  ledger → tree (sinks first) → HTTP server with a fan-out shard a thread
//!  stop:   feed off → the commit queue is closed and written → clients are sent `goaway` and closed, the store catches up → threads end
//! ```

mod stores;
mod cluster;
mod standby;
mod lease;
mod parts;
mod ending;
mod journal;
mod peers;

use crate::actors::fanout::{ClientCounts, LedgerSource, SessionStart};
use crate::actors::messages::Report;
use crate::actors::tree::{EdgeParts, GateParts, Tree, TreeParts, VendorParts};
use crate::actors::vendor::RootsError;
use crate::actors::views::PipelineView;
use crate::cache::{Cache, CacheError, Memory};
use crate::calendar_file;
use crate::clock::{Clock, Stopwatch};
use crate::domain::cluster::{LeaderNews, NodeRole};
use crate::domain::history::l0_table;
use crate::domain::model::{Channel, Position, Sequenced, Sessions, Symbol};
use crate::domain::pipeline::PairRules;
use crate::domain::protocol::{Close, Window, Zones};
use crate::exit::Exit;
use crate::ledger::{self, Doubt, KeyUseBook, KeyUseError, Ledger, LedgerError, LedgerOptions, LedgerReader, Parcels};
use crate::limits;
use crate::settings::{Role, Valid};
use crate::store::{Store, StoreError};
use crate::views::{Overall, ServiceView};
use crate::web::{self, DoorLimits, Extras, RunningServer, ServeError, WebParts};
use cluster::Inherited;
use ending::Writing;
pub(crate) use parts::{calendars, key_policy, keys, l0_table, markets, upstream_tls};
use parts::{feed, policy};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

pub use ending::{Ending, until_over};
pub use lease::while_leased;
pub use stores::exit_of_store;

/// Raises the limit of descriptors before any thread needs one.
///
/// # Errors
/// [`StartError::Serve`] when there are too few.
pub fn reserve_descriptors() -> Result<(), StartError> {
    web::reserve_descriptors()?;
    Ok(())
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each sentence is its own documentation")]
pub enum StartError {
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The name of the history's table is invalid.
    #[error(transparent)]
    L0Table(#[from] l0_table::NameError),
    /// The book of key use cannot be opened.
    #[error(transparent)]
    KeyUse(#[from] KeyUseError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cache's address is wrong.
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("this edge cannot use the cluster log in REDIS_URL: {0}")]
    Log(String),
    /// The address cannot be bound.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The file of additional authorities cannot be used.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The calendar's own entries cannot be read.
    #[error(transparent)]
    Calendar(#[from] calendar_file::CalendarFileError),
    #[error("cannot start: {0}; free some memory or raise the limit on threads")]
    System(#[from] std::io::Error),
}

impl StartError {
    /// The exit code for this error.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Ledger(LedgerError::InUse { .. }) | Self::Cache(CacheError::AnotherWriter(_)) | Self::Log(_) => {
                Exit::TryAgain
            }
            Self::Store(error) => exit_of_store(error),
            Self::Ledger(_) | Self::KeyUse(_) | Self::Serve(_) | Self::System(_) => Exit::Resource,
            Self::Calendar(_) | Self::Cache(_) | Self::L0Table(_) | Self::Roots(_) => Exit::Settings,
        }
    }
}

/// A running service.
#[derive(Debug)]
pub struct App {
    tree: Tree,
    server: RunningServer,
    counts: Arc<ClientCounts>,
    /// Store and cache; this process holds their leases.
    leased: (Store, Cache),
    view: watch::Receiver<Arc<ServiceView>>,
    ran: Stopwatch,
    /// The database whose lease this standby asks for; `None` on any other node.
    standby: Option<Store>,
    /// Whether other nodes continue where this process stops: it leads a cluster.
    leads_others: bool,
}

/// The outcome of a run, once the service has stopped.
#[derive(Debug, Clone)]
pub struct Stopped {
    /// Counts of the pipeline.
    pub pipeline: PipelineView,
    /// The last position of the ledger.
    pub head: Position,
    /// Decided entries that could not be written to the ledger.
    pub unwritten: usize,
    /// Events that the store does not have yet.
    pub unstored: u64,
    /// WebSocket clients that connected.
    pub clients: u64,
    /// Actors restarted.
    pub restarts: u64,
    /// How long it ran, real time.
    pub ran: Duration,
}

impl App {
    /// Starts everything. `taps` receive bars, gaps and sessions.
    ///
    /// # Errors
    /// [`StartError`]: what cannot be used, and the remedy.
    pub async fn start(settings: Valid, clock: Clock, taps: Vec<mpsc::Sender<Sequenced>>) -> Result<Self, StartError> {
        match settings.cluster.role {
            Role::Edge => Self::follow(&settings, clock, None).await,
            Role::Ingest => standby::start(settings, clock, taps).await,
            Role::All => Self::lead(settings, clock, taps, None).await,
        }
    }

    /// Goes on as the leader, in the same process and at the same address, once this standby has the lease.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn take_over(self, mut settings: Valid, clock: Clock) -> Result<Self, StartError> {
        let took = Stopwatch::start();
        let address = self.address();
        self.root_stops().await;
        self.server.drain_quickly(Close::Restarting).await;
        self.tree.end().await;
        settings.server.address = address;
        let leading = Self::lead(settings, clock, Vec::new(), self.standby).await?;
        tracing::info!(lasted_ms = took.elapsed().as_millis(), "this candela leads");
        Ok(leading)
    }

    /// Starts a node that decides: alone, or as the leader of a cluster, with the database whose lease it has. The lease is renewed
    /// meanwhile, however long a server delays the start.
    async fn lead(
        settings: Valid,
        clock: Clock,
        taps: Vec<mpsc::Sender<Sequenced>>,
        leased: Option<Store>,
    ) -> Result<Self, StartError> {
        let lease = leased.clone();
        let beginning = Box::pin(Self::begin(settings, clock, taps, leased));
        match lease {
            Some(store) => lease::keep_while(&store, beginning).await,
            None => beginning.await,
        }
    }

    async fn begin(
        settings: Valid,
        clock: Clock,
        taps: Vec<mpsc::Sender<Sequenced>>,
        leased: Option<Store>,
    ) -> Result<Self, StartError> {
        let inherited = match &leased {
            Some(store) => {
                let own = ledger::lock_folder(&settings.ledger.dir)?.holder().id.clone();
                cluster::inherit(&settings, &own, store).await?
            }
            None => Inherited::default(),
        };
        let term = leased.as_ref().map_or(0, |store| store.succession().term);
        let calendars = calendars(&settings)?;
        let markets = markets(&settings, &calendars);
        let mut ledger = open_ledger(&settings, &markets, &clock)?;
        let journal = journal::at_start(&settings, &ledger, (inherited.from.as_deref(), term), clock.now())?;
        let reader = ledger.reader();
        let zones = zones(&markets);
        let by = ledger.holder().clone();
        let store = stores::open_store(&settings, &l0_table(&settings)?, &by, leased).await?;
        let cache = stores::open_cache(&settings, &by, inherited.from.as_deref()).await;
        if matches!(cache, Err(CacheError::AnotherWriter(_))) {
            store.release_lease().await; // the next holder need not wait
        }
        let cache = cache?;
        stores::look_ahead(&mut ledger, &store).await?;
        if let Some(problem) = &inherited.unproven {
            tracing::warn!(
                error = problem,
                "nothing proves that everything the previous leader published is here: every channel begins a new epoch"
            );
            ledger.renumber(Doubt::Unproven, Position(0))?;
        }
        let provable = inherited.unproven.is_some() || store.succession().provable; // in new epochs nothing is told yet
        let mut log = cluster::meet(&settings, &mut ledger, (&store, provable)).await?;
        if let Some(log) = &mut log {
            log.took_over = inherited.from.is_some();
        }
        let leads_others = log.is_some();
        let leased = (store.clone(), cache.clone());
        let parts = TreeParts {
            vendor: vendor_parts(&settings, &markets, &inherited.said.unwrap_or_default())?,
            gate: GateParts {
                flag_folder: settings.l0.dir.clone(),
                l0_table: l0_table(&settings)?,
                policy: policy(&settings),
            },
            markets: markets.clone(),
            clock: clock.clone(),
            ledger,
            zones: Arc::new(zones.clone()),
            store,
            cache,
            tick_retention: settings.store.tick_retention,
            taps,
            shards: workers(&settings),
            calendars,
            calendar_file: settings.market.calendar_file.clone(),
            journal,
            log,
        };
        let tree = Tree::start(parts)?;
        let leading = Self::serve(&settings, tree, clock, markets, zones, reader, leased)?;
        Ok(Self {
            leads_others,
            ..leading
        })
    }

    /// Starts an edge, or, with `standby`, an edge that asks for the lease of that database.
    async fn follow(settings: &Valid, clock: Clock, standby: Option<Store>) -> Result<Self, StartError> {
        let calendars = calendars(settings)?;
        let markets = markets(settings, &calendars);
        let zones = zones(&markets);
        let (ledger, carrier) = cluster::begin_edge(settings).await?;
        let reader = ledger.reader();
        let store = stores::open_to_read(settings)?;
        let leased = (store.clone(), Cache::Memory(Memory::default()));
        let tree = Tree::start_edge(EdgeParts {
            markets: markets.clone(),
            clock: clock.clone(),
            ledger,
            carrier,
            role: if standby.is_some() {
                NodeRole::Standby
            } else {
                NodeRole::Edge
            },
            zones: Arc::new(zones.clone()),
            store,
            shards: workers(settings),
            calendars,
            calendar_file: settings.market.calendar_file.clone(),
            lead: policy(settings).wait_max,
        })?;
        let following = Self::serve(settings, tree, clock, markets, zones, reader, leased)?;
        Ok(Self { standby, ..following })
    }

    /// Serves clients from a running tree.
    fn serve(
        settings: &Valid,
        tree: Tree,
        clock: Clock,
        markets: Vec<PairRules>,
        zones: Zones,
        reader: LedgerReader,
        leased: (Store, Cache),
    ) -> Result<Self, StartError> {
        let noted = reader.clone();
        let reader = Mutex::new(reader);
        let history = leased.0.clone();
        let view = tree.views.service.subscribe();
        let status = tree.views.status_frame.subscribe();
        let watched = view.clone();
        let counts = Arc::new(ClientCounts::listing(tree.views.clients.clone()));
        let mut server = web::serve(WebParts {
            bind: settings.server.address,
            workers: workers(settings),
            window: Window::default(),
            symbols: markets.iter().map(|market| market.symbol).collect(),
            intervals: settings.market.intervals.clone(),
            zones,
            clock,
            counts: Arc::clone(&counts),
            view,
            status,
            ledger: Arc::new(move || -> Box<dyn LedgerSource> {
                Box::new(reader.lock().unwrap_or_else(PoisonError::into_inner).clone())
            }),
            session_start: Some(session_start(&markets)),
            start_shard: Arc::clone(&tree.start_shard),
            origins: settings.server.cors_origins.clone(),
            door: DoorLimits::of(&settings.server),
            extras: Extras {
                run_action: tree.run_action.clone(),
                measures: tree.views.measures.clone(),
                ..Extras::of(&settings.server, history, noted, sessions(&markets))?
            },
            #[cfg(feature = "test-hooks")]
            hooks: hooks(&tree),
        })?;
        tree.views.address.send_replace(Some(server.address()));
        if let Some(serving) = server.take_server() {
            run_beside(serving);
        }
        Ok(Self {
            tree,
            server,
            counts,
            leased,
            view: watched,
            ran: Stopwatch::start(),
            standby: None,
            leads_others: false,
        })
    }

    /// The address on which it listens.
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The service's state, as it changes.
    pub fn states(&self) -> watch::Receiver<Overall> {
        self.tree.views.overall.subscribe()
    }

    /// The snapshot that `/status` shows, as it changes.
    pub fn view(&self) -> watch::Receiver<Arc<ServiceView>> {
        self.view.clone()
    }

    /// Waits until this standby has the lease; for ever on a node that is no standby.
    async fn leased(&self) {
        match &self.standby {
            Some(store) => standby::until_leased(store, &mut standby::DatabaseOutage::default()).await,
            None => std::future::pending().await,
        }
    }

    /// Waits until the link to the vendor is up.
    pub async fn linked(&self) {
        let mut feed = self.tree.views.feed.subscribe();
        drop(feed.wait_for(|view| view.state == "live").await);
    }

    /// Stops in order, within ten seconds, and returns the outcome. After a failure clients are sent that the service restarts: its
    /// supervisor starts it again.
    pub async fn stop(self, ending: Ending) -> Stopped {
        let views = &self.tree.views;
        let pipeline = views.pipeline.borrow().clone();
        self.root_stops().await;
        self.journal_ends().await;
        // Decided entries are written and published before any client is closed.
        let writing = self.writing();
        let unwritten = writing.ledger_ends().await;
        tokio::time::sleep(limits::STOP_TELLING).await;
        let close = match ending {
            Ending::Failed(_) => Close::Restarting,
            Ending::Asked | Ending::Over | Ending::Leased => Close::GoingAway,
        };
        let stored = async {
            if self.leads_others {
                writing.logged().await;
            }
            // What the store still lacks then the next leader writes: it has all of it.
            let within = if self.leads_others {
                limits::HAND_ON_STORING
            } else {
                limits::STOP_WRITING
            };
            let unstored = writing.stored(within).await;
            if self.leads_others {
                self.give_leases_back().await; // a standby takes over while clients are sent there
            }
            unstored
        };
        let ((), unstored) = tokio::join!(self.server.drain(close), stored);
        writing.ledger_rests().await;
        let stopped = Stopped {
            pipeline,
            head: views.latest.borrow().head,
            unwritten,
            unstored,
            clients: self.counts.connections_total.load(Ordering::Relaxed),
            restarts: self.tree.vitals.iter().map(|vitals| u64::from(vitals.restarts())).sum(),
            ran: self.ran.elapsed(),
        };
        self.give_leases_back().await;
        self.tree.stop();
        stopped
    }

    /// Sends `Stopping` to Root; a Root that is gone or hangs is not waited for.
    async fn root_stops(&self) {
        let told = self.tree.root.send(Report::Stopping);
        drop(tokio::time::timeout(limits::STOP_JOURNAL, told).await);
    }

    async fn give_leases_back(&self) {
        let (store, cache) = &self.leased;
        tokio::join!(store.release_lease(), cache.release_lease());
    }

    /// Waits until the journal's last entries, those of this stop, are in the ledger.
    async fn journal_ends(&self) {
        if self.tree.writer.is_none() {
            return; // an edge has no journal of its own
        }
        let handed = self.tree.journal.handed();
        let mut latest = self.tree.views.latest.subscribe();
        let written = latest.wait_for(|view| view.journal >= handed);
        drop(tokio::time::timeout(limits::STOP_JOURNAL, written).await);
    }

    fn writing(&self) -> Writing {
        let tree = &self.tree;
        let views = &self.tree.views;
        Writing {
            commit_queue: tree.commit_queue.clone(),
            ledger: Arc::clone(&tree.ledger),
            latest: views.latest.subscribe(),
            writer: tree.writer.clone(),
            store: views.store.subscribe(),
        }
    }
}

/// The vendor's side, with the credits that its keys have used today, also under the leader before.
fn vendor_parts(settings: &Valid, markets: &[PairRules], before: &LeaderNews) -> Result<VendorParts, StartError> {
    let key_use = KeyUseBook::open(&settings.ledger.dir)?;
    for used in &before.keys {
        key_use.save_more(used)?;
    }
    Ok(VendorParts {
        feed: feed(settings, markets)?,
        rest_url: settings.upstream.rest_url.clone(),
        keys: keys(settings),
        key_policy: key_policy(settings),
        key_use,
        key_away: before.link_key,
        poll_after: settings.upstream.poll_after,
    })
}

/// Opens the ledger; its first file is that of the session that is open or opens next.
fn open_ledger(settings: &Valid, markets: &[PairRules], clock: &Clock) -> Result<Ledger, LedgerError> {
    let now = clock.now();
    let session = markets
        .first()
        .and_then(|market| market.sessions.at(now).or_else(|| market.sessions.after(now)));
    let date = session.map_or_else(|| now.datetime().date_naive(), |session| session.date);
    let options = LedgerOptions {
        channels: markets
            .iter()
            .flat_map(channels_of)
            .chain([Channel::events()])
            .collect(),
        days: settings.ledger.days,
        backup: settings.ledger.backup_dir.clone(),
        parcels: if settings.cluster.role == Role::Ingest {
            Parcels::Counted
        } else {
            Parcels::Uncounted
        },
        ..LedgerOptions::new(date, fastrand::u64(..))
    };
    Ledger::open(&settings.ledger.dir, options)
}

/// The time zone in which each market's times are shown.
fn zones(markets: &[PairRules]) -> Zones {
    Zones::new(
        markets
            .iter()
            .map(|market: &PairRules| (market.symbol, market.sessions.zone()))
            .collect(),
    )
}

fn workers(settings: &Valid) -> usize {
    settings.server.workers.unwrap_or(limits::HTTP_WORKERS)
}

fn channels_of(market: &PairRules) -> Vec<Channel> {
    let symbol = market.symbol;
    let bars = market.intervals.iter().map(|interval| Channel::bars(*interval, symbol));
    let others = [
        Channel::ticks(symbol),
        Channel::quality(symbol),
        Channel::session(symbol),
    ];
    others.into_iter().chain(bars).collect()
}

fn sessions(markets: &[PairRules]) -> Vec<(Symbol, Arc<dyn Sessions>)> {
    markets
        .iter()
        .map(|market: &PairRules| (market.symbol, Arc::clone(&market.sessions)))
        .collect()
}

/// Finds when the session that is open, or else the last one, opened.
fn session_start(markets: &[PairRules]) -> SessionStart {
    let sessions = sessions(markets);
    Arc::new(move |symbol, now| {
        let (_, sessions) = sessions.iter().find(|(known, _)| *known == symbol)?;
        sessions.latest(now).map(|session| session.opens)
    })
}

#[cfg(feature = "test-hooks")]
fn hooks(tree: &Tree) -> web::Hooks {
    // `fanout` names every shard; any other name is one child.
    fn named(vitals: &[crate::actors::supervision::Vitals], name: &str) -> Vec<crate::actors::supervision::Vitals> {
        let is = |known: &str| known == name || known.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
        vitals.iter().filter(|vitals| is(vitals.name())).cloned().collect()
    }
    let panicking = tree.vitals.clone();
    let hanging = tree.vitals.clone();
    web::Hooks {
        panic: Arc::new(move |name, ()| {
            let found = named(&panicking, name);
            found.iter().for_each(crate::actors::supervision::Vitals::ask_to_panic);
            !found.is_empty()
        }),
        hang: Arc::new(move |name, time: Duration| {
            let found = named(&hanging, name);
            let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            found.iter().for_each(|vitals| vitals.ask_to_hang(ms));
            !found.is_empty()
        }),
    }
}

/// Runs the HTTP server's own future on this thread.
#[expect(
    clippy::disallowed_methods,
    reason = "the server supervises its worker threads itself, and ends when it is drained"
)]
fn run_beside(serving: actix_web::dev::Server) {
    actix_rt::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(error = %error, "the HTTP server ended");
        }
    });
}
