//! Prices that were set aside, as an operator wants to read it: the first of a reason at once, and then now and then how many.

use crate::domain::acceptance::AcceptanceView;
use crate::domain::symbol::Symbol;
use crate::domain::tick::SetAside;
use crate::domain::timestamp::Timestamp;
use crate::limits;
use std::collections::BTreeMap;

/// What was said of each pair and reason.
#[derive(Debug, Clone, Default)]
pub struct RejectionLog(BTreeMap<(Symbol, SetAside), Said>);

#[derive(Debug, Clone, Copy)]
struct Said {
    at: Timestamp,
    count: u64,
}

/// One line to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// The pair.
    pub symbol: Symbol,
    /// Why.
    pub reason: SetAside,
    /// How many since the line before it.
    pub count: u64,
}

impl RejectionLog {
    /// What is to be said now of these prices.
    pub fn look<'a>(
        &mut self,
        pairs: impl IntoIterator<Item = (&'a Symbol, &'a AcceptanceView)>,
        now: Timestamp,
    ) -> Vec<Rejected> {
        let mut lines = Vec::new();
        for (symbol, prices) in pairs {
            for (reason, total) in &prices.troubling {
                let said = self.0.get(&(*symbol, *reason)).copied();
                let count = total.saturating_sub(said.map_or(0, |said| said.count));
                let due = said.is_none_or(|said| now.since(said.at) >= limits::REPEATS_LOGGED);
                if count > 0 && due {
                    self.0.insert((*symbol, *reason), Said { at: now, count: *total });
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_first_of_a_reason_is_a_line_and_then_one_each_ten_minutes_with_their_number() {
        let (symbol, noon) = (Symbol::usdcop(), Timestamp::from_secs(1_772_460_000));
        let mut log = RejectionLog::default();
        let mut lines = Vec::new();
        for i in 1..=240_u32 {
            let mut prices = AcceptanceView::default();
            prices.troubling.insert(SetAside::FromTheFuture, u64::from(i));
            if i > 100 {
                prices.troubling.insert(SetAside::CrossedQuote, 1);
            }
            let now = noon + Duration::from_secs(5) * i;
            lines.extend(
                log.look([(&symbol, &prices)], now)
                    .iter()
                    .map(|line| (i, line.reason, line.count)),
            );
        }
        let expect = [
            (1, SetAside::FromTheFuture, 1),
            (101, SetAside::CrossedQuote, 1),
            (121, SetAside::FromTheFuture, 120),
        ];
        assert_eq!(lines, expect);
    }
}
