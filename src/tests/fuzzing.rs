//! What reads bytes from outside, each as one function: the targets of `fuzz/`. Compiled in only with the feature `test-hooks`, and in
//! tests, which send every file of `fuzz/corpus` and some thousand changes of them through each.
//!
//! A target panics where bytes are taken for what they are not: what was read is printed and read again, and must be the same; what is
//! remembered of it has a limit.
#![expect(
    clippy::expect_used,
    reason = "a target says what is wrong by a panic; nothing of it is in a release"
)]

use crate::calendar_file;
use crate::cmd::history::bars::make_bars_of;
use crate::domain::calendar::Overrides;
use crate::domain::history::l0::judge;
use crate::domain::history::{Found, GateWindow};
use crate::domain::model::{Channel, Decoded, Fetched, Tick, Timestamp};
use crate::domain::protocol::requests::{self, Request, Wanted};
use crate::domain::vendor::wire::{self, Frame};
use crate::domain::vendor::{SeriesRequest, rest};
use crate::ledger::fuzzing as ledger;
use crate::limits;
use crate::settings::{self, Sources};
use crate::sim::{History, Scenario};
use crate::web::{InboundMessage, Messages};
use bytes::BytesMut;
use std::path::Path;

/// What a target is called, and what it does with bytes.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// Every target. Each has a folder of `fuzz/corpus` and a file of `fuzz/targets`.
pub const TARGETS: [FuzzTarget; 12] = [
    ("vendor_frame", read_vendor_frame),
    ("vendor_answer", read_vendor_answer),
    ("client_message", read_client_message),
    ("client_frames", read_client_frames),
    ("settings", read_settings),
    ("flag", read_flag),
    ("calendar", read_calendar),
    ("ledger_file", ledger::read_damaged_file),
    ("ledger_mark", ledger::read_mark),
    ("parcel", ledger::read_parcel),
    ("tick_file", read_tick_file),
    ("history_file", read_history_file),
];

/// 2025-10-22 09:00 in Bogota, a Wednesday.
const NOW: Timestamp = Timestamp::from_secs(1_761_141_600);

fn read_vendor_frame(bytes: &[u8]) {
    let Ok(frame) = wire::decode(bytes, NOW) else { return };
    match frame {
        Frame::Price(tick) | Frame::Rounded(tick) => {
            let again = wire::decode(frame_of(&tick).as_bytes(), NOW);
            assert_eq!(again, Ok(Frame::Price(tick)), "a price is printed and read again");
        }
        Frame::SubscribeStatus(status) => {
            assert!(status.success.len().max(status.fails.len()) <= limits::SYMBOLS, "pairs");
        }
        Frame::Processing { messages, .. } => assert!(messages.len() <= limits::FRAME_MESSAGES, "messages"),
        _ => {}
    }
}

/// A price as the vendor writes it.
fn frame_of(tick: &Tick) -> String {
    let quote = |name: &str, price: Option<crate::domain::model::Price>| {
        price.map_or_else(String::new, |price| format!(r#","{name}":{price}"#))
    };
    format!(
        r#"{{"event":"price","symbol":"{}","timestamp":{},"price":{}{}{}}}"#,
        tick.symbol,
        tick.at.secs(),
        tick.price,
        quote("bid", tick.bid),
        quote("ask", tick.ask)
    )
}

/// A captured answer: the path and the instant, a line feed, the body.
fn read_vendor_answer(bytes: &[u8]) {
    let body = bytes.splitn(2, |byte| *byte == b'\n').nth(1).unwrap_or_default();
    drop(rest::usage(body));
    let symbols = ["USD/COP", "EUR/USD"].map(|name| name.parse().expect("a pair"));
    if let Ok(parts) = rest::parts(&symbols, body) {
        assert!(parts.len() <= symbols.len(), "parts of an answer");
    }
    let head = bytes
        .split(|byte| matches!(byte, b'\n' | b'#'))
        .next()
        .unwrap_or_default();
    let request = std::str::from_utf8(head).ok().and_then(SeriesRequest::from_path);
    if let Some(request) = request.filter(|request| request.from.datetime().timestamp() > 0) {
        let again = SeriesRequest::from_path(&request.path());
        assert_eq!(again, Some(request), "a question is printed and read again");
    }
    match rest::says(bytes, NOW) {
        Ok(Decoded::Bars(fetched) | Decoded::FlawedBars(fetched, _)) => check_bars(&fetched),
        Ok(Decoded::Price(tick)) => assert_eq!(tick.bid.or(tick.ask), None, "a polled price has no quote"),
        _ => {}
    }
}

/// An answer speaks of a stretch; its bars lie in it, in order, and none of them contradicts itself.
fn check_bars(fetched: &Fetched) {
    assert!(fetched.bars.len() <= limits::SERIES_BARS, "bars of one answer");
    for bar in &fetched.bars {
        // An answer with a bar of an unknown time speaks of no stretch.
        assert!(
            fetched.from <= bar.opens_at || fetched.from == fetched.to,
            "a bar before the stretch"
        );
        assert!(bar.ohlc.is_ordered(), "low, open and close, high: {bar:?}");
        assert!(!fetched.unusable.contains(&bar.opens_at), "usable and not: {bar:?}");
    }
    let mut pairs = fetched.bars.iter().zip(fetched.bars.iter().skip(1));
    assert!(pairs.all(|(one, next)| one.opens_at < next.opens_at), "bars in order");
}

fn read_client_message(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match requests::parse(text) {
        Ok(Request::Subscribe(asked)) => asked.channels.iter().for_each(|(wanted, _)| check_channel(wanted)),
        Ok(Request::Unsubscribe { channels, .. }) => channels.iter().for_each(check_channel),
        Ok(_) => {}
        Err(refusal) => assert!(
            refusal.message.len() <= text.len().saturating_add(400),
            "a refusal of {} bytes",
            refusal.message.len()
        ),
    }
}

fn check_channel(wanted: &Wanted) {
    if let Wanted::One(channel) = wanted {
        let again: Result<Channel, _> = channel.to_string().parse();
        assert_eq!(again.ok(), Some(*channel), "a channel is printed and read again");
    }
}

/// The largest message of a client here.
const MESSAGE: usize = 512;

/// What a client sends after the handshake: the same messages come out however the bytes arrive.
fn read_client_frames(bytes: &[u8]) {
    let Some((size, frames)) = bytes.split_first() else {
        return;
    };
    let whole = messages_of(frames.chunks(frames.len().max(1)));
    let pieces = messages_of(frames.chunks(usize::from(*size).max(1)));
    assert_eq!(whole, pieces, "whole and in pieces of {size}");
    let bodies = whole.iter().map(|said| match said {
        InboundMessage::Text(text) => text.len(),
        InboundMessage::Binary(bytes) | InboundMessage::Ping(bytes) => bytes.len(),
        InboundMessage::Pong | InboundMessage::Close(_) | InboundMessage::Violation(..) => 0,
    });
    assert!(bodies.max().unwrap_or(0) <= MESSAGE, "a message beyond the limit");
}

fn messages_of<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<InboundMessage> {
    let mut reader = Messages::new(BytesMut::new(), MESSAGE);
    let mut messages = Vec::new();
    for chunk in chunks {
        reader.push(chunk);
        messages.extend(std::iter::from_fn(|| reader.next()));
    }
    messages
}

/// Settings as a file; each problem is a short sentence.
fn read_settings(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("candela.toml");
    std::fs::write(&file, bytes).expect("a file");
    let sources = Sources {
        file: Some(file),
        ..Sources::default()
    };
    if let Err(problems) = settings::load(&sources) {
        assert!(!problems.0.is_empty(), "refused without a problem");
    }
}

fn read_flag(bytes: &[u8]) {
    let found = Found::File {
        bytes: bytes.to_vec(),
        modified: NOW,
    };
    match judge(&found, GateWindow::default(), NOW) {
        Ok(flag) => assert!(
            flag.at <= NOW + limits::FLAG_SKEW,
            "a flag from the future is good: {flag:?}"
        ),
        Err(trouble) => assert!(!trouble.to_string().is_empty(), "refused without a reason"),
    }
}

fn read_calendar(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Overrides::read(text) {
        Ok(days) => {
            let printed: String = days.iter().map(|day| day.to_toml() + "\n").collect();
            let again = Overrides::read(&printed);
            assert_eq!(again, Ok(days), "days are printed and read again: {printed}");
        }
        Err(problems) => assert!(!problems.is_empty(), "refused without a problem"),
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("calendar.toml");
    std::fs::write(&path, bytes).expect("a file");
    assert_eq!(
        calendar_file::load(&path).is_ok(),
        Overrides::read(text).is_ok(),
        "as a file"
    );
}

/// Ticks of which `candela bars` makes bars.
fn read_tick_file(bytes: &[u8]) {
    if let Ok(bars) = make_bars_of(bytes) {
        for bar in bars {
            assert!(bar.ohlc.is_ordered(), "B1: {bar:?}");
            assert!(bar.key.opens_at < bar.closes_at, "a bar of no time: {bar:?}");
        }
    }
}

/// Bars that the simulator plays, and what it does when.
fn read_history_file(bytes: &[u8]) {
    match History::parse(Path::new("history.csv"), bytes) {
        Ok(history) => assert!(history.rounded_prices() <= history.len(), "rounded prices"),
        Err(error) => assert!(!error.to_string().is_empty(), "refused without a reason"),
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(text.parse::<Scenario>());
    }
}

#[cfg(test)]
#[path = "corpora.rs"]
mod tests;
