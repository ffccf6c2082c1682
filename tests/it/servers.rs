//! Throwaway PostgreSQL and Redis servers, started from the binaries installed here, gone with the test.
//!
//! ```text
//! postgres()            a database of its own on the one cluster that this test binary shares
//! Postgres::start(how)  a cluster of its own: to kill, restart, pause, or to reach over TCP with a password
//! redis()               a redis-server of its own: an empty one costs 20 ms
//! ```
//! PostgreSQL refuses to run as root, so root's clusters run as `postgres` or `nobody`. Each listens on a socket in its own
//! folder, and on TCP only if asked. Without the binaries these fail with the one line that says what to install.

mod pgbouncer;
mod postgres;
mod redis;
mod relay;

pub(crate) use pgbouncer::PgBouncer;
pub(crate) use postgres::{Database, Postgres, postgres};
pub(crate) use redis::{Redis, redis};
pub(crate) use relay::{Manner, Relay};

use std::fs::Permissions;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a cluster of one's own is to be reached.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reach {
    /// Over TCP on loopback instead of the socket.
    pub(crate) tcp: bool,
    /// With this password, over TCP.
    pub(crate) password: Option<&'static str>,
    /// With TLS, over TCP, under a certificate of the folder's own authority.
    pub(crate) tls: bool,
}

/// A number that no other use in this process gets.
fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind any port");
    listener.local_addr().expect("a bound listener has an address").port()
}

/// A folder that is removed when dropped. Those of runs that were killed are swept by the next run.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    /// Under `/tmp`, because a socket's path may have 107 bytes at the most, and because its user must be able to get there.
    fn new(owner: Option<(u32, u32)>) -> Self {
        static SWEPT: OnceLock<()> = OnceLock::new();
        SWEPT.get_or_init(sweep);
        let path = PathBuf::from(format!("/tmp/candela-it-{}-{}", std::process::id(), unique()));
        std::fs::create_dir(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        std::fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("close the folder to others");
        if let Some((uid, gid)) = owner {
            chown(&path, Some(uid), Some(gid)).expect("root may give a folder away");
        }
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Removes the folders of runs whose process is gone.
fn sweep() {
    for entry in std::fs::read_dir("/tmp").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix("candela-it-")?.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
}
