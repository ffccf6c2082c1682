//! Which faults were met, in which state of the service and in which phase of the session, and what a run has seen at least once: a
//! fault that never occurred proves nothing.

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

pub(crate) const PHASES: [Phase; 6] = [
    Phase::Between,
    Phase::Opening,
    Phase::First,
    Phase::Open,
    Phase::Last,
    Phase::Closed,
];
/// States in which a fault can find the service; it is `initializing` for no time at all, and `shutdown` is its end.
pub(crate) const STATES: [&str; 7] = [
    "waiting_l0",
    "checking_data",
    "ready",
    "active",
    "market_closed",
    "error",
    "down",
];

/// What a long run must have seen at least once: each is something that the checks above would be blind for if it never happened.
pub(crate) const SOMETIMES: [&str; 41] = [
    "a pair is called safe to trade",
    "a pair whose session is open is not called safe",
    "a late tick revises a bar that was told",
    "the vendor's bar fills a slot without a bar",
    "the vendor's bar takes the place of one of ours",
    "a longer bar is revised",
    "a gap is filled",
    "a gap is unfillable",
    "a gap that no tick has explained",
    "a gap has more than one slot",
    "a price is polled",
    "the mark of the ledger is missing",
    "the end of the ledger is lost",
    "the ledger is a copy",
    "the power was lost without a trace",
    "the process dies with entries unwritten",
    "the process dies with nothing unwritten",
    "the process is back in the session in which it died",
    "the disk is full",
    "the answer of the disk is lost",
    "market time was set forth",
    "market time was set back",
    "the process was paused",
    "a client goes on where it was",
    "a client goes on behind the head",
    "a client hears that its epoch is over",
    "ticks of a client are conflated",
    "a client that is too slow is closed",
    "the store fails and is written again",
    "the store is behind its own past",
    "the store is ahead of the ledger",
    "a stream of the cache is filled again",
    "a stream of the cache is deleted",
    "a key is refused",
    "no key may be used",
    "a pair is verified",
    "a session runs with history that is not verified",
    "missing history is fetched",
    "the flag that opened the gate is withdrawn",
    "the calendar is corrected",
    "the process goes on under the same names after a stop",
];

/// Why a fault cannot be met in a state and phase, where it cannot.
pub(crate) fn impossible(fault: Fault, state: usize, phase: Phase) -> Option<&'static str> {
    let runs = matches!(phase, Phase::First | Phase::Open | Phase::Last);
    let ends = matches!(phase, Phase::Closed);
    match STATES[state] {
        "ready" if runs => Some("a session that is open makes the service active"),
        "ready" if ends => Some("the sessions of the pairs overlap: when one is over, none comes"),
        "market_closed" if runs || matches!(phase, Phase::Opening) => {
            Some("a session ends that state twenty minutes before it opens")
        }
        "down"
            if matches!(
                fault,
                Fault::Kill | Fault::Stop | Fault::Pause | Fault::LinkCut | Fault::FrameOdd
            ) =>
        {
            Some("there is no process that it could happen to")
        }
        _ if ends && matches!(fault, Fault::CalendarShort | Fault::CalendarLong) => {
            Some("the close of a session that is over is not moved")
        }
        _ => None,
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Reach {
    met: BTreeMap<(Fault, usize, Phase), u64>,
    /// How often each fault changed what would have happened.
    acted: BTreeMap<Fault, u64>,
    seen: BTreeMap<&'static str, u64>,
}

impl Reach {
    pub(crate) fn hit(&mut self, fault: Fault, state: &'static str, phase: Phase) {
        if let Some(state) = STATES.iter().position(|known| *known == state) {
            *self.met.entry((fault, state, phase)).or_default() += 1;
        }
    }

    pub(crate) fn act(&mut self, fault: Fault) {
        *self.acted.entry(fault).or_default() += 1;
    }

    /// The same of lasting faults, each with its count.
    pub(crate) fn acted(&mut self, counts: &BTreeMap<Fault, u64>) {
        for (fault, count) in counts {
            *self.acted.entry(*fault).or_default() += count;
        }
    }

    /// Something of [`SOMETIMES`] happened.
    pub(crate) fn see(&mut self, what: &'static str) {
        debug_assert!(SOMETIMES.contains(&what), "{what}");
        *self.seen.entry(what).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (place, count) in &other.met {
            *self.met.entry(*place).or_default() += count;
        }
        for (fault, count) in &other.acted {
            *self.acted.entry(*fault).or_default() += count;
        }
        for (what, count) in &other.seen {
            *self.seen.entry(what).or_default() += count;
        }
    }

    fn count(&self, fault: Fault, state: usize, phase: Phase) -> u64 {
        self.met.get(&(fault, state, phase)).copied().unwrap_or(0)
    }

    /// How often faults changed what would have happened.
    pub(crate) fn acts(&self) -> u64 {
        self.acted.values().sum()
    }

    /// What can be met or seen and was not.
    pub(crate) fn never(&self) -> Vec<String> {
        let mut never = Vec::new();
        for fault in Fault::ALL {
            for (state, name) in STATES.iter().enumerate() {
                for phase in PHASES {
                    if self.count(fault, state, phase) == 0 && impossible(fault, state, phase).is_none() {
                        never.push(format!("{fault:?} in {name} and phase {phase:?}"));
                    }
                }
            }
            if self.acted.get(&fault).is_none_or(|count| *count == 0) {
                never.push(format!("{fault:?} changed nothing"));
            }
        }
        let unseen = SOMETIMES.iter().filter(|what| !self.seen.contains_key(*what));
        never.extend(unseen.map(|what| format!("never: {what}")));
        never
    }

    /// The table: a fault a row, a state a column, in it a digit a phase: how many digits its count has, `-` where it cannot be.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{:<16}", "fault");
        for state in STATES {
            write!(text, "{state:>14}").expect("writes");
        }
        write!(text, "{:>12}{:>12}", "begun", "acted").expect("writes");
        for fault in Fault::ALL {
            write!(text, "\n{:<16}", format!("{fault:?}")).expect("writes");
            for state in 0..STATES.len() {
                let digits: String = PHASES
                    .iter()
                    .map(
                        |phase| match (self.count(fault, state, *phase), impossible(fault, state, *phase)) {
                            (0, Some(_)) => '-',
                            (count, _) => {
                                char::from_digit(count.checked_ilog10().map_or(0, |log| log + 1), 10).unwrap_or('9')
                            }
                        },
                    )
                    .collect();
                write!(text, "{digits:>14}").expect("writes");
            }
            let begun: u64 = self
                .met
                .iter()
                .filter(|(place, _)| place.0 == fault)
                .map(|(_, count)| count)
                .sum();
            let acted = self.acted.get(&fault).copied().unwrap_or(0);
            write!(text, "{begun:>12}{acted:>12}").expect("writes");
        }
        text.push_str("\nphases: ");
        text.push_str(&PHASES.map(|phase| format!("{phase:?}").to_lowercase()).join(", "));
        text.push_str("; a digit is how many digits the count has, - what cannot be:");
        let reasons: std::collections::BTreeSet<&str> = Fault::ALL
            .into_iter()
            .flat_map(|fault| {
                (0..STATES.len()).flat_map(move |state| PHASES.map(|phase| impossible(fault, state, phase)))
            })
            .flatten()
            .collect();
        for reason in reasons {
            write!(text, "\n  {reason}").expect("writes");
        }
        for what in SOMETIMES {
            write!(
                text,
                "\n{:>12} times: {what}",
                self.seen.get(what).copied().unwrap_or(0)
            )
            .expect("writes");
        }
        text
    }
}
