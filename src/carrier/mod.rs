//! The cluster log, which carries parcels between nodes: the leader writes it, every other node reads it. It need not be durable, because
//! each node's ledger is: a loss is detected as a hole, and filled from the leader's ledger.
//!
//! ```text
//!  {candela}:log        stream: one entry per parcel, whose id is the parcel's number
//!  {candela}:forming    stream: bars that are still forming, the newest few
//!  {candela}:openings   stream: the numbers of the newest openings, where a node can begin
//!  {candela}:term       the highest term that appended
//!  {candela}:leader     the leader's report; expires when the leader is silent
//!  {candela}:nodes      hash: what each node said of itself last, and when
//! ```
//!
//! *Architecture invariant*: a number in the cluster log never has two contents, and a leader of an earlier term cannot append.

mod memory;
mod redis;

pub use memory::MemoryLog;
pub use redis::RedisLog;

use crate::cache::CacheError;
use crate::domain::cluster::{LogAnswer, LogEntry, LogFound, LogHead, LogRead, NodesFound};
use std::future::Future;
use std::time::Duration;

/// A cluster log. Another kind is one more file.
pub trait Carry: Send + Sync {
    /// Appends entries of one term, in order. Entries that exist already are compared.
    fn append(&self, term: u64, entries: &[LogEntry]) -> impl Future<Output = LogAnswer> + Send;

    /// The entries after a number, at most `limit`; waits up to `wait` while there are none.
    fn follow(
        &self,
        after: u64,
        limit: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<LogEntry>, CacheError>> + Send;

    /// The same with what was said of forming bars behind a mark; with an empty one, from now on.
    fn read(
        &self,
        after: u64,
        mark: &str,
        limit: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<LogRead, CacheError>> + Send;

    /// Says how bars form that are in no parcel yet. `false`: a leader of a later term has written.
    fn form(&self, term: u64, what: &str) -> impl Future<Output = Result<bool, CacheError>> + Send;

    /// The newest entry; `None` when the cluster log is empty.
    fn head(&self) -> impl Future<Output = Result<Option<LogHead>, CacheError>> + Send;

    /// What a starting follower that has everything up to `own` finds.
    fn look(&self, own: u64) -> impl Future<Output = Result<LogFound, CacheError>> + Send;

    /// Publishes the leader's report for as long as `ttl`. `false` when a leader of a later term has written.
    fn say(&self, term: u64, what: &str, ttl: Duration) -> impl Future<Output = Result<bool, CacheError>> + Send;

    /// The leader's report, until it expires.
    fn hear(&self) -> impl Future<Output = Result<Option<String>, CacheError>> + Send;

    /// Says what a node is, by its name, and hears what all said; nothing is said where there is no `own`.
    fn nodes(&self, own: Option<(&str, &str)>) -> impl Future<Output = Result<NodesFound, CacheError>> + Send;

    /// Removes what a node said, by its name: it stops, and is not missed.
    fn forget(&self, name: &str) -> impl Future<Output = Result<(), CacheError>> + Send;
}

/// The configured cluster log. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub enum Carrier {
    /// In this process, for tests.
    Memory(MemoryLog),
    /// A stream of a Redis.
    Redis(RedisLog),
}

macro_rules! either {
    ($self:ident.$call:ident($($argument:expr),*)) => {
        match $self {
            Self::Memory(log) => log.$call($($argument),*).await,
            Self::Redis(log) => log.$call($($argument),*).await,
        }
    };
}

impl Carry for Carrier {
    async fn append(&self, term: u64, entries: &[LogEntry]) -> LogAnswer {
        either!(self.append(term, entries))
    }

    async fn follow(&self, after: u64, limit: usize, wait: Duration) -> Result<Vec<LogEntry>, CacheError> {
        either!(self.follow(after, limit, wait))
    }

    async fn read(&self, after: u64, mark: &str, limit: usize, wait: Duration) -> Result<LogRead, CacheError> {
        either!(self.read(after, mark, limit, wait))
    }

    async fn form(&self, term: u64, what: &str) -> Result<bool, CacheError> {
        either!(self.form(term, what))
    }

    async fn head(&self) -> Result<Option<LogHead>, CacheError> {
        either!(self.head())
    }

    async fn look(&self, own: u64) -> Result<LogFound, CacheError> {
        either!(self.look(own))
    }

    async fn say(&self, term: u64, what: &str, ttl: Duration) -> Result<bool, CacheError> {
        either!(self.say(term, what, ttl))
    }

    async fn hear(&self) -> Result<Option<String>, CacheError> {
        either!(self.hear())
    }

    async fn nodes(&self, own: Option<(&str, &str)>) -> Result<NodesFound, CacheError> {
        either!(self.nodes(own))
    }

    async fn forget(&self, name: &str) -> Result<(), CacheError> {
        either!(self.forget(name))
    }
}
