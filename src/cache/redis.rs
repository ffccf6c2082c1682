//! Redis, from version 6 on, or Valkey. One multiplexed connection tells the news, pipelined; a small pool answers the rest.

use crate::cache::News;
use crate::cache::door::Door;
use crate::cache::error::CacheError;
use crate::cache::payload::{CHANNEL, latest_key, stream_key};
use crate::domain::channel::{Channel, Epoch};
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use crate::limits;
use bb8_redis::bb8::{ManageConnection, Pool, PooledConnection, RunError};
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, ConnectionInfo, IntoConnectionInfo, Pipeline, TlsCertificates, Value};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use tokio::sync::Mutex;

/// A Redis server. Cheap to clone; clones share its connections.
#[derive(Clone)]
pub struct Redis(Arc<Server>);

struct Server {
    door: Door,
    pool: Pool<Door>,
    telling: Mutex<Option<MultiplexedConnection>>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive() // the address holds a password
    }
}

impl Redis {
    /// Reads the URL: user, password, TLS (`rediss`), database number. Connects to nothing yet: the server may come later.
    ///
    /// # Errors
    /// [`CacheError::BadUrl`].
    pub fn new(url: &SecretString) -> Result<Self, CacheError> {
        let info = address(url.expose_secret())?;
        let door = Door::new(info)?;
        // Each checkout pings: bb8-redis never calls a connection broken, and would hand out a dead one for ever.
        let pool = Pool::builder()
            .max_size(limits::REDIS_POOL)
            .connection_timeout(limits::REDIS_POOL_WAIT)
            .test_on_check_out(true)
            .build_unchecked(door.clone());
        let telling = Mutex::default();
        Ok(Self(Arc::new(Server { door, pool, telling })))
    }

    /// Sends a pipeline on the one connection. Any failure closes it: the next call connects anew.
    async fn send(&self, pipeline: &Pipeline) -> Result<Vec<Value>, CacheError> {
        let mut slot = self.0.telling.lock().await;
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self.0.door.connect().await.map_err(|error| CacheError::sort(&error))?,
        };
        let answered = pipeline.query_async(&mut connection).await;
        let answers = answered.map_err(|error| CacheError::sort(&error))?;
        *slot = Some(connection);
        Ok(answers)
    }

    pub(super) async fn adopt(&self, epochs: Vec<(Channel, Epoch)>) -> Result<(), CacheError> {
        if epochs.is_empty() {
            return Ok(());
        }
        let mut newest = redis::pipe();
        newest.ignore_errors(); // each is looked at: together they would have no name
        for (channel, _) in &epochs {
            newest
                .cmd("XREVRANGE")
                .arg(stream_key(*channel))
                .arg("+")
                .arg("-")
                .arg("COUNT")
                .arg(1);
        }
        let mut empty = redis::pipe();
        for ((channel, epoch), entry) in epochs.iter().zip(self.send(&newest).await?) {
            if let Value::ServerError(error) = entry {
                return Err(CacheError::sort(&error.into()));
            }
            if !matches!(&entry, Value::Array(none) if none.is_empty()) && !mentions(&entry, epoch.as_str()) {
                empty.del(stream_key(*channel)).ignore();
            }
        }
        if empty.is_empty() {
            return Ok(());
        }
        self.send(&empty).await.map(drop)
    }

    pub(super) async fn tell(&self, news: News, now: Timestamp) -> Result<(), CacheError> {
        let mut pipeline = redis::pipe();
        for (channel, epoch, seq, json) in &news.entries {
            // An id that is not above the last is refused: that entry is there already.
            pipeline
                .cmd("XADD")
                .arg(stream_key(*channel))
                .arg("MAXLEN")
                .arg("~")
                .arg(limits::STREAM_ENTRIES)
                .arg(format!("{seq}-0"))
                .arg("epoch")
                .arg(epoch.as_str())
                .arg("message")
                .arg(json);
        }
        for (symbol, at, price) in &news.latest {
            let left = limits::LATEST_TTL.saturating_sub(now.since(*at));
            if !left.is_zero() {
                pipeline.pset_ex(
                    latest_key(*symbol),
                    price,
                    u64::try_from(left.as_millis()).unwrap_or(1).max(1),
                );
            }
        }
        for update in &news.updates {
            pipeline.publish(CHANNEL, update);
        }
        if pipeline.is_empty() {
            return Ok(());
        }
        pipeline.ignore_errors();
        for answer in self.send(&pipeline).await? {
            if let Value::ServerError(error) = answer
                && !error.details().is_some_and(|text| text.contains("equal or smaller"))
            {
                return Err(CacheError::sort(&error.into()));
            }
        }
        Ok(())
    }

    pub(super) async fn latest(&self, symbol: Symbol, _: Timestamp) -> Result<Option<String>, CacheError> {
        let mut connection = self.connection().await?;
        let price = connection.get(latest_key(symbol)).await;
        price.map_err(|error| CacheError::sort(&error))
    }

    pub(super) async fn ping(&self) -> Result<(), CacheError> {
        self.connection().await.map(drop) // handing one out is a ping
    }

    async fn connection(&self) -> Result<PooledConnection<'_, Door>, CacheError> {
        self.0.pool.get().await.map_err(|error| match error {
            RunError::User(error) => CacheError::sort(&error),
            RunError::TimedOut => {
                let unknown = || CacheError::Unreachable("no connection could be had in time".to_owned());
                self.0.door.refusal().unwrap_or_else(unknown)
            }
        })
    }
}

/// Reads the URL. `?sslrootcert=FILE` names the authorities to trust with `rediss` instead of the public ones, as it does for
/// PostgreSQL.
fn address(url: &str) -> Result<ConnectionInfo, CacheError> {
    let bad = |problem: String| CacheError::BadUrl(problem);
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (authority, kept): (Vec<&str>, Vec<&str>) = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .partition(|pair| pair.starts_with("sslrootcert="));
    let rest = if kept.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{}", kept.join("&"))
    };
    let known = ["db", "user", "pass", "protocol"];
    let unknown = kept
        .iter()
        .map(|pair| pair.split_once('=').map_or(*pair, |(name, _)| name));
    if let Some(name) = unknown.into_iter().find(|name| !known.contains(name)) {
        let names = known.join(", ");
        return Err(bad(format!(
            "unknown option `{name}`; there are {names} and sslrootcert"
        )));
    }
    let info = rest.into_connection_info().map_err(|error| bad(explain(&error)))?;
    let Some(file) = authority.first().and_then(|pair| pair.strip_prefix("sslrootcert=")) else {
        return Ok(info);
    };
    let file = file.replace("%2F", "/");
    let pem = std::fs::read(&file).map_err(|error| bad(format!("its sslrootcert {file} is not usable: {error}")))?;
    let trusted = TlsCertificates {
        client_tls: None,
        root_cert: Some(pem),
    };
    let client = redis::Client::build_with_tls(info, trusted).map_err(|error| bad(error.to_string()))?;
    Ok(client.get_connection_info().clone())
}

/// What the parser says, which names no values, and the usual cause.
fn explain(error: &redis::RedisError) -> String {
    format!("{error}; in a user or password / @ : ? # are written %2F %40 %3A %3F %23")
}

/// Whether an answer of XREVRANGE holds this text somewhere.
fn mentions(answer: &Value, text: &str) -> bool {
    match answer {
        Value::Array(parts) => parts.iter().any(|part| mentions(part, text)),
        Value::BulkString(bytes) => bytes == text.as_bytes(),
        Value::SimpleString(found) => found == text,
        _ => false,
    }
}
