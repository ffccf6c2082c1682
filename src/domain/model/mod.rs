//! The nouns of the market: instants, pairs, prices, sessions, ticks, bars, gaps, and the events written to the ledger.

pub mod timestamp;
pub mod zoned_instant;
pub mod backoff;
pub mod moment;
pub mod symbol;
pub mod scale;
pub mod price;
pub mod interval;
pub mod session;
pub mod known_sessions;
pub mod slot_grid;
pub mod tick;
pub mod bar;
pub mod gap;
pub mod channel;
pub mod seam;
pub mod certificate;
pub mod last_close;
pub mod service_event;
pub mod event;

pub use bar::{Bar, BarKey, BarState, Flags, Ohlc};
pub use certificate::{Certificate, Predecessor};
pub use channel::{Channel, ChannelError, Epoch, Head, Topic};
pub use event::{
    BarEnd, Decoded, Event, Fetched, Flawed, Inbound, Input, InputKind, JournalEntry, LinkChange, MissingBars,
    Position, Requested, Sequenced, SessionChange, SessionPhase, Unusable, Unwatched, VendorBar,
};
pub use gap::{Gap, GapStatus};
pub use interval::{Interval, IntervalError};
pub use known_sessions::{KnownSessions, RecordedSessions};
pub use last_close::LastClose;
pub use moment::{MOMENT_FORMS, Moment};
pub use price::{Parsed, Price, PriceError, RoundedSource};
pub use seam::{Seam, SeamBars, SeamFound};
pub use service_event::{JournalPlace, JournalQuery, PlacedEntry, ServiceEvent, ServiceEventKind};
pub use session::{Always, Listed, Session, SessionKind, Sessions};
pub use slot_grid::{Expected, Slot, SlotGrid};
pub use symbol::{Symbol, SymbolError};
pub use tick::{AcceptedTick, Provenance, RejectReason, Tick};
pub use timestamp::Timestamp;
pub use zoned_instant::ZonedInstant;
