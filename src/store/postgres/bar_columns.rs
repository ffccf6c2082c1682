//! Reads bars column by column, from the server's encoding, without an intermediate row of values.

use crate::limits;
use crate::store::{
    answer::Damage,
    columns::{BarCells, BarTable, ColumnPage, ColumnReader, DateCell},
    error::StoreError,
    postgres::{Postgres, statement::row_value},
    query::BarQuery,
    sql::Dialect,
    values::{Day, Instant, Numeric, Whole},
};
use diesel::deserialize::FromSql;
use diesel::pg::Pg;
use diesel::sql_types::{BigInt, Date, Numeric as NumericType, Timestamptz};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

impl Postgres {
    pub(in crate::store) async fn bars_in_columns(
        &self,
        query: BarQuery,
        columns: BarTable,
    ) -> Result<ColumnPage, StoreError> {
        let mut db = self.connection().await?;
        let sql = Dialect::Postgres.rows_for_columns(query.interval);
        let symbol = query.symbol.compact();
        let interval = query.interval.name();
        let from = Instant(query.begin());
        let to = Instant(query.to);
        let limit = i64::from(query.limit);
        let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
            (&symbol, Type::TEXT),
            (&interval, Type::TEXT),
            (&from, Type::TIMESTAMPTZ),
            (&to, Type::TIMESTAMPTZ),
            (&limit, Type::INT8),
        ];
        let mut reader = ColumnReader::new(columns, query.interval);
        let mut damage = Ok(());
        let read = db.for_each_row(&sql, parameters, |row| {
            if damage.is_ok() {
                damage = cells(row).and_then(|cells| reader.take(&cells));
            }
        });
        match tokio::time::timeout(limits::POSTGRES_READ, read).await {
            Ok(read) => read?,
            Err(_) => return Err(StoreError::Slow("a query was abandoned".to_owned())),
        }
        damage.map_err(|damage| damage.in_table("market_data"))?;
        Ok(reader.finish(query.limit))
    }
}

fn cells(row: &Row) -> Result<BarCells<'_>, Damage> {
    let price = |at| value::<Numeric, NumericType>(row, at).map(|price| price.map(|price| price.0.micros()));
    let instant = |at| value::<Instant, Timestamptz>(row, at).map(|at| at.map(|at| at.0.micros()));
    let whole = |at| {
        value::<Whole, BigInt>(row, at)?
            .map(|number| number.0)
            .ok_or_else(|| missing(row, at))
    };
    Ok(BarCells {
        opens_at: instant(0)?.ok_or_else(|| missing(row, 0))?,
        closes_at: instant(1)?,
        prices: [price(2)?, price(3)?, price(4)?, price(5)?],
        ticks: whole(6)?,
        revision: whole(7)?,
        flags: whole(8)?,
        source: text(row, 9)?.unwrap_or_default(),
        provenance: text(row, 10)?,
        session_kind: text(row, 11)?,
        session_date: value::<Day, Date>(row, 12)?.map(|day| DateCell::Day(day.0)),
    })
}

fn missing(row: &Row, at: usize) -> Damage {
    let name = row.columns().get(at).map_or("a column", tokio_postgres::Column::name);
    Damage::new(format!("{name} is null"))
}

/// Reads a value by the type that the server reports.
fn value<T: FromSql<S, Pg>, S>(row: &Row, at: usize) -> Result<Option<T>, Damage> {
    let value = row_value(row, at, |value| T::from_sql(value));
    value.transpose().map_err(|error| Damage::new(error.to_string()))
}

fn text(row: &Row, at: usize) -> Result<Option<&str>, Damage> {
    row.try_get(at).map_err(|error| Damage::new(error.to_string()))
}
