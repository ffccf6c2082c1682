//! The HTTP server: binds, starts a worker thread with its registry and fan-out shard for each core, and drains.

use crate::actors::fanout::{self, ClientCounts, ClientRegistry, OpenLedger, SessionStart};
use crate::actors::messages::RunAction;
use crate::clock::Clock;
use crate::domain::model::{Interval, Sessions, Symbol};
use crate::domain::protocol::{Close, Window, Zones, pattern};
use crate::ledger::LedgerReader;
use crate::limits;
use crate::measures::Measures;
use crate::settings;
use crate::store::Store;
use crate::views::ServiceView;
use crate::web::server::{
    ClientShare, TlsError, TlsFiles,
    descriptors::reserve_descriptors,
    listen::{listen_plain, listen_secured},
    tls,
};
use crate::web::shared::{Common, Door, DoorLimits, Drain, FileThread, StartShard, Thread, Tokens, TokensError};
use actix::Recipient;
use actix_web::dev::{Server, ServerHandle};
use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// The parts that the server is built from.
#[derive(Clone)]
pub struct WebParts {
    /// The address to listen on; port 0 picks a free one.
    pub bind: SocketAddr,
    /// Worker threads.
    pub workers: usize,
    /// The pairs that are served; the first is the default.
    pub symbols: Vec<Symbol>,
    /// The intervals of the bars.
    pub intervals: Vec<Interval>,
    /// The time zones in which times are shown.
    pub zones: Zones,
    /// Market time.
    pub clock: Clock,
    /// Counts of clients on all threads.
    pub counts: Arc<ClientCounts>,
    /// The service's snapshot.
    pub view: watch::Receiver<Arc<ServiceView>>,
    /// The `status` message as an encoded frame (`frames::text_frame`); empty before the first one.
    pub status: watch::Receiver<Bytes>,
    /// Opens a reader of the ledger.
    pub ledger: OpenLedger,
    /// Finds the start of a session.
    pub session_start: Option<SessionStart>,
    /// Starts the fan-out shard of each worker thread.
    pub start_shard: StartShard,
    /// Origins that may connect and read, in addition to this server's own.
    pub origins: Vec<String>,
    /// The limits on connections.
    pub door: DoorLimits,
    /// How many messages may wait for one client, and how long.
    pub window: Window,
    /// Optional parts.
    pub extras: Extras,
    /// The functions behind the test hooks.
    #[cfg(feature = "test-hooks")]
    pub hooks: crate::web::Hooks,
}

/// The optional parts of a server.
#[derive(Clone, Default)]
pub struct Extras {
    /// The store that history is read from.
    pub store: Option<Store>,
    /// The ledger that the journal is read from, as far back as it reaches.
    pub journal: Option<Arc<Mutex<LedgerReader>>>,
    /// The calendar of each pair.
    pub calendars: Vec<(Symbol, Arc<dyn Sessions>)>,
    /// The counters and timings of `/metrics`.
    pub measures: Measures,
    /// Root, which runs the actions that operators request; `None` on an edge.
    pub run_action: Option<Recipient<RunAction>>,
    /// The tokens that clients must present.
    pub tokens: Option<Arc<Tokens>>,
    /// Whether tokens are also accepted in `?token=`.
    pub query_tokens: bool,
    /// Whether `/td` answers the vendor's clients.
    pub twelvedata: bool,
    /// Whether the test feed is served.
    pub pattern: bool,
    /// Certificate and key, if TLS is served instead of plain TCP.
    pub tls: Option<TlsFiles>,
}

impl Extras {
    /// The optional parts that the settings ask for.
    ///
    /// # Errors
    /// [`ServeError`] when the file of tokens cannot be used.
    pub fn of(
        settings: &settings::Server,
        store: Store,
        journal: LedgerReader,
        calendars: Vec<(Symbol, Arc<dyn Sessions>)>,
    ) -> Result<Self, ServeError> {
        let tokens = settings.tokens_file.as_deref().map(Tokens::open).transpose()?;
        Ok(Self {
            store: Some(store),
            journal: Some(Arc::new(Mutex::new(journal))),
            calendars,
            measures: Measures::default(),
            run_action: None,
            tokens: tokens.map(Arc::new),
            query_tokens: settings.query_tokens,
            twelvedata: settings.twelvedata,
            pattern: settings.test_channels,
            tls: settings.tls.as_ref().map(|files| TlsFiles {
                cert: files.cert.clone(),
                key: files.key.clone(),
            }),
        })
    }
}

impl std::fmt::Debug for Extras {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extras").field("tls", &self.tls).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for WebParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebParts")
            .field("bind", &self.bind)
            .finish_non_exhaustive()
    }
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each sentence is its own documentation")]
pub enum ServeError {
    #[error(
        "cannot listen on {0}: another program already listens there; stop it, or choose another port (--port 0 picks a free one)"
    )]
    InUse(SocketAddr),
    #[error("cannot listen on {address}: {source}; choose another address or port")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    #[error(
        "{0} files and sockets may be open at once, and candela needs {least}: raise the limit, with `ulimit -n 4096` in the shell, \
         LimitNOFILE=4096 in the systemd unit, or --ulimit nofile=4096 for the container",
        least = limits::DESCRIPTORS_LEAST
    )]
    Descriptors(u64),
    #[error("cannot read how many files may be open: {0}")]
    NoDescriptors(io::Error),
    /// The certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file of tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokensError),
}

/// A listening server.
pub struct RunningServer {
    address: SocketAddr,
    handle: ServerHandle,
    server: Option<Server>,
    drain: watch::Sender<Option<Drain>>,
    counts: Arc<ClientCounts>,
}

impl std::fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl RunningServer {
    /// The address on which it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's own future: it must be polled for the server to work. `None` after the first call.
    pub const fn take_server(&mut self) -> Option<Server> {
        self.server.take()
    }

    /// Sends `goaway` to every client, closes all of them within the drain time, a few at a time, and stops.
    pub async fn drain(&self, close: Close) {
        self.drain_over(close, limits::DRAIN, limits::CLIENT_CLOSE).await;
    }

    /// The same within a moment: a takeover needs the address. Clients that do not close are cut off.
    pub async fn drain_quickly(&self, close: Close) {
        self.drain_over(close, limits::TAKEOVER_DRAIN, Duration::ZERO).await;
    }

    async fn drain_over(&self, close: Close, over: Duration, patience: Duration) {
        let order = Drain {
            close,
            over,
            reconnect_after: Duration::from_secs(1),
        };
        self.drain.send_replace(Some(order));
        let step = Duration::from_millis(20);
        let mut left = over.saturating_add(patience);
        while self.counts.connected.load(Ordering::Relaxed) > 0 && !left.is_zero() {
            actix_rt::time::sleep(step).await;
            left = left.saturating_sub(step);
        }
        let graceful = left > patience && !patience.is_zero();
        self.handle.stop(graceful).await;
    }
}

/// Binds and starts the worker threads. Signals are left to the caller, who calls [`RunningServer::drain`].
///
/// # Errors
/// [`ServeError`] when the address cannot be bound.
pub fn serve(mut parts: WebParts) -> Result<RunningServer, ServeError> {
    let workers = parts.workers.clamp(1, limits::HTTP_WORKERS_MAX);
    let share = ClientShare::of(reserve_descriptors()?, workers, parts.extras.tls.is_some());
    parts.door.connections = parts.door.connections.min(share.sessions);
    let listener = listen(parts.bind)?;
    let address = listener.local_addr().map_err(|source| ServeError::Bind {
        address: parts.bind,
        source,
    })?;
    let (drain, draining) = watch::channel(None);
    let counts = Arc::clone(&parts.counts);
    let next = Arc::new(AtomicUsize::new(0));
    let common = common(&parts, share, draining.clone());
    let tls = parts.extras.tls.as_ref().map(tls::config).transpose()?;
    let make = move || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        Rc::new(thread(number, &parts, &common, draining.clone()))
    };
    let listening = match tls {
        Some(tls) => listen_secured(
            listener,
            workers,
            share.sessions / workers + share.connections_a_worker,
            tls,
            make,
        ),
        None => listen_plain(listener, workers, share.connections_a_worker, make),
    };
    let server = listening.map_err(|source| ServeError::Bind { address, source })?;
    Ok(RunningServer {
        address,
        handle: server.handle(),
        server: Some(server),
        drain,
        counts,
    })
}

fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    open_listener(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::InUse(address),
        _ => ServeError::Bind { address, source },
    })
}

fn open_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_user_timeout(Some(limits::CLIENT_TCP_TIMEOUT))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4_096)?;
    Ok(TcpListener::from(socket))
}

fn common(parts: &WebParts, share: ClientShare, drain: watch::Receiver<Option<Drain>>) -> Common {
    Common {
        symbols: parts.symbols.clone().into(),
        intervals: parts.intervals.clone().into(),
        origins: parts.origins.clone().into(),
        door: Door::new(parts.door),
        store: parts.extras.store.clone(),
        journal: parts.extras.journal.clone(),
        calendars: parts.extras.calendars.clone().into(),
        tokens: parts.extras.tokens.clone(),
        query_tokens: parts.extras.query_tokens,
        twelvedata: parts.extras.twelvedata,
        pattern: parts.extras.pattern,
        streams_a_worker: share.streams_a_worker(),
        view: parts.view.clone(),
        drain,
        measures: parts.extras.measures.clone(),
        files: FileThread::start(),
        run_action: parts.extras.run_action.clone(),
        actions: Arc::default(),
        #[cfg(feature = "test-hooks")]
        hooks: parts.hooks.clone(),
    }
}

fn thread(number: usize, parts: &WebParts, common: &Common, drain: watch::Receiver<Option<Drain>>) -> Thread {
    let place = u16::try_from(number).unwrap_or(u16::MAX);
    let registry = ClientRegistry::new(place, parts.window, Arc::clone(&parts.counts), parts.clock.clone());
    registry.zone.set(parts.zones.first());
    let own = pattern::symbol().filter(|_| parts.extras.pattern);
    let zones = own.map_or_else(|| parts.zones.clone(), |symbol| parts.zones.clone().and(symbol));
    let shard = (parts.start_shard)(
        number,
        fanout::Deps {
            registry: Rc::clone(&registry),
            ledger: Arc::clone(&parts.ledger),
            zones,
            status: parts.status.clone(),
            view: parts.view.clone(),
            session_start: parts.session_start.clone(),
            store: parts.extras.store.clone(),
            pattern: parts.extras.pattern,
        },
    );
    drain_when_told(Rc::clone(&registry), drain);
    Thread {
        registry,
        zones: parts.zones.clone(),
        subscribe: shard.clone().recipient(),
        unsubscribe: shard.recipient(),
        common: common.clone(),
        streams: Cell::new(0),
    }
}

/// Ends the sessions of this thread when the server drains.
#[expect(
    clippy::disallowed_methods,
    reason = "ends with the thread, needs no restart, and must work when the shard is parked"
)]
fn drain_when_told(registry: Rc<ClientRegistry>, mut drain: watch::Receiver<Option<Drain>>) {
    actix_web::rt::spawn(async move {
        loop {
            let order = *drain.borrow_and_update();
            if let Some(order) = order {
                return drain_clients(&registry, order).await;
            }
            if drain.changed().await.is_err() {
                return;
            }
        }
    });
}

async fn drain_clients(registry: &ClientRegistry, order: Drain) {
    let reason = match order.close {
        Close::Restarting => "the service restarts",
        _ => "the service is shutting down",
    };
    let after = u64::try_from(order.reconnect_after.as_millis()).unwrap_or(u64::MAX);
    let goaway = serde_json::json!({"type": "goaway", "reason": reason, "reconnect_after_ms": after});
    let goaway = crate::domain::protocol::frames::text_frame(goaway.to_string().as_bytes());
    let connections = registry.connections();
    for connection in &connections {
        connection.outbox.borrow_mut().say(&goaway, registry.now());
        registry.mark_dirty(connection);
    }
    registry.flush();
    let steps = 50_u32;
    let bunch = connections.len().div_ceil(usize::try_from(steps).unwrap_or(1)).max(1);
    let pause = order.over / steps;
    for bunch in connections.chunks(bunch) {
        for connection in bunch {
            connection.close(order.close, reason, registry.now());
        }
        actix_rt::time::sleep(pause.min(Duration::from_millis(100))).await;
    }
}
