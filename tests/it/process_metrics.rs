//! `/metrics` of a real process: what Prometheus' own tool says of it, both formats, and that what happens is counted.

use crate::child::{Candela, wait_until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

/// Head and body of `/metrics`.
fn scrape(address: &str, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET /metrics HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

/// The value of the first sample that begins so.
fn value(page: &str, begins: &str) -> Option<f64> {
    let line = page.lines().find(|line| line.starts_with(begins))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// What promtool has against it; what is deprecated is not held against us.
fn complaints(page: &str) -> Vec<String> {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing: run scripts/test");
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let said = [said.stdout, said.stderr].concat();
    String::from_utf8_lossy(&said).lines().map(str::to_owned).collect()
}

#[test]
fn promtool_accepts_every_metric_and_what_happens_is_counted() {
    let mut demo = Candela::start(&["demo", "--json", "--speed", "600", "--port", "0", "--seed", "7"]);
    let address = demo.address();
    let page = wait_until(
        "the outage to heal, and bars, ticks, writes and answers to be counted",
        || {
            let (_, page) = scrape(&address, "text/plain");
            let counted = [
                "candela_gaps_total{status=\"filled\",cause=\"upstream_close\"}",
                "candela_bars_total{symbol=\"USD/COP\",interval=\"5m\",provenance=\"backfill\",state=\"closed\"}",
                "candela_bar_delay_seconds_count",
                "candela_tick_delay_seconds_count",
                "candela_ledger_append_seconds_count",
                "candela_store_write_seconds_count",
                "candela_http_request_seconds_count{route=\"/metrics\"}",
            ];
            let all = counted.iter().all(|begins| value(&page, begins) >= Some(1.0));
            all.then_some(page)
        },
    );
    assert_eq!(complaints(&page), [""; 0], "{page}");
    let wrong = complaints("# TYPE some_ms counter\nsome_ms 1\n");
    assert!(!wrong.is_empty(), "promtool finds what is wrong");
    assert_eq!(value(&page, "candela_build_info{version="), Some(1.0), "{page}");
    assert!(value(&page, "process_open_fds") > Some(10.0), "{page}");
    let mean =
        |name: &str| value(&page, &format!("{name}_sum")).unwrap() / value(&page, &format!("{name}_count")).unwrap();
    assert!(
        mean("candela_tick_delay_seconds") < 1.0,
        "real seconds, at 600 times the speed: {page}"
    );
    assert!(mean("candela_ledger_append_seconds") < 1.0, "{page}");

    let (head, open) = scrape(
        &address,
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3",
    );
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert!(open.ends_with("# EOF\n"), "{open}");
    let (head, _) = scrape(&address, "*/*");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    assert!(head.contains("vary: accept\r\n"), "{head}");
}
