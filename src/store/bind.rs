//! Binds the parameters of the statements in [`super::sql`], in their order. Macros, because the type of a bound query changes with each
//! bind, and the same lines must serve a blocking and an async connection.

macro_rules! bind_session {
    ($sql:expr, $change:expr, $instant:expr) => {{
        use diesel::sql_types::{BigInt, Text};
        diesel::sql_query($sql)
            .bind::<Text, _>($change.date.to_string())
            .bind::<BigInt, _>($change.opens.micros())
            .bind::<Text, _>($change.kind.name())
            .bind::<Text, _>($change.symbol.compact())
            .bind::<BigInt, _>($instant.micros())
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
            .bind::<BigInt, _>(query.after_seq.map_or(0, crate::store::reads::to_stored))
    }};
}

pub(super) use {bind_bars, bind_health, bind_session, bind_ticks};
