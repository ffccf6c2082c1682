//! `/time_series`: reads the question as the vendor reads it, and writes the answer as the vendor writes it. Pure.

use crate::domain::price::Price;
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use crate::limits;
use crate::sim::frames::currencies;
use crate::sim::market::{Market, MarketBar};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use chrono_tz::Tz;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

/// An error as the vendor reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The code in the body, and the HTTP status unless told otherwise.
    pub code: u16,
    /// The message in the body.
    pub message: String,
}

impl ApiError {
    /// An error of this code.
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The error of an empty window.
    #[must_use]
    pub fn no_data() -> Self {
        Self::new(
            400,
            "No data is available on the specified dates. Try setting different start/end dates.",
        )
    }
}

/// The parameters of a request. Names are found in any case.
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// These pairs of name and value.
    #[must_use]
    pub fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// The value of a parameter; none when it is empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// Small lies about the data that a scenario asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Twists {
    /// Single-precision noise at the fifth decimal.
    pub noise: bool,
    /// A thousandth off.
    pub mismatch: bool,
    /// Each bar twice.
    pub duplicates: bool,
    /// `end_date` is exclusive.
    pub exclusive_end: bool,
}

/// A question that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    interval: String,
    length: Duration,
    from: Timestamp,
    to: Timestamp,
    count: usize,
    zone: Tz,
    ascending: bool,
    decimals: Option<u32>,
}

const INTERVALS: [(&str, u64); 12] = [
    ("1min", 60),
    ("5min", 300),
    ("15min", 900),
    ("30min", 1_800),
    ("45min", 2_700),
    ("1h", 3_600),
    ("2h", 7_200),
    ("4h", 14_400),
    ("8h", 28_800),
    ("1day", 86_400),
    ("1week", 604_800),
    ("1month", 0),
];

impl Question {
    /// Reads the parameters.
    ///
    /// # Errors
    /// [`ApiError`] 400 naming the parameter.
    pub fn read(params: &Params, exclusive_end: bool) -> Result<Self, ApiError> {
        let interval = params
            .get("interval")
            .ok_or_else(|| ApiError::new(400, "**interval** parameter is missing or invalid"))?;
        let length = INTERVALS
            .into_iter()
            .find(|(name, secs)| *name == interval && *secs > 0)
            .map(|(_, secs)| Duration::from_secs(secs))
            .ok_or_else(|| invalid("interval", interval))?;
        let zone = match params.get("timezone") {
            None | Some("Exchange") => Tz::UTC,
            Some(name) => name.parse().map_err(|_| invalid("timezone", name))?,
        };
        let (from, end) = window(params, zone)?;
        let most = limits::SIM_BARS_PER_ANSWER;
        let dated = from.is_some() || end.is_some();
        let count = match params.get("outputsize") {
            None => {
                if dated {
                    most
                } else {
                    30
                }
            }
            Some(text) => text
                .parse()
                .ok()
                .filter(|count| (1..=most).contains(count))
                .ok_or_else(|| invalid("outputsize", text))?,
        };
        let ascending = match params.get("order").map(str::to_ascii_lowercase).as_deref() {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(other) => return Err(invalid("order", other)),
        };
        let decimals = match params.get("dp") {
            None | Some("-1") => None,
            Some(text) => Some(
                text.parse()
                    .ok()
                    .filter(|places| *places <= 11)
                    .ok_or_else(|| invalid("dp", text))?,
            ),
        };
        let last_instant = Duration::from_micros(u64::from(!exclusive_end));
        Ok(Self {
            interval: interval.to_owned(),
            length,
            from: from.unwrap_or(Timestamp::from_secs(0)),
            to: end.map_or(Timestamp::from_micros(i64::MAX), |end| end + last_instant),
            count,
            zone,
            ascending,
            decimals,
        })
    }

    /// The bars of a pair that answer it, in the order asked for.
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
        let symbol = served(market, symbol)?;
        let mut bars = market.bars(symbol, self.length, self.from, self.to, now, self.count);
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
            bars = bars.into_iter().flat_map(twice).collect();
        }
        if !self.ascending {
            bars.reverse();
        }
        Ok(bars)
    }

    /// The answer as JSON.
    #[must_use]
    pub fn json(&self, symbol: &str, bars: &[MarketBar], twists: Twists) -> Value {
        let (base, quote) = symbol.parse().map_or((String::new(), String::new()), |symbol: Symbol| {
            let (base, quote) = currencies(&symbol);
            (base.to_owned(), quote.to_owned())
        });
        let value = |bar: &MarketBar| {
            let [open, high, low, close] = self.texts(bar, twists);
            json!({"datetime": self.datetime(bar.opens_at), "open": open, "high": high, "low": low, "close": close})
        };
        json!({
            "meta": {"symbol": symbol, "interval": self.interval, "currency_base": base, "currency_quote": quote, "type": "Physical Currency"},
            "values": bars.iter().map(value).collect::<Vec<_>>(),
            "status": "ok",
        })
    }

    /// The answer as CSV.
    #[must_use]
    pub fn csv(&self, bars: &[MarketBar], delimiter: &str, twists: Twists) -> String {
        let mut text = ["datetime", "open", "high", "low", "close"].join(delimiter);
        for bar in bars {
            let prices = self.texts(bar, twists).join(delimiter);
            // Writing to a String cannot fail.
            write!(text, "\n{}{delimiter}{prices}", self.datetime(bar.opens_at)).unwrap_or_default();
        }
        text.push('\n');
        text
    }

    fn texts(&self, bar: &MarketBar, twists: Twists) -> [String; 4] {
        [bar.ohlc.open, bar.ohlc.high, bar.ohlc.low, bar.ohlc.close]
            .map(|price| price_text(price, self.decimals, twists.noise))
    }

    fn datetime(&self, at: Timestamp) -> String {
        let format = if self.length >= Duration::from_secs(86_400) {
            "%Y-%m-%d"
        } else {
            "%Y-%m-%d %H:%M:%S"
        };
        at.datetime().with_timezone(&self.zone).format(format).to_string()
    }
}

/// The complaint about a parameter.
fn invalid(name: &str, given: &str) -> ApiError {
    let text = format!("Invalid **{name}** provided: {given}. Check the documentation for the values it may have.");
    ApiError::new(400, text)
}

/// The first and last instant that were asked for.
fn window(params: &Params, zone: Tz) -> Result<(Option<Timestamp>, Option<Timestamp>), ApiError> {
    let date = |name: &str| {
        let read = |text| read_date(text, zone).ok_or_else(|| invalid(name, text));
        params.get(name).map(read).transpose()
    };
    let (mut from, mut end) = (date("start_date")?, date("end_date")?);
    if let Some(day) = date("date")? {
        from = Some(day);
        end = Some(day + Duration::from_secs(86_400) - Duration::from_micros(1));
    }
    if let (Some(from), Some(end)) = (from, end)
        && end <= from
    {
        return Err(ApiError::new(400, "**end_date** must be later than **start_date**"));
    }
    Ok((from, end))
}

/// A bar, and again with another close.
fn twice(bar: MarketBar) -> [MarketBar; 2] {
    let mut again = bar;
    again.ohlc.close = bar.ohlc.low;
    [bar, again]
}

/// The pair of a name, if it is served.
///
/// # Errors
/// [`ApiError`] 404 when it is not.
pub fn served(market: &Market, symbol: &str) -> Result<Symbol, ApiError> {
    let known = symbol
        .parse()
        .ok()
        .filter(|known: &Symbol| known.as_str().eq_ignore_ascii_case(symbol) && market.has(known));
    known.ok_or_else(|| {
        ApiError::new(404, format!("**symbol** or **figi** parameter is missing or invalid. Please provide a valid symbol according to API documentation; given was {symbol}"))
    })
}

/// A price as REST writes it: exact, or rounded, or with the noise of a single-precision number.
#[must_use]
pub fn price_text(price: Price, decimals: Option<u32>, noise: bool) -> String {
    if noise {
        let single: f32 = price.to_string().parse().unwrap_or_default();
        return format!("{:.5}", f64::from(single));
    }
    let Some(decimals) = decimals else {
        return price.to_string();
    };
    let unit = 10_i64.pow(Price::DECIMALS.saturating_sub(decimals));
    let rounded = (price.micros() + unit / 2).div_euclid(unit) * unit;
    let fraction = format!("{:06}", rounded.rem_euclid(Price::UNIT));
    let places = usize::try_from(decimals).unwrap_or(0);
    let whole = rounded.div_euclid(Price::UNIT);
    match fraction.get(..places.min(fraction.len())) {
        Some("") | None => whole.to_string(),
        Some(shown) => format!("{whole}.{shown:0<places$}"),
    }
}

/// `2006-01-02`, `2006-01-02 15:04:05` or with a `T`, in `zone`.
fn read_date(text: &str, zone: Tz) -> Option<Timestamp> {
    let wall = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"]
        .into_iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .or_else(|| {
            Some(
                NaiveDate::parse_from_str(text, "%Y-%m-%d")
                    .ok()?
                    .and_time(NaiveTime::MIN),
            )
        })?;
    zone.from_local_datetime(&wall).earliest().map(Timestamp::from_datetime)
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
