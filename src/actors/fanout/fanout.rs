//! Fanout: sends the ledger's events to the clients of one HTTP thread. Each HTTP thread has one shard, which runs on it.
//!
//! owns   the recent messages of its channels (for replays). Its clients and its position live in the [`ClientRegistry`], which outlives it
//! hears  Recorded (Recorder, LogKeeper, LogFollower) · Subscribe, Unsubscribe (Client) · the service's status (watch)
//! asks   the store, concurrently, for the parts of a replay that the ledger no longer has
//! says   frames, into the outboxes of its clients
//! fails  a panic restarts it: recent messages are read from the ledger, the position is the registry's, and messages that a client already
//!        has are dropped by seq. A ledger that cannot be read is read again with the next `Recorded`

use crate::actors::fanout::{ClientRegistry, Connection, LedgerSource, Replayer, StoredSpans, TickBatch, TickBatches};
use crate::actors::messages::{Item, Recorded, Subscribe, Told, Unsubscribe};
use crate::actors::repeat::RepeatEvery;
use crate::domain::model::{Bar, Channel, Event, Position, Sequenced, Symbol, Timestamp, Topic};
use crate::domain::protocol::{Offered, Zones, frames, pattern};
use crate::limits;
use crate::store::Store;
use crate::views::ServiceView;
use actix::fut::{self, LocalBoxActorFuture};
use actix::{
    Actor, ActorFutureExt, ActorResponse, AsyncContext, Context, Handler, StreamHandler, Supervised, WrapFuture,
};
use bytes::Bytes;
use futures_util::stream;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::watch;

/// Opens a reader of the ledger.
pub type OpenLedger = Arc<dyn Fn() -> Box<dyn LedgerSource> + Send + Sync>;

/// When the open session of a pair, or else its last one, began.
pub type SessionStart = Arc<dyn Fn(Symbol, Timestamp) -> Option<Timestamp> + Send + Sync>;

/// The dependencies of a shard.
#[derive(Clone)]
pub struct Deps {
    /// The clients of its thread.
    pub registry: Rc<ClientRegistry>,
    /// The ledger.
    pub ledger: OpenLedger,
    /// The time zones in which times are shown.
    pub zones: Zones,
    /// The `status` message as an encoded frame; empty before the first one.
    pub status: watch::Receiver<Bytes>,
    /// The service's snapshot. When Health stops publishing it, this shard sends a status that says so.
    pub view: watch::Receiver<Arc<ServiceView>>,
    /// Finds the start of a session; without it `since: "session_start"` begins now.
    pub session_start: Option<SessionStart>,
    /// Keeps the logs of bars and quality longer than the ledger does.
    pub store: Option<Store>,
    /// Whether it also serves the test feed.
    pub pattern: bool,
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deps")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

/// A fan-out shard.
pub struct Fanout {
    replayer: Replayer,
    /// Ticks that are not sent yet.
    batches: TickBatches,
    /// The position that a read of the ledger must reach before live messages are sent again.
    behind: Option<Position>,
    flush_planned: bool,
    /// Whether clients were sent that the status is outdated.
    told_outdated: bool,
    /// Events dispatched since the last flush.
    unflushed: usize,
}

impl fmt::Debug for Fanout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fanout")
            .field("behind", &self.behind)
            .finish_non_exhaustive()
    }
}

impl Fanout {
    /// A shard that continues with the state of its registry.
    pub fn new(deps: Deps) -> Self {
        Self {
            replayer: Replayer::new(deps),
            batches: TickBatches::default(),
            behind: None,
            flush_planned: false,
            told_outdated: false,
            unflushed: 0,
        }
    }

    /// Schedules a flush after everything that waits in the mailbox is handled, so that it goes out in one write.
    fn plan_flush(&mut self, ctx: &mut Context<Self>) {
        self.fetch_chunks(ctx);
        if !self.flush_planned {
            self.flush_planned = true;
            ctx.notify(Flush);
        }
    }

    /// Continues after the messages that arrived meanwhile, and after this thread's sessions had a turn: clients must be able to leave a
    /// shard that has more than it can serve.
    fn continue_later(&mut self, ctx: &mut Context<Self>) {
        if !self.flush_planned {
            self.flush_planned = true;
            let turn = tokio::task::yield_now().into_actor(self);
            ctx.spawn(turn.map(|(), _, ctx| ctx.notify(Flush)));
        }
    }

    fn receive(&mut self, recorded: &Recorded, ctx: &mut Context<Self>) {
        let next = self.replayer.deps.registry.next.get().unwrap_or_default();
        let first = recorded.told.iter().find_map(|told| match &told.item {
            Item::Event(numbered) => Some(numbered.position),
            Item::Partial { .. } => None,
        });
        let misses = first.map_or(next <= recorded.head, |first| next < first);
        if misses || self.behind.is_some() {
            return self.fall_behind(recorded.head, ctx);
        }
        for told in recorded.told.iter() {
            self.dispatch(told);
        }
    }

    fn fall_behind(&mut self, head: Position, ctx: &mut Context<Self>) {
        let reading = self.behind.is_some();
        self.behind = Some(self.behind.map_or(head, |known| known.max(head)));
        if !reading {
            ctx.notify(CatchUp);
        }
    }

    /// Reads one chunk of the events that were missed.
    fn catch_up(&mut self, ctx: &mut Context<Self>) {
        let Some(target) = self.behind else {
            return;
        };
        let next = self.replayer.deps.registry.next.get().unwrap_or_default();
        let read = self.replayer.ledger.read(next, limits::FANOUT_READ);
        match read {
            Ok(events) if !events.is_empty() => {
                for numbered in &events {
                    let frame = frames::event(&self.replayer.deps.zones, numbered);
                    self.dispatch_event(numbered, &frame);
                }
                self.plan_flush(ctx);
                match self.replayer.deps.registry.next.get() {
                    Some(next) if next <= target => {
                        ctx.notify_later(CatchUp, std::time::Duration::ZERO);
                    }
                    _ => self.behind = None,
                }
            }
            Ok(_) => self.behind = None,
            Err(error) => {
                tracing::error!(from = next.0, error, "failed to read the ledger for clients");
                self.behind = None; // the next Recorded tries again
            }
        }
    }

    /// Sends the outdated status when Health hangs, and the current one when it recovers.
    fn watch_status(&mut self, ctx: &mut Context<Self>) {
        let outdated = !self.replayer.deps.view.borrow().fresh();
        if std::mem::replace(&mut self.told_outdated, outdated) != outdated {
            let frame = self.replayer.status_frame();
            if !frame.is_empty() {
                self.send_status(&frame, ctx);
            }
        }
    }

    fn send_status(&mut self, frame: &Bytes, ctx: &mut Context<Self>) {
        let registry = Rc::clone(&self.replayer.deps.registry);
        let now = registry.now();
        for connection in registry
            .connections()
            .iter()
            .filter(|connection| connection.status.get())
        {
            connection.outbox.borrow_mut().say(frame, now);
            registry.mark_dirty(connection);
        }
        self.plan_flush(ctx);
    }

    /// Answers at once if possible; else after a query of the store, or when this shard has caught up with another thread's shard or
    /// another node, from which the client already has messages.
    fn subscribe_when_told(
        &mut self,
        ask: Subscribe,
        patience: u32,
        ctx: &mut Context<Self>,
    ) -> Option<LocalBoxActorFuture<Self, ()>> {
        if patience > 0 && self.replayer.lags_behind(&ask) {
            let pause = actix_rt::time::sleep(limits::CLIENT_PUMP).into_actor(self);
            let again = pause.then(move |(), shard, ctx| {
                let later = shard.subscribe_when_told(ask, patience.saturating_sub(1), ctx);
                later.unwrap_or_else(|| Box::pin(fut::ready(())))
            });
            return Some(Box::pin(again));
        }
        let queries = self.replayer.span_queries(&ask);
        if queries.is_empty() {
            self.replayer.subscribe_client(ask, &StoredSpans::new());
            self.plan_flush(ctx);
            return None;
        }
        let asked = self.replayer.store_log.read_spans(queries).into_actor(self);
        Some(Box::pin(asked.map(move |stored, shard, ctx| {
            shard.replayer.subscribe_client(ask, &stored);
            shard.plan_flush(ctx);
        })))
    }

    /// Resumes every replay that waits for room.
    fn resume_replays(&mut self) {
        let registry = Rc::clone(&self.replayer.deps.registry);
        for connection in registry.take_waiting_replays() {
            self.replayer.resume_replay(&connection);
            registry.mark_dirty(&connection);
        }
        registry.release_paced();
        registry.flush();
    }

    /// Queries the store for the chunks that replays wait for.
    fn fetch_chunks(&mut self, ctx: &mut Context<Self>) {
        for fetch in self.replayer.store_log.take_requests() {
            let head = self.replayer.head(fetch.channel);
            let read = head.and_then(|head| self.replayer.store_log.read_chunk(fetch, head.epoch));
            let Some(read) = read else {
                self.replayer.store_log.mark_answered(fetch.client); // otherwise its replay would wait for ever
                continue;
            };
            let told = read.into_actor(self).map(move |found, shard, ctx| {
                shard.replayer.take_chunk(fetch, found);
                shard.plan_flush(ctx);
            });
            ctx.spawn(told);
        }
    }

    /// Sends the events that the test feed produced since the last call.
    fn send_test_feed(&mut self) {
        let registry = Rc::clone(&self.replayer.deps.registry);
        let now = registry.clock().now();
        let since = registry.pattern_at.get().unwrap_or(now);
        let until = now.min(since + limits::PATTERN_STRETCH);
        registry.pattern_at.set(Some(until));
        let told = pattern::between(since, until);
        for numbered in &told {
            let frame = frames::event(&self.replayer.deps.zones, numbered);
            match numbered.channel {
                // The shard sent it before its restart.
                Some(channel) if self.replayer.head(channel).is_some_and(|head| numbered.seq <= head.seq) => {}
                Some(channel) => self.dispatch_numbered(channel, numbered.seq, &frame),
                None => self.dispatch_test_bar_end(&frame),
            }
        }
        let ticks = told.iter().any(|numbered| matches!(numbered.event, Event::Tick(_)));
        if let Some((bar, base)) = pattern::forming(until).filter(|_| ticks) {
            self.dispatch_all_ticks();
            let frame = frames::partial(&self.replayer.deps.zones, &bar, base, until);
            self.dispatch_partial(&bar, base, &frame);
        }
    }

    /// Sends the end of a test-feed interval to subscribers of its bars only: it belongs to no market.
    fn dispatch_test_bar_end(&mut self, frame: &Bytes) {
        let Some(bars) = pattern::channels().last().copied() else {
            return;
        };
        self.dispatch_all_ticks();
        let registry = &self.replayer.deps.registry;
        let now = registry.now();
        registry.for_each_of(bars, |connection| {
            let mut outbox = connection.outbox.borrow_mut();
            let follows = outbox.replay_of(bars).is_none();
            if follows {
                outbox.say(frame, now);
            }
            follows
        });
    }

    fn dispatch(&mut self, told: &Told) {
        let zones = &self.replayer.deps.zones;
        match &told.item {
            Item::Event(numbered) => {
                if self
                    .replayer
                    .deps
                    .registry
                    .next
                    .get()
                    .is_some_and(|next| next <= numbered.position)
                {
                    let frame = told.frame.get_or_init(|| frames::event(zones, numbered)).clone();
                    self.dispatch_event(numbered, &frame);
                }
            }
            Item::Partial { bar, base } => {
                let at = self.replayer.deps.registry.clock().now();
                let frame = told.frame.get_or_init(|| frames::partial(zones, bar, *base, at));
                let frame = frame.clone();
                self.dispatch_partial(bar, *base, &frame);
            }
        }
    }

    fn dispatch_event(&mut self, numbered: &Sequenced, frame: &Bytes) {
        let registry = Rc::clone(&self.replayer.deps.registry);
        let now = registry.now();
        match (numbered.channel, &numbered.event) {
            (Some(channel), _) => {
                if let Event::Tick(tick) = &numbered.event {
                    registry.latest.borrow_mut().insert(tick.tick.symbol, *tick);
                }
                self.dispatch_numbered(channel, numbered.seq, frame);
            }
            (None, Event::BarEnd(end)) => {
                self.dispatch_all_ticks();
                for channel in registry.bar_channels(end.interval) {
                    registry.for_each_of(channel, |connection| {
                        let mut outbox = connection.outbox.borrow_mut();
                        outbox.offer_loose(end.interval, numbered.position, frame, now) == Offered::Queued
                    });
                }
            }
            (None, _) => {}
        }
        registry.next.set(Some(numbered.position.next()));
        self.unflushed = self.unflushed.saturating_add(1);
        if self.unflushed >= limits::FANOUT_BURST || self.batches.longest() >= limits::FANOUT_BURST {
            self.unflushed = 0;
            self.dispatch_all_ticks();
            registry.flush(); // otherwise a long batch would look like slow clients
        }
    }

    /// Keeps a message of a channel for replays, and sends it; ticks are sent in batches.
    fn dispatch_numbered(&mut self, channel: Channel, seq: u64, frame: &Bytes) {
        self.replayer.advance_head(channel, seq);
        self.replayer.recent.push(channel, seq, frame);
        if channel.topic == Topic::Ticks {
            self.batches.push(channel, seq, frame);
        } else {
            self.dispatch_all_ticks();
            self.offer(channel, seq, frame);
        }
    }

    /// Keeps and sends a forming bar.
    fn dispatch_partial(&mut self, bar: &Bar, base: u64, frame: &Bytes) {
        let channel = Channel::bars(bar.key.interval, bar.key.symbol);
        self.replayer.recent.forming(channel, frame);
        let registry = &self.replayer.deps.registry;
        let now = registry.now();
        registry.for_each_of(channel, |connection| {
            connection.outbox.borrow_mut().offer_partial(channel, base, frame, now) == Offered::Queued
        });
    }

    /// Offers a message to each client of its channel.
    fn offer(&mut self, channel: Channel, seq: u64, frame: &Bytes) {
        let now = self.replayer.deps.registry.now();
        let mut holes = Vec::new();
        self.replayer.deps.registry.for_each_of(channel, |connection| {
            let offered = connection.outbox.borrow_mut().offer(channel, seq, frame, now);
            match offered {
                Offered::Hole { .. } => holes.push(Rc::clone(connection)),
                Offered::Later => self.replayer.deps.registry.resume_replay_later(connection),
                _ => {}
            }
            offered == Offered::Queued
        });
        for connection in holes {
            self.fill_hole(&connection, channel, seq);
        }
    }

    /// Sends all waiting ticks.
    fn dispatch_all_ticks(&mut self) {
        while self.dispatch_some_ticks(usize::MAX) {}
    }

    /// Sends the waiting ticks to at most `budget` clients: in one write to a client whose queue is empty, one by one to the others.
    /// Returns whether there are more clients to send to.
    fn dispatch_some_ticks(&mut self, mut budget: usize) -> bool {
        let registry = Rc::clone(&self.replayer.deps.registry);
        let now = registry.now();
        let mut batches = self.batches.take();
        for batch in &mut batches {
            let mut others = Vec::new();
            let visited = batch.write_to_clients(&registry, budget, now, &mut others);
            budget = budget.saturating_sub(visited);
            for connection in others {
                self.offer_batch(&connection, batch);
            }
            if budget == 0 {
                break; // a batch that follows another of its channel waits for it
            }
        }
        batches.retain(|batch| !batch.is_over());
        let more = !batches.is_empty();
        self.batches.put_back(batches);
        more
    }

    fn offer_batch(&mut self, connection: &Rc<Connection>, batch: &TickBatch) {
        let now = self.replayer.deps.registry.now();
        let mut hole = false;
        let mut told = 0_usize;
        for (seq, frame) in batch.frames() {
            let offered = connection.outbox.borrow_mut().offer(batch.channel, seq, frame, now);
            hole |= matches!(offered, Offered::Hole { .. });
            told = told.saturating_add(usize::from(offered == Offered::Queued));
        }
        self.replayer.deps.registry.count_told(told);
        if hole {
            self.fill_hole(connection, batch.channel, batch.last());
        }
        self.replayer.deps.registry.mark_dirty(connection);
    }

    /// Replays messages that a client lacks although this shard counted them as sent.
    fn fill_hole(&mut self, connection: &Rc<Connection>, channel: Channel, to: u64) {
        tracing::warn!(client = connection.id().0, %channel, to, "a client's coverage has a hole; it is replayed");
        connection.outbox.borrow_mut().hold(channel, to, false);
        self.replayer.resume_replay(connection);
    }
}

impl Actor for Fanout {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let registry = Rc::clone(&self.replayer.deps.registry);
        if self.replayer.deps.pattern {
            let now = registry.clock().now();
            registry.pattern_at.set(registry.pattern_at.get().or(Some(now)));
            ctx.repeat_every(limits::PATTERN_EVERY, |shard, ctx| {
                shard.send_test_feed();
                shard.plan_flush(ctx);
            });
        }
        let head = self.replayer.ledger.head(); // before the heads: what is written in between is sent, and dropped where it is a duplicate
        let heads = self.replayer.ledger.heads();
        self.replayer
            .recent
            .fill_from_ledger(self.replayer.ledger.as_mut(), &heads, &self.replayer.deps.zones);
        match registry.next.get() {
            None => {
                registry.next.set(Some(head.next()));
                self.replayer.recall_latest(&heads);
                registry.heads.borrow_mut().extend(heads);
            }
            Some(next) => {
                self.replayer.reset_epoch(&heads);
                if next <= head {
                    self.fall_behind(head, ctx);
                } else if next > head.next() {
                    registry.next.set(Some(head.next())); // another ledger, which ends earlier
                }
            }
        }
        for connection in registry.connections() {
            self.replayer.resume(&connection);
        }
        ctx.repeat_every(limits::CLIENT_SWEEP, |shard, ctx| {
            shard.replayer.deps.registry.sweep_clients();
            shard.watch_status(ctx);
        });
        ctx.repeat_every(limits::CLIENT_PUMP, |shard, ctx| {
            shard.resume_replays();
            shard.fetch_chunks(ctx);
        });
        let status = self.replayer.deps.status.clone();
        ctx.add_stream(stream::unfold(status, |mut status| async move {
            status.changed().await.ok()?;
            let frame = status.borrow_and_update().clone();
            Some((StatusFrame(frame), status))
        }));
        self.plan_flush(ctx);
    }
}

impl Supervised for Fanout {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.replayer.deps.clone());
    }
}

impl Handler<Recorded> for Fanout {
    type Result = ();
    fn handle(&mut self, recorded: Recorded, ctx: &mut Context<Self>) {
        self.receive(&recorded, ctx);
        self.plan_flush(ctx);
    }
}

impl Handler<Subscribe> for Fanout {
    type Result = ActorResponse<Self, ()>;
    fn handle(&mut self, ask: Subscribe, ctx: &mut Context<Self>) -> Self::Result {
        match self.subscribe_when_told(ask, self.replayer.patience(), ctx) {
            None => ActorResponse::reply(()),
            Some(later) => ActorResponse::r#async(later),
        }
    }
}

impl Handler<Unsubscribe> for Fanout {
    type Result = ();
    fn handle(&mut self, ask: Unsubscribe, ctx: &mut Context<Self>) {
        self.replayer.unsubscribe_client(ask);
        self.plan_flush(ctx);
    }
}

/// The service's status changed.
struct StatusFrame(Bytes);

impl StreamHandler<StatusFrame> for Fanout {
    fn handle(&mut self, StatusFrame(frame): StatusFrame, ctx: &mut Context<Self>) {
        self.send_status(&frame, ctx);
    }

    fn finished(&mut self, _: &mut Context<Self>) {} // the sender of the status is gone: the service stops
}

/// To itself: send the waiting messages to some of the clients.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Flush;

impl Handler<Flush> for Fanout {
    type Result = ();
    fn handle(&mut self, _: Flush, ctx: &mut Context<Self>) {
        self.flush_planned = false;
        self.unflushed = 0;
        let more = self.dispatch_some_ticks(limits::FANOUT_VISITS);
        self.replayer.deps.registry.flush();
        if more {
            self.continue_later(ctx);
        }
    }
}

/// To itself: read the next chunk of the ledger.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct CatchUp;

impl Handler<CatchUp> for Fanout {
    type Result = ();
    fn handle(&mut self, _: CatchUp, ctx: &mut Context<Self>) {
        self.catch_up(ctx);
    }
}

#[cfg(test)]
#[path = "tests/fanout.rs"]
mod tests;
