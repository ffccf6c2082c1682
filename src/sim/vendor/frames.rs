//! The frames that the simulated vendor sends on its WebSocket, byte for byte, and the spellings of a price that were seen.

use crate::domain::model::{Price, Symbol};
use crate::domain::vendor::events;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::json;

/// Opcode of a text frame.
pub(crate) const TEXT: u8 = 1;
/// Opcode of a binary frame.
pub(crate) const BINARY: u8 = 2;
/// Opcode of a close frame.
pub(super) const CLOSE: u8 = 8;
/// Opcode of a pong frame.
pub(crate) const PONG: u8 = 10;

/// One unmasked frame, as a server sends it.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    fragment(opcode, true, payload)
}

/// One unmasked frame; `last` is its FIN bit.
pub(crate) fn fragment(opcode: u8, last: bool, payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(payload.len() + 10);
    bytes.put_u8(opcode | if last { 0x80 } else { 0 });
    put_length(&mut bytes, payload.len());
    bytes.put_slice(payload);
    bytes.freeze()
}

/// The length field of an unmasked frame.
pub(super) fn put_length(bytes: &mut BytesMut, length: usize) {
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=125), _) => bytes.put_u8(short),
        (_, Ok(medium)) => {
            bytes.put_u8(126);
            bytes.put_u16(medium);
        }
        _ => {
            bytes.put_u8(127);
            bytes.put_u64(u64::try_from(length).unwrap_or(u64::MAX));
        }
    }
}

/// A close frame.
pub(crate) fn close(code: u16, reason: &str) -> Bytes {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason.bytes().take(123));
    frame(CLOSE, &payload)
}

/// The spelling of a price.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spelling {
    /// As a JSON string.
    pub quoted: bool,
    /// With bid and ask in addition.
    pub bid_ask: bool,
}

/// A price event.
pub(crate) fn price_event(symbol: &Symbol, stamp: i64, price: Price, spelling: Spelling) -> String {
    let written = if spelling.quoted {
        format!("\"{price}\"")
    } else {
        price.to_string()
    };
    let half = Price::from_micros((price.micros() / 20_000).max(1));
    let ask = price.minus(Price::from_micros(-half.micros()));
    let [bid, ask] = [price.minus(half), ask].map(|side| spelling.bid_ask.then_some(side));
    events::price(symbol, stamp, &written, bid, ask)
}

/// The body of an error, REST or upgrade.
pub(crate) fn error_body(code: u16, message: &str) -> String {
    json!({"code": code, "message": message, "status": "error"}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_written_as_documented_or_as_reported() {
        let exact = Price::from_micros(3_270_260_010);
        let plain = price_event(&Symbol::usdcop(), 1_761_138_000, exact, Spelling::default());
        assert!(
            plain.ends_with(",\"timestamp\":1761138000,\"price\":3270.26001}"),
            "{plain}"
        );
        let odd = price_event(
            &Symbol::usdcop(),
            0,
            exact,
            Spelling {
                quoted: true,
                bid_ask: true,
            },
        );
        assert!(
            odd.ends_with("\"price\":\"3270.26001\",\"bid\":3270.096497,\"ask\":3270.423523}"),
            "{odd}"
        );
        assert!(serde_json::from_str::<serde_json::Value>(&odd).is_ok());
    }

    #[test]
    fn frames_have_the_length_field_that_their_size_needs() {
        assert_eq!(&frame(TEXT, b"hi")[..], b"\x81\x02hi");
        assert_eq!(&frame(TEXT, &[0; 200])[..4], &[0x81, 126, 0, 200]);
        assert_eq!(
            &frame(BINARY, &vec![0; 70_000])[..10],
            &[0x82, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]
        );
        assert_eq!(&close(1000, "bye")[..], b"\x88\x05\x03\xe8bye");
        assert_eq!(&fragment(TEXT, false, b"a")[..], b"\x01\x01a");
    }
}
