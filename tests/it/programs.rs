//! Programs that are not ours, in folders of the build: Python packages, Node modules.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a program to its end: all that it printed, or the same as what went wrong.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!("{command:?} ended with {}:\n{text}", output.status))
    }
}

/// A folder that outlives the run, so that nothing is installed twice.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The folder of programs of a Python 3 that has this package; or why there is none.
pub(crate) fn python(name: &str, module: &str, package: &str) -> Result<PathBuf, String> {
    let folder = folder(name);
    let bin = folder.join("bin");
    let python = bin.join("python");
    let import = format!("import {module}");
    if run(Command::new(&python).args(["-c", &import])).is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        run(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            package,
        ]))?;
    }
    Ok(bin)
}

/// The folder of programs of a Python 3 that has all of these packages, which are imported by these names; or why there is none.
pub(crate) fn packages(name: &str, modules: &[&str], packages: &[&str]) -> Result<PathBuf, String> {
    let bin = python(name, "sys", "pip")?;
    let import = format!("import {}", modules.join(", "));
    if run(Command::new(bin.join("python")).args(["-c", &import])).is_err() {
        let mut pip = Command::new(bin.join("python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        run(pip.args(packages))?;
    }
    Ok(bin)
}

/// Says why a test did not run. In the long form everything must run.
pub(crate) fn skip(what: &str, why: &str) {
    assert!(
        std::env::var_os("CANDELA_TEST_LONG").is_none(),
        "the long form needs {what}: {why}"
    );
    println!("skipped: {what} cannot be had here: {why}");
}
