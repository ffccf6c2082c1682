//! Writes entries of the journal, and certificates of sessions.

use crate::store::{
    certificates::CertificateRow, error::StoreError, journal::JournalRow, postgres::write::WriteConnection,
    sql::Dialect,
};
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

    pub(super) async fn write_certificate(&mut self, row: &CertificateRow) -> Result<(), StoreError> {
        let at = row.told_at.micros();
        let epoch = row.epoch.as_str();
        let values: [&(dyn ToSql + Sync); 8] = [
            &row.symbol,
            &row.date,
            &row.revision,
            &epoch,
            &row.seq,
            &at,
            &row.hash,
            &row.body,
        ];
        let text = Type::TEXT;
        let number = Type::INT8;
        let types = [
            text.clone(),
            text.clone(),
            number.clone(),
            text.clone(),
            number.clone(),
            number,
            text.clone(),
            text,
        ];
        self.run(&Dialect::Postgres.insert_certificate(), &types, &values).await
    }
}
