//! What PostgreSQL and the way to it say, sorted by what to do about it. By SQLSTATE wherever there is one: texts are translated.

use crate::store::error::StoreError;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use std::error::Error;
use tokio_postgres::error::SqlState;

/// From the connection that writes.
pub(super) fn sort(error: &tokio_postgres::Error) -> StoreError {
    let text = chain(error);
    match error.code() {
        Some(code) => by_state(code, text),
        None => StoreError::Unreachable(text),
    }
}

fn by_state(code: &SqlState, text: String) -> StoreError {
    match *code {
        SqlState::T_R_DEADLOCK_DETECTED | SqlState::T_R_SERIALIZATION_FAILURE | SqlState::LOCK_NOT_AVAILABLE => {
            StoreError::Conflict(text)
        }
        SqlState::DISK_FULL | SqlState::OUT_OF_MEMORY => StoreError::Full(text),
        SqlState::INSUFFICIENT_PRIVILEGE | SqlState::READ_ONLY_SQL_TRANSACTION => StoreError::NotAllowed(text),
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION | SqlState::INVALID_CATALOG_NAME => {
            StoreError::LoginRefused(text)
        }
        SqlState::QUERY_CANCELED => StoreError::Slow(text),
        _ => match code.code().get(..2) {
            Some("22" | "23") => StoreError::RowRefused(text),
            Some("42") => StoreError::WrongTables(text),
            Some("08" | "53" | "55" | "57" | "58") => StoreError::Unreachable(text),
            _ => StoreError::Other(text),
        },
    }
}

/// From a reader's connection, where diesel keeps the state to itself but for a few kinds.
pub(super) fn sort_diesel(error: &DieselError) -> StoreError {
    let text = error.to_string();
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => StoreError::Conflict(text),
        DieselError::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, _) => StoreError::NotAllowed(text),
        DieselError::DatabaseError(DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection, _) => {
            StoreError::Unreachable(text)
        }
        DieselError::DatabaseError(_, _) if text.contains("permission denied") => StoreError::NotAllowed(text),
        DieselError::DatabaseError(_, _) if text.contains("does not exist") => StoreError::WrongTables(text),
        _ => StoreError::Other(text),
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
