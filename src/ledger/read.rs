//! Reads the ledger from a position or from a channel's seq, across its files, concurrently with the writer.

use super::error::LedgerError;
use super::files::{self, DayFile, Heads, sql_int};
use super::inputs::Inputs;
use super::parcels::{self, ParcelEnds};
use super::renumber::{self, Ancestor};
use super::rows::{self, Table};
use super::shared::{Hold, Shared};
use crate::domain::cluster::{Parcel, ParcelHash};
use crate::domain::model::{
    Channel, JournalPlace, JournalQuery, PlacedEntry, Position, Sequenced, ServiceEvent, Symbol, Timestamp, Topic,
};
use crate::limits;
use chrono::NaiveDate;
use rusqlite::{Connection, Params, params};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The reading end of the ledger. Cheap to clone; each clone opens its own connections when it first reads.
#[derive(Debug)]
pub struct LedgerReader {
    shared: Arc<Shared>,
    hold: Option<Hold>,
    open: Vec<(PathBuf, Connection)>,
    /// Whether it also returns events that may not be published yet.
    whole: bool,
}

impl Clone for LedgerReader {
    fn clone(&self) -> Self {
        Self {
            whole: self.whole,
            ..Self::with_hold(Arc::clone(&self.shared), self.hold.clone())
        }
    }
}

impl LedgerReader {
    pub(super) const fn with_hold(shared: Arc<Shared>, hold: Option<Hold>) -> Self {
        Self {
            shared,
            hold,
            open: Vec::new(),
            whole: false,
        }
    }

    /// A reader that also returns events that may not be published yet, for actors that decide or publish.
    #[must_use]
    pub fn whole(&self) -> Self {
        Self {
            whole: true,
            ..self.clone()
        }
    }

    /// Limits readers to this position until [`LedgerReader::raise_told`] raises the limit.
    pub fn bound_told(&self, position: Position) {
        self.shared.bound_told(position.0);
    }

    /// Allows everything up to this position to be published.
    pub fn raise_told(&self, position: Position) {
        self.shared.raise_told(position.0);
    }

    /// The highest position that this reader returns.
    fn most(&self) -> u64 {
        if self.whole { u64::MAX } else { self.shared.told() }
    }

    /// Opens a ledger that this process does not append to, as far as it goes now.
    ///
    /// # Errors
    /// [`LedgerError`] when the folder or one of its files cannot be read.
    pub fn open(folder: &Path) -> Result<Self, LedgerError> {
        Ok(Self::with_hold(Arc::new(Shared::scan_folder(folder)?), None))
    }

    /// The last written position that may be published.
    pub fn head(&self) -> Position {
        Position(self.shared.state().head.min(self.most()))
    }

    /// The head of each channel, as far as it may be published.
    pub fn heads(&self) -> Heads {
        let (head, mut heads) = {
            let state = self.shared.state();
            (state.head, state.heads.clone())
        };
        let mut next = self.most().saturating_add(1);
        let mut untold = self.whole();
        while next <= head {
            let events = match untold.read(Position(next), limits::LEDGER_READ_MAX) {
                Ok(events) if !events.is_empty() => events,
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(%error, "failed to read what is not published yet: channels are shown with it");
                    break;
                }
            };
            for event in events.iter().filter(|event| event.position.0 <= head) {
                let head = event.channel.and_then(|channel| heads.get_mut(&channel));
                if let Some(head) = head {
                    head.seq = head.seq.min(event.seq.saturating_sub(1));
                }
            }
            next = events.last().map_or(head, |last| last.position.0).saturating_add(1);
        }
        heads
    }

    /// The head of each channel before the file of session `date`; empty if there is no such file.
    ///
    /// # Errors
    /// [`LedgerError`] when the file cannot be read.
    pub fn heads_before(&self, date: NaiveDate) -> Result<Heads, LedgerError> {
        let Some(path) = self.shared.state().files.get(&date).map(|file| file.path.clone()) else {
            return Ok(Heads::new());
        };
        files::heads_before(&files::open_to_read(&path)?, &path)
    }

    /// The name of this ledger among all ledgers. A stored position belongs to one ledger.
    pub fn lineage(&self) -> String {
        self.shared.state().lineage.clone()
    }

    /// The earlier names of this ledger, earliest first.
    pub fn ancestors(&self) -> Vec<Ancestor> {
        self.shared.state().ancestors.clone()
    }

    /// The last position when the ledger was opened.
    pub fn opened_at(&self) -> Position {
        Position(self.shared.state().opened)
    }

    /// Requests that the next start renumber the ledger: this reader has other events after `shared`, the last position that both have.
    ///
    /// # Errors
    /// [`LedgerError`] when the request cannot be written.
    pub fn renumber_at_next_start(&self, shared: Position) -> Result<(), LedgerError> {
        renumber::at_next_start(&self.shared.folder, shared.0)
    }

    /// The first position that is kept.
    pub fn first_position(&self) -> Position {
        let state = self.shared.state();
        Position(state.files.first_key_value().map_or(1, |(_, file)| file.first))
    }

    /// The session dates that are kept, each with its first position, earliest first.
    pub fn session_dates(&self) -> Vec<(NaiveDate, Position)> {
        let state = self.shared.state();
        let dates = state.files.iter().map(|(date, file)| (*date, Position(file.first)));
        dates.collect()
    }

    /// Reports that this reader needs nothing before `position` any more. Has an effect only for a holding reader.
    pub fn done_before(&self, position: Position) {
        if let Some(hold) = &self.hold {
            hold.set_position(position.0);
        }
    }

    /// The events from `from` on, in order and without a hole, at most `limit` of them and never more than [`limits::LEDGER_READ_MAX`].
    /// Empty if there are none yet.
    ///
    /// # Errors
    /// [`LedgerError::Expired`] when retention has removed `from`; otherwise any error that keeps a file from being read.
    pub fn read(&mut self, from: Position, limit: usize) -> Result<Vec<Sequenced>, LedgerError> {
        let limit = limit.min(limits::LEDGER_READ_MAX);
        let from = from.0.max(1);
        let files = self.files_snapshot();
        if let Some(first) = files.first().map(|file| file.first).filter(|first| from < *first) {
            return Err(LedgerError::Expired { asked: from, first });
        }
        let begin = files.iter().rposition(|file| file.first <= from).unwrap_or(0);
        let mut events = Vec::new();
        for file in files.iter().skip(begin) {
            let next = events
                .last()
                .map_or(from, |last: &Sequenced| last.position.0.saturating_add(1));
            let room = limit.saturating_sub(events.len());
            if room == 0 {
                break;
            }
            if next < file.first {
                return Err(missing_position(&file.path, next));
            }
            events.extend(events_from(self.open_cached(&file.path)?, &file.path, next, room)?);
        }
        let most = self.most();
        events.retain(|event| event.position.0 <= most);
        Ok(events)
    }

    /// The events of a channel with seqs in `[from_seq, to_seq]`, in order, at most `limit` of them and never more than
    /// [`limits::LEDGER_READ_MAX`]. Events that retention removed are missing at the beginning: see [`LedgerReader::first_seq`].
    ///
    /// # Errors
    /// [`LedgerError`] when a file cannot be read.
    pub fn read_channel(
        &mut self,
        channel: Channel,
        from_seq: u64,
        to_seq: u64,
        limit: usize,
    ) -> Result<Vec<Sequenced>, LedgerError> {
        let limit = limit.min(limits::LEDGER_READ_MAX);
        let mut events: Vec<Sequenced> = Vec::new();
        for file in self.files_snapshot() {
            let from = events.last().map_or(from_seq, |last| last.seq.saturating_add(1));
            let room = limit.saturating_sub(events.len());
            if room == 0 || from > to_seq {
                break;
            }
            let found = channel_events(self.open_cached(&file.path)?, &file.path, channel, (from, to_seq), room)?;
            events.extend(found);
        }
        for (one, next) in events.iter().zip(events.iter().skip(1)) {
            if one.seq.saturating_add(1) != next.seq {
                return Err(missing_position(&self.shared.folder, one.position.0));
            }
        }
        let most = self.most();
        events.retain(|event| event.position.0 <= most);
        Ok(events)
    }

    /// The lowest seq of a channel that is kept, if any.
    ///
    /// # Errors
    /// [`LedgerError`] when a file cannot be read.
    pub fn first_seq(&mut self, channel: Channel) -> Result<Option<u64>, LedgerError> {
        for file in self.files_snapshot() {
            let found = channel_events(self.open_cached(&file.path)?, &file.path, channel, (0, u64::MAX), 1)?;
            if let Some(event) = found.first() {
                return Ok(Some(event.seq));
            }
        }
        Ok(None)
    }

    /// The journal entries that match `query`, in order: noted entries, and gaps, sessions and seams as they were published.
    ///
    /// # Errors
    /// [`LedgerError`] when a file cannot be read.
    pub fn read_journal(&mut self, query: &JournalQuery) -> Result<Vec<PlacedEntry>, LedgerError> {
        let most = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        for file in self.files_snapshot() {
            let mut asked = query.clone();
            while found.len() < most {
                let rows = journal_rows(self.open_cached(&file.path)?, &file.path, &asked)?;
                let Some(last) = rows.last() else { break };
                asked.after = Some(last.place);
                let wanted = rows.into_iter().filter(|placed| query.wants(&placed.entry));
                found.extend(wanted.take(most.saturating_sub(found.len())));
            }
        }
        let shown = self.most();
        found.retain(|placed: &PlacedEntry| placed.place.position <= shown);
        // If the clock was set back, a later file may hold earlier instants.
        found.sort_by_key(|placed| placed.place);
        Ok(found)
    }

    /// When the first journal entry that is kept was written, if there is one.
    ///
    /// # Errors
    /// [`LedgerError`] when a file cannot be read.
    pub fn journal_begins(&mut self) -> Result<Option<Timestamp>, LedgerError> {
        for file in self.files_snapshot() {
            let db = self.open_cached(&file.path)?;
            let sql = "SELECT min(at_us) FROM notes WHERE kind <> 'bar_end'";
            let first: Option<i64> = db
                .query_row(sql, [], |row| row.get(0))
                .map_err(|source| LedgerError::from_sqlite("read", &file.path, source))?;
            if let Some(first) = first {
                return Ok(Some(Timestamp::from_micros(first)));
            }
        }
        Ok(None)
    }

    /// The last noted entry.
    ///
    /// # Errors
    /// [`LedgerError`] when a file cannot be read.
    pub fn last_noted(&mut self) -> Result<Option<PlacedEntry>, LedgerError> {
        for file in self.files_snapshot().into_iter().rev() {
            let sql = "SELECT * FROM notes WHERE kind = 'journal' ORDER BY position DESC LIMIT 1";
            let mut events = Vec::new();
            select_rows(
                self.open_cached(&file.path)?,
                &file.path,
                Table::Notes,
                sql,
                params![],
                &mut events,
            )?;
            if let Some(placed) = events.first().and_then(placed_entry) {
                return Ok(Some(placed));
            }
        }
        Ok(None)
    }

    /// The inputs of the session of `date`, in order, as a replay needs them. Empty if there is no such file.
    ///
    /// # Errors
    /// [`LedgerError`] when the file cannot be opened.
    pub fn inputs_of(&self, date: NaiveDate) -> Result<Inputs, LedgerError> {
        let file = self.shared.state().files.get(&date).cloned();
        match file {
            Some(file) => Ok(Inputs::of_file(files::open_to_read(&file.path)?, file.path)),
            None => Ok(Inputs::empty()),
        }
    }

    /// The parcels from `from` on, in order, at most `limit` of them, ending once their bodies reach [`limits::PARCELS_READ`] bytes. If
    /// numbers skip, or `from` is no longer kept, it begins with the next number that exists. Empty if there is none yet.
    ///
    /// # Errors
    /// [`LedgerError`] when a file cannot be read, or a parcel's content does not match its hash.
    pub fn read_parcels(&mut self, from: u64, limit: usize) -> Result<Vec<Parcel>, LedgerError> {
        let size = (limit.min(limits::LEDGER_READ_MAX), limits::PARCELS_READ);
        for file in self.files_snapshot().into_iter().rev() {
            let db = self.open_cached(&file.path)?;
            if parcels::first_number(db, &file.path)?.is_some_and(|first| first <= from) {
                let found = parcels::read((db, &file.path), from, size)?;
                if !found.is_empty() {
                    return Ok(found);
                }
                break; // the next file begins with the next
            }
        }
        self.parcels_after(from, size)
    }

    /// The first parcels that are kept, if they begin after `from`.
    fn parcels_after(&mut self, from: u64, size: (usize, usize)) -> Result<Vec<Parcel>, LedgerError> {
        for file in self.files_snapshot() {
            let db = self.open_cached(&file.path)?;
            if parcels::first_number(db, &file.path)?.is_some_and(|first| first > from) {
                return parcels::read((db, &file.path), from, size);
            }
        }
        Ok(Vec::new())
    }

    /// The first and last number of the parcels; all zero if none are counted.
    ///
    /// # Errors
    /// [`LedgerError`] when a file cannot be read.
    pub fn parcel_ends(&mut self) -> Result<ParcelEnds, LedgerError> {
        for file in self.files_snapshot().into_iter().rev() {
            let db = self.open_cached(&file.path)?;
            if let Some(ends) = parcels::chain_ends(db, &file.path)? {
                return Ok(ends);
            }
        }
        Ok(ParcelEnds::default())
    }

    /// Whether this ledger follows another node's.
    pub fn is_follower(&self) -> bool {
        self.shared.state().follows
    }

    /// The hash of a parcel, if the parcel is kept.
    ///
    /// # Errors
    /// [`LedgerError`] when a file cannot be read.
    pub fn parcel_hash(&mut self, number: u64) -> Result<Option<ParcelHash>, LedgerError> {
        let found = self.read_parcels(number, 1)?;
        Ok(found
            .first()
            .filter(|parcel| parcel.number == number)
            .map(|parcel| parcel.hash))
    }

    fn files_snapshot(&self) -> Vec<DayFile> {
        self.shared.state().files.values().cloned().collect()
    }

    /// The connection to a file, opened on first use. Opening one closes connections to files that are gone.
    fn open_cached(&mut self, path: &Path) -> Result<&Connection, LedgerError> {
        if !self.open.iter().any(|(of, _)| of == path) {
            let kept = self.files_snapshot();
            self.open.retain(|(of, _)| kept.iter().any(|file| file.path == *of));
            self.open.push((path.to_owned(), files::open_to_read(path)?));
        }
        let found = self.open.iter().find(|(of, _)| of == path);
        found
            .map(|(_, db)| db)
            .ok_or_else(|| LedgerError::NotALedger { file: path.to_owned() })
    }
}

fn journal_rows(db: &Connection, path: &Path, query: &JournalQuery) -> Result<Vec<PlacedEntry>, LedgerError> {
    let sql =
        "SELECT * FROM notes WHERE kind <> 'bar_end' AND at_us >= ?1 AND at_us < ?2 AND (at_us, position) > (?3, ?4)
        ORDER BY at_us, position LIMIT ?5";
    let after = query.after.map_or((query.from.micros(), -1), |place| {
        (place.at.micros(), sql_int(place.position))
    });
    let rows = i64::try_from(limits::LEDGER_READ_MAX).unwrap_or(i64::MAX);
    let values = params![query.from.micros(), query.to.micros(), after.0, after.1, rows];
    let mut events = Vec::new();
    select_rows(db, path, Table::Notes, sql, values, &mut events)?;
    Ok(events.iter().filter_map(placed_entry).collect())
}

fn placed_entry(numbered: &Sequenced) -> Option<PlacedEntry> {
    let place = JournalPlace {
        at: numbered.at,
        position: numbered.position.0,
    };
    ServiceEvent::of(numbered).map(|entry| PlacedEntry { place, entry })
}

/// Reads all three tables in one snapshot, merged by position.
fn events_from(db: &Connection, path: &Path, from: u64, limit: usize) -> Result<Vec<Sequenced>, LedgerError> {
    let error = LedgerError::of_sqlite("read", path);
    let snapshot = db.unchecked_transaction().map_err(error)?;
    let mut events = Vec::with_capacity(limit.min(64));
    for table in Table::ALL {
        let sql = match table {
            Table::Ticks => "SELECT * FROM ticks WHERE position >= ?1 ORDER BY position LIMIT ?2",
            Table::Bars => "SELECT * FROM bars WHERE position >= ?1 ORDER BY position LIMIT ?2",
            Table::Notes => "SELECT * FROM notes WHERE position >= ?1 ORDER BY position LIMIT ?2",
        };
        let rows = i64::try_from(limit).unwrap_or(i64::MAX);
        select_rows(&snapshot, path, table, sql, params![sql_int(from), rows], &mut events)?;
    }
    snapshot.finish().map_err(error)?;
    events.sort_unstable_by_key(|event| event.position);
    events.truncate(limit);
    for (event, expected) in events.iter().zip(from..) {
        if event.position.0 != expected {
            return Err(missing_position(path, expected));
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
) -> Result<Vec<Sequenced>, LedgerError> {
    let from = sql_int(from);
    let to = sql_int(to);
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    let pair = channel.pair();
    let symbol = pair.as_ref().map_or("", Symbol::as_str);
    let mut events = Vec::new();
    match channel.topic {
        Topic::Ticks => {
            let sql = "SELECT * FROM ticks WHERE symbol = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq LIMIT ?4";
            select_rows(
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
            select_rows(db, path, Table::Bars, sql, values, &mut events)?;
        }
        Topic::Quality | Topic::Session | Topic::Events => {
            let sql = "SELECT * FROM notes WHERE channel = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq LIMIT ?4";
            let values = params![channel.to_string(), from, to, rows];
            select_rows(db, path, Table::Notes, sql, values, &mut events)?;
        }
    }
    Ok(events)
}

fn select_rows(
    db: &Connection,
    path: &Path,
    table: Table,
    sql: &str,
    values: impl Params,
    into: &mut Vec<Sequenced>,
) -> Result<(), LedgerError> {
    let error = LedgerError::of_sqlite("read", path);
    let mut statement = db.prepare_cached(sql).map_err(error)?;
    let mut rows = statement.query(values).map_err(error)?;
    while let Some(row) = rows.next().map_err(error)? {
        let read = rows::check_sum(row, table.columns()).and_then(|()| table.read(row));
        into.push(read.map_err(|problem| LedgerError::Corrupt {
            file: path.to_owned(),
            table: table.name(),
            row: row.get(0).unwrap_or(0),
            problem,
        })?);
    }
    Ok(())
}

fn missing_position(path: &Path, position: u64) -> LedgerError {
    LedgerError::Corrupt {
        file: path.to_owned(),
        table: "ticks, bars or notes",
        row: sql_int(position),
        problem: "the row is missing".to_owned(),
    }
}
