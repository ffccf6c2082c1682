//! Routes that panic, hang and echo on purpose, for external tests. Compiled only with the feature `test-hooks`.

use crate::web::shared::{HttpError, Thread};
use crate::web::ws::{Plan, admit::upgrade};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

#[derive(Deserialize)]
pub(crate) struct HowLong {
    ms: Option<u64>,
}

pub(crate) async fn panic(request: HttpRequest, actor: web::Path<String>) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    done((thread.common.hooks.panic)(&actor, ()), &actor)
}

pub(crate) async fn hang(
    request: HttpRequest,
    actor: web::Path<String>,
    how_long: web::Query<HowLong>,
) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    let time = Duration::from_millis(how_long.ms.unwrap_or(1_000));
    done((thread.common.hooks.hang)(&actor, time), &actor)
}

/// A WebSocket echo through the production session code.
pub(crate) async fn echo(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, HttpError> {
    let plan = Plan {
        symbol: None,
        channels: None,
        token: None,
        echo: true,
    };
    upgrade(&request, payload, plan)
}

fn done(found: bool, actor: &str) -> Result<HttpResponse, HttpError> {
    if found {
        return Ok(HttpResponse::Accepted().json(json!({"actor": actor})));
    }
    Err(HttpError::not_found(
        "unknown_actor",
        format!("there is no actor {actor}"),
    ))
}
