//! The writing connection. The Writer owns it: it is in no pool, so a transaction that was given up is closed with it and can never be
//! found half-done by another user (diesel-async issue 198). It is a tokio-postgres connection, because diesel-async has no COPY and does
//! not expose SQLSTATEs.
//!
//! Ticks and bars go into one statement per table, as arrays (`unnest`): there is no limit of parameters, and five thousand ticks take as
//! many round trips as one; very many ticks are written by COPY. Rows of the other tables, which are rare, take a statement each. A batch
//! of ticks alone, the usual one, is one statement together with the position. Behind a pooler that keeps no session, statements have no
//! names and every batch is a transaction.
//!
//! A batch with a refused row is written in parts: halves, each behind a savepoint, until the row is alone and is set aside. Rows, notes of
//! rows that were set aside, and position are still one transaction.
//!
//! Each transaction is fenced by the lease (see `lease`), in the round trip that begins it or in its only statement.

use crate::domain::model::{Interval, SessionPhase};
use crate::limits;
use crate::store::{
    batch::Batch,
    error::{Disposition, StoreError},
    postgres::{
        columns::{BAR_TYPES, BarColumns, TICK_TYPES, TickColumns, bars_from_arrays},
        copy::{COPY_TICKS, copy_ticks},
        lease::Fence,
        sort::sort_error,
        way::Made,
    },
    refusals::{Advice, Refusals, row_kind},
    rows::{BASE, BarRow, GapRow, Rows, SessionRow, TickRow},
    sql::{BAR_COLUMNS, Dialect},
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Statement};

const SQL: Dialect = Dialect::Postgres;

/// Seven arrays, and four whose values may be null; see [`TickColumns`].
const INSERT_TICKS: &str = "INSERT INTO realtime_market_data
    (symbol, time, bid, ask, last, spread, volume, session_date, trading_session, source, epoch, seq, event_time, provenance)
    SELECT symbol, time, bid, ask, last, spread, 0, session_date, true, 'candela', epoch, seq, event_time, provenance
    FROM unnest($1::text[], $2::timestamptz[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[], $7::date[], $8::text[],
        $9::bigint[], $10::timestamptz[], $11::text[])
        AS t (symbol, time, bid, ask, last, spread, session_date, epoch, seq, event_time, provenance)";
const UNLESS_THERE: &str = "ON CONFLICT (symbol, epoch, seq) WHERE epoch IS NOT NULL DO NOTHING";

/// Advances the position only from where the batch begins: then none of its rows can exist, and need not be looked up.
const STEP_ON: &str = "stepped AS (UPDATE reader_positions SET position = $14 FROM fence
    WHERE reader = $12 AND lineage = $13 AND position = $15 RETURNING 1)";

const ADVANCE: &str = "INSERT INTO reader_positions (reader, lineage, position)";
const FORWARD: &str = "ON CONFLICT (reader, lineage) DO UPDATE SET position = excluded.position
    WHERE reader_positions.position < excluded.position";

/// The types of a reader, a lineage and one or two positions.
const PLACE_TYPES: [Type; 4] = [Type::TEXT, Type::TEXT, Type::INT8, Type::INT8];
/// The writing connection, with its prepared statements.
pub(super) struct WriteConnection {
    pub(super) client: Client,
    /// The generation of the server that it leads to.
    pub(super) generation: u64,
    /// Whether nothing may rely on the session.
    pub(super) pooled: bool,
    pub(super) fence: Arc<Fence>,
    prepared: HashMap<String, Statement>,
    answers: Arc<AtomicU64>,
    /// Whether the reader's position was read on this connection: another connection may lead to a server that lags.
    located: bool,
}

impl WriteConnection {
    pub(super) fn new(made: Made, fence: Arc<Fence>) -> Self {
        Self {
            client: made.client,
            generation: made.generation,
            pooled: made.pooled,
            fence,
            prepared: HashMap::new(),
            answers: Arc::default(),
            located: false,
        }
    }

    /// The counter of the server's answers.
    pub(super) fn answer_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.answers)
    }

    /// Counts an answer, whether it is an error or not.
    pub(super) fn count_answer<T>(&self, answer: T) -> T {
        self.answers.fetch_add(1, Ordering::Relaxed);
        answer
    }

    /// Executes a statement of our own, without parameters.
    pub(super) async fn execute_sql(&self, sql: &str) -> Result<(), StoreError> {
        let said = self.client.batch_execute(sql).await;
        self.count_answer(said).map_err(|e| sort_error(&e))
    }

    /// Writes the batch and the position, except rows that are refused, which are set aside; or nothing. Returns the number of refused
    /// rows.
    pub(super) async fn write(&mut self, batch: &Batch, refusals: &mut Refusals) -> Result<usize, StoreError> {
        if !self.located {
            let at = self.reader_position(batch.reader, &batch.lineage).await?;
            if at < batch.first_position().saturating_sub(1) {
                return Err(StoreError::Behind { at });
            }
        }
        match self.write_whole(batch).await {
            Err(error) if error.disposition() == Disposition::Isolate => {
                let mut lately = refusals.clone();
                let aside = self.write_apart(batch, &mut lately).await?;
                *refusals = lately;
                Ok(aside)
            }
            whole => {
                whole?;
                for event in &batch.events {
                    refusals.note_accepted(row_kind(&event.event));
                }
                Ok(0)
            }
        }
    }

    /// Writes all of the batch and the position, or nothing.
    async fn write_whole(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let rows = batch.to_rows();
        let ticks_alone =
            rows.bars.is_empty() && rows.quality.is_empty() && rows.journal.is_empty() && rows.sessions.is_empty();
        if ticks_alone && rows.ticks.len() < limits::COPY_FROM && !self.pooled {
            return self.write_ticks(&rows.ticks, batch).await;
        }
        self.begin().await?;
        let written = match self.write_rows(&rows).await {
            Ok(()) => self.advance_position(batch).await,
            refused => refused,
        };
        self.end(written).await
    }

    /// Writes the batch without the rows that are refused. Constraints that are deferred to the end of a transaction are checked at once
    /// here.
    async fn write_apart(&mut self, batch: &Batch, refusals: &mut Refusals) -> Result<usize, StoreError> {
        self.begin().await?;
        let written = self.write_parts(batch, refusals).await;
        self.end(written).await
    }

    async fn write_parts(&mut self, batch: &Batch, refusals: &mut Refusals) -> Result<usize, StoreError> {
        self.execute_sql("SET CONSTRAINTS ALL IMMEDIATE").await?;
        refusals.begin_transaction();
        let mut aside = 0_usize;
        let mut parts = vec![batch.clone()];
        while let Some(part) = parts.pop() {
            match self.attempt_rows(&part, "RELEASE SAVEPOINT part").await {
                Ok(()) => {
                    for event in &part.events {
                        refusals.note_accepted(row_kind(&event.event));
                    }
                }
                Err(error) if error.disposition() == Disposition::Isolate => match part.split_in_half() {
                    Some((first, second)) => parts.extend([second, first]),
                    None => {
                        self.set_aside(&part, batch, error, refusals).await?;
                        aside = aside.saturating_add(1);
                    }
                },
                Err(error) => return Err(error),
            }
        }
        self.advance_position(batch).await.map(|()| aside)
    }

    /// Writes rows behind a savepoint. If they are accepted, `end` releases them or rolls them back.
    async fn attempt_rows(&mut self, part: &Batch, end: &str) -> Result<(), StoreError> {
        self.execute_sql("SAVEPOINT part").await?;
        match self.write_rows(&part.to_rows()).await {
            Ok(()) => self.execute_sql(end).await,
            Err(error) if error.disposition() == Disposition::Isolate => {
                self.execute_sql("ROLLBACK TO SAVEPOINT part").await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Sets a refused row aside, unless every row of its kind is refused.
    async fn set_aside(
        &mut self,
        part: &Batch,
        batch: &Batch,
        error: StoreError,
        refusals: &mut Refusals,
    ) -> Result<(), StoreError> {
        let Some(event) = part.events.first() else {
            return Ok(());
        };
        let what = row_kind(&event.event);
        let own_reason = matches!(error, StoreError::RowRefused(_));
        if let Advice::Prove(number) = refusals.note_refused(what, own_reason) {
            let taken = match batch.newest_after(event, |later| row_kind(later) == what) {
                Some(newest) => match self.attempt_rows(&newest, "ROLLBACK TO SAVEPOINT part").await {
                    Ok(()) => true,
                    Err(error) if error.disposition() == Disposition::Isolate => false,
                    Err(error) => return Err(error),
                },
                None => false,
            };
            if !taken {
                return Err(if own_reason {
                    StoreError::EveryRowRefused {
                        kind: what,
                        number,
                        reason: error.to_string(),
                    }
                } else {
                    error
                });
            }
            refusals.note_proven(what);
            refusals.note_refused(what, own_reason);
        }
        let reason = error.to_string();
        self.note_rejected(part, &reason).await.map_err(|noted| match noted {
            StoreError::Conflict(_) | StoreError::Slow(_) | StoreError::Unreachable(_) | StoreError::Full(_) => noted,
            noted => StoreError::NotSetAside(format!("{reason}; {noted}")),
        })?;
        tracing::warn!(position = event.position.0, kind = what, %reason, "the database refuses a row: it is set aside in rejected_events");
        Ok(())
    }

    async fn note_rejected(&mut self, part: &Batch, reason: &str) -> Result<(), StoreError> {
        let position = part.last_position();
        let event = format!("{:?}", part.events);
        let values: [&(dyn ToSql + Sync); 4] = [&part.lineage, &position, &reason, &event];
        let types = [Type::TEXT, Type::INT8, Type::TEXT, Type::TEXT];
        self.run(&SQL.insert_rejected(), &types, &values).await
    }

    async fn advance_position(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let position = batch.last_position();
        let sql = format!("{ADVANCE} VALUES ($1, $2, $3) {FORWARD}");
        self.run(&sql, &PLACE_TYPES[..3], &[&batch.reader, &batch.lineage, &position])
            .await
    }

    async fn write_ticks(&mut self, ticks: &[TickRow], batch: &Batch) -> Result<(), StoreError> {
        let columns = TickColumns::from_rows(ticks);
        let position = batch.last_position();
        let mut values = columns.values().to_vec();
        let place: [&(dyn ToSql + Sync); 3] = [&batch.reader, &batch.lineage, &position];
        values.extend(place);
        let fence = self.fence.sql()?;
        let sql = format!("WITH fence AS ({fence}), {STEP_ON} {INSERT_TICKS}, stepped");
        let types = [TICK_TYPES.as_slice(), &PLACE_TYPES].concat();
        let before = batch.first_position().saturating_sub(1);
        let after_it = [values.as_slice(), &[&before]].concat();
        match self.count_rows(&sql, &types, &after_it).await {
            Ok(0) => {} // the position is somewhere else
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {}
            done => return done.map(drop).map_err(|e| sort_error(&e)),
        }
        let sql = format!(
            "WITH fence AS ({fence}), ticks AS ({INSERT_TICKS}, fence {UNLESS_THERE})
            {ADVANCE} SELECT $12::text, $13::text, $14::bigint FROM fence {FORWARD}"
        );
        let types = types.get(..values.len()).unwrap_or_default();
        match self
            .count_rows(&sql, types, &values)
            .await
            .map_err(|e| sort_error(&e))?
        {
            0 => self.look_at_fence().await, // it was there already, or nothing may be written
            _ => Ok(()),
        }
    }

    async fn write_rows(&mut self, rows: &Rows) -> Result<(), StoreError> {
        self.insert_ticks(&rows.ticks).await?;
        self.write_bars(&rows.bars).await?;
        for row in &rows.gaps {
            self.write_gap(row).await?;
        }
        for row in &rows.quality {
            let epoch = row.epoch.as_str();
            let at = row.at.micros();
            let values: [&(dyn ToSql + Sync); 6] = [&row.symbol, &epoch, &row.seq, &at, &row.kind, &row.body];
            let text = Type::TEXT;
            let number = Type::INT8;
            let types = [text.clone(), text.clone(), number.clone(), number, text.clone(), text];
            self.run(&SQL.insert_quality(), &types, &values).await?;
        }
        for row in &rows.journal {
            self.write_event(row).await?;
        }
        for row in &rows.certificates {
            self.write_certificate(row).await?;
        }
        for SessionRow { change, at } in &rows.sessions {
            let date = change.date.to_string();
            let kind = change.kind.name();
            let symbol = change.symbol.compact();
            let opens = change.opens.micros();
            let (sql, instant) = if change.phase == SessionPhase::Closed {
                (SQL.close_session(change.symbol), change.closes.micros())
            } else {
                (SQL.open_session(change.symbol), at.micros())
            };
            let values: [&(dyn ToSql + Sync); 5] = [&date, &opens, &kind, &symbol, &instant];
            let types = [Type::TEXT, Type::INT8, Type::TEXT, Type::TEXT, Type::INT8];
            self.run(&sql, &types, &values).await?;
        }
        for date in rows.session_dates() {
            let date = date.to_string();
            self.run(&SQL.recount_session(), &[Type::TEXT], &[&date]).await?;
        }
        Ok(())
    }

    /// Inserts many ticks by COPY; few ticks, or ticks of which some exist already, by the statement that skips existing rows.
    async fn insert_ticks(&mut self, ticks: &[TickRow]) -> Result<(), StoreError> {
        let copies = ticks.len() >= limits::COPY_FROM && !self.pooled;
        if ticks.is_empty() || (copies && self.copy_ticks(ticks).await?) {
            return Ok(());
        }
        let columns = TickColumns::from_rows(ticks);
        self.run(
            &format!("{INSERT_TICKS} {UNLESS_THERE}"),
            &TICK_TYPES,
            &columns.values(),
        )
        .await
    }

    /// Copies ticks. `false` when one of them exists, or COPY does not suit the table (it casts nothing): then none was copied.
    async fn copy_ticks(&mut self, ticks: &[TickRow]) -> Result<bool, StoreError> {
        let statement = self.prepare_cached(COPY_TICKS, &[]).await.map_err(|e| sort_error(&e))?;
        self.execute_sql("SAVEPOINT copying").await?;
        let copied = copy_ticks(&self.client, &statement, ticks).await;
        match self.count_answer(copied) {
            Ok(()) => Ok(true),
            Err(error) => match sort_error(&error) {
                error if error.disposition() == Disposition::Isolate => {
                    self.execute_sql("ROLLBACK TO SAVEPOINT copying").await.map(|()| false)
                }
                error => Err(error),
            },
        }
    }

    /// Writes every revision, and the last revision of each bar to the table of current bars.
    async fn write_bars(&mut self, rows: &[BarRow]) -> Result<(), StoreError> {
        let mut last: BTreeMap<_, &BarRow> = BTreeMap::new();
        for row in rows {
            let kept = last.entry(row.bar.key).or_insert(row);
            if kept.bar.revision < row.bar.revision {
                *kept = row;
            }
        }
        let (base, others): (Vec<&BarRow>, Vec<&BarRow>) =
            last.into_values().partition(|row| row.bar.key.interval == BASE);
        self.upsert_bars(BASE, &base).await?;
        self.upsert_bars(Interval::D1, &others).await?;
        let all: Vec<&BarRow> = rows.iter().collect();
        let sql = format!(
            "INSERT INTO bar_revisions ({BAR_COLUMNS}) {} ON CONFLICT DO NOTHING",
            bars_from_arrays("")
        );
        self.run_bars(&sql, &all).await
    }

    async fn upsert_bars(&mut self, interval: Interval, rows: &[&BarRow]) -> Result<(), StoreError> {
        let (table, conflict) = SQL.bar_conflict(interval);
        let from = bars_from_arrays(", 'candela', 0");
        let sql = format!("INSERT INTO {table} ({BAR_COLUMNS}, source, volume) {from} {conflict}");
        self.run_bars(&sql, rows).await
    }

    async fn run_bars(&mut self, sql: &str, rows: &[&BarRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let columns = BarColumns::from_rows(rows);
        self.run(sql, &BAR_TYPES, &columns.values()).await
    }

    async fn write_gap(&mut self, row: &GapRow) -> Result<(), StoreError> {
        let gap = &row.gap;
        let symbol = gap.symbol.compact();
        let id = i64::try_from(gap.id).unwrap_or(i64::MAX);
        let bars = i64::from(gap.bars);
        let from = gap.from.micros();
        let to = gap.to.micros();
        let at = row.at.micros();
        let epoch = row.epoch.as_str();
        let interval = gap.interval.name();
        let status = gap.status.name();
        let values: [&(dyn ToSql + Sync); 11] = [
            &symbol, &epoch, &id, &interval, &from, &to, &bars, &status, &gap.cause, &row.seq, &at,
        ];
        let text = Type::TEXT;
        let number = Type::INT8;
        let types = [
            text.clone(),
            text.clone(),
            number.clone(),
            text.clone(),
            number.clone(),
            number.clone(),
            number.clone(),
            text.clone(),
            text,
            number.clone(),
            number,
        ];
        self.run(&SQL.upsert_gap(), &types, &values).await
    }

    /// The position of `reader` in `lineage`.
    pub(super) async fn reader_position(&mut self, reader: &str, lineage: &str) -> Result<i64, StoreError> {
        let sql = "SELECT position FROM reader_positions WHERE reader = $1 AND lineage = $2";
        let row = self
            .client
            .query_typed_opt(sql, &[(&reader, Type::TEXT), (&lineage, Type::TEXT)])
            .await;
        let row = self.count_answer(row).map_err(|e| sort_error(&e))?;
        self.located = true;
        Ok(row.map_or(0, |row| row.get(0)))
    }

    pub(super) async fn run(
        &mut self,
        sql: &str,
        types: &[Type],
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<(), StoreError> {
        self.count_rows(sql, types, values)
            .await
            .map(drop)
            .map_err(|e| sort_error(&e))
    }

    /// Executes a statement with parameters of these types, prepared on first use if the session keeps it. Returns the number of affected
    /// rows.
    async fn count_rows(
        &mut self,
        sql: &str,
        types: &[Type],
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, tokio_postgres::Error> {
        if self.pooled {
            let typed: Vec<_> = values.iter().copied().zip(types.iter().cloned()).collect();
            let done = self.client.execute_typed(sql, &typed).await;
            return self.count_answer(done);
        }
        let statement = self.prepare_cached(sql, types).await?;
        let done = self.client.execute(&statement, values).await;
        self.count_answer(done)
    }

    async fn prepare_cached(&mut self, sql: &str, types: &[Type]) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.prepared.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare_typed(sql, types).await;
        let statement = self.count_answer(statement)?;
        self.prepared.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}
