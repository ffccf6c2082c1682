//! The day files of a folder: their names, their tables, and the lock that admits one writer.

use super::error::LedgerError;
use super::names;
use super::rows::{self, Table};
use crate::domain::model::{Channel, Head};
use crate::limits;
use crate::lock_file::{LockError, LockFile, id_at};
use chrono::NaiveDate;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The format that this version writes, stored in `user_version`. A file with a higher one is refused.
pub(super) const FORMAT: i64 = 2;
/// `cndl`, stored in `application_id` to recognise our files.
const APPLICATION: i64 = 0x636e_646c;

/// Prices are millionths, instants microseconds since 1970 UTC. `heads` holds the head of each channel *before* this file, so that an
/// append never rewrites it; a channel's present head is the highest `seq` of its rows.
const SCHEMA: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE heads (channel TEXT PRIMARY KEY, epoch TEXT NOT NULL, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE inputs (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, at_us INTEGER NOT NULL, after_position INTEGER NOT NULL, raw BLOB,
    sum INTEGER NOT NULL);
CREATE TABLE ticks (position INTEGER PRIMARY KEY, seq INTEGER NOT NULL, symbol TEXT NOT NULL, price_micros INTEGER NOT NULL,
    bid_micros INTEGER, ask_micros INTEGER, at_us INTEGER NOT NULL, received_us INTEGER NOT NULL, provenance TEXT NOT NULL,
    told_us INTEGER NOT NULL, sum INTEGER NOT NULL);
CREATE UNIQUE INDEX ticks_by_seq ON ticks (symbol, seq);
CREATE TABLE bars (position INTEGER PRIMARY KEY, seq INTEGER NOT NULL, symbol TEXT NOT NULL, interval TEXT NOT NULL,
    opens_us INTEGER NOT NULL, closes_us INTEGER NOT NULL, open_micros INTEGER NOT NULL, high_micros INTEGER NOT NULL,
    low_micros INTEGER NOT NULL, close_micros INTEGER NOT NULL, ticks INTEGER NOT NULL, first_tick_us INTEGER,
    last_tick_us INTEGER, state TEXT NOT NULL, revision INTEGER NOT NULL, provenance TEXT NOT NULL, flags INTEGER NOT NULL,
    session_date TEXT NOT NULL, session_kind TEXT NOT NULL, told_us INTEGER NOT NULL,
    sum INTEGER NOT NULL);
CREATE UNIQUE INDEX bars_by_seq ON bars (symbol, interval, seq);
CREATE TABLE notes (position INTEGER PRIMARY KEY, channel TEXT, seq INTEGER NOT NULL, at_us INTEGER NOT NULL, kind TEXT NOT NULL,
    body TEXT NOT NULL, sum INTEGER NOT NULL);
CREATE UNIQUE INDEX notes_by_seq ON notes (channel, seq) WHERE channel IS NOT NULL;
";

/// The head of each channel.
pub(super) type Heads = BTreeMap<Channel, Head>;

/// One day file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DayFile {
    pub(super) path: PathBuf,
    /// The position of the first event that it may hold.
    pub(super) first: u64,
}

/// The day files of a folder, earliest first.
pub(super) type DayFiles = BTreeMap<NaiveDate, DayFile>;

/// The path of a day file, such as `ledger-2025-10-22.db`.
pub(super) fn path_of(folder: &Path, date: NaiveDate) -> PathBuf {
    folder.join(format!("ledger-{date}.db"))
}

/// The session dates that have a file in `folder`, earliest first.
pub(super) fn session_dates(folder: &Path) -> Result<Vec<NaiveDate>, LedgerError> {
    let error = |source| LedgerError::Folder {
        path: folder.to_owned(),
        source,
    };
    let mut dates = Vec::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        let name = entry.map_err(error)?.file_name();
        let date = name
            .to_str()
            .and_then(|name| name.strip_prefix("ledger-")?.strip_suffix(".db"));
        dates.extend(date.and_then(|date| date.parse::<NaiveDate>().ok()));
    }
    dates.sort_unstable();
    Ok(dates)
}

/// Syncs a day file's write-ahead log, if there is one. Closing this descriptor releases none of SQLite's locks: they are on the file and
/// its `-shm`.
pub(super) fn sync_log(path: &Path) -> Result<(), LedgerError> {
    let log = with_suffix(path, "-wal");
    match File::open(&log).and_then(|log| log.sync_data()) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LedgerError::Folder { path: log, source }),
        _ => Ok(()),
    }
}

/// The id with which a service with this folder holds its leases; `None` before the first one.
pub fn holder_id(folder: &Path) -> Option<String> {
    id_at(&folder.join("lock"))
}

/// Locks the folder for this process.
pub(super) fn lock_folder(folder: &Path) -> Result<LockFile, LedgerError> {
    let path = folder.join("lock");
    LockFile::take(&path).map_err(|error| match error {
        LockError::Held(by) => LedgerError::InUse {
            folder: folder.to_owned(),
            by,
        },
        LockError::Io(source) => LedgerError::Folder { path, source },
    })
}

/// Opens a day file for writing. Creates it if it does not exist, or if its creation was interrupted.
pub(super) fn open_to_append(path: &Path, first: u64, heads: &Heads, lineage: &str) -> Result<Connection, LedgerError> {
    let error = LedgerError::of_sqlite("open", path);
    let mut db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(error)?;
    wait_for_lock(&db).map_err(error)?;
    let format = format_of(&db, path)?;
    db.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY;",
    )
    .map_err(error)?;
    match format {
        None => {
            create_tables(&mut db, first, heads, lineage).map_err(error)?;
            sync_folder(path)?;
        }
        Some(FORMAT) => {}
        Some(_) => add_sums(&mut db).map_err(error)?,
    }
    Ok(db)
}

/// The name of a companion file that SQLite keeps beside `path`.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

/// Makes a writing connection wait for locks of other connections.
pub(super) fn wait_for_lock(db: &Connection) -> rusqlite::Result<()> {
    db.busy_handler(Some(look_again))
}

/// Sleeps briefly. Returns whether to wait longer for the lock after `looks` attempts.
#[expect(
    clippy::disallowed_methods,
    reason = "SQLite asks in the middle of a call, on a thread that has nothing else to do"
)]
pub(super) fn look_again(looks: i32) -> bool {
    std::thread::sleep(limits::LEDGER_BUSY_LOOK);
    limits::LEDGER_BUSY_LOOK.saturating_mul(looks.unsigned_abs()) < limits::LEDGER_BUSY_MAX
}

/// Opens a day file for reading.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, LedgerError> {
    let error = LedgerError::of_sqlite("open", path);
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(error)?;
    db.busy_timeout(limits::LEDGER_BUSY_MAX).map_err(error)?;
    Ok(db)
}

/// The format of a file; `None` when its tables do not exist yet.
pub(super) fn format_of(db: &Connection, path: &Path) -> Result<Option<i64>, LedgerError> {
    let numbers = "SELECT (SELECT count(*) FROM sqlite_schema), application_id, user_version
         FROM pragma_application_id, pragma_user_version";
    let (tables, application, format): (i64, i64, i64) = db
        .query_row(numbers, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .map_err(|source| LedgerError::from_sqlite("read", path, source))?;
    if application == 0 && tables == 0 {
        return Ok(None);
    }
    if application != APPLICATION {
        return Err(LedgerError::NotALedger { file: path.to_owned() });
    }
    if format > FORMAT {
        return Err(LedgerError::NewerFormat {
            file: path.to_owned(),
            found: format,
            known: FORMAT,
        });
    }
    Ok(Some(format))
}

/// Creates all tables in one transaction.
fn create_tables(db: &mut Connection, first: u64, heads: &Heads, lineage: &str) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(SCHEMA)?;
    transaction.execute_batch(&format!(
        "PRAGMA application_id={APPLICATION}; PRAGMA user_version={FORMAT};"
    ))?;
    transaction.execute(
        "INSERT INTO meta VALUES ('first_position', ?1), ('lineage', ?2), ('prices', 'millionths'),
            ('instants', 'microseconds since 1970-01-01T00:00:00Z')",
        params![sql_int(first), lineage],
    )?;
    for (channel, head) in heads {
        transaction.execute(
            "INSERT INTO heads VALUES (?1, ?2, ?3)",
            params![channel.to_string(), head.epoch.as_str(), sql_int(head.seq)],
        )?;
    }
    names::seal(&transaction)?;
    transaction.commit()
}

/// Gives the rows of a file of format 1 their check sums, all of them or none.
fn add_sums(db: &mut Connection) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (table, _, _) in summed_tables() {
        transaction.execute_batch(&format!(
            "ALTER TABLE {table} ADD COLUMN sum INTEGER NOT NULL DEFAULT 0"
        ))?;
    }
    write_sums(&transaction)?;
    names::seal(&transaction)?;
    transaction.execute_batch(&format!("PRAGMA user_version={FORMAT};"))?;
    transaction.commit()
}

/// The tables whose rows have a check sum: name, key, and how many columns it covers.
fn summed_tables() -> impl Iterator<Item = (&'static str, &'static str, usize)> {
    let events = Table::ALL.map(|table| (table.name(), "position", table.columns()));
    events.into_iter().chain([("inputs", "id", rows::INPUT_COLUMNS)])
}

/// Writes the check sum of each row as the row is now.
pub(crate) fn write_sums(db: &Connection) -> rusqlite::Result<()> {
    for (table, key, columns) in summed_tables() {
        let mut sums: Vec<(i64, u32)> = Vec::new();
        {
            let mut statement = db.prepare(&format!("SELECT * FROM {table}"))?;
            let mut found = statement.query([])?;
            while let Some(row) = found.next()? {
                sums.push((row.get(0)?, rows::sum_of_row(row, columns)?));
            }
        }
        let mut statement = db.prepare(&format!("UPDATE {table} SET sum = ?2 WHERE {key} = ?1"))?;
        for (row, sum) in sums {
            statement.execute(params![row, sum])?;
        }
    }
    Ok(())
}

/// Makes the name of a new file durable.
fn sync_folder(path: &Path) -> Result<(), LedgerError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| LedgerError::Folder {
            path: folder.to_owned(),
            source,
        })
}

/// The position of the first event that the file may hold.
pub(super) fn first_position(db: &Connection, path: &Path) -> Result<u64, LedgerError> {
    names::check(db, path)?;
    db.query_row("SELECT value FROM meta WHERE key = 'first_position'", [], |row| {
        row.get::<_, i64>(0)
    })
    .map(from_sql_int)
    .map_err(|source| LedgerError::from_sqlite("read meta of", path, source))
}

/// The name of this ledger among all ledgers. Positions of another ledger mean nothing here.
pub(super) fn read_lineage(db: &Connection, path: &Path) -> Result<String, LedgerError> {
    names::check(db, path)?;
    db.query_row("SELECT value FROM meta WHERE key = 'lineage'", [], |row| row.get(0))
        .map_err(|source| LedgerError::from_sqlite("read meta of", path, source))
}

/// The last position in the file, or the position before its first.
pub(super) fn last_position(db: &Connection, path: &Path) -> Result<u64, LedgerError> {
    let first = first_position(db, path)?;
    let last = db
        .query_row(
            "SELECT max(ifnull((SELECT max(position) FROM ticks), 0), ifnull((SELECT max(position) FROM bars), 0),
                        ifnull((SELECT max(position) FROM notes), 0))",
            [],
            |row| row.get::<_, i64>(0),
        )
        .map_err(|source| LedgerError::from_sqlite("read", path, source))?;
    Ok(from_sql_int(last).max(first.saturating_sub(1)))
}

/// The head of each channel after this file.
pub(super) fn read_heads(db: &Connection, path: &Path) -> Result<Heads, LedgerError> {
    const SQL: &str = "SELECT channel, epoch, max(seq, ifnull(CASE
            WHEN channel LIKE 'ticks:%' THEN (SELECT max(seq) FROM ticks WHERE symbol = substr(channel, 7))
            WHEN channel LIKE 'bars.%' THEN (SELECT max(b.seq) FROM bars b
                WHERE b.symbol = substr(channel, instr(channel, ':') + 1) AND b.interval = substr(channel, 6, instr(channel, ':') - 6))
            ELSE (SELECT max(n.seq) FROM notes n WHERE n.channel = heads.channel) END, 0)) FROM heads";
    heads_by(db, path, SQL)
}

/// The head of each channel before this file.
pub(super) fn heads_before(db: &Connection, path: &Path) -> Result<Heads, LedgerError> {
    heads_by(db, path, "SELECT channel, epoch, seq FROM heads")
}

fn heads_by(db: &Connection, path: &Path, sql: &str) -> Result<Heads, LedgerError> {
    names::check(db, path)?;
    let error = LedgerError::of_sqlite("read heads of", path);
    let mut statement = db.prepare(sql).map_err(error)?;
    let mut rows = statement.query([]).map_err(error)?;
    let mut heads = Heads::new();
    while let Some(row) = rows.next().map_err(error)? {
        let channel: String = row.get(0).map_err(error)?;
        let epoch: String = row.get(1).map_err(error)?;
        let seq = from_sql_int(row.get(2).map_err(error)?);
        let (channel, head) = read_head(&channel, &epoch, seq).map_err(|problem| LedgerError::Corrupt {
            file: path.to_owned(),
            table: "heads",
            row: 0,
            problem,
        })?;
        heads.insert(channel, head);
    }
    Ok(heads)
}

fn read_head(channel: &str, epoch: &str, seq: u64) -> Result<(Channel, Head), String> {
    let channel = channel.parse().map_err(|error| format!("{error}"))?;
    let epoch = epoch.parse().map_err(|error| format!("{error}"))?;
    Ok((channel, Head { epoch, seq }))
}

/// Converts to SQLite's signed integers; our numbers never reach the sign.
pub(super) fn sql_int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The inverse of [`sql_int`]. A negative number, which is never written, becomes 0 and is then detected as out of order.
pub(super) fn from_sql_int(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
