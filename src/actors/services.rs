//! The services that every actor may use.

use crate::actors::messages::Report;
use crate::actors::views::Views;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::domain::protocol::Zones;
use crate::ledger::LedgerReader;
use crate::store::Store;
use actix::Recipient;
use std::sync::Arc;

/// The services that every actor may use; they outlive restarts. Clones share them.
#[derive(Debug, Clone)]
pub struct Services {
    /// Market time.
    pub clock: Clock,
    /// Reads the ledger. It holds no file open.
    pub ledger: LedgerReader,
    /// Bars, ticks and gaps in the database.
    pub store: Store,
    /// Latest prices and streams, in Redis or memory.
    pub cache: Cache,
    /// The time zone in which each market's times are shown.
    pub zones: Arc<Zones>,
    /// The views of the children.
    pub views: Views,
    /// The address of Root.
    pub root: Recipient<Report>,
}

impl Services {
    /// With empty views.
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
