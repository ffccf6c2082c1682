//! Writes entries of the journal.

use crate::store::{error::StoreError, journal::JournalRow, postgres::write::WriteConnection, sql::Dialect};
use tokio_postgres::types::{ToSql, Type};

impl WriteConnection {
    pub(super) async fn write_event(&mut self, row: &JournalRow) -> Result<(), StoreError> {
        let at = row.told_at.micros();
        let values: [&(dyn ToSql + Sync); 6] = [&row.lineage, &row.position, &at, &row.kind, &row.symbol, &row.body];
        let text = Type::TEXT;
        let number = Type::INT8;
        let types = [text.clone(), number.clone(), number, text.clone(), text.clone(), text];
        self.run(&Dialect::Postgres.insert_event(), &types, &values).await
    }
}
