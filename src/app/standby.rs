//! How an ingest takes turns: it leads while it has the database's lease, and stands by while another process has it.
//!
//! ```text
//!  start ── lease free ──► leads ── SIGTERM: the cluster log has all, the lease is given back ──► ends
//!    │                       ▲
//!    └─ another has it ──► stands by: an edge that asks for the lease, and becomes the leader in the same process
//! ```

use super::{App, StartError, stores};
use crate::clock::{Clock, Stopwatch};
use crate::domain::followers::lease::{Answer, LeaseOutage};
use crate::domain::model::Sequenced;
use crate::ledger;
use crate::limits;
use crate::settings::Valid;
use crate::store::{Postgres, Store, StoreError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Starts an ingest: as the leader if it has the lease, else as a standby.
pub(super) async fn start(
    settings: Valid,
    clock: Clock,
    taps: Vec<mpsc::Sender<Sequenced>>,
) -> Result<App, StartError> {
    let store = open(&settings)?;
    let mut outage = DatabaseOutage::default();
    let mut told = false;
    loop {
        match turn(&store, &mut outage).await? {
            Answer::Granted(_) => return App::lead(settings, clock, taps, Some(store)).await,
            Answer::Held(held) if !told => {
                told = true;
                tracing::info!(by = %held.by, "another candela leads: this one stands by and follows its log");
            }
            Answer::Held(_) => {}
        }
        match App::follow(&settings, clock.clone(), Some(store.clone())).await {
            Err(StartError::Log(problem)) => {
                tracing::warn!(
                    error = problem,
                    "there is nothing to follow yet: this standby serves no clients, and requests the lease"
                );
                // Whichever comes first: the lease, or a log to follow.
                let leased = tokio::time::timeout(limits::LOG_START, until_leased(&store, &mut outage)).await;
                if leased.is_ok() {
                    return App::lead(settings, clock, taps, Some(store)).await;
                }
            }
            started => return started,
        }
    }
}

/// The database; its lease is requested in the name of the ledger's folder.
fn open(settings: &Valid) -> Result<Store, StartError> {
    let Some(url) = &settings.store.database_url else {
        let problem = StoreError::BadUrl("DATABASE_URL is empty, and an ingest leads by a lease in it".to_owned());
        return Err(problem.into()); // the settings were checked for it
    };
    let store = Store::Postgres(Postgres::new(url, settings.store.pool)?);
    store.claim(ledger::lock_folder(&settings.ledger.dir)?.holder().clone());
    store.claim_for_leader();
    Ok(store)
}

/// Whether the database answers.
#[derive(Debug)]
pub(super) struct DatabaseOutage {
    outage: LeaseOutage,
    clock: Stopwatch,
}

impl Default for DatabaseOutage {
    fn default() -> Self {
        Self {
            outage: LeaseOutage::default(),
            clock: Stopwatch::start(),
        }
    }
}

/// Logs that the database does not say who leads: each new error, and again while it lasts.
#[derive(Default)]
struct LeaseTrouble(Option<(String, Stopwatch)>);

impl LeaseTrouble {
    fn warn(&mut self, error: &StoreError) {
        let sentence = error.to_string();
        let known = self.0.as_ref();
        if known.is_none_or(|(said, since)| *said != sentence || since.elapsed() >= limits::STANDBY_WARNS) {
            tracing::warn!(%error, "the database does not report the leader: no standby can take over until it does");
            self.0 = Some((sentence, Stopwatch::start()));
        }
    }
}

/// Waits until the database says who leads. Without that, no node knows who assigns the next number.
async fn turn(store: &Store, outage: &mut DatabaseOutage) -> Result<Answer, StoreError> {
    let mut trouble = LeaseTrouble::default();
    loop {
        match ask(store, outage).await {
            Ok(Answer::Held(held)) if held.left.is_zero() => {} // it is spared
            Ok(answer) => return Ok(answer),
            Err(error) if stores::ends_start(&error) => return Err(error),
            Err(error) => trouble.warn(&error),
        }
        tokio::time::sleep(limits::LEASE_TRY).await;
    }
}

async fn ask(store: &Store, outage: &mut DatabaseOutage) -> Result<Answer, StoreError> {
    match request(store, outage).await {
        Err(StoreError::WrongTables(_)) => {
            store.migrate_schema().await?; // before there is a row for it
            request(store, outage).await
        }
        answer => answer,
    }
}

/// Requests the lease once. Just after an outage one that has run out is only looked at.
async fn request(store: &Store, outage: &mut DatabaseOutage) -> Result<Answer, StoreError> {
    let asked = if outage.outage.spares_holder(outage.clock.elapsed()) {
        store.take_ownerless_lease().await
    } else {
        store.take_free_lease().await
    };
    match &asked {
        Ok(_) => outage.outage.note_answer(outage.clock.elapsed()),
        // The database answers.
        Err(StoreError::Conflict(_) | StoreError::WrongTables(_) | StoreError::NoLease) => {}
        Err(_) => outage.outage.note_silence(),
    }
    asked
}

/// Waits until this process has the lease. An error that only a person can mend does not end a standby, which serves clients: it is logged
/// again while it lasts.
pub(super) async fn until_leased(store: &Store, outage: &mut DatabaseOutage) {
    let mut trouble = LeaseTrouble::default();
    loop {
        match request(store, outage).await {
            Ok(Answer::Granted(term)) => {
                tracing::info!(term, "this standby has the lease: it takes over");
                return;
            }
            Ok(Answer::Held(_)) => trouble = LeaseTrouble::default(),
            Err(error) => trouble.warn(&error),
        }
        let jitter = Duration::from_millis(fastrand::u64(..limits::STANDBY_JITTER_MS));
        tokio::time::sleep(limits::STANDBY_TRY + jitter).await;
    }
}
