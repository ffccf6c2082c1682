//! `/market/…`: the latest price and the session.

use crate::domain::model::AcceptedTick;
use crate::limits;
use crate::web::rest::history::page;
use crate::web::shared::{HttpError, Query, Thread};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

/// `GET /market/latest`: the object that the cache holds under the old key; 404 when there is none or it is too old.
pub(crate) async fn latest(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    let symbol = Query::of(&request, &["symbol"])?.symbol(&thread)?;
    let last = thread.registry.latest.borrow().get(&symbol).copied();
    let now = thread.registry.clock().now();
    let fresh = last.filter(|last| now.since(last.received_at) <= limits::LATEST_PRICE_AGE);
    match fresh {
        Some(last) => page(&request, &latest_json(&thread, &last)),
        None => Err(HttpError::not_found("no_data", "No data available")),
    }
}

/// `GET /market/session`: the old service's fields, and newer fields.
pub(crate) async fn session(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    let symbol = Query::of(&request, &["symbol"])?.symbol(&thread)?;
    let session = thread.view().sessions.get(&symbol).cloned();
    let session = session.ok_or_else(|| HttpError::unavailable("not_ready", "the session is not known yet"))?;
    page(&request, &json!(session))
}

fn latest_json(thread: &Thread, last: &AcceptedTick) -> Value {
    let tick = &last.tick;
    let bid = tick.bid.unwrap_or(tick.price);
    let ask = tick.ask.unwrap_or(tick.price);
    json!({
        "symbol": tick.symbol.as_str(),
        "price": tick.price,
        "bid": bid,
        "ask": ask,
        "spread": ask.minus(bid),
        "volume": 0,
        "timestamp": tick.at.rfc3339(thread.zones.of(tick.symbol)),
        "source": tick.provenance.name(),
    })
}
