//! Every step of the simulated upstream's handshake can go wrong.

use crate::sim_client::{OPEN, Watcher, simulator};
use candela::clock::Stopwatch;
use candela::sim::SimHandle;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Sends an upgrade on a raw socket and returns what comes until the end, and how it ended.
fn raw_upgrade(sim: &SimHandle, key: &str) -> (String, Option<std::io::ErrorKind>) {
    let mut stream = TcpStream::connect(sim.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let head = format!(
        "GET /v1/quotes/price?apikey={key} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let (mut answer, mut part) = (Vec::new(), [0; 1024]);
    let mut failed = stream.write_all(head.as_bytes()).err().map(|error| error.kind());
    while failed.is_none() {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&part[..count]),
            Err(error) => failed = Some(error.kind()),
        }
    }
    (String::from_utf8_lossy(&answer).into_owned(), failed)
}

const GOOD: &str = "key-number-one";

/// Plays the upgrade under a scenario: the status line, and how the connection ended.
fn check(scenario: &str, status: &str, ended: Option<std::io::ErrorKind>) {
    let (sim, _clock) = simulator(scenario);
    let (answer, how) = raw_upgrade(&sim, GOOD);
    assert_eq!(answer.lines().next().unwrap_or_default(), status, "{scenario}");
    assert_eq!(how, ended, "{scenario}: {answer}");
}

const SILENT: Option<std::io::ErrorKind> = Some(std::io::ErrorKind::WouldBlock);
const RESET: Option<std::io::ErrorKind> = Some(std::io::ErrorKind::ConnectionReset);
const GRANTED: &str = "HTTP/1.1 101 Switching Protocols";

#[test]
fn each_step_of_the_handshake_fails_as_told() {
    check("", GRANTED, SILENT);
    check("on connect drop 1006", "", None);
    check("on connect drop rst", "", RESET);
    check("at +0s refuse connections", "", RESET);
    check("on connect half-open", "", SILENT);
    check("at +0s hang connections", "", SILENT);
    check("on upgrade drop 1006", "", None);
    check("on upgrade drop rst", "", RESET);
    check("on upgrade half-open", "", SILENT);
    check("at +0s hang upgrades", "", SILENT);
    check("at +0s cut upgrades", GRANTED, None);
    check("on open drop 1006", GRANTED, None);
    check("on open drop rst", GRANTED, RESET);
    check("on open half-open", "", SILENT);
    check("on open stall", GRANTED, SILENT);
}

#[test]
fn an_upgrade_cut_half_way_has_no_end_of_its_head() {
    let (sim, _clock) = simulator("at +0s cut upgrades");
    let (answer, _) = raw_upgrade(&sim, GOOD);
    assert!(!answer.contains("\r\n\r\n"), "{answer}");
}

#[test]
fn refusals_have_a_status_and_a_json_body() {
    for status in [200, 401, 403, 404, 429, 500, 503] {
        let (sim, _clock) = simulator(&format!("at +0s refuse upgrades {status}"));
        let (answer, _) = raw_upgrade(&sim, GOOD);
        let code = if status == 200 { 401 } else { status };
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(
            answer.contains(&format!(
                "{{\"code\":{code},\"message\":\"The upgrade was refused.\",\"status\":\"error\"}}"
            )),
            "{answer}"
        );
        assert_eq!(sim.report().counters.refused_total, 1);
    }
    let (sim, _clock) = simulator("at +0s refuse upgrades 302");
    let (answer, _) = raw_upgrade(&sim, GOOD);
    assert!(
        answer.starts_with("HTTP/1.1 302 ") && answer.contains("location: /v1/quotes/elsewhere"),
        "{answer}"
    );
}

#[test]
fn an_unknown_or_expired_key_is_turned_away() {
    let (sim, _clock) = simulator("at +0s expire key 2");
    assert!(raw_upgrade(&sim, "key-number-one").0.starts_with(GRANTED));
    for key in ["", "nonsense", "key-number-two"] {
        assert!(raw_upgrade(&sim, key).0.starts_with("HTTP/1.1 401 "), "{key}");
    }
}

#[actix_rt::test]
async fn a_forged_acceptance_is_one_a_client_refuses() {
    let (sim, _clock) = simulator("at +0s forge upgrades");
    let error = Watcher::open(&sim, GOOD).await.map(drop).unwrap_err();
    assert!(error.to_lowercase().contains("challenge"), "{error}");
}

#[actix_rt::test]
async fn a_slow_upgrade_takes_its_time_and_a_refusal_ends_with_it() {
    let (sim, clock) = simulator("at +0s slow upgrades 200ms\nat +10s relent\nat +10s refuse upgrades 503 for 20s");
    let watch = Stopwatch::start();
    Watcher::open(&sim, GOOD).await.map(drop).unwrap();
    assert!(watch.elapsed() >= Duration::from_millis(200));
    clock.advance(Duration::from_secs(10));
    assert!(Watcher::open(&sim, GOOD).await.is_err());
    clock.advance(Duration::from_secs(20));
    assert!(
        Watcher::open(&sim, GOOD).await.is_ok(),
        "at {}, from {OPEN}",
        clock.now()
    );
}

#[actix_rt::test]
async fn the_key_may_stand_in_a_header() {
    let (sim, _clock) = simulator("");
    let request = awc::Client::new().ws(sim.ws_url()).header("X-TD-APIKEY", GOOD);
    assert!(request.connect().await.is_ok());
}
