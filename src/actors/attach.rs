//! How a client comes to follow a channel without a hole: the fan-out shard's answer to `Attach` and `Detach`, and the replays
//! that follow from it.
//!
//! ```text
//!  Attach ─► subscribed ─► snapshot ─► replay of (since, head] ─► replay_end ─► live from head + 1
//!                                      in chunks, as the outbox has room; live messages are held meanwhile and come out of
//!                                      the same rings and ledger when their turn is
//! ```

use crate::actors::beginning::{Beginning, Older, Question};
use crate::actors::fanout::Fanout;
use crate::actors::messages::{Attach, Detach};
use crate::actors::seat::Seat;
use crate::domain::channel::{Channel, Head, Topic};
use crate::domain::frames;
use crate::domain::lanes::Replay;
use crate::domain::protocol::{Close, Problem};
use crate::domain::requests::Since;
use crate::limits;
use actix::fut::{self, LocalBoxActorFuture};
use actix::{ActorFutureExt, Context, WrapFuture};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::rc::Rc;

impl Fanout {
    /// What the store must be asked before this can be answered.
    fn questions(&mut self, ask: &Attach) -> Vec<Question> {
        let Some(seat) = self.parts.deck.seat(ask.client) else {
            return Vec::new();
        };
        let new = |channel| !seat.outbox.borrow().follows_channel(channel);
        let new = ask.channels.iter().filter(|(channel, _)| new(*channel));
        new.filter_map(|(channel, since)| self.question(*channel, *since))
            .collect()
    }

    /// Answers at once where it can; else after a look into the store, or when this shard was told what the client has from
    /// another thread's.
    pub(super) fn attach_when_told(
        &mut self,
        ask: Attach,
        patience: u32,
        ctx: &mut Context<Self>,
    ) -> Option<LocalBoxActorFuture<Self, ()>> {
        if patience > 0 && self.lags(&ask) {
            let pause = actix_rt::time::sleep(limits::CLIENT_PUMP).into_actor(self);
            let again = pause.then(move |(), shard, ctx| {
                let later = shard.attach_when_told(ask, patience.saturating_sub(1), ctx);
                later.unwrap_or_else(|| Box::pin(fut::ready(())))
            });
            return Some(Box::pin(again));
        }
        let questions = self.questions(&ask);
        if questions.is_empty() {
            self.attach(ask, &Older::new());
            self.plan_flush(ctx);
            return None;
        }
        let asked = self.archive.spans(questions).into_actor(self);
        Some(Box::pin(asked.map(move |older, shard, ctx| {
            shard.attach(ask, &older);
            shard.plan_flush(ctx);
        })))
    }

    /// Whether the client has messages that are written, but of which this shard was not told yet: another thread's was faster.
    fn lags(&self, ask: &Attach) -> bool {
        let beyond = |(channel, since): &(Channel, Since)| match since {
            Since::Position { epoch, seq } => {
                let head = self.head(*channel)?;
                let same = epoch.is_none_or(|epoch| epoch == head.epoch);
                (same && *seq > head.seq).then_some((*channel, *seq))
            }
            _ => None,
        };
        let mut beyond = ask.channels.iter().filter_map(beyond).peekable();
        if beyond.peek().is_none() {
            return false;
        }
        let written = self.ledger.heads();
        beyond.any(|(channel, seq)| written.get(&channel).is_some_and(|head| seq <= head.seq))
    }

    fn attach(&mut self, ask: Attach, older: &Older) {
        let deck = Rc::clone(&self.parts.deck);
        let Some(seat) = deck.seat(ask.client).filter(|seat| seat.is_open()) else {
            return; // it went while its question waited
        };
        let mut answers = Vec::new();
        let mut begun = Vec::new();
        for (channel, since) in &ask.channels {
            let head = self.head(*channel);
            let mut beginning = self.beginning(*channel, *since, head, older);
            let unread = older.iter().any(|(asked, span)| asked == channel && span.is_none());
            if seat.outbox.borrow_mut().follow(*channel, beginning.after, ask.options) {
                deck.listen(*channel, &seat);
                begun.push((*channel, head.map_or(0, |head| head.seq), beginning.recovered));
            } else {
                beginning.recovered = None; // nothing is sent twice on one connection
            }
            answers.push(answer(*channel, head, &beginning, unread));
        }
        if ask.options.spacing.is_some() {
            deck.pace(&seat);
        }
        if ask.status {
            seat.status.set(true);
            answers.push(json!({"channel": "status"}));
        }
        let mut reply = json!({"type": "subscribed", "channels": answers, "subscriptions": subscriptions(&seat)});
        echo(&mut reply, ask.id);
        say(&seat, &reply, deck.now());
        if ask.status {
            let status = self.status_frame();
            if !status.is_empty() {
                seat.outbox.borrow_mut().say(&status, deck.now());
            }
        }
        for (channel, head, recovered) in begun {
            self.begin(&seat, channel, head, recovered, ask.snapshot);
        }
        self.pump(&seat);
        deck.soil(&seat);
    }

    fn begin(
        &self,
        seat: &Seat,
        channel: Channel,
        head: u64,
        recovered: Option<Result<(), &'static str>>,
        snapshot: bool,
    ) {
        let now = self.parts.deck.now();
        if snapshot || recovered.is_some_and(|found| found.is_err()) {
            seat.outbox.borrow_mut().say(&self.snapshot(channel, head), now);
        }
        seat.outbox.borrow_mut().hold(channel, head, true);
        let nothing = seat.outbox.borrow().replay_of(channel).is_none();
        if nothing {
            let none = Replay {
                after: head,
                to: head,
                asked: true,
            };
            seat.outbox.borrow_mut().say(&replay_end(channel, none), now);
        }
    }

    pub(super) fn detach(&self, ask: Detach) {
        let deck = &self.parts.deck;
        let Some(seat) = deck.seat(ask.client) else {
            return;
        };
        let mut gone = Vec::new();
        for channel in ask.channels {
            deck.unlisten(channel, seat.id());
            if seat.outbox.borrow_mut().unfollow(channel) {
                gone.push(channel.to_string());
            }
        }
        if ask.status && seat.status.replace(false) {
            gone.push("status".to_owned());
        }
        let mut reply = json!({"type": "unsubscribed", "channels": gone, "subscriptions": subscriptions(&seat)});
        echo(&mut reply, ask.id);
        say(&seat, &reply, deck.now());
        deck.soil(&seat);
    }

    pub(super) fn head(&self, channel: Channel) -> Option<Head> {
        self.parts.deck.heads.borrow().get(&channel).copied()
    }

    /// What the channel looked like at its head.
    fn snapshot(&self, channel: Channel, head: u64) -> Bytes {
        let last = self.rings.last(channel).and_then(data);
        let data = match channel.topic {
            Topic::Ticks => json!({"last_tick": last}),
            Topic::Bars(_) => json!({"last_closed": last, "forming": self.rings.now_forming(channel).and_then(data)}),
            Topic::Quality | Topic::Session => json!({"last": last}),
        };
        let mut snapshot = json!({"type": "snapshot", "channel": channel.to_string(), "seq": head, "data": data});
        if let (Some(state), Some(members)) = (self.state(channel), snapshot.as_object_mut()) {
            members.insert("state".to_owned(), state);
        }
        frames::text_frame(snapshot.to_string().as_bytes())
    }

    /// The service's state, and whether the pair is safe to trade; nothing before the service says so.
    fn state(&self, channel: Channel) -> Option<Value> {
        let status: Value = serde_json::from_slice(frames::payload(&self.status_frame())).ok()?;
        let of_pair = |member: &str| status.get(member)?.get(channel.symbol.as_str()).cloned();
        let (name, safe) = (status.get("server_status")?, of_pair("safe_to_trade"));
        let mut state = json!({"server_status": name, "safe_to_trade": safe});
        if let (Some(reasons), Some(members)) = (of_pair("unsafe_reasons"), state.as_object_mut()) {
            members.insert("unsafe_reasons".to_owned(), reasons);
        }
        Some(state)
    }

    /// Goes on with every replay that waits for room.
    pub(super) fn pump_all(&mut self) {
        let deck = Rc::clone(&self.parts.deck);
        for seat in deck.pumping() {
            self.pump(&seat);
            deck.soil(&seat);
        }
        deck.release_paced();
        deck.flush();
    }

    /// Goes on with the replays of one client as far as its outbox has room.
    pub(super) fn pump(&mut self, seat: &Rc<Seat>) {
        while seat.is_open() && !self.archive.is_awaited_by(seat.id()) {
            let (wanted, room) = {
                let outbox = seat.outbox.borrow();
                (outbox.replaying(), outbox.room() / 2)
            };
            let Some(wanted) = wanted else {
                return;
            };
            if room < limits::CLIENT_CONTROL_LANE / 8 {
                return self.parts.deck.pump_later(seat);
            }
            self.bring(seat, wanted, room.min(limits::FANOUT_READ));
        }
    }

    /// Brings the next chunk from memory or the ledger, or asks the store for it.
    fn bring(&mut self, seat: &Seat, (channel, from, to): (Channel, u64, u64), limit: usize) {
        let messages = match self.rings.range(channel, from, to, limit) {
            Some(messages) => Ok(messages),
            None => self.replay_from_ledger(channel, from, to, limit),
        };
        let is_there = messages.as_ref().is_ok_and(|messages| begins(messages, from));
        if !is_there && self.archive.keeps(channel) {
            return self.archive.want(seat, channel, (from, to), limit);
        }
        self.hand_over(seat, (channel, from, to), messages);
    }

    /// Hands over a chunk of a replay, or says that there is none.
    pub(super) fn hand_over(
        &mut self,
        seat: &Seat,
        (channel, from, to): (Channel, u64, u64),
        messages: Result<Vec<(u64, Bytes)>, String>,
    ) {
        let now = self.parts.deck.now();
        let promised = seat
            .outbox
            .borrow()
            .replay_of(channel)
            .is_some_and(|replay| replay.asked);
        let messages = match messages {
            Ok(messages) if begins(&messages, from) || !promised => messages,
            Ok(_) => return lose(seat, channel, from, now),
            Err(error) => {
                tracing::error!(%channel, from, error, "failed to read what a client misses");
                return seat.close(Close::ContinuityLost, "what comes next cannot be read now; resume", now);
            }
        };
        self.parts.deck.count_told(messages.len());
        let mut outbox = seat.outbox.borrow_mut();
        let mut done = None;
        for (seq, frame) in &messages {
            done = outbox.replay(channel, *seq, frame, now);
        }
        if !begins(&messages, from) {
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
        outbox.hold(channel, head, false); // what was told while the replay ran comes now
    }

    fn replay_from_ledger(
        &mut self,
        channel: Channel,
        from: u64,
        to: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Bytes)>, String> {
        let events = self.ledger.read_channel(channel, from, to, limit)?;
        let zones = &self.parts.zones;
        Ok(events.iter().map(|event| frames::numbered(zones, event)).collect())
    }
}

fn begins(messages: &[(u64, Bytes)], from: u64) -> bool {
    messages.first().is_some_and(|(seq, _)| *seq == from)
}

/// What was promised is no longer kept: never a part of a replay as if it were all of it.
fn lose(seat: &Seat, channel: Channel, from: u64, now: std::time::Duration) {
    let message = format!("the messages of {channel} from {from} on are no longer kept");
    let problem = Problem::PositionExpired;
    let error = json!({"type": "error", "code": problem.code(), "name": problem.name(), "message": message,
        "temporary": problem.temporary(), "channel": channel.to_string()});
    say(seat, &error, now);
    seat.close(Close::ContinuityLost, &message, now);
}

fn answer(channel: Channel, head: Option<Head>, beginning: &Beginning, unread: bool) -> Value {
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

fn subscriptions(seat: &Seat) -> Vec<String> {
    let outbox = seat.outbox.borrow();
    let status = seat.status.get().then(|| "status".to_owned());
    let channels = outbox.positions().map(|(channel, _)| channel.to_string());
    channels.chain(status).collect()
}

fn echo(reply: &mut Value, id: Option<Value>) {
    if let (Some(id), Some(object)) = (id, reply.as_object_mut()) {
        object.insert("id".to_owned(), id);
    }
}

fn say(seat: &Seat, message: &Value, now: std::time::Duration) {
    let frame = frames::text_frame(message.to_string().as_bytes());
    seat.outbox.borrow_mut().say(&frame, now);
}

fn replay_end(channel: Channel, replay: Replay) -> Bytes {
    let count = replay.to.saturating_sub(replay.after);
    let end = json!({"type": "replay_end", "channel": channel.to_string(), "seq": replay.to, "count": count});
    frames::text_frame(end.to_string().as_bytes())
}

/// The `data` member of a frame, as it stands there.
fn data(frame: &Bytes) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Message {
        data: Box<RawValue>,
    }
    let message: Message = serde_json::from_slice(frames::payload(frame)).ok()?;
    Some(message.data)
}
