//! The health of the service: conditions, the journal, and whether a strategy may act on a pair.

pub mod health;
pub mod safety;
pub mod evident_conditions;
pub mod journal;
pub mod explanation;
pub mod action_request;
pub mod symbol_view;
pub mod condition_view;

pub use action_request::{ActionRefused, ActionRequest, OperatorAction};
pub use condition_view::ConditionView;
pub use evident_conditions::{AllEvidence, EvidentConditions, PairEvidence};
pub use explanation::{Explanation, unwritten_conditions};
pub use health::{Condition, ConditionKind, Conditions};
pub use journal::{ConditionHolder, Journal};
pub use safety::{Evidence, LinkEvidence, PollingEvidence, PriceEvidence, UnsafeReason};
pub use symbol_view::{CadenceView, SymbolView};
