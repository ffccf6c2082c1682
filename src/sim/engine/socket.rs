//! The vendor's WebSocket: the handshake with all that can go wrong in it, then one stream that reads and writes.

use crate::domain::model::Timestamp;
use crate::limits;
use crate::sim::engine::{Next, Outbox, Play, Socket, Target, Valve, rest};
use crate::sim::scenario::{Ending, Moment, Trouble};
use crate::sim::vendor::{
    Params,
    frames::{self, error_body},
};
use actix_http::ws::{Codec, Frame, HandshakeError, hash_key, verify_handshake};
use actix_web::http::StatusCode;
use actix_web::http::header::{LOCATION, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use actix_web::web::{Bytes, BytesMut, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::Stream;
use futures_util::future::pending;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_util::codec::Decoder;

/// `GET /v1/quotes/price`.
pub(crate) async fn upgrade(request: HttpRequest, payload: Payload) -> HttpResponse {
    let (Some(play), Some(valve)) = (request.app_data::<Play>(), request.conn_data::<Rc<Valve>>()) else {
        return refusal(500, "The simulator lost its stage.");
    };
    play.tell(|stage, now| {
        stage.counters.upgrades_total += 1;
        stage.happened(Moment::Upgrade, Target::Raw(valve), now);
    });
    match grant(&request, play, valve).await {
        Ok(key) => opened(&request, payload, play, valve, key),
        Err(response) => {
            play.tell(|stage, _| stage.counters.refused_total += 1);
            response
        }
    }
}

/// The place of the key that may connect, or how it is turned away.
async fn grant(request: &HttpRequest, play: &Play, valve: &Rc<Valve>) -> Result<usize, HttpResponse> {
    let slow = play.tell(|stage, now| {
        stage.weather.find(now, |trouble| match trouble {
            Trouble::SlowUpgrades(by) => Some(*by),
            _ => None,
        })
    });
    if let Some(by) = slow {
        play.pause(by).await;
    }
    if play.tell(|stage, now| stage.weather.has(&Trouble::HangUpgrades, now)) {
        pending::<()>().await;
    }
    let pairs = Query::<Vec<(String, String)>>::from_query(request.query_string());
    let params = Params::new(pairs.map(Query::into_inner).unwrap_or_default());
    let key = rest::key(request, &params);
    let (refused, retry_after) = play.tell(|stage, now| {
        let place = key.as_deref().and_then(|key| stage.accounts.find(key));
        stage.handshake(place, now);
        let refused = stage.weather.find(now, |trouble| match trouble {
            Trouble::RefuseUpgrades(status) => Some(*status),
            _ => None,
        });
        (
            refused,
            refused.and_then(|status| stage.retry_after(status, true, place, now)),
        )
    });
    match refused {
        Some(302) => {
            let elsewhere = (LOCATION, "/v1/quotes/elsewhere");
            return Err(HttpResponse::Found().insert_header(elsewhere).finish());
        }
        Some(status) => {
            let mut response = refusal(status, "The upgrade was refused.");
            if let Some(wait) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
            }
            return Err(response);
        }
        None => {}
    }
    let place = play.tell(|stage, now| {
        let place = key.and_then(|key| stage.accounts.find(&key))?;
        (!stage.expired(place, now)).then_some(place)
    });
    let place = place.ok_or_else(|| refusal(401, "**apikey** parameter is incorrect or not specified."))?;
    verify_handshake(request.head()).map_err(|error| match error {
        HandshakeError::GetMethodRequired => refusal(405, "Only GET is allowed."),
        _ => refusal(400, "A WebSocket upgrade was expected."),
    })?;
    if play.tell(|stage, now| stage.weather.has(&Trouble::CutUpgrades, now)) {
        valve.ration(limits::SIM_CUT_AFTER_BYTES);
    }
    Ok(place)
}

/// A refusal with a JSON body; status 200 says 401 in its body, as a bad key has been reported to be answered.
fn refusal(status: u16, message: &str) -> HttpResponse {
    let code = if status == 200 { 401 } else { status };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(status)
        .content_type("application/json")
        .body(error_body(code, message))
}

fn opened(request: &HttpRequest, payload: Payload, play: &Play, valve: &Rc<Valve>, key: usize) -> HttpResponse {
    let outbox = Rc::new(Outbox::default());
    let socket = Socket {
        key,
        symbols: BTreeSet::new(),
        outbox: Rc::clone(&outbox),
        valve: Rc::clone(valve),
        silent_until: None,
        priced: false,
    };
    let (id, forged) = play.tell(|stage, now| {
        let id = stage.next_socket();
        stage.sockets.insert(id, socket);
        stage.counters.opened_total += 1;
        stage.make_room(key, id);
        stage.happened(Moment::Open, Target::Socket(id), now);
        (id, stage.weather.has(&Trouble::ForgeUpgrades, now))
    });
    let asked = request
        .headers()
        .get(SEC_WEBSOCKET_KEY)
        .map_or(&b""[..], |value| value.as_bytes());
    let mut accept = hash_key(if forged { b"another key" } else { asked });
    let accept = std::str::from_utf8_mut(&mut accept).map_or_else(|_| String::new(), |text| text.to_owned());
    let conversation = Conversation {
        id,
        play: play.clone(),
        valve: Rc::clone(valve),
        payload,
        codec: Codec::new().max_size(limits::SIM_EVENT_BYTES),
        heard: BytesMut::new(),
        deaf: false,
        outbox,
    };
    HttpResponse::build(StatusCode::SWITCHING_PROTOCOLS)
        .upgrade("websocket")
        .insert_header((SEC_WEBSOCKET_ACCEPT, accept))
        .streaming(conversation)
}

impl crate::sim::engine::Stage {
    /// Notes a handshake on a key.
    fn handshake(&mut self, place: Option<usize>, now: Timestamp) {
        let plan = self.plan;
        let slack = self.slack;
        if let Some(account) = place.and_then(|place| self.accounts.at(place)) {
            account.handshake(&plan, slack, now);
        }
    }

    /// How long a refusal asks to stay away: with 429 the key that was used, with 503 all of them.
    pub(super) fn retry_after(
        &mut self,
        status: u16,
        handshake: bool,
        place: Option<usize>,
        now: Timestamp,
    ) -> Option<Duration> {
        let wait = self.weather.find(now, |trouble| match trouble {
            Trouble::RetryAfter(wait) => Some(*wait),
            _ => None,
        })?;
        match status {
            429 => {
                if let Some(account) = place.and_then(|place| self.accounts.at(place)) {
                    account.ask_to_wait(true, true, now + wait);
                }
            }
            503 => {
                for account in self.accounts.iter_mut() {
                    account.ask_to_wait(handshake, !handshake, now + wait);
                }
            }
            _ => return None,
        }
        Some(wait)
    }

    /// Notes a connection of a key; one more than the plan allows closes the oldest.
    fn make_room(&mut self, key: usize, id: u64) {
        let most = self.plan.connections;
        let Some(account) = self.accounts.at(key) else { return };
        account.connections.push_back(id);
        account.use_.connections_total += 1;
        while let Some(account) = self.accounts.at(key)
            && account.connections.len() > most
            && let Some(oldest) = account.connections.pop_front()
        {
            account.use_.evicted_total += 1;
            self.counters.evicted_total += 1;
            self.drop_socket(oldest, Ending::Close(1000));
        }
    }
}

/// Both directions of one connection: polled for bytes to write, it first reads what came.
struct Conversation {
    id: u64,
    play: Play,
    valve: Rc<Valve>,
    payload: Payload,
    codec: Codec,
    heard: BytesMut,
    /// The client will say nothing more, or nothing that can be understood.
    deaf: bool,
    outbox: Rc<Outbox>,
}

impl Conversation {
    fn listen(&mut self, context: &mut Context<'_>) {
        while !self.deaf {
            match Pin::new(&mut self.payload).poll_next(context) {
                Poll::Ready(Some(Ok(bytes))) => self.heard.extend_from_slice(&bytes),
                Poll::Ready(Some(Err(_)) | None) => {
                    self.deaf = true;
                    self.leave();
                }
                Poll::Pending => return,
            }
            self.understand();
        }
    }

    fn understand(&mut self) {
        if self.heard.len() > limits::SIM_EVENT_BYTES * 2 {
            return self.refuse(1009);
        }
        while !self.deaf {
            match self.codec.decode(&mut self.heard) {
                Ok(Some(Frame::Text(text))) => {
                    let text = String::from_utf8_lossy(&text).into_owned();
                    self.play.tell(|stage, now| stage.heard(self.id, &text, now));
                }
                Ok(Some(Frame::Ping(payload))) => {
                    self.play
                        .tell(|stage, now| stage.say(self.id, frames::frame(frames::PONG, &payload), now));
                }
                Ok(Some(Frame::Close(reason))) => {
                    let code = reason.map_or(1000, |reason| reason.code.into());
                    self.refuse(code);
                }
                Ok(Some(Frame::Pong(_))) => {}
                Ok(Some(Frame::Binary(_) | Frame::Continuation(_))) => self.refuse(1003),
                Ok(None) => return,
                Err(_) => self.refuse(1002),
            }
        }
    }

    /// Says goodbye with a code and listens no more.
    fn refuse(&mut self, code: u16) {
        self.deaf = true;
        self.outbox.push(frames::close(code, ""));
        self.leave();
    }

    fn leave(&self) {
        self.outbox.end(Ending::Vanish);
        self.play.tell(|stage, _| stage.gone(self.id));
    }
}

impl Stream for Conversation {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.listen(context);
        match self.outbox.next(context) {
            Next::Bytes(bytes) => Poll::Ready(Some(Ok(bytes))),
            Next::End(ending) => {
                self.valve.end_after_all(ending);
                Poll::Ready(None)
            }
            Next::Nothing => Poll::Pending,
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.play.tell(|stage, _| stage.gone(self.id));
    }
}
