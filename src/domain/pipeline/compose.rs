//! Composes bars of longer intervals from the base bars in them: a correction of a base bar corrects the longer bars.
//!
//! The prices of a longer bar are those of its base bars, so a base bar that the vendor corrected corrects every bar that contains it. The
//! flags show what is still wrong with the base bars. A base slot without a bar leaves the flags unchanged while its gap is pending.

use crate::domain::model::{Bar, BarKey, BarState, Flags, Ohlc, Provenance, Session, Slot, SlotGrid};

/// The flags of a bar that was not received throughout.
const UNHEARD: Flags = Flags::FEED_GAP.with(Flags::LATE_START);

/// One longer slot, and what is known about it.
#[derive(Debug)]
pub struct Longer<'a> {
    /// The key of its bar.
    pub key: BarKey,
    /// The slot.
    pub slot: Slot,
    /// Its session.
    pub session: Session,
    /// Its bar as published, or as made from ticks.
    pub own: Option<&'a Bar>,
    /// Whether a base slot in it has no bar while its gap is pending.
    pub lost: bool,
}

impl Longer<'_> {
    /// The bar composed of `parts` (earliest first), with the revision of `own`; `None` while too few parts are known.
    pub fn compose_bar<'b>(&self, parts: impl Iterator<Item = &'b Bar>) -> Option<Bar> {
        let mut parts = parts.peekable();
        let first = **parts.peek()?; // it goes through the loop too, for its ticks and flags
        if self.lost && self.own.is_none() {
            return None; // published once, when every part is there or known not to exist
        }
        let unheard = match self.own {
            Some(own) if self.lost => own.flags.common(UNHEARD),
            _ => Flags::default(),
        };
        let mut bar = Bar {
            key: self.key,
            closes_at: self.slot.closes_at,
            ticks: 0,
            first_tick_at: None,
            last_tick_at: None,
            state: self.own.map_or(BarState::Closed, |own| own.state),
            revision: self.own.map_or(0, |own| own.revision),
            flags: SlotGrid::of_interval(self.key.interval)
                .flags_of(self.slot)
                .with(unheard),
            session_date: self.session.date,
            session_kind: self.session.kind,
            ..first
        };
        for part in parts {
            let Ohlc { high, low, close, .. } = part.ohlc;
            bar.ohlc.high = bar.ohlc.high.max(high);
            bar.ohlc.low = bar.ohlc.low.min(low);
            bar.ohlc.close = close;
            bar.ticks = bar.ticks.saturating_add(part.ticks);
            bar.first_tick_at = bar.first_tick_at.or(part.first_tick_at);
            bar.last_tick_at = part.last_tick_at.or(bar.last_tick_at);
            bar.provenance = bar.provenance.with(part.provenance);
            bar.flags = bar.flags.with(part.flags.common(UNHEARD));
            if part.provenance == Provenance::Backfill {
                bar.flags = bar.flags.with(part.flags.common(Flags::VENDOR_MISMATCH));
            }
        }
        Some(bar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{Interval, Price, SessionKind, Symbol, Timestamp};
    use std::time::Duration;

    const OPEN: Timestamp = Timestamp::from_secs(1_772_456_400);
    const FIVE: Duration = Duration::from_secs(300);

    fn part(slot: u32, prices: [i64; 4], provenance: Provenance, flags: Flags) -> Bar {
        let [open, high, low, close] = prices.map(Price::from_micros);
        let made_of_ticks = provenance == Provenance::Live;
        Bar {
            key: BarKey {
                symbol: Symbol::usdcop(),
                interval: Interval::M5,
                opens_at: OPEN + FIVE * slot,
            },
            closes_at: OPEN + FIVE * (slot + 1),
            ohlc: Ohlc { open, high, low, close },
            ticks: u32::from(made_of_ticks),
            first_tick_at: made_of_ticks.then_some(OPEN + FIVE * slot),
            last_tick_at: made_of_ticks.then_some(OPEN + FIVE * slot),
            state: BarState::Closed,
            revision: 0,
            provenance,
            flags,
            session_date: OPEN.datetime().date_naive(),
            session_kind: SessionKind::Spot,
        }
    }

    fn quarter(own: Option<&Bar>, lost: bool, parts: &[Bar]) -> Option<Bar> {
        let slot = Slot {
            opens_at: OPEN,
            closes_at: OPEN + FIVE * 3,
        };
        let longer = Longer {
            key: BarKey {
                symbol: Symbol::usdcop(),
                interval: Interval::M15,
                opens_at: OPEN,
            },
            slot,
            session: Session {
                date: OPEN.datetime().date_naive(),
                opens: OPEN,
                closes: OPEN + FIVE * 59,
                kind: SessionKind::Spot,
            },
            own,
            lost,
        };
        longer.compose_bar(parts.iter())
    }

    const LIVE: Provenance = Provenance::Live;
    const VENDOR: Provenance = Provenance::Backfill;

    #[test]
    fn a_healed_part_brings_its_extremes_and_clears_the_flags_of_the_whole() {
        let clean = Flags::default();
        let flawed = part(1, [10, 12, 9, 11], LIVE, Flags::FEED_GAP);
        let live = |slot, price| part(slot, [price; 4], LIVE, clean);
        let before = quarter(None, false, &[live(0, 10), flawed, live(2, 11)]).unwrap();
        assert_eq!(
            (before.flags, before.provenance, before.ticks),
            (Flags::FEED_GAP, LIVE, 3)
        );
        let healed = part(1, [10, 99, 1, 11], VENDOR, clean);
        let after = quarter(Some(&before), false, &[live(0, 10), healed, live(2, 11)]).unwrap();
        let prices = [10, 99, 1, 11].map(Price::from_micros);
        let Ohlc { open, high, low, close } = after.ohlc;
        assert_eq!([open, high, low, close], prices);
        assert_eq!((after.flags, after.provenance), (clean, Provenance::Mixed));
        assert_eq!(
            (after.last_tick_at, after.closes_at),
            (Some(OPEN + FIVE * 2), OPEN + FIVE * 3)
        );
    }

    #[test]
    fn a_part_that_may_still_come_leaves_the_flags_and_no_first_bar_is_told_without_it() {
        let parts = [
            part(0, [10; 4], LIVE, Flags::default()),
            part(2, [11; 4], VENDOR, Flags::default()),
        ];
        assert_eq!(quarter(None, true, &parts), None);
        assert_eq!(quarter(None, false, &[]), None);
        let mut own = quarter(None, false, &parts).unwrap();
        own.flags = Flags::FEED_GAP;
        assert_eq!(quarter(Some(&own), true, &parts).unwrap().flags, Flags::FEED_GAP);
        assert_eq!(quarter(Some(&own), false, &parts).unwrap().flags, Flags::default());
    }

    #[test]
    fn a_part_that_was_replaced_for_a_mismatch_says_so_in_the_whole_and_one_that_was_kept_does_not() {
        for (provenance, flags) in [(VENDOR, Flags::VENDOR_MISMATCH), (LIVE, Flags::default())] {
            let replaced = part(1, [12; 4], provenance, Flags::VENDOR_MISMATCH);
            let parts = [part(0, [10; 4], LIVE, Flags::default()), replaced];
            assert_eq!(quarter(None, false, &parts).unwrap().flags, flags);
        }
        let first = [part(0, [10; 4], VENDOR, Flags::VENDOR_MISMATCH)];
        assert_eq!(quarter(None, false, &first).unwrap().flags, Flags::VENDOR_MISMATCH);
    }
}
