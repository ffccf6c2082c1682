//! `candela simulate`, as a person runs it.

use std::process::{Command, Output};

fn candela(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_candela"))
        .arg("simulate")
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn it_says_where_it_listens_plays_its_scenario_and_sums_up() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/demo.txt");
    let output = candela(&["--json", "--for", "500ms", "--speed", "10000", "--scenario", demo]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let lines: Vec<serde_json::Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    assert_eq!(lines[0]["event"], "listening");
    assert_eq!(
        lines.iter().filter(|line| line["event"] == "act").count(),
        3,
        "{lines:?}"
    );
    assert_eq!(lines.last().unwrap()["event"], "summary");
}

#[test]
fn bad_input_gets_one_sentence_and_no_panic() {
    for (args, code, expect) in [
        (
            &["--scenario", "/no/such/play.txt"][..],
            74,
            "scenario file /no/such/play.txt cannot be read",
        ),
        (
            &["--scenario", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")],
            74,
            "scenario line 1, \"[package]\": begins with no cue",
        ),
        (
            &["--history", "/no/such/bars.csv", "--date", "2025-10-22"],
            74,
            "history file /no/such/bars.csv cannot be read",
        ),
        (&["--speed", "0"], 64, "\"0\" is not a speed from 0.001"),
        (&["--port", "70000"], 64, "70000"),
        (&["--what"], 64, "--what"),
    ] {
        let output = candela(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(expect) && !said.contains("panicked"), "{args:?}: {said}");
    }
}

#[test]
fn a_port_in_use_is_named_with_a_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = candela(&["--port", &port.to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains(&format!("cannot listen on 127.0.0.1:{port}: ")) && said.contains("choose another port"),
        "{said}"
    );
}

#[test]
fn every_ready_scenario_is_played_by_the_command_and_a_typo_gets_a_sentence_that_names_the_line() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let output = candela(&["--for", "50ms", "--speed", "100", "--scenario", path.to_str().unwrap()]);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}: {output:?}",
            path.display()
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let play = folder.path().join("play.txt");
    for (line, expect) in [
        ("at +5m dorp 1006", "dorp"),
        ("at +5 drop 1006", "+5"),
        ("on subscrib drop 1006", "subscrib"),
        ("at +5m drop 1005", "1005"),
        ("at +5m rest statsu 500", "statsu"),
        ("at +5m refuse upgrades 700", "700"),
        ("at +5m send not-jsn", "not-jsn"),
        ("at +5m mute for 3 weeks", "3 weeks"),
        ("at +5m", "at +5m"),
        ("drop 1006", "begins with no cue"),
    ] {
        std::fs::write(&play, format!("# a play\n\n{line}\n")).unwrap();
        let output = candela(&["--for", "50ms", "--scenario", play.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(74), "{line}: {said}");
        assert!(
            said.contains("scenario line 3") && said.contains(expect) && said.lines().count() <= 2,
            "{line}: {said}"
        );
    }
}
