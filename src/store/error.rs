//! The errors of a store, and how the caller should handle them. No text here ever contains a password.

use crate::domain::followers::lease::AnotherWriter;
use std::path::PathBuf;

/// Why an operation of the store failed.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum StoreError {
    /// The server or the file is missing, or went away. Whether the last transaction was committed is unknown.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    #[error("the database did not answer in time: {0}")]
    Slow(String),
    /// A deadlock, a serialization failure or a lock held by another: the same operation may succeed at once.
    #[error("the database requires the transaction to be repeated: {0}")]
    Conflict(String),
    #[error("a row was refused: {0}")]
    RowRefused(String),
    /// A refusal whose cause may be a row or the table. The row is set aside if other rows are accepted.
    #[error("the database refuses what it is given: {0}")]
    #[strum(serialize = "write_failed")]
    Refused(String),
    /// Every row of one kind is refused, so the cause is not the row.
    #[error(
        "the database refuses each {kind}, {number} in a row: {reason}; correct what refuses them (a trigger, a check, a sequence at its end), then they are written"
    )]
    #[strum(serialize = "rows_refused")]
    EveryRowRefused {
        kind: &'static str,
        number: u32,
        reason: String,
    },
    /// A row was refused, and so was the note about it.
    #[error("a row was refused and cannot be set aside in rejected_events: {0}")]
    NotSetAside(String),
    /// A pooler between us and the server keeps no session. Detected once; from then on nothing relies on a session.
    #[error("the database is reached by way of a pooler that keeps no session: {0}")]
    NoSession(String),
    /// Something between us and the server hands each statement to another connection, so that nothing can be written as a whole.
    #[error(
        "the database is reached by way of a pooler that keeps no transaction: {0}; set its pool_mode to transaction or session, or name the \
         server itself in DATABASE_URL"
    )]
    NoTransaction(String),
    #[error("the database has no room left: {0}")]
    Full(String),
    #[error(
        "the database refused the login: {0}; correct the user, the password or the database's name in DATABASE_URL"
    )]
    LoginRefused(String),
    #[error(
        "the database does not allow it: {0}; grant the user of DATABASE_URL the right, or name a server that may be written to"
    )]
    NotAllowed(String),
    #[error(
        "the tables are not as candela needs them: {0}; candela migrate --check names each difference with its remedy"
    )]
    WrongTables(String),
    /// Tables that others created and that candela would fill wrongly or not at all: each difference with its remedy.
    #[error("the tables differ from what candela relies on: {}", .0.join(" | "))]
    #[strum(serialize = "wrong_tables")]
    DifferentTables(Vec<String>),
    #[error(
        "the database has migration {found}, which this candela does not know: run the newer version, or revert with it"
    )]
    NewerSchema { found: String },
    #[error(
        "undoing {step} would delete {rows} that candela wrote, so nothing is undone: add --discard to delete them; what the ledger still has of them is written again by the next start after candela migrate"
    )]
    WouldLose { step: String, rows: String },
    #[error("the database lacks migration {missing}: run candela migrate")]
    OlderSchema { missing: String },
    /// The store lacks events that it had: it is another server, or an older copy.
    #[error("the database has the ledger's events up to position {at} only: they are written again from there")]
    Behind { at: i64 },
    /// Another candela holds the lease.
    #[error(transparent)]
    AnotherWriter(#[from] AnotherWriter),
    #[error("this candela does not have the lease of the database, so it writes nothing")]
    NoLease,
    #[error("DATABASE_URL is not usable: {0}")]
    BadUrl(String),
    #[error("the store file {} cannot be used: {problem}", file.display())]
    BadFile { file: PathBuf, problem: String },
    #[error("a stored row of table {table} is damaged: {problem}")]
    Corrupt { table: &'static str, problem: String },
    #[error("the database reports: {0}")]
    #[strum(serialize = "write_failed")]
    Other(String),
}

/// How to handle an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Repeat the operation at once, a few times.
    Again,
    /// Repeat the operation after a while.
    Later,
    /// Find the refused row, set it aside, and continue with the others.
    Isolate,
    /// Repeating cannot help: an operator must act.
    Fatal,
}

impl StoreError {
    /// An error for a value that diesel cannot read. It names the column, not the table.
    pub(super) const fn from_damage(problem: String) -> Self {
        let table = "that was asked for";
        Self::Corrupt { table, problem }
    }

    /// Its name for programs, which is the reason of the condition `store_behind`.
    pub fn reason(&self) -> &'static str {
        self.into()
    }

    /// How to handle it.
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
            | Self::NoTransaction(_)
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
