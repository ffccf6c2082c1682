//! How the fan-out shard brings one thing to the clients that follow it.

use crate::actors::fanout::Fanout;
use crate::actors::messages::{Item, Told};
use crate::actors::runs::Run;
use crate::actors::seat::Seat;
use crate::domain::channel::{Channel, Topic};
use crate::domain::delivery::Offered;
use crate::domain::event::{Event, Numbered};
use crate::domain::frames;
use crate::limits;
use bytes::Bytes;
use std::rc::Rc;

impl Fanout {
    pub(super) fn tell(&mut self, told: &Told) {
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

    pub(super) fn tell_event(&mut self, numbered: &Numbered, frame: &Bytes) {
        let deck = Rc::clone(&self.parts.deck);
        let now = deck.now();
        match (numbered.channel, &numbered.event) {
            (Some(channel), _) => {
                self.advance_head(channel, numbered.seq);
                self.rings.push(channel, numbered.seq, frame);
                if let Event::Tick(tick) = &numbered.event {
                    deck.latest.borrow_mut().insert(tick.tick.symbol, *tick);
                }
                if channel.topic == Topic::Ticks {
                    self.runs.push(channel, numbered.seq, frame);
                } else {
                    self.deliver_runs();
                    self.offer(channel, numbered.seq, frame);
                }
            }
            (None, Event::BarEnd(end)) => {
                self.deliver_runs();
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
        if self.unflushed >= limits::FANOUT_BURST || self.runs.longest() >= limits::FANOUT_BURST {
            self.unflushed = 0;
            self.deliver_runs();
            deck.flush(); // a long batch must not look like slow clients
        }
    }

    /// Offers one message to each client of its channel.
    pub(super) fn offer(&mut self, channel: Channel, seq: u64, frame: &Bytes) {
        let now = self.parts.deck.now();
        let mut holes = Vec::new();
        self.parts.deck.each_of(channel, |seat| {
            let offered = seat.outbox.borrow_mut().offer(channel, seq, frame, now);
            match offered {
                Offered::Hole { .. } => holes.push(Rc::clone(seat)),
                Offered::Later => self.parts.deck.pump_later(seat),
                _ => {}
            }
            offered == Offered::Queued
        });
        for seat in holes {
            self.mend(&seat, channel, seq);
        }
    }

    /// Sends all the ticks that wait.
    pub(super) fn deliver_runs(&mut self) {
        while self.deliver_some(usize::MAX) {}
    }

    /// Sends the ticks that wait to at most `budget` clients: in one write to each that waits for nothing, one by one to the
    /// others. Whether there are more clients to send to.
    pub(super) fn deliver_some(&mut self, mut budget: usize) -> bool {
        let deck = Rc::clone(&self.parts.deck);
        let now = deck.now();
        let mut runs = self.runs.take();
        for run in &mut runs {
            let mut others = Vec::new();
            let visited = run.visit(&deck, budget, now, &mut others);
            budget = budget.saturating_sub(visited);
            for seat in others {
                self.offer_run(&seat, run);
            }
            if budget == 0 {
                break; // a run that follows another of its channel waits for it
            }
        }
        runs.retain(|run| !run.over());
        let more = !runs.is_empty();
        self.runs.put_back(runs);
        more
    }

    fn offer_run(&mut self, seat: &Rc<Seat>, run: &Run) {
        let now = self.parts.deck.now();
        let (mut hole, mut told) = (false, 0_usize);
        for (seq, frame) in run.frames() {
            let offered = seat.outbox.borrow_mut().offer(run.channel, seq, frame, now);
            hole |= matches!(offered, Offered::Hole { .. });
            told = told.saturating_add(usize::from(offered == Offered::Queued));
        }
        self.parts.deck.count_told(told);
        if hole {
            self.mend(seat, run.channel, run.last());
        }
        self.parts.deck.soil(seat);
    }

    /// A client misses messages that this shard believed told: they are brought from memory or the ledger.
    fn mend(&mut self, seat: &Rc<Seat>, channel: Channel, to: u64) {
        tracing::warn!(client = seat.id().0, %channel, to, "a client's coverage has a hole; it is replayed");
        seat.outbox.borrow_mut().hold(channel, to, false);
        self.pump(seat);
    }
}
