//! Judges ticks before they are numbered: what cannot be a price of this market now is set aside, with a reason, and counted.
//!
//! ```text
//!             near the last good price
//!   tick ───────────────────────────────────────────────► good; what is held is dropped
//!     │ far from it, or none is known                       ▲
//!     └──────────────► held ──── enough that agree ─────────┘ in the order in which they came
//!                        └────── too old, too many, a good price, a new session ──► dropped
//! ```
//!
//! The last good price outlives nights, weekends, silences and restarts: the first price of a session is judged against it.

use crate::domain::price::Price;
use crate::domain::seam::SeamBars;
use crate::domain::symbol::Symbol;
use crate::domain::tick::{AcceptedTick, SetAside, Tick};
use crate::domain::timestamp::Timestamp;
use crate::limits;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// The last good price of a pair: the next one is measured against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastClose {
    /// The pair.
    pub symbol: Symbol,
    /// The price.
    #[serde(with = "crate::domain::price::as_micros")]
    pub price: Price,
    /// When it held.
    pub at: Timestamp,
    /// From when on it is firm: a firm one is given up for a price of another magnitude only after a long confirmation.
    pub firm_from: Timestamp,
}

impl LastClose {
    /// One that is known for certain.
    #[must_use]
    pub const fn firm(symbol: Symbol, price: Price, at: Timestamp) -> Self {
        Self {
            symbol,
            price,
            at,
            firm_from: at,
        }
    }

    /// The last close among the bars of a store; `verified` if the history there passed its gate. Where it is of another magnitude
    /// than the few before it, it is a bad row, and the one in the middle stands for it.
    #[must_use]
    pub fn of(symbol: Symbol, bars: &SeamBars, verified: bool, now: Timestamp) -> Option<Self> {
        let mut closes: BTreeMap<Timestamp, Price> = BTreeMap::new();
        for bar in bars.history.iter().chain(&bars.fetched).chain(&bars.live) {
            if bar.opens_at <= now && bar.ohlc.close > Price::default() {
                closes.insert(bar.opens_at, bar.ohlc.close); // our own last: they are of judged prices
            }
        }
        let (at, newest) = closes.last_key_value().map(|(at, price)| (*at, *price))?;
        let mut few: Vec<Price> = closes.into_values().rev().take(limits::CLOSES).collect();
        few.sort();
        let middle = few.get(few.len() / 2).copied()?;
        let own = bars.live.last().is_some_and(|bar| bar.opens_at == at);
        Some(Self {
            symbol,
            price: if another_magnitude(middle, newest) {
                middle
            } else {
                newest
            },
            at,
            firm_from: if verified || own { at } else { now + limits::FIRM_AFTER },
        })
    }
}

/// What becomes of a tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// It is good.
    Good,
    /// It is kept until others confirm or refute it.
    Held,
    /// It confirms those that were held: all of these are good, in this order. It is the last.
    Confirmed(Vec<AcceptedTick>),
    /// It is set aside.
    Aside(SetAside),
}

/// Judges the ticks of one symbol.
#[derive(Debug, Clone)]
pub struct Judge {
    /// How far a price may jump without confirmation.
    jump_basis_points: u64,
    /// The last good price.
    close: Option<LastClose>,
    /// The last good tick of this session.
    last: Option<Tick>,
    /// Ticks that nothing confirms yet, earliest first.
    held: VecDeque<AcceptedTick>,
    /// Held ticks that were given up since the last [`Judge::take_dropped`].
    dropped: u64,
    /// A price of this session had digits that the scale cannot hold.
    beyond_scale: bool,
}

impl Judge {
    /// Without a last good price.
    #[must_use]
    pub const fn new(jump_basis_points: u64) -> Self {
        Self {
            jump_basis_points,
            close: None,
            last: None,
            held: VecDeque::new(),
            dropped: 0,
            beyond_scale: false,
        }
    }

    /// What becomes of `tick`, heard at `now`. A good tick becomes the one that the next is measured against.
    pub fn admit(&mut self, tick: &Tick, now: Timestamp) -> Ruling {
        if let Some(reason) = self.impossible(tick, now) {
            return Ruling::Aside(reason);
        }
        match self.close {
            Some(close) if !self.far(close.price, tick.price) => {
                self.drop_held();
                self.accept(tick, close.firm_from);
                Ruling::Good
            }
            _ => self.hold(tick, now),
        }
    }

    /// A tick had more digits than the scale holds. The others of such a pair would be flat, also those that fit.
    pub const fn is_beyond_scale(&mut self) {
        self.beyond_scale = true;
    }

    /// A new session begins: what nothing confirmed in the one before is dropped. The last good price stays.
    pub fn open_session(&mut self) {
        self.drop_held();
        self.last = None;
        self.beyond_scale = false;
    }

    /// The last good price, as the next session begins with it.
    #[must_use]
    pub const fn close(&self) -> Option<LastClose> {
        self.close
    }

    /// Takes over what the session before ended with.
    pub const fn carry(&mut self, close: LastClose) {
        self.close = Some(close);
    }

    /// A close was found in the store or at the vendor. Returns the held ticks that it shows to be good.
    ///
    /// A close that is firm here yields only to a newer one near it: one wrong row must not refuse a day's prices.
    pub fn learn(&mut self, found: LastClose, now: Timestamp) -> Vec<AcceptedTick> {
        let yields = self.close.is_none_or(|known| {
            let newer = found.at > known.at && !self.far(known.price, found.price);
            newer || (known.firm_from > now && found.firm_from <= now)
        });
        if !yields || found.price <= Price::default() {
            return Vec::new();
        }
        self.close = Some(found);
        let held = std::mem::take(&mut self.held);
        let mut good = Vec::new();
        for heard in held {
            if self.close.is_some_and(|close| !self.far(close.price, heard.tick.price)) {
                self.drop_held();
                self.accept(&heard.tick, found.firm_from);
                good.push(heard);
            } else {
                self.held.push_back(heard);
            }
        }
        good
    }

    /// How many ticks are held, and since when.
    #[must_use]
    pub fn held(&self) -> Option<(usize, Timestamp)> {
        let first = self.held.front()?;
        Some((self.held.len(), first.received_at))
    }

    /// How many held ticks were given up since the last call, and why.
    pub fn take_dropped(&mut self) -> Option<(SetAside, u64)> {
        let reason = if self.close.is_some() {
            SetAside::AbsurdJump
        } else {
            SetAside::Unconfirmed
        };
        let dropped = std::mem::take(&mut self.dropped);
        (dropped > 0).then_some((reason, dropped))
    }

    /// Why no level of the market makes it good.
    fn impossible(&self, tick: &Tick, now: Timestamp) -> Option<SetAside> {
        if tick.price.micros() <= 0 || tick.bid.is_some_and(negative) || tick.ask.is_some_and(negative) {
            return Some(SetAside::NonPositive);
        }
        if tick.bid.zip(tick.ask).is_some_and(|(bid, ask)| bid > ask) {
            return Some(SetAside::CrossedQuote);
        }
        if tick.at > now + limits::FUTURE_TOLERANCE {
            return Some(SetAside::FromTheFuture);
        }
        if self.beyond_scale && tick.price.micros() < limits::FINE_PRICE_MICROS {
            return Some(SetAside::BeyondScale);
        }
        // Only the one before it counts: with stamps of whole minutes A, B, A are three prices, and the last is the close.
        let repeats = self.last == Some(*tick) || self.held.back().is_some_and(|heard| heard.tick == *tick);
        repeats.then_some(SetAside::ExactRepeat)
    }

    fn accept(&mut self, tick: &Tick, firm_from: Timestamp) {
        self.last = Some(*tick);
        self.close = Some(LastClose {
            symbol: tick.symbol,
            price: tick.price,
            at: tick.at,
            firm_from,
        });
    }

    /// Keeps a tick until enough others agree with it. A market can really jump, and the first price of all has nothing before it.
    fn hold(&mut self, tick: &Tick, now: Timestamp) -> Ruling {
        while self.held.front().is_some_and(|first| {
            now.since(first.received_at) > limits::HELD_FOR || self.held.len() >= limits::HELD_TICKS
        }) {
            self.held.pop_front();
            self.dropped = self.dropped.saturating_add(1);
        }
        self.held.push_back(AcceptedTick {
            tick: *tick,
            received_at: now,
        });
        let agrees = |heard: &&AcceptedTick| !self.far(heard.tick.price, tick.price);
        let agreeing: Vec<AcceptedTick> = self.held.iter().filter(agrees).copied().collect();
        let since = agreeing.first().map_or(now, |first| first.received_at);
        if !self.believed(agreeing.len(), now.since(since), tick.price, now) {
            return Ruling::Held;
        }
        let others = self.held.len().saturating_sub(agreeing.len());
        self.dropped = self.dropped.saturating_add(u64::try_from(others).unwrap_or(u64::MAX));
        self.held.clear();
        self.accept(tick, now + limits::FIRM_AFTER);
        Ruling::Confirmed(agreeing)
    }

    /// Whether so many ticks that agree over such a time show where the market is. A price of another magnitude is more likely a
    /// fault of the feed (a wrong unit, the inverse quote, the value of another pair), and faults repeat themselves.
    fn believed(&self, count: usize, lasted: std::time::Duration, price: Price, now: Timestamp) -> bool {
        let firm = self.close.filter(|close| close.firm_from <= now);
        if firm.is_some_and(|close| another_magnitude(close.price, price)) {
            let many = count >= limits::MAGNITUDE_CONFIRMATIONS && lasted >= limits::MAGNITUDE_CONFIRMED_AFTER;
            return many || (count >= limits::JUMP_CONFIRMATIONS && lasted >= limits::FIRM_AFTER);
        }
        count >= limits::JUMP_CONFIRMATIONS || (count > 1 && lasted >= limits::JUMP_CONFIRMED_AFTER)
    }

    fn drop_held(&mut self) {
        if !self.held.is_empty() {
            let held = u64::try_from(self.held.len()).unwrap_or(u64::MAX);
            self.dropped = self.dropped.saturating_add(held);
            self.held.clear();
        }
    }

    /// Whether two prices differ by more than the limit, measured on the first.
    const fn far(&self, from: Price, to: Price) -> bool {
        let difference = to.micros().abs_diff(from.micros());
        difference.saturating_mul(10_000) > from.micros().unsigned_abs().saturating_mul(self.jump_basis_points)
    }
}

/// Whether one price is more than half as large again as the other.
fn another_magnitude(one: Price, other: Price) -> bool {
    let (one, other) = (one.micros().unsigned_abs(), other.micros().unsigned_abs());
    one.max(other).saturating_mul(2) > one.min(other).saturating_mul(3)
}

const fn negative(price: Price) -> bool {
    price.micros() <= 0
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
