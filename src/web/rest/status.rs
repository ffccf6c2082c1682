//! `/status`: the old service's fields with their names and types, and newer fields.

use crate::domain::calendar::SessionView;
use crate::domain::model::{Gap, RejectReason, RoundedSource, Symbol, Timestamp, ZonedInstant};
use crate::domain::protocol::{Zones, frames};
use crate::domain::status::CadenceView;
use crate::views::status::{SeamStatus, VerdictStatus};
use crate::views::{ServiceView, SymbolView};
use crate::web::shared::{HttpError, Thread};
use actix_web::{HttpRequest, HttpResponse};
use chrono_tz::Tz;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// The view, and what `web` adds.
#[derive(Debug, Serialize)]
struct StatusPage<'a> {
    #[serde(flatten)]
    view: &'a ServiceView,
    service_status: &'a str,
    is_running: bool,
    market_session: Option<&'a SessionView>,
    websocket_connections: Value,
    realtime_collection: Value,
    timestamp: ZonedInstant,
    symbols: BTreeMap<Symbol, SymbolStatus<'a>>,
    clients: Value,
    gaps: Vec<Value>,
    seam: Option<&'a SeamStatus>,
    verdict: Option<&'a VerdictStatus>,
    log: Value,
}

/// A pair, with instants in the zone of its market.
#[derive(Debug, Serialize)]
struct SymbolStatus<'a> {
    feed: &'a str,
    cadence: Option<&'a CadenceView>,
    safe_to_trade: bool,
    reasons: &'a [String],
    last_tick: Option<ZonedInstant>,
    last_tick_us: Option<Timestamp>,
    bars_today: u64,
    rejected: &'a BTreeMap<RejectReason, u64>,
    rounded: u64,
    rounded_by: &'a BTreeMap<RoundedSource, u64>,
}

/// `GET /status`. The members are sent in the order of their names.
pub(crate) async fn status(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    let page = page(&thread, &thread.view(), thread.registry.clock().now());
    Ok(HttpResponse::Ok().json(page))
}

fn page(thread: &Thread, view: &ServiceView, now: Timestamp) -> Value {
    let counts = thread.registry.counts();
    let connected = counts.connected.load(Ordering::Relaxed);
    let mut closed = counts.closed();
    closed.retain(|_, count| *count > 0);
    let by_symbol = counts.by_symbol().into_iter();
    json!(StatusPage {
        view,
        service_status: &view.state.name,
        is_running: view.state.name != "shutdown",
        market_session: view.first_session(),
        websocket_connections: json!({
            "total_connections": counts.connections_total.load(Ordering::Relaxed),
            "active_connections": connected,
            "messages_sent": counts.told_total.load(Ordering::Relaxed),
            "errors": closed.iter().filter(|(name, _)| **name != "normal").map(|(_, n)| n).sum::<u64>(),
            "connections_by_symbol": by_symbol.map(|(symbol, n)| (symbol.compact(), n)).collect::<BTreeMap<_, _>>(),
        }),
        realtime_collection: json!({"active": view.state.name == "active", "websocket_connected": view.feed.connected}),
        timestamp: ZonedInstant::new(now, thread.zones.first()),
        symbols: view
            .symbols
            .iter()
            .map(|(symbol, view)| (*symbol, SymbolStatus::new(view, thread.zones.of(*symbol))))
            .collect(),
        clients: json!({
            "connected": connected,
            "conflating": counts.conflating.load(Ordering::Relaxed),
            "evicted_total": closed,
        }),
        gaps: view.gaps.iter().map(|gap| gap_json(&thread.zones, gap)).collect(),
        seam: view.first.and_then(|first| view.seams.get(&first)),
        verdict: view.first.and_then(|first| view.verdicts.get(&first)),
        log: json!({"lines_lost_total": view.log_lines_lost}),
    })
}

impl<'a> SymbolStatus<'a> {
    fn new(view: &'a SymbolView, zone: Tz) -> Self {
        Self {
            feed: &view.feed,
            cadence: view.cadence.as_ref(),
            safe_to_trade: view.safe_to_trade,
            reasons: &view.reasons,
            last_tick: view.last_tick.map(|at| ZonedInstant::new(at, zone)),
            last_tick_us: view.last_tick,
            bars_today: view.bars_today,
            rejected: &view.rejected,
            rounded: view.rounded.values().sum(),
            rounded_by: &view.rounded,
        }
    }
}

fn gap_json(zones: &Zones, gap: &Gap) -> Value {
    let mut shown: Value = serde_json::from_str(&frames::gap_json(zones, gap)).unwrap_or_default();
    if let Some(members) = shown.as_object_mut() {
        members.insert("from_us".to_owned(), json!(gap.from.micros()));
        members.insert("to_us".to_owned(), json!(gap.to.micros()));
    }
    shown
}
