//! Puts the parts together, runs them, and takes them down in order.
//!
//! ```text
//!  start:  ledger → tree (sinks first) → HTTP server with a fan-out shard a thread
//!  stop:   feed off → nothing more is decided, what was is written → clients are told and closed, the store catches up → threads end
//! ```

mod stores;
mod settled;
mod ending;

use crate::actors::aggregator::PipelineView;
use crate::actors::deck::Counts;
use crate::actors::fanout::{ReadsLedger, SessionStart};
use crate::actors::messages::Report;
use crate::actors::tree::{Tree, TreeParts};
use crate::actors::vendor::RootsError;
use crate::cache::CacheError;
use crate::calendar_file;
use crate::clock::{Clock, Stopwatch};
use crate::domain::channel::Channel;
use crate::domain::delivery::Window;
use crate::domain::event::{Numbered, Position};
use crate::domain::frames::Zones;
use crate::domain::l0_table::{self};
use crate::domain::pipeline::Market;
use crate::domain::protocol::Close;
use crate::domain::session::Sessions;
use crate::domain::symbol::Symbol;
use crate::exit::Exit;
use crate::ledger::{KeyUseBook, KeyUseError, Ledger, LedgerError, Options};
use crate::limits;
use crate::settings::Valid;
use crate::store::StoreError;
use crate::views::Overall;
use crate::web::{self, DoorLimits, Extras, RunningServer, ServeError, WebParts};
use ending::Writing;
pub(crate) use settled::{calendars, key_policy, keys, l0_table, markets, upstream_tls};
use settled::{feed, policy};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

pub use stores::exit_of_store;

/// Asks the system for descriptors before any thread needs one.
///
/// # Errors
/// [`StartError::Serve`] when there are too few.
pub fn reserve_descriptors() -> Result<(), StartError> {
    web::reserve_descriptors()?;
    Ok(())
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The history's table is named wrongly.
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
    /// The address cannot be had.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The file of further authorities cannot be used.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The calendar's own entries cannot be read.
    #[error(transparent)]
    Calendar(#[from] calendar_file::CalendarFileError),
    /// The system gives no thread or signal handler.
    #[error("cannot start: {0}; free some memory or raise the limit on threads")]
    System(#[from] std::io::Error),
}

impl StartError {
    /// The exit code it deserves.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Ledger(LedgerError::InUse { .. }) => Exit::TryAgain,
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
    counts: Arc<Counts>,
    ran: Stopwatch,
}

/// Why it should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A signal, or the time that was given.
    Asked,
    /// There is nothing more to come.
    Over,
    /// It cannot go on.
    Failed(Exit),
}

/// What a stopped service leaves.
#[derive(Debug, Clone)]
pub struct Stopped {
    /// What was counted.
    pub pipeline: PipelineView,
    /// Where the ledger ends.
    pub head: Position,
    /// Decisions that could not be written to it.
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
    /// Starts everything. `taps` are told bars, gaps and sessions.
    ///
    /// # Errors
    /// [`StartError`]: what cannot be used, and the remedy.
    #[expect(
        clippy::too_many_lines,
        reason = "the wiring of the service, to be read from top to bottom"
    )]
    pub async fn start(settings: Valid, clock: Clock, taps: Vec<mpsc::Sender<Numbered>>) -> Result<Self, StartError> {
        let calendars = calendars(&settings)?;
        let markets = markets(&settings, &calendars);
        let mut ledger = open_ledger(&settings, &markets, &clock)?;
        let reader = Mutex::new(ledger.reader());
        let workers = settings.server.workers.unwrap_or(limits::HTTP_WORKERS);
        let feed = feed(&settings, &markets)?;
        let zones = Zones::new(
            markets
                .iter()
                .map(|market| (market.symbol, market.sessions.zone()))
                .collect(),
        );
        let store = stores::open_store(&settings, &l0_table(&settings)?).await?;
        stores::look_ahead(&mut ledger, &store).await?;
        let cache = stores::open_cache(&settings)?;
        let history = store.clone();
        let (snapshot, view) = watch::channel(Arc::default());
        let (status_frame, status) = watch::channel(bytes::Bytes::new());
        let parts = TreeParts {
            markets: markets.clone(),
            clock: clock.clone(),
            ledger,
            feed,
            rest_url: settings.upstream.rest_url.clone(),
            keys: keys(&settings),
            key_policy: key_policy(&settings),
            key_use: KeyUseBook::open(&settings.ledger.dir)?,
            shards: workers,
            store,
            tick_retention: settings.store.tick_retention,
            cache,
            zones: Arc::new(zones.clone()),
            calendars,
            calendar_file: settings.market.calendar_file.clone(),
            poll_after: settings.upstream.poll_after,
            flag_folder: settings.l0.dir.clone(),
            l0_table: l0_table(&settings)?,
            policy: policy(&settings),
            taps,
            snapshot,
            status: status_frame,
        };
        let tree = Tree::start(parts)?;
        let counts = Arc::new(Counts::default());
        let mut server = web::serve(WebParts {
            bind: settings.server.address,
            workers,
            window: Window::default(),
            symbols: markets.iter().map(|market| market.symbol).collect(),
            intervals: settings.market.intervals.clone(),
            zones,
            clock,
            counts: Arc::clone(&counts),
            view,
            status,
            ledger: Arc::new(move || -> Box<dyn ReadsLedger> {
                Box::new(reader.lock().unwrap_or_else(PoisonError::into_inner).clone())
            }),
            session_start: Some(session_start(&markets)),
            start_shard: Arc::clone(&tree.start_shard),
            origins: settings.server.cors_origins.clone(),
            door: DoorLimits::of(&settings.server),
            extras: Extras::of(&settings.server, history, sessions(&markets))?,
            #[cfg(feature = "test-hooks")]
            hooks: hooks(&tree),
        })?;
        if let Some(serving) = server.take_server() {
            run_beside(serving);
        }
        Ok(Self {
            tree,
            server,
            counts,
            ran: Stopwatch::start(),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The service's state, as it changes.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<Overall> {
        self.tree.views.overall.clone()
    }

    /// Waits until the link to the vendor is up.
    pub async fn linked(&self) {
        let mut feed = self.tree.views.feed.clone();
        drop(feed.wait_for(|view| view.state == "live").await);
    }

    /// Stops in order, within ten seconds, and tells what was done. After a failure clients are told that the service restarts:
    /// whoever watches over the process starts it again.
    pub async fn stop(self, ending: Ending) -> Stopped {
        let views = &self.tree.views;
        let pipeline = views.pipeline.borrow().clone();
        self.tree.root.send(Report::Stopping).await.unwrap_or_default(); // a Root that is gone has stopped already
        // What was decided is written, and told, before anybody is sent away.
        let writing = self.writing();
        let unwritten = writing.ledger_ends().await;
        tokio::time::sleep(limits::STOP_TELLING).await;
        let close = match ending {
            Ending::Failed(_) => Close::Restarting,
            Ending::Asked | Ending::Over => Close::GoingAway,
        };
        let ((), unstored) = tokio::join!(self.server.drain(close), writing.stored());
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
        self.tree.stop();
        stopped
    }

    fn writing(&self) -> Writing {
        let (tree, views) = (&self.tree, &self.tree.views);
        Writing {
            tray: tree.tray.clone(),
            ledger: Arc::clone(&tree.ledger),
            latest: views.latest.clone(),
            writer: tree.writer.clone().recipient(),
            store: views.store.clone(),
        }
    }
}

/// Waits for a reason to end while `beside` goes on: a signal, the time given, the end of what there is, or a failure.
///
/// # Errors
/// When the system gives no signal handler.
pub async fn until_over(
    app: &App,
    run_for: Option<Duration>,
    over: impl Future<Output = ()>,
    beside: impl Future<Output = ()>,
) -> std::io::Result<Ending> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut failing = app.tree.views.ending.clone();
    let failed = async {
        loop {
            if let Some(exit) = *failing.borrow_and_update() {
                return exit;
            }
            if failing.changed().await.is_err() {
                return Exit::GaveUp;
            }
        }
    };
    Ok(tokio::select! {
        _ = interrupt.recv() => Ending::Asked,
        _ = terminate.recv() => Ending::Asked,
        () = after(run_for) => Ending::Asked,
        () = over => Ending::Over,
        exit = failed => Ending::Failed(exit),
        () = beside => Ending::Over,
    })
}

async fn after(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Opens the ledger; its first file is that of the session that is open or comes next.
fn open_ledger(settings: &Valid, markets: &[Market], clock: &Clock) -> Result<Ledger, LedgerError> {
    let now = clock.now();
    let session = markets
        .first()
        .and_then(|market| market.sessions.at(now).or_else(|| market.sessions.after(now)));
    let date = session.map_or_else(|| now.datetime().date_naive(), |session| session.date);
    let options = Options {
        channels: markets.iter().flat_map(channels_of).collect(),
        days: settings.ledger.days,
        backup: settings.ledger.backup_dir.clone(),
        ..Options::new(date, fastrand::u64(..))
    };
    Ledger::open(&settings.ledger.dir, options)
}

/// All that is told of a pair.
fn channels_of(market: &Market) -> Vec<Channel> {
    let symbol = market.symbol;
    let bars = market.intervals.iter().map(|interval| Channel::bars(*interval, symbol));
    let others = [
        Channel::ticks(symbol),
        Channel::quality(symbol),
        Channel::session(symbol),
    ];
    others.into_iter().chain(bars).collect()
}

fn sessions(markets: &[Market]) -> Vec<(Symbol, Arc<dyn Sessions>)> {
    let calendar = |market: &Market| (market.symbol, Arc::clone(&market.sessions));
    markets.iter().map(calendar).collect()
}

/// When the session that is open, or was last, began.
fn session_start(markets: &[Market]) -> SessionStart {
    let sessions = sessions(markets);
    Arc::new(move |symbol, now| {
        let (_, sessions) = sessions.iter().find(|(known, _)| *known == symbol)?;
        sessions.latest(now).map(|session| session.opens)
    })
}

#[cfg(feature = "test-hooks")]
fn hooks(tree: &Tree) -> web::Hooks {
    // `fanout` names every shard; any other name one child.
    fn named(vitals: &[crate::actors::vitals::Vitals], name: &str) -> Vec<crate::actors::vitals::Vitals> {
        let is = |known: &str| known == name || known.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
        vitals.iter().filter(|vitals| is(vitals.name())).cloned().collect()
    }
    let (panicking, hanging) = (tree.vitals.clone(), tree.vitals.clone());
    web::Hooks {
        panic: Arc::new(move |name, ()| {
            let found = named(&panicking, name);
            found.iter().for_each(crate::actors::vitals::Vitals::ask_to_panic);
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
