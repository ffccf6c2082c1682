//! Operators' actions, with who requests them and why. Each request becomes a journal entry, whatever its outcome.

use crate::domain::model::{ServiceEvent, ServiceEventKind, Symbol, Timestamp};
use crate::domain::vendor::KeySlot;
use crate::limits;

/// An action that an operator may request.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorAction {
    /// Restart an actor of the supervision tree. Does not count against its restart budget.
    RestartActor {
        /// Its name in the tree, as on `/status`.
        actor: String,
    },
    /// Request the missing bars of `[from, to)` from the vendor.
    Backfill {
        /// The pair.
        symbol: Symbol,
        /// The first instant.
        from: Timestamp,
        /// The first instant after it.
        to: Timestamp,
    },
    /// Count a pair's history as verified until an instant.
    OverrideGate {
        /// The pair.
        symbol: Symbol,
        /// When the override ends.
        until: Timestamp,
    },
    /// Withdraw a key, until it is revived or the process restarts.
    RetireKey {
        /// The key.
        slot: KeySlot,
    },
    /// Use a key again that the vendor refused or an operator withdrew.
    ReviveKey {
        /// The key.
        slot: KeySlot,
    },
    /// Close the connection of one client; it may reconnect.
    CloseClient {
        /// The number of the client.
        client: u64,
    },
    /// Shut down gracefully, as after SIGTERM: clients are told to reconnect.
    Drain,
}

impl OperatorAction {
    /// Its name in every protocol and in the journal.
    pub fn name(&self) -> &'static str {
        self.into()
    }

    /// The pair that it concerns, if any.
    pub const fn symbol(&self) -> Option<Symbol> {
        match self {
            Self::Backfill { symbol, .. } | Self::OverrideGate { symbol, .. } => Some(*symbol),
            Self::RestartActor { .. }
            | Self::RetireKey { .. }
            | Self::ReviveKey { .. }
            | Self::CloseClient { .. }
            | Self::Drain => None,
        }
    }

    /// A clause that says what is done: `the actor feed is restarted`.
    pub fn clause(&self) -> String {
        match self {
            Self::RestartActor { actor } => format!("the actor {actor} is restarted"),
            Self::Backfill { symbol, from, to } => {
                format!("bars of {symbol} from {from} to {to} that neither the history nor candela has are requested")
            }
            Self::OverrideGate { symbol, until } => {
                format!("the history of {symbol} counts as verified until {until}")
            }
            Self::RetireKey { slot } => {
                format!("the key {slot} is not used until it is revived or the process restarts")
            }
            Self::ReviveKey { slot } => format!("the key {slot} is used again"),
            Self::CloseClient { client } => format!("the connection of the client c-{client:x} is closed"),
            Self::Drain => "the service stops in order".to_owned(),
        }
    }

    /// Checks whether the action is allowed, whatever the service's state.
    ///
    /// # Errors
    /// [`ActionRefused`] when its range or its end is not allowed.
    pub fn check(&self, now: Timestamp) -> Result<(), ActionRefused> {
        match self {
            Self::Backfill { from, to, .. } if to <= from => Err(ActionRefused::Backwards { from: *from, to: *to }),
            Self::Backfill { from, .. } if *from >= now => Err(ActionRefused::Ahead { from: *from }),
            Self::Backfill { from, to, .. } if to.since(*from) > limits::ACTION_BACKFILL => Err(ActionRefused::TooLong),
            Self::OverrideGate { until, .. } if *until <= now => Err(ActionRefused::OverBefore { until: *until }),
            Self::OverrideGate { until, .. } if until.since(now) > limits::GATE_OVERRIDE => {
                Err(ActionRefused::TooFar { until: *until })
            }
            _ => Ok(()),
        }
    }
}

/// An action, with who requests it and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRequest {
    /// The action.
    pub action: OperatorAction,
    /// The name of the token that was used.
    pub by: String,
    /// The reason, in the operator's words.
    pub reason: String,
}

impl ActionRequest {
    /// The journal entry of the request.
    pub fn entry(&self, outcome: &Result<(), ActionRefused>, now: Timestamp) -> ServiceEvent {
        let Self { action, by, reason } = self;
        let message = match outcome {
            Ok(()) => format!("{by} requested: {}. Reason: {reason}", action.clause()),
            Err(refused) => format!(
                "{by} requested {}, which was refused: {refused}. Reason: {reason}",
                action.name()
            ),
        };
        let mut entry = ServiceEvent::new(ServiceEventKind::Action, now, action.name(), message)
            .with_cause(reason)
            .on(action.symbol())
            .with("outcome", if outcome.is_ok() { "done" } else { "refused" });
        entry.by = Some(by.clone());
        entry
    }
}

/// Why an action is refused. Nothing was done then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum ActionRefused {
    #[error("there is no actor {given}; there are {known}")]
    NoSuchActor { given: String, known: String },
    #[error("there is no key {given}; there are {known}")]
    NoSuchKey { given: KeySlot, known: String },
    #[error("there is no client c-{0:x} now; GET /admin/clients lists those that are connected")]
    NoSuchClient(u64),
    #[error("the key {0} is neither refused nor retired: there is nothing to revive")]
    NothingToRevive(KeySlot),
    #[error("to {to} is not after from {from}")]
    Backwards { from: Timestamp, to: Timestamp },
    #[error("from {from} lies ahead: only bars of the past can be requested")]
    Ahead { from: Timestamp },
    #[error("the stretch is longer than {} days: request a part of it, or use candela backfill", limits::ACTION_BACKFILL.as_secs() / 86_400)]
    TooLong,
    #[error("until {until} has passed already")]
    OverBefore { until: Timestamp },
    #[error("until {until} is more than {} hours ahead: an override ends within a day", limits::GATE_OVERRIDE.as_secs() / 3_600)]
    TooFar { until: Timestamp },
    #[error("{0} does not answer now: try again")]
    Busy(&'static str),
}

impl ActionRefused {
    /// Whether the actor, key or client does not exist.
    pub const fn is_unknown(&self) -> bool {
        matches!(
            self,
            Self::NoSuchActor { .. } | Self::NoSuchKey { .. } | Self::NoSuchClient(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_secs(1_772_460_000);

    fn backfill(from: Timestamp, to: Timestamp) -> OperatorAction {
        OperatorAction::Backfill {
            symbol: Symbol::usdcop(),
            from,
            to,
        }
    }

    #[test]
    fn a_stretch_lies_behind_goes_forward_and_has_an_end() {
        let hour = Duration::from_hours(1);
        assert_eq!(backfill(NOW - hour, NOW).check(NOW), Ok(()));
        assert_eq!(
            backfill(NOW - hour, NOW + hour).check(NOW),
            Ok(()),
            "what lies ahead of it is not asked for yet"
        );
        let refused = |action: OperatorAction| action.check(NOW).unwrap_err().to_string();
        assert_eq!(
            refused(backfill(NOW, NOW - hour)),
            "to 2026-03-02T13:00:00Z is not after from 2026-03-02T14:00:00Z"
        );
        assert!(refused(backfill(NOW, NOW + hour)).ends_with("only bars of the past can be requested"));
        assert!(refused(backfill(NOW - hour * 24 * 400, NOW)).starts_with("the stretch is longer than 31 days"));
    }

    #[test]
    fn an_override_ends_within_a_day() {
        let until = |until| OperatorAction::OverrideGate {
            symbol: Symbol::usdcop(),
            until,
        };
        assert_eq!(until(NOW + Duration::from_hours(24)).check(NOW), Ok(()));
        assert!(
            until(NOW)
                .check(NOW)
                .unwrap_err()
                .to_string()
                .ends_with("has passed already")
        );
        let far = until(NOW + Duration::from_hours(25)).check(NOW).unwrap_err();
        assert!(
            far.to_string()
                .ends_with("more than 24 hours ahead: an override ends within a day"),
            "{far}"
        );
    }

    #[test]
    fn the_journal_says_who_ordered_what_and_why_also_when_it_was_refused() {
        let request = ActionRequest {
            action: OperatorAction::RetireKey {
                slot: KeySlot { group: 1, number: 3 },
            },
            by: "ops".to_owned(),
            reason: "leaked".to_owned(),
        };
        let done = request.entry(&Ok(()), NOW);
        assert_eq!(
            done.message,
            "ops requested: the key G1_3 is not used until it is revived or the process restarts. Reason: leaked"
        );
        assert_eq!((done.by.as_deref(), done.subject.as_str()), (Some("ops"), "retire_key"));
        assert_eq!((done.cause.as_str(), done.detail("outcome")), ("leaked", Some("done")));
        let refused = request.entry(&Err(ActionRefused::Busy("key_pool")), NOW);
        assert_eq!(
            refused.message,
            "ops requested retire_key, which was refused: key_pool does not answer now: try again. Reason: leaked"
        );
        assert_eq!(refused.detail("outcome"), Some("refused"));
    }
}
