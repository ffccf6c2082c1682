//! What an answer of the vendor shows for one slot.

use crate::domain::model::{Fetched, Interval, Ohlc, Slot, SlotGrid};

/// What an answer shows for one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::domain) enum SlotAnswer {
    /// The prices of its bar.
    Bar(Ohlc),
    /// There is no usable bar.
    Lacks {
        /// Whether the vendor has a bar whose prices cannot be used.
        broken: bool,
    },
    /// The answer does not cover the slot.
    Unsaid,
}

impl SlotAnswer {
    /// Reads the vendor's bar of a slot of `interval`, or composes it from one-minute bars. A vendor bar that extends beyond the slot is
    /// not used.
    pub(in crate::domain) fn read(fetched: &Fetched, interval: Interval, slot: Slot) -> Self {
        let parts = fetched
            .bars
            .iter()
            .filter(|bar| slot.opens_at <= bar.opens_at && bar.opens_at < slot.closes_at && bar.ohlc.is_ordered());
        let made = parts.map(|bar| bar.ohlc).reduce(|so_far, next| Ohlc {
            high: so_far.high.max(next.high),
            low: so_far.low.min(next.low),
            close: next.close,
            ..so_far
        });
        let mut broken = fetched.unusable.iter();
        let broken = broken.any(|at| slot.opens_at <= *at && *at < slot.closes_at);
        let minutes = fetched.interval != interval;
        let asked_in = SlotGrid::of_interval(interval).asked_in(slot.opens_at, slot.closes_at);
        match made {
            _ if !minutes && asked_in != interval => Self::Unsaid,
            Some(ohlc) if !minutes || (fetched.speaks_of(slot) && !broken) => Self::Bar(ohlc),
            _ if !fetched.speaks_of(slot) => Self::Unsaid,
            _ => Self::Lacks { broken },
        }
    }
}
