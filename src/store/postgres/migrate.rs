//! Migrations of the PostgreSQL store, in the binary, one process at a time.

use crate::store::error::StoreError;
use crate::store::postgres::sort::sort_diesel;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::{RunQueryDsl, sql_query};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Held while migrating, so that two processes that start together do it one after the other. Any number that is ours.
const LOCK: &str = "SELECT pg_advisory_lock(7163391042)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(7163391042)";

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrate {
    /// Only say which migrations are missing.
    Check,
    /// Bring the tables up to date.
    Run,
    /// Undo the newest migration.
    Revert,
}

type Blocking = AsyncConnectionWrapper<AsyncPgConnection>;

/// Does it, and returns the names of the migrations that are missing (`Check`), were done or were undone.
pub(super) async fn migrate(connection: AsyncPgConnection, what: Migrate) -> Result<Vec<String>, StoreError> {
    // diesel's harness blocks, and may not do so on a thread that drives a runtime.
    let work = tokio::task::spawn_blocking(move || {
        let mut db = Blocking::from(connection);
        sql_query("SET lock_timeout = '60s'")
            .execute(&mut db)
            .map_err(|e| sort_diesel(&e))?;
        sql_query(LOCK).execute(&mut db).map_err(|e| sort_diesel(&e))?;
        let done = act(&mut db, what);
        sql_query(UNLOCK).execute(&mut db).map_err(|e| sort_diesel(&e))?;
        done
    });
    work.await.map_err(|error| StoreError::Other(error.to_string()))?
}

fn act(db: &mut Blocking, what: Migrate) -> Result<Vec<String>, StoreError> {
    let known: Vec<Box<dyn Migration<Pg>>> = MigrationSource::<Pg>::migrations(&MIGRATIONS).map_err(|e| failed(&*e))?;
    let has_table: i64 =
        sql_query("SELECT count(*)::bigint AS number FROM pg_tables WHERE tablename = '__diesel_schema_migrations'")
            .get_result::<crate::store::answer::NumberOut>(db)
            .map_err(|e| sort_diesel(&e))?
            .number;
    if what == Migrate::Check && has_table == 0 {
        return Ok(known.iter().map(|migration| migration.name().to_string()).collect());
    }
    let applied = db.applied_migrations().map_err(|e| failed(&*e))?;
    if let Some(found) = applied
        .iter()
        .find(|version| known.iter().all(|migration| migration.name().version() != **version))
    {
        return Err(StoreError::NewerSchema {
            found: found.to_string(),
        });
    }
    match what {
        Migrate::Check => {
            let missing = known
                .iter()
                .filter(|migration| !applied.contains(&migration.name().version().as_owned()));
            Ok(missing.map(|migration| migration.name().to_string()).collect())
        }
        Migrate::Run => {
            let done = db.run_pending_migrations(MIGRATIONS).map_err(|e| failed(&*e))?;
            Ok(done.iter().map(ToString::to_string).collect())
        }
        Migrate::Revert if applied.is_empty() => Ok(Vec::new()),
        Migrate::Revert => {
            let undone = db.revert_last_migration(MIGRATIONS).map_err(|e| failed(&*e))?;
            Ok(vec![undone.to_string()])
        }
    }
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
