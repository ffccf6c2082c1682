//! Migrations of the PostgreSQL store, in the binary, one process at a time.

use crate::store::answer::NumberOut;
use crate::store::error::StoreError;
use crate::store::migrate::{Failure, Migrate, act};
use crate::store::postgres::sort::sort_diesel;
use diesel::{RunQueryDsl, sql_query};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Held while migrating, so that two processes that start together do it one after the other. Any number that is ours.
const LOCK: &str = "SELECT pg_advisory_lock(7163391042)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(7163391042)";
const HAS_TABLE: &str =
    "SELECT count(*)::bigint AS number FROM pg_tables WHERE tablename = '__diesel_schema_migrations'";

type Blocking = AsyncConnectionWrapper<AsyncPgConnection>;

/// Does it, and returns the names of the migrations that are missing, were done or were undone.
pub(super) async fn migrate(connection: AsyncPgConnection, what: Migrate) -> Result<Vec<String>, StoreError> {
    // diesel's harness blocks, and may not do so on a thread that drives a runtime.
    let work = tokio::task::spawn_blocking(move || {
        let mut db = Blocking::from(connection);
        execute(&mut db, "SET lock_timeout = '60s'")?;
        execute(&mut db, LOCK)?;
        let done = locked(&mut db, what);
        execute(&mut db, UNLOCK)?;
        done
    });
    work.await.map_err(|error| StoreError::Other(error.to_string()))?
}

fn execute(db: &mut Blocking, sql: &str) -> Result<(), StoreError> {
    sql_query(sql)
        .execute(db)
        .map(drop)
        .map_err(|error| sort_diesel(&error))
}

/// A check makes no table: where diesel's own is missing, everything is.
fn locked(db: &mut Blocking, what: Migrate) -> Result<Vec<String>, StoreError> {
    let found = sql_query(HAS_TABLE).get_result::<NumberOut>(db);
    let has_table = found.map_err(|error| sort_diesel(&error))?.number > 0;
    if what == Migrate::Check && !has_table {
        return crate::store::migrate::names(&MIGRATIONS);
    }
    act(db, MIGRATIONS, what).map_err(|failure| match failure {
        Failure::Newer(error) => error,
        Failure::Step(error) => failed(&*error),
    })
}

/// A migration that failed: its transaction was rolled back, nothing has changed.
fn failed(error: &(dyn std::error::Error + Send + Sync + 'static)) -> StoreError {
    let text = error.to_string();
    if text.contains("permission denied") {
        return StoreError::NotAllowed(text);
    }
    match error.downcast_ref::<diesel::result::Error>().map(sort_diesel) {
        Some(StoreError::Other(_)) | None => StoreError::WrongTables(text),
        Some(sorted) => sorted,
    }
}
