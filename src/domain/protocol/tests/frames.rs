//! Tests of the frames.

use super::*;
use crate::domain::model::{BarKey, Flags, GapStatus, Interval, Ohlc, Position, Provenance, SessionKind, Tick};
use serde_json::{Value, json};

fn zones() -> Zones {
    Zones::new(vec![(Symbol::usdcop(), Tz::America__Bogota)])
}

fn price(text: &str) -> Price {
    text.parse().unwrap()
}

fn numbered(channel: Option<Channel>, seq: u64, event: Event) -> Sequenced {
    Sequenced {
        position: Position(1),
        channel,
        seq,
        at: Timestamp::from_secs(1_767_361_204),
        event,
    }
}

fn tick(bid: Option<&str>) -> Sequenced {
    let tick = Tick {
        symbol: Symbol::usdcop(),
        price: price("4012.35"),
        bid: bid.map(price),
        ask: bid.map(|_| price("4012.6")),
        at: Timestamp::from_secs(1_767_361_204),
        provenance: Provenance::Live,
    };
    let received_at = Timestamp::from_micros(1_767_361_204_123_456);
    let event = Event::Tick(AcceptedTick { tick, received_at });
    numbered(Some(Channel::ticks(Symbol::usdcop())), 981_221, event)
}

fn bar() -> Bar {
    let opens_at = Timestamp::from_secs(1_767_361_200);
    Bar {
        key: BarKey {
            symbol: Symbol::usdcop(),
            interval: Interval::M5,
            opens_at,
        },
        closes_at: Timestamp::from_secs(1_767_361_500),
        ohlc: Ohlc::flat_at(price("4012.350001")),
        ticks: 5,
        first_tick_at: None,
        last_tick_at: None,
        state: BarState::Closed,
        revision: 0,
        provenance: Provenance::Live,
        flags: Flags::FEED_GAP.with(Flags::LATE_START),
        session_date: chrono::NaiveDate::from_ymd_opt(2026, 1, 2).unwrap(),
        session_kind: SessionKind::Spot,
    }
}

fn read(frame: &Bytes) -> Value {
    serde_json::from_slice(payload(frame)).unwrap()
}

#[test]
fn a_tick_is_exactly_the_documented_text() {
    let expect = concat!(
        r#"{"type":"market_data","channel":"ticks:USD/COP","seq":981221,"data":{"event":"price","symbol":"USD/COP","#,
        r#""price":4012.35,"bid":4012.1,"ask":4012.6,"spread":0.5,"timestamp":1767361204,"#,
        r#""received_us":1767361204123456,"source":"live"},"timestamp":"2026-01-02T08:40:04-05:00"}"#
    );
    let frame = event(&zones(), &tick(Some("4012.1")));
    assert_eq!(std::str::from_utf8(payload(&frame)).unwrap(), expect);
    let without = read(&event(&zones(), &tick(None)));
    assert_eq!(without["data"].get("bid"), None);
    assert_eq!(without["data"].get("spread"), None);
}

#[test]
fn a_bar_shows_exact_prices_flags_and_times_of_its_market() {
    let channel = Channel::bars(Interval::M5, Symbol::usdcop());
    let frame = event(&zones(), &numbered(Some(channel), 41_216, Event::Bar(bar())));
    assert!(String::from_utf8_lossy(&frame).contains("\"close\":4012.350001,\"volume\":null"));
    let value = read(&frame);
    assert_eq!(value["channel"], "bars.5m:USD/COP");
    assert_eq!(value["seq"], 41_216);
    assert_eq!(value["data"]["open_time"], "2026-01-02T08:40:00-05:00");
    assert_eq!(value["data"]["flags"], json!(["late_start", "feed_gap"]));
    assert_eq!(value["data"]["session_type"], "spot");
}

#[test]
fn a_forming_bar_has_a_base_and_a_version_and_no_seq() {
    let forming = Bar {
        state: BarState::Partial,
        ..bar()
    };
    let value = read(&partial(
        &zones(),
        &forming,
        41_215,
        Timestamp::from_secs(1_767_361_204),
    ));
    assert_eq!((&value["base"], &value["version"]), (&json!(41_215), &json!(5)));
    assert_eq!(value.get("seq"), None);
    assert_eq!(value["data"]["state"], "partial");
}

#[test]
fn gaps_and_bar_ends_escape_what_others_wrote() {
    let gap = Gap {
        id: 19,
        symbol: Symbol::usdcop(),
        interval: Interval::M5,
        from: Timestamp::from_secs(0),
        to: Timestamp::from_secs(900),
        bars: 3,
        status: GapStatus::Unfillable,
        cause: "said \"no\"\n".to_owned(),
    };
    let channel = Channel::quality(Symbol::usdcop());
    let value = read(&event(&zones(), &numbered(Some(channel), 31, Event::Gap(gap))));
    assert_eq!(value["data"]["cause"], "said \"no\"\n");
    assert_eq!(value["data"]["id"], "g-19");
    let end = BarEnd {
        interval: Interval::M5,
        opens_at: Timestamp::from_secs(1_767_361_200),
        complete: vec![Symbol::usdcop()],
        incomplete: vec![("USD/MXN".parse().unwrap(), "feed_gap".to_owned())],
    };
    let value = read(&event(&zones(), &numbered(None, 0, Event::BarEnd(end))));
    assert_eq!(value["complete"], json!(["USD/COP"]));
    assert_eq!(value["incomplete"], json!({"USD/MXN": "feed_gap"}));
}

#[test]
fn a_conflated_frame_says_from_where_it_covers() {
    let frame = event(&zones(), &tick(None));
    let value = read(&covering(&frame, 981_200));
    assert_eq!((&value["from"], &value["seq"]), (&json!(981_200), &json!(981_221)));
    assert_eq!(value["data"], read(&frame)["data"]);
}

#[test]
fn frames_of_every_length_have_the_right_header() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        let body = vec![b'x'; len];
        let made = text_frame(&body);
        assert_eq!(payload(&made), body, "{len}");
        let header = made.len() - len;
        assert_eq!(
            header,
            [2, 4, 10][usize::from(len > 125) + usize::from(len > 65_535)],
            "{len}"
        );
    }
}
