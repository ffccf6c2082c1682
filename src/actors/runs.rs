//! Ticks that came together, on their way to clients: sent in one write rather than one each.

use crate::domain::channel::Channel;
use bytes::{Bytes, BytesMut};

/// Consecutive ticks of one channel.
#[derive(Debug)]
pub struct Run {
    /// The channel.
    pub channel: Channel,
    frames: Vec<(u64, Bytes)>,
}

impl Run {
    /// The first seq.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.frames.first().map_or(0, |(seq, _)| *seq)
    }

    /// The last seq.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.frames.last().map_or(0, |(seq, _)| *seq)
    }

    /// Each with its seq.
    pub fn frames(&self) -> impl Iterator<Item = &(u64, Bytes)> {
        self.frames.iter()
    }

    /// All of them as one piece, shared by every client.
    #[must_use]
    pub fn joined(&self) -> Bytes {
        if let [(_, one)] = self.frames.as_slice() {
            return one.clone();
        }
        let mut bytes = BytesMut::with_capacity(self.frames.iter().map(|(_, frame)| frame.len()).sum());
        for (_, frame) in &self.frames {
            bytes.extend_from_slice(frame);
        }
        bytes.freeze()
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
            Some(run) => run.frames.push((seq, frame.clone())),
            None => self.0.push(Run {
                channel,
                frames: vec![(seq, frame.clone())],
            }),
        }
    }

    /// Takes them, in order.
    pub fn take(&mut self) -> Vec<Run> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::symbol::Symbol;

    #[test]
    fn what_follows_is_joined_and_what_does_not_begins_anew() {
        let (one, two) = (
            Channel::ticks(Symbol::usdcop()),
            Channel::ticks("EUR/USD".parse().unwrap()),
        );
        let mut runs = Runs::default();
        for (channel, seq) in [(one, 1), (two, 7), (one, 2), (one, 4)] {
            runs.push(channel, seq, &Bytes::from(seq.to_string()));
        }
        let taken: Vec<_> = runs
            .take()
            .iter()
            .map(|run| (run.channel, run.first(), run.last(), run.joined()))
            .collect();
        let expect = vec![
            (one, 1, 2, Bytes::from("12")),
            (two, 7, 7, Bytes::from("7")),
            (one, 4, 4, Bytes::from("4")),
        ];
        assert_eq!(taken, expect);
        assert!(runs.take().is_empty());
    }
}
