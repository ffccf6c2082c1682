//! The vendor's official Python client, unchanged, works with the simulated upstream.

use candela::clock::Clock;
use candela::domain::symbol::Symbol;
use candela::sim::accounts::Plan;
use candela::sim::{Market, SimConfig, start};
use std::path::{Path, PathBuf};
use std::process::Command;

const CLIENT: &str = "twelvedata[websocket]==1.4.0";
const KEY: &str = "official-client-key";

/// A Python that has the client, in a folder of the build; or why there is none.
fn python() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("official-python-client");
    let python = folder.join("bin/python");
    let has_client = |python: &Path| run(Command::new(python).args(["-c", "import twelvedata, websocket"])).is_ok();
    if !has_client(&python) {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", CLIENT]))?;
    }
    Ok(python)
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!("{command:?} ended with {}:\n{text}", output.status))
    }
}

#[test]
fn the_official_python_client_works_unchanged() {
    let python = match python() {
        Ok(python) => python,
        Err(why) if std::env::var_os("CANDELA_TEST_LONG").is_none() => {
            println!("skipped: the vendor's Python client cannot be installed here: {why}");
            return;
        }
        Err(why) => panic!("the long form needs {CLIENT}: {why}"),
    };
    let clock = Clock::scaled(Clock::system().now(), 20.0);
    let market = Market::walk(7, &[Symbol::usdcop(), "EUR/USD".parse().unwrap()]);
    let mut config = SimConfig::new(clock, market);
    config.keys = vec![KEY.to_owned()];
    config.scenario = "on heartbeat #3 drop rst".parse().unwrap();
    config.plan = Plan {
        credits_per_minute: 55,
        ..Plan::default()
    };
    let sim = start(config).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/official_python.py");
    let said = run(Command::new(python)
        .arg(script)
        .args([sim.ws_url(), sim.rest_url(), KEY.to_owned()]));
    assert!(said.is_ok(), "{}", said.unwrap_err());
    let counters = sim.report().counters;
    assert_eq!(
        (counters.opened_total, counters.dropped_total),
        (2, 1),
        "it came back once"
    );
}
