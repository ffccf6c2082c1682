//! What a fan-out shard reads of the store: the part of a channel's log that the ledger has let go.
//!
//! A query never holds the shard up: it runs beside it, few at a time, and what it brings is handed over when it comes.

use crate::actors::beginning::{Older, Question};
use crate::actors::fanout::Fanout;
use crate::actors::seat::{ClientId, Seat};
use crate::domain::channel::Channel;
use crate::domain::frames;
use crate::limits;
use crate::store::{LogQuery, Store};
use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use std::collections::HashSet;
use std::rc::Rc;
use tokio::sync::Semaphore;

/// The store, as one shard sees it.
pub(super) struct Archive {
    store: Option<Store>,
    turns: Rc<Semaphore>,
    /// Questions that are not asked yet.
    wanted: Vec<Fetch>,
    /// Whose replays wait for an answer.
    waiting: HashSet<ClientId>,
}

/// A chunk of a replay.
#[derive(Debug, Clone, Copy)]
struct Fetch {
    client: ClientId,
    channel: Channel,
    from: u64,
    to: u64,
    limit: usize,
}

impl Archive {
    pub(super) fn new(store: Option<Store>) -> Self {
        Self {
            store,
            turns: Rc::new(Semaphore::new(limits::FANOUT_STORE_READS)),
            wanted: Vec::new(),
            waiting: HashSet::new(),
        }
    }

    /// Whether the log of a channel is kept there.
    pub(super) fn keeps(&self, channel: Channel) -> bool {
        self.store.is_some() && LogQuery::kept(channel.topic)
    }

    /// Whether a client's replay waits for an answer.
    pub(super) fn is_awaited_by(&self, client: ClientId) -> bool {
        self.waiting.contains(&client)
    }

    /// Asks for a chunk of a replay.
    pub(super) fn want(&mut self, seat: &Seat, channel: Channel, (from, to): (u64, u64), limit: usize) {
        self.waiting.insert(seat.id());
        self.wanted.push(Fetch {
            client: seat.id(),
            channel,
            from,
            to,
            limit,
        });
    }

    /// What is kept of each log.
    pub(super) fn spans(&self, questions: Vec<Question>) -> impl Future<Output = Older> + use<> {
        let (store, turns) = (self.store.clone(), Rc::clone(&self.turns));
        async move {
            let mut older = Older::new();
            for Question { log, before } in questions {
                let _turn = turns.acquire().await;
                let Some(store) = &store else { break };
                let span = store.log_span(log, before).await;
                let span = span.inspect_err(|error| {
                    tracing::warn!(channel = %log.channel, %error, "failed to look into the store for a client");
                });
                older.push((log.channel, span.ok()));
            }
            older
        }
    }
}

impl Fanout {
    /// Asks the store for what replays wait for.
    pub(super) fn fetch(&mut self, ctx: &mut Context<Self>) {
        for fetch in std::mem::take(&mut self.archive.wanted) {
            let (Some(store), Some(head)) = (self.archive.store.clone(), self.head(fetch.channel)) else {
                self.archive.waiting.remove(&fetch.client); // or its replay would wait for ever
                continue;
            };
            let turns = Rc::clone(&self.archive.turns);
            let log = LogQuery {
                channel: fetch.channel,
                epoch: head.epoch,
                from: fetch.from,
                to: fetch.to,
            };
            let limit = u32::try_from(fetch.limit).unwrap_or(u32::MAX);
            let asked = async move {
                let _turn = turns.acquire().await;
                store.log(log, limit).await.map_err(|error| error.to_string())
            };
            let told = asked.into_actor(self).map(move |found, shard, ctx| {
                shard.archive.waiting.remove(&fetch.client);
                let Some(seat) = shard.parts.deck.seat(fetch.client) else {
                    return;
                };
                let asked_for = (fetch.channel, fetch.from, fetch.to);
                if seat.outbox.borrow().replaying() == Some(asked_for) {
                    let zones = &shard.parts.zones;
                    let framed = |events: Vec<_>| events.iter().map(|event| frames::numbered(zones, event)).collect();
                    shard.hand_over(&seat, asked_for, found.map(framed));
                }
                shard.pump(&seat);
                shard.parts.deck.soil(&seat);
                shard.plan_flush(ctx);
            });
            ctx.spawn(told);
        }
    }
}
