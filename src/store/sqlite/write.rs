//! Writes a batch row by row. Diesel prepares each insert in its own language once and keeps it; a statement that is a text is prepared
//! each time.

use crate::domain::model::{Price, SessionPhase};
use crate::schema::sqlite::{
    bar_revisions, gaps, interval_bars, market_data, quality_log, reader_positions, realtime_market_data,
    rejected_events,
};
use crate::store::{
    batch::Batch,
    bind::bind_session,
    certificates::bind_certificate,
    journal::bind_event,
    reads::to_stored,
    rows::{BASE, BarRow, GapRow, QualityRow, Rows, SOURCE, SessionRow, TickRow},
    sql::Dialect,
};
use diesel::dsl::sql;
use diesel::query_dsl::methods::FilterDsl;
use diesel::result::Error as DieselError;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::upsert::excluded;
use diesel::{ExpressionMethods, Insertable, RunQueryDsl, SqliteConnection};

const SQL: Dialect = Dialect::Sqlite;

/// The present instant, in microseconds.
const NOW: &str = "CAST(unixepoch('subsec') * 1000000 AS INTEGER)";

pub(super) fn write(db: &mut SqliteConnection, batch: &Batch, rows: &Rows) -> Result<(), DieselError> {
    for tick in &rows.ticks {
        let insert = diesel::insert_into(realtime_market_data::table).values(NewTick::from_row(tick));
        insert.on_conflict_do_nothing().execute(db)?;
    }
    for row in &rows.bars {
        write_bar(db, row)?;
    }
    for row in &rows.gaps {
        write_gap(db, row)?;
    }
    for row in &rows.journal {
        bind_event!(SQL.insert_event(), row).execute(db)?;
    }
    for row in &rows.quality {
        write_quality(db, row)?;
    }
    for row in &rows.certificates {
        bind_certificate!(SQL.insert_certificate(), row).execute(db)?;
    }
    for SessionRow { change, at } in &rows.sessions {
        // The change of an existing session depends on its row and on counts of other tables: one text for both stores.
        match change.phase {
            SessionPhase::Closed => {
                bind_session!(SQL.close_session(change.symbol), change, change.closes).execute(db)?
            }
            _ => bind_session!(SQL.open_session(change.symbol), change, at).execute(db)?,
        };
    }
    for date in rows.session_dates() {
        let recount = diesel::sql_query(SQL.recount_session()).bind::<Text, _>(date.to_string());
        recount.execute(db)?;
    }
    advance_position(db, batch.reader, &batch.lineage, batch.last_position())
}

/// Advances the reader's position; it never moves back.
pub(super) fn advance_position(
    db: &mut SqliteConnection,
    reader: &str,
    lineage: &str,
    position: i64,
) -> Result<(), DieselError> {
    let place = (
        reader_positions::reader.eq(reader),
        reader_positions::lineage.eq(lineage),
        reader_positions::position.eq(position),
    );
    diesel::insert_into(reader_positions::table)
        .values(place)
        .on_conflict((reader_positions::reader, reader_positions::lineage))
        .do_update()
        .set(reader_positions::position.eq(excluded(reader_positions::position)))
        .filter(reader_positions::position.lt(excluded(reader_positions::position)))
        .execute(db)
        .map(drop)
}

/// Stores an event that a table refused, with the reason.
pub(super) fn insert_rejected(db: &mut SqliteConnection, batch: &Batch, reason: &str) -> Result<(), DieselError> {
    let event = (
        rejected_events::lineage.eq(&batch.lineage),
        rejected_events::position.eq(batch.last_position()),
        rejected_events::reason.eq(reason),
        rejected_events::event.eq(format!("{:?}", batch.events)),
    );
    diesel::insert_into(rejected_events::table)
        .values(event)
        .on_conflict_do_nothing()
        .execute(db)
        .map(drop)
}

/// Inserts a bar, or replaces it with a later revision. A macro, because each table is a type of its own.
macro_rules! upsert_bar {
    ($db:expr, $row:expr, $table:ident, $key:expr) => {
        diesel::insert_into($table::table)
            .values(($row, $table::source.eq(SOURCE), $table::volume.eq(0)))
            .on_conflict($key)
            .do_update()
            .set((
                $table::open.eq(excluded($table::open)),
                $table::high.eq(excluded($table::high)),
                $table::low.eq(excluded($table::low)),
                $table::close.eq(excluded($table::close)),
                $table::ticks.eq(excluded($table::ticks)),
                $table::closes_at.eq(excluded($table::closes_at)),
                $table::first_tick_at.eq(excluded($table::first_tick_at)),
                $table::last_tick_at.eq(excluded($table::last_tick_at)),
                $table::provenance.eq(excluded($table::provenance)),
                $table::flags.eq(excluded($table::flags)),
                $table::session_date.eq(excluded($table::session_date)),
                $table::session_kind.eq(excluded($table::session_kind)),
                $table::epoch.eq(excluded($table::epoch)),
                $table::seq.eq(excluded($table::seq)),
                $table::known_at.eq(excluded($table::known_at)),
                $table::revision.eq(excluded($table::revision)),
                $table::updated_at.eq(sql::<Nullable<BigInt>>(NOW)),
            ))
            .filter($table::revision.lt(excluded($table::revision)))
            .execute($db)
    };
}

fn write_bar(db: &mut SqliteConnection, row: &BarRow) -> Result<(), DieselError> {
    let new = NewBar::from_row(row);
    if row.bar.key.interval == BASE {
        let key = (market_data::symbol, market_data::datetime, market_data::source);
        upsert_bar!(db, &new, market_data, key)?;
    } else {
        let key = (
            interval_bars::symbol,
            interval_bars::interval,
            interval_bars::datetime,
            interval_bars::source,
        );
        upsert_bar!(db, &new, interval_bars, key)?;
    }
    diesel::insert_into(bar_revisions::table)
        .values(&new)
        .on_conflict_do_nothing()
        .execute(db)
        .map(drop)
}

fn write_gap(db: &mut SqliteConnection, row: &GapRow) -> Result<(), DieselError> {
    let gap = &row.gap;
    let new = (
        gaps::symbol.eq(gap.symbol.compact()),
        gaps::epoch.eq(row.epoch.as_str()),
        gaps::id.eq(to_stored(gap.id)),
        gaps::interval.eq(gap.interval.name()),
        gaps::from_at.eq(gap.from.micros()),
        gaps::to_at.eq(gap.to.micros()),
        gaps::bars.eq(i64::from(gap.bars)),
        gaps::status.eq(gap.status.name()),
        gaps::cause.eq(&gap.cause),
        gaps::seq.eq(row.seq),
        gaps::opened_at.eq(row.at.micros()),
        gaps::updated_at.eq(row.at.micros()),
    );
    let later = (
        gaps::from_at.eq(excluded(gaps::from_at)),
        gaps::to_at.eq(excluded(gaps::to_at)),
        gaps::bars.eq(excluded(gaps::bars)),
        gaps::status.eq(excluded(gaps::status)),
        gaps::cause.eq(excluded(gaps::cause)),
        gaps::seq.eq(excluded(gaps::seq)),
        gaps::updated_at.eq(excluded(gaps::updated_at)),
    );
    diesel::insert_into(gaps::table)
        .values(new)
        .on_conflict((gaps::symbol, gaps::epoch, gaps::id))
        .do_update()
        .set(later)
        .filter(gaps::seq.lt(excluded(gaps::seq)))
        .execute(db)
        .map(drop)
}

fn write_quality(db: &mut SqliteConnection, row: &QualityRow) -> Result<(), DieselError> {
    let new = (
        quality_log::symbol.eq(&row.symbol),
        quality_log::epoch.eq(row.epoch.as_str()),
        quality_log::seq.eq(row.seq),
        quality_log::told_at.eq(row.at.micros()),
        quality_log::kind.eq(row.kind),
        quality_log::body.eq(&row.body),
    );
    let insert = diesel::insert_into(quality_log::table).values(new);
    insert.on_conflict_do_nothing().execute(db).map(drop)
}

#[derive(Insertable)]
#[diesel(table_name = market_data, table_name = interval_bars, table_name = bar_revisions)]
#[diesel(treat_none_as_default_value = false)]
struct NewBar<'r> {
    symbol: String,
    interval: &'static str,
    datetime: i64,
    open: i64,
    high: i64,
    low: i64,
    close: i64,
    ticks: i64,
    closes_at: i64,
    first_tick_at: Option<i64>,
    last_tick_at: Option<i64>,
    provenance: &'static str,
    flags: i64,
    session_date: String,
    session_kind: &'static str,
    epoch: &'r str,
    seq: i64,
    known_at: i64,
    revision: i64,
}

impl<'r> NewBar<'r> {
    fn from_row(row: &'r BarRow) -> Self {
        let bar = &row.bar;
        Self {
            symbol: bar.key.symbol.compact(),
            interval: bar.key.interval.name(),
            datetime: bar.key.opens_at.micros(),
            open: bar.ohlc.open.micros(),
            high: bar.ohlc.high.micros(),
            low: bar.ohlc.low.micros(),
            close: bar.ohlc.close.micros(),
            ticks: i64::from(bar.ticks),
            closes_at: bar.closes_at.micros(),
            first_tick_at: bar.first_tick_at.map(|at| at.micros()),
            last_tick_at: bar.last_tick_at.map(|at| at.micros()),
            provenance: bar.provenance.name(),
            flags: i64::from(bar.flags.bits()),
            session_date: bar.session_date.to_string(),
            session_kind: bar.session_kind.name(),
            epoch: row.epoch.as_str(),
            seq: row.seq,
            known_at: row.known_at.micros(),
            revision: i64::from(bar.revision),
        }
    }
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
    fn from_row(row: &'r TickRow) -> Self {
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
