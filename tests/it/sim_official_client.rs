//! The vendor's official Python client, unchanged, works with the simulated upstream, and with a service that read it.

use crate::child::{Candela, Lines, spawn, wait_until};
use crate::programs::{run, skip};
use crate::servers::free_port;
use candela::clock::{Clock, Stopwatch};
use candela::domain::calendar::Calendar;
use candela::domain::model::{Interval, Symbol};
use candela::sim::start;
use candela::sim::vendor::Plan;
use candela::sim::{Market, SimConfig};
use chrono::{DateTime, NaiveDate, Utc};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

const CLIENT: &str = "twelvedata[websocket,pandas]==1.4.0";
/// Its socket. From 1.9 on a close frame is an error to it, after which the client comes back; before, only an end without one is.
const SOCKET: &str = "websocket-client==1.8.0";
const KEY: &str = "official-client-key";

/// A Python that has the client, in a folder of the build; or why there is none.
fn python() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("official-python-client");
    let python = folder.join("bin/python");
    let imports = "import twelvedata, pandas, websocket; assert websocket.__version__ == '1.8.0'";
    let has_client = |python: &Path| run(Command::new(python).args(["-c", imports])).is_ok();
    if !has_client(&python) {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        run(Command::new(&python).args(pip).args([CLIENT, SOCKET]))?;
    }
    Ok(python)
}

#[test]
fn the_official_python_client_works_unchanged() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => return skip("the vendor's Python client", &why),
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

#[test]
fn a_service_answers_the_official_client_as_the_vendor_does() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => return skip("the vendor's Python client", &why),
    };
    let calendar = Calendar::usdcop();
    let market = Market::walk(3, &[Symbol::usdcop()]).only_in(Arc::new(calendar.clone()));
    let mut config = SimConfig::new(Clock::system(), market);
    config.keys = vec![KEY.to_owned()];
    config.plan = Plan {
        credits_per_minute: 500,
        ..Plan::default()
    };
    let sim = start(config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let candela = |mut command: Command| {
        command
            .env("CANDELA__UPSTREAM__WS_URL", sim.ws_url())
            .env("CANDELA__UPSTREAM__REST_URL", sim.rest_url())
            .env("CANDELA__LEDGER__DIR", folder.path().join("ledger"))
            .env("CANDELA__STORE__SQLITE_FILE", folder.path().join("candela.db"))
            .env("CANDELA__SERVER__TWELVEDATA", "true")
            .env("PORT", port.to_string())
            .env("TWELVEDATA_API_KEY_G1_1", KEY);
        command
    };
    let days = NaiveDate::from_ymd_opt(2026, 2, 1).unwrap().iter_days().take(30);
    let expected: usize = days.map(|date| calendar.slots_on(date, Interval::BASE).len()).sum();
    let month = ["backfill", "--from", "2026-02-01", "--to", "2026-03-02"];
    let filled = run(candela(Candela::command(&month)).current_dir(folder.path()));
    assert!(
        filled
            .as_ref()
            .is_ok_and(|said| said.contains(&format!("{expected} written"))),
        "{expected} expected: {filled:?}"
    );
    // After that session: within the hours of a later one its bars would come, and the quote would be of that day.
    let _service = Candela::of(&mut candela(Candela::at("@2026-03-02 20:00:00", &["run"])));
    wait_until("the service to listen", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/surfaces/vendor_client.py");
    let said = run(Command::new(python).arg(script).args([
        sim.rest_url(),
        KEY.to_owned(),
        format!("http://127.0.0.1:{port}/td"),
    ]));
    assert!(
        said.as_ref().is_ok_and(|said| said.ends_with("ok\n")),
        "{}",
        said.unwrap_err()
    );
}

/// All processes share a clock that is in a session, however late they start.
fn in_session(began: &Stopwatch, args: &[&str]) -> Command {
    let begin: DateTime<Utc> = "2026-03-02T13:04:00Z".parse().unwrap();
    let now = begin + began.elapsed();
    Candela::at(&format!("@{}", now.format("%Y-%m-%d %H:%M:%S")), args)
}

#[test]
fn the_official_client_streams_from_a_service_as_from_the_vendor_and_comes_back_after_a_restart() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => return skip("the vendor's Python client", &why),
    };
    let began = Stopwatch::start();
    let folder = tempfile::tempdir().unwrap();
    let flag = r#"{"ready":true,"timestamp":"2026-03-02T07:30:00-05:00"}"#;
    std::fs::write(folder.path().join("l0_ready.flag"), flag).unwrap();
    let simulate = ["simulate", "--symbols", "USD/COP", "--per-second", "5", "--json"];
    let mut vendor = Candela::of(&mut in_session(&began, &simulate));
    let listening: serde_json::Value = serde_json::from_str(&vendor.line("\"listening\"")).unwrap();
    let [ws_url, rest_url] = ["ws_url", "rest_url"].map(|name| listening[name].as_str().unwrap().to_owned());
    let port = free_port();
    let serve = || {
        let mut command = in_session(&began, &["run"]);
        command
            .env("CANDELA__UPSTREAM__WS_URL", &ws_url)
            .env("CANDELA__UPSTREAM__REST_URL", &rest_url)
            .env("CANDELA__LEDGER__DIR", folder.path().join("ledger"))
            .env("CANDELA__STORE__SQLITE_FILE", folder.path().join("candela.db"))
            .env("CANDELA__SERVER__TWELVEDATA", "true")
            .env("READY_SIGNALS_DIR", folder.path())
            .env("PORT", port.to_string())
            .env("API_KEY_G1_1", KEY);
        let service = Candela::of(&mut command);
        wait_until("the service to listen", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        service
    };
    let service = serve();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/surfaces/vendor_stream.py");
    let mut command = Command::new(python);
    command
        .arg(script)
        .args([&rest_url, &ws_url, &format!("http://127.0.0.1:{port}/td")])
        .arg(format!("ws://127.0.0.1:{port}/td/quotes/price"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut client = spawn(&mut command, libc::SIGKILL);
    let said = Lines::of(client.stdout.take().unwrap());
    let complaints = Lines::of(client.stderr.take().unwrap());
    let mut says = |what: &str| {
        wait_until(what, || {
            let ended = client.try_wait().unwrap();
            let found = said.find(what);
            assert!(
                found.is_some() || ended.is_none_or(|status| status.success()),
                "{}",
                complaints.text()
            );
            found
        });
    };
    says("same");
    service.signal(libc::SIGTERM);
    assert_eq!(service.ended().code(), 0);
    let _service = serve();
    says("ok");
}
