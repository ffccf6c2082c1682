//! PgBouncer in front of a cluster: each transaction, or statement, may get another connection to the server.

use super::postgres::server_user;
use super::{Folder, free_port};
use crate::child::{signal, spawn, wait_until};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// A pooler with fewer connections than it has clients.
#[derive(Debug)]
pub(crate) struct PgBouncer {
    child: Child,
    folder: Folder,
    port: u16,
}

impl PgBouncer {
    /// In front of the cluster whose socket is in this folder.
    pub(crate) fn before(socket: &str) -> Self {
        Self::with_mode(socket, "transaction")
    }

    /// The same with this `pool_mode`.
    pub(crate) fn with_mode(socket: &str, mode: &str) -> Self {
        let folder = Folder::new(server_user());
        let port = free_port();
        let path = folder.0.display();
        let settings = format!(
            "[databases]\n* = host={socket} port=5432 user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\ndefault_pool_size = 4\nmax_client_conn = 100\n\
             logfile = {path}/log\npidfile = {path}/pid\n"
        );
        let file = folder.0.join("pgbouncer.ini");
        std::fs::write(&file, settings).expect("write pgbouncer.ini");
        let mut command = Command::new("/usr/sbin/pgbouncer");
        command.arg("--quiet").arg(&file);
        if let Some((uid, gid)) = server_user() {
            command.uid(uid).gid(gid);
        }
        let child = spawn(&mut command, libc::SIGKILL);
        wait_until("PgBouncer to answer", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        });
        Self { child, folder, port }
    }

    /// How a client reaches a database by way of it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.0.join("log")).unwrap_or_default()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        signal(self.child.id(), libc::SIGKILL);
        self.child.wait().ok();
    }
}
