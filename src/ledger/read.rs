//! Reads the ledger from a position or a channel's number, across its files, beside the appender.

use super::error::LedgerError;
use super::files::{self, DayFile, Heads, sql_int};
use super::inputs::Inputs;
use super::renumber::{self, Ancestor};
use super::rows::Table;
use super::shared::{Hold, Shared};
use crate::domain::channel::{Channel, Topic};
use crate::domain::event::{Numbered, Position};
use crate::limits;
use chrono::NaiveDate;
use rusqlite::{Connection, Params, params};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A reading end of the ledger. Cheap to clone; each clone opens its own connections, when it first reads.
#[derive(Debug)]
pub struct LedgerReader {
    shared: Arc<Shared>,
    hold: Option<Hold>,
    open: Vec<(PathBuf, Connection)>,
}

impl Clone for LedgerReader {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.shared), self.hold.clone())
    }
}

impl LedgerReader {
    pub(super) const fn of(shared: Arc<Shared>, hold: Option<Hold>) -> Self {
        Self {
            shared,
            hold,
            open: Vec::new(),
        }
    }

    /// Reads a ledger that this process does not append to, as far as it goes now.
    ///
    /// # Errors
    /// [`LedgerError`] when the folder or one of its files cannot be read.
    pub fn open(folder: &Path) -> Result<Self, LedgerError> {
        Ok(Self::of(Arc::new(Shared::scan(folder)?), None))
    }

    /// The last position that is written.
    #[must_use]
    pub fn head(&self) -> Position {
        Position(self.shared.state().head)
    }

    /// Where each channel ends.
    #[must_use]
    pub fn heads(&self) -> Heads {
        self.shared.state().heads.clone()
    }

    /// Where each channel ended before the file of session `date`; empty when there is no such file.
    ///
    /// # Errors
    /// What keeps the file from being read.
    pub fn heads_before(&self, date: NaiveDate) -> Result<Heads, LedgerError> {
        let Some(path) = self.shared.state().files.get(&date).map(|file| file.path.clone()) else {
            return Ok(Heads::new());
        };
        files::heads_before(&files::open_to_read(&path)?, &path)
    }

    /// The name of this ledger among all ledgers: a stored position belongs to one.
    #[must_use]
    pub fn lineage(&self) -> String {
        self.shared.state().lineage.clone()
    }

    /// What this ledger was called before, earliest first.
    #[must_use]
    pub fn ancestors(&self) -> Vec<Ancestor> {
        self.shared.state().ancestors.clone()
    }

    /// The last position that was there when the ledger was opened.
    #[must_use]
    pub fn opened_at(&self) -> Position {
        Position(self.shared.state().opened)
    }

    /// Has the next start take new names: this reader has other events after `shared`, the last position that both have.
    ///
    /// # Errors
    /// [`LedgerError`] when that cannot be written down.
    pub fn renumber_at_next_start(&self, shared: Position) -> Result<(), LedgerError> {
        renumber::at_next_start(&self.shared.folder, shared.0)
    }

    /// The first position that is kept.
    #[must_use]
    pub fn first(&self) -> Position {
        let state = self.shared.state();
        Position(state.files.first_key_value().map_or(1, |(_, file)| file.first))
    }

    /// The session dates that are kept, each with the position of its first event, earliest first.
    #[must_use]
    pub fn dates(&self) -> Vec<(NaiveDate, Position)> {
        let state = self.shared.state();
        let dates = state.files.iter().map(|(date, file)| (*date, Position(file.first)));
        dates.collect()
    }

    /// Says that this reader needs nothing before `position` any more. Only a holding reader is listened to.
    pub fn done_before(&self, position: Position) {
        if let Some(hold) = &self.hold {
            hold.set(position.0);
        }
    }

    /// The events from `from` on, in order and without a hole, at most `limit` of them (and never more than
    /// [`limits::LEDGER_READ_MAX`]). Empty when there are none yet.
    ///
    /// # Errors
    /// [`LedgerError::Expired`] when retention has dropped `from`; otherwise what keeps a file from being read.
    pub fn read(&mut self, from: Position, limit: usize) -> Result<Vec<Numbered>, LedgerError> {
        let limit = limit.min(limits::LEDGER_READ_MAX);
        let from = from.0.max(1);
        let files = self.files();
        if let Some(first) = files.first().map(|file| file.first).filter(|first| from < *first) {
            return Err(LedgerError::Expired { asked: from, first });
        }
        let begin = files.iter().rposition(|file| file.first <= from).unwrap_or(0);
        let mut events = Vec::new();
        for file in files.iter().skip(begin) {
            let next = events
                .last()
                .map_or(from, |last: &Numbered| last.position.0.saturating_add(1));
            let room = limit.saturating_sub(events.len());
            if room == 0 {
                break;
            }
            if next < file.first {
                return Err(hole(&file.path, next));
            }
            events.extend(events_from(self.connection(&file.path)?, &file.path, next, room)?);
        }
        Ok(events)
    }

    /// The events of a channel with numbers in `[from_seq, to_seq]`, in order, at most `limit` of them (and never more than
    /// [`limits::LEDGER_READ_MAX`]). Those that retention dropped are not there: see [`LedgerReader::first_seq`].
    ///
    /// # Errors
    /// [`LedgerError`] when a file cannot be read.
    pub fn read_channel(
        &mut self,
        channel: Channel,
        from_seq: u64,
        to_seq: u64,
        limit: usize,
    ) -> Result<Vec<Numbered>, LedgerError> {
        let limit = limit.min(limits::LEDGER_READ_MAX);
        let mut events: Vec<Numbered> = Vec::new();
        for file in self.files() {
            let from = events.last().map_or(from_seq, |last| last.seq.saturating_add(1));
            let room = limit.saturating_sub(events.len());
            if room == 0 || from > to_seq {
                break;
            }
            let found = channel_events(self.connection(&file.path)?, &file.path, channel, (from, to_seq), room)?;
            events.extend(found);
        }
        for (one, next) in events.iter().zip(events.iter().skip(1)) {
            if one.seq.saturating_add(1) != next.seq {
                return Err(hole(&self.shared.folder, one.position.0));
            }
        }
        Ok(events)
    }

    /// The lowest number of a channel that is kept, if any.
    ///
    /// # Errors
    /// [`LedgerError`] when a file cannot be read.
    pub fn first_seq(&mut self, channel: Channel) -> Result<Option<u64>, LedgerError> {
        for file in self.files() {
            let found = channel_events(self.connection(&file.path)?, &file.path, channel, (0, u64::MAX), 1)?;
            if let Some(event) = found.first() {
                return Ok(Some(event.seq));
            }
        }
        Ok(None)
    }

    /// What was heard in the session of `date`, in order: the capture that a replay eats. Nothing when there is no such file.
    ///
    /// # Errors
    /// [`LedgerError`] when the file cannot be opened.
    pub fn inputs(&self, date: NaiveDate) -> Result<Inputs, LedgerError> {
        let file = self.shared.state().files.get(&date).cloned();
        match file {
            Some(file) => Ok(Inputs::of(files::open_to_read(&file.path)?, file.path)),
            None => Ok(Inputs::none()),
        }
    }

    fn files(&self) -> Vec<DayFile> {
        self.shared.state().files.values().cloned().collect()
    }

    /// The connection to a file, opened on first use. Those to files that are gone are closed then.
    fn connection(&mut self, path: &Path) -> Result<&Connection, LedgerError> {
        if !self.open.iter().any(|(of, _)| of == path) {
            let kept = self.files();
            self.open.retain(|(of, _)| kept.iter().any(|file| file.path == *of));
            self.open.push((path.to_owned(), files::open_to_read(path)?));
        }
        let found = self.open.iter().find(|(of, _)| of == path);
        found
            .map(|(_, db)| db)
            .ok_or_else(|| LedgerError::NotALedger { file: path.to_owned() })
    }
}

/// All three tables in one snapshot, merged by position.
fn events_from(db: &Connection, path: &Path, from: u64, limit: usize) -> Result<Vec<Numbered>, LedgerError> {
    let error = |source| LedgerError::sqlite("read", path, source);
    let snapshot = db.unchecked_transaction().map_err(error)?;
    let mut events = Vec::with_capacity(limit.min(64));
    for table in Table::ALL {
        let sql = match table {
            Table::Ticks => "SELECT * FROM ticks WHERE position >= ?1 ORDER BY position LIMIT ?2",
            Table::Bars => "SELECT * FROM bars WHERE position >= ?1 ORDER BY position LIMIT ?2",
            Table::Notes => "SELECT * FROM notes WHERE position >= ?1 ORDER BY position LIMIT ?2",
        };
        let rows = i64::try_from(limit).unwrap_or(i64::MAX);
        select(&snapshot, path, table, sql, params![sql_int(from), rows], &mut events)?;
    }
    snapshot.finish().map_err(error)?;
    events.sort_unstable_by_key(|event| event.position);
    events.truncate(limit);
    for (event, expected) in events.iter().zip(from..) {
        if event.position.0 != expected {
            return Err(hole(path, expected));
        }
    }
    Ok(events)
}

fn channel_events(
    db: &Connection,
    path: &Path,
    channel: Channel,
    (from, to): (u64, u64),
    limit: usize,
) -> Result<Vec<Numbered>, LedgerError> {
    let (from, to, rows) = (sql_int(from), sql_int(to), i64::try_from(limit).unwrap_or(i64::MAX));
    let symbol = channel.symbol.as_str();
    let mut events = Vec::new();
    match channel.topic {
        Topic::Ticks => {
            let sql = "SELECT * FROM ticks WHERE symbol = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq LIMIT ?4";
            select(
                db,
                path,
                Table::Ticks,
                sql,
                params![symbol, from, to, rows],
                &mut events,
            )?;
        }
        Topic::Bars(interval) => {
            let sql = "SELECT * FROM bars WHERE symbol = ?1 AND interval = ?2 AND seq BETWEEN ?3 AND ?4 ORDER BY seq LIMIT ?5";
            let values = params![symbol, interval.name(), from, to, rows];
            select(db, path, Table::Bars, sql, values, &mut events)?;
        }
        Topic::Quality | Topic::Session => {
            let sql = "SELECT * FROM notes WHERE channel = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq LIMIT ?4";
            let values = params![channel.to_string(), from, to, rows];
            select(db, path, Table::Notes, sql, values, &mut events)?;
        }
    }
    Ok(events)
}

fn select(
    db: &Connection,
    path: &Path,
    table: Table,
    sql: &str,
    values: impl Params,
    into: &mut Vec<Numbered>,
) -> Result<(), LedgerError> {
    let error = |source| LedgerError::sqlite("read", path, source);
    let mut statement = db.prepare_cached(sql).map_err(error)?;
    let mut rows = statement.query(values).map_err(error)?;
    while let Some(row) = rows.next().map_err(error)? {
        into.push(table.read(row).map_err(|problem| LedgerError::Corrupt {
            file: path.to_owned(),
            table: table.name(),
            row: row.get(0).unwrap_or(0),
            problem,
        })?);
    }
    Ok(())
}

fn hole(path: &Path, position: u64) -> LedgerError {
    LedgerError::Corrupt {
        file: path.to_owned(),
        table: "ticks, bars or notes",
        row: sql_int(position),
        problem: "the row is missing".to_owned(),
    }
}
