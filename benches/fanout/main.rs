//! What it costs to tell a tick to many clients, against a floor: a program that does nothing but write the ready-made frame to
//! each socket. Both run as child processes of this one, which is the same reading client for both, so that CPU time per
//! delivery can be compared within one run.
//!
//! ```text
//! fanout                       everything
//! fanout --only candela        CPU per delivery and memory per client, of the floor or of candela
//! fanout --clients 1000        the rows of so many clients
//! fanout --pace                delays at a steady rate, and the highest rate that is held
//! fanout --hostile             delays of well-behaved clients with hostile ones beside them
//! fanout --whole               delays and CPU of the whole service with its stores, beside the floor's
//! fanout --comeback            10,000 clients come back after the whole service was killed, and resume
//! fanout --serve floor|candela (the children)
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a measuring program: what fails here should fail loudly"
)]

mod attack;
mod comeback;
mod floor;
mod hostile;
mod pace;
mod reader;
mod served;
mod whole;

/// The service's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
struct Load {
    clients: usize,
    /// Ticks sent at one instant.
    burst: usize,
    bursts: usize,
    pause: Duration,
}

const LOADS: [Load; 8] = [
    load(1, 1, 2_000, 1_000),
    load(1_000, 1, 150, 25_000),
    load(5_000, 1, 40, 120_000),
    load(10_000, 1, 20, 250_000),
    load(1, 20, 200, 10_000),
    load(1_000, 20, 50, 60_000),
    load(5_000, 20, 20, 250_000),
    load(10_000, 20, 10, 500_000),
];

const fn load(clients: usize, burst: usize, bursts: usize, pause_us: u64) -> Load {
    Load {
        clients,
        burst,
        bursts,
        pause: Duration::from_micros(pause_us),
    }
}

/// What one run gave.
#[derive(Debug, Clone, Copy)]
struct Measured {
    /// Server CPU time per delivery.
    cpu_us: f64,
    received: usize,
    expected: usize,
    /// Resident memory per client while idle.
    resident_kib: f64,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|i| args.get(i + 1));
    let has = |name: &str| args.iter().any(|arg| arg == name);
    let only = ["--pace", "--whole", "--hostile", "--comeback", "--clients", "--only"];
    let all = !only.into_iter().any(has);
    match value("--serve").map(String::as_str) {
        Some("floor") => floor::serve(),
        Some("candela") => served::serve(50_000),
        Some("guarded") => served::serve(250),
        Some(other) => panic!("--serve {other}: floor or candela"),
        None if has("--attack") => hostile::attack(value("--attack").unwrap()),
        None if has("--pace") => pace::table(),
        None if has("--hostile") => hostile::table(value("--seconds").map_or(20, |text| text.parse().unwrap())),
        None if has("--whole") => pace::whole(),
        None if has("--comeback") => comeback::run(),
        None => table(value("--clients").map(|text| text.parse().unwrap()), value("--only")),
    }
    if all && value("--serve").is_none() && !has("--attack") {
        pace::table();
        pace::whole();
        hostile::table(20);
        comeback::run();
    }
}

fn table(clients: Option<usize>, only: Option<&String>) {
    println!(
        "{:>8} {:>6} {:>14} {:>16} {:>7} {:>10} {:>12}",
        "clients", "burst", "floor µs/del.", "candela µs/del.", "ratio", "received", "KiB/client"
    );
    for load in LOADS
        .into_iter()
        .filter(|load| clients.is_none_or(|clients| clients == load.clients))
    {
        let run = |which: &str| only.is_none_or(|only| only == which).then(|| measure(which, load));
        let (floor, candela) = (run("floor"), run("candela"));
        let cpu = |measured: &Option<Measured>| measured.map_or(f64::NAN, |measured| measured.cpu_us);
        let received = candela.or(floor).map_or(0.0, |measured| {
            100.0 * measured.received as f64 / measured.expected as f64
        });
        println!(
            "{:>8} {:>6} {:>14.3} {:>16.3} {:>7.2} {:>9.2}% {:>12.1}",
            load.clients,
            load.burst,
            cpu(&floor),
            cpu(&candela),
            cpu(&candela) / cpu(&floor),
            received,
            candela.map_or(f64::NAN, |measured| measured.resident_kib)
        );
    }
}

/// Starts a server, connects the clients, sends the load, and counts.
fn measure(which: &str, load: Load) -> Measured {
    let mut server = Server::start(which);
    let warm = reader::connect(&server.address, 50, which == "candela"); // the code's pages are not the clients' memory
    server.wait_for("clients", 50);
    drop(warm);
    if which == "candela" {
        server.wait_for_at_most("clients", 0);
    } else {
        server.tell("forget");
    }
    let before = server.ask("rss");
    let clients = reader::connect(&server.address, load.clients, which == "candela");
    server.wait_for("clients", load.clients);
    std::thread::sleep(Duration::from_millis(600));
    let after = server.ask("rss");
    let cpu_before = server.ask("cpu");
    let expected = load.clients * load.burst * load.bursts;
    let reading = std::thread::spawn(move || reader::count(clients, expected, Duration::from_secs(60), 0..0));
    server.send(load.burst, load.bursts, load.pause);
    server.wait_for("sent", load.bursts);
    let received = reading.join().unwrap().received;
    let cpu_after = server.ask("cpu");
    server.end();
    Measured {
        cpu_us: (cpu_after - cpu_before) / 1_000.0 / received.max(1) as f64,
        received,
        expected,
        resident_kib: (after - before) / load.clients as f64,
    }
}

/// A child that serves, and answers questions line by line.
struct Server {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    address: String,
}

impl Server {
    fn start(which: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--serve", which])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut address = String::new();
        lines.read_line(&mut address).unwrap();
        Self {
            child,
            lines,
            address: address.trim().to_owned(),
        }
    }

    fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        stdin.flush().unwrap();
    }

    fn ask(&mut self, question: &str) -> f64 {
        self.tell(question);
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }

    fn wait_for(&mut self, question: &str, at_least: usize) {
        for _ in 0..6_000 {
            if self.ask(question) >= at_least as f64 {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{question}: never {at_least}");
    }

    fn wait_for_at_most(&mut self, question: &str, at_most: usize) {
        for _ in 0..1_000 {
            if self.ask(question) <= at_most as f64 {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{question}: never down to {at_most}");
    }

    fn send(&mut self, burst: usize, bursts: usize, pause: Duration) {
        self.tell(&format!("send {burst} {bursts} {}", pause.as_micros()));
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

/// Answers the questions of the measuring process until it goes: `rss`, `cpu`, and whatever `more` knows.
fn converse(mut more: impl FnMut(&str) -> Option<f64>) {
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let answer = match line.as_str() {
            "rss" => Some(resident_kib()),
            "cpu" => Some(cpu_ns("self")),
            other => more(other),
        };
        if let Some(answer) = answer {
            println!("{answer}");
            std::io::stdout().flush().unwrap();
        }
    }
}

/// CPU time of a process so far, with that of threads that ended; in steps of ten milliseconds.
fn cpu_ns(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = |i| fields.split_whitespace().nth(i).unwrap().parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) * 10_000_000.0
}

fn resident_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
