//! Opens the store and the cache that the settings name.

use super::lease;
use crate::actors::followers::writer;
use crate::cache::{Cache, CacheError, Memory, Redis};
use crate::domain::followers::lease::{Holder, Place};
use crate::domain::history::L0Table;
use crate::exit::Exit;
use crate::ledger::{Doubt, Ledger, LedgerError};
use crate::limits;
use crate::settings::Valid;
use crate::store::{Disposition, Postgres, Sqlite, Store, StoreError, Weight};

/// The store in the settings, with its tables up to date. A server that is down may come later: the ledger keeps the events for it. An
/// error that only a person can mend ends the start, also foreign tables that would be filled or read wrongly.
///
/// `leased`: the store whose lease this process has already.
pub(super) async fn open_store(
    settings: &Valid,
    history: &L0Table,
    by: &Holder,
    leased: Option<Store>,
) -> Result<Store, StoreError> {
    let store = match (leased, &settings.store.database_url) {
        (Some(store), _) => store,
        (None, Some(url)) => Store::Postgres(Postgres::new(url, settings.store.pool)?),
        (None, None) => return Ok(Store::Sqlite(Sqlite::alone(&settings.store.sqlite_file)?)),
    };
    let leased = tokio::time::timeout(limits::LEASE_START, lease::of_store(&store, by.clone())).await;
    match leased.unwrap_or_else(|_| Err(StoreError::Slow("its tables are looked after meanwhile".to_owned()))) {
        Ok(()) => {}
        Err(error) if ends_start(&error) => return Err(error),
        Err(error) => {
            tracing::warn!(error = %error, "the database does not answer yet: the ledger keeps what will be written to it");
            return Ok(store);
        }
    }
    let preparing = async {
        store.migrate_schema().await?;
        let (grave, notes): (Vec<_>, Vec<_>) = store
            .schema_differences(history)
            .await?
            .into_iter()
            .partition(|difference| difference.weight == Weight::Grave);
        for note in notes {
            tracing::warn!(remedy = %note.remedy, "{}", note.says);
        }
        if grave.is_empty() {
            return Ok(());
        }
        Err(StoreError::DifferentTables(
            grave.iter().map(ToString::to_string).collect(),
        ))
    };
    let prepared = tokio::time::timeout(limits::POSTGRES_START, preparing).await;
    match prepared.unwrap_or_else(|_| Err(StoreError::Slow("its tables are looked after meanwhile".to_owned()))) {
        Err(error) if ends_start(&error) => Err(error),
        Err(error) => {
            tracing::warn!(error = %error, "the database does not answer yet: the ledger keeps what will be written to it");
            Ok(store)
        }
        Ok(()) => Ok(store),
    }
}

/// The store that an edge reads history from. It writes nothing there, so a read replica will do.
pub(super) fn open_to_read(settings: &Valid) -> Result<Store, StoreError> {
    match &settings.store.database_url {
        Some(url) => Ok(Store::Postgres(Postgres::new(url, settings.store.pool)?)),
        None => Ok(Store::Sqlite(Sqlite::alone(&settings.store.sqlite_file)?)),
    }
}

/// Whether an error ends the start: only a person can mend it, or another candela writes.
pub(super) fn ends_start(error: &StoreError) -> bool {
    error.disposition() == Disposition::Fatal
        || matches!(error, StoreError::AnotherWriter(_))
        || exit_of_store(error) == Exit::Settings
}

/// Begins new epochs when the store has events beyond the end of the ledger, which is then an older copy: the events' numbers are not used
/// again. A store that does not answer now is checked by the Writer as soon as it does.
pub(super) async fn look_ahead(ledger: &mut Ledger, store: &Store) -> Result<(), LedgerError> {
    let asked = store.reader_position(writer::READER, ledger.reader().lineage());
    match tokio::time::timeout(limits::POSTGRES_START, asked).await {
        Ok(Ok(stored)) if stored > ledger.head() => ledger.renumber(Doubt::StoreAhead, stored),
        _ => Ok(()),
    }
}

/// The cache in the settings. One that another candela writes to ends the start; one that is down may come later. `from`: who had the lease
/// of the database before, and so may still have that of Redis.
pub(super) async fn open_cache(settings: &Valid, by: &Holder, from: Option<&str>) -> Result<Cache, CacheError> {
    let Some(url) = &settings.cache.redis_url else {
        return Ok(Cache::Memory(Memory::default()));
    };
    let cache = Cache::Redis(Redis::new(url)?);
    cache.claim(by.clone());
    if let Some(from) = from {
        let succeeding = tokio::time::timeout(limits::LEASE_ANSWER, cache.succeed(from)).await;
        if let Ok(Err(error)) = succeeding {
            tracing::debug!(%error, "waiting for the lease of Redis"); // asking for it says so too
        }
    }
    let asking = lease::take(Place::Redis, async || {
        let asked = tokio::time::timeout(limits::LEASE_ANSWER, cache.renew_lease()).await;
        asked.unwrap_or_else(|_| Err(CacheError::Unreachable("no answer in time".to_owned())))
    });
    match asking.await {
        Ok(taken) => taken?,
        Err(error) => tracing::warn!(%error, "Redis does not answer yet: it is filled from the ledger when it answers"),
    }
    Ok(cache)
}

/// What a store's error means for a process that needs the store now.
pub const fn exit_of_store(error: &StoreError) -> Exit {
    match error {
        StoreError::BadUrl(_)
        | StoreError::LoginRefused(_)
        | StoreError::NotAllowed(_)
        | StoreError::NoTransaction(_)
        | StoreError::WrongTables(_)
        | StoreError::DifferentTables(_)
        | StoreError::NewerSchema { .. }
        | StoreError::OlderSchema { .. } => Exit::Settings,
        StoreError::BadFile { .. } => Exit::Resource,
        StoreError::WouldLose { .. } => Exit::Found,
        StoreError::Conflict(_) | StoreError::Slow(_) | StoreError::AnotherWriter(_) | StoreError::NoLease => {
            Exit::TryAgain
        }
        StoreError::Unreachable(_)
        | StoreError::Full(_)
        | StoreError::RowRefused(_)
        | StoreError::Refused(_)
        | StoreError::EveryRowRefused { .. }
        | StoreError::NotSetAside(_)
        | StoreError::NoSession(_)
        | StoreError::Behind { .. }
        | StoreError::Corrupt { .. }
        | StoreError::Other(_) => Exit::Unavailable,
    }
}
