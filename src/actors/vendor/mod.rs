//! The connection to the vendor: the feed, its sockets and REST client, the keys, polling and backfill.

mod frame_guard;
#[expect(
    clippy::module_inception,
    reason = "the room is named after its main noun and shows it at its own level"
)]
mod vendor;
pub mod feed;
mod vendor_client;
pub mod key_pool;
pub mod backfill;
pub mod poller;

pub use backfill::Backfill;
pub use feed::{Feed, FeedSettings};
pub(crate) use frame_guard::{Fragments, GuardedCodec, TooLong};
pub use key_pool::{KeyPool, KeyPoolLink};
pub use poller::Poller;
pub(crate) use vendor::{ConnectFailure, Socket};
pub use vendor::{RootsError, roots, tls};
pub use vendor_client::VendorAccess;
pub(crate) use vendor_client::{AskError, KeySource, VendorClient};

#[cfg(test)]
mod tests;
