//! Redis servers: each test has its own.

use super::{Folder, Reach, free_port};
use crate::certificate::Certificate;
use crate::child::{signal, spawn, wait_until};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

/// A redis-server of its own.
#[derive(Debug)]
pub(crate) struct Redis {
    child: Child,
    folder: Folder,
    reach: Reach,
    port: u16,
}

/// An empty redis-server on a socket.
pub(crate) fn redis() -> Redis {
    Redis::start(Reach::default())
}

impl Redis {
    /// Whether this server was built with TLS: without, it does not know the directive, and says so before it looks at the next.
    pub(crate) fn speaks_tls() -> bool {
        let mut command = Command::new(redis_program());
        command.args(["--tls-auth-clients", "no", "--nonsense", "here"]);
        let output = command.output().expect("run the server");
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).contains("nonsense")
    }

    /// Starts an empty server; returns when it answers.
    pub(crate) fn start(reach: Reach) -> Self {
        let folder = Folder::new(None);
        if reach.tls {
            Certificate::issue().write_to(&folder.0, None);
        }
        let port = if reach.tcp { free_port() } else { 0 };
        let child = Self::launch(&folder.0, reach, port);
        let redis = Self {
            child,
            folder,
            reach,
            port,
        };
        redis.wait_until_it_answers();
        redis
    }

    fn launch(folder: &Path, reach: Reach, port: u16) -> Child {
        let mut command = Command::new(redis_program());
        let plain_port = if reach.tls { 0 } else { port };
        command
            .current_dir(folder)
            .args(["--port", &plain_port.to_string(), "--bind", "127.0.0.1"]);
        command.args([
            "--unixsocket",
            "r.sock",
            "--save",
            "",
            "--appendonly",
            "no",
            "--logfile",
            "log",
        ]);
        if reach.tls {
            command.args([
                "--tls-port",
                &port.to_string(),
                "--tls-auth-clients",
                "no",
                "--tls-ca-cert-file",
                "ca.pem",
            ]);
            command.args(["--tls-cert-file", "server.pem", "--tls-key-file", "server.key"]);
        }
        if let Some(password) = reach.password {
            command.args(["--requirepass", password]);
        }
        spawn(command.stdin(Stdio::null()).stdout(Stdio::null()), libc::SIGKILL)
    }

    fn wait_until_it_answers(&self) {
        wait_until("Redis to listen", || {
            let socket = UnixStream::connect(self.folder.0.join("r.sock")).is_ok();
            let tcp = !self.reach.tcp || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok();
            (socket && tcp).then_some(())
        });
    }

    /// How a client reaches it.
    pub(crate) fn url(&self) -> String {
        let login = self
            .reach
            .password
            .map(|password| format!(":{password}@"))
            .unwrap_or_default();
        match self.reach {
            Reach { tcp: false, .. } => format!("redis+unix://{login}{}/r.sock", self.folder.0.display()),
            Reach { tls: true, .. } => format!("rediss://{login}127.0.0.1:{}/0", self.port),
            Reach { .. } => format!("redis://{login}127.0.0.1:{}/0", self.port),
        }
    }

    /// Where it listens over TCP.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The authority that signed its certificate, where it has one.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.0.join("ca.pem")
    }

    /// Ends it at once; what it held is lost.
    pub(crate) fn kill(&mut self) {
        signal(self.child.id(), libc::SIGKILL);
        self.child.wait().expect("a killed child can be waited for");
    }

    /// Starts it again after [`Redis::kill`], on the same address: empty, or as it was when it was told to `SAVE`.
    pub(crate) fn restart(&mut self) {
        std::fs::remove_file(self.folder.0.join("r.sock")).ok();
        self.child = Self::launch(&self.folder.0, self.reach, self.port);
        self.wait_until_it_answers();
    }

    /// Stops it from running without closing anything: connections hang.
    pub(crate) fn pause(&self) {
        signal(self.child.id(), libc::SIGSTOP);
    }

    /// Lets it run again after [`Redis::pause`].
    pub(crate) fn resume(&self) {
        signal(self.child.id(), libc::SIGCONT);
    }
}

/// The server that `CANDELA_TEST_REDIS_SERVER` names, or the one on PATH.
fn redis_program() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
        let answers = |program: &&str| {
            let mut command = Command::new(program);
            command.arg("--version").stdout(Stdio::null()).status().is_ok()
        };
        let named = std::env::var_os("CANDELA_TEST_REDIS_SERVER").map(PathBuf::from);
        let found = || {
            ["redis-server", "valkey-server"]
                .into_iter()
                .find(answers)
                .map(PathBuf::from)
        };
        named
            .or_else(found)
            .expect("Redis is missing: apt-get install --no-install-recommends redis-server, or run scripts/test")
    });
    &PROGRAM
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}
