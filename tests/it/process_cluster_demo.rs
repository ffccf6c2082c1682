//! The demo of a cluster, run as anybody would run it.

use crate::child::{Candela, wait_until};
use serde_json::Value;
use std::path::Path;

/// What it said so far, by the kind of event.
fn events(stdout: &str, kind: &str) -> Vec<Value> {
    let events = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")));
    events.filter(|event: &Value| event["event"] == kind).collect()
}

/// The processes whose command line names the folder.
fn processes_in(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(folder)).collect()
}

#[test]
fn the_leader_of_the_demo_is_succeeded_and_the_gap_heals_and_nothing_is_left_behind() {
    let mut demo = Candela::start(&["demo", "--cluster", "--port", "0", "--json", "--speed", "60"]);
    demo.line("\"listening\"");
    demo.line("\"killed\"");
    demo.line("\"prices_again\"");
    wait_until("the gap to heal", || {
        let gaps = events(&demo.stdout.text(), "gap");
        gaps.iter().any(|gap| gap["status"] == "filled").then_some(())
    });
    demo.line("\"started_again\"");
    let folder = events(&demo.stdout.text(), "starting")[0]["folder"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        !processes_in(&folder).is_empty() && Path::new(&folder).exists(),
        "{folder}"
    );
    demo.signal(libc::SIGTERM);
    demo.line("\"summary\"");
    let ended = demo.ended();
    assert_eq!(ended.code(), 0, "{}\n{}", ended.stdout, ended.stderr);
    let summary = events(&ended.stdout, "summary").remove(0);
    assert!(summary["takeovers"].as_u64() >= Some(1), "{summary}");
    assert_eq!(
        (&summary["breaks"], &summary["reconnects"]),
        (&0.into(), &0.into()),
        "{}",
        ended.stdout
    );
    let terms: Vec<u64> = events(&ended.stdout, "leader")
        .iter()
        .filter_map(|leader| leader["term"].as_u64())
        .collect();
    assert_eq!(terms[..2], [1, 2], "{}", ended.stdout);
    assert!(!Path::new(&folder).exists(), "{folder} is left");
    assert_eq!(processes_in(&folder), Vec::<String>::new());
    for node in events(&ended.stdout, "node") {
        let pid = node["pid"].as_u64().unwrap();
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!line.contains("--node-time"), "{node} runs still");
    }
}

#[test]
fn the_demo_of_a_cluster_names_the_servers_that_this_machine_lacks() {
    for (path, redis) in [("/usr/local/bin:/usr/bin:/bin", false), ("/nowhere", true)] {
        let mut command = Candela::command(&["demo", "--cluster"]);
        command.env("PATH", path).env("CANDELA_POSTGRES_BIN", "/nowhere");
        let ended = Candela::of(&mut command).ended();
        assert_eq!((ended.code(), ended.stdout.as_str()), (69, ""), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("lacks PostgreSQL"), "{}", ended.stderr);
        assert!(ended.stderr.contains("apt-get install postgresql"), "{}", ended.stderr);
        assert_eq!(ended.stderr.contains("redis-server"), redis, "{}", ended.stderr);
    }
}
