//! Steps that bring tables up to date, for both stores.

use crate::store::error::StoreError;
use diesel::backend::Backend;
use diesel::migration::{Migration, MigrationSource};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

/// What to do about migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrate {
    /// Only say which are missing.
    Check,
    /// Do those that are missing.
    Run,
    /// Undo the newest.
    Revert,
}

/// Does it on a connection whose database has `applied` some, and returns the names of those that are missing, were done or were
/// undone. What needs no change writes nothing: a database that only reads, or a user who may not make tables, is no trouble then.
pub(super) fn act<DB: Backend>(
    db: &mut impl MigrationHarness<DB>,
    source: EmbeddedMigrations,
    applied: &[String],
    what: Migrate,
) -> Result<Vec<String>, Failure> {
    let known: Vec<Box<dyn Migration<DB>>> = MigrationSource::<DB>::migrations(&source).map_err(Failure::Step)?;
    let version = |migration: &dyn Migration<DB>| migration.name().version().to_string();
    let unknown = |found: &&String| known.iter().all(|migration| version(&**migration) != **found);
    if let Some(found) = applied.iter().find(unknown) {
        let found = found.clone();
        return Err(Failure::Newer(StoreError::NewerSchema { found }));
    }
    let missing = known
        .iter()
        .filter(|migration| !applied.contains(&version(&***migration)));
    let missing: Vec<String> = missing.map(|migration| migration.name().to_string()).collect();
    let done = match what {
        Migrate::Check => missing,
        Migrate::Run if missing.is_empty() => missing,
        Migrate::Run => {
            db.run_pending_migrations(source).map_err(Failure::Step)?;
            missing
        }
        Migrate::Revert if applied.is_empty() => Vec::new(),
        Migrate::Revert => {
            let undone = db.revert_last_migration(source).map_err(Failure::Step)?.to_string();
            let name = known.iter().find(|migration| version(&***migration) == undone);
            vec![name.map_or(undone, |migration| migration.name().to_string())]
        }
    };
    Ok(done)
}

/// Why not. What a failed step says is for the store to sort; nothing has changed then.
pub(super) enum Failure {
    Newer(StoreError),
    Step(Box<dyn std::error::Error + Send + Sync>),
}

/// The names of all of them.
pub(super) fn names<DB: Backend>(source: &EmbeddedMigrations) -> Result<Vec<String>, StoreError> {
    let known = MigrationSource::<DB>::migrations(source);
    let known = known.map_err(|error| StoreError::Other(error.to_string()))?;
    Ok(known.iter().map(|migration| migration.name().to_string()).collect())
}
