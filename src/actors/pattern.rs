//! How a fan-out shard tells the pattern for those who write clients: as if it were read from a ledger, although it stands in none.

use crate::actors::fanout::Fanout;
use crate::actors::reads_ledger::ReadsLedger;
use crate::clock::Clock;
use crate::domain::channel::{Channel, Head, Topic};
use crate::domain::delivery::Offered;
use crate::domain::event::{Event, Numbered, Position};
use crate::domain::frames;
use crate::domain::pattern;
use crate::domain::timestamp::Timestamp;
use crate::limits;
use bytes::Bytes;
use std::collections::BTreeMap;

/// A ledger that also has the pattern's channels.
pub(super) struct WithPattern {
    pub(super) ledger: Box<dyn ReadsLedger>,
    pub(super) clock: Clock,
}

impl ReadsLedger for WithPattern {
    fn head(&self) -> Position {
        self.ledger.head()
    }

    fn heads(&self) -> BTreeMap<Channel, Head> {
        let now = self.clock.now();
        let mut heads = self.ledger.heads();
        heads.extend(
            pattern::channels()
                .into_iter()
                .filter_map(|channel| Some((channel, pattern::head(channel, now)?))),
        );
        heads
    }

    fn read(&mut self, from: Position, limit: usize) -> Result<Vec<Numbered>, String> {
        self.ledger.read(from, limit)
    }

    fn read_channel(&mut self, channel: Channel, from: u64, to: u64, limit: usize) -> Result<Vec<Numbered>, String> {
        if !pattern::carries(channel) {
            return self.ledger.read_channel(channel, from, to, limit);
        }
        let told = pattern::head(channel, self.clock.now()).map_or(0, |head| head.seq);
        let seqs = from.max(1)..=to.min(told);
        Ok(seqs
            .filter_map(|seq| pattern::message(channel, seq))
            .take(limit)
            .collect())
    }

    fn since(&mut self) -> Option<Timestamp> {
        self.ledger.since()
    }

    fn first_seq(&mut self, channel: Channel) -> Result<Option<u64>, String> {
        if pattern::carries(channel) {
            return Ok(Some(1));
        }
        self.ledger.first_seq(channel)
    }
}

impl Fanout {
    /// Tells what happened in the pattern since it was told last.
    pub(super) fn tell_pattern(&mut self) {
        let now = self.parts.deck.clock().now();
        let since = self.parts.deck.pattern_at.get().unwrap_or(now);
        let until = now.min(since + limits::PATTERN_STRETCH);
        self.parts.deck.pattern_at.set(Some(until));
        let told = pattern::between(since, until);
        for numbered in &told {
            let frame = frames::event(&self.parts.zones, numbered);
            match numbered.channel {
                Some(channel) => self.tell_pattern_of(channel, numbered.seq, &frame),
                None => self.tell_pattern_end(&frame),
            }
        }
        if told.iter().any(|numbered| matches!(numbered.event, Event::Tick(_))) {
            self.tell_pattern_forming(until);
        }
    }

    fn tell_pattern_of(&mut self, channel: Channel, seq: u64, frame: &Bytes) {
        if self.head(channel).is_some_and(|head| seq <= head.seq) {
            return; // what a shard before this one told
        }
        self.advance_head(channel, seq);
        self.rings.push(channel, seq, frame);
        if channel.topic == Topic::Ticks {
            self.runs.push(channel, seq, frame);
            return;
        }
        self.deliver_runs();
        self.offer(channel, seq, frame);
    }

    /// The end of an interval goes to those who follow the pattern's bars and to nobody else: it is not a market's.
    fn tell_pattern_end(&mut self, frame: &Bytes) {
        let Some(bars) = pattern::channels().last().copied() else {
            return;
        };
        self.deliver_runs();
        let now = self.parts.deck.now();
        self.parts.deck.each_of(bars, |seat| {
            let mut outbox = seat.outbox.borrow_mut();
            let follows = outbox.replay_of(bars).is_none();
            if follows {
                outbox.say(frame, now);
            }
            follows
        });
    }

    fn tell_pattern_forming(&mut self, at: Timestamp) {
        let Some((bar, base)) = pattern::forming(at) else {
            return;
        };
        self.deliver_runs();
        let channel = Channel::bars(bar.key.interval, bar.key.symbol);
        let frame = frames::partial(&self.parts.zones, &bar, base, at);
        self.rings.forming(channel, &frame);
        let now = self.parts.deck.now();
        self.parts.deck.each_of(channel, |seat| {
            seat.outbox.borrow_mut().offer_partial(channel, base, &frame, now) == Offered::Queued
        });
    }
}
