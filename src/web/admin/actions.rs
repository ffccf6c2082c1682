//! `POST /admin/{action}`: checks a request, has Root run it, and answers. `GET /admin`: what this token allows.

use crate::actors::messages::RunAction;
use crate::client_list::ClientNumber;
use crate::domain::model::Timestamp;
use crate::domain::status::{ActionRefused, ActionRequest};
use crate::limits;
use crate::web::admin::action_body::{self, ACTIONS, ActionBody};
use crate::web::shared::{Access, Grant, HttpError, KnownAction, Query, Thread};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, ResponseError, web};
use serde_json::{Value, json};

/// Lists the actions that the token allows: none if it may not operate, and none on an edge.
pub(crate) async fn allowed(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let runs_actions = Thread::of(&request)?.common.run_action.is_some();
    let grant = operator(&request).ok().filter(|_| runs_actions);
    let actions = ACTIONS.iter().filter(|_| grant.is_some());
    let actions: Vec<Value> = actions
        .map(|(name, members)| json!({"action": name, "members": members}))
        .collect();
    let by = grant.map(|grant| grant.name);
    Ok(HttpResponse::Ok().json(json!({"by": by, "actions": actions})))
}

/// Lists the connected clients, slow ones first, if the token may operate.
pub(crate) async fn clients(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    let grant = operator(&request)?;
    if !grant.is_for_all() {
        let name = &grant.name;
        return Err(HttpError::forbidden(format!(
            "the token {name:?} is for some pairs only, and clients follow every pair"
        )));
    }
    let query = Query::of(&request, &["limit"])?;
    let limit = query.number("limit", limits::CLIENTS_LISTED, limits::CLIENTS_LISTED_MAX)?;
    let (clients, connected) = thread
        .registry
        .counts()
        .list
        .list(usize::try_from(limit).unwrap_or(usize::MAX));
    let zone = thread.zones.first();
    let clients: Vec<Value> = clients
        .iter()
        .map(|client| {
            json!({"id": ClientNumber(client.id).to_string(), "since": client.since.rfc3339(zone), "address": client.address, "token": client.token,
                "slow": client.slow, "closing": client.closing})
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({"connected": connected, "clients": clients})))
}

/// Runs one action.
pub(crate) async fn run(
    request: HttpRequest,
    action: web::Path<String>,
    body: web::Bytes,
) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    let grant = operator(&request)?;
    let action = known(&action)?;
    let now = thread.registry.clock().now();
    let ActionBody { action, reason } = action_body::read(&thread, action, &body, now).map_err(|problems| {
        let detail = problems.join("; ");
        HttpError::bad_request(detail).with("problems", Value::from(problems))
    })?;
    let wanted = ActionRequest {
        action,
        by: grant.name.clone(),
        reason,
    };
    may(&grant, &wanted)?;
    let Some(key) = idempotency_key(&request)? else {
        let done = run_by_root(&thread, wanted).await.unwrap_or_else(|| Err(no_answer()))?;
        return Ok(answer(&done));
    };
    let remembered = &thread.common.actions;
    let asked = format!("{} {}", wanted.action.name(), String::from_utf8_lossy(&body));
    let by = wanted.by.clone();
    match remembered.begin(&by, &key, &asked) {
        KnownAction::New => {}
        KnownAction::Running => {
            let detail = "the action with this Idempotency-Key was started, and its outcome is not known: /status/events says whether it was done";
            return Err(HttpError::new(StatusCode::CONFLICT, "action_running", detail));
        }
        KnownAction::OtherRequest => {
            let detail = "this Idempotency-Key was sent with another action: send each with a key of its own";
            return Err(HttpError::new(StatusCode::UNPROCESSABLE_ENTITY, "key_reused", detail));
        }
        KnownAction::Answered(done) => {
            let mut answer = answer(&done);
            let replayed = HeaderName::from_static("idempotent-replayed");
            answer.headers_mut().insert(replayed, HeaderValue::from_static("true"));
            return Ok(answer);
        }
    }
    match run_by_root(&thread, wanted).await {
        Some(outcome) => {
            remembered.answered(&by, &key, outcome.as_ref().ok().cloned());
            outcome.map(|done| answer(&done))
        }
        // It may be done later: with this key it is not run a second time.
        None => Err(no_answer()),
    }
}

fn answer(done: &Value) -> HttpResponse {
    HttpResponse::Ok().json(done)
}

fn no_answer() -> HttpError {
    let detail = "the service did not answer in time: /status/events says whether the action was done";
    HttpError::unavailable("no_answer", detail)
}

/// Asks Root. An action that Root refuses is an error, and was not done; `None` if Root did not answer in time.
async fn run_by_root(thread: &Thread, wanted: ActionRequest) -> Option<Result<Value, HttpError>> {
    let Some(run_action) = &thread.common.run_action else {
        let detail = "this node is an edge: send the action to its ingest";
        return Some(Err(HttpError::unavailable("not_here", detail)));
    };
    let at = thread.registry.clock().now();
    let said = said(thread, &wanted, at);
    let asked = tokio::time::timeout(limits::ACTION_ANSWER * 2, run_action.send(RunAction(wanted))).await;
    let outcome = asked.ok()?.ok()?;
    Some(outcome.map(|()| said).map_err(|refused| refusal(&refused)))
}

/// The response about an action that was done.
fn said(thread: &Thread, wanted: &ActionRequest, at: Timestamp) -> Value {
    json!({
        "action": wanted.action.name(),
        "done": true,
        "by": wanted.by,
        "reason": wanted.reason,
        "at": at.rfc3339(thread.zones.first()),
        "message": wanted.action.clause(),
    })
}

fn refusal(refused: &ActionRefused) -> HttpError {
    let detail = refused.to_string();
    match refused {
        ActionRefused::Busy(_) => HttpError::unavailable("busy", detail),
        ActionRefused::NothingToRevive(_) => HttpError::new(StatusCode::CONFLICT, "nothing_to_do", detail),
        _ if refused.is_unknown() => HttpError::not_found("no_such_target", detail),
        _ => HttpError::bad_request(detail),
    }
}

/// The action of that name.
fn known(given: &str) -> Result<&'static str, HttpError> {
    let names = ACTIONS.iter().map(|(name, _)| *name);
    if let Some(name) = names.clone().find(|name| *name == given) {
        return Ok(name);
    }
    let shown: String = given.chars().take(40).collect();
    let near = names
        .clone()
        .min_by_key(|name| strsim::damerau_levenshtein(name, &shown));
    let near = near.filter(|name| strsim::damerau_levenshtein(name, &shown) <= 3);
    let all = names.collect::<Vec<_>>().join(", ");
    let detail = match near {
        Some(near) => format!("there is no action {shown:?}; did you mean {near}? There are {all}"),
        None => format!("there is no action {shown:?}; there are {all}"),
    };
    Err(HttpError::not_found("no_such_action", detail))
}

/// The request's token, if it may operate.
fn operator(request: &HttpRequest) -> Result<Grant, HttpError> {
    match request.extensions().get::<Access>() {
        Some(Access::Granted(grant)) if grant.operates => Ok(grant.clone()),
        Some(Access::Granted(grant)) => Err(HttpError::forbidden(format!(
            "the token {:?} lacks the scope operate: add it to its line in the tokens file, as name:hash:*:operate",
            grant.name
        ))),
        _ => Err(HttpError::forbidden(
            "actions need a token with the scope operate, and this service requires no tokens: set server.tokens_file",
        )),
    }
}

/// Refuses an action that concerns other pairs than the token's.
fn may(grant: &Grant, wanted: &ActionRequest) -> Result<(), HttpError> {
    let allowed = match wanted.action.symbol() {
        Some(symbol) => grant.allows(symbol),
        None => grant.is_for_all(),
    };
    if allowed {
        return Ok(());
    }
    let concerns = wanted
        .action
        .symbol()
        .map_or_else(|| "every pair".to_owned(), |symbol| symbol.to_string());
    let name = &grant.name;
    Err(HttpError::forbidden(format!(
        "the token {name:?} is for some pairs only, and {} concerns {concerns}",
        wanted.action.name()
    )))
}

/// The idempotency key, which makes it safe to repeat a request.
fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, HttpError> {
    let Some(value) = request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().ok().map(str::trim);
    let good = key.filter(|key| !key.is_empty() && key.len() <= 64 && key.bytes().all(|byte| byte.is_ascii_graphic()));
    good.map(|key| Some(key.to_owned())).ok_or_else(|| {
        HttpError::bad_request("Idempotency-Key must be 1 to 64 visible ASCII characters, such as a UUID")
    })
}

/// Refuses any method but POST.
pub(crate) async fn only_posting(request: HttpRequest) -> HttpResponse {
    let detail = format!("{} is an action: send it with POST", request.path());
    let refusal = HttpError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
    let mut answer = refusal.error_response();
    answer
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("POST"));
    answer
}
