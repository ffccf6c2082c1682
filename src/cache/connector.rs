//! Makes connections to Redis, with timeouts for a slow server, and keeps the reason of the last failure.

use crate::cache::error::CacheError;
use crate::limits;
use bb8_redis::RedisConnectionManager;
use bb8_redis::bb8::ManageConnection;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, RedisError};
use secrecy::{ExposeSecret, SecretString};
use std::sync::{Arc, Mutex, PoisonError};

/// Makes connections, for the pool and for the publishing connection. Clones share the reason of the last failure.
#[derive(Clone)]
pub(crate) struct Connector {
    client: Client,
    manager: RedisConnectionManager,
    refusal: Arc<Mutex<Option<CacheError>>>,
}

impl Connector {
    pub(super) fn new(info: ConnectionInfo) -> Result<Self, CacheError> {
        Ok(Self {
            client: Client::open(info.clone()).map_err(bad_url)?,
            manager: RedisConnectionManager::new(info).map_err(bad_url)?,
            refusal: Arc::default(),
        })
    }

    /// A connector to the Redis of a URL.
    pub(crate) fn of(url: &SecretString) -> Result<Self, CacheError> {
        Self::new(super::redis::address(url.expose_secret())?)
    }

    /// Opens a connection outside the pool.
    pub(crate) async fn open(&self) -> Result<MultiplexedConnection, CacheError> {
        self.connect().await.map_err(|error| CacheError::sort(&error))
    }

    fn remember<T>(&self, tried: &Result<T, RedisError>) {
        let refusal = tried.as_ref().err().map(CacheError::sort);
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    /// Why the last connection failed or was unusable; `None` after one that works.
    pub(super) fn refusal(&self) -> Option<CacheError> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ManageConnection for Connector {
    type Connection = MultiplexedConnection;
    type Error = RedisError;

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let patience = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limits::REDIS_CONNECT))
            .set_response_timeout(Some(limits::REDIS_ANSWER));
        let made = self
            .client
            .get_multiplexed_async_connection_with_config(&patience)
            .await;
        if made.is_err() {
            self.remember(&made); // a connection that is made may still be unusable: without a password, everything but the greeting is refused
        }
        made
    }

    async fn is_valid(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let answered = self.manager.is_valid(connection).await;
        self.remember(&answered);
        answered
    }

    fn has_broken(&self, connection: &mut MultiplexedConnection) -> bool {
        self.manager.has_broken(connection)
    }
}

fn bad_url(error: RedisError) -> CacheError {
    CacheError::BadUrl(error.to_string())
}
