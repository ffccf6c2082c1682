//! The check sum of a day file's names: the ledger's own and those it had, its first position, and each channel's epoch and beginning.
//! A byte that flips in one of them would be the name of another ledger, or connect what does not connect.

use super::error::LedgerError;
use super::rows;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::Path;

/// Writes it down. Called in each transaction that changes a name.
pub(super) fn seal(db: &Connection) -> rusqlite::Result<()> {
    let sum = sum_of_names(db)?;
    db.execute("INSERT OR REPLACE INTO meta VALUES ('names_sum', ?1)", params![sum])
        .map(drop)
}

/// Compares it with the names; files of format 1 have none.
pub(super) fn check(db: &Connection, path: &Path) -> Result<(), LedgerError> {
    let error = LedgerError::of_sqlite("read the names of", path);
    let stored: Option<u32> = db
        .query_row("SELECT value FROM meta WHERE key = 'names_sum'", [], |row| row.get(0))
        .optional()
        .map_err(error)?;
    let Some(stored) = stored else { return Ok(()) };
    if stored == sum_of_names(db).map_err(error)? {
        return Ok(());
    }
    Err(LedgerError::Corrupt {
        file: path.to_owned(),
        table: "meta or heads",
        row: 0,
        problem: "the check sum of its names is another: a byte of them is not what was written".to_owned(),
    })
}

fn sum_of_names(db: &Connection) -> rusqlite::Result<u32> {
    let meta = "SELECT key, value FROM meta WHERE key IN ('ancestors', 'first_position', 'lineage') ORDER BY key";
    let mut sum = 0_u32;
    for (sql, columns) in [(meta, 2), ("SELECT channel, epoch, seq FROM heads ORDER BY channel", 3)] {
        let mut statement = db.prepare_cached(sql)?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            sum = sum.rotate_left(7) ^ rows::sum_of_row(row, columns)?;
        }
    }
    Ok(sum)
}
