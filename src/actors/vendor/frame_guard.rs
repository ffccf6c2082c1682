//! A WebSocket codec that refuses a frame by its declared length, before the frame has arrived.
//!
//! The stock codec checks its limit only once the whole frame is buffered: a peer that declares eight gigabytes and sends them fills our
//! memory. This one reads the header as it arrives.

use crate::limits;
use actix_codec::{Decoder, Encoder};
use actix_http::ws::{Codec, Frame, Item, Message, ProtocolError};
use bytes::{Bytes, BytesMut};

/// The client side's codec, with the guard in front of it.
#[derive(Debug)]
pub(crate) struct GuardedCodec(Codec);

impl GuardedCodec {
    /// A codec for our side of a link.
    pub(crate) fn client() -> Self {
        Self(Codec::new().max_size(limits::FRAME_BYTES).client_mode())
    }
}

impl Decoder for GuardedCodec {
    type Item = Frame;
    type Error = ProtocolError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        if declared_len(src).is_some_and(|len| len > u64::try_from(limits::FRAME_BYTES).unwrap_or(u64::MAX)) {
            return Err(ProtocolError::Overflow);
        }
        self.0.decode(src)
    }
}

impl Encoder<Message> for GuardedCodec {
    type Error = ProtocolError;

    fn encode(&mut self, item: Message, dst: &mut BytesMut) -> Result<(), ProtocolError> {
        self.0.encode(item, dst)
    }
}

/// The fragments received of a message.
#[derive(Debug, Default)]
pub(crate) struct Fragments(BytesMut);

/// The fragments together are longer than [`limits::FRAME_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Fragments {
    /// Adds a fragment. Returns the message when it was the last one.
    pub(crate) fn push(&mut self, item: &Item) -> Result<Option<Bytes>, TooLong> {
        let (Item::FirstText(bytes) | Item::FirstBinary(bytes) | Item::Continue(bytes) | Item::Last(bytes)) = item;
        if self.0.len().saturating_add(bytes.len()) > limits::FRAME_BYTES {
            return Err(TooLong);
        }
        self.0.extend_from_slice(bytes);
        Ok(matches!(item, Item::Last(_)).then(|| self.0.split().freeze()))
    }
}

/// The cause that gaps are given, for an error that broke the link.
pub(super) const fn cause_of(error: &ProtocolError) -> &'static str {
    match error {
        ProtocolError::Overflow => "frame_too_long",
        ProtocolError::Io(_) => "upstream_reset",
        _ => "protocol_error",
    }
}

/// The payload length in the frame header at the start of `bytes`, once enough of it is there.
fn declared_len(bytes: &[u8]) -> Option<u64> {
    match bytes.get(1)? & 0x7f {
        126 => Some(u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => Some(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => Some(u64::from(short)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Option<Frame>, ProtocolError> {
        GuardedCodec::client().decode(&mut BytesMut::from(bytes))
    }

    #[test]
    fn a_frame_that_declares_too_much_is_refused_before_it_arrives() {
        let eight_gigabytes = [&[0x81, 127][..], &(8_u64 << 30).to_be_bytes()].concat();
        assert!(matches!(decode(&eight_gigabytes), Err(ProtocolError::Overflow)));
        let one_too_many = [&[0x81, 127][..], &(65_537_u64).to_be_bytes()].concat();
        assert!(matches!(decode(&one_too_many), Err(ProtocolError::Overflow)));
    }

    #[test]
    fn fragments_are_joined_and_bounded() {
        let mut fragments = Fragments::default();
        assert_eq!(fragments.push(&Item::FirstText("he".into())), Ok(None));
        assert_eq!(fragments.push(&Item::Continue("ll".into())), Ok(None));
        assert_eq!(fragments.push(&Item::Last("o".into())), Ok(Some("hello".into())));
        let half = Bytes::from(vec![b'x'; limits::FRAME_BYTES / 2 + 1]);
        assert_eq!(fragments.push(&Item::FirstText(half.clone())), Ok(None));
        assert_eq!(fragments.push(&Item::Continue(half)), Err(TooLong));
    }

    #[test]
    fn what_fits_passes_and_what_is_incomplete_waits() {
        assert_eq!(decode(b"\x81\x02hi").unwrap(), Some(Frame::Text("hi".into())));
        for part in [&b""[..], b"\x81", b"\x81\x7f\0\0", b"\x81\x7e\x01", b"\x81\x05hi"] {
            assert_eq!(decode(part).unwrap(), None, "{part:?}");
        }
    }
}
