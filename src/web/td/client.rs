//! TdClient: one WebSocket session of a vendor's client. It speaks the vendor's protocol where `Client` speaks ours.
//!
//! owns   the reading half of one connection, the pairs that it is subscribed to, and its rate of inbound messages
//! hears  the client's messages (from the socket)
//! says   Subscribe, Unsubscribe → Fanout of its thread · answers, into its own outbox
//! fails  a panic ends this one connection without a close frame: the client reconnects and subscribes. Not supervised, as `Client`

use crate::actors::fanout::Connection;
use crate::actors::messages::{Subscribe, Unsubscribe};
use crate::actors::repeat::RepeatEvery;
use crate::domain::model::{Channel, Symbol};
use crate::domain::protocol::{Close, Framing, Options, Since, frames};
use crate::domain::vendor::events::{self, Empty, Sorted, StreamAction};
use crate::limits;
use crate::web::shared::{Access, InboundWindow, Thread};
use crate::web::td::{PriceStream, TdQuestion};
use crate::web::ws::{InboundMessage, Speaker};
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, MailboxError, StreamHandler, WrapFuture};
use bytes::Bytes;
use futures_util::Stream;
use std::collections::BTreeSet;
use std::rc::Rc;

/// A session of a vendor's client before it starts.
pub(crate) struct TdOpening {
    thread: Rc<Thread>,
    access: Access,
}

impl TdOpening {
    pub(super) fn new(question: TdQuestion) -> Self {
        Self {
            thread: question.thread,
            access: question.access,
        }
    }
}

impl Speaker for TdOpening {
    fn token(&self) -> Option<String> {
        self.access.token().map(str::to_owned)
    }

    fn framing(&self) -> Option<Box<dyn Framing>> {
        Some(Box::new(PriceStream))
    }

    fn start(self, connection: Rc<Connection>, hears: impl Stream<Item = InboundMessage> + 'static) {
        TdClient::create(|ctx| {
            ctx.set_mailbox_capacity(1);
            ctx.add_stream(hears);
            if matches!(self.access, Access::Granted(_)) {
                ctx.repeat_every(limits::CLIENT_AUTH, |client: &mut TdClient, _| client.look_at_grant());
            }
            TdClient {
                thread: self.thread,
                access: self.access,
                connection,
                pairs: BTreeSet::new(),
                window: InboundWindow::default(),
            }
        });
    }
}

/// A running session.
struct TdClient {
    thread: Rc<Thread>,
    access: Access,
    connection: Rc<Connection>,
    /// The pairs that it is subscribed to.
    pairs: BTreeSet<Symbol>,
    window: InboundWindow,
}

impl TdClient {
    /// Ends the session when its token was revoked.
    fn look_at_grant(&self) {
        if !self.access.still_stands(&self.thread) {
            self.close(Close::TokenRevoked, "the token was revoked");
        }
    }

    fn hear(&mut self, text: &str, ctx: &mut Context<Self>) {
        if !self.count_message() {
            let limit = limits::CLIENT_INBOUND_PER_SECOND;
            return self.complain(&format!(
                "The server received more than {limit} events from you in a second. You may wait for the next second."
            ));
        }
        match StreamAction::read(text) {
            Some(StreamAction::Heartbeat) => self.say_text(events::HEARTBEAT),
            Some(StreamAction::Subscribe(names) | StreamAction::Unsubscribe(names))
                if names.len() > limits::TD_BATCH =>
            {
                let many = names.len();
                self.complain(&format!(
                    "{many} symbols are named; one event may name {}.",
                    limits::TD_BATCH
                ));
            }
            Some(StreamAction::Subscribe(names)) => self.subscribe(names, ctx),
            Some(StreamAction::Unsubscribe(names)) => self.unsubscribe(names, ctx),
            Some(StreamAction::Reset) => {
                self.say_text(events::RESET);
                let pairs = std::mem::take(&mut self.pairs);
                self.forget(pairs, ctx);
            }
            None => self.complain(events::NOT_RECOGNIZED),
        }
    }

    /// Answers first: the prices follow the answer.
    fn subscribe(&mut self, names: Vec<String>, ctx: &mut Context<Self>) {
        let sorted = Sorted::of(names, |symbol| self.serves(symbol));
        self.say_text(&sorted.status("subscribe-status", Empty::List));
        let added: Vec<Symbol> = sorted
            .good
            .into_iter()
            .filter(|symbol| self.pairs.insert(*symbol))
            .collect();
        if added.is_empty() {
            return;
        }
        let channels = added.into_iter().map(|symbol| (Channel::ticks(symbol), Since::Now));
        let subscribe = Subscribe {
            client: self.connection.id(),
            id: None,
            channels: channels.collect(),
            status: false,
            options: Options::default(),
            snapshot: false,
        };
        self.ask(self.thread.subscribe.send(subscribe), ctx);
    }

    fn unsubscribe(&mut self, names: Vec<String>, ctx: &mut Context<Self>) {
        let sorted = Sorted::of(names, |symbol| self.pairs.remove(&symbol));
        self.say_text(&sorted.status("unsubscribe-status", Empty::List));
        self.forget(sorted.good, ctx);
    }

    fn forget(&self, pairs: impl IntoIterator<Item = Symbol>, ctx: &mut Context<Self>) {
        let channels: Vec<Channel> = pairs.into_iter().map(Channel::ticks).collect();
        if channels.is_empty() {
            return;
        }
        let unsubscribe = Unsubscribe {
            client: self.connection.id(),
            id: None,
            channels,
            status: false,
        };
        self.ask(self.thread.unsubscribe.send(unsubscribe), ctx);
    }

    /// Waits for the shard; meanwhile no message is read from this client. If the shard fails, the client reconnects and subscribes.
    fn ask(&self, asked: impl Future<Output = Result<(), MailboxError>> + 'static, ctx: &mut Context<Self>) {
        let answered = asked.into_actor(self).map(|result, client, _| {
            if result.is_err() {
                client.close(Close::NotReady, "the channels cannot be followed now");
            }
        });
        ctx.wait(answered);
    }

    fn serves(&self, symbol: Symbol) -> bool {
        self.thread.common.symbols.contains(&symbol) && self.access.may(symbol)
    }

    /// Counts a message of the client, and returns whether it is within its rate. Beyond a grace the client is closed.
    fn count_message(&mut self) -> bool {
        let over = self.window.over(self.thread.registry.now());
        if over > limits::CLIENT_INBOUND_GRACE {
            self.close(Close::TooManyRequests, "too many messages in a second");
        }
        over == 0
    }

    fn complain(&self, why: &str) {
        self.say_text(&events::processing_error(why));
    }

    fn say_text(&self, text: &str) {
        self.say(&frames::text_frame(text.as_bytes()));
    }

    fn say(&self, frame: &Bytes) {
        let now = self.thread.registry.now();
        self.connection.outbox.borrow_mut().say(frame, now);
        self.connection.flush(now, &mut Vec::new());
    }

    fn close(&self, close: Close, reason: &str) {
        self.connection.close(close, reason, self.thread.registry.now());
    }
}

impl Actor for TdClient {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.thread.registry.disconnect_client(self.connection.id());
    }
}

impl StreamHandler<InboundMessage> for TdClient {
    fn handle(&mut self, said: InboundMessage, ctx: &mut Context<Self>) {
        let now = self.thread.registry.now();
        self.connection.mark_alive(now);
        if !self.connection.is_open() {
            return;
        }
        match said {
            InboundMessage::Text(text) => self.hear(&text, ctx),
            InboundMessage::Ping(payload) => {
                if self.count_message() {
                    self.say(&frames::frame(frames::PONG, &payload));
                }
            }
            InboundMessage::Pong => {}
            InboundMessage::Binary(_) => self.close(Close::Unsupported, "messages must be text"),
            InboundMessage::Close(code) => self.connection.close_answered(code, now),
            InboundMessage::Violation(close, why) => self.connection.fail(close, why, now),
        }
    }

    fn finished(&mut self, ctx: &mut Context<Self>) {
        self.connection.end(self.thread.registry.now());
        ctx.stop();
    }
}
