//! What the service writes down, in the order in which it happened.
//!
//! ```text
//! Input      everything that entered the pipeline, raw, in order: replaying it gives the same bars (invariant B4)
//! Sequenced  what came of it: accepted ticks, bars, gaps, sessions; each has a position, and a seq in its channel (T2)
//! ```

use crate::domain::model::{
    AcceptedTick, Bar, Channel, Gap, Interval, KnownSessions, LastClose, Ohlc, RejectReason, SeamFound, ServiceEvent,
    SessionKind, Slot, SlotGrid, Symbol, Tick, Timestamp,
};
use bytes::Bytes;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

/// The place of an event in the ledger: 1, 2, 3, … over all channels, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    /// The one after it.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A durable event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A tick was accepted.
    Tick(AcceptedTick),
    /// A bar was closed or revised.
    Bar(Bar),
    /// All bars of an interval are out.
    BarEnd(BarEnd),
    /// A gap was opened or changed its status.
    Gap(Gap),
    /// A session opened or closed.
    Session(SessionChange),
    /// It was found, or found anew, where prepared history ends and our bars begin.
    Seam(SeamFound),
    /// The service did or found something that its journal tells.
    Journal(ServiceEvent),
}

/// An event with its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequenced {
    /// Its place in the ledger.
    pub position: Position,
    /// The channel it belongs to; `None` for [`Event::BarEnd`], which speaks of all symbols.
    pub channel: Option<Channel>,
    /// Its number in that channel, from 1; 0 when there is no channel.
    pub seq: u64,
    /// When the service decided it (market time).
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// Told after the last bar of an interval: strategies trigger on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BarEnd {
    /// Which bars.
    pub interval: Interval,
    /// Their open.
    pub opens_at: Timestamp,
    /// Symbols whose bar is there.
    pub complete: Vec<Symbol>,
    /// Symbols whose bar is missing or flawed, with the reason.
    pub incomplete: Vec<(Symbol, String)>,
}

impl BarEnd {
    /// Adds a symbol's outcome to the end of its interval.
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

/// What a session did.
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
    /// What it did.
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

/// One input of the pipeline, kept as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// When it arrived (market time). Runs backwards within a ledger only where the clock was set back ([`Unwatched`]).
    pub at: Timestamp,
    /// What arrived.
    pub what: InputKind,
}

/// What can enter the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputKind {
    /// A frame of the vendor's WebSocket, whatever was in it.
    Frame(Bytes),
    /// The link to the vendor went up or down.
    Link(LinkChange),
    /// What the link was when a session opened, repeated so that the session's day can be replayed without the day before it.
    Carried(LinkChange),
    /// A deadline came: what follows was closed by it, not by an arrival.
    Deadline,
    /// The process was started again; since the moment this is stamped with, nothing was heard.
    Started,
    /// Market time went on without anybody watching, or was set: from the moment this is stamped with to the one it names.
    Unwatched(Unwatched),
    /// A pair's session is open before our clock says so: a price came that is stamped inside it.
    Opened(Symbol),
    /// The vendor is being asked for bars.
    Requested(Requested),
    /// Bars of past sessions are missing that nobody has: neither the prepared history nor we.
    MissingBars(MissingBars),
    /// It was found where prepared history ends and our bars begin.
    Seam(SeamFound),
    /// The last close of a pair was found in the store: the first price is judged against it.
    LastClose(LastClose),
    /// The service did or found something that its journal tells.
    Noted(ServiceEvent),
    /// The last good price of a pair when a session opened, repeated for the same reason as [`InputKind::Carried`].
    CarriedClose(LastClose),
    /// A price that came while the bars of the session before were still to be closed, repeated for the same reason.
    CarriedTick(AcceptedTick),
    /// What a pair's calendar says from now on: it was corrected, or a session opened and repeats it for the same reason.
    Calendar(KnownSessions),
    /// An answer of the vendor's REST interface that carried prices or bars: the request's path, a line feed, the body.
    Answer(Bytes),
}

/// A break of market time: the process did not run, or the clock was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwatched {
    /// The first instant after it; before the input's own stamp where the clock was set back.
    pub until: Timestamp,
    /// A name fit for a gap's cause.
    pub cause: String,
}

/// A question to the vendor: bars of one stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// The pair.
    pub symbol: Symbol,
    /// Of which bars; older ledgers do not say, and mean the base interval.
    #[serde(default = "base_interval")]
    pub interval: Interval,
    /// Start of the stretch.
    pub from: Timestamp,
    /// End of the stretch, exclusive.
    pub to: Timestamp,
}

const fn base_interval() -> Interval {
    Interval::BASE
}

/// Bars of past sessions that nobody has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingBars {
    /// The pair.
    pub symbol: Symbol,
    /// Who found it: a name fit for a gap's cause.
    pub cause: String,
    /// The stretches, exclusive of their ends, in any order.
    pub stretches: Vec<(Timestamp, Timestamp)>,
}

/// The link to the vendor changed: a disconnect is data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "link")]
pub enum LinkChange {
    /// Subscribed and confirmed for these pairs.
    Up {
        /// The pairs the vendor confirmed.
        symbols: Vec<Symbol>,
    },
    /// Still connected: a heartbeat was answered or a frame came. Proof that silence is silence.
    Alive,
    /// It only shows now that nothing more was heard since then: what was told as whole since may not be. [`LinkChange::Down`]
    /// follows.
    Doubt {
        /// When the link was last known to bring what there was.
        since: Timestamp,
        /// A name fit for a gap's cause.
        cause: String,
    },
    /// These pairs are no longer heard, whatever becomes of the others.
    Lost {
        /// The pairs.
        symbols: Vec<Symbol>,
        /// A name fit for a gap's cause.
        cause: String,
    },
    /// These pairs were not heard until then, and are again. Only a session's opening says so, of an outage that reaches into it.
    Missed {
        /// The pairs.
        symbols: Vec<Symbol>,
        /// Since when they are heard again.
        until: Timestamp,
        /// A name fit for a gap's cause.
        cause: String,
    },
    /// No longer connected, or no longer to be believed.
    Down {
        /// `upstream_close_1006`, `silent`, …: a name fit for a gap's cause.
        cause: String,
    },
}

/// What goes to the recorder: written down in this order, then told. An input and what came of it are a *transaction*
/// ([`JournalEntry::begins_transaction`]): written in one transaction or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalEntry {
    /// Kept, not told.
    Input(Input),
    /// Kept and told.
    Event(Sequenced),
    /// Told, not kept: a forming bar is derived from ticks that are.
    Partial {
        /// The bar so far.
        bar: Bar,
        /// The last durable seq of its channel.
        base: u64,
    },
}

impl JournalEntry {
    /// Whether it begins a transaction: an input does, unless it is one that a session's opening repeats.
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

    /// Whether it opens a session, and of which date: the ledger begins a new file there.
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

/// The vendor's whole answer for one symbol and stretch of time: bars that are not in it do not exist there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The pair.
    pub symbol: Symbol,
    /// Of which bars.
    pub interval: Interval,
    /// Start of the stretch that was asked for.
    pub from: Timestamp,
    /// End of the stretch, exclusive.
    pub to: Timestamp,
    /// What there is, earliest first.
    pub bars: Vec<VendorBar>,
    /// When bars begin that the vendor has and whose prices cannot be used.
    pub unusable: Vec<Timestamp>,
}

impl Fetched {
    /// Whether the answer tells what the vendor has for a slot: it covers the whole bar of the vendor that holds the slot.
    pub fn speaks_of(&self, slot: Slot) -> bool {
        let (from, to) = SlotGrid::of_interval(self.interval).vendor_span(slot.opens_at, slot.closes_at);
        self.from <= from && to <= self.to
    }
}

/// An input together with what it says, decoded once by whoever heard it (`domain::vendor::wire`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// The input as it came.
    pub heard: Input,
    /// What it says to the pipeline.
    pub says: Decoded,
}

/// What an input says to the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// Nothing but that the feed lives: heartbeats, confirmations, link changes (those are in [`InputKind::Link`]).
    Nothing,
    /// A price.
    Price(Tick),
    /// A price with digits beyond the sixth decimal, which were rounded away.
    Rounded(Tick),
    /// A price that cannot be used: it concerns its own pair, and nobody else.
    Unusable(Unusable),
    /// Closed bars.
    Bars(Fetched),
    /// Closed bars, of which some were not as the vendor gave them.
    FlawedBars(Fetched, Flawed),
}

/// A price that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unusable {
    /// The pair; `None` where not even that can be read.
    pub symbol: Option<Symbol>,
    /// What is wrong with it.
    pub reason: RejectReason,
}

/// What became of the bars of one answer that could not be taken as they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flawed {
    /// Bars of which a price lost digits beyond the sixth decimal.
    pub rounded: u32,
    /// Bars left out because they cannot be read or break invariant B1.
    pub unreadable: u32,
    /// Bars left out because a price of theirs is larger than the tables hold.
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
