//! A ledger in memory, for tests: its events can be forgotten or become unreadable.

use crate::actors::fanout::LedgerSource;
use crate::domain::model::{Channel, Epoch, Event, Head, Interval, Position, Sequenced, Symbol, Timestamp};
use crate::store::Batch;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Events in memory, as a ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryLedger(Arc<Mutex<Events>>);

#[derive(Debug, Default)]
struct Events {
    all: Vec<Sequenced>,
    /// Events before this are no longer kept.
    kept_from: Position,
    unreadable: bool,
}

impl MemoryLedger {
    /// Appends an event of a channel, and assigns its numbers.
    pub(crate) fn number(&self, channel: Option<Channel>, at: Timestamp, event: Event) -> Sequenced {
        let all = &mut self.0.lock().unwrap().all;
        let seq = all.iter().filter(|n| n.channel == channel).count() + 1;
        let numbered = Sequenced {
            position: Position(u64::try_from(all.len()).unwrap() + 1),
            channel,
            seq: u64::try_from(seq).unwrap(),
            at,
            event,
        };
        all.push(numbered.clone());
        numbered
    }

    fn all(&self) -> Vec<Sequenced> {
        self.0.lock().unwrap().all.clone()
    }

    fn kept(&self) -> Result<Vec<Sequenced>, String> {
        let events = self.0.lock().unwrap();
        let kept = events.all.iter().filter(|n| n.position >= events.kept_from);
        if events.unreadable {
            Err("the ledger cannot be read".to_owned())
        } else {
            Ok(kept.cloned().collect())
        }
    }

    /// Forgets the events before a position.
    pub(super) fn forget_before(&self, position: u64) {
        self.0.lock().unwrap().kept_from = Position(position);
    }

    /// Makes every further read fail.
    pub(super) fn make_unreadable(&self) {
        self.0.lock().unwrap().unreadable = true;
    }

    /// All events so far, as a batch for a store.
    pub(super) fn batch(&self) -> Batch {
        Batch {
            reader: "writer",
            lineage: "memory".to_owned(),
            events: self.all(),
            heads: Arc::new(self.heads()),
        }
    }
}

pub(crate) fn epoch() -> Epoch {
    "ab12".parse().unwrap()
}

impl LedgerSource for MemoryLedger {
    fn head(&self) -> Position {
        self.all().last().map_or(Position(0), |last| last.position)
    }
    fn heads(&self) -> BTreeMap<Channel, Head> {
        let symbols = [Symbol::usdcop(), "EUR/USD".parse().unwrap()];
        let of = |symbol| {
            let bars = Channel::bars(Interval::M5, symbol);
            [
                Channel::ticks(symbol),
                bars,
                Channel::quality(symbol),
                Channel::session(symbol),
            ]
        };
        let new = symbols.into_iter().flat_map(of).map(|channel| (channel, 0));
        let told = self.all().into_iter().filter_map(|n| Some((n.channel?, n.seq)));
        let head = |seq| Head { epoch: epoch(), seq };
        new.chain(told).map(|(channel, seq)| (channel, head(seq))).collect()
    }
    fn read(&mut self, from: Position, limit: usize) -> Result<Vec<Sequenced>, String> {
        let kept = self.kept()?.into_iter();
        Ok(kept.filter(|n| n.position >= from).take(limit).collect())
    }
    fn read_channel(&mut self, channel: Channel, from: u64, to: u64, limit: usize) -> Result<Vec<Sequenced>, String> {
        let kept = self.kept()?.into_iter();
        let of = kept.filter(|n| n.channel == Some(channel) && (from..=to).contains(&n.seq));
        Ok(of.take(limit).collect())
    }
    fn first_seq(&mut self, channel: Channel) -> Result<Option<u64>, String> {
        Ok(self
            .kept()?
            .into_iter()
            .find(|n| n.channel == Some(channel))
            .map(|n| n.seq))
    }
}
