//! The state of the service, the gate before it goes live, and the sessions and market time that drive it.

pub mod session_watch;
pub mod market_time;
#[expect(
    clippy::module_inception,
    reason = "the room is named after its main noun and shows it at its own level"
)]
mod lifecycle;
mod gate;

pub use gate::Gate;
pub(crate) use gate::Gates;
pub use lifecycle::{Change, Effect, Event, Lifecycle, State};
pub use market_time::{Break, BreakCause, Distrust, MarketTime};
pub use session_watch::{SessionWatch, Stage, Turn};
