//! The gate of each pair, by the verdicts: it passes, waits for missing history, or the service runs without it.

use crate::domain::history::{FlagTrouble, OnTimeout, Stretch, Verdict, Verdicts, verdict::any_passed};
use crate::domain::lifecycle::{Effect, Lifecycle, State};
use crate::domain::model::{Symbol, Timestamp};
use crate::domain::status::ConditionKind;
use crate::limits;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The state of a pair's gate for its coming (or present) session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Not checked yet.
    #[default]
    Unchecked,
    /// Flag and history are good.
    Passed,
    /// The service goes on without it, as `on_timeout = degrade` says.
    Degraded,
}

#[derive(Debug, Clone, Copy, Default)]
struct PairGate {
    gate: Gate,
    /// How often its missing history was requested since the flag came.
    requests: u32,
    /// Until when the answer to a request for missing history is awaited.
    fetched_by: Option<Timestamp>,
    /// Whether the database did not answer at the last check.
    unread: bool,
}

/// The gates of all pairs.
#[derive(Debug, Clone)]
pub(crate) struct Gates {
    /// The pair whose sessions bound the flag: the first of the settings.
    first: Option<Symbol>,
    pairs: BTreeMap<Symbol, PairGate>,
}

impl Gates {
    pub(super) fn new(pairs: &[Symbol]) -> Self {
        Self {
            first: pairs.first().copied(),
            pairs: pairs.iter().map(|pair| (*pair, PairGate::default())).collect(),
        }
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = Symbol> {
        self.pairs.keys().copied()
    }

    pub(super) fn has(&self, pair: Symbol) -> bool {
        self.pairs.contains_key(&pair)
    }

    /// A pair's gate.
    pub(super) fn of(&self, pair: Symbol) -> Gate {
        self.pairs.get(&pair).map_or(Gate::Unchecked, |one| one.gate)
    }

    /// The best of all gates: one pair with bad history does not stop the others.
    pub(super) fn service(&self) -> Gate {
        let any = |gate| self.pairs.values().any(|one| one.gate == gate);
        match (any(Gate::Passed), any(Gate::Degraded)) {
            (true, _) => Gate::Passed,
            (false, true) => Gate::Degraded,
            (false, false) => Gate::Unchecked,
        }
    }

    /// Whether the close of this pair's session ends the flag's validity.
    pub(super) fn bounds_the_flag(&self, pair: Symbol) -> bool {
        self.first == Some(pair)
    }

    /// The pair's session ended: the next session has a gate of its own.
    pub(super) fn forget(&mut self, pair: Symbol) {
        if let Some(one) = self.pairs.get_mut(&pair) {
            let unread = one.unread;
            *one = PairGate {
                unread,
                ..PairGate::default()
            };
        }
    }

    /// The flag's validity ended: gates of pairs without an open session are reset.
    pub(super) fn forget_idle(&mut self, open: &BTreeSet<Symbol>) {
        let idle: Vec<Symbol> = self.pairs().filter(|pair| !open.contains(pair)).collect();
        idle.into_iter().for_each(|pair| self.forget(pair));
    }

    /// A new flag came: missing history may be requested again.
    pub(super) fn flag_came(&mut self) {
        self.pairs.values_mut().for_each(|one| one.requests = 0);
    }

    /// The flag that opened the gates was withdrawn.
    pub(super) fn withdraw(&mut self) {
        self.pairs.values_mut().for_each(|one| one.gate = Gate::Unchecked);
    }

    /// The missing history of a pair was requested.
    pub(super) fn fetched(&mut self, pair: Symbol) {
        if let Some(one) = self.pairs.get_mut(&pair) {
            one.fetched_by = None;
        }
    }

    /// Whether the database did not answer at the last check.
    pub(super) fn unread(&self) -> bool {
        self.pairs.values().any(|one| one.unread)
    }

    fn set_gate(&mut self, pair: Symbol, gate: Gate) {
        if let Some(one) = self.pairs.get_mut(&pair) {
            one.gate = gate;
        }
    }

    /// Marks every gate that did not pass as degraded.
    fn degrade_rest(&mut self) {
        let unchecked = self.pairs.values_mut().filter(|one| one.gate == Gate::Unchecked);
        unchecked.for_each(|one| one.gate = Gate::Degraded);
    }

    /// Until when answers to requests for missing history are awaited.
    fn fetching_until(&self, now: Timestamp) -> Option<Timestamp> {
        let waiting = self.pairs.values().filter_map(|one| one.fetched_by);
        waiting.filter(|until| *until > now).max()
    }
}

impl Lifecycle {
    /// The gate of this pair's coming (or present) session.
    pub fn gate_of(&self, pair: Symbol) -> Gate {
        self.gates.of(pair)
    }

    /// The pairs whose history passed the gate of their coming (or present) session.
    pub fn verified(&self) -> Vec<Symbol> {
        self.gates
            .pairs()
            .filter(|pair: &Symbol| {
                self.gates.of(*pair) == Gate::Passed
                    && !self.conditions.concerns(ConditionKind::HistoryUnverified, *pair)
            })
            .collect()
    }

    pub(super) fn l0_never_came(&mut self, now: Timestamp) -> Vec<Effect> {
        let reason = format!(
            "no good ready flag appeared in {} minutes",
            self.policy.wait_max.as_secs() / 60
        );
        for pair in self.gates.pairs().collect::<Vec<_>>() {
            if self.gates.of(pair) != Gate::Passed {
                self.unverified(pair, "l0_timeout", &reason, now);
            }
        }
        match self.policy.on_timeout {
            OnTimeout::Degrade => self.check(&reason, now),
            OnTimeout::Error => self.fail(&reason, now),
        }
    }

    /// Applies verdicts that the gate waits for. One pair that passes is enough to go on.
    pub(super) fn judged(&mut self, verdicts: &Verdicts, now: Timestamp) -> Vec<Effect> {
        let fetch = self.update_gates(verdicts, now);
        if any_passed(verdicts) {
            let passing = verdicts.iter().filter(|(_, verdict)| verdict.passed());
            let summary = join_messages(verdicts, passing, Verdict::summarize);
            self.gates.degrade_rest();
            let mut effects = self.ready(&summary, now);
            effects.extend(fetch);
            self.deadline = self.check_again_at(verdicts, now);
            return effects;
        }
        let hurried = self.policy.on_timeout == OnTimeout::Degrade && (!self.soon.is_empty() || !self.open.is_empty());
        if let Some(until) = self.gates.fetching_until(now).filter(|_| !hurried) {
            self.deadline = Some(until);
            return fetch.into_iter().collect();
        }
        let message = join_messages(verdicts, verdicts.iter(), Verdict::message);
        if self.policy.on_timeout == OnTimeout::Error {
            return self.fail(&message, now);
        }
        let mut effects = self.go_on(&format!("continuing with unverified history: {message}"), now);
        effects.extend(fetch);
        self.deadline = self.check_again_at(verdicts, now);
        effects
    }

    /// Applies verdicts while the service runs: they change conditions, not the state.
    pub(super) fn judged_beside(&mut self, verdicts: &Verdicts, now: Timestamp) -> Vec<Effect> {
        let fetch = self.update_gates(verdicts, now);
        self.gates.degrade_rest();
        self.deadline = self.check_again_at(verdicts, now);
        fetch.into_iter().collect()
    }

    /// Updates each pair's gate and condition by its verdict. Returns the request for missing history.
    fn update_gates(&mut self, verdicts: &Verdicts, now: Timestamp) -> Option<Effect> {
        self.deadline = None;
        let mut missing = Vec::new();
        for (pair, verdict) in verdicts {
            if let Some(one) = self.gates.pairs.get_mut(pair) {
                one.unread = !verdict.reachable;
            }
            if verdict.passed() {
                self.mark_passed(*pair, now);
                continue;
            }
            self.gates.set_gate(*pair, Gate::Unchecked);
            self.unverified(*pair, verdict.reason(), &verdict.message(), now);
            let stretches = self.plan_fetch(*pair, verdict, now);
            missing.extend(stretches.map(|stretches| (*pair, stretches)));
        }
        (!missing.is_empty()).then_some(Effect::FetchHistory(missing))
    }

    /// When history that did not pass is checked again.
    fn check_again_at(&self, verdicts: &Verdicts, now: Timestamp) -> Option<Timestamp> {
        let mut failed = verdicts.values().filter(|verdict| !verdict.passed()).peekable();
        failed.peek()?;
        if failed.any(|verdict| !verdict.reachable) {
            return Some(now + limits::VERDICT_UNREAD);
        }
        Some(self.gates.fetching_until(now).unwrap_or(now + limits::VERDICT_AGAIN))
    }

    /// The flag is no longer valid. One that only became too old with its session changes nothing; one that vanished before or during a
    /// session withdraws the gates.
    pub(super) fn flag_lost(&mut self, trouble: &FlagTrouble, now: Timestamp) {
        let held = self.flag.take().is_some();
        if self.state == State::MarketClosed {
            if held && !trouble.only_stale() {
                self.gates.withdraw(); // what passed by it since the last close does not open the next session
            }
            return; // the rest matters again from the gate of the next session on
        }
        for pair in self.awaited_pairs() {
            if self.gates.of(pair) == Gate::Unchecked {
                let message = format!("The history of {pair} is not verified: {trouble}.");
                self.unverified(pair, trouble.name(), &message, now);
            }
        }
        if held && !trouble.only_stale() && self.gates.service() != Gate::Unchecked {
            self.gates.withdraw();
            let message = format!("The ready flag that opened the gate is no longer good: {trouble}.");
            self.conditions
                .raise(ConditionKind::FlagWithdrawn, None, trouble.name(), &message, now);
            for pair in self.awaited_pairs() {
                self.unverified(pair, "flag_withdrawn", &message, now);
            }
        }
    }

    /// Whether a pair's gate matters now: while the service runs, only when its session is open or coming.
    pub(super) fn awaits(&self, pair: Symbol) -> bool {
        let runs = matches!(self.state, State::Ready | State::Active | State::MarketClosed);
        !runs || self.open.contains(&pair) || self.coming.contains(&pair)
    }

    fn awaited_pairs(&self) -> Vec<Symbol> {
        self.gates.pairs().filter(|pair| self.awaits(*pair)).collect()
    }

    pub(super) fn unverified(&mut self, pair: Symbol, reason: &str, message: &str, now: Timestamp) {
        self.conditions
            .raise(ConditionKind::HistoryUnverified, Some(pair), reason, message, now);
    }

    /// Makes this pair's gate count as passed until `until`.
    pub(super) fn override_gate(&mut self, pair: Symbol, until: Timestamp, message: &str, now: Timestamp) {
        if self.gates.has(pair) {
            self.overridden.insert(pair, until);
            self.conditions
                .raise(ConditionKind::GateOverridden, Some(pair), "operator", message, now);
        }
    }

    /// Keeps overridden gates passed, whatever verdict or flag say, and ends overrides that have expired. History that passes ends an
    /// override early. Returns whether to check the history: an override has expired while the service runs.
    pub(super) fn hold_overrides(&mut self, now: Timestamp) -> bool {
        let over: Vec<Symbol> = self
            .overridden
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(pair, _)| *pair)
            .collect();
        for pair in self.overridden.keys().copied().collect::<Vec<_>>() {
            self.gates.set_gate(pair, Gate::Passed);
            self.conditions.clear(ConditionKind::HistoryUnverified, Some(pair), now);
        }
        for pair in &over {
            self.end_override(*pair, now);
            self.gates.set_gate(*pair, Gate::Unchecked);
            if self.awaits(*pair) {
                let message =
                    format!("The override of the gate of {pair} is over, and its history was not checked since.");
                self.unverified(*pair, "override_over", &message, now);
            }
        }
        let runs = matches!(self.state(), State::Ready | State::Active | State::MarketClosed);
        runs && !over.is_empty()
    }

    fn end_override(&mut self, pair: Symbol, now: Timestamp) {
        self.overridden.remove(&pair);
        self.conditions.clear(ConditionKind::GateOverridden, Some(pair), now);
    }

    /// The missing history of a pair to request, if there are keys and the limit of requests is not reached.
    fn plan_fetch(&mut self, pair: Symbol, verdict: &Verdict, now: Timestamp) -> Option<Vec<Stretch>> {
        let stretches = verdict.missing_stretches();
        let can_fetch = self.can_fetch && verdict.reachable && !stretches.is_empty();
        let one = self.gates.pairs.get_mut(&pair).filter(|_| can_fetch)?;
        if one.requests >= limits::HISTORY_REQUESTS || one.fetched_by.is_some_and(|until| until > now) {
            return None;
        }
        one.requests += 1;
        one.fetched_by = Some(now + limits::HISTORY_WAIT);
        Some(stretches)
    }

    /// Marks a pair's history as passed. It counts as verified only together with a valid flag (invariant V1), but the flag may have become
    /// too old since the session's gate opened.
    fn mark_passed(&mut self, pair: Symbol, now: Timestamp) {
        let opened = self.gates.of(pair) == Gate::Passed && self.open.contains(&pair);
        if self.flag.is_some() || opened {
            self.end_override(pair, now);
            self.gates.set_gate(pair, Gate::Passed);
            self.conditions.clear(ConditionKind::HistoryUnverified, Some(pair), now);
            return;
        }
        let held = self.conditions.holds(ConditionKind::HistoryUnverified, Some(pair));
        if !held && !self.awaits(pair) {
            return; // its next session asks for a flag of its own
        }
        self.gates.set_gate(pair, Gate::Degraded);
        let message = "The history passes its check, but no good ready flag says that L0 has finished.";
        self.unverified(pair, "flag_missing", message, now);
    }

    /// Whether the gate waits only for missing history, and may go on without it.
    pub(super) fn fetches_while_it_waits(&self) -> bool {
        let asked = self.gates.pairs.values().any(|one| one.requests > 0);
        asked && self.policy.on_timeout == OnTimeout::Degrade
    }

    /// Goes on with unverified history, which is checked again during the session.
    pub(super) fn go_on(&mut self, reason: &str, now: Timestamp) -> Vec<Effect> {
        self.gates.degrade_rest();
        let effects = self.ready(reason, now);
        self.deadline = self.deadline.or(Some(now + limits::VERDICT_AGAIN));
        effects
    }
}

/// The messages of some verdicts, each with its pair if there are several.
fn join_messages<'v>(
    verdicts: &Verdicts,
    some: impl Iterator<Item = (&'v Symbol, &'v Verdict)>,
    says: impl Fn(&Verdict) -> String,
) -> String {
    some.map(|(pair, verdict): (&Symbol, &Verdict)| match verdicts.len() {
        1 => says(verdict),
        _ => format!("{pair}: {}", says(verdict)),
    })
    .collect::<Vec<_>>()
    .join(" ")
}
