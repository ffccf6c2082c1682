//! `candela migrate`: brings the store's tables up to date, lists missing steps, or reverts the newest step.

use crate::app::{self, exit_of_store, l0_table};
use crate::exit::Exit;
use crate::lock_file::this_process_alone;
use crate::settings::{self, SettingsArgs, Store as StoreSettings, Valid};
use crate::store::{self, Difference, Migrate, Postgres, Sqlite, Store, StoreError, Weight};
use clap::Args;
use serde_json::json;
use std::future::Future;
use std::io::Write;

/// Bring the database's tables up to date. The service does the same when it starts.
#[derive(Debug, Clone, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Change nothing: list what is missing; exit code 1 when something is.
    #[arg(long)]
    check: bool,
    /// Undo the newest step, unless rows would be deleted with it: then name them; exit code 1. The tables of the service before candela
    /// are never dropped.
    #[arg(long, conflicts_with = "check")]
    revert: bool,
    /// First widen columns and keys of tables that others made, where they are narrower than candela needs: each statement is shown,
    /// and all are one transaction. With --check only show them.
    #[arg(long, conflicts_with = "revert")]
    adapt: bool,
    /// With --revert: delete the rows that go with the step.
    #[arg(long, requires = "revert")]
    discard: bool,
    /// For programs: one JSON object.
    #[arg(long)]
    json: bool,
}

impl MigrateArgs {
    /// Runs the command and prints the steps.
    ///
    /// # Errors
    /// When the settings have problems, or standard output cannot be written.
    pub fn run(self) -> anyhow::Result<Exit> {
        let settings = settings::load(&self.settings.to_sources())?;
        let what = match (self.check, self.revert, self.discard) {
            (true, _, _) => Migrate::Check,
            (false, true, false) => Migrate::Revert,
            (false, true, true) => Migrate::Discard,
            (false, false, _) => Migrate::Run,
        };
        let mut out = std::io::stdout().lock();
        let system = actix_rt::System::new();
        if self.adapt {
            let adapted = system.block_on(adapt_store(&settings.store, what == Migrate::Check));
            let key = if self.check { "would do" } else { "adapted" };
            self.print_result(key, &adapted, &mut out)?;
            if let Err(error) = adapted {
                return Ok(exit_of_store(&error));
            }
        }
        let done = system.block_on(migrate_store(&settings.store, what));
        self.print_result(key_of(what), &done, &mut out)?;
        let differ = match what {
            Migrate::Check => system.block_on(store_differences(&settings)),
            Migrate::Run | Migrate::Revert | Migrate::Discard => Ok(Vec::new()),
        };
        let is_grave = differ
            .as_ref()
            .is_ok_and(|differ: &Vec<Difference>| differ.iter().any(|difference| difference.weight == Weight::Grave));
        let said = differ.map(|differ| differ.iter().map(ToString::to_string).collect());
        self.print_result("differs", &said, &mut out)?;
        Ok(match (done, said) {
            (Err(error), _) | (_, Err(error)) => exit_of_store(&error),
            (Ok(missing), Ok(_)) if what == Migrate::Check && (is_grave || !missing.is_empty()) => Exit::Found,
            _ => Exit::Clean,
        })
    }

    fn print_result(
        &self,
        key: &str,
        done: &Result<Vec<String>, StoreError>,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        if self.json {
            let line = match done {
                Ok(steps) if steps.is_empty() && key == "differs" => return Ok(()),
                Ok(steps) => json!({ key.replace(' ', "_"): steps }),
                Err(StoreError::DifferentTables(differences)) => json!({ "differs": differences }),
                Err(error) => json!({ "error": error.to_string() }),
            };
            return Ok(writeln!(out, "{line}")?);
        }
        match done {
            Ok(steps) if steps.is_empty() => match key {
                "undone" => writeln!(out, "there is nothing to undo")?,
                "adapted" | "would do" => writeln!(out, "nothing is to be adapted")?,
                "differs" => {}
                _ => writeln!(out, "the tables are up to date")?,
            },
            Ok(steps) => {
                for step in steps {
                    writeln!(out, "{key:<8} {step}")?;
                }
            }
            Err(StoreError::DifferentTables(differences)) => {
                for difference in differences {
                    writeln!(out, "differs  {difference}")?;
                }
            }
            Err(error) => writeln!(out, "error    {error}")?,
        }
        Ok(())
    }
}

const fn key_of(what: Migrate) -> &'static str {
    match what {
        Migrate::Check => "missing",
        Migrate::Run => "done",
        Migrate::Revert | Migrate::Discard => "undone",
    }
}

/// Adapts the tables of PostgreSQL; those of the embedded store are candela's own.
async fn adapt_store(settings: &StoreSettings, only_says: bool) -> Result<Vec<String>, StoreError> {
    let Some(url) = &settings.database_url else {
        return Ok(Vec::new());
    };
    let database = Postgres::new(url, 1)?;
    if only_says {
        return database.plan_changes().await;
    }
    Box::pin(with_lease(&database, database.adapt_schema())).await
}

/// Changes tables under the lease, while no other program writes to them.
async fn with_lease(
    database: &Postgres,
    change: impl Future<Output = Result<Vec<String>, StoreError>>,
) -> Result<Vec<String>, StoreError> {
    let store = Store::Postgres(database.clone());
    app::while_leased(&store, this_process_alone(), change).await?
}

async fn store_differences(settings: &Valid) -> Result<Vec<Difference>, StoreError> {
    let Some(url) = &settings.store.database_url else {
        return Ok(Vec::new());
    };
    let history = l0_table(settings).ok();
    Postgres::new(url, 1)?.schema_differences(history.as_ref()).await
}

/// Migrates the store. If no step is missing nothing changes, and a service may be running.
async fn migrate_store(settings: &StoreSettings, what: Migrate) -> Result<Vec<String>, StoreError> {
    let Some(url) = &settings.database_url else {
        let file = &settings.sqlite_file;
        let changes = what != Migrate::Check
            && (what != Migrate::Run || !Sqlite::migrate_schema(file, Migrate::Check)?.is_empty());
        let _lock = changes.then(|| store::lock(file)).transpose()?;
        return Sqlite::migrate_schema(file, what);
    };
    let database = Postgres::new(url, 1)?;
    let changes =
        what != Migrate::Check && (what != Migrate::Run || !database.migrate_schema(Migrate::Check).await?.is_empty());
    if changes {
        return Box::pin(with_lease(&database, database.migrate_schema(what))).await;
    }
    database.migrate_schema(what).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn without_a_server_the_embedded_store_is_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let settings = StoreSettings {
            database_url: None,
            sqlite_file: folder.path().join("store.db"),
            pool: 2,
            tick_retention: None,
        };
        let missing = migrate_store(&settings, Migrate::Check).await.unwrap();
        assert_eq!(missing.len(), 7);
        assert!(!settings.sqlite_file.exists(), "a check changes nothing");
        let service = store::lock(&settings.sqlite_file).unwrap();
        let refused = migrate_store(&settings, Migrate::Run).await.unwrap_err();
        assert!(matches!(refused, StoreError::AnotherWriter(_)), "{refused}");
        drop(service);
        assert_eq!(migrate_store(&settings, Migrate::Run).await.unwrap().len(), 7);
        let service = store::lock(&settings.sqlite_file).unwrap();
        assert!(migrate_store(&settings, Migrate::Check).await.unwrap().is_empty());
        assert!(
            migrate_store(&settings, Migrate::Run).await.unwrap().is_empty(),
            "nothing changes"
        );
        assert!(migrate_store(&settings, Migrate::Revert).await.is_err());
        drop(service);
        assert_eq!(migrate_store(&settings, Migrate::Revert).await.unwrap().len(), 1);
    }

    #[test]
    fn what_a_person_must_mend_ends_with_the_code_for_settings() {
        for (error, code) in [
            (StoreError::BadUrl(String::new()), 78),
            (StoreError::NewerSchema { found: String::new() }, 78),
            (
                StoreError::WouldLose {
                    step: String::new(),
                    rows: String::new(),
                },
                1,
            ),
            (StoreError::Unreachable(String::new()), 69),
            (StoreError::Slow(String::new()), 75),
        ] {
            assert_eq!(exit_of_store(&error).code(), code, "{error}");
        }
    }
}
