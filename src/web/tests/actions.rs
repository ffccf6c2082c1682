//! Operators' actions: who may request them, the problems of a request, and that a repeated request runs once.

use crate::actors::messages::RunAction;
use crate::domain::status::{ActionRefused, ActionRequest, OperatorAction};
use crate::web::Tokens;
use crate::web::tests::stage::Stage;
use actix::{Actor, ActorContext, Context, Handler, ResponseActFuture, WrapFuture};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Stands in for Root: collects the requests, refuses to restart `nobody`, and does not answer when it is to restart `silent`.
#[derive(Clone, Default)]
struct Requests(Arc<Mutex<Vec<ActionRequest>>>);

impl Actor for Requests {
    type Context = Context<Self>;
}

impl Handler<RunAction> for Requests {
    type Result = ResponseActFuture<Self, Result<(), ActionRefused>>;
    fn handle(&mut self, RunAction(request): RunAction, ctx: &mut Context<Self>) -> Self::Result {
        let outcome = match &request.action {
            OperatorAction::RestartActor { actor } if actor == "silent" => {
                self.0.lock().unwrap().push(request);
                ctx.stop();
                return Box::pin(std::future::pending().into_actor(self));
            }
            OperatorAction::RestartActor { actor } if actor == "nobody" => Err(ActionRefused::NoSuchActor {
                given: actor.clone(),
                known: "feed, root".to_owned(),
            }),
            _ => Ok(()),
        };
        self.0.lock().unwrap().push(request);
        Box::pin(std::future::ready(outcome).into_actor(self))
    }
}

struct Desk {
    stage: Stage,
    requests: Requests,
    _tokens: tempfile::NamedTempFile,
}

/// Three tokens, each the same as its name; the file is read again while it exists.
fn tokens() -> (tempfile::NamedTempFile, Arc<Tokens>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = |name: &str, rest: &str| {
        let digest: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{name}:{digest}{rest}\n")
    };
    let text = line("ops", ":*:operate") + &line("reader", "") + &line("partner", ":EUR/USD:operate");
    std::fs::write(file.path(), text).unwrap();
    let tokens = Arc::new(Tokens::open(file.path()).unwrap());
    (file, tokens)
}

impl Desk {
    fn new() -> Self {
        let (file, tokens) = tokens();
        let requests = Requests::default();
        let run_action = requests.clone().start().recipient();
        let stage = Stage::with(move |parts| {
            parts.extras.tokens = Some(tokens);
            parts.extras.run_action = Some(run_action);
        });
        Self {
            stage,
            requests,
            _tokens: file,
        }
    }

    /// Requests an action; the token is the same as its name.
    async fn request(&self, token: &str, action: &str, more: &str, body: &Value) -> (String, Value) {
        let headers = format!("Authorization: Bearer {token}\r\n{more}");
        let (head, answer) = self
            .stage
            .post(&format!("/admin/{action}"), &headers, &body.to_string())
            .await;
        let status = head.split_whitespace().nth(1).unwrap().to_owned();
        (status, answer)
    }

    async fn refused(&self, token: &str, action: &str, body: &Value, status: &str) -> String {
        let (found, answer) = self.request(token, action, "", body).await;
        assert_eq!(found, status, "{answer}");
        answer["detail"].as_str().unwrap().to_owned()
    }

    fn taken(&self) -> Vec<ActionRequest> {
        self.requests.0.lock().unwrap().clone()
    }
}

#[actix_rt::test]
async fn a_request_reaches_root_with_who_and_why() {
    let desk = Desk::new();
    let body = json!({"actor": "feed", "reason": " it is stuck "});
    let (status, answer) = desk.request("ops", "restart_actor", "", &body).await;
    assert_eq!((status.as_str(), &answer["done"]), ("200", &json!(true)), "{answer}");
    assert_eq!(answer["message"], "the actor feed is restarted");
    let request = desk.taken().remove(0);
    assert_eq!((request.by.as_str(), request.reason.as_str()), ("ops", "it is stuck"));
    let body = json!({"symbol": "usdcop", "from": "2025-10-20", "to": "2025-10-21", "reason": "late"});
    assert_eq!(desk.request("ops", "backfill", "", &body).await.0, "200");
    match desk.taken().remove(1).action {
        // Days of the market: midnight in Bogota.
        OperatorAction::Backfill { from, to, .. } => assert_eq!(
            (from.to_string(), to.to_string()),
            ("2025-10-20T05:00:00Z".to_owned(), "2025-10-22T05:00:00Z".to_owned())
        ),
        other => panic!("{other:?}"),
    }
    let (head, listed) = desk.stage.get_with("/admin", "Authorization: Bearer ops\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(
        (&listed["by"], listed["actions"].as_array().unwrap().len()),
        (&json!("ops"), 7)
    );
    let (_, listed) = desk.stage.get_with("/admin", "Authorization: Bearer reader\r\n").await;
    assert_eq!(listed, json!({"by": null, "actions": []}));
}

#[actix_rt::test]
async fn who_may_not_act_is_told_what_is_missing_and_nothing_is_done() {
    let desk = Desk::new();
    let drain = json!({"reason": "x"});
    let said = desk.refused("reader", "drain", &drain, "403").await;
    assert!(
        said.contains("lacks the scope operate") && said.contains("name:hash:*:operate"),
        "{said}"
    );
    assert_eq!(
        desk.refused("wrong", "drain", &drain, "401").await,
        "the token is not valid"
    );
    let said = desk.refused("partner", "drain", &drain, "403").await;
    assert!(
        said.ends_with("is for some pairs only, and drain concerns every pair"),
        "{said}"
    );
    let body = json!({"symbol": "USD/COP", "until": "2025-10-22 10:00", "reason": "x"});
    let said = desk.refused("partner", "override_gate", &body, "403").await;
    assert!(said.ends_with("override_gate concerns USD/COP"), "{said}");
    let open = Stage::new();
    let (head, answer) = open.post("/admin/drain", "", "{\"reason\":\"x\"}").await;
    assert!(head.starts_with("HTTP/1.1 403") && answer["detail"].as_str().unwrap().ends_with("set server.tokens_file"));
    assert_eq!(desk.taken(), []);
}

#[actix_rt::test]
async fn all_that_is_wrong_with_a_request_is_said_at_once() {
    let desk = Desk::new();
    let body = json!({"symbol": "USD/CUP", "from": "yesterday", "two": 2});
    let said = desk.refused("ops", "backfill", &body, "400").await;
    for problem in [
        "\"two\" is not a member of this action; there are reason, symbol, from, to",
        "reason is missing",
        "did you mean USD/COP?",
        "from: ",
    ] {
        assert!(said.contains(problem), "{said}");
    }
    let said = desk.refused("ops", "restart_actr", &json!({}), "404").await;
    assert!(
        said.contains("did you mean restart_actor? There are restart_actor, backfill"),
        "{said}"
    );
    let long = json!({"actor": "feed", "reason": "x".repeat(301)});
    let said = desk.refused("ops", "restart_actor", &long, "400").await;
    assert_eq!(said, "reason must be one line of at most 300 characters");
    let said = desk
        .refused("ops", "retire_key", &json!({"key": 3, "reason": "x"}), "400")
        .await;
    assert_eq!(said, "key must be a string that is not empty");
    let said = desk.refused("ops", "drain", &json!(["reason"]), "400").await;
    assert!(said.starts_with("the body is not a JSON object: send"), "{said}");
    let body = json!({"actor": "nobody", "reason": "x"});
    let said = desk.refused("ops", "restart_actor", &body, "404").await;
    assert_eq!(said, "there is no actor nobody; there are feed, root");
    assert_eq!(desk.taken().len(), 1, "only what Root refused reached it");
    let (head, _) = desk
        .stage
        .get_with("/admin/drain", "Authorization: Bearer ops\r\n")
        .await;
    assert!(
        head.starts_with("HTTP/1.1 405") && head.to_lowercase().contains("allow: post"),
        "{head}"
    );
    let big = "x".repeat(5_000);
    let (head, _) = desk
        .stage
        .post("/admin/drain", "Authorization: Bearer ops\r\n", &big)
        .await;
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
}

#[actix_rt::test]
async fn a_request_that_is_sent_again_with_its_key_is_run_once() {
    let desk = Desk::new();
    let key = "Idempotency-Key: 5f0c\r\n";
    let body = json!({"actor": "feed", "reason": "stuck"});
    let (first, said) = desk.request("ops", "restart_actor", key, &body).await;
    let (second, again) = desk.request("ops", "restart_actor", key, &body).await;
    assert_eq!((first.as_str(), second.as_str(), &said), ("200", "200", &again));
    assert_eq!(desk.taken().len(), 1);
    let other = json!({"actor": "root", "reason": "stuck"});
    let (status, answer) = desk.request("ops", "restart_actor", key, &other).await;
    assert_eq!(status, "422", "{answer}");
    let (status, _) = desk
        .request("ops", "drain", "Idempotency-Key: a b\r\n", &json!({"reason": "x"}))
        .await;
    assert_eq!(status, "400");
    // A backfill without an end goes up to now, which is another instant each time: it is still the same request.
    let backfill = json!({"symbol": "usdcop", "from": "2025-10-20", "reason": "late"});
    let key = "Idempotency-Key: b1\r\n";
    for _ in 0..2 {
        assert_eq!(desk.request("ops", "backfill", key, &backfill).await.0, "200");
        desk.stage.clock.advance(Duration::from_secs(1));
    }
    // A refused request may be repeated.
    let nobody = json!({"actor": "nobody", "reason": "x"});
    for _ in 0..2 {
        assert_eq!(
            desk.request("ops", "restart_actor", "Idempotency-Key: n1\r\n", &nobody)
                .await
                .0,
            "404"
        );
    }
    assert_eq!(desk.taken().len(), 4);
}

#[actix_rt::test]
async fn an_action_whose_end_is_not_known_is_not_run_again_with_its_key() {
    let desk = Desk::new();
    let key = "Idempotency-Key: s1\r\n";
    let silent = json!({"actor": "silent", "reason": "x"});
    let (status, answer) = desk.request("ops", "restart_actor", key, &silent).await;
    assert_eq!(
        (status.as_str(), &answer["type"]),
        ("503", &json!("urn:candela:problem:no_answer"))
    );
    let (status, answer) = desk.request("ops", "restart_actor", key, &silent).await;
    assert_eq!(
        (status.as_str(), &answer["type"]),
        ("409", &json!("urn:candela:problem:action_running"))
    );
    assert_eq!(desk.taken().len(), 1);
}

#[actix_rt::test]
async fn an_edge_lists_no_action_and_says_where_to_request_one() {
    let (_file, tokens) = tokens();
    let edge = Stage::with(move |parts| parts.extras.tokens = Some(tokens));
    let (_, listed) = edge.get_with("/admin", "Authorization: Bearer ops\r\n").await;
    assert_eq!(listed, json!({"by": null, "actions": []}));
    let (head, answer) = edge
        .post("/admin/drain", "Authorization: Bearer ops\r\n", "{\"reason\":\"x\"}")
        .await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert_eq!(answer["detail"], "this node is an edge: send the action to its ingest");
}
