//! The vendor's `/time_series` from the server's side: parses requests, writes answers. Shared by the simulated vendor and by our own
//! interface for the vendor's clients.

use crate::domain::model::{Price, Symbol, Timestamp};
use crate::domain::vendor::SeriesInterval;
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use chrono_tz::Tz;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

/// An error as the vendor reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The code in the body, and the HTTP status unless the caller chooses another.
    pub code: u16,
    /// The message in the body.
    pub message: String,
}

impl ApiError {
    /// An error with this code.
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The error for a range without bars.
    pub fn no_data() -> Self {
        Self::new(
            400,
            "No data is available on the specified dates. Try setting different start/end dates.",
        )
    }

    /// The error for an invalid parameter.
    pub fn invalid(name: &str, given: &str) -> Self {
        let given: String = given.chars().take(60).collect();
        let text = format!("Invalid **{name}** provided: {given}. Check the documentation for the values it may have.");
        Self::new(400, text)
    }

    /// The error for a pair that is not served.
    pub fn unknown_symbol(given: &str) -> Self {
        let given: String = given.chars().take(60).collect();
        Self::new(
            404,
            format!(
                "**symbol** or **figi** parameter is missing or invalid. Please provide a valid symbol according to API documentation; \
                 given was {given}"
            ),
        )
    }

    /// The JSON body of the error.
    pub fn body(&self) -> Value {
        json!({"code": self.code, "message": self.message, "status": "error"})
    }
}

/// The parameters of a request. Names are case-insensitive.
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Parameters from pairs of name and value.
    pub const fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// The value of a parameter; `None` when it is missing or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// `dp`: the number of decimals of prices.
    ///
    /// # Errors
    /// [`ApiError`] 400 when it is not -1 to 11.
    pub fn decimals(&self) -> Result<Option<u32>, ApiError> {
        match self.get("dp") {
            None | Some("-1") => Ok(None),
            Some(text) => text
                .parse()
                .ok()
                .filter(|places| *places <= 11)
                .map(Some)
                .ok_or_else(|| ApiError::invalid("dp", text)),
        }
    }

    /// `date`: the start of a day in `zone`, or an instant.
    ///
    /// # Errors
    /// [`ApiError`] 400 when it is neither, nor `today` or `yesterday`.
    pub fn date(&self, zone: Tz, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
        let today = now.datetime().with_timezone(&zone).date_naive();
        self.get("date")
            .map(|text| {
                let day = match text.to_ascii_lowercase().as_str() {
                    "today" => today.to_string(),
                    "yesterday" => today.pred_opt().unwrap_or(today).to_string(),
                    _ => text.to_owned(),
                };
                read_date(&day, zone).ok_or_else(|| ApiError::invalid("date", text))
            })
            .transpose()
    }

    /// `timezone`; `Exchange` is UTC for a pair.
    ///
    /// # Errors
    /// [`ApiError`] 400 when there is no such zone.
    pub fn zone(&self) -> Result<Tz, ApiError> {
        match self.get("timezone") {
            None | Some("Exchange") => Ok(Tz::UTC),
            Some(name) => name.parse().map_err(|_| ApiError::invalid("timezone", name)),
        }
    }
}

/// A valid request for bars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesQuestion {
    /// The interval.
    pub interval: SeriesInterval,
    /// Bars that open at or after this instant.
    pub from: Timestamp,
    /// Bars that open before this instant.
    pub to: Timestamp,
    /// The maximum number of bars; the latest are kept.
    pub count: usize,
    /// Earliest first.
    pub ascending: bool,
    /// The zone in which instants are parsed and written. Bars with dates only use UTC, whatever was requested.
    pub zone: Tz,
    /// The number of decimals of prices.
    pub decimals: Option<u32>,
}

/// One bar of an answer: its open time, and its four prices as texts.
pub type SeriesRow = (Timestamp, [String; 4]);

impl SeriesQuestion {
    /// Parses the parameters; at most `most` bars are answered.
    ///
    /// # Errors
    /// [`ApiError`] 400 that names the parameter.
    pub fn read(params: &Params, exclusive_end: bool, most: usize, now: Timestamp) -> Result<Self, ApiError> {
        let interval = params
            .get("interval")
            .ok_or_else(|| ApiError::new(400, "**interval** parameter is missing or invalid"))?;
        let interval = SeriesInterval::named(interval).ok_or_else(|| {
            let ApiError { code, message } = ApiError::invalid("interval", interval);
            let names = SeriesInterval::ALL.map(SeriesInterval::name).join(", ");
            ApiError::new(code, format!("{message} There are {names}."))
        })?;
        let zone = match params.zone()? {
            _ if interval.is_dated() => Tz::UTC,
            zone => zone,
        };
        let (from, end) = parse_window(params, zone, now)?;
        let dated = from.is_some() || end.is_some();
        let count = match params.get("outputsize") {
            None if dated => most,
            None => 30,
            Some(text) => text
                .parse()
                .ok()
                .filter(|count| (1..=most).contains(count))
                .ok_or_else(|| ApiError::invalid("outputsize", text))?,
        };
        let ascending = match params.get("order").map(str::to_ascii_lowercase).as_deref() {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(other) => return Err(ApiError::invalid("order", other)),
        };
        let last_instant = Duration::from_micros(u64::from(!exclusive_end));
        Ok(Self {
            interval,
            from: from.unwrap_or(Timestamp::from_secs(0)),
            to: end.map_or(Timestamp::from_micros(i64::MAX), |end| end + last_instant),
            count,
            zone,
            ascending,
            decimals: params.decimals()?,
        })
    }

    /// The answer as JSON.
    pub fn json(&self, symbol: &str, rows: &[SeriesRow]) -> Value {
        let values = rows.iter().map(|(opens_at, [open, high, low, close])| {
            json!({"datetime": self.datetime(*opens_at), "open": open, "high": high, "low": low, "close": close})
        });
        json!({
            "meta": series_meta(symbol, self.interval.name()),
            "values": values.collect::<Vec<Value>>(),
            "status": "ok",
        })
    }

    /// The answer as CSV.
    pub fn csv(&self, rows: &[SeriesRow], delimiter: &str) -> String {
        let mut text = ["datetime", "open", "high", "low", "close"].join(delimiter);
        for (opens_at, prices) in rows {
            let prices = prices.join(delimiter);
            // Writing to a String cannot fail.
            write!(text, "\n{}{delimiter}{prices}", self.datetime(*opens_at)).unwrap_or_default();
        }
        text.push('\n');
        text
    }

    /// An instant as the answer writes it: without an offset, and without a time for intervals of a day and more.
    pub fn datetime(&self, at: Timestamp) -> String {
        let format = if self.interval.is_dated() {
            "%Y-%m-%d"
        } else {
            "%Y-%m-%d %H:%M:%S"
        };
        at.datetime().with_timezone(&self.zone).format(format).to_string()
    }
}

fn series_meta(symbol: &str, interval: &str) -> Value {
    let (base, quote) = symbol.parse().map_or((String::new(), String::new()), |symbol: Symbol| {
        let (base, quote) = currencies(&symbol);
        (base.to_owned(), quote.to_owned())
    });
    json!({"symbol": symbol, "interval": interval, "currency_base": base, "currency_quote": quote,
        "type": "Physical Currency"})
}

/// The first and last instant that were requested.
fn parse_window(params: &Params, zone: Tz, now: Timestamp) -> Result<(Option<Timestamp>, Option<Timestamp>), ApiError> {
    let date = |name: &str| {
        params
            .get(name)
            .map(|text| read_date(text, zone).ok_or_else(|| ApiError::invalid(name, text)))
            .transpose()
    };
    let mut from = date("start_date")?;
    let mut end = date("end_date")?;
    if let Some(day) = params.date(zone, now)? {
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

/// Parses `2006-01-02`, `2006-01-02 15:04`, or `2006-01-02 15:04:05` with a blank or a `T` between, in `zone`.
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

/// A price as REST writes it: exact, or rounded to `decimals`.
pub fn price_text(price: Price, decimals: Option<u32>) -> String {
    let Some(decimals) = decimals else {
        return price.to_string();
    };
    let unit = 10_i64.pow(Price::DECIMALS.saturating_sub(decimals));
    let rounded = price.micros().saturating_add(unit / 2).div_euclid(unit) * unit;
    let fraction = format!("{:06}", rounded.rem_euclid(Price::UNIT));
    let places = usize::try_from(decimals).unwrap_or(0);
    let whole = rounded.div_euclid(Price::UNIT);
    match fraction.get(..places.min(fraction.len())) {
        Some("") | None => whole.to_string(),
        Some(shown) => format!("{whole}.{shown:0<places$}"),
    }
}

/// Long names of the two currencies of a pair.
pub fn currencies(symbol: &Symbol) -> (&str, &str) {
    let (base, quote) = symbol.as_str().split_once('/').unwrap_or((symbol.as_str(), ""));
    (long_name(base), long_name(quote))
}

fn long_name(code: &str) -> &str {
    match code {
        "USD" => "US Dollar",
        "COP" => "Colombian Peso",
        "EUR" => "Euro",
        "GBP" => "British Pound",
        "JPY" => "Japanese Yen",
        "MXN" => "Mexican Peso",
        "BRL" => "Brazil Real",
        "CLP" => "Chilean Peso",
        "XAU" => "Gold Spot",
        "BTC" => "Bitcoin",
        other => other,
    }
}
