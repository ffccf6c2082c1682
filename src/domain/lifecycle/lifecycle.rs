//! The life cycle of the service: one state machine, driven by events and by time.
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
//!                                                                    └── from anywhere: a required part failed
//! SHUTDOWN: from anywhere, when asked to stop.
//! ```
//!
//! An operator may override a pair's gate until an instant: the gate counts as passed until then, and a condition says so.
//!
//! *Gate*: a flag of this gate window, and history that passed the check. The flag is one for all pairs; each pair has its own gate, which
//! is checked anew for each of its sessions. The service goes on as soon as one pair's history passed; the other pairs are unverified.
//! Degradations are conditions beside the state and never stop a running session.

use crate::domain::history::{Flag, FlagTrouble, Stretch, Verdicts, WaitPolicy, verdict::any_passed};
use crate::domain::lifecycle::{Break, Gate, Gates};
use crate::domain::model::{ServiceEvent, ServiceEventKind, Symbol, Timestamp, backoff};
use crate::domain::status::{ConditionKind, Conditions};
use crate::limits;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The state of the service.
#[derive(strum::Display, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The parts of the service are being created.
    Initializing,
    /// Waiting for the ready flag.
    WaitingL0,
    /// The history is being checked, or fetched and checked again.
    CheckingData,
    /// The gate passed; the session opens soon.
    Ready,
    /// A session is running.
    Active,
    /// Between sessions.
    MarketClosed,
    /// A required part must recover first.
    Error,
    /// Stopping.
    Shutdown,
}

impl State {
    /// All states.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// Its name in every protocol.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// An input of the state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The parts of the service are created.
    Started,
    /// A valid flag was found.
    L0Ready(Flag),
    /// There is no valid flag (any more).
    L0Lost(FlagTrouble),
    /// The history of every pair was checked.
    Judged(Arc<Verdicts>),
    /// The missing history of a pair was requested; the next check shows whether it came.
    HistoryFetched(Symbol),
    /// The database answers again.
    StoreBack,
    /// A pair's session opens within the gate's lead time.
    SessionComing(Symbol),
    /// A pair's session opens within [`limits::SESSION_SOON`].
    OpeningSoon(Symbol),
    /// A pair's session opened.
    SessionOpened(Symbol),
    /// A pair's session closed.
    SessionClosed(Symbol),
    /// A required part failed.
    Failed {
        /// The part: `ledger`, ….
        part: &'static str,
        /// The failure, as a sentence.
        reason: String,
    },
    /// A failed part works again.
    Healed {
        /// The part: `ledger`, ….
        part: &'static str,
    },
    /// An operator made a pair's history count as verified for a while.
    GateOverridden {
        /// The pair.
        pair: Symbol,
        /// When the override ends.
        until: Timestamp,
        /// The operator and the reason, as a sentence.
        message: String,
    },
    /// The time of [`Lifecycle::next_deadline`] came.
    Deadline,
    /// The process was asked to stop.
    StopAsked,
}

/// An action for the caller to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Check the flag now.
    LookForFlag,
    /// Check the history, on behalf of this flag.
    Validate(Option<Flag>),
    /// Request these ranges of each pair's missing bars from the vendor, newest first, then report `HistoryFetched` for each pair.
    FetchHistory(Vec<(Symbol, Vec<Stretch>)>),
    /// Open the feed.
    OpenFeed,
    /// Close the feed.
    CloseFeed,
    /// The state changed: log it and write it to `system_health`.
    Changed(Change),
}

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The previous state.
    pub from: State,
    /// The new state.
    pub to: State,
    /// The reason.
    pub reason: String,
    /// When it changed.
    pub at: Timestamp,
    /// How long the previous state lasted.
    pub lasted: Duration,
}

impl Change {
    /// The journal entry of this change.
    pub fn entry(&self) -> ServiceEvent {
        let message = format!("The state changed from {} to {}: {}.", self.from, self.to, self.reason);
        ServiceEvent::new(ServiceEventKind::State, self.at, self.to.name(), message)
            .with_cause(self.reason.clone())
            .with("from", self.from.name())
            .with("lasted_s", self.lasted.as_secs().to_string())
    }
}

/// The state machine.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    pub(super) policy: WaitPolicy,
    pub(super) can_fetch: bool,
    pub(super) state: State,
    since: Timestamp,
    reason: String,
    pub(super) gates: Gates,
    pub(super) flag: Option<Flag>,
    pub(super) conditions: Conditions,
    pub(super) open: BTreeSet<Symbol>,
    /// Pairs whose session opens within the gate's lead time.
    pub(super) coming: BTreeSet<Symbol>,
    /// Of these, pairs whose session opens within minutes: a gate that passes now opens the feed at once.
    pub(super) soon: BTreeSet<Symbol>,
    feed_open: bool,
    feed_closes_at: Option<Timestamp>,
    pub(super) deadline: Option<Timestamp>,
    gate_until: Option<Timestamp>,
    faults: BTreeMap<&'static str, String>,
    attempts: u32,
    /// The pairs whose gate an operator overrode, and until when.
    pub(super) overridden: BTreeMap<Symbol, Timestamp>,
}

impl Lifecycle {
    /// A life cycle of these pairs in its first state; the first pair's sessions bound the flag. `can_fetch`: there are keys with which to
    /// request missing history.
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
            coming: BTreeSet::new(),
            soon: BTreeSet::new(),
            feed_open: false,
            feed_closes_at: None,
            deadline: None,
            gate_until: None,
            faults: BTreeMap::new(),
            attempts: 0,
            overridden: BTreeMap::new(),
        }
    }

    /// Handles an event. Total over states and events.
    #[must_use]
    #[expect(
        clippy::too_many_lines,
        reason = "the diagram again, one edge a line, to be read from top to bottom"
    )]
    pub fn on(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        if matches!(&event, Event::SessionClosed(symbol) if !self.open.contains(symbol)) {
            return vec![];
        }
        let held = self.flag.is_some();
        let mut effects = self.note_facts(&event, now);
        effects.extend(match (self.state, event) {
            (State::Shutdown, _) => vec![],
            (_, Event::StopAsked) => {
                self.enter_state(State::Shutdown, "a stop was requested", vec![Effect::CloseFeed], now)
            }
            (State::Error, Event::Failed { .. }) => vec![],
            (_, Event::Failed { part, reason }) => self.fail(&format!("{part}: {reason}"), now),
            (State::Error, Event::Healed { part }) if self.faults.is_empty() => {
                self.leave_error(&format!("{part} works again"), now)
            }
            (State::Error, Event::Deadline) if self.take_deadline(now) => self.try_again(now),
            (State::Error, Event::L0Ready(_)) if self.faults.is_empty() => self.check("a ready flag appeared", now),
            (State::Error, Event::Judged(verdicts)) if self.faults.is_empty() && any_passed(&verdicts) => {
                self.judged(&verdicts, now)
            }
            (State::Error, Event::StoreBack) if self.faults.is_empty() && self.gates.unread() => {
                self.check("the database answers again", now)
            }
            (State::WaitingL0 | State::CheckingData, Event::GateOverridden { message, .. }) => {
                self.ready(&message, now)
            }
            (State::Error, Event::GateOverridden { message, .. }) if self.faults.is_empty() => {
                self.ready(&message, now)
            }
            (State::Initializing, Event::Started) if self.flag.is_some() => self.check("a ready flag exists", now),
            (State::Initializing, Event::Started) => self.wait_for_flag("every part is created", now),
            (State::WaitingL0, Event::L0Ready(_)) => self.check("a ready flag appeared", now),
            (State::WaitingL0, Event::Deadline) if self.take_deadline(now) => self.l0_never_came(now),
            (State::WaitingL0, Event::SessionClosed(_)) if self.open.is_empty() => {
                self.enter_market_state("the session closed", now)
            }
            (State::CheckingData, Event::OpeningSoon(_) | Event::SessionOpened(_)) if self.fetches_while_it_waits() => {
                self.go_on("the session does not wait for missing history", now)
            }
            (State::CheckingData, Event::L0Ready(_) | Event::HistoryFetched(_)) => self.start_validation(now),
            (State::CheckingData, Event::L0Lost(trouble)) if held => self.wait_for_flag(&trouble.to_string(), now),
            (State::CheckingData, Event::Judged(verdicts)) => self.judged(&verdicts, now),
            (State::CheckingData, Event::Deadline) if self.take_deadline(now) => self.start_validation(now),
            (State::Ready, Event::L0Lost(trouble)) if held && !trouble.only_stale() => {
                self.wait_for_flag(&trouble.to_string(), now)
            }
            (State::Ready, Event::OpeningSoon(pair)) => {
                let mut effects = self.open_feed();
                effects.extend(self.ask_beside(pair, now));
                effects
            }
            (State::Ready, Event::SessionOpened(pair)) => {
                let mut effects = self.enter_market_state("the session opened", now);
                effects.extend(self.ask_beside(pair, now));
                effects
            }
            (State::Ready | State::Active, Event::SessionComing(pair)) => self.ask_beside(pair, now),
            (State::Active, Event::OpeningSoon(pair) | Event::SessionOpened(pair)) => self.ask_beside(pair, now),
            (State::MarketClosed, Event::L0Ready(_)) => self.check("a ready flag appeared", now),
            (State::MarketClosed, Event::SessionComing(pair) | Event::SessionOpened(pair)) => {
                match self.gates.of(pair) {
                    Gate::Passed => self.enter_market_state("a session opens soon, and its gate has passed", now),
                    Gate::Unchecked | Gate::Degraded => self.wait_for_flag("a session opens soon", now),
                }
            }
            (State::Active, Event::SessionClosed(_)) if self.open.is_empty() => {
                self.enter_market_state("the session closed", now)
            }
            (State::Ready | State::Active, Event::L0Ready(_)) => self.start_validation(now),
            (State::Ready | State::Active | State::MarketClosed, Event::Judged(verdicts)) => {
                self.judged_beside(&verdicts, now)
            }
            (State::Ready | State::Active | State::MarketClosed, Event::HistoryFetched(_)) => {
                self.start_validation(now)
            }
            (State::CheckingData | State::Ready | State::Active | State::MarketClosed, Event::StoreBack)
                if self.gates.unread() =>
            {
                self.start_validation(now)
            }
            (State::Ready | State::Active | State::MarketClosed, Event::Deadline) if self.take_deadline(now) => {
                self.start_validation(now)
            }
            _ => vec![],
        });
        let checks = effects
            .iter()
            .any(|effect: &Effect| matches!(effect, Effect::Validate(_)));
        if self.hold_overrides(now) && !checks {
            effects.extend(self.start_validation(now));
        }
        effects
    }

    /// The present state.
    pub const fn state(&self) -> State {
        self.state
    }

    /// When [`Event::Deadline`] is due; the caller arms one timer with it.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let overrides = self.overridden.values().copied();
        overrides.chain(self.deadline).chain(self.feed_closes_at).min()
    }

    /// When the present state began.
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// The reason for the present state.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The valid flag, if there is one.
    pub const fn flag(&self) -> Option<&Flag> {
        self.flag.as_ref()
    }

    /// The conditions of the service.
    pub const fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// The conditions, to be raised and cleared on behalf of other parts.
    pub const fn conditions_mut(&mut self) -> &mut Conditions {
        &mut self.conditions
    }

    /// Applies an event's effect in every state: the facts on which the match decides.
    fn note_facts(&mut self, event: &Event, now: Timestamp) -> Vec<Effect> {
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
                    self.gates.forget_idle(&self.open);
                }
                if self.open.is_empty() {
                    self.gate_until = None;
                    self.feed_closes_at = self.feed_open.then(|| now + limits::FEED_LINGERS);
                }
            }
            Event::HistoryFetched(pair) => self.gates.fetched(*pair),
            Event::GateOverridden { pair, until, message } => self.override_gate(*pair, *until, message, now),
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

    /// Checks the gate of a pair whose session comes or opens while the service is ready or another session runs, without a change of
    /// state.
    fn ask_beside(&mut self, pair: Symbol, now: Timestamp) -> Vec<Effect> {
        if !self.gates.has(pair) || self.gates.of(pair) != Gate::Unchecked {
            return Vec::new();
        }
        if !self.conditions.holds(ConditionKind::HistoryUnverified, Some(pair)) {
            let message = format!("The history of {pair} was not checked for this session yet.");
            self.unverified(pair, "unchecked", &message, now);
        }
        let mut effects = vec![Effect::LookForFlag];
        effects.extend(self.start_validation(now));
        effects
    }

    /// Market time was set. If it was set back, deadlines move back with it.
    pub fn set(&mut self, by: &Break) {
        let back = by.since.since(by.until);
        self.deadline = self.deadline.map(|at| at - back);
        self.gate_until = self.gate_until.map(|at| at - back);
    }

    /// Whether the deadline has passed; clears it if so.
    fn take_deadline(&mut self, now: Timestamp) -> bool {
        let due = self.deadline.is_some_and(|deadline| deadline <= now);
        if due {
            self.deadline = None;
        }
        due
    }

    fn enter_state(&mut self, next: State, reason: &str, mut effects: Vec<Effect>, now: Timestamp) -> Vec<Effect> {
        if next == self.state {
            reason.clone_into(&mut self.reason);
            return effects;
        }
        let from = self.state;
        let lasted = now.since(self.since);
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

    /// Waits for the flag: until the end of this gate's waiting time, or for another waiting time if that has ended.
    fn wait_for_flag(&mut self, reason: &str, now: Timestamp) -> Vec<Effect> {
        let until = self
            .gate_until
            .filter(|until| *until > now)
            .unwrap_or(now + self.policy.wait_max);
        (self.gate_until, self.deadline) = (Some(until), Some(until));
        for pair in self.gates.pairs().collect::<Vec<_>>() {
            let passed = self.gates.of(pair) == Gate::Passed;
            if !passed && !self.conditions.holds(ConditionKind::HistoryUnverified, Some(pair)) {
                let message = "No good ready flag has appeared for this session yet.";
                self.unverified(pair, "flag_missing", message, now);
            }
        }
        self.enter_state(State::WaitingL0, reason, vec![Effect::LookForFlag], now)
    }

    pub(super) fn check(&mut self, reason: &str, now: Timestamp) -> Vec<Effect> {
        let effects = self.start_validation(now);
        self.enter_state(State::CheckingData, reason, effects, now)
    }

    fn start_validation(&mut self, now: Timestamp) -> Vec<Effect> {
        self.deadline = Some(now + limits::VERDICT_WAIT);
        vec![Effect::Validate(self.flag.clone())]
    }

    /// Enters `ready`, and then the state that the market requires.
    pub(super) fn ready(&mut self, reason: &str, now: Timestamp) -> Vec<Effect> {
        let mut effects = self.enter_state(State::Ready, reason, Vec::new(), now);
        effects.extend(self.enter_market_state(reason, now));
        effects
    }

    /// Enters the state that the market requires, after the gate passed or a session ended.
    fn enter_market_state(&mut self, reason: &str, now: Timestamp) -> Vec<Effect> {
        if !self.open.is_empty() {
            let effects = self.open_feed();
            return self.enter_state(State::Active, reason, effects, now);
        }
        self.deadline = None;
        if !self.coming.is_empty() {
            let effects = if self.soon.is_empty() {
                Vec::new()
            } else {
                self.open_feed()
            };
            return self.enter_state(State::Ready, reason, effects, now);
        }
        self.enter_state(State::MarketClosed, reason, Vec::new(), now)
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
        self.deadline = Some(now + self.error_pause());
        self.enter_state(State::Error, reason, Vec::new(), now)
    }

    fn error_pause(&self) -> Duration {
        backoff::delay(limits::ERROR_PAUSE, self.attempts, limits::ERROR_PAUSE_MAX)
    }

    fn try_again(&mut self, now: Timestamp) -> Vec<Effect> {
        self.attempts = self.attempts.saturating_add(1);
        self.deadline = Some(now + self.error_pause());
        if !self.faults.is_empty() {
            return Vec::new(); // whoever failed tries again by itself
        }
        match self.flag.clone() {
            Some(flag) => vec![Effect::Validate(Some(flag))],
            None => vec![Effect::LookForFlag],
        }
    }

    /// Leaves `error` for the state that the gate requires.
    fn leave_error(&mut self, reason: &str, now: Timestamp) -> Vec<Effect> {
        match self.gates.service() {
            Gate::Passed | Gate::Degraded => self.ready(reason, now),
            Gate::Unchecked if self.flag.is_some() => self.check(reason, now),
            Gate::Unchecked => self.wait_for_flag(reason, now),
        }
    }
}

#[cfg(test)]
#[path = "tests/lifecycle.rs"]
mod tests;

#[cfg(test)]
#[path = "tests/lifecycle_year.rs"]
mod year_tests;
