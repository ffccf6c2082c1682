//! A fan-out shard's access to the ledger, as a trait: tests and benches read from memory.

use crate::domain::model::{Channel, Head, Position, Sequenced, Timestamp};
use crate::ledger::LedgerReader;
use std::collections::BTreeMap;

/// A fan-out shard's access to the ledger.
pub trait LedgerSource {
    /// The last position in the ledger.
    fn head(&self) -> Position;
    /// Where each channel ends.
    fn heads(&self) -> BTreeMap<Channel, Head>;
    /// Events from a position on, in order and without a hole.
    ///
    /// # Errors
    /// A sentence, when they cannot be read or are no longer kept.
    fn read(&mut self, from: Position, limit: usize) -> Result<Vec<Sequenced>, String>;
    /// Events of a channel with numbers in `[from, to]`, in order.
    ///
    /// # Errors
    /// A sentence, when they cannot be read.
    fn read_channel(&mut self, channel: Channel, from: u64, to: u64, limit: usize) -> Result<Vec<Sequenced>, String>;
    /// The instant since which all published events are kept; `None` where that is not known.
    fn since(&mut self) -> Option<Timestamp> {
        None
    }
    /// Whether another node decides what comes next: that node may have published events that are not here yet.
    fn follows(&self) -> bool {
        false
    }
    /// The lowest number of a channel that is kept.
    ///
    /// # Errors
    /// A sentence, when it cannot be read.
    fn first_seq(&mut self, channel: Channel) -> Result<Option<u64>, String>;
}

impl LedgerSource for LedgerReader {
    fn follows(&self) -> bool {
        Self::is_follower(self)
    }

    fn head(&self) -> Position {
        Self::head(self)
    }

    fn heads(&self) -> BTreeMap<Channel, Head> {
        Self::heads(self)
    }

    fn read(&mut self, from: Position, limit: usize) -> Result<Vec<Sequenced>, String> {
        Self::read(self, from, limit).map_err(|error| error.to_string())
    }

    fn read_channel(&mut self, channel: Channel, from: u64, to: u64, limit: usize) -> Result<Vec<Sequenced>, String> {
        Self::read_channel(self, channel, from, to, limit).map_err(|error| error.to_string())
    }

    fn since(&mut self) -> Option<Timestamp> {
        let first = self.first_position();
        let events = Self::read(self, first, 1).ok()?;
        events.first().map(|event| event.at)
    }

    fn first_seq(&mut self, channel: Channel) -> Result<Option<u64>, String> {
        Self::first_seq(self, channel).map_err(|error| error.to_string())
    }
}
