//! One client's connection: its outbox and its transport. Shared by the session and the fan-out shard of one thread.
//!
//! ```text
//!            the socket did not take a write whole: the session writes the rest as soon as it can
//!     ┌──────────────────────────────────────────────────────┐
//!     │ all written, nothing waits                           │
//!     ▼                                                      │
//!   Idle ── flush: written straight to the socket ── all taken ──► Idle
//! ```
//!
//! Why straight to the socket: waking the session's task costs more than the write itself. Order is kept because every write goes through
//! this type, and none begins while an earlier one is incomplete. Over TLS the response's body carries everything.

use crate::actors::fanout::{
    Transport,
    transport::{join_outputs, shut_socket},
};
use crate::actors::messages::ClientId;
use crate::domain::model::Channel;
use crate::domain::protocol::{Close, Framing, Out, Outbox, Passed, Window, frames};
use crate::limits;
use bytes::{Buf, Bytes, BytesMut};
use std::cell::{Cell, RefCell};
use std::io;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::net::TcpStream;

/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionPhase {
    /// Open.
    Open,
    /// Our close frame was queued at this time; the client's is awaited.
    Closing(Duration),
    /// The body ends when everything is written. Since this time.
    Ended(Duration),
    /// The connection has ended.
    Gone,
}

/// When a connection last sent, received and pinged.
#[derive(Debug, Clone, Copy)]
struct ConnectionTimes {
    sent: Duration,
    heard: Duration,
    pinged: Duration,
    ping_out: bool,
}

/// One client's connection.
#[derive(Debug)]
pub struct Connection {
    id: ClientId,
    /// The messages that wait for the client.
    pub outbox: RefCell<Outbox>,
    /// Whether the client is subscribed to the service's status.
    pub status: Cell<bool>,
    /// Whether the client was slow when its timers were last checked.
    pub was_slow: Cell<bool>,
    transport: RefCell<Transport>,
    /// Converts frames for a client that speaks another protocol than ours.
    framing: RefCell<Option<Box<dyn Framing>>>,
    /// Bytes that the socket did not take yet; they are sent before everything else.
    left: RefCell<Bytes>,
    waker: RefCell<Option<Waker>>,
    phase: Cell<ConnectionPhase>,
    clocks: Cell<ConnectionTimes>,
    dirty: Cell<bool>,
    closed_with: Cell<Option<Close>>,
    /// Since when the client has had no subscription, where one is expected.
    unsubscribed_since: Cell<Option<Duration>>,
}

impl Connection {
    /// A connection that opens now.
    pub fn new(id: ClientId, transport: Transport, window: Window, now: Duration) -> Self {
        Self {
            id,
            outbox: RefCell::new(Outbox::new(window)),
            status: Cell::new(false),
            was_slow: Cell::new(false),
            transport: RefCell::new(transport),
            framing: RefCell::default(),
            left: RefCell::default(),
            waker: RefCell::default(),
            phase: Cell::new(ConnectionPhase::Open),
            clocks: Cell::new(ConnectionTimes {
                sent: now,
                heard: now,
                pinged: now,
                ping_out: false,
            }),
            dirty: Cell::new(false),
            closed_with: Cell::new(None),
            unsubscribed_since: Cell::new(None),
        }
    }

    /// Converts everything that is sent to another protocol.
    #[must_use]
    pub fn framed(self, framing: Box<dyn Framing>) -> Self {
        self.framing.replace(Some(framing));
        self
    }

    /// Its number.
    pub const fn id(&self) -> ClientId {
        self.id
    }

    /// Its phase.
    pub const fn phase(&self) -> ConnectionPhase {
        self.phase.get()
    }

    /// Why this side closed it, if it did.
    pub const fn closed_with(&self) -> Option<Close> {
        self.closed_with.get()
    }

    /// Marks it as having something to send; `true` at the first mark since [`Connection::flush`].
    pub fn mark_dirty(&self) -> bool {
        !self.dirty.replace(true)
    }

    /// Sends what waits: straight to the socket where possible, else by waking the session.
    pub fn flush(&self, now: Duration, scratch: &mut Vec<Out>) {
        self.dirty.set(false);
        let transport = self.transport.borrow();
        let Transport::Plain(socket) = &*transport else {
            return self.wake_session();
        };
        while self.left.borrow().is_empty() {
            let Some(bytes) = self.take_bytes(now, scratch) else {
                return;
            };
            if !self.write(socket, bytes, now) {
                return;
            }
        }
    }

    /// The next bytes to write; `None` when nothing waits, or nothing that this client's protocol has.
    fn take_bytes(&self, now: Duration, scratch: &mut Vec<Out>) -> Option<Bytes> {
        loop {
            scratch.clear();
            self.outbox.borrow_mut().take(limits::CLIENT_WRITE, now, scratch);
            let mut framing = self.framing.borrow_mut();
            let bytes = match framing.as_mut() {
                Some(framing) => join_outputs(scratch, Some(framing.as_mut())),
                None => join_outputs(scratch, None),
            };
            if bytes.is_some() || scratch.is_empty() {
                return bytes;
            }
        }
    }

    /// Sends the ticks in `first..=last` of a channel that the client lacks, if nothing waits before them; `ready` returns their bytes from
    /// a seq on. Returns how many it sent; `None` when they must be offered to the outbox.
    pub fn write_through(
        &self,
        channel: Channel,
        first: u64,
        last: u64,
        now: Duration,
        ready: impl FnOnce(u64) -> Bytes,
    ) -> Option<usize> {
        if !self.is_open() {
            return Some(0); // nothing follows its close frame
        }
        let transport = self.transport.borrow();
        let Transport::Plain(socket) = &*transport else {
            return None;
        };
        if !self.left.borrow().is_empty() || self.framing.borrow().is_some() {
            return None;
        }
        let passed = self.outbox.borrow_mut().mark_passed(channel, first, last);
        match passed {
            Passed::From(next) => {
                self.write(socket, ready(next), now);
                usize::try_from(last.saturating_sub(next).saturating_add(1)).ok()
            }
            Passed::Nothing => Some(0),
            Passed::No => None,
        }
    }

    /// Writes to an idle socket; the session writes what the socket does not take. Returns whether the socket is still good.
    fn write(&self, socket: &TcpStream, mut bytes: Bytes, now: Duration) -> bool {
        self.mark_sent(now);
        match socket.try_write(&bytes) {
            Ok(taken) => bytes.advance(taken),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                self.end(now); // reset or shut: the session learns of it from the socket
                shut_socket(socket);
                return false;
            }
        }
        if !bytes.is_empty() {
            *self.left.borrow_mut() = bytes;
            self.wake_session();
        }
        true
    }

    /// The session's side of a plain transport: writes what waits as far as the socket takes it. Ready with `Ok` when the connection is to
    /// end and everything is written; with an error when the connection has ended.
    pub fn poll_write(&self, now: Duration, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.remember_waker(task);
        let transport = self.transport.borrow();
        let Transport::Plain(socket) = &*transport else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let mut scratch = Vec::new();
        loop {
            let mut left = self.left.borrow_mut();
            if left.is_empty() {
                match self.take_bytes(now, &mut scratch) {
                    Some(bytes) => *left = bytes,
                    None if matches!(self.phase.get(), ConnectionPhase::Ended(_)) => return Poll::Ready(Ok(())),
                    None => return Poll::Pending,
                }
            }
            ready!(socket.poll_write_ready(task))?;
            match socket.try_write(&left) {
                Ok(taken) => left.advance(taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            self.mark_sent(now);
        }
    }

    /// The body's side: the next bytes. The dispatcher polls only when everything before is in the kernel.
    pub fn poll_next(&self, now: Duration, task: &Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(bytes) = self.take_bytes(now, &mut Vec::new()) {
            self.mark_sent(now);
            return Poll::Ready(Some(bytes));
        }
        if matches!(self.phase.get(), ConnectionPhase::Ended(_)) {
            return Poll::Ready(None);
        }
        self.remember_waker(task);
        Poll::Pending
    }

    fn remember_waker(&self, task: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(task.waker())) {
            *waker = Some(task.waker().clone());
        }
    }

    fn wake_session(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    fn mark_sent(&self, now: Duration) {
        let clocks = self.clocks.get();
        self.clocks.set(ConnectionTimes { sent: now, ..clocks });
    }

    /// Notes that the client sent something.
    pub fn mark_alive(&self, now: Duration) {
        let clocks = self.clocks.get();
        self.clocks.set(ConnectionTimes {
            heard: now,
            ping_out: false,
            ..clocks
        });
    }

    /// Whether a ping is due; if so, it counts as sent.
    pub fn ping_due(&self, now: Duration) -> bool {
        if self.framing.borrow().as_ref().is_some_and(|framing| !framing.pings()) {
            return false;
        }
        let clocks = self.clocks.get();
        let due = !clocks.ping_out && now.saturating_sub(clocks.pinged.max(clocks.heard)) >= limits::CLIENT_PING;
        if due {
            self.clocks.set(ConnectionTimes {
                pinged: now,
                ping_out: true,
                ..clocks
            });
        }
        due
    }

    /// Extends the client's deadlines by the time in which this process did not run.
    pub fn extend_deadlines(&self, now: Duration) {
        let clocks = self.clocks.get();
        self.clocks.set(ConnectionTimes { pinged: now, ..clocks });
        self.outbox.borrow_mut().extend_deadlines(now);
    }

    /// Whether a ping was not answered in time.
    pub fn missed_pong(&self, now: Duration) -> bool {
        let clocks = self.clocks.get();
        clocks.ping_out && now.saturating_sub(clocks.pinged) > limits::CLIENT_PONG
    }

    /// Whether nothing was sent for so long that a heartbeat is due.
    pub fn needs_heartbeat(&self, now: Duration) -> bool {
        now.saturating_sub(self.clocks.get().sent) >= limits::CLIENT_HEARTBEAT
    }

    /// Closes the connection in order: the close frame follows what waits in the control lane; nothing follows it.
    pub fn close(&self, close: Close, reason: &str, now: Duration) {
        self.close_frame(close_frame(close.code(), reason), Some(close), now);
    }

    /// Fails the connection as in RFC 6455 7.1.7: after the close frame it does not wait for the peer, which broke the protocol.
    pub fn fail(&self, close: Close, reason: &str, now: Duration) {
        self.close(close, reason, now);
        if matches!(&*self.transport.borrow(), Transport::Plain(_)) {
            self.end(now); // a body's end would reset the connection before the close frame is read
        }
    }

    /// Answers the client's own close frame with the same code, and ends the connection.
    pub fn close_answered(&self, code: Option<u16>, now: Duration) {
        match self.phase.get() {
            ConnectionPhase::Open => {
                let frame = code.map_or_else(|| frames::frame(frames::CLOSE, &[]), |code| close_frame(code, ""));
                self.close_frame(frame, Some(Close::Normal), now);
                self.end(now);
            }
            ConnectionPhase::Closing(_) => self.end(now),
            ConnectionPhase::Ended(_) | ConnectionPhase::Gone => {}
        }
    }

    fn close_frame(&self, frame: Bytes, close: Option<Close>, now: Duration) {
        if self.phase.get() != ConnectionPhase::Open {
            return;
        }
        self.phase.set(ConnectionPhase::Closing(now));
        self.closed_with.set(close);
        let mut outbox = self.outbox.borrow_mut();
        if outbox.room() == 0 {
            outbox.clear(); // a full lane is the reason for the close
        }
        outbox.finish(&frame);
        drop(outbox);
        self.flush(now, &mut Vec::new());
        if self.framing.borrow().is_some() {
            self.end(now); // no answer is awaited from it
        }
    }

    /// Ends the connection when everything is written.
    pub fn end(&self, now: Duration) {
        if matches!(self.phase.get(), ConnectionPhase::Open | ConnectionPhase::Closing(_)) {
            self.phase.set(ConnectionPhase::Ended(now));
        }
        self.wake_session();
    }

    /// Shuts the socket, whatever waits: the client neither reads nor closes.
    pub fn abort(&self, now: Duration) {
        self.end(now);
        match &*self.transport.borrow() {
            Transport::Plain(socket) => shut_socket(socket.as_ref()),
            Transport::Body(Some(socket)) => shut_socket(socket),
            Transport::Body(None) | Transport::Cut => {}
        }
    }

    /// Ends the connection and frees its buffers.
    pub fn mark_gone(&self) {
        self.phase.set(ConnectionPhase::Gone);
        self.outbox.borrow_mut().clear();
        self.waker.take();
        self.left.take();
        self.transport.replace(Transport::Cut); // others may hold this connection for a while; the descriptor is closed now
    }

    /// From now on, a subscription is expected.
    pub fn expect_wishes(&self, now: Duration) {
        self.unsubscribed_since.set(Some(now));
    }

    /// Whether it has been without a subscription for too long.
    pub fn idles_too_long(&self, now: Duration) -> bool {
        let Some(since) = self.unsubscribed_since.get() else {
            return false;
        };
        if self.status.get() || self.outbox.borrow().follows() > 0 {
            self.unsubscribed_since.set(Some(now));
            return false;
        }
        now.saturating_sub(since) >= limits::CLIENT_IDLE
    }

    /// Whether it is neither closing nor closed.
    pub fn is_open(&self) -> bool {
        self.phase.get() == ConnectionPhase::Open
    }
}

/// A close frame; the reason is cut to what a control frame holds.
pub fn close_frame(code: u16, reason: &str) -> Bytes {
    let mut payload = BytesMut::with_capacity(125);
    payload.extend_from_slice(&code.to_be_bytes());
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    payload.extend_from_slice(reason.as_bytes().get(..end).unwrap_or_default());
    frames::frame(frames::CLOSE, &payload)
}

#[cfg(test)]
#[path = "tests/connection.rs"]
mod tests;
