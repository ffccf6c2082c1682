//! A node of the demo's cluster: this program again, as a process with settings of its own. Its market time is that of the demo.

use super::cluster_error::ClusterDemoError;
use super::program::{Program, wait_for};
use crate::clock::{Clock, Stopwatch};
use crate::domain::model::Timestamp;
use serde_json::Value;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::str::FromStr;

/// Market time that several processes share: it showed `origin` when the machine's clock showed `began`, and runs `speed` times as fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SharedTime {
    origin: Timestamp,
    began: Timestamp,
    speed: f64,
}

impl SharedTime {
    /// It is `origin` now.
    pub(super) fn begin(origin: Timestamp, speed: f64) -> Self {
        let began = Clock::system().now();
        Self { origin, began, speed }
    }

    /// The clock of a process that starts now.
    pub(super) fn clock(self) -> Clock {
        let ran = Clock::system().now().since(self.began);
        Clock::scaled(self.origin + ran.mul_f64(self.speed), self.speed)
    }
}

impl fmt::Display for SharedTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.origin.micros(), self.began.micros(), self.speed)
    }
}

impl FromStr for SharedTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(',').collect();
        let [origin, began, speed] = parts.as_slice() else {
            return Err(format!("{text:?} is no time of a demo"));
        };
        Ok(Self {
            origin: read_instant(origin)?,
            began: read_instant(began)?,
            speed: speed.parse().map_err(|_| format!("{speed:?} is no speed"))?,
        })
    }
}

fn read_instant(text: &str) -> Result<Timestamp, String> {
    let micros = text.parse().map_err(|_| format!("{text:?} is no instant"))?;
    Ok(Timestamp::from_micros(micros))
}

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    /// What people call it.
    pub(super) name: &'static str,
    time: SharedTime,
    environment: Vec<(String, String)>,
    folder: PathBuf,
    logs: PathBuf,
    starts: u32,
    program: Option<Program>,
}

impl Node {
    /// A node that is not started yet, with a folder of its own in `folder`.
    ///
    /// # Errors
    /// [`ClusterDemoError::Folder`].
    pub(super) fn new(
        name: &'static str,
        folder: &Path,
        time: SharedTime,
        mut environment: Vec<(String, String)>,
    ) -> Result<Self, ClusterDemoError> {
        let own = folder.join(name);
        fs::create_dir(&own).map_err(|error| ClusterDemoError::Folder {
            folder: own.clone(),
            error,
        })?;
        let ledger = own.join("ledger").display().to_string();
        environment.push(("CANDELA__LEDGER__DIR".to_owned(), ledger));
        Ok(Self {
            name,
            time,
            environment,
            folder: own,
            logs: folder.join("logs"),
            starts: 0,
            program: None,
        })
    }

    /// Starts it, or starts it again.
    ///
    /// # Errors
    /// [`ClusterDemoError::Start`].
    pub(super) fn start(&mut self) -> Result<(), ClusterDemoError> {
        let name = self.name;
        let own = std::env::current_exe().map_err(|error| ClusterDemoError::Start { name, error })?;
        let mut command = Command::new(own);
        command.args(["demo", "--node-time", &self.time.to_string()]);
        // Its folder has no settings file, and its environment nothing but this.
        command.env_clear().envs(self.environment.iter().cloned());
        command.current_dir(&self.folder);
        self.starts = self.starts.saturating_add(1);
        let log = self.logs.join(format!("{name}-{}.log", self.starts));
        self.program = Some(Program::start(name, &mut command, &log)?);
        Ok(())
    }

    /// Its process, while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.program.as_ref().map(Program::pid)
    }

    /// Kills it with SIGKILL.
    pub(super) fn kill(&mut self) {
        self.program = None;
    }

    /// How it ended by itself, if it did since it was started.
    pub(super) fn ended(&mut self) -> Option<(ExitStatus, ClusterDemoError)> {
        let program = self.program.as_mut()?;
        let status = program.ended()?;
        Some((status, program.failure(status)))
    }

    /// Waits until it listens, and returns where.
    ///
    /// # Errors
    /// [`ClusterDemoError`] when it ends before.
    pub(super) async fn listens(&mut self) -> Result<String, ClusterDemoError> {
        let began = Stopwatch::start();
        loop {
            if let Some((_, error)) = self.ended() {
                return Err(error);
            }
            let written = self.program.as_ref().map(Program::written).unwrap_or_default();
            if let Some(address) = address_in(&written) {
                return Ok(address);
            }
            wait_for(&began, self.name)?.await;
        }
    }
}

/// Where a node listens, by its log.
fn address_in(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains("candela listens"))?;
    let line: Value = serde_json::from_str(line).ok()?;
    Some(line.get("address")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_time_reads_back_as_it_was_written() {
        let time = SharedTime::begin(Timestamp::from_secs(1_761_091_200), 20.0);
        assert_eq!(time.to_string().parse(), Ok(time));
        for broken in ["", "1,2", "1,2,x", "a,2,3", "1,2,3,4"] {
            assert!(broken.parse::<SharedTime>().is_err(), "{broken}");
        }
    }

    #[test]
    fn the_clocks_of_processes_that_start_later_agree() {
        let time = SharedTime {
            origin: Timestamp::from_secs(1_761_091_200),
            began: Clock::system().now(),
            speed: 1_000.0,
        };
        let earlier = time.clock();
        let later = SharedTime { ..time }.clock();
        let apart = later.now().since(earlier.now());
        assert!(apart.as_secs() < 60, "{apart:?}"); // which is 60 ms of real time
    }

    #[test]
    fn a_node_says_where_it_listens() {
        let log = "{\"message\":\"begins\"}\n{\"message\":\"candela listens\",\"address\":\"127.0.0.1:4711\"}\n";
        assert_eq!(address_in(log).as_deref(), Some("127.0.0.1:4711"));
        assert_eq!(address_in("{\"message\":\"candela lis"), None);
    }
}
