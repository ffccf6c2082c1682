//! What a client can check by itself: that nothing is missing, repeated or out of order on a connection. One integer a channel.

use serde_json::Value;
use std::collections::BTreeMap;

/// Reads the messages of one connection after the other, and names each violation of the guarantees.
#[derive(Debug, Default)]
pub struct Continuity {
    last: BTreeMap<String, u64>,
    /// Open time of the last closed bar of each channel.
    closed: BTreeMap<String, String>,
    welcomed: bool,
    messages: u64,
}

impl Continuity {
    /// The next message of the same connection; what is wrong with it, if anything.
    pub fn read(&mut self, message: &Value) -> Option<String> {
        self.messages = self.messages.saturating_add(1);
        let kind = message.get("type").and_then(Value::as_str);
        let Some(kind) = kind else {
            return Some(format!("a message without a type: {message}"));
        };
        if !self.welcomed {
            self.welcomed = kind == "welcome";
            return (!self.welcomed).then(|| format!("the first message is {kind}, not welcome"));
        }
        match kind {
            "subscribed" => self.begin(message),
            "market_data" | "gap" | "session" | "skipped" => self.advance(message),
            "bar" => self.advance_bar(message),
            "replay_end" => self.compare(message),
            _ => None,
        }
    }

    /// How many messages were read.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// The last seq of each channel.
    #[must_use]
    pub const fn positions(&self) -> &BTreeMap<String, u64> {
        &self.last
    }

    fn begin(&mut self, message: &Value) -> Option<String> {
        for answer in message.get("channels").and_then(Value::as_array).into_iter().flatten() {
            let (Some(channel), Some(seq)) = (text(answer, "channel"), number(answer, "seq")) else {
                continue;
            };
            let replayed = number(answer, "replayed").unwrap_or(0);
            self.last.insert(channel.to_owned(), seq.saturating_sub(replayed));
        }
        None
    }

    fn advance(&mut self, message: &Value) -> Option<String> {
        let (Some(channel), Some(seq)) = (text(message, "channel"), number(message, "seq")) else {
            return Some(format!("a durable message without channel or seq: {message}"));
        };
        let from = number(message, "from").unwrap_or(seq);
        let Some(last) = self.last.insert(channel.to_owned(), seq) else {
            return Some(format!(
                "{channel}: a message although the channel was never subscribed"
            ));
        };
        if from == last.saturating_add(1) && from <= seq {
            return None;
        }
        let what = if from <= last {
            "repeated or out of order"
        } else {
            "missing before it"
        };
        Some(format!("{channel}: [{from}, {seq}] came after {last}: {what}"))
    }

    fn advance_bar(&mut self, message: &Value) -> Option<String> {
        let channel = text(message, "channel").unwrap_or_default().to_owned();
        let data = message.get("data")?;
        let opens = text(data, "open_time").unwrap_or_default();
        if text(data, "state") == Some("partial") {
            let stale = self.closed.get(&channel).is_some_and(|closed| opens <= closed.as_str());
            return stale.then(|| format!("{channel}: the bar of {opens} still forms after it was closed"));
        }
        let newest = self.closed.entry(channel).or_default();
        if newest.as_str() < opens {
            opens.clone_into(newest);
        }
        self.advance(message)
    }

    fn compare(&self, message: &Value) -> Option<String> {
        let channel = text(message, "channel")?;
        let (told, last) = (number(message, "seq")?, self.last.get(channel).copied()?);
        (told != last).then(|| format!("{channel}: the replay ends at {told}, but {last} was the last that came"))
    }
}

fn text<'a>(message: &'a Value, name: &str) -> Option<&'a str> {
    message.get(name).and_then(Value::as_str)
}

fn number(message: &Value, name: &str) -> Option<u64> {
    message.get(name).and_then(Value::as_u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tick(seq: u64) -> Value {
        json!({"type": "market_data", "channel": "ticks:USD/COP", "seq": seq, "data": {}})
    }

    fn bar(seq: Option<u64>, opens: &str, state: &str) -> Value {
        let mut bar =
            json!({"type": "bar", "channel": "bars.5m:USD/COP", "data": {"open_time": opens, "state": state}});
        if let Some(seq) = seq {
            bar["seq"] = json!(seq);
        }
        bar
    }

    fn opening() -> Vec<Value> {
        vec![
            json!({"type": "welcome"}),
            json!({"type": "subscribed", "channels": [
                {"channel": "ticks:USD/COP", "seq": 5, "epoch": "aaaa", "recovered": true, "replayed": 2},
                {"channel": "bars.5m:USD/COP", "seq": 2, "epoch": "bbbb"}]}),
        ]
    }

    fn good() -> Vec<Value> {
        let mut messages = opening();
        messages.extend([
            tick(4),
            tick(5),
            json!({"type": "replay_end", "channel": "ticks:USD/COP", "seq": 5, "count": 2}),
            bar(None, "08:00", "partial"),
            tick(6),
            bar(Some(3), "08:00", "closed"),
            bar(None, "08:05", "partial"),
            json!({"type": "market_data", "channel": "ticks:USD/COP", "from": 7, "seq": 9, "data": {}}),
            json!({"type": "skipped", "channel": "ticks:USD/COP", "from": 10, "seq": 12, "why": "position_expired"}),
            tick(13),
        ]);
        messages
    }

    fn violations(messages: &[Value]) -> usize {
        let mut continuity = Continuity::default();
        messages.iter().filter_map(|message| continuity.read(message)).count()
    }

    #[test]
    fn a_server_that_keeps_its_word_is_found_so() {
        assert_eq!(violations(&good()), 0);
    }

    #[test]
    fn a_server_that_drops_repeats_or_reorders_is_caught() {
        let good = good();
        let durable = |message: &Value| message.get("seq").is_some() && message["type"] != "replay_end";
        for i in (2..good.len()).filter(|i| durable(&good[*i])) {
            let last_of_channel = !good[i + 1..]
                .iter()
                .any(|m| durable(m) && m["channel"] == good[i]["channel"]);
            let mut dropped = good.clone();
            dropped.remove(i);
            assert!(last_of_channel || violations(&dropped) > 0, "dropped {}", good[i]);
            let mut repeated = good.clone();
            repeated.insert(i, good[i].clone());
            assert!(violations(&repeated) > 0, "repeated {}", good[i]);
        }
        let mut reordered = good.clone();
        reordered.swap(2, 3);
        assert!(violations(&reordered) > 0);
        let mut late_partial = good.clone();
        late_partial.push(bar(None, "08:00", "partial"));
        assert_eq!(violations(&late_partial), 1);
        assert!(violations(&good[1..]) > 0, "no welcome");
    }
}
