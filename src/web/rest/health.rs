//! `/health`: the old service's fields with their names and types, and newer fields.

use crate::domain::calendar::SessionView;
use crate::web::shared::{HttpError, Thread};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

/// The old service's name, which its users expect.
const SERVICE: &str = "enhanced_websocket_service";

/// `GET /health`: 200 whenever the process can answer, as in the old service.
pub(crate) async fn health(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    Ok(HttpResponse::Ok().json(health_of(&thread)))
}

/// `GET /health/live`: the process answers.
pub(crate) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "alive"}))
}

/// `GET /health/ready`: 200 when clients are served as they should be, else 503.
pub(crate) async fn ready(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    let view = thread.view();
    let draining = thread.common.drain.borrow().is_some();
    let serving = matches!(view.state.name.as_str(), "ready" | "active" | "market_closed");
    let ready = !draining && serving && !view.unresponsive();
    let status = if ready { "ready" } else { "not_ready" };
    let body = json!({"status": status, "state": view.state, "draining": draining});
    if ready {
        return Ok(HttpResponse::Ok().json(body));
    }
    Ok(HttpResponse::ServiceUnavailable().json(body))
}

fn health_of(thread: &Thread) -> Value {
    let view = thread.view();
    let now = thread.registry.clock().now();
    let zone = thread.zones.first();
    let healthy = !matches!(view.state.name.as_str(), "error" | "shutdown") && view.database.connected;
    // While a condition holds, such as an expired wait for the history, the service is not healthy, although it serves clients.
    let degraded = view.holding().next().is_some();
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
            "market_hours_active": view.sessions.values().any(SessionView::is_open),
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
