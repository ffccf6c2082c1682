//! Client: one WebSocket session. Reads what the client says; what is told to it goes past this actor, through its seat.
//!
//! owns   the reading half of one connection, and how much the client may still say
//! hears  the client's messages (from the socket)
//! says   Attach, Detach → Fanout of its thread · answers, into its own outbox
//! fails  a panic ends this one connection; the client comes back and resumes. Not supervised: its state is the client's

use crate::actors::messages::{Attach, Detach};
use crate::actors::seat::{Line, Seat};
use crate::domain::channel::{Channel, Topic};
use crate::domain::delivery::Options;
use crate::domain::frames;
use crate::domain::interval::Interval;
use crate::domain::protocol::{Close, Problem};
use crate::domain::requests::{self, Refusal, Request, Since, Subscribe, Wanted};
use crate::domain::symbol::Symbol;
use crate::limits;
use crate::web::answers;
use crate::web::body::Body;
use crate::web::handshake;
use crate::web::problem::Trouble;
use crate::web::reader::{Reader, Said};
use crate::web::thread::{Thread, unknown_symbol};
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, MailboxError, StreamHandler, WrapFuture};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Put into a connection's data when it is accepted, taken out when it is upgraded.
#[derive(Debug, Default)]
pub(super) struct LineOf(pub(super) RefCell<Option<Line>>);

/// The session.
struct Client {
    thread: Rc<Thread>,
    seat: Rc<Seat>,
    /// The one pair of `/ws/{symbol}`.
    symbol: Option<Symbol>,
    /// Says back what it hears, and nothing else.
    echo: bool,
    /// The default channels, until the client asks for its own.
    untouched: bool,
    window: InboundWindow,
}

/// Messages within the current second.
#[derive(Debug, Default)]
struct InboundWindow {
    began: Duration,
    heard: u32,
}

/// What this session is to be.
pub(super) struct Plan {
    /// One pair, or all.
    pub(super) symbol: Option<Symbol>,
    /// `?channels=`.
    pub(super) channels: Option<String>,
    /// An echo, for conformance suites.
    pub(super) echo: bool,
}

/// Upgrades a request and starts its session.
pub(super) fn upgrade(request: &HttpRequest, payload: web::Payload, plan: Plan) -> Result<HttpResponse, Trouble> {
    let thread = Thread::of(request)?;
    handshake::check(request, &thread.common.origins)?;
    if thread.common.drain.borrow().is_some() {
        return Err(Trouble::unavailable("shutting_down", "the service is shutting down"));
    }
    let connected = thread
        .deck
        .counts()
        .connected
        .load(std::sync::atomic::Ordering::Relaxed);
    if connected >= thread.common.max_clients {
        return Err(Trouble::unavailable(
            "connection_limit",
            "no more connections are accepted now",
        ));
    }
    let wanted = match &plan.channels {
        Some(list) => Some(wanted_of(&thread, list)?),
        None => None,
    };
    let mut response = ws::handshake_with_protocols(request, &["candela.v1"])
        .map_err(|error| Trouble::bad_request(error.to_string()))?;
    let line = request
        .conn_data::<LineOf>()
        .and_then(|line| line.0.borrow_mut().take());
    let line = line.unwrap_or(Line {
        socket: None,
        plain: false,
    });
    let seat = thread.deck.join(line);
    let body = Body::new(Rc::clone(&seat), Rc::clone(&thread.deck));
    let reader = Reader::new(payload, limits::CLIENT_MESSAGE);
    Client::create(|ctx| {
        ctx.set_mailbox_capacity(1);
        ctx.add_stream(reader);
        let client = Client {
            thread,
            seat,
            symbol: plan.symbol,
            echo: plan.echo,
            untouched: wanted.is_none(),
            window: InboundWindow::default(),
        };
        if !plan.echo {
            client.greet(wanted, ctx);
        }
        client
    });
    Ok(response.streaming(body))
}

/// Reads `?channels=a,b`.
fn wanted_of(thread: &Thread, list: &str) -> Result<Vec<Wanted>, Trouble> {
    let names = list.split(',').filter(|name| !name.trim().is_empty());
    let read = |name: &str| requests::wanted(name.trim()).map_err(|error| Trouble::not_found("unknown_channel", error));
    let wanted = names.map(read).collect::<Result<Vec<_>, _>>()?;
    for one in &wanted {
        if let Wanted::One(channel) = one {
            thread.symbol(channel.symbol.as_str())?;
        }
    }
    Ok(wanted)
}

impl Client {
    /// The welcome, and the channels that were asked for in the address or come by default.
    fn greet(&self, wanted: Option<Vec<Wanted>>, ctx: &mut Context<Self>) {
        let symbols: Vec<Symbol> = match self.symbol {
            Some(symbol) => vec![symbol],
            None => self.thread.common.symbols.to_vec(),
        };
        self.say(&answers::welcome(&self.thread, self.seat.id().0, &symbols, true));
        let channels = match wanted {
            Some(wanted) => self.expand(&wanted).unwrap_or_default(),
            None => {
                let all = |symbol: &Symbol| {
                    let bars = Channel::bars(Interval::M5, *symbol);
                    [Channel::ticks(*symbol), bars, Channel::session(*symbol)]
                };
                symbols.iter().flat_map(all).collect()
            }
        };
        let attach = Attach {
            client: self.seat.id(),
            id: None,
            channels: channels.into_iter().map(|channel| (channel, Since::Now)).collect(),
            status: true,
            options: Options::default(),
            snapshot: true,
        };
        self.ask(self.thread.attach.send(attach), ctx);
    }

    /// Waits for the shard; nothing more is read from this client meanwhile.
    fn ask(&self, asked: impl Future<Output = Result<(), MailboxError>> + 'static, ctx: &mut Context<Self>) {
        let answered = asked.into_actor(self).map(|result, client, _| {
            if result.is_err() {
                client.refuse(&Refusal {
                    id: None,
                    problem: Problem::NotReady,
                    message: "the request was lost in a restart; ask again".to_owned(),
                });
            }
        });
        ctx.wait(answered);
    }

    fn say(&self, frame: &bytes::Bytes) {
        let now = self.thread.deck.now();
        self.seat.outbox.borrow_mut().say(frame, now);
        self.seat.flush(now, &mut Vec::new());
    }

    fn refuse(&self, refusal: &Refusal) {
        self.say(&answers::error(refusal.id.clone(), refusal.problem, &refusal.message));
    }

    fn close(&self, close: Close, reason: &str) {
        self.seat.close(close, reason, self.thread.deck.now());
    }

    /// Whether the client keeps within its rate. Beyond a grace it is closed.
    fn within_rate(&mut self) -> bool {
        let now = self.thread.deck.now();
        if now.saturating_sub(self.window.began) >= Duration::from_secs(1) {
            self.window = InboundWindow { began: now, heard: 0 };
        }
        self.window.heard = self.window.heard.saturating_add(1);
        let over = self.window.heard.saturating_sub(limits::CLIENT_INBOUND_PER_SECOND);
        if over > limits::CLIENT_INBOUND_GRACE {
            self.close(Close::TooManyRequests, "too many messages in a second");
        }
        over == 0
    }

    fn hear(&mut self, text: &str, ctx: &mut Context<Self>) {
        if !self.within_rate() {
            let message = format!("over {} messages in a second", limits::CLIENT_INBOUND_PER_SECOND);
            return self.say(&answers::error(None, Problem::RateLimited, &message));
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
            Request::Auth { id, .. } => self.refuse(&Refusal {
                id,
                problem: Problem::AuthFailed,
                message: "this server asks for no token".to_owned(),
            }),
            Request::Subscribe(subscribe) => self.subscribe(subscribe, ctx),
            Request::Unsubscribe { id, channels } => match self.expand(&channels) {
                Ok(expanded) => {
                    let detach = Detach {
                        client: self.seat.id(),
                        id,
                        channels: expanded,
                        status: channels.contains(&Wanted::Status),
                    };
                    self.ask(self.thread.detach.send(detach), ctx);
                }
                Err((problem, message)) => self.refuse(&Refusal { id, problem, message }),
            },
        }
    }

    fn subscribe(&mut self, subscribe: Subscribe, ctx: &mut Context<Self>) {
        let mut channels = Vec::new();
        for (wanted, since) in &subscribe.channels {
            match self.expand(std::slice::from_ref(wanted)) {
                Ok(expanded) => channels.extend(expanded.into_iter().map(|channel| (channel, *since))),
                Err((problem, message)) => {
                    let id = subscribe.id;
                    return self.refuse(&Refusal { id, problem, message });
                }
            }
        }
        if std::mem::take(&mut self.untouched) {
            self.forget_defaults(&channels);
        }
        let follows = self.seat.outbox.borrow().follows();
        if follows.saturating_add(channels.len()) > limits::CLIENT_CHANNELS {
            let message = format!("{} channels are allowed on one connection", limits::CLIENT_CHANNELS);
            return self.refuse(&Refusal {
                id: subscribe.id,
                problem: Problem::ChannelLimit,
                message,
            });
        }
        let attach = Attach {
            client: self.seat.id(),
            id: subscribe.id,
            status: subscribe.channels.iter().any(|(wanted, _)| *wanted == Wanted::Status),
            channels,
            options: subscribe.options,
            snapshot: subscribe.snapshot,
        };
        self.ask(self.thread.attach.send(attach), ctx);
    }

    /// A first subscription replaces what came by default.
    fn forget_defaults(&self, _wanted: &[(Channel, Since)]) {
        let followed: Vec<Channel> = self
            .seat
            .outbox
            .borrow()
            .positions()
            .map(|(channel, _)| channel)
            .collect();
        for channel in followed {
            self.thread.deck.unlisten(channel, self.seat.id());
            self.seat.outbox.borrow_mut().unfollow(channel);
        }
        self.seat.status.set(false);
    }

    /// The channels behind the names, where all of them are served.
    fn expand(&self, wanted: &[Wanted]) -> Result<Vec<Channel>, (Problem, String)> {
        let common = &self.thread.common;
        let mut channels = Vec::new();
        for one in wanted {
            let (topic, symbols) = match one {
                Wanted::Status => continue,
                Wanted::Every(topic) => (*topic, common.symbols.to_vec()),
                Wanted::One(channel) => (channel.topic, vec![channel.symbol]),
            };
            if let Topic::Bars(interval) = topic
                && !common.intervals.contains(&interval)
            {
                let made: Vec<&str> = common.intervals.iter().map(|interval| interval.name()).collect();
                let message = format!("bars of {interval} are not made here; there are {}", made.join(", "));
                return Err((Problem::UnknownChannel, message));
            }
            for symbol in symbols {
                if !common.symbols.contains(&symbol) {
                    return Err((Problem::UnknownSymbol, unknown_symbol(symbol.as_str(), &common.symbols)));
                }
                channels.push(Channel { topic, symbol });
            }
        }
        Ok(channels)
    }

    fn hear_echo(&self, said: Said) {
        match said {
            Said::Text(text) => self.say(&frames::text_frame(text.as_bytes())),
            Said::Binary(bytes) => self.say(&frames::frame(0x82, &bytes)),
            _ => {}
        }
    }
}

impl Actor for Client {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.thread.deck.leave(self.seat.id());
    }
}

impl StreamHandler<Said> for Client {
    fn handle(&mut self, said: Said, ctx: &mut Context<Self>) {
        let now = self.thread.deck.now();
        self.seat.heard(now);
        if !self.seat.is_open() {
            if let Said::Close(code) = said {
                self.seat.close_answered(code, now);
            }
            return;
        }
        match said {
            Said::Violation(close, why) => self.close(close, why),
            Said::Close(code) => self.seat.close_answered(code, now),
            Said::Pong => {}
            Said::Ping(payload) => {
                if self.echo || self.within_rate() {
                    self.say(&frames::frame(0x8a, &payload));
                }
            }
            said if self.echo => self.hear_echo(said),
            Said::Text(text) => self.hear(&text, ctx),
            Said::Binary(_) => self.close(Close::Unsupported, "messages are text"),
        }
    }

    fn finished(&mut self, ctx: &mut Context<Self>) {
        self.seat.end(self.thread.deck.now());
        ctx.stop();
    }
}
