//! The last good price of a pair, against which the next price is measured.

use crate::domain::model::{Price, SeamBars, Symbol, Timestamp};
use crate::limits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The last good price of a pair, against which the next price is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastClose {
    /// The pair.
    pub symbol: Symbol,
    /// The price.
    #[serde(with = "crate::domain::model::price::as_micros")]
    pub price: Price,
    /// When it held.
    pub at: Timestamp,
    /// From when the price is firm: a firm price is replaced by one of another magnitude only after a long confirmation.
    pub firm_from: Timestamp,
}

impl LastClose {
    /// A price that is firm at once.
    pub const fn firm(symbol: Symbol, price: Price, at: Timestamp) -> Self {
        Self {
            symbol,
            price,
            at,
            firm_from: at,
        }
    }

    /// The last close among the bars of a store; `verified` when the history there passed the gate. When it is of another magnitude than
    /// the median of the last few closes, the row is bad and the median replaces it.
    pub fn of(symbol: Symbol, bars: &SeamBars, verified: bool, now: Timestamp) -> Option<Self> {
        let mut closes: BTreeMap<Timestamp, Price> = BTreeMap::new();
        for bar in bars.history.iter().chain(&bars.fetched).chain(&bars.live) {
            if bar.opens_at <= now && bar.ohlc.close > Price::default() {
                closes.insert(bar.opens_at, bar.ohlc.close); // our own last: they are of judged prices
            }
        }
        let (at, newest) = closes.last_key_value().map(|(at, price)| (*at, *price))?;
        let mut few: Vec<Price> = closes.into_values().rev().take(limits::CLOSES).collect();
        few.sort();
        let middle = few.get(few.len() / 2).copied()?;
        let own = bars.live.last().is_some_and(|bar| bar.opens_at == at);
        Some(Self {
            symbol,
            price: if another_magnitude(middle, newest) {
                middle
            } else {
                newest
            },
            at,
            firm_from: if verified || own { at } else { now + limits::FIRM_AFTER },
        })
    }
}

/// Whether one price is more than half as large again as the other.
pub(in crate::domain) fn another_magnitude(one: Price, other: Price) -> bool {
    let one = one.micros().unsigned_abs();
    let other = other.micros().unsigned_abs();
    one.max(other).saturating_mul(2) > one.min(other).saturating_mul(3)
}
