//! Plans that bring a fault to a state of the service and a phase of the session that were drawn for it, so that rare ones are met
//! as often as others.

use crate::plan::{Fault, Kind, Plan, Planned};
use crate::reach::{PHASES, Phase, STATES, impossible};
use fastrand::Rng;

/// Whether the plan of a seed is aimed: every other two hundred and fifty-six, so that the first ones, some of which have names,
/// stay what they are.
pub(crate) const fn is_aimed(seed: u64) -> bool {
    seed & 256 != 0
}

/// Whether the plan of a seed has many faults: every other five hundred and twelve. Most of a run's time is that of its sessions.
pub(crate) const fn is_dense(seed: u64) -> bool {
    seed & 512 != 0 || is_crowded(seed)
}

/// Whether it has as many as its sessions hold, and the service is brought to the states that last for seconds: a long run.
pub(crate) const fn is_crowded(seed: u64) -> bool {
    seed >= CROWDED
}

/// The first of these seeds.
pub(crate) const CROWDED: u64 = 4_096;

/// Whether market time moves in a plan: what is known of its instants then is little, so most crowded plans leave it alone.
pub(crate) const fn moves_clocks(seed: u64) -> bool {
    !is_crowded(seed) || seed.is_multiple_of(4)
}

pub(crate) const fn of_clock(fault: Fault) -> bool {
    matches!(fault, Fault::ClockStep | Fault::ClockSkew)
}

/// Every fault in every state and phase in which it can be met.
fn targets(seed: u64) -> Vec<(Fault, usize, Phase)> {
    let places = (0..STATES.len()).flat_map(|state| PHASES.map(|phase| (state, phase)));
    Fault::ALL
        .into_iter()
        .flat_map(|fault| places.clone().map(move |(state, phase)| (fault, state, phase)))
        .filter(|(fault, state, phase)| impossible(*fault, *state, *phase).is_none())
        .filter(|(fault, ..)| moves_clocks(seed) || !of_clock(*fault))
        .collect()
}

/// So many targets has a plan, and one with many faults.
const TARGETS: u64 = 3;
const MANY_TARGETS: u64 = 12;
const CROWD_OF_TARGETS: u64 = 24;

/// Faults, each with what brings the service to the state in which it is to be met. Plans take the targets in turn, so that each is
/// aimed at as often as any other. With them the instants at which L0 writes its flag again, so that there is something to check.
pub(crate) fn aimed(rng: &mut Rng, plan: &Plan) -> (Vec<Planned>, Vec<i64>) {
    let targets = targets(plan.seed);
    let turn = (plan.seed >> 9) * 256 + (plan.seed & 255);
    let (mut list, mut flags) = (Vec::new(), Vec::new());
    let count = match () {
        () if is_crowded(plan.seed) => CROWD_OF_TARGETS,
        () if is_dense(plan.seed) => MANY_TARGETS,
        () => TARGETS,
    };
    for i in 0..count {
        let at = usize::try_from(turn * count + i).unwrap_or(0) % targets.len();
        let (fault, state, phase) = targets[at];
        let pair = rng.usize(..plan.pairs.len());
        let Some((opens, at)) = instant(rng, plan, pair, (fault, state, phase)) else {
            continue;
        };
        if is_crowded(plan.seed) && STATES[state] == "checking_data" {
            flags.push(at - 200);
            list.extend(long_check(rng, at));
        } else {
            list.extend(preparation(rng, state, opens, at));
        }
        let lasts = if fault.instant() { 0 } else { rng.i64(2..=90) };
        list.push(planned(rng, fault, (at, at + lasts), pair));
    }
    for planned in list.iter_mut().filter(|planned| planned.to > plan.begins + 1) {
        planned.from = planned.from.max(plan.begins + 1);
    }
    list.retain(|planned| plan.begins < planned.from && planned.from < plan.calm);
    for planned in &mut list {
        planned.to = planned.to.clamp(planned.from, plan.calm);
    }
    list.sort_by_key(|planned| (planned.from, planned.fault));
    flags.retain(|at| plan.begins < *at && *at < plan.calm);
    (list, flags)
}

fn planned(rng: &mut Rng, fault: Fault, (from, to): (i64, i64), whom: usize) -> Planned {
    Planned {
        fault,
        from,
        to: if fault.instant() { from } else { to },
        whom,
        roll: rng.u64(..),
    }
}

/// An instant in a phase of a session of a pair, with the opening of the session.
fn instant(
    rng: &mut Rng,
    plan: &Plan,
    pair: usize,
    (fault, state, phase): (Fault, usize, Phase),
) -> Option<(i64, i64)> {
    let days = plan.dates.first()? - 1..=plan.dates.last()? + 1;
    let known = |day: &i64| plan.pairs[pair].kind != Kind::Colombia || plan.dates.contains(day);
    let sessions: Vec<(i64, i64)> = days
        .filter(known)
        .filter_map(|day| plan.pairs[pair].session(day))
        .collect();
    for _ in 0..20 {
        let (opens, closes) = sessions[rng.usize(..sessions.len())];
        let corrects = matches!(fault, Fault::CalendarShort | Fault::CalendarLong);
        let (low, high) = match phase {
            // The close of a session of the same day is moved, long before it opens or while that can still be felt.
            Phase::Between if is_crowded(plan.seed) && corrects && STATES[state] == "market_closed" => {
                (opens - 6_000, opens - 1_300)
            }
            Phase::Last if is_crowded(plan.seed) && corrects => (closes - 300, closes - 121),
            Phase::Between if rng.bool() || corrects => (opens - 1_190, opens - 301),
            Phase::Between => (closes + 301, closes + 1_200),
            Phase::Opening => (opens - 300, opens),
            Phase::First => (opens, opens + 300),
            Phase::Open => (opens + 300, closes - 300),
            Phase::Last => (closes - 300, closes),
            Phase::Closed => (closes, closes + 300),
        };
        let (low, high) = (low.max(plan.begins + 2), high.min(plan.calm - 1));
        if low < high {
            return Some((opens, rng.i64(low..high)));
        }
    }
    None
}

/// A start into a check of the history by a store that answers a minute after an instant.
fn long_check(rng: &mut Rng, at: i64) -> Vec<Planned> {
    let slow = (Fault::StoreSlow, at - 190, at + 60);
    let start = (Fault::Kill, at - rng.i64(95..180), 0);
    [slow, start]
        .map(|(fault, from, to)| planned(rng, fault, (from, to), 4))
        .to_vec()
}

/// What brings the service to a state at an instant; the states of an ordinary day come by themselves.
fn preparation(rng: &mut Rng, state: usize, opens: i64, at: i64) -> Vec<Planned> {
    let early = opens.min(at) - 2_600;
    let steps = match STATES[state] {
        "waiting_l0" => vec![(Fault::L0Late, early, at + 60), (Fault::Kill, at - rng.i64(92..150), 0)],
        "checking_data" => vec![
            (Fault::L0Late, early, at - rng.i64(1..25)),
            (Fault::StoreSlow, at - 40, at + 60),
            (Fault::Kill, at - rng.i64(120..300), 0),
        ],
        "ready" if at > opens => vec![(Fault::L0Late, early, at - rng.i64(10..60))],
        "error" => vec![
            (Fault::DiskFull, at - 160, at + 20),
            (Fault::Kill, at - rng.i64(95..150), 0),
        ],
        "down" => vec![(Fault::Kill, at - rng.i64(1..15), 0)],
        _ => Vec::new(),
    };
    steps
        .into_iter()
        .map(|(fault, from, to)| planned(rng, fault, (from, to), 4)) // all pairs
        .collect()
}
