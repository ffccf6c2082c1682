//! The vendor's REST interface: the paths that we request, and the parsing of the answers.
//!
//! The body decides first whether an answer is an error, the HTTP status second, because the vendor sends errors under HTTP 200. An empty
//! range of time is answered with an error (400 "No data is available…") and means no bars.
//!
//! A path never holds a key: the key is sent in a header, so that paths may be captured and logged.

use crate::domain::model::{
    Decoded, Fetched, Flawed, Interval, Ohlc, Parsed, Price, Provenance, RejectReason, Symbol, Tick, Timestamp,
    Unusable, VendorBar,
};
use crate::domain::vendor::{
    Refusal, Trouble,
    trouble::refusal,
    wire::{bare, cut, number, text, unread, without_nan},
};
use crate::limits;
use bytes::Bytes;
use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// A request for the closed bars of some pairs over `[from, to)`; one credit a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesRequest {
    /// The pairs; at least one.
    pub symbols: Vec<Symbol>,
    /// The interval of the bars.
    pub interval: Interval,
    /// Start of the range.
    pub from: Timestamp,
    /// End of the range, exclusive.
    pub to: Timestamp,
}

/// Why an answer could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each sentence is its own documentation")]
pub enum AnswerError {
    /// The vendor refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the answer is not the JSON that was expected ({0})")]
    NotJson(String),
    #[error("the answer's `{field}` cannot be read: {reason}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    #[error("the path {0:?} is not one that candela requests")]
    Path(String),
}

/// Our usage, as the vendor counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Credits used in the current minute.
    pub minute_used: Option<u32>,
    /// The plan's limit for a minute.
    pub minute_limit: Option<u32>,
    /// Credits used today; only on plans with a daily cap.
    pub day_used: Option<u32>,
    /// The plan's limit for a day.
    pub day_limit: Option<u32>,
}

impl SeriesRequest {
    /// Path and query: UTC, earliest first, and the largest number of bars that one answer may hold.
    pub fn path(&self) -> String {
        let [from, to] = [self.from, self.to].map(|at| at.datetime().format("%Y-%m-%dT%H:%M:%S"));
        format!(
            "/time_series?symbol={}&interval={}&start_date={from}&end_date={to}&timezone=UTC&order=asc&outputsize={}",
            join_symbols(&self.symbols),
            vendor_interval(self.interval),
            limits::SERIES_BARS
        )
    }

    /// Parses [`SeriesRequest::path`]: a captured answer holds the path of its request.
    pub fn from_path(path: &str) -> Option<Self> {
        let query = parse_query(path.strip_prefix("/time_series?")?);
        Some(Self {
            symbols: query
                .get("symbol")?
                .split(',')
                .filter_map(|name| name.parse().ok())
                .collect(),
            interval: Interval::ALL
                .iter()
                .copied()
                .find(|i| Some(&vendor_interval(*i)) == query.get("interval"))?,
            from: parse_moment(query.get("start_date")?)?,
            to: parse_moment(query.get("end_date")?)?,
        })
    }
}

/// The path for the newest price of some pairs; one credit a pair.
pub fn price_path(symbols: &[Symbol]) -> String {
    format!("/price?symbol={}&dp=11", join_symbols(symbols))
}

/// The path for our usage as the vendor counts it; one credit.
pub const USAGE_PATH: &str = "/api_usage";

/// The key's header: its name, and the prefix of its value.
pub const KEY_HEADER: (&str, &str) = ("Authorization", "apikey ");

fn join_symbols(symbols: &[Symbol]) -> String {
    symbols.iter().map(Symbol::as_str).collect::<Vec<_>>().join(",")
}

/// The vendor's name for an interval. A session has none; the day's name stands in, and no caller requests it.
pub const fn vendor_interval(interval: Interval) -> &'static str {
    match interval {
        Interval::M1 => "1min",
        Interval::M5 => "5min",
        Interval::M15 => "15min",
        Interval::M30 => "30min",
        Interval::H1 => "1h",
        Interval::Session | Interval::D1 => "1day",
    }
}

fn parse_query(text: &str) -> HashMap<&str, &str> {
    text.split('&').filter_map(|pair| pair.split_once('=')).collect()
}

/// Parses `2026-03-02T13:00:00`, with a blank for the `T`, or a date alone. UTC, as requested.
fn parse_moment(text: &str) -> Option<Timestamp> {
    let parsed = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S")
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S"))
        .or_else(|_| NaiveDate::parse_from_str(text, "%Y-%m-%d").map(|date| date.and_time(NaiveTime::MIN)))
        .ok()?;
    Some(Timestamp::from_datetime(parsed.and_utc()))
}

/// The captured form of an answer: path, `#`, the instant at which it was judged (microseconds), a line feed, the body. The instant is
/// included because the content depends on it, and a replay must decode the same.
pub fn capture(path: &str, at: Timestamp, body: &[u8]) -> Bytes {
    [path.as_bytes(), b"#", at.micros().to_string().as_bytes(), b"\n", body]
        .concat()
        .into()
}

/// Decodes a captured answer. Bars that were not closed at that instant are left out: the vendor's newest bar is provisional.
///
/// # Errors
/// [`AnswerError`] when the body is a refusal other than "no data", or cannot be parsed.
pub fn says(captured: &[u8], heard_at: Timestamp) -> Result<Decoded, AnswerError> {
    let mut parts = captured.splitn(2, |byte| *byte == b'\n');
    let head = std::str::from_utf8(parts.next().unwrap_or_default()).unwrap_or_default();
    let body = parts.next().unwrap_or_default();
    let nulled = without_nan(body);
    let body = nulled.as_deref().unwrap_or(body);
    let (path, judged) = head.split_once('#').unwrap_or((head, ""));
    let at = judged.parse().map_or(heard_at, Timestamp::from_micros);
    if let Some(request) = SeriesRequest::from_path(path) {
        let (fetched, flawed) = series(&request, body, at)?;
        return Ok(match flawed {
            Flawed {
                rounded: 0,
                unreadable: 0,
                out_of_range: 0,
                beyond_scale: 0,
            } => Decoded::Bars(fetched),
            flawed => Decoded::FlawedBars(fetched, flawed),
        });
    }
    if let Some(rest) = path.strip_prefix("/price?") {
        let symbol = parse_query(rest).get("symbol").and_then(|name| name.parse().ok());
        let symbol = symbol.ok_or_else(|| AnswerError::Path(cut(path)))?;
        return price(symbol, body, at);
    }
    Err(AnswerError::Path(cut(path)))
}

/// Parses the bars of one pair.
///
/// # Errors
/// [`AnswerError`]; "no data" is not an error, but an answer without bars.
pub fn series(request: &SeriesRequest, body: &[u8], at: Timestamp) -> Result<(Fetched, Flawed), AnswerError> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        values: Option<Vec<&'a RawValue>>,
    }
    let [symbol] = request.symbols.as_slice() else {
        return Err(AnswerError::Path(cut(&request.path())));
    };
    let length = request.interval.vendor_length();
    let mut fetched = Fetched {
        symbol: *symbol,
        interval: request.interval,
        from: request.from,
        to: request.to.min(at.floor(length)),
        bars: Vec::new(),
        unusable: Vec::new(),
    };
    match refusal(200, body) {
        Some(Refusal {
            trouble: Trouble::NoData,
            ..
        }) => return Ok((drop_unsettled(fetched, length, at), Flawed::default())),
        Some(refusal) => return Err(refusal.into()),
        None => {}
    }
    let values = parse_json::<Body<'_>>(body)?
        .values
        .ok_or_else(|| missing_field("values"))?;
    let full = values.len() >= limits::SERIES_BARS;
    let inside = |opens_at: Timestamp| opens_at >= fetched.from && opens_at + length <= fetched.to;
    // Duplicate timestamps with different values have been seen; the first usable one is kept.
    let mut bars = BTreeMap::new();
    let mut unusable = BTreeSet::new();
    let mut flawed = Flawed::default();
    let mut timed = true;
    for raw in values {
        let value = serde_json::from_str::<Value<'_>>(raw.get()).ok();
        let opens_at = value.as_ref().and_then(Value::opens_at);
        let read = value
            .ok_or(RejectReason::UnreadablePrice)
            .and_then(|value| value.parse_ohlc());
        match (opens_at, read) {
            (Some(at), Ok((ohlc, rounded))) if inside(at) => {
                flawed.rounded = flawed.rounded.saturating_add(u32::from(rounded));
                bars.entry(at).or_insert(VendorBar { opens_at: at, ohlc });
            }
            (Some(at), Err(reason)) if inside(at) => {
                flawed.leave_out(reason);
                unusable.insert(at);
            }
            (Some(_), _) => {}
            (None, _) => {
                flawed.leave_out(RejectReason::UnreadablePrice);
                timed = false;
            }
        }
    }
    fetched.unusable = unusable.into_iter().filter(|at| !bars.contains_key(at)).collect();
    fetched.bars = bars.into_values().collect();
    if let (true, Some(last)) = (full, fetched.bars.last()) {
        fetched.to = last.opens_at + length; // an answer cut off at its largest size says nothing about what follows
    }
    let mut fetched = drop_unsettled(fetched, length, at);
    if !timed {
        fetched.from = fetched.to; // a bar without a readable time may be any of those that seem to be missing
    }
    Ok((fetched, flawed))
}

/// Ends the answer before the newest bars that it lacks: the vendor may still produce them, so their absence proves nothing yet.
fn drop_unsettled(mut fetched: Fetched, length: Duration, at: Timestamp) -> Fetched {
    let newest = fetched.bars.last().map_or(fetched.from, |bar| bar.opens_at + length);
    let settled_to = (at - limits::VENDOR_SETTLES).floor(length);
    fetched.to = fetched.to.min(newest.max(settled_to)).max(fetched.from);
    fetched
}

/// Parses the newest price of one pair. It is timestamped with its arrival, because the vendor gives no timestamp.
///
/// # Errors
/// [`AnswerError`] when the request was refused or the body cannot be parsed. An unreadable price is [`Decoded::Unusable`] for its pair.
pub fn price(symbol: Symbol, body: &[u8], at: Timestamp) -> Result<Decoded, AnswerError> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        price: Option<&'a RawValue>,
    }
    if let Some(refusal) = refusal(200, body) {
        return Err(refusal.into());
    }
    let unusable = |reason| {
        Ok(Decoded::Unusable(Unusable {
            symbol: Some(symbol),
            reason,
        }))
    };
    if body.trim_ascii() == b"null" {
        return unusable(RejectReason::UnreadablePrice);
    }
    let parsed = match number(parse_json::<Body<'_>>(body)?.price) {
        Ok(Some(parsed)) if parsed.beyond_scale() => return unusable(RejectReason::BeyondScale),
        Ok(Some(parsed)) => parsed,
        Ok(None) => return unusable(RejectReason::UnreadablePrice),
        Err(error) => return unusable(unread(&error, RejectReason::UnreadablePrice)),
    };
    let tick = Tick {
        symbol,
        price: parsed.price,
        bid: None,
        ask: None,
        at,
        provenance: Provenance::Polled,
    };
    Ok(if parsed.rounded {
        Decoded::Rounded(tick)
    } else {
        Decoded::Price(tick)
    })
}

/// Parses our usage as the vendor counts it.
///
/// # Errors
/// [`AnswerError`] when the request was refused or the body is not an object.
pub fn usage(body: &[u8]) -> Result<Usage, AnswerError> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        current_usage: Option<&'a RawValue>,
        #[serde(borrow)]
        plan_limit: Option<&'a RawValue>,
        #[serde(borrow)]
        daily_usage: Option<&'a RawValue>,
        #[serde(borrow)]
        plan_daily_limit: Option<&'a RawValue>,
    }
    if let Some(refusal) = refusal(200, body) {
        return Err(refusal.into());
    }
    let body = parse_json::<Body<'_>>(body)?;
    let counts = [
        body.current_usage,
        body.plan_limit,
        body.daily_usage,
        body.plan_daily_limit,
    ];
    let [minute_used, minute_limit, day_used, day_limit] = counts.map(|raw| raw.and_then(|raw| bare(raw).parse().ok()));
    Ok(Usage {
        minute_used,
        minute_limit,
        day_used,
        day_limit,
    })
}

/// Splits the answer for several pairs into each pair's own body; pairs that the vendor left out have none. The answer for one pair is that
/// pair's body.
///
/// # Errors
/// [`AnswerError`] when the whole request was refused or the body is not an object.
pub fn parts<'a>(symbols: &[Symbol], body: &'a [u8]) -> Result<Vec<(Symbol, &'a [u8])>, AnswerError> {
    if let [symbol] = symbols {
        return Ok(vec![(*symbol, body)]);
    }
    match refusal(200, body) {
        Some(Refusal {
            trouble: Trouble::NoData,
            ..
        }) => return Ok(symbols.iter().map(|s| (*s, body)).collect()),
        Some(refusal) => return Err(refusal.into()),
        None => {}
    }
    let members: HashMap<&str, &RawValue> = parse_json(body)?;
    Ok(symbols
        .iter()
        .filter_map(|symbol: &Symbol| members.get(symbol.as_str()).map(|raw| (*symbol, raw.get().as_bytes())))
        .collect())
}

/// One bar as the vendor writes it: every value is a text, but numbers are accepted too.
#[derive(Deserialize)]
struct Value<'a> {
    #[serde(borrow)]
    datetime: Option<&'a RawValue>,
    #[serde(borrow)]
    open: Option<&'a RawValue>,
    #[serde(borrow)]
    high: Option<&'a RawValue>,
    #[serde(borrow)]
    low: Option<&'a RawValue>,
    #[serde(borrow)]
    close: Option<&'a RawValue>,
}

impl Value<'_> {
    /// `None` when it is missing or unreadable.
    fn opens_at(&self) -> Option<Timestamp> {
        parse_moment(&text(self.datetime?)?)
    }

    /// The prices, and whether digits were rounded away. A bar whose prices are unreadable or break invariant B1 does not affect the
    /// others.
    fn parse_ohlc(&self) -> Result<(Ohlc, bool), RejectReason> {
        let unreadable = RejectReason::UnreadablePrice;
        let open = positive_number(self.open)?;
        let high = positive_number(self.high)?;
        let low = positive_number(self.low)?;
        let close = positive_number(self.close)?;
        if [open, high, low, close].into_iter().any(Parsed::beyond_scale) {
            return Err(RejectReason::BeyondScale);
        }
        let ohlc = Ohlc {
            open: open.price,
            high: high.price,
            low: low.price,
            close: close.price,
        };
        if !ohlc.is_ordered() {
            return Err(unreadable);
        }
        let rounded = [open, high, low, close].into_iter().any(|parsed| parsed.rounded);
        Ok((ohlc, rounded))
    }
}

fn positive_number(raw: Option<&RawValue>) -> Result<Parsed, RejectReason> {
    let unreadable = RejectReason::UnreadablePrice;
    let read = number(raw).map_err(|error| unread(&error, unreadable))?;
    let parsed = read.filter(|parsed| parsed.price > Price::default());
    parsed.ok_or(unreadable)
}

fn missing_field(field: &'static str) -> AnswerError {
    AnswerError::Field {
        field,
        reason: "it is not there".to_owned(),
    }
}

fn parse_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, AnswerError> {
    if body.len() > limits::ANSWER_BYTES || !body.trim_ascii_start().starts_with(b"{") {
        return Err(AnswerError::NotJson(
            "it is not an object, or it is too long".to_owned(),
        ));
    }
    serde_json::from_slice(body).map_err(|e| AnswerError::NotJson(cut(&e.to_string())))
}

#[cfg(test)]
#[path = "tests/rest.rs"]
mod tests;
