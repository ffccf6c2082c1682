//! The store, as a fan-out shard reads it: the part of a channel's log that the ledger no longer keeps.
//!
//! A query never blocks the shard: few run at a time, concurrently, and each result is queued when it arrives.

use crate::actors::fanout::Connection;
use crate::actors::messages::ClientId;
use crate::domain::model::{Channel, Epoch, Sequenced, Timestamp};
use crate::domain::protocol::LogSpan;
use crate::limits;
use crate::store::{LogQuery, Store};
use std::collections::HashSet;
use std::rc::Rc;
use tokio::sync::Semaphore;

/// The store, for one shard.
pub(crate) struct StoreLog {
    store: Option<Store>,
    turns: Rc<Semaphore>,
    /// Requests that were not sent yet.
    wanted: Vec<Fetch>,
    /// Clients whose replays wait for an answer.
    waiting: HashSet<ClientId>,
}

/// The query that must be answered before the start of a replay can be found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpanQuery {
    pub(crate) log: LogQuery,
    pub(crate) before: Option<Timestamp>,
}

/// What the store keeps of the queried logs; `None` where it could not be read.
pub(crate) type StoredSpans = Vec<(Channel, Option<LogSpan>)>;

/// A chunk of a replay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetch {
    pub(crate) client: ClientId,
    pub(crate) channel: Channel,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) limit: usize,
}

impl StoreLog {
    pub(crate) fn new(store: Option<Store>) -> Self {
        Self {
            store,
            turns: Rc::new(Semaphore::new(limits::FANOUT_STORE_READS)),
            wanted: Vec::new(),
            waiting: HashSet::new(),
        }
    }

    /// Whether the store keeps the log of a channel.
    pub(super) fn keeps_log_of(&self, channel: Channel) -> bool {
        self.store.is_some() && LogQuery::is_kept(channel.topic)
    }

    /// Whether a client's replay waits for an answer.
    pub(super) fn is_awaited_by(&self, client: ClientId) -> bool {
        self.waiting.contains(&client)
    }

    /// Requests a chunk of a replay.
    pub(super) fn request_chunk(
        &mut self,
        connection: &Connection,
        channel: Channel,
        (from, to): (u64, u64),
        limit: usize,
    ) {
        self.waiting.insert(connection.id());
        self.wanted.push(Fetch {
            client: connection.id(),
            channel,
            from,
            to,
            limit,
        });
    }

    /// Reads what the store keeps of each log.
    pub(super) fn read_spans(&self, queries: Vec<SpanQuery>) -> impl Future<Output = StoredSpans> + use<> {
        let store = self.store.clone();
        let turns = Rc::clone(&self.turns);
        async move {
            let mut stored = StoredSpans::new();
            for SpanQuery { log, before } in queries {
                let _turn = turns.acquire().await;
                let Some(store) = &store else { break };
                let span = store.log_span(log, before).await;
                let span = span.inspect_err(|error| {
                    tracing::warn!(channel = %log.channel, %error, "failed to search the store for a client");
                });
                stored.push((log.channel, span.ok()));
            }
            stored
        }
    }

    /// Takes the requests that were not sent yet.
    pub(super) fn take_requests(&mut self) -> Vec<Fetch> {
        std::mem::take(&mut self.wanted)
    }

    /// Marks a request as answered, or as impossible.
    pub(super) fn mark_answered(&mut self, client: ClientId) {
        self.waiting.remove(&client);
    }

    /// Reads a chunk of a log; `None` where there is no store.
    pub(super) fn read_chunk(
        &self,
        fetch: Fetch,
        epoch: Epoch,
    ) -> Option<impl Future<Output = Result<Vec<Sequenced>, String>> + use<>> {
        let store = self.store.clone()?;
        let turns = Rc::clone(&self.turns);
        let log = LogQuery {
            channel: fetch.channel,
            epoch,
            from: fetch.from,
            to: fetch.to,
        };
        let limit = u32::try_from(fetch.limit).unwrap_or(u32::MAX);
        Some(async move {
            let _turn = turns.acquire().await;
            store.read_log(log, limit).await.map_err(|error| error.to_string())
        })
    }
}
