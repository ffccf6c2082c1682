//! Log lines about rejected and rounded prices: the first of a reason at once, later ones at intervals with a count.

use crate::domain::model::{RejectReason, RoundedSource, Symbol, Timestamp};
use crate::domain::pipeline::AcceptanceView;
use crate::limits;
use std::collections::BTreeMap;

/// What was last logged for each pair and reason.
#[derive(Debug, Clone, Default)]
pub struct RejectionLog {
    rejected: BTreeMap<(Symbol, RejectReason), LastReport>,
    rounded: BTreeMap<(Symbol, RoundedSource), LastReport>,
}

#[derive(Debug, Clone, Copy)]
struct LastReport {
    at: Timestamp,
    count: u64,
}

/// One log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// The pair.
    pub symbol: Symbol,
    /// The reason.
    pub reason: RejectReason,
    /// How many since the previous line.
    pub count: u64,
}

impl RejectionLog {
    /// The lines about rejected prices to log now.
    pub fn describe_rejections<'a>(
        &mut self,
        pairs: impl IntoIterator<Item = (&'a Symbol, &'a AcceptanceView)>,
        now: Timestamp,
    ) -> Vec<Rejected> {
        let mut lines = Vec::new();
        for (symbol, prices) in pairs {
            for (reason, total) in &prices.troubling {
                if let Some(count) = more(&mut self.rejected, (*symbol, *reason), *total, now) {
                    lines.push(Rejected {
                        symbol: *symbol,
                        reason: *reason,
                        count,
                    });
                }
            }
        }
        lines
    }

    /// The lines about rounded prices to log now: pair, source and count.
    pub fn describe_rounded(
        &mut self,
        counts: &BTreeMap<Symbol, BTreeMap<RoundedSource, u64>>,
        now: Timestamp,
    ) -> Vec<(Symbol, RoundedSource, u64)> {
        let mut lines = Vec::new();
        for (symbol, sources) in counts {
            for (source, total) in sources {
                let count = more(&mut self.rounded, (*symbol, *source), *total, now);
                lines.extend(count.map(|count| (*symbol, *source, count)));
            }
        }
        lines
    }
}

/// The count since the last line, if a line is due.
fn more<K: Ord>(said: &mut BTreeMap<K, LastReport>, key: K, total: u64, now: Timestamp) -> Option<u64> {
    let before = said.get(&key).copied();
    let count = total.saturating_sub(before.map_or(0, |said| said.count));
    let due = before.is_none_or(|said| now.since(said.at) >= limits::REPEATS_LOGGED);
    if count == 0 || !due {
        return None;
    }
    said.insert(key, LastReport { at: now, count: total });
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_rounded_is_said_by_source_and_now_and_then() {
        let noon = Timestamp::from_secs(1_772_460_000);
        let mut log = RejectionLog::default();
        let mut said = Vec::new();
        for i in 0..240_u32 {
            let sources = BTreeMap::from([(RoundedSource::Link, u64::from(i)), (RoundedSource::VendorBars, 7)]);
            let counts = BTreeMap::from([(Symbol::usdcop(), sources)]);
            let lines = log.describe_rounded(&counts, noon + Duration::from_secs(5) * i);
            said.extend(lines.into_iter().map(|(_, source, count)| (i, source.name(), count)));
        }
        assert_eq!(said, [(0, "vendor_bars", 7), (1, "link", 1), (121, "link", 120)]);
    }

    #[test]
    fn the_first_of_a_reason_is_a_line_and_then_one_each_ten_minutes_with_their_number() {
        let (symbol, noon) = (Symbol::usdcop(), Timestamp::from_secs(1_772_460_000));
        let mut log = RejectionLog::default();
        let mut lines = Vec::new();
        for i in 1..=240_u32 {
            let mut prices = AcceptanceView::default();
            prices.troubling.insert(RejectReason::FromTheFuture, u64::from(i));
            if i > 100 {
                prices.troubling.insert(RejectReason::CrossedQuote, 1);
            }
            let now = noon + Duration::from_secs(5) * i;
            lines.extend(
                log.describe_rejections([(&symbol, &prices)], now)
                    .iter()
                    .map(|line| (i, line.reason, line.count)),
            );
        }
        let expect = [
            (1, RejectReason::FromTheFuture, 1),
            (101, RejectReason::CrossedQuote, 1),
            (121, RejectReason::FromTheFuture, 120),
        ];
        assert_eq!(lines, expect);
    }
}
