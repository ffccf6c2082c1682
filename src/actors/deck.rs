//! The clients of one HTTP thread, and how far they were told: what must outlive a restart of the thread's fan-out shard.
//!
//! *Architecture invariant*: a deck never leaves its thread; the only numbers that do are in [`Counts`].

use crate::actors::line::Line;
use crate::actors::seat::{ClientId, Phase, Seat};
use crate::clock::{Clock, Stopwatch};
use crate::domain::channel::{Channel, Head, Topic};
use crate::domain::delivery::{Out, Window};
use crate::domain::event::Position;
use crate::domain::frames;
use crate::domain::interval::Interval;
use crate::domain::protocol::Close;
use crate::domain::symbol::Symbol;
use crate::domain::tick::AcceptedTick;
use crate::domain::timestamp::Timestamp;
use crate::limits;
use serde_json::{Map, Value, json};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Clients over all threads, counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections now.
    pub connected: AtomicUsize,
    /// Of these, slow ones.
    pub conflating: AtomicUsize,
    /// Connections since the process started.
    pub connections_total: AtomicU64,
    /// Messages of channels that were handed to clients since the process started.
    pub told_total: AtomicU64,
    closed: [AtomicU64; Close::ALL.len()],
    by_symbol: Mutex<BTreeMap<Symbol, usize>>,
}

/// A client that came for one pair alone; counted until it is dropped.
#[derive(Debug)]
pub struct Entered {
    counts: Arc<Counts>,
    symbol: Symbol,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut by_symbol = self.counts.by_symbol.lock().unwrap_or_else(PoisonError::into_inner);
        let left = by_symbol.get_mut(&self.symbol).map_or(0, |count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == 0 {
            by_symbol.remove(&self.symbol);
        }
    }
}

impl Counts {
    /// A client came for one pair alone.
    #[must_use]
    pub fn enter(self: &Arc<Self>, symbol: Symbol) -> Entered {
        let mut by_symbol = self.by_symbol.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_symbol.entry(symbol).or_default();
        *count = count.saturating_add(1);
        Entered {
            counts: Arc::clone(self),
            symbol,
        }
    }

    /// How many clients came for one pair alone, by pair.
    #[must_use]
    pub fn by_symbol(&self) -> BTreeMap<Symbol, usize> {
        self.by_symbol.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many connections were closed for each reason so far; reasons that never happened are left out.
    #[must_use]
    pub fn closed(&self) -> BTreeMap<&'static str, u64> {
        let all = Close::ALL.iter().zip(&self.closed);
        let counted = all.map(|(close, count)| (close.name(), count.load(Ordering::Relaxed)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    fn count(&self, close: Close) {
        let place = Close::ALL.iter().position(|known| *known == close);
        if let Some(counter) = place.and_then(|place| self.closed.get(place)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The clients of one thread.
#[derive(Debug)]
pub struct Deck {
    seats: RefCell<BTreeMap<ClientId, Rc<Seat>>>,
    /// Who follows a channel. Those who left are removed in the next sweep.
    audience: RefCell<HashMap<Channel, Vec<Rc<Seat>>>>,
    /// Rises whenever someone leaves an audience: places in it have moved.
    audience_moved: Cell<u64>,
    dirty: RefCell<Vec<Rc<Seat>>>,
    /// Whose replays wait for room.
    pumping: RefCell<Vec<Rc<Seat>>>,
    scratch: RefCell<Vec<Out>>,
    left: Cell<bool>,
    /// When the clients' clocks were looked at last.
    swept: Cell<Duration>,
    next_id: Cell<u64>,
    window: Window,
    slow: Cell<usize>,
    /// Clients that asked for a rate.
    paced: RefCell<Vec<Rc<Seat>>>,
    /// The last accepted tick of each pair.
    pub latest: RefCell<BTreeMap<Symbol, AcceptedTick>>,
    /// The next position that the clients of this thread were not told yet; `None` before the shard first started.
    pub next: Cell<Option<Position>>,
    /// Where each channel ends, as far as this thread was told.
    pub heads: RefCell<HashMap<Channel, Head>>,
    counts: Arc<Counts>,
    since: Stopwatch,
    clock: Clock,
    /// Up to where the pattern for those who write clients was told.
    pub pattern_at: Cell<Option<Timestamp>>,
    /// In which zone heartbeats show the time.
    pub zone: Cell<chrono_tz::Tz>,
}

impl Deck {
    /// An empty deck of thread number `thread`.
    #[must_use]
    pub fn new(thread: u16, window: Window, counts: Arc<Counts>, clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            seats: RefCell::default(),
            audience: RefCell::default(),
            audience_moved: Cell::new(0),
            dirty: RefCell::default(),
            pumping: RefCell::default(),
            paced: RefCell::default(),
            latest: RefCell::default(),
            scratch: RefCell::default(),
            left: Cell::new(false),
            swept: Cell::default(),
            next_id: Cell::new(u64::from(thread) << 40),
            window,
            slow: Cell::new(0),
            next: Cell::new(None),
            heads: RefCell::default(),
            counts,
            since: Stopwatch::start(),
            clock,
            pattern_at: Cell::new(None),
            zone: Cell::new(chrono_tz::Tz::UTC),
        })
    }

    /// How long this deck exists: the time of all its clients' clocks.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.since.elapsed()
    }

    /// The market's clock.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The counters of all decks.
    #[must_use]
    pub const fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// A client came.
    pub fn join(&self, line: Line) -> Rc<Seat> {
        let id = self.next_id.get();
        self.next_id.set(id.saturating_add(1));
        let seat = Rc::new(Seat::new(ClientId(id), line, self.window, self.now()));
        self.seats.borrow_mut().insert(seat.id(), Rc::clone(&seat));
        self.counts.connected.fetch_add(1, Ordering::Relaxed);
        self.counts.connections_total.fetch_add(1, Ordering::Relaxed);
        seat
    }

    /// A client went.
    pub fn leave(&self, id: ClientId) {
        let Some(seat) = self.seats.borrow_mut().remove(&id) else {
            return;
        };
        self.counts.connected.fetch_sub(1, Ordering::Relaxed);
        self.counts.count(seat.closed_with().unwrap_or(Close::Normal));
        seat.gone();
        self.left.set(true);
    }

    /// The seat of a client that is still here.
    #[must_use]
    pub fn seat(&self, id: ClientId) -> Option<Rc<Seat>> {
        self.seats.borrow().get(&id).map(Rc::clone)
    }

    /// Every seat.
    #[must_use]
    pub fn seats(&self) -> Vec<Rc<Seat>> {
        self.seats.borrow().values().map(Rc::clone).collect()
    }

    /// Puts a client into the audience of a channel that it did not follow before.
    pub fn listen(&self, channel: Channel, seat: &Rc<Seat>) {
        let mut audience = self.audience.borrow_mut();
        audience.entry(channel).or_default().push(Rc::clone(seat));
    }

    /// Takes a client out of the audience of a channel.
    pub fn unlisten(&self, channel: Channel, id: ClientId) {
        if let Some(seats) = self.audience.borrow_mut().get_mut(&channel) {
            seats.retain(|seat| seat.id() != id);
            self.audience_moves();
        }
    }

    fn audience_moves(&self) {
        self.audience_moved.set(self.audience_moved.get().wrapping_add(1));
    }

    /// Shows the audience of a channel, with a number that changes when places in it have moved.
    pub fn audience(&self, channel: Channel, show: impl FnOnce(&[Rc<Seat>], u64)) {
        let audience = self.audience.borrow();
        show(
            audience.get(&channel).map_or(&[], Vec::as_slice),
            self.audience_moved.get(),
        );
    }

    /// Does `tell` to each client of a channel's audience; those for which it gives `true` are flushed later.
    pub fn each_of(&self, channel: Channel, mut tell: impl FnMut(&Rc<Seat>) -> bool) {
        let audience = self.audience.borrow();
        let Some(seats) = audience.get(&channel) else {
            return;
        };
        let mut dirty = self.dirty.borrow_mut();
        let mut told = 0_usize;
        for seat in seats {
            if tell(seat) {
                told = told.saturating_add(1);
                if seat.soil() {
                    dirty.push(Rc::clone(seat));
                }
            }
        }
        self.count_told(told);
    }

    /// So many messages were handed to clients.
    pub fn count_told(&self, messages: usize) {
        let messages = u64::try_from(messages).unwrap_or(u64::MAX);
        self.counts.told_total.fetch_add(messages, Ordering::Relaxed);
    }

    /// The channels of bars of `interval` that anyone follows.
    #[must_use]
    pub fn bar_channels(&self, interval: Interval) -> Vec<Channel> {
        let audience = self.audience.borrow();
        let bars = audience.keys().filter(|channel| channel.topic == Topic::Bars(interval));
        bars.copied().collect()
    }

    /// Says that a client has something to send.
    pub fn soil(&self, seat: &Rc<Seat>) {
        if seat.soil() {
            self.dirty.borrow_mut().push(Rc::clone(seat));
        }
    }

    /// A client's replay waits for room in its outbox.
    pub fn pump_later(&self, seat: &Rc<Seat>) {
        self.pumping.borrow_mut().push(Rc::clone(seat));
    }

    /// A client asked for a rate: what is parked for it is looked at often.
    pub fn pace(&self, seat: &Rc<Seat>) {
        let mut paced = self.paced.borrow_mut();
        if !paced.iter().any(|known| known.id() == seat.id()) {
            paced.push(Rc::clone(seat));
        }
    }

    /// Marks the clients for which something parked may go now.
    pub fn release_paced(&self) {
        let now = self.now();
        for seat in self.paced.borrow().iter() {
            let due = seat.outbox.borrow().next_deadline();
            if due.is_some_and(|due| due <= now) {
                self.soil(seat);
            }
        }
    }

    /// Takes the clients whose replays wait for room.
    #[must_use]
    pub fn pumping(&self) -> Vec<Rc<Seat>> {
        std::mem::take(&mut self.pumping.borrow_mut())
    }

    /// Sends what waits for each client that has something to send.
    pub fn flush(&self) {
        let dirty = std::mem::take(&mut *self.dirty.borrow_mut());
        let now = self.now();
        let mut scratch = self.scratch.borrow_mut();
        for seat in &dirty {
            seat.flush(now, &mut scratch);
        }
        let mut spare = self.dirty.borrow_mut();
        if spare.is_empty() {
            *spare = dirty;
            spare.clear();
        }
    }

    /// Looks at every client's clocks: pings, heartbeats, rates, slow and silent ones, ends that do not come.
    pub fn sweep(&self) {
        let now = self.now();
        // After a stop of ours the answers wait in the sockets: no client is late by time in which we did not read.
        let stood = now.saturating_sub(self.swept.replace(now)) >= limits::PULSE_STALE;
        let mut slow = 0_usize;
        let mut scratch = Vec::new();
        for seat in self.seats() {
            if stood {
                seat.pardon(now);
            }
            self.sweep_one(&seat, now, &mut scratch);
            slow = slow.saturating_add(usize::from(seat.outbox.borrow().conflating()));
        }
        let before = self.slow.replace(slow);
        self.counts.conflating.fetch_add(slow, Ordering::Relaxed);
        self.counts.conflating.fetch_sub(before, Ordering::Relaxed);
        if self.left.replace(false) {
            self.paced.borrow_mut().retain(|seat| seat.phase() != Phase::Gone);
            for seats in self.audience.borrow_mut().values_mut() {
                seats.retain(|seat| seat.phase() != Phase::Gone);
            }
            self.audience_moves();
        }
    }

    fn sweep_one(&self, seat: &Seat, now: Duration, scratch: &mut Vec<Out>) {
        match seat.phase() {
            Phase::Closing(since) | Phase::Ended(since) if now.saturating_sub(since) > limits::CLIENT_CLOSE => {
                return seat.cut(now);
            }
            Phase::Closing(_) | Phase::Ended(_) | Phase::Gone => return,
            Phase::Open => {}
        }
        let overdue = seat.outbox.borrow().overdue(now);
        if let Some(evict) = overdue {
            return seat.close(Close::SlowConsumer, evict.reason(), now);
        }
        if seat.idles(now) {
            return seat.close(Close::Idle, "nothing was subscribed", now);
        }
        if seat.silent(now) {
            return seat.close(Close::GoingAway, "no pong within 10 s", now);
        }
        let mut outbox = seat.outbox.borrow_mut();
        outbox.rest();
        if seat.ping_due(now) {
            outbox.say(&frames::frame(0x89, b"candela"), now);
        }
        if seat.quiet(now) && outbox.is_empty() {
            let heartbeat = self.heartbeat(outbox.complete());
            outbox.say(&heartbeat, now);
        }
        let waits = !outbox.is_empty() || outbox.next_deadline().is_some_and(|due| due <= now);
        drop(outbox);
        if waits {
            seat.flush(now, scratch);
        }
    }

    fn heartbeat(&self, positions: impl Iterator<Item = (Channel, u64)>) -> bytes::Bytes {
        let heads = self.heads.borrow();
        let position = |(channel, seq): (Channel, u64)| {
            let epoch = heads.get(&channel).map(|head| head.epoch.as_str().to_owned());
            (channel.to_string(), json!({"epoch": epoch, "seq": seq}))
        };
        let heads: Map<String, Value> = positions.map(position).collect();
        let time = self.clock.now().rfc3339(self.zone.get());
        frames::text_frame(
            json!({"type": "heartbeat", "server_time": time, "heads": heads})
                .to_string()
                .as_bytes(),
        )
    }
}
