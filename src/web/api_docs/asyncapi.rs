//! `/asyncapi.json`, generated from the messages of `asyncapi.toml` and the tables that the code itself uses.

use crate::domain::protocol::{Close, Problem};
use crate::web::api_docs::shapes::{object, objects, read_tables};
use crate::web::rest::history::page;
use crate::web::shared::HttpError;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The tables of `asyncapi.toml`.
#[derive(Debug, Deserialize)]
pub(super) struct MessageTables {
    pub(super) messages: Vec<MessageRow>,
    /// The parts that messages share.
    shapes: BTreeMap<String, String>,
}

/// Each message of the WebSocket, its sender, its purpose and its members.
#[derive(Debug, Deserialize)]
pub(super) struct MessageRow {
    pub(super) name: String,
    pub(super) sender: String,
    summary: String,
    shape: String,
}

pub(super) static TABLES: LazyLock<MessageTables> = LazyLock::new(|| read_tables(include_str!("asyncapi.toml")));

/// `GET /asyncapi.json`.
pub(crate) async fn asyncapi(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    page(&request, &asyncapi_json())
}

fn messages_from(sender: &str) -> Vec<Value> {
    let own = TABLES.messages.iter().filter(|message| message.sender == sender);
    own.map(|MessageRow { name, .. }| json!({"$ref": format!("#/channels/ws/messages/{name}")}))
        .collect()
}

pub(super) fn asyncapi_json() -> Value {
    let mut messages = Map::new();
    let mut references = Map::new();
    for MessageRow {
        name,
        sender,
        summary,
        shape,
    } in &TABLES.messages
    {
        let discriminator = if sender == "client" { "action" } else { "type" };
        let payload = object(&format!("{discriminator}:{name} {shape}"));
        messages.insert(
            name.clone(),
            json!({"summary": summary, "x-sender": sender, "payload": payload}),
        );
        references.insert(name.clone(), json!({"$ref": format!("#/components/messages/{name}")}));
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {"title": "candela.v1", "version": env!("CARGO_PKG_VERSION")},
        "channels": {"ws": {"address": "/ws", "messages": references}},
        "operations": {
            "tell": {"action": "send", "channel": {"$ref": "#/channels/ws"}, "messages": messages_from("server")},
            "hear": {"action": "receive", "channel": {"$ref": "#/channels/ws"}, "messages": messages_from("client")},
        },
        "components": {"messages": messages, "schemas": objects(&TABLES.shapes)},
        "x-errors": Problem::ALL.iter().map(|problem: &Problem| json!({"code": problem.code(), "name": problem.name(), "temporary": problem.temporary()})).collect::<Vec<_>>(),
        "x-closes": Close::ALL.iter().map(|close: &Close| json!({"code": close.code(), "name": close.name(), "advice": close.advice()})).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
#[path = "tests/asyncapi.rs"]
mod tests;
