//! When to poll prices over REST, pair by pair, because the link does not deliver them.
//!
//! ```text
//!             the link has the pair
//!   covered ◄───────────────────────┐
//!      │ it has not                 │
//!      ▼                            │
//!   waiting ── longer than the limit, or refused by the plan ──► polled
//! ```
//!
//! The link covers a pair when it delivers prices of it that are accepted; a pair whose every price is rejected counts as a pair without
//! data. A polled pair is covered again with the link's first confirmation, or its first accepted price: from then on its prices are the
//! link's, and the bar in between has both.

use crate::domain::model::{Sessions, Symbol, Timestamp};
use crate::domain::vendor::{FeedView, Forecast, Spendable, Status, SubscriptionView, budget};
use crate::limits;
use std::sync::Arc;
use std::time::Duration;

/// The next action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Poll these pairs, as many in one call as one key's minute allows.
    Poll(Vec<Symbol>),
    /// Call again at this instant.
    Wait(Timestamp),
    /// Nothing to do until something changes.
    Rest,
}

/// The state of polling.
#[derive(Debug, Clone)]
pub struct Poll {
    /// How long the link may fail to deliver a pair before the pair is polled.
    patience: Duration,
    pairs: Vec<Pair>,
    next_at: Timestamp,
    every: Option<Duration>,
    /// Since when no round succeeded.
    failing_since: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Pair {
    symbol: Symbol,
    sessions: Arc<dyn Sessions>,
    /// Since when the link has not delivered accepted prices of it; `None` while it does.
    uncovered_since: Option<Timestamp>,
    refused: bool,
    /// The vendor refused it over REST; it is not polled before this instant.
    rests_until: Option<Timestamp>,
}

impl Poll {
    /// No pair is covered yet.
    pub fn new(symbols: &[(Symbol, Arc<dyn Sessions>)], patience: Duration, now: Timestamp) -> Self {
        Self {
            patience,
            pairs: symbols
                .iter()
                .map(|(symbol, sessions): &(Symbol, Arc<dyn Sessions>)| Pair {
                    symbol: *symbol,
                    sessions: Arc::clone(sessions),
                    uncovered_since: Some(now),
                    refused: false,
                    rests_until: None,
                })
                .collect(),
            next_at: now,
            every: None,
            failing_since: None,
        }
    }

    /// Applies the state of the link.
    pub fn watch(&mut self, feed: &FeedView, now: Timestamp) {
        for pair in &mut self.pairs {
            let line = feed.symbols.iter().find(|line| line.symbol == pair.symbol);
            let streaming = matches!(feed.state, "live" | "silent");
            let covered = streaming && line.is_some_and(SubscriptionView::brings_prices);
            pair.refused = line.is_some_and(|line| line.status == Status::Refused) || feed.refused_all;
            pair.uncovered_since = if covered {
                None
            } else {
                pair.uncovered_since.or(Some(now))
            };
        }
    }

    /// The action to take now.
    #[must_use]
    pub fn step(&mut self, budget: Spendable, now: Timestamp) -> Step {
        self.set_back(now);
        let patience = self.patience;
        let due: Vec<(Symbol, Timestamp)> = self
            .pairs
            .iter()
            .filter_map(|pair| Some((pair.symbol, pair.due_at(patience, now)?)))
            .collect();
        let ready: Vec<Symbol> = due
            .iter()
            .filter(|(_, at)| *at <= now)
            .map(|(symbol, _)| *symbol)
            .collect();
        if ready.is_empty() {
            self.every = None;
            self.failing_since = None;
            return due.into_iter().map(|(_, at)| at).min().map_or(Step::Rest, Step::Wait);
        }
        if self.every.is_some() && now < self.next_at {
            return Step::Wait(self.next_at);
        }
        let count = u32::try_from(ready.len()).unwrap_or(u32::MAX);
        let Some(every) = budget::poll_every(budget, count, self.time_to_close(&ready, now)) else {
            self.next_at = now + limits::POLL_POOR;
            self.every = Some(limits::POLL_POOR);
            return Step::Wait(self.next_at);
        };
        // By the plan, not by when the last answer came: otherwise the day would cost less than was forecast.
        let planned = if self.every.is_some() { self.next_at } else { now };
        self.next_at = if planned + every > now {
            planned + every
        } else {
            now + every
        };
        self.every = Some(every);
        Step::Poll(ready)
    }

    /// Moves instants that a clock ahead of this one recorded back to `now`.
    fn set_back(&mut self, now: Timestamp) {
        let longest = now + self.every.unwrap_or_default();
        self.next_at = self.next_at.min(longest);
        self.failing_since = self.failing_since.map(|at| at.min(now));
        for pair in &mut self.pairs {
            pair.uncovered_since = pair.uncovered_since.map(|at| at.min(now));
        }
    }

    /// A round returned prices.
    pub const fn succeeded(&mut self) {
        self.failing_since = None;
    }

    /// A round returned none. Returns whether rounds have failed so long that the polled pairs are lost.
    pub fn failed(&mut self, now: Timestamp) -> bool {
        let since = *self.failing_since.get_or_insert(now);
        now.since(since) >= self.patience
    }

    /// The vendor does not serve this pair over REST under our plan: it is polled again after a while.
    pub fn refused(&mut self, symbol: Symbol, now: Timestamp) {
        for pair in self.pairs.iter_mut().filter(|pair| pair.symbol == symbol) {
            pair.rests_until = Some(now + limits::POLL_REFUSED);
        }
    }

    /// The pairs that are polled now.
    pub fn polled(&self, now: Timestamp) -> Vec<Symbol> {
        self.pairs
            .iter()
            .filter(|pair: &&Pair| pair.due_at(self.patience, now).is_some_and(|at| at <= now))
            .map(|pair| pair.symbol)
            .collect()
    }

    /// The interval between two rounds, while pairs are polled.
    pub const fn every(&self) -> Option<Duration> {
        self.every
    }

    /// The credits that today will have cost when the sessions close, if nothing changes.
    pub fn forecast(&self, budget: Spendable, now: Timestamp) -> Forecast {
        let polled = self.polled(now);
        let count = u32::try_from(polled.len()).unwrap_or(u32::MAX);
        let left = self.next_at.max(now);
        let rest = self.time_to_close(&polled, now).saturating_sub(left.since(now));
        let starved = count > 0 && (budget.keys == 0 || budget.left < count);
        let every = self.every.filter(|_| !starved);
        let planned = every.map_or(0, |every| budget::cost(every, count, rest));
        Forecast {
            at: now,
            used: budget.used,
            expected: budget.used.saturating_add(planned),
            available: budget.available,
            starved,
        }
    }

    /// Whether the last round returned nothing.
    pub const fn failing(&self) -> bool {
        self.failing_since.is_some()
    }

    /// The time until the last of these pairs' current or next sessions closes.
    fn time_to_close(&self, symbols: &[Symbol], now: Timestamp) -> Duration {
        let theirs = self.pairs.iter().filter(|pair| symbols.contains(&pair.symbol));
        theirs
            .filter_map(|pair| pair.sessions.at(now).or_else(|| pair.sessions.after(now)))
            .map(|session| session.closes.since(now))
            .max()
            .unwrap_or_default()
    }
}

impl Pair {
    /// From when the pair is polled; `None` while the link covers it, or if its market has no further session.
    fn due_at(&self, patience: Duration, now: Timestamp) -> Option<Timestamp> {
        let since = self.uncovered_since?;
        let session = self.sessions.at(now).or_else(|| self.sessions.after(now))?;
        let patience = if self.refused { Duration::ZERO } else { patience };
        // A little before the open, so that the first bar has prices from its beginning.
        let due = (since + patience).max(session.opens - limits::POLL_EARLY);
        Some(self.rests_until.map_or(due, |until| due.max(until)))
    }
}

#[cfg(test)]
#[path = "tests/poll.rs"]
mod tests;
