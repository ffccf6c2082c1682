//! Clients that are not ours, against the demo: the examples in Python and Node, and the conformance checker.

use crate::child::Candela;
use crate::programs::{folder, python, run, skip};
use crate::proxy::{Between, Proxy};
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

/// A demo behind a network that fails after every sixty messages.
fn behind_a_failing_network() -> (Candela, Proxy) {
    let (demo, url) = demo();
    let address = url
        .strip_prefix("ws://")
        .and_then(|rest| rest.strip_suffix("/ws"))
        .unwrap();
    let proxy = Proxy::start(address, Between::Resets(60));
    (demo, proxy)
}

/// What a client counted, from its last line.
fn check(said: Result<String, String>) {
    let said = said.unwrap();
    let counted: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(counted["holes"], 0, "{said}");
    assert!(counted["ticks"].as_u64() > Some(20), "{said}");
}

/// It came back again and again, and got all that it had missed each time.
fn check_resumed(proxy: &Proxy, said: &str) {
    let (recovered, unrecovered) = proxy.recoveries();
    let connections = proxy.connections();
    assert!(connections >= 3, "{connections} connections\n{said}");
    // The first has nothing to come back to; the last may end with its client, before it is answered.
    assert!(recovered + 2 >= connections, "{recovered} of {connections}\n{said}");
    assert_eq!(unrecovered, 0, "{said}");
}

/// The client follows a faithful server, and comes back where the network fails.
fn follows_and_resumes(client: impl Fn(&str) -> Result<String, String>) {
    let (_demo, url) = demo();
    check(client(&url));
    let (_demo, proxy) = behind_a_failing_network();
    let said = client(&proxy.url);
    check(said.clone());
    check_resumed(&proxy, &said.unwrap());
}

#[test]
fn python_websockets_follows_and_resumes_without_a_hole() {
    let bin = match python("python-websockets", "websockets", "websockets>=13") {
        Ok(bin) => bin,
        Err(why) => return skip("the Python client", &why),
    };
    follows_and_resumes(|url| {
        run(Command::new(bin.join("python"))
            .arg(example("client.py"))
            .args([url, "USD/COP", "5"]))
    });
}

#[test]
fn the_rust_client_follows_and_resumes_without_a_hole() {
    let program = Path::new(env!("CARGO_BIN_EXE_candela")).with_file_name("examples/client");
    if !program.exists() {
        return skip("the Rust client", "only a whole `cargo test` builds the examples");
    }
    follows_and_resumes(|url| run(Command::new(&program).args([url, "USD/COP", "5"])));
}

#[test]
fn node_ws_follows_and_resumes_without_a_hole() {
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
    follows_and_resumes(|url| run(Command::new("node").arg(&script).args([url, "USD/COP", "5"])));
}

/// The document that a browser makes of a page; `None`, with a printed reason, where there is no browser.
fn browsed(url: &str) -> Option<String> {
    let found = run(Command::new("sh").args([
        "-c",
        "command -v chromium || command -v chromium-browser || command -v google-chrome",
    ]));
    let Ok(browser) = found else {
        skip("a page in a browser", "there is no Chromium");
        return None;
    };
    let profile = tempfile::tempdir().unwrap();
    let said = run(Command::new("timeout")
        .args(["60", browser.trim()])
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            &format!("--user-data-dir={}", profile.path().display()),
            "--dump-dom",
        ])
        .arg(url));
    Some(said.unwrap())
}

/// What stands between two marks of a document.
fn element<'a>(document: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = document.split_once(begin).expect("the element is there");
    rest.split(end).next().unwrap_or_default()
}

#[test]
fn chromium_follows_and_resumes_without_a_hole() {
    let (_demo, proxy) = behind_a_failing_network();
    let page = proxy.url.replace("ws://", "http://").replace("/ws", "/client.html");
    let Some(said) = browsed(&format!("{page}?{}", proxy.url)) else {
        return;
    };
    let log = element(&said, "<pre id=\"log\">", "</pre>");
    assert!(
        log.contains(" closed") && log.contains("disconnected: 1006") && !log.contains("HOLE"),
        "{log}"
    );
    check_resumed(&proxy, log);
}
