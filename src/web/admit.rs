//! Admits requests for a WebSocket: looks at handshake, origin, token and room, and starts the session on its line.

use crate::actors::line::Line;
use crate::domain::requests::Wanted;
use crate::domain::symbol::Symbol;
use crate::limits;
use crate::web::access::{Access, shown_token};
use crate::web::body::Body;
use crate::web::client::{self, Client};
use crate::web::door::Pass;
use crate::web::problem::Trouble;
use crate::web::reader::Reader;
use crate::web::thread::Thread;
use crate::web::upgrade::Handover;
use crate::web::wanted::wanted_of;
use crate::web::wire::Wire;
use crate::web::{handshake, layers};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use bytes::BytesMut;
use socket2::{SockRef, Socket};
use std::cell::RefCell;
use std::rc::Rc;
use tokio::net::TcpStream;

/// Put into a connection's data when it is accepted over TLS, taken out when it is upgraded.
#[derive(Debug, Default)]
pub(super) struct LineOf(pub(super) RefCell<Option<Socket>>);

/// What this session is to be.
pub(super) struct Plan {
    /// One pair, or all.
    pub(super) symbol: Option<Symbol>,
    /// `?channels=`.
    pub(super) channels: Option<String>,
    /// `?token=`.
    pub(super) token: Option<String>,
    /// An echo, for conformance suites.
    pub(super) echo: bool,
}

/// Upgrades a request and starts its session.
pub(super) fn upgrade(request: &HttpRequest, payload: web::Payload, plan: Plan) -> Result<HttpResponse, Trouble> {
    let thread = Thread::of(request)?;
    handshake::check(request, &thread.common.origins)?;
    if thread.common.drain.borrow().is_some() {
        return Err(Trouble::unavailable("shutting_down", "the service is shutting down"));
    }
    let shown = shown_token(request, &thread, plan.token.as_deref());
    let access = Access::of(&thread, shown.as_deref());
    if matches!(access, Access::Refused) && layers::bearer(request).is_some() {
        return Err(Trouble::unauthorized("the token is not valid"));
    }
    let pass = thread
        .common
        .door
        .enter(request.peer_addr().map(|address| address.ip()))?;
    let wanted = match &plan.channels {
        Some(list) => Some(wanted_of(&thread, list)?),
        None => None,
    };
    let mut response = client::agree(request)?;
    let opening = Opening {
        thread,
        symbol: plan.symbol,
        echo: plan.echo,
        access,
        wanted,
    };
    if let Some(handover) = request.extensions().get::<Handover>() {
        handover.leave(move |socket, read| opening.over(socket, read, pass));
        return Ok(response.finish());
    }
    let socket = request
        .conn_data::<LineOf>()
        .and_then(|line| line.0.borrow_mut().take());
    let seat = opening.thread.deck.join(Line::Body(socket));
    let body = Body::new(Rc::clone(&seat), Rc::clone(&opening.thread.deck), pass);
    Client::start(opening, seat, Reader::new(payload, limits::CLIENT_MESSAGE));
    Ok(response.streaming(body))
}

/// A session that may begin.
pub(super) struct Opening {
    pub(super) thread: Rc<Thread>,
    pub(super) symbol: Option<Symbol>,
    pub(super) echo: bool,
    pub(super) access: Access,
    pub(super) wanted: Option<Vec<Wanted>>,
}

impl Opening {
    /// Over a plain connection of its own.
    fn over(self, socket: TcpStream, read: BytesMut, pass: Pass) {
        let options = SockRef::from(&socket);
        let set = options
            .set_send_buffer_size(limits::CLIENT_SOCKET_BUFFER)
            .and_then(|()| options.set_tcp_notsent_lowat(limits::CLIENT_NOT_SENT))
            .and_then(|()| options.set_tcp_user_timeout(Some(limits::CLIENT_TCP_TIMEOUT)));
        if let Err(error) = set {
            tracing::debug!(%error, "failed to set socket options");
        }
        let socket = Rc::new(socket);
        let seat = self.thread.deck.join(Line::Plain(Rc::clone(&socket)));
        let wire = Wire::new(socket, read, Rc::clone(&seat), Rc::clone(&self.thread.deck), pass);
        Client::start(self, seat, wire);
    }
}
