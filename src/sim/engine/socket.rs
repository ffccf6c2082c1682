//! The vendor's WebSocket: the handshake with its faults, then one stream that reads and writes.

use crate::domain::model::Timestamp;
use crate::limits;
use crate::sim::engine::{ConnectionControl, EngineHandle, Next, Outbox, Socket, Target, rest};
use crate::sim::scenario::{Ending, Fault, Moment};
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
pub(crate) async fn upgrade_socket(request: HttpRequest, payload: Payload) -> HttpResponse {
    let (Some(handle), Some(control)) = (
        request.app_data::<EngineHandle>(),
        request.conn_data::<Rc<ConnectionControl>>(),
    ) else {
        return refuse_upgrade(500, "The simulator lost its stage.");
    };
    handle.with_engine(|engine, now| {
        engine.counters.upgrades_total += 1;
        engine.note_moment(Moment::Upgrade, Target::Raw(control), now);
    });
    match check_upgrade(&request, handle, control).await {
        Ok(key) => open_socket(&request, payload, handle, control, key),
        Err(response) => {
            handle.with_engine(|engine, _| engine.counters.refused_total += 1);
            response
        }
    }
}

/// The place of the key that may connect, or the refusal.
async fn check_upgrade(
    request: &HttpRequest,
    handle: &EngineHandle,
    control: &Rc<ConnectionControl>,
) -> Result<usize, HttpResponse> {
    let slow = handle.with_engine(|engine, now| {
        engine.faults.find_active(now, |trouble| match trouble {
            Fault::SlowUpgrades(by) => Some(*by),
            _ => None,
        })
    });
    if let Some(by) = slow {
        handle.pause(by).await;
    }
    if handle.with_engine(|engine, now| engine.faults.is_active(&Fault::HangUpgrades, now)) {
        pending::<()>().await;
    }
    let pairs = Query::<Vec<(String, String)>>::from_query(request.query_string());
    let params = Params::new(pairs.map(Query::into_inner).unwrap_or_default());
    let key = rest::api_key(request, &params);
    let (refused, retry_after) = handle.with_engine(|engine, now| {
        let place = key.as_deref().and_then(|key| engine.accounts.find_key(key));
        engine.count_handshake(place, now);
        let refused = engine.faults.find_active(now, |trouble| match trouble {
            Fault::RefuseUpgrades(status) => Some(*status),
            _ => None,
        });
        (
            refused,
            refused.and_then(|status| engine.retry_after(status, true, place, now)),
        )
    });
    match refused {
        Some(302) => {
            let elsewhere = (LOCATION, "/v1/quotes/elsewhere");
            return Err(HttpResponse::Found().insert_header(elsewhere).finish());
        }
        Some(status) => {
            let mut response = refuse_upgrade(status, "The upgrade was refused.");
            if let Some(wait) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
            }
            return Err(response);
        }
        None => {}
    }
    let place = handle.with_engine(|engine, now| {
        let place = key.and_then(|key| engine.accounts.find_key(&key))?;
        (!engine.refuse_expired_key(place, now)).then_some(place)
    });
    let place = place.ok_or_else(|| refuse_upgrade(401, "**apikey** parameter is incorrect or not specified."))?;
    verify_handshake(request.head()).map_err(|error| match error {
        HandshakeError::GetMethodRequired => refuse_upgrade(405, "Only GET is allowed."),
        _ => refuse_upgrade(400, "A WebSocket upgrade was expected."),
    })?;
    if handle.with_engine(|engine, now| engine.faults.is_active(&Fault::CutUpgrades, now)) {
        control.vanish_after(limits::SIM_CUT_AFTER_BYTES);
    }
    Ok(place)
}

/// A refusal with a JSON body; with status 200 the body says 401, as reported of answers to bad keys.
fn refuse_upgrade(status: u16, message: &str) -> HttpResponse {
    let code = if status == 200 { 401 } else { status };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(status)
        .content_type("application/json")
        .body(error_body(code, message))
}

fn open_socket(
    request: &HttpRequest,
    payload: Payload,
    handle: &EngineHandle,
    control: &Rc<ConnectionControl>,
    key: usize,
) -> HttpResponse {
    let outbox = Rc::new(Outbox::default());
    let socket = Socket {
        key,
        symbols: BTreeSet::new(),
        outbox: Rc::clone(&outbox),
        control: Rc::clone(control),
        silent_until: None,
        priced: false,
    };
    let (id, forged) = handle.with_engine(|engine, now| {
        let id = engine.next_socket();
        engine.sockets.insert(id, socket);
        engine.counters.opened_total += 1;
        engine.make_room(key, id);
        engine.note_moment(Moment::Open, Target::Socket(id), now);
        (id, engine.faults.is_active(&Fault::ForgeUpgrades, now))
    });
    let asked = request
        .headers()
        .get(SEC_WEBSOCKET_KEY)
        .map_or(&b""[..], |value| value.as_bytes());
    let mut accept = hash_key(if forged { b"another key" } else { asked });
    let accept = std::str::from_utf8_mut(&mut accept).map_or_else(|_| String::new(), |text| text.to_owned());
    let conversation = Conversation {
        id,
        handle: handle.clone(),
        control: Rc::clone(control),
        payload,
        codec: Codec::new().max_size(limits::SIM_EVENT_BYTES),
        heard: BytesMut::new(),
        ended: false,
        outbox,
    };
    HttpResponse::build(StatusCode::SWITCHING_PROTOCOLS)
        .upgrade("websocket")
        .insert_header((SEC_WEBSOCKET_ACCEPT, accept))
        .streaming(conversation)
}

impl crate::sim::engine::Engine {
    /// Counts a handshake on a key.
    fn count_handshake(&mut self, place: Option<usize>, now: Timestamp) {
        let plan = self.plan;
        let slack = self.slack;
        if let Some(account) = place.and_then(|place| self.accounts.account_at(place)) {
            account.count_handshake(&plan, slack, now);
        }
    }

    /// The `Retry-After` of a refusal: 429 concerns the key that was used, 503 all keys.
    pub(super) fn retry_after(
        &mut self,
        status: u16,
        handshake: bool,
        place: Option<usize>,
        now: Timestamp,
    ) -> Option<Duration> {
        let wait = self.faults.find_active(now, |trouble| match trouble {
            Fault::RetryAfter(wait) => Some(*wait),
            _ => None,
        })?;
        match status {
            429 => {
                if let Some(account) = place.and_then(|place| self.accounts.account_at(place)) {
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

    /// Adds a connection to a key; one more than the plan allows closes the oldest.
    fn make_room(&mut self, key: usize, id: u64) {
        let most = self.plan.connections;
        let Some(account) = self.accounts.account_at(key) else {
            return;
        };
        account.connections.push_back(id);
        account.use_.connections_total += 1;
        while let Some(account) = self.accounts.account_at(key)
            && account.connections.len() > most
            && let Some(oldest) = account.connections.pop_front()
        {
            account.use_.evicted_total += 1;
            self.counters.evicted_total += 1;
            self.drop_socket(oldest, Ending::Close(1000));
        }
    }
}

/// Both directions of one connection: when polled for bytes to write, it first reads what has arrived.
struct Conversation {
    id: u64,
    handle: EngineHandle,
    control: Rc<ConnectionControl>,
    payload: Payload,
    codec: Codec,
    heard: BytesMut,
    /// The client will send nothing more, or nothing that can be decoded.
    ended: bool,
    outbox: Rc<Outbox>,
}

impl Conversation {
    fn read_frames(&mut self, context: &mut Context<'_>) {
        while !self.ended {
            match Pin::new(&mut self.payload).poll_next(context) {
                Poll::Ready(Some(Ok(bytes))) => self.heard.extend_from_slice(&bytes),
                Poll::Ready(Some(Err(_)) | None) => {
                    self.ended = true;
                    self.disconnect();
                }
                Poll::Pending => return,
            }
            self.decode_frames();
        }
    }

    fn decode_frames(&mut self) {
        if self.heard.len() > limits::SIM_EVENT_BYTES * 2 {
            return self.close_with(1009);
        }
        while !self.ended {
            match self.codec.decode(&mut self.heard) {
                Ok(Some(Frame::Text(text))) => {
                    let text = String::from_utf8_lossy(&text).into_owned();
                    self.handle
                        .with_engine(|engine, now| engine.handle_text(self.id, &text, now));
                }
                Ok(Some(Frame::Ping(payload))) => {
                    self.handle.with_engine(|engine, now| {
                        engine.send_frame(self.id, frames::frame(frames::PONG, &payload), now)
                    });
                }
                Ok(Some(Frame::Close(reason))) => {
                    let code = reason.map_or(1000, |reason| reason.code.into());
                    self.close_with(code);
                }
                Ok(Some(Frame::Pong(_))) => {}
                Ok(Some(Frame::Binary(_) | Frame::Continuation(_))) => self.close_with(1003),
                Ok(None) => return,
                Err(_) => self.close_with(1002),
            }
        }
    }

    /// Closes with a code and reads no more.
    fn close_with(&mut self, code: u16) {
        self.ended = true;
        self.outbox.push(frames::close(code, ""));
        self.disconnect();
    }

    fn disconnect(&self) {
        self.outbox.close_after_writes(Ending::Vanish);
        self.handle.with_engine(|engine, _| engine.remove_socket(self.id));
    }
}

impl Stream for Conversation {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.read_frames(context);
        match self.outbox.next(context) {
            Next::Bytes(bytes) => Poll::Ready(Some(Ok(bytes))),
            Next::End(ending) => {
                self.control.end_after_all(ending);
                Poll::Ready(None)
            }
            Next::Nothing => Poll::Pending,
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.handle.with_engine(|engine, _| engine.remove_socket(self.id));
    }
}
