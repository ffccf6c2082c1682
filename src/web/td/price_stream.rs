//! Converts the socket's frames to the vendor's events: a tick is a price, the session's own messages stay as they are, and other frames
//! have no meaning to the vendor's clients.
//!
//! ```text
//!  {"type":"market_data",…,"data":{…}}     {"event":"price",…}
//!  {"event":…}, a ping, a pong             the same
//!  a close frame, come back later          nothing: the vendor's clients reconnect only after an end without one
//!  a close frame, do not come back         the same
//!  everything else                         nothing
//! ```

use crate::domain::model::Symbol;
use crate::domain::protocol::{Close, Framing, frames};
use crate::domain::vendor::events;
use bytes::BytesMut;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The conversion of one client's frames.
#[derive(Debug)]
pub(crate) struct PriceStream;

/// The member that names a message's kind: ours have `type`, the vendor's `event`.
#[derive(Deserialize)]
struct TypedMessage<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// The members of a tick that a price event has.
#[derive(Deserialize)]
struct TickData<'a> {
    symbol: Symbol,
    /// As spelled in the tick: its decimals are the vendor's.
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow, default)]
    bid: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ask: Option<&'a RawValue>,
    timestamp: i64,
}

impl TickData<'_> {
    fn event(&self) -> String {
        let [bid, ask] = [self.bid, self.ask].map(|side| side.and_then(|raw| raw.get().parse().ok()));
        events::price(&self.symbol, self.timestamp, self.price.get(), bid, ask)
    }
}

impl PriceStream {
    fn text(frame: &[u8], into: &mut BytesMut) {
        let Ok(message) = serde_json::from_slice::<TypedMessage<'_>>(frames::payload(frame)) else {
            return; // all that is told is an object
        };
        if message.event.is_some() {
            return into.extend_from_slice(frame);
        }
        let tick = message.data.filter(|_| message.kind.as_deref() == Some("market_data"));
        if let Some(tick) = tick.and_then(|data| serde_json::from_str::<TickData<'_>>(data.get()).ok()) {
            into.extend_from_slice(&frames::text_frame(tick.event().as_bytes()));
        }
    }

    /// Whether a close frame tells a client not to reconnect.
    fn is_final(frame: &[u8]) -> bool {
        let code = frames::payload(frame).first_chunk::<2>();
        let code = code.map_or(Close::Normal.code(), |code| u16::from_be_bytes(*code));
        let close = Close::ALL.iter().copied().find(|close| close.code() == code);
        !close.is_some_and(Close::invites)
    }
}

impl Framing for PriceStream {
    fn encode(&mut self, frame: &[u8], into: &mut BytesMut) {
        match frame.first() {
            Some(&frames::TEXT) => Self::text(frame, into),
            Some(&frames::CLOSE) if !Self::is_final(frame) => {}
            _ => into.extend_from_slice(frame),
        }
    }

    fn pings(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{Event, Price, Timestamp};
    use crate::domain::protocol::frames::{frame, text_frame};
    use crate::domain::vendor::events::HEARTBEAT;
    use crate::web::tests::stage::tick_event;

    fn said(frame: &[u8]) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        PriceStream.encode(frame, &mut bytes);
        bytes.to_vec()
    }

    fn tick(bid: Option<Price>, ask: Option<Price>) -> String {
        let Event::Tick(mut tick) = tick_event(Symbol::usdcop(), 1, Timestamp::from_secs(1_761_138_000)) else {
            panic!("no tick");
        };
        tick.tick.price = Price::from_micros(3_270_260_010);
        (tick.tick.bid, tick.tick.ask) = (bid, ask);
        frames::tick_json(&tick)
    }

    #[test]
    fn a_tick_is_a_price_to_the_last_decimal() {
        let half = Price::from_micros(500_000);
        for (bid, ask) in [(None, None), (Some(half), None), (Some(half), Some(half))] {
            let data = tick(bid, ask);
            let message = format!(
                r#"{{"type":"market_data","channel":"ticks:USD/COP","from":1,"seq":2,"data":{data},"timestamp":"…"}}"#
            );
            let expected = events::price(&Symbol::usdcop(), 1_761_138_000, "3270.26001", bid, ask);
            assert_eq!(
                said(&text_frame(message.as_bytes())),
                &text_frame(expected.as_bytes())[..],
                "{data}"
            );
        }
    }

    #[test]
    fn what_the_vendor_does_not_say_is_not_said() {
        for kind in [
            "welcome",
            "subscribed",
            "heartbeat",
            "bar",
            "slow",
            "goaway",
            "error",
            "status",
        ] {
            let data = tick(None, None);
            let message = format!(r#"{{"type":"{kind}","data":{data}}}"#);
            assert!(said(&text_frame(message.as_bytes())).is_empty(), "{kind}");
        }
        assert!(said(&text_frame(br#"{"type":"market_data","data":{"price":1}}"#)).is_empty());
        assert!(said(&text_frame(b"no JSON")).is_empty());
    }

    #[test]
    fn the_sessions_own_events_pings_and_pongs_stay_as_they_are() {
        for frame in [
            text_frame(HEARTBEAT.as_bytes()),
            text_frame(events::processing_error("why").as_bytes()),
            frame(0x89, b"candela"),
            frame(0x8a, b"ping"),
        ] {
            assert_eq!(said(&frame), &frame[..]);
        }
    }

    fn close_frame(code: u16) -> bytes::Bytes {
        frame(0x88, &[&code.to_be_bytes(), b"why".as_slice()].concat())
    }

    #[test]
    fn a_close_frame_comes_only_where_the_client_is_to_stay_away() {
        for &close in Close::ALL {
            let frame = close_frame(close.code());
            let expected: &[u8] = if close.invites() { &[] } else { &frame };
            assert_eq!(said(&frame), expected, "{close:?}");
        }
        for answered in [frame(0x88, &[]), close_frame(3_000)] {
            assert_eq!(said(&answered), &answered[..], "an answer to the client's own");
        }
    }
}
