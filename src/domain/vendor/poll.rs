//! When to ask for prices over REST, pair by pair, because the link does not bring them.
//!
//! ```text
//!             the link has the pair
//!   covered ◄───────────────────────┐
//!      │ it has not                 │
//!      ▼                            │
//!   waiting ── longer than the limit, or refused by the plan ──► polled
//! ```
//!
//! The link has a pair whose prices it brings and that are accepted. A pair that is heard and of which every price is set aside is one
//! without data. A polled pair goes back to the link with the link's first confirmation, or its first accepted price: from then on its
//! prices are the link's, and the bar in between has both.

use crate::domain::model::{Sessions, Symbol, Timestamp};
use crate::domain::vendor::{FeedView, Forecast, Spendable, Status, SubscriptionView, budget};
use crate::limits;
use std::sync::Arc;
use std::time::Duration;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask for these pairs, as many a call as one key's minute allows.
    Poll(Vec<Symbol>),
    /// Look again then.
    Wait(Timestamp),
    /// Nothing to do until something changes.
    Rest,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Poll {
    /// How long the link may be without a pair.
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
    /// Since when the link has not brought prices of it that are accepted; `None` while it does.
    uncovered_since: Option<Timestamp>,
    refused: bool,
    /// The vendor refused it over REST: not asked for again before then.
    rests_until: Option<Timestamp>,
}

impl Poll {
    /// Nothing is covered yet.
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

    /// The link shows itself.
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

    /// What to do now.
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
        // By the plan, not by when the last answer came: else the day would cost less than was forecast.
        let planned = if self.every.is_some() { self.next_at } else { now };
        self.next_at = if planned + every > now {
            planned + every
        } else {
            now + every
        };
        self.every = Some(every);
        Step::Poll(ready)
    }

    /// What was planned by a clock that was ahead is planned by this one.
    fn set_back(&mut self, now: Timestamp) {
        let longest = now + self.every.unwrap_or_default();
        self.next_at = self.next_at.min(longest);
        self.failing_since = self.failing_since.map(|at| at.min(now));
        for pair in &mut self.pairs {
            pair.uncovered_since = pair.uncovered_since.map(|at| at.min(now));
        }
    }

    /// A round brought prices.
    pub const fn succeeded(&mut self) {
        self.failing_since = None;
    }

    /// A round brought none. Whether that has lasted so long that the polled pairs must be called lost.
    pub fn failed(&mut self, now: Timestamp) -> bool {
        let since = *self.failing_since.get_or_insert(now);
        now.since(since) >= self.patience
    }

    /// The vendor does not serve this pair under our plan: others are asked for, and this one again in a while.
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

    /// Between two rounds, while there are any.
    pub const fn every(&self) -> Option<Duration> {
        self.every
    }

    /// What today will have cost when the sessions close, if nothing changes.
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

    /// Whether the last rounds brought nothing.
    pub const fn failing(&self) -> bool {
        self.failing_since.is_some()
    }

    /// Until the last of these pairs' sessions closes, that which opens in a moment among them.
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
    /// From when on it is polled; `None` while the link has it, or its market has no session before this matters.
    fn due_at(&self, patience: Duration, now: Timestamp) -> Option<Timestamp> {
        let since = self.uncovered_since?;
        let session = self.sessions.at(now).or_else(|| self.sessions.after(now))?;
        let patience = if self.refused { Duration::ZERO } else { patience };
        // A little before the open, so that the first bar is heard from its beginning.
        let due = (since + patience).max(session.opens - limits::POLL_EARLY);
        Some(self.rests_until.map_or(due, |until| due.max(until)))
    }
}

#[cfg(test)]
#[path = "tests/poll.rs"]
mod tests;
