//! The vendor's WebSocket protocol: decodes bytes into [`Frame`]s, and encodes the few messages that we send.
//!
//! Tolerant where the vendor is loose (numbers quoted or bare, lists null or missing, fields unknown), strict where a guess would be a
//! wrong price: a price frame without a readable price is [`Frame::Unusable`] for its pair, with the reason. To the link it is a frame like
//! any other, so one pair's nulls do not cost the other pairs their prices.
//!
//! *Architecture invariant*: whatever the bytes, nothing here panics, and nothing grows beyond [`limits::FRAME_BYTES`].

use crate::domain::model::{
    Decoded, Input, InputKind, Parsed, Price, PriceError, Provenance, RejectReason, Symbol, Tick, Timestamp, Unusable,
};
use crate::domain::vendor::rest;
use crate::limits;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// One decoded frame of the vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A price.
    Price(Tick),
    /// A price with more than six decimals, which was rounded.
    Rounded(Tick),
    /// A price that cannot be used.
    Unusable(Unusable),
    /// The answer to a subscribe, per pair.
    SubscribeStatus(SubscribeStatus),
    /// The answer to an unsubscribe or a reset.
    UnsubscribeStatus,
    /// The answer to our heartbeat.
    Heartbeat,
    /// The vendor complains about our messages: too many of them, or one that it cannot parse.
    Processing {
        /// Whether it complains about the number of events a minute.
        too_many: bool,
        /// The vendor's text, cut to a safe length.
        messages: Vec<String>,
    },
    /// An error sent on the WebSocket, or the body of a refused upgrade.
    Error {
        /// The vendor's code, usually an HTTP status.
        code: Option<u16>,
        /// The vendor's text, cut to a safe length.
        message: String,
    },
    /// An unknown event: counted and captured, otherwise ignored.
    Unknown {
        /// Its name, cut to a safe length.
        event: String,
    },
}

/// The answer to a subscribe.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscribeStatus {
    /// `ok`, `warning` (some refused) or `error` (all refused), as sent.
    pub status: String,
    /// The pairs that will be streamed.
    pub success: Vec<Symbol>,
    /// The pairs that will not.
    pub fails: Vec<Symbol>,
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each sentence is its own documentation")]
pub enum WireError {
    #[error("the frame has {0} bytes, more than the {max} that are read", max = limits::FRAME_BYTES)]
    TooLong(usize),
    #[error("the frame is not a JSON object ({0})")]
    NotJson(String),
    #[error("the frame has no field `{0}`")]
    Missing(&'static str),
    /// An answer of the REST interface that could not be parsed.
    #[error(transparent)]
    Answer(#[from] rest::AnswerError),
}

/// The members that any event may have. Each stays raw, so that an unexpected value in one does not affect another.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    symbol: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
    #[serde(borrow)]
    success: Option<&'a RawValue>,
    #[serde(borrow)]
    fails: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
}

/// Decodes one text frame. `received_at` becomes the timestamp of a price that has none.
///
/// # Errors
/// [`WireError`] when the bytes are not a JSON object, or the frame lacks a field that its kind needs.
pub fn decode(bytes: &[u8], received_at: Timestamp) -> Result<Frame, WireError> {
    if bytes.len() > limits::FRAME_BYTES {
        return Err(WireError::TooLong(bytes.len()));
    }
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(WireError::NotJson("it does not begin with a brace".to_owned()));
    }
    let error = match serde_json::from_slice::<Members<'_>>(bytes) {
        Ok(members) => return decode_members(&members, received_at),
        Err(error) => error,
    };
    let nulled = without_nan(bytes);
    if let Some(Ok(members)) = nulled.as_deref().map(serde_json::from_slice::<Members<'_>>) {
        return decode_members(&members, received_at);
    }
    announced_price(bytes).ok_or_else(|| WireError::NotJson(cut(&error.to_string())))
}

/// A frame that is no JSON and yet announces a price of a pair, as one with a decimal comma or two prices does: it concerns that pair alone.
fn announced_price(bytes: &[u8]) -> Option<Frame> {
    let frame = std::str::from_utf8(bytes).ok()?;
    if quoted_member(frame, "\"event\"")? != "price" {
        return None;
    }
    let name = quoted_member(frame, "\"symbol\"")?.replace("\\/", "/");
    Some(Frame::Unusable(Unusable {
        symbol: Some(name.parse().ok()?),
        reason: RejectReason::UnreadablePrice,
    }))
}

/// The text that follows the first member of this name, where it is a text that ends.
fn quoted_member<'a>(frame: &'a str, quoted_name: &str) -> Option<&'a str> {
    let (_, after) = frame.split_once(quoted_name)?;
    let value = after.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    value.split_once('"').map(|(text, _)| text)
}

fn decode_members(members: &Members<'_>, received_at: Timestamp) -> Result<Frame, WireError> {
    let Some(event) = members.event.and_then(text) else {
        return decode_unnamed(members);
    };
    Ok(match &*event {
        "price" => decode_price(members, received_at),
        "heartbeat" => Frame::Heartbeat,
        "subscribe-status" => Frame::SubscribeStatus(SubscribeStatus {
            status: members.status.and_then(text).map_or_else(String::new, |s| cut(&s)),
            success: parse_symbols(members.success),
            fails: parse_symbols(members.fails),
        }),
        "unsubscribe-status" | "reset-status" => Frame::UnsubscribeStatus,
        "message-processing" => decode_processing(members),
        "error" => decode_error(members),
        other => Frame::Unknown { event: cut(other) },
    })
}

/// Decodes a captured input. Live and replayed inputs are decoded by this one function.
///
/// # Errors
/// [`WireError`] when it cannot be decoded; the pipeline then takes it as [`Decoded::Nothing`].
pub fn says(heard: &Input) -> Result<Decoded, WireError> {
    match &heard.what {
        InputKind::Frame(bytes) => Ok(match decode(bytes, heard.at)? {
            Frame::Price(tick) => Decoded::Price(tick),
            Frame::Rounded(tick) => Decoded::Rounded(tick),
            Frame::Unusable(unusable) => Decoded::Unusable(unusable),
            _ => Decoded::Nothing,
        }),
        InputKind::Answer(bytes) => Ok(rest::says(bytes, heard.at)?),
        InputKind::Link(_)
        | InputKind::Carried(_)
        | InputKind::Deadline
        | InputKind::Started
        | InputKind::Unwatched(_)
        | InputKind::Opened(_)
        | InputKind::Requested(_)
        | InputKind::MissingBars(_)
        | InputKind::Seam(_)
        | InputKind::Certificate(_)
        | InputKind::LastClose(_)
        | InputKind::Noted(_)
        | InputKind::Calendar(_)
        | InputKind::CarriedClose(_)
        | InputKind::CarriedTick(_) => Ok(Decoded::Nothing),
    }
}

/// Decodes a price frame, or gives the reason why its price cannot be used.
fn decode_price(members: &Members<'_>, received_at: Timestamp) -> Frame {
    let Some(symbol) = members.symbol.and_then(text).and_then(|name| name.parse().ok()) else {
        return Frame::Unusable(Unusable {
            symbol: None,
            reason: RejectReason::UnknownSymbol,
        });
    };
    parse_tick(symbol, members, received_at).unwrap_or_else(|reason| {
        Frame::Unusable(Unusable {
            symbol: Some(symbol),
            reason,
        })
    })
}

fn parse_tick(symbol: Symbol, members: &Members<'_>, received_at: Timestamp) -> Result<Frame, RejectReason> {
    let price = number(members.price)
        .map_err(|error| unread(&error, RejectReason::UnreadablePrice))?
        .ok_or(RejectReason::UnreadablePrice)?;
    let bid = parse_quote_price(members.bid)?;
    let ask = parse_quote_price(members.ask)?;
    if [Some(price), bid, ask].into_iter().flatten().any(Parsed::beyond_scale) {
        return Err(RejectReason::BeyondScale);
    }
    let tick = Tick {
        symbol,
        price: price.price,
        bid: bid.map(|parsed| parsed.price),
        ask: ask.map(|parsed| parsed.price),
        at: parse_stamp(members.timestamp)
            .map_err(|()| RejectReason::UnreadableStamp)?
            .unwrap_or(received_at),
        provenance: Provenance::Live,
    };
    let rounded = [Some(price), bid, ask]
        .into_iter()
        .flatten()
        .any(|parsed| parsed.rounded);
    Ok(if rounded {
        Frame::Rounded(tick)
    } else {
        Frame::Price(tick)
    })
}

fn parse_quote_price(raw: Option<&RawValue>) -> Result<Option<Parsed>, RejectReason> {
    number(raw).map_err(|error| unread(&error, RejectReason::UnreadableQuote))
}

/// The reject reason for a price that cannot be parsed.
pub(crate) const fn unread(error: &PriceError, not_a_number: RejectReason) -> RejectReason {
    match error {
        PriceError::NotANumber(_) => not_a_number,
        PriceError::OutOfRange(_) => RejectReason::OutOfRange,
    }
}

/// Parses a number, quoted or bare; `null` and an empty text are `None`.
pub(crate) fn number(raw: Option<&RawValue>) -> Result<Option<Parsed>, PriceError> {
    match raw.map(bare) {
        None | Some("" | "null") => Ok(None),
        Some(digits) => Price::parse(digits).map(Some),
    }
}

/// Replaces NaN and the infinities, which some JSON writers emit and JSON does not have, by `null`; `None` if there are none.
pub fn without_nan(bytes: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    let mut quoted = false;
    let mut found = false;
    while let Some((byte, after)) = rest.split_first() {
        let word = WORDS.iter().find(|word| !quoted && rest.starts_with(word));
        if let Some(after) = word.and_then(|word| rest.strip_prefix(*word)) {
            out.extend_from_slice(b"null");
            (rest, found) = (after, true);
            continue;
        }
        out.push(*byte);
        rest = after;
        match (byte, after.split_first()) {
            (b'\\', Some((escaped, after))) if quoted => {
                out.push(*escaped);
                rest = after;
            }
            (b'"', _) => quoted = !quoted,
            _ => {}
        }
    }
    found.then_some(out)
}

/// Parses whole seconds since 1970, quoted or bare; a fraction is dropped.
fn parse_stamp(raw: Option<&RawValue>) -> Result<Option<Timestamp>, ()> {
    let digits = match raw.map(bare) {
        None | Some("" | "null") => return Ok(None),
        Some(digits) => digits,
    };
    let whole = digits.split_once('.').map_or(digits, |(whole, _)| whole);
    match whole.parse::<i64>() {
        Ok(secs) if secs > 0 => Ok(Some(Timestamp::from_secs(secs))),
        _ => Err(()),
    }
}

/// Parses a list of objects with a member `symbol`, or of plain texts; null, missing and unreadable items are skipped.
fn parse_symbols(raw: Option<&RawValue>) -> Vec<Symbol> {
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(borrow)]
        symbol: Option<&'a RawValue>,
    }
    let items: Vec<&RawValue> = raw
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default();
    items
        .iter()
        .filter_map(|raw: &&RawValue| -> Option<Symbol> {
            if let Some(name) = text(raw) {
                return name.parse().ok();
            }
            let item: Item<'_> = raw
                .get()
                .starts_with('{')
                .then(|| serde_json::from_str(raw.get()).ok())??;
            text(item.symbol?)?.parse().ok()
        })
        .take(limits::SYMBOLS)
        .collect()
}

fn decode_processing(members: &Members<'_>) -> Frame {
    let listed: Option<Vec<&RawValue>> = members.messages.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let messages: Vec<String> = listed
        .unwrap_or_default()
        .into_iter()
        .chain(members.message)
        .filter_map(|raw| text(raw).map(|said| cut(&said)))
        .take(limits::FRAME_MESSAGES)
        .collect();
    Frame::Processing {
        too_many: messages.iter().any(|said| said.contains("events per minute")),
        messages,
    }
}

fn decode_error(members: &Members<'_>) -> Frame {
    Frame::Error {
        code: members.code.and_then(|raw| bare(raw).parse().ok()),
        message: members
            .message
            .and_then(text)
            .map_or_else(String::new, |said| cut(&said)),
    }
}

/// The body of a refused upgrade has no event: `{code, message, status: "error"}`.
fn decode_unnamed(members: &Members<'_>) -> Result<Frame, WireError> {
    let failed = members.status.and_then(text).is_some_and(|status| status == "error");
    if failed || members.code.is_some() {
        return Ok(decode_error(members));
    }
    Err(WireError::Missing("event"))
}

/// A JSON text without its quotes and escapes; `None` for any other value.
pub(crate) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(raw.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// A number as it was written, without quotes.
pub(super) fn bare(raw: &RawValue) -> &str {
    raw.get().trim_matches('"').trim()
}

/// Cuts a foreign text to a length that is safe to log and show.
pub(crate) fn cut(said: &str) -> String {
    said.chars().take(limits::QUOTE_CHARS).collect()
}

/// Subscribes to pairs, in addition to those already subscribed.
pub fn subscribe(symbols: &[Symbol]) -> String {
    action_text("subscribe", symbols)
}

/// Unsubscribes from pairs.
pub fn unsubscribe(symbols: &[Symbol]) -> String {
    action_text("unsubscribe", symbols)
}

/// Drops all subscriptions of the connection.
pub fn reset() -> String {
    r#"{"action":"reset"}"#.to_owned()
}

/// A heartbeat; the vendor answers with one.
pub fn heartbeat() -> String {
    r#"{"action":"heartbeat"}"#.to_owned()
}

fn action_text(name: &str, symbols: &[Symbol]) -> String {
    let listed: Vec<&str> = symbols.iter().map(Symbol::as_str).collect();
    format!(r#"{{"action":"{name}","params":{{"symbols":"{}"}}}}"#, listed.join(","))
}

#[cfg(test)]
#[path = "tests/wire.rs"]
mod tests;
