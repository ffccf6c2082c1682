//! `candela migrate`: brings the store's tables up to date, says what is missing, or undoes the newest step.

use crate::app::exit_of_store;
use crate::exit::Exit;
use crate::settings::{self, SettingsArgs, Store as StoreSettings};
use crate::store::{Migrate, Postgres, Sqlite, StoreError};
use clap::Args;
use serde_json::json;
use std::io::Write;

/// Bring the database's tables up to date. The service does the same when it starts.
#[derive(Debug, Clone, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Change nothing: list what is missing; exit code 1 when something is.
    #[arg(long)]
    check: bool,
    /// Undo the newest step, unless rows would go with it: then say which; exit code 1. The tables of the service before candela
    /// are never dropped.
    #[arg(long, conflicts_with = "check")]
    revert: bool,
    /// With --revert: delete the rows that go with the step.
    #[arg(long, requires = "revert")]
    discard: bool,
    /// For programs: one JSON object.
    #[arg(long)]
    json: bool,
}

impl MigrateArgs {
    /// Does it and prints the steps.
    ///
    /// # Errors
    /// When the settings have problems, or standard output cannot be written.
    pub fn run(self) -> anyhow::Result<Exit> {
        let settings = settings::load(&self.settings.sources())?;
        let what = match (self.check, self.revert, self.discard) {
            (true, _, _) => Migrate::Check,
            (false, true, false) => Migrate::Revert,
            (false, true, true) => Migrate::Discard,
            (false, false, _) => Migrate::Run,
        };
        let mut out = std::io::stdout().lock();
        let done = actix_rt::System::new().block_on(migrate(&settings.store, what));
        self.print(what, &done, &mut out)?;
        Ok(match done {
            Ok(steps) if what == Migrate::Check && !steps.is_empty() => Exit::Found,
            Ok(_) => Exit::Clean,
            Err(error) => exit_of_store(&error),
        })
    }

    fn print(&self, what: Migrate, done: &Result<Vec<String>, StoreError>, out: &mut impl Write) -> anyhow::Result<()> {
        let key = match what {
            Migrate::Check => "missing",
            Migrate::Run => "done",
            Migrate::Revert | Migrate::Discard => "undone",
        };
        if self.json {
            let line = match done {
                Ok(steps) => json!({ key: steps }),
                Err(error) => json!({ "error": error.to_string() }),
            };
            return Ok(writeln!(out, "{line}")?);
        }
        match done {
            Ok(steps) if steps.is_empty() && key == "undone" => writeln!(out, "there is nothing to undo")?,
            Ok(steps) if steps.is_empty() => writeln!(out, "the tables are up to date")?,
            Ok(steps) => {
                for step in steps {
                    writeln!(out, "{key:<8} {step}")?;
                }
            }
            Err(error) => writeln!(out, "error    {error}")?,
        }
        Ok(())
    }
}

async fn migrate(settings: &StoreSettings, what: Migrate) -> Result<Vec<String>, StoreError> {
    match &settings.database_url {
        Some(url) => Postgres::new(url, 1)?.migrate(what).await,
        None => Sqlite::migrate(&settings.sqlite_file, what),
    }
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
        let missing = migrate(&settings, Migrate::Check).await.unwrap();
        assert_eq!(missing.len(), 3);
        assert!(!settings.sqlite_file.exists(), "a check changes nothing");
        assert_eq!(migrate(&settings, Migrate::Run).await.unwrap().len(), 3);
        assert!(migrate(&settings, Migrate::Check).await.unwrap().is_empty());
        assert_eq!(migrate(&settings, Migrate::Revert).await.unwrap().len(), 1);
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
