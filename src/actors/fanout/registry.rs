//! The clients of one HTTP thread and their positions: the state that outlives a restart of the thread's fan-out shard.
//!
//! *Architecture invariant*: a registry never leaves its thread; only the numbers in [`ClientCounts`] do.

use crate::actors::fanout::{Connection, ConnectionPhase, Transport};
use crate::actors::messages::ClientId;
use crate::client_list::ClientList;
use crate::clock::{Clock, Stopwatch};
use crate::domain::model::{AcceptedTick, Channel, Head, Interval, Position, Symbol, Timestamp, Topic};
use crate::domain::protocol::{Close, Framing, Out, Window, frames};
use crate::limits;
use serde_json::{Map, Value, json};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Counts of clients on all threads.
#[derive(Debug, Default)]
pub struct ClientCounts {
    /// Open connections.
    pub connected: AtomicUsize,
    /// Those that are slow.
    pub conflating: AtomicUsize,
    /// Connections since the process started.
    pub connections_total: AtomicU64,
    /// Channel messages sent to clients since the process started.
    pub told_total: AtomicU64,
    /// The list of all clients.
    pub list: ClientList,
    closed: [AtomicU64; Close::ALL.len()],
    by_symbol: Mutex<BTreeMap<Symbol, usize>>,
}

/// Counts a client of `/ws/{symbol}` until it is dropped.
#[derive(Debug)]
pub struct CountedClient {
    counts: Arc<ClientCounts>,
    symbol: Symbol,
}

impl Drop for CountedClient {
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

impl ClientCounts {
    /// Counters that also enter each client in `list`.
    pub fn listing(list: ClientList) -> Self {
        Self {
            list,
            ..Self::default()
        }
    }

    /// Counts a client of `/ws/{symbol}`.
    #[must_use]
    pub fn enter(self: &Arc<Self>, symbol: Symbol) -> CountedClient {
        let mut by_symbol = self.by_symbol.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_symbol.entry(symbol).or_default();
        *count = count.saturating_add(1);
        CountedClient {
            counts: Arc::clone(self),
            symbol,
        }
    }

    /// How many clients of `/ws/{symbol}` there are, by pair.
    pub fn by_symbol(&self) -> BTreeMap<Symbol, usize> {
        self.by_symbol.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many connections were closed for each reason, zero included.
    pub fn closed(&self) -> BTreeMap<&'static str, u64> {
        let all = Close::ALL.iter().zip(&self.closed);
        all.map(|(close, count)| (close.name(), count.load(Ordering::Relaxed)))
            .collect()
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
pub struct ClientRegistry {
    connections: RefCell<BTreeMap<ClientId, Rc<Connection>>>,
    /// The subscribers of each channel. Those that left are removed in the next sweep.
    audience: RefCell<HashMap<Channel, Vec<Rc<Connection>>>>,
    /// Rises when a client leaves an audience, which shifts the indexes of the others.
    audience_moved: Cell<u64>,
    dirty: RefCell<Vec<Rc<Connection>>>,
    /// Clients whose replays wait for room in their outboxes.
    waiting_replays: RefCell<Vec<Rc<Connection>>>,
    scratch: RefCell<Vec<Out>>,
    left: Cell<bool>,
    /// When the clients' timers were last checked.
    swept: Cell<Duration>,
    next_id: Cell<u64>,
    window: Window,
    slow: Cell<usize>,
    /// Clients with a rate limit.
    paced: RefCell<Vec<Rc<Connection>>>,
    /// The last accepted tick of each pair.
    pub latest: RefCell<BTreeMap<Symbol, AcceptedTick>>,
    /// The next position to send to the clients of this thread; `None` before the shard first started.
    pub next: Cell<Option<Position>>,
    /// The head of each channel, as far as this thread knows.
    pub heads: RefCell<HashMap<Channel, Head>>,
    counts: Arc<ClientCounts>,
    since: Stopwatch,
    clock: Clock,
    /// The instant up to which the test feed was sent.
    pub pattern_at: Cell<Option<Timestamp>>,
    /// The time zone of heartbeats.
    pub zone: Cell<chrono_tz::Tz>,
}

impl ClientRegistry {
    /// An empty registry of thread number `thread`.
    pub fn new(thread: u16, window: Window, counts: Arc<ClientCounts>, clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            connections: RefCell::default(),
            audience: RefCell::default(),
            audience_moved: Cell::new(0),
            dirty: RefCell::default(),
            waiting_replays: RefCell::default(),
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

    /// The age of this registry: the clock of all its clients' timers.
    pub fn now(&self) -> Duration {
        self.since.elapsed()
    }

    /// Market time.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The counters of all threads.
    pub const fn counts(&self) -> &Arc<ClientCounts> {
        &self.counts
    }

    /// Adds a connection.
    pub fn connect_client(&self, transport: Transport) -> Rc<Connection> {
        self.connect(|id, window, now| Connection::new(id, transport, window, now))
    }

    /// Adds a connection of a client that speaks another protocol.
    pub fn connect_framed(&self, transport: Transport, framing: Box<dyn Framing>) -> Rc<Connection> {
        self.connect(|id, window, now| Connection::new(id, transport, window, now).framed(framing))
    }

    fn connect(&self, make: impl FnOnce(ClientId, Window, Duration) -> Connection) -> Rc<Connection> {
        let id = self.next_id.get();
        self.next_id.set(id.saturating_add(1));
        let connection = Rc::new(make(ClientId(id), self.window, self.now()));
        self.connections
            .borrow_mut()
            .insert(connection.id(), Rc::clone(&connection));
        self.counts.list.enter(id, self.clock.now());
        self.counts.connected.fetch_add(1, Ordering::Relaxed);
        self.counts.connections_total.fetch_add(1, Ordering::Relaxed);
        connection
    }

    /// Removes a client.
    pub fn disconnect_client(&self, id: ClientId) {
        let Some(connection) = self.connections.borrow_mut().remove(&id) else {
            return;
        };
        self.counts.list.leave(id.0);
        self.counts.connected.fetch_sub(1, Ordering::Relaxed);
        self.counts.count(connection.closed_with().unwrap_or(Close::Normal));
        connection.mark_gone();
        self.left.set(true);
    }

    /// The connection of a client, while it is open.
    pub fn connection(&self, id: ClientId) -> Option<Rc<Connection>> {
        self.connections.borrow().get(&id).map(Rc::clone)
    }

    /// Every connection.
    pub fn connections(&self) -> Vec<Rc<Connection>> {
        self.connections.borrow().values().map(Rc::clone).collect()
    }

    /// Adds a client to the audience of a channel to which it was not subscribed before.
    pub fn add_to_audience(&self, channel: Channel, connection: &Rc<Connection>) {
        let mut audience = self.audience.borrow_mut();
        audience.entry(channel).or_default().push(Rc::clone(connection));
    }

    /// Removes a client from the audience of a channel.
    pub fn remove_from_audience(&self, channel: Channel, id: ClientId) {
        if let Some(connections) = self.audience.borrow_mut().get_mut(&channel) {
            connections.retain(|connection| connection.id() != id);
            self.audience_moves();
        }
    }

    fn audience_moves(&self) {
        self.audience_moved.set(self.audience_moved.get().wrapping_add(1));
    }

    /// Calls `show` with the audience of a channel and a number that changes when indexes in it shift.
    pub fn with_audience(&self, channel: Channel, show: impl FnOnce(&[Rc<Connection>], u64)) {
        let audience = self.audience.borrow();
        show(
            audience.get(&channel).map_or(&[], Vec::as_slice),
            self.audience_moved.get(),
        );
    }

    /// Calls `tell` for each client of a channel; those for which it returns `true` are flushed later.
    pub fn for_each_of(&self, channel: Channel, mut tell: impl FnMut(&Rc<Connection>) -> bool) {
        let audience = self.audience.borrow();
        let Some(connections) = audience.get(&channel) else {
            return;
        };
        let mut dirty = self.dirty.borrow_mut();
        let mut told = 0_usize;
        for connection in connections {
            if tell(connection) {
                told = told.saturating_add(1);
                if connection.mark_dirty() {
                    dirty.push(Rc::clone(connection));
                }
            }
        }
        self.count_told(told);
    }

    /// Counts messages sent to clients.
    pub fn count_told(&self, messages: usize) {
        let messages = u64::try_from(messages).unwrap_or(u64::MAX);
        self.counts.told_total.fetch_add(messages, Ordering::Relaxed);
    }

    /// The channels of bars of `interval` with a subscriber.
    pub fn bar_channels(&self, interval: Interval) -> Vec<Channel> {
        let audience = self.audience.borrow();
        let bars = audience.keys().filter(|channel| channel.topic == Topic::Bars(interval));
        bars.copied().collect()
    }

    /// Marks a client as having something to send.
    pub fn mark_dirty(&self, connection: &Rc<Connection>) {
        if connection.mark_dirty() {
            self.dirty.borrow_mut().push(Rc::clone(connection));
        }
    }

    /// Resumes a client's replay later, when its outbox has room.
    pub fn resume_replay_later(&self, connection: &Rc<Connection>) {
        self.waiting_replays.borrow_mut().push(Rc::clone(connection));
    }

    /// A client has a rate limit: its conflated messages are checked often.
    pub fn watch_rate_of(&self, connection: &Rc<Connection>) {
        let mut paced = self.paced.borrow_mut();
        if !paced.iter().any(|known| known.id() == connection.id()) {
            paced.push(Rc::clone(connection));
        }
    }

    /// Marks the clients whose conflated messages are due.
    pub fn release_paced(&self) {
        let now = self.now();
        for connection in self.paced.borrow().iter() {
            let due = connection.outbox.borrow().next_deadline();
            if due.is_some_and(|due| due <= now) {
                self.mark_dirty(connection);
            }
        }
    }

    /// Takes the clients whose replays wait for room.
    pub fn take_waiting_replays(&self) -> Vec<Rc<Connection>> {
        std::mem::take(&mut self.waiting_replays.borrow_mut())
    }

    /// Writes to each client that has something to send.
    pub fn flush(&self) {
        let dirty = std::mem::take(&mut *self.dirty.borrow_mut());
        let now = self.now();
        let mut scratch = self.scratch.borrow_mut();
        for connection in &dirty {
            connection.flush(now, &mut scratch);
        }
        let mut spare = self.dirty.borrow_mut();
        if spare.is_empty() {
            *spare = dirty;
            spare.clear();
        }
    }

    /// Checks every client's timers: pings, heartbeats, rates, slow and silent clients, closes without an answer.
    pub fn sweep_clients(&self) {
        let now = self.now();
        // After a pause of this process the answers are still in the sockets: time in which we did not read makes no client late.
        let stood = now.saturating_sub(self.swept.replace(now)) >= limits::PULSE_STALE;
        let mut slow = 0_usize;
        let mut scratch = Vec::new();
        for id in self.counts.list.to_close() {
            if let Some(connection) = self.connection(ClientId(id)) {
                connection.close(Close::TryLater, "an operator closed this connection", now);
            }
        }
        for connection in self.connections() {
            if stood {
                connection.extend_deadlines(now);
            }
            self.sweep_one(&connection, now, &mut scratch);
            let conflates = connection.outbox.borrow().conflating();
            slow = slow.saturating_add(usize::from(conflates));
            if connection.was_slow.replace(conflates) != conflates {
                self.counts
                    .list
                    .describe(connection.id().0, |client| client.slow = conflates);
            }
        }
        let before = self.slow.replace(slow);
        self.counts.conflating.fetch_add(slow, Ordering::Relaxed);
        self.counts.conflating.fetch_sub(before, Ordering::Relaxed);
        if self.left.replace(false) {
            self.paced
                .borrow_mut()
                .retain(|connection| connection.phase() != ConnectionPhase::Gone);
            for connections in self.audience.borrow_mut().values_mut() {
                connections.retain(|connection| connection.phase() != ConnectionPhase::Gone);
            }
            self.audience_moves();
        }
    }

    fn sweep_one(&self, connection: &Connection, now: Duration, scratch: &mut Vec<Out>) {
        match connection.phase() {
            ConnectionPhase::Closing(since) | ConnectionPhase::Ended(since)
                if now.saturating_sub(since) > limits::CLIENT_CLOSE =>
            {
                return connection.abort(now);
            }
            ConnectionPhase::Closing(_) | ConnectionPhase::Ended(_) | ConnectionPhase::Gone => return,
            ConnectionPhase::Open => {}
        }
        let overdue = connection.outbox.borrow().overdue(now);
        if let Some(evict) = overdue {
            return connection.close(Close::SlowConsumer, evict.reason(), now);
        }
        if connection.idles_too_long(now) {
            return connection.close(Close::Idle, "nothing was subscribed", now);
        }
        if connection.missed_pong(now) {
            return connection.close(Close::GoingAway, "no pong within 10 s", now);
        }
        let mut outbox = connection.outbox.borrow_mut();
        outbox.shrink();
        if connection.ping_due(now) {
            outbox.say(&frames::frame(frames::PING, b"candela"), now);
        }
        if connection.needs_heartbeat(now) && outbox.is_empty() {
            let heartbeat = self.heartbeat(outbox.complete());
            outbox.say(&heartbeat, now);
        }
        let waits = !outbox.is_empty() || outbox.next_deadline().is_some_and(|due| due <= now);
        drop(outbox);
        if waits {
            connection.flush(now, scratch);
        }
    }

    fn heartbeat(&self, positions: impl Iterator<Item = (Channel, u64)>) -> bytes::Bytes {
        let heads = self.heads.borrow();
        let positions = positions.map(|(channel, seq)| {
            let epoch = heads.get(&channel).map(|head| head.epoch.as_str().to_owned());
            (channel.to_string(), json!({"epoch": epoch, "seq": seq}))
        });
        let heads: Map<String, Value> = positions.collect();
        let time = self.clock.now().rfc3339(self.zone.get());
        frames::text_frame(
            json!({"type": "heartbeat", "server_time": time, "heads": heads})
                .to_string()
                .as_bytes(),
        )
    }
}
