//! What other people's programs make of a running service: readers of Parquet, and an assistant's client. Their packages come from PyPI.

use crate::child::Candela;
use crate::process_gate::{FLAG, World, prepare, raise_flag};
use crate::programs::{packages, run, skip};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A demo, asked by a script of `tests/surfaces`.
fn asked(script: &str, more: &[&str]) {
    let data = tempfile::tempdir().unwrap();
    let kept = data.path().display().to_string();
    let mut demo = Candela::start(&[
        "demo", "--json", "--seed", "7", "--speed", "100", "--port", "0", "--data", &kept,
    ]);
    let url = format!("http://{}", demo.address());
    asked_at(&url, script, &[more, &[&kept]].concat());
}

/// A running service, asked by a script of `tests/surfaces`.
fn asked_at(url: &str, script: &str, more: &[&str]) {
    let bin = match installed() {
        Ok(bin) => bin,
        Err(why) => return skip("the packages that read candela's data", &why),
    };
    let built = env!("CARGO_BIN_EXE_candela").into();
    let binary = std::env::var_os("CANDELA_TEST_BINARY").unwrap_or(built);
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/surfaces")
        .join(script);
    let mut command = Command::new("timeout");
    command
        .arg("300")
        .arg(bin.join("python"))
        .arg(path)
        .arg(binary)
        .arg(url)
        .args(more);
    let said = run(command.env("PYTHONDONTWRITEBYTECODE", "1")).unwrap_or_else(|why| panic!("{why}"));
    assert!(said.ends_with("ok\n"), "{said}");
}

/// The programs of a Python 3 with the packages.
fn installed() -> Result<PathBuf, String> {
    const PACKAGES: [&str; 5] = ["pyarrow", "polars", "duckdb", "pandas", "mcp"];
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    MADE.get_or_init(|| packages("candela-surfaces", &PACKAGES, &PACKAGES))
        .clone()
}

#[test]
fn parquet_is_read_by_three_libraries_as_json_tells_it_and_an_export_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    asked("parquet.py", &[&folder.path().display().to_string()]);
}

#[test]
fn bars_of_every_interval_and_pair_are_in_files_as_json_tells_them() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let days = chrono::NaiveDate::from_ymd_opt(2026, 2, 23).unwrap().iter_days();
    prepare(data.path(), days.take(5));
    raise_flag(data.path(), FLAG);
    let settings = [
        ("CANDELA__MARKET__SYMBOLS", "USD/COP,EUR/USD"),
        ("CANDELA__MARKET__INTERVALS", "1m,5m,15m,30m,1h,session,1d"),
        ("CANDELA__MARKET__LATENESS_MS", "20000"),
    ];
    let simulate = ["simulate", "--symbols", "USD/COP,EUR/USD", "--json"];
    // The session's last minutes: its bars, and those of the day, close while the script asks.
    let at = "@2026-03-02 17:48:00 x40";
    let world = World::of(
        Candela::at(at, &simulate),
        Candela::at(at, &["run"]),
        data.path(),
        &settings,
    );
    asked_at(
        &world.url,
        "parquet_intervals.py",
        &[&folder.path().display().to_string()],
    );
    world.stop();
}

#[test]
fn an_assistants_client_lists_and_calls_every_tool() {
    asked("mcp_client.py", &[]);
}
