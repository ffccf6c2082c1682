//! The body of a WebSocket response: a stream that drains the client's outbox whenever the socket has room.

use crate::actors::fanout::{ClientRegistry, Connection};
use crate::web::shared::Pass;
use bytes::Bytes;
use futures_util::Stream;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Drains one connection's outbox. Dropping it disconnects the client.
pub(crate) struct Body {
    connection: Rc<Connection>,
    registry: Rc<ClientRegistry>,
    _pass: Pass,
}

impl Body {
    pub(crate) const fn new(connection: Rc<Connection>, registry: Rc<ClientRegistry>, pass: Pass) -> Self {
        Self {
            connection,
            registry,
            _pass: pass,
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connection
            .poll_next(self.registry.now(), task)
            .map(|next| next.map(Ok))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.registry.disconnect_client(self.connection.id());
    }
}
