//! The whole service as its users run it: the binary with its feed, ledger and stores, fed by a simulated vendor of its own
//! process. `DATABASE_URL` and `REDIS_URL` name the servers that it writes to; without them it keeps all in SQLite and memory.

use super::server::Cpu;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
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
            .env("LOG_LEVEL", "error")
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

    /// Processor time of the service so far.
    pub(super) fn cpu(&self) -> Cpu {
        Cpu::of(&self.service.id().to_string())
    }

    /// Waits until the service is active, and for some seconds has requested nothing of the vendor and filled no gap.
    pub(super) fn wait_for_history(&self) {
        let (began, mut known, mut since) = (Instant::now(), String::new(), Instant::now());
        while since.elapsed() < Duration::from_secs(2) || !known.contains("candela_state") {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "the history does not come: {known}"
            );
            std::thread::sleep(Duration::from_millis(100));
            let now = self.history();
            if now != known {
                (known, since) = (now, Instant::now());
            }
        }
    }

    /// What the metrics say of the state, the gaps and the requests.
    fn history(&self) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = format!("GET /metrics HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).unwrap();
        let mut metrics = String::new();
        stream.read_to_string(&mut metrics).unwrap();
        let told = [
            r#"candela_state{state="active"} 1"#,
            "candela_gaps_total",
            "candela_key_calls_total",
        ];
        let lines = metrics
            .lines()
            .filter(|line| told.iter().any(|told| line.starts_with(told)));
        lines.collect::<Vec<_>>().join("\n")
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
    while TcpStream::connect(address).is_err() {
        assert!(began.elapsed() < Duration::from_secs(30), "candela does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}
