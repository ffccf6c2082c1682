//! The cache: the latest price of each pair, and news for whoever listens. Redis (or Valkey), or memory where there is none.
//! Never in the path of a tick: what it misses is in the ledger.
//!
//! ```text
//!  usdcop:latest_price        JSON of the last tick, gone after 300 s; one key a pair         as the old service had it
//!  market_data:realtime       {"type":"price_update","data":…} of every tick, pub/sub         as the old service had it
//!  candela:stream:CHANNEL     the channel's durable messages as clients see them, the newest of them; an entry's id is SEQ-0
//! ```

mod error;
mod memory;
mod payload;
mod door;
mod redis;

pub use error::CacheError;
pub use memory::Memory;
pub use payload::{CHANNEL, latest_key, price_json, stream_key, update_json};
pub use redis::Redis;

use crate::clock::Stopwatch;
use crate::domain::channel::{Channel, Epoch};
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use std::time::Duration;

/// A cache. Cheap to clone; clones share its connections.
#[derive(Debug, Clone)]
pub enum Cache {
    /// In this process.
    Memory(Memory),
    /// A server's.
    Redis(Redis),
}

/// What one round trip tells the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// The last tick of each pair that had one, as the old service's JSON, with when it was received.
    pub latest: Vec<(Symbol, Timestamp, String)>,
    /// Every tick, for those who listen now.
    pub updates: Vec<String>,
    /// Durable messages: channel, epoch, seq, JSON.
    pub entries: Vec<(Channel, Epoch, u64, String)>,
}

macro_rules! either {
    ($self:ident.$call:ident($($argument:expr),*)) => {
        match $self {
            Self::Memory(cache) => cache.$call($($argument),*),
            Self::Redis(cache) => cache.$call($($argument),*).await,
        }
    };
}

impl Cache {
    /// `memory` or `redis`, for `/status`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Redis(_) => "redis",
        }
    }

    /// Makes the streams those of these incarnations: one that was filled in another is emptied.
    ///
    /// # Errors
    /// [`CacheError`] when the server does not do it.
    pub async fn adopt(&self, epochs: Vec<(Channel, Epoch)>) -> Result<(), CacheError> {
        either!(self.adopt(epochs))
    }

    /// Tells everything in one round trip. What a stream has already is not put in twice.
    ///
    /// # Errors
    /// [`CacheError`] when the server does not take it; some of it may have been told.
    pub async fn tell(&self, news: News, now: Timestamp) -> Result<(), CacheError> {
        either!(self.tell(news, now))
    }

    /// The last tick's JSON, as long as it is not too old.
    ///
    /// # Errors
    /// [`CacheError`] when the server does not answer.
    pub async fn latest(&self, symbol: Symbol, now: Timestamp) -> Result<Option<String>, CacheError> {
        either!(self.latest(symbol, now))
    }

    /// Asks the cache something trivial, and says how long the answer took.
    ///
    /// # Errors
    /// [`CacheError`] when it does not answer.
    pub async fn ping(&self) -> Result<Duration, CacheError> {
        let asked = Stopwatch::start();
        either!(self.ping())?;
        Ok(asked.elapsed())
    }
}
