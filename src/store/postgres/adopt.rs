//! How the writing connection continues with a ledger that took a new name.

use crate::store::{
    adopt::Adoption,
    error::StoreError,
    postgres::{sort::sort_error, write::WriteConnection},
    sql::Dialect,
};
use tokio_postgres::types::Type;

const SQL: Dialect = Dialect::Postgres;

impl WriteConnection {
    /// Writes all of the adoption, or nothing.
    pub(super) async fn adopt_lineage(&mut self, adoption: &Adoption) -> Result<(), StoreError> {
        self.begin().await?;
        let adopted = self.adopt_rows(adoption).await;
        self.end(adopted).await
    }

    async fn adopt_rows(&mut self, adoption: &Adoption) -> Result<(), StoreError> {
        let types = [Type::TEXT, Type::TEXT, Type::TEXT, Type::INT8];
        for (symbol, then, now, seq) in &adoption.gaps {
            self.run(&SQL.rename_gaps(), &types, &[symbol, then, now, seq]).await?;
        }
        let types = [Type::TEXT, Type::TEXT, Type::INT8];
        let place: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&adoption.reader, &adoption.lineage, &adoption.position];
        self.run(&SQL.advance_position(), &types, &place).await
    }
    /// Each ledger whose events `reader` has written here, and up to which position.
    pub(super) async fn ledger_positions(&mut self, reader: &str) -> Result<Vec<(String, i64)>, StoreError> {
        let sql = "SELECT lineage, max(position) FROM (SELECT lineage, position FROM reader_positions WHERE reader = $1
            UNION ALL SELECT lineage, position FROM candela_events) AS known GROUP BY lineage";
        let rows = self.client.query_typed(sql, &[(&reader, Type::TEXT)]).await;
        let rows = self.count_answer(rows).map_err(|e| sort_error(&e))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }
}
