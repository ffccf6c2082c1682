//! What stands in the lanes of an outbox, and what it knows of each channel that is followed.

use crate::domain::channel::Channel;
use crate::domain::delivery::{Options, Out};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;

/// A channel this client follows.
#[derive(Debug)]
pub(super) struct Follow {
    pub(super) channel: Channel,
    pub(super) options: Options,
    /// The last durable seq that was queued: coverage goes on from here.
    pub(super) last: u64,
    /// A replay is running; live messages wait for it.
    pub(super) replay: Option<Replay>,
    /// What waits for its time, where the client asked for a rate.
    pub(super) parked: Option<Datum>,
    /// When the next data message may go.
    pub(super) due: Duration,
}

/// A replay of all in (`after`, `to`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// The seq before its first.
    pub after: u64,
    /// Its last seq.
    pub to: u64,
    /// Whether the client asked for it and is told of its end; else it mends a hole of ours.
    pub asked: bool,
}

/// A conflatable message.
#[derive(Debug)]
pub(super) struct Datum {
    pub(super) channel: Channel,
    /// First and last durable seq it covers; `None` for a partial bar.
    pub(super) covers: Option<(u64, u64)>,
    pub(super) frame: Bytes,
}

/// A message of the control lane.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) since: Duration,
    pub(super) out: Out,
}

impl Follow {
    /// The last seq before whatever of this channel waits in `data` or for its rate.
    pub(super) fn sent(&self, data: &VecDeque<Datum>) -> u64 {
        let queued = data.iter().filter(|datum| datum.channel == self.channel);
        let waiting = queued.chain(&self.parked).filter_map(|datum| datum.covers);
        let first = waiting.map(|(from, _)| from).min();
        first.map_or(self.last, |from| from.saturating_sub(1))
    }
}

impl Datum {
    /// The newer takes the place of the older, and covers what it covered.
    pub(super) fn replace(&mut self, newer: Self) {
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
