//! Frames that were observed on the wire, and frames that are possible.

use super::*;
use bytes::Bytes;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_secs(1_772_352_541);

fn frame(json: &str) -> Frame {
    decode(json.as_bytes(), NOW).unwrap()
}

fn refused(json: &str) -> WireError {
    decode(json.as_bytes(), NOW).unwrap_err()
}

fn price(json: &str) -> Tick {
    match frame(json) {
        Frame::Price(tick) => tick,
        other => panic!("{json} gave {other:?}"),
    }
}

fn micros(price: Price) -> i64 {
    price.micros()
}

#[test]
fn a_documented_forex_price_is_exact() {
    let tick = price(
        r#"{"event":"price","symbol":"USD/COP","currency_base":"US Dollar","currency_quote":"Colombian Peso",
            "type":"Physical Currency","timestamp":1772352540,"price":4012.35,"bid":4012.1,"ask":4012.60001}"#,
    );
    assert_eq!(tick.symbol, Symbol::usdcop());
    assert_eq!(micros(tick.price), 4_012_350_000);
    assert_eq!(tick.bid.map(micros), Some(4_012_100_000));
    assert_eq!(tick.ask.map(micros), Some(4_012_600_010));
    assert_eq!(tick.at, Timestamp::from_secs(1_772_352_540));
    assert_eq!(tick.provenance, Provenance::Live);
}

#[test]
fn numbers_may_be_quoted_and_slashes_escaped() {
    let tick = price(
        r#"{"event":"price","symbol":"USD\/COP","timestamp":"1772352540","price":"4012.35","bid":null,"ask":""}"#,
    );
    assert_eq!((micros(tick.price), tick.bid, tick.ask), (4_012_350_000, None, None));
    assert_eq!(tick.at, Timestamp::from_secs(1_772_352_540));
}

#[test]
fn a_price_without_a_stamp_takes_the_time_of_its_arrival() {
    assert_eq!(price(r#"{"event":"price","symbol":"USD/COP","price":1}"#).at, NOW);
}

#[test]
fn a_price_that_cannot_be_read_concerns_its_own_pair_and_has_a_reason() {
    let price = |rest: &str| format!(r#"{{"event":"price","symbol":"EUR/USD",{rest}}}"#);
    for (rest, reason) in [
        (r#""timestamp":1"#, "unreadable_price"),
        (r#""price":null"#, "unreadable_price"),
        (r#""price":"NaN""#, "unreadable_price"),
        (r#""price":NaN"#, "unreadable_price"),
        (r#""price":-Infinity,"bid":1"#, "unreadable_price"),
        (r#""price":[1]"#, "unreadable_price"),
        (r#""price":{}"#, "unreadable_price"),
        (r#""price":"""#, "unreadable_price"),
        (r#""price":1e9"#, "out_of_range"),
        (r#""price":1,"ask":123456789012"#, "out_of_range"),
        (r#""price":1,"bid":"x""#, "unreadable_quote"),
        (r#""price":1,"timestamp":"soon""#, "unreadable_stamp"),
        (r#""price":1,"timestamp":-5"#, "unreadable_stamp"),
        (r#""price":0.000249876"#, "beyond_scale"),
        (r#""price":2.49876e-4"#, "beyond_scale"),
    ] {
        let json = price(rest);
        let Frame::Unusable(unusable) = frame(&json) else {
            panic!("{json} gave {:?}", frame(&json))
        };
        assert_eq!(
            unusable.symbol.map(|symbol| symbol.to_string()).as_deref(),
            Some("EUR/USD")
        );
        assert_eq!(unusable.reason.name(), reason, "{json}");
    }
    for json in [
        r#"{"event":"price","symbol":"AAPL","price":1}"#,
        r#"{"event":"price","symbol":null,"price":1}"#,
        r#"{"event":"price","price":1}"#,
    ] {
        let Frame::Unusable(unusable) = frame(json) else {
            panic!("{json} gave {:?}", frame(json))
        };
        assert_eq!((unusable.symbol, unusable.reason), (None, RejectReason::UnknownSymbol));
    }
}

#[test]
fn a_price_that_makes_its_frame_no_json_concerns_its_own_pair_as_well() {
    let head = r#"{"event":"price","symbol":"EUR/USD""#;
    for rest in [
        r#","price":1,08}"#,
        r#","price":.5}"#,
        r#","price":01.08}"#,
        r#","price":$1.08}"#,
        r#","price":nan}"#,
        r#","price":None}"#,
        r#","price":1 080}"#,
        r#","price":1.08,"price":1.09}"#,
        r#","symbol":"USD/COP","price":1.09}"#,
        r#","price":1.08}}"#,
        r#","timestamp":1772352540,"pri"#,
        ",\"price\":\u{1}}",
    ] {
        for head in [head, r#"{ "event" : "price", "symbol" : "EUR\/USD""#] {
            let json = format!("{head}{rest}");
            let Frame::Unusable(unusable) = frame(&json) else {
                panic!("{json} gave {:?}", frame(&json))
            };
            let symbol = unusable.symbol.map(|symbol| symbol.to_string());
            assert_eq!(symbol.as_deref(), Some("EUR/USD"), "{json}");
            assert_eq!(unusable.reason, RejectReason::UnreadablePrice, "{json}");
        }
    }
    for junk in [
        r#"{"event":"price","symbol":"EUR/U"#,
        r#"{"event":"price","price":1,08}"#,
        r#"{"event":"heartbeat","symbol":"EUR/USD","price":1,08}"#,
        r#"{"event":"price","symbol":"AAPL","price":1,08}"#,
    ] {
        refused(junk);
    }
}

#[test]
fn a_price_that_loses_digits_says_so_and_one_that_the_scale_holds_does_not() {
    let rounded = |price: &str| {
        let json = format!(r#"{{"event":"price","symbol":"EUR/USD","price":{price}}}"#);
        matches!(frame(&json), Frame::Rounded(_))
    };
    assert!(rounded("1.08423519") && rounded("0.0067123"));
    assert!(!rounded("1.084235") && !rounded("1.0842350000") && !rounded("0.00025"));
}

#[test]
fn only_bare_words_that_are_no_json_become_null() {
    let check = |json: &str, expect: Option<&str>| {
        let nulled = without_nan(json.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(nulled.as_deref(), expect, "{json}");
    };
    check(
        r#"{"price":NaN,"bid":-Infinity,"ask":Infinity}"#,
        Some(r#"{"price":null,"bid":null,"ask":null}"#),
    );
    check(r#"{"note":"NaN \" NaN","price":1}"#, None);
    check(r#"{"note":"\\","price":NaN}"#, Some(r#"{"note":"\\","price":null}"#));
    check("", None);
}

#[test]
fn a_subscription_is_told_per_pair_however_the_lists_look() {
    let status = |json: &str| match frame(json) {
        Frame::SubscribeStatus(status) => status,
        other => panic!("{json} gave {other:?}"),
    };
    let eur: Symbol = "EUR/USD".parse().unwrap();
    let part = status(
        r#"{"event":"subscribe-status","status":"warning",
            "success":[{"symbol":"EUR/USD","exchange":"PHYSICAL CURRENCY","type":"PHYSICAL_CURRENCY"}],"fails":[{"symbol":"USD/COP"}]}"#,
    );
    assert_eq!(
        (part.status.as_str(), part.success, part.fails),
        ("warning", vec![eur], vec![Symbol::usdcop()])
    );
    for lists in [
        r#""success":null,"fails":null"#,
        r#""fails":null"#,
        r#""success":{},"fails":7"#,
        r#""success":[]"#,
    ] {
        let status = status(&format!(r#"{{"event":"subscribe-status","status":"error",{lists}}}"#));
        assert_eq!((status.success, status.fails), (vec![], vec![]), "{lists}");
    }
    let texts = status(r#"{"event":"subscribe-status","status":"ok","success":["USD/COP",null,{},[],{"symbol":3}]}"#);
    assert_eq!(texts.success, [Symbol::usdcop()]);
}

#[test]
fn what_the_vendor_says_about_our_messages_is_understood() {
    let crowd = frame(
        r#"{"event":"message-processing","status":"error","messages":["The server received 103 events from you, which exceeds the limit of 100 events per minute. You may wait for the next minute ..."]}"#,
    );
    assert!(
        matches!(crowd, Frame::Processing { too_many: true, ref messages } if messages.len() == 1),
        "{crowd:?}"
    );
    let other = frame(r#"{"event":"message-processing","status":"error","messages":["unknown action"]}"#);
    assert!(matches!(other, Frame::Processing { too_many: false, .. }), "{other:?}");
}

#[test]
fn errors_come_with_and_without_an_event() {
    let expect = Frame::Error {
        code: Some(401),
        message: "bad key".to_owned(),
    };
    assert_eq!(frame(r#"{"event":"error","code":401,"message":"bad key"}"#), expect);
    assert_eq!(frame(r#"{"code":"401","message":"bad key","status":"error"}"#), expect);
    assert_eq!(
        frame(r#"{"status":"error"}"#),
        Frame::Error {
            code: None,
            message: String::new()
        }
    );
}

#[test]
fn the_rest_is_named_and_harmless() {
    assert_eq!(frame(r#"{"event":"heartbeat","status":"ok"}"#), Frame::Heartbeat);
    assert_eq!(
        frame(r#" {"event":"reset-status","status":"ok"}"#),
        Frame::UnsubscribeStatus
    );
    assert_eq!(
        frame(r#"{"event":"news","x":{"y":[1]}}"#),
        Frame::Unknown {
            event: "news".to_owned()
        }
    );
    let long = format!(r#"{{"event":"{}"}}"#, "n".repeat(5_000));
    assert!(matches!(frame(&long), Frame::Unknown { event } if event.len() <= limits::QUOTE_CHARS));
}

#[test]
fn what_is_no_object_is_refused() {
    for junk in [
        "",
        "null",
        "[]",
        r#"["price"]"#,
        "{",
        r#"{"event":"price""#,
        "\u{0}",
        r#"{"a":1}"#,
        r#"{"event":7}"#,
    ] {
        refused(junk);
    }
    assert!(decode(b"{\"event\":\"\xff\"}", NOW).is_err());
    let long = format!(r#"{{"event":"heartbeat","pad":"{}"}}"#, "x".repeat(limits::FRAME_BYTES));
    assert!(matches!(refused(&long), WireError::TooLong(_)));
}

#[test]
fn we_speak_as_documented() {
    let both = [Symbol::usdcop(), "EUR/USD".parse().unwrap()];
    assert_eq!(
        subscribe(&both),
        r#"{"action":"subscribe","params":{"symbols":"USD/COP,EUR/USD"}}"#
    );
    assert_eq!(
        unsubscribe(&both[..1]),
        r#"{"action":"unsubscribe","params":{"symbols":"USD/COP"}}"#
    );
    assert_eq!(
        (heartbeat(), reset()),
        (
            r#"{"action":"heartbeat"}"#.to_owned(),
            r#"{"action":"reset"}"#.to_owned()
        )
    );
}

#[test]
fn a_captured_frame_says_again_what_it_said() {
    let heard = |json: &'static str| Input {
        at: NOW,
        what: InputKind::Frame(Bytes::from_static(json.as_bytes())),
    };
    let json = r#"{"event":"price","symbol":"USD/COP","price":4012.35}"#;
    assert_eq!(says(&heard(json)), Ok(Decoded::Price(price(json))));
    assert_eq!(says(&heard(r#"{"event":"heartbeat"}"#)), Ok(Decoded::Nothing));
    assert!(says(&heard("garbage")).is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(decode(&bytes, NOW));
    }

    #[test]
    fn no_mangled_frame_panics(cut in 0_usize..200, flip in 0_usize..200, byte in any::<u8>()) {
        let mut bytes = br#"{"event":"subscribe-status","status":"ok","success":[{"symbol":"USD/COP"}],"fails":null,"price":4012.35,"timestamp":1772352540}"#.to_vec();
        if let Some(at) = bytes.get_mut(flip) {
            *at = byte;
        }
        bytes.truncate(cut);
        drop(decode(&bytes, NOW));
    }
}
