//! A bar that is still forming, on its way to other nodes: it is in no ledger, and so in no parcel.

use crate::domain::model::{
    Bar, BarKey, BarState, Flags, Interval, Ohlc, Price, Provenance, SessionKind, Symbol, Timestamp,
};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

/// See the module. Instants are microseconds since 1970, prices millionths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormingBar {
    symbol: Symbol,
    interval: Interval,
    opens_us: i64,
    closes_us: i64,
    /// Open, high, low, close.
    prices: [i64; 4],
    ticks: u32,
    first_tick_us: Option<i64>,
    last_tick_us: Option<i64>,
    revision: u32,
    provenance: String,
    flags: u8,
    session_date: NaiveDate,
    session_kind: SessionKind,
    /// The last durable number of its channel when it was told.
    pub base: u64,
}

impl FormingBar {
    /// Of a bar that was told.
    pub fn new(bar: &Bar, base: u64) -> Self {
        let prices = [bar.ohlc.open, bar.ohlc.high, bar.ohlc.low, bar.ohlc.close];
        Self {
            symbol: bar.key.symbol,
            interval: bar.key.interval,
            opens_us: bar.key.opens_at.micros(),
            closes_us: bar.closes_at.micros(),
            prices: prices.map(Price::micros),
            ticks: bar.ticks,
            first_tick_us: bar.first_tick_at.map(Timestamp::micros),
            last_tick_us: bar.last_tick_at.map(Timestamp::micros),
            revision: bar.revision,
            provenance: bar.provenance.name().to_owned(),
            flags: bar.flags.bits(),
            session_date: bar.session_date,
            session_kind: bar.session_kind,
            base,
        }
    }

    /// The bar; nothing where it is of a later version that this one does not understand.
    pub fn bar(&self) -> Option<Bar> {
        let [open, high, low, close] = self.prices.map(Price::from_micros);
        Some(Bar {
            key: BarKey {
                symbol: self.symbol,
                interval: self.interval,
                opens_at: Timestamp::from_micros(self.opens_us),
            },
            closes_at: Timestamp::from_micros(self.closes_us),
            ohlc: Ohlc { open, high, low, close },
            ticks: self.ticks,
            first_tick_at: self.first_tick_us.map(Timestamp::from_micros),
            last_tick_at: self.last_tick_us.map(Timestamp::from_micros),
            state: BarState::Partial,
            revision: self.revision,
            provenance: Provenance::named(&self.provenance)?,
            flags: Flags::from_bits(self.flags),
            session_date: self.session_date,
            session_kind: self.session_kind,
        })
    }

    /// Which bars it takes the place of.
    pub const fn channel(&self) -> (Symbol, Interval) {
        (self.symbol, self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_that_forms_comes_as_it_was_told() {
        let at = Timestamp::from_secs(1_772_456_400);
        let bar = Bar {
            key: BarKey {
                symbol: Symbol::usdcop(),
                interval: Interval::M5,
                opens_at: at,
            },
            closes_at: Timestamp::from_secs(1_772_456_700),
            ohlc: Ohlc {
                open: Price::from_micros(3_886_750_000),
                high: Price::from_micros(3_886_990_000),
                low: Price::from_micros(3_886_000_001),
                close: Price::from_micros(3_886_500_000),
            },
            ticks: 7,
            first_tick_at: Some(at),
            last_tick_at: None,
            state: BarState::Partial,
            revision: 1,
            provenance: Provenance::Polled,
            flags: Flags::LATE_START.with(Flags::FEED_GAP),
            session_date: at.datetime().date_naive(),
            session_kind: SessionKind::Spot,
        };
        let text = serde_json::to_string(&FormingBar::new(&bar, 41)).unwrap();
        let read: FormingBar = serde_json::from_str(&text).unwrap();
        assert_eq!((read.bar(), read.base), (Some(bar), 41));
        let later: FormingBar = serde_json::from_str(&text.replace("polled", "guessed")).unwrap();
        assert_eq!(later.bar(), None);
    }
}
