//! Encodes messages to clients as WebSocket text frames, once for all clients.
//!
//! Written by hand rather than through a serializer: a tick is encoded in well under a microsecond, and the exact decimal text
//! of a price is written where it belongs.

use crate::domain::model::{
    AcceptedTick, Bar, BarEnd, BarState, Channel, Event, Gap, Head, Price, SeamFound, Sequenced, ServiceEvent,
    SessionChange, SessionPhase, Symbol, Timestamp,
};
use bytes::{BufMut, Bytes, BytesMut};
use chrono_tz::Tz;

/// The key before which a conflated frame gets its `from`.
const SEQ_KEY: &[u8] = b"\"seq\":";

/// The zone of each market's times.
#[derive(Debug, Clone, Default)]
pub struct Zones(Vec<(Symbol, Tz)>);

impl Zones {
    /// From a list; symbols that are not in it have UTC.
    pub const fn new(zones: Vec<(Symbol, Tz)>) -> Self {
        Self(zones)
    }

    /// The same, with one more symbol, whose times are read as those of the first.
    pub fn and(mut self, symbol: Symbol) -> Self {
        self.0.push((symbol, self.first()));
        self
    }

    /// The zone of `symbol`.
    pub fn of(&self, symbol: Symbol) -> Tz {
        let found = self.0.iter().find(|(known, _)| *known == symbol);
        found.map_or(Tz::UTC, |(_, zone)| *zone)
    }

    /// The zone for what belongs to no symbol: the first symbol's.
    pub fn first(&self) -> Tz {
        self.0.first().map_or(Tz::UTC, |(_, zone)| *zone)
    }
}

/// A durable event as a frame.
pub fn event(zones: &Zones, numbered: &Sequenced) -> Bytes {
    text_frame(&event_json(zones, numbered))
}

/// A durable event as a frame, with its number.
pub fn numbered(zones: &Zones, numbered: &Sequenced) -> (u64, Bytes) {
    (numbered.seq, event(zones, numbered))
}

/// A bar still forming as a frame: `base` is the last durable seq of its channel.
pub fn partial(zones: &Zones, bar: &Bar, base: u64, at: Timestamp) -> Bytes {
    let zone = zones.of(bar.key.symbol);
    let mut json = Json::new();
    json.raw("{\"type\":\"bar\",\"channel\":\"");
    json.channel(Channel::bars(bar.key.interval, bar.key.symbol));
    json.raw("\",\"base\":").int(base);
    json.raw(",\"version\":").int(u64::from(bar.ticks));
    json.raw(",\"data\":").bar(bar, zone);
    json.raw(",\"timestamp\":\"").instant(at, zone).raw("\"}");
    text_frame(&json.0)
}

/// A durable event as JSON text.
pub fn event_json(zones: &Zones, numbered: &Sequenced) -> Vec<u8> {
    let mut json = Json::new();
    match &numbered.event {
        Event::Tick(tick) => json.tick(numbered, tick, zones.of(tick.tick.symbol)),
        Event::Bar(bar) => {
            let zone = zones.of(bar.key.symbol);
            json.open("bar", numbered).bar(bar, zone);
            json.close(numbered.at, zone);
        }
        Event::BarEnd(end) => json.bar_end(end, zones.first()),
        Event::Gap(gap) => {
            let zone = zones.of(gap.symbol);
            json.open("gap", numbered).gap(gap, zone);
            json.close(numbered.at, zone);
        }
        Event::Seam(found) => {
            let zone = zones.of(found.symbol);
            json.open("seam", numbered).seam(found, zone);
            json.close(numbered.at, zone);
        }
        Event::Session(change) => {
            let zone = zones.of(change.symbol);
            json.open("session", numbered).session(change, zone);
            json.close(numbered.at, zone);
        }
        Event::Journal(entry) => {
            let zone = entry.symbol.map_or_else(|| zones.first(), |symbol| zones.of(symbol));
            json.open("event", numbered)
                .raw(&journal_json(zones, numbered.position.0, entry));
            json.close(numbered.at, zone);
        }
    }
    json.0
}

/// An entry of the journal, with its position in the ledger, as the JSON object that both the socket and REST show.
pub fn journal_json(zones: &Zones, position: u64, entry: &ServiceEvent) -> String {
    let zone = entry.symbol.map_or_else(|| zones.first(), |symbol| zones.of(symbol));
    serde_json::json!({
        "position": position, "type": entry.kind, "at": entry.at.rfc3339(zone), "symbol": entry.symbol, "subject": entry.subject,
        "cause": entry.cause, "message": entry.message, "by": entry.by, "details": entry.details,
    })
    .to_string()
}

/// A bar as the JSON object that both the socket and REST show.
pub fn bar_json(zones: &Zones, bar: &Bar) -> String {
    let mut json = Json::new();
    json.bar(bar, zones.of(bar.key.symbol));
    String::from_utf8(json.0).unwrap_or_default()
}

/// A tick as the `data` object that both the socket and REST show.
pub fn tick_json(tick: &AcceptedTick) -> String {
    let mut json = Json::new();
    json.tick_data(tick);
    String::from_utf8(json.0).unwrap_or_default()
}

/// A gap as the JSON object that both the socket and REST show.
pub fn gap_json(zones: &Zones, gap: &Gap) -> String {
    let mut json = Json::new();
    json.gap(gap, zones.of(gap.symbol));
    String::from_utf8(json.0).unwrap_or_default()
}

/// First bytes of whole frames: the FIN bit and the opcode.
pub const TEXT: u8 = 0x81;
/// See [`TEXT`].
pub const BINARY: u8 = 0x82;
/// See [`TEXT`].
pub const CLOSE: u8 = 0x88;
/// See [`TEXT`].
pub const PING: u8 = 0x89;
/// See [`TEXT`].
pub const PONG: u8 = 0x8a;

/// `payload` as one unmasked text frame.
pub fn text_frame(payload: &[u8]) -> Bytes {
    frame(TEXT, payload)
}

/// One final, unmasked frame: `first` is its FIN bit and opcode.
pub fn frame(first: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len().saturating_add(10));
    out.put_u8(first);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => out.put_u8(short),
        (_, Ok(medium)) => {
            out.put_u8(126);
            out.put_u16(medium);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(u64::try_from(payload.len()).unwrap_or(u64::MAX));
        }
    }
    out.put_slice(payload);
    out.freeze()
}

/// The payload of a frame made by [`frame`].
pub fn payload(frame: &[u8]) -> &[u8] {
    let header = match frame.get(1) {
        Some(127) => 10,
        Some(126) => 4,
        _ => 2,
    };
    frame.get(header..).unwrap_or_default()
}

/// The frame of the newest message, saying that it stands for all from `from` on.
pub fn covering(frame: &Bytes, from: u64) -> Bytes {
    let payload = payload(frame);
    let Some(at) = payload.windows(SEQ_KEY.len()).position(|part| part == SEQ_KEY) else {
        return frame.clone();
    };
    let (before, after) = payload.split_at(at);
    let mut json = Json(Vec::with_capacity(payload.len().saturating_add(32)));
    json.0.extend_from_slice(before);
    json.raw("\"from\":").int(from).raw(",");
    json.0.extend_from_slice(after);
    text_frame(&json.0)
}

/// Notifies subscribers of a channel that its epoch changed: the next message comes after `new.seq`.
pub fn discontinuity(channel: Channel, old: &Head, new: &Head) -> Bytes {
    let mut json = Json::new();
    json.raw("{\"type\":\"discontinuity\",\"channel\":\"").channel(channel);
    json.raw("\",\"old_epoch\":\"").raw(old.epoch.as_str());
    json.raw("\",\"epoch\":\"").raw(new.epoch.as_str());
    json.raw("\",\"seq\":").int(new.seq);
    json.raw(",\"why\":\"the log of this channel began anew\"}");
    text_frame(&json.0)
}

/// Tells a client that it is slow, or no longer.
pub fn slow(warn: bool, conflated: u64) -> Bytes {
    let mut json = Json::new();
    json.raw("{\"type\":\"slow\",\"level\":")
        .raw(if warn { "\"warn\"" } else { "\"clear\"" });
    json.raw(",\"conflated\":").int(conflated).raw("}");
    text_frame(&json.0)
}

/// JSON text being written.
struct Json(Vec<u8>);

impl Json {
    fn new() -> Self {
        Self(Vec::with_capacity(512))
    }

    fn raw(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn int(&mut self, number: u64) -> &mut Self {
        self.raw(itoa::Buffer::new().format(number))
    }

    fn signed(&mut self, number: i64) -> &mut Self {
        self.raw(itoa::Buffer::new().format(number))
    }

    fn price(&mut self, price: Price) -> &mut Self {
        price.write_to(&mut self.0);
        self
    }

    fn instant(&mut self, at: Timestamp, zone: Tz) -> &mut Self {
        self.raw(&at.rfc3339(zone))
    }

    /// A text that may hold anything, with its quotes.
    fn quoted(&mut self, text: &str) -> &mut Self {
        let quoted = serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned());
        self.raw(&quoted)
    }

    /// Names of channels and symbols hold nothing that JSON would escape.
    fn channel(&mut self, channel: Channel) -> &mut Self {
        self.raw(&channel.to_string())
    }

    fn open(&mut self, kind: &str, numbered: &Sequenced) -> &mut Self {
        self.raw("{\"type\":\"").raw(kind).raw("\",\"channel\":\"");
        if let Some(channel) = numbered.channel {
            self.channel(channel);
        }
        self.raw("\",\"seq\":").int(numbered.seq).raw(",\"data\":")
    }

    fn close(&mut self, at: Timestamp, zone: Tz) {
        self.raw(",\"timestamp\":\"").instant(at, zone).raw("\"}");
    }

    fn tick(&mut self, numbered: &Sequenced, tick: &AcceptedTick, zone: Tz) {
        self.open("market_data", numbered).tick_data(tick);
        self.close(numbered.at, zone);
    }

    fn tick_data(&mut self, accepted: &AcceptedTick) {
        let tick = &accepted.tick;
        self.raw("{\"event\":\"price\",\"symbol\":\"").raw(tick.symbol.as_str());
        self.raw("\",\"price\":").price(tick.price);
        if let Some(bid) = tick.bid {
            self.raw(",\"bid\":").price(bid);
        }
        if let Some(ask) = tick.ask {
            self.raw(",\"ask\":").price(ask);
        }
        if let (Some(bid), Some(ask)) = (tick.bid, tick.ask) {
            self.raw(",\"spread\":").price(ask.minus(bid));
        }
        self.raw(",\"timestamp\":").signed(tick.at.secs());
        self.raw(",\"received_us\":").signed(accepted.received_at.micros());
        self.raw(",\"source\":\"").raw(tick.provenance.name()).raw("\"}");
    }

    fn bar(&mut self, bar: &Bar, zone: Tz) -> &mut Self {
        self.raw("{\"symbol\":\"").raw(bar.key.symbol.as_str());
        self.raw("\",\"interval\":\"").raw(bar.key.interval.name());
        self.raw("\",\"open_time\":\"").instant(bar.key.opens_at, zone);
        self.raw("\",\"close_time\":\"").instant(bar.closes_at, zone);
        self.raw("\",\"open\":").price(bar.ohlc.open);
        self.raw(",\"high\":").price(bar.ohlc.high);
        self.raw(",\"low\":").price(bar.ohlc.low);
        self.raw(",\"close\":").price(bar.ohlc.close);
        self.raw(",\"volume\":null,\"ticks\":").int(u64::from(bar.ticks));
        self.raw(",\"state\":\"").raw(bar.state.name());
        self.raw("\",\"revision\":").int(u64::from(bar.revision));
        self.raw(",\"provenance\":\"").raw(bar.provenance.name());
        self.raw("\",\"flags\":[");
        for (i, name) in bar.flags.names().enumerate() {
            self.raw(if i == 0 { "\"" } else { ",\"" }).raw(name).raw("\"");
        }
        self.raw("],\"session_date\":\"").raw(&bar.session_date.to_string());
        self.raw("\",\"session_type\":\"")
            .raw(bar.session_kind.name())
            .raw("\"");
        if bar.state == BarState::Partial {
            self.raw(",\"forming\":true");
        }
        self.raw("}")
    }

    fn bar_end(&mut self, end: &BarEnd, zone: Tz) {
        self.raw("{\"type\":\"bar_end\",\"interval\":\"")
            .raw(end.interval.name());
        self.raw("\",\"open_time\":\"").instant(end.opens_at, zone);
        self.raw("\",\"complete\":[");
        for (i, symbol) in end.complete.iter().enumerate() {
            self.raw(if i == 0 { "\"" } else { ",\"" })
                .raw(symbol.as_str())
                .raw("\"");
        }
        self.raw("],\"incomplete\":{");
        for (i, (symbol, reason)) in end.incomplete.iter().enumerate() {
            self.raw(if i == 0 { "\"" } else { ",\"" }).raw(symbol.as_str());
            self.raw("\":").quoted(reason);
        }
        self.raw("}}");
    }

    fn gap(&mut self, gap: &Gap, zone: Tz) -> &mut Self {
        self.raw("{\"id\":\"g-").int(gap.id);
        self.raw("\",\"symbol\":\"").raw(gap.symbol.as_str());
        self.raw("\",\"interval\":\"").raw(gap.interval.name());
        self.raw("\",\"from\":\"").instant(gap.from, zone);
        self.raw("\",\"to\":\"").instant(gap.to, zone);
        self.raw("\",\"bars\":").int(u64::from(gap.bars));
        self.raw(",\"status\":\"").raw(gap.status.name());
        self.raw("\",\"cause\":").quoted(&gap.cause).raw("}")
    }

    fn seam(&mut self, found: &SeamFound, zone: Tz) -> &mut Self {
        let seam = &found.seam;
        self.raw("{\"symbol\":\"").raw(found.symbol.as_str());
        self.raw("\",\"last_history_bar\":");
        match seam.last_history_bar {
            Some(at) => self.raw("\"").instant(at, zone).raw("\""),
            None => self.raw("null"),
        };
        self.raw(",\"first_live_bar\":\"").instant(seam.first_live_bar, zone);
        for (name, bars) in [
            ("\",\"ours\":", seam.ours),
            (",\"missing\":", seam.missing),
            (",\"overlapping\":", seam.overlapping),
            (",\"differing\":", seam.differing),
        ] {
            self.raw(name).int(u64::try_from(bars).unwrap_or(u64::MAX));
        }
        let examples = serde_json::to_string(&seam.examples).unwrap_or_else(|_| "[]".to_owned());
        self.raw(",\"examples\":").raw(&examples).raw("}")
    }

    fn session(&mut self, change: &SessionChange, zone: Tz) -> &mut Self {
        let phase = match change.phase {
            SessionPhase::OpeningSoon => "opening_soon",
            SessionPhase::Open => "open",
            SessionPhase::ClosingSoon => "closing_soon",
            SessionPhase::Closed => "closed",
        };
        self.raw("{\"symbol\":\"").raw(change.symbol.as_str());
        self.raw("\",\"status\":\"").raw(phase);
        self.raw("\",\"session_date\":\"").raw(&change.date.to_string());
        self.raw("\",\"type\":\"").raw(change.kind.name());
        self.raw("\",\"opens\":\"").instant(change.opens, zone);
        self.raw("\",\"closes\":\"").instant(change.closes, zone).raw("\"}")
    }
}

#[cfg(test)]
#[path = "tests/frames.rs"]
mod tests;
