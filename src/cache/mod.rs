//! The cache: the latest price of each pair, and messages for subscribers. Redis (or Valkey), or memory without a server. Never in the path
//! of a tick: what the cache misses is in the ledger.
//!
//! ```text
//!  usdcop:latest_price        JSON of the last tick, expires after 300 s; one key per pair    as the old service had it
//!  market_data:realtime       {"type":"price_update","data":…} of every tick, pub/sub         as the old service had it
//!  candela:writer             the lease of the process that writes; expires unless it is renewed
//!  candela:stream:CHANNEL     the newest durable messages of the channel, as clients receive them (domain::followers::stream)
//! ```

mod error;
mod memory;
mod payload;
mod connector;
mod script;
mod redis;

pub(crate) use connector::Connector;
pub use error::CacheError;
pub use memory::Memory;
pub use payload::{CHANNEL, latest_key, price_json, stream_key, update_json};
pub use redis::Redis;

use crate::clock::Stopwatch;
use crate::domain::followers::StreamId;
use crate::domain::followers::lease::{Answer, Holder};
use crate::domain::model::{Channel, Epoch, Symbol, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// A cache. Cheap to clone; clones share its connections.
#[derive(Debug, Clone)]
pub enum Cache {
    /// In this process.
    Memory(Memory),
    /// A server's.
    Redis(Redis),
}

/// What one round trip writes to the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// The last tick of each pair that had one, as the old service's JSON, with when it was received.
    pub latest: Vec<(Symbol, Timestamp, String)>,
    /// Every tick, for present subscribers.
    pub updates: Vec<String>,
    /// Durable messages, for the streams.
    pub entries: Vec<StreamAdd>,
}

/// An entry for a channel's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamAdd {
    /// The channel.
    pub channel: Channel,
    /// The entry's id; its second part is the message's seq.
    pub id: StreamId,
    /// The channel's epoch.
    pub epoch: Epoch,
    /// The message as JSON.
    pub message: String,
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
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Redis(_) => "redis",
        }
    }

    /// The Redis server, which keeps streams; memory keeps none.
    pub const fn streams(&self) -> Option<&Redis> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(redis) => Some(redis),
        }
    }

    /// From now on writes require this holder's lease. Memory requires none.
    pub fn claim(&self, by: Holder) {
        if let Self::Redis(redis) = self {
            redis.claim(by);
        }
    }

    /// Requests the lease, or renews it.
    ///
    /// # Errors
    /// [`CacheError`] when the server does not answer.
    pub async fn renew_lease(&self) -> Result<Answer, CacheError> {
        match self {
            Self::Memory(_) => Ok(Answer::Granted(1)),
            Self::Redis(redis) => redis.renew_lease().await,
        }
    }

    /// Takes the lease from the holder with this id, which lost the right to write to the database to this one.
    ///
    /// # Errors
    /// [`CacheError`] when the server does not answer.
    pub async fn succeed(&self, from: &str) -> Result<(), CacheError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Redis(redis) => redis.succeed(from).await,
        }
    }

    /// Releases the lease. If that fails, the lease expires.
    pub async fn release_lease(&self) {
        if let Self::Redis(redis) = self {
            redis.release_lease().await;
        }
    }

    /// Writes everything in one round trip. Returns the channels whose stream refused an entry because another program changed it: they
    /// must be compared with the ledger.
    ///
    /// # Errors
    /// [`CacheError`] when the server refuses; some of it may have been written.
    pub async fn tell(&self, news: News, now: Timestamp) -> Result<BTreeSet<Channel>, CacheError> {
        either!(self.tell(news, now))
    }

    /// The JSON of the last tick, unless it is too old.
    ///
    /// # Errors
    /// [`CacheError`] when the server does not answer.
    pub async fn latest(&self, symbol: Symbol, now: Timestamp) -> Result<Option<String>, CacheError> {
        either!(self.latest(symbol, now))
    }

    /// Sends a trivial query, and returns how long the answer took.
    ///
    /// # Errors
    /// [`CacheError`] when it does not answer.
    pub async fn ping(&self) -> Result<Duration, CacheError> {
        let asked = Stopwatch::start();
        either!(self.ping())?;
        Ok(asked.elapsed())
    }
}
