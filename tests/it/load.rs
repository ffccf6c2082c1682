//! `candela load` against a real service, and against a server that loses messages.

use crate::child::{Candela, Ended, wait_until};
use crate::proxy::{Between, Proxy};
use candela::clock::Stopwatch;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use std::process::Command;

/// A Monday, in the session of USD/COP.
const BEGIN: &str = "2026-03-02T13:04:00Z";

/// The vendor with a hundred ticks a second, and the service; their clock goes on for whoever starts later.
struct World {
    began: Stopwatch,
    _vendor: Candela,
    service: Candela,
    _data: tempfile::TempDir,
    address: String,
}

fn in_market(began: &Stopwatch, args: &[&str]) -> Command {
    let begin: DateTime<Utc> = BEGIN.parse().unwrap();
    let now = begin + TimeDelta::from_std(began.elapsed()).unwrap();
    Candela::at(&now.format("@%Y-%m-%d %H:%M:%S").to_string(), args)
}

impl World {
    fn new() -> Self {
        Self::with(&[])
    }

    /// One whose service has these settings too.
    fn with(settings: &[(&str, &str)]) -> Self {
        let began = Stopwatch::start();
        let simulate = ["simulate", "--symbols", "USD/COP", "--per-second", "100", "--json"];
        let mut vendor = Candela::of(&mut in_market(&began, &simulate));
        let said: Value = serde_json::from_str(&vendor.line("\"listening\"")).unwrap();
        let data = tempfile::tempdir().unwrap();
        crate::process_gate::raise_flag(data.path(), crate::process_gate::FLAG);
        let mut command = in_market(&began, &["run"]);
        command
            .env("READY_SIGNALS_DIR", data.path().join("signals"))
            .env("CANDELA__STORE__SQLITE_FILE", data.path().join("candela.db"))
            .env("CANDELA__LEDGER__DIR", data.path().join("ledger"))
            .env("CANDELA__UPSTREAM__WS_URL", said["ws_url"].as_str().unwrap())
            .env("CANDELA__UPSTREAM__REST_URL", said["rest_url"].as_str().unwrap())
            .envs([
                ("PORT", "0"),
                ("LOG_LEVEL", "INFO"),
                ("API_KEY_G1_1", "f00dfeed"),
                ("STARTUP_TIMEOUT_MINUTES", "1"),
            ])
            .envs(settings.iter().copied());
        let service = Candela::of(&mut command);
        let line = wait_until("the service to listen", || service.stderr.find("candela listens"));
        let line: Value = serde_json::from_str(&line).unwrap();
        let address = line["address"].as_str().unwrap().to_owned();
        Self {
            began,
            _vendor: vendor,
            service,
            _data: data,
            address,
        }
    }

    fn load(&self, url: &str, args: &[&str]) -> Ended {
        let mut line = vec!["load", url, "--json"];
        line.extend(args);
        Candela::of(&mut in_market(&self.began, &line)).ended()
    }
}

#[test]
fn load_measures_deliveries_resumes_and_what_the_service_needs_and_finds_what_is_lost() {
    let world = World::new();
    let url = format!("ws://{}/ws", world.address);
    // The gate lets prices through after its wait at the latest.
    let measured = wait_until("ticks to flow", || {
        let args = ["--clients", "40", "--slow", "4", "--storm-every", "2", "--seconds", "6"];
        let ended = world.load(&url, &args);
        let said: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        (said["delivered"].as_u64() > Some(0)).then_some((ended, said))
    });
    let (ended, said) = measured;
    assert_eq!((ended.code(), &said["breaks"]), (0, &0.into()), "{said}");
    assert_eq!(said["clients"]["connected"], 40, "{said}");
    let per_client = said["per_client_per_second"].as_f64().unwrap();
    assert!(per_client > 20.0 && per_client < 200.0, "{said}");
    assert!(
        said["reconnects"].as_u64().unwrap() >= 36 * 2,
        "two storms of all that read: {said}"
    );
    assert!(said["resume"]["count"].as_u64().unwrap() >= 36, "{said}");
    assert!(
        said["delay"]["p99_us"].as_u64() >= said["delay"]["p50_us"].as_u64(),
        "{said}"
    );
    let service = &said["service"]["loaded"];
    assert!(
        service["process_resident_memory_bytes"].as_f64().unwrap() > 1e6,
        "{said}"
    );
    assert!(service["process_open_fds"].as_f64().unwrap() > 36.0, "{said}");

    let lossy = Proxy::start(&world.address, Between::Drops(20)).url;
    let ended = world.load(&lossy, &["--clients", "3", "--seconds", "3"]);
    let said: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(ended.code() == 1 && said["breaks"].as_u64() > Some(0), "{said}");
    assert!(
        said["examples"][0].as_str().unwrap().contains("missing before it"),
        "{said}"
    );

    for (args, says, code) in [
        (
            &["--clients", "5", "--slow", "6"][..],
            "--slow is 6, and there are 5 clients",
            64,
        ),
        (&["--clients", "0"], "0 is not in 1..=20000", 64),
        (&["--seconds", "9999"], "9999 is not in 1..=3600", 64),
    ] {
        let ended = world.load(&url, args);
        assert!(
            ended.code() == code && ended.stderr.contains(says),
            "{args:?}: {ended:?}"
        );
    }
    let ended = world.load("ws://127.0.0.1:9/ws", &[]);
    assert!(
        ended.code() == 69 && ended.stderr.contains("candela does not answer at"),
        "{ended:?}"
    );

    // A service that dies meanwhile is a fault, whatever was delivered before.
    let args = ["load", &url, "--json", "--clients", "5", "--seconds", "3"];
    let running = Candela::of(&mut in_market(&world.began, &args));
    wait_until("its clients to be connected", || {
        let shown = Candela::run(&["status", "--json", "--url", &format!("http://{}", world.address)]);
        let shown: Value = serde_json::from_str(&shown.stdout).ok()?;
        (shown["clients"]["connected"] == 5).then_some(())
    });
    world.service.signal(libc::SIGKILL);
    let ended = running.ended();
    let said: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code(), &said["without_connection"]), (1, &5.into()), "{said}");
}

#[test]
fn load_asks_again_where_too_many_came_in_a_second_and_says_when_no_more_are_accepted() {
    let world = World::with(&[
        ("CANDELA__SERVER__ACCEPTS_PER_SECOND", "40"),
        ("CANDELA__SERVER__CONNECTIONS", "120"),
    ]);
    let url = format!("ws://{}/ws", world.address);
    for (clients, connected) in [("100", 100), ("150", 120)] {
        let ended = wait_until("clients of before to be gone, and ticks to flow", || {
            let ended = world.load(&url, &["--clients", clients, "--seconds", "2"]);
            (ended.code() == 0).then_some(ended)
        });
        let said: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(said["clients"]["connected"], connected, "{said}");
        let refused = said["clients"]["refused"].as_str();
        let full = refused.is_some_and(|why| why.contains("no more connections are accepted now"));
        assert_eq!(full, connected == 120, "{said}");
    }
}
