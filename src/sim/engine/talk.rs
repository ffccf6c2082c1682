//! What clients say on a WebSocket, and what the vendor answers.

use crate::domain::model::{Symbol, Timestamp};
use crate::domain::vendor::events::{self, Empty, Sorted, StreamAction};
use crate::sim::engine::{Stage, Target};
use crate::sim::scenario::{Moment, Trouble};

impl Stage {
    /// A client said something. Nothing is answered on a silent connection.
    pub(super) fn heard(&mut self, id: u64, text: &str, now: Timestamp) {
        let Some(socket) = self.sockets.get(&id) else { return };
        if socket.silent_until.is_some_and(|until| now < until) {
            return;
        }
        let key = socket.key;
        let plan = self.plan;
        self.counters.events_total += 1;
        if let Some(Err(count)) = self.accounts.at(key).map(|account| account.event(&plan, now)) {
            let limit = plan.events_per_minute;
            let text = format!(
                "The server received {count} events from you, which exceeds the limit of {limit} events per minute. \
                 You may wait for the next minute or contact our support to increase limits."
            );
            self.say_text(id, &events::processing_error(&text), now);
            return;
        }
        match StreamAction::read(text) {
            Some(StreamAction::Heartbeat) => self.heartbeat(id, now),
            Some(StreamAction::Subscribe(names)) => self.subscribe(id, names, now),
            Some(StreamAction::Unsubscribe(names)) => self.unsubscribe(id, names, now),
            Some(StreamAction::Reset) => {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.symbols.clear();
                }
                self.say_text(id, events::RESET, now);
            }
            None => {
                self.say_text(id, &events::processing_error(events::NOT_RECOGNIZED), now);
            }
        }
    }

    fn heartbeat(&mut self, id: u64, now: Timestamp) {
        self.counters.heartbeats_total += 1;
        self.happened(Moment::Heartbeat, Target::Socket(id), now);
        if !self.weather.has(&Trouble::IgnoreHeartbeats, now) {
            self.say_text(id, events::HEARTBEAT, now);
        }
    }

    fn subscribe(&mut self, id: u64, names: Vec<String>, now: Timestamp) {
        self.counters.subscribes_total += 1;
        self.happened(Moment::Subscribe, Target::Socket(id), now);
        if self.weather.has(&Trouble::IgnoreSubscribes, now) {
            return;
        }
        let sorted = Sorted::of(names, |symbol| self.serves(symbol, now));
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.symbols.extend(&sorted.good);
        }
        let text = sorted.status("subscribe-status", self.empty_lists(now));
        if self.say_text(id, &text, now) {
            self.happened(Moment::Status, Target::Socket(id), now);
        }
    }

    fn unsubscribe(&mut self, id: u64, names: Vec<String>, now: Timestamp) {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        let sorted = Sorted::of(names, |symbol| socket.symbols.remove(&symbol));
        let text = sorted.status("unsubscribe-status", self.empty_lists(now));
        self.say_text(id, &text, now);
    }

    fn serves(&self, symbol: Symbol, now: Timestamp) -> bool {
        self.market.has(&symbol) && !self.weather.has(&Trouble::RefuseSymbol(symbol), now)
    }

    fn empty_lists(&self, now: Timestamp) -> Empty {
        self.weather
            .find(now, |trouble: &Trouble| match trouble {
                Trouble::NullLists => Some(Empty::Null),
                Trouble::NoLists => Some(Empty::Missing),
                _ => None,
            })
            .unwrap_or(Empty::List)
    }
}
