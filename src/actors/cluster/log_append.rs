//! One append of LogKeeper's: reads parcels from the ledger, and has the cluster log take them.

use crate::carrier::{Carrier, Carry};
use crate::clock::Stopwatch;
use crate::domain::cluster::{Append, AppendStep, LogAnswer, LogEntry};
use crate::domain::model::Position;
use crate::ledger::LedgerReader;
use crate::limits;
use crate::measures::Measures;

/// One append, which runs beside the actor.
pub(super) struct LogAppend {
    pub(super) carrier: Carrier,
    pub(super) ledger: LedgerReader,
    pub(super) begins: Append,
    /// Measures from the same instant as the actor.
    pub(super) clock: Stopwatch,
    pub(super) measures: Measures,
}

impl LogAppend {
    pub(super) async fn append(mut self) -> AppendStep {
        self.try_append().await.unwrap_or_else(|refused| refused)
    }

    async fn try_append(&mut self) -> Result<AppendStep, AppendStep> {
        let term = self.begins.term()?;
        let next = match self.begins.next {
            Some(next) => next,
            None => self.look().await?,
        };
        let head = self.ledger.head(); // before the parcels: where there are none, the cluster log has all of it
        let parcels = self.ledger.read_parcels(next, limits::CLUSTER_APPEND);
        let parcels = parcels.map_err(|error| AppendStep::Away(error.to_string()))?;
        let last = parcels.last().map(|last| (last.number, Position(last.last)));
        let sent = Stopwatch::start();
        let step = self.begins.expect(next, head, last, self.clock.elapsed());
        if !step.is_asked() {
            return Ok(step);
        }
        let lineage = self.ledger.lineage();
        let entries: Vec<LogEntry> = parcels
            .into_iter()
            .map(|parcel| LogEntry {
                term,
                lineage: lineage.clone(),
                parcel,
            })
            .collect();
        let answer = self.carrier.append(term, &entries).await;
        match &answer {
            LogAnswer::Taken if !entries.is_empty() => {
                self.measures.log_append.observe(sent.elapsed().as_secs_f64());
            }
            LogAnswer::Stale { .. } => self.measures.count_fence_refusal("log"),
            _ => {}
        }
        Ok(step.answered(answer))
    }

    /// Looks up where the cluster log ends; returns the number that it takes next.
    async fn look(&mut self) -> Result<u64, AppendStep> {
        let head = self.carrier.head().await;
        let head = head.map_err(|error| AppendStep::Away(error.to_string()))?;
        let number = head.as_ref().map_or(0, |head| head.number);
        let own = self.ledger.parcel_hash(number);
        let own = own.map_err(|error| AppendStep::Away(error.to_string()))?;
        let ends = self.ledger.parcel_ends();
        let ends = ends.map_err(|error| AppendStep::Away(error.to_string()))?;
        self.begins.continue_after(head.as_ref(), own, (ends.begin, ends.last))
    }
}
