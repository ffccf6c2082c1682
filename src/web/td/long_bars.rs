//! Bars of the vendor's longer intervals, made of five-minute bars: those are expected and filled, so a long bar is filled with them. Pure.

use crate::domain::model::{Bar, Flags, Ohlc, Sessions, SlotGrid, Timestamp};
use crate::domain::vendor::BarSpan;
use crate::limits;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A bar made of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LongBar {
    pub(super) opens_at: Timestamp,
    pub(super) ohlc: Ohlc,
    /// Whether a part that the calendar expects is missing or partial.
    pub(super) incomplete: bool,
}

/// Combines bars. They are added from the latest to the earliest.
#[derive(Debug)]
pub(super) struct LongBars {
    span: BarSpan,
    sessions: Option<Arc<dyn Sessions>>,
    now: Timestamp,
    /// The complete bars, the latest first.
    done: Vec<LongBar>,
    /// The bar whose parts are being added, and the opens of its parts.
    current: Option<(LongBar, BTreeSet<Timestamp>)>,
}

impl LongBars {
    pub(super) const fn new(span: BarSpan, sessions: Option<Arc<dyn Sessions>>, now: Timestamp) -> Self {
        Self {
            span,
            sessions,
            now,
            done: Vec::new(),
            current: None,
        }
    }

    /// Adds the next earlier part.
    pub(super) fn add(&mut self, part: &Bar) {
        let opens_at = self.span.floor(part.key.opens_at);
        if self.current.as_ref().is_some_and(|(bar, _)| bar.opens_at != opens_at) {
            self.end_bar();
        }
        let doubtful = part.flags.common(Flags::LATE_START.with(Flags::FEED_GAP)) != Flags::default();
        let (bar, parts) = self.current.get_or_insert_with(|| {
            let bar = LongBar {
                opens_at,
                ohlc: part.ohlc,
                incomplete: false,
            };
            (bar, BTreeSet::new())
        });
        bar.ohlc.open = part.ohlc.open;
        bar.ohlc.high = bar.ohlc.high.max(part.ohlc.high);
        bar.ohlc.low = bar.ohlc.low.min(part.ohlc.low);
        bar.incomplete |= doubtful;
        parts.insert(part.key.opens_at);
    }

    /// Whether `count` bars are complete.
    pub(super) const fn has(&self, count: usize) -> bool {
        self.done.len() >= count
    }

    /// The latest `count` bars, the earliest first.
    pub(super) fn finish(mut self, count: usize) -> Vec<LongBar> {
        self.end_bar();
        self.done.truncate(count);
        self.done.reverse();
        self.done
    }

    fn end_bar(&mut self) {
        let Some((bar, parts)) = self.current.take() else {
            return;
        };
        let ends = self.span.end(bar.opens_at);
        let mut expected: Vec<_> = Vec::new();
        if let Some(sessions) = &self.sessions {
            let slots = SlotGrid::BASE.touching(sessions.as_ref(), bar.opens_at, ends);
            expected.extend(slots.map(|expected| expected.slot));
        }
        let last = expected.last();
        let closes_at = last.map_or(ends, |slot| slot.closes_at);
        // The last part is stored a moment after its close.
        let awaited = last.is_some_and(|slot| !parts.contains(&slot.opens_at));
        if closes_at > self.now || (awaited && closes_at + limits::BAR_STORED > self.now) {
            return;
        }
        let missing = expected.iter().any(|slot| !parts.contains(&slot.opens_at));
        self.done.push(LongBar {
            incomplete: bar.incomplete || missing,
            ..bar
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar::Calendar;
    use crate::domain::model::{Price, Symbol};
    use crate::domain::vendor::SeriesInterval;
    use crate::web::tests::stage::bar;
    use std::time::Duration;

    const OPEN: Timestamp = Timestamp::from_secs(1_761_138_000); // 2025-10-22 13:00 UTC, 08:00 in Bogota
    const FIVE: Duration = Duration::from_secs(300);

    /// The bars of the session's slots, with rising prices.
    fn session() -> Vec<Bar> {
        (0..59_u32)
            .map(|number| {
                let mut bar = bar(OPEN + FIVE * number);
                bar.key.symbol = Symbol::usdcop();
                bar.ohlc = Ohlc::flat_at(Price::from_micros(i64::from(4_000 + number) * 1_000_000));
                bar
            })
            .collect()
    }

    /// For each bar: its open in minutes after the session's, its first and last price, and whether it is incomplete.
    fn made(interval: &str, parts: &[Bar], now: Timestamp) -> Vec<(i64, String, String, bool)> {
        let span = SeriesInterval::named(interval).unwrap().span();
        let mut bars = LongBars::new(span, Some(Arc::new(Calendar::usdcop())), now);
        for part in parts.iter().rev() {
            bars.add(part);
        }
        let bars = bars.finish(100).into_iter();
        bars.map(|bar| {
            let minutes = (bar.opens_at.secs() - OPEN.secs()) / 60;
            assert_eq!((bar.ohlc.low, bar.ohlc.high), (bar.ohlc.open, bar.ohlc.close));
            (
                minutes,
                bar.ohlc.open.to_string(),
                bar.ohlc.close.to_string(),
                bar.incomplete,
            )
        })
        .collect()
    }

    fn whole(minutes: i64, first: u32, last: u32) -> (i64, String, String, bool) {
        (minutes, first.to_string(), last.to_string(), false)
    }

    #[test]
    fn bars_are_put_together_on_the_grid_of_utc() {
        let end = OPEN + FIVE * 59;
        let hours = made("1h", &session(), end);
        assert_eq!((hours.len(), &hours[4]), (5, &whole(240, 4_048, 4_058)));
        assert_eq!(
            made("45min", &session(), end)[..2],
            [whole(-15, 4_000, 4_005), whole(30, 4_006, 4_014)]
        );
        assert_eq!(made("1day", &session(), end), [whole(-780, 4_000, 4_058)]);
    }

    #[test]
    fn one_that_is_still_made_is_not_told_before_its_last_slot_is_over_and_there() {
        let session = session();
        let before = OPEN + FIVE * 59 - Duration::from_secs(1);
        assert_eq!(made("1day", &session[..58], before), []);
        assert_eq!(made("1day", &session, before), [], "its last slot is not over");
        assert_eq!(made("1h", &session[..58], before).len(), 4, "the hours before are over");
        let after = OPEN + FIVE * 59;
        assert_eq!(made("1day", &session[..58], after), [], "the last bar is being written");
        let late = after + limits::BAR_STORED;
        assert_eq!(
            made("1day", &session[..58], late),
            [(-780, "4000".into(), "4057".into(), true)]
        );
        let friday = OPEN + Duration::from_secs(2 * 86_400) + FIVE * 59;
        assert_eq!(made("1week", &session, after), [], "there are two sessions more");
        assert!(made("1week", &session, friday + limits::BAR_STORED)[0].3);
    }

    #[test]
    fn what_lacks_a_part_or_was_not_watched_is_incomplete() {
        let end = OPEN + FIVE * 59;
        let mut parts = session();
        parts[13].flags = Flags::FEED_GAP;
        parts.remove(2);
        let incomplete: Vec<bool> = made("1h", &parts, end).into_iter().map(|bar| bar.3).collect();
        assert_eq!(incomplete, [true, true, false, false, false]);
    }
}
