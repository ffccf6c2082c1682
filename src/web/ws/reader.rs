//! Assembles a client's frames into whole messages, within limits.
//!
//! The codec checks a frame's size only when all of it has arrived, and would buffer gigabytes until then. So the declared length, added to
//! that of the fragments before it, is checked as soon as the header has arrived.

use crate::domain::protocol::Close;
use actix_codec::Decoder;
use actix_http::ws::{Codec, Frame, Item, ProtocolError};
use actix_web::error::PayloadError;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// An inbound message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InboundMessage {
    /// A whole text message, valid UTF-8.
    Text(String),
    /// A whole binary message.
    Binary(Bytes),
    /// A ping, to be answered with the same bytes.
    Ping(Bytes),
    Pong,
    /// A close frame, with its code.
    Close(Option<u16>),
    /// A protocol violation, after which nothing more is read.
    Violation(Close, &'static str),
}

/// Extracts messages from bytes.
pub(crate) struct Messages {
    bytes: BytesMut,
    codec: Codec,
    limit: usize,
    /// The fragments received of a message, and whether it is text.
    fragments: Option<(bool, BytesMut)>,
    /// Whether further input is read and discarded, after a violation or a close, so that our close frame arrives.
    discards: bool,
}

impl Messages {
    /// `bytes` arrived with the request for the upgrade.
    pub(crate) fn new(bytes: BytesMut, limit: usize) -> Self {
        Self {
            bytes,
            codec: Codec::new().max_size(limit),
            limit,
            fragments: None,
            discards: false,
        }
    }

    /// Adds bytes that have arrived.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        if !self.discards {
            self.bytes.extend_from_slice(chunk);
        }
    }

    /// The next message, if it has arrived completely.
    pub(crate) fn next(&mut self) -> Option<InboundMessage> {
        if self.discards {
            return None;
        }
        let said = self.decode();
        if matches!(said, Some(InboundMessage::Violation(..) | InboundMessage::Close(_))) {
            self.deafen();
        }
        said
    }

    /// Discards all further input.
    pub(super) fn deafen(&mut self) {
        self.discards = true;
        self.bytes = BytesMut::new();
    }

    fn decode(&mut self) -> Option<InboundMessage> {
        loop {
            let frame = match self
                .guard()
                .and_then(|()| self.codec.decode(&mut self.bytes).map_err(violation))
            {
                Ok(None) => {
                    if self.bytes.is_empty() {
                        self.bytes = BytesMut::new(); // an idle client keeps no buffer
                    }
                    return None;
                }
                Ok(Some(frame)) => frame,
                Err(violation) => return Some(violation),
            };
            let said = match frame {
                Frame::Text(text) => text_of(&text),
                Frame::Binary(bytes) => InboundMessage::Binary(bytes),
                Frame::Ping(bytes) => InboundMessage::Ping(bytes),
                Frame::Pong(_) => InboundMessage::Pong,
                Frame::Close(reason) => InboundMessage::Close(reason.map(|reason| reason.code.into())),
                Frame::Continuation(item) => match self.fragment(item) {
                    Some(said) => said,
                    None => continue,
                },
            };
            return Some(said);
        }
    }

    /// Refuses a frame whose header declares too great a length.
    fn guard(&self) -> Result<(), InboundMessage> {
        let Some(declared) = declared_length(&self.bytes).filter(|_| has_valid_start(&self.bytes)) else {
            return Ok(());
        };
        let held = self.fragments.as_ref().map_or(0, |(_, bytes)| bytes.len());
        let held = u64::try_from(held).unwrap_or(u64::MAX);
        let limit = u64::try_from(self.limit).unwrap_or(u64::MAX);
        if held.saturating_add(declared) > limit {
            return Err(InboundMessage::Violation(
                Close::TooLarge,
                "the message is larger than the limit",
            ));
        }
        Ok(())
    }

    fn fragment(&mut self, item: Item) -> Option<InboundMessage> {
        match item {
            Item::FirstText(bytes) => {
                self.fragments = Some((true, BytesMut::from(bytes.as_ref())));
                None
            }
            Item::FirstBinary(bytes) => {
                self.fragments = Some((false, BytesMut::from(bytes.as_ref())));
                None
            }
            Item::Continue(bytes) => {
                if let Some((_, held)) = &mut self.fragments {
                    held.extend_from_slice(&bytes);
                }
                None
            }
            Item::Last(bytes) => {
                let (text, mut held) = self.fragments.take()?;
                held.extend_from_slice(&bytes);
                let whole = held.freeze();
                Some(if text {
                    text_of(&whole)
                } else {
                    InboundMessage::Binary(whole)
                })
            }
        }
    }
}

/// The payload length that the frame at the start of `bytes` declares, once its header is complete.
fn declared_length(bytes: &[u8]) -> Option<u64> {
    match bytes.get(1)? & 0x7f {
        126 => Some(u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => Some(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => Some(u64::from(short)),
    }
}

/// Whether the codec goes on after the first two bytes of a frame. It refuses the others as soon as these are there, so their length
/// does not count: a client is told one reason however its bytes arrive.
fn has_valid_start(bytes: &[u8]) -> bool {
    let [first, second, ..] = bytes else { return false };
    let known = matches!(first & 0x0f, 0..=2 | 8..=10);
    let reserved = first & 0x70 != 0;
    let masked = second & 0x80 != 0;
    known && !reserved && masked
}

fn text_of(bytes: &[u8]) -> InboundMessage {
    match std::str::from_utf8(bytes) {
        Ok(text) => InboundMessage::Text(text.to_owned()),
        Err(_) => InboundMessage::Violation(Close::BadText, "the text is not UTF-8"),
    }
}

fn violation(error: ProtocolError) -> InboundMessage {
    let (close, why) = match error {
        ProtocolError::UnmaskedFrame => (Close::Protocol, "a client must mask its frames"),
        ProtocolError::MaskedFrame => (Close::Protocol, "a masked frame"),
        ProtocolError::InvalidOpcode(_) | ProtocolError::BadOpCode => (Close::Protocol, "an unknown opcode"),
        ProtocolError::InvalidLength(_) => (Close::Protocol, "a control frame of over 125 bytes"),
        ProtocolError::Overflow => (Close::TooLarge, "the message is larger than the limit"),
        ProtocolError::ContinuationNotStarted => (Close::Protocol, "a continuation of nothing"),
        ProtocolError::ContinuationStarted => (Close::Protocol, "a new message inside a fragmented one"),
        ProtocolError::ContinuationFragment(_) => (Close::Protocol, "a fragmented control frame"),
        ProtocolError::Io(_) => (Close::Protocol, "a malformed frame"),
    };
    InboundMessage::Violation(close, why)
}

/// A stream of messages from the body of a request: over TLS.
pub(crate) struct Reader<P> {
    payload: P,
    messages: Messages,
}

impl<P> Reader<P> {
    pub(crate) fn new(payload: P, limit: usize) -> Self {
        let messages = Messages::new(BytesMut::new(), limit);
        Self { payload, messages }
    }
}

impl<P: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Stream for Reader<P> {
    type Item = InboundMessage;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<InboundMessage>> {
        let this = &mut *self;
        loop {
            if let Some(said) = this.messages.next() {
                return Poll::Ready(Some(said));
            }
            match ready!(Pin::new(&mut this.payload).poll_next(task)) {
                Some(Ok(chunk)) => this.messages.push(&chunk),
                Some(Err(_)) | None => return Poll::Ready(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt, stream};
    use proptest::prelude::*;

    /// A masked frame with a mask of zeros.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..=125 => bytes.push(0x80 | u8::try_from(short).unwrap()),
            long => {
                bytes.push(0x80 | 127);
                bytes.extend_from_slice(&u64::try_from(long).unwrap().to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        bytes
    }

    fn read_in_pieces(bytes: &[u8], piece: usize) -> Vec<InboundMessage> {
        let chunks: Vec<_> = bytes
            .chunks(piece.max(1))
            .map(|c| Ok(Bytes::copy_from_slice(c)))
            .collect();
        futures_util::FutureExt::now_or_never(Reader::new(stream::iter(chunks), 1_000).collect()).unwrap()
    }

    fn check(frames: &[Vec<u8>], expect: &[InboundMessage]) {
        let bytes = frames.concat();
        for piece in [1, 7, 100_000] {
            assert_eq!(read_in_pieces(&bytes, piece), expect, "in pieces of {piece}");
        }
    }

    #[test]
    fn whole_messages_come_out_however_the_bytes_arrive() {
        check(
            &[
                frame(0x81, b"hi"),
                frame(0x82, b"\xff"),
                frame(0x89, b"p"),
                frame(0x8a, b""),
            ],
            &[
                InboundMessage::Text("hi".to_owned()),
                InboundMessage::Binary(Bytes::from_static(b"\xff")),
                InboundMessage::Ping(Bytes::from_static(b"p")),
                InboundMessage::Pong,
            ],
        );
    }

    #[test]
    fn fragments_are_joined_around_control_frames() {
        check(
            &[
                frame(0x01, "€".as_bytes().get(..1).unwrap()),
                frame(0x89, b""),
                frame(0x80, "€".as_bytes().get(1..).unwrap()),
            ],
            &[InboundMessage::Ping(Bytes::new()), InboundMessage::Text("€".to_owned())],
        );
    }

    #[test]
    fn a_wrong_frame_that_declares_too_much_is_refused_for_one_reason_however_its_bytes_arrive() {
        for (start, why) in [
            ([0x82, 0x7f], "a client must mask its frames"),
            ([0x83, 0xff], "an unknown opcode"),
            ([0xb2, 0xff], "a malformed frame"),
        ] {
            let header = [start.as_slice(), &(8_u64 << 30).to_be_bytes()].concat();
            check(&[header], &[InboundMessage::Violation(Close::Protocol, why)]);
        }
    }

    #[test]
    fn a_frame_that_declares_too_much_is_refused_from_its_header_alone() {
        let mut header = vec![0x82, 0xff];
        header.extend_from_slice(&(8_u64 << 30).to_be_bytes());
        check(
            &[header],
            &[InboundMessage::Violation(
                Close::TooLarge,
                "the message is larger than the limit",
            )],
        );
    }

    #[test]
    fn fragments_are_limited_by_their_sum() {
        let part = vec![b'x'; 600];
        check(
            &[frame(0x01, &part), frame(0x80, &part)],
            &[InboundMessage::Violation(
                Close::TooLarge,
                "the message is larger than the limit",
            )],
        );
    }

    #[test]
    fn each_violation_has_its_code_and_silences_what_follows() {
        let after = frame(0x81, b"no report");
        for (first, close) in [
            (frame(0x83, b""), Close::Protocol),
            (frame(0x80, b""), Close::Protocol),
            (frame(0xc1, b""), Close::Protocol),
            (vec![0x81, 0x01, b'x'], Close::Protocol),
            (frame(0x81, b"\xff"), Close::BadText),
            (frame(0x09, b""), Close::Protocol),
            (frame(0x88, b"\x03"), Close::Protocol),
        ] {
            let said = read_in_pieces(&[first.clone(), after.clone()].concat(), 3);
            assert!(
                matches!(said.as_slice(), [InboundMessage::Violation(code, _)] if *code == close),
                "{first:?}: {said:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_at_most_one_violation_comes(bytes in prop::collection::vec(any::<u8>(), 0..400), piece in 1..50_usize) {
            let said = read_in_pieces(&bytes, piece);
            let violations = said.iter().filter(|said| matches!(said, InboundMessage::Violation(..))).count();
            prop_assert!(violations <= 1);
        }
    }
}
