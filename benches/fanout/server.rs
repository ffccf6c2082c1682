//! The servers that are measured: child processes that print their address, and answer or do what they are told line by line.

use super::peers;
use super::reader::Wire;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A child that serves.
pub(super) struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
    pub(super) address: String,
    pub(super) wire: Wire,
    /// The process whose costs count.
    measured: String,
}

impl Server {
    pub(super) fn start(which: &str) -> Self {
        let own = || {
            let mut own = Command::new(std::env::current_exe().unwrap());
            own.args(["--serve", which]);
            own
        };
        let mut child = peers::command(which)
            .unwrap_or_else(own)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut address = String::new();
        lines.read_line(&mut address).unwrap();
        let measured = child.id().to_string();
        let mut server = Self {
            child,
            lines,
            address: address.trim().to_owned(),
            wire: Wire::of(which),
            measured,
        };
        if which == "nats" {
            server.measured = server.ask("pid").to_string();
        }
        server
    }

    pub(super) fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        stdin.flush().unwrap();
    }

    pub(super) fn ask(&mut self, question: &str) -> f64 {
        self.tell(question);
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim().parse().unwrap_or_else(|_| panic!("{question}: {line:?}"))
    }

    pub(super) fn wait_for(&mut self, question: &str, at_least: usize) {
        for _ in 0..6_000 {
            if self.ask(question) >= at_least as f64 {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{question}: never {at_least}");
    }

    pub(super) fn wait_for_at_most(&mut self, question: &str, at_most: usize) {
        for _ in 0..1_000 {
            if self.ask(question) <= at_most as f64 {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{question}: never down to {at_most}");
    }

    pub(super) fn send(&mut self, burst: usize, bursts: usize, pause: Duration) {
        self.tell(&format!("send {burst} {bursts} {}", pause.as_micros()));
    }

    pub(super) fn cpu(&self) -> Cpu {
        Cpu::of(&self.measured)
    }

    pub(super) fn resident_kib(&self) -> f64 {
        resident_kib(&self.measured)
    }

    pub(super) fn end(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

/// Answers what `more` knows until the measuring process goes.
pub(super) fn converse(mut more: impl FnMut(&str) -> Option<f64>) {
    for line in std::io::stdin().lines() {
        if let Some(answer) = more(&line.unwrap()) {
            println!("{answer}");
            std::io::stdout().flush().unwrap();
        }
    }
}

/// Processor time of a process so far, with that of threads that ended, in microseconds; in steps of ten milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cpu {
    pub(super) user_us: f64,
    pub(super) kernel_us: f64,
}

impl Cpu {
    pub(super) fn of(process: &str) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let us = |i| fields.split_whitespace().nth(i).unwrap().parse::<f64>().unwrap() * 10_000.0;
        Self {
            user_us: us(11),
            kernel_us: us(12),
        }
    }

    /// User, kernel and both since `before`, for each of so many.
    pub(super) fn per(self, before: Self, count: usize) -> [f64; 3] {
        let user = (self.user_us - before.user_us) / count.max(1) as f64;
        let kernel = (self.kernel_us - before.kernel_us) / count.max(1) as f64;
        [user, kernel, user + kernel]
    }
}

pub(super) fn resident_kib(process: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
