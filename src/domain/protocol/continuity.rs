//! A client's own check that no message is missing, repeated or out of order, on a connection and from one connection to the next. It needs
//! one integer and one epoch per channel.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The position up to which a channel was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPosition {
    /// The epoch of its log.
    pub epoch: Option<String>,
    /// The last seq.
    pub seq: u64,
}

/// Checks the messages of consecutive connections, and names each violation of the guarantees.
#[derive(Debug, Default)]
pub struct Continuity {
    last: BTreeMap<String, ChannelPosition>,
    /// The position of each channel when the last connection ended: the next connection must continue there, or say that it cannot.
    before: BTreeMap<String, ChannelPosition>,
    /// Open time of the last closed bar of each channel.
    closed: BTreeMap<String, String>,
    /// Open time of the last bar of each channel that a `bar_end` called complete.
    ended: BTreeMap<String, String>,
    welcomed: bool,
    messages: u64,
    told: u64,
}

impl Continuity {
    /// Checks the next message of the connection. Returns the violation, if there is one.
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
            "subscribed" => self.check_subscribed(message),
            "unsubscribed" => self.note_unsubscribed(message),
            "market_data" | "gap" | "seam" | "certificate" | "session" | "event" => self.check_advance(message),
            "skipped" => {
                self.told = self.told.saturating_add(1);
                self.check_advance(message)
            }
            "discontinuity" => self.reset_epoch(message),
            "bar" => self.advance_bar(message),
            "bar_end" => self.end_bar(message),
            "replay_end" => self.check_replay_end(message),
            _ => None,
        }
    }

    /// The connection ended, and another begins.
    pub fn reconnected(&mut self) {
        self.welcomed = false;
        self.before.append(&mut self.last);
    }

    /// The `since` for the next connection's request.
    pub fn since(&self) -> Value {
        Value::Object(
            self.before
                .iter()
                .map(|(channel, place): (&String, &ChannelPosition)| {
                    let position = json!({"epoch": place.epoch, "seq": place.seq});
                    (channel.clone(), position)
                })
                .collect(),
        )
    }

    /// How many messages were read.
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// How often the server reported that it could not send everything.
    pub const fn told(&self) -> u64 {
        self.told
    }

    /// The position of each channel.
    pub const fn positions(&self) -> &BTreeMap<String, ChannelPosition> {
        &self.last
    }

    fn check_subscribed(&mut self, message: &Value) -> Option<String> {
        let mut wrong = None;
        for answer in message.get("channels").and_then(Value::as_array).into_iter().flatten() {
            let (Some(channel), Some(seq)) = (text_member(answer, "channel"), number_member(answer, "seq")) else {
                continue;
            };
            let epoch = text_member(answer, "epoch").map(str::to_owned);
            let begins = seq.saturating_sub(number_member(answer, "replayed").unwrap_or(0));
            if let Some(before) = self.before.remove(channel) {
                let fault = self.check_resumed(channel, &before, answer, begins);
                wrong = wrong.or(fault);
            }
            self.last
                .insert(channel.to_owned(), ChannelPosition { epoch, seq: begins });
        }
        wrong
    }

    /// The violation in the answer to a client that was at `before`.
    fn check_resumed(
        &mut self,
        channel: &str,
        before: &ChannelPosition,
        answer: &Value,
        begins: u64,
    ) -> Option<String> {
        match answer.get("recovered").and_then(Value::as_bool) {
            None => Some(format!(
                "{channel}: requested from {before:?} on, and the answer does not say whether that was recovered"
            )),
            Some(false) => {
                self.told = self.told.saturating_add(1);
                let silent = text_member(answer, "reason").is_none();
                silent.then(|| format!("{channel}: not recovered, and no reason is given"))
            }
            Some(true)
                if begins != before.seq
                    || before.epoch.is_some() && text_member(answer, "epoch") != before.epoch.as_deref() =>
            {
                Some(format!(
                    "{channel}: continues after {begins} of {:?}, where {before:?} was requested",
                    text_member(answer, "epoch")
                ))
            }
            Some(true) => None,
        }
    }

    fn note_unsubscribed(&mut self, message: &Value) -> Option<String> {
        for channel in message.get("channels").and_then(Value::as_array).into_iter().flatten() {
            self.last.remove(channel.as_str().unwrap_or_default());
        }
        None
    }

    fn reset_epoch(&mut self, message: &Value) -> Option<String> {
        let (Some(channel), Some(epoch)) = (text_member(message, "channel"), text_member(message, "epoch")) else {
            return Some(format!("a discontinuity without channel or epoch: {message}"));
        };
        self.told = self.told.saturating_add(1);
        let place = ChannelPosition {
            epoch: Some(epoch.to_owned()),
            seq: number_member(message, "seq").unwrap_or(0),
        };
        let known = self.last.insert(channel.to_owned(), place);
        let strange = known.is_none();
        strange.then(|| format!("{channel}: a discontinuity, although the channel was never subscribed"))
    }

    fn check_advance(&mut self, message: &Value) -> Option<String> {
        let (Some(channel), Some(seq)) = (text_member(message, "channel"), number_member(message, "seq")) else {
            return Some(format!("a durable message without channel or seq: {message}"));
        };
        let from = number_member(message, "from").unwrap_or(seq);
        let Some(place) = self.last.get_mut(channel) else {
            return Some(format!(
                "{channel}: a message although the channel was never subscribed"
            ));
        };
        let last = std::mem::replace(&mut place.seq, seq);
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
        let channel = text_member(message, "channel").unwrap_or_default().to_owned();
        let data = message.get("data")?;
        let opens = text_member(data, "open_time").unwrap_or_default();
        if text_member(data, "state") == Some("partial") {
            let stale = self.closed.get(&channel).is_some_and(|closed| opens <= closed.as_str());
            return stale.then(|| format!("{channel}: the bar of {opens} still forms after it was closed"));
        }
        let first = number_member(data, "revision") == Some(0);
        let late = first && self.ended.get(&channel).is_some_and(|ended| ended == opens);
        let newest = self.closed.entry(channel.clone()).or_default();
        if newest.as_str() < opens {
            opens.clone_into(newest);
        }
        let wrong = self.check_advance(message);
        wrong.or_else(|| late.then(|| format!("{channel}: the bar of {opens} came after its bar_end")))
    }

    fn end_bar(&mut self, message: &Value) -> Option<String> {
        let interval = text_member(message, "interval")?;
        let opens = text_member(message, "open_time")?;
        for symbol in message.get("complete").and_then(Value::as_array).into_iter().flatten() {
            let channel = format!("bars.{interval}:{}", symbol.as_str().unwrap_or_default());
            if self.last.contains_key(&channel) {
                self.ended.insert(channel, opens.to_owned());
            }
        }
        None
    }

    fn check_replay_end(&self, message: &Value) -> Option<String> {
        let channel = text_member(message, "channel")?;
        let told = number_member(message, "seq")?;
        let last = self.last.get(channel)?.seq;
        (told != last)
            .then(|| format!("{channel}: the replay ends at {told}, but {last} was the last that was received"))
    }
}

fn text_member<'a>(message: &'a Value, name: &str) -> Option<&'a str> {
    message.get(name).and_then(Value::as_str)
}

fn number_member(message: &Value, name: &str) -> Option<u64> {
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
    fn a_hole_in_the_journal_is_caught_as_in_any_other_channel() {
        let entry = |seq: u64| json!({"type": "event", "channel": "events", "seq": seq, "data": {}});
        let begun = json!({"type": "subscribed", "channels": [{"channel": "events", "seq": 0, "epoch": "k3v9"}]});
        let told = |seqs: &[u64]| {
            let mut messages = vec![json!({"type": "welcome"}), begun.clone()];
            messages.extend(seqs.iter().map(|seq| entry(*seq)));
            violations(&messages)
        };
        assert_eq!(told(&[1, 2, 3]), 0);
        assert!(told(&[1, 3]) > 0 && told(&[1, 1]) > 0 && told(&[2, 1]) > 0);
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
    fn answer(seq: u64, recovered: Option<bool>, replayed: u64, epoch: &str) -> Value {
        let mut answer = json!({"channel": "ticks:USD/COP", "seq": seq, "epoch": epoch, "replayed": replayed});
        if let Some(recovered) = recovered {
            answer["recovered"] = json!(recovered);
            if !recovered {
                answer["reason"] = json!("position_expired");
            }
        }
        json!({"type": "subscribed", "channels": [answer]})
    }

    #[test]
    fn a_connection_goes_on_where_the_one_before_it_ended_or_says_that_it_cannot() {
        for (answer, faults) in [
            (answer(20, Some(true), 7, "aaaa"), 0),
            (answer(20, Some(false), 0, "aaaa"), 0),
            (answer(20, Some(true), 6, "aaaa"), 1),
            (answer(20, Some(true), 8, "aaaa"), 1),
            (answer(20, Some(true), 7, "zzzz"), 1),
            (answer(20, None, 0, "aaaa"), 1),
        ] {
            let mut continuity = Continuity::default();
            for message in good() {
                assert_eq!(continuity.read(&message), None);
            }
            continuity.reconnected();
            assert_eq!(continuity.since()["ticks:USD/COP"], json!({"epoch": "aaaa", "seq": 13}));
            let found = [json!({"type": "welcome"}), answer.clone()];
            let found = found.iter().filter_map(|message| continuity.read(message)).count();
            assert_eq!(found, faults, "{answer}");
        }
    }

    #[test]
    fn a_new_incarnation_is_announced_and_a_bar_does_not_come_after_its_end() {
        let mut messages = good();
        messages.extend([
            json!({"type": "discontinuity", "channel": "ticks:USD/COP", "old_epoch": "aaaa", "epoch": "cccc", "seq": 2}),
            tick(3),
            json!({"type": "bar_end", "interval": "5m", "open_time": "08:00", "complete": ["USD/COP"]}),
        ]);
        assert_eq!(violations(&messages), 0);
        let mut late = bar(Some(4), "08:00", "closed");
        late["data"]["revision"] = json!(0);
        messages.push(late);
        assert_eq!(violations(&messages), 1);
    }
}
