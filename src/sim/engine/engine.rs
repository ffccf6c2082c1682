//! The engine: the whole state of the simulated vendor, in one thread. It takes the time and what clients sent; it decides which frames go
//! into which outbox, and returns when it must be called next.
//!
//! ```text
//! acts of the scenario ─┐                          ┌─► outbox of each subscriber
//! ticks of the market ──┼─► run_until(now), sorted ┤
//! late ticks ───────────┘   act < late < tick      └─► control of a connection
//! ```
//! If an act and a tick have the same instant, the act comes first: an act at a bar's boundary falls between the last tick of one bar and
//! the first of the next.

use crate::domain::model::{Symbol, Timestamp};
use crate::limits;
use crate::sim::engine::{ConnectionControl, Counters, Outbox, Report, SimConfig};
use crate::sim::market::{MARKET_ZONE, Market, Quote};
use crate::sim::scenario::{ActiveFaults, Cue, Fault, Line, Moment, ScenarioAction, When};
use crate::sim::vendor::{Accounts, Plan, Spelling, frames};
use chrono::{NaiveTime, TimeZone};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// One WebSocket connection.
#[derive(Debug)]
pub(crate) struct Socket {
    /// The place of its key.
    pub key: usize,
    pub symbols: BTreeSet<Symbol>,
    pub outbox: Rc<Outbox>,
    pub control: Rc<ConnectionControl>,
    /// Until this instant nothing is sent on it.
    pub silent_until: Option<Timestamp>,
    /// Whether a price was sent on it.
    pub priced: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) market: Market,
    pub(crate) plan: Plan,
    pub(crate) accounts: Accounts,
    pub(crate) faults: ActiveFaults,
    pub(super) sockets: BTreeMap<u64, Socket>,
    pub(super) counters: Counters,
    pub(crate) slack: Duration,
    /// Connections that are revived, or may send again, at an instant.
    pub(super) revivals: BTreeMap<(Timestamp, u64), Rc<ConnectionControl>>,
    /// The last price streamed of each pair: the true tick with the price as it was shown.
    pub(crate) shown: BTreeMap<Symbol, Quote>,
    moments: BTreeMap<Moment, u64>,
    cues: Vec<Line>,
    acts: VecDeque<(Timestamp, ScenarioAction, String)>,
    late: BTreeMap<(Timestamp, u64), (Symbol, Quote)>,
    late_count: u64,
    ticks: VecDeque<(Symbol, Quote)>,
    /// Where the piece begins whose ticks are fetched next.
    piece: Timestamp,
    began: Timestamp,
    sockets_made: u64,
}

impl Engine {
    pub(crate) fn new(config: &SimConfig, now: Timestamp) -> Self {
        let opens = config
            .opens
            .or(config.market.opens())
            .unwrap_or_else(|| now.floor(limits::SIM_SLOT));
        let (timed, cues): (Vec<Line>, Vec<Line>) = config
            .scenario
            .lines
            .iter()
            .cloned()
            .partition(|line| matches!(line.cue, Cue::At(_)));
        let mut acts: Vec<_> = timed
            .into_iter()
            .filter_map(|line| match line.cue {
                Cue::At(when) => Some((cue_time(when, opens, now), line.act, line.text)),
                Cue::On(..) => None,
            })
            .collect();
        acts.sort_by_key(|(at, ..)| *at);
        Self {
            market: config.market.clone(),
            plan: config.plan,
            accounts: Accounts::new(&config.keys),
            faults: ActiveFaults::default(),
            sockets: BTreeMap::new(),
            counters: Counters::default(),
            slack: limits::SIM_NETWORK_JITTER.mul_f64(config.clock.speed()),
            revivals: BTreeMap::new(),
            shown: BTreeMap::new(),
            moments: BTreeMap::new(),
            cues,
            acts: acts.into(),
            late: BTreeMap::new(),
            late_count: 0,
            ticks: VecDeque::new(),
            piece: now.floor(limits::SIM_SLOT),
            began: now,
            sockets_made: 0,
        }
    }

    /// Performs everything due until `now`, in order; returns when the next thing is due.
    pub(super) fn run_until(&mut self, now: Timestamp) -> Timestamp {
        loop {
            self.fetch_ticks(now);
            let far = Timestamp::from_micros(i64::MAX);
            let act = self.acts.front().map_or(far, |(at, ..)| *at);
            let revival = self.revivals.keys().next().map_or(far, |(at, _)| *at);
            let late = self.late.keys().next().map_or(far, |(at, _)| *at);
            let tick = self.ticks.front().map_or(self.piece, |(_, quote)| quote.at);
            let due = act.min(revival).min(late).min(tick);
            if due > now {
                return due;
            }
            if due == act {
                if let Some((at, act, text)) = self.acts.pop_front() {
                    self.perform_action(&act, &text, crate::sim::engine::Target::All, at);
                }
            } else if due == revival {
                if let Some((_, control)) = self.revivals.pop_first() {
                    control.revive();
                }
            } else if due == late {
                if let Some((_, (symbol, quote))) = self.late.pop_first() {
                    self.send_price(symbol, quote, due);
                }
            } else if let Some((symbol, quote)) = self.ticks.pop_front() {
                self.route_tick(symbol, quote);
            }
        }
    }

    /// Fetches the ticks of the next pieces from the market, of all pairs in order of time.
    fn fetch_ticks(&mut self, now: Timestamp) {
        while self.ticks.is_empty() && self.piece <= now {
            let mut ticks: Vec<(Symbol, Quote)> = Vec::new();
            for symbol in self.market.symbols() {
                ticks.extend(
                    self.market
                        .ticks_of_piece(symbol, self.piece)
                        .into_iter()
                        .map(|quote| (symbol, quote)),
                );
            }
            ticks.retain(|(_, quote)| quote.at >= self.began);
            ticks.sort_by_key(|(_, quote)| quote.at);
            self.ticks = ticks.into();
            self.piece = self.piece + self.market.piece_length();
        }
    }

    /// Sends one tick of the market now, later, or not at all; it may repeat an earlier price instead.
    fn route_tick(&mut self, symbol: Symbol, mut quote: Quote) {
        let at = quote.at;
        if self.faults.is_active(&Fault::Mute, at) {
            return;
        }
        if self.faults.is_active(&Fault::Stuck, at) {
            if let Some(last) = self.shown.get(&symbol).copied() {
                self.send_price(symbol, last, at);
            }
            return;
        }
        if self.faults.is_active(&Fault::Frozen, at) {
            quote.price = self.shown.get(&symbol).map_or(quote.price, |last| last.price);
        }
        let late = self.faults.find_active(at, |trouble| match trouble {
            Fault::Late(by) => Some(*by),
            _ => None,
        });
        match late {
            Some(by) => {
                self.late_count += 1;
                self.late.insert((at + by, self.late_count), (symbol, quote));
            }
            None => self.send_price(symbol, quote, at),
        }
    }

    /// Sends a price to the subscribers of its pair.
    fn send_price(&mut self, symbol: Symbol, quote: Quote, now: Timestamp) {
        self.shown.insert(symbol, quote);
        let spelling = Spelling {
            quoted: self.faults.is_active(&Fault::Quoted, now),
            bid_ask: self.faults.is_active(&Fault::BidAsk, now),
        };
        let ahead = self.faults.find_active(now, |trouble| match trouble {
            Fault::Ahead(by) => Some(*by),
            _ => None,
        });
        let behind = self.faults.find_active(now, |trouble| match trouble {
            Fault::Behind(by) => Some(*by),
            _ => None,
        });
        let mut stamp = quote.at + ahead.unwrap_or_default() - behind.unwrap_or_default();
        if self.faults.is_active(&Fault::MinuteStamps, now) {
            stamp = stamp.floor(Duration::from_secs(60));
        }
        let unit = if self.faults.is_active(&Fault::MilliStamps, now) {
            1_000
        } else {
            1
        };
        let text = frames::price_event(&symbol, stamp.secs() * unit, quote.price, spelling);
        let frame = frames::frame(frames::TEXT, text.as_bytes());
        let ids: Vec<u64> = self
            .sockets
            .iter()
            .filter_map(|(id, socket): (&u64, &Socket)| socket.symbols.contains(&symbol).then_some(*id))
            .collect();
        for id in ids {
            if !self.send_frame(id, frame.clone(), now) {
                continue;
            }
            self.counters.prices_total += 1;
            let first = self
                .sockets
                .get_mut(&id)
                .is_some_and(|socket| !std::mem::replace(&mut socket.priced, true));
            if first {
                self.note_moment(Moment::Price, crate::sim::engine::Target::Socket(id), now);
            }
        }
    }

    /// Puts a frame into an outbox unless the connection is silent; a client that is too far behind is reset.
    pub(super) fn send_frame(&mut self, id: u64, frame: bytes::Bytes, now: Timestamp) -> bool {
        let Some(socket) = self.sockets.get(&id) else {
            return false;
        };
        if socket.silent_until.is_some_and(|until| now < until) {
            return false;
        }
        if !socket.outbox.push(frame) {
            socket.control.end_now(crate::sim::scenario::Ending::Reset);
            self.counters.too_slow_total += 1;
            self.remove_socket(id);
            return false;
        }
        true
    }

    /// Sends a text frame.
    pub(super) fn say_text(&mut self, id: u64, text: &str, now: Timestamp) -> bool {
        self.send_frame(id, frames::frame(frames::TEXT, text.as_bytes()), now)
    }

    /// Counts a moment and performs the actions that wait for it.
    pub(super) fn note_moment(&mut self, moment: Moment, target: crate::sim::engine::Target<'_>, now: Timestamp) {
        let count = self.moments.entry(moment).or_default();
        *count += 1;
        let count = *count;
        let lines: Vec<(ScenarioAction, String)> = self
            .cues
            .iter()
            .filter(
                |line: &&Line| matches!(line.cue, Cue::On(cue, which) if cue == moment && which.matches_count(count)),
            )
            .map(|line| (line.act.clone(), line.text.clone()))
            .collect();
        for (act, text) in lines {
            self.perform_action(&act, &text, target, now);
        }
    }

    /// The number of a new connection.
    pub(super) fn next_socket(&mut self) -> u64 {
        self.sockets_made += 1;
        self.sockets_made
    }

    /// Removes a connection that has ended.
    pub(super) fn remove_socket(&mut self, id: u64) {
        if let Some(socket) = self.sockets.remove(&id)
            && let Some(account) = self.accounts.account_at(socket.key)
        {
            account.connections.retain(|other| *other != id);
        }
    }

    /// The counts so far.
    pub(super) fn report(&self) -> Report {
        Report::new(&self.counters, self.sockets.len(), self.accounts.iter())
    }
}

/// The instant of a timed cue.
fn cue_time(when: When, opens: Timestamp, now: Timestamp) -> Timestamp {
    match when {
        When::Start => now,
        When::AfterOpen(after) => opens + after,
        When::Clock(time) => next_time(time, now),
    }
}

/// The next instant at or after `now` at which the market's clock shows `time`.
fn next_time(time: NaiveTime, now: Timestamp) -> Timestamp {
    let today = now.datetime().with_timezone(&MARKET_ZONE).date_naive();
    today
        .iter_days()
        .take(3)
        .filter_map(|date| MARKET_ZONE.from_local_datetime(&date.and_time(time)).earliest())
        .map(Timestamp::from_datetime)
        .find(|at| *at >= now)
        .unwrap_or(now)
}

#[cfg(test)]
#[path = "tests/engine.rs"]
mod tests;
