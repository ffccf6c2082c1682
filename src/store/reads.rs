//! Queries in diesel's own language. Each is written once, as a macro, because the tables of the two stores are different types
//! (`crate::schema`). Queries that diesel cannot express are in [`super::pages`], [`super::log`] and [`super::l0`]: windows, recursion, a
//! subquery in `FROM`, and a table whose name is a setting.

/// A number in the form in which both stores keep it.
pub(super) fn to_stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The columns of a [`TickOut`](super::answer::TickOut). Rows with an epoch are candela's own and have a price and both times.
macro_rules! tick_columns {
    ($ticks:ident) => {
        (
            $ticks::epoch.assume_not_null(),
            $ticks::provenance,
            $ticks::last.assume_not_null(),
            $ticks::bid,
            $ticks::ask,
            $ticks::time,
            $ticks::event_time.assume_not_null(),
            $ticks::seq.assume_not_null(),
        )
    };
}

/// The last tick of a pair.
macro_rules! latest_tick {
    ($schema:ident, $symbol:expr) => {{
        use crate::schema::$schema::realtime_market_data as ticks;
        use diesel::{ExpressionMethods, NullableExpressionMethods, QueryDsl};
        ticks::table
            .filter(ticks::symbol.eq($symbol.compact()))
            .filter(ticks::epoch.is_not_null())
            .order((ticks::time.desc(), ticks::seq.desc()))
            .limit(1)
            .select(crate::store::reads::tick_columns!(ticks))
    }};
}

/// The ticks of a [`TickQuery`](super::query::TickQuery) with a cursor.
macro_rules! ticks_behind {
    ($schema:ident, $query:expr) => {{
        use crate::schema::$schema::realtime_market_data as ticks;
        use crate::store::{reads::to_stored, values::Instant};
        use diesel::{BoolExpressionMethods, ExpressionMethods, NullableExpressionMethods, QueryDsl};
        let query = $query;
        let place = query.start_place();
        ticks::table
            .filter(ticks::symbol.eq(query.symbol.compact()))
            .filter(ticks::time.ge(Instant(query.begin())))
            .filter(ticks::time.lt(Instant(query.to)))
            .filter(ticks::epoch.is_not_null())
            .filter(
                ticks::time
                    .gt(Instant(place.received_at))
                    .or(ticks::seq.assume_not_null().gt(to_stored(place.seq))),
            )
            .filter(ticks::seq.gt(query.after_seq.map_or(0, to_stored)))
            .order((ticks::time, ticks::seq))
            .limit(i64::from(query.limit))
            .select(crate::store::reads::tick_columns!(ticks))
    }};
}

/// The rows of every program in a table for a [`BarQuery`](super::query::BarQuery), each as a [`BarOut`](super::answer::BarOut).
macro_rules! rows_of_each_program {
    ($schema:ident, $table:ident, $query:expr) => {{
        use crate::schema::$schema::$table as rows;
        use crate::store::values::Instant;
        use diesel::{ExpressionMethods, NullableExpressionMethods, QueryDsl};
        let query = $query;
        rows::table
            .filter(rows::symbol.eq(query.symbol.compact()))
            .filter(rows::interval.eq(query.interval.name()))
            .filter(rows::datetime.ge(Instant(query.begin())))
            .filter(rows::datetime.lt(Instant(query.to)))
            .filter(rows::open.is_not_null())
            .filter(rows::high.is_not_null())
            .filter(rows::low.is_not_null())
            .filter(rows::close.is_not_null())
            .order((rows::datetime, rows::source))
            .limit(i64::from(query.limit))
            .select((
                rows::source,
                rows::provenance,
                rows::session_kind,
                rows::open.assume_not_null(),
                rows::high.assume_not_null(),
                rows::low.assume_not_null(),
                rows::close.assume_not_null(),
                rows::datetime,
                rows::closes_at,
                rows::first_tick_at,
                rows::last_tick_at,
                rows::known_at,
                rows::ticks,
                rows::revision,
                rows::flags,
                rows::seq,
                rows::session_date,
            ))
    }};
}

/// The gaps of a [`GapQuery`](super::query::GapQuery).
macro_rules! gaps_touching {
    ($schema:ident, $query:expr) => {{
        use crate::schema::$schema::gaps;
        use crate::store::{reads::to_stored, values::Instant};
        use diesel::{BoolExpressionMethods, ExpressionMethods, QueryDsl};
        let query = $query;
        let mut found = gaps::table
            .filter(gaps::symbol.eq(query.symbol.compact()))
            .filter(gaps::to_at.gt(Instant(query.from)))
            .filter(gaps::from_at.lt(Instant(query.to)))
            .order((gaps::from_at.desc(), gaps::id.desc(), gaps::epoch.desc()))
            .limit(i64::from(query.limit))
            .select((
                gaps::interval,
                gaps::status,
                gaps::cause,
                gaps::epoch,
                gaps::from_at,
                gaps::to_at,
                gaps::opened_at,
                gaps::updated_at,
                gaps::id,
                gaps::bars,
            ))
            .into_boxed();
        if let Some(status) = query.status {
            found = found.filter(gaps::status.eq(status.name()));
        }
        if let Some(place) = query.cursor {
            let earlier_id = gaps::id.lt(to_stored(place.id));
            let earlier_epoch = gaps::id
                .eq(to_stored(place.id))
                .and(gaps::epoch.lt(place.epoch.to_string()));
            found = found
                .filter(gaps::from_at.le(Instant(place.from)))
                .filter(gaps::from_at.lt(Instant(place.from)).or(earlier_id).or(earlier_epoch));
        }
        found
    }};
}

/// The newest sessions of all pairs.
macro_rules! newest_sessions {
    ($schema:ident, $limit:expr) => {{
        use crate::schema::$schema::market_sessions as sessions;
        use diesel::{ExpressionMethods, QueryDsl};
        sessions::table
            .order((sessions::session_date.desc(), sessions::symbol))
            .limit(i64::from($limit))
            .select((
                sessions::session_date,
                sessions::symbol,
                sessions::status,
                sessions::start_time,
                sessions::end_time,
                sessions::ticks,
                sessions::bars,
                sessions::gaps,
            ))
    }};
}

/// The bars of a [`LogQuery`](super::log::LogQuery), each as a [`BarOut`](super::answer::BarOut).
macro_rules! log_of_bars {
    ($schema:ident, $query:expr, $limit:expr) => {{
        use crate::schema::$schema::bar_revisions as bars;
        use crate::store::{reads::to_stored, rows::SOURCE};
        use diesel::sql_types::Text;
        use diesel::{ExpressionMethods, IntoSql, NullableExpressionMethods, QueryDsl};
        let query = $query;
        bars::table
            .filter(bars::symbol.eq(query.symbol_text()))
            .filter(bars::interval.eq(query.interval_text()))
            .filter(bars::epoch.eq(query.epoch.to_string()))
            .filter(bars::seq.between(to_stored(query.from), to_stored(query.to)))
            .order(bars::seq)
            .limit(i64::from($limit))
            .select((
                SOURCE.into_sql::<Text>().nullable(),
                bars::provenance.nullable(),
                bars::session_kind.nullable(),
                bars::open,
                bars::high,
                bars::low,
                bars::close,
                bars::datetime,
                bars::closes_at.nullable(),
                bars::first_tick_at,
                bars::last_tick_at,
                bars::known_at.nullable(),
                bars::ticks,
                bars::revision,
                bars::flags,
                bars::seq.nullable(),
                bars::session_date.nullable(),
            ))
    }};
}

/// The quality messages of a [`LogQuery`](super::log::LogQuery).
macro_rules! log_of_quality {
    ($schema:ident, $query:expr, $limit:expr) => {{
        use crate::schema::$schema::quality_log as log;
        use crate::store::reads::to_stored;
        use diesel::{ExpressionMethods, QueryDsl};
        let query = $query;
        log::table
            .filter(log::symbol.eq(query.symbol_text()))
            .filter(log::epoch.eq(query.epoch.to_string()))
            .filter(log::seq.between(to_stored(query.from), to_stored(query.to)))
            .order(log::seq)
            .limit(i64::from($limit))
            .select((log::seq, log::told_at, log::kind, log::body))
    }};
}

pub(super) use {
    gaps_touching, latest_tick, log_of_bars, log_of_quality, newest_sessions, rows_of_each_program, tick_columns,
    ticks_behind,
};
