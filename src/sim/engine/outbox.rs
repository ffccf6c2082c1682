//! The frames that wait to be sent on one WebSocket connection.

use crate::limits;
use crate::sim::scenario::Ending;
use bytes::{Bytes, BytesMut};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::{Context, Waker};

/// The next thing to send from an outbox.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// These bytes, frames included.
    Bytes(Bytes),
    /// The end of the connection.
    End(Ending),
    /// Nothing yet.
    Nothing,
}

/// Frames in order, then perhaps an end. One thread only.
#[derive(Debug, Default)]
pub(crate) struct Outbox(RefCell<Inner>);

#[derive(Debug, Default)]
struct Inner {
    frames: VecDeque<Bytes>,
    waiting: usize,
    end: Option<Ending>,
    waker: Option<Waker>,
}

impl Outbox {
    /// Adds a frame; `false` when the client is so far behind that it must be reset. Nothing is added after the end.
    pub(crate) fn push(&self, frame: Bytes) -> bool {
        let mut inner = self.0.borrow_mut();
        if inner.end.is_some() {
            return true;
        }
        inner.waiting = inner.waiting.saturating_add(frame.len());
        inner.frames.push_back(frame);
        inner.wake();
        inner.waiting <= limits::SIM_OUTBOX_BYTES
    }

    /// Ends the connection after the waiting frames.
    pub(crate) fn close_after_writes(&self, ending: Ending) {
        let mut inner = self.0.borrow_mut();
        inner.end = inner.end.or(Some(ending));
        inner.wake();
    }

    /// Takes the waiting frames, many at once; if there are none, the next push wakes the context.
    pub(crate) fn next(&self, context: &Context<'_>) -> Next {
        let mut inner = self.0.borrow_mut();
        if inner.frames.is_empty() {
            if let Some(ending) = inner.end {
                return Next::End(ending);
            }
            inner.waker = Some(context.waker().clone());
            return Next::Nothing;
        }
        let mut bytes = BytesMut::new();
        while bytes.len() < limits::SIM_WRITE_BYTES {
            let Some(frame) = inner.frames.pop_front() else { break };
            inner.waiting = inner.waiting.saturating_sub(frame.len());
            bytes.extend_from_slice(&frame);
        }
        Next::Bytes(bytes.freeze())
    }
}

impl Inner {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::task::noop_waker;

    #[test]
    fn what_waits_comes_in_order_and_before_the_end() {
        let (outbox, waker) = (Outbox::default(), noop_waker());
        let context = Context::from_waker(&waker);
        assert_eq!(outbox.next(&context), Next::Nothing);
        assert!(outbox.push(Bytes::from_static(b"a")) && outbox.push(Bytes::from_static(b"b")));
        outbox.close_after_writes(Ending::Reset);
        outbox.close_after_writes(Ending::Vanish);
        assert!(outbox.push(Bytes::from_static(b"too late")));
        assert_eq!(outbox.next(&context), Next::Bytes(Bytes::from_static(b"ab")));
        assert_eq!(outbox.next(&context), Next::End(Ending::Reset));
    }

    #[test]
    fn a_client_that_does_not_read_is_noticed() {
        let outbox = Outbox::default();
        let frame = Bytes::from(vec![0; 1 << 20]);
        assert!(outbox.push(frame.clone()));
        assert!(!(0..64).all(|_| outbox.push(frame.clone())));
    }
}
