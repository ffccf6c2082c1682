//! Prices in runs, for those who want only what follows from them.

use super::Pipeline;
use crate::domain::model::{AcceptedTick, JournalEntry};

impl Pipeline {
    /// Processes prices that arrived one after the other as [`Pipeline::accept`] does, for those who want only what follows from them: the
    /// inputs, the ticks and the forming bars are not in `out`, and all other entries are the same, with the same numbers. A calendar that is
    /// corrected meanwhile is applied by the next call.
    pub fn accept_prices(&mut self, prices: &[AcceptedTick], out: &mut Vec<JournalEntry>) {
        let Some(first) = prices.first() else { return };
        self.begin_ledger(out);
        self.correct_calendars(first.received_at.max(self.at), out);
        self.brief = true;
        for price in prices {
            self.keep_deadlines(price.received_at, out);
            let at = price.received_at.max(self.at);
            (self.at, self.heard) = (at, at);
            self.open_early(&price.tick, at, out);
            self.price(&price.tick, at, out);
        }
        self.brief = false;
    }
}
