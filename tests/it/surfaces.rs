//! What other people's programs make of a running service: readers of Parquet, and an assistant's client. Their packages come from PyPI.

use crate::child::Candela;
use crate::programs::{packages, run, skip};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A demo, asked by a script of `tests/surfaces`.
fn asked(script: &str, more: &[&str]) {
    let data = tempfile::tempdir().unwrap();
    let kept = data.path().display().to_string();
    let bin = match installed() {
        Ok(bin) => bin,
        Err(why) => return skip("the packages that read candela's data", &why),
    };
    let built = env!("CARGO_BIN_EXE_candela").into();
    let binary = std::env::var_os("CANDELA_TEST_BINARY").unwrap_or(built);
    let mut demo = Candela::start(&[
        "demo", "--json", "--seed", "7", "--speed", "100", "--port", "0", "--data", &kept,
    ]);
    let url = format!("http://{}", demo.address());
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
        .args(more)
        .arg(&kept);
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
fn an_assistants_client_lists_and_calls_every_tool() {
    asked("mcp_client.py", &[]);
}
