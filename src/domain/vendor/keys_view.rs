//! The key pool as `/status` and `candela keys` show it. Never a key's text.

use crate::domain::model::Timestamp;
use crate::domain::vendor::{KeySlot, Spendable};
use serde::Serialize;

/// Whether a key may be used.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Now.
    Ready,
    /// Used a moment ago.
    Spacing,
    /// Its minute is spent.
    Cooling,
    /// Its UTC day is spent.
    Spent,
    /// The vendor does not know it; it is asked again on another day.
    Retired,
}

impl KeyState {
    /// Its name on `/status`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// One key. Its place and its instant are not serialized: whoever shows it adds the end of its text and the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KeyView {
    /// Which.
    #[serde(skip)]
    pub slot: KeySlot,
    /// Whether it may be used.
    pub state: KeyState,
    /// Until when not.
    #[serde(skip)]
    pub until: Option<Timestamp>,
    /// Credits of the last sixty seconds.
    pub used_minute: u32,
    /// Credits of this UTC day.
    pub used_day: u32,
    /// Credits left of this UTC day.
    pub left_day: u32,
    /// Calls since the process started.
    #[serde(skip)]
    pub calls_total: u64,
    /// The link holds it.
    pub of_link: bool,
}

/// The whole pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeysView {
    /// Each key, with the last four characters of its text.
    pub keys: Vec<(KeyView, String)>,
    /// What polling may still spend today.
    pub spendable: Spendable,
}
