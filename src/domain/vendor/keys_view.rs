//! The key pool as `/status` and `candela keys` show it. Never a key's text.

use crate::domain::model::Timestamp;
use crate::domain::vendor::{KeySlot, Spendable};

/// Whether a key may be used.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyView {
    /// Which.
    pub slot: KeySlot,
    /// Whether it may be used.
    pub state: KeyState,
    /// Until when not.
    pub until: Option<Timestamp>,
    /// Credits of the last sixty seconds.
    pub used_minute: u32,
    /// Credits of this UTC day.
    pub used_day: u32,
    /// Credits left of this UTC day.
    pub left_day: u32,
    /// Calls since the process started.
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
