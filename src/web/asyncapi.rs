//! `/asyncapi.json`, made from the same tables that the code runs on.

use crate::domain::protocol::{Close, Problem};
use crate::web::problem::Trouble;
use actix_web::HttpResponse;
use serde_json::{Map, Value, json};

/// Each message of the WebSocket, who sends it, and what it is for.
pub(super) const MESSAGES: [(&str, &str, &str); 25] = [
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
    (
        "seam",
        "server",
        "where prepared history ends and live bars begin, and how many bars of both differ",
    ),
    ("session", "server", "a session opened or closed, or soon will"),
    ("status", "server", "the service's state and conditions"),
    ("skipped", "server", "messages that cannot be brought any more"),
    (
        "discontinuity",
        "server",
        "the channel's log began anew: nothing connects what came with what comes",
    ),
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
    ("auth", "client", "shows a token"),
    ("subscribe", "client", "follow channels, from a place in their logs"),
    ("unsubscribe", "client", "follow channels no longer"),
    ("ping", "client", "asks for a pong"),
];

/// `GET /asyncapi.json`.
pub(super) async fn asyncapi() -> Result<HttpResponse, Trouble> {
    Ok(HttpResponse::Ok().json(asyncapi_json()))
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
    use crate::web::openapi::READS;

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
        let known: Vec<String> = READS.iter().map(|read| read.path.to_owned()).collect();
        assert_eq!(paths, known);
        let messages: Vec<String> = table("## Messages").into_iter().map(|row| row[0].clone()).collect();
        let known: Vec<String> = MESSAGES.iter().map(|(name, ..)| (*name).to_owned()).collect();
        assert_eq!(messages, known);
    }
}
