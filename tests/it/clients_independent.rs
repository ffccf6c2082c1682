//! Clients that are not ours, against the demo: the examples in Python and Node, and the conformance checker.

use crate::child::Candela;
use std::path::{Path, PathBuf};
use std::process::Command;

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    match output.status.success() {
        true => Ok(text),
        false => Err(format!("{command:?} ended with {}:\n{text}", output.status)),
    }
}

/// A demo, and the address of its WebSocket.
fn demo() -> (Candela, String) {
    let mut demo = Candela::start(&["demo", "--port", "0", "--json", "--speed", "300", "--seed", "7"]);
    let line = demo.line("\"listening\"");
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    (demo, said["ws"].as_str().unwrap().to_owned())
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// What a client counted, from its last line.
fn check(said: Result<String, String>) {
    let said = said.unwrap();
    let counted: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(counted["holes"], 0, "{said}");
    assert!(counted["ticks"].as_u64() > Some(20), "{said}");
}

#[test]
fn python_websockets_follows_without_a_hole() {
    let python = folder("python-websockets").join("bin/python");
    if run(Command::new(&python).args(["-c", "import websockets"])).is_err() {
        let made = run(Command::new("python3")
            .args(["-m", "venv"])
            .arg(folder("python-websockets")))
        .and_then(|_| run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "websockets>=13"])));
        if let Err(why) = made {
            println!("skipped: the Python client cannot be installed here: {why}");
            return;
        }
    }
    let (_demo, url) = demo();
    check(run(Command::new(&python).arg(example("client.py")).args([
        url.as_str(),
        "USD/COP",
        "5",
    ])));
}

#[test]
fn node_ws_follows_without_a_hole() {
    let home = folder("node-ws");
    if !home.join("node_modules/ws").exists() {
        let made = run(Command::new("npm")
            .current_dir(&home)
            .args(["install", "--silent", "--no-audit", "ws@8"]));
        if let Err(why) = made {
            println!("skipped: the Node client cannot be installed here: {why}");
            return;
        }
    }
    let script = home.join("client.mjs");
    std::fs::copy(example("client.mjs"), &script).unwrap();
    let (_demo, url) = demo();
    check(run(Command::new("node").arg(&script).args([
        url.as_str(),
        "USD/COP",
        "5",
    ])));
}

#[test]
fn the_conformance_checker_passes_the_demo() {
    let (_demo, url) = demo();
    let ended = Candela::run(&["protocol-check", &url, "--seconds", "4"]);
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.contains("who comes back gets all it missed"),
        "{}",
        ended.stdout
    );
}
