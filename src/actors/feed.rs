//! Feed: keeps the link to the vendor's WebSocket, and passes on what it hears.
//!
//! owns   `domain::link::Link`, at most one socket, one timer at the link's next deadline
//! hears  whether prices are wanted (a watched flag that Root sets; it outlives a restart) · the socket
//! says   LeaseKey, KeyAnswered → KeyPool · Arrived → Aggregator · Report → Root · `FeedView` → `/status`
//! fails  never on the vendor's bytes: a bad frame is kept in the capture and counted. Any end of the link is a transition of
//!        the machine. A panic restarts it without a socket; the machine then connects anew

pub use crate::actors::feed_parts::{FeedParts, FeedSettings};

use crate::actors::feed_log::FeedLog;
use crate::actors::frame_guard::{Fragments, TooLong, cause_of};
use crate::actors::messages::{Arrived, KeyAnswered, Report};
use crate::actors::opening::{NotOpen, open};
use crate::actors::vendor::{ConnectFailure, Socket};
use crate::clock::Stopwatch;
use crate::domain::event::{Arrival, Heard, HeardKind, LinkChange, Says};
use crate::domain::keys::{KeySlot, Purpose};
use crate::domain::link::{Effect, Event, Link, LinkSettings};
use crate::domain::timestamp::Timestamp;
use crate::domain::trouble::Trouble;
use crate::domain::wire::{self, Frame};
use crate::limits;
use actix::prelude::*;
use actix_http::ws;
use bytes::Bytes;
use futures_util::stream::{self, SplitSink, StreamExt};
use futures_util::{FutureExt, SinkExt};
use std::time::Duration;

/// The actor.
pub struct Feed {
    parts: FeedParts,
    link: Link,
    /// The key in use.
    key: Option<KeySlot>,
    /// Counts sockets: what an earlier one still says is not listened to.
    generation: u64,
    connecting: Option<SpawnHandle>,
    reading: Option<SpawnHandle>,
    writer: Option<SplitSink<Socket, ws::Message>>,
    /// The beginning of a message that comes in fragments.
    fragments: Fragments,
    timer: Option<(Timestamp, SpawnHandle)>,
    outgoing: Vec<Arrival>,
    viewed: Option<Stopwatch>,
    log: FeedLog,
    /// Root was told that nothing is heard.
    told_silent: bool,
    /// The pool was told that this connection delivered a price.
    told_served: bool,
    /// The breaks of market time that the link was told of.
    breaks: u64,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl Feed {
    /// A feed that connects as soon as it is wanted.
    #[must_use]
    pub fn new(parts: FeedParts) -> Self {
        // Networks do not run faster when market time does: what the link waits for is given in real time.
        let speed = parts.clock.speed();
        let settings = LinkSettings {
            symbols: parts.settings.symbols.clone(),
            patience: limits::HANDSHAKE.mul_f64(speed),
            jitter: limits::SILENCE_JITTER.mul_f64((speed - 1.0).max(0.0)),
        };
        Self {
            link: Link::new(settings, parts.clock.now()),
            key: None,
            generation: 0,
            connecting: None,
            reading: None,
            writer: None,
            fragments: Fragments::default(),
            timer: None,
            outgoing: Vec::new(),
            viewed: None,
            log: FeedLog::default(),
            told_silent: false,
            told_served: false,
            breaks: parts.clock.breaks(),
            parts,
        }
    }

    /// Looks whether market time broke since the last turn.
    fn mind_breaks(&mut self, ctx: &mut Context<Self>) {
        if self.parts.clock.breaks_after(&mut self.breaks).is_empty() {
            return;
        }
        if let Some((_, handle)) = self.timer.take() {
            ctx.cancel_future(handle); // armed by the clock as it was
        }
        self.on(Event::Broken, ctx);
    }

    /// Tells the machine, does what it says, and passes on what there is to pass on.
    fn on(&mut self, event: Event<'_>, ctx: &mut Context<Self>) {
        let effects = self.link.on(event, self.parts.clock.now(), fastrand::f64());
        let changed = !effects.is_empty();
        for effect in effects {
            self.act(effect, ctx);
        }
        self.show(changed, ctx);
    }

    fn act(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Connect { .. } => self.connect(ctx),
            Effect::Disconnect => self.disconnect(ctx),
            Effect::Send(text) => self.write(ws::Message::Text(text.into()), ctx),
            Effect::Ping => self.write(ws::Message::Ping(Bytes::new()), ctx),
            Effect::Tell(change) => self.tell(change, ctx),
            Effect::KeyFailed(trouble) => self.key_failed(trouble, None, ctx),
            Effect::StayAway { trouble, wait } => self.key_failed(trouble, wait, ctx),
            Effect::SymbolsRefused(symbols) => tracing::warn!(?symbols, "pairs refused: the plan does not stream them"),
        }
    }

    /// The pool keeps the link's key until it is told that it was refused.
    fn connect(&mut self, ctx: &mut Context<Self>) {
        self.generation = self.generation.wrapping_add(1);
        self.told_served = false;
        let parts = self.parts.clone();
        let opening = async move { open(parts).await };
        let handle = ctx.spawn(
            opening
                .into_actor(self)
                .map(|result, feed, ctx| feed.connected(result, ctx)),
        );
        self.connecting = Some(handle);
    }

    /// A key that serves may open the next link without delay.
    fn tell_served(&mut self, ctx: &mut Context<Self>) {
        let Some(slot) = self.key.filter(|_| self.link.priced() && !self.told_served) else {
            return;
        };
        self.told_served = true;
        let served = KeyAnswered {
            slot,
            purpose: Purpose::Link,
            trouble: None,
            link_served: true,
            retry_after: None,
            used: None,
            left: None,
        };
        let telling = self.parts.answered.send(served);
        ctx.spawn(telling.into_actor(self).map(|_, _, _| ()));
    }

    fn key_failed(&mut self, trouble: Trouble, retry_after: Option<Duration>, ctx: &mut Context<Self>) {
        let Some(slot) = self.key else { return };
        let told = KeyAnswered {
            slot,
            purpose: Purpose::Link,
            trouble: Some(trouble),
            link_served: false,
            retry_after,
            used: None,
            left: None,
        };
        // Before anything else: the next lease must not be the same key again.
        let telling = self.parts.answered.send(told);
        ctx.wait(telling.into_actor(self).map(|_, _, _| ()));
    }

    fn connected(&mut self, (key, result): (Option<KeySlot>, Result<Socket, NotOpen>), ctx: &mut Context<Self>) {
        self.key = key;
        self.connecting = None;
        match result {
            Ok(socket) => {
                let (writer, reader) = socket.split();
                self.writer = Some(writer);
                self.fragments = Fragments::default();
                let generation = self.generation;
                let ended = stream::iter([Socketed::Ended]);
                let heard = reader
                    .map(Socketed::Frame)
                    .chain(ended)
                    .ready_chunks(limits::FEED_CHUNK);
                self.reading = Some(ctx.add_stream(heard.map(move |chunk| FromSocket { generation, chunk })));
                self.on(Event::Opened, ctx);
            }
            Err(why) => {
                self.log.not_open(&why, self.parts.clock.now());
                match why {
                    NotOpen::NoKey(refused) => self.on(Event::NoKey(refused.at), ctx),
                    NotOpen::Failed(ConnectFailure::Refused { refusal, .. }) => self.on(Event::Refused(&refusal), ctx),
                    NotOpen::Failed(ConnectFailure::Failed { cause, .. }) => {
                        self.on(Event::Lost(cause.to_owned()), ctx);
                    }
                }
            }
        }
        self.settle(ctx);
    }

    fn disconnect(&mut self, ctx: &mut Context<Self>) {
        self.generation = self.generation.wrapping_add(1);
        if let Some(mut writer) = self.writer.take() {
            // A courtesy: if the socket takes it at once the vendor sees a clean close; if not, it is dropped all the same.
            drop(
                writer
                    .send(ws::Message::Close(Some(ws::CloseCode::Normal.into())))
                    .now_or_never(),
            );
        }
        for handle in [self.connecting.take(), self.reading.take()].into_iter().flatten() {
            ctx.cancel_future(handle);
        }
    }

    /// Frames of ours are few and small. One the socket does not take at once stays in its buffer and goes with the next; a
    /// socket that takes nothing at all is found dead by its missing pong.
    fn write(&mut self, message: ws::Message, ctx: &mut Context<Self>) {
        let sent = self
            .writer
            .as_mut()
            .and_then(|writer| writer.send(message).now_or_never());
        if let Some(Err(error)) = sent {
            tracing::debug!(%error, "failed to write to the link");
            self.on(Event::Lost("upstream_reset".to_owned()), ctx);
        }
    }

    fn tell(&mut self, change: LinkChange, ctx: &mut Context<Self>) {
        self.log.changed(&change, self.parts.clock.now());
        match &change {
            LinkChange::Up { .. } => self.report(Report::LinkUp, ctx),
            LinkChange::Down { cause } => self.report(Report::LinkDown { cause: cause.clone() }, ctx),
            LinkChange::Alive | LinkChange::Lost { .. } | LinkChange::Doubt { .. } => {}
        }
        self.arrive(HeardKind::Link(change), Says::Nothing);
    }

    fn report(&self, report: Report, ctx: &mut Context<Self>) {
        let sending = self.parts.root.send(report);
        ctx.spawn(sending.into_actor(self).map(|sent, _, _| {
            if let Err(error) = sent {
                tracing::error!(%error, "failed to report to root");
            }
        }));
    }

    fn arrive(&mut self, what: HeardKind, says: Says) {
        let at = self.parts.clock.now();
        self.outgoing.push(Arrival {
            heard: Heard { at, what },
            says,
        });
    }

    /// A whole text message.
    fn text(&mut self, bytes: Bytes, ctx: &mut Context<Self>) {
        let frame = match wire::decode(&bytes, self.parts.clock.now()) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::debug!(%error, "frame not understood");
                self.arrive(HeardKind::Frame(bytes), Says::Nothing);
                return self.on(Event::Garbled, ctx);
            }
        };
        if let Frame::Price(tick) = &frame {
            self.parts.clock.witness(tick.at);
        }
        // The link first: a price that confirms its pair must find the pair watched.
        self.on(Event::Heard(&frame), ctx);
        self.tell_served(ctx);
        let says = match frame {
            Frame::Price(tick) => Says::Price(tick),
            Frame::Rounded(tick) => Says::Rounded(tick),
            Frame::Unusable(unusable) => Says::Unusable(unusable),
            _ => Says::Nothing,
        };
        self.arrive(HeardKind::Frame(bytes), says);
    }

    fn frame(&mut self, frame: ws::Frame, ctx: &mut Context<Self>) {
        match frame {
            ws::Frame::Text(bytes) | ws::Frame::Binary(bytes) => self.text(bytes, ctx),
            ws::Frame::Continuation(item) => match self.fragments.push(&item) {
                Ok(Some(whole)) => self.text(whole, ctx),
                Ok(None) => {}
                Err(TooLong) => self.on(Event::Lost("frame_too_long".to_owned()), ctx),
            },
            ws::Frame::Ping(bytes) => self.write(ws::Message::Pong(bytes), ctx),
            ws::Frame::Pong(_) => self.on(Event::Ponged, ctx),
            ws::Frame::Close(reason) => {
                let code = reason.map_or(1005, |reason| u16::from(reason.code));
                self.on(Event::Lost(format!("upstream_close_{code}")), ctx);
            }
        }
    }

    /// At the end of every turn: what was heard goes on, in order, and the timer stands at the next deadline.
    fn settle(&mut self, ctx: &mut Context<Self>) {
        let outgoing = std::mem::take(&mut self.outgoing);
        if !outgoing.is_empty()
            && let Err(SendError::Full(arrived)) = self.parts.arrived.try_send(Arrived(outgoing))
        {
            // The mailbox is full: nothing more is read until there is room, and the vendor's TCP window fills.
            let waiting = self.parts.arrived.send(arrived);
            ctx.wait(waiting.into_actor(self).map(|_, _, _| ()));
        }
        self.rearm(ctx);
    }

    /// An earlier timer is left to fire in vain: deadlines move later with every price.
    fn rearm(&mut self, ctx: &mut Context<Self>) {
        let Some(at) = self.link.next_deadline(self.parts.clock.now()) else {
            return;
        };
        if let Some((armed, handle)) = self.timer {
            if armed <= at {
                return;
            }
            ctx.cancel_future(handle);
        }
        let handle = ctx.run_later(self.parts.clock.until(at).max(SHORTEST_TIMER), |feed, ctx| {
            feed.timer = None;
            feed.mind_breaks(ctx);
            feed.on(Event::Deadline, ctx);
            feed.settle(ctx);
        });
        self.timer = Some((at, handle));
    }

    fn show(&mut self, changed: bool, ctx: &mut Context<Self>) {
        if !changed && self.viewed.is_some_and(|at| at.elapsed() < limits::VIEW_EVERY) {
            return;
        }
        self.viewed = Some(Stopwatch::start());
        let view = self.link.view(self.parts.clock.now());
        let silent = view.all_silent();
        self.parts.view.send_replace(view);
        if std::mem::replace(&mut self.told_silent, silent) != silent {
            self.report(if silent { Report::FeedSilent } else { Report::FeedHeard }, ctx);
        }
    }
}

/// Timers are no finer than this; a shorter one would only spin.
const SHORTEST_TIMER: Duration = Duration::from_millis(1);

/// One thing the socket gave.
enum Socketed {
    Frame(Result<ws::Frame, ws::ProtocolError>),
    /// The socket ended without a close frame.
    Ended,
}

/// What was ready on the socket, in order.
struct FromSocket {
    generation: u64,
    chunk: Vec<Socketed>,
}

impl StreamHandler<FromSocket> for Feed {
    fn handle(&mut self, heard: FromSocket, ctx: &mut Context<Self>) {
        self.mind_breaks(ctx);
        for item in heard.chunk {
            if heard.generation != self.generation {
                break;
            }
            match item {
                Socketed::Frame(Ok(frame)) => self.frame(frame, ctx),
                Socketed::Frame(Err(error)) => self.on(Event::Lost(cause_of(&error).to_owned()), ctx),
                Socketed::Ended => self.on(Event::Lost("upstream_close_1006".to_owned()), ctx),
            }
        }
        self.settle(ctx);
    }

    fn finished(&mut self, _: &mut Context<Self>) {} // the link ended, not the feed
}

/// Whether prices are wanted changed.
struct Wanted(bool);

impl StreamHandler<Wanted> for Feed {
    fn handle(&mut self, wanted: Wanted, ctx: &mut Context<Self>) {
        self.mind_breaks(ctx);
        self.on(if wanted.0 { Event::Started } else { Event::Stopped }, ctx);
        self.settle(ctx);
    }

    fn finished(&mut self, _: &mut Context<Self>) {} // whoever wants prices is gone; the link stays as it is
}

impl Actor for Feed {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let mut wanted = self.parts.wanted.clone();
        wanted.mark_changed();
        ctx.add_stream(stream::unfold(wanted, |mut wanted| async move {
            wanted.changed().await.ok()?;
            let now = *wanted.borrow_and_update();
            Some((Wanted(now), wanted))
        }));
    }
}

impl Supervised for Feed {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.parts.clone());
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
