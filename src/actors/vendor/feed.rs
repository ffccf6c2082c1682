//! Feed: keeps the link to the vendor's WebSocket, and sends every frame to the Aggregator.
//!
//! owns   `domain::vendor::Link`, at most one socket, one timer at the link's next deadline
//! hears  whether prices are wanted (a watched flag that Root sets; it outlives a restart) · the socket · which prices were accepted
//!        (`PipelineView`, a watched snapshot)
//! says   AcquireKey, KeyAnswered → KeyPool · Arrived → Aggregator · Report → Root · `FeedView` → `/status`
//! fails  never on the vendor's bytes: a bad frame is recorded and counted. Any end of the link is a transition of the machine. A panic
//!        restarts it without a socket; the machine then connects again

use crate::actors::messages::{AcquireKey, Arrived, KeyAnswered, Report};
use crate::actors::services::Services;
use crate::actors::vendor::{
    AskError, ConnectFailure, Fragments, KeyPoolLink, KeySource, Socket, TooLong, frame_guard::cause_of, vendor,
};
use crate::actors::views::changes;
use crate::clock::Stopwatch;
use crate::domain::model::{Decoded, Inbound, Input, InputKind, LinkChange, Sessions, Symbol, Timestamp};
use crate::domain::vendor::{
    Effect, Event, Frame, Judged, KeySlot, Link, LinkSettings, NoKey, Purpose, Repeats, SilenceReport, Trouble, wire,
};
use crate::limits;
use actix::prelude::*;
use actix_http::ws;
use bytes::Bytes;
use futures_util::stream::{self, SplitSink, StreamExt};
use futures_util::{FutureExt, SinkExt};
use std::sync::Arc;
use std::time::Duration;

/// The link's settings.
#[derive(Debug, Clone)]
pub struct FeedSettings {
    /// The vendor's WebSocket, without a key: `wss://ws.twelvedata.com/v1/quotes/price`.
    pub url: String,
    /// The pairs, each with its market's sessions.
    pub symbols: Vec<(Symbol, Arc<dyn Sessions>)>,
    /// The trusted authorities: `actors::vendor::tls`.
    pub tls: Arc<rustls::ClientConfig>,
}

/// The dependencies of a Feed; they outlive its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The services that every actor may use.
    pub services: Services,
    /// The link's settings.
    pub settings: FeedSettings,
    /// The key pool.
    pub keys: KeyPoolLink,
    /// The Aggregator.
    pub arrived: Recipient<Arrived>,
}

/// See the module.
pub struct Feed {
    deps: Deps,
    link: Link,
    /// The key in use.
    key: Option<KeySlot>,
    /// Counts sockets: frames of an earlier one are ignored.
    generation: u64,
    connecting: Option<SpawnHandle>,
    reading: Option<SpawnHandle>,
    writer: Option<SplitSink<Socket, ws::Message>>,
    /// The fragments received of a message.
    fragments: Fragments,
    timer: Option<(Timestamp, SpawnHandle)>,
    outgoing: Vec<Inbound>,
    viewed: Option<Stopwatch>,
    log: FeedLog,
    silence: SilenceReport,
    /// Whether the pool was sent that this connection delivered a price.
    told_served: bool,
    /// How many breaks of market time the link knows.
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
    /// A feed that connects as soon as prices are wanted.
    pub fn new(deps: Deps) -> Self {
        // Networks do not run faster when market time does: the link waits in real time.
        let speed = deps.services.clock.speed();
        let settings = LinkSettings {
            symbols: deps.settings.symbols.clone(),
            patience: limits::HANDSHAKE.mul_f64(speed),
            jitter: limits::SILENCE_JITTER.mul_f64((speed - 1.0).max(0.0)),
        };
        Self {
            link: Link::new(settings, deps.services.clock.now()),
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
            silence: SilenceReport::default(),
            told_served: false,
            breaks: deps.services.clock.breaks(),
            deps,
        }
    }

    /// Handles breaks of market time that are new to the link.
    fn mind_breaks(&mut self, ctx: &mut Context<Self>) {
        if self.deps.services.clock.breaks_after(&mut self.breaks).is_empty() {
            return;
        }
        if let Some((_, handle)) = self.timer.take() {
            ctx.cancel_future(handle); // armed by the clock before the break
        }
        self.on(Event::Broken, ctx);
    }

    /// Feeds the state machine, performs its effects, and publishes the view.
    fn on(&mut self, event: Event<'_>, ctx: &mut Context<Self>) {
        let effects = self.link.on(event, self.deps.services.clock.now(), fastrand::f64());
        let changed = !effects.is_empty();
        for effect in effects {
            self.act(effect, ctx);
        }
        self.show(changed, ctx);
    }

    fn act(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Connect => self.connect(ctx),
            Effect::Disconnect => self.disconnect(ctx),
            Effect::Send(text) => self.write(ws::Message::Text(text.into()), ctx),
            Effect::Ping => self.write(ws::Message::Ping(Bytes::new()), ctx),
            Effect::Tell(change) => self.tell(change, ctx),
            Effect::KeyFailed(trouble) => self.key_failed(trouble, None, ctx),
            Effect::StayAway { trouble, wait } => self.key_failed(trouble, wait, ctx),
            Effect::SymbolsRefused(symbols) => tracing::warn!(?symbols, "pairs refused: the plan does not stream them"),
        }
    }

    /// The pool keeps the link's key in use until it receives that the vendor refused the key.
    fn connect(&mut self, ctx: &mut Context<Self>) {
        self.generation = self.generation.wrapping_add(1);
        self.told_served = false;
        let deps = self.deps.clone();
        let opening = async move { open(deps).await };
        let handle = ctx.spawn(
            opening
                .into_actor(self)
                .map(|result, feed, ctx| feed.connected(result, ctx)),
        );
        self.connecting = Some(handle);
    }

    /// Tells the pool that the key works, so that it may open the next link without delay.
    fn tell_served(&mut self, ctx: &mut Context<Self>) {
        let Some(slot) = self.key.filter(|_| self.link.priced() && !self.told_served) else {
            return;
        };
        self.told_served = true;
        let served = KeyAnswered {
            link_served: true,
            ..KeyAnswered::nothing(slot, Purpose::Link)
        };
        let telling = self.deps.keys.answered.send(served);
        ctx.spawn(telling.into_actor(self).map(|_, _, _| ()));
    }

    fn key_failed(&mut self, trouble: Trouble, retry_after: Option<Duration>, ctx: &mut Context<Self>) {
        let Some(slot) = self.key else { return };
        let told = KeyAnswered {
            trouble: Some(trouble),
            retry_after,
            ..KeyAnswered::nothing(slot, Purpose::Link)
        };
        // Sent before anything else, so that the next key is another.
        let telling = self.deps.keys.answered.send(told);
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
                self.log.not_open(&why, self.deps.services.clock.now());
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
            // If the socket takes the close frame at once, the vendor sees a clean close; if not, the socket is dropped anyway.
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

    /// Our frames are few and small. A frame that the socket does not take at once stays in its buffer and goes with the next; a socket
    /// that takes nothing at all is noticed by its missing pong.
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
        self.log.changed(&change, self.deps.services.clock.now());
        match &change {
            LinkChange::Up { .. } => self.report(Report::LinkUp, ctx),
            LinkChange::Down { cause } => self.report(Report::LinkDown { cause: cause.clone() }, ctx),
            LinkChange::Alive | LinkChange::Lost { .. } | LinkChange::Missed { .. } | LinkChange::Doubt { .. } => {}
        }
        self.arrive(InputKind::Link(change), Decoded::Nothing);
    }

    fn report(&self, report: Report, ctx: &mut Context<Self>) {
        let sending = self.deps.services.root.send(report);
        ctx.spawn(sending.into_actor(self).map(|sent, _, _| {
            if let Err(error) = sent {
                tracing::error!(%error, "failed to report to root");
            }
        }));
    }

    fn arrive(&mut self, what: InputKind, says: Decoded) {
        let at = self.deps.services.clock.now();
        self.outgoing.push(Inbound {
            heard: Input { at, what },
            says,
        });
    }

    /// Handles a whole text message.
    fn text(&mut self, bytes: Bytes, ctx: &mut Context<Self>) {
        let frame = match wire::decode(&bytes, self.deps.services.clock.now()) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::debug!(%error, "frame not understood");
                self.arrive(InputKind::Frame(bytes), Decoded::Nothing);
                return self.on(Event::Garbled, ctx);
            }
        };
        if let Frame::Price(tick) = &frame {
            self.deps.services.clock.witness(tick.at);
        }
        // The link first: when a price confirms its pair, the pipeline must already count the pair as watched.
        self.on(Event::Heard(&frame), ctx);
        self.tell_served(ctx);
        let says = match frame {
            Frame::Price(tick) => Decoded::Price(tick),
            Frame::Rounded(tick) => Decoded::Rounded(tick),
            Frame::Unusable(unusable) => Decoded::Unusable(unusable),
            _ => Decoded::Nothing,
        };
        self.arrive(InputKind::Frame(bytes), says);
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

    /// Ends a turn: sends the arrivals to the Aggregator, in order, and arms the timer for the next deadline.
    fn settle(&mut self, ctx: &mut Context<Self>) {
        let outgoing = std::mem::take(&mut self.outgoing);
        if !outgoing.is_empty()
            && let Err(SendError::Full(arrived)) = self.deps.arrived.try_send(Arrived(outgoing))
        {
            // The mailbox is full: the socket is not read until there is room, and the vendor's TCP window closes.
            let waiting = self.deps.arrived.send(arrived);
            ctx.wait(waiting.into_actor(self).map(|_, _, _| ()));
        }
        self.rearm(ctx);
    }

    /// Keeps an earlier timer, which may fire without effect: deadlines move later with every price.
    fn rearm(&mut self, ctx: &mut Context<Self>) {
        let Some(at) = self.link.next_deadline(self.deps.services.clock.now()) else {
            return;
        };
        if let Some((armed, handle)) = self.timer {
            if armed <= at {
                return;
            }
            ctx.cancel_future(handle);
        }
        let handle = ctx.run_later(self.deps.services.clock.until(at).max(SHORTEST_TIMER), |feed, ctx| {
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
        let now = self.deps.services.clock.now();
        let view = self.link.view(now);
        let silence = self.silence.note_view(&view, now);
        self.deps.services.views.feed.send_replace(view);
        if let Some(silent) = silence {
            self.report(if silent { Report::FeedSilent } else { Report::FeedHeard }, ctx);
        }
    }
}

/// The resolution of timers; a shorter one would spin.
const SHORTEST_TIMER: Duration = Duration::from_millis(1);

/// A frame from the socket, or its end.
enum Socketed {
    Frame(Result<ws::Frame, ws::ProtocolError>),
    /// The socket ended without a close frame.
    Ended,
}

/// The frames that were ready on the socket, in order.
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

/// The Aggregator published which prices it accepted.
struct PricesJudged;

impl StreamHandler<PricesJudged> for Feed {
    fn handle(&mut self, _: PricesJudged, ctx: &mut Context<Self>) {
        self.mind_breaks(ctx);
        let now = self.deps.services.clock.now();
        let prices = self.deps.services.views.pipeline.borrow().prices.clone();
        for (symbol, prices) in prices {
            let judged = Judged {
                accepted: prices.live,
                accepted_at: prices.live_at,
                in_vain: prices.is_in_vain(now),
            };
            self.on(Event::Judged(symbol, judged), ctx);
        }
        let shown = self.deps.services.views.feed.borrow().symbols.clone();
        let known = self.link.view(now).symbols;
        let mut lines = known.iter().zip(&shown);
        let differs = lines.any(|(now, before)| now.unaccepted != before.unaccepted);
        self.show(differs, ctx);
        self.settle(ctx);
    }

    fn finished(&mut self, _: &mut Context<Self>) {} // whoever shows it is gone; what is known stays
}

/// Whether prices are wanted changed.
struct Wanted(bool);

impl StreamHandler<Wanted> for Feed {
    fn handle(&mut self, wanted: Wanted, ctx: &mut Context<Self>) {
        self.mind_breaks(ctx);
        self.on(if wanted.0 { Event::Started } else { Event::Stopped }, ctx);
        self.settle(ctx);
    }

    fn finished(&mut self, _: &mut Context<Self>) {} // Root is gone; the link stays as it is
}

impl Actor for Feed {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let mut wanted = self.deps.services.views.wanted.subscribe();
        wanted.mark_changed();
        ctx.add_stream(stream::unfold(wanted, |mut wanted| async move {
            wanted.changed().await.ok()?;
            let now = *wanted.borrow_and_update();
            Some((Wanted(now), wanted))
        }));
        let judged = self.deps.services.views.pipeline.subscribe();
        ctx.add_stream(changes(judged).map(|()| PricesJudged));
    }
}

impl Supervised for Feed {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}

/// Why there is no socket.
enum NotOpen {
    NoKey(NoKey),
    Failed(ConnectFailure),
}

/// Acquires the link's key and connects with it.
async fn open(deps: Deps) -> (Option<KeySlot>, Result<Socket, NotOpen>) {
    let wanted = AcquireKey {
        purpose: Purpose::Link,
        credits: 0,
    };
    let acquired = match deps.keys.acquire_key(wanted).await {
        Ok(acquired) => acquired,
        Err(AskError::NoKey(refused)) => return (None, Err(NotOpen::NoKey(refused))),
        Err(_) => {
            // The pool is restarting and answers again in a moment.
            let at = deps.services.clock.now() + limits::RECONNECT_FIRST;
            let reason = "no_key_pool";
            return (None, Err(NotOpen::NoKey(NoKey { at, reason })));
        }
    };
    let socket = vendor::connect(deps.settings.tls, &deps.settings.url, &acquired.key).await;
    if socket.as_ref().err().is_none_or(ConnectFailure::reached) {
        // The pool keeps the spacing between handshakes; the link decides what a refusal means for the key.
        deps.keys
            .return_key(KeyAnswered::nothing(acquired.slot, Purpose::Link))
            .await;
    }
    (Some(acquired.slot), socket.map_err(NotOpen::Failed))
}

/// Logs the link: the first of equal failures, every other change, and every ten minutes how often a failure happened.
#[derive(Debug, Default)]
struct FeedLog {
    attempts: Repeats,
    falls: Repeats,
    /// Whether the last fall was logged; if so, the next rise is logged too.
    fall_said: bool,
    down_since: Option<Timestamp>,
}

impl FeedLog {
    /// An attempt failed.
    fn not_open(&mut self, why: &NotOpen, now: Timestamp) {
        match why {
            NotOpen::NoKey(refused) => {
                if let Some(times) = self.attempts.again(refused.reason, now) {
                    tracing::warn!(error = %refused, times, "failed to lease a key for the link");
                }
            }
            NotOpen::Failed(failure) => {
                if let Some(times) = self.attempts.again(failure.kind(), now) {
                    tracing::warn!(error = %failure, times, "failed to open the link");
                }
            }
        }
    }

    /// The link went up or down.
    fn changed(&mut self, change: &LinkChange, now: Timestamp) {
        match change {
            LinkChange::Up { symbols } => {
                let failed = self.attempts.over().unwrap_or(0);
                let down_s = self.down_since.take().map_or(0, |since| now.since(since).as_secs());
                if std::mem::replace(&mut self.fall_said, true) || failed > 0 {
                    tracing::info!(?symbols, down_s, failed, "link up");
                }
            }
            LinkChange::Down { cause } => {
                self.down_since = self.down_since.or(Some(now));
                let times = self.falls.again(cause, now);
                self.fall_said = times.is_some();
                match times {
                    Some(times) if cause != "stopped" => tracing::warn!(cause, times, "link down"),
                    _ => tracing::debug!(cause, "link down"),
                }
            }
            LinkChange::Alive | LinkChange::Lost { .. } | LinkChange::Missed { .. } | LinkChange::Doubt { .. } => {}
        }
    }
}

#[cfg(test)]
#[path = "tests/feed.rs"]
mod tests;
