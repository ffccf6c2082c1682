//! Event streams with clients that are not ours, through kills of the service.

use crate::child::{Candela, Lines, spawn, wait_until};
use crate::programs::{folder, python, run, skip};
use crate::servers::free_port;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A service with a simulated vendor, at a port and on the data of a folder.
fn service(port: u16, data: &Path) -> Candela {
    let (port, data) = (port.to_string(), data.display().to_string());
    let mut demo = Candela::start(&[
        "demo", "--json", "--seed", "7", "--speed", "100", "--port", &port, "--data", &data,
    ]);
    demo.address();
    demo
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/surfaces").join(name)
}

/// A client that runs, and what it says.
struct Follower {
    child: Child,
    said: Lines,
}

impl Follower {
    fn start(command: &mut Command) -> Self {
        let mut child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::inherit()), libc::SIGKILL);
        let said = Lines::of(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// Waits for so many lines that contain `text`.
    fn lines(&mut self, text: &str, count: usize) {
        wait_until(&format!("{count} lines with {text:?}"), || {
            let said = self.said.text();
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() || said.ends_with("ok"), "{ended:?}: {said}");
            (said.matches(text).count() >= count).then_some(())
        });
    }

    fn ends_well(mut self) {
        let status = wait_until("the client to end", || self.child.try_wait().unwrap());
        assert!(status.success(), "{}", self.said.text());
    }
}

#[test]
fn httpx_sse_sees_each_seq_once_through_two_kills() {
    let bin = match python("candela-events", "httpx_sse", "httpx-sse>=0.4") {
        Ok(bin) => bin,
        Err(why) => return skip("httpx-sse", &why),
    };
    if let Err(why) = run(Command::new(bin.join("python")).args(["-c", "import httpx"])) {
        let mut pip = Command::new(bin.join("python"));
        let installed = run(pip.args(["-m", "pip", "install", "--quiet", "httpx"]));
        if installed.is_err() {
            return skip("httpx", &why);
        }
    }
    let (port, data) = (free_port(), tempfile::tempdir().unwrap());
    let mut running = service(port, data.path());
    let url = format!("http://127.0.0.1:{port}");
    let mut follower = Follower::start(
        Command::new(bin.join("python"))
            .arg(script("events.py"))
            .args([&url, "300", "2"]),
    );
    for bars in [2, 4] {
        follower.lines("bar", bars);
        running.signal(libc::SIGKILL);
        running.output_of_the_killed();
        running = service(port, data.path());
    }
    follower.ends_well();
}

#[test]
fn an_event_source_resumes_by_itself_after_a_kill() {
    let home = folder("node-eventsource");
    if !home.join("node_modules/eventsource").exists() {
        let made =
            run(Command::new("npm")
                .current_dir(&home)
                .args(["install", "--silent", "--no-audit", "eventsource@4"]));
        if let Err(why) = made {
            return skip("the EventSource of Node", &why);
        }
    }
    let here = home.join("events.mjs");
    std::fs::copy(script("events.mjs"), &here).unwrap();
    let (port, data) = (free_port(), tempfile::tempdir().unwrap());
    let running = service(port, data.path());
    let url = format!("http://127.0.0.1:{port}");
    let mut follower = Follower::start(Command::new("node").arg(&here).args([&url, "1"]));
    follower.lines("subscribed", 1);
    wait_until("a bar meanwhile", || running.stdout.find("\"bar\""));
    running.signal(libc::SIGKILL);
    running.output_of_the_killed();
    let _running = service(port, data.path());
    follower.ends_well();
}
