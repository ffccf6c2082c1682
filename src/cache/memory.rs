//! The cache in this process: the latest prices, without pub/sub.

use crate::cache::{News, error::CacheError};
use crate::domain::model::{Channel, Symbol, Timestamp};
use crate::limits;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

/// Latest prices by pair. Cheap to clone; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<RwLock<BTreeMap<Symbol, (Timestamp, String)>>>);

#[expect(
    clippy::unnecessary_wraps,
    reason = "the same surface as the Redis cache, which can fail"
)]
impl Memory {
    pub(super) fn tell(&self, news: News, _: Timestamp) -> Result<BTreeSet<Channel>, CacheError> {
        let mut prices = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (symbol, at, price) in news.latest {
            prices.insert(symbol, (at, price));
        }
        Ok(BTreeSet::new())
    }

    pub(super) fn latest(&self, symbol: Symbol, now: Timestamp) -> Result<Option<String>, CacheError> {
        let prices = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let fresh = prices
            .get(&symbol)
            .filter(|(at, _)| now.since(*at) < limits::LATEST_TTL);
        Ok(fresh.map(|(_, price)| price.clone()))
    }

    pub(super) fn ping(&self) -> Result<(), CacheError> {
        Ok(())
    }
}
