//! The journal's entries of a start: how the last run ended, what starts, and the settings in force.

use crate::domain::model::{ServiceEvent, ServiceEventKind, Timestamp};
use crate::domain::status::Journal;
use crate::ledger::{Ledger, LedgerError};
use crate::settings::Valid;

/// The journal with the entries of this start; `from`: the holder whose lease it took over, under this `term`; 0: a single node.
pub(super) fn at_start(
    settings: &Valid,
    ledger: &Ledger,
    (from, term): (Option<&str>, i64),
    now: Timestamp,
) -> Result<Journal, LedgerError> {
    let last = ledger.reader().last_noted()?;
    let (cause, before) = match last {
        Some(last) if from.is_some() => (
            "took_over",
            format!(
                "another candela led before, and this one has its lease under term {term}; the last entry of that one is of {}",
                last.place.at
            ),
        ),
        None => ("first_start", "this is the first start with this ledger".to_owned()),
        Some(last) if last.entry.kind == ServiceEventKind::State && last.entry.subject == "shutdown" => {
            ("stopped", format!("the run before was stopped at {}", last.place.at))
        }
        Some(last) => (
            "ended_unasked",
            format!(
                "the run before ended without being stopped; its last entry is of {}",
                last.place.at
            ),
        ),
    };
    let version = env!("CARGO_PKG_VERSION");
    let message = format!("candela {version} started: {before}.");
    let started = ServiceEvent::new(ServiceEventKind::Started, now, version, message)
        .with_cause(cause)
        .with("pid", std::process::id().to_string());
    let started = if term > 0 {
        started.with("term", term.to_string())
    } else {
        started
    };
    let count = settings.shown.len();
    let message = format!("{count} settings are not at their defaults.");
    let mut in_force = ServiceEvent::new(ServiceEventKind::Settings, now, "settings", message);
    for (name, value) in &settings.shown {
        let origin = settings
            .origins
            .get(name)
            .map_or_else(String::new, |origin| format!(" ({origin})"));
        in_force = in_force.with(name, format!("{value}{origin}"));
    }
    let mut journal = Journal::default();
    journal.note(started, now);
    journal.note(in_force, now);
    Ok(journal)
}
