//! Encodes messages to clients as WebSocket text frames, once for all clients.
//!
//! Written by hand rather than through a serializer: a tick is encoded in well under a microsecond, and prices are written as exact decimal
//! text.

use crate::domain::model::{
    AcceptedTick, Bar, BarEnd, BarState, Certificate, Channel, Event, Gap, Head, Price, SeamFound, Sequenced,
    ServiceEvent, SessionChange, SessionPhase, Symbol, Timestamp,
};
use bytes::{BufMut, Bytes, BytesMut};
use chrono_tz::Tz;

/// The key before which `from` is inserted into a conflated frame.
const SEQ_KEY: &[u8] = b"\"seq\":";

/// The zone of each market.
#[derive(Debug, Clone, Default)]
pub struct Zones(Vec<(Symbol, Tz)>);

impl Zones {
    /// Zones from a list; symbols that are not listed have UTC.
    pub const fn new(zones: Vec<(Symbol, Tz)>) -> Self {
        Self(zones)
    }

    /// Adds a symbol with the zone of the first symbol.
    pub fn and(mut self, symbol: Symbol) -> Self {
        self.0.push((symbol, self.first()));
        self
    }

    /// The zone of `symbol`.
    pub fn of(&self, symbol: Symbol) -> Tz {
        let found = self.0.iter().find(|(known, _)| *known == symbol);
        found.map_or(Tz::UTC, |(_, zone)| *zone)
    }

    /// The zone for events without a symbol: that of the first symbol.
    pub fn first(&self) -> Tz {
        self.0.first().map_or(Tz::UTC, |(_, zone)| *zone)
    }
}

/// Encodes a durable event as a frame.
pub fn event(zones: &Zones, numbered: &Sequenced) -> Bytes {
    text_frame(&event_json(zones, numbered))
}

/// Encodes a durable event as a frame, with its seq.
pub fn numbered(zones: &Zones, numbered: &Sequenced) -> (u64, Bytes) {
    (numbered.seq, event(zones, numbered))
}

/// Encodes a forming bar as a frame; `base` is the last durable seq of its channel.
pub fn partial(zones: &Zones, bar: &Bar, base: u64, at: Timestamp) -> Bytes {
    let zone = zones.of(bar.key.symbol);
    let mut json = Json::new();
    json.push_raw("{\"type\":\"bar\",\"channel\":\"");
    json.push_channel(Channel::bars(bar.key.interval, bar.key.symbol));
    json.push_raw("\",\"base\":").push_int(base);
    json.push_raw(",\"version\":").push_int(u64::from(bar.ticks));
    json.push_raw(",\"data\":").push_bar(bar, zone);
    json.push_raw(",\"timestamp\":\"")
        .push_instant(at, zone)
        .push_raw("\"}");
    text_frame(&json.0)
}

/// Encodes a durable event as JSON text.
pub fn event_json(zones: &Zones, numbered: &Sequenced) -> Vec<u8> {
    let mut json = Json::new();
    match &numbered.event {
        Event::Tick(tick) => json.push_tick(numbered, tick, zones.of(tick.tick.symbol)),
        Event::Bar(bar) => {
            let zone = zones.of(bar.key.symbol);
            json.open("bar", numbered).push_bar(bar, zone);
            json.close(numbered.at, zone);
        }
        Event::BarEnd(end) => json.bar_end(end, zones.first()),
        Event::Gap(gap) => {
            let zone = zones.of(gap.symbol);
            json.open("gap", numbered).push_gap(gap, zone);
            json.close(numbered.at, zone);
        }
        Event::Seam(found) => {
            let zone = zones.of(found.symbol);
            json.open("seam", numbered).push_seam(found, zone);
            json.close(numbered.at, zone);
        }
        Event::Certificate(certificate) => {
            let zone = zones.of(certificate.symbol);
            json.open("certificate", numbered)
                .push_raw(&certificate_json(zones, certificate).to_string());
            json.close(numbered.at, zone);
        }
        Event::Session(change) => {
            let zone = zones.of(change.symbol);
            json.open("session", numbered).push_session(change, zone);
            json.close(numbered.at, zone);
        }
        Event::Journal(entry) => {
            let zone = entry.symbol.map_or_else(|| zones.first(), |symbol| zones.of(symbol));
            json.open("event", numbered)
                .push_raw(&journal_json(zones, numbered.position.0, entry));
            json.close(numbered.at, zone);
        }
    }
    json.0
}

/// A journal entry with its position in the ledger, as the JSON object that WebSocket and REST share.
pub fn journal_json(zones: &Zones, position: u64, entry: &ServiceEvent) -> String {
    let zone = entry.symbol.map_or_else(|| zones.first(), |symbol| zones.of(symbol));
    serde_json::json!({
        "position": position, "type": entry.kind, "at": entry.at.rfc3339(zone), "symbol": entry.symbol, "subject": entry.subject,
        "cause": entry.cause, "message": entry.message, "by": entry.by, "details": entry.details,
    })
    .to_string()
}

/// A certificate as the JSON object that WebSocket and REST share.
pub fn certificate_json(zones: &Zones, certificate: &Certificate) -> serde_json::Value {
    let zone = zones.of(certificate.symbol);
    let unfillable: Vec<_> = certificate
        .unfillable
        .iter()
        .map(|gap| serde_json::json!({"from": gap.from.rfc3339(zone), "to": gap.to.rfc3339(zone), "bars": gap.bars, "cause": gap.cause}))
        .collect();
    let seam = certificate.seam.as_ref().map(|seam| {
        serde_json::json!({
            "last_history_bar": seam.last_history_bar.map(|at| at.rfc3339(zone)), "first_live_bar": seam.first_live_bar.rfc3339(zone), "ours": seam.ours,
            "missing": seam.missing, "overlapping": seam.overlapping, "differing": seam.differing,
        })
    });
    let previous = certificate.previous.as_ref().map(|previous| {
        serde_json::json!({"session_date": previous.date, "revision": previous.revision, "hash": previous.hash})
    });
    serde_json::json!({
        "symbol": certificate.symbol, "session_date": certificate.date, "revision": certificate.revision,
        "interval": certificate.interval.name(), "opens": certificate.opens.rfc3339(zone), "closes": certificate.closes.rfc3339(zone),
        "expected": certificate.expected, "present": certificate.present, "missing": certificate.missing,
        "revised": certificate.revised, "mismatched": certificate.mismatched, "unfillable": unfillable, "seam": seam,
        "previous": previous, "hash": certificate.hash, "through": certificate.through,
    })
}

/// A bar as the JSON object that WebSocket and REST share.
pub fn bar_json(zones: &Zones, bar: &Bar) -> String {
    let mut json = Json::new();
    json.push_bar(bar, zones.of(bar.key.symbol));
    String::from_utf8(json.0).unwrap_or_default()
}

/// A tick as the `data` object that WebSocket and REST share.
pub fn tick_json(tick: &AcceptedTick) -> String {
    let mut json = Json::new();
    json.tick_data(tick);
    String::from_utf8(json.0).unwrap_or_default()
}

/// A gap as the JSON object that WebSocket and REST share.
pub fn gap_json(zones: &Zones, gap: &Gap) -> String {
    let mut json = Json::new();
    json.push_gap(gap, zones.of(gap.symbol));
    String::from_utf8(json.0).unwrap_or_default()
}

/// The first byte of a complete frame of each kind: FIN bit and opcode.
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

/// One final, unmasked frame; `first` is its FIN bit and opcode.
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

/// The newest message's frame with `from` added: it stands for all messages from `from` on.
pub fn covering(frame: &Bytes, from: u64) -> Bytes {
    let payload = payload(frame);
    let Some(at) = payload.windows(SEQ_KEY.len()).position(|part| part == SEQ_KEY) else {
        return frame.clone();
    };
    let (before, after) = payload.split_at(at);
    let mut json = Json(Vec::with_capacity(payload.len().saturating_add(32)));
    json.0.extend_from_slice(before);
    json.push_raw("\"from\":").push_int(from).push_raw(",");
    json.0.extend_from_slice(after);
    text_frame(&json.0)
}

/// Notifies a channel's subscribers that its epoch changed: the next message comes after `new.seq`.
pub fn discontinuity(channel: Channel, old: &Head, new: &Head) -> Bytes {
    let mut json = Json::new();
    json.push_raw("{\"type\":\"discontinuity\",\"channel\":\"")
        .push_channel(channel);
    json.push_raw("\",\"old_epoch\":\"").push_raw(old.epoch.as_str());
    json.push_raw("\",\"epoch\":\"").push_raw(new.epoch.as_str());
    json.push_raw("\",\"seq\":").push_int(new.seq);
    json.push_raw(",\"why\":\"this channel has a new epoch\"}");
    text_frame(&json.0)
}

/// Notifies a client that it has become slow, or is no longer.
pub fn slow(warn: bool, conflated: u64) -> Bytes {
    let mut json = Json::new();
    json.push_raw("{\"type\":\"slow\",\"level\":")
        .push_raw(if warn { "\"warn\"" } else { "\"clear\"" });
    json.push_raw(",\"conflated\":").push_int(conflated).push_raw("}");
    text_frame(&json.0)
}

/// A JSON text under construction.
struct Json(Vec<u8>);

impl Json {
    fn new() -> Self {
        Self(Vec::with_capacity(512))
    }

    fn push_raw(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn push_int(&mut self, number: u64) -> &mut Self {
        self.push_raw(itoa::Buffer::new().format(number))
    }

    fn push_signed(&mut self, number: i64) -> &mut Self {
        self.push_raw(itoa::Buffer::new().format(number))
    }

    fn push_price(&mut self, price: Price) -> &mut Self {
        price.write_to(&mut self.0);
        self
    }

    fn push_instant(&mut self, at: Timestamp, zone: Tz) -> &mut Self {
        self.push_raw(&at.rfc3339(zone))
    }

    /// Writes any text, quoted and escaped.
    fn push_quoted(&mut self, text: &str) -> &mut Self {
        let quoted = serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned());
        self.push_raw(&quoted)
    }

    /// Writes a channel name, which holds nothing that JSON would escape.
    fn push_channel(&mut self, channel: Channel) -> &mut Self {
        self.push_raw(&channel.to_string())
    }

    fn open(&mut self, kind: &str, numbered: &Sequenced) -> &mut Self {
        self.push_raw("{\"type\":\"")
            .push_raw(kind)
            .push_raw("\",\"channel\":\"");
        if let Some(channel) = numbered.channel {
            self.push_channel(channel);
        }
        self.push_raw("\",\"seq\":")
            .push_int(numbered.seq)
            .push_raw(",\"data\":")
    }

    fn close(&mut self, at: Timestamp, zone: Tz) {
        self.push_raw(",\"timestamp\":\"")
            .push_instant(at, zone)
            .push_raw("\"}");
    }

    fn push_tick(&mut self, numbered: &Sequenced, tick: &AcceptedTick, zone: Tz) {
        self.open("market_data", numbered).tick_data(tick);
        self.close(numbered.at, zone);
    }

    fn tick_data(&mut self, accepted: &AcceptedTick) {
        let tick = &accepted.tick;
        self.push_raw("{\"event\":\"price\",\"symbol\":\"")
            .push_raw(tick.symbol.as_str());
        self.push_raw("\",\"price\":").push_price(tick.price);
        if let Some(bid) = tick.bid {
            self.push_raw(",\"bid\":").push_price(bid);
        }
        if let Some(ask) = tick.ask {
            self.push_raw(",\"ask\":").push_price(ask);
        }
        if let (Some(bid), Some(ask)) = (tick.bid, tick.ask) {
            self.push_raw(",\"spread\":").push_price(ask.minus(bid));
        }
        self.push_raw(",\"timestamp\":").push_signed(tick.at.secs());
        self.push_raw(",\"received_us\":")
            .push_signed(accepted.received_at.micros());
        self.push_raw(",\"source\":\"")
            .push_raw(tick.provenance.name())
            .push_raw("\"}");
    }

    fn push_bar(&mut self, bar: &Bar, zone: Tz) -> &mut Self {
        self.push_raw("{\"symbol\":\"").push_raw(bar.key.symbol.as_str());
        self.push_raw("\",\"interval\":\"").push_raw(bar.key.interval.name());
        self.push_raw("\",\"open_time\":\"")
            .push_instant(bar.key.opens_at, zone);
        self.push_raw("\",\"close_time\":\"").push_instant(bar.closes_at, zone);
        self.push_raw("\",\"open\":").push_price(bar.ohlc.open);
        self.push_raw(",\"high\":").push_price(bar.ohlc.high);
        self.push_raw(",\"low\":").push_price(bar.ohlc.low);
        self.push_raw(",\"close\":").push_price(bar.ohlc.close);
        self.push_raw(",\"volume\":null,\"ticks\":")
            .push_int(u64::from(bar.ticks));
        self.push_raw(",\"state\":\"").push_raw(bar.state.name());
        self.push_raw("\",\"revision\":").push_int(u64::from(bar.revision));
        self.push_raw(",\"provenance\":\"").push_raw(bar.provenance.name());
        self.push_raw("\",\"flags\":[");
        for (i, name) in bar.flags.names().enumerate() {
            self.push_raw(if i == 0 { "\"" } else { ",\"" })
                .push_raw(name)
                .push_raw("\"");
        }
        self.push_raw("],\"session_date\":\"")
            .push_raw(&bar.session_date.to_string());
        self.push_raw("\",\"session_type\":\"")
            .push_raw(bar.session_kind.name())
            .push_raw("\"");
        if bar.state == BarState::Partial {
            self.push_raw(",\"forming\":true");
        }
        self.push_raw("}")
    }

    fn bar_end(&mut self, end: &BarEnd, zone: Tz) {
        self.push_raw("{\"type\":\"bar_end\",\"interval\":\"")
            .push_raw(end.interval.name());
        self.push_raw("\",\"open_time\":\"").push_instant(end.opens_at, zone);
        self.push_raw("\",\"complete\":[");
        for (i, symbol) in end.complete.iter().enumerate() {
            self.push_raw(if i == 0 { "\"" } else { ",\"" })
                .push_raw(symbol.as_str())
                .push_raw("\"");
        }
        self.push_raw("],\"incomplete\":{");
        for (i, (symbol, reason)) in end.incomplete.iter().enumerate() {
            self.push_raw(if i == 0 { "\"" } else { ",\"" })
                .push_raw(symbol.as_str());
            self.push_raw("\":").push_quoted(reason);
        }
        self.push_raw("}}");
    }

    fn push_gap(&mut self, gap: &Gap, zone: Tz) -> &mut Self {
        self.push_raw("{\"id\":\"g-").push_int(gap.id);
        self.push_raw("\",\"symbol\":\"").push_raw(gap.symbol.as_str());
        self.push_raw("\",\"interval\":\"").push_raw(gap.interval.name());
        self.push_raw("\",\"from\":\"").push_instant(gap.from, zone);
        self.push_raw("\",\"to\":\"").push_instant(gap.to, zone);
        self.push_raw("\",\"bars\":").push_int(u64::from(gap.bars));
        self.push_raw(",\"status\":\"").push_raw(gap.status.name());
        self.push_raw("\",\"cause\":").push_quoted(&gap.cause).push_raw("}")
    }

    fn push_seam(&mut self, found: &SeamFound, zone: Tz) -> &mut Self {
        let seam = &found.seam;
        self.push_raw("{\"symbol\":\"").push_raw(found.symbol.as_str());
        self.push_raw("\",\"last_history_bar\":");
        match seam.last_history_bar {
            Some(at) => self.push_raw("\"").push_instant(at, zone).push_raw("\""),
            None => self.push_raw("null"),
        };
        self.push_raw(",\"first_live_bar\":\"")
            .push_instant(seam.first_live_bar, zone);
        for (name, bars) in [
            ("\",\"ours\":", seam.ours),
            (",\"missing\":", seam.missing),
            (",\"overlapping\":", seam.overlapping),
            (",\"differing\":", seam.differing),
        ] {
            self.push_raw(name).push_int(u64::try_from(bars).unwrap_or(u64::MAX));
        }
        let examples = serde_json::to_string(&seam.examples).unwrap_or_else(|_| "[]".to_owned());
        self.push_raw(",\"examples\":").push_raw(&examples).push_raw("}")
    }

    fn push_session(&mut self, change: &SessionChange, zone: Tz) -> &mut Self {
        let phase = match change.phase {
            SessionPhase::OpeningSoon => "opening_soon",
            SessionPhase::Open => "open",
            SessionPhase::ClosingSoon => "closing_soon",
            SessionPhase::Closed => "closed",
        };
        self.push_raw("{\"symbol\":\"").push_raw(change.symbol.as_str());
        self.push_raw("\",\"status\":\"").push_raw(phase);
        self.push_raw("\",\"session_date\":\"")
            .push_raw(&change.date.to_string());
        self.push_raw("\",\"type\":\"").push_raw(change.kind.name());
        self.push_raw("\",\"opens\":\"").push_instant(change.opens, zone);
        self.push_raw("\",\"closes\":\"")
            .push_instant(change.closes, zone)
            .push_raw("\"}")
    }
}

#[cfg(test)]
#[path = "tests/frames.rs"]
mod tests;
