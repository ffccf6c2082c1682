//! Routes that panic, hang and echo on purpose, for tests from outside. Compiled in only with the feature `test-hooks`.

use crate::web::admit::{Plan, upgrade};
use crate::web::problem::Trouble;
use crate::web::thread::Thread;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Does something to an actor by its name in the tree; `false` when there is none of that name.
pub type Does<T> = Arc<dyn Fn(&str, T) -> bool + Send + Sync>;

/// What the hooks act through.
#[derive(Clone)]
pub struct Hooks {
    /// Makes an actor panic at its next turn.
    pub panic: Does<()>,
    /// Makes an actor block its thread for so long.
    pub hang: Does<Duration>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooks")
    }
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            panic: Arc::new(|_, ()| false),
            hang: Arc::new(|_, _| false),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct HowLong {
    ms: Option<u64>,
}

pub(super) async fn panic(request: HttpRequest, actor: web::Path<String>) -> Result<HttpResponse, Trouble> {
    let thread = Thread::of(&request)?;
    done((thread.common.hooks.panic)(&actor, ()), &actor)
}

pub(super) async fn hang(
    request: HttpRequest,
    actor: web::Path<String>,
    how_long: web::Query<HowLong>,
) -> Result<HttpResponse, Trouble> {
    let thread = Thread::of(&request)?;
    let time = Duration::from_millis(how_long.ms.unwrap_or(1_000));
    done((thread.common.hooks.hang)(&actor, time), &actor)
}

/// A WebSocket echo through the production session code.
pub(super) async fn echo(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Trouble> {
    let plan = Plan {
        symbol: None,
        channels: None,
        token: None,
        echo: true,
    };
    upgrade(&request, payload, plan)
}

fn done(found: bool, actor: &str) -> Result<HttpResponse, Trouble> {
    if found {
        return Ok(HttpResponse::Accepted().json(json!({"actor": actor})));
    }
    Err(Trouble::not_found(
        "unknown_actor",
        format!("there is no actor {actor}"),
    ))
}
