//! Assigns numbers: one position to every event, one gapless seq in every channel (invariant T2).

use crate::domain::model::{Channel, Event, Position, Sequenced, Timestamp};

/// Assigns all positions and seqs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequencer {
    head: Position,
    logs: Vec<(Channel, u64)>,
}

/// A channel's index in the sequencer, looked up once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelNumbers(usize);

impl Sequencer {
    /// Continues after `head` and the given last numbers; a channel that is not listed starts at 1.
    pub fn after(head: Position, heads: impl IntoIterator<Item = (Channel, u64)>) -> Self {
        Self {
            head,
            logs: heads.into_iter().collect(),
        }
    }

    /// The index of a channel, which is added if it is new.
    pub fn channel_numbers(&mut self, channel: Channel) -> ChannelNumbers {
        let found = self.logs.iter().position(|(known, _)| *known == channel);
        ChannelNumbers(found.unwrap_or_else(|| {
            self.logs.push((channel, 0));
            self.logs.len().saturating_sub(1)
        }))
    }

    /// Sets the last numbers; channels keep their index.
    pub fn align_numbers(&mut self, head: Position, heads: impl IntoIterator<Item = (Channel, u64)>) {
        self.head = head;
        for (channel, seq) in heads {
            let log = self.channel_numbers(channel);
            if let Some((_, last)) = self.logs.get_mut(log.0) {
                *last = seq;
            }
        }
    }

    /// The last position assigned.
    pub const fn head(&self) -> Position {
        self.head
    }

    /// The last seq assigned in a channel.
    pub fn seq(&self, log: ChannelNumbers) -> u64 {
        self.logs.get(log.0).map_or(0, |(_, seq)| *seq)
    }

    /// The last seq of every channel.
    pub fn heads(&self) -> &[(Channel, u64)] {
        &self.logs
    }

    /// Numbers an event of a channel.
    #[must_use]
    pub fn number_event(&mut self, log: ChannelNumbers, at: Timestamp, event: Event) -> Sequenced {
        let (channel, seq) = self.take_numbers(log);
        Sequenced {
            position: self.head,
            channel,
            seq,
            at,
            event,
        }
    }

    /// Assigns the next numbers of a channel: to an event, or to one that nobody is told.
    pub fn take_numbers(&mut self, log: ChannelNumbers) -> (Option<Channel>, u64) {
        self.head = self.head.next();
        self.logs.get_mut(log.0).map_or((None, 0), |(channel, seq)| {
            *seq = seq.saturating_add(1);
            (Some(*channel), *seq)
        })
    }

    /// Numbers an event without a channel.
    #[must_use]
    pub fn number_for_all(&mut self, at: Timestamp, event: Event) -> Sequenced {
        self.head = self.head.next();
        Sequenced {
            position: self.head,
            channel: None,
            seq: 0,
            at,
            event,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{SessionChange, SessionKind, SessionPhase, Symbol};
    use proptest::prelude::*;

    fn event() -> Event {
        let at = Timestamp::from_secs(0);
        Event::Session(SessionChange {
            symbol: Symbol::usdcop(),
            phase: SessionPhase::Open,
            date: chrono::NaiveDate::default(),
            kind: SessionKind::Spot,
            opens: at,
            closes: at,
        })
    }

    proptest! {
        /// T2, over any interleaving of channels and a restart at any point.
        #[test]
        fn numbers_are_gapless_per_channel_and_over_all(picks in prop::collection::vec(0_usize..3, 0..200), restart in 0_u64..200) {
            let symbol = Symbol::usdcop();
            let channels = [Channel::ticks(symbol), Channel::quality(symbol), Channel::session(symbol)];
            let mut sequencer = Sequencer::after(Position(40), [(channels[0], 7)]);
            let mut last = [7, 0, 0];
            for (i, pick) in (0_u64..).zip(picks) {
                if i == restart {
                    sequencer = Sequencer::after(sequencer.head(), sequencer.heads().to_vec());
                }
                let log = sequencer.channel_numbers(channels[pick]);
                let numbered = sequencer.number_event(log, Timestamp::from_secs(0), event());
                prop_assert_eq!(numbered.position, Position(41 + i));
                prop_assert_eq!(numbered.seq, last[pick] + 1);
                prop_assert_eq!(numbered.channel, Some(channels[pick]));
                last[pick] += 1;
            }
        }
    }
}
