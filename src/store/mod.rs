//! The stores, which keep bars, ticks, gaps and sessions for other programs to read: PostgreSQL, or SQLite where there is no server.
//!
//! ```text
//!             ┌─ Sqlite ───► one file, WAL, one connection that writes and two that read
//!  Store ─────┤                      the same tables, the same statements (`sql`), the same contract (tests)
//!             └─ Postgres ─► a bounded pool, migrations under a lock, UNNEST and COPY
//! ```
//!
//! A store is a reader of the ledger: events and the reader's position are written in one transaction, so any prefix of events written
//! twice leaves the same rows (S1), and a lost answer to a commit does no harm.
//!
//! *Architecture invariant*: the only user of `schema.rs` and of diesel.

mod error;
mod query;
mod rows;
mod values;
pub use values::rounded_reads;
mod sql;
mod reads;
mod common_reads;
mod pages;
mod bind;
mod answer;
mod choice;
mod columns;
mod batch;
mod refusals;
mod adopt;
mod lease;
mod log;
mod journal;
mod certificates;
mod migrate;
mod l0;
mod sqlite;
mod postgres;

pub use adopt::Adoption;
pub use batch::Batch;
pub use certificates::{CertificatePlace, CertificateQuery, StoredCertificate};
pub use columns::{BarTable, Runs};
pub use error::{Disposition, StoreError};
pub use l0::HistoryQuery;
pub use lease::lock;
pub use log::{LogQuery, LogSpan};
pub use migrate::Migrate;
pub use postgres::{Difference, Postgres, Weight};

pub use query::{
    BarQuery, GapPlace, GapQuery, HealthRow, StoredBar, StoredGap, StoredSession, StoredTick, TickPlace, TickQuery,
};
pub use rows::SOURCE;
pub use sqlite::Sqlite;

use crate::clock::Stopwatch;
use crate::domain::history::{History, L0Table};
use crate::domain::model::{Position, Timestamp};
use refusals::{Advice, Refusals, row_kind};
use std::time::Duration;

/// A store. Cheap to clone; clones share its connections.
#[derive(Debug, Clone)]
pub enum Store {
    /// The embedded store.
    Sqlite(Sqlite),
    /// A PostgreSQL server.
    Postgres(Postgres),
}

/// The result of writing a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The reader's position after the batch.
    pub position: Position,
    /// The number of events that were refused and set aside in `rejected_events`.
    pub rejected: usize,
}

macro_rules! either {
    ($self:ident.$call:ident($($argument:expr),*)) => {
        match $self {
            Self::Sqlite(store) => store.$call($($argument),*).await,
            Self::Postgres(store) => store.$call($($argument),*).await,
        }
    };
}

impl Store {
    /// `sqlite` or `postgresql`, for `/status`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgresql",
        }
    }

    /// Migrates the tables, unless that was done when the store was opened. The Writer does it as well, as soon as it can.
    ///
    /// # Errors
    /// [`StoreError`]: [`Disposition::Fatal`] requires an operator before the service starts; the others may pass.
    pub async fn migrate_schema(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(store) => store.migrate_schema(Migrate::Run).await.map(drop),
        }
    }

    /// The differences between tables that others created and what candela relies on. The embedded store has none.
    pub async fn schema_differences(&self, history: &L0Table) -> Result<Vec<Difference>, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(Vec::new()),
            Self::Postgres(store) => store.schema_differences(Some(history)).await,
        }
    }

    /// Writes a batch and the reader's new position. A row that the tables refuse is found and set aside with its reason, and the others
    /// are written.
    ///
    /// # Errors
    /// [`StoreError`]; the same batch may be written again in any case.
    pub async fn write(&self, batch: Batch) -> Result<Written, StoreError> {
        match self {
            Self::Sqlite(store) => write_to_sqlite(store, batch).await,
            Self::Postgres(store) => store.write(batch).await,
        }
    }

    /// The last position that `reader` has written of the ledger `lineage`; 0 if it never has.
    pub async fn reader_position(&self, reader: &'static str, lineage: String) -> Result<Position, StoreError> {
        either!(self.reader_position(reader, lineage))
    }

    /// How many events of ledgers that have none of these names are here, as the position of `reader` and the journal tell.
    pub async fn events_of_others(&self, reader: &'static str, known: &[String]) -> Result<u64, StoreError> {
        let positions: Vec<(String, i64)> = either!(self.ledger_positions(reader))?;
        let others = positions.into_iter().filter(|(lineage, _)| !known.contains(lineage));
        let events = others.map(|(_, position)| u64::try_from(position).unwrap_or(0));
        Ok(events.fold(0, u64::saturating_add))
    }

    /// Continues with a ledger that took a new name, in one transaction.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be written; the call may be repeated.
    pub async fn adopt_lineage(&self, adoption: Adoption) -> Result<(), StoreError> {
        either!(self.adopt_lineage(adoption))
    }

    /// A page of the same bars, and whether more follow, for a reader of many pages that can wait: such readers take turns and leave
    /// connections for others. A page that is not the last may have fewer bars than the limit.
    pub async fn bars_in_turn(&self, query: BarQuery) -> Result<(Vec<StoredBar>, bool), StoreError> {
        let _turn = match self {
            Self::Sqlite(_) => None, // its one connection for reading is had in turn
            Self::Postgres(store) => store.take_turn().await,
        };
        if query.as_of.is_none() && !query.latest {
            let rows = self.rows_of_each_program(query.clone()).await?;
            if let Some(page) = choice::choose(rows, query.limit) {
                return Ok(page);
            }
        }
        let limit = query.limit;
        let bars = self.read_bars(query).await?;
        let more = u32::try_from(bars.len()).is_ok_and(|bars| bars >= limit);
        Ok((bars, more))
    }

    /// A page of the same bars, column by column, into the memory of `into`.
    pub async fn bar_columns_in_turn(&self, query: BarQuery, into: BarTable) -> Result<(BarTable, bool), StoreError> {
        if query.as_of.is_none() && !query.latest {
            let _turn = match self {
                Self::Sqlite(_) => None, // its one connection for this is had in turn
                Self::Postgres(store) => store.take_turn().await,
            };
            let page = either!(self.bars_in_columns(query.clone(), into))?;
            if page.decided {
                return Ok((page.columns, page.more));
            }
        }
        let (bars, more) = self.bars_in_turn(query).await?;
        Ok((bars.into_iter().collect(), more))
    }

    /// The prepared history of a pair, for the L0 check.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read, also when the table or one of its columns does not exist.
    pub async fn read_history(&self, query: HistoryQuery) -> Result<History, StoreError> {
        either!(self.read_history(query))
    }

    /// Adds a row to `system_health`.
    pub async fn record_health(&self, row: HealthRow) -> Result<(), StoreError> {
        either!(self.record_health(row))
    }

    /// Deletes candela's ticks that were received before `before`, at most `limit` of them. Returns how many were deleted.
    pub async fn forget_ticks(&self, before: Timestamp, limit: u32) -> Result<usize, StoreError> {
        either!(self.forget_ticks(before, limit))
    }

    /// Sends a trivial query, and returns how long the answer took.
    pub async fn ping(&self) -> Result<Duration, StoreError> {
        let asked = Stopwatch::start();
        either!(self.ping())?;
        Ok(asked.elapsed())
    }

    /// Checks whether the address leads to another server than before, as after a failover; connections to the previous server are then no
    /// longer used. Does nothing for a file.
    pub async fn look_for_another_server(&self) {
        if let Self::Postgres(store) = self {
            store.look_for_another_server().await;
        }
    }
}

/// Writes a batch in parts if a row is refused. Each part is a transaction of its own that also moves the position, so what was written
/// before a refusal stays.
async fn write_to_sqlite(store: &Sqlite, batch: Batch) -> Result<Written, StoreError> {
    let position = Position(u64::try_from(batch.last_position()).unwrap_or(0));
    let mut rejected = 0_usize;
    let mut refusals = store.refusals();
    refusals.begin_transaction();
    let mut parts = vec![batch.clone()];
    while let Some(part) = parts.pop() {
        match store.write_once(&part).await {
            Ok(()) => {
                for event in &part.events {
                    refusals.note_accepted(row_kind(&event.event));
                }
            }
            Err(error) if error.disposition() == Disposition::Isolate => match part.split_in_half() {
                Some((first, second)) => parts.extend([second, first]),
                None => {
                    let reason = error.to_string();
                    advise(store, &batch, &part, error, &mut refusals).await?;
                    store.reject_batch(&part, reason).await?;
                    rejected = rejected.saturating_add(1);
                }
            },
            Err(error) => return Err(error),
        }
        store.keep_refusals(&refusals);
    }
    Ok(Written { position, rejected })
}

/// Whether a refused row may be set aside: not if every row of its kind is refused.
async fn advise(
    store: &Sqlite,
    batch: &Batch,
    part: &Batch,
    error: StoreError,
    refusals: &mut Refusals,
) -> Result<(), StoreError> {
    let Some(event) = part.events.first() else {
        return Ok(());
    };
    let what = row_kind(&event.event);
    let own_reason = matches!(error, StoreError::RowRefused(_));
    let Advice::Prove(number) = refusals.note_refused(what, own_reason) else {
        return Ok(());
    };
    let newest = batch.newest_after(event, |later| row_kind(later) == what);
    let taken = match newest {
        Some(newest) => store.would_take(&newest).await?,
        None => false,
    };
    if taken {
        refusals.note_proven(what);
        refusals.note_refused(what, own_reason);
        return Ok(());
    }
    let reason = error.to_string();
    Err(if own_reason {
        StoreError::EveryRowRefused {
            kind: what,
            number,
            reason,
        }
    } else {
        error
    })
}

#[cfg(test)]
pub(crate) mod probe;
#[cfg(test)]
mod tests;
