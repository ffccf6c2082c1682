//! A program that runs beside the demo, and does not outlive it.

use super::cluster_error::ClusterDemoError;
use crate::clock::Stopwatch;
use crate::limits;
use std::fs::File;
use std::future::Future;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A running program; killed when dropped.
#[derive(Debug)]
pub(super) struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it. Everything that it writes goes to the file. Its process group is its own: Ctrl-C in a terminal stops the demo, and the
    /// demo stops the program.
    ///
    /// # Errors
    /// [`ClusterDemoError::Start`].
    pub(super) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self, ClusterDemoError> {
        let spawned = File::create(log).and_then(|file| {
            let both = file.try_clone()?;
            command.stdin(Stdio::null()).stdout(both).stderr(file).process_group(0);
            command.spawn()
        });
        Ok(Self {
            name,
            child: spawned.map_err(|error| ClusterDemoError::Start { name, error })?,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// # Errors
    /// [`ClusterDemoError::Ended`] when it does not run any more.
    pub(super) fn check_running(&mut self) -> Result<(), ClusterDemoError> {
        match self.ended() {
            Some(status) => Err(self.failure(status)),
            None => Ok(()),
        }
    }

    /// Waits until it has ended with code 0.
    ///
    /// # Errors
    /// [`ClusterDemoError::Ended`] when it ends otherwise, [`ClusterDemoError::Late`] when it does not end.
    pub(super) async fn succeeds(mut self) -> Result<(), ClusterDemoError> {
        let began = Stopwatch::start();
        loop {
            match self.ended() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failure(status)),
                None => wait_for(&began, self.name)?.await,
            }
        }
    }

    /// An error with the status and the last line that it wrote.
    pub(super) fn failure(&self, status: ExitStatus) -> ClusterDemoError {
        let text = self.written();
        let last = text.lines().rfind(|line| !line.trim().is_empty());
        ClusterDemoError::Ended {
            name: self.name,
            status,
            said: last.unwrap_or("nothing").trim().to_owned(),
        }
    }

    /// Everything that it wrote.
    pub(super) fn written(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill().and_then(|()| self.child.wait())); // one that has ended already is none of the demo's
    }
}

/// A pause before the next look at a program that starts.
///
/// # Errors
/// [`ClusterDemoError::Late`] when it has taken too long.
pub(super) fn wait_for(
    began: &Stopwatch,
    name: &'static str,
) -> Result<impl Future<Output = ()> + use<>, ClusterDemoError> {
    if began.elapsed() > limits::DEMO_PROGRAM_START {
        return Err(ClusterDemoError::Late { name });
    }
    Ok(tokio::time::sleep(limits::DEMO_PROGRAM_LOOK))
}
