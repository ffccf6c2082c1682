//! Answers to requests for actions with an `Idempotency-Key`: a repeated request gets the first answer, and no action runs twice.

use crate::limits;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// The newest requests, over all HTTP threads. Lost at the end of the process.
#[derive(Debug, Default)]
pub(crate) struct RememberedActions(Mutex<VecDeque<RememberedAction>>);

#[derive(Debug)]
struct RememberedAction {
    /// The name of the token, and the idempotency key.
    sender: (String, String),
    request: String,
    /// The answer; `None` while the action runs, or if Root did not answer in time.
    answer: Option<Value>,
}

/// What is known about a request.
#[derive(Debug, PartialEq)]
pub(crate) enum KnownAction {
    /// The request is new: run it, and pass its answer to [`RememberedActions::answered`].
    New,
    /// The action was started, and its outcome is not known.
    Running,
    /// The action was done; the body of the answer.
    Answered(Value),
    /// The key was used for another request.
    OtherRequest,
}

impl RememberedActions {
    /// Looks up a request, and records a new one as running.
    pub(crate) fn begin(&self, by: &str, key: &str, request: &str) -> KnownAction {
        let mut actions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = (by.to_owned(), key.to_owned());
        if let Some(known) = actions.iter().find(|action| action.sender == sender) {
            return match &known.answer {
                _ if known.request != request => KnownAction::OtherRequest,
                None => KnownAction::Running,
                Some(done) => KnownAction::Answered(done.clone()),
            };
        }
        if actions.len() >= limits::ACTIONS_REMEMBERED {
            actions.pop_front();
        }
        actions.push_back(RememberedAction {
            sender,
            request: request.to_owned(),
            answer: None,
        });
        KnownAction::New
    }

    /// Stores the answer; without one the request may be repeated.
    pub(crate) fn answered(&self, by: &str, key: &str, answer: Option<Value>) {
        let mut actions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = actions
            .iter()
            .position(|action| action.sender.0 == by && action.sender.1 == key);
        let Some(place) = place else { return };
        match answer {
            None => drop(actions.remove(place)),
            Some(answer) => {
                if let Some(action) = actions.get_mut(place) {
                    action.answer = Some(answer);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_order_is_new_once_and_answered_alike_afterwards() {
        let actions = RememberedActions::default();
        assert_eq!(actions.begin("ops", "k1", "drain"), KnownAction::New);
        assert_eq!(actions.begin("ops", "k1", "drain"), KnownAction::Running);
        assert_eq!(actions.begin("ops", "k1", "backfill"), KnownAction::OtherRequest);
        assert_eq!(
            actions.begin("other", "k1", "drain"),
            KnownAction::New,
            "keys are each sender's own"
        );
        actions.answered("ops", "k1", Some(json!({"done": true})));
        assert_eq!(
            actions.begin("ops", "k1", "drain"),
            KnownAction::Answered(json!({"done": true}))
        );
        actions.answered("other", "k1", None);
        assert_eq!(actions.begin("other", "k1", "drain"), KnownAction::New);
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let actions = RememberedActions::default();
        for number in 0..=limits::ACTIONS_REMEMBERED {
            assert_eq!(actions.begin("ops", &number.to_string(), "drain"), KnownAction::New);
        }
        assert_eq!(actions.begin("ops", "1", "drain"), KnownAction::Running);
        assert_eq!(actions.begin("ops", "0", "drain"), KnownAction::New);
    }
}
