//! Parcels in the ledger: each append is one, numbered and hashed in the same transaction.
//!
//! ```text
//!  parcels   number · last_position · last_input · hash · previous · opening
//!           the rows of a parcel are those after the previous parcel, up to last_position and last_input;
//!           an opening has none: it holds its JSON, and the hash of the previous parcel
//! ```
//!
//! Each day file begins with an opening, and another follows after every [`limits::PARCELS_PER_OPENING`] parcels. The table is created when
//! parcels are first counted; older versions, and ledgers that count none, ignore it. Rows that these append lie beyond the last parcel,
//! which is detected, and an opening begins another chain after them.

use super::append::Ledger;
use super::end::End;
use super::error::LedgerError;
use super::files::{self, from_sql_int, sql_int};
use super::parcel_body::{ParcelBody, RowKind};
use super::rows::Table;
use crate::domain::cluster::{ChainOpening, Parcel, ParcelHash, begin_chain};
use crate::limits;
use bytes::Bytes;
use chrono::NaiveDate;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::path::{Path, PathBuf};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS parcels (number INTEGER PRIMARY KEY, last_position INTEGER NOT NULL,
    last_input INTEGER NOT NULL, hash BLOB NOT NULL, previous BLOB, opening TEXT)";

/// The source of a ledger's parcels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Parcels {
    /// No parcels: the ledger of a single node.
    #[default]
    Uncounted,
    /// Its own appends, each of which gets a number.
    Counted,
    /// Another ledger, whose parcels it takes. An empty ledger begins with this opening.
    Followed(Option<Parcel>),
}

/// The end of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) number: u64,
    pub(super) hash: ParcelHash,
    /// The number of parcels since the last opening.
    since: u64,
}

/// The last parcel of a file, and the last rows that it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastParcel {
    pub(super) chain: Chain,
    position: u64,
    input: i64,
}

impl Chain {
    /// Whether another opening is due.
    pub(super) const fn opening_is_due(&self) -> bool {
        self.since >= limits::PARCELS_PER_OPENING
    }
}

impl LastParcel {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let hash: Vec<u8> = row.get(3)?;
        Ok(Self {
            chain: Chain {
                number: from_sql_int(row.get(0)?),
                hash: ParcelHash::of_bytes(&hash).unwrap_or_default(),
                since: from_sql_int(row.get(4)?),
            },
            position: from_sql_int(row.get(1)?),
            input: row.get(2)?,
        })
    }

    /// The last position that it covers.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }
}

pub(super) fn make_table(db: &Connection, path: &Path) -> Result<(), LedgerError> {
    db.execute_batch(TABLE)
        .map_err(LedgerError::of_sqlite("begin parcels of", path))
}

/// The last parcel of a file; `None` if there is none.
pub(super) fn read_last(db: &Connection, path: &Path) -> Result<Option<LastParcel>, LedgerError> {
    if !has_table(db, path)? {
        return Ok(None);
    }
    let sql = "SELECT number, last_position, last_input, hash,
        number - ifnull((SELECT max(number) FROM parcels WHERE opening IS NOT NULL), number) FROM parcels ORDER BY number DESC LIMIT 1";
    let found = db.query_row(sql, [], LastParcel::read).optional();
    found.map_err(LedgerError::of_sqlite("read parcels of", path))
}

fn has_table(db: &Connection, path: &Path) -> Result<bool, LedgerError> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'parcels'";
    db.query_row(sql, [], |row| row.get::<_, i64>(0))
        .map(|found| found > 0)
        .map_err(LedgerError::of_sqlite("read", path))
}

/// The opening for the ledger's present end.
pub(super) fn opening_at(end: &End, date: NaiveDate, lineage: &str) -> ChainOpening {
    ChainOpening {
        date,
        lineage: lineage.to_owned(),
        position: end.head,
        heads: end.heads.clone(),
    }
}

/// Adds the parcel of the rows that this transaction appends.
pub(super) fn add_parcel(db: &Connection, end: &mut End, body: &[u8]) -> rusqlite::Result<()> {
    let Some(chain) = &mut end.chain else { return Ok(()) };
    chain.number = chain.number.saturating_add(1);
    chain.hash = chain.hash.then(chain.number, body);
    chain.since = chain.since.saturating_add(1);
    let mut insert = db.prepare_cached("INSERT INTO parcels VALUES (?1, ?2, ?3, ?4, NULL, NULL)")?;
    let values = params![sql_int(chain.number), sql_int(end.head), end.input, chain.hash.bytes()];
    insert.execute(values).map(drop)
}

/// Adds an opening. If `anew` is a number, another chain begins with it, under that number or a higher one.
pub(super) fn open(db: &Connection, end: &mut End, opening: &ChainOpening, anew: Option<u64>) -> rusqlite::Result<()> {
    let before = end.chain.unwrap_or(Chain {
        number: 0,
        hash: ParcelHash::NONE,
        since: 0,
    });
    let next = before.number.saturating_add(1);
    let (number, previous) = match anew {
        Some(number) => (number.max(next), ParcelHash::NONE),
        None => (next, before.hash),
    };
    let body = opening.write();
    put_opening(db, end, (number, previous, &body))
}

/// Adds an opening with its given number and previous hash.
pub(super) fn put_opening(
    db: &Connection,
    end: &mut End,
    (number, previous, body): (u64, ParcelHash, &str),
) -> rusqlite::Result<()> {
    let hash = previous.then(number, body.as_bytes());
    // An opening that was committed and not acknowledged is there already, and equal.
    db.execute(
        "INSERT OR REPLACE INTO parcels VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            sql_int(number),
            sql_int(end.head),
            end.input,
            hash.bytes(),
            previous.bytes(),
            body
        ],
    )?;
    end.chain = Some(Chain { number, hash, since: 0 });
    Ok(())
}

/// Continues the chain of a ledger that is opened, or begins one. `files` are the day files before the newest, latest first. For new
/// channels an opening is added, which contains their epochs.
pub(super) fn go_on(
    (db, path): (&Connection, &Path),
    end: &mut End,
    (date, lineage, new_channels): (NaiveDate, &str, bool),
    files: &[PathBuf],
) -> Result<(), LedgerError> {
    make_table(db, path)?;
    let here = read_last(db, path)?;
    let whole = here.is_some_and(|last| last.position == end.head && last.input == end.input);
    let mut named = lineage_of(db, path)?;
    end.chain = here.map(|last| last.chain);
    if whole && named.as_deref() == Some(lineage) {
        if new_channels {
            begin_file((db, path), end, (date, lineage), None)?; // tells their epochs
        }
        return Ok(());
    }
    let mut reaches = false;
    if here.is_none() {
        for file in files {
            let before = files::open_to_read(file)?;
            let Some(last) = read_last(&before, file)? else {
                continue;
            };
            named = lineage_of(&before, file)?;
            end.chain = Some(last.chain);
            // Nothing was appended after it, in its file or in this one.
            let head = files::last_position(&before, file)?;
            let all_of_it = last.position == head && last.input == last_input(&before, file)?;
            reaches = all_of_it && head == end.head && end.input == 0;
            break;
        }
    }
    let same = named.as_deref() == Some(lineage);
    let number = end.chain.map_or(0, |chain| chain.number);
    let anew = begin_chain(number, same, reaches);
    open(db, end, &opening_at(end, date, lineage), anew).map_err(LedgerError::of_sqlite("begin parcels of", path))
}

/// The lineage in the last opening of a file.
pub(super) fn lineage_of(db: &Connection, path: &Path) -> Result<Option<String>, LedgerError> {
    let sql = "SELECT opening FROM parcels WHERE opening IS NOT NULL ORDER BY number DESC LIMIT 1";
    let body: Option<String> = db
        .query_row(sql, [], |row| row.get(0))
        .optional()
        .map_err(LedgerError::of_sqlite("read parcels of", path))?;
    let opening = body.map(|body| ChainOpening::read(body.as_bytes())).transpose();
    let opening = opening.map_err(|problem| damaged_parcel(path, 0, problem.to_string()))?;
    Ok(opening.map(|opening| opening.lineage))
}

fn last_input(db: &Connection, path: &Path) -> Result<i64, LedgerError> {
    db.query_row("SELECT ifnull(max(id), 0) FROM inputs", [], |row| row.get(0))
        .map_err(LedgerError::of_sqlite("read", path))
}

fn damaged_parcel(path: &Path, number: u64, problem: String) -> LedgerError {
    LedgerError::Corrupt {
        file: path.to_owned(),
        table: "parcels",
        row: sql_int(number),
        problem,
    }
}

/// The first and last number of a ledger's parcels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ParcelEnds {
    /// The newest opening with which a node can begin and receive the whole session: that of the file, or of the chain.
    pub begin: u64,
    /// The last number.
    pub last: u64,
}

/// The first and last number of a file's parcels; `None` if it has none.
pub(super) fn chain_ends(db: &Connection, path: &Path) -> Result<Option<ParcelEnds>, LedgerError> {
    let Some(first) = first_number(db, path)? else {
        return Ok(None);
    };
    let sql =
        "SELECT max(number), ifnull((SELECT max(number) FROM parcels WHERE previous = zeroblob(16)), ?1) FROM parcels";
    db.query_row(sql, [sql_int(first)], |row| {
        Ok(Some(ParcelEnds {
            last: from_sql_int(row.get(0)?),
            begin: from_sql_int(row.get(1)?),
        }))
    })
    .map_err(LedgerError::of_sqlite("read parcels of", path))
}

/// The lowest number in a file; `None` if it has no parcel.
pub(super) fn first_number(db: &Connection, path: &Path) -> Result<Option<u64>, LedgerError> {
    if !has_table(db, path)? {
        return Ok(None);
    }
    db.query_row("SELECT min(number) FROM parcels", [], |row| {
        row.get::<_, Option<i64>>(0)
    })
    .map(|found| found.map(from_sql_int))
    .map_err(LedgerError::of_sqlite("read parcels of", path))
}

struct FoundParcel {
    number: u64,
    position: u64,
    input: i64,
    hash: ParcelHash,
    opening: Option<(ParcelHash, String)>,
}

/// The parcels of a file from a number on, at most `limit`, ending once their bodies reach `bytes`.
pub(super) fn read(
    (db, path): (&Connection, &Path),
    from: u64,
    (limit, bytes): (usize, usize),
) -> Result<Vec<Parcel>, LedgerError> {
    let error = LedgerError::of_sqlite("read parcels of", path);
    let snapshot = db.unchecked_transaction().map_err(error)?;
    let rows = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut statement = snapshot
        .prepare_cached(
            "SELECT * FROM parcels WHERE number >= ifnull((SELECT max(number) FROM parcels WHERE number < ?1), ?1)
            ORDER BY number LIMIT ?2",
        )
        .map_err(error)?;
    let mut cursor = statement.query(params![sql_int(from), rows]).map_err(error)?;
    let mut before: Option<FoundParcel> = None;
    let mut parcels = Vec::new();
    let mut size = 0_usize;
    while let Some(row) = cursor.next().map_err(error)? {
        let found = parcel_from_row(row, path)?;
        if found.number >= from && size < bytes && parcels.len() < limit {
            let parcel = parcel_of((&snapshot, path), before.as_ref(), &found)?;
            size = size.saturating_add(parcel.body.len());
            parcels.push(parcel);
        }
        before = Some(found);
    }
    Ok(parcels)
}

fn parcel_from_row(row: &Row<'_>, path: &Path) -> Result<FoundParcel, LedgerError> {
    let error = LedgerError::of_sqlite("read parcels of", path);
    let number = from_sql_int(row.get(0).map_err(error)?);
    let hash: Vec<u8> = row.get(3).map_err(error)?;
    let previous: Option<Vec<u8>> = row.get(4).map_err(error)?;
    let previous = previous
        .and_then(|bytes| ParcelHash::of_bytes(&bytes))
        .unwrap_or_default();
    let opening: Option<String> = row.get(5).map_err(error)?;
    Ok(FoundParcel {
        number,
        position: from_sql_int(row.get(1).map_err(error)?),
        input: row.get(2).map_err(error)?,
        hash: ParcelHash::of_bytes(&hash)
            .ok_or_else(|| damaged_parcel(path, number, "its hash has not sixteen bytes".to_owned()))?,
        opening: opening.map(|body| (previous, body)),
    })
}

/// Reads one parcel with its body, which must match its hash.
fn parcel_of(
    (db, path): (&Connection, &Path),
    before: Option<&FoundParcel>,
    found: &FoundParcel,
) -> Result<Parcel, LedgerError> {
    let (previous, opens, body) = match (&found.opening, before) {
        (Some((previous, body)), _) => (*previous, true, Bytes::from(body.clone())),
        (None, Some(before)) => (before.hash, false, body_between((db, path), before, found)?),
        (None, None) => {
            return Err(damaged_parcel(
                path,
                found.number,
                "the parcel before it is missing".to_owned(),
            ));
        }
    };
    let parcel = Parcel {
        number: found.number,
        last: found.position,
        previous,
        hash: found.hash,
        opens,
        body,
    };
    if parcel.is_whole() {
        return Ok(parcel);
    }
    Err(damaged_parcel(
        path,
        found.number,
        "its rows do not give its hash".to_owned(),
    ))
}

fn body_between(
    (db, path): (&Connection, &Path),
    before: &FoundParcel,
    found: &FoundParcel,
) -> Result<Bytes, LedgerError> {
    let error = LedgerError::of_sqlite("read a parcel of", path);
    let from = sql_int(before.position);
    let to = sql_int(found.position);
    let ranges = [
        (
            RowKind::Event(Table::Ticks),
            "SELECT * FROM ticks WHERE position > ?1 AND position <= ?2",
            from,
            to,
        ),
        (
            RowKind::Event(Table::Bars),
            "SELECT * FROM bars WHERE position > ?1 AND position <= ?2",
            from,
            to,
        ),
        (
            RowKind::Event(Table::Notes),
            "SELECT * FROM notes WHERE position > ?1 AND position <= ?2",
            from,
            to,
        ),
        (RowKind::Input, INPUTS, before.input, found.input),
    ];
    let mut rows = Vec::new();
    for (kind, sql, from, to) in ranges {
        if from < to {
            read_rows(db, kind, sql, (from, to), &mut rows).map_err(error)?;
        }
    }
    rows.sort_by_key(|(place, ..)| *place); // inputs keep their order, behind the event that they came after
    let mut body = ParcelBody::default();
    for (_, kind, columns) in &rows {
        body.push_row(*kind, columns);
    }
    Ok(body.into_bytes())
}

const INPUTS: &str = "SELECT kind, at_us, after_position, raw FROM inputs WHERE id > ?1 AND id <= ?2 ORDER BY id";

/// A row with its sort key: the position of the event that it is or follows, and whether it follows it.
type PlacedRow = ((u64, bool), RowKind, Vec<Value>);

fn read_rows(
    db: &Connection,
    kind: RowKind,
    sql: &str,
    range: (i64, i64),
    into: &mut Vec<PlacedRow>,
) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(sql)?;
    let columns = match kind {
        RowKind::Input => statement.column_count(),
        RowKind::Event(table) => table.columns(), // without the check sum: each file has its own
    };
    let mut cursor = statement.query([range.0, range.1])?;
    while let Some(row) = cursor.next()? {
        let values: Vec<Value> = (0..columns).map(|at| row.get(at)).collect::<rusqlite::Result<_>>()?;
        let place = match kind {
            RowKind::Input => (position_in(values.get(2)), true),
            RowKind::Event(_) => (position_in(values.first()), false),
        };
        into.push((place, kind, values));
    }
    Ok(())
}

fn position_in(column: Option<&Value>) -> u64 {
    match column {
        Some(Value::Integer(position)) => from_sql_int(*position),
        _ => 0,
    }
}

/// Begins a file with the given opening, or with one of the ledger's own.
pub(super) fn begin_file(
    (db, path): (&Connection, &Path),
    end: &mut End,
    (date, lineage): (NaiveDate, &str),
    with: Option<&Parcel>,
) -> Result<(), LedgerError> {
    make_table(db, path)?;
    let begun = match with {
        Some(parcel) => {
            let body = String::from_utf8_lossy(&parcel.body);
            put_opening(db, end, (parcel.number, parcel.previous, &body))
        }
        None => open(db, end, &opening_at(end, date, lineage), None),
    };
    begun.map_err(LedgerError::of_sqlite("begin parcels of", path))
}

impl Ledger {
    /// Begins another chain of parcels, with a number beyond `number` and beyond any of this ledger.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be written.
    pub fn begin_parcels_after(&mut self, number: u64) -> Result<(), LedgerError> {
        let lineage = self.shared.state().lineage.clone();
        let opening = opening_at(&self.end, self.session_date(), &lineage);
        let own = self.end.chain.map_or(0, |chain| chain.number);
        let next = number
            .max(own.saturating_add(limits::PARCELS_SKIPPED))
            .saturating_add(1);
        self.sync_fully(true)?;
        open(&self.db, &mut self.end, &opening, Some(next))
            .map_err(LedgerError::of_sqlite("begin parcels of", &self.path))
    }

    /// Number and hash of the last parcel.
    pub fn parcel_end(&self) -> (u64, ParcelHash) {
        let chain = self.end.chain;
        chain.map_or((0, ParcelHash::NONE), |chain| (chain.number, chain.hash))
    }

    /// The number of the last parcel; 0 where none is counted.
    pub fn last_parcel(&self) -> u64 {
        self.end.chain.map_or(0, |chain| chain.number)
    }
}
