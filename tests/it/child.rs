//! A child process that cannot outlive its test, and waiting for conditions with a deadline.

use candela::clock::Stopwatch;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long anything in these tests may take before it counts as hanging. Generous: test machines are shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until `condition` gives a value; fails the test, naming `what`, when that takes longer than [`PATIENCE`].
pub(crate) fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let watch = Stopwatch::start();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(watch.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "between two looks at a condition of another process, which cannot wake us"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

/// Starts `command` so that the kernel sends it `last_signal` when the thread that calls this ends, however it ends.
#[expect(
    unsafe_code,
    reason = "only a pre_exec hook can ask the kernel for a parent-death signal"
)]
pub(crate) fn spawn(command: &mut Command, last_signal: libc::c_int) -> Child {
    // SAFETY: between fork and exec the hook makes one system call, which is async-signal-safe, and allocates nothing.
    unsafe {
        command.pre_exec(move || match libc::prctl(libc::PR_SET_PDEATHSIG, last_signal) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let shown = command.get_program().to_owned();
    command
        .spawn()
        .unwrap_or_else(|error| panic!("start {}: {error}", shown.display()))
}

/// Sends a signal to a process of ours; one that has ended already is no error.
#[expect(unsafe_code, reason = "the standard library cannot send signals")]
pub(crate) fn signal(pid: u32, signal: libc::c_int) {
    let pid = libc::pid_t::try_from(pid).expect("a process id fits pid_t");
    assert!(pid > 1, "refusing to signal {pid}: it is no process of ours");
    // SAFETY: kill(2) takes two numbers and touches no memory of this process.
    unsafe { libc::kill(pid, signal) };
}

/// What a child wrote to one of its streams so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Reads `stream` to its end on a thread of its own.
    pub(crate) fn of(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let shared = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                shared.0.lock().unwrap().push(line);
            }
        });
        lines
    }

    /// All of it.
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }

    /// The first line that contains `text`.
    pub(crate) fn find(&self, text: &str) -> Option<String> {
        self.0.lock().unwrap().iter().find(|line| line.contains(text)).cloned()
    }
}

/// The candela binary, running; killed with the test.
#[derive(Debug)]
pub(crate) struct Candela {
    child: Child,
    /// Its working folder, empty at first, gone with it: no settings file of this machine has a part in a test.
    folder: tempfile::TempDir,
    /// Its standard output.
    pub(crate) stdout: Lines,
    /// Its standard error.
    pub(crate) stderr: Lines,
}

impl Candela {
    /// The binary with an environment that holds nothing but the way to system tools. `CANDELA_TEST_BINARY` names another one,
    /// a release build for the tests that measure.
    pub(crate) fn command(args: &[&str]) -> Command {
        let built = env!("CARGO_BIN_EXE_candela").into();
        let mut command = Command::new(std::env::var_os("CANDELA_TEST_BINARY").unwrap_or(built));
        command
            .args(args)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .stdin(Stdio::null());
        command
    }

    /// The binary in a world in which it is `at`, as libfaketime's manual spells instants and speeds. The library is loaded
    /// without its wrapper, which would stand between us and the process.
    pub(crate) fn at(at: &str, args: &[&str]) -> Command {
        let library = std::fs::read_dir("/usr/lib")
            .expect("list /usr/lib")
            .flatten()
            .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
            .find(|path| path.exists())
            .expect("faketime is missing: apt-get install --no-install-recommends faketime, or run scripts/test");
        let mut command = Self::command(args);
        command.env("LD_PRELOAD", library).env("FAKETIME", at).env("TZ", "UTC");
        command
    }

    /// Starts `candela ARGS` in a clean environment.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::of(&mut Self::command(args))
    }

    /// Starts a prepared command, capturing its output.
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut candela = Self::spawn(command, Stdio::piped(), Stdio::piped());
        candela.read_stdout();
        candela.read_stderr();
        candela
    }

    /// The same with another standard error. A pipe that is given for it is never read.
    pub(crate) fn logging_to(command: &mut Command, stderr: Stdio) -> Self {
        let mut candela = Self::spawn(command, Stdio::piped(), stderr);
        candela.read_stdout();
        candela
    }

    /// The same with another standard output.
    pub(crate) fn printing_to(command: &mut Command, stdout: Stdio) -> Self {
        let mut candela = Self::spawn(command, stdout, Stdio::piped());
        candela.read_stderr();
        candela
    }

    fn spawn(command: &mut Command, stdout: Stdio, stderr: Stdio) -> Self {
        let folder = tempfile::tempdir().expect("make a working folder");
        command.stdout(stdout).stderr(stderr).current_dir(&folder);
        Self {
            child: spawn(command, libc::SIGKILL),
            folder,
            stdout: Lines::default(),
            stderr: Lines::default(),
        }
    }

    fn read_stdout(&mut self) {
        self.stdout = Lines::of(self.child.stdout.take().expect("standard output was piped"));
    }

    fn read_stderr(&mut self) {
        self.stderr = Lines::of(self.child.stderr.take().expect("standard error was piped"));
    }

    /// Runs `candela ARGS` to its end.
    pub(crate) fn run(args: &[&str]) -> Ended {
        Self::start(args).ended()
    }

    /// Its working folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, number: libc::c_int) {
        signal(self.pid(), number);
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The processor time that it took so far, in seconds: what others do on the machine has no part in it.
    pub(crate) fn processor_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields = stat.rsplit_once(") ").unwrap().1.split_whitespace().skip(11).take(2);
        fields.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
    }

    /// The most memory that it ever had, in kilobytes.
    pub(crate) fn most_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Waits for a line of standard output that contains `text`.
    pub(crate) fn line(&mut self, text: &str) -> String {
        wait_until(&format!("a line with {text:?}"), || {
            let status = self.child.try_wait().expect("ask for its status");
            if status.is_some() {
                self.read_to_the_end();
            }
            let found = self.stdout.find(text);
            if let (None, Some(status)) = (&found, status) {
                let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
                panic!("candela ended with {status} before it said {text:?}:\n{stdout}\n{stderr}");
            }
            found
        })
    }

    /// Where a demo that speaks JSON serves its clients: host and port.
    pub(crate) fn address(&mut self) -> String {
        let said: serde_json::Value = serde_json::from_str(&self.line("\"listening\"")).unwrap();
        let ws = said["ws"].as_str().unwrap();
        let address = ws.strip_prefix("ws://").and_then(|rest| rest.strip_suffix("/ws"));
        address.unwrap().to_owned()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(mut self) -> Ended {
        let status = wait_until("candela to end", || self.child.try_wait().expect("ask for its status"));
        self.read_to_the_end();
        Ended {
            status,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        }
    }

    /// After a SIGKILL: all that it wrote to standard output.
    pub(crate) fn output_of_the_killed(mut self) -> String {
        wait_until("the kill", || self.child.try_wait().expect("ask for its status"));
        self.read_to_the_end();
        self.stdout.text()
    }

    /// After its end the last lines may still be on their way: waits for the threads that read them.
    fn read_to_the_end(&self) {
        wait_until("the rest of its output", || {
            (Arc::strong_count(&self.stdout.0) == 1 && Arc::strong_count(&self.stderr.0) == 1).then_some(())
        });
    }
}

impl Drop for Candela {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

/// How a run of candela ended.
#[derive(Debug)]
pub(crate) struct Ended {
    status: ExitStatus,
    /// All of its standard output.
    pub(crate) stdout: String,
    /// All of its standard error.
    pub(crate) stderr: String,
}

impl Ended {
    /// Its exit code; a run that a signal ended fails the test.
    pub(crate) fn code(&self) -> i32 {
        let code = self.status.code();
        code.unwrap_or_else(|| panic!("ended by signal {:?}:\n{}", self.status.signal(), self.stderr))
    }
}

#[test]
fn a_child_dies_with_the_thread_that_started_it() {
    let pid = std::thread::spawn(|| spawn(Command::new("sleep").arg("60"), libc::SIGKILL).id())
        .join()
        .expect("the thread starts it");
    let stat = format!("/proc/{pid}/stat");
    wait_until("the child to be killed", || {
        let stat = std::fs::read_to_string(&stat).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}

#[test]
fn output_and_exit_code_are_captured() {
    let mut command = Command::new("sh");
    let mut child = Candela::of(
        command
            .args(["-c", "echo ready; read ignored; echo why >&2; exit 3"])
            .stdin(Stdio::null()),
    );
    assert!(child.pid() > 1);
    child.line("ready");
    let ended = child.ended();
    assert_eq!(
        (ended.code(), ended.stdout.as_str(), ended.stderr.as_str()),
        (3, "ready", "why")
    );
}

#[test]
fn the_binary_runs_in_a_clean_environment() {
    Candela::start(&["--version"]).ended();
}
