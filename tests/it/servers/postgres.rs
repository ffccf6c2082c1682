//! PostgreSQL clusters: one that all tests share, and ones of their own.

use super::{Folder, Reach, free_port, unique};
use crate::certificate::Certificate;
use crate::child::{signal, spawn, wait_until};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// A PostgreSQL cluster of its own.
#[derive(Debug)]
pub(crate) struct Postgres {
    child: Child,
    folder: Folder,
    reach: Reach,
    port: u16,
}

impl Postgres {
    /// Copies the template and starts a server on it; returns when it answers.
    pub(crate) fn start(reach: Reach) -> Self {
        let folder = Folder::new(server_user());
        let copied = as_server_user("/bin/cp".into())
            .args(["-a", "--reflink=auto"])
            .args([template().join("data"), folder.0.join("data")])
            .status();
        assert!(copied.expect("run cp").success(), "copying the template cluster failed");
        let method = if reach.password.is_some() {
            "scram-sha-256"
        } else {
            "trust"
        };
        let kind = if reach.tls { "hostssl" } else { "host" };
        let rules = format!("local all all trust\nlocal replication all trust\n{kind} all all 127.0.0.1/32 {method}\n");
        std::fs::write(folder.0.join("data/pg_hba.conf"), rules).expect("write pg_hba.conf");
        if reach.tls {
            Certificate::issue().write_to(&folder.0, server_user());
        }
        let port = if reach.tcp { free_port() } else { 5432 };
        let postgres = Self::running(folder, reach, port);
        if let Some(password) = reach.password {
            postgres.sql("postgres", &format!("alter user postgres password '{password}'"));
        }
        postgres
    }

    /// A second server that follows this one, over its socket, until it is promoted.
    pub(crate) fn follower(&self) -> Self {
        let folder = Folder::new(server_user());
        let mut copy = as_server_user(postgres_bin().join("pg_basebackup"));
        copy.args(["-R", "-X", "stream", "-c", "fast", "-U", "postgres", "-h"])
            .arg(&self.folder.0)
            .args(["-p", &self.port.to_string(), "-D"])
            .arg(folder.0.join("data"));
        let copied = copy.output().expect("run pg_basebackup");
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        Self::running(folder, self.reach, free_port())
    }

    /// A server on the data in this folder, once it answers.
    fn running(folder: Folder, reach: Reach, port: u16) -> Self {
        let child = Self::launch(&folder.0, reach, port);
        let postgres = Self {
            child,
            folder,
            reach,
            port,
        };
        postgres.wait_until_it_answers();
        postgres
    }

    fn launch(folder: &Path, reach: Reach, port: u16) -> Child {
        let mut command = as_server_user(postgres_bin().join("postgres"));
        command
            .arg("-D")
            .arg(folder.join("data"))
            .arg("-k")
            .arg(folder)
            .args(["-p", &port.to_string()]);
        let listen = format!("listen_addresses={}", if reach.tcp { "127.0.0.1" } else { "" });
        // Safe against the death of the server, which is what tests bring about, though not against a loss of power.
        let fast = [
            "fsync=off",
            "full_page_writes=off",
            "shared_buffers=32MB",
            "max_connections=200",
            "password_encryption=scram-sha-256", // 13 had another default
        ];
        for setting in fast.into_iter().chain([listen.as_str()]) {
            command.args(["-c", setting]);
        }
        if reach.tls {
            for (name, file) in [("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key")] {
                command.arg("-c").arg(format!("{name}={}", folder.join(file).display()));
            }
            command.args(["-c", "ssl=on"]);
        }
        let log = std::fs::File::create(folder.join("log")).expect("create its log");
        spawn(command.stderr(log), libc::SIGINT)
    }

    fn wait_until_it_answers(&self) {
        wait_until("PostgreSQL to answer", || self.try_sql("postgres", "select 1").ok());
    }

    /// Runs SQL over the socket as the superuser and returns rows as psql prints them, unaligned.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        self.psql()(database, sql)
    }

    /// What runs SQL as [`Postgres::sql`] does, to be taken to another thread.
    pub(crate) fn psql(&self) -> impl Fn(&str, &str) -> Result<String, String> + Send + use<> {
        let (folder, port) = (self.folder.0.clone(), self.port);
        move |database, sql| psql(&folder, port, database, sql)
    }

    /// Gives a folder to the user that the server runs as.
    pub(crate) fn own(folder: &Path) {
        if let Some((uid, gid)) = server_user() {
            chown(folder, Some(uid), Some(gid)).expect("root may give a folder away");
        }
    }

    /// Makes an empty database and gives the URL by which a client reaches it.
    pub(crate) fn database(&self) -> Database {
        let name = format!("t{}", unique());
        self.sql("postgres", &format!("create database {name}"));
        let url = match self.reach {
            Reach { tcp: false, .. } => {
                let host = self.folder.0.display().to_string().replace('/', "%2F");
                format!("postgresql://postgres@{host}/{name}")
            }
            Reach { password, tls, .. } => {
                let password = password.map(|password| format!(":{password}")).unwrap_or_default();
                let mode = if tls { "?sslmode=require" } else { "" };
                format!("postgresql://postgres{password}@127.0.0.1:{}/{name}{mode}", self.port)
            }
        };
        Database { url, name }
    }

    /// The folder of its socket.
    pub(crate) fn socket(&self) -> String {
        self.folder.0.display().to_string()
    }

    /// Where it listens over TCP.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The authority that signed its certificate, where it has one.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.0.join("ca.pem")
    }

    /// Ends it at once, as a crash or an operator's mistake would: no goodbye to its clients.
    pub(crate) fn kill(&mut self) {
        for pid in self.processes() {
            signal(pid, libc::SIGKILL);
        }
        self.child.wait().expect("a killed child can be waited for");
    }

    /// Starts it again after [`Postgres::kill`], on the same data and address.
    pub(crate) fn restart(&mut self) {
        std::fs::remove_file(self.folder.0.join("data/postmaster.pid")).ok();
        self.child = Self::launch(&self.folder.0, self.reach, self.port);
        self.wait_until_it_answers();
    }

    /// Stops it from running without closing anything: connections hang.
    pub(crate) fn pause(&self) {
        for pid in self.processes() {
            signal(pid, libc::SIGSTOP);
        }
    }

    /// Lets it run again after [`Postgres::pause`].
    pub(crate) fn resume(&self) {
        for pid in self.processes() {
            signal(pid, libc::SIGCONT);
        }
    }

    /// The server and its children, which are not in its process group.
    fn processes(&self) -> Vec<u32> {
        let own = self.child.id();
        let parent_of = |pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.rsplit_once(") ")?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
        };
        let entries = std::fs::read_dir("/proc").expect("list processes").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| *pid == own || parent_of(*pid) == Some(own)).collect()
    }
}

fn psql(folder: &Path, port: u16, database: &str, sql: &str) -> Result<String, String> {
    let output = Command::new(psql_program())
        .args([
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            database,
            "-c",
            sql,
        ])
        .args(["-p", &port.to_string(), "-h"])
        .arg(folder)
        .output()
        .expect("run psql");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        for pid in self.processes() {
            signal(pid, libc::SIGKILL);
        }
        self.child.wait().ok();
    }
}

/// A database of its own.
#[derive(Debug)]
pub(crate) struct Database {
    /// How a client reaches it.
    pub(crate) url: String,
    /// Its name on its server.
    pub(crate) name: String,
}

impl Database {
    /// Runs SQL in a database of the shared cluster, as its superuser.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let shared = shared();
        shared.as_ref().expect("made by postgres()").sql(&self.name, sql)
    }
}

/// The cluster that this test binary shares. A test that failed while it held the lock has broken nothing.
fn shared() -> MutexGuard<'static, Option<Postgres>> {
    static SHARED: Mutex<Option<Postgres>> = Mutex::new(None);
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An empty database on the cluster that this test binary shares.
pub(crate) fn postgres() -> Database {
    shared().get_or_insert_with(start_shared).database()
}

/// Starts the shared cluster from a thread that lives as long as the process: the parent-death signal is tied to it.
#[expect(unsafe_code, reason = "the standard library cannot run anything at exit")]
fn start_shared() -> Postgres {
    extern "C" fn at_exit() {
        shared().take();
        std::fs::remove_dir_all(template()).ok();
    }
    // SAFETY: registers a function that takes nothing, returns nothing and does not unwind: its locks tolerate poison.
    unsafe { libc::atexit(at_exit) };
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        sender.send(Postgres::start(Reach::default())).ok();
        loop {
            std::thread::park();
        }
    });
    receiver.recv().expect("the shared PostgreSQL cluster starts")
}

/// Where PostgreSQL's server is: the folder that `CANDELA_TEST_POSTGRES_BIN` names, or the newest one found.
fn postgres_bin() -> &'static Path {
    static BIN: LazyLock<PathBuf> = LazyLock::new(|| {
        let named = std::env::var_os("CANDELA_TEST_POSTGRES_BIN").map(PathBuf::from);
        named.unwrap_or_else(|| folder_with(&["initdb", "postgres"]))
    });
    &BIN
}

/// The client beside the server, or the newest one found: it speaks to every server.
fn psql_program() -> &'static Path {
    static PSQL: LazyLock<PathBuf> = LazyLock::new(|| {
        let beside = postgres_bin().join("psql");
        if beside.exists() {
            beside
        } else {
            folder_with(&["psql"]).join("psql")
        }
    });
    &PSQL
}

/// The newest versioned folder of Debian or Red Hat that holds these programs, or one on PATH.
fn folder_with(programs: &[&str]) -> PathBuf {
    let mut versioned: Vec<PathBuf> = ["/usr/lib/postgresql", "/usr"]
        .iter()
        .flat_map(|root| std::fs::read_dir(root).into_iter().flatten().flatten())
        .map(|entry| entry.path().join("bin"))
        .collect();
    let version = |path: &PathBuf| {
        let digits: String = path.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
        digits.parse::<u32>().unwrap_or(0)
    };
    versioned.sort_by_key(|path| std::cmp::Reverse(version(path)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    versioned
        .into_iter()
        .chain(std::env::split_paths(&path))
        .find(|folder| programs.iter().all(|program| folder.join(program).exists()))
        .expect("PostgreSQL is missing: apt-get install --no-install-recommends postgresql, or run scripts/test")
}

/// The user that PostgreSQL runs as when we are root; `None` when we are not.
pub(super) fn server_user() -> Option<(u32, u32)> {
    static USER: LazyLock<Option<(u32, u32)>> = LazyLock::new(|| {
        let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let ids = |name: &str| {
            let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        };
        root.then(|| {
            ids("postgres")
                .or_else(|| ids("nobody"))
                .expect("a user postgres or nobody to run as")
        })
    });
    *USER
}

/// A command that runs as the server's user, in a folder which that user can enter.
fn as_server_user(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    if let Some((uid, gid)) = server_user() {
        command.uid(uid).gid(gid);
    }
    command
}

/// The cluster that others are copied from: `initdb` takes ten times as long as the copy.
fn template() -> &'static Path {
    static TEMPLATE: LazyLock<Folder> = LazyLock::new(|| {
        let folder = Folder::new(server_user());
        let status = as_server_user(postgres_bin().join("initdb"))
            .args([
                "-U",
                "postgres",
                "-A",
                "trust",
                "--no-sync",
                "-E",
                "UTF8",
                "--locale=C",
                "-D",
            ])
            .arg(folder.0.join("data"))
            .status()
            .expect("run initdb");
        assert!(status.success(), "initdb ended with {status}");
        folder
    });
    &TEMPLATE.0
}
