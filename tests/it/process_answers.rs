//! `/health` and `/status` answer within milliseconds, whatever hangs: they read what was published last and wait for nobody.

use crate::process_gate::World;
use crate::servers::{Postgres, Reach};
use candela::clock::Stopwatch;
use std::time::Duration;

/// A Monday before the market opens.
const BEFORE: &str = "@2026-03-02 12:30:00";

/// What an answer may take. The quickest quarter is held against it, so that a machine that is shared with others is no failure.
const QUICK: Duration = Duration::from_millis(5);

/// What no answer takes, on any machine: each hang lasts longer.
const NEVER: Duration = Duration::from_millis(700);
const HANG_MS: u64 = 1_500;

/// Asks for both for a while; fails when they are slow, or when one of them waits for what hangs.
fn answers_quickly(world: &World, while_what: &str) {
    let watch = Stopwatch::start();
    let mut took = Vec::new();
    while watch.elapsed() < Duration::from_millis(HANG_MS - 200) {
        for path in ["/health", "/status"] {
            let asked = Stopwatch::start();
            let answer = world.get(path);
            took.push(asked.elapsed());
            assert!(answer["timestamp"].is_string(), "{while_what}: {path} answers {answer}");
        }
    }
    took.sort_unstable();
    let (quarter, slowest) = (took[took.len() / 4], took[took.len() - 1]);
    assert!(
        quarter < QUICK,
        "while {while_what} the quickest quarter takes up to {quarter:?}"
    );
    assert!(
        slowest < NEVER,
        "while {while_what} an answer took {slowest:?} of {} answers",
        took.len()
    );
}

#[test]
fn answers_wait_for_no_actor_that_hangs() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("signals")).unwrap();
    let world = World::new(BEFORE, data.path(), &[]);
    answers_quickly(&world, "all is well");
    for actor in ["writer", "aggregator", "recorder", "health", "root", "validator"] {
        world.hook(&format!("/test/hang/{actor}?ms={HANG_MS}"));
        answers_quickly(&world, &format!("{actor} hangs"));
    }
    world.stop();
}

#[test]
fn answers_wait_for_no_database_that_is_stopped() {
    let reach = Reach {
        tcp: true,
        ..Reach::default()
    };
    let server = Postgres::start(reach);
    let database = server.database();
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("signals")).unwrap();
    let world = World::new(BEFORE, data.path(), &[("DATABASE_URL", &database.url)]);
    answers_quickly(&world, "all is well");
    server.pause();
    answers_quickly(&world, "PostgreSQL is stopped");
    server.resume();
    world.stop();
}
