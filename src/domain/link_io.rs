//! What the link is told, and what it says to do.

use crate::domain::event::LinkChange;
use crate::domain::session::Sessions;
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use crate::domain::trouble::{Refusal, Trouble};
use crate::domain::wire::Frame;
use std::sync::Arc;
use std::time::Duration;

/// What the link needs to know beforehand.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// The pairs to ask for, each with its market's sessions.
    pub symbols: Vec<(Symbol, Arc<dyn Sessions>)>,
    /// How long a handshake, a confirmation or a pong may take, in market time: networks do not run faster under `demo`.
    pub patience: Duration,
    /// What a busy machine may add to any wait, in market time: nothing, unless market time runs faster than real time.
    pub jitter: Duration,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// Prices are wanted.
    Started,
    /// They are not any more.
    Stopped,
    /// The vendor accepted the upgrade.
    Opened,
    /// The vendor refused the upgrade.
    Refused(&'a Refusal),
    /// No connection, or the end of one: `connect_failed`, `upstream_close_1006`, …
    Lost(String),
    /// No key may be used before then.
    NoKey(Timestamp),
    /// A frame came.
    Heard(&'a Frame),
    /// Bytes came that are no frame.
    Garbled,
    /// A protocol pong came.
    Ponged,
    /// The time of [`crate::domain::link::Link::next_deadline`] came.
    Deadline,
    /// Market time broke: the process did not run, or the clock was set.
    Broken,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Open a connection, with another key than before if `next_key`.
    Connect {
        /// The last key was refused.
        next_key: bool,
    },
    /// Drop the connection.
    Disconnect,
    /// Send a text frame.
    Send(String),
    /// Send a protocol ping.
    Ping,
    /// Tell the pipeline.
    Tell(LinkChange),
    /// The key in use was refused, for this reason.
    KeyFailed(Trouble),
    /// The vendor asks to be left alone: with this key, or, when the trouble is its own, by all.
    StayAway {
        /// Why.
        trouble: Trouble,
        /// For how long, where it says so.
        wait: Option<Duration>,
    },
    /// The plan does not stream these pairs: somebody else must ask for them.
    SymbolsRefused(Vec<Symbol>),
}
