//! One client's seat: its outbox and its line to the socket. Shared by the session and the fan-out shard of one thread.
//!
//! ```text
//!            the socket did not take a write whole: the session writes the rest as soon as it can
//!     ┌──────────────────────────────────────────────────────┐
//!     │ all written, nothing waits                           │
//!     ▼                                                      │
//!   Idle ── flush: written straight to the socket ── all taken ──► Idle
//! ```
//!
//! Why straight to the socket: waking the session's task costs more than the write itself. Why that is in order: all that is
//! written passes here, and while a rest is left nothing else is. Over TLS there is no such shortcut: the response's body
//! brings everything.

use crate::actors::line::{Line, join, shut};
use crate::domain::channel::Channel;
use crate::domain::delivery::{Out, Passed, Window};
use crate::domain::frames;
use crate::domain::outbox::Outbox;
use crate::domain::protocol::Close;
use crate::limits;
use bytes::{Buf, Bytes, BytesMut};
use std::cell::{Cell, RefCell};
use std::io;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::net::TcpStream;

/// Names one connection within its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// How far the end of a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Open.
    Open,
    /// Our close frame was queued at this time; the client's is awaited.
    Closing(Duration),
    /// The body ends when all is written; since this time.
    Ended(Duration),
    /// The connection is no more.
    Gone,
}

/// When what happened on a connection.
#[derive(Debug, Clone, Copy)]
struct Clocks {
    sent: Duration,
    heard: Duration,
    pinged: Duration,
    ping_out: bool,
}

/// One client's seat.
#[derive(Debug)]
pub struct Seat {
    id: ClientId,
    /// What waits for the client.
    pub outbox: RefCell<Outbox>,
    /// Whether the client follows the service's status.
    pub status: Cell<bool>,
    line: RefCell<Line>,
    /// What the socket did not take yet: goes before all else.
    left: RefCell<Bytes>,
    waker: RefCell<Option<Waker>>,
    phase: Cell<Phase>,
    clocks: Cell<Clocks>,
    dirty: Cell<bool>,
    closed_with: Cell<Option<Close>>,
    /// Since when it follows nothing, where it is expected to follow something.
    aimless: Cell<Option<Duration>>,
}

impl Seat {
    /// A seat for a connection that begins now.
    #[must_use]
    pub fn new(id: ClientId, line: Line, window: Window, now: Duration) -> Self {
        Self {
            id,
            outbox: RefCell::new(Outbox::new(window)),
            status: Cell::new(false),
            line: RefCell::new(line),
            left: RefCell::default(),
            waker: RefCell::default(),
            phase: Cell::new(Phase::Open),
            clocks: Cell::new(Clocks {
                sent: now,
                heard: now,
                pinged: now,
                ping_out: false,
            }),
            dirty: Cell::new(false),
            closed_with: Cell::new(None),
            aimless: Cell::new(None),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> ClientId {
        self.id
    }

    /// How far its end has come.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Why it was closed, once it was.
    #[must_use]
    pub const fn closed_with(&self) -> Option<Close> {
        self.closed_with.get()
    }

    /// Marks it as having something to send; `true` the first time since [`Seat::flush`].
    pub fn soil(&self) -> bool {
        !self.dirty.replace(true)
    }

    /// Sends what waits: straight to the socket where that is possible, else by waking who can.
    pub fn flush(&self, now: Duration, scratch: &mut Vec<Out>) {
        self.dirty.set(false);
        let line = self.line.borrow();
        let Line::Plain(socket) = &*line else {
            return self.wake();
        };
        while self.left.borrow().is_empty() {
            scratch.clear();
            self.outbox.borrow_mut().take(limits::CLIENT_WRITE, now, scratch);
            let Some(bytes) = join(scratch) else {
                return;
            };
            if !self.write(socket, bytes, now) {
                return;
            }
        }
    }

    /// Sends those of the ticks `first..=last` of a channel that the client does not have, where nothing waits before them;
    /// `ready` gives their bytes from a seq on. How many they were; `None` when they must be offered.
    pub fn pass(
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
        let line = self.line.borrow();
        let Line::Plain(socket) = &*line else {
            return None;
        };
        if !self.left.borrow().is_empty() {
            return None;
        }
        let passed = self.outbox.borrow_mut().pass(channel, first, last);
        match passed {
            Passed::From(next) => {
                self.write(socket, ready(next), now);
                usize::try_from(last.saturating_sub(next).saturating_add(1)).ok()
            }
            Passed::Nothing => Some(0),
            Passed::No => None,
        }
    }

    /// Writes to an idle socket; what it does not take is left to the session. Whether the socket is still good.
    fn write(&self, socket: &TcpStream, mut bytes: Bytes, now: Duration) -> bool {
        self.sent(now);
        match socket.try_write(&bytes) {
            Ok(taken) => bytes.advance(taken),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                self.end(now); // reset or shut: the session learns of it from the socket
                shut(socket);
                return false;
            }
        }
        if !bytes.is_empty() {
            *self.left.borrow_mut() = bytes;
            self.wake();
        }
        true
    }

    /// The session's side of a plain line: writes what waits as far as the socket takes it. Ready with `Ok` when the
    /// connection is to end and all is written, with an error when it has ended.
    pub fn poll_write(&self, now: Duration, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.remember(task);
        let line = self.line.borrow();
        let Line::Plain(socket) = &*line else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let mut scratch = Vec::new();
        loop {
            let mut left = self.left.borrow_mut();
            if left.is_empty() {
                scratch.clear();
                self.outbox.borrow_mut().take(limits::CLIENT_WRITE, now, &mut scratch);
                match join(&scratch) {
                    Some(bytes) => *left = bytes,
                    None if matches!(self.phase.get(), Phase::Ended(_)) => return Poll::Ready(Ok(())),
                    None => return Poll::Pending,
                }
            }
            ready!(socket.poll_write_ready(task))?;
            match socket.try_write(&left) {
                Ok(taken) => left.advance(taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            self.sent(now);
        }
    }

    /// The body's side: what to write next. The dispatcher asks only when all that it was given before is in the kernel.
    pub fn poll_next(&self, now: Duration, task: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut outs = Vec::new();
        self.outbox.borrow_mut().take(limits::CLIENT_WRITE, now, &mut outs);
        if let Some(bytes) = join(&outs) {
            self.sent(now);
            return Poll::Ready(Some(bytes));
        }
        if matches!(self.phase.get(), Phase::Ended(_)) {
            return Poll::Ready(None);
        }
        self.remember(task);
        Poll::Pending
    }

    fn remember(&self, task: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(task.waker())) {
            *waker = Some(task.waker().clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    fn sent(&self, now: Duration) {
        let clocks = self.clocks.get();
        self.clocks.set(Clocks { sent: now, ..clocks });
    }

    /// The client showed that it lives.
    pub fn heard(&self, now: Duration) {
        let clocks = self.clocks.get();
        self.clocks.set(Clocks {
            heard: now,
            ping_out: false,
            ..clocks
        });
    }

    /// Whether a ping is due; if so it counts as sent.
    pub fn ping_due(&self, now: Duration) -> bool {
        let clocks = self.clocks.get();
        let due = !clocks.ping_out && now.saturating_sub(clocks.pinged.max(clocks.heard)) >= limits::CLIENT_PING;
        if due {
            self.clocks.set(Clocks {
                pinged: now,
                ping_out: true,
                ..clocks
            });
        }
        due
    }

    /// We did not run: what the client was to do in that time it has from now.
    pub fn pardon(&self, now: Duration) {
        let clocks = self.clocks.get();
        self.clocks.set(Clocks { pinged: now, ..clocks });
        self.outbox.borrow_mut().pardon(now);
    }

    /// Whether a ping was not answered in time.
    #[must_use]
    pub fn silent(&self, now: Duration) -> bool {
        let clocks = self.clocks.get();
        clocks.ping_out && now.saturating_sub(clocks.pinged) > limits::CLIENT_PONG
    }

    /// Whether nothing was sent for so long that a heartbeat is due.
    #[must_use]
    pub fn quiet(&self, now: Duration) -> bool {
        now.saturating_sub(self.clocks.get().sent) >= limits::CLIENT_HEARTBEAT
    }

    /// Ends the connection in order: the close frame goes after what control waits; nothing follows it.
    pub fn close(&self, close: Close, reason: &str, now: Duration) {
        self.close_frame(close_frame(close.code(), reason), Some(close), now);
    }

    /// Fails the connection as RFC 6455 7.1.7 says: after the close frame nothing is awaited from who broke the protocol.
    pub fn fail(&self, close: Close, reason: &str, now: Duration) {
        self.close(close, reason, now);
        if matches!(&*self.line.borrow(), Line::Plain(_)) {
            self.end(now); // a body's end would reset the connection before the close frame is read
        }
    }

    /// Answers the client's own close frame with the same code, and ends.
    pub fn close_answered(&self, code: Option<u16>, now: Duration) {
        match self.phase.get() {
            Phase::Open => {
                let frame = code.map_or_else(|| frames::frame(0x88, &[]), |code| close_frame(code, ""));
                self.close_frame(frame, Some(Close::Normal), now);
                self.end(now);
            }
            Phase::Closing(_) => self.end(now),
            Phase::Ended(_) | Phase::Gone => {}
        }
    }

    fn close_frame(&self, frame: Bytes, close: Option<Close>, now: Duration) {
        if self.phase.get() != Phase::Open {
            return;
        }
        self.phase.set(Phase::Closing(now));
        self.closed_with.set(close);
        let mut outbox = self.outbox.borrow_mut();
        if outbox.room() == 0 {
            outbox.clear(); // it is being closed for just that
        }
        outbox.finish(&frame);
        drop(outbox);
        self.flush(now, &mut Vec::new());
    }

    /// Lets the body end when all is written.
    pub fn end(&self, now: Duration) {
        if matches!(self.phase.get(), Phase::Open | Phase::Closing(_)) {
            self.phase.set(Phase::Ended(now));
        }
        self.wake();
    }

    /// Shuts the socket, whatever waits: for who does not read and does not go.
    pub fn cut(&self, now: Duration) {
        self.end(now);
        match &*self.line.borrow() {
            Line::Plain(socket) => shut(socket.as_ref()),
            Line::Body(Some(socket)) => shut(socket),
            Line::Body(None) | Line::Cut => {}
        }
    }

    /// The connection is no more.
    pub fn gone(&self) {
        self.phase.set(Phase::Gone);
        self.outbox.borrow_mut().clear();
        self.waker.take();
        self.left.take();
        self.line.replace(Line::Cut); // others may know this seat for a while; the descriptor must not wait for them
    }

    /// From now on it is expected to follow something.
    pub fn expect_wishes(&self, now: Duration) {
        self.aimless.set(Some(now));
    }

    /// Whether it has followed nothing for too long.
    #[must_use]
    pub fn idles(&self, now: Duration) -> bool {
        let Some(since) = self.aimless.get() else {
            return false;
        };
        if self.status.get() || self.outbox.borrow().follows() > 0 {
            self.aimless.set(Some(now));
            return false;
        }
        now.saturating_sub(since) >= limits::CLIENT_IDLE
    }

    /// Whether it is neither closing nor closed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }
}

/// A close frame; the reason is cut to what a control frame holds.
#[must_use]
pub fn close_frame(code: u16, reason: &str) -> Bytes {
    let mut payload = BytesMut::with_capacity(125);
    payload.extend_from_slice(&code.to_be_bytes());
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    payload.extend_from_slice(reason.as_bytes().get(..end).unwrap_or_default());
    frames::frame(0x88, &payload)
}

#[cfg(test)]
#[path = "seat_tests.rs"]
mod tests;
