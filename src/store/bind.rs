//! The parameters of the statements in [`super::sql`], in their order. Macros, because the type of a bound query is different
//! after each bind, and the same lines must serve a blocking and an async connection.

macro_rules! bind_bar {
    ($sql:expr, $row:expr) => {{
        use diesel::sql_types::{BigInt, Nullable, Text};
        let (row, bar) = ($row, &$row.bar);
        diesel::sql_query($sql)
            .bind::<Text, _>(bar.key.symbol.compact())
            .bind::<Text, _>(bar.key.interval.name())
            .bind::<BigInt, _>(bar.key.opens_at.micros())
            .bind::<BigInt, _>(bar.ohlc.open.micros())
            .bind::<BigInt, _>(bar.ohlc.high.micros())
            .bind::<BigInt, _>(bar.ohlc.low.micros())
            .bind::<BigInt, _>(bar.ohlc.close.micros())
            .bind::<BigInt, _>(i64::from(bar.ticks))
            .bind::<BigInt, _>(bar.closes_at.micros())
            .bind::<Nullable<BigInt>, _>(bar.first_tick_at.map(crate::domain::timestamp::Timestamp::micros))
            .bind::<Nullable<BigInt>, _>(bar.last_tick_at.map(crate::domain::timestamp::Timestamp::micros))
            .bind::<Text, _>(bar.provenance.name())
            .bind::<BigInt, _>(i64::from(bar.flags.bits()))
            .bind::<Text, _>(bar.session_date.to_string())
            .bind::<Text, _>(bar.session_kind.name())
            .bind::<Text, _>(row.epoch.as_str())
            .bind::<BigInt, _>(row.seq)
            .bind::<BigInt, _>(row.known_at.micros())
            .bind::<BigInt, _>(i64::from(bar.revision))
    }};
}

macro_rules! bind_gap {
    ($sql:expr, $row:expr) => {{
        use diesel::sql_types::{BigInt, Text};
        let (row, gap) = ($row, &$row.gap);
        diesel::sql_query($sql)
            .bind::<Text, _>(gap.symbol.compact())
            .bind::<Text, _>(row.epoch.as_str())
            .bind::<BigInt, _>(i64::try_from(gap.id).unwrap_or(i64::MAX))
            .bind::<Text, _>(gap.interval.name())
            .bind::<BigInt, _>(gap.from.micros())
            .bind::<BigInt, _>(gap.to.micros())
            .bind::<BigInt, _>(i64::from(gap.bars))
            .bind::<Text, _>(gap.status.name())
            .bind::<Text, _>(gap.cause.as_str())
            .bind::<BigInt, _>(row.seq)
            .bind::<BigInt, _>(row.at.micros())
    }};
}

macro_rules! bind_open_session {
    ($sql:expr, $change:expr) => {{
        use diesel::sql_types::{BigInt, Text};
        diesel::sql_query($sql)
            .bind::<Text, _>($change.date.to_string())
            .bind::<BigInt, _>($change.opens.micros())
            .bind::<Text, _>($change.kind.name())
            .bind::<Text, _>($change.symbol.compact())
    }};
}

macro_rules! bind_close_session {
    ($sql:expr, $change:expr) => {
        crate::store::bind::bind_open_session!($sql, $change)
            .bind::<diesel::sql_types::BigInt, _>($change.closes.micros())
    };
}

macro_rules! bind_advance {
    ($sql:expr, $batch:expr) => {{
        use diesel::sql_types::{BigInt, Text};
        diesel::sql_query($sql)
            .bind::<Text, _>($batch.reader)
            .bind::<Text, _>($batch.lineage.as_str())
            .bind::<BigInt, _>($batch.last_position())
    }};
}

macro_rules! bind_reject {
    ($sql:expr, $batch:expr, $reason:expr) => {{
        use diesel::sql_types::{BigInt, Text};
        diesel::sql_query($sql)
            .bind::<Text, _>($batch.lineage.as_str())
            .bind::<BigInt, _>($batch.last_position())
            .bind::<Text, _>($reason)
            .bind::<Text, _>(format!("{:?}", $batch.events))
    }};
}

macro_rules! bind_health {
    ($sql:expr, $row:expr) => {{
        use diesel::sql_types::{BigInt, Nullable, Text};
        diesel::sql_query($sql)
            .bind::<Text, _>($row.status.as_str())
            .bind::<Text, _>($row.details.to_string())
            .bind::<Nullable<BigInt>, _>($row.response_ms.map(i64::from))
            .bind::<Nullable<Text>, _>($row.error.as_deref())
            .bind::<BigInt, _>($row.at.micros())
    }};
}

/// Binds a [`crate::store::query::BarQuery`] with its `as_of`.
macro_rules! bind_bars {
    ($sql:expr, $query:expr) => {{
        use diesel::sql_types::{BigInt, Text};
        let query = $query;
        let after_cursor = query.cursor.map_or(i64::MIN, |at| at.micros().saturating_add(1));
        diesel::sql_query($sql)
            .bind::<Text, _>(query.symbol.compact())
            .bind::<Text, _>(query.interval.name())
            .bind::<BigInt, _>(query.from.micros().max(after_cursor))
            .bind::<BigInt, _>(query.end().micros())
            .bind::<BigInt, _>(i64::from(query.limit))
    }};
}

macro_rules! bind_ticks {
    ($sql:expr, $query:expr) => {{
        use diesel::sql_types::{BigInt, Text};
        let query = $query;
        diesel::sql_query($sql)
            .bind::<Text, _>(query.symbol.compact())
            .bind::<BigInt, _>(query.begin().micros())
            .bind::<BigInt, _>(query.to.micros())
            .bind::<BigInt, _>(i64::from(query.limit))
            .bind::<BigInt, _>(query.place().received_at.micros())
            .bind::<BigInt, _>(i64::try_from(query.place().seq).unwrap_or(i64::MAX))
            .bind::<BigInt, _>(query.after_seq.map_or(0, |seq| i64::try_from(seq).unwrap_or(i64::MAX)))
    }};
}

macro_rules! bind_gaps {
    ($sql:expr, $query:expr) => {{
        use diesel::sql_types::{BigInt, Text};
        let query = $query;
        diesel::sql_query($sql)
            .bind::<Text, _>(query.symbol.compact())
            .bind::<BigInt, _>(query.from.micros())
            .bind::<BigInt, _>(query.to.micros())
            .bind::<Text, _>(query.status.map_or("", crate::domain::gap::GapStatus::name))
            .bind::<BigInt, _>(i64::from(query.limit))
            .bind::<BigInt, _>(query.cursor.map_or(query.to, |place| place.from).micros())
            .bind::<BigInt, _>(
                query
                    .cursor
                    .map_or(i64::MAX, |place| i64::try_from(place.id).unwrap_or(i64::MAX)),
            )
            .bind::<Text, _>(query.cursor.map_or_else(String::new, |place| place.epoch.to_string()))
    }};
}

pub(super) use {
    bind_advance, bind_bar, bind_bars, bind_close_session, bind_gap, bind_gaps, bind_health, bind_open_session,
    bind_reject, bind_ticks,
};
