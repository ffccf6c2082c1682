//! The body of an event stream: drains the client's outbox when the socket has room, and ends when its token is revoked.

use crate::actors::fanout::Connection;
use crate::domain::protocol::Close;
use crate::limits;
use crate::web::shared::{Access, Pass, Thread, thread::StreamPlace};
use actix::MailboxError;
use actix_rt::time::{Interval, interval};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::LocalBoxFuture;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// One event stream. Dropping it disconnects the client.
pub(crate) struct EventBody {
    thread: Rc<Thread>,
    connection: Rc<Connection>,
    access: Access,
    /// The shard's answer to the subscription, until it arrives.
    subscribing: Option<LocalBoxFuture<'static, Result<(), MailboxError>>>,
    looks: Interval,
    _room: (Pass, StreamPlace),
}

impl EventBody {
    pub(super) fn new(
        thread: Rc<Thread>,
        connection: Rc<Connection>,
        access: Access,
        subscribed: impl Future<Output = Result<(), MailboxError>> + 'static,
        room: (Pass, StreamPlace),
    ) -> Self {
        Self {
            thread,
            connection,
            access,
            subscribing: Some(Box::pin(subscribed)),
            looks: interval(limits::CLIENT_AUTH),
            _room: room,
        }
    }

    fn close(&self, close: Close, reason: &str) {
        self.connection.close(close, reason, self.thread.registry.now());
    }
}

impl Stream for EventBody {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(subscribing) = &mut this.subscribing
            && let Poll::Ready(subscribed) = subscribing.as_mut().poll(task)
        {
            this.subscribing = None;
            if subscribed.is_err() {
                this.close(Close::NotReady, "the channels cannot be followed now");
            }
        }
        while this.looks.poll_tick(task).is_ready() {
            if !this.access.still_stands(&this.thread) {
                this.close(Close::TokenRevoked, "the token was revoked");
            }
        }
        this.connection
            .poll_next(this.thread.registry.now(), task)
            .map(|next| next.map(Ok))
    }
}

impl Drop for EventBody {
    fn drop(&mut self) {
        self.thread.registry.disconnect_client(self.connection.id());
    }
}
