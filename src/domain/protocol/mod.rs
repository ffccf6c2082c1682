//! The clients' protocol: requests, encoding, each client's queue, replays, event streams, the test feed.

#[expect(
    clippy::module_inception,
    reason = "the room is named after its main noun and shows it at its own level"
)]
mod protocol;
pub mod requests;
pub mod frames;
pub mod delivery;
pub mod lanes;
pub mod outbox;
pub mod replay_start;
pub mod pattern;
pub mod continuity;
pub mod event_stream;

pub use continuity::Continuity;
pub use delivery::{Evict, Framing, Offered, Options, Out, Passed, Window};
pub use event_stream::{EventStream, NoPositions, Positions};
pub use frames::Zones;
pub use lanes::Replay;
pub(crate) use lanes::{Control, Datum, Follow};
pub use outbox::Outbox;
pub use protocol::{Close, Problem};
pub use replay_start::{HeldLog, LogSpan, ReplayQuestion, ReplayStart, SpanWanted, Unreadable};
pub use requests::{Request, RequestRefusal, Since, SubscribeRequest, Wanted};
