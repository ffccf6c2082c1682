//! The PostgreSQL store: a bounded pool for those who read, one connection for the Writer, migrations before either.

mod copy;
mod migrate;
mod sort;
mod tls;
mod types;
mod url;
mod write;

use crate::domain::channel::Topic;
use crate::domain::event::{Numbered, Position};
use crate::domain::seam::SeamBars;
use crate::domain::symbol::Symbol;
use crate::domain::tally::History;
use crate::domain::timestamp::Timestamp;
use crate::limits;
use crate::store::answer::{BarOut, GapOut, SessionOut, TickOut};
use crate::store::batch::Batch;
use crate::store::bind::{bind_bars, bind_gaps, bind_health, bind_ticks};
use crate::store::error::StoreError;
use crate::store::l0::{ExampleOut, Half, HalfOut, HistoryQuery, bind_examples, from_ends, seam_bars, with_halves};
use crate::store::log::{self, LogQuery, LogSpan, SpanOut, bind_log};
use crate::store::migrate::Migrate;
use crate::store::query::{BarQuery, GapQuery, HealthRow, StoredBar, StoredGap, StoredSession, StoredTick, TickQuery};
use crate::store::sql::Dialect;
use diesel::OptionalExtension;
use diesel::result::Error as DieselError;
use diesel::sql_types::{BigInt, Text};
use diesel_async::pooled_connection::bb8::{Pool, PooledConnection, RunError};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::{FutureExt, future};
use secrecy::{ExposeSecret, SecretString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_postgres::{Client, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Address;
use write::Link;

const SQL: Dialect = Dialect::Postgres;

/// Limits that the server keeps for us: they hold whatever becomes of this process.
const SERVER_LIMITS: &str =
    "SET statement_timeout = '25s'; SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '30s'";

/// A PostgreSQL database. Cheap to clone; clones share pool and writing connection.
#[derive(Clone)]
pub struct Postgres {
    way: Arc<Way>,
    pool: Pool<AsyncPgConnection>,
    link: Arc<tokio::sync::Mutex<Option<Link>>>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive() // the address holds a password
    }
}

/// How connections are made.
struct Way {
    address: Address,
    tls: MakeRustlsConnect,
    /// Why the last one was not had; nothing when it was.
    refusal: Mutex<Option<StoreError>>,
}

type Tls = <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream;

impl Way {
    async fn connect(&self) -> Result<(Client, Connection<Socket, Tls>), StoreError> {
        let greeting = tokio::time::timeout(limits::POSTGRES_GREETING, self.address.config.connect(self.tls.clone()));
        let made = match greeting.await {
            Ok(made) => made.map_err(|error| sort::sort(&error)),
            Err(_) => Err(StoreError::Slow("it took too long to let us in".to_owned())),
        };
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = made.as_ref().err().cloned();
        made
    }

    fn refusal(&self) -> Option<StoreError> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Postgres {
    /// Reads the URL. Connects to nothing yet: the server may come later.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`].
    pub fn new(url: &SecretString, connections: u32) -> Result<Self, StoreError> {
        let address = Address::parse(url.expose_secret())?;
        let tls = tls::connector(&address)?;
        let way = Arc::new(Way {
            address,
            tls,
            refusal: Mutex::default(),
        });
        let mut config = ManagerConfig::default();
        config.recycling_method = RecyclingMethod::Fast;
        let ways = Arc::clone(&way);
        config.custom_setup = Box::new(move |_| {
            let way = Arc::clone(&ways);
            async move { diesel_connection(&way).await }.boxed()
        });
        let manager = AsyncDieselConnectionManager::new_with_config("", config);
        let pool = Pool::builder()
            .max_size(connections.max(1))
            .connection_timeout(limits::POSTGRES_POOL_WAIT)
            .build_unchecked(manager);
        Ok(Self {
            way,
            pool,
            link: Arc::default(),
        })
    }

    /// Checks, runs or reverts migrations; returns the names of those that are missing, were done or were undone.
    ///
    /// # Errors
    /// [`StoreError`]: also when the database knows a migration that this binary does not.
    pub async fn migrate(&self, what: Migrate) -> Result<Vec<String>, StoreError> {
        let (client, connection) = self.way.connect().await?;
        let connection = AsyncPgConnection::try_from_client_and_connection(client, connection).await;
        migrate::migrate(connection.map_err(|e| StoreError::Unreachable(sort::chain(&e)))?, what).await
    }

    pub(super) async fn write_once(&self, batch: &Batch) -> Result<(), StoreError> {
        let batch = batch.clone();
        self.with_link(async move |link| link.write(&batch).await).await
    }

    pub(super) async fn reject(&self, batch: &Batch, reason: String) -> Result<(), StoreError> {
        let batch = batch.clone();
        self.with_link(async move |link| link.reject(&batch, &reason).await)
            .await
    }

    pub(super) async fn position(&self, reader: &'static str, lineage: String) -> Result<Position, StoreError> {
        let position = self
            .with_link(async move |link| link.position(reader, &lineage).await)
            .await?;
        Ok(Position(u64::try_from(position).unwrap_or(0)))
    }

    /// Works on the writing connection, making it, and the tables, first when need be. Any trouble but that of a row, a lock or a
    /// place closes it: what it had begun is rolled back there, and a new one may find another server, or other rights.
    async fn with_link<T>(&self, work: impl AsyncFnOnce(&mut Link) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut slot = self.link.lock().await;
        let mut link = match slot.take().filter(|link| !link.client.is_closed()) {
            Some(link) => link,
            None => self.open_link().await?,
        };
        let answers = link.answers();
        let done = while_answered(&answers, work(&mut link)).await;
        let kept = |error: &StoreError| {
            matches!(
                error,
                StoreError::Conflict(_) | StoreError::RowRefused(_) | StoreError::Behind { .. }
            )
        };
        if done.as_ref().err().is_none_or(kept) {
            *slot = Some(link);
        }
        done
    }

    async fn open_link(&self) -> Result<Link, StoreError> {
        self.migrate(Migrate::Run).await?;
        let (client, connection) = self.way.connect().await?;
        drive(connection);
        client.batch_execute(SERVER_LIMITS).await.map_err(|e| sort::sort(&e))?;
        Ok(Link::new(client))
    }

    async fn connection(&self) -> Result<PooledConnection<'_, AsyncPgConnection>, StoreError> {
        self.pool.get().await.map_err(|error| match error {
            RunError::TimedOut => {
                let unknown = || StoreError::Unreachable("no connection could be had in time".to_owned());
                self.way.refusal().unwrap_or_else(unknown)
            }
            RunError::User(error) => StoreError::Unreachable(error.to_string()),
        })
    }

    pub(super) async fn bars(&self, query: BarQuery) -> Result<Vec<StoredBar>, StoreError> {
        let mut db = self.connection().await?;
        let rows: Vec<BarOut> = match query.as_of {
            Some(as_of) => {
                let asked = bind_bars!(SQL.bars_as_of(query.interval, query.latest), &query);
                let asked = asked.bind::<BigInt, _>(as_of.micros());
                in_time(asked.load(&mut db)).await?
            }
            None => in_time(bind_bars!(SQL.bars(query.interval, query.latest), &query).load(&mut db)).await?,
        };
        let bars = rows.into_iter().map(|row| row.into_bar(&query));
        bars.collect::<Result<_, _>>()
            .map_err(|damage| damage.of("market_data"))
    }

    pub(super) async fn ticks(&self, query: TickQuery) -> Result<Vec<StoredTick>, StoreError> {
        let mut db = self.connection().await?;
        let rows: Vec<TickOut> = in_time(bind_ticks!(SQL.ticks(query.above()), &query).load(&mut db)).await?;
        let ticks = rows.into_iter().map(|row| row.into_tick(query.symbol));
        ticks
            .collect::<Result<_, _>>()
            .map_err(|damage| damage.of("realtime_market_data"))
    }

    pub(super) async fn latest(&self, symbol: Symbol) -> Result<Option<StoredTick>, StoreError> {
        let mut db = self.connection().await?;
        let asked = diesel::sql_query(SQL.latest_tick()).bind::<Text, _>(symbol.compact());
        let row: Option<TickOut> = in_time(asked.get_result(&mut db).map(OptionalExtension::optional)).await?;
        let tick = row.map(|row| row.into_tick(symbol)).transpose();
        tick.map_err(|damage| damage.of("realtime_market_data"))
    }

    pub(super) async fn gaps(&self, query: GapQuery) -> Result<Vec<StoredGap>, StoreError> {
        let mut db = self.connection().await?;
        let rows: Vec<GapOut> = in_time(bind_gaps!(SQL.gaps(), &query).load(&mut db)).await?;
        let gaps = rows.into_iter().map(|row| row.into_gap(&query));
        gaps.collect::<Result<_, _>>().map_err(|damage| damage.of("gaps"))
    }

    pub(super) async fn log_span(&self, query: LogQuery, before: Option<Timestamp>) -> Result<LogSpan, StoreError> {
        let mut db = self.connection().await?;
        let asked = bind_log!(SQL.log_span(query.channel.topic), &query, log::instant(before));
        let row: SpanOut = in_time(asked.get_result(&mut db)).await?;
        Ok(row.into_span(&query))
    }

    pub(super) async fn log(&self, query: LogQuery, limit: u32) -> Result<Vec<Numbered>, StoreError> {
        let mut db = self.connection().await?;
        let (topic, limit) = (query.channel.topic, i64::from(limit));
        if topic == Topic::Quality {
            let asked = bind_log!(SQL.log_of_quality(topic), &query, limit);
            return log::quality_of(in_time(asked.load(&mut db)).await?, &query);
        }
        let asked = bind_log!(SQL.log_of_bars(topic), &query, limit);
        log::bars_of(in_time(asked.load(&mut db)).await?, &query)
    }

    pub(super) async fn sessions(&self, limit: u32) -> Result<Vec<StoredSession>, StoreError> {
        let mut db = self.connection().await?;
        let asked = diesel::sql_query(SQL.sessions()).bind::<BigInt, _>(i64::from(limit));
        let rows: Vec<SessionOut> = in_time(asked.load(&mut db)).await?;
        let sessions = rows.into_iter().map(SessionOut::into_session);
        sessions
            .collect::<Result<_, _>>()
            .map_err(|damage| damage.of("market_sessions"))
    }

    pub(super) async fn record_health(&self, row: HealthRow) -> Result<(), StoreError> {
        let mut db = self.connection().await?;
        in_time(bind_health!(SQL.health(), row).execute(&mut db))
            .await
            .map(drop)
    }

    pub(super) async fn history(&self, query: HistoryQuery) -> Result<History, StoreError> {
        let ends: Vec<ExampleOut> = {
            let mut db = self.connection().await?;
            in_time(bind_examples!(SQL.history_ends(&query.table), query).load(&mut db)).await?
        };
        let (middle, history) = from_ends(ends);
        let Some(middle) = middle else { return Ok(history) };
        let half = |half| self.history_half(&query, half, middle);
        let (older, newer) = future::try_join(half(Half::Older), half(Half::Newer)).await?;
        Ok(with_halves(history, [older, newer]))
    }

    async fn history_half(&self, query: &HistoryQuery, half: Half, middle: Timestamp) -> Result<HalfOut, StoreError> {
        let mut db = self.connection().await?;
        let asked = diesel::sql_query(SQL.history_half(&query.table, half))
            .bind::<Text, _>(query.table.symbol(query.symbol))
            .bind::<BigInt, _>(middle.micros());
        in_time(asked.get_result(&mut db)).await
    }

    pub(super) async fn seam_bars(&self, query: HistoryQuery) -> Result<SeamBars, StoreError> {
        let mut db = self.connection().await?;
        let rows = in_time(bind_examples!(SQL.seam(&query.table), query).load(&mut db)).await;
        rows.map(seam_bars)
    }

    pub(super) async fn forget_ticks(&self, before: Timestamp, limit: u32) -> Result<usize, StoreError> {
        let mut db = self.connection().await?;
        let delete = diesel::sql_query(SQL.forget_ticks()).bind::<BigInt, _>(before.micros());
        in_time(delete.bind::<BigInt, _>(i64::from(limit)).execute(&mut db)).await
    }

    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        let mut db = self.connection().await?;
        in_time(diesel::sql_query("SELECT 1").execute(&mut db)).await.map(drop)
    }
}

/// Waits for work of many round trips as long as answers come: a slow server may take minutes for all of them.
async fn while_answered<T>(
    answers: &AtomicU64,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let mut work = std::pin::pin!(work);
    loop {
        let before = answers.load(Ordering::Relaxed);
        if let Ok(done) = tokio::time::timeout(limits::POSTGRES_ANSWER, &mut work).await {
            return done;
        }
        if answers.load(Ordering::Relaxed) == before {
            return Err(StoreError::Slow("the transaction was given up".to_owned()));
        }
    }
}

/// A question that was given up leaves no transaction behind: each is one statement.
async fn in_time<T>(answer: impl Future<Output = Result<T, DieselError>>) -> Result<T, StoreError> {
    match tokio::time::timeout(limits::POSTGRES_READ, answer).await {
        Ok(answer) => answer.map_err(|e| sort::sort_diesel(&e)),
        Err(_) => Err(StoreError::Slow("a question was given up".to_owned())),
    }
}

async fn diesel_connection(way: &Way) -> diesel::ConnectionResult<AsyncPgConnection> {
    use diesel::ConnectionError;
    use diesel_async::SimpleAsyncConnection;
    let made = way.connect().await;
    let (client, connection) = made.map_err(|error| ConnectionError::BadConnection(error.to_string()))?;
    let mut db = AsyncPgConnection::try_from_client_and_connection(client, connection).await?;
    db.batch_execute(SERVER_LIMITS)
        .await
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(db)
}

/// Runs the socket's side of a connection until either side closes it.
#[expect(
    clippy::disallowed_methods,
    reason = "it ends with the client that the Writer owns, and cannot panic on data"
)]
fn drive(connection: Connection<Socket, Tls>) {
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = %sort::chain(&error), "the store's connection ended");
        }
    });
}
