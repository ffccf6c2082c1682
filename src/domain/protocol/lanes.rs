//! The entries of an outbox's lanes, and its state of each subscription.

use crate::domain::model::Channel;
use crate::domain::protocol::{Options, Out};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;

/// A subscription of this client.
#[derive(Debug)]
pub(crate) struct Follow {
    pub(crate) channel: Channel,
    pub(super) options: Options,
    /// The last durable seq that was queued, after which coverage continues.
    pub(crate) last: u64,
    /// A running replay, for which live messages wait.
    pub(crate) replay: Option<Replay>,
    /// The message that waits for its rate limit, if the client requested one.
    pub(crate) parked: Option<Datum>,
    /// When the next data message may be sent.
    pub(crate) due: Duration,
}

/// A replay of all messages in (`after`, `to`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// The seq before the first message.
    pub after: u64,
    /// The seq of the last message.
    pub to: u64,
    /// Whether the client requested it and is notified of its end; otherwise it fills a hole of ours.
    pub asked: bool,
}

/// A conflatable message.
#[derive(Debug)]
pub(crate) struct Datum {
    pub(crate) channel: Channel,
    /// First and last durable seq that it covers; `None` for a partial bar.
    pub(crate) covers: Option<(u64, u64)>,
    pub(crate) frame: Bytes,
}

/// A message of the control lane, and when it was queued.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) since: Duration,
    pub(crate) out: Out,
}

impl Follow {
    /// The last seq before any message of this channel that waits in `data` or for its rate limit.
    pub(super) fn sent(&self, data: &VecDeque<Datum>) -> u64 {
        let queued = data.iter().filter(|datum| datum.channel == self.channel);
        let waiting = queued.chain(&self.parked).filter_map(|datum| datum.covers);
        let first = waiting.map(|(from, _)| from).min();
        first.map_or(self.last, |from| from.saturating_sub(1))
    }
}

impl Datum {
    /// Replaces the message with a newer one, which then also covers what the older one covered.
    pub(crate) fn replace(&mut self, newer: Self) {
        let from = self.covers.map(|(from, _)| from);
        let covers = newer.covers.map(|(own, to)| (from.unwrap_or(own), to));
        *self = Self { covers, ..newer };
    }

    pub(super) fn into_out(self) -> Out {
        match self.covers {
            Some((from, to)) if from < to => Out::Covering {
                frame: self.frame,
                from,
            },
            _ => Out::Frame(self.frame),
        }
    }
}
