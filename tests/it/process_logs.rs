//! A log that is full, closed or not read costs log lines, never a tick, a client or a stop.

use crate::child::{Candela, wait_until};
use crate::servers::free_port;
use candela::clock::Stopwatch;
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

/// What a pipe holds on Linux.
const PIPE: usize = 65_536;

/// What happens to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Log {
    /// `2>/dev/full`
    Full,
    /// `2>&1 | head -1`, after its end
    Closed,
    /// A pipe that nobody reads.
    Unread,
}

/// The vendor, in a session; and its addresses.
fn vendor() -> (Candela, [(&'static str, String); 2]) {
    let args = ["simulate", "--symbols", "USD/COP", "--per-second", "5", "--json"];
    let mut vendor = Candela::of(&mut Candela::at("@2026-03-02 13:04:00", &args));
    let listening: Value = serde_json::from_str(&vendor.line("\"listening\"")).unwrap();
    let at = |name: &str| listening[name].as_str().unwrap().to_owned();
    let addresses = [
        ("CANDELA__UPSTREAM__WS_URL", at("ws_url")),
        ("CANDELA__UPSTREAM__REST_URL", at("rest_url")),
    ];
    (vendor, addresses)
}

fn status(url: &str) -> Option<Value> {
    let shown = Candela::run(&["status", "--json", "--url", url]);
    serde_json::from_str(&shown.stdout).ok()
}

/// A service whose log meets this end: prices go on, the loss is told, and a stop ends it in time with code 0.
fn goes_on_without_its_log(log: Log, vendor: &[(&str, String)]) {
    let signals = tempfile::tempdir().unwrap();
    let flag = r#"{"ready":true,"timestamp":"2026-03-02T07:30:00-05:00"}"#;
    std::fs::write(signals.path().join("l0_ready.flag"), flag).unwrap();
    let port = free_port().to_string();
    let mut command = Candela::at("@2026-03-02 13:04:00", &["run"]);
    command.envs(vendor.iter().map(|(name, value)| (*name, value.as_str())));
    command.envs([
        ("PORT", port.as_str()),
        ("API_KEY_G1_1", "f00dfeed"),
        ("LOG_LEVEL", "debug"),
    ]);
    command.env("READY_SIGNALS_DIR", signals.path());
    let mut unread = None;
    let stderr = match log {
        Log::Full => Stdio::from(File::options().write(true).open("/dev/full").unwrap()),
        Log::Closed => {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            Stdio::from(writer)
        }
        Log::Unread => {
            let (reader, mut writer) = std::io::pipe().unwrap();
            writer.write_all(&[b' '; PIPE]).unwrap(); // full before the first line
            unread = Some(reader);
            Stdio::from(writer)
        }
    };
    let service = Candela::logging_to(&mut command, stderr);
    let url = format!("http://127.0.0.1:{port}");
    let ticks = |at_least: u64, what: &str| {
        wait_until(&format!("{log:?}: {what}"), || {
            let status = status(&url)?;
            let ticks = status["realtime_collection"]["websocket_connected"] == true;
            (ticks && accepted(&url) >= at_least).then_some(status)
        })
    };
    ticks(5, "the first ticks");
    wait_until(&format!("{log:?}: lost lines"), || {
        let status = status(&url)?;
        let conditions = status["conditions"].as_array()?;
        let told = |one: &Value| one["type"] == "log_lines_lost" && one["status"] == true;
        let count = status["log"]["lines_lost_total"].as_u64()?;
        // What waits for a reader that stands still is not lost yet.
        ((conditions.iter().any(told) && count > 0) || log == Log::Unread).then_some(())
    });
    let before = accepted(&url);
    ticks(before + 10, "more ticks");
    service.signal(libc::SIGTERM);
    let watch = Stopwatch::start();
    let ended = service.ended();
    assert!(
        watch.elapsed() < Duration::from_secs(10),
        "{log:?}: it took {:?}",
        watch.elapsed()
    );
    assert_eq!(ended.code(), 0, "{log:?}");
    drop(unread);
}

fn accepted(url: &str) -> u64 {
    let shown = Candela::run(&["status", "--json", "--url", url]);
    let status: Value = serde_json::from_str(&shown.stdout).unwrap_or_default();
    let readers = status["readers"].as_array().cloned().unwrap_or_default();
    readers
        .iter()
        .filter_map(|reader| reader["position"].as_u64())
        .max()
        .unwrap_or(0)
}

#[test]
fn a_log_that_is_full_closed_or_not_read_costs_lines_and_nothing_else() {
    let (_vendor, addresses) = vendor();
    std::thread::scope(|scope| {
        for log in [Log::Full, Log::Closed, Log::Unread] {
            let addresses = &addresses;
            scope.spawn(move || goes_on_without_its_log(log, addresses));
        }
    });
}

#[test]
fn a_result_that_cannot_be_written_ends_a_command_with_code_74_and_one_that_nobody_reads_with_0() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    for args in [
        &["calendar"][..],
        &["calendar", "--ics"],
        &["check", "--offline"],
        &["migrate"],
        &["--help"],
        &["--version"],
        &["demo", "--for", "1s", "--port", "0"],
        &["simulate", "--for", "1s"],
    ] {
        let said = Candela::printing_to(&mut Candela::command(args), full()).ended();
        assert_eq!(
            (said.code(), said.stderr.lines().count()),
            (74, 1),
            "{args:?}: {}",
            said.stderr
        );
        assert!(
            said.stderr.contains("write") && said.stderr.contains("o space"),
            "{args:?}: {}",
            said.stderr
        );
        let quiet = Candela::printing_to(&mut Candela::command(args), closed()).ended();
        assert_eq!((quiet.code(), quiet.stderr.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn a_demo_and_a_simulator_whose_output_nobody_reads_go_on_and_end_in_time() {
    let demo = ["demo", "--for", "1s", "--port", "0", "--speed", "600"];
    let simulator = ["simulate", "--for", "1s"];
    std::thread::scope(|scope| {
        for args in [&demo[..], &simulator] {
            scope.spawn(move || {
                let (_unread, mut writer) = std::io::pipe().unwrap();
                writer.write_all(&[b' '; PIPE]).unwrap(); // full before the first line
                let began = Stopwatch::start();
                let ended = Candela::printing_to(&mut Candela::command(args), Stdio::from(writer)).ended();
                assert_eq!(ended.code(), 0, "{args:?}: {}", ended.stderr);
                assert!(
                    began.elapsed() < Duration::from_secs(30),
                    "{args:?}: {:?}",
                    began.elapsed()
                );
            });
        }
    });
}
