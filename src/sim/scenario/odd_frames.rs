//! Odd frames that a vendor has sent, or might send, each with a name for scenarios.

use crate::domain::model::{Price, Symbol};
use crate::domain::vendor::events::{price_head, processing_error};
use crate::sim::vendor::{
    BINARY, TEXT,
    frames::{fragment, frame},
};
use bytes::{BufMut, Bytes, BytesMut};

/// Every odd frame by name. Those from `long-price` on are prices that a tolerant reader accepts: the last price with its own stamp, so
/// that they change no bar; the last frame has no stamp, so that it changes a bar only at a boundary.
pub const NAMES: &str = "not-json cut-json empty null array number binary bad-utf8 bad-frame masked huge endless unknown-event no-event \
    error-event processing-error no-price null-price word-price nan-price zero-price negative-price spike crossed \
    far-quote no-symbol other-symbol word-stamp future past long-price exponent-price quoted-price float-stamp \
    extra-fields fragmented no-stamp";

/// The name in the list, if it is there.
pub fn find_name(name: &str) -> Option<&'static str> {
    NAMES.split(' ').find(|known| *known == name)
}

/// The last price sent on a connection, or what it would have been.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Last {
    pub symbol: Symbol,
    pub stamp: i64,
    pub price: Price,
}

/// The bytes of an odd frame, with its header.
pub(crate) fn frame_bytes(name: &str, last: Last) -> Bytes {
    match name {
        "binary" => frame(BINARY, &[0, 159, 146, 150]),
        "bad-utf8" => frame(TEXT, &[b'{', 0xff, 0xfe, b'}']),
        "bad-frame" => frame(0x73, b"reserved bits and an unknown opcode"),
        "masked" => Bytes::from_static(b"\x81\x82\x00\x00\x00\x00{}"),
        "huge" => frame(TEXT, &vec![b' '; 2 << 20]),
        "endless" => declared_length(),
        "fragmented" => in_pieces(&price_json(last, ("", ""))),
        _ => frame(TEXT, frame_text(name, last).as_bytes()),
    }
}

/// The header of a frame of 2^40 bytes, and only the first of its bytes.
fn declared_length() -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0x80 | TEXT);
    bytes.put_u8(127);
    bytes.put_u64(1 << 40);
    bytes.put_slice(&[b' '; 1_024]);
    bytes.freeze()
}

/// One text in three frames.
fn in_pieces(text: &str) -> Bytes {
    let (first, rest) = text.as_bytes().split_at(text.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    [
        fragment(TEXT, false, first),
        fragment(0, false, second),
        fragment(0, true, third),
    ]
    .concat()
    .into()
}

/// A price event whose stamp or price is written as given; an empty text leaves it as it was.
fn price_json(last: Last, (stamp, price): (&str, &str)) -> String {
    let or = |given: &str, own: String| if given.is_empty() { own } else { given.to_owned() };
    let [stamp, price] = [or(stamp, last.stamp.to_string()), or(price, last.price.to_string())];
    format!("{},\"timestamp\":{stamp},\"price\":{price}}}", price_head(&last.symbol))
}

fn frame_text(name: &str, last: Last) -> String {
    let stamp = last.stamp;
    let price = last.price;
    let head = price_head(&last.symbol);
    let stamped = |shift: i64| price_json(last, (&(stamp + shift).to_string(), ""));
    let priced = |price: &str| price_json(last, ("", price));
    match name {
        "not-json" => "<html><body>502 Bad Gateway</body></html>".to_owned(),
        "cut-json" => format!("{head},\"timestamp\":{stamp},\"pri"),
        "empty" => String::new(),
        "array" => format!("[{}]", price_json(last, ("", ""))),
        "number" => "42".to_owned(),
        "unknown-event" => r#"{"event":"maintenance","status":"ok","message":"scheduled for Sunday"}"#.to_owned(),
        "no-event" => r#"{"status":"ok","message":"hello"}"#.to_owned(),
        "error-event" => r#"{"event":"error","code":500,"message":"Internal error"}"#.to_owned(),
        "processing-error" => processing_error(
            "The server received 103 events from you, which exceeds the limit of 100 events per minute. You may wait for the next minute.",
        ),
        "no-price" => format!("{head},\"timestamp\":{stamp}}}"),
        "null-price" => priced("null"),
        "word-price" => priced("\"n/a\""),
        "nan-price" => priced("NaN"),
        "zero-price" => priced("0"),
        "negative-price" => priced(&format!("-{price}")),
        "spike" => priced(&Price::from_micros(price.micros() + price.micros() / 10).to_string()),
        "crossed" => {
            let shift = Price::from_micros(price.micros() / 1_000);
            let bid = price.minus(Price::from_micros(-shift.micros()));
            let ask = price.minus(shift);
            format!("{head},\"timestamp\":{stamp},\"price\":{price},\"bid\":{bid},\"ask\":{ask}}}")
        }
        "far-quote" => {
            let bid = Price::from_micros(price.micros() / 10);
            format!("{head},\"timestamp\":{stamp},\"price\":{price},\"bid\":{bid},\"ask\":{price}}}")
        }
        "no-symbol" => format!("{{\"event\":\"price\",\"timestamp\":{stamp},\"price\":{price}}}"),
        "other-symbol" => format!("{{\"event\":\"price\",\"symbol\":\"ZZZ/QQQ\",\"timestamp\":{stamp},\"price\":1.5}}"),
        "no-stamp" => format!("{head},\"price\":{price}}}"),
        "word-stamp" => price_json(last, ("\"yesterday\"", "")),
        "future" => stamped(600),
        "past" => stamped(-86_400),
        "long-price" => priced(&format!(
            "{}.{:06}0000001",
            price.micros() / Price::UNIT,
            price.micros() % Price::UNIT
        )),
        "exponent-price" => priced(&format!("{}e-6", price.micros())),
        "quoted-price" => priced(&format!("\"{price}\"")),
        "float-stamp" => price_json(last, (&format!("{stamp}.0"), "")),
        "extra-fields" => format!(
            "{head},\"exchange\":\"FOREX\",\"timestamp\":{stamp},\"price\":{price},\"day_volume\":null,\"x\":{{\"y\":[1]}}}}"
        ),
        _ => "null".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const BROKEN: [&str; 10] = [
        "not-json",
        "cut-json",
        "empty",
        "nan-price",
        "binary",
        "bad-utf8",
        "bad-frame",
        "masked",
        "endless",
        "fragmented",
    ];

    fn last() -> Last {
        Last {
            symbol: Symbol::usdcop(),
            stamp: 1_761_138_000,
            price: Price::from_micros(3_270_260_010),
        }
    }

    #[test]
    fn every_oddity_has_bytes_of_its_own() {
        let all: BTreeSet<Bytes> = NAMES.split(' ').map(|name| frame_bytes(name, last())).collect();
        assert_eq!(all.len(), NAMES.split(' ').count());
        assert_eq!(find_name("spike"), Some("spike"));
        assert_eq!(find_name("flowers"), None);
    }

    #[test]
    fn those_that_are_not_broken_on_purpose_are_json() {
        for name in NAMES
            .split(' ')
            .filter(|name| !BROKEN.contains(name) && *name != "huge")
        {
            let text = frame_text(name, last());
            assert!(
                serde_json::from_str::<serde_json::Value>(&text).is_ok(),
                "{name}: {text}"
            );
        }
    }

    #[test]
    fn odd_spellings_of_a_price_mean_the_price() {
        for (name, written) in [
            ("long-price", "3270.2600100000001"),
            ("exponent-price", "3270260010e-6"),
        ] {
            assert!(
                frame_text(name, last()).ends_with(&format!("\"price\":{written}}}")),
                "{name}"
            );
            assert_eq!(written.parse::<Price>().unwrap(), last().price);
        }
    }
}
