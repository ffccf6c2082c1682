//! The vendor's methods, by name.

use crate::domain::model::{Interval, Symbol};
use crate::domain::vendor::{ApiError, SeriesQuestion, SeriesRow};
use crate::limits;
use crate::store::BarQuery;
use crate::web::shared::EVER;
use crate::web::td::{TdQuestion, compose, compose::Bars};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use std::time::Duration;

/// Methods about one pair or several.
const OF_SYMBOLS: [&str; 6] = [
    "time_series",
    "price",
    "quote",
    "eod",
    "exchange_rate",
    "earliest_timestamp",
];
/// Methods about the service.
const OF_ALL: [&str; 5] = [
    "forex_pairs",
    "market_state",
    "api_usage",
    "symbol_search",
    "technical_indicators",
];

const DAY: Duration = Duration::from_secs(86_400);

/// `GET /td/{method}`.
pub(crate) async fn answer(request: HttpRequest, method: web::Path<String>) -> HttpResponse {
    let question = match TdQuestion::of(&request) {
        Ok(question) => question,
        Err(error) => return refusal(&error),
    };
    let method = method.as_str();
    let format = question.params.get("format").unwrap_or("JSON");
    let csv = format.eq_ignore_ascii_case("csv");
    if !csv && !format.eq_ignore_ascii_case("json") {
        return refusal(&ApiError::invalid("format", format));
    }
    let delimiter = question.params.get("delimiter").unwrap_or(";");
    if !compose::divides_cells(delimiter) {
        return refusal(&ApiError::invalid("delimiter", delimiter));
    }
    let found = if OF_SYMBOLS.contains(&method) {
        question.of_symbols(method, csv.then_some(delimiter)).await
    } else {
        question.of_all(method).map(TdAnswer::Json)
    };
    match found {
        Ok(TdAnswer::Json(answer)) if csv => text_csv(compose::csv(&answer, delimiter)),
        Ok(TdAnswer::Json(answer)) => json_answer(StatusCode::OK, &answer, false),
        Ok(TdAnswer::Batch(answer)) => json_answer(StatusCode::OK, &answer, true),
        Ok(TdAnswer::Csv(text)) => text_csv(text),
        Err(error) => refusal(&error),
    }
}

/// An answer in its format.
enum TdAnswer {
    Json(Value),
    /// Keyed by symbol.
    Batch(Value),
    Csv(String),
}

/// An answer to `/time_series`.
struct TdSeries {
    asked: SeriesQuestion,
    symbol: Symbol,
    rows: Vec<SeriesRow>,
    /// The datetimes of incomplete bars. The vendor has no such member, so only an answer with such bars has it.
    incomplete: Vec<String>,
}

impl TdSeries {
    fn json(self) -> Value {
        let mut answer = self.asked.json(self.symbol.as_str(), &self.rows);
        if let Some(Value::Object(meta)) = answer.get_mut("meta").filter(|_| !self.incomplete.is_empty()) {
            meta.insert("incomplete".to_owned(), self.incomplete.into());
        }
        answer
    }
}

/// An error, with its code as the HTTP status.
pub(super) fn refusal(error: &ApiError) -> HttpResponse {
    let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::BAD_REQUEST);
    json_answer(status, &error.body(), false)
}

fn json_answer(status: StatusCode, body: &Value, batch: bool) -> HttpResponse {
    let mut answer = HttpResponse::build(status);
    answer.insert_header((header::CACHE_CONTROL, "no-cache"));
    if batch {
        answer.insert_header(("Is_batch", "true"));
    }
    answer
        .content_type("application/json; charset=utf-8")
        .body(body.to_string())
}

/// The vendor's client compares the content type for equality.
fn text_csv(text: String) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/csv"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(text)
}

impl TdQuestion {
    async fn of_symbols(&self, method: &str, delimiter: Option<&str>) -> Result<TdAnswer, ApiError> {
        let names = self.names()?;
        if delimiter.is_some() && names.len() > 1 {
            let message = "Invalid **format** provided: CSV has one **symbol**; request several as JSON";
            return Err(ApiError::new(400, message));
        }
        if let ([name], Some(delimiter), "time_series") = (names.as_slice(), delimiter, method) {
            let series = self.series(name).await?;
            return Ok(TdAnswer::Csv(series.asked.csv(&series.rows, delimiter)));
        }
        if let [name] = names.as_slice() {
            return self.of_symbol(method, name).await.map(TdAnswer::Json);
        }
        let mut answers = Vec::new();
        for name in names {
            answers.push((name, self.of_symbol(method, name).await));
        }
        Ok(TdAnswer::Batch(compose::batch(answers)))
    }

    async fn of_symbol(&self, method: &str, name: &str) -> Result<Value, ApiError> {
        if method == "time_series" {
            return self.series(name).await.map(|series| series.json());
        }
        let symbol = self.symbol(name)?;
        if method == "earliest_timestamp" {
            return self.earliest(symbol).await;
        }
        let decimals = self.params.decimals()?;
        if let Some(answer) = self.of_date(method, symbol, decimals).await? {
            return Ok(answer);
        }
        let last = self.thread.registry.latest.borrow().get(&symbol).copied();
        let bars = match (method, last) {
            ("price" | "exchange_rate", Some(_)) => Bars::new(),
            _ => self.two_sessions(symbol).await?,
        };
        let sessions = self.calendar(symbol);
        match method {
            "price" => compose::price(last.as_ref(), &bars, decimals),
            "exchange_rate" => compose::rate(symbol, last.as_ref(), &bars, decimals),
            "quote" => {
                self.check_quote_interval()?;
                let open = sessions
                    .as_ref()
                    .is_some_and(|sessions| sessions.at(self.now()).is_some());
                let begun = last.and_then(|last| sessions.as_ref()?.at(last.tick.at));
                compose::quote(symbol, (last.as_ref(), begun), &bars, open, decimals)
            }
            _ => {
                let unfinished = compose::unfinished(sessions.as_deref(), self.now());
                compose::eod(symbol, &bars, &unfinished, decimals)
            }
        }
    }

    /// The answer of a method that knows `date`, if one is given: the close of that day's session, or the rate at that instant.
    async fn of_date(&self, method: &str, symbol: Symbol, decimals: Option<u32>) -> Result<Option<Value>, ApiError> {
        match method {
            "eod" => {
                let zone = self.thread.zones.of(symbol);
                let Some(day) = self.params.date(zone, self.now())? else {
                    return Ok(None);
                };
                let date = day.datetime().with_timezone(&zone).date_naive();
                let from = day - DAY; // a session may begin on the day before
                let to = day + DAY * 2;
                let around = BarQuery::between(symbol, Interval::BASE, from, to, limits::REST_PAGE_MAX);
                let mut bars = self.bars(around).await?;
                bars.retain(|bar| bar.session_date == date);
                let unfinished = compose::unfinished(self.calendar(symbol).as_deref(), self.now());
                compose::eod(symbol, &bars, &unfinished, decimals).map(Some)
            }
            "exchange_rate" => {
                let Some(at) = self.params.date(self.params.zone()?, self.now())? else {
                    return Ok(None);
                };
                if self.now() < at {
                    return Err(ApiError::no_data());
                }
                let closed = at - Interval::BASE.vendor_length() + Duration::from_micros(1);
                let before = BarQuery::between(symbol, Interval::BASE, EVER.0, closed, 1);
                let bars = self.bars(BarQuery { latest: true, ..before }).await?;
                compose::rate(symbol, None, &bars, decimals).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A quote is of the session: of other intervals there is none.
    fn check_quote_interval(&self) -> Result<(), ApiError> {
        match self.params.get("interval") {
            None | Some("1day") => Ok(()),
            Some(other) => {
                let ApiError { code, message } = ApiError::invalid("interval", other);
                Err(ApiError::new(code, format!("{message} A quote is of 1day.")))
            }
        }
    }

    /// The bars of the last session and of the one before it, as far as they are stored.
    async fn two_sessions(&self, symbol: Symbol) -> Result<Bars, ApiError> {
        self.latest(symbol, Interval::BASE, limits::TD_QUOTE_BARS).await
    }

    async fn series(&self, name: &str) -> Result<TdSeries, ApiError> {
        let asked = SeriesQuestion::read(&self.params, false, limits::SERIES_BARS, self.now())?;
        if let Some(wanted) = self.params.get("previous_close").filter(|wanted| *wanted != "false") {
            let ApiError { code, message } = ApiError::invalid("previous_close", wanted);
            return Err(ApiError::new(
                code,
                format!("{message} It is the close of the bar before."),
            ));
        }
        let symbol = self.symbol(name)?;
        let mut incomplete = Vec::new();
        let rows = match self.ours(asked.interval)? {
            Some(interval) => {
                let bars = self.series_bars(&asked, symbol, interval).await?;
                let bars = bars.iter().map(|bar| (bar.key.opens_at, bar.ohlc));
                compose::rows(bars, asked.decimals, asked.ascending)
            }
            None => {
                let bars = self.series_long_bars(&asked, symbol).await?;
                let doubtful = bars.iter().filter(|bar| bar.incomplete);
                incomplete.extend(doubtful.map(|bar| asked.datetime(bar.opens_at)));
                let bars = bars.iter().map(|bar| (bar.opens_at, bar.ohlc));
                compose::rows(bars, asked.decimals, asked.ascending)
            }
        };
        if rows.is_empty() {
            return Err(ApiError::no_data());
        }
        Ok(TdSeries {
            asked,
            symbol,
            rows,
            incomplete,
        })
    }

    async fn earliest(&self, symbol: Symbol) -> Result<Value, ApiError> {
        let asked = SeriesQuestion::read(&self.params, false, limits::SERIES_BARS, self.now())?;
        let interval = self.ours(asked.interval)?.unwrap_or(Interval::BASE);
        let bars = self
            .bars(BarQuery::between(symbol, interval, EVER.0, EVER.1, 1))
            .await?;
        let first = bars.first().ok_or_else(ApiError::no_data)?;
        let at = asked.interval.span().floor(first.key.opens_at);
        Ok(compose::earliest(&asked.datetime(at), at))
    }

    fn of_all(&self, method: &str) -> Result<Value, ApiError> {
        match method {
            "forex_pairs" => {
                let symbol = self.upper("symbol");
                let base = self.upper("currency_base");
                let quoted = self.upper("currency_quote");
                Ok(compose::pairs(self.open(), |pair, of_base, of_quote| {
                    let codes = pair.as_str().split_once('/').unwrap_or_default();
                    is_wanted(symbol.as_ref(), pair.as_str())
                        && (is_wanted(base.as_ref(), of_base) || is_wanted(base.as_ref(), codes.0))
                        && (is_wanted(quoted.as_ref(), of_quote) || is_wanted(quoted.as_ref(), codes.1))
                }))
            }
            "market_state" => {
                let now = self.now();
                let code = self.upper("code");
                let wanted = self.open().filter(|symbol| {
                    self.is_exchange_of_pairs(Some(symbol)) && is_wanted(code.as_ref(), &symbol.compact())
                });
                let states = wanted.filter_map(|symbol| {
                    let sessions = self.calendar(symbol)?;
                    Some(compose::state(symbol, now, sessions.at(now), sessions.after(now)))
                });
                Ok(states.collect())
            }
            "api_usage" => Ok(compose::usage(self.now())),
            // No indicator is computed here, but the official Python client requests their list before anything else.
            "technical_indicators" => Ok(json!({"data": {}, "status": "ok"})),
            "symbol_search" => {
                let asked = self.upper("symbol");
                let asked = asked.ok_or_else(|| ApiError::new(400, "**symbol** parameter is missing or invalid"))?;
                let found = self
                    .open()
                    .filter(|symbol| symbol.as_str().contains(&asked) || symbol.compact().contains(&asked))
                    .map(|symbol| compose::found(symbol, self.thread.zones.of(symbol)));
                Ok(json!({"data": found.collect::<Vec<Value>>(), "status": "ok"}))
            }
            other => {
                let other: String = other.chars().take(60).collect();
                let there = [OF_SYMBOLS.as_slice(), OF_ALL.as_slice()].concat().join(", ");
                Err(ApiError::new(
                    404,
                    format!("/{other} is not served here; there are {there}"),
                ))
            }
        }
    }

    fn upper(&self, name: &str) -> Option<String> {
        self.params.get(name).map(str::to_ascii_uppercase)
    }
}

/// Whether a text is the requested one, if one was requested.
fn is_wanted(asked: Option<&String>, text: &str) -> bool {
    asked.is_none_or(|asked| text.eq_ignore_ascii_case(asked))
}
