//! Runs seeds of the cluster, shrinks those that fail, and says how to run them again.

use crate::cluster::plan::Plan;
use crate::cluster::reach::Reach;
use crate::cluster::world::{Outcome, run};
use crate::runner::{Wanted, number};
use crate::shrink::{kept, kind, shrink};
use candela::clock::Stopwatch;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn attempt(plan: &Plan, trace: bool) -> Outcome {
    let plan = plan.clone();
    let faults = plan.faults.len();
    catch_unwind(AssertUnwindSafe(|| run(plan, trace))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        Outcome {
            wrong: vec![format!("panic: {}", said.unwrap_or_default())],
            faults,
            ..Outcome::default()
        }
    })
}

fn report(plan: &Plan, outcome: &Outcome) {
    let fails = kind(&outcome.wrong);
    let with = |faults: &[_]| Plan {
        faults: faults.to_vec(),
        ..plan.clone()
    };
    let least = if number("SIM_SHRINK") == Some(0) {
        plan.faults.clone()
    } else {
        shrink(&plan.faults, |faults| {
            kind(&attempt(&with(faults), false).wrong) == fails
        })
    };
    println!(
        "seed {} fails with {} faults: {:?}",
        plan.seed,
        outcome.faults,
        &outcome.wrong[..outcome.wrong.len().min(5)]
    );
    println!("found: {}", outcome.wrong.first().map_or("", String::as_str));
    println!("the fewest: {least:?}");
    println!(
        "run it again: SIM_SEED={} SIM_FAULTS={} SIM_RUNS=1 SIM_TRACE=1 cargo run --release --example candela-sim -- --cluster",
        plan.seed,
        kept(&plan.faults, &least)
    );
}

/// Runs one seed with only some of its faults, told step by step.
pub(crate) fn again(seed: u64, faults: Option<&[usize]>, trace: bool) -> Vec<String> {
    let mut plan = Plan::of(seed);
    if let Some(kept) = faults {
        let all = std::mem::take(&mut plan.faults).into_iter().enumerate();
        plan.faults = all.filter(|(i, _)| kept.contains(i)).map(|(_, fault)| fault).collect();
    }
    attempt(&plan, trace).wrong
}

/// Runs seeds; returns those that failed.
pub(crate) fn seeds(wanted: Wanted) -> Vec<u64> {
    let clock = Stopwatch::start();
    let most_failures = usize::try_from(number("SIM_FAILURES").unwrap_or(3)).unwrap_or(3);
    let (mut reach, mut failed) = (Reach::default(), Vec::new());
    let (mut runs, mut told, mut received) = (0_u64, 0, 0);
    for seed in wanted.first.. {
        let over = wanted.runs.is_some_and(|most| runs >= most)
            || runs >= wanted.least && wanted.seconds.is_some_and(|most| clock.elapsed().as_secs() >= most);
        if over || failed.len() >= most_failures {
            break;
        }
        let plan = Plan::of(seed);
        let outcome = attempt(&plan, false);
        runs += 1;
        told += outcome.told;
        received += outcome.received;
        reach.add(&outcome.reach);
        if !outcome.wrong.is_empty() {
            report(&plan, &outcome);
            failed.push(seed);
        }
        if wanted.full && runs.is_multiple_of(1_000) {
            println!(
                "{runs} seeds, {} faults occurred, {:.0} s",
                reach.hits(),
                clock.elapsed().as_secs_f64()
            );
        }
    }
    println!("{}", reach.table());
    println!(
        "{runs} clusters, {} faults that occurred and changed {} operations, {told} events told, {received} received by clients in {:.1} s",
        reach.hits(),
        reach.acts(),
        clock.elapsed().as_secs_f64()
    );
    let never = reach.never();
    if wanted.full && failed.is_empty() && !never.is_empty() {
        println!("never met: {}", never.join(" · "));
        failed.push(wanted.first);
    }
    failed
}
