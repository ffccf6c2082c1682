//! Ticks on their way to clients: what came together goes to each client in one write.
//!
//! A round visits the clients of a channel one after the other. It stops every few of them, so that the shard hears what came
//! meanwhile: who has not been visited yet gets that in the same write, and the round goes on until all have all. So a burst
//! costs one write a client although its first tick does not wait for its last.

use crate::actors::deck::Deck;
use crate::actors::seat::Seat;
use crate::domain::channel::Channel;
use bytes::{Bytes, BytesMut};
use std::rc::Rc;
use std::time::Duration;

/// Consecutive ticks of one channel, on their round.
#[derive(Debug)]
pub struct Run {
    /// The channel.
    pub channel: Channel,
    first: u64,
    frames: Vec<Bytes>,
    /// Ready writes: from which frame on, and its bytes with all after it. One for most; two or three while ticks keep coming.
    joined: Vec<(usize, Bytes)>,
    /// Whom the round visits next, and how many it still has to; `None` before it begins, or when it must begin anew.
    round: Option<Round>,
}

#[derive(Debug, Clone, Copy)]
struct Round {
    next: usize,
    left: usize,
    /// Whose audience it counts on, and how many they were: who comes while it goes on is a place more on its way.
    audience: u64,
    of: usize,
}

impl Run {
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
    #[must_use]
    pub fn last(&self) -> u64 {
        self.first
            .saturating_add(u64::try_from(self.frames.len()).unwrap_or(u64::MAX))
            .saturating_sub(1)
    }

    /// Each with its seq.
    pub fn frames(&self) -> impl Iterator<Item = (u64, &Bytes)> {
        (self.first..).zip(&self.frames)
    }

    fn push(&mut self, frame: &Bytes) {
        self.frames.push(frame.clone());
        self.joined.clear();
        if let Some(round) = &mut self.round {
            round.left = usize::MAX; // who was visited is visited once more; cut to the audience with the next visit
        }
    }

    /// All from `seq` on as one piece, shared by every client that is there.
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

    /// Visits at most `budget` clients. Those whose ticks must wait behind something go to `others`. How many were visited;
    /// the round is over when that is less than `budget`.
    pub fn visit(&mut self, deck: &Deck, budget: usize, now: Duration, others: &mut Vec<Rc<Seat>>) -> usize {
        let (channel, first, last) = (self.channel, self.first, self.last());
        let (mut visited, mut told) = (0, 0);
        deck.audience(channel, |seats, audience| {
            let mut round = self.round.filter(|round| round.audience == audience).unwrap_or(Round {
                next: 0,
                left: usize::MAX,
                audience,
                of: seats.len(),
            });
            let came = seats.len().saturating_sub(round.of);
            round.left = round.left.saturating_add(came).min(seats.len());
            round.of = seats.len();
            while visited < budget && round.left > 0 {
                let Some(seat) = seats.get(round.next) else {
                    round.next = 0; // not beyond the end with anyone left, so there is a first
                    continue;
                };
                match seat.pass(channel, first, last, now, |seq| self.joined_from(seq)) {
                    Some(ticks) => told += ticks,
                    None => others.push(Rc::clone(seat)),
                }
                round.next = round.next.saturating_add(1);
                round.left = round.left.saturating_sub(1);
                visited = visited.saturating_add(1);
            }
            self.round = Some(round);
        });
        deck.count_told(told);
        visited
    }

    /// Whether everyone has everything.
    #[must_use]
    pub fn over(&self) -> bool {
        self.round.is_some_and(|round| round.left == 0)
    }
}

/// The runs of all channels.
#[derive(Debug, Default)]
pub struct Runs(Vec<Run>);

impl Runs {
    /// One more tick. What does not follow its channel's last one begins a run of its own.
    pub fn push(&mut self, channel: Channel, seq: u64, frame: &Bytes) {
        let run = self.0.iter_mut().rev().find(|run| run.channel == channel);
        match run.filter(|run| run.last().saturating_add(1) == seq) {
            Some(run) => run.push(frame),
            None => self.0.push(Run::new(channel, seq, frame)),
        }
    }

    /// How many ticks the longest holds.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.0.iter().map(|run| run.frames.len()).max().unwrap_or(0)
    }

    /// Takes them, in order.
    #[must_use]
    pub fn take(&mut self) -> Vec<Run> {
        std::mem::take(&mut self.0)
    }

    /// Puts back those whose rounds go on.
    pub fn put_back(&mut self, mut runs: Vec<Run>) {
        runs.append(&mut self.0);
        self.0 = runs;
    }
}

#[cfg(test)]
#[path = "runs_tests.rs"]
mod tests;
