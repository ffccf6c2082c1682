//! The whole service as its users run it: the binary with its feed, ledger and stores, fed by a simulated vendor of its own
//! process. `DATABASE_URL` and `REDIS_URL` name the servers that it writes to; without them it keeps all in SQLite and memory.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Both processes and their data; ended with this value.
pub(super) struct Whole {
    vendor: Child,
    /// Held open: a vendor that nobody hears stops.
    _said: ChildStdout,
    service: Child,
    command: Command,
    pub(super) address: String,
    _folder: tempfile::TempDir,
}

impl Whole {
    /// A service that is told `rate` ticks a second.
    pub(super) fn start(rate: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let flag = serde_json::json!({"ready": true, "timestamp": chrono::Utc::now()});
        std::fs::write(folder.path().join("l0_ready.flag"), flag.to_string()).unwrap();
        let mut vendor = Command::new(env!("CARGO_BIN_EXE_candela"));
        vendor.args(["simulate", "--symbols", "USD/COP", "--json", "--per-second"]);
        let (vendor, said, listening) = started(vendor.arg(rate.to_string()), "\"listening\"");
        let listening: serde_json::Value = serde_json::from_str(&listening).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut command = Command::new(env!("CARGO_BIN_EXE_candela"));
        command
            .arg("run")
            .current_dir(folder.path())
            .env("READY_SIGNALS_DIR", folder.path())
            .env("PORT", address.port().to_string())
            .env("LOG_LEVEL", "warn")
            .envs((1..=8).map(|key| (format!("API_KEY_G1_{key}"), format!("f00dfeed{key}")))) // a start need not wait for one
            .env("CANDELA__SERVER__BIND", "127.0.0.1")
            .env("CANDELA__MARKET__CALENDAR", "always")
            .env("CANDELA__UPSTREAM__WS_URL", listening["ws_url"].as_str().unwrap())
            .env("CANDELA__UPSTREAM__REST_URL", listening["rest_url"].as_str().unwrap())
            .env("CANDELA__LEDGER__DIR", folder.path().join("ledger"));
        let service = served(&mut command, &address.to_string());
        Self {
            vendor,
            _said: said,
            service,
            command,
            address: address.to_string(),
            _folder: folder,
        }
    }

    /// Kills the service and starts it again on what it had; returns when it answers.
    pub(super) fn restart(&mut self) {
        self.service.kill().unwrap();
        self.service.wait().unwrap();
        self.service = served(&mut self.command, &self.address);
    }

    /// CPU time of the service so far, in nanoseconds.
    pub(super) fn cpu_ns(&self) -> f64 {
        super::cpu_ns(&self.service.id().to_string())
    }

    /// Where it writes to.
    pub(super) fn stores() -> String {
        let named = |name: &str, otherwise: &str| std::env::var(name).map_or(otherwise.to_owned(), |_| name.to_owned());
        format!("{}, {}", named("DATABASE_URL", "SQLite"), named("REDIS_URL", "memory"))
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        for child in [&mut self.service, &mut self.vendor] {
            child.kill().and_then(|()| child.wait()).ok();
        }
    }
}

/// Starts a command, and waits for a line of its standard output that contains `text`.
fn started(command: &mut Command, text: &str) -> (Child, ChildStdout, String) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended before it said {text}");
    }
    (child, said.into_inner(), line)
}

fn served(command: &mut Command, address: &str) -> Child {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        assert!(began.elapsed() < Duration::from_secs(30), "candela does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}
