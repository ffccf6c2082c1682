//! Classifies the errors of PostgreSQL and of the connection by how to handle them: by SQLSTATE, because texts are translated.

use crate::store::error::StoreError;
use diesel::result::Error as DieselError;
use std::error::Error;
use tokio_postgres::error::SqlState;

/// The server's function that executes PL/pgSQL's `RAISE`: whatever SQLSTATE it gives, a user's function refused the row.
const RAISE: &str = "exec_stmt_raise";

/// Classifies an error of a tokio-postgres connection.
pub(super) fn sort_error(error: &tokio_postgres::Error) -> StoreError {
    let text = error_chain(error);
    let Some(said) = error.as_db_error() else {
        return StoreError::Unreachable(text);
    };
    by_state(SqlRefusal {
        state: said.code(),
        raised: said.routine() == Some(RAISE),
        inside: said.where_().is_some(),
        text,
    })
}

/// The parts of an error besides its text, on which nothing depends.
#[derive(Debug, Clone)]
struct SqlRefusal<'e> {
    state: &'e SqlState,
    /// Whether it comes from a `RAISE` in a user's function.
    raised: bool,
    /// Whether it occurred inside a function, such as a trigger's: the names in our statement may be correct.
    inside: bool,
    text: String,
}

fn by_state(said: SqlRefusal<'_>) -> StoreError {
    let text = said.text;
    if said.raised {
        return StoreError::RowRefused(text);
    }
    match *said.state {
        SqlState::LOCK_NOT_AVAILABLE | SqlState::SNAPSHOT_TOO_OLD => StoreError::Conflict(text),
        SqlState::DISK_FULL | SqlState::OUT_OF_MEMORY => StoreError::Full(text),
        SqlState::READ_ONLY_SQL_TRANSACTION => StoreError::NotAllowed(text),
        SqlState::INSUFFICIENT_PRIVILEGE if !said.inside => StoreError::NotAllowed(text),
        SqlState::INVALID_CATALOG_NAME => StoreError::LoginRefused(text),
        SqlState::INVALID_SCHEMA_NAME | SqlState::FEATURE_NOT_SUPPORTED if !said.inside => {
            StoreError::WrongTables(text)
        }
        SqlState::QUERY_CANCELED => StoreError::Slow(text),
        // A named statement does not exist, or exists already: the server that answers is not the one that prepared it.
        SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::DUPLICATE_PSTATEMENT => StoreError::NoSession(text),
        _ => match said.state.code().get(..2) {
            Some("40") => StoreError::Conflict(text),
            Some("28") => StoreError::LoginRefused(text),
            Some("09" | "21" | "22" | "23" | "27" | "2F" | "38" | "39" | "44" | "54" | "P0") => {
                StoreError::RowRefused(text)
            }
            Some("42") if !said.inside => StoreError::WrongTables(text),
            Some("08" | "25" | "3B" | "53" | "55" | "57" | "58" | "F0") => StoreError::Unreachable(text),
            _ => StoreError::Refused(text),
        },
    }
}

/// Classifies an error of a diesel connection. Our connection has classified the server's errors already; the rest are diesel's own.
pub(super) fn sort_diesel(error: &DieselError) -> StoreError {
    match error {
        DieselError::QueryBuilderError(inner) => {
            let sorted = inner.downcast_ref::<StoreError>().cloned();
            sorted.unwrap_or_else(|| StoreError::Other(error.to_string()))
        }
        DieselError::DeserializationError(_) => StoreError::from_damage(error.to_string()),
        _ => StoreError::Other(error.to_string()),
    }
}

impl From<DieselError> for StoreError {
    fn from(error: DieselError) -> Self {
        sort_diesel(&error)
    }
}

/// An error with its causes, in one line.
pub(super) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::error::Disposition;

    fn sorted(state: &str, raised: bool, inside: bool) -> StoreError {
        by_state(SqlRefusal {
            state: &SqlState::from_code(state),
            raised,
            inside,
            text: "ERROR: algo salió mal".to_owned(),
        })
    }

    #[test]
    fn what_to_do_follows_from_the_state_in_whatever_language_the_server_speaks() {
        for (state, reason, disposition) in [
            ("40001", "conflict", Disposition::Again),
            ("40P01", "conflict", Disposition::Again),
            ("55P03", "conflict", Disposition::Again),
            ("53100", "full", Disposition::Later),
            ("53200", "full", Disposition::Later),
            ("53300", "unreachable", Disposition::Later),
            ("42501", "not_allowed", Disposition::Later),
            ("25006", "not_allowed", Disposition::Later),
            ("25P03", "unreachable", Disposition::Later),
            ("28P01", "login_refused", Disposition::Later),
            ("28000", "login_refused", Disposition::Later),
            ("3D000", "login_refused", Disposition::Later),
            ("57014", "slow", Disposition::Later),
            ("57P01", "unreachable", Disposition::Later),
            ("57P03", "unreachable", Disposition::Later),
            ("58030", "unreachable", Disposition::Later),
            ("55000", "unreachable", Disposition::Later),
            ("08006", "unreachable", Disposition::Later),
            ("42P01", "wrong_tables", Disposition::Later),
            ("42703", "wrong_tables", Disposition::Later),
            ("42P10", "wrong_tables", Disposition::Later),
            ("42804", "wrong_tables", Disposition::Later),
            ("3F000", "wrong_tables", Disposition::Later),
            ("0A000", "wrong_tables", Disposition::Later),
            ("26000", "no_session", Disposition::Later),
            ("42P05", "no_session", Disposition::Later),
            ("22003", "row_refused", Disposition::Isolate),
            ("22001", "row_refused", Disposition::Isolate),
            ("22P02", "row_refused", Disposition::Isolate),
            ("23502", "row_refused", Disposition::Isolate),
            ("23503", "row_refused", Disposition::Isolate),
            ("23505", "row_refused", Disposition::Isolate),
            ("23514", "row_refused", Disposition::Isolate),
            ("23P01", "row_refused", Disposition::Isolate),
            ("44000", "row_refused", Disposition::Isolate),
            ("54000", "row_refused", Disposition::Isolate),
            ("P0001", "row_refused", Disposition::Isolate),
            ("P0004", "row_refused", Disposition::Isolate),
            ("ZX042", "write_failed", Disposition::Isolate),
            ("XX000", "write_failed", Disposition::Isolate),
        ] {
            let error = sorted(state, false, false);
            assert_eq!((error.reason(), error.disposition()), (reason, disposition), "{state}");
        }
    }

    #[test]
    fn what_somebodys_function_raises_is_about_the_row_whatever_state_it_gives() {
        for state in ["P0001", "42501", "42P01", "53100", "57014", "40001", "ZX042"] {
            assert!(
                matches!(sorted(state, true, true), StoreError::RowRefused(_)),
                "{state}"
            );
        }
        for state in ["42P01", "42501", "42703", "0A000"] {
            assert!(
                matches!(sorted(state, false, true), StoreError::Refused(_)),
                "{state}: a trigger's own mistake may concern some rows only"
            );
        }
    }
}
