//! Answers in the vendor's formats, from ticks, bars and sessions. Pure.

use crate::domain::model::{AcceptedTick, Bar, Ohlc, Price, Session, Sessions, Symbol, Timestamp};
use crate::domain::vendor::{ApiError, SeriesRow, currencies, price_text};
use crate::limits;
use chrono::NaiveDate;
use chrono_tz::Tz;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Bars, the earliest first.
pub(super) type Bars = Vec<Bar>;

/// The currencies of the major pairs.
const MAJORS: [&str; 8] = ["AUD", "CAD", "CHF", "EUR", "GBP", "JPY", "NZD", "USD"];

/// The limit that is reported where there is none: clients subtract from it.
const NO_LIMIT: i32 = i32::MAX;

/// The rows of a series.
pub(super) fn rows(
    bars: impl Iterator<Item = (Timestamp, Ohlc)>,
    decimals: Option<u32>,
    ascending: bool,
) -> Vec<SeriesRow> {
    let mut rows: Vec<SeriesRow> = bars
        .map(|(at, ohlc)| {
            let prices = [ohlc.open, ohlc.high, ohlc.low, ohlc.close];
            (at, prices.map(|price| price_text(price, decimals)))
        })
        .collect();
    if !ascending {
        rows.reverse();
    }
    rows
}

/// The last known price, and its time.
fn last_price(last: Option<&AcceptedTick>, bars: &[Bar]) -> Result<(Price, Timestamp), ApiError> {
    let of_bar = bars.last().map(|bar| (bar.ohlc.close, bar.closes_at));
    let of_tick = last.map(|last| (last.tick.price, last.tick.at));
    of_tick.or(of_bar).ok_or_else(ApiError::no_data)
}

/// `/price`.
pub(super) fn price(last: Option<&AcceptedTick>, bars: &[Bar], decimals: Option<u32>) -> Result<Value, ApiError> {
    let (price, _) = last_price(last, bars)?;
    Ok(json!({"price": price_text(price, decimals)}))
}

/// `/exchange_rate`.
pub(super) fn rate(
    symbol: Symbol,
    last: Option<&AcceptedTick>,
    bars: &[Bar],
    decimals: Option<u32>,
) -> Result<Value, ApiError> {
    let (price, at) = last_price(last, bars)?;
    let rate: Value = serde_json::from_str(&price_text(price, decimals)).unwrap_or_default();
    Ok(json!({"symbol": symbol, "rate": rate, "timestamp": at.secs()}))
}

/// `/quote`: the session so far, and the close before it. `begun` is the session of the last price: until its first bar closes, its open,
/// high and low are not known.
pub(super) fn quote(
    symbol: Symbol,
    (last, begun): (Option<&AcceptedTick>, Option<Session>),
    bars: &[Bar],
    open: bool,
    decimals: Option<u32>,
) -> Result<Value, ApiError> {
    let newest = bars.last().ok_or_else(ApiError::no_data)?;
    let (price, at) = last_price(last, bars)?;
    if let Some(begun) = begun.filter(|begun| begun.date > newest.session_date) {
        let before = newest.ohlc.close;
        let (base, quoted) = currencies(&symbol);
        return Ok(json!({
            "symbol": symbol, "name": format!("{base} / {quoted}"), "exchange": "PHYSICAL CURRENCY",
            "datetime": begun.date.to_string(), "timestamp": begun.opens.secs(), "last_quote_at": at.secs(),
            "open": null, "high": null, "low": null, "close": price_text(price, decimals),
            "previous_close": price_text(before, decimals), "change": price_text(price.minus(before), decimals),
            "percent_change": percent(price, before), "is_market_open": open,
        }));
    }
    let of_session = bars.iter().filter(|bar| bar.session_date == newest.session_date);
    let before = bars.iter().rev().find(|bar| bar.session_date != newest.session_date);
    let before = before.map(|bar| bar.ohlc.close);
    let first = of_session.clone().next().unwrap_or(newest);
    let high = of_session
        .clone()
        .map(|bar| bar.ohlc.high)
        .max()
        .unwrap_or(price)
        .max(price);
    let low = of_session.map(|bar| bar.ohlc.low).min().unwrap_or(price).min(price);
    let (base, quoted) = currencies(&symbol);
    Ok(json!({
        "symbol": symbol, "name": format!("{base} / {quoted}"), "exchange": "PHYSICAL CURRENCY",
        "datetime": newest.session_date.to_string(), "timestamp": first.key.opens_at.secs(), "last_quote_at": at.secs(),
        "open": price_text(first.ohlc.open, decimals), "high": price_text(high, decimals), "low": price_text(low, decimals), "close": price_text(price, decimals),
        "previous_close": before.map(|before| price_text(before, decimals)),
        "change": before.map(|before| price_text(price.minus(before), decimals)),
        "percent_change": before.map(|before| percent(price, before)),
        "is_market_open": open,
    }))
}

/// A change in percent, with five decimals.
fn percent(price: Price, before: Price) -> String {
    let change = i128::from(price.minus(before).micros()) * 100 * i128::from(Price::UNIT);
    let micros = change / i128::from(before.micros().max(1));
    price_text(Price::from_micros(i64::try_from(micros).unwrap_or(0)), Some(5))
}

/// The dates of sessions for which a bar may still appear: the last one is stored a moment after its close.
pub(super) fn unfinished(sessions: Option<&dyn Sessions>, now: Timestamp) -> Vec<NaiveDate> {
    let at = [now, now - limits::BAR_STORED].map(|at| sessions.and_then(|sessions| sessions.at(at)));
    at.into_iter().flatten().map(|session| session.date).collect()
}

/// `/eod`: the close of the last session that is over; `unfinished` are the dates of sessions that are not.
pub(super) fn eod(
    symbol: Symbol,
    bars: &[Bar],
    unfinished: &[NaiveDate],
    decimals: Option<u32>,
) -> Result<Value, ApiError> {
    let last = bars.iter().rev().find(|bar| !unfinished.contains(&bar.session_date));
    let last = last.ok_or_else(ApiError::no_data)?;
    Ok(
        json!({"symbol": symbol, "exchange": "PHYSICAL CURRENCY", "datetime": last.session_date.to_string(),
        "close": price_text(last.ohlc.close, decimals)}),
    )
}

/// `/earliest_timestamp`.
pub(super) fn earliest(datetime: &str, at: Timestamp) -> Value {
    json!({"datetime": datetime, "unix_time": at.secs()})
}

/// `/forex_pairs`: those of `symbols` that pass the filters.
pub(super) fn pairs(symbols: impl Iterator<Item = Symbol>, keep: impl Fn(&Symbol, &str, &str) -> bool) -> Value {
    let shown = symbols.filter_map(|symbol| {
        let (base, quoted) = currencies(&symbol);
        keep(&symbol, base, quoted).then(|| {
            let majors = symbol.as_str().split('/').all(|code| MAJORS.contains(&code));
            let group = match (majors, symbol.as_str().contains("USD")) {
                (true, true) => "Major",
                (true, false) => "Minor",
                (false, _) => "Exotic",
            };
            json!({"symbol": symbol, "currency_group": group, "currency_base": base, "currency_quote": quoted})
        })
    });
    json!({"data": shown.collect::<Vec<Value>>(), "status": "ok"})
}

/// One pair of `/symbol_search`.
pub(super) fn found(symbol: Symbol, zone: Tz) -> Value {
    let (base, quoted) = currencies(&symbol);
    let currency = symbol.as_str().split_once('/').map_or("", |(_, code)| code);
    json!({"symbol": symbol, "instrument_name": format!("{base} / {quoted}"), "exchange": "PHYSICAL CURRENCY",
        "mic_code": "", "exchange_timezone": zone.name(), "instrument_type": "Physical Currency", "country": "",
        "currency": currency})
}

/// One market of `/market_state`.
pub(super) fn state(symbol: Symbol, now: Timestamp, open: Option<Session>, next: Option<Session>) -> Value {
    let since = open.map(|session| now.since(session.opens));
    let left = open.map(|session| session.closes.since(now));
    let until = match open {
        Some(_) => None,
        None => next.map(|session| session.opens.since(now)),
    };
    json!({"name": symbol, "code": symbol.compact(), "country": "", "is_market_open": open.is_some(),
        "time_after_open": clock(since), "time_to_open": clock(until), "time_to_close": clock(left)})
}

/// `02:39:03`; `None` is `00:00:00`.
fn clock(length: Option<Duration>) -> String {
    let secs = length.unwrap_or_default().as_secs();
    format!("{:02}:{:02}:{:02}", secs / 3_600, secs / 60 % 60, secs % 60)
}

/// `/api_usage`: no credits are ever spent.
pub(super) fn usage(now: Timestamp) -> Value {
    json!({"timestamp": now.datetime().format("%Y-%m-%d %H:%M:%S").to_string(), "current_usage": 0, "plan_limit": NO_LIMIT,
        "plan_category": "candela"})
}

/// The answer for several symbols: an object keyed by them, with the answer or error of each.
pub(super) fn batch(answers: Vec<(&str, Result<Value, ApiError>)>) -> Value {
    let each = answers.into_iter().map(|(name, answer)| {
        let answer = answer.unwrap_or_else(|error| error.body());
        (name.to_owned(), answer)
    });
    Value::Object(each.collect::<Map<String, Value>>())
}

/// Whether the text can stand between cells: none of it is a part of one.
pub(super) fn divides_cells(delimiter: &str) -> bool {
    !delimiter.contains(|letter: char| {
        letter.is_alphanumeric() || letter.is_whitespace() && letter != '\t' || ".:-/_\"".contains(letter)
    })
}

/// An answer as CSV: a header line, then a line for each record.
pub(super) fn csv(answer: &Value, delimiter: &str) -> String {
    let records = answer.get("data").unwrap_or(answer);
    let records = match records {
        Value::Array(records) => records.as_slice(),
        record => std::slice::from_ref(record),
    };
    let names: Vec<&String> = records
        .first()
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::keys)
        .collect();
    let head: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    let mut lines = vec![head.join(delimiter)];
    lines.extend(records.iter().map(|record| csv_line(record, &names, delimiter)));
    lines.push(String::new());
    lines.join("\n")
}

fn csv_line(record: &Value, names: &[&String], delimiter: &str) -> String {
    let cells = names.iter().map(|name| match record.get(name.as_str()) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => quoted(text, delimiter),
        Some(other) => quoted(&other.to_string(), delimiter),
    });
    cells.collect::<Vec<String>>().join(delimiter)
}

fn quoted(text: &str, delimiter: &str) -> String {
    if text.contains(delimiter) || text.contains(['"', '\n']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

#[cfg(test)]
#[path = "tests/compose.rs"]
mod tests;
