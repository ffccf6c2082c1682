//! Fanout: tells the clients of one HTTP thread what was written down. One shard a thread, on that thread.
//!
//! owns   the rings of its channels (memory for replays); its clients and its position live on the [`Deck`], which outlives it
//! hears  Recorded (Recorder) · Attach, Detach (Client) · the service's status (watch)
//! says   frames, into the outboxes of its clients
//! fails  a panic restarts it: rings are filled from the ledger, the position is the deck's, and what a client has already is
//!        dropped by its seq. A ledger that cannot be read is tried again with the next `Recorded`

use crate::actors::deck::Deck;
use crate::actors::messages::{Attach, Detach, Item, Recorded, Told};
use crate::actors::rings::Rings;
use crate::actors::seat::Seat;
use crate::domain::channel::{Channel, Head, Topic};
use crate::domain::delivery::Offered;
use crate::domain::event::{Event, Numbered, Position};
use crate::domain::frames::{self, Zones};
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use crate::ledger::LedgerReader;
use crate::limits;
use actix::{Actor, AsyncContext, Context, Handler, StreamHandler, Supervised};
use bytes::Bytes;
use futures_util::stream;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::watch;

/// What a shard reads of the ledger.
pub trait ReadsLedger {
    /// The last position that is written down.
    fn head(&self) -> Position;
    /// Where each channel ends.
    fn heads(&self) -> BTreeMap<Channel, Head>;
    /// Events from a position on, in order and without a hole.
    ///
    /// # Errors
    /// A sentence, when they cannot be read or are no longer kept.
    fn read(&mut self, from: Position, limit: usize) -> Result<Vec<Numbered>, String>;
    /// Events of a channel with numbers in `[from, to]`, in order.
    ///
    /// # Errors
    /// A sentence, when they cannot be read.
    fn read_channel(&mut self, channel: Channel, from: u64, to: u64, limit: usize) -> Result<Vec<Numbered>, String>;
    /// The lowest number of a channel that is kept.
    ///
    /// # Errors
    /// A sentence, when it cannot be read.
    fn first_seq(&mut self, channel: Channel) -> Result<Option<u64>, String>;
}

/// Opens a reading end of the ledger.
pub type OpensLedger = Arc<dyn Fn() -> Box<dyn ReadsLedger> + Send + Sync>;

/// When the session that is open, or the last that was, began.
pub type SessionStart = Arc<dyn Fn(Symbol, Timestamp) -> Option<Timestamp> + Send + Sync>;

/// What a shard is given.
#[derive(Clone)]
pub struct Parts {
    /// Its clients.
    pub deck: Rc<Deck>,
    /// The ledger.
    pub ledger: OpensLedger,
    /// In which zones times are shown.
    pub zones: Zones,
    /// The status message as a ready frame; empty before there is one.
    pub status: watch::Receiver<Bytes>,
    /// Knows the sessions; without it `since: "session_start"` begins now.
    pub session_start: Option<SessionStart>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("deck", &self.deck)
            .finish_non_exhaustive()
    }
}

/// The shard.
pub struct Fanout {
    pub(super) parts: Parts,
    pub(super) ledger: Box<dyn ReadsLedger>,
    pub(super) rings: Rings,
    /// Where a reading of the ledger must arrive before live messages are told again.
    behind: Option<Position>,
    flush_planned: bool,
    /// Events told since the last flush.
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
    /// A shard that knows nothing yet but what its deck knows.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let ledger = (parts.ledger)();
        Self {
            parts,
            ledger,
            rings: Rings::default(),
            behind: None,
            flush_planned: false,
            unflushed: 0,
        }
    }

    /// Everything waiting in the mailbox is taken before anything is sent: what came together goes in one write.
    pub(super) fn plan_flush(&mut self, ctx: &mut Context<Self>) {
        if !self.flush_planned {
            self.flush_planned = true;
            ctx.notify(Flush);
        }
    }

    fn hear(&mut self, recorded: &Recorded, ctx: &mut Context<Self>) {
        let next = self.parts.deck.next.get().unwrap_or_default();
        let first = recorded.told.iter().find_map(|told| match &told.item {
            Item::Event(numbered) => Some(numbered.position),
            Item::Partial { .. } => None,
        });
        let misses = first.map_or(next <= recorded.head, |first| next < first);
        if misses || self.behind.is_some() {
            return self.fall_behind(recorded.head, ctx);
        }
        for told in recorded.told.iter() {
            self.tell(told);
        }
    }

    fn tell(&mut self, told: &Told) {
        let zones = &self.parts.zones;
        match &told.item {
            Item::Event(numbered) => {
                if self.parts.deck.next.get().is_some_and(|next| next <= numbered.position) {
                    let frame = told.frame.get_or_init(|| frames::event(zones, numbered)).clone();
                    self.tell_event(numbered, &frame);
                }
            }
            Item::Partial { bar, base } => {
                let at = self.parts.deck.clock().now();
                let frame = told.frame.get_or_init(|| frames::partial(zones, bar, *base, at));
                let channel = Channel::bars(bar.key.interval, bar.key.symbol);
                self.rings.forming(channel, frame);
                let now = self.parts.deck.now();
                self.parts.deck.each_of(channel, |seat| {
                    seat.outbox.borrow_mut().offer_partial(channel, *base, frame, now) == Offered::Queued
                });
            }
        }
    }

    fn tell_event(&mut self, numbered: &Numbered, frame: &Bytes) {
        let deck = Rc::clone(&self.parts.deck);
        let now = deck.now();
        match (numbered.channel, &numbered.event) {
            (Some(channel), _) => {
                self.advance_head(channel, numbered.seq);
                self.rings.push(channel, numbered.seq, frame);
                if let Event::Tick(tick) = &numbered.event {
                    deck.latest.borrow_mut().insert(tick.tick.symbol, *tick);
                }
                let mut holes = Vec::new();
                deck.each_of(channel, |seat| {
                    let offered = seat.outbox.borrow_mut().offer(channel, numbered.seq, frame, now);
                    if let Offered::Hole { .. } = offered {
                        holes.push(Rc::clone(seat));
                    }
                    offered == Offered::Queued
                });
                for seat in holes {
                    self.mend(&seat, channel, numbered.seq);
                }
            }
            (None, Event::BarEnd(end)) => {
                for channel in deck.bar_channels(end.interval) {
                    deck.each_of(channel, |seat| {
                        let mut outbox = seat.outbox.borrow_mut();
                        outbox.offer_loose(end.interval, numbered.position, frame, now) == Offered::Queued
                    });
                }
            }
            (None, _) => {}
        }
        deck.next.set(Some(numbered.position.next()));
        self.unflushed = self.unflushed.saturating_add(1);
        if self.unflushed >= limits::FANOUT_BURST {
            self.unflushed = 0;
            deck.flush(); // a long batch must not look like slow clients
        }
    }

    /// A client misses messages that this shard believed told: they are brought from memory or the ledger.
    fn mend(&mut self, seat: &Rc<Seat>, channel: Channel, to: u64) {
        tracing::warn!(client = seat.id().0, %channel, to, "a client's coverage has a hole; it is replayed");
        seat.outbox.borrow_mut().hold(channel, to, false);
        self.pump(seat);
    }

    fn advance_head(&self, channel: Channel, seq: u64) {
        let mut heads = self.parts.deck.heads.borrow_mut();
        match heads.get_mut(&channel) {
            Some(head) => head.seq = head.seq.max(seq),
            None => heads.extend(self.ledger.heads().get(&channel).map(|head| {
                let epoch = head.epoch;
                (channel, Head { epoch, seq })
            })),
        }
    }

    /// The last tick of each pair, from the ledger: what REST shows before the first live one.
    fn recall_latest(&mut self, heads: &BTreeMap<Channel, Head>) {
        for (channel, head) in heads.iter().filter(|(channel, _)| channel.topic == Topic::Ticks) {
            let last = self
                .ledger
                .read_channel(*channel, head.seq, head.seq, 1)
                .unwrap_or_default();
            if let Some(Event::Tick(tick)) = last.into_iter().next().map(|numbered| numbered.event) {
                self.parts.deck.latest.borrow_mut().insert(tick.tick.symbol, tick);
            }
        }
    }

    fn fall_behind(&mut self, head: Position, ctx: &mut Context<Self>) {
        let reading = self.behind.is_some();
        self.behind = Some(self.behind.map_or(head, |known| known.max(head)));
        if !reading {
            ctx.notify(CatchUp);
        }
    }

    /// Reads one chunk of what was missed.
    fn catch_up(&mut self, ctx: &mut Context<Self>) {
        let Some(target) = self.behind else {
            return;
        };
        let next = self.parts.deck.next.get().unwrap_or_default();
        let read = self.ledger.read(next, limits::FANOUT_READ);
        match read {
            Ok(events) if !events.is_empty() => {
                for numbered in &events {
                    let frame = frames::event(&self.parts.zones, numbered);
                    self.tell_event(numbered, &frame);
                }
                self.plan_flush(ctx);
                match self.parts.deck.next.get() {
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
}

impl Actor for Fanout {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let deck = Rc::clone(&self.parts.deck);
        let heads = self.ledger.heads();
        self.rings.warm(self.ledger.as_mut(), &heads, &self.parts.zones);
        match deck.next.get() {
            None => {
                deck.next.set(Some(self.ledger.head().next()));
                self.recall_latest(&heads);
                deck.heads.borrow_mut().extend(heads);
            }
            Some(next) if next <= self.ledger.head() => self.fall_behind(self.ledger.head(), ctx),
            Some(_) => {}
        }
        for seat in deck.seats() {
            self.pump(&seat);
        }
        ctx.run_interval(limits::CLIENT_SWEEP, |shard, _| shard.parts.deck.sweep());
        ctx.run_interval(limits::CLIENT_PUMP, |shard, _| shard.pump_all());
        let status = self.parts.status.clone();
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
        *self = Self::new(self.parts.clone());
    }
}

impl Handler<Recorded> for Fanout {
    type Result = ();
    fn handle(&mut self, recorded: Recorded, ctx: &mut Context<Self>) {
        self.hear(&recorded, ctx);
        self.plan_flush(ctx);
    }
}

impl Handler<Attach> for Fanout {
    type Result = ();
    fn handle(&mut self, ask: Attach, ctx: &mut Context<Self>) {
        self.attach(ask);
        self.plan_flush(ctx);
    }
}

impl Handler<Detach> for Fanout {
    type Result = ();
    fn handle(&mut self, ask: Detach, ctx: &mut Context<Self>) {
        self.detach(ask);
        self.plan_flush(ctx);
    }
}

/// The service's status changed.
struct StatusFrame(Bytes);

impl StreamHandler<StatusFrame> for Fanout {
    fn handle(&mut self, StatusFrame(frame): StatusFrame, ctx: &mut Context<Self>) {
        let deck = &self.parts.deck;
        let now = deck.now();
        for seat in deck.seats().iter().filter(|seat| seat.status.get()) {
            seat.outbox.borrow_mut().say(&frame, now);
            deck.soil(seat);
        }
        self.plan_flush(ctx);
    }

    fn finished(&mut self, _: &mut Context<Self>) {} // who tells the status is gone: the service stops
}

/// To itself: send what waits.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Flush;

impl Handler<Flush> for Fanout {
    type Result = ();
    fn handle(&mut self, _: Flush, _: &mut Context<Self>) {
        self.flush_planned = false;
        self.unflushed = 0;
        self.parts.deck.flush();
    }
}

/// To itself: read on in the ledger.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct CatchUp;

impl Handler<CatchUp> for Fanout {
    type Result = ();
    fn handle(&mut self, _: CatchUp, ctx: &mut Context<Self>) {
        self.catch_up(ctx);
    }
}

impl ReadsLedger for LedgerReader {
    fn head(&self) -> Position {
        Self::head(self)
    }

    fn heads(&self) -> BTreeMap<Channel, Head> {
        Self::heads(self)
    }

    fn read(&mut self, from: Position, limit: usize) -> Result<Vec<Numbered>, String> {
        Self::read(self, from, limit).map_err(|error| error.to_string())
    }

    fn read_channel(&mut self, channel: Channel, from: u64, to: u64, limit: usize) -> Result<Vec<Numbered>, String> {
        Self::read_channel(self, channel, from, to, limit).map_err(|error| error.to_string())
    }

    fn first_seq(&mut self, channel: Channel) -> Result<Option<u64>, String> {
        Self::first_seq(self, channel).map_err(|error| error.to_string())
    }
}
