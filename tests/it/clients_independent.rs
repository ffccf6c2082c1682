//! Clients that are not ours, against the demo: the examples in Python and Node, and the conformance checker.

use crate::child::Candela;
use crate::programs::{folder, python, run, skip};
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// What a client counted, from its last line.
fn check(said: Result<String, String>) {
    let said = said.unwrap();
    let counted: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(counted["holes"], 0, "{said}");
    assert!(counted["ticks"].as_u64() > Some(20), "{said}");
}

#[test]
fn python_websockets_follows_without_a_hole() {
    let bin = match python("python-websockets", "websockets", "websockets>=13") {
        Ok(bin) => bin,
        Err(why) => return skip("the Python client", &why),
    };
    let (_demo, url) = demo();
    check(run(Command::new(bin.join("python")).arg(example("client.py")).args([
        url.as_str(),
        "USD/COP",
        "5",
    ])));
}

#[test]
fn the_rust_client_follows_without_a_hole() {
    let program = Path::new(env!("CARGO_BIN_EXE_candela")).with_file_name("examples/client");
    if !program.exists() {
        return skip("the Rust client", "only a whole `cargo test` builds the examples");
    }
    let (_demo, url) = demo();
    check(run(Command::new(program).args([url.as_str(), "USD/COP", "5"])));
}

#[test]
fn node_ws_follows_without_a_hole() {
    let home = folder("node-ws");
    if !home.join("node_modules/ws").exists() {
        let made = run(Command::new("npm")
            .current_dir(&home)
            .args(["install", "--silent", "--no-audit", "ws@8"]));
        if let Err(why) = made {
            return skip("the Node client", &why);
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
