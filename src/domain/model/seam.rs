//! The seam as it is published: where prepared history ends and our own bars begin. `domain::history::seam` finds it.

use crate::domain::model::{Symbol, Timestamp, VendorBar};
use serde::{Deserialize, Serialize};

/// The five-minute bars around a seam, each list earliest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeamBars {
    /// From the prepared history.
    pub history: Vec<VendorBar>,
    /// Made by candela from live or polled prices.
    pub live: Vec<VendorBar>,
    /// Fetched by candela from the vendor.
    pub fetched: Vec<VendorBar>,
}

/// A pair's seam, as it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeamFound {
    /// The pair.
    pub symbol: Symbol,
    /// Its seam.
    pub seam: Seam,
}

/// One seam.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seam {
    /// The last bar of the history before `first_live_bar`.
    #[serde(
        serialize_with = "crate::domain::model::timestamp::as_text_or_null",
        deserialize_with = "crate::domain::model::timestamp::from_text_or_null"
    )]
    pub last_history_bar: Option<Timestamp>,
    /// The first bar of the session that candela made from live or polled prices.
    #[serde(
        serialize_with = "crate::domain::model::timestamp::as_text",
        deserialize_with = "crate::domain::model::timestamp::from_text"
    )]
    pub first_live_bar: Timestamp,
    /// Bars between them that candela has: fetched from the vendor, or made in an earlier session.
    pub ours: usize,
    /// Expected bars between them that are in neither.
    pub missing: usize,
    /// Slots for which both have a bar.
    pub overlapping: usize,
    /// Of those, the slots where the prices differ by more than the noise of single-precision numbers.
    pub differing: usize,
    /// Examples of differing slots, newest first.
    pub examples: Vec<String>,
}
