//! What every actor may use.

use crate::actors::messages::Report;
use crate::actors::views::Views;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::domain::protocol::Zones;
use crate::ledger::LedgerReader;
use crate::store::Store;
use actix::Recipient;
use std::sync::Arc;

/// What every actor may use; outlives restarts. Clones share it.
#[derive(Debug, Clone)]
pub struct Services {
    /// Market time.
    pub clock: Clock,
    /// What is written down. It holds no file.
    pub ledger: LedgerReader,
    /// Where bars and ticks are kept.
    pub store: Store,
    /// Where latest prices are told.
    pub cache: Cache,
    /// In which zone each market's people read times.
    pub zones: Arc<Zones>,
    /// What the children show.
    pub views: Views,
    /// To Root.
    pub root: Recipient<Report>,
}

impl Services {
    /// With views that show nothing yet.
    pub fn new(
        clock: Clock,
        ledger: LedgerReader,
        (store, cache): (Store, Cache),
        zones: Arc<Zones>,
        root: Recipient<Report>,
    ) -> Self {
        Self {
            views: Views::new(clock.now(), store.kind(), cache.kind()),
            clock,
            ledger,
            store,
            cache,
            zones,
            root,
        }
    }
}
