//! The cluster log as streams of a Redis: one script appends, so that comparing, fencing and adding are one step.

use super::Carry;
use crate::cache::{CacheError, Connector};
use crate::domain::cluster::{
    LogAnswer, LogEntry, LogFound, LogHead, LogRead, NodesFound, OpeningMark, Parcel, ParcelHash,
};
use crate::limits;
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Value};
use secrecy::SecretString;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

const LOG: &str = "{candela}:log";
const OPENINGS: &str = "{candela}:openings";
const TERM: &str = "{candela}:term";
const LEADER: &str = "{candela}:leader";
const FORMING: &str = "{candela}:forming";
const NODES: &str = "{candela}:nodes";

/// Keys: log, openings, term. Arguments: term, entries to keep, openings to keep, then eight for each parcel: number, lineage, last
/// position, previous hash, hash, whether it opens, whether it begins a chain, body. Returns the outcome, and a number.
const APPEND: &str = "
local function field(entry, name)
  for i = 1, #entry[2], 2 do if entry[2][i] == name then return entry[2][i + 1] end end
end
local term = tonumber(ARGV[1])
local known = tonumber(redis.call('GET', KEYS[3]) or '0')
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local head, hash = 0, ''
if newest then
  head, hash = tonumber(string.match(newest[1], '^%d+')), field(newest, 'hash')
  known = math.max(known, tonumber(field(newest, 'term')))
end
if known > term then return {'stale', known} end
redis.call('SET', KEYS[3], ARGV[1])
for at = 4, #ARGV, 8 do
  local number, id = tonumber(ARGV[at]), ARGV[at] .. '-0'
  local opens, begins = ARGV[at + 5] == '1', ARGV[at + 6] == '1'
  if number <= head then
    local found = redis.call('XRANGE', KEYS[1], id, id)[1]
    if not found or field(found, 'hash') ~= ARGV[at + 4] then return {'differs', number} end
  else
    if not begins then
      if number ~= head + 1 and not (head == 0 and opens) then return {'hole', head} end
      if head > 0 and hash ~= ARGV[at + 3] then return {'differs', head} end
    end
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], id, 'term', ARGV[1], 'lineage', ARGV[at + 1], 'last', ARGV[at + 2],
      'previous', ARGV[at + 3], 'hash', ARGV[at + 4], 'opens', ARGV[at + 5], 'body', ARGV[at + 7])
    if opens then redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[3], id, 'begins', ARGV[at + 6]) end
    head, hash = number, ARGV[at + 4]
  end
end
return {'taken', head}";

/// Keys: term, leader. Arguments: term, report, milliseconds.
const SAY: &str = "
if tonumber(redis.call('GET', KEYS[1]) or '0') > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1";

/// Keys: term, forming. Arguments: term, what is said, messages to keep.
const FORM: &str = "
if tonumber(redis.call('GET', KEYS[1]) or '0') > tonumber(ARGV[1]) then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'said', ARGV[2])
return 1";

/// Keys: log, term, nodes. Arguments: milliseconds after which a node is forgotten, how many are told, and then, to say something, a
/// node's name and what it says. Answers the log's last number, its term, and for each node how long ago it said what, as text.
const MEET: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[3] then
  redis.call('HSET', KEYS[3], ARGV[3], string.format('%d %s', now, ARGV[4]))
  redis.call('PEXPIRE', KEYS[3], ARGV[1])
end
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local told = {newest and string.match(newest[1], '^%d+') or '0', redis.call('GET', KEYS[2]) or '0'}
local nodes = redis.call('HGETALL', KEYS[3])
for i = 1, #nodes, 2 do
  local at, said = string.match(nodes[i + 1], '^(%d+) (.*)$')
  local age = math.max(now - (tonumber(at) or 0), 0)
  if age > tonumber(ARGV[1]) then
    if ARGV[3] then redis.call('HDEL', KEYS[3], nodes[i]) end
  elseif #told < 2 + 2 * tonumber(ARGV[2]) then
    told[#told + 1], told[#told + 2] = string.format('%d', age), said
  end
end
return told";

/// The cluster log in a Redis. Cheap to clone; clones share its connections.
#[derive(Clone)]
pub struct RedisLog(Arc<RedisLogParts>);

struct RedisLogParts {
    connector: Connector,
    keep: u64,
    writing: Mutex<Option<MultiplexedConnection>>,
    /// For calls that wait for entries; no other command may be sent on it.
    reading: Mutex<Option<MultiplexedConnection>>,
}

impl std::fmt::Debug for RedisLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisLog").finish_non_exhaustive() // the address holds a password
    }
}

impl RedisLog {
    /// The cluster log in this Redis, which keeps about `keep` entries. Does not connect yet.
    ///
    /// # Errors
    /// [`CacheError::BadUrl`].
    pub fn new(url: &SecretString, keep: u64) -> Result<Self, CacheError> {
        Ok(Self(Arc::new(RedisLogParts {
            connector: Connector::of(url)?,
            keep,
            writing: Mutex::default(),
            reading: Mutex::default(),
        })))
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, CacheError> {
        self.ask_on(&self.0.writing, command).await
    }

    /// Sends a command. Any failure closes the connection, and the next call connects anew.
    async fn ask_on<T: FromRedisValue>(
        &self,
        slot: &Mutex<Option<MultiplexedConnection>>,
        command: &Cmd,
    ) -> Result<T, CacheError> {
        let mut slot = slot.lock().await;
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self.0.connector.open().await?,
        };
        let answer = command.query_async(&mut connection).await;
        let answer = answer.map_err(|error| CacheError::sort(&error))?;
        *slot = Some(connection);
        Ok(answer)
    }

    /// The entries between two ids, at most `limit`.
    async fn range(&self, command: &str, (from, to): (&str, &str), limit: usize) -> Result<Vec<LogEntry>, CacheError> {
        let mut range = redis::cmd(command);
        range.arg(LOG).arg(from).arg(to).arg("COUNT").arg(limit);
        entries(self.ask(&range).await?)
    }

    async fn openings(&self) -> Result<Vec<OpeningMark>, CacheError> {
        let mut range = redis::cmd("XRANGE");
        range.arg(OPENINGS).arg("-").arg("+");
        let found: Vec<(String, Vec<(String, String)>)> = self.ask(&range).await?;
        let marks = found.into_iter().filter_map(|(id, fields)| {
            let begins = fields.iter().any(|(name, value)| name == "begins" && value == "1");
            let number = number_of(&id)?;
            Some(OpeningMark {
                number,
                begins_chain: begins,
            })
        });
        Ok(marks.collect())
    }
}

impl Carry for RedisLog {
    async fn append(&self, term: u64, entries: &[LogEntry]) -> LogAnswer {
        let mut script = redis::cmd("EVAL");
        script.arg(APPEND).arg(3).arg(LOG).arg(OPENINGS).arg(TERM);
        script.arg(term).arg(self.0.keep).arg(limits::CLUSTER_OPENINGS);
        for LogEntry { lineage, parcel, .. } in entries {
            script.arg(parcel.number).arg(lineage).arg(parcel.last);
            script.arg(parcel.previous.bytes()).arg(parcel.hash.bytes());
            script.arg(u8::from(parcel.opens)).arg(u8::from(parcel.begins_chain()));
            script.arg(parcel.body.as_ref());
        }
        match self.ask::<(String, u64)>(&script).await {
            Ok((said, number)) => match said.as_str() {
                "taken" => LogAnswer::Taken,
                "stale" => LogAnswer::Stale { term: number },
                "differs" => LogAnswer::Differs { number },
                "hole" => LogAnswer::Hole { head: number },
                other => LogAnswer::Away(format!("its answer {other:?} cannot be read")),
            },
            Err(error @ CacheError::Full(_)) => LogAnswer::Full(error.to_string()),
            Err(error) => LogAnswer::Away(error.to_string()),
        }
    }

    async fn follow(&self, after: u64, limit: usize, wait: Duration) -> Result<Vec<LogEntry>, CacheError> {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(limit);
        read.arg("BLOCK")
            .arg(u64::try_from(wait.as_millis()).unwrap_or(1).max(1)); // 0 waits for ever
        read.arg("STREAMS").arg(LOG).arg(format!("{after}-0"));
        let found: Option<Vec<(String, Value)>> = self.ask_on(&self.0.reading, &read).await?;
        match found.and_then(|streams| streams.into_iter().next()) {
            Some((_, found)) => entries(found),
            None => Ok(Vec::new()),
        }
    }

    /// One read of both streams: whoever sees a forming bar has seen, or sees with it, the parcels that were there before.
    async fn read(&self, after: u64, mark: &str, limit: usize, wait: Duration) -> Result<LogRead, CacheError> {
        let mut mark = mark.to_owned();
        if mark.is_empty() {
            let mut newest = redis::cmd("XREVRANGE");
            newest.arg(FORMING).arg("+").arg("-").arg("COUNT").arg(1);
            let newest: Vec<(String, Value)> = self.ask(&newest).await?;
            mark = newest.into_iter().next().map_or_else(|| "0-0".to_owned(), |(id, _)| id);
        }
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(limit);
        read.arg("BLOCK")
            .arg(u64::try_from(wait.as_millis()).unwrap_or(1).max(1)); // 0 waits for ever
        read.arg("STREAMS").arg(LOG).arg(FORMING);
        read.arg(format!("{after}-0")).arg(&mark);
        let found: Option<Vec<(String, Value)>> = self.ask_on(&self.0.reading, &read).await?;
        let mut brought = LogRead {
            mark,
            ..LogRead::default()
        };
        for (stream, found) in found.unwrap_or_default() {
            if stream == LOG {
                brought.entries = entries(found)?;
                continue;
            }
            let said: Vec<(String, Vec<(String, String)>)> =
                redis::from_redis_value(found).map_err(|error| odd_entry(&format!("cannot be read ({error})")))?;
            for (id, fields) in said {
                brought.forming.extend(fields.into_iter().map(|(_, said)| said));
                brought.mark = id;
            }
        }
        Ok(brought)
    }

    async fn form(&self, term: u64, what: &str) -> Result<bool, CacheError> {
        let mut script = redis::cmd("EVAL");
        script.arg(FORM).arg(2).arg(TERM).arg(FORMING);
        script.arg(term).arg(what).arg(limits::FORMING_KEPT);
        let said: i64 = self.ask(&script).await?;
        Ok(said == 1)
    }

    async fn head(&self) -> Result<Option<LogHead>, CacheError> {
        let newest = self.range("XREVRANGE", ("+", "-"), 1).await?;
        Ok(newest.into_iter().next().map(|entry| LogHead {
            number: entry.parcel.number,
            hash: entry.parcel.hash,
            term: entry.term,
            lineage: entry.lineage,
        }))
    }

    async fn look(&self, own: u64) -> Result<LogFound, CacheError> {
        let near = self.range("XRANGE", (&format!("{own}-0"), "+"), 2).await?;
        let first = self.range("XRANGE", ("-", "+"), 1).await?;
        let beyond = near.iter().find(|entry| entry.parcel.number > own);
        Ok(LogFound {
            head: self.head().await?,
            first: first.first().map_or(0, |entry| entry.parcel.number),
            at: near
                .iter()
                .find(|entry| entry.parcel.number == own)
                .map(|entry| entry.parcel.hash),
            after: beyond.map(|entry| (entry.parcel.number, entry.parcel.previous)),
            openings: self.openings().await?,
        })
    }

    async fn say(&self, term: u64, what: &str, ttl: Duration) -> Result<bool, CacheError> {
        let mut script = redis::cmd("EVAL");
        script.arg(SAY).arg(2).arg(TERM).arg(LEADER).arg(term).arg(what);
        script.arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let said: i64 = self.ask(&script).await?;
        Ok(said == 1)
    }

    async fn hear(&self) -> Result<Option<String>, CacheError> {
        let mut get = redis::cmd("GET");
        get.arg(LEADER);
        self.ask(&get).await
    }

    async fn nodes(&self, own: Option<(&str, &str)>) -> Result<NodesFound, CacheError> {
        let mut script = redis::cmd("EVAL");
        script.arg(MEET).arg(3).arg(LOG).arg(TERM).arg(NODES);
        script.arg(u64::try_from(limits::NODE_FORGOTTEN.as_millis()).unwrap_or(u64::MAX));
        script.arg(limits::NODES_SHOWN);
        if let Some((name, said)) = own {
            script.arg(name).arg(said);
        }
        let told: Vec<String> = self.ask(&script).await?;
        nodes(&told).ok_or_else(|| CacheError::Other(format!("{NODES} cannot be read: only candela may write there")))
    }

    async fn forget(&self, name: &str) -> Result<(), CacheError> {
        let mut delete = redis::cmd("HDEL");
        delete.arg(NODES).arg(name);
        self.ask(&delete).await
    }
}

/// Parses the answer of XRANGE. An entry that cannot be parsed is an error with its id, never a guess.
fn entries(found: Value) -> Result<Vec<LogEntry>, CacheError> {
    let found: Vec<(String, Vec<(String, Bytes)>)> =
        redis::from_redis_value(found).map_err(|error| odd_entry(&format!("cannot be read ({error})")))?;
    let entries = found.iter().map(|(id, fields)| {
        entry(id, fields).ok_or_else(|| odd_entry(&format!("({id}) lacks a field or has a wrong one")))
    });
    entries.collect()
}

/// Reads what [`MEET`] answers.
fn nodes(told: &[String]) -> Option<NodesFound> {
    let (ends, nodes) = told.split_at_checked(2)?;
    let [head, term] = ends else { return None };
    let said = nodes.chunks_exact(2).map(|node| match node {
        [age, said] => Some((age.parse().ok()?, said.clone())),
        _ => None,
    });
    Some(NodesFound {
        head: head.parse().ok()?,
        term: term.parse().ok()?,
        said: said.collect::<Option<_>>()?,
    })
}

fn odd_entry(what: &str) -> CacheError {
    CacheError::Other(format!("an entry of {LOG} {what}: only candela may write there"))
}

fn entry(id: &str, fields: &[(String, Bytes)]) -> Option<LogEntry> {
    Some(LogEntry {
        term: text(fields, "term")?.parse().ok()?,
        lineage: text(fields, "lineage")?.to_owned(),
        parcel: Parcel {
            number: number_of(id)?,
            last: text(fields, "last")?.parse().ok()?,
            previous: ParcelHash::of_bytes(field(fields, "previous")?)?,
            hash: ParcelHash::of_bytes(field(fields, "hash")?)?,
            opens: text(fields, "opens")? == "1",
            body: field(fields, "body")?.clone(),
        },
    })
}

fn field<'f>(fields: &'f [(String, Bytes)], name: &str) -> Option<&'f Bytes> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn text<'f>(fields: &'f [(String, Bytes)], name: &str) -> Option<&'f str> {
    std::str::from_utf8(field(fields, name)?).ok()
}

/// The parcel's number: an id is `number-0`.
fn number_of(id: &str) -> Option<u64> {
    id.strip_suffix("-0")?.parse().ok()
}
