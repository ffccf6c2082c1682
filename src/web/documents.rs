//! `/openapi.json` and `/asyncapi.json`, made from the same tables that the code runs on.

use crate::domain::protocol::{Close, Problem};
use crate::web::problem::Trouble;
use actix_web::HttpResponse;
use serde_json::{Map, Value, json};

/// One parameter: name, JSON schema, description.
type Parameter = (&'static str, &'static str, &'static str);

const SYMBOL: Parameter = (
    "symbol",
    "string",
    "USD/COP, in any spelling; the first served one by default",
);
const FROM: Parameter = ("from", "string", "an RFC 3339 instant or a date, inclusive");
const TO: Parameter = ("to", "string", "an RFC 3339 instant or a date, exclusive");
const LIMIT: Parameter = ("limit", "integer", "how many at the most, up to 10000");

/// Path, summary, parameters, and the status codes beside 200.
pub(super) const READS: [(&str, &str, &[Parameter], &[u16]); 15] = [
    ("/health", "The process and what it needs", &[], &[]),
    ("/health/live", "Whether the process answers", &[], &[]),
    (
        "/health/ready",
        "Whether clients are served as they should be",
        &[],
        &[503],
    ),
    ("/status", "Everything there is to know, in named parts", &[], &[401]),
    ("/metrics", "Numbers for Prometheus", &[], &[401]),
    ("/market/latest", "The last price", &[SYMBOL], &[400, 401, 404]),
    (
        "/market/session",
        "The market's session",
        &[SYMBOL],
        &[400, 401, 404, 503],
    ),
    (
        "/market/bars",
        "Bars, the best one of each slot, in pages",
        &[
            SYMBOL,
            ("interval", "string", "5m by default"),
            FROM,
            TO,
            ("as_of", "string", "as they were known at this instant"),
            LIMIT,
            ("cursor", "string", "next_cursor of the page before"),
            ("format", "string", "json or csv"),
        ],
        &[304, 400, 401, 404, 503],
    ),
    (
        "/market/ticks",
        "Accepted ticks, in pages",
        &[
            SYMBOL,
            FROM,
            TO,
            ("after_seq", "integer", "next_after_seq of the page before"),
            LIMIT,
        ],
        &[304, 400, 401, 404, 503],
    ),
    (
        "/market/gaps",
        "Gaps and what became of them",
        &[
            SYMBOL,
            FROM,
            TO,
            ("status", "string", "open, filling, filled or unfillable"),
            LIMIT,
        ],
        &[304, 400, 401, 404, 503],
    ),
    ("/market/symbols", "The pairs that are served", &[], &[304, 400, 401]),
    (
        "/market/calendar",
        "Each day, with its session or why it has none",
        &[
            SYMBOL,
            ("from", "string", "a date"),
            ("to", "string", "a date, inclusive, within a year"),
        ],
        &[304, 400, 401, 404, 503],
    ),
    ("/openapi.json", "This document", &[], &[]),
    ("/asyncapi.json", "The WebSocket interface", &[], &[]),
    ("/docs", "Both documents for people", &[], &[]),
];

/// Each message of the WebSocket, who sends it, and what it is for.
pub(super) const MESSAGES: [(&str, &str, &str); 22] = [
    ("welcome", "server", "always first: what is served, and the limits"),
    ("authenticated", "server", "the token is valid"),
    (
        "subscribed",
        "server",
        "the answer to subscribe, channel by channel, with all subscriptions",
    ),
    ("unsubscribed", "server", "the answer to unsubscribe"),
    ("snapshot", "server", "what a channel looked like at its head"),
    ("replay_end", "server", "all that was missed has been brought"),
    ("market_data", "server", "a tick"),
    (
        "bar",
        "server",
        "a bar: forming (base, version), closed or revised (seq)",
    ),
    ("bar_end", "server", "all bars of an interval are out"),
    ("gap", "server", "a gap was opened or changed its status"),
    ("session", "server", "a session opened or closed, or soon will"),
    ("status", "server", "the service's state and conditions"),
    ("skipped", "server", "messages that cannot be brought any more"),
    ("slow", "server", "this client reads too slowly, or no longer"),
    (
        "heartbeat",
        "server",
        "nothing else was sent; heads say up to where this is complete",
    ),
    ("heartbeat_response", "server", "the answer to a client's heartbeat"),
    ("pong", "server", "the answer to ping"),
    ("error", "server", "a request could not be met; the connection stays"),
    ("goaway", "server", "the server will close: come back after the delay"),
    ("subscribe", "client", "follow channels, from a place in their logs"),
    ("unsubscribe", "client", "follow channels no longer"),
    ("ping", "client", "asks for a pong"),
];

/// `GET /openapi.json`.
pub(super) async fn openapi() -> Result<HttpResponse, Trouble> {
    Ok(HttpResponse::Ok().json(openapi_json()))
}

/// `GET /asyncapi.json`.
pub(super) async fn asyncapi() -> Result<HttpResponse, Trouble> {
    Ok(HttpResponse::Ok().json(asyncapi_json()))
}

pub(super) fn openapi_json() -> Value {
    let mut paths = Map::new();
    for (path, summary, parameters, others) in READS {
        let parameter = |(name, kind, description): &Parameter| json!({"name": name, "in": "query", "required": false, "description": description, "schema": {"type": kind}});
        let parameters: Vec<Value> = parameters.iter().map(parameter).collect();
        let mut responses = Map::new();
        responses.insert("200".to_owned(), answer(path));
        for status in others {
            let body = match status {
                304 => json!({"description": "the client has it already"}),
                503 if path == "/health/ready" => answer(path),
                _ => json!({"description": "a problem", "content": {"application/problem+json":
                    {"schema": {"$ref": "#/components/schemas/Problem"}}}}),
            };
            responses.insert(status.to_string(), body);
        }
        paths.insert(
            path.to_owned(),
            json!({"get": {"summary": summary, "parameters": parameters, "responses": responses}}),
        );
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "candela", "version": env!("CARGO_PKG_VERSION"),
            "description": "Real-time market data for USD/COP and other FX pairs"},
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": {"type": "object", "required": ["type", "title", "status", "detail", "error"],
                "properties": {"type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
                    "detail": {"type": "string"}, "error": {"type": "string"}}}},
        },
    })
}

fn answer(path: &str) -> Value {
    let content = match path {
        "/metrics" => json!({"text/plain": {"schema": {"type": "string"}}}),
        "/docs" => json!({"text/html": {"schema": {"type": "string"}}}),
        "/market/bars" => {
            json!({"application/json": {"schema": {"type": "object"}}, "text/csv": {"schema": {"type": "string"}}})
        }
        _ => json!({"application/json": {"schema": {"type": "object"}}}),
    };
    json!({"description": "the answer", "content": content})
}

pub(super) fn asyncapi_json() -> Value {
    let mut messages = Map::new();
    for (name, sender, summary) in MESSAGES {
        let discriminator = if sender == "client" { "action" } else { "type" };
        messages.insert(
            name.to_owned(),
            json!({"summary": summary, "x-sender": sender, "payload": {"type": "object", "required": [discriminator],
                "properties": {discriminator: {"const": name}}}}),
        );
    }
    let of = |sender: &str| -> Vec<Value> {
        let own = MESSAGES.iter().filter(|(_, by, _)| *by == sender);
        own.map(|(name, ..)| json!({"$ref": format!("#/channels/ws/messages/{name}")}))
            .collect()
    };
    let references: Map<String, Value> = MESSAGES
        .iter()
        .map(|(name, ..)| {
            (
                (*name).to_owned(),
                json!({"$ref": format!("#/components/messages/{name}")}),
            )
        })
        .collect();
    let error =
        |problem: &Problem| json!({"code": problem.code(), "name": problem.name(), "temporary": problem.temporary()});
    let close = |close: &Close| json!({"code": close.code(), "name": close.name(), "advice": close.advice()});
    json!({
        "asyncapi": "3.0.0",
        "info": {"title": "candela.v1", "version": env!("CARGO_PKG_VERSION")},
        "channels": {"ws": {"address": "/ws", "messages": references}},
        "operations": {
            "tell": {"action": "send", "channel": {"$ref": "#/channels/ws"}, "messages": of("server")},
            "hear": {"action": "receive", "channel": {"$ref": "#/channels/ws"}, "messages": of("client")},
        },
        "components": {"messages": messages},
        "x-errors": Problem::ALL.iter().map(error).collect::<Vec<_>>(),
        "x-closes": Close::ALL.iter().map(close).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = include_str!("../../docs/api.md");

    /// The rows of the table under a heading, as lists of cells.
    fn table(heading: &str) -> Vec<Vec<String>> {
        let (_, after) = GUIDE.split_once(heading).unwrap();
        let lines = after
            .lines()
            .skip_while(|line| !line.starts_with('|'))
            .take_while(|line| line.starts_with('|'));
        let cells = |line: &str| {
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().replace('`', ""))
                .collect()
        };
        lines.skip(2).map(cells).collect()
    }

    #[test]
    fn the_guide_and_the_documents_show_the_same_errors_and_closes() {
        let errors: Vec<Vec<String>> = Problem::ALL
            .iter()
            .map(|p| {
                vec![
                    p.code().to_string(),
                    p.name().to_owned(),
                    if p.temporary() { "yes" } else { "no" }.to_owned(),
                ]
            })
            .collect();
        assert_eq!(table("## Errors"), errors);
        let closes: Vec<Vec<String>> = Close::ALL
            .iter()
            .map(|c| vec![c.code().to_string(), c.name().to_owned(), c.advice().to_owned()])
            .collect();
        assert_eq!(table("## Closes"), closes);
        let document = asyncapi_json();
        assert_eq!(document["x-errors"].as_array().unwrap().len(), errors.len());
        assert_eq!(document["x-closes"].as_array().unwrap().len(), closes.len());
    }

    #[test]
    fn the_guide_and_the_documents_show_the_same_addresses_and_messages() {
        let paths: Vec<String> = table("## REST").into_iter().map(|row| row[0].clone()).collect();
        let known: Vec<String> = READS.iter().map(|(path, ..)| (*path).to_owned()).collect();
        assert_eq!(paths, known);
        let messages: Vec<String> = table("## Messages").into_iter().map(|row| row[0].clone()).collect();
        let known: Vec<String> = MESSAGES.iter().map(|(name, ..)| (*name).to_owned()).collect();
        assert_eq!(messages, known);
        assert_eq!(openapi_json()["paths"].as_object().unwrap().len(), READS.len());
    }

    #[actix_rt::test]
    async fn every_address_of_the_document_answers_as_it_says() {
        let stage = crate::web::stage::Stage::new();
        for (path, _, _, others) in READS {
            let (status, _) = stage.get(path).await;
            let code: u16 = status.split(' ').nth(1).unwrap().parse().unwrap();
            assert!(code == 200 || others.contains(&code), "{path}: {status}");
        }
    }
}
