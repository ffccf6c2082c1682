//! `/health` and `/status`: the old service's fields with their names and types, and later ones.

use crate::domain::model::{Gap, Timestamp};
use crate::domain::protocol::{Zones, frames};
use crate::views::{FeedView, StateView, SymbolView};
use crate::web::shared::{Thread, Trouble};
use actix_web::{HttpRequest, HttpResponse};
use chrono_tz::Tz;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// The name under which the old service's users know this one.
const SERVICE: &str = "enhanced_websocket_service";

/// `GET /health`: 200 whenever the process can answer, as it was.
pub(crate) async fn health(request: HttpRequest) -> Result<HttpResponse, Trouble> {
    let thread = Thread::of(&request)?;
    Ok(HttpResponse::Ok().json(health_of(&thread)))
}

/// `GET /health/live`: the process answers.
pub(crate) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "alive"}))
}

/// `GET /health/ready`: 200 when clients are served as they should be, else 503.
pub(crate) async fn ready(request: HttpRequest) -> Result<HttpResponse, Trouble> {
    let thread = Thread::of(&request)?;
    let view = thread.view();
    let draining = thread.common.drain.borrow().is_some();
    let serving = matches!(view.state.name.as_str(), "ready" | "active" | "market_closed");
    let ready = !draining && serving && !view.unresponsive();
    let state = state_json(&view.state, thread.zones.first());
    let body = json!({"status": if ready { "ready" } else { "not_ready" }, "state": state, "draining": draining});
    if ready {
        return Ok(HttpResponse::Ok().json(body));
    }
    Ok(HttpResponse::ServiceUnavailable().json(body))
}

/// `GET /status`.
pub(crate) async fn status(request: HttpRequest) -> Result<HttpResponse, Trouble> {
    let thread = Thread::of(&request)?;
    Ok(HttpResponse::Ok().json(status_of(&thread)))
}

fn health_of(thread: &Thread) -> Value {
    let view = thread.view();
    let now = thread.registry.clock().now();
    let zone = thread.zones.first();
    let healthy = !matches!(view.state.name.as_str(), "error" | "shutdown") && view.database.connected;
    // While a condition holds, such as an expired wait for the history, the service is not healthy, although it serves.
    let degraded = view.conditions.iter().any(|condition| condition["status"] == true);
    let health = match (healthy, degraded) {
        (false, _) => "unhealthy",
        (true, true) => "degraded",
        (true, false) => "healthy",
    };
    let version = env!("CARGO_PKG_VERSION");
    let uptime = view.started_at.map_or(0.0, |started| now.since(started).as_secs_f64());
    let status = &view.state.name;
    json!({
        "status": health,
        "service": "enhanced-websocket-service",
        "version": version,
        "service_info": {
            "name": SERVICE,
            "version": version,
            "status": status,
            "uptime_seconds": uptime,
            "start_time": view.started_at.map(|started| started.rfc3339(zone)),
        },
        "connectivity": {"database": view.database, "redis": view.redis},
        "system_resources": view.resources,
        "metrics": {
            "service_status": status,
            "uptime_seconds": uptime,
            "database_connected": view.database.connected,
            "redis_connected": view.redis.connected,
            "websocket_connected": view.feed.connected,
            "market_hours_active": view.sessions.values().any(|session| session["status"] == "open"),
            "l0_ready": view.l0.ready_signal_exists,
            "last_health_check": now.rfc3339(zone),
            "error_count": view.error_count,
            "processed_ticks": view.processed_ticks,
            "l0_data_fresh": view.l0.is_fresh,
            "l0_data_complete": view.l0.is_complete,
            "l0_completeness_percent": view.l0.completeness_percentage,
            "market_session_info": view.first_session(),
        },
        "conditions": view.conditions,
        "timestamp": now.rfc3339(zone),
    })
}

/// Instants for people, and beside them as numbers for programs.
fn state_json(state: &StateView, zone: Tz) -> Value {
    json!({"name": state.name, "since": state.since.map(|at| at.rfc3339(zone)), "since_us": state.since.map(Timestamp::micros),
        "reason": state.reason})
}

fn feed_json(feed: &FeedView, zone: Tz) -> Value {
    json!({"state": feed.state, "since": feed.since.map(|at| at.rfc3339(zone)), "since_us": feed.since.map(Timestamp::micros),
        "connections_total": feed.connections_total, "last_message_age_ms": feed.last_message_age_ms, "connected": feed.connected})
}

fn symbol_json(view: &SymbolView, zone: Tz) -> Value {
    let rounded_by: BTreeMap<&str, u64> = view
        .rounded
        .iter()
        .map(|(source, count)| (source.name(), *count))
        .collect();
    json!({"feed": view.feed, "cadence": view.cadence, "safe_to_trade": view.safe_to_trade, "reasons": view.reasons,
        "last_tick": view.last_tick.map(|at| at.rfc3339(zone)), "last_tick_us": view.last_tick.map(Timestamp::micros),
        "bars_today": view.bars_today, "rejected": view.rejected, "rounded": view.rounded.values().sum::<u64>(), "rounded_by": rounded_by})
}

fn gap_json(zones: &Zones, gap: &Gap) -> Value {
    let mut shown: Value = serde_json::from_str(&frames::gap_json(zones, gap)).unwrap_or_default();
    if let Some(members) = shown.as_object_mut() {
        members.insert("from_us".to_owned(), json!(gap.from.micros()));
        members.insert("to_us".to_owned(), json!(gap.to.micros()));
    }
    shown
}

fn status_of(thread: &Thread) -> Value {
    let view = thread.view();
    let now = thread.registry.clock().now();
    let counts = thread.registry.counts();
    let connected = counts.connected.load(Ordering::Relaxed);
    let by_symbol = counts.by_symbol().into_iter();
    let by_symbol: serde_json::Map<String, Value> = by_symbol
        .map(|(symbol, count)| (symbol.compact(), json!(count)))
        .collect();
    let state = &view.state.name;
    let symbols: serde_json::Map<String, Value> = view
        .symbols
        .iter()
        .map(|(symbol, view)| (symbol.to_string(), symbol_json(view, thread.zones.of(*symbol))))
        .collect();
    let sessions: serde_json::Map<String, Value> = view
        .sessions
        .iter()
        .map(|(symbol, session)| (symbol.to_string(), session.clone()))
        .collect();
    json!({
        "service_status": state,
        "is_running": state != "shutdown",
        "l0_integration": view.l0,
        "market_session": view.first_session(),
        "api_key_usage": view.api_key_usage,
        "websocket_connections": {
            "total_connections": counts.connections_total.load(Ordering::Relaxed),
            "active_connections": connected,
            "messages_sent": counts.told_total.load(Ordering::Relaxed),
            "errors": counts.closed().iter().filter(|(name, _)| **name != "normal").map(|(_, n)| n).sum::<u64>(),
            "connections_by_symbol": by_symbol,
        },
        "realtime_collection": {"active": state == "active", "websocket_connected": view.feed.connected},
        "timestamp": now.rfc3339(thread.zones.first()),
        "state": state_json(&view.state, thread.zones.first()),
        "conditions": view.conditions,
        "symbols": symbols,
        "sessions": sessions,
        "feed": feed_json(&view.feed, thread.zones.first()),
        "keys": view.keys,
        "forecast": view.forecast,
        "comparisons": view.comparisons,
        "actors": view.actors,
        "readers": view.readers,
        "clients": {
            "connected": connected,
            "conflating": counts.conflating.load(Ordering::Relaxed),
            "evicted_total": counts.closed(),
        },
        "gaps": view.gaps.iter().map(|gap| gap_json(&thread.zones, gap)).collect::<Vec<_>>(),
        "seam": view.seam,
        "seams": view.seams,
        "verdict": view.verdict,
        "verdicts": view.verdicts,
        "log": {"lines_lost_total": view.log_lines_lost},
        "rounded_reads": view.rounded_reads,
        "leader": view.leader,
        "leases": view.leases,
    })
}
