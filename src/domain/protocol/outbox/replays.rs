//! The replays of an outbox: missed messages are queued in order, in the control lane, before live ones.

use crate::domain::model::Channel;
use crate::domain::protocol::{Follow, Outbox, Replay};
use bytes::Bytes;
use std::time::Duration;

impl Outbox {
    /// Holds live messages of `channel` until [`Outbox::replay`] has queued all messages in (last sent, `to`]. That includes messages that
    /// wait in the data lane, because the control lane would overtake them.
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

    /// Continues after `seq` of a new epoch of `channel`, which `notice` announces; waiting data messages of the old epoch are dropped.
    pub fn reset_epoch(&mut self, channel: Channel, seq: u64, notice: &Bytes, now: Duration) {
        let Some(follow) = self.follows.iter_mut().find(|follow| follow.channel == channel) else {
            return;
        };
        (follow.last, follow.replay, follow.parked) = (seq, None, None);
        self.data.retain(|datum| datum.channel != channel);
        self.say(notice, now);
    }

    /// A channel with a pending replay, its next seq, and its last.
    pub fn replaying(&self) -> Option<(Channel, u64, u64)> {
        let follow = self.follows.iter().find(|follow| follow.replay.is_some())?;
        Some((follow.channel, follow.last.saturating_add(1), follow.replay?.to))
    }

    /// The running replay of `channel`.
    pub fn replay_of(&self, channel: Channel) -> Option<Replay> {
        self.follows.iter().find(|follow| follow.channel == channel)?.replay
    }

    /// Queues one message of a replay, in order, in the control lane, without conflation. Returns the replay if this completes it.
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

    /// Continues after `seq` although messages before it are missing: the caller sends `skipped` in their place. Returns the replay that
    /// ends with it.
    pub fn skip_to(&mut self, channel: Channel, seq: u64) -> Option<Replay> {
        let follow = self.follows.iter_mut().find(|follow| follow.channel == channel)?;
        follow.last = follow.last.max(seq);
        follow.replay.take()
    }

    /// The subscribed channels, each with the last seq that is sent before a control message queued now.
    pub fn complete(&self) -> impl Iterator<Item = (Channel, u64)> + '_ {
        self.follows
            .iter()
            .map(|follow: &Follow| (follow.channel, follow.sent(&self.data)))
    }
}
