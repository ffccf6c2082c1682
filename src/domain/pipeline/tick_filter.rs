//! Filters ticks before they are numbered. A tick that cannot be a current price of this market is rejected with a reason and counted.
//!
//! ```text
//!             near the last good price
//!   tick ───────────────────────────────────────────────► good; held ticks are dropped
//!     │ far from it, or none is known                       ▲
//!     └──────────────► held ──── enough ticks agree ────────┘ in order of arrival
//!                        └────── too old, too many, a good price, a new session ──► dropped
//! ```
//!
//! The last good price is kept over nights, weekends, silences and restarts: the first price of a session is measured against it.

use crate::domain::model::{
    AcceptedTick, LastClose, Price, RejectReason, Tick, Timestamp, last_close::another_magnitude,
};
use crate::limits;
use std::collections::VecDeque;

/// The verdict on a tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TickVerdict {
    /// Accepted.
    Good,
    /// Held until other ticks confirm or refute it.
    Held,
    /// Confirms held ticks: all of these are accepted, in this order; this tick is the last.
    Confirmed(Vec<AcceptedTick>),
    /// Rejected.
    Aside(RejectReason),
}

/// Filters the ticks of one symbol.
#[derive(Debug, Clone)]
pub struct TickFilter {
    /// How far a price may jump without confirmation, in basis points.
    jump_basis_points: u64,
    /// The last good price.
    close: Option<LastClose>,
    /// The last good tick of this session.
    last: Option<Tick>,
    /// Held ticks, earliest first.
    held: VecDeque<AcceptedTick>,
    /// Held ticks that were dropped since the last [`TickFilter::take_dropped`].
    dropped: u64,
    /// Whether a price of this session had digits that the scale cannot hold.
    beyond_scale: bool,
}

impl TickFilter {
    /// A filter without a last good price.
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

    /// Judges `tick`, which arrived at `now`. An accepted tick becomes the last good price.
    pub fn check_tick(&mut self, tick: &Tick, now: Timestamp) -> TickVerdict {
        if let Some(reason) = self.find_impossible(tick, now) {
            return TickVerdict::Aside(reason);
        }
        match self.close {
            Some(close) if !self.is_far(close.price, tick.price) => {
                self.drop_held();
                self.accept(tick, close.firm_from);
                TickVerdict::Good
            }
            _ => self.hold(tick, now),
        }
    }

    /// A tick had more digits than the scale holds. The pair's other prices are rejected as well, because their bars would be flat.
    pub const fn refuse_beyond_scale(&mut self) {
        self.beyond_scale = true;
    }

    /// A new session begins: held ticks are dropped. The last good price stays.
    pub fn open_session(&mut self) {
        self.drop_held();
        self.last = None;
        self.beyond_scale = false;
    }

    /// The clock was set back to `now`: instants of the last good price and of held ticks are moved back to it.
    pub fn set_back(&mut self, now: Timestamp) {
        if let Some(close) = &mut self.close {
            close.firm_from = close.firm_from.min(now + limits::FIRM_AFTER);
        }
        self.held
            .iter_mut()
            .for_each(|heard| heard.received_at = heard.received_at.min(now));
    }

    /// The last good price, with which the next session begins.
    pub const fn close(&self) -> Option<LastClose> {
        self.close
    }

    /// Sets the last good price of the session before.
    pub const fn carry_close(&mut self, close: LastClose) {
        self.close = Some(close);
    }

    /// Applies a close that was found in the store or at the vendor. Returns the held ticks that it confirms.
    ///
    /// A firm close is replaced only by a newer one near it: one wrong row must not reject a day's prices.
    pub fn learn(&mut self, found: LastClose, now: Timestamp) -> Vec<AcceptedTick> {
        let yields = self.close.is_none_or(|known| {
            let newer = found.at > known.at && !self.is_far(known.price, found.price);
            newer || (known.firm_from > now && found.firm_from <= now)
        });
        if !yields || found.price <= Price::default() {
            return Vec::new();
        }
        self.close = Some(found);
        let held = std::mem::take(&mut self.held);
        let mut good = Vec::new();
        for heard in held {
            if self
                .close
                .is_some_and(|close| !self.is_far(close.price, heard.tick.price))
            {
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
    pub fn held_ticks(&self) -> Option<(usize, Timestamp)> {
        let first = self.held.front()?;
        Some((self.held.len(), first.received_at))
    }

    /// How many held ticks were dropped since the last call, and why.
    pub fn take_dropped(&mut self) -> Option<(RejectReason, u64)> {
        let reason = if self.close.is_some() {
            RejectReason::AbsurdJump
        } else {
            RejectReason::Unconfirmed
        };
        let dropped = std::mem::take(&mut self.dropped);
        (dropped > 0).then_some((reason, dropped))
    }

    /// Why the tick is impossible, whatever the market's level.
    fn find_impossible(&self, tick: &Tick, now: Timestamp) -> Option<RejectReason> {
        if tick.price.micros() <= 0 || tick.bid.is_some_and(is_negative) || tick.ask.is_some_and(is_negative) {
            return Some(RejectReason::NonPositive);
        }
        if tick.bid.zip(tick.ask).is_some_and(|(bid, ask)| bid > ask) {
            return Some(RejectReason::CrossedQuote);
        }
        // No spread is that wide: price or quote belongs to another pair or has another unit, and the tick does not show which.
        if [tick.bid, tick.ask]
            .into_iter()
            .flatten()
            .any(|side| self.is_far(tick.price, side))
        {
            return Some(RejectReason::FarQuote);
        }
        if tick.at > now + limits::FUTURE_TOLERANCE {
            return Some(RejectReason::FromTheFuture);
        }
        if self.beyond_scale && tick.price.micros() < limits::FINE_PRICE_MICROS {
            return Some(RejectReason::BeyondScale);
        }
        // Only the tick before it is compared: with timestamps of whole minutes, A, B, A are three prices, and the last is the close.
        let repeats = self.last == Some(*tick) || self.held.back().is_some_and(|heard| heard.tick == *tick);
        repeats.then_some(RejectReason::ExactRepeat)
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

    /// Holds a tick until enough others agree with it. A market can really jump, and the very first price has no predecessor.
    fn hold(&mut self, tick: &Tick, now: Timestamp) -> TickVerdict {
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
        let agreeing: Vec<AcceptedTick> = self
            .held
            .iter()
            .filter(|heard: &&AcceptedTick| !self.is_far(heard.tick.price, tick.price))
            .copied()
            .collect();
        let since = agreeing.first().map_or(now, |first| first.received_at);
        if !self.is_believed(agreeing.len(), now.since(since), tick.price, now) {
            return TickVerdict::Held;
        }
        let others = self.held.len().saturating_sub(agreeing.len());
        self.dropped = self.dropped.saturating_add(u64::try_from(others).unwrap_or(u64::MAX));
        self.held.clear();
        self.accept(tick, now + limits::FIRM_AFTER);
        TickVerdict::Confirmed(agreeing)
    }

    /// Whether `count` agreeing ticks over `lasted` suffice. A price of another magnitude is more likely a fault of the feed (a wrong unit,
    /// the inverse quote, another pair's price), and such faults repeat themselves.
    fn is_believed(&self, count: usize, lasted: std::time::Duration, price: Price, now: Timestamp) -> bool {
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

    /// Whether two prices differ by more than the limit, relative to the first.
    const fn is_far(&self, from: Price, to: Price) -> bool {
        let difference = to.micros().abs_diff(from.micros());
        difference.saturating_mul(10_000) > from.micros().unsigned_abs().saturating_mul(self.jump_basis_points)
    }
}

const fn is_negative(price: Price) -> bool {
    price.micros() <= 0
}

#[cfg(test)]
#[path = "tests/tick_filter.rs"]
mod tests;
