//! The test feed as a source of events like the ledger: its channels are read and sent as if they were in one.

use crate::actors::fanout::LedgerSource;
use crate::clock::Clock;
use crate::domain::model::{Channel, Head, Position, Sequenced, Timestamp};
use crate::domain::protocol::pattern;
use std::collections::BTreeMap;

/// A ledger that also has the channels of the test feed.
pub(crate) struct WithTestFeed {
    pub(crate) ledger: Box<dyn LedgerSource>,
    pub(crate) clock: Clock,
}

impl LedgerSource for WithTestFeed {
    fn head(&self) -> Position {
        self.ledger.head()
    }

    fn heads(&self) -> BTreeMap<Channel, Head> {
        let now = self.clock.now();
        let mut heads = self.ledger.heads();
        heads.extend(
            pattern::channels()
                .into_iter()
                .filter_map(|channel| Some((channel, pattern::head(channel, now)?))),
        );
        heads
    }

    fn read(&mut self, from: Position, limit: usize) -> Result<Vec<Sequenced>, String> {
        self.ledger.read(from, limit)
    }

    fn read_channel(&mut self, channel: Channel, from: u64, to: u64, limit: usize) -> Result<Vec<Sequenced>, String> {
        if !pattern::carries(channel) {
            return self.ledger.read_channel(channel, from, to, limit);
        }
        let told = pattern::head(channel, self.clock.now()).map_or(0, |head| head.seq);
        let seqs = from.max(1)..=to.min(told);
        Ok(seqs
            .filter_map(|seq| pattern::message(channel, seq))
            .take(limit)
            .collect())
    }

    fn since(&mut self) -> Option<Timestamp> {
        self.ledger.since()
    }

    fn first_seq(&mut self, channel: Channel) -> Result<Option<u64>, String> {
        if pattern::carries(channel) {
            return Ok(Some(1));
        }
        self.ledger.first_seq(channel)
    }
}
