//! The slots of a session: where its bars begin and end. Bars, gaps, verdict, seam, backfill and REST all use this grid.
//!
//! ```text
//! opens                                         closes
//! │ slot │ slot │ slot │ …              │ slot │cut│      every slot is as long as its interval;
//! 08:00  08:05  08:10                   12:50  12:55 12:58  the last is cut where the session ends
//! ```
//! Slots are counted from the session's open. Opens lie on the grid of the base interval (settings and override files are refused
//! otherwise), so base slots begin where the vendor's own bars begin. A slot that is cut short is expected like any other; its bar carries
//! `partial_session`. The vendor has no sessions: its bar of a cut slot extends beyond the close, so such a slot is filled from the
//! vendor's one-minute bars.

use crate::domain::model::{Flags, Interval, Session, Sessions, Timestamp};
use std::iter;

/// One place for a bar in a session, `[opens_at, closes_at)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// First instant.
    pub opens_at: Timestamp,
    /// First instant after it.
    pub closes_at: Timestamp,
}

/// A slot for which a bar should exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The slot.
    pub slot: Slot,
    /// The session it belongs to.
    pub session: Session,
}

/// Divides sessions into the slots of one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotGrid(Interval);

impl SlotGrid {
    /// The grid of the base interval, in which bars are expected and gaps are detected.
    pub const BASE: Self = Self(Interval::BASE);

    /// The grid of an interval.
    pub const fn of_interval(interval: Interval) -> Self {
        Self(interval)
    }

    /// The slot that contains `at`, if `at` lies in the session.
    pub fn slot_of(self, session: &Session, at: Timestamp) -> Option<Slot> {
        if !session.contains(at) {
            return None;
        }
        let Some(length) = self.0.length() else {
            return Some(Slot {
                opens_at: session.opens,
                closes_at: session.closes,
            });
        };
        let whole = at.since(session.opens).as_micros().checked_div(length.as_micros())?;
        let opens_at = session.opens + length.checked_mul(u32::try_from(whole).ok()?)?;
        Some(Slot {
            opens_at,
            closes_at: (opens_at + length).min(session.closes),
        })
    }

    /// The slot after `slot`, if the session has one.
    pub fn slot_after(self, session: &Session, slot: Slot) -> Option<Slot> {
        self.slot_of(session, slot.closes_at)
    }

    /// All slots of a session, earliest first.
    pub fn slots(self, session: &Session) -> impl Iterator<Item = Slot> + use<> {
        let session = *session;
        let first = self.slot_of(&session, session.opens);
        iter::successors(first, move |slot| self.slot_after(&session, *slot))
    }

    /// How many bars a session should have.
    pub fn count(self, session: &Session) -> usize {
        self.slots(session).count()
    }

    /// The slots that overlap `[from, to)`, earliest first.
    pub fn touching(
        self,
        sessions: &dyn Sessions,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Iterator<Item = Expected> + '_ {
        let first = sessions.at(from).or_else(|| sessions.after(from));
        let in_order = iter::successors(first, move |session| sessions.after(session.opens));
        in_order
            .take_while(move |session| session.opens < to)
            .flat_map(move |session| {
                let first = self.slot_of(&session, from.max(session.opens));
                let slots = iter::successors(first, move |slot| self.slot_after(&session, *slot));
                slots.map(move |slot| Expected { slot, session })
            })
            .take_while(move |expected| expected.slot.opens_at < to)
    }

    /// The slots that lie entirely in `[from, to)`, earliest first.
    pub fn expected(self, sessions: &dyn Sessions, from: Timestamp, to: Timestamp) -> Vec<Expected> {
        self.touching(sessions, from, to)
            .filter(|expected: &Expected| from <= expected.slot.opens_at && expected.slot.closes_at <= to)
            .collect()
    }

    /// `partial_session` for a slot that the end of the session cuts short; no flag otherwise.
    pub fn flags_of(self, slot: Slot) -> Flags {
        let span = slot.closes_at.since(slot.opens_at);
        if self.0.length().is_some_and(|length| span < length) {
            Flags::PARTIAL_SESSION
        } else {
            Flags::default()
        }
    }

    /// The interval of the vendor's bars to request for the slots of `[from, to)`. The vendor's bar of a slot that the session's end cuts
    /// short holds prices from after the end, so such a slot is composed of one-minute bars, the finest that the vendor has.
    pub fn asked_in(self, from: Timestamp, to: Timestamp) -> Interval {
        if self.vendor_span(from, to).1 == to {
            self.0
        } else {
            Interval::M1
        }
    }

    /// The smallest range of whole vendor bars that covers `[from, to)`; the vendor's bars begin at multiples of their length.
    pub fn vendor_span(self, from: Timestamp, to: Timestamp) -> (Timestamp, Timestamp) {
        let length = self.0.vendor_length();
        let floor = to.floor(length);
        let to = if floor == to { to } else { floor + length };
        (from.floor(length), to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar::{Calendar, CalendarSpec};
    use crate::domain::model::{Listed, SessionKind};
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::time::Duration;

    /// 2026-03-02T13:00:00Z, a Monday; 08:00 in Bogota.
    const OPEN: Timestamp = Timestamp::from_secs(1_772_456_400);
    const MINUTE: Duration = Duration::from_secs(60);

    fn session(minutes: u32) -> Session {
        Session {
            date: OPEN.datetime().date_naive(),
            opens: OPEN,
            closes: OPEN + MINUTE * minutes,
            kind: SessionKind::Spot,
        }
    }

    fn closing_at(close: &str) -> Calendar {
        let spec = CalendarSpec {
            close: Some(close.to_owned()),
            ..CalendarSpec::default()
        };
        Calendar::new(&spec, Arc::default()).unwrap()
    }

    #[test]
    fn a_session_has_one_number_of_bars_however_it_is_cut() {
        let count = |minutes, interval| SlotGrid::of_interval(interval).count(&session(minutes));
        assert_eq!(
            [295, 298, 300, 7, 12, 1].map(|minutes| count(minutes, Interval::M5)),
            [59, 60, 60, 2, 3, 1]
        );
        assert_eq!([295, 298].map(|minutes| count(minutes, Interval::M15)), [20, 20]);
        assert_eq!([295, 298].map(|minutes| count(minutes, Interval::H1)), [5, 5]);
        assert_eq!(count(295, Interval::Session), 1);
        assert_eq!(count(0, Interval::M5), 0);
    }

    #[test]
    fn the_cut_slot_is_the_last_and_says_so() {
        let slots: Vec<Slot> = SlotGrid::BASE.slots(&session(7)).collect();
        let at = |minute| OPEN + MINUTE * minute;
        let slot = |from, to| Slot {
            opens_at: at(from),
            closes_at: at(to),
        };
        assert_eq!(slots, [slot(0, 5), slot(5, 7)]);
        assert_eq!(
            slots
                .iter()
                .map(|slot| SlotGrid::BASE.flags_of(*slot))
                .collect::<Vec<_>>(),
            [Flags::default(), Flags::PARTIAL_SESSION]
        );
        assert_eq!(SlotGrid::BASE.vendor_span(at(5), at(7)), (at(5), at(10)));
        assert_eq!(SlotGrid::BASE.vendor_span(at(5), at(10)), (at(5), at(10)));
    }

    #[test]
    fn views_of_the_calendar_expect_as_many_bars_as_are_built_and_asked_for() {
        for (close, bars) in [("12:55", 59), ("12:58", 60), ("13:00", 60), ("08:07", 2)] {
            let calendar = closing_at(close);
            let session = calendar.session_on("2026-03-02".parse().unwrap()).unwrap();
            let next = session.closes + Duration::from_secs(3_600);
            let view = crate::domain::calendar::DayView::of(&calendar, session.date);
            let now = serde_json::to_value(crate::domain::calendar::SessionView::of(&calendar, OPEN)).unwrap();
            assert_eq!(SlotGrid::BASE.count(&session), bars, "{close}");
            assert_eq!(SlotGrid::BASE.expected(&calendar, OPEN, next).len(), bars, "{close}");
            assert_eq!(view.expected_bars, bars, "{close}");
            assert_eq!(now["expected_bars"], bars, "{close}");
            let rows: Vec<_> = SlotGrid::BASE.slots(&session).map(|slot| slot.opens_at).collect();
            let survey = crate::domain::history::tally::survey(&rows, &calendar);
            let slots = u64::try_from(bars).unwrap();
            assert_eq!((survey.expected, survey.present), (slots, slots), "{close}");
        }
    }

    #[test]
    fn what_touches_a_stretch_is_found_and_what_lies_in_it_is_expected() {
        let calendar = closing_at("12:58");
        let minutes = |from: u32, to: u32| (OPEN + MINUTE * from, OPEN + MINUTE * to);
        let touching = |(from, to)| SlotGrid::BASE.touching(&calendar, from, to).count();
        let expected = |(from, to)| SlotGrid::BASE.expected(&calendar, from, to).len();
        assert_eq!((touching(minutes(2, 11)), expected(minutes(2, 11))), (3, 1));
        assert_eq!((touching(minutes(290, 298)), expected(minutes(290, 298))), (2, 2));
        assert_eq!((touching(minutes(290, 297)), expected(minutes(290, 297))), (2, 1));
        assert_eq!(expected((OPEN, OPEN + MINUTE * 60 * 24 * 7)), 5 * 60);
        assert_eq!(expected(minutes(300, 400)), 0);
    }

    proptest! {
        /// For any session, including one with an off-grid open from an old file, the slots cover it once, without holes.
        #[test]
        fn slots_cover_a_session_exactly(opens in 0_i64..100_000, secs in 1_i64..100_000, kind in 0_usize..7, probe in 0_i64..100_000) {
            let session = Session {
                opens: Timestamp::from_secs(opens),
                closes: Timestamp::from_secs(opens + secs),
                ..session(1)
            };
            let grid = SlotGrid::of_interval(Interval::ALL[kind]);
            let slots: Vec<Slot> = grid.slots(&session).collect();
            prop_assert_eq!(slots.first().map(|slot| slot.opens_at), Some(session.opens));
            prop_assert_eq!(slots.last().map(|slot| slot.closes_at), Some(session.closes));
            prop_assert!(slots.windows(2).all(|pair| pair[0].closes_at == pair[1].opens_at));
            prop_assert!(slots.iter().rev().skip(1).all(|slot| grid.flags_of(*slot) == Flags::default()));
            let at = Timestamp::from_secs(opens + probe);
            let holding: Vec<Slot> = slots.into_iter().filter(|slot| slot.opens_at <= at && at < slot.closes_at).collect();
            prop_assert_eq!(grid.slot_of(&session, at), holding.first().copied());
            let sessions = Listed { sessions: vec![session], zone: chrono_tz::UTC };
            prop_assert_eq!(grid.expected(&sessions, session.opens, session.closes).len(), grid.count(&session));
        }
    }
}
