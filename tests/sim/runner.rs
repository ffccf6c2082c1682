//! Runs seeds, shrinks those that fail, and says how to run them again.

use crate::plan::Plan;
use crate::reach::Reach;
use crate::shrink::{kept, kind, shrink};
use crate::world::{Outcome, run};
use candela::clock::Stopwatch;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How many seeds, from which, or for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) first: u64,
    pub(crate) runs: Option<u64>,
    pub(crate) seconds: Option<u64>,
    /// Or until faults have changed so many things.
    pub(crate) acts: Option<u64>,
    /// So many are run in any case, however long it takes.
    pub(crate) least: u64,
    /// Every pair of fault and state has to be met.
    pub(crate) full: bool,
}

impl Wanted {
    /// As the environment says: `SIM_SEED` (the first), `SIM_RUNS`, `SIM_MINUTES`, `SIM_ACTS`; else `short`. Only a long run has to meet every
    /// fault in every state and phase.
    pub(crate) fn from_environment(short: Self) -> Self {
        let first = number("SIM_SEED").unwrap_or(short.first);
        let (runs, minutes, acts) = (number("SIM_RUNS"), number("SIM_MINUTES"), number("SIM_ACTS"));
        if runs.is_none() && minutes.is_none() && acts.is_none() {
            return Self { first, ..short };
        }
        Self {
            first,
            runs,
            seconds: minutes.map(|minutes| minutes * 60),
            acts,
            least: 0,
            full: runs.is_some_and(|runs| runs >= FULL)
                || minutes.is_some_and(|minutes| minutes >= 60)
                || acts.is_some_and(|acts| acts >= FULL_ACTS),
        }
    }
}

/// So many seeds meet every pair of fault and state, or the plan of faults is wrong.
const FULL: u64 = 20_000;
/// The same of acts, from the crowded seeds on.
const FULL_ACTS: u64 = 1_000_000;

/// A number from the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's switches, not settings of the service"
)]
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A plan that panics is one that fails.
fn attempt(plan: &Plan, trace: bool) -> Outcome {
    let plan = plan.clone();
    let faults = plan.faults.len();
    catch_unwind(AssertUnwindSafe(|| run(plan, trace))).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        Outcome {
            wrong: vec![format!("panic: {}", said.unwrap_or_default())],
            reach: Reach::default(),
            faults,
            sessions: 0,
            ticks: 0,
            bars: 0,
            gaps: 0,
            safe: 0,
        }
    })
}

/// Says what a plan violates, and how to run it again.
fn report(plan: &Plan, outcome: &Outcome) {
    let least = if number("SIM_SHRINK") == Some(0) {
        plan.faults.clone()
    } else {
        let fails = kind(&outcome.wrong);
        shrink(&plan.faults, |faults| {
            let mut fewer = plan.clone();
            fewer.faults = faults.to_vec();
            kind(&attempt(&fewer, false).wrong) == fails
        })
    };
    println!(
        "seed {} fails with {} faults: {:?}",
        plan.seed, outcome.faults, outcome.wrong
    );
    println!("found: {}", outcome.wrong.first().map_or("", String::as_str));
    println!("the fewest: {least:?}");
    println!(
        "run it again: SIM_SEED={} SIM_FAULTS={} SIM_RUNS=1 SIM_TRACE=1 cargo run --release --example candela-sim",
        plan.seed,
        kept(&plan.faults, &least)
    );
}

/// Runs one seed with only some of its faults, told step by step.
pub(crate) fn again(seed: u64, faults: Option<&[usize]>, trace: bool) -> Vec<String> {
    let mut plan = Plan::of(seed);
    if let Some(kept) = faults {
        plan.faults = plan
            .faults
            .iter()
            .enumerate()
            .filter(|(i, _)| kept.contains(i))
            .map(|(_, fault)| *fault)
            .collect();
    }
    attempt(&plan, trace).wrong
}

/// Runs seeds; returns those that failed.
pub(crate) fn seeds(wanted: Wanted) -> Vec<u64> {
    let clock = Stopwatch::start();
    let most_failures = usize::try_from(number("SIM_FAILURES").unwrap_or(3)).unwrap_or(3);
    let (mut reach, mut failed) = (Reach::default(), Vec::new());
    let (mut runs, mut sessions, mut ticks, mut bars, mut gaps, mut safe, mut faults) = (0_u64, 0, 0, 0, 0, 0, 0);
    for seed in wanted.first.. {
        let over = wanted.runs.is_some_and(|most| runs >= most)
            || wanted.acts.is_some_and(|most| reach.acts() >= most)
            || runs >= wanted.least && wanted.seconds.is_some_and(|most| clock.elapsed().as_secs() >= most);
        if over || failed.len() >= most_failures {
            break;
        }
        let plan = Plan::of(seed);
        let outcome = attempt(&plan, false);
        runs += 1;
        sessions += outcome.sessions;
        ticks += outcome.ticks;
        bars += outcome.bars;
        gaps += outcome.gaps;
        safe += outcome.safe;
        faults += outcome.faults;
        reach.add(&outcome.reach);
        if !outcome.wrong.is_empty() {
            report(&plan, &outcome);
            failed.push(seed);
        }
    }
    println!("{}", reach.table());
    let seconds = clock.elapsed().as_secs_f64();
    let acts = reach.acts();
    println!(
        "{runs} seeds, {sessions} sessions, {faults} faults with {acts} acts, {ticks} ticks, {bars} bars, {gaps} words on gaps, {safe} times safe in {seconds:.1} s"
    );
    let never = reach.never();
    if wanted.full && failed.is_empty() && !never.is_empty() {
        println!("never met: {}", never.join(" · "));
        failed.push(wanted.first);
    }
    failed
}
