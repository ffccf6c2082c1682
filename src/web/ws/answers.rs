//! Messages of the session itself: the welcome, answers and errors.

use crate::domain::model::Symbol;
use crate::domain::protocol::{Problem, frames::text_frame};
use crate::limits;
use crate::web::shared::Thread;
use bytes::Bytes;
use serde_json::{Map, Value, json};

fn frame(message: &Value) -> Bytes {
    text_frame(message.to_string().as_bytes())
}

/// The first message of every connection.
pub(crate) fn welcome(thread: &Thread, connection: u64, symbols: &[Symbol], authenticated: bool) -> Bytes {
    let view = thread.view();
    let sessions: Map<String, Value> = symbols
        .iter()
        .map(|symbol: &Symbol| {
            let known = view
                .sessions
                .get(symbol)
                .map_or_else(|| json!({"status": "unknown"}), |session| json!(session));
            (symbol.to_string(), with_ends(known))
        })
        .collect();
    let zone = thread.zones.first();
    frame(&json!({
        "type": "welcome",
        "protocol": "candela.v1",
        "connection": format!("c-{connection:x}"),
        "server_time": thread.registry.clock().now().rfc3339(zone),
        "server_status": view.state.name,
        "symbols": symbols.iter().map(Symbol::as_str).collect::<Vec<_>>(),
        "session": sessions,
        "limits": {
            "channels": limits::CLIENT_CHANNELS,
            "inbound_per_second": limits::CLIENT_INBOUND_PER_SECOND,
            "message_bytes": limits::CLIENT_MESSAGE,
        },
        "heartbeat_seconds": limits::CLIENT_HEARTBEAT.as_secs(),
        "authenticated": authenticated,
    }))
}

/// A session as in REST, with its next end named as on the session channel.
fn with_ends(mut session: Value) -> Value {
    for (name, of_rest) in [("closes", "current_session_end"), ("opens", "next_open")] {
        let at = session.get(of_rest).cloned();
        if let (Some(at), Some(members)) = (at, session.as_object_mut()) {
            members.insert(name.to_owned(), at);
        }
    }
    session
}

/// The answer to the old service's heartbeat.
pub(crate) fn heartbeat_response(thread: &Thread, symbol: Option<Symbol>) -> Bytes {
    let zone = thread.zones.first();
    let mut answer = json!({
        "type": "heartbeat_response",
        "timestamp": thread.registry.clock().now().rfc3339(zone),
        "server_status": thread.view().state.name,
    });
    if let (Some(symbol), Some(object)) = (symbol, answer.as_object_mut()) {
        object.insert("symbol".to_owned(), json!(symbol.compact()));
    }
    frame(&answer)
}

/// The answer to a ping in JSON.
pub(crate) fn pong(thread: &Thread, id: Option<Value>) -> Bytes {
    let mut answer = json!({"type": "pong", "server_time_us": thread.registry.clock().now().micros()});
    echo(&mut answer, id);
    frame(&answer)
}

/// The answer to a valid token.
pub(crate) fn authenticated(id: Option<Value>, symbols: &[Symbol]) -> Bytes {
    let symbols: Vec<&str> = symbols.iter().map(Symbol::as_str).collect();
    let mut answer = json!({"type": "authenticated", "symbols": symbols});
    echo(&mut answer, id);
    frame(&answer)
}

/// An error that leaves the connection open.
pub(crate) fn error(id: Option<Value>, problem: Problem, message: &str) -> Bytes {
    let mut answer = json!({
        "type": "error",
        "code": problem.code(),
        "name": problem.name(),
        "message": message,
        "temporary": problem.temporary(),
    });
    echo(&mut answer, id);
    frame(&answer)
}

fn echo(answer: &mut Value, id: Option<Value>) {
    if let (Some(id), Some(object)) = (id, answer.as_object_mut()) {
        object.insert("id".to_owned(), id);
    }
}
