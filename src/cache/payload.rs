//! Keys and payloads, byte for byte as in the old service.

use crate::domain::model::{AcceptedTick, Channel, Price, Provenance, Symbol};
use chrono::SecondsFormat;

/// The pub/sub channel of every tick.
pub const CHANNEL: &str = "market_data:realtime";

/// The key of a pair's last price, such as `usdcop:latest_price`.
pub fn latest_key(symbol: Symbol) -> String {
    format!("{}:latest_price", symbol.compact().to_ascii_lowercase())
}

/// The key of a channel's stream, such as `candela:stream:ticks:USD/COP`.
pub fn stream_key(channel: Channel) -> String {
    format!("candela:stream:{channel}")
}

/// The JSON of the last price: `timestamp` is when it was received, with the offset of Bogota; a missing bid or ask is the price.
pub fn price_json(accepted: &AcceptedTick) -> String {
    let tick = &accepted.tick;
    let bid = tick.bid.unwrap_or(tick.price);
    let ask = tick.ask.unwrap_or(tick.price);
    let received = accepted
        .received_at
        .datetime()
        .with_timezone(&chrono_tz::America::Bogota);
    format!(
        r#"{{"symbol":"{}","price":{},"bid":{},"ask":{},"spread":{},"volume":0,"timestamp":"{}","source":"{}"}}"#,
        tick.symbol.compact(),
        number(tick.price),
        number(bid),
        number(ask),
        number(ask.minus(bid)),
        received.to_rfc3339_opts(SecondsFormat::Micros, false),
        source(tick.provenance),
    )
}

/// The message that is published for one tick.
pub fn update_json(price: &str) -> String {
    format!(r#"{{"type":"price_update","data":{price}}}"#)
}

/// A number with a fraction in any case, because readers that distinguish integers from floats expect one.
fn number(price: Price) -> String {
    let text = price.to_string();
    if text.contains('.') { text } else { format!("{text}.0") }
}

/// The old service's name for a price's source.
const fn source(provenance: Provenance) -> &'static str {
    match provenance {
        Provenance::Live => "twelvedata_websocket",
        Provenance::Polled | Provenance::Backfill | Provenance::L0 | Provenance::Mixed => "twelvedata_rest",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{Tick, Timestamp};

    fn accepted(bid: Option<i64>, ask: Option<i64>) -> AcceptedTick {
        AcceptedTick {
            tick: Tick {
                symbol: Symbol::usdcop(),
                price: Price::from_micros(4_275_450_000),
                bid: bid.map(Price::from_micros),
                ask: ask.map(Price::from_micros),
                at: Timestamp::from_secs(1_761_138_000),
                provenance: Provenance::Live,
            },
            received_at: Timestamp::from_micros(1_761_138_000_170_001),
        }
    }

    #[test]
    fn the_latest_price_reads_as_the_old_one_did() {
        assert_eq!(
            price_json(&accepted(Some(4_275_200_000), Some(4_275_700_000))),
            r#"{"symbol":"USDCOP","price":4275.45,"bid":4275.2,"ask":4275.7,"spread":0.5,"volume":0,"timestamp":"2025-10-22T08:00:00.170001-05:00","source":"twelvedata_websocket"}"#
        );
        let bare = price_json(&accepted(None, None));
        assert!(bare.contains(r#""bid":4275.45,"ask":4275.45,"spread":0.0,"#), "{bare}");
        let value: serde_json::Value = serde_json::from_str(&update_json(&bare)).unwrap();
        assert_eq!(
            (&value["type"], &value["data"]["symbol"]),
            (&"price_update".into(), &"USDCOP".into())
        );
    }

    #[test]
    fn every_pair_has_a_key_of_its_own() {
        assert_eq!(latest_key(Symbol::usdcop()), "usdcop:latest_price");
        assert_eq!(latest_key("USD/MXN".parse().unwrap()), "usdmxn:latest_price");
        assert_eq!(
            stream_key(Channel::ticks(Symbol::usdcop())),
            "candela:stream:ticks:USD/COP"
        );
    }
}
