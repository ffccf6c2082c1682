//! The Python client of `clients/python`: its wheel is built and installed, its code is checked, and its own tests run against
//! this binary, through kills, a network that fails, and slow phases.

use crate::child::{Candela, Lines, PATIENCE, spawn, wait_until};
use crate::process_gate::{FLAG, raise_flag};
use crate::process_kills::pass;
use crate::programs::{folder, packages, run, skip};
use crate::servers::free_port;
use candela::clock::Stopwatch;
use chrono::{DateTime, TimeDelta, Utc};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

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

/// How many times faster than real the notebook's market runs.
const SPEED: i32 = 20;
/// How often the service is killed under the notebook.
const KILLS: usize = 2;

/// A service in the market's hours, its vendor, and what it keeps through kills.
struct Market {
    began: Stopwatch,
    folder: tempfile::TempDir,
    port: u16,
    vendor: Option<Candela>,
    /// The vendor's WebSocket and REST.
    at: [String; 2],
}

impl Market {
    fn open() -> Self {
        let mut market = Self {
            began: Stopwatch::start(),
            folder: tempfile::tempdir().unwrap(),
            port: free_port(),
            vendor: None,
            at: Default::default(),
        };
        let simulate = ["simulate", "--symbols", "USD/COP", "--per-second", "1", "--json"];
        let mut vendor = Candela::of(&mut market.in_its_time(&simulate));
        let listening: serde_json::Value = serde_json::from_str(&vendor.line("\"listening\"")).unwrap();
        market.at = ["ws_url", "rest_url"].map(|name| listening[name].as_str().unwrap().to_owned());
        market.vendor = Some(vendor);
        market
    }

    /// The market's time, on a Monday after the open.
    fn now(&self) -> String {
        let begin: DateTime<Utc> = "2026-03-02T13:03:00Z".parse().unwrap();
        let now = begin + TimeDelta::from_std(self.began.elapsed()).unwrap() * SPEED;
        now.format("@%Y-%m-%d %H:%M:%S").to_string()
    }

    /// `candela ARGS` in the market's time, however late it starts.
    fn in_its_time(&self, args: &[&str]) -> Command {
        Candela::at(&format!("{} x{SPEED}", self.now()), args)
    }

    /// With the vendor's addresses and the folder.
    fn on_its_data(&self, mut command: Command) -> Command {
        let data = self.folder.path();
        command
            .env("CANDELA__UPSTREAM__WS_URL", &self.at[0])
            .env("CANDELA__UPSTREAM__REST_URL", &self.at[1])
            .env("CANDELA__STORE__SQLITE_FILE", data.join("candela.db"))
            .env("CANDELA__LEDGER__DIR", data.join("ledger"))
            // A tick that this machine delays by half a second is late in a market that runs this fast, and an outage long.
            .env("CANDELA__MARKET__LATENESS_MS", "15000")
            .env("CANDELA__UPSTREAM__POLL_AFTER_SECONDS", "900")
            .env("READY_SIGNALS_DIR", data.join("signals"))
            .env("PORT", self.port.to_string())
            .env("API_KEY_G1_1", "f00dfeed");
        command
    }

    fn serve(&self) -> Candela {
        let service = Candela::of(&mut self.on_its_data(self.in_its_time(&["run"])));
        wait_until("the service to listen", || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        service
    }
}

/// A Python as notebooks have it, with pandas, in which a user installs the client.
fn notebook() -> Result<PathBuf, String> {
    let bin = packages("candela-notebook", &["pandas"], &["pandas==3.1.1"])?;
    let mut pip = Command::new("timeout");
    pip.arg("600").arg(bin.join("python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    run(pip.arg(home()))?;
    Ok(bin)
}

#[test]
fn a_notebook_has_a_month_and_a_tail_that_goes_on_through_kills_as_the_vendor_recorded_it() {
    let bin = match notebook() {
        Ok(bin) => bin,
        Err(why) => return skip("a notebook's Python", &why),
    };
    let market = Market::open();
    // At the market's speed its deadlines would be over while the vendor still puts a month together.
    let month = ["backfill", "--from", "2026-01-28", "--to", "2026-02-27"];
    let mut backfill = market.on_its_data(Candela::at(&market.now(), &month));
    let filled = run(backfill.current_dir(market.folder.path()));
    assert!(
        filled.as_ref().is_ok_and(|said| said.contains("1357 written")),
        "{filled:?}"
    );
    raise_flag(market.folder.path(), FLAG);
    let mut service = market.serve();
    let mut script = Command::new(bin.join("python"));
    script
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/surfaces/notebook.py"))
        .args([&market.at[1], &market.at[0]])
        .env("CANDELA_URL", format!("http://127.0.0.1:{}", market.port))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut notebook = spawn(&mut script, libc::SIGKILL);
    let said = Lines::of(notebook.stdout.take().unwrap());
    let complaints = Lines::of(notebook.stderr.take().unwrap());
    let until_over = notebook.stdin.take();
    let tables = || said.text().lines().filter(|line| line.starts_with("table")).count();
    let mut wait_for = |what: &str, is_there: &dyn Fn() -> bool| {
        let waits = Stopwatch::start();
        while !is_there() {
            let over = notebook.try_wait().unwrap().is_some() || waits.elapsed() > PATIENCE * 4;
            assert!(
                !over || is_there(),
                "no {what}:\n{}\n{}",
                said.text(),
                complaints.text()
            );
            pass(Duration::from_millis(50));
        }
    };
    wait_for("a month", &|| said.find("month").is_some());
    for _ in 0..KILLS {
        let wanted = tables() + 2;
        wait_for("two tables", &|| tables() >= wanted);
        service.signal(libc::SIGKILL);
        service.output_of_the_killed();
        service = market.serve();
    }
    let wanted = tables() + 1;
    wait_for("a table", &|| tables() >= wanted);
    drop(until_over);
    wait_for("the comparison", &|| said.find("ok").is_some());
    assert!(notebook.wait().unwrap().success(), "{}", complaints.text());
    println!("{}", said.text());
}
