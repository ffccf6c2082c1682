//! Requests that clients send on a WebSocket, and the vendor's answers.

use crate::domain::model::{Symbol, Timestamp};
use crate::domain::vendor::events::{self, Empty, Sorted, StreamAction};
use crate::sim::engine::{Engine, Target};
use crate::sim::scenario::{Fault, Moment};

impl Engine {
    /// Handles a text from a client. A silent connection is not answered.
    pub(super) fn handle_text(&mut self, id: u64, text: &str, now: Timestamp) {
        let Some(socket) = self.sockets.get(&id) else { return };
        if socket.silent_until.is_some_and(|until| now < until) {
            return;
        }
        let key = socket.key;
        let plan = self.plan;
        self.counters.events_total += 1;
        if let Some(Err(count)) = self
            .accounts
            .account_at(key)
            .map(|account| account.count_event(&plan, now))
        {
            let limit = plan.events_per_minute;
            let text = format!(
                "The server received {count} events from you, which exceeds the limit of {limit} events per minute. \
                 You may wait for the next minute or contact our support to increase limits."
            );
            self.say_text(id, &events::processing_error(&text), now);
            return;
        }
        match StreamAction::read(text) {
            Some(StreamAction::Heartbeat) => self.handle_heartbeat(id, now),
            Some(StreamAction::Subscribe(names)) => self.handle_subscribe(id, names, now),
            Some(StreamAction::Unsubscribe(names)) => self.handle_unsubscribe(id, names, now),
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

    fn handle_heartbeat(&mut self, id: u64, now: Timestamp) {
        self.counters.heartbeats_total += 1;
        self.note_moment(Moment::Heartbeat, Target::Socket(id), now);
        if !self.faults.is_active(&Fault::IgnoreHeartbeats, now) {
            self.say_text(id, events::HEARTBEAT, now);
        }
    }

    fn handle_subscribe(&mut self, id: u64, names: Vec<String>, now: Timestamp) {
        self.counters.subscribes_total += 1;
        self.note_moment(Moment::Subscribe, Target::Socket(id), now);
        if self.faults.is_active(&Fault::IgnoreSubscribes, now) {
            return;
        }
        let sorted = Sorted::of(names, |symbol| self.serves_symbol(symbol, now));
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.symbols.extend(&sorted.good);
        }
        let text = sorted.status("subscribe-status", self.empty_lists(now));
        if self.say_text(id, &text, now) {
            self.note_moment(Moment::Status, Target::Socket(id), now);
        }
    }

    fn handle_unsubscribe(&mut self, id: u64, names: Vec<String>, now: Timestamp) {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        let sorted = Sorted::of(names, |symbol| socket.symbols.remove(&symbol));
        let text = sorted.status("unsubscribe-status", self.empty_lists(now));
        self.say_text(id, &text, now);
    }

    fn serves_symbol(&self, symbol: Symbol, now: Timestamp) -> bool {
        self.market.has_symbol(&symbol) && !self.faults.is_active(&Fault::RefuseSymbol(symbol), now)
    }

    fn empty_lists(&self, now: Timestamp) -> Empty {
        self.faults
            .find_active(now, |trouble: &Fault| match trouble {
                Fault::NullLists => Some(Empty::Null),
                Fault::NoLists => Some(Empty::Missing),
                _ => None,
            })
            .unwrap_or(Empty::List)
    }
}
