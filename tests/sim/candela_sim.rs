//! The seeded simulation as a program: `SIM_SEED=7 SIM_RUNS=1000 cargo run --release --example candela-sim`.
//!
//! `SIM_SEED` is the first seed, `SIM_RUNS` and `SIM_MINUTES` how long; `SIM_TRACE=1` tells what happens, `SIM_FAULTS=0,3` keeps only
//! these faults of the one seed. With `--cluster` it is the simulated cluster. Exit code 1: a seed broke an invariant.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program for people who look for bugs: a panic is a finding"
)]

mod acts;
mod aim;
mod client;
mod cluster;
mod disk;
mod faults;
mod feed;
mod gate;
mod model;
mod plan;
mod reach;
mod rest;
mod runner;
mod service;
mod shrink;
mod stores;
mod vendor;
mod world;

use runner::{Wanted, number};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cluster = std::env::args().any(|argument| argument == "--cluster");
    let again = if cluster { cluster::again } else { runner::again };
    let seeds = if cluster { cluster::seeds } else { runner::seeds };
    let first = number("SIM_SEED").unwrap_or(1);
    let failed = if number("SIM_TRACE").is_some() || kept_faults().is_some() {
        let wrong = again(first, kept_faults().as_deref(), number("SIM_TRACE").is_some());
        wrong.iter().for_each(|one| println!("{one}"));
        !wrong.is_empty()
    } else {
        let short = Wanted {
            first,
            runs: Some(1_000),
            seconds: None,
            acts: None,
            least: 0,
            full: false,
        };
        !seeds(Wanted::from_environment(short)).is_empty()
    };
    ExitCode::from(u8::from(failed))
}

/// The faults to keep, from `SIM_FAULTS`.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's switches, not settings of the service"
)]
fn kept_faults() -> Option<Vec<usize>> {
    let text = std::env::var("SIM_FAULTS").ok()?;
    Some(text.split(',').filter_map(|one| one.parse().ok()).collect())
}
