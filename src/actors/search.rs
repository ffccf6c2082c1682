//! Finds in a channel's log where an instant lies, by bisection over the numbered events of the ledger.

use crate::actors::fanout::Fanout;
use crate::domain::channel::Channel;
use crate::domain::timestamp::Timestamp;
use crate::limits;

impl Fanout {
    /// The last seq before the first event at or after `at`.
    pub(super) fn before(&mut self, channel: Channel, head: u64, at: Timestamp) -> Result<u64, &'static str> {
        let Some(first) = self.first_kept(channel).filter(|first| *first <= head) else {
            return Ok(head);
        };
        let (mut low, mut high) = (first, head.saturating_add(1)); // the answer's next seq lies in [low, high]
        while low < high {
            let middle = low.midpoint(high);
            match self.told_at(channel, middle) {
                Some(told_at) if told_at < at => low = middle.saturating_add(1),
                Some(_) => high = middle,
                None => return Err("position_expired"),
            }
        }
        let after = low.saturating_sub(1);
        if head.saturating_sub(after) > limits::REPLAY {
            return Err("too_large");
        }
        Ok(after)
    }

    /// The last seq before the current session, or the one before it when none is open.
    pub(super) fn before_session(&mut self, channel: Channel, head: u64) -> Result<u64, &'static str> {
        let now = self.parts.deck.clock().now();
        match self
            .parts
            .session_start
            .as_ref()
            .and_then(|start| start(channel.symbol, now))
        {
            Some(start) => self.before(channel, head, start),
            None => Ok(head),
        }
    }

    fn told_at(&mut self, channel: Channel, seq: u64) -> Option<Timestamp> {
        let events = self.ledger.read_channel(channel, seq, seq, 1).ok()?;
        events.first().map(|event| event.at)
    }
}
