//! The life cycle of the service: one machine, one match, driven by facts and by time.
//!
//! ```text
//!                         gate opens, not passed                        session opens
//! INITIALIZING      ┌───────────────────────────── MARKET_CLOSED ◄───┐   (gate passed)
//!      │ started    ▼                                │   ▲  ▲        │       │
//!      └──────► WAITING_L0 ──flag, or time is up──►  │   │  │ far    │ last  │
//!                   ▲   │                            │   │  │ from   │ session
//!   flag withdrawn, │   │     CHECKING_DATA ◄─flag───┘   │  │ open   │ closed
//!   or checked anew │   └──►    │  │  └─passed, or failed and degrade─► READY ──session opens──► ACTIVE
//!                   │           │  └─failed, keys left: fetches history, checks again
//!                   │           └─failed and on_timeout = error─► ERROR ──heals, or tries again──► CHECKING_DATA, READY
//!                   └─────────────────────────────────────────────┘  ▲
//!                                                                    └── from anywhere: a part without which nothing goes on
//! SHUTDOWN: from anywhere, when asked to stop.
//! ```
//!
//! *Gate*: a flag of this gate window, and history that passed the check. The flag is one for all pairs; each pair has its own gate,
//! asked for anew for each of its sessions. The service goes on as soon as one pair's history passed: the others are unverified.
//! Degradations are conditions beside the state and never stop a session that runs.

use crate::domain::health::{ConditionKind, Conditions};
use crate::domain::l0::{Flag, FlagTrouble, WaitPolicy};
pub use crate::domain::lifecycle_events::{Change, Effect, Event, Gate, State};
use crate::domain::lifecycle_gate::Gates;
use crate::domain::market_time::Break;
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use crate::domain::verdict::any_passed;
use crate::limits;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The machine.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    pub(super) policy: WaitPolicy,
    pub(super) can_fetch: bool,
    pub(super) state: State,
    pub(super) since: Timestamp,
    pub(super) reason: String,
    pub(super) gates: Gates,
    pub(super) flag: Option<Flag>,
    pub(super) conditions: Conditions,
    pub(super) open: BTreeSet<Symbol>,
    pub(super) spent: BTreeMap<State, Duration>,
    /// Pairs whose session opens within the gate's lead time.
    pub(super) coming: BTreeSet<Symbol>,
    /// Of them, those whose session opens within minutes: a gate that passes now opens the feed at once.
    pub(super) soon: BTreeSet<Symbol>,
    feed_open: bool,
    pub(super) feed_closes_at: Option<Timestamp>,
    pub(super) deadline: Option<Timestamp>,
    gate_until: Option<Timestamp>,
    faults: BTreeMap<&'static str, String>,
    attempts: u32,
}

impl Lifecycle {
    /// A service of these pairs that begins; the first one's sessions bound the flag. `can_fetch` says whether there are keys to ask
    /// the vendor for missing history.
    #[must_use]
    pub fn new(pairs: &[Symbol], policy: WaitPolicy, can_fetch: bool, now: Timestamp) -> Self {
        let mut conditions = Conditions::default();
        for pair in pairs {
            let message = format!("The history of {pair} was not checked yet.");
            conditions.raise(
                ConditionKind::HistoryUnverified,
                Some(*pair),
                "unchecked",
                &message,
                now,
            );
        }
        Self {
            policy,
            can_fetch,
            state: State::Initializing,
            since: now,
            reason: "the process started".to_owned(),
            gates: Gates::new(pairs),
            flag: None,
            conditions,
            open: BTreeSet::new(),
            spent: BTreeMap::new(),
            coming: BTreeSet::new(),
            soon: BTreeSet::new(),
            feed_open: false,
            feed_closes_at: None,
            deadline: None,
            gate_until: None,
            faults: BTreeMap::new(),
            attempts: 0,
        }
    }

    /// Takes an event; total over states and events. What means nothing where it happens comes back as `Ignored`.
    #[must_use]
    #[expect(
        clippy::too_many_lines,
        reason = "the diagram again, one edge a line, to be read from top to bottom"
    )]
    pub fn on(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        if matches!(&event, Event::SessionClosed(symbol) if !self.open.contains(symbol)) {
            return vec![Effect::Ignored];
        }
        let held = self.flag.is_some();
        let mut effects = self.note(&event, now);
        effects.extend(match (self.state, event) {
            (State::Shutdown, _) => vec![],
            (_, Event::StopAsked) => self.enter(
                State::Shutdown,
                "asked to stop",
                vec![Effect::CloseFeed, Effect::Stop],
                now,
            ),
            (State::Error, Event::Failed { .. }) => vec![],
            (_, Event::Failed { part, reason }) => self.fail(&format!("{part}: {reason}"), now),
            (State::Error, Event::Healed { part }) if self.faults.is_empty() => {
                self.resume(&format!("{part} works again"), now)
            }
            (State::Error, Event::Deadline) if self.due(now) => self.try_again(now),
            (State::Error, Event::L0Ready(_)) if self.faults.is_empty() => self.check("a ready flag came", now),
            (State::Error, Event::Judged(verdicts)) if self.faults.is_empty() && any_passed(&verdicts) => {
                self.judged(&verdicts, now)
            }
            (State::Error, Event::StoreBack) if self.faults.is_empty() && self.gates.unread() => {
                self.check("the database is back", now)
            }
            (State::Initializing, Event::Started) if self.flag.is_some() => self.check("a ready flag is there", now),
            (State::Initializing, Event::Started) => self.wait("every part is made", now),
            (State::WaitingL0, Event::L0Ready(_)) => self.check("a ready flag came", now),
            (State::WaitingL0, Event::Deadline) if self.due(now) => self.l0_never_came(now),
            (State::WaitingL0, Event::SessionClosed(_)) if self.open.is_empty() => {
                self.settle("the session closed", now)
            }
            (State::CheckingData, Event::OpeningSoon(_) | Event::SessionOpened(_)) if self.fetches_while_it_waits() => {
                self.go_on("the session does not wait for missing history", now)
            }
            (State::CheckingData, Event::L0Ready(_) | Event::HistoryFetched(_)) => self.validate(now),
            (State::CheckingData, Event::L0Lost(trouble)) if held => self.wait(&trouble.to_string(), now),
            (State::CheckingData, Event::Judged(verdicts)) => self.judged(&verdicts, now),
            (State::CheckingData, Event::Deadline) if self.due(now) => self.validate(now),
            (State::Ready, Event::L0Lost(trouble)) if held && !trouble.only_stale() => {
                self.wait(&trouble.to_string(), now)
            }
            (State::Ready, Event::OpeningSoon(pair)) => {
                let mut effects = self.open_feed();
                effects.extend(self.ask_beside(pair, now));
                effects
            }
            (State::Ready, Event::SessionOpened(pair)) => {
                let mut effects = self.settle("the session opened", now);
                effects.extend(self.ask_beside(pair, now));
                effects
            }
            (State::Ready | State::Active, Event::SessionComing(pair)) => self.ask_beside(pair, now),
            (State::Active, Event::OpeningSoon(pair) | Event::SessionOpened(pair)) => self.ask_beside(pair, now),
            (State::MarketClosed, Event::L0Ready(_)) => self.check("a ready flag came", now),
            (State::MarketClosed, Event::SessionComing(pair) | Event::SessionOpened(pair)) => {
                match self.gates.of(pair) {
                    Gate::Passed => self.settle("a session comes, and its gate has passed", now),
                    Gate::Unchecked | Gate::Degraded => self.wait("a session comes", now),
                }
            }
            (State::Active, Event::SessionClosed(_)) if self.open.is_empty() => self.settle("the session closed", now),
            (State::Ready | State::Active, Event::L0Ready(_)) => self.validate(now),
            (State::Ready | State::Active | State::MarketClosed, Event::Judged(verdicts)) => {
                self.judged_beside(&verdicts, now)
            }
            (State::Ready | State::Active | State::MarketClosed, Event::HistoryFetched(_)) => self.validate(now),
            (State::CheckingData | State::Ready | State::Active | State::MarketClosed, Event::StoreBack)
                if self.gates.unread() =>
            {
                self.validate(now)
            }
            (State::Ready | State::Active | State::MarketClosed, Event::Deadline) if self.due(now) => {
                self.validate(now)
            }
            (_, Event::Deadline) if !effects.is_empty() || self.due(now) => vec![],
            (_, Event::L0Lost(_) | Event::SessionComing(_) | Event::OpeningSoon(_) | Event::StoreBack) => vec![],
            (_, Event::SessionOpened(_) | Event::SessionClosed(_) | Event::L0Ready(_) | Event::Healed { .. }) => vec![],
            _ => vec![Effect::Ignored],
        });
        effects
    }

    /// What an event means in every state: the facts that the match decides by.
    fn note(&mut self, event: &Event, now: Timestamp) -> Vec<Effect> {
        match event {
            Event::L0Ready(flag) => {
                self.flag = Some(flag.clone());
                self.gates.flag_came();
                self.conditions.clear(ConditionKind::FlagWithdrawn, None, now);
            }
            Event::L0Lost(trouble) => self.flag_lost(trouble, now),
            Event::SessionComing(pair) => drop(self.coming.insert(*pair)),
            Event::OpeningSoon(pair) => {
                self.coming.insert(*pair);
                self.soon.insert(*pair);
            }
            Event::SessionOpened(pair) => {
                self.open.insert(*pair);
                self.coming.remove(pair);
                self.soon.remove(pair);
                self.feed_closes_at = None;
            }
            Event::SessionClosed(pair) => {
                self.open.remove(pair);
                self.gates.forget(*pair);
                if self.gates.bounds_the_flag(*pair) {
                    self.flag = None; // it was for the session that is over
                }
                if self.open.is_empty() {
                    self.gate_until = None;
                    self.feed_closes_at = self.feed_open.then(|| now + limits::FEED_LINGERS);
                }
            }
            Event::HistoryFetched(pair) => self.gates.fetched(*pair),
            Event::Failed { part, reason } => drop(self.faults.insert(part, reason.clone())),
            Event::Healed { part } => drop(self.faults.remove(part)),
            Event::Deadline if self.feed_closes_at.is_some_and(|at| at <= now) => {
                (self.feed_closes_at, self.feed_open) = (None, false);
                return vec![Effect::CloseFeed];
            }
            _ => {}
        }
        Vec::new()
    }

    /// A flag that only grew old with its session is no news; one that vanished before or during a session is.
    fn flag_lost(&mut self, trouble: &FlagTrouble, now: Timestamp) {
        let held = self.flag.take().is_some();
        if self.state == State::MarketClosed {
            return; // nobody waits for it yet
        }
        for pair in self.awaited() {
            if self.gates.of(pair) == Gate::Unchecked {
                self.unverified(pair, trouble.name(), &trouble.to_string(), now);
            }
        }
        if held && !trouble.only_stale() && self.gates.service() != Gate::Unchecked {
            self.gates.withdraw();
            let message = format!("The ready flag that opened the gate is no longer good: {trouble}.");
            self.conditions
                .raise(ConditionKind::FlagWithdrawn, None, trouble.name(), &message, now);
            for pair in self.awaited() {
                self.unverified(pair, "flag_withdrawn", &message, now);
            }
        }
    }

    /// Whether a pair's history counts now: while the service runs, only when its session is open or comes.
    pub(super) fn awaits(&self, pair: Symbol) -> bool {
        let runs = matches!(self.state, State::Ready | State::Active | State::MarketClosed);
        !runs || self.open.contains(&pair) || self.coming.contains(&pair)
    }

    fn awaited(&self) -> Vec<Symbol> {
        self.gates.pairs().filter(|pair| self.awaits(*pair)).collect()
    }

    pub(super) fn unverified(&mut self, pair: Symbol, reason: &str, message: &str, now: Timestamp) {
        self.conditions
            .raise(ConditionKind::HistoryUnverified, Some(pair), reason, message, now);
    }

    /// A session comes or opens beside one that runs, or that the service is ready for: its pair's gate is asked for without a
    /// change of state.
    fn ask_beside(&mut self, pair: Symbol, now: Timestamp) -> Vec<Effect> {
        if !self.gates.has(pair) || self.gates.of(pair) != Gate::Unchecked {
            return Vec::new();
        }
        if !self.conditions.holds(ConditionKind::HistoryUnverified, Some(pair)) {
            let message = format!("The history of {pair} was not checked for this session yet.");
            self.unverified(pair, "unchecked", &message, now);
        }
        let mut effects = vec![Effect::LookForFlag];
        effects.extend(self.validate(now));
        effects
    }

    /// Market time was set. Where it was set back, what is due is due no later than it was to be.
    pub fn set(&mut self, by: &Break) {
        let earlier = |at: Timestamp| at - by.since.since(by.until);
        self.deadline = self.deadline.map(earlier);
        self.gate_until = self.gate_until.map(earlier);
    }

    /// Whether the deadline has come; a deadline is met once.
    fn due(&mut self, now: Timestamp) -> bool {
        let due = self.deadline.is_some_and(|deadline| deadline <= now);
        if due {
            self.deadline = None;
        }
        due
    }

    fn enter(&mut self, next: State, reason: &str, mut effects: Vec<Effect>, now: Timestamp) -> Vec<Effect> {
        if next == self.state {
            reason.clone_into(&mut self.reason);
            return effects;
        }
        let (from, lasted) = (self.state, now.since(self.since));
        *self.spent.entry(from).or_default() += lasted;
        (self.state, self.since, self.reason) = (next, now, reason.to_owned());
        if next != State::Error {
            self.attempts = 0;
        }
        let change = Change {
            from,
            to: next,
            reason: reason.to_owned(),
            at: now,
            lasted,
        };
        effects.insert(0, Effect::Changed(change));
        effects
    }

    /// Waits for the flag: until the end of this gate's waiting time, or once more as long when that is over.
    fn wait(&mut self, reason: &str, now: Timestamp) -> Vec<Effect> {
        let until = self
            .gate_until
            .filter(|until| *until > now)
            .unwrap_or(now + self.policy.wait_max);
        (self.gate_until, self.deadline) = (Some(until), Some(until));
        for pair in self.gates.pairs().collect::<Vec<_>>() {
            let passed = self.gates.of(pair) == Gate::Passed;
            if !passed && !self.conditions.holds(ConditionKind::HistoryUnverified, Some(pair)) {
                let message = "No good ready flag has come for this session yet.";
                self.unverified(pair, "flag_missing", message, now);
            }
        }
        self.enter(State::WaitingL0, reason, vec![Effect::LookForFlag], now)
    }

    pub(super) fn check(&mut self, reason: &str, now: Timestamp) -> Vec<Effect> {
        let effects = self.validate(now);
        self.enter(State::CheckingData, reason, effects, now)
    }

    fn validate(&mut self, now: Timestamp) -> Vec<Effect> {
        self.deadline = Some(now + limits::VERDICT_WAIT);
        vec![Effect::Validate(self.flag.clone())]
    }

    /// Through `ready` to where the market is.
    pub(super) fn ready(&mut self, reason: &str, now: Timestamp) -> Vec<Effect> {
        let mut effects = self.enter(State::Ready, reason, Vec::new(), now);
        effects.extend(self.settle(reason, now));
        effects
    }

    /// The state that the market asks for, once the gate is passed or its session over.
    fn settle(&mut self, reason: &str, now: Timestamp) -> Vec<Effect> {
        if !self.open.is_empty() {
            let effects = self.open_feed();
            return self.enter(State::Active, reason, effects, now);
        }
        self.deadline = None;
        if !self.coming.is_empty() {
            let effects = if self.soon.is_empty() {
                Vec::new()
            } else {
                self.open_feed()
            };
            return self.enter(State::Ready, reason, effects, now);
        }
        self.enter(State::MarketClosed, reason, Vec::new(), now)
    }

    fn open_feed(&mut self) -> Vec<Effect> {
        self.feed_closes_at = None;
        if std::mem::replace(&mut self.feed_open, true) {
            Vec::new()
        } else {
            vec![Effect::OpenFeed]
        }
    }

    pub(super) fn fail(&mut self, reason: &str, now: Timestamp) -> Vec<Effect> {
        self.deadline = Some(now + self.pause());
        self.enter(State::Error, reason, Vec::new(), now)
    }

    fn pause(&self) -> Duration {
        limits::ERROR_PAUSE
            .saturating_mul(1 << self.attempts.min(10))
            .min(limits::ERROR_PAUSE_MAX)
    }

    fn try_again(&mut self, now: Timestamp) -> Vec<Effect> {
        self.attempts = self.attempts.saturating_add(1);
        self.deadline = Some(now + self.pause());
        if !self.faults.is_empty() {
            return self.faults.keys().map(|part| Effect::Probe(part)).collect();
        }
        match self.flag.clone() {
            Some(flag) => vec![Effect::Validate(Some(flag))],
            None => vec![Effect::LookForFlag],
        }
    }

    /// Out of `error`: to where it would be without.
    fn resume(&mut self, reason: &str, now: Timestamp) -> Vec<Effect> {
        match self.gates.service() {
            Gate::Passed | Gate::Degraded => self.ready(reason, now),
            Gate::Unchecked if self.flag.is_some() => self.check(reason, now),
            Gate::Unchecked => self.wait(reason, now),
        }
    }
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "lifecycle_year_tests.rs"]
mod year_tests;
