//! The rows of a batch in columns: one array per column, as `unnest` takes them.

use crate::domain::model::Bar;
use crate::store::{
    rows::{BarRow, TickRow},
    sql::BAR_COLUMNS,
    values::{Instant, Numeric},
};
use tokio_postgres::types::{ToSql, Type};

/// The types of [`TickColumns`].
pub(super) const TICK_TYPES: [Type; 11] = [
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
/// The types of [`bars_from_arrays`].
pub(super) const BAR_TYPES: [Type; 19] = [
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

/// The ticks of a batch in columns.
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
    pub(super) fn from_rows(rows: &'r [TickRow]) -> Self {
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

    pub(super) fn values(&self) -> [&(dyn ToSql + Sync); 11] {
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

/// A `SELECT` of the bar columns from nineteen arrays.
pub(super) fn bars_from_arrays(more: &str) -> String {
    format!(
        "SELECT {BAR_COLUMNS}{more} FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::numeric[], $5::numeric[],
            $6::numeric[], $7::numeric[], $8::bigint[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::text[],
            $13::bigint[], $14::date[], $15::text[], $16::text[], $17::bigint[], $18::timestamptz[], $19::bigint[])
            AS b ({BAR_COLUMNS})"
    )
}

/// The bars of a batch in columns, in the order of [`BAR_TYPES`].
pub(super) struct BarColumns<'r>(Vec<Column<'r>>);

type Column<'r> = Box<dyn ToSql + Sync + Send + 'r>;

impl<'r> BarColumns<'r> {
    pub(super) fn from_rows(rows: &[&'r BarRow]) -> Self {
        fn boxed_column<'r, T: ToSql + Sync + Send + 'r>(
            rows: &[&'r BarRow],
            of: impl Fn(&'r BarRow) -> T,
        ) -> Column<'r> {
            Box::new(rows.iter().map(|row| of(row)).collect::<Vec<T>>())
        }
        let price = |of: fn(&Bar) -> crate::domain::model::Price| boxed_column(rows, move |row| Numeric(of(&row.bar)));
        Self(vec![
            boxed_column(rows, |row| row.bar.key.symbol.compact()),
            boxed_column(rows, |row| row.bar.key.interval.name()),
            boxed_column(rows, |row| Instant(row.bar.key.opens_at)),
            price(|bar| bar.ohlc.open),
            price(|bar| bar.ohlc.high),
            price(|bar| bar.ohlc.low),
            price(|bar| bar.ohlc.close),
            boxed_column(rows, |row| i64::from(row.bar.ticks)),
            boxed_column(rows, |row| Instant(row.bar.closes_at)),
            boxed_column(rows, |row| row.bar.first_tick_at.map(Instant)),
            boxed_column(rows, |row| row.bar.last_tick_at.map(Instant)),
            boxed_column(rows, |row| row.bar.provenance.name()),
            boxed_column(rows, |row| i64::from(row.bar.flags.bits())),
            boxed_column(rows, |row| row.bar.session_date),
            boxed_column(rows, |row| row.bar.session_kind.name()),
            boxed_column(rows, |row| row.epoch.as_str()),
            boxed_column(rows, |row| row.seq),
            boxed_column(rows, |row| Instant(row.known_at)),
            boxed_column(rows, |row| i64::from(row.bar.revision)),
        ])
    }

    pub(super) fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        fn as_parameter<'c>(column: &'c Column<'_>) -> &'c (dyn ToSql + Sync) {
            &**column
        }
        self.0.iter().map(as_parameter).collect()
    }
}
