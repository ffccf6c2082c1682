//! The connection that writes. The Writer owns it: it is in no pool, so a transaction that was given up is closed with it and
//! can never be found half-done by somebody else (diesel-async issue 198). It is tokio-postgres itself, because diesel-async
//! has no COPY and keeps SQLSTATEs to itself.
//!
//! All rows of a table go in one statement, from arrays (`unnest`): no limit of parameters, and as many round trips for five
//! thousand events as for one; where there are very many, ticks go in by COPY. Events that are ticks
//! alone, the usual batch, are one statement together with the position. Where a pooler keeps no session, statements have no names
//! and every batch is a transaction.
//!
//! A batch in which a row is refused is written apart: by halves, each behind a savepoint, until the row stands alone and is set
//! aside. Rows, notes of what was set aside and position are one transaction, as ever.
//!
//! Each transaction is fenced by the lease (see `lease`), in the round trip that begins it or in the one statement that it is.

use crate::domain::model::{Bar, Interval, SessionPhase};
use crate::limits;
use crate::store::{
    batch::Batch,
    error::{Disposition, StoreError},
    postgres::{
        copy::{COPY_TICKS, copy},
        lease::Fence,
        sort::sort,
        way::Made,
    },
    refusals::{Advice, Refusals, kind},
    rows::{BASE, BarRow, GapRow, Rows, SessionRow, TickRow},
    sql::{BAR_COLUMNS, Dialect},
    values::{Instant, Numeric},
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Statement};

const SQL: Dialect = Dialect::Postgres;

/// Seven arrays and four that may hold nothing; see [`TickColumns`].
const INSERT_TICKS: &str = "INSERT INTO realtime_market_data
    (symbol, time, bid, ask, last, spread, volume, session_date, trading_session, source, epoch, seq, event_time, provenance)
    SELECT symbol, time, bid, ask, last, spread, 0, session_date, true, 'candela', epoch, seq, event_time, provenance
    FROM unnest($1::text[], $2::timestamptz[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[], $7::date[], $8::text[],
        $9::bigint[], $10::timestamptz[], $11::text[])
        AS t (symbol, time, bid, ask, last, spread, session_date, epoch, seq, event_time, provenance)";
const UNLESS_THERE: &str = "ON CONFLICT (symbol, epoch, seq) WHERE epoch IS NOT NULL DO NOTHING";

/// Moves the position on only from where the batch begins: then none of its rows can be there, and looking for each costs nothing.
const STEP_ON: &str = "stepped AS (UPDATE reader_positions SET position = $14 FROM fence
    WHERE reader = $12 AND lineage = $13 AND position = $15 RETURNING 1)";

const ADVANCE: &str = "INSERT INTO reader_positions (reader, lineage, position)";
const FORWARD: &str = "ON CONFLICT (reader, lineage) DO UPDATE SET position = excluded.position
    WHERE reader_positions.position < excluded.position";

/// The types of [`INSERT_TICKS`]'s parameters.
const TICK_TYPES: [Type; 11] = [
    Type::TEXT_ARRAY,
    Type::TIMESTAMPTZ_ARRAY,
    Type::NUMERIC_ARRAY,
    Type::NUMERIC_ARRAY,
    Type::NUMERIC_ARRAY,
    Type::NUMERIC_ARRAY,
    Type::DATE_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
    Type::TIMESTAMPTZ_ARRAY,
    Type::TEXT_ARRAY,
];
/// Those of a reader, a lineage and one or two positions.
const PLACE_TYPES: [Type; 4] = [Type::TEXT, Type::TEXT, Type::INT8, Type::INT8];
/// Those of [`bars_from_arrays`].
const BAR_TYPES: [Type; 19] = [
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TIMESTAMPTZ_ARRAY,
    Type::NUMERIC_ARRAY,
    Type::NUMERIC_ARRAY,
    Type::NUMERIC_ARRAY,
    Type::NUMERIC_ARRAY,
    Type::INT8_ARRAY,
    Type::TIMESTAMPTZ_ARRAY,
    Type::TIMESTAMPTZ_ARRAY,
    Type::TIMESTAMPTZ_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
    Type::DATE_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
    Type::TIMESTAMPTZ_ARRAY,
    Type::INT8_ARRAY,
];

/// A connection and what it has prepared.
pub(super) struct Link {
    pub(super) client: Client,
    /// Which server it leads to.
    pub(super) generation: u64,
    /// Nothing may be left to the session.
    pub(super) pooled: bool,
    pub(super) fence: Arc<Fence>,
    prepared: HashMap<String, Statement>,
    answers: Arc<AtomicU64>,
    /// Where its reader stands was asked for on this connection: another may lead to a server that was behind.
    located: bool,
}

impl Link {
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

    /// Counts what the server answered.
    pub(super) fn answers(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.answers)
    }

    /// Counts an answer, whatever it says.
    pub(super) fn answered<T>(&self, answer: T) -> T {
        self.answers.fetch_add(1, Ordering::Relaxed);
        answer
    }

    /// A statement of our own, without parameters.
    pub(super) async fn say(&self, sql: &str) -> Result<(), StoreError> {
        let said = self.client.batch_execute(sql).await;
        self.answered(said).map_err(|e| sort(&e))
    }

    /// The batch and the position, but for rows that are refused, which are set aside; or nothing. Says how many were.
    pub(super) async fn write(&mut self, batch: &Batch, refusals: &mut Refusals) -> Result<usize, StoreError> {
        if !self.located {
            let at = self.position(batch.reader, &batch.lineage).await?;
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
                    refusals.accepted(kind(&event.event));
                }
                Ok(0)
            }
        }
    }

    /// All of the batch and the position, or nothing.
    async fn write_whole(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let rows = batch.rows();
        let ticks_alone =
            rows.bars.is_empty() && rows.gaps.is_empty() && rows.journal.is_empty() && rows.sessions.is_empty();
        if ticks_alone && rows.ticks.len() < limits::COPY_FROM && !self.pooled {
            return self.write_ticks(&rows.ticks, batch).await;
        }
        self.begin().await?;
        let written = match self.write_rows(&rows).await {
            Ok(()) => self.advance(batch).await,
            refused => refused,
        };
        self.end(written).await
    }

    /// The batch without the rows that are refused. What is checked only at the end of a transaction is checked at once here.
    async fn write_apart(&mut self, batch: &Batch, refusals: &mut Refusals) -> Result<usize, StoreError> {
        self.begin().await?;
        let written = self.write_parts(batch, refusals).await;
        self.end(written).await
    }

    async fn write_parts(&mut self, batch: &Batch, refusals: &mut Refusals) -> Result<usize, StoreError> {
        self.say("SET CONSTRAINTS ALL IMMEDIATE").await?;
        refusals.begin();
        let mut aside = 0_usize;
        let mut parts = vec![batch.clone()];
        while let Some(part) = parts.pop() {
            match self.attempt(&part, "RELEASE SAVEPOINT part").await {
                Ok(()) => {
                    for event in &part.events {
                        refusals.accepted(kind(&event.event));
                    }
                }
                Err(error) if error.disposition() == Disposition::Isolate => match part.halves() {
                    Some((first, second)) => parts.extend([second, first]),
                    None => {
                        self.set_aside(&part, batch, error, refusals).await?;
                        aside = aside.saturating_add(1);
                    }
                },
                Err(error) => return Err(error),
            }
        }
        self.advance(batch).await.map(|()| aside)
    }

    /// Writes rows behind a savepoint. When they are taken, `end` decides whether they stay.
    async fn attempt(&mut self, part: &Batch, end: &str) -> Result<(), StoreError> {
        self.say("SAVEPOINT part").await?;
        match self.write_rows(&part.rows()).await {
            Ok(()) => self.say(end).await,
            Err(error) if error.disposition() == Disposition::Isolate => {
                self.say("ROLLBACK TO SAVEPOINT part").await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Sets aside a row that is refused, unless every row of its kind is.
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
        let what = kind(&event.event);
        let own_reason = matches!(error, StoreError::RowRefused(_));
        if let Advice::Prove(number) = refusals.refused(what, own_reason) {
            let taken = match batch.newest_after(event, |later| kind(later) == what) {
                Some(newest) => match self.attempt(&newest, "ROLLBACK TO SAVEPOINT part").await {
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
            refusals.proven(what);
            refusals.refused(what, own_reason);
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
        self.run(&SQL.reject(), &types, &values).await
    }

    async fn advance(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let position = batch.last_position();
        let sql = format!("{ADVANCE} VALUES ($1, $2, $3) {FORWARD}");
        self.run(&sql, &PLACE_TYPES[..3], &[&batch.reader, &batch.lineage, &position])
            .await
    }

    async fn write_ticks(&mut self, ticks: &[TickRow], batch: &Batch) -> Result<(), StoreError> {
        let columns = TickColumns::of(ticks);
        let position = batch.last_position();
        let mut values = columns.values().to_vec();
        let place: [&(dyn ToSql + Sync); 3] = [&batch.reader, &batch.lineage, &position];
        values.extend(place);
        let fence = self.fence.sql()?;
        let sql = format!("WITH fence AS ({fence}), {STEP_ON} {INSERT_TICKS}, stepped");
        let types = [TICK_TYPES.as_slice(), &PLACE_TYPES].concat();
        let before = batch.first_position().saturating_sub(1);
        let after_it = [values.as_slice(), &[&before]].concat();
        match self.count(&sql, &types, &after_it).await {
            Ok(0) => {} // the position is somewhere else
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {}
            done => return done.map(drop).map_err(|e| sort(&e)),
        }
        let sql = format!(
            "WITH fence AS ({fence}), ticks AS ({INSERT_TICKS}, fence {UNLESS_THERE})
            {ADVANCE} SELECT $12::text, $13::text, $14::bigint FROM fence {FORWARD}"
        );
        let types = types.get(..values.len()).unwrap_or_default();
        match self.count(&sql, types, &values).await.map_err(|e| sort(&e))? {
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

    /// By COPY when they are many; by the statement that passes over what is there when they are few or some of them are there.
    async fn insert_ticks(&mut self, ticks: &[TickRow]) -> Result<(), StoreError> {
        let copies = ticks.len() >= limits::COPY_FROM && !self.pooled;
        if ticks.is_empty() || (copies && self.copy_ticks(ticks).await?) {
            return Ok(());
        }
        let columns = TickColumns::of(ticks);
        self.run(
            &format!("{INSERT_TICKS} {UNLESS_THERE}"),
            &TICK_TYPES,
            &columns.values(),
        )
        .await
    }

    /// False when one of them was there, or COPY does not suit the table (it casts nothing): then none has been copied.
    async fn copy_ticks(&mut self, ticks: &[TickRow]) -> Result<bool, StoreError> {
        let statement = self.statement(COPY_TICKS, &[]).await.map_err(|e| sort(&e))?;
        self.say("SAVEPOINT copying").await?;
        let copied = copy(&self.client, &statement, ticks).await;
        match self.answered(copied) {
            Ok(()) => Ok(true),
            Err(error) => match sort(&error) {
                error if error.disposition() == Disposition::Isolate => {
                    self.say("ROLLBACK TO SAVEPOINT copying").await.map(|()| false)
                }
                error => Err(error),
            },
        }
    }

    /// Every revision is kept; the table of current bars gets the last of each.
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
        let columns = BarColumns::of(rows);
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

    /// Where `reader` stands in `lineage`.
    pub(super) async fn position(&mut self, reader: &str, lineage: &str) -> Result<i64, StoreError> {
        let sql = "SELECT position FROM reader_positions WHERE reader = $1 AND lineage = $2";
        let row = self
            .client
            .query_typed_opt(sql, &[(&reader, Type::TEXT), (&lineage, Type::TEXT)])
            .await;
        let row = self.answered(row).map_err(|e| sort(&e))?;
        self.located = true;
        Ok(row.map_or(0, |row| row.get(0)))
    }

    pub(super) async fn run(
        &mut self,
        sql: &str,
        types: &[Type],
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<(), StoreError> {
        self.count(sql, types, values).await.map(drop).map_err(|e| sort(&e))
    }

    /// Executes a statement with parameters of these types, prepared on first use where a session keeps it. How many rows it touched.
    async fn count(
        &mut self,
        sql: &str,
        types: &[Type],
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, tokio_postgres::Error> {
        if self.pooled {
            let typed: Vec<_> = values.iter().copied().zip(types.iter().cloned()).collect();
            let done = self.client.execute_typed(sql, &typed).await;
            return self.answered(done);
        }
        let statement = self.statement(sql, types).await?;
        let done = self.client.execute(&statement, values).await;
        self.answered(done)
    }

    async fn statement(&mut self, sql: &str, types: &[Type]) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.prepared.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare_typed(sql, types).await;
        let statement = self.answered(statement)?;
        self.prepared.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// The rows of a batch, column by column.
pub(super) struct TickColumns<'r> {
    symbol: Vec<&'r str>,
    time: Vec<Instant>,
    bid: Vec<Option<Numeric>>,
    ask: Vec<Option<Numeric>>,
    last: Vec<Numeric>,
    spread: Vec<Option<Numeric>>,
    session_date: Vec<chrono::NaiveDate>,
    epoch: Vec<&'r str>,
    seq: Vec<i64>,
    event_time: Vec<Instant>,
    provenance: Vec<&'r str>,
}

impl<'r> TickColumns<'r> {
    fn of(rows: &'r [TickRow]) -> Self {
        Self {
            symbol: rows.iter().map(|row| row.symbol.as_str()).collect(),
            time: rows.iter().map(|row| Instant(row.time)).collect(),
            bid: rows.iter().map(|row| row.bid.map(Numeric)).collect(),
            ask: rows.iter().map(|row| row.ask.map(Numeric)).collect(),
            last: rows.iter().map(|row| Numeric(row.last)).collect(),
            spread: rows.iter().map(|row| row.spread().map(Numeric)).collect(),
            session_date: rows.iter().map(|row| row.session_date).collect(),
            epoch: rows.iter().map(|row| row.epoch.as_str()).collect(),
            seq: rows.iter().map(|row| row.seq).collect(),
            event_time: rows.iter().map(|row| Instant(row.event_time)).collect(),
            provenance: rows.iter().map(|row| row.provenance).collect(),
        }
    }

    fn values(&self) -> [&(dyn ToSql + Sync); 11] {
        [
            &self.symbol,
            &self.time,
            &self.bid,
            &self.ask,
            &self.last,
            &self.spread,
            &self.session_date,
            &self.epoch,
            &self.seq,
            &self.event_time,
            &self.provenance,
        ]
    }
}

/// `SELECT` of the bar columns from nineteen arrays.
fn bars_from_arrays(more: &str) -> String {
    format!(
        "SELECT {BAR_COLUMNS}{more} FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::numeric[], $5::numeric[],
            $6::numeric[], $7::numeric[], $8::bigint[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::text[],
            $13::bigint[], $14::date[], $15::text[], $16::text[], $17::bigint[], $18::timestamptz[], $19::bigint[])
            AS b ({BAR_COLUMNS})"
    )
}

struct BarColumns<'r>(Vec<Column<'r>>);

type Column<'r> = Box<dyn ToSql + Sync + Send + 'r>;

impl<'r> BarColumns<'r> {
    fn of(rows: &[&'r BarRow]) -> Self {
        fn column<'r, T: ToSql + Sync + Send + 'r>(rows: &[&'r BarRow], of: impl Fn(&'r BarRow) -> T) -> Column<'r> {
            Box::new(rows.iter().map(|row| of(row)).collect::<Vec<T>>())
        }
        let price = |of: fn(&Bar) -> crate::domain::model::Price| column(rows, move |row| Numeric(of(&row.bar)));
        Self(vec![
            column(rows, |row| row.bar.key.symbol.compact()),
            column(rows, |row| row.bar.key.interval.name()),
            column(rows, |row| Instant(row.bar.key.opens_at)),
            price(|bar| bar.ohlc.open),
            price(|bar| bar.ohlc.high),
            price(|bar| bar.ohlc.low),
            price(|bar| bar.ohlc.close),
            column(rows, |row| i64::from(row.bar.ticks)),
            column(rows, |row| Instant(row.bar.closes_at)),
            column(rows, |row| row.bar.first_tick_at.map(Instant)),
            column(rows, |row| row.bar.last_tick_at.map(Instant)),
            column(rows, |row| row.bar.provenance.name()),
            column(rows, |row| i64::from(row.bar.flags.bits())),
            column(rows, |row| row.bar.session_date),
            column(rows, |row| row.bar.session_kind.name()),
            column(rows, |row| row.epoch.as_str()),
            column(rows, |row| row.seq),
            column(rows, |row| Instant(row.known_at)),
            column(rows, |row| i64::from(row.bar.revision)),
        ])
    }

    fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        fn plain<'c>(column: &'c Column<'_>) -> &'c (dyn ToSql + Sync) {
            &**column
        }
        self.0.iter().map(plain).collect()
    }
}
