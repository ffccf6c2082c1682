//! Requests missing bars of past sessions for a store, and reads them from the answers.

use crate::domain::model::{Bar, BarKey, BarState, Expected, Fetched, Interval, Provenance, SlotGrid, Symbol};
use crate::domain::pipeline::SlotAnswer;
use crate::domain::vendor::SeriesRequest;
use crate::limits;

/// The requests for these bars, newest first and each as long as one answer allows: whole slots as base bars, then slots that a session's
/// end cuts short as one-minute bars.
pub fn plan_requests(symbol: Symbol, missing: &[Expected]) -> Vec<SeriesRequest> {
    let mut asked = plan_interval(symbol, Interval::BASE, missing);
    asked.extend(plan_interval(symbol, Interval::M1, missing));
    asked
}

fn plan_interval(symbol: Symbol, interval: Interval, missing: &[Expected]) -> Vec<SeriesRequest> {
    let bars = u32::try_from(limits::SERIES_BARS.saturating_sub(1)).unwrap_or(u32::MAX);
    let most = interval.vendor_length().saturating_mul(bars);
    let mut asked: Vec<SeriesRequest> = Vec::new();
    for Expected { slot, .. } in missing.iter().rev().filter(|expected| is_asked_in(expected, interval)) {
        let (from, to) = SlotGrid::of_interval(interval).vendor_span(slot.opens_at, slot.closes_at);
        match asked.last_mut() {
            Some(request) if request.to.since(from) <= most => request.from = from,
            _ => asked.push(SeriesRequest {
                symbols: vec![symbol],
                interval,
                from,
                to,
            }),
        }
    }
    asked
}

fn is_asked_in(expected: &Expected, interval: Interval) -> bool {
    let slot = expected.slot;
    SlotGrid::BASE.asked_in(slot.opens_at, slot.closes_at) == interval
}

/// The bars of an answer that fill missing slots, in the form in which they are stored.
pub fn fill_missing(fetched: &Fetched, missing: &[Expected]) -> Vec<Bar> {
    missing
        .iter()
        .filter(|expected| is_asked_in(expected, fetched.interval))
        .filter_map(|Expected { slot, session }| {
            let SlotAnswer::Bar(ohlc) = SlotAnswer::read(fetched, Interval::BASE, *slot) else {
                return None;
            };
            Some(Bar {
                key: BarKey {
                    symbol: fetched.symbol,
                    interval: Interval::BASE,
                    opens_at: slot.opens_at,
                },
                closes_at: slot.closes_at,
                ohlc,
                ticks: 0,
                first_tick_at: None,
                last_tick_at: None,
                state: BarState::Closed,
                revision: 0,
                provenance: Provenance::Backfill,
                flags: SlotGrid::BASE.flags_of(*slot),
                session_date: session.date,
                session_kind: session.kind,
            })
        })
        .collect()
}

/// How many of these slots the answer covers, whether the vendor has a bar or not.
pub fn count_answered(fetched: &Fetched, missing: &[Expected]) -> usize {
    missing
        .iter()
        .filter(|expected: &&Expected| is_asked_in(expected, fetched.interval) && fetched.speaks_of(expected.slot))
        .count()
}

/// How many of these slots the vendor has a bar for that cannot be used.
pub fn count_broken(fetched: &Fetched, missing: &[Expected]) -> usize {
    let asked = missing
        .iter()
        .filter(|expected| is_asked_in(expected, fetched.interval));
    asked
        .filter(|expected| {
            let answer = SlotAnswer::read(fetched, Interval::BASE, expected.slot);
            matches!(answer, SlotAnswer::Lacks { broken: true })
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{Flags, Listed, Ohlc, Price, Session, SessionKind, Slot, Timestamp, VendorBar};
    use std::time::Duration;

    /// 2026-03-02T13:00:00Z, a Monday.
    const OPEN: Timestamp = Timestamp::from_secs(1_772_456_400);
    const DAY: Duration = Duration::from_secs(86_400);
    const BASE: Duration = Interval::BASE.vendor_length();

    fn expected(sessions: &Listed, from: Timestamp, to: Timestamp) -> Vec<Expected> {
        SlotGrid::BASE.expected(sessions, from, to)
    }

    fn week() -> Listed {
        let session = |day: u32| Session {
            date: (OPEN + DAY * day).datetime().date_naive(),
            opens: OPEN + DAY * day,
            closes: OPEN + DAY * day + Duration::from_secs(17_700),
            kind: SessionKind::Spot,
        };
        Listed {
            sessions: (0..5).map(session).collect(),
            zone: chrono_tz::America::Bogota,
        }
    }

    #[test]
    fn every_whole_slot_of_every_session_is_expected() {
        assert_eq!(expected(&week(), OPEN - DAY, OPEN + DAY * 9).len(), 59 * 5);
        assert_eq!(expected(&week(), OPEN + BASE, OPEN + BASE * 4).len(), 3);
        assert_eq!(
            expected(&week(), OPEN + BASE, OPEN + BASE * 4 - Duration::from_secs(1)).len(),
            2
        );
        assert_eq!(expected(&week(), OPEN + DAY * 9, OPEN + DAY * 10), []);
    }

    #[test]
    fn one_question_spans_days_and_the_newest_comes_first() {
        let all = expected(&week(), OPEN, OPEN + DAY * 9);
        let asked = plan_requests(Symbol::usdcop(), &all);
        assert_eq!(asked.len(), 1);
        assert_eq!((asked[0].from, asked[0].to), (OPEN, all[all.len() - 1].slot.closes_at));
        let session = all[0].session;
        let slot = Slot {
            opens_at: OPEN + DAY * 40,
            closes_at: OPEN + DAY * 40 + BASE,
        };
        let far = Expected { slot, session };
        let two = plan_requests(Symbol::usdcop(), &[all[0], far]);
        assert_eq!(
            two.iter().map(|request| request.from).collect::<Vec<_>>(),
            [far.slot.opens_at, OPEN]
        );
        assert_eq!(plan_requests(Symbol::usdcop(), &[]), []);
    }

    #[test]
    fn a_cut_slot_is_asked_for_in_minutes_and_its_bar_holds_those_of_the_session_alone() {
        const MINUTE: Duration = Duration::from_secs(60);
        let mut week = week();
        week.sessions[0].closes = OPEN + Duration::from_secs(420);
        let all = expected(&week, OPEN, OPEN + BASE * 12);
        assert_eq!(all.len(), 2);
        let asked = plan_requests(Symbol::usdcop(), &all);
        let asked: Vec<_> = asked
            .iter()
            .map(|request| (request.interval, request.from, request.to))
            .collect();
        let minutes = (Interval::M1, OPEN + BASE, OPEN + MINUTE * 7);
        assert_eq!(asked, [(Interval::M5, OPEN, OPEN + BASE), minutes]);
        let bar = |opens_at, micros| VendorBar {
            opens_at,
            ohlc: Ohlc::flat_at(Price::from_micros(micros)),
        };
        let fetched = |(interval, from, to), bars| Fetched {
            symbol: Symbol::usdcop(),
            interval,
            from,
            to,
            bars,
            unusable: Vec::new(),
        };
        // The vendor's bar extends beyond the close: it fills nothing, and shows nothing about the slot.
        let wide = fetched((Interval::M5, OPEN, OPEN + BASE * 2), vec![bar(OPEN + BASE, 9)]);
        assert_eq!(fill_missing(&wide, &all), []);
        assert_eq!(count_answered(&wide, &all), 1);
        let of_minutes = fetched(minutes, vec![bar(OPEN + MINUTE * 5, 7), bar(OPEN + MINUTE * 6, 8)]);
        let filled = fill_missing(&of_minutes, &all);
        assert_eq!(filled.len(), 1);
        assert_eq!(
            (filled[0].key.opens_at, filled[0].closes_at, filled[0].flags),
            (OPEN + BASE, week.sessions[0].closes, Flags::PARTIAL_SESSION)
        );
        assert_eq!(
            (filled[0].ohlc.open, filled[0].ohlc.close),
            (Price::from_micros(7), Price::from_micros(8))
        );
        assert_eq!(count_answered(&of_minutes, &all), 1);
        let (interval, from, to) = minutes;
        let half = fetched((interval, from, to - MINUTE), vec![bar(OPEN + MINUTE * 5, 7)]);
        assert_eq!(fill_missing(&half, &all), [], "its last minute was not asked for");
        assert_eq!(
            count_answered(&fetched((interval, from, to - MINUTE), Vec::new()), &all),
            0
        );
    }

    #[test]
    fn a_bar_that_cannot_be_used_is_no_bar_that_the_vendor_lacks() {
        let all = expected(&week(), OPEN, OPEN + BASE * 3);
        let fetched = Fetched {
            symbol: Symbol::usdcop(),
            interval: Interval::M5,
            from: OPEN,
            to: OPEN + BASE * 3,
            bars: Vec::new(),
            unusable: vec![OPEN, OPEN + BASE],
        };
        assert_eq!(count_answered(&fetched, &all), 3);
        assert_eq!(count_broken(&fetched, &all), 2);
        assert_eq!(count_broken(&fetched, &all[1..]), 1, "the other was not missing");
    }

    #[test]
    fn only_what_was_missing_is_filled() {
        let all = expected(&week(), OPEN, OPEN + BASE * 3);
        let vendor = |opens_at| VendorBar {
            opens_at,
            ohlc: Ohlc::flat_at(Price::from_micros(7)),
        };
        let fetched = Fetched {
            symbol: Symbol::usdcop(),
            interval: Interval::M5,
            from: OPEN,
            to: OPEN + BASE * 3,
            bars: vec![vendor(OPEN), vendor(OPEN + BASE)],
            unusable: Vec::new(),
        };
        let filled = fill_missing(&fetched, &all[1..]);
        assert_eq!(
            filled.iter().map(|bar| bar.key.opens_at).collect::<Vec<_>>(),
            [OPEN + BASE]
        );
        assert_eq!(
            (filled[0].provenance, filled[0].session_date),
            (Provenance::Backfill, all[0].session.date)
        );
    }
}
