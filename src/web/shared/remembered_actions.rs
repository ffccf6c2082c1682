//! Answers to requests for actions that carried an `Idempotency-Key`: one that is sent again gets the first answer, and nothing is done twice.

use crate::limits;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// The newest of them, over all HTTP threads. Forgotten at the end of the process.
#[derive(Debug, Default)]
pub(crate) struct RememberedActions(Mutex<VecDeque<RememberedAction>>);

#[derive(Debug)]
struct RememberedAction {
    /// Whose it is, and the key that was sent with it.
    sender: (String, String),
    /// What was asked for.
    request: String,
    /// The answer; none while it runs, or where Root did not answer in time.
    answer: Option<Value>,
}

/// What is known of a request.
#[derive(Debug, PartialEq)]
pub(crate) enum KnownAction {
    /// Nothing: it is to be run, and its answer given to [`RememberedActions::answered`].
    New,
    /// It was begun, and its end is not known.
    Running,
    /// It was done: the body of the answer.
    Answered(Value),
    /// The key was used for something else.
    OtherRequest,
}

impl RememberedActions {
    /// Looks for a request, and notes a new one as running.
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

    /// Keeps the answer; without one the request may be sent again.
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
