//! Plays an act: what each deed does to a connection.

use crate::domain::model::{Price, Symbol, Timestamp};
use crate::limits;
use crate::sim::engine::{Stage, Valve};
use crate::sim::market::Quote;
use crate::sim::scenario::{Act, Deed, Ending, Last, Oddity, oddities};
use crate::sim::vendor::frames;
use std::rc::Rc;

/// To whom a deed is done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target<'a> {
    /// Every WebSocket connection.
    All,
    /// One of them.
    Socket(u64),
    /// A connection that is no WebSocket, or not yet.
    Raw(&'a Rc<Valve>),
}

impl Stage {
    /// Plays an act.
    pub(super) fn play(&mut self, act: &Act, text: &str, target: Target<'_>, now: Timestamp) {
        self.counters.played(text, now);
        match act {
            Act::Relent => self.weather.clear(),
            Act::Trouble(trouble, span) => self.weather.begin(trouble.clone(), span.map(|span| now + span), now),
            Act::Deed(deed) => match target {
                Target::Raw(valve) => self.do_to_raw(deed, valve, now),
                Target::Socket(id) => self.do_to_socket(deed, id, now),
                Target::All => {
                    let ids: Vec<u64> = self.sockets.keys().copied().collect();
                    for id in ids {
                        self.do_to_socket(deed, id, now);
                    }
                }
            },
        }
    }

    fn do_to_raw(&mut self, deed: &Deed, valve: &Rc<Valve>, now: Timestamp) {
        match deed {
            Deed::Drop(ending) => valve.end(*ending),
            Deed::HalfOpen(span) | Deed::Stall(span) => self.kill(0, valve, span.map(|span| now + span)),
            // There is nobody yet to say it to.
            Deed::Send(_) | Deed::Repeat(_) => {}
        }
    }

    fn do_to_socket(&mut self, deed: &Deed, id: u64, now: Timestamp) {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        match deed {
            Deed::Drop(ending) => self.drop_socket(id, *ending),
            Deed::HalfOpen(span) => {
                let valve = Rc::clone(&socket.valve);
                self.kill(id, &valve, span.map(|span| now + span));
            }
            Deed::Stall(span) => {
                let far = Timestamp::from_micros(i64::MAX);
                socket.silent_until = Some(span.map_or(far, |span| now + span));
            }
            Deed::Send(Oddity::Text(text)) => {
                self.say_text(id, text, now);
            }
            Deed::Send(Oddity::Named(name)) => {
                let bytes = oddities::bytes(name, self.last_shown(id, now));
                self.say(id, bytes, now);
            }
            Deed::Repeat(count) => {
                let last = self.last_shown(id, now);
                let text = frames::price(&last.symbol, last.stamp, last.price, frames::Spelling::default());
                for _ in 0..*count {
                    self.say_text(id, &text, now);
                }
            }
        }
    }

    /// Ends a WebSocket connection after what was already said on it.
    pub(super) fn drop_socket(&mut self, id: u64, ending: Ending) {
        let Some(socket) = self.sockets.get(&id) else { return };
        if socket.valve.dead() {
            socket.valve.end(ending);
        }
        if let Ending::Close(code) = ending {
            socket.outbox.push(frames::close(code, ""));
        }
        socket.outbox.end(ending);
        self.counters.dropped_total += 1;
        self.gone(id);
    }

    fn kill(&mut self, id: u64, valve: &Rc<Valve>, until: Option<Timestamp>) {
        valve.die();
        if let Some(until) = until {
            self.revivals.insert((until, id), Rc::clone(valve));
        }
    }

    /// The last price a connection was shown; a plausible one before the first.
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
            .or_else(|| self.market.last(symbol, now))
            .unwrap_or(before);
        Last {
            symbol,
            stamp: last.at.secs(),
            price: last.price,
        }
    }
}
