//! The body of a WebSocket response: a stream that drains the client's outbox whenever the socket has room.

use crate::actors::deck::Deck;
use crate::actors::seat::Seat;
use crate::web::door::Pass;
use bytes::Bytes;
use futures_util::Stream;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Drains one seat. The end of the connection drops it, and with it the seat.
pub(super) struct Body {
    seat: Rc<Seat>,
    deck: Rc<Deck>,
    _pass: Pass,
}

impl Body {
    pub(super) const fn new(seat: Rc<Seat>, deck: Rc<Deck>, pass: Pass) -> Self {
        Self {
            seat,
            deck,
            _pass: pass,
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.seat.poll_next(self.deck.now(), task).map(|next| next.map(Ok))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.deck.leave(self.seat.id());
    }
}
