//! Reads the captured inputs of one session, a page at a time.

use super::error::LedgerError;
use super::rows;
use crate::domain::model::Input;
use crate::limits;
use rusqlite::{Connection, params};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// All inputs of one session, in order.
#[derive(Debug)]
pub struct Inputs {
    source: Option<(Connection, PathBuf)>,
    page: VecDeque<Input>,
    last_id: i64,
}

impl Inputs {
    pub(super) const fn of_file(db: Connection, path: PathBuf) -> Self {
        Self {
            source: Some((db, path)),
            page: VecDeque::new(),
            last_id: 0,
        }
    }

    pub(super) const fn empty() -> Self {
        Self {
            source: None,
            page: VecDeque::new(),
            last_id: 0,
        }
    }

    fn read_batch(&mut self) -> Result<(), LedgerError> {
        let Some((db, path)) = &self.source else { return Ok(()) };
        self.page = read(db, path, &mut self.last_id)?;
        Ok(())
    }
}

impl Iterator for Inputs {
    type Item = Result<Input, LedgerError>;

    /// After an error the iterator ends.
    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && let Err(error) = self.read_batch()
        {
            self.source = None;
            return Some(Err(error));
        }
        self.page.pop_front().map(Ok)
    }
}

fn read(db: &Connection, path: &Path, last_id: &mut i64) -> Result<VecDeque<Input>, LedgerError> {
    let error = LedgerError::of_sqlite("read inputs of", path);
    let mut statement = db
        .prepare_cached("SELECT * FROM inputs WHERE id > ?1 ORDER BY id LIMIT ?2")
        .map_err(error)?;
    let size = i64::try_from(limits::LEDGER_READ_MAX).unwrap_or(i64::MAX);
    let mut found = statement.query(params![*last_id, size]).map_err(error)?;
    let mut page = VecDeque::new();
    while let Some(row) = found.next().map_err(error)? {
        let id = row.get(0).map_err(error)?;
        let read = rows::check_sum(row, rows::INPUT_COLUMNS).and_then(|()| rows::input_from_row(row));
        let heard = read.map_err(|problem| LedgerError::Corrupt {
            file: path.to_owned(),
            table: "inputs",
            row: id,
            problem,
        })?;
        page.push_back(heard);
        *last_id = id;
    }
    Ok(page)
}
