//! From the ledger to subscribed clients: shards, connections, recent messages, replays.

pub mod transport;
pub mod connection;
pub mod registry;
pub mod recent_cache;
pub mod tick_batches;
pub mod ledger_source;
#[expect(
    clippy::module_inception,
    reason = "the room is named after its main noun and shows it at its own level"
)]
mod fanout;
mod replayer;
mod store_log;
mod test_feed;

pub use connection::{Connection, ConnectionPhase};
pub use fanout::{Deps, Fanout, OpenLedger, SessionStart};
pub use ledger_source::LedgerSource;
pub use recent_cache::RecentCache;
pub use registry::{ClientCounts, ClientRegistry, CountedClient};
pub(crate) use replayer::Replayer;
pub(crate) use store_log::{Fetch, SpanQuery, StoreLog, StoredSpans};
pub(crate) use test_feed::WithTestFeed;
pub use tick_batches::{TickBatch, TickBatches};
pub use transport::Transport;
