//! What the ledger records, in the order in which it happened.
//!
//! ```text
//! Input      everything that entered the pipeline, raw, in order: replaying it gives the same bars (invariant B4)
//! Sequenced  what the pipeline made of it: accepted ticks, bars, gaps, sessions; each has a position, and a seq in its channel (T2)
//! ```

use crate::domain::model::{
    AcceptedTick, Bar, Certificate, Channel, Gap, Interval, KnownSessions, LastClose, Ohlc, RejectReason, SeamFound,
    ServiceEvent, Session, SessionKind, Slot, SlotGrid, Symbol, Tick, Timestamp,
};
use bytes::Bytes;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

/// The place of an event in the ledger: 1, 2, 3, … over all channels, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    /// The next position.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A durable event, written to the ledger and then published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A tick was accepted.
    Tick(AcceptedTick),
    /// A bar was closed or revised.
    Bar(Bar),
    /// Every pair's bar of an interval was closed or found missing.
    BarEnd(BarEnd),
    /// A gap was opened or changed its status.
    Gap(Gap),
    /// A session opened or closed, or soon will.
    Session(SessionChange),
    /// The seam was found, or found anew.
    Seam(SeamFound),
    /// A session was certified, for the first time or after a correction.
    Certificate(Box<Certificate>),
    /// An entry of the service's journal.
    Journal(Box<ServiceEvent>),
}

/// An event with its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequenced {
    /// Its place in the ledger.
    pub position: Position,
    /// The channel it belongs to; `None` for [`Event::BarEnd`], which concerns all symbols.
    pub channel: Option<Channel>,
    /// Its number in that channel, from 1; 0 without a channel.
    pub seq: u64,
    /// When the service decided it (market time).
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// Published after the last bar of an interval, as the trigger for strategies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BarEnd {
    /// The interval of the bars.
    pub interval: Interval,
    /// The open of the bars.
    pub opens_at: Timestamp,
    /// Symbols whose bar is available.
    pub complete: Vec<Symbol>,
    /// Symbols whose bar is missing or flawed, with the reason.
    pub incomplete: Vec<(Symbol, String)>,
}

impl BarEnd {
    /// Adds a symbol's outcome to the end of its interval in `ends`. `trouble` is the reason why its bar is incomplete.
    pub fn note(
        ends: &mut Vec<Self>,
        interval: Interval,
        opens_at: Timestamp,
        symbol: Symbol,
        trouble: Option<String>,
    ) {
        let place = ends
            .iter()
            .position(|end| end.interval == interval && end.opens_at == opens_at)
            .unwrap_or_else(|| {
                ends.push(Self {
                    interval,
                    opens_at,
                    complete: Vec::new(),
                    incomplete: Vec::new(),
                });
                ends.len().saturating_sub(1)
            });
        if let Some(end) = ends.get_mut(place) {
            match trouble {
                None => end.complete.push(symbol),
                Some(reason) => end.incomplete.push((symbol, reason)),
            }
        }
    }
}

/// The phases of a session that are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionPhase {
    /// Opens within minutes.
    OpeningSoon,
    /// Is open from now.
    Open,
    /// Closes within minutes.
    ClosingSoon,
    /// Is closed from now.
    Closed,
}

/// A session opened or closed, or soon will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionChange {
    /// The pair.
    pub symbol: Symbol,
    /// The phase that began.
    pub phase: SessionPhase,
    /// The market's date.
    pub date: NaiveDate,
    /// How it settles.
    pub kind: SessionKind,
    /// First instant.
    pub opens: Timestamp,
    /// First instant after it.
    pub closes: Timestamp,
}

impl SessionChange {
    /// The session as it is told.
    pub const fn session(&self) -> Session {
        Session {
            date: self.date,
            opens: self.opens,
            closes: self.closes,
            kind: self.kind,
        }
    }
}

/// One input of the pipeline, recorded as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// When it arrived (market time). Decreases within a ledger only where the clock was set back ([`Unwatched`]).
    pub at: Timestamp,
    /// What arrived.
    pub what: InputKind,
}

/// The kinds of input to the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputKind {
    /// A frame of the vendor's WebSocket, whatever was in it.
    Frame(Bytes),
    /// The link to the vendor went up or down.
    Link(LinkChange),
    /// The state of the link when a session opened, recorded again so that the session's day can be replayed without the day before it.
    Carried(LinkChange),
    /// A deadline passed: the events that follow were caused by it, not by an arrival.
    Deadline,
    /// The process was started again. Nothing was received between this input's `at` and the next input.
    Started,
    /// Market time passed while nothing was received, or the clock was set: from this input's `at` to [`Unwatched::until`].
    Unwatched(Unwatched),
    /// A pair's session is open although our clock does not say so yet: a price came that is timestamped inside it.
    Opened(Symbol),
    /// Bars are being requested from the vendor.
    Requested(Requested),
    /// Bars of past sessions are missing from the prepared history and from our own bars.
    MissingBars(MissingBars),
    /// The seam was found, or found anew.
    Seam(SeamFound),
    /// A session was certified, from the events of the ledger. The events that follow do not depend on it.
    Certificate(Box<Certificate>),
    /// The last close of a pair was found in the store; the first price is judged against it.
    LastClose(LastClose),
    /// An entry of the service's journal.
    Noted(Box<ServiceEvent>),
    /// The last good price of a pair when a session opened, recorded again for the same reason as [`InputKind::Carried`].
    CarriedClose(LastClose),
    /// A price that came while the bars of the session before were still to be closed, recorded again for the same reason.
    CarriedTick(AcceptedTick),
    /// A pair's calendar from now on: it was corrected, or the opening of a session records it again for the same reason.
    Calendar(KnownSessions),
    /// An answer of the vendor's REST interface with prices or bars, in the form of `domain::vendor::rest::capture`: path, instant, body.
    Answer(Bytes),
}

/// A break of market time: the process did not run, or the clock was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwatched {
    /// The end of the break, exclusive. Lies before the input's own `at` where the clock was set back.
    pub until: Timestamp,
    /// A name that can be the cause of a gap.
    pub cause: String,
}

/// A request to the vendor for the bars of one range of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// The pair.
    pub symbol: Symbol,
    /// The interval of the bars. Older ledgers omit it and mean the base interval.
    #[serde(default = "base_interval")]
    pub interval: Interval,
    /// Start of the range.
    pub from: Timestamp,
    /// End of the range, exclusive.
    pub to: Timestamp,
}

const fn base_interval() -> Interval {
    Interval::BASE
}

/// Bars of past sessions that are neither in the prepared history nor our own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingBars {
    /// The pair.
    pub symbol: Symbol,
    /// What found them missing: a name that can be the cause of a gap.
    pub cause: String,
    /// The ranges, exclusive of their ends, in any order.
    pub stretches: Vec<(Timestamp, Timestamp)>,
}

/// The link to the vendor changed. A disconnect is an input like any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "link")]
pub enum LinkChange {
    /// Subscribed and confirmed for these pairs.
    Up {
        /// The pairs the vendor confirmed.
        symbols: Vec<Symbol>,
    },
    /// Still connected: the vendor answered. While the link is alive, silence means that the market is silent.
    Alive,
    /// The link failed unnoticed at `since`: data published as complete since then may not be. [`LinkChange::Down`] follows.
    Doubt {
        /// When the link was last known to deliver every price.
        since: Timestamp,
        /// A name that can be the cause of a gap.
        cause: String,
    },
    /// These pairs are no longer received; the other pairs are not affected.
    Lost {
        /// The pairs.
        symbols: Vec<Symbol>,
        /// A name that can be the cause of a gap.
        cause: String,
    },
    /// These pairs were not received until `until`, and are again. Recorded only when a session opens, for an outage that reaches into it.
    Missed {
        /// The pairs.
        symbols: Vec<Symbol>,
        /// Since when they are received again.
        until: Timestamp,
        /// A name that can be the cause of a gap.
        cause: String,
    },
    /// No longer connected, or no longer trusted.
    Down {
        /// A name that can be the cause of a gap: `upstream_close_1006`, `silent`, ….
        cause: String,
    },
}

/// What the recorder receives: written in this order, then published. An input and the events it caused are a *transaction*
/// ([`JournalEntry::begins_transaction`]): all are written, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalEntry {
    /// Written, not published.
    Input(Input),
    /// Written and published.
    Event(Sequenced),
    /// Published, not written: a forming bar is derived from ticks that are written.
    Partial {
        /// The bar so far.
        bar: Bar,
        /// The last durable seq of its channel.
        base: u64,
    },
}

impl JournalEntry {
    /// Whether it begins a transaction. An input does, unless the opening of a session records it again.
    pub const fn begins_transaction(&self) -> bool {
        match self {
            Self::Input(heard) => !matches!(
                heard.what,
                InputKind::Carried(_)
                    | InputKind::CarriedClose(_)
                    | InputKind::CarriedTick(_)
                    | InputKind::Calendar(KnownSessions { carried: true, .. })
            ),
            Self::Event(_) | Self::Partial { .. } => false,
        }
    }

    /// The event, if it is one.
    pub const fn event(&self) -> Option<&Sequenced> {
        match self {
            Self::Event(event) => Some(event),
            Self::Input(_) | Self::Partial { .. } => None,
        }
    }

    /// The date of the session that it opens, if it opens one: the ledger begins a new file there.
    pub const fn opens_session(&self) -> Option<NaiveDate> {
        match self {
            Self::Event(Sequenced {
                event: Event::Session(change),
                ..
            }) if matches!(change.phase, SessionPhase::Open) => Some(change.date),
            _ => None,
        }
    }
}

/// One closed bar as the vendor's REST interface gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VendorBar {
    /// The first instant of the bar.
    pub opens_at: Timestamp,
    /// Its prices.
    pub ohlc: Ohlc,
}

/// The vendor's complete answer for one symbol and range of time: the vendor has no bar in that range that is not listed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The pair.
    pub symbol: Symbol,
    /// The interval of the bars.
    pub interval: Interval,
    /// Start of the requested range.
    pub from: Timestamp,
    /// End of the range, exclusive.
    pub to: Timestamp,
    /// The bars, earliest first.
    pub bars: Vec<VendorBar>,
    /// The opens of bars that the vendor has with unusable prices.
    pub unusable: Vec<Timestamp>,
}

impl Fetched {
    /// Whether the answer shows what the vendor has for a slot: it covers the whole vendor bar that holds the slot.
    pub fn speaks_of(&self, slot: Slot) -> bool {
        let (from, to) = SlotGrid::of_interval(self.interval).vendor_span(slot.opens_at, slot.closes_at);
        self.from <= from && to <= self.to
    }
}

/// An input with its decoded content, decoded once by the actor that received it (`domain::vendor::wire`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// The input as it was received.
    pub heard: Input,
    /// Its decoded content.
    pub says: Decoded,
}

/// The decoded content of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// Only a sign that the feed is alive: heartbeats, confirmations, link changes (those are in [`InputKind::Link`]).
    Nothing,
    /// A price.
    Price(Tick),
    /// A price whose digits beyond the sixth decimal were rounded away.
    Rounded(Tick),
    /// A price that cannot be used. It affects its own pair only.
    Unusable(Unusable),
    /// Closed bars.
    Bars(Fetched),
    /// Closed bars, some of which were rounded or left out.
    FlawedBars(Fetched, Flawed),
}

/// A price that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unusable {
    /// The pair; `None` when it cannot be read either.
    pub symbol: Option<Symbol>,
    /// Why the price cannot be used.
    pub reason: RejectReason,
}

/// How many bars of one answer were rounded or left out, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flawed {
    /// Bars with a price that lost digits beyond the sixth decimal.
    pub rounded: u32,
    /// Bars left out because they cannot be parsed or break invariant B1.
    pub unreadable: u32,
    /// Bars left out because one of their prices is larger than the tables hold.
    pub out_of_range: u32,
    /// Bars left out because six decimals cannot hold their prices.
    pub beyond_scale: u32,
}

impl Flawed {
    /// Counts a bar that was left out.
    pub fn leave_out(&mut self, reason: RejectReason) {
        let count = match reason {
            RejectReason::BeyondScale => &mut self.beyond_scale,
            RejectReason::OutOfRange => &mut self.out_of_range,
            _ => &mut self.unreadable,
        };
        *count = count.saturating_add(1);
    }
}
