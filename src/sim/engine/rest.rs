//! The vendor's REST interface: `/time_series`, `/price`, `/quote`, `/exchange_rate`, `/api_usage`.

use crate::domain::model::Timestamp;
use crate::sim::engine::{ConnectionControl, EngineHandle, Target};
use crate::sim::scenario::{Ending, Fault, Moment, RestFault};
use crate::sim::vendor::{
    ApiError, Credits, Params, Question, Shortage, Twists,
    frames::error_body,
    series::{find_served, price_text},
};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::pending;
use serde_json::{Map, Value, json};
use std::rc::Rc;
use std::time::Duration;

/// The endpoint that a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Series,
    Price,
    Quote,
    Rate,
    Usage,
}

/// The routes.
pub(super) fn configure_routes(config: &mut web::ServiceConfig) {
    for (path, want) in [
        ("/time_series", Want::Series),
        ("/price", Want::Price),
        ("/quote", Want::Quote),
        ("/exchange_rate", Want::Rate),
        ("/api_usage", Want::Usage),
    ] {
        config.route(path, web::get().to(move |request| answer_request(request, want)));
    }
    config.route("/technical_indicators", web::get().to(no_indicators));
}

/// The official Python client requests this before anything else. There are no indicators, and it costs no credits.
async fn no_indicators() -> HttpResponse {
    json_response(200, json!({"data": {}, "status": "ok"}).to_string(), None)
}

/// Any other path.
pub(super) async fn not_found() -> HttpResponse {
    json_response(
        404,
        error_body(
            404,
            "The requested endpoint was not found. Check the documentation for the endpoints there are.",
        ),
        None,
    )
}

async fn answer_request(request: HttpRequest, want: Want) -> HttpResponse {
    let (Some(handle), Some(control)) = (
        request.app_data::<EngineHandle>(),
        request.conn_data::<Rc<ConnectionControl>>(),
    ) else {
        return json_response(500, error_body(500, "The simulator lost its stage."), None);
    };
    handle.with_engine(|engine, now| {
        engine.counters.rest_total += 1;
        engine.note_moment(Moment::Rest, Target::Raw(control), now);
    });
    if let Some(broken) = apply_fault(handle, control).await {
        return broken;
    }
    let params = query_params(&request);
    let key = api_key(&request, &params);
    let reply = handle.with_engine(|engine, now| {
        let reply = engine.handle_rest(want, &params, key.as_deref(), now);
        engine.counters.rest_errors_total += u64::from(reply.failed);
        reply
    });
    reply.into_response()
}

/// Applies a fault before the request is read.
async fn apply_fault(handle: &EngineHandle, control: &ConnectionControl) -> Option<HttpResponse> {
    let trouble = |wanted| handle.with_engine(|engine, now| engine.faults.has_rest(wanted, now));
    let slow = handle.with_engine(|engine, now| {
        engine.faults.find_active(now, |trouble| match trouble {
            Fault::Rest(RestFault::Slow(by)) => Some(*by),
            _ => None,
        })
    });
    if let Some(by) = slow {
        handle.pause(by).await;
    }
    if trouble(RestFault::Reset) {
        control.end_now(Ending::Reset);
        pending::<()>().await;
    }
    if trouble(RestFault::Hang) {
        pending::<()>().await;
    }
    if trouble(RestFault::Html) {
        let page = "<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>";
        return Some(HttpResponse::BadGateway().content_type("text/html").body(page));
    }
    None
}

fn query_params(request: &HttpRequest) -> Params {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
    Params::new(pairs.map(web::Query::into_inner).unwrap_or_default())
}

/// The key, from the query or from one of two headers.
pub(crate) fn api_key(request: &HttpRequest, params: &Params) -> Option<String> {
    let bearer = header_text(request, "Authorization")
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("apikey"));
    let found = params
        .get("apikey")
        .or_else(|| bearer.map(|(_, key)| key.trim()))
        .or_else(|| header_text(request, "X-TD-APIKEY"));
    found.map(str::to_owned)
}

fn header_text<'r>(request: &'r HttpRequest, name: &str) -> Option<&'r str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// The response to a request.
struct Reply {
    status: u16,
    body: String,
    csv: bool,
    /// Whether the body is an object of several answers: the official Python client looks for this header.
    batch: bool,
    credits: Option<Credits>,
    failed: bool,
    cut: bool,
    retry_after: Option<Duration>,
}

impl Reply {
    fn into_response(self) -> HttpResponse {
        let mut body = self.body;
        if self.cut {
            body = body.chars().take(body.len() / 2).collect();
        }
        if self.csv {
            return HttpResponse::Ok().content_type("text/csv").body(body);
        }
        let mut response = json_response(self.status, body, self.credits);
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
        }
        if self.batch {
            let name = HeaderName::from_static("is_batch");
            let value = HeaderValue::from_static("true");
            response.headers_mut().insert(name, value);
        }
        response
    }
}

fn json_response(status: u16, body: String, credits: Option<Credits>) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    response.content_type("application/json; charset=utf-8");
    if let Some(credits) = credits {
        response.insert_header(("api-credits-used", credits.used.to_string()));
        response.insert_header(("api-credits-left", credits.left.to_string()));
    }
    response.body(body)
}

impl crate::sim::engine::Engine {
    fn handle_rest(&mut self, want: Want, params: &Params, key: Option<&str>, now: Timestamp) -> Reply {
        let as_200 = self.faults.has_rest(RestFault::ErrorsAs200, now);
        let cut = self.faults.has_rest(RestFault::Cut, now);
        let batch = want != Want::Usage && params.get("symbol").is_some_and(|list| list.contains(','));
        let as_csv = params
            .get("format")
            .is_some_and(|format| format.eq_ignore_ascii_case("csv"));
        let csv = as_csv && want == Want::Series && !batch;
        let (result, credits) = self.answer_symbols(want, params, csv, key, now);
        match result {
            Ok(body) => Reply {
                status: 200,
                body,
                csv,
                batch,
                credits,
                failed: false,
                cut,
                retry_after: None,
            },
            Err(error) => {
                let status = if as_200 { 200 } else { error.code };
                let place = key.and_then(|key| self.accounts.find_key(key));
                let retry_after = self.retry_after(error.code, false, place, now);
                Reply {
                    status,
                    body: error_body(error.code, &error.message),
                    csv: false,
                    batch: false,
                    credits,
                    failed: true,
                    cut,
                    retry_after,
                }
            }
        }
    }

    /// The body, and its cost in credits.
    fn answer_symbols(
        &mut self,
        want: Want,
        params: &Params,
        csv: bool,
        key: Option<&str>,
        now: Timestamp,
    ) -> (Result<String, ApiError>, Option<Credits>) {
        let known = key
            .and_then(|key| self.accounts.find_key(key))
            .filter(|place| !self.refuse_expired_key(*place, now));
        let Some(place) = known else {
            let message = "**apikey** parameter is incorrect or not specified. You can get your free API key instantly following this link: https://twelvedata.com/pricing.";
            return (Err(ApiError::new(401, message)), None);
        };
        let plan = self.plan;
        let slack = self.slack;
        if let Some(account) = self.accounts.account_at(place) {
            account.count_call(&plan, slack, now);
        }
        let status = self.faults.find_active(now, |trouble| match trouble {
            Fault::Rest(RestFault::Status(status)) => Some(*status),
            _ => None,
        });
        if let Some(status) = status {
            return (Err(scripted_error(status)), None);
        }
        let symbols: Vec<&str> = match (want, params.get("symbol")) {
            (Want::Usage, _) => vec![""],
            (_, Some(list)) => list
                .split(',')
                .map(str::trim)
                .filter(|symbol| !symbol.is_empty())
                .collect(),
            (_, None) => Vec::new(),
        };
        let mut credits = None;
        let mut answers = Vec::new();
        for symbol in &symbols {
            let answer = self.charge_credit(place, now).and_then(|left| {
                credits = Some(left);
                self.answer_symbol(want, params, symbol, csv, place, now)
            });
            answers.push(answer);
        }
        let result = match (answers.len(), answers.pop()) {
            (_, None) => Err(ApiError::new(
                400,
                "**symbol** or **figi** parameter is missing or invalid. Please provide a valid symbol according to API documentation",
            )),
            (1, Some(only)) => only,
            (_, Some(last)) => {
                answers.push(last);
                Ok(batch_body(&symbols, answers))
            }
        };
        (result, credits)
    }

    /// Whether this key is no longer known; its use is then counted.
    pub(super) fn refuse_expired_key(&mut self, place: usize, now: Timestamp) -> bool {
        let expired = self.faults.has_for_key(Fault::ExpiredKey, place, now);
        if let Some(account) = self.accounts.account_at(place).filter(|_| expired) {
            account.count_refusal(now);
        }
        expired
    }

    /// Charges the credit for one symbol.
    fn charge_credit(&mut self, place: usize, now: Timestamp) -> Result<Credits, ApiError> {
        let plan = self.plan;
        let minute_gone = self.faults.has_for_key(Fault::NoMinuteCredits, place, now);
        let day_gone = self.faults.has_for_key(Fault::NoDayCredits, place, now);
        let account = self
            .accounts
            .account_at(place)
            .ok_or_else(|| ApiError::new(401, "**apikey** parameter is incorrect or not specified."))?;
        let shortage = match (day_gone, minute_gone) {
            (true, _) => {
                account.count_refusal(now);
                Shortage::Day(plan.credits_per_day.saturating_add(1))
            }
            (_, true) => Shortage::Minute(plan.credits_per_minute.saturating_add(1)),
            _ => match account.spend_credits(&plan, 1, now) {
                Ok(credits) => return Ok(credits),
                Err(shortage) => shortage,
            },
        };
        let text = match shortage {
            Shortage::Minute(used) => format!(
                "You have run out of API credits for the current minute. {used} API credits were used, with the current limit being {}. \
                 Wait for the next minute or consider switching to a higher plan.",
                plan.credits_per_minute
            ),
            Shortage::Day(used) => format!(
                "You have run out of API credits for the day. {used} API credits were used, with the current limit being {}. \
                 Wait for the next day or consider switching to a higher plan.",
                plan.credits_per_day
            ),
        };
        Err(ApiError::new(429, text))
    }

    fn answer_symbol(
        &mut self,
        want: Want,
        params: &Params,
        symbol: &str,
        csv: bool,
        place: usize,
        now: Timestamp,
    ) -> Result<String, ApiError> {
        if self
            .faults
            .find_active(now, |trouble: &Fault| match trouble {
                Fault::Rest(RestFault::RefuseSymbol(pair)) if pair.as_str() == symbol => Some(()),
                _ => None,
            })
            .is_some()
        {
            let message = "This symbol is available starting with the Pro plan. Consider upgrading your plan.";
            return Err(ApiError::new(403, message));
        }
        match want {
            Want::Series => self.time_series(params, symbol, csv, now),
            Want::Usage => Ok(self.api_usage(place, now)),
            Want::Price | Want::Quote | Want::Rate => self.last_price(want, params, symbol, now),
        }
    }

    fn time_series(&self, params: &Params, symbol: &str, csv: bool, now: Timestamp) -> Result<String, ApiError> {
        let has = |trouble| self.faults.has_rest(trouble, now);
        let twists = Twists {
            noise: has(RestFault::Noise),
            mismatch: has(RestFault::Mismatch),
            duplicates: has(RestFault::Duplicates),
            exclusive_end: has(RestFault::ExclusiveEnd),
        };
        let question = Question::read(params, twists.exclusive_end, now)?;
        if has(RestFault::Empty) {
            return Err(ApiError::no_data());
        }
        let bars = question.bars(&self.market, symbol, twists, now)?;
        if csv {
            return Ok(question.csv_body(&bars, params.get("delimiter").unwrap_or(";"), twists));
        }
        Ok(question.json_body(symbol, &bars, twists).to_string())
    }

    fn last_price(&self, want: Want, params: &Params, symbol: &str, now: Timestamp) -> Result<String, ApiError> {
        let symbol = find_served(&self.market, symbol)?;
        let last = self.market.last_tick(symbol, now).ok_or_else(ApiError::no_data)?;
        let decimals = params
            .get("dp")
            .and_then(|text| text.parse().ok())
            .filter(|places| *places <= 11);
        let text = price_text(last.price, decimals, self.faults.has_rest(RestFault::Noise, now));
        let day = Duration::from_secs(86_400);
        Ok(match want {
            Want::Rate => {
                let rate: Value = serde_json::from_str(&text).unwrap_or_default();
                json!({"symbol": symbol, "rate": rate, "timestamp": last.at.secs()})
            }
            Want::Quote => {
                let bars = self.market.bars(symbol, day, now.floor(day), now + day, now, 1);
                let ohlc = bars.last().map(|bar| bar.ohlc).ok_or_else(ApiError::no_data)?;
                let [open, high, low] = [ohlc.open, ohlc.high, ohlc.low].map(|price| price_text(price, decimals, false));
                json!({"symbol": symbol, "name": symbol, "datetime": now.datetime().format("%Y-%m-%d").to_string(),
                    "timestamp": now.floor(day).secs(), "last_quote_at": last.at.secs(), "open": open, "high": high, "low": low,
                    "close": text, "is_market_open": true, "fifty_two_week": {"low": low, "high": high}})
            }
            Want::Series | Want::Price | Want::Usage => json!({"price": text}),
        }
        .to_string())
    }

    fn api_usage(&mut self, place: usize, now: Timestamp) -> String {
        let (minute, day) = self
            .accounts
            .account_at(place)
            .map_or((0, 0), |account| account.credits_used(now));
        let timestamp = now.datetime().format("%Y-%m-%d %H:%M:%S").to_string();
        json!({"timestamp": timestamp, "current_usage": minute, "plan_limit": self.plan.credits_per_minute,
            "daily_usage": day, "plan_daily_limit": self.plan.credits_per_day, "plan_category": "basic"})
        .to_string()
    }
}

/// An object keyed by symbol, with the answer or error of each.
fn batch_body(symbols: &[&str], answers: Vec<Result<String, ApiError>>) -> String {
    let mut object = Map::new();
    for (symbol, answer) in symbols.iter().zip(answers) {
        let text = answer.unwrap_or_else(|error| error_body(error.code, &error.message));
        object.insert((*symbol).to_owned(), serde_json::from_str(&text).unwrap_or_default());
    }
    Value::Object(object).to_string()
}

fn scripted_error(status: u16) -> ApiError {
    let text = match status {
        400 => "There is an error with one or more parameters.",
        401 => "**apikey** parameter is incorrect or not specified.",
        403 => "The API key used does not have sufficient permissions to access the requested data.",
        404 => "The requested data could not be found.",
        414 => "The parameter array is too long.",
        429 => {
            "You have run out of API credits for the current minute. 9 API credits were used, with the current limit being 8. Wait for the next minute or consider switching to a higher plan."
        }
        _ => "There was an error on the server side. Try again later or contact support.",
    };
    ApiError::new(status, text)
}
