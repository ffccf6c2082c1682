//! Client: one WebSocket session. Reads the client's messages; messages to it bypass this actor and go through its connection.
//!
//! owns   the reading half of one connection, and its rate of inbound messages
//! hears  the client's messages (from the socket)
//! says   Subscribe, Unsubscribe → Fanout of its thread · answers, into its own outbox
//! fails  a panic ends this one connection; the client reconnects and resumes. Not supervised: its state is the client's

use crate::actors::fanout::{Connection, CountedClient};
use crate::actors::messages::{Subscribe, Unsubscribe};
use crate::actors::repeat::RepeatEvery;
use crate::domain::model::{Channel, Symbol};
use crate::domain::protocol::{
    Close, Options, Problem, Request, RequestRefusal, Since, SubscribeRequest, Wanted, frames, requests,
};
use crate::limits;
use crate::web::shared::{Access, HttpError, InboundWindow, Thread};
use crate::web::ws::{
    InboundMessage, Opening, answers,
    wanted::{default_channels, expand},
};
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, MailboxError, StreamHandler, WrapFuture};
use actix_web::{HttpRequest, HttpResponseBuilder};
use actix_web_actors::ws;
use futures_util::Stream;
use serde_json::Value;
use std::collections::HashSet;
use std::rc::Rc;

/// Accepts a handshake: a response without a body.
pub(super) fn agree(request: &HttpRequest) -> Result<HttpResponseBuilder, HttpError> {
    ws::handshake_with_protocols(request, &["candela.v1"]).map_err(|error| HttpError::bad_request(error.to_string()))
}

/// One WebSocket session.
pub(crate) struct Client {
    thread: Rc<Thread>,
    connection: Rc<Connection>,
    /// The one pair of `/ws/{symbol}`.
    symbol: Option<Symbol>,
    /// Echoes what it receives, and does nothing else.
    echo: bool,
    /// Whether it has only the default channels: the client has not subscribed to any itself.
    untouched: bool,
    window: InboundWindow,
    access: Access,
    /// `?channels=`, until they are subscribed to.
    wanted: Option<Vec<Wanted>>,
    _counted: Option<CountedClient>,
}

impl Client {
    /// Starts a session that reads from `hears`.
    pub(crate) fn start(
        opening: Opening,
        connection: Rc<Connection>,
        hears: impl Stream<Item = InboundMessage> + 'static,
    ) {
        let counts = opening.thread.registry.counts();
        let counted = opening.symbol.map(|symbol| counts.enter(symbol));
        Self::create(|ctx| {
            ctx.set_mailbox_capacity(1);
            ctx.add_stream(hears);
            let mut client = Self {
                thread: opening.thread,
                connection,
                symbol: opening.symbol,
                echo: opening.echo,
                untouched: opening.wanted.is_none(),
                window: InboundWindow::default(),
                access: opening.access,
                wanted: opening.wanted,
                _counted: counted,
            };
            if !client.echo {
                client.greet(ctx);
            }
            client
        });
    }

    /// Sends the welcome, and subscribes once the client is authenticated.
    fn greet(&mut self, ctx: &mut Context<Self>) {
        let welcomed = matches!(self.access, Access::Open | Access::Granted(_));
        let symbols = self.symbols();
        self.say(&answers::welcome(
            &self.thread,
            self.connection.id().0,
            &symbols,
            welcomed,
        ));
        match self.access {
            Access::Refused => self.close(Close::Unauthenticated, "the token is not valid"),
            Access::Awaited => {
                ctx.run_later(limits::CLIENT_AUTH, |client, _| {
                    if matches!(client.access, Access::Awaited) {
                        client.close(Close::Unauthenticated, "no token was presented in time");
                    }
                });
            }
            Access::Open | Access::Granted(_) => self.begin(ctx),
        }
        self.connection.expect_wishes(self.thread.registry.now());
    }

    /// The pairs that this client may subscribe to here.
    fn symbols(&self) -> Vec<Symbol> {
        let mut allowed = self.allowed();
        allowed.retain(|symbol| self.symbol.is_none_or(|own| own == *symbol));
        allowed
    }

    /// Subscribes to the channels in the address, or to the default ones, and checks the token from time to time.
    fn begin(&mut self, ctx: &mut Context<Self>) {
        if matches!(self.access, Access::Granted(_)) {
            ctx.repeat_every(limits::CLIENT_AUTH, |client, _| client.look_at_grant());
        }
        let wanted = self.wanted.take();
        let status = wanted.as_ref().is_none_or(|wanted| wanted.contains(&Wanted::Status));
        let channels = match wanted {
            Some(wanted) => self.expand(&wanted).map_err(|(_, message)| message),
            None => {
                let channels = default_channels(&self.symbols());
                (!channels.is_empty())
                    .then_some(channels)
                    .ok_or_else(|| "this token gives access to none of the requested channels".to_owned())
            }
        };
        let channels = match channels {
            Ok(channels) => channels,
            Err(why) => return self.close(Close::Forbidden, &why), // the channels exist, but not for this token
        };
        let subscribe = Subscribe {
            client: self.connection.id(),
            id: None,
            channels: channels.into_iter().map(|channel| (channel, Since::Now)).collect(),
            status,
            options: Options::default(),
            snapshot: true,
        };
        let subscribed = self.thread.subscribe.send(subscribe).into_actor(self);
        ctx.wait(subscribed.map(|result, client, _| {
            if result.is_err() {
                client.close(
                    Close::NotReady,
                    "the channels that come by default cannot be followed now",
                );
            }
        }));
    }

    /// Closes the session when its token was revoked.
    fn look_at_grant(&self) {
        if !self.access.still_stands(&self.thread) {
            self.close(Close::TokenRevoked, "the token was revoked");
        }
    }

    fn authenticate(&mut self, id: Option<Value>, token: &str, ctx: &mut Context<Self>) {
        match (Access::of(&self.thread, Some(token)), &self.access) {
            (Access::Granted(grant), Access::Awaited) => {
                tracing::info!(client = self.connection.id().0, token = %grant.name, "a client presented its token");
                let list = &self.thread.registry.counts().list;
                list.describe(self.connection.id().0, |client| client.token = Some(grant.name.clone()));
                self.access = Access::Granted(grant);
                self.say(&answers::authenticated(id, &self.symbols()));
                self.begin(ctx);
            }
            (Access::Granted(_) | Access::Open, _) => self.say(&answers::authenticated(id, &self.symbols())),
            (Access::Awaited | Access::Refused, _) => {
                self.say_error(id, Problem::AuthFailed, "the token is not valid");
                self.close(Close::Unauthenticated, "the token is not valid");
            }
        }
    }

    /// Waits for the shard; meanwhile no message is read from this client.
    fn ask(&self, asked: impl Future<Output = Result<(), MailboxError>> + 'static, ctx: &mut Context<Self>) {
        let answered = asked.into_actor(self).map(|result, client, _| {
            if result.is_err() {
                client.refuse(&RequestRefusal {
                    id: None,
                    problem: Problem::NotReady,
                    message: "the request was lost in a restart; send it again".to_owned(),
                });
            }
        });
        ctx.wait(answered);
    }

    fn say(&self, frame: &bytes::Bytes) {
        let now = self.thread.registry.now();
        self.connection.outbox.borrow_mut().say(frame, now);
        self.connection.flush(now, &mut Vec::new());
    }

    /// Sends an error that leaves the connection open.
    fn say_error(&self, id: Option<Value>, problem: Problem, message: &str) {
        self.thread.common.measures.count_ws_error(problem.code());
        self.say(&answers::error(id, problem, message));
    }

    fn refuse(&self, refusal: &RequestRefusal) {
        self.say_error(refusal.id.clone(), refusal.problem, &refusal.message);
    }

    fn close(&self, close: Close, reason: &str) {
        self.connection.close(close, reason, self.thread.registry.now());
    }

    /// Counts a message of the client, and returns whether it is within its rate. Beyond a grace the client is closed.
    fn count_message(&mut self) -> bool {
        let over = self.window.over(self.thread.registry.now());
        if over > limits::CLIENT_INBOUND_GRACE {
            self.close(Close::TooManyRequests, "too many messages in a second");
        }
        over == 0
    }

    fn hear(&mut self, text: &str, ctx: &mut Context<Self>) {
        if !self.count_message() {
            let message = format!("over {} messages in a second", limits::CLIENT_INBOUND_PER_SECOND);
            return self.say_error(None, Problem::RateLimited, &message);
        }
        match requests::parse(text) {
            Ok(request) => self.answer(request, ctx),
            Err(refusal) => self.refuse(&refusal),
        }
    }

    fn answer(&mut self, request: Request, ctx: &mut Context<Self>) {
        match request {
            Request::Heartbeat => self.say(&answers::heartbeat_response(&self.thread, self.symbol)),
            Request::Ping { id } => self.say(&answers::pong(&self.thread, id)),
            Request::Auth { id, token } => self.authenticate(id, &token, ctx),
            Request::Subscribe(SubscribeRequest { id, .. }) | Request::Unsubscribe { id, .. }
                if matches!(self.access, Access::Awaited) =>
            {
                let first = "present a token first: {\"action\":\"auth\",\"token\":…}";
                self.say_error(id, Problem::Unauthenticated, first);
            }
            Request::Subscribe(subscribe) => self.subscribe(subscribe, ctx),
            Request::Unsubscribe { id, channels } => match self.expand(&channels) {
                Ok(expanded) => {
                    let unsubscribe = Unsubscribe {
                        client: self.connection.id(),
                        id,
                        channels: expanded,
                        status: channels.contains(&Wanted::Status),
                    };
                    self.ask(self.thread.unsubscribe.send(unsubscribe), ctx);
                }
                Err((problem, message)) => self.refuse(&RequestRefusal { id, problem, message }),
            },
        }
    }

    fn subscribe(&mut self, subscribe: SubscribeRequest, ctx: &mut Context<Self>) {
        let mut channels = Vec::new();
        for (wanted, since) in &subscribe.channels {
            match self.expand(std::slice::from_ref(wanted)) {
                Ok(expanded) => channels.extend(expanded.into_iter().map(|channel| {
                    let place = subscribe.places.iter().find(|(known, _)| *known == channel);
                    (channel, place.map_or(*since, |(_, since)| *since))
                })),
                Err((problem, message)) => {
                    let id = subscribe.id;
                    return self.refuse(&RequestRefusal { id, problem, message });
                }
            }
        }
        let mut seen = HashSet::new();
        channels.retain(|(channel, _)| seen.insert(*channel));
        let follows = {
            let outbox = self.connection.outbox.borrow();
            let followed = outbox.positions().map(|(channel, _)| channel);
            let others = followed.filter(|channel| !self.untouched && !seen.contains(channel));
            others.count()
        };
        if follows.saturating_add(channels.len()) > limits::CLIENT_CHANNELS {
            let message = format!("{} channels are allowed on one connection", limits::CLIENT_CHANNELS);
            return self.refuse(&RequestRefusal {
                id: subscribe.id,
                problem: Problem::ChannelLimit,
                message,
            });
        }
        if std::mem::take(&mut self.untouched) {
            self.forget_defaults();
        }
        let subscribe = Subscribe {
            client: self.connection.id(),
            id: subscribe.id,
            status: subscribe.channels.iter().any(|(wanted, _)| *wanted == Wanted::Status),
            channels,
            options: subscribe.options,
            snapshot: subscribe.snapshot,
        };
        self.ask(self.thread.subscribe.send(subscribe), ctx);
    }

    /// Drops the default channels when the client first subscribes.
    fn forget_defaults(&self) {
        let followed: Vec<Channel> = self
            .connection
            .outbox
            .borrow()
            .positions()
            .map(|(channel, _)| channel)
            .collect();
        for channel in followed {
            self.thread.registry.remove_from_audience(channel, self.connection.id());
            self.connection.outbox.borrow_mut().unfollow(channel);
        }
        self.connection.status.set(false);
    }

    /// Resolves names to channels, if all of them are served to this client.
    fn expand(&self, wanted: &[Wanted]) -> Result<Vec<Channel>, (Problem, String)> {
        expand(&self.thread.common, &self.allowed(), wanted)
    }

    fn allowed(&self) -> Vec<Symbol> {
        let all = self.thread.common.symbols.iter().copied();
        all.filter(|symbol| self.access.may(*symbol)).collect()
    }

    fn hear_echo(&self, said: InboundMessage) {
        match said {
            InboundMessage::Text(text) => self.say(&frames::text_frame(text.as_bytes())),
            InboundMessage::Binary(bytes) => self.say(&frames::frame(frames::BINARY, &bytes)),
            _ => {}
        }
    }
}

impl Actor for Client {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.thread.registry.disconnect_client(self.connection.id());
    }
}

impl StreamHandler<InboundMessage> for Client {
    fn handle(&mut self, said: InboundMessage, ctx: &mut Context<Self>) {
        let now = self.thread.registry.now();
        self.connection.mark_alive(now);
        if !self.connection.is_open() {
            if let InboundMessage::Close(code) = said {
                self.connection.close_answered(code, now);
            }
            return;
        }
        match said {
            InboundMessage::Violation(close, why) => {
                if close == Close::TooLarge && !self.echo {
                    let message = format!(
                        "a message has at most {} bytes, over all its frames",
                        limits::CLIENT_MESSAGE
                    );
                    self.say_error(None, Problem::MessageTooLarge, &message);
                }
                self.connection.fail(close, why, now);
            }
            InboundMessage::Close(code) => self.connection.close_answered(code, now),
            InboundMessage::Pong => {}
            InboundMessage::Ping(payload) => {
                if self.echo || self.count_message() {
                    self.say(&frames::frame(frames::PONG, &payload));
                }
            }
            said if self.echo => self.hear_echo(said),
            InboundMessage::Text(text) => self.hear(&text, ctx),
            InboundMessage::Binary(_) => self.close(Close::Unsupported, "messages must be text"),
        }
    }

    fn finished(&mut self, ctx: &mut Context<Self>) {
        self.connection.end(self.thread.registry.now());
        ctx.stop();
    }
}
