//! Numbers: one position for every event, one gapless seq for every channel (invariant T2).

use crate::domain::channel::Channel;
use crate::domain::event::{Event, Numbered, Position};
use crate::domain::timestamp::Timestamp;

/// Gives out numbers. The only one who does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequencer {
    head: Position,
    logs: Vec<(Channel, u64)>,
}

/// A channel's place in the sequencer, looked up once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log(usize);

impl Sequencer {
    /// Goes on after `head` and after the given last numbers; a channel not named starts at 1.
    #[must_use]
    pub fn after(head: Position, heads: impl IntoIterator<Item = (Channel, u64)>) -> Self {
        Self {
            head,
            logs: heads.into_iter().collect(),
        }
    }

    /// The place of a channel, made when it is new.
    pub fn log(&mut self, channel: Channel) -> Log {
        let found = self.logs.iter().position(|(known, _)| *known == channel);
        Log(found.unwrap_or_else(|| {
            self.logs.push((channel, 0));
            self.logs.len().saturating_sub(1)
        }))
    }

    /// Takes other last numbers; places of channels stay.
    pub fn align(&mut self, head: Position, heads: impl IntoIterator<Item = (Channel, u64)>) {
        self.head = head;
        for (channel, seq) in heads {
            let log = self.log(channel);
            if let Some((_, last)) = self.logs.get_mut(log.0) {
                *last = seq;
            }
        }
    }

    /// The last position given out.
    #[must_use]
    pub const fn head(&self) -> Position {
        self.head
    }

    /// The last seq given out in a channel.
    #[must_use]
    pub fn seq(&self, log: Log) -> u64 {
        self.logs.get(log.0).map_or(0, |(_, seq)| *seq)
    }

    /// The last seq of every channel.
    #[must_use]
    pub fn heads(&self) -> &[(Channel, u64)] {
        &self.logs
    }

    /// Numbers an event of a channel.
    #[must_use]
    pub fn number(&mut self, log: Log, at: Timestamp, event: Event) -> Numbered {
        self.head = self.head.next();
        let (channel, seq) = self.logs.get_mut(log.0).map_or((None, 0), |(channel, seq)| {
            *seq = seq.saturating_add(1);
            (Some(*channel), *seq)
        });
        Numbered {
            position: self.head,
            channel,
            seq,
            at,
            event,
        }
    }

    /// Numbers an event that speaks of all channels.
    #[must_use]
    pub fn number_for_all(&mut self, at: Timestamp, event: Event) -> Numbered {
        self.head = self.head.next();
        Numbered {
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
    use crate::domain::event::{SessionChange, SessionPhase};
    use crate::domain::session::SessionKind;
    use crate::domain::symbol::Symbol;
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
        /// T2, over any interleaving of channels and over a restart at any point.
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
                let log = sequencer.log(channels[pick]);
                let numbered = sequencer.number(log, Timestamp::from_secs(0), event());
                prop_assert_eq!(numbered.position, Position(41 + i));
                prop_assert_eq!(numbered.seq, last[pick] + 1);
                prop_assert_eq!(numbered.channel, Some(channels[pick]));
                last[pick] += 1;
            }
        }
    }
}
