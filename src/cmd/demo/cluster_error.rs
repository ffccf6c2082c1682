//! Why the demo's cluster cannot run.

use crate::exit::Exit;
use crate::store::StoreError;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// See the module.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum ClusterDemoError {
    #[error("{}", missing_sentence(*.postgres, *.redis, .named.as_ref()))]
    Missing {
        postgres: bool,
        redis: bool,
        named: Option<PathBuf>,
    },
    /// PostgreSQL does not run as root, and nobody else is there.
    #[error(
        "PostgreSQL does not run as root, and this machine has no user postgres or nobody: run the demo as another user"
    )]
    NoUser,
    #[error("cannot make the folder {}: {error}; set TMPDIR to a folder that can be written to", folder.display())]
    Folder { folder: PathBuf, error: io::Error },
    #[error("cannot start {name}: {error}")]
    Start { name: &'static str, error: io::Error },
    #[error("{name} ended with {status}; the last that it wrote: {said}")]
    Ended {
        name: &'static str,
        status: ExitStatus,
        said: String,
    },
    #[error("{name} does not answer in time: is this machine very busy?")]
    Late { name: &'static str },
    /// The database cannot be prepared.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot store the history of the days before: {0}")]
    History(#[from] tokio_postgres::Error),
}

impl ClusterDemoError {
    /// The exit code.
    pub const fn exit_code(&self) -> Exit {
        match self {
            Self::Missing { .. } => Exit::Unavailable,
            Self::Late { .. } => Exit::TryAgain,
            Self::NoUser
            | Self::Folder { .. }
            | Self::Start { .. }
            | Self::Ended { .. }
            | Self::Store(_)
            | Self::History(_) => Exit::Resource,
        }
    }
}

fn missing_sentence(postgres: bool, redis: bool, named: Option<&PathBuf>) -> String {
    let mut missing = Vec::new();
    let mut packages = Vec::new();
    if postgres {
        missing.push(match named {
            Some(folder) => format!(
                "PostgreSQL (initdb, postgres and pg_ctl are not in {})",
                folder.display()
            ),
            None => "PostgreSQL (initdb, postgres and pg_ctl are neither in /usr/lib/postgresql/*/bin nor on PATH)"
                .to_owned(),
        });
        packages.push("postgresql");
    }
    if redis {
        missing.push("Redis (neither redis-server nor valkey-server is on PATH)".to_owned());
        packages.push("redis-server");
    }
    let elsewhere = if postgres {
        "; --postgres-bin DIR names another folder of PostgreSQL's programs"
    } else {
        ""
    };
    format!(
        "the demo of a cluster starts servers of its own, and this machine lacks {}: install them (on Debian and Ubuntu: apt-get install {}){elsewhere}",
        missing.join(" and "),
        packages.join(" ")
    )
}
