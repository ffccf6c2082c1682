//! Which bars of past sessions are missing from a store, and what to ask the vendor for them.

use crate::domain::bar::{Bar, BarKey, BarState, Flags};
use crate::domain::event::Fetched;
use crate::domain::interval::Interval;
use crate::domain::rest::SeriesRequest;
use crate::domain::session::{Session, Sessions};
use crate::domain::symbol::Symbol;
use crate::domain::tick::Provenance;
use crate::domain::timestamp::Timestamp;
use crate::limits;
use std::collections::BTreeSet;
use std::time::Duration;

/// One bar that should be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Its first instant.
    pub opens_at: Timestamp,
    /// The session it belongs to.
    pub session: Session,
}

/// The bars of base length that the sessions between two instants should have, earliest first. Only whole ones.
#[must_use]
pub fn expected(sessions: &dyn Sessions, from: Timestamp, to: Timestamp) -> Vec<Expected> {
    let mut slots = Vec::new();
    let mut next = sessions.at(from).or_else(|| sessions.after(from));
    while let Some(session) = next.filter(|session| session.opens < to) {
        let mut opens_at = session.opens;
        while opens_at + BASE <= session.closes.min(to) {
            if opens_at >= from {
                slots.push(Expected { opens_at, session });
            }
            opens_at = opens_at + BASE;
        }
        next = sessions.after(session.opens);
    }
    slots
}

/// What to ask for these bars, newest first, each question as long as one answer can be.
#[must_use]
pub fn questions(symbol: Symbol, missing: &[Expected]) -> Vec<SeriesRequest> {
    let most = BASE.saturating_mul(u32::try_from(limits::SERIES_BARS.saturating_sub(1)).unwrap_or(u32::MAX));
    let mut asked: Vec<SeriesRequest> = Vec::new();
    for slot in missing.iter().rev() {
        match asked.last_mut() {
            Some(request) if request.to.since(slot.opens_at) <= most => request.from = slot.opens_at,
            _ => asked.push(SeriesRequest {
                symbols: vec![symbol],
                interval: Interval::M5,
                from: slot.opens_at,
                to: slot.opens_at + BASE,
            }),
        }
    }
    asked
}

/// The bars of an answer that fill missing ones, as they are written down.
#[must_use]
pub fn fill(fetched: &Fetched, missing: &[Expected]) -> Vec<Bar> {
    let wanted: BTreeSet<Timestamp> = fetched.bars.iter().map(|bar| bar.opens_at).collect();
    let found = missing.iter().filter(|slot| wanted.contains(&slot.opens_at));
    found
        .filter_map(|slot| {
            let vendor = fetched.bars.iter().find(|bar| bar.opens_at == slot.opens_at)?;
            Some(Bar {
                key: BarKey {
                    symbol: fetched.symbol,
                    interval: Interval::M5,
                    opens_at: slot.opens_at,
                },
                closes_at: slot.opens_at + BASE,
                ohlc: vendor.ohlc,
                ticks: 0,
                first_tick_at: None,
                last_tick_at: None,
                state: BarState::Closed,
                revision: 0,
                provenance: Provenance::Backfill,
                flags: Flags::default(),
                session_date: slot.session.date,
                session_kind: slot.session.kind,
            })
        })
        .collect()
}

/// The length of the base interval.
const BASE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::bar::Ohlc;
    use crate::domain::event::VendorBar;
    use crate::domain::price::Price;
    use crate::domain::session::{Listed, SessionKind};

    /// 2026-03-02T13:00:00Z, a Monday.
    const OPEN: Timestamp = Timestamp::from_secs(1_772_456_400);
    const DAY: Duration = Duration::from_secs(86_400);

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
        let asked = questions(Symbol::usdcop(), &all);
        assert_eq!(asked.len(), 1);
        assert_eq!((asked[0].from, asked[0].to), (OPEN, all[all.len() - 1].opens_at + BASE));
        let session = all[0].session;
        let far = Expected {
            opens_at: OPEN + DAY * 40,
            session,
        };
        let two = questions(Symbol::usdcop(), &[all[0], far]);
        assert_eq!(
            two.iter().map(|request| request.from).collect::<Vec<_>>(),
            [far.opens_at, OPEN]
        );
        assert_eq!(questions(Symbol::usdcop(), &[]), []);
    }

    #[test]
    fn only_what_was_missing_is_filled() {
        let all = expected(&week(), OPEN, OPEN + BASE * 3);
        let vendor = |opens_at| VendorBar {
            opens_at,
            ohlc: Ohlc::flat(Price::from_micros(7)),
        };
        let fetched = Fetched {
            symbol: Symbol::usdcop(),
            interval: Interval::M5,
            from: OPEN,
            to: OPEN + BASE * 3,
            bars: vec![vendor(OPEN), vendor(OPEN + BASE)],
        };
        let filled = fill(&fetched, &all[1..]);
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
