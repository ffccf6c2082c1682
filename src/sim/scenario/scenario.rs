//! The faults of the simulated upstream, and when they happen: a scenario, one action a line.
//!
//! ```text
//! # cue            act
//! at bar 3         drop 1006                     all connections end without a close frame
//! at bar 3         refuse upgrades 503 for 3m    a client that reconnects within three minutes is refused
//! on subscribe #2  half-open                     the second subscriber is never answered, nor is its socket closed
//! ```
//! The words are read by `crate::sim::scenario::script`; docs/scenarios.md lists them all.

use crate::domain::model::Symbol;
use chrono::NaiveTime;
use std::time::Duration;

/// Actions in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scenario {
    /// The lines that hold an act.
    pub lines: Vec<Line>,
}

/// One act and its cue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The line of the file, from 1.
    pub number: usize,
    /// Its text, without the comment.
    pub text: String,
    /// When the act is performed.
    pub cue: Cue,
    /// The act.
    pub act: ScenarioAction,
}

/// When an action is performed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cue {
    /// Once, at a moment of market time.
    At(When),
    /// When something happens.
    On(Moment, Which),
}

/// A moment of market time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// When the server starts, before any client connects.
    Start,
    /// The next time the market's clock shows this.
    Clock(NaiveTime),
    /// This long after the session opened.
    AfterOpen(Duration),
}

/// A moment in the life of a connection, in the order in which they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// A TCP connection was accepted; nothing was read from it.
    Connect,
    /// A WebSocket upgrade was read; nothing was answered.
    Upgrade,
    /// The upgrade was granted.
    Open,
    /// A subscribe was read; nothing was answered.
    Subscribe,
    /// The answer to a subscribe was sent.
    Status,
    /// The first price was sent on a connection.
    Price,
    /// A heartbeat was read; nothing was answered.
    Heartbeat,
    /// A REST request was read; nothing was answered.
    Rest,
}

/// Which occurrences of a moment. Counted over the life of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// From the first to the second, both included, counted from 1.
    Between(u64, u64),
    /// Each time.
    Every,
}

impl Which {
    /// Whether it includes the `count`-th occurrence.
    pub const fn matches_count(self, count: u64) -> bool {
        match self {
            Self::Between(first, last) => first <= count && count <= last,
            Self::Every => true,
        }
    }
}

/// The act of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScenarioAction {
    /// Done once: to the connection that gave the cue, else to all.
    OnConnection(ConnectionAction),
    /// A fault that lasts: for the duration, or for good.
    Fault(Fault, Option<Duration>),
    /// Ends every lasting fault, those of keys included.
    ClearFaults,
}

/// An act on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionAction {
    /// It ends.
    Drop(Ending),
    /// It stays open, and neither reads nor writes: the peer vanished, the socket did not.
    HalfOpen(Option<Duration>),
    /// It reads, and sends nothing any more, not even answers to heartbeats.
    Stall(Option<Duration>),
    /// It sends an odd frame.
    Send(OddFrame),
    /// It sends the last price again, this many times.
    Repeat(u32),
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With a close frame of this code.
    Close(u16),
    /// Without a close frame: the peer sees 1006.
    Vanish,
    /// With a TCP reset.
    Reset,
}

/// An odd frame to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OddFrame {
    /// A named frame of `crate::sim::scenario::odd_frames`.
    Named(&'static str),
    /// A text, as it is in the file.
    Text(String),
}

/// A fault that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Prices stop; heartbeats are answered.
    Mute,
    /// Prices are sent this long after their stamps.
    Late(Duration),
    /// The price does not change, though the market moves.
    Frozen,
    /// The last price is sent again with its stamp, wherever a new one is due: the connection lives, the market seems to stand still.
    Stuck,
    /// Prices are JSON strings.
    Quoted,
    /// Stamps are rounded down to the minute.
    MinuteStamps,
    /// Stamps run ahead of the clock.
    Ahead(Duration),
    /// Stamps are this old.
    Behind(Duration),
    /// Stamps are milliseconds.
    MilliStamps,
    /// Prices carry bid and ask.
    BidAsk,
    /// Empty lists of a subscribe-status are `null`.
    NullLists,
    /// Empty lists of a subscribe-status are missing.
    NoLists,
    /// Subscribes are not answered and do nothing.
    IgnoreSubscribes,
    /// Heartbeats are not answered.
    IgnoreHeartbeats,
    /// The plan does not include this pair on its WebSocket.
    RefuseSymbol(Symbol),
    /// TCP connections are reset as soon as they are accepted.
    RefuseConnections,
    /// TCP connections are accepted and never answered.
    HangConnections,
    /// Upgrades are answered with this status.
    RefuseUpgrades(u16),
    /// Refusals with 429 or 503, of upgrades and of REST requests, ask the client to wait this long.
    RetryAfter(Duration),
    /// Upgrades are answered this much later.
    SlowUpgrades(Duration),
    /// Upgrades are never answered.
    HangUpgrades,
    /// The answer to an upgrade stops half-way.
    CutUpgrades,
    /// Upgrades are granted with a wrong `Sec-WebSocket-Accept`.
    ForgeUpgrades,
    /// A fault of REST requests.
    Rest(RestFault),
    /// A key is no longer known: by its place in the list, from 1; `None` is every key.
    ExpiredKey(Option<usize>),
    /// A key has no credits left this minute.
    NoMinuteCredits(Option<usize>),
    /// A key has no credits left this UTC day.
    NoDayCredits(Option<usize>),
}

/// A fault of REST requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestFault {
    /// Answered with this status and a JSON error.
    Status(u16),
    /// Errors have HTTP status 200; only the body has the code.
    ErrorsAs200,
    /// Answered this much later.
    Slow(Duration),
    /// Never answered.
    Hang,
    /// Every window is empty: 400, no data is available.
    Empty,
    /// The plan does not include this pair over REST: 403.
    RefuseSymbol(Symbol),
    /// Each bar is listed twice, the second time with another close.
    Duplicates,
    /// Prices carry single-precision noise at the fifth decimal.
    Noise,
    /// Prices differ from the stream by a thousandth.
    Mismatch,
    /// `end_date` is exclusive instead of inclusive.
    ExclusiveEnd,
    /// An HTML page, as from a proxy.
    Html,
    /// JSON that stops half-way.
    Cut,
    /// The connection is reset.
    Reset,
}

impl Scenario {
    /// The outage of the demo. It begins exactly between two bars and covers the whole of one: connections end without a close frame,
    /// upgrades are refused for most of that bar, and after that the last price is repeated until the next bar begins, so that no bar is
    /// partial and no check for silence reports.
    pub fn demo() -> Self {
        let bar = crate::limits::SIM_SLOT;
        let from = When::AfterOpen(bar * 2);
        let line = |number, text: &str, act| Line {
            number,
            text: text.to_owned(),
            cue: Cue::At(from),
            act,
        };
        Self {
            lines: vec![
                line(
                    1,
                    "at bar 3 refuse upgrades 503 for 3m",
                    ScenarioAction::Fault(Fault::RefuseUpgrades(503), Some(bar * 3 / 5)),
                ),
                line(
                    2,
                    "at bar 3 stuck for 5m",
                    ScenarioAction::Fault(Fault::Stuck, Some(bar)),
                ),
                line(
                    3,
                    "at bar 3 drop 1006",
                    ScenarioAction::OnConnection(ConnectionAction::Drop(Ending::Vanish)),
                ),
            ],
        }
    }
}
