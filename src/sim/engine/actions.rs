//! Performs an action of the scenario: on the connection that gave the cue, or on all connections.

use crate::domain::model::{Price, Symbol, Timestamp};
use crate::limits;
use crate::sim::engine::{ConnectionControl, Engine};
use crate::sim::market::Quote;
use crate::sim::scenario::{ConnectionAction, Ending, Last, OddFrame, ScenarioAction, odd_frames};
use crate::sim::vendor::frames;
use std::rc::Rc;

/// The connections that an action concerns.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target<'a> {
    /// Every WebSocket connection.
    All,
    /// One of them.
    Socket(u64),
    /// A connection that is no WebSocket, or not yet.
    Raw(&'a Rc<ConnectionControl>),
}

impl Engine {
    /// Plays an act.
    pub(super) fn perform_action(&mut self, act: &ScenarioAction, text: &str, target: Target<'_>, now: Timestamp) {
        self.counters.count_action(text, now);
        match act {
            ScenarioAction::ClearFaults => self.faults.clear_faults(),
            ScenarioAction::Fault(trouble, span) => {
                self.faults
                    .start_fault(trouble.clone(), span.map(|span| now + span), now);
            }
            ScenarioAction::OnConnection(action) => match target {
                Target::Raw(control) => self.do_to_raw(action, control, now),
                Target::Socket(id) => self.do_to_socket(action, id, now),
                Target::All => {
                    let ids: Vec<u64> = self.sockets.keys().copied().collect();
                    for id in ids {
                        self.do_to_socket(action, id, now);
                    }
                }
            },
        }
    }

    fn do_to_raw(&mut self, action: &ConnectionAction, control: &Rc<ConnectionControl>, now: Timestamp) {
        match action {
            ConnectionAction::Drop(ending) => control.end_now(*ending),
            ConnectionAction::HalfOpen(span) | ConnectionAction::Stall(span) => {
                self.half_open(0, control, span.map(|span| now + span));
            }
            // No WebSocket is open yet to send it on.
            ConnectionAction::Send(_) | ConnectionAction::Repeat(_) => {}
        }
    }

    fn do_to_socket(&mut self, action: &ConnectionAction, id: u64, now: Timestamp) {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        match action {
            ConnectionAction::Drop(ending) => self.drop_socket(id, *ending),
            ConnectionAction::HalfOpen(span) => {
                let control = Rc::clone(&socket.control);
                self.half_open(id, &control, span.map(|span| now + span));
            }
            ConnectionAction::Stall(span) => {
                let far = Timestamp::from_micros(i64::MAX);
                socket.silent_until = Some(span.map_or(far, |span| now + span));
            }
            ConnectionAction::Send(OddFrame::Text(text)) => {
                self.say_text(id, text, now);
            }
            ConnectionAction::Send(OddFrame::Named(name)) => {
                let bytes = odd_frames::frame_bytes(name, self.last_shown(id, now));
                self.send_frame(id, bytes, now);
            }
            ConnectionAction::Repeat(count) => {
                let last = self.last_shown(id, now);
                let text = frames::price_event(&last.symbol, last.stamp, last.price, frames::Spelling::default());
                for _ in 0..*count {
                    self.say_text(id, &text, now);
                }
            }
        }
    }

    /// Ends a WebSocket connection after its queued frames.
    pub(super) fn drop_socket(&mut self, id: u64, ending: Ending) {
        let Some(socket) = self.sockets.get(&id) else { return };
        if socket.control.is_silent() {
            socket.control.end_now(ending);
        }
        if let Ending::Close(code) = ending {
            socket.outbox.push(frames::close(code, ""));
        }
        socket.outbox.close_after_writes(ending);
        self.counters.dropped_total += 1;
        self.remove_socket(id);
    }

    fn half_open(&mut self, id: u64, control: &Rc<ConnectionControl>, until: Option<Timestamp>) {
        control.go_silent();
        if let Some(until) = until {
            self.revivals.insert((until, id), Rc::clone(control));
        }
    }

    /// The last price sent on a connection; a plausible one before the first.
    fn last_shown(&self, id: u64, now: Timestamp) -> Last {
        let symbols = self.sockets.get(&id).map(|socket| &socket.symbols);
        let symbol = symbols
            .and_then(|symbols| symbols.first().copied())
            .unwrap_or_else(Symbol::usdcop);
        let before = Quote {
            at: now.floor(limits::SIM_STAMP),
            price: Price::from_micros(3_900_000_000),
        };
        let last = self
            .shown
            .get(&symbol)
            .copied()
            .or_else(|| self.market.last_tick(symbol, now))
            .unwrap_or(before);
        Last {
            symbol,
            stamp: last.at.secs(),
            price: last.price,
        }
    }
}
