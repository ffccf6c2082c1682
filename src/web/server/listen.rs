//! The services behind the listener: plain HTTP or HTTPS, with the same routes in both.

use crate::limits;
use crate::web::server::routes;
use crate::web::shared::{Thread, layers};
use crate::web::ws::{LineOf, Upgrades};
use actix_http::HttpService;
use actix_service::{IntoServiceFactory, ServiceFactory, map_config};
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Extensions, Server, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer};
use socket2::SockRef;
use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;

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

/// Plain HTTP, whose WebSocket sessions own their sockets: see `src/web/ws/upgrade.rs`.
pub(super) fn listen_plain(
    listener: TcpListener,
    workers: usize,
    connections: usize,
    make: impl Fn() -> Rc<Thread> + Send + Clone + 'static,
) -> io::Result<Server> {
    let builder = Server::build();
    let ends = builder.graceful_shutdown_signal();
    let builder = builder
        .workers(workers)
        .disable_signals()
        .shutdown_timeout(limits::DRAIN.as_secs())
        .max_concurrent_connections(connections)
        .listen("candela", listener, move || {
            let thread = make();
            let ends = ends.clone();
            HttpService::build()
                .graceful_shutdown_signal(move || {
                    let ends = ends.clone();
                    async move { ends.notified().await }
                })
                .client_request_timeout(limits::REQUEST_HEAD)
                .client_disconnect_timeout(Duration::ZERO) // from 1 ms to 300 ms connections are never ended (X11); at 0 at once
                .h1_write_buffer_size(1) // as over TLS
                .tcp_nodelay(true)
                .on_connect_ext(keep_handle)
                .upgrade(Upgrades(application(Rc::clone(&thread)).into_factory()))
                .finish(map_config(application(thread), |()| AppConfig::default()))
                .tcp()
        })?;
    Ok(builder.run())
}

/// HTTPS, whose WebSocket sessions send through the bodies of their responses.
pub(super) fn listen_secured(
    listener: TcpListener,
    workers: usize,
    connections: usize,
    tls: rustls::ServerConfig,
    make: impl Fn() -> Rc<Thread> + Send + Clone + 'static,
) -> io::Result<Server> {
    let server = HttpServer::new(move || application(make()))
        .workers(workers)
        .disable_signals()
        .shutdown_timeout(limits::DRAIN.as_secs())
        .client_request_timeout(limits::REQUEST_HEAD)
        .client_disconnect_timeout(Duration::ZERO)
        .h1_write_buffer_size(1) // a body is polled only when everything before is in the kernel: coverage (C1) depends on it
        .tcp_nodelay(true)
        .max_connections(connections)
        .on_connect(prepare);
    Ok(server.listen_rustls_0_23(listener, tls)?.run())
}

/// Keeps a duplicate of a socket's descriptor, by which an event stream can be shut.
fn keep_handle(connection: &TcpStream, data: &mut Extensions) {
    data.insert(LineOf(RefCell::new(SockRef::from(connection).try_clone().ok())));
}

/// Prepares a socket accepted over TLS, and keeps a duplicate of its descriptor to shut it.
fn prepare(connection: &dyn Any, data: &mut Extensions) {
    let Some(secured) = connection.downcast_ref::<TlsStream<TcpStream>>() else {
        return;
    };
    let socket = SockRef::from(secured.get_ref().0);
    let set = socket
        .set_send_buffer_size(limits::CLIENT_SOCKET_BUFFER)
        .and_then(|()| socket.set_tcp_notsent_lowat(limits::CLIENT_NOT_SENT))
        .and_then(|()| socket.set_tcp_user_timeout(Some(limits::CLIENT_TCP_TIMEOUT)));
    if let Err(error) = set {
        tracing::debug!(%error, "failed to set socket options");
    }
    data.insert(LineOf(RefCell::new(socket.try_clone().ok())));
}
