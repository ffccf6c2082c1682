//! The PostgreSQL and the Redis of the demo's cluster: found on this machine, started in the demo's folder, and stopped with the demo. Both
//! listen on a socket in that folder and nowhere else.

use super::cluster_error::ClusterDemoError;
use super::program::{Program, wait_for};
use crate::clock::Stopwatch;
use crate::store::Postgres;
use secrecy::SecretString;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where distributions keep PostgreSQL's programs: a folder for each version, off PATH.
const VERSIONED: [&str; 2] = ["/usr/lib/postgresql", "/usr"];

/// The programs of both servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundPrograms {
    /// The folder of `initdb`, `postgres` and `pg_ctl`.
    pub(super) postgres: PathBuf,
    /// `redis-server` or `valkey-server`.
    pub(super) redis: PathBuf,
}

impl FoundPrograms {
    /// Looks in the folder that was named, in the usual folders, and on PATH.
    ///
    /// # Errors
    /// [`ClusterDemoError::Missing`] with everything that is not there.
    pub(super) fn find(named: Option<&Path>, path: Option<&OsStr>) -> Result<Self, ClusterDemoError> {
        let on_path: Vec<PathBuf> = path.map(std::env::split_paths).into_iter().flatten().collect();
        let mut folders = match named {
            Some(named) => vec![named.to_owned()],
            None => versioned_folders(),
        };
        if named.is_none() {
            folders.extend(on_path.iter().cloned());
        }
        let postgres = folders.into_iter().find(|folder| has_postgres(folder));
        let redis = on_path
            .iter()
            .flat_map(|folder| ["redis-server", "valkey-server"].map(|name| folder.join(name)))
            .find(|program| program.is_file());
        match (postgres, redis) {
            (Some(postgres), Some(redis)) => Ok(Self { postgres, redis }),
            (postgres, redis) => Err(ClusterDemoError::Missing {
                postgres: postgres.is_none(),
                redis: redis.is_none(),
                named: named.map(Path::to_owned),
            }),
        }
    }
}

fn has_postgres(folder: &Path) -> bool {
    let mut programs = ["initdb", "postgres", "pg_ctl"].iter();
    programs.all(|program| folder.join(program).is_file())
}

/// `/usr/lib/postgresql/17/bin`, `/usr/pgsql-17/bin`: the newest version first.
fn versioned_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = VERSIONED
        .iter()
        .flat_map(|root| fs::read_dir(root).into_iter().flatten().flatten())
        .map(|entry| entry.path().join("bin"))
        .collect();
    folders.sort_by_key(|folder| std::cmp::Reverse(version_of(folder)));
    folders
}

/// The major version that a folder's path names.
fn version_of(folder: &Path) -> u32 {
    let path = folder.to_string_lossy();
    let from = path.trim_start_matches(|c: char| !c.is_ascii_digit());
    let version = from.split(|c: char| !c.is_ascii_digit()).next();
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// Both servers, running.
#[derive(Debug)]
pub(super) struct Servers {
    postgres: PostgresServer,
    redis: Program,
    folder: PathBuf,
}

impl Servers {
    /// Starts both in `folder`; returns when both answer.
    ///
    /// # Errors
    /// [`ClusterDemoError`] with what a server said.
    pub(super) async fn start(found: &FoundPrograms, folder: &Path) -> Result<Self, ClusterDemoError> {
        let redis = start_redis(&found.redis, folder)?;
        let postgres = PostgresServer::start(&found.postgres, &folder.join("postgres")).await?;
        let mut servers = Self {
            postgres,
            redis,
            folder: folder.to_owned(),
        };
        servers.answer().await?;
        Ok(servers)
    }

    async fn answer(&mut self) -> Result<(), ClusterDemoError> {
        let began = Stopwatch::start();
        let database = Postgres::new(&self.database_url(), 1)?;
        while database.lease_holder().await.is_err() {
            self.postgres.server.check_running()?;
            wait_for(&began, "PostgreSQL")?.await;
        }
        while UnixStream::connect(self.folder.join("redis/r.sock")).is_err() {
            self.redis.check_running()?;
            wait_for(&began, "Redis")?.await;
        }
        Ok(())
    }

    /// How nodes reach PostgreSQL.
    pub(super) fn database_url(&self) -> SecretString {
        let host = self.folder.join("postgres").display().to_string().replace('/', "%2F");
        format!("postgresql://postgres@{host}/postgres").into()
    }

    /// How nodes reach Redis.
    pub(super) fn redis_url(&self) -> SecretString {
        format!("redis+unix://{}/redis/r.sock", self.folder.display()).into()
    }

    /// Whether both run still.
    ///
    /// # Errors
    /// [`ClusterDemoError::Ended`] with what the server said last.
    pub(super) fn check_running(&mut self) -> Result<(), ClusterDemoError> {
        self.postgres.server.check_running()?;
        self.redis.check_running()
    }
}

fn start_redis(program: &Path, folder: &Path) -> Result<Program, ClusterDemoError> {
    let own = folder.join("redis");
    make_folder(&own, None)?;
    let mut command = Command::new(program);
    command
        .current_dir(&own)
        .args(["--port", "0", "--unixsocket", "r.sock"]);
    command.args(["--unixsocketperm", "700", "--save", "", "--appendonly", "no"]);
    Program::start("Redis", &mut command, &folder.join("logs/redis.log"))
}

/// PostgreSQL refuses to run as root, so root's server runs as `postgres` or `nobody`.
#[derive(Debug)]
struct PostgresServer {
    server: Program,
    bin: PathBuf,
    data: PathBuf,
    user: Option<(u32, u32)>,
}

impl PostgresServer {
    async fn start(bin: &Path, folder: &Path) -> Result<Self, ClusterDemoError> {
        let user = server_user()?;
        make_folder(folder, user)?;
        let logs = folder.parent().unwrap_or(folder).join("logs");
        let data = folder.join("data");
        let mut initdb = run_as(user, &bin.join("initdb"));
        initdb.args("-U postgres -A trust --no-sync -E UTF8 --locale=C -D".split(' '));
        Program::start("initdb", initdb.arg(&data), &logs.join("initdb.log"))?
            .succeeds()
            .await?;
        let mut postgres = run_as(user, &bin.join("postgres"));
        postgres.arg("-D").arg(&data).arg("-k").arg(folder);
        // Its data is thrown away: it need not survive a loss of power.
        for setting in [
            "listen_addresses=",
            "fsync=off",
            "full_page_writes=off",
            "shared_buffers=32MB",
        ] {
            postgres.args(["-c", setting]);
        }
        Ok(Self {
            server: Program::start("PostgreSQL", &mut postgres, &logs.join("postgres.log"))?,
            bin: bin.to_owned(),
            data,
            user,
        })
    }
}

/// A server that is killed leaves shared memory behind, so it is told to stop first.
impl Drop for PostgresServer {
    fn drop(&mut self) {
        let mut stop = run_as(self.user, &self.bin.join("pg_ctl"));
        stop.args(["stop", "-s", "-w", "-t", "5", "-m", "immediate", "-D"])
            .arg(&self.data);
        stop.stderr(Stdio::null());
        drop(stop.status()); // where that fails, it is killed
    }
}

/// A command of the server's user, in a folder that this user may enter.
fn run_as(user: Option<(u32, u32)>, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").stdin(Stdio::null());
    command.stdout(Stdio::null()).process_group(0);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

/// The user that PostgreSQL runs as when this process is root's; `None` when it is not.
fn server_user() -> Result<Option<(u32, u32)>, ClusterDemoError> {
    if !fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = ["postgres", "nobody"].iter().find_map(|name| ids_of(&users, name));
    found.map(Some).ok_or(ClusterDemoError::NoUser)
}

fn ids_of(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn make_folder(folder: &Path, owner: Option<(u32, u32)>) -> Result<(), ClusterDemoError> {
    let made = fs::create_dir(folder)
        .and_then(|()| fs::set_permissions(folder, Permissions::from_mode(0o700)))
        .and_then(|()| match owner {
            Some((uid, gid)) => chown(folder, Some(uid), Some(gid)),
            None => Ok(()),
        });
    made.map_err(|error| ClusterDemoError::Folder {
        folder: folder.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with empty programs.
    fn folder_of(programs: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for program in programs {
            fs::write(folder.path().join(program), "").unwrap();
        }
        folder
    }

    #[test]
    fn servers_are_found_in_the_named_folder_and_on_path_and_what_is_missing_is_named() {
        let postgres = folder_of(&["initdb", "postgres", "pg_ctl"]);
        let redis = folder_of(&["valkey-server"]);
        let empty = folder_of(&[]);
        let find = |named: &tempfile::TempDir, path: &tempfile::TempDir| {
            FoundPrograms::find(Some(named.path()), Some(path.path().as_os_str()))
        };
        let found = find(&postgres, &redis).unwrap();
        assert_eq!(found.redis, redis.path().join("valkey-server"));
        let said = find(&empty, &redis).unwrap_err().to_string();
        assert!(said.contains("PostgreSQL") && !said.contains("Redis"), "{said}");
        let said = find(&postgres, &empty).unwrap_err().to_string();
        assert!(!said.contains("PostgreSQL") && said.contains("redis-server"), "{said}");
        let said = find(&empty, &empty).unwrap_err().to_string();
        assert!(said.contains("PostgreSQL") && said.contains("Redis"), "{said}");
    }

    #[test]
    fn newer_versions_come_first() {
        let versions = [
            "/usr/lib/postgresql/9.6/bin",
            "/usr/lib/postgresql/17/bin",
            "/usr/local/bin",
        ];
        let versions = versions.map(|folder| version_of(Path::new(folder)));
        assert_eq!(versions, [9, 17, 0]);
    }

    #[test]
    fn a_user_has_the_ids_of_his_line() {
        let users = "root:x:0:0::/root:/bin/sh\npostgres:x:104:107::/var/lib/postgresql:/bin/bash\n";
        assert_eq!(ids_of(users, "postgres"), Some((104, 107)));
        assert_eq!(ids_of(users, "nobody"), None);
    }
}
