//! A ledger that follows another: it stores that ledger's parcels unchanged, under the same numbers, and decides nothing itself.
//!
//! If its end is lost (power, a cut write-ahead log), the same parcels are fetched again, so nothing is renumbered here.

use super::append::{Ledger, LedgerOptions};
use super::end::End;
use super::error::LedgerError;
use super::files::{self, with_suffix};
use super::names;
use super::parcel_body::{self, ParcelRow, RowKind};
use super::parcels::{self, Parcels};
use super::rows::{ColumnSink, INSERT_BAR, INSERT_INPUT, INSERT_NOTE, INSERT_TICK, Table};
use crate::domain::cluster::{ChainOpening, Parcel, ParcelHash};
use crate::domain::model::JournalEntry;
use chrono::NaiveDate;
use rusqlite::types::Value;
use rusqlite::{Connection, ToSql, Transaction, TransactionBehavior, params};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The end of a ledger's chain of parcels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainEnd {
    /// The ledger's name.
    pub lineage: String,
    /// The number of its last parcel.
    pub number: u64,
    /// The hash of its last parcel.
    pub hash: ParcelHash,
}

/// The end of the chain in a folder; `None` if the ledger has no parcels, or none that reach its end.
///
/// # Errors
/// [`LedgerError`] when the folder or its newest file cannot be read.
pub fn followed_chain(folder: &Path) -> Result<Option<ChainEnd>, LedgerError> {
    if !folder.exists() {
        return Ok(None);
    }
    let mut head = None;
    for date in files::session_dates(folder)?.into_iter().rev() {
        let path = files::path_of(folder, date);
        let db = files::open_to_read(&path)?;
        if files::format_of(&db, &path)?.is_none() {
            continue;
        }
        let lineage = files::read_lineage(&db, &path)?;
        let ends = files::last_position(&db, &path)?;
        let head = *head.get_or_insert(ends);
        if ends != head {
            return Ok(None);
        }
        // A file that was begun last may have no parcels yet.
        if let Some(last) = parcels::read_last(&db, &path)? {
            return Ok((last.position() == head).then_some(ChainEnd {
                lineage,
                number: last.chain.number,
                hash: last.chain.hash,
            }));
        }
    }
    Ok(None)
}

/// There while the end of the ledger is what this node wrote itself, as a leader, and not what it took from the cluster log.
const LED: &str = "led";

/// Whether the end of the ledger in a folder is what this node wrote as a leader, so that the cluster log may never have had it.
pub fn has_led(folder: &Path) -> bool {
    folder.join(LED).exists()
}

/// The ledger in the folder is about to be written by a leader. Durable when it returns.
pub(super) fn note_led(folder: &Path) -> Result<(), LedgerError> {
    let path = folder.join(LED);
    let made = fs::File::create(&path).and_then(|file| file.sync_all());
    let made = made.and_then(|()| fs::File::open(folder)?.sync_all());
    made.map_err(of_folder(&path))
}

/// The cluster log has the end of the ledger in the folder, or another ledger takes its place.
///
/// # Errors
/// [`LedgerError::Folder`].
pub fn note_followed(folder: &Path) -> Result<(), LedgerError> {
    let path = folder.join(LED);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LedgerError::Folder { path, source }),
        _ => Ok(()),
    }
}

/// The opening with which an empty ledger begins.
pub(super) fn begins_with(options: &LedgerOptions) -> Result<Option<ChainOpening>, LedgerError> {
    let Parcels::Followed(Some(parcel)) = &options.parcels else {
        return Ok(None);
    };
    parcel
        .opening()
        .map_err(|error| refuse_parcel(parcel, &error.to_string()))
}

/// Date, first position and path of the first file of an empty ledger.
pub(super) fn first_file(folder: &Path, options: &LedgerOptions) -> Result<(NaiveDate, u64, PathBuf), LedgerError> {
    let (date, first) = match begins_with(options)? {
        Some(opening) => (opening.date, opening.position.saturating_add(1)),
        None => (options.date, 1),
    };
    Ok((date, first, files::path_of(folder, date)))
}

/// Continues after the last parcel that was taken; an empty ledger begins with `begin`.
pub(super) fn go_on(
    (db, path): (&Connection, &Path),
    end: &mut End,
    begin: Option<&Parcel>,
    files: &[PathBuf],
) -> Result<(), LedgerError> {
    parcels::make_table(db, path)?;
    end.chain = parcels::read_last(db, path)?.map(|last| last.chain);
    for file in files {
        if end.chain.is_some() {
            break;
        }
        let before = files::open_to_read(file)?;
        end.chain = parcels::read_last(&before, file)?.map(|last| last.chain);
    }
    let Some(parcel) = begin.filter(|_| end.chain.is_none()) else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&parcel.body);
    parcels::put_opening(db, end, (parcel.number, parcel.previous, &text))
        .map_err(LedgerError::of_sqlite("begin parcels of", path))
}

/// Moves the ledger in a folder into its sub-folder `aside`, where an earlier one is deleted.
///
/// # Errors
/// [`LedgerError::Folder`], and [`LedgerError::InUse`] while a service runs on it.
pub fn set_aside(folder: &Path) -> Result<(), LedgerError> {
    let _held = files::lock_folder(folder)?;
    let aside = folder.join("aside");
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(of_folder(&aside))?;
    }
    fs::create_dir(&aside).map_err(of_folder(&aside))?;
    for date in files::session_dates(folder)?.into_iter().rev() {
        let path = files::path_of(folder, date);
        // The day file is moved last: without its write-ahead log it would be an older ledger.
        for from in [with_suffix(&path, "-shm"), with_suffix(&path, "-wal"), path] {
            let Some(name) = from.file_name().filter(|_| from.exists()) else {
                continue;
            };
            fs::rename(&from, aside.join(name)).map_err(of_folder(&from))?;
        }
    }
    let mark = folder.join("mark");
    if mark.exists() {
        fs::rename(&mark, aside.join("mark")).map_err(of_folder(&mark))?;
    }
    Ok(())
}

fn of_folder(path: &Path) -> impl FnOnce(io::Error) -> LedgerError + use<> {
    let path = path.to_owned();
    move |source| LedgerError::Folder { path, source }
}

impl Ledger {
    /// Appends the next parcel of the followed ledger in one transaction, and returns its entries. A parcel whose commit was not
    /// acknowledged may be there already: its entries are then returned again, and nothing is written.
    ///
    /// # Errors
    /// [`LedgerError::Parcel`] when it does not continue this ledger, or cannot be parsed; otherwise the error that kept it from being
    /// written, after which the same parcel may be appended again.
    pub fn apply_parcel(&mut self, parcel: &Parcel) -> Result<Vec<JournalEntry>, LedgerError> {
        let unsure = self.unsure;
        self.be_sure()?;
        let Some(chain) = self.end.chain else {
            return Err(refuse_parcel(parcel, "this ledger follows no other"));
        };
        if unsure && (parcel.number, parcel.hash) == (chain.number, chain.hash) && parcel.is_whole() {
            return entries_of(parcel);
        }
        if parcel.number != chain.number.saturating_add(1) || parcel.previous != chain.hash {
            return Err(refuse_parcel(parcel, &format!("it does not follow {}", chain.number)));
        }
        if !parcel.is_whole() {
            return Err(refuse_parcel(parcel, "its body does not give its hash"));
        }
        match parcel
            .opening()
            .map_err(|error| refuse_parcel(parcel, &error.to_string()))?
        {
            Some(opening) => self.take_opening(parcel, &opening).map(|()| Vec::new()),
            None => self.take_rows(parcel),
        }
    }

    fn take_opening(&mut self, parcel: &Parcel, opening: &ChainOpening) -> Result<(), LedgerError> {
        let mut new = opening.heads.clone(); // channels without a message that were not there before
        new.retain(|channel, head| head.seq == 0 && !self.end.heads.contains_key(channel));
        let mut known = self.end.heads.clone();
        known.extend(new.clone());
        if opening.position != self.end.head || opening.heads != known {
            return Err(refuse_parcel(parcel, "it opens elsewhere than where this ledger ends"));
        }
        if opening.date > self.session_date() && new.is_empty() {
            return self.roll_to(opening.date, Some(parcel));
        }
        let error = LedgerError::of_sqlite("append to", &self.path);
        let transaction = self.db.unchecked_transaction().map_err(error)?;
        for (channel, head) in &new {
            let values = params![channel.to_string(), head.epoch.as_str()];
            transaction
                .execute("INSERT INTO heads VALUES (?1, ?2, 0)", values)
                .map_err(error)?;
        }
        names::seal(&transaction).map_err(error)?;
        let mut end = self.end.clone();
        end.heads = known;
        let text = String::from_utf8_lossy(&parcel.body);
        parcels::put_opening(&transaction, &mut end, (parcel.number, parcel.previous, &text)).map_err(error)?;
        self.unsure = true; // until it is committed and acknowledged
        transaction.commit().map_err(error)?;
        self.unsure = false;
        self.end = end;
        self.shared.advance_head(self.end.head, &self.end.heads);
        Ok(())
    }

    fn take_rows(&mut self, parcel: &Parcel) -> Result<Vec<JournalEntry>, LedgerError> {
        let rows = parcel_body::read(&parcel.body).map_err(|problem| refuse_parcel(parcel, &problem))?;
        self.sync_fully(false)?; // what is lost comes again
        let mut end = self.end.clone();
        let random = self.options.random;
        let path = &self.path;
        let error = LedgerError::of_sqlite("append to", path);
        let transaction = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(error)?;
        let mut entries = Vec::with_capacity(rows.len());
        let count = rows.len();
        for ParcelRow { kind, columns, entry } in rows {
            match &entry {
                JournalEntry::Input(heard) => {
                    end.input = end.input.saturating_add(1);
                    end.tail.push(heard);
                }
                JournalEntry::Event(event) => {
                    let new = end.admit_event(event, random)?;
                    if new && let Some(channel) = event.channel {
                        let problem = format!("nothing says which epoch channel {channel} has");
                        return Err(refuse_parcel(parcel, &problem));
                    }
                }
                JournalEntry::Partial { .. } => {}
            }
            insert_row(&transaction, kind, columns, end.input).map_err(error)?;
            entries.push(entry);
        }
        parcels::add_parcel(&transaction, &mut end, &parcel.body).map_err(error)?;
        self.unsure = true; // until it is committed and acknowledged
        transaction.commit().map_err(error)?;
        self.mark.raise_head(end.head)?;
        self.unsure = false;
        self.end = end;
        self.shared.advance_head(self.end.head, &self.end.heads);
        self.keep_log_small(count);
        Ok(entries)
    }
}

/// The entries of a parcel; none for an opening.
fn entries_of(parcel: &Parcel) -> Result<Vec<JournalEntry>, LedgerError> {
    if parcel.opens {
        return Ok(Vec::new());
    }
    let rows = parcel_body::read(&parcel.body).map_err(|problem| refuse_parcel(parcel, &problem))?;
    Ok(rows.into_iter().map(|row| row.entry).collect())
}

fn refuse_parcel(parcel: &Parcel, problem: &str) -> LedgerError {
    LedgerError::Parcel {
        number: parcel.number,
        problem: problem.to_owned(),
    }
}

/// Stores a row unchanged; an input gets the next id of this ledger.
fn insert_row(db: &Transaction<'_>, kind: RowKind, mut columns: Vec<Value>, input: i64) -> rusqlite::Result<()> {
    let sql = match kind {
        RowKind::Input => {
            if let Some(id) = columns.first_mut() {
                *id = Value::Integer(input);
            }
            INSERT_INPUT
        }
        RowKind::Event(Table::Ticks) => INSERT_TICK,
        RowKind::Event(Table::Bars) => INSERT_BAR,
        RowKind::Event(Table::Notes) => INSERT_NOTE,
    };
    let columns: Vec<&dyn ToSql> = columns.iter().map(borrow_column).collect();
    db.prepare_cached(sql)?.bind_row(&columns)
}

fn borrow_column(column: &Value) -> &dyn ToSql {
    column
}
