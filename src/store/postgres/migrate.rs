//! The embedded migrations of the PostgreSQL store, run by one process at a time.

use crate::domain::history::L0Table;
use crate::store::{
    answer::NumberOut,
    error::StoreError,
    migrate::{CERTIFICATES, Failure, JOURNAL, Migrate, QUALITY, Stakes, migration_names, run_migration},
    postgres::{
        catalog,
        layout::{Difference, Weight},
        sort::sort_diesel,
        statement::Asking,
    },
};
use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::{Connection, QueryableByName, RunQueryDsl, sql_query};
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Taken before migrating, so that processes that start together migrate one after the other; the number is arbitrary. Lock and limits end
/// with the transaction; a lock of the session would remain in a pooler. Building an index may take minutes.
const LOCK: &str =
    "SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock(7163391042)";
/// A text, as the next one: the table is diesel's own, which has no printed schema.
const HAS_TABLE: &str = "SELECT count(*)::bigint AS number FROM to_regclass('__diesel_schema_migrations') AS t (found) WHERE found IS NOT NULL";
const APPLIED: &str = "SELECT version FROM __diesel_schema_migrations ORDER BY version";

/// The tables of the service before candela are never dropped, nor other programs' rows in them.
const STAKES: Stakes = &[
    ("2025-11-01-000001_old_tables", &[]),
    (
        "2025-11-01-000002_candela",
        &[
            ("ticks", "realtime_market_data WHERE epoch IS NOT NULL"),
            (
                "bars",
                "(SELECT id FROM market_data WHERE source = 'candela' UNION ALL SELECT id FROM interval_bars) AS bars",
            ),
            ("revisions of bars", "bar_revisions"),
            ("gaps", "gaps"),
            ("events set aside", "rejected_events"),
        ],
    ),
    ("2025-11-22-000001_logs", QUALITY),
    ("2025-11-23-000001_as_known", &[]),
    (
        "2025-11-28-000001_sessions_of_pairs",
        &[("sessions of other pairs than USD/COP", "market_sessions_of_pairs")],
    ),
    ("2025-11-28-000002_lease", &[]),
    ("2025-11-29-000001_events", JOURNAL),
    ("2025-11-29-000002_provable", &[]),
    ("2025-11-30-000001_certificates", CERTIFICATES),
];

#[derive(Debug, QueryableByName)]
struct VersionOut {
    #[diesel(sql_type = Text)]
    version: String,
}

/// A blocking connection, for diesel's harness and the catalog.
pub(super) type Blocking = AsyncConnectionWrapper<Asking>;

/// Checks, runs or reverts migrations. Returns the names of the migrations that are missing, were run or were reverted. Tables with grave
/// differences are refused before anything is done.
pub(super) async fn migrate_schema(connection: Asking, what: Migrate) -> Result<Vec<String>, StoreError> {
    with_lock(connection, move |db| run_steps(db, what)).await
}

/// The differences between the tables and what candela relies on.
pub(super) async fn schema_differences(
    connection: Asking,
    history: Option<L0Table>,
) -> Result<Vec<Difference>, StoreError> {
    with_lock(connection, move |db| {
        let pending = is_pending(&applied_migrations(db)?)?;
        catalog::schema_differences(db, pending, history.as_ref())
    })
    .await
}

/// Widens the tables to what candela relies on, where nothing is lost, and returns the statements; or only returns them.
pub(super) async fn adapt_schema(connection: Asking, does: bool) -> Result<Vec<String>, StoreError> {
    with_lock(connection, move |db| {
        let pending = is_pending(&applied_migrations(db)?)?;
        if does {
            catalog::adapt_schema(db, pending)
        } else {
            catalog::plan_changes(db, pending)
        }
    })
    .await
}

/// Runs `work` in one transaction, one process at a time.
async fn with_lock<T: Send + 'static>(
    connection: Asking,
    work: impl FnOnce(&mut Blocking) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    // diesel's harness blocks, and may not do so on a thread that drives a runtime.
    let work = tokio::task::spawn_blocking(move || {
        let mut db = Blocking::from(connection);
        db.transaction(|db| {
            db.batch_execute(LOCK)?;
            work(db)
        })
    });
    work.await.map_err(|error| StoreError::Other(error.to_string()))?
}

/// The applied migrations, read without diesel's harness, which would create its own table first: a check changes nothing.
fn applied_migrations(db: &mut Blocking) -> Result<Vec<String>, StoreError> {
    let found = sql_query(HAS_TABLE).get_result::<NumberOut>(db);
    let has_table = found.map_err(|error| sort_diesel(&error))?.number > 0;
    let applied: Vec<VersionOut> = if has_table {
        sql_query(APPLIED).load(db).map_err(|error| sort_diesel(&error))?
    } else {
        Vec::new()
    };
    Ok(applied.into_iter().map(|row| row.version).collect())
}

/// Whether a migration is missing.
fn is_pending(applied: &[String]) -> Result<bool, StoreError> {
    Ok(migration_names::<diesel::pg::Pg>(&MIGRATIONS)?.len() > applied.len())
}

fn run_steps(db: &mut Blocking, what: Migrate) -> Result<Vec<String>, StoreError> {
    let applied = applied_migrations(db)?;
    if what == Migrate::Run {
        let differences = catalog::schema_differences(db, is_pending(&applied)?, None)?;
        let grave = differences
            .iter()
            .filter(|difference| difference.weight == Weight::Grave);
        let grave: Vec<String> = grave.map(ToString::to_string).collect();
        if !grave.is_empty() {
            return Err(StoreError::DifferentTables(grave));
        }
    }
    run_migration(
        db,
        MIGRATIONS,
        &applied,
        what,
        STAKES,
        |db: &mut Blocking, question: &str| {
            let found = sql_query(question).get_result::<NumberOut>(db);
            found.map(|row| row.number).map_err(|error| sort_diesel(&error))
        },
    )
    .map_err(|failure| match failure {
        Failure::Refused(error) => error,
        Failure::Step(error) => migration_error(db.refusal.take(), &*error),
    })
}

/// The error of a failed migration, whose transaction was rolled back, so that nothing has changed. The harness hides the server's error in
/// a text, so it is taken from the connection.
fn migration_error(refusal: Option<StoreError>, error: &(dyn std::error::Error + Send + Sync + 'static)) -> StoreError {
    match refusal {
        // A migration's error about existing rows concerns the table.
        Some(StoreError::Other(_) | StoreError::RowRefused(_) | StoreError::Refused(_)) | None => {
            StoreError::WrongTables(error.to_string())
        }
        Some(sorted) => sorted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_every_step_it_is_known_what_goes_with_it() {
        let known: Vec<&str> = STAKES.iter().map(|(step, _)| *step).collect();
        assert_eq!(migration_names::<diesel::pg::Pg>(&MIGRATIONS).unwrap(), known);
    }
}
