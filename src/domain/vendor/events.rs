//! The vendor's WebSocket protocol from the server's side: parses what clients send, encodes what the vendor sends. Shared by the simulated
//! vendor and by our own interface for the vendor's clients.

use crate::domain::model::{Price, Symbol};
use crate::domain::vendor::currencies;
use serde_json::{Value, json};

/// The answer to a heartbeat.
pub const HEARTBEAT: &str = r#"{"event":"heartbeat","status":"ok"}"#;
/// The answer to a reset.
pub const RESET: &str = r#"{"event":"reset-status","status":"ok"}"#;
/// The error text for an event that cannot be parsed.
pub const NOT_RECOGNIZED: &str =
    "The event was not recognized. Allowed actions are subscribe, unsubscribe, reset, heartbeat.";

/// A request of a client on the WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamAction {
    /// Subscribe to these symbols.
    Subscribe(Vec<String>),
    /// Unsubscribe from these symbols.
    Unsubscribe(Vec<String>),
    /// Drop all subscriptions.
    Reset,
    /// A heartbeat, to be answered.
    Heartbeat,
}

impl StreamAction {
    /// Parses a client's message; `None` if it is not a known action.
    pub fn read(text: &str) -> Option<Self> {
        let said: Value = serde_json::from_str(text).ok()?;
        match said.get("action")?.as_str()? {
            "subscribe" => Some(Self::Subscribe(symbol_names(&said))),
            "unsubscribe" => Some(Self::Unsubscribe(symbol_names(&said))),
            "reset" => Some(Self::Reset),
            "heartbeat" => Some(Self::Heartbeat),
            _ => None,
        }
    }
}

/// The symbols of `params.symbols`: a comma-separated list, or a list of texts or of objects with a `symbol`.
fn symbol_names(said: &Value) -> Vec<String> {
    match said.pointer("/params/symbols") {
        Some(Value::String(list)) => list
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect(),
        Some(Value::Array(items)) => items
            .iter()
            .filter_map(|item: &Value| {
                item.as_str()
                    .or_else(|| item.get("symbol").and_then(Value::as_str))
                    .map(str::to_owned)
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Parses a symbol in the vendor's spelling: with a slash, and optionally `:` and an exchange, which is ignored.
fn parse_known(name: &str) -> Option<Symbol> {
    let pair = name.split_once(':').map_or(name, |(pair, _)| pair);
    pair.parse().ok().filter(|symbol: &Symbol| symbol.as_str() == pair)
}

/// The symbols for which an action succeeded, and those for which it failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sorted {
    /// The pairs for which it succeeded.
    pub good: Vec<Symbol>,
    /// The symbols for which it failed.
    pub bad: Vec<String>,
}

impl Sorted {
    /// Splits `names` into pairs for which `works` holds, and the rest.
    pub fn of(names: Vec<String>, mut works: impl FnMut(Symbol) -> bool) -> Self {
        let mut sorted = Self::default();
        for name in names {
            match parse_known(&name).filter(|symbol| works(*symbol)) {
                Some(symbol) => sorted.good.push(symbol),
                None => sorted.bad.push(name),
            }
        }
        sorted
    }

    /// The answer: a `subscribe-status` or `unsubscribe-status` event.
    pub fn status(&self, event: &str, empty: Empty) -> String {
        let status = match (self.good.as_slice(), self.bad.as_slice()) {
            (_, []) => "ok",
            ([], _) => "error",
            _ => "warning",
        };
        let success = self
            .good
            .iter()
            .map(|symbol| json!({"symbol": symbol, "exchange": "PHYSICAL CURRENCY", "type": "PHYSICAL_CURRENCY"}))
            .collect();
        let fails = self.bad.iter().map(|symbol| json!({"symbol": symbol})).collect();
        let mut text = format!("{{\"event\":\"{event}\",\"status\":\"{status}\"");
        for (name, list) in [("success", Value::Array(success)), ("fails", Value::Array(fails))] {
            let none = list.as_array().is_some_and(Vec::is_empty);
            match empty {
                Empty::Missing if none => {}
                Empty::Null if none => text += &format!(",\"{name}\":null"),
                Empty::List | Empty::Null | Empty::Missing => text += &format!(",\"{name}\":{list}"),
            }
        }
        text.push('}');
        text
    }
}

/// How an empty list is written in a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// `[]`.
    List,
    /// `null`.
    Null,
    /// Omitted.
    Missing,
}

/// A price event: timestamp in Unix seconds, price as the given text, bid and ask if present.
pub fn price(symbol: &Symbol, stamp: i64, price: &str, bid: Option<Price>, ask: Option<Price>) -> String {
    let mut text = price_head(symbol);
    text += &format!(",\"timestamp\":{stamp},\"price\":{price}");
    for (name, side) in [("bid", bid), ("ask", ask)] {
        if let Some(side) = side {
            text += &format!(",\"{name}\":{side}");
        }
    }
    text.push('}');
    text
}

/// The part of a price event before its timestamp; the JSON object is left open.
pub fn price_head(symbol: &Symbol) -> String {
    let (base, quote) = currencies(symbol);
    let [symbol, base, quote] = [symbol.as_str(), base, quote].map(|text| Value::from(text).to_string());
    format!(
        "{{\"event\":\"price\",\"symbol\":{symbol},\"currency_base\":{base},\"currency_quote\":{quote},\
         \"type\":\"Physical Currency\""
    )
}

/// Sent to a client that sent too many events, or one that cannot be parsed.
pub fn processing_error(message: &str) -> String {
    json!({"event": "message-processing", "status": "error", "messages": [message]}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_asked_for_in_three_ways() {
        for symbols in [
            json!("USD/COP, X"),
            json!(["USD/COP", "X"]),
            json!([{"symbol": "USD/COP", "type": "Forex"}, {"symbol": "X"}]),
        ] {
            let said = json!({"action": "subscribe", "params": {"symbols": symbols}});
            let names = vec!["USD/COP".to_owned(), "X".to_owned()];
            assert_eq!(
                StreamAction::read(&said.to_string()),
                Some(StreamAction::Subscribe(names))
            );
        }
        let said = json!({"action": "unsubscribe", "params": {"symbols": 5}});
        assert_eq!(
            StreamAction::read(&said.to_string()),
            Some(StreamAction::Unsubscribe(Vec::new()))
        );
    }

    #[test]
    fn what_is_no_action_of_the_vendors_is_not_understood() {
        assert_eq!(StreamAction::read(r#"{"action":"reset"}"#), Some(StreamAction::Reset));
        assert_eq!(
            StreamAction::read(r#"{"action":"heartbeat"}"#),
            Some(StreamAction::Heartbeat)
        );
        for text in ["", "{}", "[]", "7", r#"{"action":"auth"}"#, r#"{"action":7}"#] {
            assert_eq!(StreamAction::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_pair_is_spelled_in_upper_case_with_a_slash() {
        assert_eq!(parse_known("USD/COP"), Some(Symbol::usdcop()));
        assert_eq!(parse_known("USD/COP:FOREX"), Some(Symbol::usdcop()));
        assert_eq!(
            (parse_known("USDCOP"), parse_known("usd/cop"), parse_known("X")),
            (None, None, None)
        );
    }

    #[test]
    fn a_price_is_written_as_documented() {
        let exact = Price::from_micros(3_270_260_010);
        let head = "{\"event\":\"price\",\"symbol\":\"USD/COP\",\"currency_base\":\"US Dollar\",\
             \"currency_quote\":\"Colombian Peso\",\"type\":\"Physical Currency\"";
        assert_eq!(
            price(&Symbol::usdcop(), 1_761_138_000, &exact.to_string(), None, None),
            format!("{head},\"timestamp\":1761138000,\"price\":3270.26001}}")
        );
        assert_eq!(
            price(&Symbol::usdcop(), 0, "\"1.5\"", Some(exact), Some(exact)),
            format!("{head},\"timestamp\":0,\"price\":\"1.5\",\"bid\":3270.26001,\"ask\":3270.26001}}")
        );
    }

    #[test]
    fn a_status_says_ok_warning_or_error_and_writes_empty_lists_as_told() {
        let check = |names: &[&str], empty, expect: &str| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            let sorted = Sorted::of(names, |_| true);
            assert_eq!(
                sorted.status("subscribe-status", empty),
                format!("{{\"event\":\"subscribe-status\",{expect}}}")
            );
        };
        let item = "{\"exchange\":\"PHYSICAL CURRENCY\",\"symbol\":\"USD/COP\",\"type\":\"PHYSICAL_CURRENCY\"}";
        let of_item = format!("\"success\":[{item}]");
        check(
            &["USD/COP"],
            Empty::List,
            &format!("\"status\":\"ok\",{of_item},\"fails\":[]"),
        );
        check(
            &["USD/COP"],
            Empty::Null,
            &format!("\"status\":\"ok\",{of_item},\"fails\":null"),
        );
        check(
            &["X"],
            Empty::Missing,
            "\"status\":\"error\",\"fails\":[{\"symbol\":\"X\"}]",
        );
        check(
            &["USD/COP", "X"],
            Empty::Null,
            &format!("\"status\":\"warning\",{of_item},\"fails\":[{{\"symbol\":\"X\"}}]"),
        );
    }

    #[test]
    fn a_pair_for_which_it_does_not_work_fails_by_its_own_name() {
        let names = vec!["USD/COP".to_owned(), "EUR/USD:FOREX".to_owned()];
        let sorted = Sorted::of(names, |symbol| symbol == Symbol::usdcop());
        assert_eq!(sorted.good, [Symbol::usdcop()]);
        assert_eq!(sorted.bad, ["EUR/USD:FOREX"]);
    }
}
