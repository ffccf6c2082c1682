//! Today's use of each API key, stored so that it survives a restart.
//!
//! A separate file beside the day files, because the key pool writes it, not the ledger's writing end.

use crate::domain::model::Timestamp;
use crate::domain::vendor::{KeySlot, KeyUse};
use chrono::NaiveDate;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS key_use (day TEXT NOT NULL, key_group INTEGER NOT NULL, key_number INTEGER NOT NULL,
    calls INTEGER NOT NULL, minute INTEGER NOT NULL, last_us INTEGER NOT NULL,
    PRIMARY KEY (day, key_group, key_number)) WITHOUT ROWID;
";

/// The record of key use cannot be read or written; a restart would forget today's use.
#[derive(Debug, thiserror::Error)]
#[error("the book of key use (keys.db beside the ledger) cannot be used: {0}")]
pub struct KeyUseError(#[from] rusqlite::Error);

/// The record of key use. Clones share it.
#[derive(Debug, Clone)]
pub struct KeyUseBook(Arc<Mutex<Connection>>);

impl KeyUseBook {
    /// Opens or creates `keys.db` in the ledger's folder.
    ///
    /// # Errors
    /// [`KeyUseError`] when the file cannot be opened or is not a database.
    pub fn open(folder: &Path) -> Result<Self, KeyUseError> {
        Self::with_tables(Connection::open(folder.join("keys.db"))?)
    }

    /// A record in memory, for the life of the process.
    ///
    /// # Errors
    /// [`KeyUseError`] when memory is exhausted.
    pub fn in_memory() -> Result<Self, KeyUseError> {
        Self::with_tables(Connection::open_in_memory()?)
    }

    fn with_tables(db: Connection) -> Result<Self, KeyUseError> {
        db.busy_timeout(Duration::from_secs(2))?;
        // WAL: `candela keys` reads while the service writes. A power cut may lose the entry of the day's last call.
        db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).optional()?;
        db.execute_batch("PRAGMA synchronous = NORMAL;")?;
        db.execute_batch(SCHEMA)?;
        Ok(Self(Arc::new(Mutex::new(db))))
    }

    /// The use of each key on its newest day.
    ///
    /// # Errors
    /// [`KeyUseError`] when the record cannot be read.
    pub fn newest_uses(&self) -> Result<Vec<KeyUse>, KeyUseError> {
        let db = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut query = db.prepare_cached(
            "SELECT max(day), key_group, key_number, calls, minute, last_us FROM key_use GROUP BY key_group, key_number",
        )?;
        let used = query.query_map([], |row| {
            Ok(KeyUse {
                day: row.get::<_, String>(0)?.parse::<NaiveDate>().unwrap_or_default(),
                slot: KeySlot {
                    group: row.get(1)?,
                    number: row.get(2)?,
                },
                calls: row.get(3)?,
                minute: row.get(4)?,
                last_at: Timestamp::from_micros(row.get(5)?),
            })
        })?;
        Ok(used.collect::<Result<_, _>>()?)
    }

    /// Stores another process's record of a key, if it counts more than the known one.
    ///
    /// # Errors
    /// [`KeyUseError`] when the record cannot be read or written.
    pub fn save_more(&self, used: &KeyUse) -> Result<(), KeyUseError> {
        let known = self.newest_uses()?.into_iter().find(|known| known.slot == used.slot);
        if known.is_some_and(|known| (known.day, known.calls) >= (used.day, used.calls)) {
            return Ok(());
        }
        self.save_use(used)
    }

    /// Stores a key's use of its day.
    ///
    /// # Errors
    /// [`KeyUseError`] when the record cannot be written.
    pub fn save_use(&self, used: &KeyUse) -> Result<(), KeyUseError> {
        let db = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut upsert = db.prepare_cached("INSERT OR REPLACE INTO key_use VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        upsert.execute(params![
            used.day.to_string(),
            used.slot.group,
            used.slot.number,
            used.calls,
            used.minute,
            used.last_at.micros()
        ])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_day_has_cost_is_read_back_by_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let slot = KeySlot { group: 1, number: 3 };
        let entry = |day: &str, calls| KeyUse {
            day: day.parse().unwrap(),
            slot,
            calls,
            minute: 2,
            last_at: Timestamp::from_secs(1_772_452_800),
        };
        {
            let book = KeyUseBook::open(folder.path()).unwrap();
            assert_eq!(book.newest_uses().unwrap(), []);
            for calls in 1..=5 {
                book.save_use(&entry("2026-03-02", calls)).unwrap();
            }
            book.save_use(&entry("2026-03-01", 99)).unwrap();
        }
        let again = KeyUseBook::open(folder.path()).unwrap();
        assert_eq!(again.newest_uses().unwrap(), [entry("2026-03-02", 5)]);
    }

    #[test]
    fn a_book_in_memory_forgets_nothing_while_it_lasts() {
        assert_eq!(KeyUseBook::in_memory().unwrap().newest_uses().unwrap(), []);
    }
}
