//! The embedded store: one SQLite file through diesel. No server, no set-up.

use crate::domain::channel::Topic;
use crate::domain::event::{Numbered, Position, SessionPhase, VendorBar};
use crate::domain::price::Price;
use crate::domain::seam::SeamBars;
use crate::domain::symbol::Symbol;
use crate::domain::tally::History;
use crate::domain::timestamp::Timestamp;
use crate::schema::realtime_market_data;
use crate::store::adopt::Adoption;
use crate::store::answer::{BarOut, GapOut, NumberOut, SessionOut, TickOut};
use crate::store::batch::Batch;
use crate::store::bind::{
    bind_advance, bind_bar, bind_bars, bind_close_session, bind_gap, bind_gaps, bind_health, bind_open_session,
    bind_reject, bind_ticks,
};
use crate::store::error::StoreError;
use crate::store::l0::{ExampleOut, HistoryQuery, RowOut, bind_examples, from_rows, seam_bars, with_examples};
use crate::store::log::{self, LogQuery, LogSpan, SpanOut, bind_log, bind_quality};
use crate::store::migrate::{self, Failure, Migrate, SQLITE};
use crate::store::query::{BarQuery, GapQuery, HealthRow, StoredBar, StoredGap, StoredSession, StoredTick, TickQuery};
use crate::store::rows::{Rows, SOURCE, TickRow};
use crate::store::sql::Dialect;
use diesel::connection::SimpleConnection;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{BigInt, Text};
use diesel::{Connection, Insertable, OptionalExtension, RunQueryDsl, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const SQL: Dialect = Dialect::Sqlite;

/// A store in one file. Cheap to clone.
#[derive(Clone)]
pub struct Sqlite {
    path: PathBuf,
    writing: Arc<Mutex<SqliteConnection>>,
    reading: Arc<Mutex<SqliteConnection>>,
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sqlite").field(&self.path).finish()
    }
}

impl Sqlite {
    /// Opens the file, making it when there is none, and brings its tables up to date. Blocks for some milliseconds.
    ///
    /// # Errors
    /// [`StoreError::BadFile`] when it cannot be opened or is no database; [`StoreError::NewerSchema`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::migrate(path, Migrate::Run)?;
        Ok(Self {
            path: path.to_owned(),
            writing: Arc::new(Mutex::new(connect(path)?)),
            reading: Arc::new(Mutex::new(connect(path)?)),
        })
    }

    /// Checks, runs or reverts migrations; returns the names of those that are missing, were done or were undone. A check
    /// makes no file.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be opened, or is of a newer version.
    pub fn migrate(path: &Path, what: Migrate) -> Result<Vec<String>, StoreError> {
        if what == Migrate::Check && !path.exists() {
            return migrate::names::<diesel::sqlite::Sqlite>(&MIGRATIONS);
        }
        let mut db = connect(path)?;
        let applied = db.applied_migrations().map_err(|error| bad(path, error.to_string()))?;
        let applied: Vec<String> = applied.iter().map(ToString::to_string).collect();
        let count = |db: &mut SqliteConnection, question: &str| {
            let found = diesel::sql_query(question).get_result::<NumberOut>(db);
            found
                .map(|row| row.number)
                .map_err(|error| bad(path, error.to_string()))
        };
        migrate::act(&mut db, MIGRATIONS, &applied, what, SQLITE, count).map_err(|failure| match failure {
            Failure::Refused(error) => error,
            Failure::Step(error) => bad(path, error.to_string()),
        })
    }

    pub(super) async fn write_once(&self, batch: &Batch) -> Result<(), StoreError> {
        let batch = batch.clone();
        run(&self.writing, move |db| {
            db.immediate_transaction(|db| write(db, &batch, &batch.rows()))
        })
        .await
    }

    pub(super) async fn reject(&self, batch: &Batch, reason: String) -> Result<(), StoreError> {
        let batch = batch.clone();
        run(&self.writing, move |db| {
            db.immediate_transaction(|db| {
                bind_reject!(SQL.reject(), batch, reason).execute(db)?;
                bind_advance!(SQL.advance(), batch).execute(db).map(drop)
            })
        })
        .await
    }

    pub(super) async fn position(&self, reader: &'static str, lineage: String) -> Result<Position, StoreError> {
        let row = run(&self.reading, move |db| {
            diesel::sql_query(SQL.position())
                .bind::<Text, _>(reader)
                .bind::<Text, _>(lineage)
                .get_result::<NumberOut>(db)
                .optional()
        })
        .await?;
        Ok(Position(row.map_or(0, |row| u64::try_from(row.number).unwrap_or(0))))
    }

    pub(super) async fn adopt(&self, adoption: Adoption) -> Result<(), StoreError> {
        run(&self.writing, move |db| {
            db.immediate_transaction(|db| {
                for (symbol, then, now, seq) in &adoption.gaps {
                    diesel::sql_query(SQL.rename_gaps())
                        .bind::<Text, _>(symbol)
                        .bind::<Text, _>(then)
                        .bind::<Text, _>(now)
                        .bind::<BigInt, _>(seq)
                        .execute(db)?;
                }
                diesel::sql_query(SQL.advance())
                    .bind::<Text, _>(adoption.reader)
                    .bind::<Text, _>(&adoption.lineage)
                    .bind::<BigInt, _>(adoption.position)
                    .execute(db)
                    .map(drop)
            })
        })
        .await
    }

    pub(super) async fn bars(&self, query: BarQuery) -> Result<Vec<StoredBar>, StoreError> {
        let asked = query.clone();
        let rows: Vec<BarOut> = run(&self.reading, move |db| match asked.as_of {
            Some(as_of) => bind_bars!(SQL.bars_as_of(asked.interval, asked.latest), &asked)
                .bind::<BigInt, _>(as_of.micros())
                .load(db),
            None => bind_bars!(SQL.bars(asked.interval, asked.latest), &asked).load(db),
        })
        .await?;
        let bars = rows.into_iter().map(|row| row.into_bar(&query));
        bars.collect::<Result<_, _>>()
            .map_err(|damage| damage.of("market_data"))
    }

    pub(super) async fn ticks(&self, query: TickQuery) -> Result<Vec<StoredTick>, StoreError> {
        let symbol = query.symbol;
        let rows: Vec<TickOut> = run(&self.reading, move |db| {
            bind_ticks!(SQL.ticks(query.above()), &query).load(db)
        })
        .await?;
        let ticks = rows.into_iter().map(|row| row.into_tick(symbol));
        ticks
            .collect::<Result<_, _>>()
            .map_err(|damage| damage.of("realtime_market_data"))
    }

    pub(super) async fn latest(&self, symbol: Symbol) -> Result<Option<StoredTick>, StoreError> {
        let row: Option<TickOut> = run(&self.reading, move |db| {
            diesel::sql_query(SQL.latest_tick())
                .bind::<Text, _>(symbol.compact())
                .get_result(db)
                .optional()
        })
        .await?;
        let tick = row.map(|row| row.into_tick(symbol)).transpose();
        tick.map_err(|damage| damage.of("realtime_market_data"))
    }

    pub(super) async fn gaps(&self, query: GapQuery) -> Result<Vec<StoredGap>, StoreError> {
        let asked = query.clone();
        let rows: Vec<GapOut> = run(&self.reading, move |db| bind_gaps!(SQL.gaps(), &asked).load(db)).await?;
        let gaps = rows.into_iter().map(|row| row.into_gap(&query));
        gaps.collect::<Result<_, _>>().map_err(|damage| damage.of("gaps"))
    }

    pub(super) async fn log_span(&self, query: LogQuery, before: Option<Timestamp>) -> Result<LogSpan, StoreError> {
        let row: SpanOut = run(&self.reading, move |db| {
            bind_log!(SQL.log_span(query.channel.topic), &query, log::instant(before)).get_result(db)
        })
        .await?;
        Ok(row.into_span(&query))
    }

    pub(super) async fn log(&self, query: LogQuery, limit: u32) -> Result<Vec<Numbered>, StoreError> {
        let (topic, limit) = (query.channel.topic, i64::from(limit));
        if topic == Topic::Quality {
            let rows = run(&self.reading, move |db| {
                bind_log!(SQL.log_of_quality(topic), &query, limit).load(db)
            });
            return log::quality_of(rows.await?, &query);
        }
        let rows = run(&self.reading, move |db| {
            bind_log!(SQL.log_of_bars(topic), &query, limit).load(db)
        });
        log::bars_of(rows.await?, &query)
    }

    pub(super) async fn sessions(&self, limit: u32) -> Result<Vec<StoredSession>, StoreError> {
        let rows: Vec<SessionOut> = run(&self.reading, move |db| {
            diesel::sql_query(SQL.sessions())
                .bind::<BigInt, _>(i64::from(limit))
                .load(db)
        })
        .await?;
        let sessions = rows.into_iter().map(SessionOut::into_session);
        sessions
            .collect::<Result<_, _>>()
            .map_err(|damage| damage.of("market_sessions"))
    }

    pub(super) async fn record_health(&self, row: HealthRow) -> Result<(), StoreError> {
        run(&self.writing, move |db| {
            bind_health!(SQL.health(), &row).execute(db).map(drop)
        })
        .await
    }

    pub(super) async fn history(&self, query: HistoryQuery) -> Result<History, StoreError> {
        run(&self.reading, move |db| {
            let rows: Vec<RowOut> = diesel::sql_query(SQL.history(&query.table))
                .bind::<Text, _>(query.table.symbol(query.symbol))
                .load(db)?;
            let history = from_rows(&rows);
            let examples: Vec<ExampleOut> =
                bind_examples!(SQL.history_examples(&query.table, &history), query).load(db)?;
            Ok(with_examples(history, examples))
        })
        .await
    }

    pub(super) async fn seam_bars(&self, query: HistoryQuery) -> Result<SeamBars, StoreError> {
        let rows = run(&self.reading, move |db| {
            bind_examples!(SQL.seam(&query.table), query).load(db)
        });
        rows.await.map(seam_bars)
    }

    pub(super) async fn forget_ticks(&self, before: Timestamp, limit: u32) -> Result<usize, StoreError> {
        run(&self.writing, move |db| {
            diesel::sql_query(SQL.forget_ticks())
                .bind::<BigInt, _>(before.micros())
                .bind::<BigInt, _>(i64::from(limit))
                .execute(db)
        })
        .await
    }

    /// Adds bars the way a history pipeline does, with source `l0`; those that are there stay. For the demo, beside which no
    /// pipeline runs.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be written; none of them is there then.
    pub async fn prepare_history(&self, symbol: Symbol, bars: Vec<VendorBar>) -> Result<(), StoreError> {
        const INSERT: &str = "INSERT INTO market_data (symbol, datetime, open, high, low, close, source) \
                              VALUES (?, ?, ?, ?, ?, ?, 'l0') ON CONFLICT DO NOTHING";
        run(&self.writing, move |db| {
            db.immediate_transaction(|db| {
                for bar in &bars {
                    let insert = diesel::sql_query(INSERT)
                        .bind::<Text, _>(symbol.compact())
                        .bind::<BigInt, _>(bar.opens_at.micros());
                    let [open, high, low, close] =
                        [bar.ohlc.open, bar.ohlc.high, bar.ohlc.low, bar.ohlc.close].map(Price::micros);
                    insert
                        .bind::<BigInt, _>(open)
                        .bind::<BigInt, _>(high)
                        .bind::<BigInt, _>(low)
                        .bind::<BigInt, _>(close)
                        .execute(db)?;
                }
                Ok(())
            })
        })
        .await
    }

    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        run(&self.reading, |db| diesel::sql_query("SELECT 1").execute(db).map(drop)).await
    }
}

/// Runs `work` on a connection, on a thread that may block. Who waits for the connection keeps no thread waiting: each would hold
/// on to the memory of its last answer. A connection whose work panicked is used again: SQLite rolled the transaction back when it
/// was dropped.
async fn run<T: Send + 'static>(
    connection: &Arc<Mutex<SqliteConnection>>,
    work: impl FnOnce(&mut SqliteConnection) -> Result<T, DieselError> + Send + 'static,
) -> Result<T, StoreError> {
    let mut connection = Arc::clone(connection).lock_owned().await;
    tokio::task::spawn_blocking(move || work(&mut connection).map_err(sort))
        .await
        .map_err(|error| StoreError::Other(error.to_string()))?
}

fn connect(path: &Path) -> Result<SqliteConnection, StoreError> {
    let mut db = SqliteConnection::establish(&path.to_string_lossy()).map_err(|error| bad(path, error.to_string()))?;
    db.batch_execute("PRAGMA busy_timeout=5000; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")
        .map_err(|error| bad(path, error.to_string()))?;
    Ok(db)
}

fn bad(path: &Path, problem: String) -> StoreError {
    StoreError::BadFile {
        file: path.to_owned(),
        problem,
    }
}

fn write(db: &mut SqliteConnection, batch: &Batch, rows: &Rows) -> Result<(), DieselError> {
    for tick in &rows.ticks {
        diesel::insert_into(realtime_market_data::table)
            .values(NewTick::of(tick))
            .on_conflict_do_nothing()
            .execute(db)?;
    }
    for row in &rows.bars {
        bind_bar!(SQL.upsert_bar(row.bar.key.interval), row).execute(db)?;
        bind_bar!(SQL.insert_revision(), row).execute(db)?;
    }
    for row in &rows.gaps {
        bind_gap!(SQL.upsert_gap(), row).execute(db)?;
    }
    for row in &rows.quality {
        bind_quality!(SQL.insert_quality(), row).execute(db)?;
    }
    for change in &rows.sessions {
        match change.phase {
            SessionPhase::Closed => bind_close_session!(SQL.close_session(change.symbol), change).execute(db)?,
            _ => bind_open_session!(SQL.open_session(change.symbol), change).execute(db)?,
        };
    }
    for date in rows.session_dates() {
        let recount = diesel::sql_query(SQL.recount_session()).bind::<Text, _>(date.to_string());
        recount.execute(db)?;
    }
    bind_advance!(SQL.advance(), batch).execute(db).map(drop)
}

#[derive(Insertable)]
#[diesel(table_name = realtime_market_data, treat_none_as_default_value = false)]
struct NewTick<'r> {
    symbol: &'r str,
    time: i64,
    bid: Option<i64>,
    ask: Option<i64>,
    last: i64,
    spread: Option<i64>,
    session_date: String,
    source: &'static str,
    epoch: &'r str,
    seq: i64,
    event_time: i64,
    provenance: &'static str,
}

impl<'r> NewTick<'r> {
    fn of(row: &'r TickRow) -> Self {
        Self {
            symbol: &row.symbol,
            time: row.time.micros(),
            bid: row.bid.map(Price::micros),
            ask: row.ask.map(Price::micros),
            last: row.last.micros(),
            spread: row.spread().map(Price::micros),
            session_date: row.session_date.to_string(),
            source: SOURCE,
            epoch: row.epoch.as_str(),
            seq: row.seq,
            event_time: row.event_time.micros(),
            provenance: row.provenance,
        }
    }
}

/// SQLite's errors reach diesel as texts.
fn sort(error: DieselError) -> StoreError {
    let text = error.to_string();
    let has = |part: &str| text.contains(part);
    match &error {
        DieselError::DatabaseError(
            DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::CheckViolation
            | DatabaseErrorKind::ForeignKeyViolation,
            _,
        ) => StoreError::RowRefused(text),
        _ if has("constraint failed") => StoreError::RowRefused(text),
        _ if has("is full") => StoreError::Full(text),
        _ if has("locked") || has("busy") => StoreError::Conflict(text),
        _ if has("no such table") || has("no such column") => StoreError::WrongTables(text),
        _ if has("readonly") => StoreError::NotAllowed(text),
        _ if has("disk I/O") || has("unable to open") => StoreError::Unreachable(text),
        _ => StoreError::Other(text),
    }
}
