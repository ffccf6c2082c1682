//! Which faults were met, in which state of the service and in which phase of the session: a fault that never occurred proves
//! nothing.

use crate::plan::Fault;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Where in its session a market is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Phase {
    /// Far from a session.
    Between,
    /// It closed in the last five minutes.
    Closed,
    /// It opens within five minutes.
    Opening,
    /// In the middle of it.
    Open,
    /// In its first five minutes.
    First,
    /// In its last.
    Last,
}

const PHASES: [Phase; 6] = [
    Phase::Between,
    Phase::Opening,
    Phase::First,
    Phase::Open,
    Phase::Last,
    Phase::Closed,
];
/// States in which a fault can find the service; it is `initializing` for no time at all, and `shutdown` is its end.
const STATES: [&str; 7] = [
    "waiting_l0",
    "checking_data",
    "ready",
    "active",
    "market_closed",
    "error",
    "down",
];

#[derive(Debug, Clone, Default)]
pub(crate) struct Reach {
    met: BTreeMap<(Fault, &'static str, Phase), u64>,
}

impl Reach {
    pub(crate) fn hit(&mut self, fault: Fault, state: &'static str, phase: Phase) {
        *self.met.entry((fault, state, phase)).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (place, count) in &other.met {
            *self.met.entry(*place).or_default() += count;
        }
    }

    fn count(&self, which: impl Fn(&(Fault, &'static str, Phase)) -> bool) -> u64 {
        self.met
            .iter()
            .filter(|(place, _)| which(place))
            .map(|(_, count)| count)
            .sum()
    }

    /// The pairs of fault and state, and of fault and phase, that were never met.
    pub(crate) fn never(&self) -> Vec<String> {
        let states = Fault::ALL
            .iter()
            .flat_map(|fault| STATES.iter().map(move |state| (*fault, *state)));
        let states = states.filter(|(fault, state)| self.count(|place| place.0 == *fault && place.1 == *state) == 0);
        let phases = Fault::ALL
            .iter()
            .flat_map(|fault| PHASES.iter().map(move |phase| (*fault, *phase)));
        let phases = phases.filter(|(fault, phase)| self.count(|place| place.0 == *fault && place.2 == *phase) == 0);
        let states = states.map(|(fault, state)| format!("{fault:?} in {state}"));
        states
            .chain(phases.map(|(fault, phase)| format!("{fault:?} in phase {phase:?}")))
            .collect()
    }

    /// The table: a fault a row.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{:<16}", "fault");
        for head in STATES
            .iter()
            .map(|state| (*state).to_owned())
            .chain(PHASES.iter().map(|phase| format!("{phase:?}")))
        {
            write!(text, "{head:>14}").expect("writes");
        }
        for fault in Fault::ALL {
            write!(text, "\n{:<16}", format!("{fault:?}")).expect("writes");
            for state in STATES {
                write!(text, "{:>14}", self.count(|place| place.0 == fault && place.1 == state)).expect("writes");
            }
            for phase in PHASES {
                write!(text, "{:>14}", self.count(|place| place.0 == fault && place.2 == phase)).expect("writes");
            }
        }
        text
    }
}
