//! `/openapi.json`, generated from the routes and shapes of `openapi.toml`.

use crate::web::admin::ACTIONS;
use crate::web::api_docs::shapes::{objects, read_tables, schema};
use crate::web::rest::history::page;
use crate::web::shared::{HttpError, Thread};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The tables of `openapi.toml`.
#[derive(Debug, Deserialize)]
pub(super) struct ApiTables {
    /// Parameters that several routes have: name, then kind and description.
    parameters: BTreeMap<String, String>,
    /// Every route that is read with GET.
    pub(super) reads: Vec<Read>,
    /// The shapes of the responses.
    pub(super) shapes: BTreeMap<String, String>,
}

/// One route: path, summary, parameters, the shape of its response (or its content type), the status codes other than 200.
#[derive(Debug, Deserialize)]
pub(super) struct Read {
    pub(super) path: String,
    summary: String,
    #[serde(default)]
    parameters: Vec<String>,
    pub(super) answer: String,
    #[serde(default)]
    pub(super) others: Vec<u16>,
}

pub(super) static TABLES: LazyLock<ApiTables> = LazyLock::new(|| read_tables(include_str!("openapi.toml")));

/// `GET /openapi.json`.
pub(crate) async fn openapi(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    let intervals: Vec<&str> = thread.common.intervals.iter().map(|interval| interval.name()).collect();
    page(&request, &document(&intervals))
}

/// The document of a server whose bars have these intervals.
pub(crate) fn document(intervals: &[&str]) -> Value {
    let mut paths = Map::new();
    for read in &TABLES.reads {
        let parameters: Vec<Value> = read.parameters.iter().map(|text| parameter(text, intervals)).collect();
        let mut responses = Map::new();
        responses.insert("200".to_owned(), answer(read));
        for status in &read.others {
            let body = match status {
                304 => json!({"description": "the client has it already"}),
                503 if read.path == "/health/ready" => answer(read),
                _ => json!({"description": "a problem", "content": {"application/problem+json":
                    {"schema": {"$ref": "#/components/schemas/Problem"}}}}),
            };
            responses.insert(status.to_string(), body);
        }
        let mut operation = json!({"summary": read.summary, "parameters": parameters, "responses": responses});
        if let (true, Some(operation)) = (read.others.contains(&401), operation.as_object_mut()) {
            operation.insert("security".to_owned(), json!([{}, {"bearer": []}]));
        }
        paths.insert(read.path.clone(), json!({"get": operation}));
    }
    paths.extend(actions());
    json!({
        "openapi": "3.1.0",
        "info": {"title": "candela", "version": env!("CARGO_PKG_VERSION"),
            "description": "Real-time market data for USD/COP and other FX pairs"},
        "servers": [{"url": "./", "description": "beside this document, also behind a path prefix"}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": objects(&TABLES.shapes),
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
    let content = match read.answer.as_str() {
        "text/event-stream" => json!({"text/event-stream": {}}), // OpenAPI 3.1 has no schema of its events
        text if text.contains('/') => json!({text: {"schema": {"type": "string"}}}),
        shape => {
            let mut content = json!({"application/json": {"schema": schema(shape)}});
            let more: &[&str] = match read.path.as_str() {
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

/// A parameter by its name, or by name, kind and description.
fn parameter(text: &str, intervals: &[&str]) -> Value {
    let (name, rest) = match TABLES.parameters.get(text) {
        Some(rest) => (text, rest.as_str()),
        None => text.split_once(' ').unwrap_or_default(),
    };
    let (kind, description) = rest.split_once(' ').unwrap_or_default();
    json!({"name": name, "in": "query", "required": false, "description": description,
        "schema": parameter_schema(kind, intervals)})
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
