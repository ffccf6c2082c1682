//! Maps a command's error to an exit code and a sentence.

use crate::actors::vendor::RootsError;
use crate::app::{StartError, exit_of_store};
use crate::cmd::{
    ask::ServiceError, backfill::BackfillError, calendar::CalendarError, compare::CompareError,
    demo::cluster_error::ClusterDemoError, simulate::SimulateError,
};
use crate::exit::Exit;
use crate::ledger::LedgerError;
use crate::settings::Problems;
use crate::sim::{DayError, HistoryError, ScenarioError, SimError};
use crate::store::StoreError;

/// The exit code, and one line for people: what failed, and its causes.
pub fn from_error(error: &anyhow::Error) -> (Exit, String) {
    let exit = if output_error(error).is_some() {
        Exit::Resource
    } else if let Some(start) = error.downcast_ref::<StartError>() {
        start.exit()
    } else if error.is::<Problems>() || error.is::<CalendarError>() || error.is::<RootsError>() {
        Exit::Settings
    } else if let Some(backfill) = error.downcast_ref::<BackfillError>() {
        backfill.exit_code()
    } else if let Some(compare) = error.downcast_ref::<CompareError>() {
        compare.exit_code()
    } else if let Some(demo) = error.downcast_ref::<ClusterDemoError>() {
        demo.exit_code()
    } else if let Some(store) = error.downcast_ref::<StoreError>() {
        exit_of_store(store)
    } else if matches!(
        error.downcast_ref(),
        Some(ServiceError::Refused { .. } | ServiceError::NoToken { .. })
    ) {
        Exit::Usage
    } else if error.is::<ServiceError>() {
        Exit::Unavailable
    } else if matches!(error.downcast_ref(), Some(LedgerError::InUse { .. })) {
        Exit::TryAgain
    } else if is_resource(error) {
        Exit::Resource
    } else {
        Exit::Usage
    };
    (exit, error_sentence(error))
}

/// Whether it failed only because its output is no longer read, as when it is piped into `head`.
pub fn is_unread(error: &anyhow::Error) -> bool {
    output_error(error).is_some_and(|written| written.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The error of writing a command's output, if that is what failed.
fn output_error(error: &anyhow::Error) -> Option<&std::io::Error> {
    match (
        error.downcast_ref::<CalendarError>(),
        error.downcast_ref::<SimulateError>(),
    ) {
        (Some(CalendarError::Output(written)), _) | (_, Some(SimulateError::Output(written))) => Some(written),
        _ if error.chain().len() > 1 => None, // something else was being done
        _ => error.downcast_ref::<std::io::Error>(),
    }
}

/// The error with its causes; a cause that was named already is not repeated.
fn error_sentence(error: &anyhow::Error) -> String {
    let mut said = match error.downcast_ref::<std::io::Error>() {
        Some(full) if error.chain().len() == 1 && full.kind() == std::io::ErrorKind::StorageFull => {
            format!("cannot write to standard output: {full}; make room, or write it elsewhere")
        }
        _ => error.to_string(),
    };
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
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

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;
    use std::io::{Error, ErrorKind};

    #[test]
    fn a_cause_that_was_named_already_is_not_repeated() {
        let refused = || Error::from(ErrorKind::PermissionDenied);
        let named = SimulateError::Output(refused());
        assert_eq!(from_error(&named.into()).1, "write output: permission denied");
        let unnamed = Err::<(), _>(refused()).context("read bars.csv").unwrap_err();
        assert_eq!(from_error(&unnamed).1, "read bars.csv: permission denied");
    }

    #[test]
    fn output_that_cannot_be_written_is_no_mistake_of_the_settings() {
        let full = || Error::from(ErrorKind::StorageFull);
        for unwritable in [
            CalendarError::Output(full()).into(),
            SimulateError::Output(full()).into(),
            anyhow::Error::from(full()),
        ] {
            let (exit, sentence) = from_error(&unwritable);
            assert_eq!(exit, Exit::Resource, "{sentence}");
            assert!(sentence.contains("write"), "{sentence}");
        }
    }

    #[test]
    fn output_that_nobody_reads_is_told_from_output_that_cannot_be_written() {
        let gone = || Error::from(ErrorKind::BrokenPipe);
        for unread in [
            CalendarError::Output(gone()).into(),
            SimulateError::Output(gone()).into(),
            anyhow::Error::from(gone()),
        ] {
            assert!(is_unread(&unread), "{unread}");
        }
        let full = anyhow::Error::from(Error::from(ErrorKind::StorageFull));
        let elsewhere = anyhow::Error::from(gone()).context("ask the service");
        for other in [full, elsewhere, SimError::Thread(gone()).into()] {
            assert!(!is_unread(&other), "{other:#}");
        }
    }
}
