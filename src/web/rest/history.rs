//! `/market/bars`, `/market/ticks`, `/market/gaps`, `/market/symbols`, `/market/calendar`: recorded data.

use crate::domain::model::{GapStatus, Session, SlotGrid, Symbol};
use crate::domain::protocol::frames;
use crate::limits;
use crate::store::{BarQuery, GapQuery, Store, StoreError, StoredBar, StoredGap, StoredTick, TickQuery};
use crate::web::rest::csv;
use crate::web::rest::parquet::Prices;
use crate::web::rest::stream::{self, FileError};
use crate::web::shared::{BarHistory, BarPlace, EVER, HttpError, Query, Thread, query::wrong};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, ETag, EntityTag, HeaderName, HeaderValue, IfNoneMatch};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder};
use chrono::{Days, NaiveDate};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// The header with the cursor of the next CSV page; JSON has it as `next_cursor`.
pub(super) const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");

pub(super) fn store(thread: &Thread) -> Result<Store, HttpError> {
    let store = thread.common.store.clone();
    store.ok_or_else(|| HttpError::unavailable("no_store", "this process keeps no history"))
}

pub(super) fn failed(error: &StoreError) -> HttpError {
    tracing::warn!(%error, "failed to read the store for a client");
    HttpError::unavailable(
        "store_unreachable",
        "the database cannot be read now; live data continues",
    )
}

/// `GET /market/bars`.
pub(crate) async fn bars(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    let known = [
        "symbol", "interval", "from", "to", "as_of", "order", "limit", "cursor", "format", "price",
    ];
    let query = Query::of(&request, &known)?;
    let symbol = query.symbol(&thread)?;
    let interval = query.interval(&thread)?;
    let zone = thread.zones.of(symbol);
    let (from, to) = query.stretch(zone)?;
    let limit = query.number("limit", limits::REST_PAGE, limits::REST_PAGE_MAX)?;
    let format = query.choice("format", &["json", "csv", "parquet"])?;
    let prices = prices(&query, format)?;
    let order = query.choice_of("order", &["asc", "desc"])?;
    let cursor = query.bar_place("cursor", zone)?;
    let place = cursor.unwrap_or(match order {
        Some("asc") => BarPlace::After(None),
        Some(_) => BarPlace::Before(None),
        None if from.is_some() => BarPlace::After(None),
        None => BarPlace::Before(None), // without a beginning, the latest are meant
    });
    let to = to.unwrap_or(EVER.1);
    let (to, cursor, latest) = match place {
        BarPlace::After(after) => (to, after, false),
        BarPlace::Before(before) => (before.map_or(to, |before| to.min(before)), None, true),
    };
    let asked = BarQuery {
        symbol,
        interval,
        from: from.unwrap_or(EVER.0),
        to,
        as_of: query.instant("as_of", zone)?,
        cursor,
        limit,
        latest,
    };
    let history = BarHistory::of(&thread, store(&thread)?, symbol);
    match (format, query.text("limit")) {
        ("csv", None) => return Ok(csv::stream(&thread, history, asked)),
        ("parquet", None) => return stream::file(&thread, history, asked, prices).map_err(|error| unwritten(&error)),
        _ => {}
    }
    let found = history.read(asked.clone()).await.map_err(|error| failed(&error))?;
    let next = next_bars(&found, &asked, zone);
    if format == "json" {
        return json_bars(&request, &thread, &asked, &found, next);
    }
    let mut page = match format {
        "csv" => tagged(&request, csv::KIND, csv::page(&thread.zones, &found)),
        _ => stream::page(&thread, &history.store, &asked, found.into_iter().collect(), prices)
            .await
            .map_err(|error| unwritten(&error))?,
    };
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
        page.headers_mut().insert(NEXT_CURSOR, next);
    }
    Ok(page)
}

/// The cursor of the next page, if there is more.
fn next_bars(found: &[StoredBar], asked: &BarQuery, zone: chrono_tz::Tz) -> Option<String> {
    let whole_page = found.len() >= usize::try_from(asked.limit).unwrap_or(usize::MAX);
    let end = if asked.latest { found.first() } else { found.last() };
    let opens_at = Some(end.filter(|_| whole_page)?.bar.key.opens_at);
    let place = if asked.latest {
        BarPlace::Before(opens_at)
    } else {
        BarPlace::After(opens_at)
    };
    Some(place.text(zone))
}

/// The format of prices in a Parquet file; in the other formats they are always exact.
fn prices(query: &Query, format: &str) -> Result<Prices, HttpError> {
    let price = query.choice_of("price", &["decimal", "float64"])?;
    match price {
        Some(price) if format != "parquet" => {
            let refusal = HttpError::bad_request(format!(
                "price: {price:?} is for format=parquet alone; leave it out here"
            ));
            let refusal = refusal.with("parameter", "price").with("given", price);
            Err(refusal.with("allowed", "left out unless format is parquet"))
        }
        Some("float64") => Ok(Prices::Float),
        _ => Ok(Prices::Decimal),
    }
}

fn unwritten(error: &FileError) -> HttpError {
    match error {
        FileError::Store(error) => failed(error),
        error @ (FileError::Parquet(_) | FileError::Ended(_)) => {
            tracing::error!(%error, "failed to begin a Parquet file");
            HttpError::unavailable("internal", "the file cannot be written")
        }
    }
}

fn json_bars(
    request: &HttpRequest,
    thread: &Thread,
    asked: &BarQuery,
    found: &[StoredBar],
    next: Option<String>,
) -> Result<HttpResponse, HttpError> {
    let shown: Vec<Box<RawValue>> = found
        .iter()
        .filter_map(|bar| raw(frames::bar_json(&thread.zones, &bar.bar)))
        .collect();
    let sources: Vec<&str> = found.iter().map(|bar| bar.source.as_str()).collect();
    page(
        request,
        &json!({"symbol": asked.symbol.as_str(), "interval": asked.interval.name(), "count": shown.len(),
        "bars": shown, "sources": sources, "next_cursor": next}),
    )
}

/// `GET /market/ticks`.
pub(crate) async fn ticks(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    #[derive(Serialize)]
    struct Shown {
        epoch: String,
        seq: u64,
        data: Option<Box<RawValue>>,
    }
    let thread = Thread::of(&request)?;
    let known = [
        "symbol",
        "from",
        "to",
        "after_seq",
        "cursor",
        "limit",
        "format",
        "price",
    ];
    let query = Query::of(&request, &known)?;
    let symbol = query.symbol(&thread)?;
    let zone = thread.zones.of(symbol);
    let limit = query.number("limit", limits::REST_PAGE, limits::REST_PAGE_MAX)?;
    let (from, to) = query.stretch(zone)?;
    let asked = TickQuery {
        symbol,
        from: from.unwrap_or(EVER.0),
        to: to.unwrap_or(EVER.1),
        after_seq: query.seq("after_seq")?,
        cursor: query.tick_place("cursor")?,
        limit,
    };
    let format = query.choice("format", &["json", "parquet"])?;
    let prices = prices(&query, format)?;
    let store = store(&thread)?;
    if format == "parquet" && query.text("limit").is_none() {
        let history = BarHistory::of(&thread, store, symbol);
        return stream::file(&thread, history, asked, prices).map_err(|error| unwritten(&error));
    }
    let found = store.read_ticks(asked.clone()).await.map_err(|error| failed(&error))?;
    let whole_page = found.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = found.last().filter(|_| whole_page).map(|last| last.place().to_string());
    if format == "parquet" {
        let page = stream::page(&thread, &store, &asked, found, prices).await;
        let mut page = page.map_err(|error| unwritten(&error))?;
        if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
            page.headers_mut().insert(NEXT_CURSOR, next);
        }
        return Ok(page);
    }
    let ticks: Vec<Shown> = found
        .iter()
        .map(|stored: &StoredTick| Shown {
            epoch: stored.epoch.to_string(),
            seq: stored.seq,
            data: raw(frames::tick_json(&stored.tick)),
        })
        .collect();
    page(
        &request,
        &json!({"symbol": symbol.as_str(), "count": ticks.len(), "ticks": ticks, "next_cursor": next}),
    )
}

/// `GET /market/gaps`.
pub(crate) async fn gaps(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    #[derive(Serialize)]
    struct Shown {
        #[serde(flatten)]
        gap: serde_json::Value,
        opened_at: String,
        updated_at: String,
    }
    let thread = Thread::of(&request)?;
    let query = Query::of(&request, &["symbol", "from", "to", "status", "cursor", "limit"])?;
    let symbol = query.symbol(&thread)?;
    let zone = thread.zones.of(symbol);
    let status = match query.text("status") {
        None => None,
        Some(text) => {
            let named = GapStatus::ALL.iter().find(|status| status.name() == text);
            Some(*named.ok_or_else(|| wrong("status", text, "one of open, filling, filled, unfillable"))?)
        }
    };
    let (from, to) = query.stretch(zone)?;
    let limit = query.number("limit", limits::REST_PAGE, limits::REST_PAGE_MAX)?;
    let asked = GapQuery {
        symbol,
        from: from.unwrap_or(EVER.0),
        to: to.unwrap_or(EVER.1),
        status,
        cursor: query.gap_place("cursor")?,
        limit,
    };
    let found = store(&thread)?.read_gaps(asked).await.map_err(|error| failed(&error))?;
    let whole_page = found.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = found.last().filter(|_| whole_page).map(|last| last.place().to_string());
    let gaps: Vec<Shown> = found
        .iter()
        .map(|stored: &StoredGap| Shown {
            gap: serde_json::from_str(&frames::gap_json(&thread.zones, &stored.gap)).unwrap_or_default(),
            opened_at: stored.opened_at.rfc3339(zone),
            updated_at: stored.updated_at.rfc3339(zone),
        })
        .collect();
    page(
        &request,
        &json!({"symbol": symbol.as_str(), "count": gaps.len(), "gaps": gaps, "next_cursor": next}),
    )
}

/// `GET /market/symbols`.
pub(crate) async fn symbols(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    Query::of(&request, &[])?;
    let intervals: Vec<&str> = thread.common.intervals.iter().map(|interval| interval.name()).collect();
    let symbols: Vec<serde_json::Value> = thread
        .common
        .symbols
        .iter()
        .map(|symbol: &Symbol| {
            json!({"symbol": symbol.as_str(), "compact": symbol.compact(), "zone": thread.zones.of(*symbol).name(),
            "intervals": intervals})
        })
        .collect();
    page(&request, &json!({"symbols": symbols}))
}

/// `GET /market/calendar`: each day of a stretch, with its session or the reason why it has none.
pub(crate) async fn calendar(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    let query = Query::of(&request, &["symbol", "from", "to"])?;
    let symbol = query.symbol(&thread)?;
    let zone = thread.zones.of(symbol);
    let today = thread
        .registry
        .clock()
        .now()
        .datetime()
        .with_timezone(&zone)
        .date_naive();
    let from = query.date("from")?.unwrap_or(today);
    let to = query.date("to")?.unwrap_or_else(|| from + Days::new(30));
    if to < from || (to - from).num_days() > limits::REST_CALENDAR_DAYS {
        let allowed = format!("a date within {} days after from", limits::REST_CALENDAR_DAYS);
        return Err(wrong("to", &to.to_string(), &allowed));
    }
    let Some(calendar) = thread.calendar(symbol) else {
        return Err(HttpError::unavailable(
            "no_calendar",
            format!("{symbol} has no calendar here"),
        ));
    };
    let dates = from.iter_days().take_while(|date| *date <= to);
    let days: Vec<serde_json::Value> = dates
        .map(|date| {
            let (session, reason) = calendar.on(date);
            day_json(date, session, &reason, zone)
        })
        .collect();
    page(
        &request,
        &json!({"symbol": symbol.as_str(), "zone": zone.name(), "days": days}),
    )
}

fn day_json(date: NaiveDate, session: Option<Session>, reason: &str, zone: chrono_tz::Tz) -> serde_json::Value {
    json!({
        "date": date.to_string(),
        "type": session.map_or("closed", |session| session.kind.name()),
        "opens": session.map(|session| session.opens.rfc3339(zone)),
        "closes": session.map(|session| session.closes.rfc3339(zone)),
        "expected_bars": session.map_or(0, |session| SlotGrid::BASE.count(&session)),
        "reason": reason,
    })
}

fn raw(json: String) -> Option<Box<RawValue>> {
    RawValue::from_string(json).ok()
}

pub(crate) fn page<T: Serialize>(request: &HttpRequest, body: &T) -> Result<HttpResponse, HttpError> {
    let text = serde_json::to_string(body).map_err(|error| {
        tracing::error!(%error, "failed to encode an answer");
        HttpError::unavailable("internal", "the answer cannot be encoded")
    })?;
    Ok(tagged(request, "application/json", text))
}

/// A response with the ETag of its content; 304 if the client has it already.
pub(super) fn tagged(request: &HttpRequest, kind: &str, body: String) -> HttpResponse {
    let (mut response, known) = begin_tagged(request, tag_of(body.as_bytes()));
    if known {
        return response.finish();
    }
    response.content_type(kind).body(body)
}

/// The ETag of a content.
pub(super) fn tag_of(content: &[u8]) -> EntityTag {
    let digest = Sha256::digest(content);
    EntityTag::new_weak(digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect())
}

/// Begins a response that is revalidated each time; whether it is a 304, because the client has it already.
pub(super) fn begin_tagged(request: &HttpRequest, tag: EntityTag) -> (HttpResponseBuilder, bool) {
    let known = match request.get_header::<IfNoneMatch>() {
        Some(IfNoneMatch::Any) => true,
        Some(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        None => false,
    };
    let mut response = HttpResponse::build(if known {
        StatusCode::NOT_MODIFIED
    } else {
        StatusCode::OK
    });
    response
        .insert_header(ETag(tag))
        .insert_header((header::CACHE_CONTROL, "no-cache"));
    (response, known)
}
