//! What the life cycle makes of verdicts: the gate passes, waits for missing history, or goes on without.

use crate::domain::health::ConditionKind;
use crate::domain::l0::OnTimeout;
use crate::domain::lifecycle::{Effect, Gate, Lifecycle};
use crate::domain::timestamp::Timestamp;
use crate::domain::verdict::Verdict;
use crate::limits;

impl Lifecycle {
    pub(super) fn l0_never_came(&mut self, now: Timestamp) -> Vec<Effect> {
        let reason = format!(
            "no good ready flag came in {} minutes",
            self.policy.wait_max.as_secs() / 60
        );
        self.unverified("l0_timeout", &reason, now);
        match self.policy.on_timeout {
            OnTimeout::Degrade => self.check(&reason, now),
            OnTimeout::Error => self.fail(&reason, now),
        }
    }

    /// A verdict that the gate waited for.
    pub(super) fn judged(&mut self, verdict: &Verdict, now: Timestamp) -> Vec<Effect> {
        self.deadline = None;
        if verdict.passed() {
            self.passed(now);
            return self.ready(&verdict.praise(), now);
        }
        let fetch = self.fetch(verdict, now);
        let hurried = self.policy.on_timeout == OnTimeout::Degrade && (self.soon || !self.open.is_empty());
        if fetch.is_some() && !hurried {
            return fetch.into_iter().collect();
        }
        self.unverified(verdict.reason(), &verdict.message(), now);
        if self.policy.on_timeout == OnTimeout::Error {
            return self.fail(&verdict.message(), now);
        }
        let mut effects = self.go_on(&format!("going on with unverified history: {}", verdict.message()), now);
        effects.extend(fetch);
        effects
    }

    /// A verdict while the service runs: it moves conditions, not the state.
    pub(super) fn judged_beside(&mut self, verdict: &Verdict, now: Timestamp) -> Vec<Effect> {
        self.deadline = None;
        if verdict.passed() {
            self.passed(now);
            return Vec::new();
        }
        self.unverified(verdict.reason(), &verdict.message(), now);
        self.gate = Gate::Degraded;
        self.deadline = Some(now + limits::VERDICT_AGAIN);
        self.fetch(verdict, now).into_iter().collect()
    }

    /// Asks for missing history, while there are keys and it was not asked for too often.
    fn fetch(&mut self, verdict: &Verdict, now: Timestamp) -> Option<Effect> {
        let stretches = verdict.missing_stretches();
        if !self.can_fetch || self.requests >= limits::HISTORY_REQUESTS || !verdict.reachable || stretches.is_empty() {
            return None;
        }
        self.requests += 1;
        self.deadline = Some(now + limits::HISTORY_WAIT);
        Some(Effect::FetchHistory(stretches))
    }

    /// Good history is verified only together with a good flag (invariant G1).
    fn passed(&mut self, now: Timestamp) {
        if self.flag.is_some() {
            self.gate = Gate::Passed;
            self.conditions.clear(ConditionKind::HistoryUnverified, None, now);
            return;
        }
        self.gate = Gate::Degraded;
        let message = "The history passes its check, but no good ready flag says that L0 has finished.";
        self.unverified("flag_missing", message, now);
    }

    /// Whether it is only missing history that the gate waits for, and may go on without.
    pub(super) fn fetches_while_it_waits(&self) -> bool {
        self.requests > 0 && self.policy.on_timeout == OnTimeout::Degrade
    }

    /// Goes on with history that is not verified; it is checked again beside the session.
    pub(super) fn go_on(&mut self, reason: &str, now: Timestamp) -> Vec<Effect> {
        self.gate = Gate::Degraded;
        let effects = self.ready(reason, now);
        self.deadline = self.deadline.or(Some(now + limits::VERDICT_AGAIN));
        effects
    }
}
