//! How an ingest takes turns: it leads while it has the database's lease, and stands by while another process has it.
//!
//! ```text
//!  start ── lease free ──► leads ── SIGTERM: the cluster log has all, the lease is given back ──► ends
//!    │                       ▲
//!    └─ another has it ──► stands by: an edge that asks for the lease, and becomes the leader in the same process
//! ```

use super::{App, StartError, stores};
use crate::clock::{Clock, Stopwatch};
use crate::domain::followers::lease::Answer;
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

/// Whether the database answers, and since when it does so again. A lease that runs out while nobody can renew it says nothing about its
/// holder.
#[derive(Debug, Default)]
pub(super) struct DatabaseOutage {
    /// The last request was not answered.
    lasts: bool,
    /// When the first one after that was answered.
    ended: Option<Stopwatch>,
}

impl DatabaseOutage {
    fn note_silence(&mut self) {
        self.lasts = true;
    }

    fn note_answer(&mut self) {
        if std::mem::replace(&mut self.lasts, false) {
            self.ended = Some(Stopwatch::start());
        }
    }

    /// Whether a lease that has run out is left to its holder, who may be well and renews it first.
    fn spares_holder(&self) -> bool {
        let just_ended = self.ended.as_ref();
        self.lasts || just_ended.is_some_and(|ended| ended.elapsed() < limits::STANDBY_SPARES)
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
    let asked = if outage.spares_holder() {
        store.take_ownerless_lease().await
    } else {
        store.take_free_lease().await
    };
    match &asked {
        Ok(_) => outage.note_answer(),
        // The database answers.
        Err(StoreError::Conflict(_) | StoreError::WrongTables(_) | StoreError::NoLease) => {}
        Err(_) => outage.note_silence(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_an_outage_a_lease_that_ran_out_is_left_to_its_holder_for_a_moment() {
        let mut outage = DatabaseOutage::default();
        outage.note_answer();
        assert!(
            !outage.spares_holder(),
            "a leader that dies beside a database that answers is succeeded at once"
        );
        outage.note_silence();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(outage.spares_holder());
        outage.note_answer();
        let moment = Duration::from_millis(1);
        tokio::time::advance(limits::STANDBY_SPARES - moment).await;
        outage.note_answer();
        assert!(outage.spares_holder());
        tokio::time::advance(moment).await;
        assert!(!outage.spares_holder());
    }
}
