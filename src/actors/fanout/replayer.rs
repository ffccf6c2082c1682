//! Subscribes clients to channels without a gap: answers `Subscribe` and `Unsubscribe`, and runs the replays that follow, from memory,
//! ledger and store. `domain::protocol::replay_start` computes where a replay begins.
//!
//! ```text
//!  Subscribe ─► subscribed ─► snapshot ─► replay of (since, head] ─► replay_end ─► live from head + 1
//!                                      in chunks, as the outbox has room; live messages are held meanwhile and read from
//!                                      the same memory and ledger when their turn comes
//! ```

use crate::actors::fanout::{
    Connection, Deps, Fetch, LedgerSource, RecentCache, SpanQuery, StoreLog, StoredSpans, WithTestFeed,
};
use crate::actors::messages::{Subscribe, Unsubscribe};
use crate::domain::model::{Channel, Event, Head, Sequenced, Timestamp, Topic};
use crate::domain::protocol::{
    Close, HeldLog, Problem, Replay, ReplayQuestion, ReplayStart, Since, SpanWanted, Unreadable, frames,
};
use crate::limits;
use crate::store::LogQuery;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The logs of a shard's channels, and the clients that they are replayed to.
pub(crate) struct Replayer {
    pub(super) deps: Deps,
    pub(super) ledger: Box<dyn LedgerSource>,
    pub(super) recent: RecentCache,
    pub(super) store_log: StoreLog,
}

impl Replayer {
    /// A replayer that continues with the state of its registry.
    pub(super) fn new(deps: Deps) -> Self {
        let mut ledger = (deps.ledger)();
        if deps.pattern {
            let clock = deps.registry.clock().clone();
            ledger = Box::new(WithTestFeed { ledger, clock });
        }
        Self {
            store_log: StoreLog::new(deps.store.clone()),
            recent: RecentCache::default(),
            ledger,
            deps,
        }
    }

    /// The queries of the store that this answer needs.
    pub(super) fn span_queries(&mut self, ask: &Subscribe) -> Vec<SpanQuery> {
        let Some(connection) = self.deps.registry.connection(ask.client) else {
            return Vec::new();
        };
        let channels = ask.channels.iter();
        let new = channels.filter(|(channel, _)| !connection.outbox.borrow().follows_channel(*channel));
        let queries = new.filter_map(|(channel, since)| self.span_query(*channel, *since));
        queries.collect()
    }

    /// The query of the store that one channel needs, if any.
    fn span_query(&mut self, channel: Channel, since: Since) -> Option<SpanQuery> {
        if !self.store_log.keeps_log_of(channel) {
            return None;
        }
        let question = self.question(channel, since);
        let SpanWanted { from, to, before } = question.span_wanted(&mut self.log_of(channel))?;
        let epoch = question.head?.epoch;
        let log = LogQuery {
            channel,
            epoch,
            from,
            to,
        };
        Some(SpanQuery { log, before })
    }

    /// How often a subscription checks again whether the messages that the client has are here.
    pub(super) fn patience(&self) -> u32 {
        if self.ledger.follows() {
            limits::EDGE_PATIENCE
        } else {
            limits::FANOUT_PATIENCE
        }
    }

    fn question(&self, channel: Channel, since: Since) -> ReplayQuestion {
        let instant = match since {
            Since::Time(moment) => {
                let zones = &self.deps.zones;
                let zone = channel.pair().map_or_else(|| zones.first(), |symbol| zones.of(symbol));
                Some(moment.in_zone(zone))
            }
            Since::SessionStart => {
                let start = self.deps.session_start.as_ref();
                start.and_then(|start| start(channel.pair()?, self.deps.registry.clock().now()))
            }
            Since::Now | Since::Position { .. } | Since::Last(_) => None,
        };
        ReplayQuestion {
            since,
            head: self.head(channel),
            instant,
        }
    }

    fn log_of(&mut self, channel: Channel) -> ShardLog<'_> {
        ShardLog {
            channel,
            recent: &self.recent,
            ledger: self.ledger.as_mut(),
        }
    }

    /// Whether the client has messages that this shard has not received: another thread's shard, or another node, was faster.
    pub(super) fn lags_behind(&self, ask: &Subscribe) -> bool {
        let beyond = ask.channels.iter().filter_map(|(channel, since)| match since {
            Since::Position { epoch, seq } => {
                let head = self.head(*channel)?;
                let same = epoch.is_none_or(|epoch| epoch == head.epoch);
                (same && *seq > head.seq).then_some((*channel, *seq))
            }
            _ => None,
        });
        let mut beyond = beyond.peekable();
        if beyond.peek().is_none() {
            return false;
        }
        if self.ledger.follows() {
            // Another node may have sent it already; a seq far beyond the head was never sent by any node.
            return beyond.any(|(channel, seq)| {
                let head = self.head(channel).map_or(0, |head| head.seq);
                seq.saturating_sub(head) <= limits::REPLAY
            });
        }
        let written = self.ledger.heads();
        beyond.any(|(channel, seq)| written.get(&channel).is_some_and(|head| seq <= head.seq))
    }

    pub(super) fn subscribe_client(&mut self, ask: Subscribe, stored: &StoredSpans) {
        let registry = Rc::clone(&self.deps.registry);
        let Some(connection) = registry
            .connection(ask.client)
            .filter(|connection| connection.is_open())
        else {
            return; // the client left while its request waited
        };
        let mut answers = Vec::new();
        let mut begun = Vec::new();
        for (channel, since) in &ask.channels {
            let mut head = self.head(*channel);
            let span = stored.iter().find(|(asked, _)| asked == channel).map(|(_, span)| *span);
            let question = self.question(*channel, *since);
            let mut beginning = question.find_start(&mut self.log_of(*channel), span.flatten().unwrap_or_default());
            let unread = span.is_some_and(|span| span.is_none());
            if connection
                .outbox
                .borrow_mut()
                .follow(*channel, beginning.after, ask.options)
            {
                registry.add_to_audience(*channel, &connection);
                begun.push((*channel, head.map_or(0, |head| head.seq), beginning.recovered));
            } else {
                beginning.recovered = None; // a subscribed channel is not sent twice on one connection
                // Messages still queued for this client come after the answer: the answer must not say that the client has them.
                let told = connection.outbox.borrow().told_before_an_answer(*channel);
                head = head.map(|head| Head {
                    seq: told.unwrap_or(head.seq),
                    ..head
                });
            }
            answers.push(describe_channel(*channel, head, &beginning, unread));
        }
        if ask.options.spacing.is_some() {
            registry.watch_rate_of(&connection);
        }
        if ask.status {
            connection.status.set(true);
            answers.push(json!({"channel": "status"}));
        }
        let mut reply =
            json!({"type": "subscribed", "channels": answers, "subscriptions": list_subscriptions(&connection)});
        echo_id(&mut reply, ask.id);
        send_reply(&connection, &reply, registry.now());
        if ask.status {
            let status = self.status_frame();
            if !status.is_empty() {
                connection.outbox.borrow_mut().say(&status, registry.now());
            }
        }
        for (channel, head, recovered) in begun {
            self.begin(&connection, channel, head, recovered, ask.snapshot);
        }
        self.resume_replay(&connection);
        registry.mark_dirty(&connection);
    }

    fn begin(
        &self,
        connection: &Connection,
        channel: Channel,
        head: u64,
        recovered: Option<Result<(), &'static str>>,
        snapshot: bool,
    ) {
        let now = self.deps.registry.now();
        if snapshot || recovered.is_some_and(|found| found.is_err()) {
            connection.outbox.borrow_mut().say(&self.snapshot(channel, head), now);
        }
        connection.outbox.borrow_mut().hold(channel, head, true);
        let nothing = connection.outbox.borrow().replay_of(channel).is_none();
        if nothing {
            let none = Replay {
                after: head,
                to: head,
                asked: true,
            };
            connection.outbox.borrow_mut().say(&replay_end(channel, none), now);
        }
    }

    pub(super) fn unsubscribe_client(&self, ask: Unsubscribe) {
        let registry = &self.deps.registry;
        let Some(connection) = registry.connection(ask.client) else {
            return;
        };
        let mut gone = Vec::new();
        for channel in ask.channels {
            registry.remove_from_audience(channel, connection.id());
            if connection.outbox.borrow_mut().unfollow(channel) {
                gone.push(channel.to_string());
            }
        }
        if ask.status && connection.status.replace(false) {
            gone.push("status".to_owned());
        }
        let mut reply =
            json!({"type": "unsubscribed", "channels": gone, "subscriptions": list_subscriptions(&connection)});
        echo_id(&mut reply, ask.id);
        send_reply(&connection, &reply, registry.now());
        registry.mark_dirty(&connection);
    }

    pub(super) fn head(&self, channel: Channel) -> Option<Head> {
        self.deps.registry.heads.borrow().get(&channel).copied()
    }

    fn snapshot(&self, channel: Channel, head: u64) -> Bytes {
        let last = self.recent.last(channel).and_then(data_member);
        let data = match channel.topic {
            Topic::Ticks => json!({"last_tick": last}),
            Topic::Bars(_) => {
                json!({"last_closed": last, "forming": self.recent.now_forming(channel).and_then(data_member)})
            }
            Topic::Quality | Topic::Session | Topic::Events => json!({"last": last}),
        };
        let mut snapshot = json!({"type": "snapshot", "channel": channel.to_string(), "seq": head, "data": data});
        if let (Some(state), Some(members)) = (self.state(channel), snapshot.as_object_mut()) {
            members.insert("state".to_owned(), state);
        }
        frames::text_frame(snapshot.to_string().as_bytes())
    }

    /// The service's state, and whether the pair is safe to trade; `None` before the first status.
    fn state(&self, channel: Channel) -> Option<Value> {
        let status: Value = serde_json::from_slice(frames::payload(&self.status_frame())).ok()?;
        let of_pair = |member: &str| status.get(member)?.get(channel.pair()?.as_str()).cloned();
        let name = status.get("server_status")?;
        let safe = of_pair("safe_to_trade");
        let mut state = json!({"server_status": name, "safe_to_trade": safe});
        if let (Some(reasons), Some(members)) = (of_pair("unsafe_reasons"), state.as_object_mut()) {
            members.insert("unsafe_reasons".to_owned(), reasons);
        }
        Some(state)
    }

    /// The status message, or the outdated one when Health hangs; empty before there is one.
    pub(super) fn status_frame(&self) -> Bytes {
        let status = self.deps.status.borrow().clone();
        let view = self.deps.view.borrow();
        if status.is_empty() || view.fresh() {
            return status;
        }
        let outdated = view.outdated(self.deps.registry.clock().now()).status_message();
        frames::text_frame(outdated.to_string().as_bytes())
    }

    /// Resumes the replays of one client as far as its outbox has room.
    pub(super) fn resume_replay(&mut self, connection: &Rc<Connection>) {
        while connection.is_open() && !self.store_log.is_awaited_by(connection.id()) {
            let (wanted, room) = {
                let outbox = connection.outbox.borrow();
                (outbox.replaying(), outbox.room() / 2)
            };
            let Some(wanted) = wanted else {
                return;
            };
            if room < limits::CLIENT_CONTROL_LANE / 8 {
                return self.deps.registry.resume_replay_later(connection);
            }
            self.read_replay(connection, wanted, room.min(limits::FANOUT_READ));
        }
    }

    /// Reads the next chunk from memory or the ledger, or requests it from the store.
    fn read_replay(&mut self, connection: &Connection, (channel, from, to): (Channel, u64, u64), limit: usize) {
        let messages = match self.recent.range(channel, from, to, limit) {
            Some(messages) => Ok(messages),
            None => self.replay_from_ledger(channel, from, to, limit),
        };
        let is_there = messages.as_ref().is_ok_and(|messages| begins_with(messages, from));
        if !is_there && self.store_log.keeps_log_of(channel) {
            return self.store_log.request_chunk(connection, channel, (from, to), limit);
        }
        self.hand_over(connection, (channel, from, to), messages);
    }

    /// Queues a chunk of a replay, or closes the connection if the messages are no longer kept.
    pub(super) fn hand_over(
        &mut self,
        connection: &Connection,
        (channel, from, to): (Channel, u64, u64),
        messages: Result<Vec<(u64, Bytes)>, String>,
    ) {
        let now = self.deps.registry.now();
        let promised = connection
            .outbox
            .borrow()
            .replay_of(channel)
            .is_some_and(|replay| replay.asked);
        let messages = match messages {
            Ok(messages) if begins_with(&messages, from) || !promised => messages,
            Ok(_) => return expire_replay(connection, channel, from, now),
            Err(error) => {
                tracing::error!(%channel, from, error, "failed to read the missed messages of a client");
                return connection.close(
                    Close::ContinuityLost,
                    "the next messages cannot be read now; resume",
                    now,
                );
            }
        };
        self.deps.registry.count_told(messages.len());
        let mut outbox = connection.outbox.borrow_mut();
        let mut done = None;
        for (seq, frame) in &messages {
            done = outbox.replay(channel, *seq, frame, now);
        }
        if !begins_with(&messages, from) {
            let skipped = json!({"type": "skipped", "channel": channel.to_string(), "from": from, "seq": to,
                "why": "position_expired"});
            outbox.say(&frames::text_frame(skipped.to_string().as_bytes()), now);
            done = outbox.skip_to(channel, to);
        }
        let Some(replay) = done else {
            return;
        };
        if replay.asked {
            outbox.say(&replay_end(channel, replay), now);
        }
        let head = self.head(channel).map_or(0, |head| head.seq);
        outbox.hold(channel, head, false); // queues what was published while the replay ran
    }

    /// Advances the head of the channel to `seq`.
    pub(super) fn advance_head(&self, channel: Channel, seq: u64) {
        let mut heads = self.deps.registry.heads.borrow_mut();
        match heads.get_mut(&channel) {
            Some(head) => head.seq = head.seq.max(seq),
            None => heads.extend(self.ledger.heads().get(&channel).map(|head| {
                let epoch = head.epoch;
                (channel, Head { epoch, seq })
            })),
        }
    }

    /// Continues a client after a restart of the shard: its replays, and messages that were counted but not sent.
    pub(super) fn resume(&mut self, connection: &Rc<Connection>) {
        let positions: Vec<(Channel, u64)> = connection.outbox.borrow().positions().collect();
        for (channel, last) in positions {
            let head = self
                .deps
                .registry
                .heads
                .borrow()
                .get(&channel)
                .map_or(0, |head| head.seq);
            let mut outbox = connection.outbox.borrow_mut();
            if last < head && outbox.replay_of(channel).is_none() {
                outbox.hold(channel, head, false);
            }
        }
        self.resume_replay(connection);
        self.deps.registry.mark_dirty(connection);
    }

    /// Notifies subscribers of a channel whose epoch changed: what follows does not continue what they have.
    pub(super) fn reset_epoch(&self, heads: &BTreeMap<Channel, Head>) {
        let registry = &self.deps.registry;
        for (channel, head) in heads {
            let known = registry.heads.borrow().get(channel).copied();
            let Some(old) = known.filter(|known| known.epoch != head.epoch) else {
                continue;
            };
            registry.heads.borrow_mut().insert(*channel, *head);
            tracing::error!(%channel, old = old.epoch.as_str(), new = head.epoch.as_str(), "a channel has a new epoch: its subscribers are notified");
            let notice = frames::discontinuity(*channel, &old, head);
            registry.for_each_of(*channel, |connection| {
                connection
                    .outbox
                    .borrow_mut()
                    .reset_epoch(*channel, head.seq, &notice, registry.now());
                true
            });
        }
    }

    /// Reads the last tick of each pair from the ledger: what REST shows before the first live tick.
    pub(super) fn recall_latest(&mut self, heads: &BTreeMap<Channel, Head>) {
        for (channel, head) in heads
            .iter()
            .filter(|(channel, head)| channel.topic == Topic::Ticks && head.seq > 0)
        {
            let last = self
                .ledger
                .read_channel(*channel, head.seq, head.seq, 1)
                .unwrap_or_default();
            if let Some(Event::Tick(tick)) = last.into_iter().next().map(|numbered| numbered.event) {
                self.deps.registry.latest.borrow_mut().insert(tick.tick.symbol, tick);
            }
        }
    }

    /// Queues a chunk that the store returned, if it is still awaited.
    pub(super) fn take_chunk(&mut self, fetch: Fetch, found: Result<Vec<Sequenced>, String>) {
        self.store_log.mark_answered(fetch.client);
        let Some(connection) = self.deps.registry.connection(fetch.client) else {
            return;
        };
        let asked_for = (fetch.channel, fetch.from, fetch.to);
        if connection.outbox.borrow().replaying() == Some(asked_for) {
            let zones = &self.deps.zones;
            let messages =
                found.map(|events: Vec<_>| events.iter().map(|event| frames::numbered(zones, event)).collect());
            self.hand_over(&connection, asked_for, messages);
        }
        self.resume_replay(&connection);
        self.deps.registry.mark_dirty(&connection);
    }

    fn replay_from_ledger(
        &mut self,
        channel: Channel,
        from: u64,
        to: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Bytes)>, String> {
        let events = self.ledger.read_channel(channel, from, to, limit)?;
        let zones = &self.deps.zones;
        Ok(events.iter().map(|event| frames::numbered(zones, event)).collect())
    }
}

/// The messages of one channel in this shard's memory and ledger.
struct ShardLog<'a> {
    channel: Channel,
    recent: &'a RecentCache,
    ledger: &'a mut dyn LedgerSource,
}

impl HeldLog for ShardLog<'_> {
    fn first_in_memory(&self) -> Option<u64> {
        self.recent.first(self.channel)
    }

    fn first_in_ledger(&mut self) -> Result<Option<u64>, Unreadable> {
        self.ledger.first_seq(self.channel).map_err(|error| {
            tracing::warn!(channel = %self.channel, error, "failed to find the first event of a channel");
            Unreadable
        })
    }

    fn told_at(&mut self, seq: u64) -> Option<Timestamp> {
        let events = self.ledger.read_channel(self.channel, seq, seq, 1).ok()?;
        events.first().map(|event| event.at)
    }

    fn complete_since(&mut self) -> Option<Timestamp> {
        self.ledger.since()
    }
}

fn begins_with(messages: &[(u64, Bytes)], from: u64) -> bool {
    messages.first().is_some_and(|(seq, _)| *seq == from)
}

/// Closes a connection whose promised replay is no longer kept: a partial replay is never sent as a whole one.
fn expire_replay(connection: &Connection, channel: Channel, from: u64, now: std::time::Duration) {
    let message = format!("the messages of {channel} from {from} on are no longer kept");
    let problem = Problem::PositionExpired;
    let error = json!({"type": "error", "code": problem.code(), "name": problem.name(), "message": message,
        "temporary": problem.temporary(), "channel": channel.to_string()});
    send_reply(connection, &error, now);
    connection.close(Close::ContinuityLost, &message, now);
}

fn describe_channel(channel: Channel, head: Option<Head>, beginning: &ReplayStart, unread: bool) -> Value {
    let seq = head.map_or(0, |head| head.seq);
    let epoch = head.map(|head| head.epoch.as_str().to_owned());
    let mut answer = json!({"channel": channel.to_string(), "epoch": epoch, "seq": seq});
    let Some(object) = answer.as_object_mut() else {
        return answer;
    };
    match beginning.recovered {
        None => {}
        Some(Ok(())) => {
            object.insert("recovered".to_owned(), json!(true));
            object.insert("replayed".to_owned(), json!(seq.saturating_sub(beginning.after)));
        }
        Some(Err(reason)) => {
            object.insert("recovered".to_owned(), json!(false));
            object.insert("reason".to_owned(), json!(reason));
            if unread {
                let detail = "the store, which may have it, cannot be read now";
                object.insert("detail".to_owned(), json!(detail));
            }
        }
    }
    answer
}

fn list_subscriptions(connection: &Connection) -> Vec<String> {
    let outbox = connection.outbox.borrow();
    let status = connection.status.get().then(|| "status".to_owned());
    let channels = outbox.positions().map(|(channel, _)| channel.to_string());
    channels.chain(status).collect()
}

fn echo_id(reply: &mut Value, id: Option<Value>) {
    if let (Some(id), Some(object)) = (id, reply.as_object_mut()) {
        object.insert("id".to_owned(), id);
    }
}

fn send_reply(connection: &Connection, message: &Value, now: std::time::Duration) {
    let frame = frames::text_frame(message.to_string().as_bytes());
    connection.outbox.borrow_mut().say(&frame, now);
}

fn replay_end(channel: Channel, replay: Replay) -> Bytes {
    let count = replay.to.saturating_sub(replay.after);
    let end = json!({"type": "replay_end", "channel": channel.to_string(), "seq": replay.to, "count": count});
    frames::text_frame(end.to_string().as_bytes())
}

/// The `data` member of a frame, as the frame spells it.
fn data_member(frame: &Bytes) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Message {
        data: Box<RawValue>,
    }
    let message: Message = serde_json::from_slice(frames::payload(frame)).ok()?;
    Some(message.data)
}
