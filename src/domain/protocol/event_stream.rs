//! Encodes WebSocket frames as events of a stream (`text/event-stream`), with the client's positions as their id.
//!
//! ```text
//!  id: bars.5m:USD/COP@k3v9.41216,ticks:USD/COP@p07c.981221      when a position changed: a client that reconnects sends the last one
//!  event: market_data                                            the message's type
//!  data: {"type":"market_data","channel":"ticks:USD/COP",…}      the message as the WebSocket sends it
//! ```
//!
//! A heartbeat is written as a comment: a browser ignores it, and a reader of the raw bytes finds the positions in it. An error is named
//! `problem`, because a browser's own event for a lost connection is named `error`.

use crate::domain::model::{Channel, Epoch};
use crate::domain::protocol::{Close, Framing, Since, frames};
use crate::limits;
use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use serde_json::json;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How far a client has read: epoch and last seq of each channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions(BTreeMap<String, (Option<Epoch>, u64)>);

/// The text is not a `Last-Event-ID` of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not the id of an event of this service, such as ticks:USD/COP@k3v9.981221")]
pub struct NoPositions;

impl Positions {
    /// Where a subscription to `channel` begins.
    pub fn since(&self, channel: Channel) -> Since {
        let place = self.0.get(&channel.to_string());
        place.map_or(Since::Now, |(epoch, seq)| Since::Position {
            epoch: *epoch,
            seq: *seq,
        })
    }

    /// Updates a position. Returns whether it changed.
    fn note(&mut self, channel: &str, epoch: Option<Epoch>, seq: u64) -> bool {
        match self.0.get_mut(channel) {
            Some(place) => {
                let before = *place;
                *place = (epoch.or(place.0), seq);
                *place != before
            }
            None => {
                self.0.insert(channel.to_owned(), (epoch, seq));
                true
            }
        }
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (channel, (epoch, seq))) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let epoch = epoch.as_ref().map_or("", Epoch::as_str);
            write!(f, "{comma}{channel}@{epoch}.{seq}")?;
        }
        Ok(())
    }
}

impl FromStr for Positions {
    type Err = NoPositions;

    fn from_str(text: &str) -> Result<Self, NoPositions> {
        let mut places = BTreeMap::new();
        for place in text.split(',').filter(|place| !place.is_empty()) {
            let (channel, place) = place.split_once('@').ok_or(NoPositions)?;
            let channel: Channel = channel.parse().map_err(|_| NoPositions)?;
            let (epoch, seq) = place.split_once('.').ok_or(NoPositions)?;
            let epoch = match epoch {
                "" => None,
                text => Some(text.parse().map_err(|_| NoPositions)?),
            };
            let seq = seq.parse().map_err(|_| NoPositions)?;
            places.insert(channel.to_string(), (epoch, seq));
            if places.len() > limits::CLIENT_CHANNELS {
                return Err(NoPositions);
            }
        }
        Ok(Self(places))
    }
}

/// The members of a message that change positions.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    channel: Option<Cow<'a, str>>,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(borrow, default)]
    epoch: Option<Cow<'a, str>>,
    #[serde(default)]
    reconnect_after_ms: Option<u64>,
    #[serde(borrow, default)]
    heads: Option<BTreeMap<Cow<'a, str>, HeadPlace<'a>>>,
}

/// The position of a channel in a heartbeat or an answer.
#[derive(Deserialize)]
struct HeadPlace<'a> {
    #[serde(borrow, default)]
    epoch: Option<Cow<'a, str>>,
}

/// The answer to a subscription.
#[derive(Deserialize)]
struct Subscribed<'a> {
    #[serde(borrow)]
    channels: Vec<ChannelAnswer<'a>>,
}

#[derive(Deserialize)]
struct ChannelAnswer<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow, default)]
    epoch: Option<Cow<'a, str>>,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(default)]
    replayed: u64,
}

/// The stream of one client.
#[derive(Debug, Default)]
pub struct EventStream {
    positions: Positions,
}

impl EventStream {
    /// Writes one event; `data` has no line break.
    fn write_event(&self, moved: bool, name: &str, data: &[u8], into: &mut BytesMut) {
        if moved {
            into.put_slice(format!("id: {}\n", self.positions).as_bytes());
        }
        into.put_slice(b"event: ");
        into.put_slice(name.as_bytes());
        into.put_slice(b"\ndata: ");
        into.put_slice(data);
        into.put_slice(b"\n\n");
    }

    /// Updates the positions by a message. Returns whether the event needs a new id.
    fn note(&mut self, message: &Message<'_>, payload: &[u8]) -> bool {
        match message.kind.as_ref() {
            "subscribed" => {
                let Ok(subscribed) = serde_json::from_slice::<Subscribed<'_>>(payload) else {
                    return false;
                };
                for answer in &subscribed.channels {
                    if let Some(seq) = answer.seq {
                        let begins = seq.saturating_sub(answer.replayed);
                        self.positions
                            .note(&answer.channel, epoch_of(answer.epoch.as_deref()), begins);
                    }
                }
                true
            }
            "heartbeat" => {
                for (channel, place) in message.heads.iter().flatten() {
                    if let Some((known, _)) = self.positions.0.get_mut(channel.as_ref()) {
                        *known = known.or_else(|| epoch_of(place.epoch.as_deref()));
                    }
                }
                false
            }
            // These contain a seq that the client has not reached yet.
            "snapshot" | "replay_end" | "problem" | "error" => false,
            _ => match (&message.channel, message.seq) {
                (Some(channel), Some(seq)) => self.positions.note(channel, epoch_of(message.epoch.as_deref()), seq),
                _ => false,
            },
        }
    }

    fn write_text(&mut self, payload: &[u8], into: &mut BytesMut) {
        let Ok(message) = serde_json::from_slice::<Message<'_>>(payload) else {
            return; // all that is told has a type
        };
        let moved = self.note(&message, payload);
        match message.kind.as_ref() {
            "heartbeat" => {
                into.put_slice(b": ");
                into.put_slice(payload);
                into.put_slice(b"\n\n");
            }
            "error" => self.write_event(moved, "problem", payload, into),
            kind => {
                let asked = message.reconnect_after_ms.map(Duration::from_millis);
                let advice = asked.or((kind == "welcome").then_some(limits::EVENTS_RETRY));
                if let Some(after) = advice {
                    retry(after, into); // never alone: some readers take it for an event
                }
                self.write_event(moved, kind, payload, into);
            }
        }
    }

    fn close(&self, payload: &[u8], into: &mut BytesMut) {
        let (code, reason) = payload.split_at_checked(2).unwrap_or_default();
        let code = <[u8; 2]>::try_from(code).map_or(1000, u16::from_be_bytes);
        let close = Close::ALL.iter().find(|close| close.code() == code);
        if !matches!(close, Some(Close::GoingAway | Close::Restarting)) {
            retry(limits::EVENTS_BACK_OFF, into); // when the service goes away, it has said when to come back
        }
        let said = json!({"type": "close", "code": code, "name": close.map(|close| close.name()),
            "reason": String::from_utf8_lossy(reason), "advice": close.map(|close| close.advice())});
        self.write_event(false, "close", said.to_string().as_bytes(), into);
    }
}

impl Framing for EventStream {
    fn encode(&mut self, frame: &[u8], into: &mut BytesMut) {
        let payload = frames::payload(frame);
        match frame.first() {
            Some(0x81) => self.write_text(payload, into),
            Some(0x88) => self.close(payload, into),
            _ => {}
        }
    }

    fn pings(&self) -> bool {
        false // nobody could answer
    }
}

/// Tells the client how long to wait before it reconnects.
pub fn retry(after: Duration, into: &mut BytesMut) {
    into.put_slice(format!("retry: {}\n", after.as_millis()).as_bytes());
}

fn epoch_of(text: Option<&str>) -> Option<Epoch> {
    text.and_then(|text| text.parse().ok())
}

#[cfg(test)]
#[path = "tests/event_stream.rs"]
mod tests;
