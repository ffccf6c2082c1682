//! Chooses the bar of each slot from rows that come in the order of slots, by the rule of the view `market_bars`, so that the database need
//! not sort what an index has in order.

use crate::domain::model::Flags;
use crate::store::query::StoredBar;
use crate::store::rows::SOURCE;

/// The bars of a page of at most `limit` rows, and whether more may follow. `None` if the rule needs more than the rows contain.
pub(super) fn choose(mut bars: Vec<StoredBar>, limit: u32) -> Option<(Vec<StoredBar>, bool)> {
    let full = u32::try_from(bars.len()).is_ok_and(|rows| rows >= limit);
    let mut undecided = false;
    bars.dedup_by(|row, best| {
        if best.bar.key.opens_at != row.bar.key.opens_at {
            return false;
        }
        let before = rank(&best.source, best.bar.flags);
        let now = rank(&row.source, row.bar.flags);
        undecided |= before == now; // the one that was written last counts, which no column here tells
        if now < before {
            std::mem::swap(row, best);
        }
        true
    });
    if undecided {
        return None;
    }
    if full {
        // The next page may have more rows of the last slot, and begins with it.
        bars.pop();
        if bars.is_empty() {
            return None;
        }
    }
    Some((bars, full))
}

/// The rank of a row; the lowest is the best.
pub(super) fn rank(source: &str, flags: Flags) -> u8 {
    let doubtful = flags.common(Flags::LATE_START.with(Flags::FEED_GAP)) != Flags::default();
    match source {
        SOURCE if !doubtful => 0,
        SOURCE => 2,
        "twelvedata_websocket_aggregated" => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{
        Bar, BarKey, BarState, Interval, Ohlc, Price, Provenance, SessionKind, Symbol, Timestamp,
    };

    fn row(slot: i64, source: &str, flags: Flags) -> StoredBar {
        let opens_at = Timestamp::from_secs(slot * 300);
        let bar = Bar {
            key: BarKey {
                symbol: Symbol::usdcop(),
                interval: Interval::M5,
                opens_at,
            },
            closes_at: Timestamp::from_secs(slot * 300 + 300),
            ohlc: Ohlc::flat_at(Price::from_micros(1)),
            ticks: 0,
            first_tick_at: None,
            last_tick_at: None,
            state: BarState::Closed,
            revision: 0,
            provenance: Provenance::Live,
            flags,
            session_date: opens_at.datetime().date_naive(),
            session_kind: SessionKind::Spot,
        };
        StoredBar {
            bar,
            source: source.to_owned(),
            seq: None,
            known_at: None,
        }
    }

    fn chosen(rows: &[(i64, &str, Flags)], limit: u32) -> Option<(Vec<(i64, String)>, bool)> {
        let rows = rows.iter().map(|(slot, source, flags)| row(*slot, source, *flags));
        let (bars, more) = choose(rows.collect(), limit)?;
        let bars = bars
            .into_iter()
            .map(|row| (row.bar.key.opens_at.secs() / 300, row.source));
        Some((bars.collect(), more))
    }

    #[test]
    fn ours_is_best_where_it_is_whole_and_a_prepared_one_otherwise() {
        let (whole, gap) = (Flags::PARTIAL_SESSION, Flags::FEED_GAP);
        let rows = [
            (1, "candela", whole),
            (1, "l0", whole),
            (2, "candela", gap),
            (2, "l0", whole),
            (3, "candela", gap),
            (3, "twelvedata_websocket_aggregated", whole),
        ];
        let expect = [(1, "candela"), (2, "l0"), (3, "candela")].map(|(slot, source)| (slot, source.to_owned()));
        assert_eq!(chosen(&rows, 7), Some((expect.to_vec(), false)));
    }

    #[test]
    fn a_full_page_ends_before_a_slot_that_may_have_more_rows() {
        let plain = Flags::default();
        let rows = [(1, "l0", plain), (2, "candela", plain), (3, "candela", plain)];
        let expect = vec![(1, "l0".to_owned()), (2, "candela".to_owned())];
        assert_eq!(chosen(&rows, 3), Some((expect, true)));
        assert_eq!(chosen(&rows[..1], 1), None, "a page of one slot alone");
        assert_eq!(chosen(&[], 3), Some((Vec::new(), false)));
    }

    #[test]
    fn two_other_programs_in_a_slot_are_not_told_apart_here() {
        let plain = Flags::default();
        assert_eq!(chosen(&[(1, "a", plain), (1, "b", plain)], 9), None);
    }
}
