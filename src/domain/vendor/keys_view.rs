//! The key pool as `/status` and `candela keys` show it. Never contains a key's text.

use crate::domain::model::Timestamp;
use crate::domain::vendor::{KeySlot, Spendable};
use serde::Serialize;

/// Whether a key may be used.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Usable now.
    Ready,
    /// In use, or used a moment ago.
    Spacing,
    /// Its minute is spent, or the vendor asked to wait.
    Cooling,
    /// Its UTC day is spent.
    Spent,
    /// Refused by the vendor until the next UTC day, or withdrawn by an operator.
    Retired,
}

impl KeyState {
    /// Its name on `/status`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// One key. `slot` and `until` are not serialized; the caller adds the end of the key's text, and the instant in a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KeyView {
    /// The key.
    #[serde(skip)]
    pub slot: KeySlot,
    /// Whether it may be used.
    pub state: KeyState,
    /// When it may be used again, if not now; `None` for a key that an operator withdrew.
    #[serde(skip)]
    pub until: Option<Timestamp>,
    /// Credits used in the last 60 seconds, or in the current minute by the vendor's count.
    pub used_minute: u32,
    /// Credits used in this UTC day.
    pub used_day: u32,
    /// Credits left in this UTC day.
    pub left_day: u32,
    /// Calls since the process started.
    #[serde(skip)]
    pub calls_total: u64,
    /// Whether the link holds it.
    pub of_link: bool,
}

/// The whole pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeysView {
    /// Each key, with the last four characters of its text.
    pub keys: Vec<(KeyView, String)>,
    /// The credits that polling may still spend today.
    pub spendable: Spendable,
}
