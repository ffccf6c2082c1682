//! Compares our bars with the vendor's of the same interval: which are still to be compared, and what to do when they differ.
//!
//! Only whole bars made entirely of live ticks are compared: a polled bar is a sample, as its provenance says, and a flawed one is filled
//! anyway. A difference within the noise of the vendor's single-precision prices is ignored. A bar is published again, as its next
//! revision, only when a comparison changes it.

use crate::domain::model::{Bar, BarState, Fetched, Flags, Interval, Ohlc, Price, Provenance, Symbol, Timestamp};
use crate::domain::pipeline::gap_tracker::is_flawed;
use crate::limits;
use std::collections::BTreeMap;

/// What to do when the vendor's closed bar differs from ours by more than its float noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnMismatch {
    /// Keep ours, and do not compare.
    Keep,
    /// Keep ours, flagged.
    #[default]
    Flag,
    /// Revise ours to the vendor's prices, flagged.
    Replace,
}

/// The bars that are still to be compared with the vendor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unchecked {
    /// The pair.
    pub symbol: Symbol,
    /// The interval of the bars.
    pub interval: Interval,
    /// Open of the first bar.
    pub from: Timestamp,
    /// Close of the last bar.
    pub to: Timestamp,
    /// The number of bars.
    pub bars: usize,
    /// Whether the session has no further bars, so that there is no reason to wait for more.
    pub over: bool,
}

/// The result of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// The number of bars compared.
    pub bars: u64,
    /// The next revisions of the bars that differ.
    pub corrected: Vec<Bar>,
}

impl Compared {
    /// The number of bars that differ.
    pub fn mismatch_count(&self) -> u64 {
        u64::try_from(self.corrected.len()).unwrap_or(u64::MAX)
    }
}

/// The bars of one pair's session that are to be compared.
#[derive(Debug, Clone)]
pub struct VendorAudit {
    symbol: Symbol,
    interval: Interval,
    policy: OnMismatch,
    /// Open and close of each bar.
    waiting: BTreeMap<Timestamp, Timestamp>,
}

impl VendorAudit {
    /// An audit without bars to compare.
    pub const fn new(symbol: Symbol, interval: Interval, policy: OnMismatch) -> Self {
        Self {
            symbol,
            interval,
            policy,
            waiting: BTreeMap::new(),
        }
    }

    /// Notes a published revision of a bar, which is to be compared or no longer needs to be.
    pub fn note_told(&mut self, bar: &Bar) {
        let asks = self.policy != OnMismatch::Keep && self.interval.length().is_some();
        if asks && is_comparable(bar) {
            self.waiting.insert(bar.key.opens_at, bar.closes_at);
        } else {
            self.waiting.remove(&bar.key.opens_at);
        }
    }

    /// A session begins: bars of the previous one can no longer be revised.
    pub fn forget(&mut self) {
        self.waiting.clear();
    }

    /// The bars that are to be compared. `over`: the session has no further bars.
    pub fn unchecked_bars(&self, over: bool) -> Option<Unchecked> {
        let (from, to) = self.waiting.first_key_value().zip(self.waiting.last_key_value())?;
        Some(Unchecked {
            symbol: self.symbol,
            interval: self.interval,
            from: *from.0,
            to: *to.1,
            bars: self.waiting.len(),
            over,
        })
    }

    /// Applies the vendor's answer, received at `at`. `ours` returns the last revision of a closed bar. A bar so young that the vendor may
    /// still change it stays in the list.
    pub fn compare_bars(
        &mut self,
        fetched: &Fetched,
        at: Timestamp,
        ours: impl Fn(Timestamp) -> Option<Bar>,
    ) -> Compared {
        let mut compared = Compared::default();
        if fetched.symbol != self.symbol || fetched.interval != self.interval {
            return compared;
        }
        let settled = at - limits::VENDOR_SETTLES;
        let answered = self.waiting.iter().filter(|(opens_at, closes_at)| {
            fetched.from <= **opens_at && **closes_at <= fetched.to && **closes_at <= settled
        });
        let answered: Vec<Timestamp> = answered.map(|(opens_at, _)| *opens_at).collect();
        for opens_at in answered {
            self.waiting.remove(&opens_at);
            let vendor = fetched
                .bars
                .iter()
                .find(|bar| bar.opens_at == opens_at && bar.ohlc.is_ordered());
            let Some((bar, vendor)) = ours(opens_at).filter(is_comparable).zip(vendor) else {
                continue;
            };
            compared.bars = compared.bars.saturating_add(1);
            if bars_differ(&bar.ohlc, &vendor.ohlc) {
                compared.corrected.push(self.correct_bar(bar, vendor.ohlc));
            }
        }
        compared
    }

    fn correct_bar(&self, mut bar: Bar, vendor: Ohlc) -> Bar {
        bar.flags = bar.flags.with(Flags::VENDOR_MISMATCH);
        if self.policy == OnMismatch::Replace {
            bar.ohlc = vendor;
            bar.provenance = Provenance::Backfill;
        }
        bar.revise();
        bar
    }
}

/// Whether a comparison with the vendor's bar is meaningful.
fn is_comparable(bar: &Bar) -> bool {
    bar.provenance == Provenance::Live
        && bar.state != BarState::Partial
        && !is_flawed(bar)
        && !bar.flags.contains(Flags::VENDOR_MISMATCH)
        && !bar.flags.contains(Flags::PARTIAL_SESSION)
}

/// Whether two bars differ by more than the vendor's float noise.
pub fn bars_differ(ours: &Ohlc, theirs: &Ohlc) -> bool {
    let [ours, theirs] = [ours, theirs].map(|ohlc| [ohlc.open, ohlc.high, ohlc.low, ohlc.close]);
    ours.into_iter()
        .zip(theirs)
        .any(|(ours, theirs)| ours.minus(theirs).micros().unsigned_abs() > price_noise(ours))
}

/// Noise grows with the price, because single precision has 24 bits for any pair.
fn price_noise(price: Price) -> u64 {
    let relative = price.micros().unsigned_abs().checked_div(limits::VENDOR_NOISE_PART);
    relative.unwrap_or_default().max(limits::VENDOR_NOISE_MICROS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{BarKey, SessionKind, VendorBar};
    use std::time::Duration;

    const OPEN: Timestamp = Timestamp::from_secs(1_761_138_000);
    const FIVE: Duration = Duration::from_secs(300);

    fn ohlc(text: &str) -> Ohlc {
        Ohlc::flat_at(text.parse().unwrap())
    }

    fn bar(slot: u32, price: &str) -> Bar {
        Bar {
            key: BarKey {
                symbol: Symbol::usdcop(),
                interval: Interval::M5,
                opens_at: OPEN + FIVE * slot,
            },
            closes_at: OPEN + FIVE * (slot + 1),
            ohlc: ohlc(price),
            ticks: 70,
            first_tick_at: None,
            last_tick_at: None,
            state: BarState::Closed,
            revision: 0,
            provenance: Provenance::Live,
            flags: Flags::default(),
            session_date: OPEN.datetime().date_naive(),
            session_kind: SessionKind::Spot,
        }
    }

    fn fetched(slots: u32, prices: &[(u32, &str)]) -> Fetched {
        let vendor = |(slot, price): &(u32, &str)| VendorBar {
            opens_at: OPEN + FIVE * *slot,
            ohlc: ohlc(price),
        };
        Fetched {
            symbol: Symbol::usdcop(),
            interval: Interval::M5,
            from: OPEN,
            to: OPEN + FIVE * slots,
            bars: prices.iter().map(vendor).collect(),
            unusable: Vec::new(),
        }
    }

    /// Compares three of our bars with an answer that came `later` after the third closed.
    fn compare(policy: OnMismatch, answer: &Fetched, later: Duration) -> (VendorAudit, Compared) {
        let mut audit = VendorAudit::new(Symbol::usdcop(), Interval::M5, policy);
        let bars = [bar(0, "4000"), bar(1, "4001"), bar(2, "4002")];
        bars.iter().for_each(|bar| audit.note_told(bar));
        let ours = |at| bars.iter().find(|bar| bar.key.opens_at == at).copied();
        let compared = audit.compare_bars(answer, OPEN + FIVE * 3 + later, ours);
        (audit, compared)
    }

    const LATER: Duration = Duration::from_secs(600);

    #[test]
    fn a_bar_that_differs_is_flagged_or_replaced_as_the_policy_says_and_its_revision_rises() {
        let answer = fetched(3, &[(0, "4000"), (1, "4001.5"), (2, "4002.0004")]);
        let (audit, flagged) = compare(OnMismatch::Flag, &answer, LATER);
        assert_eq!((flagged.bars, flagged.mismatch_count()), (3, 1));
        let told = flagged.corrected[0];
        assert_eq!(
            (told.ohlc, told.revision, told.state),
            (ohlc("4001"), 1, BarState::Revised)
        );
        assert_eq!(told.flags.names().collect::<Vec<_>>(), ["vendor_mismatch"]);
        assert_eq!(audit.unchecked_bars(true), None, "each bar is compared once");
        let told = compare(OnMismatch::Replace, &answer, LATER).1.corrected[0];
        assert_eq!(
            (told.ohlc, told.provenance, told.revision),
            (ohlc("4001.5"), Provenance::Backfill, 1)
        );
        let (audit, kept) = compare(OnMismatch::Keep, &answer, LATER);
        assert_eq!((kept, audit.unchecked_bars(true)), (Compared::default(), None));
    }

    #[test]
    fn the_noise_of_single_precision_is_no_mismatch_whatever_the_pair() {
        for (ours, theirs, expect) in [
            ("3270.26", "3270.26001", false),
            ("3268.39", "3268.38989", false),
            ("4012.35", "4012.3511", true),
            ("1.08", "1.08001", false),
            ("1.08", "1.08002", true),
            ("150.25", "150.25003", false),
            ("150.25", "150.2501", true),
        ] {
            assert_eq!(bars_differ(&ohlc(ours), &ohlc(theirs)), expect, "{ours} and {theirs}");
        }
    }

    #[test]
    fn the_noise_of_every_price_of_a_real_range_is_within_the_tolerance() {
        for cents in (323_930..511_745_i64).step_by(7) {
            let exact = Price::from_micros(cents * 10_000);
            let single: f32 = exact.to_string().parse().unwrap();
            let told: Price = format!("{:.5}", f64::from(single)).parse().unwrap();
            assert!(
                !bars_differ(&Ohlc::flat_at(exact), &Ohlc::flat_at(told)),
                "{exact} came as {told}"
            );
        }
    }

    #[test]
    fn a_bar_that_the_vendor_may_still_change_waits_and_one_it_has_not_does_not() {
        let answer = fetched(3, &[(0, "4000"), (2, "9")]);
        let (audit, compared) = compare(OnMismatch::Flag, &answer, Duration::from_secs(30));
        assert_eq!((compared.bars, compared.mismatch_count()), (1, 0));
        let left = audit.unchecked_bars(false).unwrap();
        assert_eq!((left.from, left.bars, left.over), (OPEN + FIVE * 2, 1, false));
    }

    #[test]
    fn only_whole_bars_of_the_links_own_ticks_are_compared() {
        let mut audit = VendorAudit::new(Symbol::usdcop(), Interval::M5, OnMismatch::Flag);
        let whole = bar(0, "4000");
        let not = [
            Bar {
                provenance: Provenance::Polled,
                ..whole
            },
            Bar {
                provenance: Provenance::Mixed,
                ..whole
            },
            Bar {
                provenance: Provenance::Backfill,
                ..whole
            },
            Bar {
                flags: Flags::FEED_GAP,
                ..whole
            },
            Bar {
                flags: Flags::LATE_START,
                ..whole
            },
            Bar {
                flags: Flags::PARTIAL_SESSION,
                ..whole
            },
            Bar {
                flags: Flags::VENDOR_MISMATCH,
                ..whole
            },
        ];
        for other in not {
            audit.note_told(&whole);
            assert!(audit.unchecked_bars(false).is_some());
            audit.note_told(&other);
            assert_eq!(audit.unchecked_bars(false), None, "{other:?}");
        }
    }

    #[test]
    fn another_pair_another_interval_and_another_day_are_left_alone() {
        let answer = fetched(3, &[(0, "9"), (1, "9"), (2, "9")]);
        let other = Fetched {
            symbol: "EUR/USD".parse().unwrap(),
            ..answer.clone()
        };
        assert_eq!(compare(OnMismatch::Flag, &other, LATER).1, Compared::default());
        let hours = Fetched {
            interval: Interval::H1,
            ..answer
        };
        assert_eq!(compare(OnMismatch::Flag, &hours, LATER).1, Compared::default());
        let (mut audit, _) = compare(OnMismatch::Flag, &other, LATER);
        audit.forget();
        assert_eq!(audit.unchecked_bars(true), None);
    }
}
