//! What a command's failure means: the exit code, and the sentence.

use crate::actors::vendor::RootsError;
use crate::app::{StartError, exit_of_store};
use crate::cmd::ask::AskError;
use crate::cmd::backfill::BackfillError;
use crate::cmd::calendar::CalendarError;
use crate::cmd::simulate::SimulateError;
use crate::exit::Exit;
use crate::ledger::LedgerError;
use crate::settings::Problems;
use crate::sim::{DayError, HistoryError, ScenarioError, SimError};
use crate::store::StoreError;

/// The code to end with, and one line for people: what failed, and the causes behind it.
#[must_use]
pub fn of(error: &anyhow::Error) -> (Exit, String) {
    let exit = if let Some(start) = error.downcast_ref::<StartError>() {
        start.exit()
    } else if error.is::<Problems>() || error.is::<CalendarError>() || error.is::<RootsError>() {
        Exit::Settings
    } else if let Some(backfill) = error.downcast_ref::<BackfillError>() {
        backfill.exit()
    } else if let Some(store) = error.downcast_ref::<StoreError>() {
        exit_of_store(store)
    } else if matches!(error.downcast_ref(), Some(AskError::Refused { .. })) {
        Exit::Usage
    } else if error.is::<AskError>() {
        Exit::Unavailable
    } else if matches!(error.downcast_ref(), Some(LedgerError::InUse { .. })) {
        Exit::TryAgain
    } else if is_resource(error) {
        Exit::Resource
    } else {
        Exit::Usage
    };
    (exit, format!("{error:#}"))
}

fn is_resource(error: &anyhow::Error) -> bool {
    error.is::<DayError>()
        || error.is::<HistoryError>()
        || error.is::<ScenarioError>()
        || error.is::<LedgerError>()
        || error.is::<SimError>()
        || error.is::<SimulateError>()
        || error.chain().any(|cause| cause.is::<std::io::Error>())
}
