//! The errors of the ledger, and how the caller should handle them.

use crate::domain::followers::lease::Holder;
use crate::domain::model::Channel;
use std::io;
use std::path::{Path, PathBuf};

/// Why an operation of the ledger failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum LedgerError {
    #[error(
        "the ledger in {} is in use by another candela{}: stop that one, or name another folder for this one",
        folder.display(),
        by.as_ref().map(|by| format!(" ({by})")).unwrap_or_default()
    )]
    InUse { folder: PathBuf, by: Option<Holder> },
    #[error("the ledger folder {} cannot be used: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error(
        "{} has ledger format {found} and this candela knows formats up to {known}: run the newer version, or name another folder",
        file.display()
    )]
    NewerFormat { file: PathBuf, found: i64, known: i64 },
    #[error("{} is not a candela ledger: name another folder, or move that file away", file.display())]
    NotALedger { file: PathBuf },
    #[error("position {given} does not continue the ledger, which ends at {head}")]
    Hole { head: u64, given: u64 },
    #[error("number {given} does not continue channel {channel}, which ends at {head}")]
    SeqHole { channel: Channel, head: u64, given: u64 },
    #[error("the event at position {position} is not of channel {}", channel.map_or_else(|| "none".to_owned(), |c| c.to_string()))]
    Misfiled { position: u64, channel: Option<Channel> },
    #[error("position {asked} is no longer kept: the ledger begins at {first}")]
    Expired { asked: u64, first: u64 },
    #[error(
        "row {row} of table {table} in {file} is damaged: {problem}; stop candela, move {file} (with its -wal and -shm) out of the \
         folder and start again: what the store and the vendor have comes from there; or put back a copy of the folder",
        file = file.display()
    )]
    Corrupt {
        file: PathBuf,
        table: &'static str,
        row: i64,
        problem: String,
    },
    /// A parcel of another ledger does not continue this one, or cannot be parsed.
    #[error("parcel {number} cannot be appended: {problem}")]
    Parcel { number: u64, problem: String },
    #[error(
        "the ledger's file {} {what}: put the folder back as it was, and the ledger continues by itself; or restart candela, and a new \
         ledger begins, with new epochs",
        file.display()
    )]
    Gone { file: PathBuf, what: String },
    #[error("the disk that holds {} is full: make room, and the ledger continues by itself", file.display())]
    DiskFull { file: PathBuf },
    #[error("cannot {verb} {}: {source}", file.display())]
    Sqlite {
        verb: &'static str,
        file: PathBuf,
        source: rusqlite::Error,
    },
}

/// How to handle an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Keep the entries and try again: the cause is outside and may pass.
    Retry,
    /// Trying again cannot help: an operator must act.
    Fatal,
}

impl LedgerError {
    /// Its name for programs, which is the reason of the condition `ledger_unwritable`.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Gone { .. } => "folder_gone",
            Self::DiskFull { .. } => "disk_full",
            _ => "append_failed",
        }
    }

    /// How to handle it.
    pub const fn disposition(&self) -> Disposition {
        match self {
            Self::DiskFull { .. } | Self::Sqlite { .. } | Self::Folder { .. } | Self::Gone { .. } => Disposition::Retry,
            Self::InUse { .. }
            | Self::NewerFormat { .. }
            | Self::NotALedger { .. }
            | Self::Hole { .. }
            | Self::SeqHole { .. }
            | Self::Misfiled { .. }
            | Self::Expired { .. }
            | Self::Parcel { .. }
            | Self::Corrupt { .. } => Disposition::Fatal,
        }
    }

    /// Returns a function that converts SQLite's errors while doing `verb` to `file`.
    pub(super) fn of_sqlite<'p>(verb: &'static str, file: &'p Path) -> impl Fn(rusqlite::Error) -> Self + Copy + 'p {
        move |source| Self::from_sqlite(verb, file, source)
    }

    /// Converts SQLite's error while doing `verb` to `file`.
    pub(super) fn from_sqlite(verb: &'static str, file: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let file = file.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull { file },
            Some(ErrorCode::NotADatabase) => Self::NotALedger { file },
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt {
                file,
                table: "sqlite_schema",
                row: 0,
                problem: source.to_string(),
            },
            _ => Self::Sqlite { verb, file, source },
        }
    }
}
