//! The HTTP server: binds, starts a worker thread with its deck and fan-out shard for each core, and drains.

use crate::actors::deck::{Counts, Deck};
use crate::actors::fanout::{OpensLedger, Parts, SessionStart};
use crate::clock::Clock;
use crate::domain::delivery::Window;
use crate::domain::frames::Zones;
use crate::domain::interval::Interval;
use crate::domain::protocol::Close;
use crate::domain::session::Sessions;
use crate::domain::symbol::Symbol;
use crate::limits;
use crate::settings;
use crate::store::Store;
use crate::views::ServiceView;
use crate::web::client::LineOf;
use crate::web::door::{Door, DoorLimits};
use crate::web::thread::{Common, StartShard, Thread};
use crate::web::tls::{self, TlsError, TlsFiles};
use crate::web::tokens::{Tokens, TokensError};
use crate::web::upgrade::Upgrades;
use crate::web::{layers, routes};
use actix_http::HttpService;
use actix_service::{IntoServiceFactory, ServiceFactory, map_config};
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Extensions, Server, ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer};
use bytes::Bytes;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// What the server is given.
#[derive(Clone)]
pub struct WebParts {
    /// Where to listen; port 0 picks a free one.
    pub bind: SocketAddr,
    /// Worker threads.
    pub workers: usize,
    /// The pairs that are served; the first is the default.
    pub symbols: Vec<Symbol>,
    /// The bars that are made.
    pub intervals: Vec<Interval>,
    /// In which zones times are shown.
    pub zones: Zones,
    /// Market time.
    pub clock: Clock,
    /// Counts clients over all threads.
    pub counts: Arc<Counts>,
    /// The service's snapshot.
    pub view: watch::Receiver<Arc<ServiceView>>,
    /// The `status` message as a ready frame (`frames::text_frame`); empty before there is one.
    pub status: watch::Receiver<Bytes>,
    /// Opens the ledger to read.
    pub ledger: OpensLedger,
    /// Knows when a session began.
    pub session_start: Option<SessionStart>,
    /// Starts the fan-out shard of each worker thread.
    pub start_shard: StartShard,
    /// Pages that may connect and ask, besides this server's own.
    pub origins: Vec<String>,
    /// How many clients may come in.
    pub door: DoorLimits,
    /// How much may wait for one client, and how long.
    pub window: Window,
    /// What a server can do without.
    pub extras: Extras,
    /// What the test hooks act through.
    #[cfg(feature = "test-hooks")]
    pub hooks: crate::web::Hooks,
}

/// What a server can do without.
#[derive(Clone, Default)]
pub struct Extras {
    /// Where history is read from.
    pub store: Option<Store>,
    /// What each date is, of each pair.
    pub calendars: Vec<(Symbol, Arc<dyn Sessions>)>,
    /// The tokens that clients must show.
    pub tokens: Option<Arc<Tokens>>,
    /// Tokens are also taken from `?token=`.
    pub query_tokens: bool,
    /// Serve TLS instead of plain TCP.
    pub tls: Option<TlsFiles>,
}

impl Extras {
    /// What the settings ask for.
    ///
    /// # Errors
    /// [`ServeError`] when the file of tokens cannot be used.
    pub fn of(
        settings: &settings::Server,
        store: Store,
        calendars: Vec<(Symbol, Arc<dyn Sessions>)>,
    ) -> Result<Self, ServeError> {
        let tokens = settings.tokens_file.as_deref().map(Tokens::open).transpose()?;
        Ok(Self {
            store: Some(store),
            calendars,
            tokens: tokens.map(Arc::new),
            query_tokens: settings.query_tokens,
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
pub enum ServeError {
    /// Somebody else listens there.
    #[error(
        "cannot listen on {0}: another program does already; stop it, or choose another port (--port 0 picks a free one)"
    )]
    InUse(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}; choose another address or port")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file of tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokensError),
}

/// An order to end all sessions.
#[derive(Debug, Clone, Copy)]
pub struct Drain {
    /// How they are closed: going away or restarting.
    pub close: Close,
    /// Over how long the closes are spread.
    pub over: Duration,
    /// When the clients should come back.
    pub reconnect_after: Duration,
}

/// A server that listens.
pub struct RunningServer {
    address: SocketAddr,
    handle: ServerHandle,
    server: Option<Server>,
    drain: watch::Sender<Option<Drain>>,
    counts: Arc<Counts>,
}

impl std::fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl RunningServer {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's own future: it must be polled for the server to live. Given once.
    pub const fn take_server(&mut self) -> Option<Server> {
        self.server.take()
    }

    /// Tells every client to come back, closes all of them, one after the other within the drain time, and stops.
    pub async fn drain(&self, close: Close) {
        let order = Drain {
            close,
            over: limits::DRAIN,
            reconnect_after: Duration::from_secs(1),
        };
        self.drain.send_replace(Some(order));
        let step = Duration::from_millis(20);
        let mut left = limits::DRAIN.saturating_add(limits::CLIENT_CLOSE);
        while self.counts.connected.load(Ordering::Relaxed) > 0 && !left.is_zero() {
            actix_rt::time::sleep(step).await;
            left = left.saturating_sub(step);
        }
        self.handle.stop(left > limits::CLIENT_CLOSE).await;
    }
}

/// Binds and starts the worker threads. Signals are left to the caller, who calls [`RunningServer::drain`].
///
/// # Errors
/// [`ServeError`] when the address cannot be had.
pub fn serve(parts: WebParts) -> Result<RunningServer, ServeError> {
    let listener = listen(parts.bind)?;
    let address = listener.local_addr().map_err(|source| ServeError::Bind {
        address: parts.bind,
        source,
    })?;
    let (drain, draining) = watch::channel(None);
    let counts = Arc::clone(&parts.counts);
    let workers = parts.workers.clamp(1, limits::HTTP_WORKERS_MAX);
    let next = Arc::new(AtomicUsize::new(0));
    let common = common(&parts, draining.clone());
    let tls = parts.extras.tls.as_ref().map(tls::config).transpose()?;
    let make = move || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        Rc::new(thread(number, &parts, &common, draining.clone()))
    };
    let listening = match tls {
        Some(tls) => listen_secured(listener, workers, tls, make),
        None => listen_plain(listener, workers, make),
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

/// The routes, for the connections of one thread.
fn application(
    thread: Rc<Thread>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    App::new()
        .app_data(thread)
        .configure(routes::routes)
        .wrap(from_fn(layers::cors))
        .wrap(from_fn(layers::identify))
}

/// Plain HTTP, whose WebSocket sessions own their sockets: see `web/upgrade.rs`.
fn listen_plain(
    listener: TcpListener,
    workers: usize,
    make: impl Fn() -> Rc<Thread> + Send + Clone + 'static,
) -> io::Result<Server> {
    let builder = Server::build();
    let ends = builder.graceful_shutdown_signal();
    let builder = builder
        .workers(workers)
        .disable_signals()
        .shutdown_timeout(limits::DRAIN.as_secs())
        .max_concurrent_connections(limits::CLIENTS)
        .listen("candela", listener, move || {
            let thread = make();
            let ends = ends.clone();
            HttpService::build()
                .graceful_shutdown_signal(move || {
                    let ends = ends.clone();
                    async move { ends.notified().await }
                })
                .client_disconnect_timeout(Duration::ZERO) // at 1 ms to 300 ms connections are never ended; at 0 at once
                .tcp_nodelay(true)
                .upgrade(Upgrades(application(Rc::clone(&thread)).into_factory()))
                .finish(map_config(application(thread), |()| AppConfig::default()))
                .tcp()
        })?;
    Ok(builder.run())
}

/// HTTPS, whose WebSocket sessions speak through the bodies of their responses.
fn listen_secured(
    listener: TcpListener,
    workers: usize,
    tls: rustls::ServerConfig,
    make: impl Fn() -> Rc<Thread> + Send + Clone + 'static,
) -> io::Result<Server> {
    let server = HttpServer::new(move || application(make()))
        .workers(workers)
        .disable_signals()
        .shutdown_timeout(limits::DRAIN.as_secs())
        .client_disconnect_timeout(Duration::ZERO)
        .h1_write_buffer_size(1) // a body is asked for more only when all before it is in the kernel: coverage counts on it
        .tcp_nodelay(true)
        .max_connections(limits::CLIENTS.saturating_mul(2))
        .on_connect(prepare);
    Ok(server.listen_rustls_0_23(listener, tls)?.run())
}

fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_tcp_user_timeout(Some(limits::CLIENT_TCP_TIMEOUT))?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(4_096)?;
        Ok(TcpListener::from(socket))
    };
    open().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::InUse(address),
        _ => ServeError::Bind { address, source },
    })
}

/// Prepares a socket accepted over TLS, and keeps a duplicate of its descriptor to shut it.
fn prepare(connection: &dyn Any, data: &mut Extensions) {
    let Some(secured) = connection.downcast_ref::<TlsStream<TcpStream>>() else {
        return;
    };
    let socket = SockRef::from(secured.get_ref().0);
    let set = socket
        .set_send_buffer_size(limits::CLIENT_SOCKET_BUFFER)
        .and_then(|()| socket.set_tcp_notsent_lowat(limits::CLIENT_NOT_SENT));
    if let Err(error) = set {
        tracing::debug!(%error, "failed to set socket options");
    }
    data.insert(LineOf(RefCell::new(socket.try_clone().ok())));
}

fn common(parts: &WebParts, drain: watch::Receiver<Option<Drain>>) -> Common {
    Common {
        symbols: parts.symbols.clone().into(),
        intervals: parts.intervals.clone().into(),
        origins: parts.origins.clone().into(),
        door: Door::new(parts.door),
        store: parts.extras.store.clone(),
        calendars: parts.extras.calendars.clone().into(),
        tokens: parts.extras.tokens.clone(),
        query_tokens: parts.extras.query_tokens,
        view: parts.view.clone(),
        drain,
        #[cfg(feature = "test-hooks")]
        hooks: parts.hooks.clone(),
    }
}

fn thread(number: usize, parts: &WebParts, common: &Common, drain: watch::Receiver<Option<Drain>>) -> Thread {
    let place = u16::try_from(number).unwrap_or(u16::MAX);
    let deck = Deck::new(place, parts.window, Arc::clone(&parts.counts), parts.clock.clone());
    let shard = (parts.start_shard)(
        number,
        Parts {
            deck: Rc::clone(&deck),
            ledger: Arc::clone(&parts.ledger),
            zones: parts.zones.clone(),
            status: parts.status.clone(),
            session_start: parts.session_start.clone(),
        },
    );
    drain_when_told(Rc::clone(&deck), drain);
    Thread {
        deck,
        zones: parts.zones.clone(),
        attach: shard.clone().recipient(),
        detach: shard.recipient(),
        common: common.clone(),
    }
}

/// Ends the sessions of this thread when the order comes.
#[expect(
    clippy::disallowed_methods,
    reason = "ends with the thread, needs no restart, and must work when the shard is parked"
)]
fn drain_when_told(deck: Rc<Deck>, mut drain: watch::Receiver<Option<Drain>>) {
    actix_web::rt::spawn(async move {
        loop {
            let order = *drain.borrow_and_update();
            if let Some(order) = order {
                return drain_deck(&deck, order).await;
            }
            if drain.changed().await.is_err() {
                return;
            }
        }
    });
}

async fn drain_deck(deck: &Deck, order: Drain) {
    let reason = match order.close {
        Close::Restarting => "the service restarts",
        _ => "the service is shutting down",
    };
    let after = u64::try_from(order.reconnect_after.as_millis()).unwrap_or(u64::MAX);
    let goaway = serde_json::json!({"type": "goaway", "reason": reason, "reconnect_after_ms": after});
    let goaway = crate::domain::frames::text_frame(goaway.to_string().as_bytes());
    let seats = deck.seats();
    for seat in &seats {
        seat.outbox.borrow_mut().say(&goaway, deck.now());
        deck.soil(seat);
    }
    deck.flush();
    let steps = 50_u32;
    let bunch = seats.len().div_ceil(usize::try_from(steps).unwrap_or(1)).max(1);
    let pause = order.over / steps;
    for bunch in seats.chunks(bunch) {
        for seat in bunch {
            seat.close(order.close, reason, deck.now());
        }
        actix_rt::time::sleep(pause.min(Duration::from_millis(100))).await;
    }
}
