//! The Python client of `clients/python`: its wheel is built and installed, its code is checked, and its own tests run against
//! this binary, through kills, a network that fails, and slow phases.

use crate::programs::{folder, run, skip};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the client is.
fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python")
}

/// The programs of a Python 3 with the client as its wheel installs it, and with what its tests need.
fn environment() -> Result<PathBuf, String> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    MADE.get_or_init(|| {
        let home = home();
        let venv = folder("candela-client");
        let (bin, built, stamp) = (venv.join("bin"), venv.join("built"), venv.join("installed.toml"));
        let pip = || {
            let mut pip = Command::new(bin.join("python"));
            pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
            pip
        };
        if !bin.join("python").exists() {
            run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        }
        drop(std::fs::remove_dir_all(&built));
        run(pip().args(["wheel", "--no-deps", "--wheel-dir"]).arg(&built).arg(&home))?;
        let wheels = std::fs::read_dir(&built).map_err(|error| error.to_string())?;
        let wheel = wheels.flatten().map(|entry| entry.path()).next();
        let wheel = wheel.ok_or("pip wheel built nothing")?.display().to_string();
        let wanted = std::fs::read_to_string(home.join("pyproject.toml")).map_err(|error| error.to_string())?;
        if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            run(pip().args(["install", "--no-deps", "--force-reinstall", &wheel]))?;
        } else {
            run(pip().args(["install", "--force-reinstall", &format!("{wheel}[test]")]))?;
            std::fs::write(&stamp, wanted).map_err(|error| error.to_string())?;
        }
        Ok(bin)
    })
    .clone()
}

/// One of the environment's programs, on the client's files; what it keeps is kept in the build's folder.
fn program(bin: &Path, name: &str) -> Command {
    let kept = folder("candela-client-caches");
    let mut command = Command::new("timeout");
    command
        .arg("400")
        .arg(bin.join(name))
        .current_dir(home())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("MYPY_CACHE_DIR", kept.join("mypy"))
        .env("RUFF_CACHE_DIR", kept.join("ruff"));
    command
}

#[test]
fn the_python_client_is_formatted_linted_and_typed() {
    let bin = match environment() {
        Ok(bin) => bin,
        Err(why) => return skip("the Python client", &why),
    };
    let checks: [(&str, &[&str]); 3] = [
        ("ruff", &["format", "--check", "."]),
        ("ruff", &["check", "."]),
        ("mypy", &[]),
    ];
    for (name, args) in checks {
        let said = run(program(&bin, name).args(args));
        assert!(said.is_ok(), "{}", said.unwrap_err());
    }
}

#[test]
fn the_python_client_leaves_no_hole_through_kills_cuts_and_slow_phases() {
    let bin = match environment() {
        Ok(bin) => bin,
        Err(why) => return skip("the Python client", &why),
    };
    let built = env!("CARGO_BIN_EXE_candela").into();
    let binary = std::env::var_os("CANDELA_TEST_BINARY").unwrap_or(built);
    let said = run(program(&bin, "pytest")
        .args(["-p", "no:cacheprovider", "--tb=short", "--durations=5"])
        .env("CANDELA_BINARY", binary));
    let said = said.unwrap_or_else(|why| panic!("{why}"));
    assert!(said.contains(" passed") && !said.contains(" skipped"), "{said}");
}
