//! `candela protocol-check` against the service through restarts, drains and a network that fails; and against servers that
//! break their word, which it must notice.

use crate::child::{Candela, Ended, wait_until};
use crate::clients_hostile::Client;
use crate::proxy::{Between, Proxy};
use std::collections::BTreeSet;
#[cfg(feature = "test-hooks")]
use std::io::{Read, Write};
#[cfg(feature = "test-hooks")]
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A demo on the data of this folder, and its address.
fn demo(data: Option<&str>) -> (Candela, String) {
    let mut args = vec!["demo", "--port", "0", "--json", "--speed", "100", "--seed", "7"];
    args.extend(data.into_iter().flat_map(|data| ["--data", data]));
    let mut demo = Candela::start(&args);
    let address = demo.address();
    (demo, address)
}

fn graded(url: &str, seconds: &str) -> Ended {
    Candela::run(&["protocol-check", url, "--seconds", seconds])
}

/// How often it came back, as it says.
pub(crate) fn reconnects(said: &str) -> usize {
    let counted = said
        .lines()
        .find_map(|line| line.split_once(" reconnects")?.0.rsplit_once(", "));
    counted.map_or(0, |(_, count)| count.parse().unwrap())
}

#[test]
fn a_server_that_drops_repeats_or_reorders_is_found_out() {
    let (_demo, address) = demo(None);
    let cases = [
        (Between::Faithful, 0),
        (Between::Drops(20), 1),
        (Between::Repeats(20), 1),
        (Between::Reorders(20), 1),
        (Between::RepeatsEntries, 1),
    ];
    let checks = cases.map(|(between, code)| {
        let url = Proxy::start(&address, between).url;
        std::thread::spawn(move || {
            let ended = graded(&url, "5");
            assert_eq!(ended.code(), code, "{between:?}:\n{}{}", ended.stdout, ended.stderr);
            assert_eq!(
                ended.stdout.contains("FAIL"),
                code == 1,
                "{between:?}:\n{}",
                ended.stdout
            );
        })
    });
    for check in checks {
        check.join().unwrap();
    }
}

#[test]
fn a_network_that_dies_breaks_no_guarantee() {
    let (_demo, address) = demo(None);
    let checks = [Between::Resets(60), Between::Stalls(60)].map(|between| {
        let url = Proxy::start(&address, between).url;
        std::thread::spawn(move || {
            let ended = graded(&url, "8");
            assert_eq!(ended.code(), 0, "{between:?}:\n{}{}", ended.stdout, ended.stderr);
            assert!(
                between != Between::Resets(60) || reconnects(&ended.stdout) > 1,
                "{}",
                ended.stdout
            );
        })
    });
    for check in checks {
        check.join().unwrap();
    }
}

#[test]
fn drains_kills_and_restarts_break_no_guarantee() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let (mut running, address) = demo(Some(&data));
    let proxy = Proxy::start(&address, Between::Faithful);
    let url = proxy.url.clone();
    let check = std::thread::spawn(move || graded(&url, "16"));
    let bars = AtomicUsize::new(0);
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        wait_until("a bar while it is followed", || {
            bars.fetch_add(1, Ordering::Relaxed);
            running.stdout.find("\"bar\"")
        });
        running.signal(signal);
        drop(if signal == libc::SIGTERM {
            running.ended().stdout
        } else {
            running.output_of_the_killed()
        });
        let (next, address) = demo(Some(&data));
        running = next;
        *proxy.behind.lock().unwrap() = address;
    }
    let ended = check.join().unwrap();
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
    assert!(reconnects(&ended.stdout) >= 2, "{}", ended.stdout);
}

#[test]
fn bars_and_gaps_of_a_day_that_the_ledger_has_let_go_come_from_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let at = ["demo", "--port", "0", "--json", "--speed", "900", "--data", &data];
    for day in ["2025-10-22", "2025-10-23"] {
        let ended = Candela::run(&[&at[..], &["--date", day, "--for", "6s"]].concat());
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
    }
    // What retention does after a week.
    for end in ["", "-wal", "-shm"] {
        let file = folder.path().join(format!("data/ledger/ledger-2025-10-22.db{end}"));
        drop(std::fs::remove_file(file));
    }
    let mut demo = Candela::start(&[&at[..], &["--date", "2025-10-23"]].concat());
    let address = demo.address();
    let mut client = Client::connect_to(&address, "/ws?channels=status");
    let channels = ["bars.5m:USD/COP", "quality:USD/COP", "ticks:USD/COP"];
    client.say(
        &serde_json::json!({"action": "subscribe", "id": 7, "channels": channels, "since": {"seq": 2}}).to_string(),
    );
    let (mut subscribed, mut dates, mut kinds) = (serde_json::Value::Null, BTreeSet::new(), BTreeSet::new());
    let (mut last, mut ends) = ([2_u64; 2], 0);
    while ends < channels.len() {
        let message = client.next();
        match message["type"].as_str().unwrap() {
            "subscribed" if message["id"] == 7 => subscribed = message["channels"].clone(),
            "replay_end" => ends += 1,
            kind @ ("bar" | "gap" | "seam" | "certificate") if message["seq"].is_u64() => {
                let place = usize::from(kind != "bar");
                assert_eq!(message["seq"], last[place] + 1, "{message}");
                last[place] += 1;
                kinds.insert(kind.to_owned());
                dates.extend(message["data"]["session_date"].as_str().map(str::to_owned));
            }
            _ => {}
        }
    }
    let recovered: Vec<_> = subscribed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["recovered"].as_bool())
        .collect();
    assert_eq!(recovered, [Some(true), Some(true), Some(false)], "{subscribed}");
    assert_eq!(subscribed[2]["reason"], "position_expired");
    assert!(
        dates.contains("2025-10-22") && dates.contains("2025-10-23"),
        "{dates:?}"
    );
    assert!(kinds.contains("gap"), "{kinds:?}");
}

#[test]
#[cfg(feature = "test-hooks")]
fn a_fan_out_shard_that_panics_breaks_no_guarantee_and_no_connection() {
    let (_demo, address) = demo(None);
    let url = format!("ws://{address}/ws");
    let check = std::thread::spawn(move || graded(&url, "6"));
    let clients = || {
        let status = ask(&address, "GET", "/status").unwrap_or_default();
        status.contains("\"connected\":1").then_some(())
    };
    wait_until("the checker to be connected", clients);
    for shard in ["fanout-0", "fanout-1"] {
        let answer = ask(&address, "POST", &format!("/test/panic/{shard}")).unwrap();
        assert!(answer.contains("202"), "{answer}");
    }
    let ended = check.join().unwrap();
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
    assert_eq!(reconnects(&ended.stdout), 0, "{}", ended.stdout);
    let status = ask(&address, "GET", "/status").unwrap();
    assert!(status.contains("\"restarts\":1"), "{status}");
}

#[cfg(feature = "test-hooks")]
fn ask(address: &str, method: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\n{length}Connection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
