//! Decisions of the ledger's followers: who may write, when a batch is written, and how a Redis stream is kept equal to the ledger.

pub mod batch;
pub mod lease;
pub mod stream;

pub use batch::{FlushSchedule, ReaderView, Step};
pub use stream::{
    ChannelLog, Clear, Disturbance, FoundStream, Next, StreamEntry, StreamId, StreamPlan, StreamState, Streams,
};
