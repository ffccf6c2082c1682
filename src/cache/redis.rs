//! Redis 6 or later, or Valkey. One multiplexed connection publishes, in scripts that the lease fences; a small pool serves everything
//! else.

use crate::cache::{
    News, StreamAdd,
    connector::Connector,
    error::CacheError,
    payload::{CHANNEL, latest_key, stream_key},
    script::{self, ScriptCommands},
};
use crate::domain::followers::lease::{Answer, Held, Holder};
use crate::domain::followers::{Clear, FoundStream, StreamEntry};
use crate::domain::model::{Channel, Symbol, Timestamp};
use crate::limits;
use bb8_redis::bb8::{ManageConnection, Pool, PooledConnection, RunError};
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, ConnectionInfo, IntoConnectionInfo, Pipeline, TlsCertificates, Value};
use secrecy::{ExposeSecret, SecretString};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::Mutex;

/// A Redis server. Cheap to clone; clones share its connections.
#[derive(Clone)]
pub struct Redis(Arc<Server>);

struct Server {
    connector: Connector,
    pool: Pool<Connector>,
    telling: Mutex<Option<MultiplexedConnection>>,
    lease: Lease,
}

/// The right to write.
#[derive(Debug, Default)]
struct Lease {
    /// The holder it is requested for; `None`: it is not requested.
    by: OnceLock<Holder>,
    /// Whether it was released and is not requested again.
    given_back: AtomicBool,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive() // the address holds a password
    }
}

impl Redis {
    /// Parses the URL: user, password, TLS (`rediss`), database number. Does not connect yet: the server may start later.
    ///
    /// # Errors
    /// [`CacheError::BadUrl`].
    pub fn new(url: &SecretString) -> Result<Self, CacheError> {
        let info = address(url.expose_secret())?;
        let connector = Connector::new(info)?;
        // Each checkout pings, because bb8-redis never reports a connection as broken, and would hand out a dead one forever.
        let pool = Pool::builder()
            .max_size(limits::REDIS_POOL)
            .connection_timeout(limits::REDIS_POOL_WAIT)
            .test_on_check_out(true)
            .build_unchecked(connector.clone());
        let telling = Mutex::default();
        let lease = Lease::default();
        Ok(Self(Arc::new(Server {
            connector,
            pool,
            telling,
            lease,
        })))
    }

    pub(super) fn claim(&self, by: Holder) {
        if self.0.lease.by.set(by).is_err() {
            tracing::debug!("the lease of Redis is already being requested");
        }
    }

    pub(super) async fn renew_lease(&self) -> Result<Answer, CacheError> {
        let script = ScriptCommands::default().script(self.writer()?);
        let mut connection = self.connection().await?;
        let said = script.query_async(&mut *connection).await;
        script::lease(said.map_err(|error| CacheError::sort(&error))?)
    }

    /// The present holder of the lease, without requesting it; `None` if nobody has it.
    ///
    /// # Errors
    /// [`CacheError`] when Redis does not answer.
    pub async fn lease_holder(&self) -> Result<Option<Held>, CacheError> {
        let mut connection = self.connection().await?;
        let said = script::ask_holder().query_async(&mut *connection).await;
        script::holder(said.map_err(|error| CacheError::sort(&error))?)
    }

    /// Takes the lease from this holder, if it still has it.
    pub(super) async fn succeed(&self, from: &str) -> Result<(), CacheError> {
        let Some(by) = self.writer()? else { return Ok(()) };
        let mut connection = self.connection().await?;
        let done: Result<Vec<Value>, _> = script::succeed(by, from).query_async(&mut *connection).await;
        done.map(drop).map_err(|error| CacheError::sort(&error))
    }

    pub(super) async fn release_lease(&self) {
        let Ok(Some(by)) = self.writer() else { return };
        self.0.lease.given_back.store(true, Ordering::Relaxed);
        let releasing = async {
            let mut connection = self.connection().await?;
            let done: Result<Vec<Value>, _> = script::release(by).query_async(&mut *connection).await;
            done.map(drop).map_err(|error| CacheError::sort(&error))
        };
        match tokio::time::timeout(limits::LEASE_RELEASE, releasing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the lease of Redis runs out by itself"),
            Err(_) => tracing::debug!("the lease of Redis runs out by itself"),
        }
    }

    /// The holder for the script; `None` if no lease was requested, so that anyone may write.
    fn writer(&self) -> Result<Option<&Holder>, CacheError> {
        if self.0.lease.given_back.load(Ordering::Relaxed) {
            return Err(CacheError::Other("the lease was given back".to_owned()));
        }
        Ok(self.0.lease.by.get())
    }

    /// Runs commands under the lease. Returns for each the reason why it was refused, or an empty text.
    async fn write(&self, commands: &ScriptCommands) -> Result<Vec<String>, CacheError> {
        let script = commands.script(self.writer()?);
        script::answers(self.send(&script).await?)
    }

    /// Sends a pipeline on the publishing connection. Any failure closes the connection, and the next call connects anew.
    async fn send(&self, pipeline: &Pipeline) -> Result<Vec<Value>, CacheError> {
        let mut slot = self.0.telling.lock().await;
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self
                .0
                .connector
                .connect()
                .await
                .map_err(|error| CacheError::sort(&error))?,
        };
        let answered = pipeline.query_async(&mut connection).await;
        let answers = answered.map_err(|error| CacheError::sort(&error))?;
        *slot = Some(connection);
        Ok(answers)
    }

    /// The state of each channel's key, in order.
    ///
    /// # Errors
    /// [`CacheError`] when the server does not answer.
    pub async fn inspect(&self, channels: &[Channel]) -> Result<Vec<FoundStream>, CacheError> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors(); // each is checked: a missing key is answered by an error
        for channel in channels {
            pipeline.cmd("XINFO").arg("STREAM").arg(stream_key(*channel));
        }
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        self.send(&pipeline).await?.into_iter().map(found).collect()
    }

    /// Clears a channel's stream and adds these entries, atomically. `false` when the server refused an entry because another program wrote
    /// to the stream at the same time.
    ///
    /// # Errors
    /// [`CacheError`] when the server refuses otherwise.
    pub async fn fill(&self, channel: Channel, clear: Clear, entries: &[StreamAdd]) -> Result<bool, CacheError> {
        let key = stream_key(channel);
        let mut commands = ScriptCommands::default();
        match clear {
            Clear::Keep => {}
            Clear::Trim => commands.add(["XTRIM".to_owned(), key, "MAXLEN".to_owned(), "0".to_owned()]),
            Clear::Delete => commands.add(["DEL".to_owned(), key]),
        }
        for entry in entries {
            add(&mut commands, entry);
        }
        if commands.len() == 0 {
            return Ok(true);
        }
        let mut whole = true;
        for answer in self.write(&commands).await? {
            whole &= taken(&answer)?;
        }
        Ok(whole)
    }

    /// Publishes in one round trip, or in several if there is much. Returns the channels whose stream refused an entry.
    pub(super) async fn tell(&self, news: News, now: Timestamp) -> Result<BTreeSet<Channel>, CacheError> {
        let mut parts = vec![(ScriptCommands::default(), Vec::new())];
        let mut part = |channel: Option<Channel>, fill: &dyn Fn(&mut ScriptCommands)| {
            if parts
                .last()
                .is_none_or(|(commands, _)| commands.len() >= limits::REDIS_SCRIPT)
            {
                parts.push((ScriptCommands::default(), Vec::new()));
            }
            if let Some((commands, channels)) = parts.last_mut() {
                fill(commands);
                channels.push(channel);
            }
        };
        for entry in &news.entries {
            part(Some(entry.channel), &|commands| add(commands, entry));
        }
        for (symbol, at, price) in &news.latest {
            let left = limits::LATEST_TTL.saturating_sub(now.since(*at));
            if !left.is_zero() {
                let ms = u64::try_from(left.as_millis()).unwrap_or(1).max(1).to_string();
                part(None, &|commands| {
                    commands.add(["PSETEX".to_owned(), latest_key(*symbol), ms.clone(), price.clone()]);
                });
            }
        }
        for update in &news.updates {
            part(None, &|commands| {
                commands.add(["PUBLISH".to_owned(), CHANNEL.to_owned(), update.clone()]);
            });
        }
        let mut refused = BTreeSet::new();
        for (commands, channels) in parts {
            if commands.len() == 0 {
                continue;
            }
            for (answer, channel) in self.write(&commands).await?.iter().zip(channels) {
                if !taken(answer)? {
                    refused.extend(channel);
                }
            }
        }
        Ok(refused)
    }

    pub(super) async fn latest(&self, symbol: Symbol, _: Timestamp) -> Result<Option<String>, CacheError> {
        let mut connection = self.connection().await?;
        let price = connection.get(latest_key(symbol)).await;
        price.map_err(|error| CacheError::sort(&error))
    }

    pub(super) async fn ping(&self) -> Result<(), CacheError> {
        self.connection().await.map(drop) // each checkout is a ping
    }

    async fn connection(&self) -> Result<PooledConnection<'_, Connector>, CacheError> {
        self.0.pool.get().await.map_err(|error| match error {
            RunError::User(error) => CacheError::sort(&error),
            RunError::TimedOut => self
                .0
                .connector
                .refusal()
                .unwrap_or_else(|| CacheError::Unreachable("no connection was available in time".to_owned())),
        })
    }
}

/// Parses the URL. `?sslrootcert=FILE` names the authorities to trust with `rediss` instead of the public ones, as for PostgreSQL.
pub(super) fn address(url: &str) -> Result<ConnectionInfo, CacheError> {
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
        return Err(CacheError::BadUrl(format!(
            "unknown option `{name}`; there are {names} and sslrootcert"
        )));
    }
    let info = rest
        .into_connection_info()
        .map_err(|error| CacheError::BadUrl(explain(&error)))?;
    let Some(file) = authority.first().and_then(|pair| pair.strip_prefix("sslrootcert=")) else {
        return Ok(info);
    };
    let file = file.replace("%2F", "/");
    let pem = std::fs::read(&file)
        .map_err(|error| CacheError::BadUrl(format!("its sslrootcert {file} is not usable: {error}")))?;
    let trusted = TlsCertificates {
        client_tls: None,
        root_cert: Some(pem),
    };
    let client = redis::Client::build_with_tls(info, trusted).map_err(|error| CacheError::BadUrl(error.to_string()))?;
    Ok(client.get_connection_info().clone())
}

/// The parser's message, which contains no values, and the usual cause.
fn explain(error: &redis::RedisError) -> String {
    format!("{error}; in a user or password / @ : ? # are written %2F %40 %3A %3F %23")
}

fn add(commands: &mut ScriptCommands, entry: &StreamAdd) {
    commands.add([
        "XADD".to_owned(),
        stream_key(entry.channel),
        "MAXLEN".to_owned(),
        "~".to_owned(),
        limits::STREAM_ENTRIES.to_string(),
        entry.id.to_string(),
        "epoch".to_owned(),
        entry.epoch.to_string(),
        "seq".to_owned(),
        entry.id.seq.to_string(),
        "message".to_owned(),
        entry.message.clone(),
    ]);
}

/// Whether a command was applied. `false` when another program changed the key: an id is not above the last one, or the key has another
/// type.
fn taken(said: &str) -> Result<bool, CacheError> {
    if said.is_empty() {
        return Ok(true);
    }
    let not_as_left = ["WRONGTYPE", "equal or smaller", "exhausted the last possible ID"];
    if not_as_left.iter().any(|part| said.contains(part)) {
        return Ok(false);
    }
    Err(CacheError::of_script(said))
}

/// Parses an answer of XINFO STREAM.
fn found(answer: Value) -> Result<FoundStream, CacheError> {
    if let Value::ServerError(error) = answer {
        return match error.details() {
            _ if error.code() == "WRONGTYPE" => Ok(FoundStream::OtherType),
            Some(text) if text.contains("no such key") => Ok(FoundStream::Absent),
            _ => Err(CacheError::sort(&error.into())),
        };
    }
    let fields = pairs(&answer);
    let length = match field(&fields, "length") {
        Some(Value::Int(length)) => u64::try_from(*length).map_err(|_| not_understood())?,
        _ => return Err(not_understood()),
    };
    let last_id = field(&fields, "last-generated-id")
        .and_then(|id| text(id).parse().ok())
        .ok_or_else(not_understood)?;
    let ends = match (field(&fields, "first-entry"), field(&fields, "last-entry")) {
        (Some(first), Some(last)) if length > 0 => Some((
            entry(first).ok_or_else(not_understood)?,
            entry(last).ok_or_else(not_understood)?,
        )),
        _ => None,
    };
    Ok(FoundStream::Stream { length, last_id, ends })
}

/// Parses one entry: its id, and its fields in sequence.
fn entry(answer: &Value) -> Option<StreamEntry> {
    let Value::Array(parts) = answer else {
        return None;
    };
    let [id, fields] = parts.as_slice() else {
        return None;
    };
    let fields = pairs(fields);
    Some(StreamEntry {
        id: text(id).parse().ok()?,
        epoch: field(&fields, "epoch").and_then(|epoch| text(epoch).parse().ok()),
        seq: field(&fields, "seq").and_then(|seq| text(seq).parse().ok()),
        message: field(&fields, "message").map(text).unwrap_or_default().into_owned(),
    })
}

fn field<'v>(fields: &[(&'v Value, &'v Value)], name: &str) -> Option<&'v Value> {
    let found = fields.iter().find(|(key, _)| text(key) == name);
    found.map(|(_, value)| *value)
}

/// Names and values, as either protocol version sends them.
fn pairs(answer: &Value) -> Vec<(&Value, &Value)> {
    match answer {
        Value::Map(pairs) => pairs.iter().map(|(key, value)| (key, value)).collect(),
        Value::Array(parts) => parts
            .chunks_exact(2)
            .filter_map(|pair| Some((pair.first()?, pair.get(1)?)))
            .collect(),
        _ => Vec::new(),
    }
}

fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes),
        Value::SimpleString(text) => Cow::Borrowed(text),
        _ => Cow::Borrowed(""),
    }
}

fn not_understood() -> CacheError {
    CacheError::Other("its answer to XINFO STREAM cannot be read".to_owned())
}
