//! What can go wrong with a store, and what the caller should do about it. No text here ever holds a password.

use crate::domain::followers::lease::AnotherWriter;
use std::path::PathBuf;

/// Why the store could not do what it was asked.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The server or the file is not there, or went away. Whether the last transaction was committed is not known.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// It answered too late.
    #[error("the database did not answer in time: {0}")]
    Slow(String),
    /// A deadlock, a serialization failure or a lock that another holds: the same again may succeed at once.
    #[error("the database asked for the transaction to be repeated: {0}")]
    Conflict(String),
    /// A row that the tables refuse.
    #[error("a row was refused: {0}")]
    RowRefused(String),
    /// A refusal whose reason may be a row's or the table's: rows that others outlive are set aside.
    #[error("the database refuses what it is given: {0}")]
    #[strum(serialize = "write_failed")]
    Refused(String),
    /// One kind of row is refused again and again, and none is accepted: then it is not the row.
    #[error(
        "the database refuses each {kind}, {number} in a row: {reason}; mend what refuses them (a trigger, a check, a sequence at its end), \
         then they are written"
    )]
    #[strum(serialize = "rows_refused")]
    EveryRowRefused {
        /// What is refused.
        kind: &'static str,
        /// How many were, one after the other.
        number: u32,
        /// Why the last one was.
        reason: String,
    },
    /// A row was refused, and so is the note of it.
    #[error("a row was refused and cannot be set aside in rejected_events: {0}")]
    NotSetAside(String),
    /// Something between us and the server keeps no session for us. Noticed once, then done without.
    #[error("the database is reached by way of a pooler that keeps no session: {0}")]
    NoSession(String),
    /// The disk of the database is full.
    #[error("the database has no room left: {0}")]
    Full(String),
    /// User or password.
    #[error(
        "the database refused the login: {0}; correct the user, the password or the database's name in DATABASE_URL"
    )]
    LoginRefused(String),
    /// A right is missing, or the server only reads.
    #[error(
        "the database does not allow it: {0}; grant the user of DATABASE_URL the right, or name a server that may be written to"
    )]
    NotAllowed(String),
    /// A table or column is missing, or of another type than ours.
    #[error(
        "the tables are not as candela needs them: {0}; candela migrate --check names each difference with its remedy"
    )]
    WrongTables(String),
    /// Tables that others made, and that candela would fill wrongly or not at all: each difference with its remedy.
    #[error("the tables differ from what candela relies on: {}", .0.join(" | "))]
    #[strum(serialize = "wrong_tables")]
    DifferentTables(Vec<String>),
    /// Made by a version that is ahead of this one.
    #[error(
        "the database has migration {found}, which this candela does not know: run the newer version, or revert with it"
    )]
    NewerSchema {
        /// The first migration that is not known.
        found: String,
    },
    /// A step that was to be undone holds rows.
    #[error(
        "undoing {step} would delete {rows} that candela wrote, so nothing is undone: add --discard to delete them; what the ledger still has of them is written again by the next start after candela migrate"
    )]
    WouldLose {
        /// The step.
        step: String,
        /// How many rows of which kinds.
        rows: String,
    },
    /// Migrations have to run first.
    #[error("the database lacks migration {missing}: run candela migrate")]
    OlderSchema {
        /// The first migration that is missing.
        missing: String,
    },
    /// It lacks events before those that it was given: it is not the one that had them, or no longer as it was.
    #[error("the database has the ledger's events up to position {at} only: they are written again from there")]
    Behind {
        /// Where it stands.
        at: i64,
    },
    /// Another candela has the right to write.
    #[error(transparent)]
    AnotherWriter(#[from] AnotherWriter),
    /// This one does not have the right to write now.
    #[error("this candela does not have the lease of the database, so it writes nothing")]
    NoLease,
    /// The setting names no database.
    #[error("DATABASE_URL is not usable: {0}")]
    BadUrl(String),
    /// The file of the embedded store.
    #[error("the store file {} cannot be used: {problem}", file.display())]
    BadFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A stored row that does not read back.
    #[error("a stored row of table {table} is damaged: {problem}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Anything else that the database says.
    #[error("the database says: {0}")]
    #[strum(serialize = "write_failed")]
    Other(String),
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Do the same again at once, a few times.
    Again,
    /// Do the same again after a while.
    Later,
    /// Find the row that is refused, set it aside, go on with the others.
    Isolate,
    /// Trying again cannot help: a person must act.
    Fatal,
}

impl StoreError {
    /// A value that diesel cannot read; it says which column, not of which table.
    pub(super) const fn from_damage(problem: String) -> Self {
        let table = "that was asked for";
        Self::Corrupt { table, problem }
    }

    /// Its name, for programs: the reason of the condition `store_behind`.
    pub fn reason(&self) -> &'static str {
        self.into()
    }

    /// What to do about it.
    pub const fn disposition(&self) -> Disposition {
        match self {
            Self::Conflict(_) => Disposition::Again,
            Self::RowRefused(_) | Self::Refused(_) => Disposition::Isolate,
            Self::NewerSchema { .. }
            | Self::OlderSchema { .. }
            | Self::WouldLose { .. }
            | Self::BadUrl(_)
            | Self::BadFile { .. } => Disposition::Fatal,
            Self::Unreachable(_)
            | Self::Slow(_)
            | Self::EveryRowRefused { .. }
            | Self::NotSetAside(_)
            | Self::NoSession(_)
            | Self::Full(_)
            | Self::LoginRefused(_)
            | Self::NotAllowed(_)
            | Self::WrongTables(_)
            | Self::DifferentTables(_)
            | Self::Behind { .. }
            | Self::AnotherWriter(_)
            | Self::NoLease
            | Self::Corrupt { .. }
            | Self::Other(_) => Disposition::Later,
        }
    }
}
