//! Followers of the ledger: they keep a position, and write or publish from there.

pub mod ledger_follower;
pub mod writer;
pub mod publisher;
mod stream_keeper;
pub mod tap;

pub use ledger_follower::{FollowError, LedgerFollower, OutageReports, Outcome, Progress, Sink};
pub use publisher::Publisher;
pub(crate) use stream_keeper::StreamKeeper;
pub use tap::Tap;
pub use writer::Writer;
