//! A condition as `/status` shows it, and as a leader sends it to its edges.

use crate::domain::model::{Symbol, ZonedInstant};
use crate::domain::status::{Condition, ConditionKind};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// One condition. Its kind is a text, because an edge may show the conditions of a leader of a later version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionView {
    /// The name of a [`ConditionKind`].
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// The pair that it concerns; `None` for the service as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<Symbol>,
    /// Whether it holds now.
    pub status: bool,
    /// A name for programs, such as `flag_stale`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Since when it holds or is cleared.
    pub since: ZonedInstant,
    /// What would clear it.
    pub clears_when: Cow<'static, str>,
    /// The page that says what to do about it.
    pub runbook: String,
}

impl ConditionView {
    /// The condition, with its instant in `zone`.
    pub fn new(condition: &Condition, zone: chrono_tz::Tz) -> Self {
        Self {
            kind: condition.kind.name().into(),
            symbol: condition.symbol,
            status: condition.status,
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            since: ZonedInstant::new(condition.since, zone),
            clears_when: condition.clears_when.into(),
            runbook: condition.runbook.to_string(),
        }
    }

    /// Whether it is of this kind; it need not hold.
    pub fn is(&self, kind: ConditionKind) -> bool {
        self.kind == kind.name()
    }
}
