//! `candela backfill`, as a person runs it: what is missing comes, what makes no sense gets one sentence and its own code.

use candela::clock::Clock;
use candela::domain::model::Symbol;
use candela::sim::start;
use candela::sim::{Market, SimConfig};
use std::path::Path;
use std::process::Command;

const KEY: &str = "backfill-key-0001";

/// The command's code and what it said.
fn backfill(folder: &Path, rest: &str, key: &str, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_candela"))
        .arg("backfill")
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("CANDELA__UPSTREAM__REST_URL", rest)
        .env("CANDELA__LEDGER__DIR", folder.join("ledger"))
        .env("CANDELA__STORE__SQLITE_FILE", folder.join("candela.db"))
        .env("TWELVEDATA_API_KEY_G1_1", key)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_dry_run_needs_no_key_and_goes_on_beside_a_service() {
    let folder = tempfile::tempdir().unwrap();
    let _running = candela::ledger::lock_folder(&folder.path().join("ledger")).unwrap();
    let two_days = ["--from", "2026-03-02", "--to", "2026-03-03", "--dry-run"];
    let (got, said) = backfill(folder.path(), "http://127.0.0.1:1", "", &two_days);
    assert_eq!(got, Some(1), "{said}");
    assert!(
        said.contains("118 bars expected, 118 were missing: 0 written"),
        "{said}"
    );
}

#[test]
fn missing_bars_are_asked_for_once_and_what_makes_no_sense_gets_a_sentence() {
    let mut config = SimConfig::new(Clock::system(), Market::walk(3, &[Symbol::usdcop()]));
    config.keys = vec![KEY.to_owned()];
    let (sim, folder) = (start(config).unwrap(), tempfile::tempdir().unwrap());
    let (rest, nobody) = (sim.rest_url(), "http://127.0.0.1:1".to_owned());
    let two_days = &["--from", "2026-03-02", "--to", "2026-03-03"][..];
    for (rest, key, args, code, expect) in [
        (&nobody, "", two_days, 78, "TWELVEDATA_API_KEY_G1_1"),
        (
            &rest,
            KEY,
            two_days,
            0,
            "118 bars expected, 118 were missing: 118 written",
        ),
        (&rest, KEY, two_days, 0, "118 bars expected, 0 were missing: 0 written"),
        (
            &nobody,
            KEY,
            &["--from", "2026-03-04", "--to", "2026-03-04"],
            69,
            "connection_refused",
        ),
        (
            &rest,
            "another-key-0002",
            &["--from", "2026-03-04", "--to", "2026-03-04"],
            75,
            "bad_key",
        ),
        (&rest, "your_api_key_here", two_days, 78, "is a placeholder, not a key"),
        (
            &rest,
            KEY,
            &["--from", "2026-03-02", "--to", "2026-03-01"],
            64,
            "ends before --from 2026-03-02 begins",
        ),
        (&rest, KEY, &["--from", "2100-01-01"], 64, "lies ahead"),
        (&rest, KEY, &["--from", "tomorrow"], 64, "or a date such as"),
        (&rest, KEY, &["--from", "2026-02-31"], 64, "or a date such as"),
        (
            &rest,
            KEY,
            &["--from", "2026-03-02", "--symbol", "ABC"],
            64,
            "is not a pair such as USD/COP",
        ),
        (&rest, KEY, &[], 64, "--from"),
    ] {
        let (got, said) = backfill(folder.path(), rest, key, args);
        assert_eq!(got, Some(code), "{args:?}: {said}");
        assert!(said.contains(expect) && !said.contains("panicked"), "{args:?}: {said}");
        assert!(
            !said.contains("another-key") && !said.contains("backfill-key"),
            "{said}"
        );
    }
}
