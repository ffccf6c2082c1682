//! The words of the life cycle: its states, what can happen, and what to do about it.

use crate::domain::l0::{Flag, FlagTrouble};
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use crate::domain::verdict::{Stretch, Verdicts};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Where the service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Parts are being made.
    Initializing,
    /// Waiting for the ready flag.
    WaitingL0,
    /// The history is being checked, or completed and checked again.
    CheckingData,
    /// The gate passed; the session opens soon.
    Ready,
    /// A session runs.
    Active,
    /// Between sessions.
    MarketClosed,
    /// Something must heal first.
    Error,
    /// Stopping.
    Shutdown,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Initializing,
        Self::WaitingL0,
        Self::CheckingData,
        Self::Ready,
        Self::Active,
        Self::MarketClosed,
        Self::Error,
        Self::Shutdown,
    ];

    /// Its name on every wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::WaitingL0 => "waiting_l0",
            Self::CheckingData => "checking_data",
            Self::Ready => "ready",
            Self::Active => "active",
            Self::MarketClosed => "market_closed",
            Self::Error => "error",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What can happen to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Every part is made.
    Started,
    /// A good flag is there.
    L0Ready(Flag),
    /// There is no good flag (any more).
    L0Lost(FlagTrouble),
    /// The history of every pair was checked.
    Judged(Arc<Verdicts>),
    /// The missing history of a pair was asked for; whether it came, the next check shows.
    HistoryFetched(Symbol),
    /// The database answers again.
    StoreBack,
    /// A pair's session opens within the gate's lead time.
    SessionComing(Symbol),
    /// A pair's session opens within a minute or so.
    OpeningSoon(Symbol),
    /// A pair's session opened.
    SessionOpened(Symbol),
    /// A pair's session closed.
    SessionClosed(Symbol),
    /// A part failed without which nothing goes on.
    Failed {
        /// Which part: `ledger`, ….
        part: &'static str,
        /// How, as a sentence.
        reason: String,
    },
    /// That part works again.
    Healed {
        /// Which part.
        part: &'static str,
    },
    /// The deadline that was asked for has come.
    Deadline,
    /// The process is asked to stop.
    StopAsked,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Look at the flag now.
    LookForFlag,
    /// Check the history; the flag that asked for it goes along.
    Validate(Option<Flag>),
    /// Ask the vendor for these stretches of each pair's missing bars, newest first, then say `HistoryFetched` of each.
    FetchHistory(Vec<(Symbol, Vec<Stretch>)>),
    /// Open the feed.
    OpenFeed,
    /// Close the feed.
    CloseFeed,
    /// See whether the part works again.
    Probe(&'static str),
    /// The state changed: log it, write it to `system_health`.
    Changed(Change),
    /// Stop everything, in order.
    Stop,
    /// The event means nothing here; counted.
    Ignored,
}

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The state before.
    pub from: State,
    /// The state now.
    pub to: State,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// How long the state before lasted.
    pub lasted: Duration,
}

/// Whether the gate of a pair's coming (or present) session holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Not checked yet.
    #[default]
    Unchecked,
    /// Flag and history are good.
    Passed,
    /// Gone on without, as `on_timeout = degrade` says.
    Degraded,
}
