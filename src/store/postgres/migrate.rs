//! Migrations of the PostgreSQL store, in the binary, one process at a time.

use crate::store::answer::NumberOut;
use crate::store::error::StoreError;
use crate::store::migrate::{Failure, Migrate, Stakes, act};
use crate::store::postgres::sort::sort_diesel;
use diesel::sql_types::Text;
use diesel::{QueryableByName, RunQueryDsl, sql_query};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Held while migrating, so that two processes that start together do it one after the other. Any number that is ours.
const LOCK: &str = "SELECT pg_advisory_lock(7163391042)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(7163391042)";
const HAS_TABLE: &str = "SELECT count(*)::bigint AS number FROM to_regclass('__diesel_schema_migrations') AS t (found) WHERE found IS NOT NULL";
const APPLIED: &str = "SELECT version FROM __diesel_schema_migrations ORDER BY version";

/// The tables of the service before candela are never dropped, nor the rows of others in them.
const STAKES: Stakes = &[
    ("2025-11-01-000001_old_tables", &[]),
    (
        "2025-11-01-000002_candela",
        &[
            (
                "ticks",
                "SELECT count(*) AS number FROM realtime_market_data WHERE epoch IS NOT NULL",
            ),
            (
                "bars",
                "SELECT (SELECT count(*) FROM market_data WHERE source = 'candela') + (SELECT count(*) FROM interval_bars) AS number",
            ),
            ("revisions of bars", "SELECT count(*) AS number FROM bar_revisions"),
            ("gaps", "SELECT count(*) AS number FROM gaps"),
            ("events set aside", "SELECT count(*) AS number FROM rejected_events"),
        ],
    ),
    (
        "2025-11-22-000001_logs",
        &[("messages about quality", "SELECT count(*) AS number FROM quality_log")],
    ),
    ("2025-11-23-000001_as_known", &[]),
];

#[derive(Debug, QueryableByName)]
struct VersionOut {
    #[diesel(sql_type = Text)]
    version: String,
}

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

/// What is there is asked for without diesel's harness, which would make its own table first: a check changes nothing.
fn locked(db: &mut Blocking, what: Migrate) -> Result<Vec<String>, StoreError> {
    let found = sql_query(HAS_TABLE).get_result::<NumberOut>(db);
    let has_table = found.map_err(|error| sort_diesel(&error))?.number > 0;
    let applied: Vec<VersionOut> = if has_table {
        sql_query(APPLIED).load(db).map_err(|error| sort_diesel(&error))?
    } else {
        Vec::new()
    };
    let applied: Vec<String> = applied.into_iter().map(|row| row.version).collect();
    let count = |db: &mut Blocking, question: &str| {
        let found = sql_query(question).get_result::<NumberOut>(db);
        found.map(|row| row.number).map_err(|error| sort_diesel(&error))
    };
    act(db, MIGRATIONS, &applied, what, STAKES, count).map_err(|failure| match failure {
        Failure::Refused(error) => error,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::migrate::names;

    #[test]
    fn of_every_step_it_is_known_what_goes_with_it() {
        let known: Vec<&str> = STAKES.iter().map(|(step, _)| *step).collect();
        assert_eq!(names::<diesel::pg::Pg>(&MIGRATIONS).unwrap(), known);
    }
}
