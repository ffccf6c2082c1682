//! Admits requests for a WebSocket: checks handshake, origin, token and connection limits, and starts the session on its
//! transport.

use crate::actors::fanout::{ClientRegistry, Connection, Transport};
use crate::domain::model::Symbol;
use crate::domain::protocol::{Framing, Wanted};
use crate::limits;
use crate::web::shared::{Access, HttpError, Pass, Thread, access::shown_token, layers};
use crate::web::ws::{Body, Client, Handover, InboundMessage, Reader, Wire, client, handshake, wanted::wanted_of};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use bytes::BytesMut;
use futures_util::Stream;
use socket2::{SockRef, Socket};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::net::TcpStream;

/// A duplicate of the socket's descriptor: put into a connection's data when it is accepted over TLS, taken out when it is upgraded.
#[derive(Debug, Default)]
pub(crate) struct LineOf(pub(crate) RefCell<Option<Socket>>);

/// The parameters of a session.
pub(crate) struct Plan {
    /// One pair, or all.
    pub(crate) symbol: Option<Symbol>,
    /// `?channels=`.
    pub(crate) channels: Option<String>,
    /// `?token=`.
    pub(crate) token: Option<String>,
    /// Whether the session echoes, for conformance suites.
    pub(crate) echo: bool,
}

/// Upgrades a request and starts its session.
pub(crate) fn upgrade(request: &HttpRequest, payload: web::Payload, plan: Plan) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(request)?;
    handshake::check(request, &thread.common.origins)?;
    if thread.common.drain.borrow().is_some() {
        return Err(HttpError::unavailable("shutting_down", "the service is shutting down"));
    }
    let shown = shown_token(request, &thread, plan.token.as_deref());
    let access = Access::of(&thread, shown.as_deref());
    if matches!(access, Access::Refused) && layers::bearer(request).is_some() {
        return Err(HttpError::unauthorized("the token is not valid"));
    }
    let pass = thread
        .common
        .door
        .enter(request.peer_addr().map(|address| address.ip()))?;
    let wanted = match &plan.channels {
        Some(list) => Some(wanted_of(&thread, list)?),
        None => None,
    };
    let opening = Opening {
        thread: Rc::clone(&thread),
        symbol: plan.symbol,
        echo: plan.echo,
        access,
        wanted,
    };
    begin(request, payload, &thread, pass, opening)
}

/// A kind of session: admitted, and not yet started on a transport.
pub(crate) trait Speaker: 'static {
    /// How frames are converted, if the session speaks another protocol.
    fn framing(&self) -> Option<Box<dyn Framing>>;

    /// The name of the presented token, if any.
    fn token(&self) -> Option<String>;

    /// Starts the session on its connection; `hears` yields the client's messages.
    fn start(self, connection: Rc<Connection>, hears: impl Stream<Item = InboundMessage> + 'static);
}

/// Responds to an admitted request, and starts its session on its transport.
///
/// # Errors
/// The response to send instead.
pub(crate) fn begin(
    request: &HttpRequest,
    payload: web::Payload,
    thread: &Thread,
    pass: Pass,
    speaker: impl Speaker,
) -> Result<HttpResponse, HttpError> {
    let mut response = client::agree(request)?;
    let registry = Rc::clone(&thread.registry);
    if let Some(handover) = request.extensions().get::<Handover>() {
        let peer = request.peer_addr();
        handover.disconnect_client(move |socket, read| start_plain(speaker, &registry, (socket, peer), read, pass));
        return Ok(response.finish());
    }
    let socket = request
        .conn_data::<LineOf>()
        .and_then(|line| line.0.borrow_mut().take());
    let connection = connect(&registry, Transport::Body(socket), &speaker);
    describe(&registry, &connection, request.peer_addr(), speaker.token());
    let body = Body::new(Rc::clone(&connection), registry, pass);
    speaker.start(connection, Reader::new(payload, limits::CLIENT_MESSAGE));
    Ok(response.streaming(body))
}

fn connect(registry: &ClientRegistry, transport: Transport, speaker: &impl Speaker) -> Rc<Connection> {
    match speaker.framing() {
        Some(framing) => registry.connect_framed(transport, framing),
        None => registry.connect_client(transport),
    }
}

/// Adds the client's address and the name of its token to the client list.
pub(crate) fn describe(
    registry: &ClientRegistry,
    connection: &Connection,
    peer: Option<SocketAddr>,
    token: Option<String>,
) {
    registry.counts().list.describe(connection.id().0, |client| {
        client.address = peer.map(|peer| peer.to_string());
        client.token = token;
    });
}

/// Starts a session that owns its plain socket.
fn start_plain(
    speaker: impl Speaker,
    registry: &Rc<ClientRegistry>,
    (socket, peer): (TcpStream, Option<SocketAddr>),
    read: BytesMut,
    pass: Pass,
) {
    let options = SockRef::from(&socket);
    let set = options
        .set_send_buffer_size(limits::CLIENT_SOCKET_BUFFER)
        .and_then(|()| options.set_tcp_notsent_lowat(limits::CLIENT_NOT_SENT))
        .and_then(|()| options.set_tcp_user_timeout(Some(limits::CLIENT_TCP_TIMEOUT)));
    if let Err(error) = set {
        tracing::debug!(%error, "failed to set socket options");
    }
    let socket = Rc::new(socket);
    let connection = connect(registry, Transport::Plain(Rc::clone(&socket)), &speaker);
    describe(registry, &connection, peer, speaker.token());
    let wire = Wire::new(socket, read, Rc::clone(&connection), Rc::clone(registry), pass);
    speaker.start(connection, wire);
}

/// A session of the protocol `candela.v1` before it starts.
pub(crate) struct Opening {
    pub(crate) thread: Rc<Thread>,
    pub(crate) symbol: Option<Symbol>,
    pub(crate) echo: bool,
    pub(crate) access: Access,
    pub(crate) wanted: Option<Vec<Wanted>>,
}

impl Speaker for Opening {
    fn token(&self) -> Option<String> {
        self.access.token().map(str::to_owned)
    }

    fn framing(&self) -> Option<Box<dyn Framing>> {
        None
    }

    fn start(self, connection: Rc<Connection>, hears: impl Stream<Item = InboundMessage> + 'static) {
        Client::start(self, connection, hears);
    }
}
