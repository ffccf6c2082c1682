//! Tests of event streams.

use super::*;
use crate::domain::model::Symbol;
use crate::domain::protocol::frames::{frame, text_frame};
use proptest::prelude::*;

fn said(stream: &mut EventStream, message: &str) -> String {
    let mut bytes = BytesMut::new();
    stream.encode(&text_frame(message.as_bytes()), &mut bytes);
    String::from_utf8(bytes.to_vec()).unwrap()
}

const ANSWER: &str = r#"{"type":"subscribed","channels":[{"channel":"ticks:USD/COP","epoch":"aaaa","seq":7,"recovered":true,"replayed":2},
    {"channel":"bars.5m:USD/COP","epoch":null,"seq":0},{"channel":"status"}]}"#;

fn tick(seq: u64) -> String {
    format!(r#"{{"type":"market_data","channel":"ticks:USD/COP","seq":{seq},"data":{{"seq":1}}}}"#)
}

#[test]
fn the_id_names_how_far_every_channel_was_read() {
    let mut stream = EventStream::default();
    assert!(
        said(&mut stream, r#"{"type":"welcome","heads":null}"#).starts_with("retry: 1000\nevent: welcome\ndata: {")
    );
    let answer = said(&mut stream, ANSWER);
    assert!(
        answer.starts_with("id: bars.5m:USD/COP@.0,ticks:USD/COP@aaaa.5\nevent: subscribed\n"),
        "{answer}"
    );
    // Messages about a seq that is still to be replayed change no position.
    for ahead in ["snapshot", "replay_end"] {
        let text = format!(r#"{{"type":"{ahead}","channel":"ticks:USD/COP","seq":7}}"#);
        assert!(
            said(&mut stream, &text).starts_with(&format!("event: {ahead}\n")),
            "{ahead}"
        );
    }
    for seq in [6, 7] {
        let event = said(&mut stream, &tick(seq));
        let expect = format!(
            "id: bars.5m:USD/COP@.0,ticks:USD/COP@aaaa.{seq}\nevent: market_data\ndata: {}\n\n",
            tick(seq)
        );
        assert_eq!(event, expect);
    }
    // A forming bar is not in the log.
    let partial = r#"{"type":"bar","channel":"bars.5m:USD/COP","base":0,"version":3,"data":{}}"#;
    assert!(said(&mut stream, partial).starts_with("event: bar\n"));
    let anew = r#"{"type":"discontinuity","channel":"ticks:USD/COP","old_epoch":"aaaa","epoch":"bbbb","seq":2}"#;
    assert!(said(&mut stream, anew).starts_with("id: bars.5m:USD/COP@.0,ticks:USD/COP@bbbb.2\n"));
    let skipped = r#"{"type":"skipped","channel":"ticks:USD/COP","from":3,"seq":9,"why":"position_expired"}"#;
    assert!(said(&mut stream, skipped).contains("ticks:USD/COP@bbbb.9\n"));
    let heartbeat = r#"{"type":"heartbeat","heads":{"bars.5m:USD/COP":{"epoch":"cccc","seq":0}}}"#;
    assert_eq!(said(&mut stream, heartbeat), format!(": {heartbeat}\n\n"));
    assert!(said(&mut stream, &tick(10)).starts_with("id: bars.5m:USD/COP@cccc.0,ticks:USD/COP@bbbb.10\n"));
}

#[test]
fn the_end_of_a_stream_says_why_and_when_to_come_back() {
    let mut stream = EventStream::default();
    let away = r#"{"type":"goaway","reason":"the service restarts","reconnect_after_ms":1500}"#;
    assert_eq!(
        said(&mut stream, away),
        format!("retry: 1500\nevent: goaway\ndata: {away}\n\n")
    );
    let mut bytes = BytesMut::new();
    let payload = [&4010_u16.to_be_bytes()[..], b"too slow"].concat();
    stream.encode(&frame(0x88, &payload), &mut bytes);
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.starts_with("retry: 5000\nevent: close\ndata: {"), "{text}");
    assert!(
        text.contains("\"name\":\"slow_consumer\"") && text.contains("\"reason\":\"too slow\""),
        "{text}"
    );
    bytes.clear();
    stream.encode(&frame(0x88, &1012_u16.to_be_bytes()), &mut bytes);
    assert!(bytes.starts_with(b"event: close\n"), "goaway has said when");
    bytes.clear();
    stream.encode(&frame(0x89, b"candela"), &mut bytes);
    assert!(bytes.is_empty() && !stream.pings());
    let error = said(&mut stream, r#"{"type":"error","code":1302,"channel":"ticks:USD/COP"}"#);
    assert!(error.starts_with("event: problem\n"), "{error}");
}

#[test]
fn an_id_is_read_as_it_was_written() {
    let text = "bars.5m:USD/COP@k3v9.41216,events@.3,ticks:USD/COP@p07c.981221";
    let positions: Positions = text.parse().unwrap();
    assert_eq!(positions.to_string(), text);
    let ticks = Channel::ticks(Symbol::usdcop());
    let place = Since::Position {
        epoch: Some("p07c".parse().unwrap()),
        seq: 981_221,
    };
    assert_eq!(positions.since(ticks), place);
    assert_eq!(positions.since(Channel::session(Symbol::usdcop())), Since::Now);
    assert_eq!("".parse(), Ok(Positions::default()));
    for wrong in [
        "7",
        "ticks:USD/COP",
        "ticks:USD/COP@k3v9",
        "ticks:USD/COP@K3V9.1",
        "ticks:USD/COP@k3v9.-1",
        "tocks:USD/COP@k3v9.1",
    ] {
        assert_eq!(wrong.parse::<Positions>(), Err(NoPositions), "{wrong}");
    }
}

proptest! {
    #[test]
    fn no_id_and_no_frame_panics(text in "[a-zA-Z0-9:./,@*]{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        drop(text.parse::<Positions>());
        EventStream::default().encode(&bytes, &mut BytesMut::new());
    }
}
