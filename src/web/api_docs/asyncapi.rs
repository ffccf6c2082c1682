//! `/asyncapi.json`, generated from the tables that the code itself uses.

use crate::domain::protocol::{Close, Problem};
use crate::web::api_docs::shapes::object;
use crate::web::rest::history::page;
use crate::web::shared::HttpError;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

/// Each message of the WebSocket, its sender and its purpose.
pub(super) const MESSAGES: [(&str, &str, &str, &str); 27] = [
    (
        "welcome",
        "server",
        "always first: what is served, and the limits",
        "protocol:string connection:string server_time:instant server_status:string symbols:[string] session:object limits:Limits heartbeat_seconds:integer authenticated:boolean",
    ),
    (
        "authenticated",
        "server",
        "the token is valid",
        "id~:any symbols:[string]",
    ),
    (
        "subscribed",
        "server",
        "the answer to subscribe, channel by channel, with all subscriptions",
        "id~:any channels:[Position] subscriptions:[string]",
    ),
    (
        "unsubscribed",
        "server",
        "the answer to unsubscribe",
        "id~:any channels:[string] subscriptions:[string]",
    ),
    (
        "snapshot",
        "server",
        "what a channel looked like at its head",
        "channel:string seq:integer data:object state~:State",
    ),
    (
        "replay_end",
        "server",
        "all missed messages have been sent",
        "channel:string seq:integer count:integer",
    ),
    (
        "market_data",
        "server",
        "a tick",
        "channel:string from~:integer seq:integer data:Tick timestamp:instant",
    ),
    (
        "bar",
        "server",
        "a bar: forming (base, version), closed or revised (seq)",
        "channel:string seq~:integer base~:integer version~:integer data:Bar timestamp:instant",
    ),
    (
        "bar_end",
        "server",
        "all bars of an interval are published",
        "interval:string open_time:instant complete:[string] incomplete:object",
    ),
    (
        "gap",
        "server",
        "a gap was opened or changed its status",
        "channel:string seq:integer data:Gap timestamp:instant",
    ),
    (
        "seam",
        "server",
        "where prepared history ends and live bars begin, and how many bars of both differ",
        "channel:string seq:integer data:Seam timestamp:instant",
    ),
    (
        "certificate",
        "server",
        "a finished session was certified, or certified again after a correction",
        "channel:string seq:integer data:Certificate timestamp:instant",
    ),
    (
        "session",
        "server",
        "a session opened or closed, or soon will",
        "channel:string seq:integer data:Session timestamp:instant",
    ),
    (
        "event",
        "server",
        "an entry of the journal: what the service did or detected, and why",
        "channel:string seq:integer data:ServiceEvent timestamp:instant",
    ),
    (
        "status",
        "server",
        "the service's state and conditions",
        "server_status:string safe_to_trade:object unsafe_reasons~:object conditions:[object]",
    ),
    (
        "skipped",
        "server",
        "messages that can no longer be sent",
        "channel:string from:integer seq:integer why:string",
    ),
    (
        "discontinuity",
        "server",
        "the channel has a new epoch: earlier messages do not continue in later ones",
        "channel:string old_epoch:string epoch:string seq:integer why:string",
    ),
    (
        "slow",
        "server",
        "this client reads too slowly, or no longer",
        "level:warn|clear conflated:integer",
    ),
    (
        "heartbeat",
        "server",
        "nothing else was sent; heads say up to where this is complete",
        "server_time:instant heads:{Head}",
    ),
    (
        "heartbeat_response",
        "server",
        "the answer to a client's heartbeat",
        "timestamp:instant server_status:string symbol~:string",
    ),
    ("pong", "server", "the answer to ping", "id~:any server_time_us:integer"),
    (
        "error",
        "server",
        "a request failed; the connection stays open, except for 1204 and 1302",
        "id~:any code:integer name:string message:string temporary:boolean channel~:string",
    ),
    (
        "goaway",
        "server",
        "the server will close: reconnect after the delay",
        "reason:string reconnect_after_ms:integer",
    ),
    ("auth", "client", "presents a token", "id~:any token:string"),
    (
        "subscribe",
        "client",
        "follow channels, from a position in their logs",
        "id~:any channels:[string] since~:any options~:object …",
    ),
    (
        "unsubscribe",
        "client",
        "stop following channels",
        "id~:any channels:[string] …",
    ),
    ("ping", "client", "requests a pong", "id~:any …"),
];

/// The parts that these messages share.
const SHAPES: [(&str, &str); 11] = [
    (
        "State",
        "server_status:string safe_to_trade:boolean? unsafe_reasons~:[string]",
    ),
    ("Head", "epoch:string? seq:integer"),
    (
        "Limits",
        "channels:integer inbound_per_second:integer message_bytes:integer",
    ),
    (
        "Position",
        "channel:string epoch~:string? seq~:integer recovered~:boolean replayed~:integer reason~:string detail~:string",
    ),
    (
        "Tick",
        "event:price symbol:string price:number bid~:number ask~:number spread~:number timestamp:integer received_us:integer source:string",
    ),
    (
        "Bar",
        "symbol:string interval:string open_time:instant close_time:instant open:number high:number low:number close:number volume:number? ticks:integer state:partial|closed|revised revision:integer provenance:string flags:[string] session_date:date session_type:string forming~:boolean",
    ),
    (
        "Gap",
        "id:string symbol:string interval:string from:instant to:instant bars:integer status:open|filling|filled|unfillable cause:string",
    ),
    (
        "Session",
        "symbol:string status:opening_soon|open|closing_soon|closed session_date:date type:string opens:instant closes:instant",
    ),
    (
        "ServiceEvent",
        "position:integer type:string at:instant symbol:string? subject:string cause:string message:string by:string? details:{string}",
    ),
    (
        "Certificate",
        "symbol:string session_date:date revision:integer interval:string opens:instant closes:instant expected:integer present:{integer} missing:integer revised:integer mismatched:integer unfillable:[object] seam:object? previous:object? hash:string through:integer",
    ),
    (
        "Seam",
        "symbol:string last_history_bar:instant? first_live_bar:instant ours:integer missing:integer overlapping:integer differing:integer examples:[string]",
    ),
];

/// `GET /asyncapi.json`.
pub(crate) async fn asyncapi(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    page(&request, &asyncapi_json())
}

fn messages_from(sender: &str) -> Vec<Value> {
    let own = MESSAGES.iter().filter(|(_, by, ..)| *by == sender);
    own.map(|(name, ..)| json!({"$ref": format!("#/channels/ws/messages/{name}")}))
        .collect()
}

pub(super) fn asyncapi_json() -> Value {
    let mut messages = Map::new();
    for (name, sender, summary, shape) in MESSAGES {
        let discriminator = if sender == "client" { "action" } else { "type" };
        let payload = object(&format!("{discriminator}:{name} {shape}"));
        messages.insert(
            name.to_owned(),
            json!({"summary": summary, "x-sender": sender, "payload": payload}),
        );
    }
    let schemas: Map<String, Value> = SHAPES
        .iter()
        .map(|(name, shape)| ((*name).to_owned(), object(shape)))
        .collect();
    let references: Map<String, Value> = MESSAGES
        .iter()
        .map(|(name, ..)| {
            (
                (*name).to_owned(),
                json!({"$ref": format!("#/components/messages/{name}")}),
            )
        })
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {"title": "candela.v1", "version": env!("CARGO_PKG_VERSION")},
        "channels": {"ws": {"address": "/ws", "messages": references}},
        "operations": {
            "tell": {"action": "send", "channel": {"$ref": "#/channels/ws"}, "messages": messages_from("server")},
            "hear": {"action": "receive", "channel": {"$ref": "#/channels/ws"}, "messages": messages_from("client")},
        },
        "components": {"messages": messages, "schemas": schemas},
        "x-errors": Problem::ALL.iter().map(|problem: &Problem| json!({"code": problem.code(), "name": problem.name(), "temporary": problem.temporary()})).collect::<Vec<_>>(),
        "x-closes": Close::ALL.iter().map(|close: &Close| json!({"code": close.code(), "name": close.name(), "advice": close.advice()})).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
#[path = "tests/asyncapi.rs"]
mod tests;
