//! Finds the seam: where prepared history ends and our own bars begin, what is missing between, and whether both agree where they overlap.

use crate::domain::calendar::Calendar;
use crate::domain::history::verdict::stretches;
use crate::domain::model::{Ohlc, Seam, SeamBars, SlotGrid, Timestamp, VendorBar};
use crate::limits;
use std::collections::{BTreeMap, BTreeSet};

impl Seam {
    /// The seam of the session that opened at `opens`, with the ranges of missing bars to request, newest first; `None` while the session
    /// has no live bar.
    pub fn of(bars: &SeamBars, opens: Timestamp, calendar: &Calendar) -> Option<(Self, Vec<(Timestamp, Timestamp)>)> {
        let first_live_bar = bars.live.iter().find(|bar| bar.opens_at >= opens)?.opens_at;
        let last_history_bar = bars
            .history
            .iter()
            .rev()
            .find(|bar: &&VendorBar| bar.opens_at < first_live_bar)
            .map(|bar| bar.opens_at);
        let own: BTreeSet<_> = bars.fetched.iter().chain(&bars.live).map(|bar| bar.opens_at).collect();
        let from = last_history_bar.or(own.first().copied()).unwrap_or(first_live_bar);
        let expected = SlotGrid::BASE.expected(calendar, from, first_live_bar);
        let between: Vec<_> = expected
            .iter()
            .map(|expected| expected.slot.opens_at)
            .filter(|slot| Some(*slot) != last_history_bar)
            .collect();
        let missing: Vec<_> = between.iter().filter(|slot| !own.contains(slot)).copied().collect();
        let ours: BTreeMap<_, _> = bars.live.iter().map(|bar| (bar.opens_at, bar.ohlc)).collect();
        let pairs = bars
            .history
            .iter()
            .filter_map(|bar| Some((bar.opens_at, bar.ohlc, *ours.get(&bar.opens_at)?)));
        let pairs: Vec<_> = pairs.collect();
        let differing: Vec<_> = pairs
            .iter()
            .rev()
            .filter(|(_, theirs, ours)| prices_differ(theirs, ours))
            .collect();
        let shown = differing.iter().take(limits::VERDICT_EXAMPLES);
        let seam = Self {
            last_history_bar,
            first_live_bar,
            ours: between.len() - missing.len(),
            missing: missing.len(),
            overlapping: pairs.len(),
            differing: differing.len(),
            examples: shown
                .map(|(at, theirs, ours)| {
                    format!("{at}: history closes at {}, candela at {}", theirs.close, ours.close)
                })
                .collect(),
        };
        Some((seam, stretches(&missing)))
    }

    /// Whether this seam is worth publishing after `other`. More bars that agree are not.
    pub fn news_to(&self, other: &Self) -> bool {
        let [told, known] =
            [self, other].map(|seam| (seam.last_history_bar, seam.first_live_bar, seam.missing, seam.differing));
        // History that arrives later moves neither end: it overlaps, and is compared.
        told != known
    }
}

fn prices_differ(one: &Ohlc, other: &Ohlc) -> bool {
    let pairs = [
        (one.open, other.open),
        (one.high, other.high),
        (one.low, other.low),
        (one.close, other.close),
    ];
    pairs
        .into_iter()
        .any(|(one, other)| one.minus(other).micros().unsigned_abs() > limits::SEAM_NOISE_MICROS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{Price, SeamFound, Symbol};

    /// Slots of Thursday 15 January 2026, counted from the open.
    fn bars(slots: impl IntoIterator<Item = i64>, price: i64) -> Vec<VendorBar> {
        let open = 1_768_482_000;
        let bar = |slot: i64| VendorBar {
            opens_at: Timestamp::from_secs(open + slot * 300),
            ohlc: Ohlc::flat_at(Price::from_micros(price)),
        };
        slots.into_iter().map(bar).collect()
    }

    fn seam(history: Vec<VendorBar>, live: Vec<VendorBar>, fetched: Vec<VendorBar>) -> Option<Seam> {
        with_stretches(history, live, fetched).map(|(seam, _)| seam)
    }

    fn with_stretches(
        history: Vec<VendorBar>,
        live: Vec<VendorBar>,
        fetched: Vec<VendorBar>,
    ) -> Option<(Seam, Vec<(Timestamp, Timestamp)>)> {
        Seam::of(
            &SeamBars { history, live, fetched },
            Timestamp::from_secs(1_768_482_000),
            &Calendar::usdcop(),
        )
    }

    #[test]
    fn without_a_live_bar_there_is_no_seam() {
        assert_eq!(seam(bars(0..5, 1), vec![], vec![]), None);
    }

    #[test]
    fn history_that_ends_where_live_bars_begin_leaves_nothing_between() {
        let seam = seam(bars(-300..0, 1), bars(0..3, 1), vec![]).unwrap(); // the rows of the night are off the session
        assert_eq!((seam.missing, seam.ours, seam.overlapping), (0, 0, 0));
        let clean = self::seam(bars(0..5, 1), bars(5..9, 1), vec![]).unwrap();
        assert_eq!(
            (clean.missing, clean.last_history_bar),
            (0, Some(bars([4], 1)[0].opens_at))
        );
    }

    #[test]
    fn what_lies_between_is_fetched_or_missing_and_can_be_asked_for() {
        let (seam, stretches) = with_stretches(bars(0..4, 1), bars(10..12, 1), bars(6..8, 1)).unwrap();
        assert_eq!((seam.ours, seam.missing), (2, 4));
        let at = |slot| bars([slot], 1)[0].opens_at;
        assert_eq!(stretches, [(at(8), at(10)), (at(4), at(6))]);
    }

    #[test]
    fn bars_of_an_earlier_session_lie_between_and_are_not_missing() {
        let wednesday = -288; // a day before, counted in slots
        let live = [bars(wednesday + 10..wednesday + 59, 1), bars(0..2, 1)].concat();
        let seam = seam(bars(wednesday..wednesday + 8, 1), live, vec![]).unwrap();
        assert_eq!((seam.ours, seam.missing), (49, 2));
        assert_eq!(seam.first_live_bar, bars([0], 1)[0].opens_at);
    }

    #[test]
    fn it_is_told_anew_when_bars_come_to_differ_and_not_when_more_of_them_agree() {
        let first = seam(bars(0..5, 1), bars(5..9, 1), vec![]).unwrap();
        let agreeing = seam(bars(0..7, 1), bars(5..9, 1), vec![]).unwrap();
        assert_eq!((agreeing.overlapping, agreeing.news_to(&first)), (2, false));
        let mut history = bars(0..7, 1);
        history[6].ohlc.close = Price::from_micros(1_000_000);
        assert!(seam(history, bars(5..9, 1), vec![]).unwrap().news_to(&agreeing));
    }

    #[test]
    fn a_seam_that_is_written_down_reads_back_the_same() {
        let seam = seam(bars(0..4, 1), bars(10..12, 1), bars(6..8, 1)).unwrap();
        let found = SeamFound {
            symbol: Symbol::usdcop(),
            seam,
        };
        let text = serde_json::to_string(&found).unwrap();
        assert!(text.contains("\"last_history_bar\":\"2026-01-15T13:15:00Z\""), "{text}");
        assert_eq!(serde_json::from_str::<SeamFound>(&text).unwrap(), found);
    }

    #[test]
    fn bars_that_both_have_are_compared_beyond_the_noise_of_floats() {
        let mut history = bars(0..12, 4_000_000_000);
        history[11].ohlc.close = Price::from_micros(4_000_000_400);
        history[10].ohlc.high = Price::from_micros(4_001_000_000);
        let seam = seam(history, bars(8..14, 4_000_000_000), vec![]).unwrap();
        assert_eq!((seam.overlapping, seam.differing), (4, 1));
        assert!(
            seam.examples[0].starts_with("2026-01-15T13:50:00Z: history closes at 4000"),
            "{:?}",
            seam.examples
        );
    }
}
