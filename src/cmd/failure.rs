//! What a command's failure means: the exit code, and the sentence.

use crate::app::StartError;
use crate::cmd::ask::AskError;
use crate::cmd::calendar::CalendarError;
use crate::cmd::simulate::SimulateError;
use crate::exit::Exit;
use crate::ledger::LedgerError;
use crate::settings::Problems;
use crate::sim::{DayError, HistoryError, ScenarioError, SimError};

/// The code to end with, and one line for people: what failed, and the causes behind it.
#[must_use]
pub fn of(error: &anyhow::Error) -> (Exit, String) {
    let exit = if let Some(start) = error.downcast_ref::<StartError>() {
        start.exit()
    } else if error.is::<Problems>() || error.is::<CalendarError>() {
        Exit::Settings
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
