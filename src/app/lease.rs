//! The lease of a starting process: taken, waited for, or refused.

use super::StartError;
use crate::clock::Stopwatch;
use crate::domain::followers::lease::{AnotherWriter, Answer, Holder, LeaseChange, Place, Tenure};
use crate::limits;
use crate::store::{Disposition, Store, StoreError};
use std::future::Future;
use std::pin::pin;

/// Retries until the lease is granted, or until its holder renews it, which is an error. The lease of a dead holder is waited for until it
/// runs out.
pub(super) async fn take<E>(
    place: Place,
    mut ask: impl AsyncFnMut() -> Result<Answer, E>,
) -> Result<Result<(), AnotherWriter>, E> {
    let mut tenure = Tenure::default();
    let mut asked = Stopwatch::start();
    let mut told = false;
    loop {
        let answer = ask().await?;
        let since_last = asked.elapsed();
        asked = Stopwatch::start();
        if let (Answer::Held(held), false) = (&answer, told) {
            told = true;
            tracing::warn!(by = %held.by, place = place.name(), "another candela holds the lease: waiting until it runs out or is renewed");
        }
        match tenure.on(answer, since_last) {
            Some(LeaseChange::Gained) => return Ok(Ok(())),
            Some(LeaseChange::Lost(by)) => return Ok(Err(AnotherWriter { place, by: Some(by) })),
            None => tokio::time::sleep(limits::LEASE_TRY).await,
        }
    }
}

/// Takes the store's lease for this holder. A server that does not answer is asked again by the LeaseKeeper.
///
/// # Errors
/// [`StoreError::AnotherWriter`], or an error that only a person can mend.
pub(super) async fn of_store(store: &Store, by: Holder) -> Result<(), StoreError> {
    store.claim(by);
    let ask = async || match store.renew_lease().await {
        Err(StoreError::WrongTables(_)) => {
            store.migrate_schema().await?; // before there is a row for it
            store.renew_lease().await
        }
        // Another process takes the lease at this moment, or gives it back.
        Err(error) if error.disposition() == Disposition::Again => store.renew_lease().await,
        answer => answer,
    };
    Ok(take(store.place(), ask).await??)
}

/// Runs the start of a leader, and renews its lease meanwhile.
///
/// # Errors
/// Those of `start`; [`StoreError::AnotherWriter`] when another process has taken the lease.
pub(super) async fn keep_while<T>(
    store: &Store,
    start: impl Future<Output = Result<T, StartError>>,
) -> Result<T, StartError> {
    let place = store.place();
    let lost = async {
        loop {
            tokio::time::sleep(limits::LEASE_RENEW).await;
            match store.renew_lease().await {
                Ok(Answer::Granted(_)) => {}
                Ok(Answer::Held(held)) => {
                    let by = Some(held.by);
                    return StoreError::AnotherWriter(AnotherWriter { place, by });
                }
                Err(error) => tracing::warn!(%error, "the lease of the database was not renewed"),
            }
        }
    };
    let mut start = pin!(start);
    let mut lost = pin!(lost);
    tokio::select! {
        started = &mut start => started,
        error = &mut lost => Err(error.into()),
    }
}

/// Runs work that changes a store under its lease, and gives the lease back. A database without the table of leases has no holder.
///
/// # Errors
/// [`StoreError::AnotherWriter`] before the work begins; [`StoreError`] when the lease cannot be requested.
pub async fn while_leased<T>(store: &Store, by: Holder, work: impl Future<Output = T>) -> Result<T, StoreError> {
    store.claim(by);
    let ask = async || match store.renew_lease().await {
        // There is no table, or one of an earlier version, whose service may be running.
        Err(StoreError::WrongTables(_)) => Ok(store.lease_holder().await?.map_or(Answer::Granted(0), Answer::Held)),
        answer => answer,
    };
    take(store.place(), ask).await??;
    let renewing = async {
        loop {
            tokio::time::sleep(limits::LEASE_RENEW).await;
            if let Err(error) = store.renew_lease().await {
                tracing::debug!(%error, "the lease was not renewed"); // writes without the lease are refused
            }
        }
    };
    let done = {
        let mut work = pin!(work);
        let mut renewing = pin!(renewing);
        tokio::select! {
            done = &mut work => done,
            never = &mut renewing => never,
        }
    };
    store.release_lease().await;
    Ok(done)
}
