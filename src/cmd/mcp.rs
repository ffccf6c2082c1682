//! `candela mcp`: lets an assistant query a running service, over the Model Context Protocol on standard input and output. Read only.
//!
//! JSON-RPC 2.0, one message a line. A request that the service refuses is a tool's error with the service's own sentence; a message that
//! is no request gets an error of JSON-RPC.

mod expected;
mod tools;

use crate::cmd::ask::{Service, TokenArg, read_url};
use crate::exit::Exit;
use crate::limits;
use crate::settings::{self, SettingsArgs};
use clap::Args;
use serde_json::{Value, json};
use std::io::{BufRead, Read, Write};
use tools::{TOOLS, Tool};

/// Answer the questions of an assistant (Model Context Protocol on standard input and output), from a running service.
#[derive(Debug, Clone, Args)]
pub struct McpArgs {
    /// Where the service is; by default the address that the settings name.
    #[arg(long, value_name = "URL", value_parser = read_url)]
    url: Option<String>,
    #[command(flatten)]
    token: TokenArg,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// The supported versions of the protocol, newest first. The version between them requires batches, which are not supported.
const EDITIONS: [&str; 2] = ["2025-06-18", "2024-11-05"];

/// Documents that an assistant may read: address, name, description, text.
const RESOURCES: [(&str, &str, &str, &str); 3] = [
    (
        "candela://docs/runbooks",
        "Runbooks",
        "What to do about each condition and alert",
        include_str!("../../docs/runbooks.md"),
    ),
    (
        "candela://docs/api",
        "REST and WebSocket",
        "Every address, message and error",
        include_str!("../../docs/api.md"),
    ),
    (
        "candela://docs/concepts",
        "Concepts",
        "What a session, a gap, a revision and a seam are",
        include_str!("../../docs/concepts.md"),
    ),
];

/// Codes of JSON-RPC.
const PARSE_ERROR: i32 = -32_700;
const INVALID_REQUEST: i32 = -32_600;
const METHOD_NOT_FOUND: i32 = -32_601;
const INVALID_PARAMS: i32 = -32_602;
/// The protocol's code for an unknown resource.
const RESOURCE_NOT_FOUND: i32 = -32_002;

/// Why a request has no result: code and sentence.
type RpcFailure = (i32, String);

impl McpArgs {
    /// Answers requests until standard input ends.
    ///
    /// # Errors
    /// When the settings have problems, or a line cannot be read or written.
    pub fn run(self) -> anyhow::Result<Exit> {
        let valid = settings::load(&self.settings.to_sources())?;
        let service = Service::connect_to(self.url.as_deref(), &valid.server, &self.token)?;
        let system = actix_rt::System::new();
        let mut input = std::io::stdin().lock();
        let mut out = std::io::stdout().lock();
        while let Some(line) = next_line(&mut input)? {
            let answer = match line {
                Ok(line) if line.iter().all(u8::is_ascii_whitespace) => None,
                Ok(line) => system.block_on(answer_line(&service, &line)),
                Err(LineTooLong) => {
                    let sentence = format!("a message has at most {} bytes", limits::MCP_MESSAGE);
                    Some(error_response(Value::Null, (INVALID_REQUEST, sentence)))
                }
            };
            if let Some(answer) = answer {
                writeln!(out, "{answer}")?;
                out.flush()?;
            }
        }
        Ok(Exit::Clean)
    }
}

/// A line that is longer than a message may be. Its rest was skipped.
#[derive(Debug)]
struct LineTooLong;

/// The next line; `None` at the end of the input.
fn next_line(input: &mut impl BufRead) -> std::io::Result<Option<Result<Vec<u8>, LineTooLong>>> {
    let mut line = Vec::new();
    let most = u64::try_from(limits::MCP_MESSAGE).unwrap_or(u64::MAX);
    if input.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() < limits::MCP_MESSAGE || line.ends_with(b"\n") {
        return Ok(Some(Ok(line)));
    }
    loop {
        line.clear();
        if input.by_ref().take(most).read_until(b'\n', &mut line)? == 0 || line.ends_with(b"\n") {
            return Ok(Some(Err(LineTooLong)));
        }
    }
}

/// The response to one message; `None` to a notification.
async fn answer_line(service: &Service, line: &[u8]) -> Option<Value> {
    let message: Value = match serde_json::from_slice(line) {
        Ok(message) => message,
        Err(why) => return Some(error_response(Value::Null, (PARSE_ERROR, format!("not JSON: {why}")))),
    };
    let id = message.get("id").cloned();
    let Some(method) = message.get("method").and_then(Value::as_str) else {
        let is_answer = message.get("result").is_some() || message.get("error").is_some();
        return (!is_answer).then(|| {
            error_response(
                id.unwrap_or_default(),
                (INVALID_REQUEST, "no method is named".to_owned()),
            )
        });
    };
    let id = id?;
    let params = message.get("params").cloned().unwrap_or_default();
    let result = match method {
        "initialize" => Ok(initialize_result(&params)),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({"tools": TOOLS.iter().map(Tool::to_listing).collect::<Vec<Value>>()})),
        "tools/call" => call_tool(service, &params).await,
        "resources/list" => Ok(json!({"resources": list_resources()})),
        "resources/templates/list" => Ok(json!({"resourceTemplates": []})),
        "resources/read" => read(&params),
        other => Err((METHOD_NOT_FOUND, format!("{other:?} is not served here"))),
    };
    Some(match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(failure) => error_response(id, failure),
    })
}

fn error_response(id: Value, (code, message): RpcFailure) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

fn initialize_result(params: &Value) -> Value {
    let asked = params.get("protocolVersion").and_then(Value::as_str);
    let spoken = EDITIONS.into_iter().find(|edition| asked == Some(*edition));
    json!({
        "protocolVersion": spoken.unwrap_or("2025-06-18"),
        "capabilities": {"tools": {}, "resources": {}},
        "serverInfo": {"name": "candela", "version": env!("CARGO_PKG_VERSION")},
        "instructions": "Read-only market data. Each answer has data_quality: where complete is false, bars are missing; where safe_to_trade is false, call explain for the reasons. Prices are exact decimal strings.",
    })
}

async fn call_tool(service: &Service, params: &Value) -> Result<Value, RpcFailure> {
    let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
    let tool = TOOLS.iter().find(|tool| tool.name == name);
    let tool = tool.ok_or_else(|| (INVALID_PARAMS, format!("there is no tool {name:?}")))?;
    let arguments = params.get("arguments").cloned().unwrap_or_else(|| json!({}));
    Ok(match tool.call_tool(service, &arguments).await {
        Ok(found) => json!({"content": [{"type": "text", "text": found.to_string()}], "structuredContent": found,
            "isError": false}),
        Err(sentence) => json!({"content": [{"type": "text", "text": sentence}], "isError": true}),
    })
}

fn list_resources() -> Vec<Value> {
    RESOURCES.into_iter().map(|(uri, name, what, _): (&str, &str, &str, &str)| json!({"uri": uri, "name": name, "description": what, "mimeType": "text/markdown"})).collect()
}

fn read(params: &Value) -> Result<Value, RpcFailure> {
    let uri = params.get("uri").and_then(Value::as_str).unwrap_or_default();
    let found = RESOURCES.into_iter().find(|(known, ..)| *known == uri);
    let (_, _, _, text) = found.ok_or_else(|| (RESOURCE_NOT_FOUND, format!("there is no resource {uri:?}")))?;
    Ok(json!({"contents": [{"uri": uri, "mimeType": "text/markdown", "text": text}]}))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The response when no service is running.
    fn asked(line: &str) -> Option<Value> {
        let service = Service::new("http://127.0.0.1:1", &TokenArg::default());
        actix_rt::System::new().block_on(answer_line(&service, line.as_bytes()))
    }

    #[test]
    fn a_notification_has_no_answer_and_what_is_no_request_an_error() {
        assert_eq!(asked(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), None);
        for (line, code) in [
            ("{", PARSE_ERROR),
            ("[]", INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"orders/place"}"#, METHOD_NOT_FOUND),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"buy"}}"#,
                INVALID_PARAMS,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{}}"#,
                RESOURCE_NOT_FOUND,
            ),
        ] {
            assert_eq!(asked(line).unwrap()["error"]["code"], code, "{line}");
        }
    }

    #[test]
    fn a_client_hears_its_own_edition_of_the_protocol_where_it_is_spoken() {
        let greeted = |edition: &str| {
            let line =
                json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": edition}});
            asked(&line.to_string()).unwrap()["result"]["protocolVersion"].clone()
        };
        assert_eq!(
            (greeted("2024-11-05"), greeted("1999-01-01")),
            (json!("2024-11-05"), json!("2025-06-18"))
        );
    }

    #[test]
    fn a_service_that_does_not_answer_is_a_tools_error() {
        let line = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"status"}}"#;
        let said = asked(line).unwrap();
        assert_eq!(said["result"]["isError"], true, "{said}");
        let text = said["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("candela does not answer"), "{text}");
    }

    #[test]
    fn a_message_that_is_too_long_is_passed_over_and_the_next_one_is_heard() {
        let mut input = vec![b'x'; limits::MCP_MESSAGE * 2 + 7];
        input.extend_from_slice(b"\nnext\n");
        let mut input = input.as_slice();
        assert!(next_line(&mut input).unwrap().unwrap().is_err());
        assert_eq!(next_line(&mut input).unwrap().unwrap().unwrap(), b"next\n");
        assert!(next_line(&mut input).unwrap().is_none());
    }
}
