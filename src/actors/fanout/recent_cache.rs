//! The latest messages of each channel, in memory: replays and snapshots are served from here first, then from the ledger.

use crate::actors::fanout::LedgerSource;
use crate::domain::model::{Channel, Head};
use crate::domain::protocol::{Zones, frames};
use crate::limits;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// The latest messages of one channel.
#[derive(Debug, Default)]
struct RingBuffer {
    /// Contiguous by seq.
    frames: VecDeque<(u64, Bytes)>,
    /// The forming bar.
    forming: Option<Bytes>,
}

/// The latest messages of every channel.
#[derive(Debug, Default)]
pub struct RecentCache(HashMap<Channel, RingBuffer>);

impl RecentCache {
    /// Fills the caches from the ledger. A channel that cannot be read stays empty: replays then read the ledger, and report an error if
    /// that fails.
    pub fn fill_from_ledger(&mut self, ledger: &mut dyn LedgerSource, heads: &BTreeMap<Channel, Head>, zones: &Zones) {
        let depth = u64::try_from(limits::FANOUT_RECENT / 2).unwrap_or(0);
        for (channel, head) in heads {
            let from = head.seq.saturating_sub(depth).saturating_add(1);
            match ledger.read_channel(*channel, from, head.seq, limits::FANOUT_RECENT) {
                Ok(events) => {
                    for event in events {
                        self.push(*channel, event.seq, &frames::event(zones, &event));
                    }
                }
                Err(error) => {
                    tracing::warn!(%channel, error, "failed to read a channel's recent messages from the ledger");
                }
            }
        }
    }

    /// Adds a durable message.
    pub fn push(&mut self, channel: Channel, seq: u64, frame: &Bytes) {
        let ring = self.0.entry(channel).or_default();
        match ring.frames.back() {
            Some((last, _)) if seq <= *last => return,
            Some((last, _)) if last.saturating_add(1) != seq => ring.frames.clear(),
            _ => {}
        }
        ring.forming = None;
        ring.frames.push_back((seq, frame.clone()));
        if ring.frames.len() > limits::FANOUT_RECENT {
            ring.frames.pop_front();
        }
    }

    /// Replaces the forming bar.
    pub fn forming(&mut self, channel: Channel, frame: &Bytes) {
        self.0.entry(channel).or_default().forming = Some(frame.clone());
    }

    /// The lowest seq in memory.
    pub fn first(&self, channel: Channel) -> Option<u64> {
        self.0.get(&channel)?.frames.front().map(|(seq, _)| *seq)
    }

    /// The newest durable message.
    pub fn last(&self, channel: Channel) -> Option<&Bytes> {
        self.0.get(&channel)?.frames.back().map(|(_, frame)| frame)
    }

    /// The forming bar.
    pub fn now_forming(&self, channel: Channel) -> Option<&Bytes> {
        self.0.get(&channel)?.forming.as_ref()
    }

    /// The messages `[from, to]`, at most `limit`; `None` when the first of them is not in memory.
    pub fn range(&self, channel: Channel, from: u64, to: u64, limit: usize) -> Option<Vec<(u64, Bytes)>> {
        let ring = self.0.get(&channel)?;
        let (first, _) = ring.frames.front()?;
        let skip = usize::try_from(from.checked_sub(*first)?).ok()?;
        let wanted = ring.frames.iter().skip(skip).take_while(|(seq, _)| *seq <= to);
        let frames: Vec<(u64, Bytes)> = wanted.take(limit).cloned().collect();
        (!frames.is_empty()).then_some(frames)
    }
}
