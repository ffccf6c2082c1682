//! Queries that are the same for both stores: each is one macro of [`super::reads`] or one statement of [`Dialect`], bound alike.

use crate::domain::model::{JournalQuery, PlacedEntry, SeamBars, Sequenced, Symbol, Timestamp, Topic};
use crate::store::{
    Store,
    answer::{BarOut, GapOut, SessionOut, TickOut, convert},
    bind::{bind_bars, bind_ticks},
    certificates::{CertificateOut, CertificateQuery, StoredCertificate, bind_certificates},
    error::StoreError,
    journal::{JournalOut, bind_journal},
    l0::{self, HistoryQuery, bind_examples},
    log::{self, LogQuery, LogSpan, SpanOut, bind_log},
    postgres::in_time,
    query::{BarQuery, GapQuery, StoredBar, StoredGap, StoredSession, StoredTick, TickQuery},
    reads::{
        gaps_touching, latest_tick, log_of_bars, log_of_quality, newest_sessions, rows_of_each_program, ticks_behind,
    },
    rows::BASE,
    sql::Dialect,
};
use diesel::sql_types::BigInt;

/// Loads the rows of a query in diesel's language: a macro that takes the name of the schema first.
macro_rules! load {
    ($store:ident, $query:ident($($argument:tt)*)) => {
        match $store {
            Store::Sqlite(store) => {
                use diesel::RunQueryDsl;
                store.read(move |db| $query!(sqlite, $($argument)*).load(db)).await
            }
            Store::Postgres(store) => {
                use diesel_async::RunQueryDsl;
                let mut db = store.connection().await?;
                in_time($query!(postgres, $($argument)*).load(&mut *db)).await
            }
        }
    };
}

/// Loads the rows of a bound statement of the store's dialect.
macro_rules! load_sql {
    ($store:ident, |$sql:ident| $query:expr) => {
        match $store {
            Store::Sqlite(store) => {
                use diesel::RunQueryDsl;
                let $sql = Dialect::Sqlite;
                store.read(move |db| $query.load(db)).await
            }
            Store::Postgres(store) => {
                use diesel_async::RunQueryDsl;
                let $sql = Dialect::Postgres;
                let mut db = store.connection().await?;
                in_time($query.load(&mut *db)).await
            }
        }
    };
}

impl Store {
    /// The best bar of each slot.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub async fn read_bars(&self, query: BarQuery) -> Result<Vec<StoredBar>, StoreError> {
        let asked = query.clone();
        let rows: Vec<BarOut> = match query.as_of {
            Some(as_of) => load_sql!(self, |sql| bind_bars!(
                sql.bars_as_of(asked.interval, asked.latest),
                &asked
            )
            .bind::<BigInt, _>(as_of.micros()))?,
            None => load_sql!(self, |sql| bind_bars!(
                sql.select_bars(asked.interval, asked.latest),
                &asked
            ))?,
        };
        let mut bars = convert(rows, "market_data", |row| row.into_bar(&query))?;
        if query.latest {
            bars.reverse();
        }
        Ok(bars)
    }

    /// The rows that each program has written, by slot and then by program, earliest first. The present rows, whatever `as_of` says.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub async fn rows_of_each_program(&self, query: BarQuery) -> Result<Vec<StoredBar>, StoreError> {
        let asked = query.clone();
        let rows: Vec<BarOut> = match query.interval == BASE {
            true => load!(self, rows_of_each_program(market_data, &asked))?,
            false => load!(self, rows_of_each_program(interval_bars, &asked))?,
        };
        convert(rows, "market_data", |row| row.into_bar(&query))
    }

    /// The ticks of a range of time.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub async fn read_ticks(&self, query: TickQuery) -> Result<Vec<StoredTick>, StoreError> {
        let symbol = query.symbol;
        let rows: Vec<TickOut> = match query.starts_after_seq() {
            true => load_sql!(self, |sql| bind_ticks!(sql.ticks_above(), &query))?,
            false => load!(self, ticks_behind(&query))?,
        };
        convert(rows, "realtime_market_data", |row| row.into_tick(symbol))
    }

    /// The last tick of a pair.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub async fn latest_tick(&self, symbol: Symbol) -> Result<Option<StoredTick>, StoreError> {
        let rows: Vec<TickOut> = load!(self, latest_tick(symbol))?;
        let ticks = convert(rows, "realtime_market_data", |row| row.into_tick(symbol));
        ticks.map(|mut ticks| ticks.pop())
    }

    /// The gaps that overlap a range of time, latest first.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub async fn read_gaps(&self, query: GapQuery) -> Result<Vec<StoredGap>, StoreError> {
        let asked = query.clone();
        let rows: Vec<GapOut> = load!(self, gaps_touching(&asked))?;
        convert(rows, "gaps", |row| row.into_gap(&query))
    }

    /// The stored part of a range of a channel's log, and the last seq before an instant.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub async fn log_span(&self, query: LogQuery, before: Option<Timestamp>) -> Result<LogSpan, StoreError> {
        let before = log::instant_before(before);
        let rows: Vec<SpanOut> = load_sql!(self, |sql| bind_log!(sql.log_span(query.channel.topic), &query, before))?;
        let span = rows.into_iter().next().unwrap_or_default();
        Ok(span.into_span(&query))
    }

    /// The stored messages of a range of a channel's log, in order, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub async fn read_log(&self, query: LogQuery, limit: u32) -> Result<Vec<Sequenced>, StoreError> {
        if query.channel.topic == Topic::Quality {
            return log::quality_of(load!(self, log_of_quality(&query, limit))?, &query);
        }
        log::bars_of(load!(self, log_of_bars(&query, limit))?, &query)
    }

    /// The journal entries that match `query`, in order.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub async fn read_journal(&self, query: JournalQuery) -> Result<Vec<PlacedEntry>, StoreError> {
        let rows = load_sql!(self, |sql| bind_journal!(sql.select_journal(), &query))?;
        convert(rows, "candela_events", JournalOut::into_entry)
    }

    /// The certificates of a pair's sessions, latest first.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub async fn read_certificates(&self, query: CertificateQuery) -> Result<Vec<StoredCertificate>, StoreError> {
        let rows = load_sql!(self, |sql| bind_certificates!(sql.select_certificates(), &query))?;
        convert(rows, "candela_certificates", CertificateOut::into_certificate)
    }

    /// The newest sessions, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub async fn read_sessions(&self, limit: u32) -> Result<Vec<StoredSession>, StoreError> {
        let rows: Vec<SessionOut> = load!(self, newest_sessions(limit))?;
        convert(rows, "market_sessions", SessionOut::into_session)
    }

    /// The bars around the seam between history and live bars.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub async fn seam_bars(&self, query: HistoryQuery) -> Result<SeamBars, StoreError> {
        let rows = load_sql!(self, |sql| bind_examples!(sql.select_seam(&query.table), query))?;
        Ok(l0::seam_bars(rows))
    }
}
