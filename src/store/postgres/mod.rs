//! The PostgreSQL store: a bounded pool for reading, one connection for the Writer and one for the lease; migrations run first.

mod adopt;
mod bar_columns;
mod catalog;
mod columns;
mod copy;
mod events;
mod layout;
mod lease;
#[cfg(test)]
mod layout_tests;
mod migrate;
mod relied;
mod sort;
mod statement;
mod tls;
mod url;
mod way;
mod write;

pub use layout::{Difference, Weight};

use crate::domain::history::{History, L0Table};
use crate::domain::model::{Position, Timestamp};
use crate::limits;
use crate::store::{
    Written,
    adopt::Adoption,
    answer::NumberOut,
    batch::Batch,
    bind::bind_health,
    error::StoreError,
    l0::{ExampleOut, Half, HalfOut, HistoryQuery, bind_examples, count_rounded, from_ends, with_halves},
    migrate::Migrate,
    query::HealthRow,
    refusals::Refusals,
    sql::Dialect,
};
use bb8::{ManageConnection, Pool, PooledConnection, RunError};
use diesel::IntoSql;
use diesel::result::Error as DieselError;
use diesel::sql_types::{BigInt, Integer, Text};
use diesel_async::RunQueryDsl;
use futures_util::future;
use lease::Fence;
use secrecy::{ExposeSecret, SecretString};
use statement::Asking;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Address;
use way::{Made, Way};
use write::WriteConnection;

const SQL: Dialect = Dialect::Postgres;

/// A PostgreSQL database. Cheap to clone; clones share the pool and the writing connection.
#[derive(Clone)]
pub struct Postgres {
    way: Arc<Way>,
    pool: Pool<Readers>,
    writing: Arc<tokio::sync::Mutex<WriteState>>,
    /// Held while another server is looked for.
    looking: Arc<tokio::sync::Mutex<()>>,
    /// One permit for each connection that patient readers may use at once.
    turns: Arc<Semaphore>,
    fence: Arc<Fence>,
    /// The connection that renews the lease, because a write may take minutes.
    leasing: Arc<tokio::sync::Mutex<Option<Made>>>,
}

/// The writing connection, and recent results for each kind of row.
#[derive(Default)]
struct WriteState {
    link: Option<WriteConnection>,
    refusals: Refusals,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive() // the address holds a password
    }
}

/// Makes connections for reading, and hands out none that leads to a previous server.
pub(super) struct Readers(Arc<Way>);

impl ManageConnection for Readers {
    type Connection = Asking;
    type Error = StoreError;

    async fn connect(&self) -> Result<Asking, StoreError> {
        self.0.connect_to_read().await
    }

    async fn is_valid(&self, reader: &mut Asking) -> Result<(), StoreError> {
        if reader.generation == self.0.generation() {
            return Ok(());
        }
        Err(StoreError::Unreachable("it leads to a previous server".to_owned()))
    }

    fn has_broken(&self, reader: &mut Asking) -> bool {
        reader.is_broken()
    }
}

impl Postgres {
    /// Parses the URL. Does not connect yet: the server may start later.
    pub fn new(url: &SecretString, connections: u32) -> Result<Self, StoreError> {
        let address = Address::parse(url.expose_secret())?;
        let way = Arc::new(Way::new(address)?);
        let connections = connections.max(1);
        let pool = Pool::builder()
            .max_size(connections)
            .connection_timeout(limits::POSTGRES_POOL_WAIT)
            .build_unchecked(Readers(Arc::clone(&way)));
        Ok(Self {
            way,
            pool,
            writing: Arc::default(),
            looking: Arc::default(),
            turns: Arc::new(Semaphore::new(usize::try_from(connections.div_ceil(2)).unwrap_or(1))),
            fence: Arc::default(),
            leasing: Arc::default(),
        })
    }

    /// Waits for a turn, for any time, first come, first served. Holders of a turn use at most half of the connections.
    pub(super) async fn take_turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok() // it is never closed
    }

    /// Checks, runs or reverts migrations. Returns the names of the migrations that are missing, were run or were reverted.
    ///
    /// # Errors
    /// [`StoreError`], also when the database has a migration that this binary does not know.
    pub async fn migrate_schema(&self, what: Migrate) -> Result<Vec<String>, StoreError> {
        migrate::migrate_schema(self.way.connect_unlimited().await?, what).await
    }

    /// The differences between the tables and what candela relies on, and between the history's table and one that can be read without
    /// loss.
    pub async fn schema_differences(&self, history: Option<&L0Table>) -> Result<Vec<Difference>, StoreError> {
        migrate::schema_differences(self.way.connect_unlimited().await?, history.cloned()).await
    }

    /// The statements that [`Postgres::adapt_schema`] would execute.
    ///
    /// # Errors
    /// [`StoreError`] when the tables cannot be inspected, or cannot be adapted.
    pub async fn plan_changes(&self) -> Result<Vec<String>, StoreError> {
        migrate::adapt_schema(self.way.connect_unlimited().await?, false).await
    }

    /// Widens columns and keys that are narrower than candela needs, in one transaction. Returns the statements.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn adapt_schema(&self) -> Result<Vec<String>, StoreError> {
        migrate::adapt_schema(self.way.connect_unlimited().await?, true).await
    }

    pub(super) async fn write(&self, batch: Batch) -> Result<Written, StoreError> {
        let position = Position(u64::try_from(batch.last_position()).unwrap_or(0));
        let rejected = self
            .with_link(async |link, refusals| {
                self.ensure_lease().await?;
                link.write(&batch, refusals).await
            })
            .await?;
        Ok(Written { position, rejected })
    }

    pub(super) async fn adopt_lineage(&self, adoption: Adoption) -> Result<(), StoreError> {
        self.with_link(async |link, _| {
            self.ensure_lease().await?;
            link.adopt_lineage(&adoption).await
        })
        .await
    }

    pub(super) async fn reader_position(&self, reader: &'static str, lineage: String) -> Result<Position, StoreError> {
        let position = self
            .with_link(async move |link, _| link.reader_position(reader, &lineage).await)
            .await?;
        Ok(Position(u64::try_from(position).unwrap_or(0)))
    }

    pub(super) async fn ledger_positions(&self, reader: &'static str) -> Result<Vec<(String, i64)>, StoreError> {
        self.with_link(async move |link, _| link.ledger_positions(reader).await)
            .await
    }

    /// Runs `work` on the writing connection, after making it and the tables if needed. Any error except that of a row, a lock or a
    /// position closes the connection: the server rolls back what was begun, and a new connection may find another server, or other
    /// privileges.
    async fn with_link<T>(
        &self,
        work: impl AsyncFnOnce(&mut WriteConnection, &mut Refusals) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut writing = self.writing.lock().await;
        let mut link = match writing
            .link
            .take()
            .filter(|link: &WriteConnection| !link.client.is_closed() && link.generation == self.way.generation())
        {
            Some(link) => link,
            None => self.open_link().await?,
        };
        let answers = link.answer_counter();
        let done = while_answered(&answers, work(&mut link, &mut writing.refusals)).await;
        match &done {
            Err(error @ StoreError::NoSession(_)) => self.way.keeps_no_session(&error.to_string()),
            Ok(_)
            | Err(
                StoreError::Conflict(_)
                | StoreError::RowRefused(_)
                | StoreError::Refused(_)
                | StoreError::EveryRowRefused { .. }
                | StoreError::NotSetAside(_)
                | StoreError::Behind { .. }
                | StoreError::NoLease,
            ) => writing.link = Some(link),
            Err(_) => {}
        }
        done
    }

    async fn open_link(&self) -> Result<WriteConnection, StoreError> {
        self.migrate_schema(Migrate::Run).await?;
        Ok(WriteConnection::new(self.way.connect().await?, Arc::clone(&self.fence)))
    }

    /// Makes a connection only to check which server it reaches, as every connection does.
    pub(super) async fn look_for_another_server(&self) {
        let Ok(_looking) = self.looking.try_lock() else {
            return;
        };
        match tokio::time::timeout(limits::POSTGRES_CONNECT, self.way.connect()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "no new connection to the database"),
            Err(_) => tracing::debug!("no new connection to the database in time"),
        }
    }

    pub(super) async fn connection(&self) -> Result<PooledConnection<'_, Readers>, StoreError> {
        self.pool.get().await.map_err(|error| match error {
            RunError::TimedOut => self.way.last_refusal().unwrap_or_else(|| self.none_in_time()),
            RunError::User(error) => error,
        })
    }

    /// Why no connection was available, if none was refused.
    fn none_in_time(&self) -> StoreError {
        let state = self.pool.state();
        if state.connections > 0 && state.idle_connections == 0 {
            let connections = state.connections;
            return StoreError::Slow(format!(
                "all connections ({connections}) are in use; store.pool allows more"
            ));
        }
        StoreError::Unreachable("no connection was available in time".to_owned())
    }

    pub(super) async fn record_health(&self, row: HealthRow) -> Result<(), StoreError> {
        let mut db = self.connection().await?;
        in_time(bind_health!(SQL.insert_health(&self.fence.sql()?), row).execute(&mut *db))
            .await
            .map(drop)
    }

    pub(super) async fn read_history(&self, query: HistoryQuery) -> Result<History, StoreError> {
        let ends: Vec<ExampleOut> = {
            let mut db = self.connection().await?;
            in_time(bind_examples!(SQL.history_ends(&query.table), query).load(&mut *db)).await?
        };
        let (middle, history) = from_ends(ends);
        let Some(middle) = middle else { return Ok(history) };
        let (older, newer) = future::try_join(
            self.history_half(&query, Half::Older, middle),
            self.history_half(&query, Half::Newer, middle),
        )
        .await?;
        Ok(with_halves(history, [older, newer]))
    }

    /// The number of rows of a history with prices of more than six decimals.
    pub async fn rounded_rows(&self, history: &L0Table) -> Result<u64, StoreError> {
        let mut db = self.connection().await?;
        let counted: NumberOut = in_time(diesel::sql_query(count_rounded(history)).get_result(&mut *db)).await?;
        Ok(u64::try_from(counted.number).unwrap_or(0))
    }

    async fn history_half(&self, query: &HistoryQuery, half: Half, middle: Timestamp) -> Result<HalfOut, StoreError> {
        let mut db = self.connection().await?;
        let asked = diesel::sql_query(SQL.history_half(&query.table, half))
            .bind::<Text, _>(query.table.symbol(query.symbol))
            .bind::<BigInt, _>(middle.micros());
        in_time(asked.get_result(&mut *db)).await
    }

    pub(super) async fn forget_ticks(&self, before: Timestamp, limit: u32) -> Result<usize, StoreError> {
        let mut db = self.connection().await?;
        let delete = diesel::sql_query(SQL.forget_ticks(&self.fence.sql()?)).bind::<BigInt, _>(before.micros());
        in_time(delete.bind::<BigInt, _>(i64::from(limit)).execute(&mut *db)).await
    }

    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        let mut db = self.connection().await?;
        in_time(diesel::select(1_i32.into_sql::<Integer>()).execute(&mut *db))
            .await
            .map(drop)
    }
}

/// Waits for work of many round trips as long as answers arrive: a slow server may take minutes for all of them.
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
            return Err(StoreError::Slow("the transaction was abandoned".to_owned()));
        }
    }
}

/// Waits for the answer to a query, with a limit. A query that is given up leaves no transaction behind, because each is one statement.
pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, DieselError>>) -> Result<T, StoreError> {
    match tokio::time::timeout(limits::POSTGRES_READ, answer).await {
        Ok(answer) => answer.map_err(|e| sort::sort_diesel(&e)),
        Err(_) => Err(StoreError::Slow("a query was abandoned".to_owned())),
    }
}
