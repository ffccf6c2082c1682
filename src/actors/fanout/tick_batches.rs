//! Ticks on their way to clients: ticks that arrive together go to each client in one write.
//!
//! A pass visits the clients of a channel one after the other. It stops every few clients, so that the shard handles what arrived
//! meanwhile. Clients not yet visited get the new ticks in the same write; the pass ends when every client is up to date. So a burst costs
//! one write a client, although its first tick does not wait for its last.

use crate::actors::fanout::{ClientRegistry, Connection};
use crate::domain::model::Channel;
use bytes::{Bytes, BytesMut};
use std::rc::Rc;
use std::time::Duration;

/// Consecutive ticks of one channel, during their pass over the clients.
#[derive(Debug)]
pub struct TickBatch {
    /// The channel.
    pub channel: Channel,
    first: u64,
    frames: Vec<Bytes>,
    /// Joined bytes of all frames from an index on. One entry for most batches; two or three while ticks keep arriving.
    joined: Vec<(usize, Bytes)>,
    /// The state of the pass; `None` before it begins, or when it must begin again.
    round: Option<Round>,
}

#[derive(Debug, Clone, Copy)]
struct Round {
    next: usize,
    left: usize,
    /// The audience's generation and size: each client that joins meanwhile is one more to visit.
    audience: u64,
    of: usize,
}

impl TickBatch {
    fn new(channel: Channel, seq: u64, frame: &Bytes) -> Self {
        Self {
            channel,
            first: seq,
            frames: vec![frame.clone()],
            joined: Vec::new(),
            round: None,
        }
    }

    /// The last seq.
    pub fn last(&self) -> u64 {
        self.first
            .saturating_add(u64::try_from(self.frames.len()).unwrap_or(u64::MAX))
            .saturating_sub(1)
    }

    /// Each frame with its seq.
    pub fn frames(&self) -> impl Iterator<Item = (u64, &Bytes)> {
        (self.first..).zip(&self.frames)
    }

    fn push(&mut self, frame: &Bytes) {
        self.frames.push(frame.clone());
        self.joined.clear();
        if let Some(round) = &mut self.round {
            round.left = usize::MAX; // every client is visited again; cut to the size of the audience with the next visit
        }
    }

    /// The frames from `seq` on as one piece, shared by all clients at that seq.
    fn joined_from(&mut self, seq: u64) -> Bytes {
        let skip = usize::try_from(seq.saturating_sub(self.first)).unwrap_or(usize::MAX);
        if let Some((_, ready)) = self.joined.iter().find(|(from, _)| *from == skip) {
            return ready.clone();
        }
        let bytes = match self.frames.get(skip..).unwrap_or_default() {
            [one] => one.clone(),
            many => {
                let mut bytes = BytesMut::with_capacity(many.iter().map(Bytes::len).sum());
                for frame in many {
                    bytes.extend_from_slice(frame);
                }
                bytes.freeze()
            }
        };
        self.joined.push((skip, bytes.clone()));
        bytes
    }

    /// Visits at most `budget` clients. Those with other messages waiting before the ticks go to `others`. Returns how many were visited;
    /// the pass is over when that is less than `budget`.
    pub fn write_to_clients(
        &mut self,
        registry: &ClientRegistry,
        budget: usize,
        now: Duration,
        others: &mut Vec<Rc<Connection>>,
    ) -> usize {
        let channel = self.channel;
        let first = self.first;
        let last = self.last();
        let mut visited = 0;
        let mut told = 0;
        registry.with_audience(channel, |connections, audience| {
            let mut round = self.round.filter(|round| round.audience == audience).unwrap_or(Round {
                next: 0,
                left: usize::MAX,
                audience,
                of: connections.len(),
            });
            let came = connections.len().saturating_sub(round.of);
            round.left = round.left.saturating_add(came).min(connections.len());
            round.of = connections.len();
            while visited < budget && round.left > 0 {
                let Some(connection) = connections.get(round.next) else {
                    round.next = 0; // clients are left, so there is a first one
                    continue;
                };
                match connection.write_through(channel, first, last, now, |seq| self.joined_from(seq)) {
                    Some(ticks) => told += ticks,
                    None => others.push(Rc::clone(connection)),
                }
                round.next = round.next.saturating_add(1);
                round.left = round.left.saturating_sub(1);
                visited = visited.saturating_add(1);
            }
            self.round = Some(round);
        });
        registry.count_told(told);
        visited
    }

    /// Whether every client is up to date.
    pub fn is_over(&self) -> bool {
        self.round.is_some_and(|round| round.left == 0)
    }
}

/// The batches of all channels.
#[derive(Debug, Default)]
pub struct TickBatches(Vec<TickBatch>);

impl TickBatches {
    /// Adds a tick. One that does not continue its channel's last batch begins a new one.
    pub fn push(&mut self, channel: Channel, seq: u64, frame: &Bytes) {
        let batch = self.0.iter_mut().rev().find(|batch| batch.channel == channel);
        match batch.filter(|batch| batch.last().saturating_add(1) == seq) {
            Some(batch) => batch.push(frame),
            None => self.0.push(TickBatch::new(channel, seq, frame)),
        }
    }

    /// How many ticks the longest batch holds.
    pub fn longest(&self) -> usize {
        self.0.iter().map(|batch| batch.frames.len()).max().unwrap_or(0)
    }

    /// Takes the batches, in order.
    #[must_use]
    pub fn take(&mut self) -> Vec<TickBatch> {
        std::mem::take(&mut self.0)
    }

    /// Puts back the batches whose passes continue.
    pub fn put_back(&mut self, mut batches: Vec<TickBatch>) {
        batches.append(&mut self.0);
        self.0 = batches;
    }
}

#[cfg(test)]
#[path = "tests/tick_batches.rs"]
mod tests;
