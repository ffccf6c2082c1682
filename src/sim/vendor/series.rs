//! `/time_series` of the simulated vendor: the market's bars that answer a request, with the errors in the data that a scenario asks for.
//! Pure; requests and answers are read and written in `src/domain/vendor/series.rs`.

use crate::domain::model::{Price, Symbol, Timestamp};
use crate::domain::vendor::{ApiError, Params, SeriesQuestion, SeriesRow};
use crate::limits;
use crate::sim::market::{Market, MarketBar};
use serde_json::Value;

/// Errors in the data that a scenario asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Twists {
    /// Single-precision noise at the fifth decimal.
    pub noise: bool,
    /// Prices are a thousandth off.
    pub mismatch: bool,
    /// Each bar is listed twice.
    pub duplicates: bool,
    /// `end_date` is exclusive.
    pub exclusive_end: bool,
}

/// A valid request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question(SeriesQuestion);

impl Question {
    /// Reads the parameters.
    ///
    /// # Errors
    /// [`ApiError`] 400 naming the parameter.
    pub fn read(params: &Params, exclusive_end: bool, now: Timestamp) -> Result<Self, ApiError> {
        SeriesQuestion::read(params, exclusive_end, limits::SIM_BARS_PER_ANSWER, now).map(Self)
    }

    /// The bars of a pair that answer it, in the requested order.
    ///
    /// # Errors
    /// [`ApiError`] when the pair is not served, or there is no bar.
    pub fn bars(
        &self,
        market: &Market,
        symbol: &str,
        twists: Twists,
        now: Timestamp,
    ) -> Result<Vec<MarketBar>, ApiError> {
        let symbol = find_served(market, symbol)?;
        let asked = &self.0;
        let mut bars = market.bars(symbol, asked.interval.span(), asked.from, asked.to, now, asked.count);
        if bars.is_empty() {
            return Err(ApiError::no_data());
        }
        if twists.mismatch {
            for bar in &mut bars {
                for price in [
                    &mut bar.ohlc.open,
                    &mut bar.ohlc.high,
                    &mut bar.ohlc.low,
                    &mut bar.ohlc.close,
                ] {
                    *price = Price::from_micros(price.micros() + price.micros() / 1_000);
                }
            }
        }
        if twists.duplicates {
            bars = bars.into_iter().flat_map(duplicate_bar).collect();
        }
        if !asked.ascending {
            bars.reverse();
        }
        Ok(bars)
    }

    /// The answer as JSON.
    pub fn json_body(&self, symbol: &str, bars: &[MarketBar], twists: Twists) -> Value {
        self.0.json(symbol, &self.series_rows(bars, twists))
    }

    /// The answer as CSV.
    pub fn csv_body(&self, bars: &[MarketBar], delimiter: &str, twists: Twists) -> String {
        self.0.csv(&self.series_rows(bars, twists), delimiter)
    }

    fn series_rows(&self, bars: &[MarketBar], twists: Twists) -> Vec<SeriesRow> {
        bars.iter()
            .map(|bar: &MarketBar| {
                let prices = [bar.ohlc.open, bar.ohlc.high, bar.ohlc.low, bar.ohlc.close];
                let texts = prices.map(|price| price_text(price, self.0.decimals, twists.noise));
                (bar.opens_at, texts)
            })
            .collect()
    }
}

/// A bar, and the same bar with another close.
fn duplicate_bar(bar: MarketBar) -> [MarketBar; 2] {
    let mut again = bar;
    again.ohlc.close = bar.ohlc.low;
    [bar, again]
}

/// The pair with this name, if it is served.
///
/// # Errors
/// [`ApiError`] 404 when it is not.
pub fn find_served(market: &Market, symbol: &str) -> Result<Symbol, ApiError> {
    let known = symbol
        .parse()
        .ok()
        .filter(|known: &Symbol| known.as_str().eq_ignore_ascii_case(symbol) && market.has_symbol(known));
    known.ok_or_else(|| ApiError::unknown_symbol(symbol))
}

/// A price as REST writes it: exact, or rounded, or with the noise of a single-precision number.
pub fn price_text(price: Price, decimals: Option<u32>, noise: bool) -> String {
    if noise {
        let single: f32 = price.to_string().parse().unwrap_or_default();
        return format!("{:.5}", f64::from(single));
    }
    crate::domain::vendor::price_text(price, decimals)
}

#[cfg(test)]
#[path = "tests/series.rs"]
mod tests;
