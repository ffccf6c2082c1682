//! The outbox of one client: two bounded lanes whose coverage never has a hole (invariant C1).
//!
//! ```text
//!            control: answers, errors, closed bars, gaps, replays …   never dropped; full or too old closes the client
//!  offer ──►                                                                                            ──► take
//!            data:    ticks, partial bars                             conflated per channel from half full
//!
//!                 half full                      below a quarter
//!  Keeping up ───────────────► Conflating ────────────────────────────► Keeping up
//!                 send warn                      send clear, with the number conflated
//! ```
//!
//! Times are durations since the process started: a client's network does not speed up with market time.

mod replays;

use crate::domain::model::{Channel, Interval, Position, Topic};
use crate::domain::protocol::{Control, Datum, Evict, Follow, Offered, Options, Out, Passed, Window};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;

/// All messages that wait for one client.
#[derive(Debug, Default)]
pub struct Outbox {
    window: Window,
    control: VecDeque<Control>,
    data: VecDeque<Datum>,
    follows: Vec<Follow>,
    /// The position of the last queued event without a channel.
    loose: Position,
    /// `bar_end` messages of intervals with bars that a replay has still to send.
    ends: Vec<(Interval, Bytes)>,
    conflating: bool,
    conflated: u64,
    evict: Option<Evict>,
    /// The close frame: it goes last, and nothing is accepted after it.
    last: Option<Bytes>,
    finished: bool,
}

impl Outbox {
    /// An empty outbox.
    pub fn new(window: Window) -> Self {
        Self {
            window,
            ..Self::default()
        }
    }

    /// Subscribes to `channel`; the next live message is the one after `last`. If it is subscribed already, only the options change and
    /// `false` is returned: nothing is sent twice on one connection.
    pub fn follow(&mut self, channel: Channel, last: u64, options: Options) -> bool {
        if let Some(follow) = self.follows.iter_mut().find(|follow| follow.channel == channel) {
            follow.options = options;
            let waits = follow.parked.take_if(|_| options.spacing.is_none());
            self.data.extend(waits); // the rate was removed
            if !options.partials {
                let partial = |datum: &Datum| datum.channel == channel && datum.covers.is_none();
                follow.parked.take_if(|datum| partial(datum));
                self.data.retain(|datum| !partial(datum));
            }
            return false;
        }
        self.follows.push(Follow {
            channel,
            options,
            last,
            replay: None,
            parked: None,
            due: Duration::ZERO,
        });
        true
    }

    /// Unsubscribes from `channel` and drops its waiting data messages. Returns whether it was subscribed.
    pub fn unfollow(&mut self, channel: Channel) -> bool {
        let before = self.follows.len();
        self.follows.retain(|follow| follow.channel != channel);
        self.data.retain(|datum| datum.channel != channel);
        self.follows.len() < before
    }

    /// The subscribed channels, with the last seq queued for each.
    pub fn positions(&self) -> impl Iterator<Item = (Channel, u64)> + '_ {
        self.follows.iter().map(|follow| (follow.channel, follow.last))
    }

    /// Whether `channel` is subscribed.
    pub fn follows_channel(&self, channel: Channel) -> bool {
        self.follows.iter().any(|follow| follow.channel == channel)
    }

    /// The last seq of `channel` that is sent before an answer queued now: messages in the data lane, waiting for the rate limit or in a
    /// replay are sent after it. `None` if the channel is not subscribed.
    pub fn told_before_an_answer(&self, channel: Channel) -> Option<u64> {
        let follow = self.follows.iter().find(|follow| follow.channel == channel)?;
        Some(
            follow
                .replay
                .map_or_else(|| follow.sent(&self.data), |replay| replay.after),
        )
    }

    /// The number of subscribed channels.
    pub fn follows(&self) -> usize {
        self.follows.len()
    }

    /// Queues an answer, an error or a notice in the control lane.
    pub fn say(&mut self, frame: &Bytes, now: Duration) {
        self.push_control(Out::Frame(frame.clone()), now);
    }

    /// Queues a durable message of a channel: ticks in the data lane, everything else in the control lane.
    pub fn offer(&mut self, channel: Channel, seq: u64, frame: &Bytes, now: Duration) -> Offered {
        let followed = self.follows.iter_mut().find(|follow| follow.channel == channel);
        let Some(follow) = followed.filter(|_| !self.finished) else {
            return Offered::NotFollowed;
        };
        if seq <= follow.last {
            return Offered::Duplicate;
        }
        if follow.replay.is_some() {
            return Offered::Held;
        }
        let expected = follow.last.saturating_add(1);
        if seq != expected {
            return Offered::Hole { expected };
        }
        let crowded = self.window.control.saturating_sub(self.control.len()) <= self.window.control / 4;
        if crowded && channel.topic != Topic::Ticks {
            self.hold(channel, seq, false);
            return Offered::Later;
        }
        follow.last = seq;
        if channel.topic == Topic::Ticks {
            self.offer_datum(channel, Some((seq, seq)), frame, now);
            return Offered::Queued;
        }
        follow.parked = None; // a closed bar replaces its forming state
        self.data.retain(|datum| datum.channel != channel);
        self.say(frame, now);
        Offered::Queued
    }

    /// Queues a forming bar, which replaces an older one of its channel.
    pub fn offer_partial(&mut self, channel: Channel, base: u64, frame: &Bytes, now: Duration) -> Offered {
        let Some(follow) = self.follows.iter().find(|follow| follow.channel == channel) else {
            return Offered::NotFollowed;
        };
        if !follow.options.partials {
            return Offered::NotFollowed;
        }
        if follow.replay.is_some() || base != follow.last {
            return Offered::Held;
        }
        self.offer_datum(channel, None, frame, now);
        Offered::Queued
    }

    /// Queues a `bar_end` if the client subscribes to bars of the interval: once each, and after the bars.
    pub fn offer_loose(&mut self, interval: Interval, position: Position, frame: &Bytes, now: Duration) -> Offered {
        let topic = Topic::Bars(interval);
        if !self.follows.iter().any(|follow| follow.channel.topic == topic) {
            return Offered::NotFollowed;
        }
        if position <= self.loose {
            return Offered::Duplicate;
        }
        self.loose = position;
        self.ends.push((interval, frame.clone()));
        self.release_ends(now);
        Offered::Queued
    }

    /// Queues the `bar_end`s of intervals without a pending replay.
    fn release_ends(&mut self, now: Duration) {
        for (interval, frame) in std::mem::take(&mut self.ends) {
            let topic = Topic::Bars(interval);
            if !self
                .follows
                .iter()
                .any(|follow: &Follow| follow.channel.topic == topic && follow.replay.is_some())
            {
                self.say(&frame, now);
            } else if self.ends.len() < self.window.control {
                self.ends.push((interval, frame));
            } else {
                self.evict = self.evict.or(Some(Evict::ControlFull));
            }
        }
    }

    /// Marks the ticks in `first..=last` that this client has not received as sent, if nothing is queued before them: the caller writes
    /// them to the socket at once.
    pub fn mark_passed(&mut self, channel: Channel, first: u64, last: u64) -> Passed {
        let Some(follow) = self.follows.iter_mut().find(|follow| follow.channel == channel) else {
            return Passed::Nothing;
        };
        let next = follow.last.saturating_add(1);
        if next > last {
            return Passed::Nothing;
        }
        let ends = self.finished || self.evict.is_some();
        let waits = !self.control.is_empty() || !self.data.is_empty() || ends || self.conflating;
        if waits || next < first || follow.replay.is_some() || follow.options.spacing.is_some() {
            return Passed::No;
        }
        follow.last = last;
        Passed::From(next)
    }

    fn offer_datum(&mut self, channel: Channel, covers: Option<(u64, u64)>, frame: &Bytes, now: Duration) {
        let datum = Datum {
            channel,
            covers,
            frame: frame.clone(),
        };
        let followed = self.follows.iter_mut().find(|follow| follow.channel == channel);
        let Some(follow) = followed.filter(|_| !self.finished) else {
            return;
        };
        let Some(spacing) = follow.options.spacing else {
            let refuses = follow.options.close_when_slow;
            return self.push_datum(datum, refuses, now);
        };
        if let Some(parked) = &mut follow.parked {
            parked.replace(datum);
        } else if now < follow.due {
            follow.parked = Some(datum);
        } else {
            follow.due = now.saturating_add(spacing);
            let refuses = follow.options.close_when_slow;
            self.push_datum(datum, refuses, now);
        }
    }

    fn push_datum(&mut self, datum: Datum, refuses: bool, now: Duration) {
        if self.finished || self.evict.is_some() {
            return; // what is queued stays complete: a resuming client continues behind it
        }
        let partial = datum.covers.is_none();
        if self.conflating || partial {
            let queued = self
                .data
                .iter_mut()
                .rev()
                .find(|queued| queued.channel == datum.channel && queued.covers.is_none() == partial);
            if let Some(queued) = queued {
                queued.replace(datum);
                self.conflated = self.conflated.saturating_add(u64::from(self.conflating));
                return;
            }
        }
        self.data.push_back(datum);
        if !self.conflating && self.data.len() >= self.window.data / 2 {
            if refuses {
                self.evict = Some(Evict::Refuses);
                return;
            }
            (self.conflating, self.conflated) = (true, 0);
            self.push_control(
                Out::Slow {
                    warn: true,
                    conflated: 0,
                },
                now,
            );
        }
    }

    fn push_control(&mut self, out: Out, now: Duration) {
        if self.finished || self.evict.is_some() {
            return; // nothing is queued after a dropped message: a resuming client would assume that it received it
        }
        if self.control.len() >= self.window.control {
            self.evict = Some(Evict::ControlFull);
            return;
        }
        self.control.push_back(Control { since: now, out });
    }

    /// Restarts the ages of waiting messages, because the process did not run.
    pub fn extend_deadlines(&mut self, now: Duration) {
        for control in &mut self.control {
            control.since = now;
        }
    }

    /// Takes messages to send into `outs`, control lane first, until `budget` bytes are reached.
    pub fn take(&mut self, budget: usize, now: Duration, outs: &mut Vec<Out>) {
        let mut bytes = 0_usize;
        self.release_ends(now);
        while bytes < budget {
            let Some(control) = self.control.pop_front() else {
                break;
            };
            bytes = bytes.saturating_add(control.out.bytes());
            outs.push(control.out);
        }
        self.release_parked(now);
        while bytes < budget {
            let Some(datum) = self.data.pop_front() else {
                break;
            };
            bytes = bytes.saturating_add(datum.frame.len());
            outs.push(datum.into_out());
        }
        if self.conflating && self.data.len() < self.window.data / 4 {
            self.conflating = false;
            let conflated = std::mem::take(&mut self.conflated);
            outs.push(Out::Slow { warn: false, conflated });
        }
        if self.is_empty() {
            outs.extend(self.last.take().map(Out::Frame));
        }
    }

    /// Sends `frame` after all waiting messages, and accepts no more.
    pub fn finish(&mut self, frame: &Bytes) {
        if !self.finished {
            self.finished = true;
            self.last = Some(frame.clone());
        }
    }

    /// Queues messages whose rate limit has passed.
    fn release_parked(&mut self, now: Duration) {
        for follow in &mut self.follows {
            let Some(spacing) = follow.options.spacing.filter(|_| follow.due <= now) else {
                continue;
            };
            if let Some(parked) = follow.parked.take() {
                follow.due = now.saturating_add(spacing);
                self.data.push_back(parked);
            }
        }
    }

    /// When the next message that waits for its rate limit is due.
    pub fn next_deadline(&self) -> Option<Duration> {
        let parked = self.follows.iter().filter(|follow| follow.parked.is_some());
        parked.map(|follow| follow.due).min()
    }

    /// Whether this client must be closed, and why.
    pub fn overdue(&self, now: Duration) -> Option<Evict> {
        let oldest = self.control.front().map(|control| now.saturating_sub(control.since));
        self.evict
            .or_else(|| oldest.filter(|age| *age > self.window.age).map(|_| Evict::ControlOld))
    }

    /// Whether nothing waits to be sent at once.
    pub fn is_empty(&self) -> bool {
        self.control.is_empty() && self.data.is_empty()
    }

    /// Frees the memory of empty lanes: most clients have nothing queued most of the time.
    pub fn shrink(&mut self) {
        if self.control.is_empty() {
            self.control = VecDeque::new();
        }
        if self.data.is_empty() {
            self.data = VecDeque::new();
        }
        self.follows.shrink_to_fit();
    }

    /// Whether the client was notified that it is slow.
    pub const fn conflating(&self) -> bool {
        self.conflating
    }

    /// Free places in the control lane, the limit of a replay's next part.
    pub fn room(&self) -> usize {
        self.window.control.saturating_sub(self.control.len())
    }

    /// Drops all messages and subscriptions: the connection ends.
    pub fn clear(&mut self) {
        *self = Self::new(self.window);
    }
}

#[cfg(test)]
#[path = "tests/outbox.rs"]
mod tests;
