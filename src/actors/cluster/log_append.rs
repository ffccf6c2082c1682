//! One append of LogKeeper's: reads parcels from the ledger, and has the cluster log take them.

use crate::carrier::{Carrier, Carry};
use crate::clock::Stopwatch;
use crate::domain::cluster::{Contact, LogAnswer, LogEntry, contact};
use crate::domain::model::Position;
use crate::ledger::LedgerReader;
use crate::limits;
use crate::measures::Measures;

/// One append, which runs beside the actor.
pub(super) struct Append {
    pub(super) carrier: Carrier,
    pub(super) ledger: LedgerReader,
    pub(super) next: Option<u64>,
    pub(super) term: Option<u64>,
    pub(super) begun_after: Option<u64>,
    /// Whether the lease cannot have run out.
    pub(super) leased: bool,
    /// Whether the cluster log took a parcel lately.
    pub(super) sure: bool,
    pub(super) measures: Measures,
}

impl Append {
    pub(super) async fn append(mut self) -> LogStep {
        let Some(term) = self.term else {
            return LogStep::Away(
                "this process has not had the lease of the database yet, and so has no term".to_owned(),
            );
        };
        let next = match self.next {
            Some(next) => next,
            None => match self.look().await {
                Ok(next) => next,
                Err(refused) => return refused,
            },
        };
        let head = self.ledger.head(); // before the parcels: where there are none, the cluster log has all of it
        let parcels = match self.ledger.read_parcels(next, limits::CLUSTER_APPEND) {
            Ok(parcels) => parcels,
            Err(error) => return LogStep::Away(error.to_string()),
        };
        let sent = Stopwatch::start();
        let has = match parcels.last() {
            None if self.leased || self.sure => {
                return LogStep::Has {
                    next,
                    upto: head,
                    more: false,
                    sent: None,
                };
            }
            None => LogStep::Has {
                next,
                upto: head,
                more: false,
                sent: Some(sent), // nothing to append: it only says whether this leader is still the last
            },
            Some(last) => LogStep::Has {
                next: last.number.saturating_add(1),
                upto: Position(last.last),
                more: true,
                sent: Some(sent),
            },
        };
        let lineage = self.ledger.lineage();
        let entries: Vec<LogEntry> = parcels
            .into_iter()
            .map(|parcel| LogEntry {
                term,
                lineage: lineage.clone(),
                parcel,
            })
            .collect();
        match self.carrier.append(term, &entries).await {
            LogAnswer::Taken => {
                if !entries.is_empty() {
                    self.measures.log_append.observe(sent.elapsed().as_secs_f64());
                }
                has
            }
            LogAnswer::Hole { .. } => LogStep::Look,
            LogAnswer::Stale { term } => {
                self.measures.count_fence_refusal("log");
                LogStep::Foreign(format!("a leader of term {term} has written to it"))
            }
            LogAnswer::Differs { number } => LogStep::Foreign(format!("it has another parcel {number}")),
            LogAnswer::Full(cause) | LogAnswer::Away(cause) => LogStep::Away(cause),
        }
    }

    /// Looks up where the cluster log ends; returns the number that it takes next.
    async fn look(&mut self) -> Result<u64, LogStep> {
        let head = self.carrier.head().await;
        let head = head.map_err(|error| LogStep::Away(error.to_string()))?;
        let number = head.as_ref().map_or(0, |head| head.number);
        if head.is_some() && self.begun_after == Some(number) {
            return Ok(number.saturating_add(1));
        }
        let own = self.ledger.parcel_hash(number);
        let own = own.map_err(|error| LogStep::Away(error.to_string()))?;
        let ends = self.ledger.parcel_ends();
        let ends = ends.map_err(|error| LogStep::Away(error.to_string()))?;
        match contact(head.as_ref(), ends.last, own) {
            Contact::GoOn { next } => Ok(next),
            // An empty log does not say who leads.
            Contact::Fill if !self.leased => Err(LogStep::Away(
                "it is empty, and nothing proves that this process still leads".to_owned(),
            )),
            Contact::Fill => Ok(ends.begin),
            Contact::Foreign => Err(LogStep::Foreign(format!(
                "it ends with parcel {number}, which this ledger does not have"
            ))),
        }
    }
}

/// The outcome of an append.
#[derive(Debug)]
pub(super) enum LogStep {
    /// The cluster log takes this number next.
    Has {
        next: u64,
        /// The cluster log has everything up to this position.
        upto: Position,
        /// There may be more to append.
        more: bool,
        /// When the append was sent; `None` if there was none.
        sent: Option<Stopwatch>,
    },
    /// The end of the cluster log must be looked up again.
    Look,
    /// The cluster log is another's: this process no longer leads.
    Foreign(String),
    /// The cluster log takes nothing now.
    Away(String),
}
