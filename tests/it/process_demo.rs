//! The demo, run as anybody would run it.

use crate::child::{Candela, wait_until};
use serde_json::Value;

/// What a demo that speaks JSON said: every line an object with an `event`.
fn events(stdout: &str) -> Vec<Value> {
    let events: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    assert!(events.iter().all(|event| event["event"].is_string()), "{stdout}");
    events
}

fn of<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}

#[test]
fn a_demo_for_a_time_ends_by_itself() {
    let ended = Candela::run(&["demo", "--for", "2s", "--speed", "600", "--port", "0", "--json"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert_eq!(events(&ended.stdout).last().unwrap()["event"], "summary");
}

#[test]
fn the_demo_shows_bars_and_an_outage_that_heals() {
    let mut demo = Candela::start(&["demo", "--speed", "600", "--port", "0", "--json", "--seed", "7"]);
    // How long that takes depends on the machine and what else it does: the demo runs until it has shown all of it.
    wait_until("the scripted outage to heal and ten bars to be told", || {
        let events = events(&demo.stdout.text());
        let healed = of(&events, "gap").iter().any(|gap| gap["status"] == "filled");
        (healed && of(&events, "bar").len() >= 10).then_some(())
    });
    demo.signal(libc::SIGTERM);
    demo.line("\"summary\"");
    let ended = demo.ended();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let events = events(&ended.stdout);
    assert_eq!(of(&events, "listening").len(), 1);
    for bar in of(&events, "bar") {
        let price = |name: &str| bar[name].as_f64().unwrap_or_else(|| panic!("{name} in {bar}"));
        assert!(price("low") <= price("open").min(price("close")), "{bar}");
        assert!(price("high") >= price("open").max(price("close")), "{bar}");
    }
    let states: Vec<&str> = of(&events, "state")
        .iter()
        .filter_map(|state| state["state"].as_str())
        .collect();
    assert_eq!(
        states[..4],
        ["waiting_l0", "checking_data", "ready", "active"],
        "{}",
        ended.stdout
    );
    let spent = |i: usize| of(&events, "state")[i]["lasted_seconds"].as_u64().unwrap();
    // The flag comes after five minutes, the session opens after fifteen. How the ten minutes between them are divided between the check
    // and `ready` depends on the machine: at this speed a check of a fifth of a second takes two minutes.
    assert!(
        spent(1) >= 300 && (1..=3).map(spent).sum::<u64>() >= 900,
        "active before the flag or the session:\n{}",
        ended.stdout
    );
    let unverified = |event: &&&Value| event["type"] == "history_unverified";
    let last = of(&events, "condition")
        .into_iter()
        .rfind(|event| unverified(&event))
        .cloned();
    assert_eq!(
        last.unwrap()["status"],
        false,
        "the gate did not pass:\n{}",
        ended.stdout
    );
    assert_eq!(of(&events, "seam")[0]["missing"], 0, "{}", ended.stdout);
    assert_eq!(events.last().unwrap()["event"], "summary");
}

#[test]
fn a_killed_demo_goes_on_from_its_folder_without_a_hole_in_the_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let args = [
        "demo", "--speed", "600", "--port", "0", "--json", "--data", &data, "--seed", "7",
    ];
    let mut first = Candela::start(&args);
    first.line("\"bar\"");
    first.signal(libc::SIGKILL);
    let seen = first.output_of_the_killed();
    let told = |stdout: &str| -> Vec<u64> {
        events(stdout)
            .iter()
            .filter_map(|event| event["position"].as_u64())
            .collect()
    };
    let mut second = Candela::start(&args);
    wait_until("the second run to tell a bar", || {
        second
            .stdout
            .find("\"bar\"")
            .or_else(|| second.stdout.find("\"summary\""))
    });
    second.signal(libc::SIGTERM);
    second.line("\"summary\"");
    let ended = second.ended();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let (before, after) = (told(&seen), told(&ended.stdout));
    let (last, next) = (
        before.iter().max().copied().unwrap_or(0),
        after.iter().min().copied().unwrap_or(0),
    );
    assert!(next > last, "numbers are used again: {last} then {next}");
}

#[test]
fn output_that_cannot_be_written_is_said_at_the_end() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let args = ["demo", "--for", "2s", "--speed", "600", "--port", "0", "--json"];
    let ended = Candela::command(&args).stdout(full).output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(74), "{stderr}");
    assert!(stderr.contains("cannot write to standard output"), "{stderr}");
}
