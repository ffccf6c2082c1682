//! Opens the store and the cache that the settings name.

use crate::actors::writer;
use crate::cache::{Cache, CacheError, Memory, Redis};
use crate::domain::l0_table::L0Table;
use crate::exit::Exit;
use crate::ledger::{Doubt, Ledger, LedgerError};
use crate::limits;
use crate::settings::Valid;
use crate::store::{Disposition, Postgres, Sqlite, Store, StoreError, Weight};

/// The store that the settings name, its tables up to date. A server that is not there now may come later: the ledger holds what
/// it will get. What only a person can mend ends the start: also tables that others made and that would be filled or read wrongly.
pub(super) async fn open_store(settings: &Valid, history: &L0Table) -> Result<Store, StoreError> {
    let Some(url) = &settings.store.database_url else {
        return Ok(Store::Sqlite(Sqlite::open(&settings.store.sqlite_file)?));
    };
    let store = Store::Postgres(Postgres::new(url, settings.store.pool)?);
    let preparing = async {
        store.prepare().await?;
        let (grave, notes): (Vec<_>, Vec<_>) = store
            .differences(history)
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
        Err(error) if error.disposition() == Disposition::Fatal || exit_of_store(&error) == Exit::Settings => {
            Err(error)
        }
        Err(error) => {
            tracing::warn!(error = %error, "the database is not there yet: the ledger holds what it will get");
            Ok(store)
        }
        Ok(()) => Ok(store),
    }
}

/// A store that has more of this ledger than the ledger itself was told by one that this is an older copy of: the numbers of what it
/// has are not given out again. One that does not answer now is asked by the Writer, as soon as it does.
pub(super) async fn look_ahead(ledger: &mut Ledger, store: &Store) -> Result<(), LedgerError> {
    let asked = store.position(writer::READER, ledger.reader().lineage());
    match tokio::time::timeout(limits::POSTGRES_START, asked).await {
        Ok(Ok(stored)) if stored > ledger.head() => ledger.renumber(Doubt::StoreAhead, stored),
        _ => Ok(()),
    }
}

pub(super) fn open_cache(settings: &Valid) -> Result<Cache, CacheError> {
    Ok(match &settings.cache.redis_url {
        Some(url) => Cache::Redis(Redis::new(url)?),
        None => Cache::Memory(Memory::default()),
    })
}

/// What a store's error means for a process that needs the store now.
#[must_use]
pub const fn exit_of_store(error: &StoreError) -> Exit {
    match error {
        StoreError::BadUrl(_)
        | StoreError::LoginRefused(_)
        | StoreError::NotAllowed(_)
        | StoreError::WrongTables(_)
        | StoreError::DifferentTables(_)
        | StoreError::NewerSchema { .. }
        | StoreError::OlderSchema { .. } => Exit::Settings,
        StoreError::BadFile { .. } => Exit::Resource,
        StoreError::WouldLose { .. } => Exit::Found,
        StoreError::Conflict(_) | StoreError::Slow(_) => Exit::TryAgain,
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
