//! The journal that Root and Health share. Entries go to the Aggregator as input, are numbered like every event, and are published once
//! they are in the ledger.

use crate::actors::messages::{Arrived, Report, WhenSpent};
use crate::actors::supervision::{Row, Vitals};
use crate::clock::Clock;
use crate::domain::model::{Decoded, Inbound, Input, InputKind, ServiceEvent, ServiceEventKind, Timestamp};
use crate::domain::status::{Condition, ConditionHolder, ConditionKind, Journal};
use crate::domain::vendor::{KeysView, describe_cause};
use crate::limits;
use actix::Recipient;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module. Outlives restarts of Root and Health; cheap to clone.
#[derive(Debug, Clone)]
pub struct JournalKeeper {
    journal: Arc<Mutex<Journal>>,
    to: Recipient<Arrived>,
    clock: Clock,
}

impl JournalKeeper {
    /// Continues a journal that may already have entries.
    pub fn new(journal: Journal, to: Recipient<Arrived>, clock: Clock) -> Self {
        Self {
            journal: Arc::new(Mutex::new(journal)),
            to,
            clock,
        }
    }

    /// Adds an entry.
    pub(super) fn note(&self, entry: ServiceEvent) {
        self.journal().note(entry, self.clock.now());
    }

    /// Adds entries for conditions that began, ended or hold for another reason.
    pub(super) fn note_conditions(&self, holder: ConditionHolder, conditions: &[Condition]) {
        self.journal().note_conditions(holder, conditions, self.clock.now());
    }

    /// Adds entries for keys that became unusable or usable again.
    pub(super) fn note_keys(&self, keys: &KeysView) {
        self.journal().note_keys(keys, self.clock.now());
    }

    /// Adds an entry for a report to Root, unless a condition already says it.
    pub(super) fn note_report(&self, report: &Report, children: &[(Row, Vitals)]) {
        let now = self.clock.now();
        match report {
            Report::LinkUp => {
                let message = "The link to the vendor is up.";
                self.note_news(ServiceEvent::new(ServiceEventKind::LinkUp, now, "link", message).with_cause("live"));
            }
            Report::LinkDown { cause } => {
                let message = format!("The link to the vendor is down: {}.", describe_cause(cause));
                self.note_news(ServiceEvent::new(ServiceEventKind::LinkDown, now, "link", message).with_cause(cause));
            }
            Report::Flag(Ok(flag)) => {
                let message = format!("A good ready flag of {} is there.", flag.at);
                self.note_news(ServiceEvent::new(ServiceEventKind::Gate, now, "flag", message).with_cause("flag_good"));
            }
            Report::Flag(Err(trouble)) => {
                let message = format!("The gate stays closed: {trouble}.");
                self.note_news(
                    ServiceEvent::new(ServiceEventKind::Gate, now, "flag", message).with_cause(trouble.name()),
                );
            }
            Report::Judged(verdicts) => {
                for (symbol, verdict) in verdicts.iter() {
                    self.note_news(verdict.entry(*symbol));
                }
            }
            Report::Restarted { child, restarts } => self.note(restarted(child, *restarts, children, now)),
            Report::GaveUp { child, then } => {
                let then = match then {
                    WhenSpent::Exit => "the process ends",
                    WhenSpent::FallBack => "it is parked, and tried again later",
                    WhenSpent::KeepTrying => "it is tried again at its longest back-off",
                };
                let message = format!("{child} failed more often than its budget allows: {then}.");
                self.note(ServiceEvent::new(ServiceEventKind::GaveUp, now, child, message).with_cause("budget_spent"));
            }
            _ => {} // a condition tells it, or a change of the state
        }
    }

    fn note_news(&self, entry: ServiceEvent) {
        self.journal().note_news(entry, self.clock.now());
    }

    /// Sends waiting entries to the Aggregator. Entries that a full mailbox refuses keep waiting.
    pub(super) fn hand_over(&self) {
        let mut journal = self.journal();
        let now = self.clock.now();
        journal.roll(now);
        while !journal.is_empty() {
            let entries = journal.take(limits::JOURNAL_HANDED, now);
            let arrivals = entries
                .iter()
                .map(|entry: &ServiceEvent| Inbound {
                    heard: Input {
                        at: now,
                        what: InputKind::Noted(Box::new(entry.clone())),
                    },
                    says: Decoded::Nothing,
                })
                .collect();
            if self.to.try_send(Arrived(arrivals)).is_err() {
                return journal.put_back(entries);
            }
            entries.iter().for_each(log_condition);
        }
    }

    /// How many entries were sent to the Aggregator.
    pub fn handed(&self) -> u64 {
        self.journal().handed()
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Conditions that no part logs where it finds them: each is seen only in what all parts show.
const SEEN_HERE: [ConditionKind; 9] = [
    ConditionKind::FlagWithdrawn,
    ConditionKind::ClockStepped,
    ConditionKind::ClockSkewed,
    ConditionKind::StampsLagging,
    ConditionKind::FeedSilent,
    ConditionKind::ActorUnresponsive,
    ConditionKind::StoreAhead,
    ConditionKind::AnotherWriter,
    ConditionKind::CalendarFileWrong,
];

/// A line for a condition that began or ended.
fn log_condition(entry: &ServiceEvent) {
    let ServiceEvent {
        kind: said,
        subject: kind,
        cause: reason,
        message,
        ..
    } = entry;
    let symbol = entry.symbol.map(tracing::field::display);
    match said {
        ServiceEventKind::ConditionRaised if SEEN_HERE.iter().any(|seen| seen.name() == kind) => {
            tracing::warn!(kind, reason, symbol, "{message}");
        }
        ServiceEventKind::ConditionRaised | ServiceEventKind::ConditionCleared => {
            tracing::info!(kind, reason, symbol, "{message}");
        }
        _ => {}
    }
}

fn restarted(child: &str, restarts: u32, children: &[(Row, Vitals)], now: Timestamp) -> ServiceEvent {
    let found = children.iter().find(|(_, vitals)| vitals.name() == child);
    let cause = found.and_then(|(_, vitals)| vitals.signs(limits::PULSE_STALE).last_cause);
    let cause = cause.unwrap_or_else(|| "unknown".to_owned());
    let message = format!("{child} was restarted ({restarts} times since the start): {cause}.");
    let entry = ServiceEvent::new(ServiceEventKind::Restarted, now, child, message);
    entry.with_cause(cause).with("restarts", restarts.to_string())
}
