//! What the life cycle shows of itself.

use crate::domain::health::{Condition, ConditionKind, Conditions};
use crate::domain::l0::Flag;
use crate::domain::lifecycle::{Gate, Lifecycle, State};
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// The life cycle as `/status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LifecycleView {
    /// The state's name.
    pub name: State,
    /// Since when.
    #[serde(serialize_with = "crate::domain::timestamp::as_text")]
    pub since: Timestamp,
    /// Why.
    pub reason: String,
    /// Whether the gate of any pair's coming (or present) session holds.
    pub gate: Gate,
    /// The good flag, while there is one.
    pub flag: Option<Flag>,
    /// Whole seconds spent in each state so far, in the order of a day.
    pub seconds_in: BTreeMap<State, u64>,
    /// What is not as it should be, and what lately was not.
    #[serde(skip)]
    pub conditions: Vec<Condition>,
}

impl Lifecycle {
    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// When [`Deadline`](crate::domain::lifecycle::Event::Deadline) is due; the shell arms one timer with it.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadline.into_iter().chain(self.feed_closes_at).min()
    }

    /// Whether the gate of any pair's coming (or present) session holds.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.gates.service()
    }

    /// Whether the gate of this pair's coming (or present) session holds.
    #[must_use]
    pub fn gate_of(&self, pair: Symbol) -> Gate {
        self.gates.of(pair)
    }

    /// What is not as it should be.
    #[must_use]
    pub const fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// The same, to raise and clear what other parts report.
    pub const fn conditions_mut(&mut self) -> &mut Conditions {
        &mut self.conditions
    }

    /// The pairs whose history passed the gate of their coming (or present) session.
    #[must_use]
    pub fn verified(&self) -> Vec<Symbol> {
        let passed = |pair: &Symbol| {
            self.gates.of(*pair) == Gate::Passed && !self.conditions.concerns(ConditionKind::HistoryUnverified, *pair)
        };
        self.gates.pairs().filter(passed).collect()
    }

    /// Its snapshot.
    #[must_use]
    pub fn view(&self, now: Timestamp) -> LifecycleView {
        let mut spent = self.spent.clone();
        *spent.entry(self.state).or_default() += now.since(self.since);
        LifecycleView {
            name: self.state,
            since: self.since,
            reason: self.reason.clone(),
            gate: self.gates.service(),
            flag: self.flag.clone(),
            seconds_in: spent.into_iter().map(|(state, time)| (state, time.as_secs())).collect(),
            conditions: self.conditions.list(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::l0::{FlagTrouble, WaitPolicy};
    use crate::domain::lifecycle::Event;
    use std::time::Duration;

    #[test]
    fn the_view_says_where_since_when_and_how_long_it_was_elsewhere() {
        let at = |secs: i64| Timestamp::from_secs(1_768_478_400 + secs);
        let mut life = Lifecycle::new(&[Symbol::usdcop()], WaitPolicy::default(), false, at(0));
        drop(life.on(Event::Started, at(2)));
        drop(life.on(Event::L0Lost(FlagTrouble::HalfWritten), at(3)));
        let view = life.view(at(10));
        assert_eq!((view.name, view.since), (State::WaitingL0, at(2)));
        assert_eq!(
            view.seconds_in,
            BTreeMap::from([(State::Initializing, 2), (State::WaitingL0, 8)])
        );
        assert_eq!(
            view.conditions.first().map(|condition| condition.reason.as_str()),
            Some("flag_half_written")
        );
        let json = serde_json::to_value(&view).unwrap();
        assert_eq!(
            (json["name"].as_str(), json["seconds_in"]["waiting_l0"].as_u64()),
            (Some("waiting_l0"), Some(8))
        );
    }

    #[test]
    fn only_a_pair_whose_history_passed_its_gate_is_verified() {
        let at = Timestamp::from_secs(1_768_478_400);
        let mut life = Lifecycle::new(&[Symbol::usdcop()], WaitPolicy::default(), false, at);
        assert_eq!(life.verified(), []);
        drop(life.on(Event::SessionOpened(Symbol::usdcop()), at));
        drop(life.on(Event::Started, at));
        let late = at + WaitPolicy::default().wait_max + Duration::from_secs(1);
        drop(life.on(Event::Deadline, late));
        let verdict = crate::domain::verdict::Verdict::unreachable("refused", None, late);
        let verdicts = BTreeMap::from([(Symbol::usdcop(), verdict)]);
        drop(life.on(Event::Judged(verdicts.into()), late));
        assert_eq!((life.state(), life.verified()), (State::Active, Vec::new()));
    }
}
