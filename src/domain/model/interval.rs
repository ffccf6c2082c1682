//! The length of a bar.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What a bar spans. `Session` and `D1` each have one bar a session, from its open to its close ([`crate::domain::model::SlotGrid`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[derive(strum::VariantArray)]
pub enum Interval {
    /// One minute.
    M1,
    /// Five minutes: the base interval.
    M5,
    /// Fifteen minutes.
    M15,
    /// Thirty minutes.
    M30,
    /// One hour.
    H1,
    /// One trading session, as a bar of the session.
    Session,
    /// One trading session, as the bar of its calendar date.
    D1,
}

/// Why a text is not an interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("interval {0:?} is not one of 1m, 5m, 15m, 30m, 1h, session, 1d")]
pub struct IntervalError(pub String);

impl Interval {
    /// The interval that is always built. Gaps are detected, requested and filled in it.
    pub const BASE: Self = Self::M5;

    /// Every interval, shortest first.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// `5m`: its name in channels, settings and REST.
    pub const fn name(self) -> &'static str {
        match self {
            Self::M1 => "1m",
            Self::M5 => "5m",
            Self::M15 => "15m",
            Self::M30 => "30m",
            Self::H1 => "1h",
            Self::Session => "session",
            Self::D1 => "1d",
        }
    }

    /// The fixed length, or `None` for intervals that follow the session.
    pub const fn length(self) -> Option<Duration> {
        match self {
            Self::M1 => Some(Duration::from_secs(60)),
            Self::M5 => Some(Duration::from_secs(300)),
            Self::M15 => Some(Duration::from_secs(900)),
            Self::M30 => Some(Duration::from_secs(1_800)),
            Self::H1 => Some(Duration::from_secs(3_600)),
            Self::Session | Self::D1 => None,
        }
    }

    /// The length of the vendor's bars for this interval: a day for intervals that follow the session.
    pub const fn vendor_length(self) -> Duration {
        match self.length() {
            Some(length) => length,
            None => Duration::from_secs(86_400),
        }
    }
}

impl FromStr for Interval {
    type Err = IntervalError;
    fn from_str(text: &str) -> Result<Self, IntervalError> {
        Self::ALL
            .iter()
            .copied()
            .find(|interval| interval.name() == text)
            .ok_or_else(|| IntervalError(text.chars().take(20).collect()))
    }
}

impl TryFrom<String> for Interval {
    type Error = IntervalError;
    fn try_from(text: String) -> Result<Self, IntervalError> {
        text.parse()
    }
}

impl From<Interval> for String {
    fn from(interval: Interval) -> Self {
        interval.name().to_owned()
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for &interval in Interval::ALL {
            assert_eq!(interval.name().parse(), Ok(interval));
        }
        assert_eq!("7m".parse::<Interval>(), Err(IntervalError("7m".to_owned())));
    }
}
