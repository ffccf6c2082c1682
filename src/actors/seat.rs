//! One client's seat: its outbox and its line to the socket. Shared by the session, the response body and the fan-out shard
//! of one thread.
//!
//! ```text
//!            waiting for the body: someone must wake it
//!     ┌──────────────────────────────────────────────────────┐
//!     │ body polled, nothing waits                           │ a write was not taken whole: the rest is left to the body
//!     ▼                                                      │
//!   Idle ── flush: written straight to the socket ── all taken ──► Idle
//! ```
//!
//! Why straight to the socket: waking the HTTP dispatcher costs more than the write itself. Why that is in order: the
//! dispatcher runs with a write buffer of one byte, so it asks the body for more only when all that it was given before is in
//! the kernel. From then on, until the body yields again, nobody else writes to this socket. Over TLS there is no such
//! shortcut, and the body brings everything.

use crate::domain::channel::Channel;
use crate::domain::delivery::{Out, Window};
use crate::domain::frames;
use crate::domain::outbox::Outbox;
use crate::domain::protocol::Close;
use crate::limits;
use bytes::{Bytes, BytesMut};
use socket2::Socket;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Names one connection within its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// The duplicated descriptor of a connection, and what it may be used for.
#[derive(Debug)]
pub struct Line {
    /// `None` where the connection's type is not known.
    pub socket: Option<Socket>,
    /// Plain TCP: bytes may be written to it.
    pub plain: bool,
}

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
    line: Line,
    idle: Cell<bool>,
    left: RefCell<Bytes>,
    waker: RefCell<Option<Waker>>,
    phase: Cell<Phase>,
    clocks: Cell<Clocks>,
    dirty: Cell<bool>,
    closed_with: Cell<Option<Close>>,
}

impl Seat {
    /// A seat for a connection that begins now.
    #[must_use]
    pub fn new(id: ClientId, line: Line, window: Window, now: Duration) -> Self {
        Self {
            id,
            outbox: RefCell::new(Outbox::new(window)),
            status: Cell::new(false),
            line,
            idle: Cell::new(false),
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

    /// Sends what waits: straight to the socket where that is possible, else by waking the body.
    pub fn flush(&self, now: Duration, scratch: &mut Vec<Out>) {
        self.dirty.set(false);
        let Some(socket) = self.line.socket.as_ref().filter(|_| self.idle.get() && self.line.plain) else {
            return self.wake();
        };
        loop {
            scratch.clear();
            self.outbox.borrow_mut().take(limits::CLIENT_WRITE, now, scratch);
            let Some(bytes) = join(scratch) else {
                return;
            };
            if !self.write(socket, &bytes, now) {
                return;
            }
        }
    }

    /// Sends ticks `first..=last` of a channel at once, where nothing waits before them. Whether it did: else they are offered
    /// one by one.
    pub fn pass(&self, channel: Channel, first: u64, last: u64, bytes: &Bytes, now: Duration) -> bool {
        let Some(socket) = self.line.socket.as_ref().filter(|_| self.idle.get() && self.line.plain) else {
            return false;
        };
        let passed = self.outbox.borrow_mut().pass(channel, first, last);
        if passed {
            self.write(socket, bytes, now);
        }
        passed
    }

    /// Writes to an idle socket; what it does not take is left to the body. Whether all was taken.
    fn write(&self, socket: &Socket, bytes: &Bytes, now: Duration) -> bool {
        self.sent(now);
        let taken = match socket.send(bytes) {
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.cut(now); // reset or shut: the dispatcher learns of it from the socket
                return false;
            }
        };
        if taken < bytes.len() {
            self.idle.set(false);
            *self.left.borrow_mut() = bytes.slice(taken..);
            self.wake();
        }
        taken == bytes.len()
    }

    /// The body's side: what to write next. The dispatcher asks only when all that it was given before is in the kernel.
    pub fn poll_next(&self, now: Duration, task: &Context<'_>) -> Poll<Option<Bytes>> {
        let left = self.left.take();
        if !left.is_empty() {
            return Poll::Ready(Some(left));
        }
        let mut outs = Vec::new();
        self.outbox.borrow_mut().take(limits::CLIENT_WRITE, now, &mut outs);
        if let Some(bytes) = join(&outs) {
            self.idle.set(false);
            self.sent(now);
            return Poll::Ready(Some(bytes));
        }
        if matches!(self.phase.get(), Phase::Ended(_)) {
            return Poll::Ready(None);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(task.waker())) {
            *waker = Some(task.waker().clone());
        }
        self.idle.set(true);
        Poll::Pending
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
        if let Some(socket) = &self.line.socket {
            drop(socket.shutdown(Shutdown::Both)); // an error means that it is shut already
        }
    }

    /// The connection is no more.
    pub fn gone(&self) {
        self.phase.set(Phase::Gone);
        self.outbox.borrow_mut().clear();
        self.waker.take();
        self.idle.set(false);
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

/// What waits, as one piece of bytes: what goes together goes in one write.
fn join(outs: &[Out]) -> Option<Bytes> {
    match outs {
        [] => None,
        [Out::Frame(frame)] => Some(frame.clone()),
        many => {
            let mut bytes = BytesMut::with_capacity(many.iter().map(Out::bytes).sum());
            for out in many {
                match out {
                    Out::Frame(frame) => bytes.extend_from_slice(frame),
                    Out::Covering { frame, from } => bytes.extend_from_slice(&frames::covering(frame, *from)),
                    Out::Slow { warn, conflated } => bytes.extend_from_slice(&frames::slow(*warn, *conflated)),
                }
            }
            Some(bytes.freeze())
        }
    }
}
