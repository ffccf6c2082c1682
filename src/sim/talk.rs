//! What clients say on a WebSocket, and what the vendor answers.

use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use crate::sim::acts::Target;
use crate::sim::frames::{self, Empty};
use crate::sim::scenario::{Moment, Trouble};
use crate::sim::stage::Stage;
use serde_json::Value;

impl Stage {
    /// A client said something. Nothing is answered on a silent connection.
    pub(super) fn heard(&mut self, id: u64, text: &str, now: Timestamp) {
        let Some(socket) = self.sockets.get(&id) else { return };
        if socket.silent_until.is_some_and(|until| now < until) {
            return;
        }
        let (key, plan) = (socket.key, self.plan);
        self.counters.events_total += 1;
        if let Some(Err(count)) = self.accounts.at(key).map(|account| account.event(&plan, now)) {
            let limit = plan.events_per_minute;
            let text = format!(
                "The server received {count} events from you, which exceeds the limit of {limit} events per minute. \
                 You may wait for the next minute or contact our support to increase limits."
            );
            self.say_text(id, &frames::processing_error(&text), now);
            return;
        }
        let said: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        match said.get("action").and_then(Value::as_str) {
            Some("heartbeat") => self.heartbeat(id, now),
            Some("subscribe") => self.subscribe(id, &said, now),
            Some("unsubscribe") => self.unsubscribe(id, &said, now),
            Some("reset") => {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.symbols.clear();
                }
                self.say_text(id, frames::RESET, now);
            }
            _ => {
                let text = frames::processing_error(
                    "The event was not recognized. Allowed actions are subscribe, unsubscribe, reset, heartbeat.",
                );
                self.say_text(id, &text, now);
            }
        }
    }

    fn heartbeat(&mut self, id: u64, now: Timestamp) {
        self.counters.heartbeats_total += 1;
        self.happened(Moment::Heartbeat, Target::Socket(id), now);
        if !self.weather.has(&Trouble::IgnoreHeartbeats, now) {
            self.say_text(id, frames::HEARTBEAT, now);
        }
    }

    fn subscribe(&mut self, id: u64, said: &Value, now: Timestamp) {
        self.counters.subscribes_total += 1;
        self.happened(Moment::Subscribe, Target::Socket(id), now);
        if self.weather.has(&Trouble::IgnoreSubscribes, now) {
            return;
        }
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for name in asked(said) {
            match known(&name).filter(|symbol| self.serves(*symbol, now)) {
                Some(symbol) => good.push(symbol),
                None => bad.push(name),
            }
        }
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.symbols.extend(&good);
        }
        let text = frames::status("subscribe-status", &good, &bad, self.empty_lists(now));
        if self.say_text(id, &text, now) {
            self.happened(Moment::Status, Target::Socket(id), now);
        }
    }

    fn unsubscribe(&mut self, id: u64, said: &Value, now: Timestamp) {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for name in asked(said) {
            match known(&name).filter(|symbol| socket.symbols.remove(symbol)) {
                Some(symbol) => good.push(symbol),
                None => bad.push(name),
            }
        }
        let text = frames::status("unsubscribe-status", &good, &bad, self.empty_lists(now));
        self.say_text(id, &text, now);
    }

    fn serves(&self, symbol: Symbol, now: Timestamp) -> bool {
        self.market.has(&symbol) && !self.weather.has(&Trouble::RefuseSymbol(symbol), now)
    }

    fn empty_lists(&self, now: Timestamp) -> Empty {
        let shape = |trouble: &Trouble| match trouble {
            Trouble::NullLists => Some(Empty::Null),
            Trouble::NoLists => Some(Empty::Missing),
            _ => None,
        };
        self.weather.find(now, shape).unwrap_or(Empty::List)
    }
}

/// The names of `params.symbols`: a comma list, or a list of texts or of objects with a `symbol`.
fn asked(said: &Value) -> Vec<String> {
    match said.pointer("/params/symbols") {
        Some(Value::String(list)) => list
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect(),
        Some(Value::Array(items)) => {
            let name = |item: &Value| {
                item.as_str()
                    .or_else(|| item.get("symbol").and_then(Value::as_str))
                    .map(str::to_owned)
            };
            items.iter().filter_map(name).collect()
        }
        _ => Vec::new(),
    }
}

/// The pair a vendor's name means: spelled with a slash, an exchange after a colon set aside.
fn known(name: &str) -> Option<Symbol> {
    let pair = name.split_once(':').map_or(name, |(pair, _)| pair);
    pair.parse().ok().filter(|symbol: &Symbol| symbol.as_str() == pair)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn symbols_are_asked_for_in_three_ways() {
        for symbols in [
            json!("USD/COP, X"),
            json!(["USD/COP", "X"]),
            json!([{"symbol": "USD/COP", "type": "Forex"}, {"symbol": "X"}]),
        ] {
            assert_eq!(asked(&json!({"params": {"symbols": symbols}})), ["USD/COP", "X"]);
        }
        assert!(asked(&json!({"params": {"symbols": 5}})).is_empty());
    }

    #[test]
    fn a_pair_is_spelled_in_upper_case_with_a_slash() {
        assert_eq!(known("USD/COP"), Some(Symbol::usdcop()));
        assert_eq!(known("USD/COP:FOREX"), Some(Symbol::usdcop()));
        assert_eq!((known("USDCOP"), known("usd/cop"), known("X")), (None, None, None));
    }
}
