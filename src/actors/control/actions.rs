//! Runs the actions that operators request: Root decides some itself, and asks other actors for the rest. Each request is an entry of the
//! journal.

use crate::actors::control::Root;
use crate::actors::messages::{FillHistory, RunAction, UseKey};
use crate::domain::lifecycle::Event;
use crate::domain::status::{ActionRefused, ActionRequest, OperatorAction};
use crate::exit::Exit;
use crate::limits;
use actix::{ActorFutureExt, Context, Handler, Recipient, ResponseActFuture, WrapFuture};
use futures_util::future::{self, LocalBoxFuture};

type Done = Result<(), ActionRefused>;

impl Handler<RunAction> for Root {
    type Result = ResponseActFuture<Self, Done>;

    fn handle(&mut self, RunAction(request): RunAction, ctx: &mut Context<Self>) -> Self::Result {
        let done = match request.action.check(self.deps.services.clock.now()) {
            Ok(()) => self.run_action(&request, ctx),
            Err(refused) => Box::pin(future::ready(Err(refused))),
        };
        Box::pin(done.into_actor(self).map(move |outcome, root, _| {
            root.note_request(&request, &outcome);
            outcome
        }))
    }
}

impl Root {
    /// Runs the action, or asks the actor that can.
    fn run_action(&mut self, request: &ActionRequest, ctx: &mut Context<Self>) -> LocalBoxFuture<'static, Done> {
        let outcome = match &request.action {
            OperatorAction::RestartActor { actor } => self.restart_actor(actor, &request.by),
            OperatorAction::Backfill { symbol, from, to } => {
                let wanted = FillHistory(vec![(*symbol, vec![(*from, *to)])]);
                let asked = ask(&self.deps.commands.fill, wanted, "validator");
                return Box::pin(async move {
                    match asked.await? {
                        true => Ok(()),
                        false => Err(ActionRefused::Busy(
                            "the validator, which waits for other bars of this pair,",
                        )),
                    }
                });
            }
            OperatorAction::OverrideGate { symbol, until } => {
                let event = Event::GateOverridden {
                    pair: *symbol,
                    until: *until,
                    message: format!("{} overrode the gate until {until}: {}", request.by, request.reason),
                };
                self.on(event, ctx);
                Ok(())
            }
            OperatorAction::RetireKey { slot } | OperatorAction::ReviveKey { slot } => {
                let use_it = matches!(request.action, OperatorAction::ReviveKey { .. });
                let asked = ask(&self.deps.commands.key, UseKey { slot: *slot, use_it }, "key_pool");
                return Box::pin(async move { asked.await? });
            }
            OperatorAction::CloseClient { client } => match self.deps.services.views.clients.request_close(*client) {
                true => Ok(()),
                false => Err(ActionRefused::NoSuchClient(*client)),
            },
            OperatorAction::Drain => {
                self.deps.services.views.ending.send_replace(Some(Exit::Clean));
                Ok(())
            }
        };
        Box::pin(future::ready(outcome))
    }

    fn restart_actor(&self, actor: &str, by: &str) -> Done {
        let mut found = self.deps.children.iter().map(|(_, vitals)| vitals);
        let Some(vitals) = found.find(|vitals| vitals.name() == actor) else {
            let known: Vec<&str> = self.deps.children.iter().map(|(_, vitals)| vitals.name()).collect();
            return Err(ActionRefused::NoSuchActor {
                given: actor.to_owned(),
                known: known.join(", "),
            });
        };
        vitals.request_restart(by);
        Ok(())
    }

    fn note_request(&self, request: &ActionRequest, outcome: &Done) {
        let refused = outcome.as_ref().err().map(ToString::to_string);
        tracing::warn!(
            kind = request.action.name(),
            token = request.by,
            reason = request.reason,
            error = refused,
            "an operator requested an action"
        );
        let entry = request.entry(outcome, self.deps.services.clock.now());
        self.deps.journal.note(entry);
        self.deps.journal.hand_over();
    }
}

/// Asks an actor, and gives up after a while.
fn ask<M>(
    whom: &Recipient<M>,
    message: M,
    name: &'static str,
) -> impl Future<Output = Result<M::Result, ActionRefused>> + use<M>
where
    M: actix::Message + Send + 'static,
    M::Result: Send,
{
    let asked = whom.send(message);
    async move {
        match tokio::time::timeout(limits::ACTION_ANSWER, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(ActionRefused::Busy(name)),
        }
    }
}
