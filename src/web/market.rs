//! `/market/…`: what the market did, from what was told and what is written down.

use crate::domain::symbol::Symbol;
use crate::domain::tick::AcceptedTick;
use crate::limits;
use crate::web::problem::Trouble;
use crate::web::thread::Thread;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

/// `?symbol=`, in any spelling; the first served symbol by default.
#[derive(Debug, Deserialize)]
pub(super) struct OfSymbol {
    symbol: Option<String>,
}

impl OfSymbol {
    fn read(&self, thread: &Thread) -> Result<Symbol, Trouble> {
        match &self.symbol {
            Some(text) => thread.symbol(text),
            None => {
                let first = thread.common.symbols.first().copied();
                first.ok_or_else(|| Trouble::not_found("unknown_symbol", "no symbol is served"))
            }
        }
    }
}

/// `GET /market/latest`: the object that the cache holds under the old key; 404 when there is none or it is too old.
pub(super) async fn latest(request: HttpRequest, of: web::Query<OfSymbol>) -> Result<HttpResponse, Trouble> {
    let thread = Thread::of(&request)?;
    let symbol = of.read(&thread)?;
    let last = thread.deck.latest.borrow().get(&symbol).copied();
    let now = thread.deck.clock().now();
    let fresh = last.filter(|last| now.since(last.received_at) <= limits::LATEST_PRICE_AGE);
    match fresh {
        Some(last) => Ok(HttpResponse::Ok().json(latest_json(&thread, &last))),
        None => Err(Trouble::not_found("no_data", "No data available")),
    }
}

/// `GET /market/session`: in the old shape, plus what came since.
pub(super) async fn session(request: HttpRequest, of: web::Query<OfSymbol>) -> Result<HttpResponse, Trouble> {
    let thread = Thread::of(&request)?;
    let symbol = of.read(&thread)?;
    let session = thread.view().sessions.get(&symbol).cloned();
    let session = session.ok_or_else(|| Trouble::unavailable("not_ready", "the session is not known yet"))?;
    Ok(HttpResponse::Ok().json(session))
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
