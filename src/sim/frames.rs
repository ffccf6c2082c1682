//! What the simulated vendor says on its WebSocket, byte for byte: JSON texts, and the frames around them.

use crate::domain::price::Price;
use crate::domain::symbol::Symbol;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

/// Opcode of a text frame.
pub(super) const TEXT: u8 = 1;
/// Opcode of a binary frame.
pub(super) const BINARY: u8 = 2;
/// Opcode of a close frame.
pub(super) const CLOSE: u8 = 8;
/// Opcode of a pong frame.
pub(super) const PONG: u8 = 10;

/// One unmasked frame, as a server sends it.
pub(super) fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    fragment(opcode, true, payload)
}

/// One unmasked frame; `last` is its FIN bit.
pub(super) fn fragment(opcode: u8, last: bool, payload: &[u8]) -> Bytes {
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
pub(super) fn close(code: u16, reason: &str) -> Bytes {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason.bytes().take(123));
    frame(CLOSE, &payload)
}

/// How a price is written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spelling {
    /// As a JSON string.
    pub quoted: bool,
    /// With bid and ask beside it.
    pub bid_ask: bool,
}

/// A price event.
pub(super) fn price(symbol: &Symbol, stamp: i64, price: Price, spelling: Spelling) -> String {
    let written = if spelling.quoted {
        format!("\"{price}\"")
    } else {
        price.to_string()
    };
    let mut text = event_head(symbol);
    text += &format!(",\"timestamp\":{stamp},\"price\":{written}");
    if spelling.bid_ask {
        let half = Price::from_micros((price.micros() / 20_000).max(1));
        let ask = price.minus(Price::from_micros(-half.micros()));
        text += &format!(",\"bid\":{},\"ask\":{ask}", price.minus(half));
    }
    text.push('}');
    text
}

/// The part of a price event before its stamp, its brace still open.
pub(super) fn event_head(symbol: &Symbol) -> String {
    let (base, quote) = currencies(symbol);
    let [symbol, base, quote] = [symbol.as_str(), base, quote].map(|text| Value::from(text).to_string());
    format!(
        "{{\"event\":\"price\",\"symbol\":{symbol},\"currency_base\":{base},\"currency_quote\":{quote},\
         \"type\":\"Physical Currency\""
    )
}

/// Long names of the two currencies.
pub(super) fn currencies(symbol: &Symbol) -> (&str, &str) {
    let (base, quote) = symbol.as_str().split_once('/').unwrap_or((symbol.as_str(), ""));
    (long_name(base), long_name(quote))
}

fn long_name(code: &str) -> &str {
    match code {
        "USD" => "US Dollar",
        "COP" => "Colombian Peso",
        "EUR" => "Euro",
        "GBP" => "British Pound",
        "JPY" => "Japanese Yen",
        "MXN" => "Mexican Peso",
        "BRL" => "Brazil Real",
        "CLP" => "Chilean Peso",
        "XAU" => "Gold Spot",
        "BTC" => "Bitcoin",
        other => other,
    }
}

/// How empty lists of a status are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    /// `[]`.
    List,
    /// `null`.
    Null,
    /// Not at all.
    Missing,
}

/// A subscribe-status or unsubscribe-status: which pairs it worked for, and which names it did not.
pub(super) fn status(event: &str, good: &[Symbol], bad: &[String], empty: Empty) -> String {
    let status = match (good, bad) {
        (_, []) => "ok",
        ([], _) => "error",
        _ => "warning",
    };
    let success = good
        .iter()
        .map(|symbol| json!({"symbol": symbol, "exchange": "PHYSICAL CURRENCY", "type": "PHYSICAL_CURRENCY"}))
        .collect();
    let fails = bad.iter().map(|symbol| json!({"symbol": symbol})).collect();
    let mut text = format!("{{\"event\":\"{event}\",\"status\":\"{status}\"");
    for (name, list) in [("success", Value::Array(success)), ("fails", Value::Array(fails))] {
        let none = list.as_array().is_some_and(Vec::is_empty);
        match empty {
            Empty::Missing if none => {}
            Empty::Null if none => text += &format!(",\"{name}\":null"),
            Empty::List | Empty::Null | Empty::Missing => text += &format!(",\"{name}\":{list}"),
        }
    }
    text.push('}');
    text
}

/// The answer to a heartbeat.
pub(super) const HEARTBEAT: &str = r#"{"event":"heartbeat","status":"ok"}"#;
/// The answer to a reset.
pub(super) const RESET: &str = r#"{"event":"reset-status","status":"ok"}"#;

/// Said when a client sent too many events in a minute, or one that is not understood.
pub(super) fn processing_error(message: &str) -> String {
    json!({"event": "message-processing", "status": "error", "messages": [message]}).to_string()
}

/// The body of an error, REST or upgrade.
pub(super) fn error_body(code: u16, message: &str) -> String {
    json!({"code": code, "message": message, "status": "error"}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usdcop() -> Symbol {
        Symbol::usdcop()
    }

    #[test]
    fn a_price_is_written_as_documented_or_as_reported() {
        let exact = Price::from_micros(3_270_260_010);
        let plain = price(&usdcop(), 1_761_138_000, exact, Spelling::default());
        assert_eq!(
            plain,
            "{\"event\":\"price\",\"symbol\":\"USD/COP\",\"currency_base\":\"US Dollar\",\
             \"currency_quote\":\"Colombian Peso\",\"type\":\"Physical Currency\",\"timestamp\":1761138000,\"price\":3270.26001}"
        );
        let odd = price(
            &usdcop(),
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
        assert!(serde_json::from_str::<Value>(&odd).is_ok());
    }

    #[test]
    fn a_status_says_ok_warning_or_error_and_writes_empty_lists_as_told() {
        let check = |good: &[Symbol], bad: &[&str], empty, expect: &str| {
            let bad: Vec<String> = bad.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(
                status("subscribe-status", good, &bad, empty),
                format!("{{\"event\":\"subscribe-status\",{expect}}}")
            );
        };
        let item = "{\"exchange\":\"PHYSICAL CURRENCY\",\"symbol\":\"USD/COP\",\"type\":\"PHYSICAL_CURRENCY\"}";
        check(
            &[usdcop()],
            &[],
            Empty::List,
            &format!("\"status\":\"ok\",\"success\":[{item}],\"fails\":[]"),
        );
        check(
            &[usdcop()],
            &[],
            Empty::Null,
            &format!("\"status\":\"ok\",\"success\":[{item}],\"fails\":null"),
        );
        check(
            &[],
            &["X"],
            Empty::Missing,
            "\"status\":\"error\",\"fails\":[{\"symbol\":\"X\"}]",
        );
        check(
            &[usdcop()],
            &["X"],
            Empty::Null,
            &format!("\"status\":\"warning\",\"success\":[{item}],\"fails\":[{{\"symbol\":\"X\"}}]"),
        );
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
