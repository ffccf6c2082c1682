//! Replays of an outbox: missed messages are queued in order, in the control lane, before live ones.

use crate::domain::model::Channel;
use crate::domain::protocol::{Follow, Outbox, Replay};
use bytes::Bytes;
use std::time::Duration;

impl Outbox {
    /// Live messages of `channel` are held until all in (what was sent last, `to`] has been brought by [`Outbox::replay`].
    /// What still waits in the data lane is brought by it as well: the control lane would overtake it.
    pub fn hold(&mut self, channel: Channel, to: u64, asked: bool) {
        let Some(follow) = self.follows.iter_mut().find(|follow| follow.channel == channel) else {
            return;
        };
        if follow.last >= to {
            return;
        }
        follow.last = follow.sent(&self.data);
        follow.parked = None;
        let after = follow.last;
        follow.replay = Some(Replay { after, to, asked });
        self.data.retain(|datum| datum.channel != channel);
    }

    /// Continues after `seq` of another epoch of `channel`, which `notice` announces; what waits of the old one is dropped.
    pub fn reset_epoch(&mut self, channel: Channel, seq: u64, notice: &Bytes, now: Duration) {
        let Some(follow) = self.follows.iter_mut().find(|follow| follow.channel == channel) else {
            return;
        };
        (follow.last, follow.replay, follow.parked) = (seq, None, None);
        self.data.retain(|datum| datum.channel != channel);
        self.say(notice, now);
    }

    /// A channel whose replay is pending, its next seq, and its last.
    pub fn replaying(&self) -> Option<(Channel, u64, u64)> {
        let follow = self.follows.iter().find(|follow| follow.replay.is_some())?;
        Some((follow.channel, follow.last.saturating_add(1), follow.replay?.to))
    }

    /// The replay of `channel` that is running.
    pub fn replay_of(&self, channel: Channel) -> Option<Replay> {
        self.follows.iter().find(|follow| follow.channel == channel)?.replay
    }

    /// Brings one message of a replay: in order, in the control lane, never conflated. The replay, when this completes it.
    pub fn replay(&mut self, channel: Channel, seq: u64, frame: &Bytes, now: Duration) -> Option<Replay> {
        let follow = self.follows.iter_mut().find(|follow| follow.channel == channel)?;
        if follow.last.saturating_add(1) != seq {
            return None;
        }
        follow.last = seq;
        let done = follow.replay.filter(|replay| replay.to <= seq);
        if done.is_some() {
            follow.replay = None;
        }
        self.say(frame, now);
        done
    }

    /// Continues after `seq` although messages before it are missing: the caller sends `skipped` in their place. The replay
    /// that ends with it.
    pub fn skip_to(&mut self, channel: Channel, seq: u64) -> Option<Replay> {
        let follow = self.follows.iter_mut().find(|follow| follow.channel == channel)?;
        follow.last = follow.last.max(seq);
        follow.replay.take()
    }

    /// What is followed, with the last seq up to which nothing waits: what was said of it before is complete.
    pub fn complete(&self) -> impl Iterator<Item = (Channel, u64)> + '_ {
        self.follows
            .iter()
            .map(|follow: &Follow| (follow.channel, follow.sent(&self.data)))
    }
}
