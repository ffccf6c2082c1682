//! Admits clients of event streams: checks origin, token, channels and room, and begins the stream where the client's last one ended.

use crate::actors::fanout::Transport;
use crate::actors::messages::Subscribe;
use crate::domain::model::{Channel, Symbol};
use crate::domain::protocol::{EventStream, Options, Positions, Wanted, event_stream::retry, requests};
use crate::limits;
use crate::web::shared::{
    Access, HttpError, Query, Thread,
    access::shown_token,
    query::{name, wrong},
    thread::StreamPlace,
};
use crate::web::sse::EventBody;
use crate::web::ws::{LineOf, admit::describe, answers, handshake, wanted};
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use bytes::BytesMut;
use socket2::Socket;

/// The header in which a reconnecting browser sends the last id that it read.
const LAST_EVENT_ID: &str = "last-event-id";

/// `GET /sse`.
pub(crate) async fn events(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    handshake::check_origin(&request, &thread.common.origins)?;
    let query = Query::of(&request, &["channels", "last_event_id", "token"])?;
    let access = admitted(&request, &thread, query.text("token"))?;
    let positions = positions(&request, &query)?;
    let (channels, status) = channels(&thread, &access, query.text("channels"))?;
    let drain = *thread.common.drain.borrow();
    if let Some(drain) = drain {
        // A browser whose request is refused never reconnects; one whose stream ends does.
        let mut farewell = BytesMut::new();
        retry(drain.reconnect_after, &mut farewell);
        farewell.extend_from_slice(
            b"event: goaway\ndata: {\"type\":\"goaway\",\"reason\":\"the service is shutting down\"}\n\n",
        );
        return Ok(answer().body(farewell.freeze()));
    }
    if request.method() == Method::HEAD {
        return Ok(answer().finish());
    }
    let pass = thread
        .common
        .door
        .enter(request.peer_addr().map(|address| address.ip()))?;
    let place = StreamPlace::take(&thread)?;
    let socket = request
        .conn_data::<LineOf>()
        .and_then(|line| line.0.borrow_mut().take());
    socket.as_ref().inspect(|socket| bound_buffers(socket));
    let connection = thread
        .registry
        .connect_framed(Transport::Body(socket), Box::new(EventStream::default()));
    let token = access.token().map(str::to_owned);
    describe(&thread.registry, &connection, request.peer_addr(), token);
    let symbols: Vec<Symbol> = allowed(&thread, &access);
    let welcome = answers::welcome(&thread, connection.id().0, &symbols, true);
    connection.outbox.borrow_mut().say(&welcome, thread.registry.now());
    let subscribe = Subscribe {
        client: connection.id(),
        id: None,
        channels: channels
            .into_iter()
            .map(|channel| (channel, positions.since(channel)))
            .collect(),
        status,
        options: Options::default(),
        snapshot: true,
    };
    let subscribed = thread.subscribe.send(subscribe);
    Ok(answer().streaming(EventBody::new(thread, connection, access, subscribed, (pass, place))))
}

fn answer() -> HttpResponseBuilder {
    let mut answer = HttpResponse::Ok();
    answer
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("x-accel-buffering", "no"))
        .force_close(); // a connection has one handle by which it can be shut, and this stream takes it
    answer
}

/// The access that the presented token gives, if one is required.
fn admitted(request: &HttpRequest, thread: &Thread, in_query: Option<&str>) -> Result<Access, HttpError> {
    let shown = shown_token(request, thread, in_query);
    match Access::of(thread, shown.as_deref()) {
        Access::Refused => Err(HttpError::unauthorized("the token is not valid")),
        Access::Awaited => {
            let wanted =
                "a token is needed: Authorization: Bearer <token>, or ?token= where server.query_tokens allows it";
            Err(HttpError::new(StatusCode::UNAUTHORIZED, "unauthenticated", wanted))
        }
        access => Ok(access),
    }
}

/// Where the client's last stream ended: the header is newer than the address, which a browser repeats.
fn positions(request: &HttpRequest, query: &Query) -> Result<Positions, HttpError> {
    let header = request.headers().get(LAST_EVENT_ID);
    let (parameter, text) = match header {
        Some(value) => ("Last-Event-ID", value.to_str().unwrap_or("\u{fffd}")),
        None => ("last_event_id", query.text("last_event_id").unwrap_or_default()),
    };
    let allowed = "the id of an event of this service, such as ticks:USD/COP@k3v9.981221; leave it out to begin with what comes next";
    text.parse().map_err(|_| wrong(parameter, text, allowed))
}

/// The channels to subscribe to, and whether the status is among them; the default channels of `/ws` if none are named.
fn channels(thread: &Thread, access: &Access, list: Option<&str>) -> Result<(Vec<Channel>, bool), HttpError> {
    let allowed = allowed(thread, access);
    let Some(list) = list else {
        let channels = wanted::default_channels(&allowed);
        return match channels.is_empty() {
            true => Err(HttpError::forbidden(
                "this token gives access to no pair that is served here",
            )),
            false => Ok((channels, true)),
        };
    };
    let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
    let mut asked = Vec::new();
    for one in names {
        let read = requests::wanted(one).map_err(|_| unknown(thread, one))?;
        wanted::expand(&thread.common, &thread.common.symbols, &[read])
            .map_err(|(_, message)| name(HttpError::bad_request(message), "channels", one, &served(thread)))?;
        asked.push(read);
    }
    let channels =
        wanted::expand(&thread.common, &allowed, &asked).map_err(|(_, message)| HttpError::forbidden(message))?;
    let status = asked.contains(&Wanted::Status);
    if channels.is_empty() && !status {
        return Err(wrong("channels", list, &served(thread)));
    }
    if channels.len() > limits::CLIENT_CHANNELS {
        let most = format!("a list of at most {} channels", limits::CLIENT_CHANNELS);
        return Err(wrong("channels", list, &most));
    }
    Ok((channels, status))
}

/// The error for a name that is no channel's, with the name that may have been meant.
fn unknown(thread: &Thread, given: &str) -> HttpError {
    let common = &thread.common;
    let bars = common.intervals.iter().map(|interval| format!("bars.{interval}"));
    let topics = bars.chain(["ticks", "quality", "session"].map(str::to_owned));
    let there = topics.flat_map(|topic| {
        let symbols = common.symbols.iter().map(Symbol::as_str).chain(["*"]);
        symbols.map(move |symbol| format!("{topic}:{symbol}"))
    });
    let there = there.chain(["events", "status"].map(str::to_owned));
    let near = there
        .map(|name| (strsim::damerau_levenshtein(given, &name), name))
        .min_by_key(|(far, _)| *far)
        .filter(|(far, _)| *far <= 3);
    let meant = near.map_or_else(String::new, |(_, name)| format!("; did you mean {name}?"));
    wrong("channels", given, &format!("{}{meant}", served(thread)))
}

fn served(thread: &Thread) -> String {
    let common = &thread.common;
    let bars: Vec<String> = common
        .intervals
        .iter()
        .map(|interval| format!("bars.{interval}:PAIR"))
        .collect();
    let pairs: Vec<&str> = common.symbols.iter().map(Symbol::as_str).collect();
    format!(
        "one of ticks:PAIR, {}, quality:PAIR, session:PAIR, events and status, where PAIR is one of {}, or *",
        bars.join(", "),
        pairs.join(", ")
    )
}

fn allowed(thread: &Thread, access: &Access) -> Vec<Symbol> {
    let all = thread.common.symbols.iter().copied();
    all.filter(|symbol| access.may(*symbol)).collect()
}

/// Limits what the kernel holds for this client, as for a client of the socket.
fn bound_buffers(socket: &Socket) {
    let set = socket
        .set_send_buffer_size(limits::CLIENT_SOCKET_BUFFER)
        .and_then(|()| socket.set_tcp_notsent_lowat(limits::CLIENT_NOT_SENT));
    if let Err(error) = set {
        tracing::debug!(%error, "failed to set socket options");
    }
}
