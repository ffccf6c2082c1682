//! A connection on which diesel uses unnamed statements. A pooler may hand the next transaction to another server, which does not know
//! statements prepared before; an unnamed statement is parsed, bound and executed in one message, and leaves nothing behind. It costs a
//! plan for each query, and saves the round trip that prepares.

use crate::store::{
    error::StoreError,
    postgres::sort::{sort_diesel, sort_error},
};
use diesel::connection::{CacheSize, Instrumentation, InstrumentationEvent};
use diesel::pg::{Pg, PgMetadataLookup, PgQueryBuilder, PgTypeMetadata, PgValue, TypeOidLookup};
use diesel::query_builder::bind_collector::RawBytesBindCollector;
use diesel::query_builder::{AsQuery, QueryBuilder, QueryFragment, QueryId};
use diesel::result::Error as DieselError;
use diesel::row::{Field, PartialRow, Row, RowIndex, RowSealed};
use diesel::{ConnectionError, ConnectionResult, QueryResult};
use diesel_async::{AnsiTransactionManager, AsyncConnection, AsyncConnectionCore, SimpleAsyncConnection};
use futures_util::future::{BoxFuture, join3};
use futures_util::{FutureExt, TryStreamExt, stream};
use std::num::NonZeroU32;
use std::sync::Arc;
use tokio_postgres::Client;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// A connection for queries and migrations.
pub(in crate::store) struct Asking {
    client: Client,
    /// The statement that begins each query's transaction, if the server keeps no limits for the session.
    begin: Option<&'static str>,
    /// The generation of the server that it leads to; see [`super::Way`].
    pub(super) generation: u64,
    /// The server's last error, for the migration harness, which hides it.
    pub(super) refusal: Option<StoreError>,
    /// Whether a query was begun and not ended, so that its answer may still arrive.
    asking: bool,
    transaction: AnsiTransactionManager,
    quiet: Quiet,
}

impl Asking {
    pub(super) fn new(client: Client, generation: u64, begin: Option<&'static str>) -> Self {
        Self {
            client,
            begin,
            generation,
            refusal: None,
            asking: false,
            transaction: AnsiTransactionManager::default(),
            quiet: Quiet,
        }
    }

    /// Whether the connection must not be used again.
    pub(super) fn is_broken(&self) -> bool {
        self.asking || self.client.is_closed()
    }

    /// Runs a query, in a transaction with limits if needed: three messages that are sent together, and one wait.
    async fn run_question<T>(
        &mut self,
        question: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> QueryResult<T> {
        self.asking = true;
        let answer = match self.begin {
            Some(begin) => {
                let begun = self.client.batch_execute(begin);
                let ended = self.client.batch_execute("COMMIT");
                let (begun, answer, ended) = join3(begun, question(&self.client), ended).await;
                begun.and(answer).and_then(|answer| ended.map(|()| answer))
            }
            None => question(&self.client).await,
        };
        self.asking = false;
        answer.map_err(|error| self.note_refusal(&error))
    }

    /// Runs a query, and passes on each row as it arrives.
    pub(super) async fn for_each_row(
        &mut self,
        sql: &str,
        values: impl IntoIterator<Item = (&(dyn ToSql + Sync), Type)>,
        mut each: impl FnMut(&tokio_postgres::Row),
    ) -> Result<(), StoreError> {
        let asked = self.run_question(async |client| {
            let mut rows = std::pin::pin!(client.query_typed_raw(sql, values).await?);
            while let Some(row) = rows.try_next().await? {
                each(&row);
            }
            Ok(())
        });
        asked.await.map_err(|error| sort_diesel(&error))
    }

    fn note_refusal(&mut self, error: &tokio_postgres::Error) -> DieselError {
        let sorted = sort_error(error);
        self.refusal = Some(sorted.clone());
        DieselError::QueryBuilderError(Box::new(sorted))
    }
}

/// A statement with its parameters, ready to be sent.
struct UnnamedStatement {
    sql: String,
    values: Vec<(BoundValue, Type)>,
}

impl UnnamedStatement {
    fn from_query(query: &impl QueryFragment<Pg>) -> QueryResult<Self> {
        let mut builder = PgQueryBuilder::default();
        query.to_sql(&mut builder, &Pg)?;
        let mut bound = RawBytesBindCollector::<Pg>::new();
        query.collect_binds(&mut bound, &mut BuiltIn, &Pg)?;
        let mut values = Vec::with_capacity(bound.binds.len());
        for (metadata, bytes) in bound.metadata.iter().zip(bound.binds) {
            let oid = metadata
                .oid()
                .map_err(|error| DieselError::SerializationError(Box::new(error)))?;
            let kind = Type::from_oid(oid)
                .ok_or_else(|| DieselError::SerializationError("only built-in types are bound".into()))?;
            values.push((BoundValue(bytes), kind));
        }
        Ok(Self {
            sql: builder.finish(),
            values,
        })
    }
}

impl SimpleAsyncConnection for Asking {
    async fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        let done = self.client.batch_execute(query).await;
        done.map_err(|error| self.note_refusal(&error))
    }
}

impl AsyncConnectionCore for Asking {
    type ExecuteFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<usize>>;
    type LoadFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<Self::Stream<'conn, 'query>>>;
    type Stream<'conn, 'query> = stream::Iter<std::vec::IntoIter<QueryResult<AnswerRow>>>;
    type Row<'conn, 'query> = AnswerRow;
    type Backend = Pg;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> Self::LoadFuture<'conn, 'query>
    where
        T: AsQuery + 'query,
        T::Query: QueryFragment<Pg> + QueryId + 'query,
    {
        let question = UnnamedStatement::from_query(&source.as_query());
        async move {
            let UnnamedStatement { sql, values } = question?;
            let rows: Vec<tokio_postgres::Row> = self
                .run_question(async |client| client.query_typed_raw(&sql, values).await?.try_collect().await)
                .await?;
            let oids = rows.first().map(column_oids).unwrap_or_default();
            let answers = rows.into_iter().map(|row| {
                let oids = Arc::clone(&oids);
                Ok(AnswerRow { row, oids })
            });
            Ok(stream::iter(answers.collect::<Vec<_>>()))
        }
        .boxed()
    }

    fn execute_returning_count<'conn, 'query, T>(&'conn mut self, source: T) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Pg> + QueryId + 'query,
    {
        let question = UnnamedStatement::from_query(&source);
        async move {
            let UnnamedStatement { sql, values } = question?;
            let done = self
                .run_question(async |client| {
                    let values: Vec<(&(dyn ToSql + Sync), Type)> = values
                        .iter()
                        .map(|(value, kind)| -> (&(dyn ToSql + Sync), Type) { (value, kind.clone()) })
                        .collect();
                    client.execute_typed(&sql, &values).await
                })
                .await?;
            usize::try_from(done).map_err(|error| DieselError::DeserializationError(Box::new(error)))
        }
        .boxed()
    }
}

impl AsyncConnection for Asking {
    type TransactionManager = AnsiTransactionManager;

    async fn establish(_: &str) -> ConnectionResult<Self> {
        let text = "connections are made by the store, which knows their limits";
        Err(ConnectionError::BadConnection(text.to_owned()))
    }

    fn transaction_state(&mut self) -> &mut AnsiTransactionManager {
        &mut self.transaction
    }

    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        &mut self.quiet
    }

    fn set_instrumentation(&mut self, _: impl Instrumentation) {}

    fn set_prepared_statement_cache_size(&mut self, _: CacheSize) {}
}

/// Reports nothing; diesel requires an instrumentation.
struct Quiet;

impl Instrumentation for Quiet {
    fn on_connection_event(&mut self, _: InstrumentationEvent<'_>) {}
}

/// Knows only the built-in types, because our statements bind no others.
struct BuiltIn;

impl PgMetadataLookup for BuiltIn {
    fn lookup_type(&mut self, _: &str, _: Option<&str>) -> PgTypeMetadata {
        PgTypeMetadata::new(0, 0)
    }
}

/// A parameter in diesel's encoding.
#[derive(Debug)]
struct BoundValue(Option<Vec<u8>>);

impl ToSql for BoundValue {
    fn to_sql(&self, _: &Type, out: &mut bytes::BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match &self.0 {
            Some(bytes) => {
                out.extend_from_slice(bytes);
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The type of a column.
struct Oid(NonZeroU32);

impl TypeOidLookup for Oid {
    fn lookup(&self) -> NonZeroU32 {
        self.0
    }
}

fn column_oids(row: &tokio_postgres::Row) -> Arc<[Oid]> {
    let oids = row
        .columns()
        .iter()
        .map(|column| Oid(NonZeroU32::new(column.type_().oid()).unwrap_or(NonZeroU32::MIN)));
    oids.collect()
}

/// A row in the form that diesel reads.
pub(in crate::store) struct AnswerRow {
    row: tokio_postgres::Row,
    oids: Arc<[Oid]>,
}

impl RowSealed for AnswerRow {}

impl<'a> Row<'a, Pg> for AnswerRow {
    type InnerPartialRow = Self;
    type Field<'f>
        = Cell<'f>
    where
        Self: 'f,
        'a: 'f;

    fn field_count(&self) -> usize {
        self.row.len()
    }

    fn get<'f, I>(&'f self, index: I) -> Option<Cell<'f>>
    where
        'a: 'f,
        Self: RowIndex<I>,
    {
        let at = self.idx(index)?;
        Some(Cell { answer: self, at })
    }

    fn partial_row(&self, range: std::ops::Range<usize>) -> PartialRow<'_, Self> {
        PartialRow::new(self, range)
    }
}

impl RowIndex<usize> for AnswerRow {
    fn idx(&self, at: usize) -> Option<usize> {
        (at < self.row.len()).then_some(at)
    }
}

impl<'n> RowIndex<&'n str> for AnswerRow {
    fn idx(&self, name: &'n str) -> Option<usize> {
        self.row.columns().iter().position(|column| column.name() == name)
    }
}

/// One value of a row.
pub(in crate::store) struct Cell<'a> {
    answer: &'a AnswerRow,
    at: usize,
}

impl<'a> Field<'a, Pg> for Cell<'a> {
    fn field_name(&self) -> Option<&str> {
        self.answer.row.columns().get(self.at).map(tokio_postgres::Column::name)
    }

    fn value(&self) -> Option<PgValue<'_>> {
        let raw: Option<Raw<'_>> = self.answer.row.try_get(self.at).ok()?;
        let oid = self.answer.oids.get(self.at)?;
        raw.map(|raw| PgValue::new(raw.0, oid))
    }
}

/// Converts a value of a row; `None` if it is null.
pub(super) fn row_value<T>(row: &tokio_postgres::Row, at: usize, read: impl FnOnce(PgValue<'_>) -> T) -> Option<T> {
    let raw: Option<Raw<'_>> = row.try_get(at).ok()?;
    let oid = Oid(NonZeroU32::new(row.columns().get(at)?.type_().oid())?);
    raw.map(|raw| read(PgValue::new(raw.0, &oid)))
}

/// A value as the server sent it.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
