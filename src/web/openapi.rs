//! `/openapi.json`, made from one table of addresses and one of shapes.

use crate::web::history::page;
use crate::web::problem::Trouble;
use crate::web::shapes::{object, schema};
use crate::web::thread::Thread;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

/// One parameter: name, kind, description.
type Parameter = (&'static str, &'static str, &'static str);

/// One address: path, summary, parameters, the shape of its answer (or its content type), the status codes beside 200.
pub(super) struct Read {
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    parameters: &'static [Parameter],
    pub(super) answer: &'static str,
    pub(super) others: &'static [u16],
}

const SYMBOL: Parameter = (
    "symbol",
    "string",
    "USD/COP, in any spelling; the first that is served, and that the token opens, by default",
);
const FROM: Parameter = (
    "from",
    "moment",
    "an instant or a date, inclusive; without an offset it is the market's time",
);
const TO: Parameter = ("to", "moment", "an instant or a date, exclusive");
const LIMIT: Parameter = ("limit", "limit", "how many at the most; 500 by default");

const fn read(
    path: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    answer: &'static str,
    others: &'static [u16],
) -> Read {
    Read {
        path,
        summary,
        parameters,
        answer,
        others,
    }
}

/// Every address that is read.
pub(super) const READS: [Read; 15] = [
    read("/health", "The process and what it needs", &[], "Health", &[]),
    read("/health/live", "Whether the process answers", &[], "Live", &[]),
    read(
        "/health/ready",
        "Whether clients are served as they should be",
        &[],
        "Ready",
        &[503],
    ),
    read(
        "/status",
        "Everything there is to know, in named parts",
        &[],
        "Status",
        &[401],
    ),
    read("/metrics", "Numbers for Prometheus", &[], "text/plain", &[401]),
    read(
        "/market/latest",
        "The last price",
        &[SYMBOL],
        "Latest",
        &[304, 400, 401, 403, 404],
    ),
    read(
        "/market/session",
        "The market's session",
        &[SYMBOL],
        "OpenSession|ClosedSession",
        &[304, 400, 401, 403, 404, 503],
    ),
    read(
        "/market/bars",
        "Bars, the best one of each slot, in pages",
        &[
            SYMBOL,
            ("interval", "interval", "5m by default"),
            FROM,
            TO,
            ("as_of", "moment", "as they were known at this instant"),
            (
                "order",
                "asc|desc",
                "towards which end pages go on; asc where from is given, else desc. A page has its earliest bar first",
            ),
            LIMIT,
            ("cursor", "bar_place", "next_cursor of the page before"),
            (
                "format",
                "json|csv",
                "csv without a limit brings all pages in one stream",
            ),
        ],
        "Bars",
        &[304, 400, 401, 403, 404, 503],
    ),
    read(
        "/market/ticks",
        "Accepted ticks, in pages",
        &[
            SYMBOL,
            FROM,
            TO,
            ("after_seq", "seq", "only those with a number above this one"),
            ("cursor", "place", "next_cursor of the page before"),
            LIMIT,
        ],
        "Ticks",
        &[304, 400, 401, 403, 404, 503],
    ),
    read(
        "/market/gaps",
        "Gaps and what became of them, the latest first, in pages",
        &[
            SYMBOL,
            FROM,
            TO,
            ("status", "open|filling|filled|unfillable", "only these"),
            ("cursor", "gap_place", "next_cursor of the page before"),
            LIMIT,
        ],
        "Gaps",
        &[304, 400, 401, 403, 404, 503],
    ),
    read(
        "/market/symbols",
        "The pairs that are served",
        &[],
        "Symbols",
        &[304, 400, 401],
    ),
    read(
        "/market/calendar",
        "Each day, with its session or why it has none",
        &[
            SYMBOL,
            ("from", "date", "today by default"),
            ("to", "date", "inclusive, within a year; a month by default"),
        ],
        "Calendar",
        &[304, 400, 401, 403, 404, 503],
    ),
    read("/openapi.json", "This document", &[], "Document", &[304]),
    read("/asyncapi.json", "The WebSocket interface", &[], "Document", &[304]),
    read("/docs", "Both documents for people", &[], "text/html", &[]),
];

/// The shapes of what is answered.
pub(super) const SHAPES: [(&str, &str); 35] = [
    (
        "Health",
        "status:healthy|degraded|unhealthy service:string version:string service_info:ServiceInfo connectivity:Connectivity \
         system_resources:Resources metrics:object conditions:[Condition] timestamp:instant",
    ),
    (
        "ServiceInfo",
        "name:string version:string status:string uptime_seconds:number start_time:instant?",
    ),
    ("Connectivity", "database:Reachable redis:Reachable"),
    ("Reachable", "connected:boolean response_time_ms:number?"),
    (
        "Resources",
        "cpu_percent:number memory_percent:number memory_available_mb:number disk_percent:number disk_free_gb:number",
    ),
    (
        "Condition",
        "type:string symbol~:string status:boolean reason:string message:string since:instant? clears_when:string …",
    ),
    ("Live", "status:alive"),
    ("Ready", "status:ready|not_ready state:State draining:boolean"),
    (
        "State",
        "name:initializing|waiting_l0|checking_data|ready|active|market_closed|error|shutdown since:instant? since_us:integer? \
         reason:string",
    ),
    (
        "Status",
        "service_status:string is_running:boolean l0_integration:L0 market_session:OpenSession|ClosedSession? api_key_usage:KeyUsage \
         websocket_connections:Connections realtime_collection:Collection timestamp:instant state:State \
         conditions:[Condition] symbols:{SymbolStatus} sessions:{OpenSession|ClosedSession} feed:Feed keys:[object] actors:[object] \
         readers:[object] clients:Clients gaps:[PendingGap] seam:object? seams:object? verdict:object? verdicts:object? log:Log leader:boolean …",
    ),
    (
        "SymbolStatus",
        "feed:live|polled|stale|down|closed cadence:object? safe_to_trade:boolean reasons:[string] last_tick:instant? \
         last_tick_us:integer? bars_today:integer rejected:{integer} rounded:integer",
    ),
    (
        "Feed",
        "state:string since:instant? since_us:integer? connections_total:integer last_message_age_ms:integer? connected:boolean",
    ),
    (
        "PendingGap",
        "id:string symbol:string interval:string from:instant to:instant from_us:integer to_us:integer bars:integer \
         status:open|filling|filled|unfillable cause:string",
    ),
    (
        "L0",
        "ready_signal_exists:boolean ready_signal_timestamp:instant? data_freshness_hours:number? \
         completeness_percentage:number? total_records:integer is_fresh:boolean is_complete:boolean",
    ),
    (
        "KeyUsage",
        "total_keys:integer current_key_index:integer total_calls:integer calls_per_key:object rate_limit_delay:number",
    ),
    (
        "Connections",
        "total_connections:integer active_connections:integer messages_sent:integer errors:integer \
         connections_by_symbol:object",
    ),
    ("Log", "lines_lost_total:integer"),
    ("Collection", "active:boolean websocket_connected:boolean"),
    ("Clients", "connected:integer conflating:integer evicted_total:object"),
    (
        "Latest",
        "symbol:string price:number bid:number ask:number spread:number volume:integer timestamp:instant source:string",
    ),
    (
        "OpenSession",
        "status:open current_session_start:instant current_session_end:instant minutes_until_close:integer session_date:date \
         type:spot|next_day reason:string expected_bars:integer",
    ),
    (
        "ClosedSession",
        "status:closed next_open:instant? minutes_until_open:integer? reason:string next:NextSession?",
    ),
    (
        "NextSession",
        "session_date:date type:spot|next_day reason:string expected_bars:integer",
    ),
    (
        "Bars",
        "symbol:string interval:string count:integer bars:[Bar] sources:[string] next_cursor:string?",
    ),
    (
        "Bar",
        "symbol:string interval:string open_time:instant close_time:instant open:number high:number low:number close:number \
         volume:number? ticks:integer state:closed|revised revision:integer provenance:string flags:[string] \
         session_date:date session_type:string",
    ),
    (
        "Ticks",
        "symbol:string count:integer ticks:[StoredTick] next_cursor:string?",
    ),
    ("StoredTick", "epoch:string seq:integer data:object"),
    ("Gaps", "symbol:string count:integer gaps:[Gap] next_cursor:string?"),
    (
        "Gap",
        "id:string symbol:string interval:string from:instant to:instant bars:integer \
         status:open|filling|filled|unfillable cause:string opened_at:instant updated_at:instant",
    ),
    (
        "Problem",
        "type:string title:string status:integer detail:string error:string …",
    ),
    ("Symbols", "symbols:[Pair]"),
    ("Pair", "symbol:string compact:string zone:string intervals:[string]"),
    ("Calendar", "symbol:string zone:string days:[Day]"),
    (
        "Day",
        "date:date type:string opens:instant? closes:instant? expected_bars:integer reason:string",
    ),
    ("Document", "info:object …"),
];

/// `GET /openapi.json`.
pub(super) async fn openapi(request: HttpRequest) -> Result<HttpResponse, Trouble> {
    let thread = Thread::of(&request)?;
    let intervals: Vec<&str> = thread.common.intervals.iter().map(|interval| interval.name()).collect();
    page(&request, &document(&intervals))
}

/// The document of a server that makes bars of these intervals.
pub(super) fn document(intervals: &[&str]) -> Value {
    let mut paths = Map::new();
    for read in READS {
        let parameter = |(name, kind, description): &Parameter| {
            json!({"name": name, "in": "query", "required": false, "description": description,
                "schema": parameter_schema(kind, intervals)})
        };
        let parameters: Vec<Value> = read.parameters.iter().map(parameter).collect();
        let mut responses = Map::new();
        responses.insert("200".to_owned(), answer(&read));
        for status in read.others {
            let body = match status {
                304 => json!({"description": "the client has it already"}),
                503 if read.path == "/health/ready" => answer(&read),
                _ => json!({"description": "a problem", "content": {"application/problem+json":
                    {"schema": {"$ref": "#/components/schemas/Problem"}}}}),
            };
            responses.insert(status.to_string(), body);
        }
        let mut operation = json!({"summary": read.summary, "parameters": parameters, "responses": responses});
        if let (true, Some(operation)) = (read.others.contains(&401), operation.as_object_mut()) {
            operation.insert("security".to_owned(), json!([{}, {"bearer": []}]));
        }
        paths.insert(read.path.to_owned(), json!({"get": operation}));
    }
    let schemas: Map<String, Value> = SHAPES
        .iter()
        .map(|(name, shape)| ((*name).to_owned(), object(shape)))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {"title": "candela", "version": env!("CARGO_PKG_VERSION"),
            "description": "Real-time market data for USD/COP and other FX pairs"},
        "servers": [{"url": "./", "description": "beside this document, also behind a path prefix"}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas,
        },
    })
}

fn answer(read: &Read) -> Value {
    let content = match read.answer {
        text if text.contains('/') => json!({text: {"schema": {"type": "string"}}}),
        shape => {
            let mut content = json!({"application/json": {"schema": schema(shape)}});
            if let (true, Some(content)) = (read.path == "/market/bars", content.as_object_mut()) {
                content.insert("text/csv".to_owned(), json!({"schema": {"type": "string"}}));
            }
            content
        }
    };
    json!({"description": "the answer", "content": content})
}

fn parameter_schema(kind: &str, intervals: &[&str]) -> Value {
    match kind {
        "moment" => json!({"type": "string", "anyOf": [{"format": "date-time"}, {"format": "date"}]}),
        "limit" => json!({"type": "integer", "minimum": 1, "maximum": crate::limits::REST_PAGE_MAX}),
        "seq" => json!({"type": "integer", "minimum": 0, "maximum": i64::MAX}),
        "place" => json!({"type": "string", "pattern": "^-?[0-9]+-[0-9]+$"}),
        "gap_place" => json!({"type": "string", "pattern": "^-?[0-9]+-[0-9]+-[0-9a-z]{4}$"}),
        "bar_place" => {
            json!({"type": "string", "examples": ["2026-01-02T08:00:00-05:00", "before:2026-01-02T08:00:00-05:00"]})
        }
        "interval" => json!({"enum": intervals}),
        other => schema(other),
    }
}

#[cfg(test)]
#[path = "openapi_tests.rs"]
mod tests;
