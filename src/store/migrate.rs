//! The migrations of both stores.

use crate::store::error::StoreError;
use diesel::backend::Backend;
use diesel::migration::{Migration, MigrationSource};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

/// What to do with migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrate {
    /// List the missing ones.
    Check,
    /// Run the missing ones.
    Run,
    /// Revert the newest, unless rows would be lost.
    Revert,
    /// Revert the newest, with the rows that depend on it.
    Discard,
}

/// The rows that are lost when a migration is reverted: its name, and each kind of rows with what SQL counts them `FROM`. Texts, because a
/// migration is older than the tables of `crate::schema`.
pub(super) type Stakes = &'static [(&'static str, &'static [(&'static str, &'static str)])];

/// All tables of the embedded store are ours, with all their rows.
pub(super) const SQLITE: Stakes = &[
    (
        "2025-11-01-000001_tables",
        &[
            ("ticks", "realtime_market_data"),
            (
                "bars",
                "(SELECT id FROM market_data UNION ALL SELECT id FROM interval_bars)",
            ),
            ("revisions of bars", "bar_revisions"),
            ("gaps", "gaps"),
            ("events set aside", "rejected_events"),
            ("sessions", "market_sessions"),
        ],
    ),
    ("2025-11-22-000001_logs", QUALITY),
    ("2025-11-23-000001_as_known", &[]),
    (
        "2025-11-28-000001_sessions_of_pairs",
        &[(
            "sessions of other pairs than USD/COP",
            "market_sessions WHERE symbol <> 'USDCOP'",
        )],
    ),
    ("2025-11-29-000001_events", JOURNAL),
    ("2025-11-29-000002_readable_views", &[]),
    ("2025-11-30-000001_certificates", CERTIFICATES),
];

pub(super) const QUALITY: &[(&str, &str)] = &[("messages about quality", "quality_log")];
pub(super) const JOURNAL: &[(&str, &str)] = &[("entries of the journal", "candela_events")];
pub(super) const CERTIFICATES: &[(&str, &str)] = &[("certificates of sessions", "candela_certificates")];

fn version_of<DB: Backend>(migration: &dyn Migration<DB>) -> String {
    migration.name().version().to_string()
}

/// Checks, runs or reverts migrations on a database that has those in `applied`. Returns the names of the migrations that are missing, were
/// run or were reverted. Without a change nothing is written, so a read-only database, or a user who may not create tables, is no problem
/// then.
///
/// `count` runs one of the queries of `stakes`.
pub(super) fn run_migration<DB: Backend, C: MigrationHarness<DB>>(
    db: &mut C,
    source: EmbeddedMigrations,
    applied: &[String],
    what: Migrate,
    stakes: Stakes,
    count: impl FnMut(&mut C, &str) -> Result<i64, StoreError>,
) -> Result<Vec<String>, Failure> {
    let known: Vec<Box<dyn Migration<DB>>> = MigrationSource::<DB>::migrations(&source).map_err(Failure::Step)?;
    if let Some(found) = applied
        .iter()
        .find(|found: &&String| known.iter().all(|migration| version_of(&**migration) != **found))
    {
        let found = found.clone();
        return Err(Failure::Refused(StoreError::NewerSchema { found }));
    }
    let missing = known
        .iter()
        .filter(|migration| !applied.contains(&version_of(&***migration)));
    let missing: Vec<String> = missing.map(|migration| migration.name().to_string()).collect();
    let done = match what {
        Migrate::Check => missing,
        Migrate::Run if missing.is_empty() => missing,
        Migrate::Run => {
            db.run_pending_migrations(source).map_err(Failure::Step)?;
            missing
        }
        Migrate::Revert | Migrate::Discard if applied.is_empty() => Vec::new(),
        Migrate::Revert | Migrate::Discard => {
            if what == Migrate::Revert {
                let newest = known
                    .iter()
                    .rfind(|migration| applied.contains(&version_of(&***migration)));
                let step = newest.map_or_else(String::new, |migration| migration.name().to_string());
                would_lose(db, step, stakes, count).map_err(Failure::Refused)?;
            }
            let undone = db.revert_last_migration(source).map_err(Failure::Step)?.to_string();
            let name = known.iter().find(|migration| version_of(&***migration) == undone);
            vec![name.map_or(undone, |migration| migration.name().to_string())]
        }
    };
    Ok(done)
}

/// Refuses to revert a migration that has rows.
fn would_lose<C>(
    db: &mut C,
    step: String,
    stakes: Stakes,
    mut count: impl FnMut(&mut C, &str) -> Result<i64, StoreError>,
) -> Result<(), StoreError> {
    let kinds = stakes.iter().find(|(name, _)| *name == step).map(|(_, kinds)| *kinds);
    let mut rows = Vec::new();
    for (name, rows_of_kind) in kinds.unwrap_or_default() {
        let number = count(db, &format!("SELECT count(*) AS number FROM {rows_of_kind}"))?;
        if number > 0 {
            rows.push(format!("{number} {name}"));
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let rows = rows.join(", ");
    Err(StoreError::WouldLose { step, rows })
}

/// Why the operation failed. The store classifies the error of a failed migration; nothing has changed then.
pub(super) enum Failure {
    Refused(StoreError),
    Step(Box<dyn std::error::Error + Send + Sync>),
}

/// The names of all migrations.
pub(super) fn migration_names<DB: Backend>(source: &EmbeddedMigrations) -> Result<Vec<String>, StoreError> {
    let known = MigrationSource::<DB>::migrations(source);
    let known = known.map_err(|error| StoreError::Other(error.to_string()))?;
    Ok(known.iter().map(|migration| migration.name().to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_every_step_of_the_embedded_store_it_is_known_what_goes_with_it() {
        const SOURCE: EmbeddedMigrations = diesel_migrations::embed_migrations!("migrations/sqlite");
        let known: Vec<&str> = SQLITE.iter().map(|(step, _)| *step).collect();
        assert_eq!(migration_names::<diesel::sqlite::Sqlite>(&SOURCE).unwrap(), known);
    }
}
