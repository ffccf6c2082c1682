//! `/openapi.json`, generated from a table of routes and a table of shapes.

use crate::web::admin::ACTIONS;
use crate::web::api_docs::shapes::{object, schema};
use crate::web::rest::history::page;
use crate::web::shared::{HttpError, Thread};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

/// One parameter: name, kind, description.
type Parameter = (&'static str, &'static str, &'static str);

/// One route: path, summary, parameters, the shape of its response (or its content type), the status codes other than 200.
pub(crate) struct Read {
    pub(crate) path: &'static str,
    pub(super) summary: &'static str,
    parameters: &'static [Parameter],
    pub(crate) answer: &'static str,
    pub(crate) others: &'static [u16],
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
const LIMIT: Parameter = ("limit", "limit", "at most this many; 500 by default");

const PRICE: Parameter = (
    "price",
    "decimal|float64",
    "how a Parquet file holds prices; decimal by default",
);

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

/// Every route that is read with GET.
pub(super) const READS: [Read; 22] = [
    read("/health", "The process and its dependencies", &[], "Health", &[]),
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
        "The whole status of the service, in named parts",
        &[],
        "Status",
        &[401],
    ),
    read(
        "/status/events",
        "The journal: what the service did or detected, when, and why, in pages",
        &[
            FROM,
            TO,
            ("type", "string", "only these, such as state or condition_raised"),
            (
                "symbol",
                "string",
                "only those that concern this pair or the whole service; all by default",
            ),
            ("cursor", "place", "next_cursor of the page before"),
            LIMIT,
        ],
        "Events",
        &[304, 400, 401, 403, 404, 503],
    ),
    read(
        "/status/explain",
        "Why the service is, or was, in its state, from the journal alone",
        &[
            ("symbol", "string", "for this pair; for all by default"),
            ("at", "moment", "as it was at this instant; now by default"),
        ],
        "Explanation",
        &[304, 400, 401, 403, 404, 503],
    ),
    read(
        "/admin",
        "The actions that this token allows",
        &[],
        "AllowedActions",
        &[401],
    ),
    read(
        "/admin/clients",
        "The clients that are connected, slow ones first; for a token with the scope operate",
        &[("limit", "limit", "at most this many; 100 by default")],
        "ConnectedClients",
        &[400, 401, 403],
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
                "towards which end pages continue; asc where from is given, else desc. A page has its earliest bar first",
            ),
            LIMIT,
            ("cursor", "bar_place", "next_cursor of the page before"),
            (
                "format",
                "json|csv|parquet",
                "csv and parquet without a limit bring all pages in one stream",
            ),
            PRICE,
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
            (
                "format",
                "json|parquet",
                "parquet without a limit brings all pages in one stream",
            ),
            PRICE,
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
        "/market/certificates",
        "Certificates of finished sessions with their later revisions, the latest first, in pages",
        &[
            SYMBOL,
            ("from", "date", "the first date of a session"),
            ("to", "date", "the last one, inclusive"),
            ("cursor", "certificate_place", "next_cursor of the page before"),
            LIMIT,
        ],
        "Certificates",
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
    read(
        "/sse",
        "Channels as a stream of events; Last-Event-ID says where the last one ended",
        &[
            (
                "channels",
                "string",
                "as on the socket, between commas; those of /ws by default",
            ),
            (
                "last_event_id",
                "string",
                "the last id, for clients that cannot send Last-Event-ID",
            ),
            ("token", "string", "a token, where server.query_tokens allows it here"),
        ],
        "text/event-stream",
        &[400, 401, 403, 503],
    ),
    read("/openapi.json", "This document", &[], "Document", &[304]),
    read("/asyncapi.json", "The WebSocket interface", &[], "Document", &[304]),
    read(
        "/docs",
        "Both API documents as a page for people",
        &[],
        "text/html",
        &[],
    ),
    read(
        "/runbooks",
        "What to do about a condition or an alert",
        &[("name", "string", "that condition or alert alone, such as feed_down")],
        "text/plain",
        &[400, 404],
    ),
];

/// The shapes of the responses.
pub(super) const SHAPES: [(&str, &str); 45] = [
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
        "type:string symbol~:string status:boolean reason:string message:string since:instant? clears_when:string runbook:string …",
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
         readers:[object] clients:Clients gaps:[PendingGap] seam:object? seams:object? verdict:object? verdicts:object? log:Log rounded_reads:integer leader:boolean leases:[object] …",
    ),
    (
        "SymbolStatus",
        "feed:live|polled|stale|down|closed cadence:object? safe_to_trade:boolean reasons:[string] last_tick:instant? \
         last_tick_us:integer? bars_today:integer rejected:{integer} rounded:integer rounded_by:{integer}",
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
        "Certificates",
        "symbol:string count:integer certificates:[Certificate] next_cursor:string?",
    ),
    (
        "Certificate",
        "symbol:string session_date:date revision:integer interval:string opens:instant closes:instant expected:integer \
         present:{integer} missing:integer revised:integer mismatched:integer unfillable:[object] seam:object? previous:object? \
         hash:string through:integer issued_at:instant",
    ),
    (
        "Problem",
        "type:string title:string status:integer detail:string error:string …",
    ),
    (
        "Events",
        "count:integer events:[ServiceEvent] next_cursor:string? lacks_before:instant?",
    ),
    (
        "ServiceEvent",
        "position:integer type:string at:instant symbol:string? subject:string cause:string message:string by:string? details:{string}",
    ),
    (
        "Explanation",
        "at:instant symbol:string? state:string? good:boolean sentences:[string] entries:[integer]",
    ),
    ("ConnectedClients", "connected:integer clients:[ConnectedClient]"),
    (
        "ConnectedClient",
        "id:string since:instant address:string? token:string? slow:boolean closing:boolean",
    ),
    ("AllowedActions", "by:string? actions:[AllowedAction]"),
    ("AllowedAction", "action:string members:[string]"),
    (
        "ActionDone",
        "action:string done:boolean by:string reason:string at:instant message:string",
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
pub(crate) async fn openapi(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    let intervals: Vec<&str> = thread.common.intervals.iter().map(|interval| interval.name()).collect();
    page(&request, &document(&intervals))
}

/// The document of a server whose bars have these intervals.
pub(crate) fn document(intervals: &[&str]) -> Value {
    let mut paths = Map::new();
    for read in READS {
        let parameters: Vec<Value> = read
            .parameters
            .iter()
            .map(|(name, kind, description): &Parameter| {
                json!({"name": name, "in": "query", "required": false, "description": description,
                "schema": parameter_schema(kind, intervals)})
            })
            .collect();
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
    paths.extend(actions());
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

/// Every action that an operator may request.
fn actions() -> impl Iterator<Item = (String, Value)> {
    ACTIONS.iter().map(|(action, members)| {
        let names = members.iter().chain(&["reason"]);
        let properties: Map<String, Value> = names.map(|name| ((*name).to_owned(), schema("string"))).collect();
        let required: Vec<&str> = properties
            .keys()
            .map(String::as_str)
            .filter(|name| *name != "to")
            .collect();
        let body =
            json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false});
        let mut responses = Map::new();
        let done = json!({"application/json": {"schema": schema("ActionDone")}});
        responses.insert(
            "200".to_owned(),
            json!({"description": "it is done, or started", "content": done}),
        );
        for status in [400, 401, 403, 404, 409, 413, 422, 503] {
            let problem = json!({"application/problem+json": {"schema": schema("Problem")}});
            responses.insert(
                status.to_string(),
                json!({"description": "a problem: no action is done", "content": problem}),
            );
        }
        let key = json!({"name": "Idempotency-Key", "in": "header", "required": false, "schema": schema("string"),
            "description": "a request that is sent again with the same key is run once"});
        let operation = json!({"summary": format!("Action: {}", action.replace('_', " ")), "parameters": [key],
            "requestBody": {"required": true, "content": {"application/json": {"schema": body}}},
            "responses": responses, "security": [{"bearer": []}]});
        (format!("/admin/{action}"), json!({"post": operation}))
    })
}

fn answer(read: &Read) -> Value {
    let content = match read.answer {
        "text/event-stream" => json!({"text/event-stream": {}}), // OpenAPI 3.1 has no schema of its events
        text if text.contains('/') => json!({text: {"schema": {"type": "string"}}}),
        shape => {
            let mut content = json!({"application/json": {"schema": schema(shape)}});
            let more: &[&str] = match read.path {
                "/market/bars" => &["text/csv", "application/vnd.apache.parquet"],
                "/market/ticks" => &["application/vnd.apache.parquet"],
                _ => &[],
            };
            if let Some(content) = content.as_object_mut() {
                content.extend(
                    more.iter()
                        .map(|kind: &&str| ((*kind).to_owned(), json!({"schema": {"type": "string"}}))),
                );
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
        "certificate_place" => json!({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]+-[0-9a-z]{4}$"}),
        "bar_place" => {
            json!({"type": "string", "examples": ["2026-01-02T08:00:00-05:00", "before:2026-01-02T08:00:00-05:00"]})
        }
        "interval" => json!({"enum": intervals}),
        other => schema(other),
    }
}

#[cfg(test)]
#[path = "tests/openapi.rs"]
mod tests;
