//! The embedded store: one SQLite file through diesel, without a server or set-up.

mod columns;
mod write;

use crate::domain::history::History;
use crate::domain::model::{Position, Symbol, Timestamp, VendorBar};
use crate::lock_file::LockFile;
use crate::schema::sqlite::{candela_events, gaps, market_data, reader_positions, realtime_market_data, system_health};
use crate::store::{
    adopt::Adoption,
    answer::NumberOut,
    batch::Batch,
    error::{Disposition, StoreError},
    l0::{ExampleOut, HistoryQuery, RowOut, bind_examples, from_rows, with_examples},
    migrate::{self, Failure, Migrate, SQLITE},
    query::HealthRow,
    refusals::Refusals,
    rows::SOURCE,
    sql::Dialect,
    values::Instant,
};
use diesel::connection::SimpleConnection;
use diesel::dsl::max;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{Integer, Text};
use diesel::{Connection, ExpressionMethods, IntoSql, OptionalExtension, QueryDsl, RunQueryDsl, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use tokio::sync::Mutex;
use write::{advance_position, insert_rejected, write};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const SQL: Dialect = Dialect::Sqlite;

/// A store in one file. Cheap to clone.
#[derive(Clone)]
pub struct Sqlite {
    path: PathBuf,
    writing: Arc<Mutex<SqliteConnection>>,
    reading: Arc<Mutex<SqliteConnection>>,
    /// For reading bars column by column; opened on first use.
    columns: Arc<Mutex<Option<rusqlite::Connection>>>,
    /// Recent results for each kind of row.
    refusals: Arc<std::sync::Mutex<Refusals>>,
    /// Locks the file for this process.
    _lock: Option<Arc<LockFile>>,
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sqlite").field(&self.path).finish()
    }
}

impl Sqlite {
    /// Opens the file, creating it if there is none, and migrates its tables. Blocks for some milliseconds.
    ///
    /// # Errors
    /// [`StoreError::BadFile`] when it cannot be opened or is not a database; [`StoreError::NewerSchema`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::migrate_schema(path, Migrate::Run)?;
        Ok(Self {
            path: path.to_owned(),
            writing: Arc::new(Mutex::new(open_connection(path)?)),
            reading: Arc::new(Mutex::new(open_connection(path)?)),
            columns: Arc::default(),
            refusals: Arc::default(),
            _lock: None,
        })
    }

    /// Recent results for each kind of row.
    pub(super) fn refusals(&self) -> Refusals {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the results for the next batch.
    pub(super) fn keep_refusals(&self, refusals: &Refusals) {
        self.refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(refusals);
    }

    pub(super) fn held_by(self, lock: Arc<LockFile>) -> Self {
        Self {
            _lock: Some(lock),
            ..self
        }
    }

    /// Checks, runs or reverts migrations. Returns the names of the migrations that are missing, were run or were reverted. A check creates
    /// no file.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be opened, or is of a newer version.
    pub fn migrate_schema(path: &Path, what: Migrate) -> Result<Vec<String>, StoreError> {
        if what == Migrate::Check && !path.exists() {
            return migrate::migration_names::<diesel::sqlite::Sqlite>(&MIGRATIONS);
        }
        if what == Migrate::Run {
            make_folder(path)?;
        }
        let mut db = open_connection(path)?;
        let applied = db
            .applied_migrations()
            .map_err(|error| unusable_file(path, error.to_string()))?;
        let applied: Vec<String> = applied.iter().map(ToString::to_string).collect();
        migrate::run_migration(
            &mut db,
            MIGRATIONS,
            &applied,
            what,
            SQLITE,
            |db: &mut SqliteConnection, question: &str| {
                let found = diesel::sql_query(question).get_result::<NumberOut>(db);
                found
                    .map(|row| row.number)
                    .map_err(|error| unusable_file(path, error.to_string()))
            },
        )
        .map_err(|failure| match failure {
            Failure::Refused(error) => error,
            Failure::Step(error) => unusable_file(path, error.to_string()),
        })
    }

    pub(super) async fn write_once(&self, batch: &Batch) -> Result<(), StoreError> {
        let batch = batch.clone();
        with_connection(&self.writing, move |db| {
            db.immediate_transaction(|db| write(db, &batch, &batch.to_rows()))
        })
        .await
    }

    /// Whether these rows would be accepted now. They are not written.
    pub(super) async fn would_take(&self, batch: &Batch) -> Result<bool, StoreError> {
        let batch = batch.clone();
        let tried = with_connection(&self.writing, move |db| {
            Ok(db.immediate_transaction::<(), DieselError, _>(|db| {
                write(db, &batch, &batch.to_rows())?;
                Err(DieselError::RollbackTransaction)
            }))
        });
        match tried.await? {
            Ok(()) | Err(DieselError::RollbackTransaction) => Ok(true),
            Err(error) => match sort_error(error) {
                error if error.disposition() == Disposition::Isolate => Ok(false),
                error => Err(error),
            },
        }
    }

    pub(super) async fn reject_batch(&self, batch: &Batch, reason: String) -> Result<(), StoreError> {
        let batch = batch.clone();
        with_connection(&self.writing, move |db| {
            db.immediate_transaction(|db| {
                insert_rejected(db, &batch, &reason)?;
                advance_position(db, batch.reader, &batch.lineage, batch.last_position())
            })
        })
        .await
    }

    pub(super) async fn reader_position(&self, reader: &'static str, lineage: String) -> Result<Position, StoreError> {
        let row = with_connection(&self.reading, move |db| {
            reader_positions::table
                .find((reader, lineage))
                .select(reader_positions::position)
                .get_result::<i64>(db)
                .optional()
        })
        .await?;
        Ok(Position(row.map_or(0, |position| u64::try_from(position).unwrap_or(0))))
    }

    pub(super) async fn ledger_positions(&self, reader: &'static str) -> Result<Vec<(String, i64)>, StoreError> {
        with_connection(&self.reading, move |db| {
            let read: Vec<(String, i64)> = reader_positions::table
                .filter(reader_positions::reader.eq(reader))
                .select((reader_positions::lineage, reader_positions::position))
                .load(db)?;
            let told: Vec<(String, Option<i64>)> = candela_events::table
                .group_by(candela_events::lineage)
                .select((candela_events::lineage, max(candela_events::position)))
                .load(db)?;
            let mut known = BTreeMap::new();
            let told = told
                .into_iter()
                .map(|(lineage, position)| (lineage, position.unwrap_or(0)));
            for (lineage, position) in read.into_iter().chain(told) {
                let furthest = known.entry(lineage).or_insert(position);
                *furthest = position.max(*furthest);
            }
            Ok(known.into_iter().collect())
        })
        .await
    }

    pub(super) async fn adopt_lineage(&self, adoption: Adoption) -> Result<(), StoreError> {
        with_connection(&self.writing, move |db| {
            db.immediate_transaction(|db| {
                for (symbol, then, now, seq) in &adoption.gaps {
                    let both_have = gaps::table
                        .filter(gaps::symbol.eq(symbol))
                        .filter(gaps::epoch.eq(then))
                        .filter(gaps::seq.le(seq));
                    diesel::update(both_have).set(gaps::epoch.eq(now)).execute(db)?;
                }
                advance_position(db, adoption.reader, &adoption.lineage, adoption.position)
            })
        })
        .await
    }

    /// Runs `work` on the connection for reading.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, DieselError> + Send + 'static,
    ) -> Result<T, StoreError> {
        with_connection(&self.reading, work).await
    }

    pub(super) async fn record_health(&self, row: HealthRow) -> Result<(), StoreError> {
        with_connection(&self.writing, move |db| {
            let health = (
                system_health::service_name.eq(SOURCE),
                system_health::status.eq(row.status),
                system_health::details.eq(row.details.to_string()),
                system_health::response_time_ms.eq(row.response_ms.map(i64::from)),
                system_health::error_message.eq(row.error),
                system_health::created_at.eq(row.at.micros()),
            );
            diesel::insert_into(system_health::table)
                .values(health)
                .execute(db)
                .map(drop)
        })
        .await
    }

    pub(super) async fn read_history(&self, query: HistoryQuery) -> Result<History, StoreError> {
        with_connection(&self.reading, move |db| {
            let rows: Vec<RowOut> = diesel::sql_query(SQL.select_history(&query.table))
                .bind::<Text, _>(query.table.symbol(query.symbol))
                .load(db)?;
            let history = from_rows(&rows);
            let examples: Vec<ExampleOut> =
                bind_examples!(SQL.history_examples(&query.table, &history), query).load(db)?;
            Ok(with_examples(history, examples))
        })
        .await
    }

    pub(super) async fn forget_ticks(&self, before: Timestamp, limit: u32) -> Result<usize, StoreError> {
        with_connection(&self.writing, move |db| {
            let oldest = diesel::alias!(realtime_market_data as oldest);
            let ids = oldest
                .filter(oldest.field(realtime_market_data::time).lt(Instant(before)))
                .filter(oldest.field(realtime_market_data::source).eq(SOURCE))
                .order(oldest.field(realtime_market_data::time))
                .limit(i64::from(limit))
                .select(oldest.field(realtime_market_data::id));
            diesel::delete(realtime_market_data::table)
                .filter(realtime_market_data::id.eq_any(ids))
                .execute(db)
        })
        .await
    }

    /// Adds bars as a history pipeline does, with source `l0`; existing bars stay. For the demo, which has no pipeline.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be written; none of them is added then.
    pub async fn prepare_history(&self, symbol: Symbol, bars: Vec<VendorBar>) -> Result<(), StoreError> {
        with_connection(&self.writing, move |db| {
            db.immediate_transaction(|db| {
                for bar in &bars {
                    let row = (
                        market_data::symbol.eq(symbol.compact()),
                        market_data::datetime.eq(Instant(bar.opens_at)),
                        market_data::open.eq(bar.ohlc.open.micros()),
                        market_data::high.eq(bar.ohlc.high.micros()),
                        market_data::low.eq(bar.ohlc.low.micros()),
                        market_data::close.eq(bar.ohlc.close.micros()),
                        market_data::source.eq("l0"),
                    );
                    let insert = diesel::insert_into(market_data::table).values(row);
                    insert.on_conflict_do_nothing().execute(db)?;
                }
                Ok(())
            })
        })
        .await
    }

    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        with_connection(&self.reading, |db| {
            diesel::select(1_i32.into_sql::<Integer>()).execute(db).map(drop)
        })
        .await
    }
}

/// Runs `work` on a connection, on a thread that may block. Waiting for the connection blocks no thread, because each would hold on to the
/// memory of its last answer. A connection whose work panicked is used again: SQLite rolled the transaction back when it was dropped.
async fn with_connection<T: Send + 'static>(
    connection: &Arc<Mutex<SqliteConnection>>,
    work: impl FnOnce(&mut SqliteConnection) -> Result<T, DieselError> + Send + 'static,
) -> Result<T, StoreError> {
    let mut connection = Arc::clone(connection).lock_owned().await;
    tokio::task::spawn_blocking(move || work(&mut connection).map_err(sort_error))
        .await
        .map_err(|error| StoreError::Other(error.to_string()))?
}

fn open_connection(path: &Path) -> Result<SqliteConnection, StoreError> {
    let mut db =
        SqliteConnection::establish(&path.to_string_lossy()).map_err(|error| unusable_file(path, error.to_string()))?;
    db.batch_execute("PRAGMA busy_timeout=5000; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")
        .map_err(|error| unusable_file(path, error.to_string()))?;
    Ok(db)
}

/// Creates the folder of the file, as the ledger does for its own.
fn make_folder(path: &Path) -> Result<(), StoreError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(|error| unusable_file(path, format!("its folder cannot be made: {error}")))
}

fn unusable_file(path: &Path, problem: String) -> StoreError {
    StoreError::BadFile {
        file: path.to_owned(),
        problem,
    }
}

/// Classifies SQLite's errors, which diesel passes on as texts.
fn sort_error(error: DieselError) -> StoreError {
    let text = error.to_string();
    match &error {
        DieselError::DatabaseError(
            DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::CheckViolation
            | DatabaseErrorKind::ForeignKeyViolation,
            _,
        ) => StoreError::RowRefused(text),
        _ if text.contains("constraint failed") => StoreError::RowRefused(text),
        _ if text.contains("is full") => StoreError::Full(text),
        _ if text.contains("locked") || text.contains("busy") => StoreError::Conflict(text),
        _ if text.contains("no such table") || text.contains("no such column") => StoreError::WrongTables(text),
        _ if text.contains("readonly") => StoreError::NotAllowed(text),
        _ if text.contains("disk I/O") || text.contains("unable to open") => StoreError::Unreachable(text),
        _ if text.contains("malformed") || text.contains("not a database") => StoreError::Other(text),
        DieselError::DeserializationError(_) => StoreError::from_damage(text),
        // The text of a trigger is all that is known of its refusal.
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, _) => StoreError::Refused(text),
        _ => StoreError::Other(text),
    }
}
