//! Fanout: tells the clients of one HTTP thread what was written down. One shard a thread, on that thread.
//!
//! owns   the rings of its channels (memory for replays); its clients and its position live on the [`Deck`], which outlives it
//! hears  Recorded (Recorder) · Attach, Detach (Client) · the service's status (watch)
//! asks   the store, beside everything else, for what the ledger no longer has of a replay
//! says   frames, into the outboxes of its clients
//! fails  a panic restarts it: rings are filled from the ledger, the position is the deck's, and what a client has already is
//!        dropped by its seq. A ledger that cannot be read is tried again with the next `Recorded`

use crate::actors::archive::Archive;
use crate::actors::deck::Deck;
use crate::actors::messages::{Attach, Detach, Item, Recorded};
use crate::actors::pattern::WithPattern;
pub use crate::actors::reads_ledger::ReadsLedger;
use crate::actors::rings::Rings;
use crate::actors::runs::Runs;
use crate::actors::seat::Seat;
use crate::domain::channel::{Channel, Head, Topic};
use crate::domain::event::{Event, Position};
use crate::domain::frames::{self, Zones};
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use crate::limits;
use crate::store::Store;
use crate::views::ServiceView;
use actix::{
    Actor, ActorFutureExt, ActorResponse, AsyncContext, Context, Handler, StreamHandler, Supervised, WrapFuture,
};
use bytes::Bytes;
use futures_util::stream;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::watch;

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
    /// The service's snapshot: when Health makes none any more, this shard says so.
    pub view: watch::Receiver<Arc<ServiceView>>,
    /// Knows the sessions; without it `since: "session_start"` begins now.
    pub session_start: Option<SessionStart>,
    /// Keeps the logs of bars and quality for longer than the ledger.
    pub store: Option<Store>,
    /// Also tells the pattern for those who write clients.
    pub pattern: bool,
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
    pub(super) archive: Archive,
    /// Ticks that are not sent yet.
    pub(super) runs: Runs,
    /// Where a reading of the ledger must arrive before live messages are told again.
    behind: Option<Position>,
    flush_planned: bool,
    /// Clients were told that the status is too old.
    told_outdated: bool,
    /// Events told since the last flush.
    pub(super) unflushed: usize,
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
        let mut ledger = (parts.ledger)();
        if parts.pattern {
            let clock = parts.deck.clock().clone();
            ledger = Box::new(WithPattern { ledger, clock });
        }
        let archive = Archive::new(parts.store.clone());
        Self {
            parts,
            ledger,
            rings: Rings::default(),
            archive,
            runs: Runs::default(),
            behind: None,
            flush_planned: false,
            told_outdated: false,
            unflushed: 0,
        }
    }

    /// Everything waiting in the mailbox is taken before anything is sent: what came together goes in one write.
    pub(super) fn plan_flush(&mut self, ctx: &mut Context<Self>) {
        self.fetch(ctx);
        if !self.flush_planned {
            self.flush_planned = true;
            ctx.notify(Flush);
        }
    }

    /// Goes on telling after what came meanwhile, and after the sessions of this thread had their turn: a shard that has more
    /// clients than it can keep up with must not keep them from leaving.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        if !self.flush_planned {
            self.flush_planned = true;
            let turn = tokio::task::yield_now().into_actor(self);
            ctx.spawn(turn.map(|(), _, ctx| ctx.notify(Flush)));
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

    pub(super) fn advance_head(&self, channel: Channel, seq: u64) {
        let mut heads = self.parts.deck.heads.borrow_mut();
        match heads.get_mut(&channel) {
            Some(head) => head.seq = head.seq.max(seq),
            None => heads.extend(self.ledger.heads().get(&channel).map(|head| {
                let epoch = head.epoch;
                (channel, Head { epoch, seq })
            })),
        }
    }

    /// Goes on with a client where the shard before this one left it: with its replays, and with what was numbered but not sent.
    fn resume(&mut self, seat: &Rc<Seat>) {
        let positions: Vec<(Channel, u64)> = seat.outbox.borrow().positions().collect();
        for (channel, last) in positions {
            let head = self.parts.deck.heads.borrow().get(&channel).map_or(0, |head| head.seq);
            let mut outbox = seat.outbox.borrow_mut();
            if last < head && outbox.replay_of(channel).is_none() {
                outbox.hold(channel, head, false);
            }
        }
        self.pump(seat);
        self.parts.deck.soil(seat);
    }

    /// Tells those who follow a channel whose log is another than it was: nothing connects what they have with what comes.
    fn begin_anew(&self, heads: &BTreeMap<Channel, Head>) {
        let deck = &self.parts.deck;
        for (channel, head) in heads {
            let known = deck.heads.borrow().get(channel).copied();
            let Some(old) = known.filter(|known| known.epoch != head.epoch) else {
                continue;
            };
            deck.heads.borrow_mut().insert(*channel, *head);
            tracing::error!(%channel, old = old.epoch.as_str(), new = head.epoch.as_str(), "a channel's log began anew");
            let notice = frames::discontinuity(*channel, &old, head);
            deck.each_of(*channel, |seat| {
                seat.outbox
                    .borrow_mut()
                    .begin_anew(*channel, head.seq, &notice, deck.now());
                true
            });
        }
    }

    /// The last tick of each pair, from the ledger: what REST shows before the first live one.
    fn recall_latest(&mut self, heads: &BTreeMap<Channel, Head>) {
        for (channel, head) in heads
            .iter()
            .filter(|(channel, head)| channel.topic == Topic::Ticks && head.seq > 0)
        {
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

impl Fanout {
    /// The status message as it may be believed now; empty before there is one.
    pub(super) fn status_frame(&self) -> Bytes {
        let status = self.parts.status.borrow().clone();
        let view = self.parts.view.borrow();
        if status.is_empty() || view.fresh() {
            return status;
        }
        let outdated = view.outdated(self.parts.deck.clock().now()).status_message();
        frames::text_frame(outdated.to_string().as_bytes())
    }

    /// Health does not say when it hangs: its clients hear it here, and again when it is back.
    fn watch_status(&mut self, ctx: &mut Context<Self>) {
        let outdated = !self.parts.view.borrow().fresh();
        if std::mem::replace(&mut self.told_outdated, outdated) != outdated {
            let frame = self.status_frame();
            if !frame.is_empty() {
                self.tell_status(&frame, ctx);
            }
        }
    }

    fn tell_status(&mut self, frame: &Bytes, ctx: &mut Context<Self>) {
        let deck = Rc::clone(&self.parts.deck);
        let now = deck.now();
        for seat in deck.seats().iter().filter(|seat| seat.status.get()) {
            seat.outbox.borrow_mut().say(frame, now);
            deck.soil(seat);
        }
        self.plan_flush(ctx);
    }
}

impl Actor for Fanout {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let deck = Rc::clone(&self.parts.deck);
        if self.parts.pattern {
            let now = deck.clock().now();
            deck.pattern_at.set(deck.pattern_at.get().or(Some(now)));
            ctx.run_interval(limits::PATTERN_EVERY, |shard, ctx| {
                shard.tell_pattern();
                shard.plan_flush(ctx);
            });
        }
        let head = self.ledger.head(); // before the heads: what is written in between is told, and dropped by who has it
        let heads = self.ledger.heads();
        self.rings.warm(self.ledger.as_mut(), &heads, &self.parts.zones);
        match deck.next.get() {
            None => {
                deck.next.set(Some(head.next()));
                self.recall_latest(&heads);
                deck.heads.borrow_mut().extend(heads);
            }
            Some(next) => {
                self.begin_anew(&heads);
                if next <= head {
                    self.fall_behind(head, ctx);
                } else if next > head.next() {
                    deck.next.set(Some(head.next())); // another ledger, with less in it
                }
            }
        }
        for seat in deck.seats() {
            self.resume(&seat);
        }
        ctx.run_interval(limits::CLIENT_SWEEP, |shard, ctx| {
            shard.parts.deck.sweep();
            shard.watch_status(ctx);
        });
        ctx.run_interval(limits::CLIENT_PUMP, |shard, ctx| {
            shard.pump_all();
            shard.fetch(ctx);
        });
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
    type Result = ActorResponse<Self, ()>;
    fn handle(&mut self, ask: Attach, ctx: &mut Context<Self>) -> Self::Result {
        match self.attach_when_told(ask, limits::FANOUT_PATIENCE, ctx) {
            None => ActorResponse::reply(()),
            Some(later) => ActorResponse::r#async(later),
        }
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
        self.tell_status(&frame, ctx);
    }

    fn finished(&mut self, _: &mut Context<Self>) {} // who tells the status is gone: the service stops
}

/// To itself: send what waits, to some of the clients.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Flush;

impl Handler<Flush> for Fanout {
    type Result = ();
    fn handle(&mut self, _: Flush, ctx: &mut Context<Self>) {
        self.flush_planned = false;
        self.unflushed = 0;
        let more = self.deliver_some(limits::FANOUT_VISITS);
        self.parts.deck.flush();
        if more {
            self.go_on(ctx);
        }
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

#[cfg(test)]
#[path = "fanout_tests.rs"]
mod tests;
