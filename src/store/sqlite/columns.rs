//! Reads bars column by column. diesel locks SQLite around each value, which takes longer than reading the value; this uses a connection of
//! its own, which one thread uses at a time.

use crate::store::{
    Sqlite,
    answer::Damage,
    columns::{BarCells, BarTable, ColumnPage, ColumnReader, DateCell},
    error::StoreError,
    query::BarQuery,
    sql::Dialect,
};
use diesel::result::Error as DieselError;
use rusqlite::{Connection, OpenFlags, Row, params, types::ValueRef};
use std::path::Path;

/// Why a page could not be read.
enum ReadError {
    Sqlite(rusqlite::Error),
    Damage(Damage),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Sqlite {
    pub(in crate::store) async fn bars_in_columns(
        &self,
        query: BarQuery,
        columns: BarTable,
    ) -> Result<ColumnPage, StoreError> {
        let mut connection = std::sync::Arc::clone(&self.columns).lock_owned().await;
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || {
            let db = match connection.take() {
                Some(db) => db,
                None => open_reader(&path)?,
            };
            let page = read_page(&db, &query, columns);
            *connection = Some(db);
            page
        });
        let page = read.await.map_err(|error| StoreError::Other(error.to_string()))?;
        page.map_err(|error| match error {
            ReadError::Sqlite(error) => super::sort_error(DieselError::QueryBuilderError(error.to_string().into())),
            ReadError::Damage(damage) => damage.in_table("market_data"),
        })
    }
}

fn open_reader(path: &Path) -> Result<Connection, ReadError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(db)
}

fn read_page(db: &Connection, query: &BarQuery, columns: BarTable) -> Result<ColumnPage, ReadError> {
    let mut statement = db.prepare_cached(&Dialect::Sqlite.rows_for_columns(query.interval))?;
    let mut rows = statement.query(params![
        query.symbol.compact(),
        query.interval.name(),
        query.begin().micros(),
        query.to.micros(),
        query.limit
    ])?;
    let mut reader = ColumnReader::new(columns, query.interval);
    while let Some(row) = rows.next()? {
        reader.take(&cells(row)?).map_err(ReadError::Damage)?;
    }
    Ok(reader.finish(query.limit))
}

fn cells<'r>(row: &'r Row<'_>) -> Result<BarCells<'r>, ReadError> {
    Ok(BarCells {
        opens_at: row.get(0)?,
        closes_at: row.get(1)?,
        prices: [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?],
        ticks: row.get(6)?,
        revision: row.get(7)?,
        flags: row.get(8)?,
        source: text(row, 9)?.unwrap_or_default(),
        provenance: text(row, 10)?,
        session_kind: text(row, 11)?,
        session_date: text(row, 12)?.map(DateCell::Text),
    })
}

fn text<'r>(row: &'r Row<'_>, at: usize) -> Result<Option<&'r str>, ReadError> {
    match row.get_ref(at)? {
        ValueRef::Null => Ok(None),
        value => Ok(Some(value.as_str().map_err(rusqlite::Error::from)?)),
    }
}
