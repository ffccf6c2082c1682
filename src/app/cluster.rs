//! The log of a cluster at the start of a node: a leader meets it, an edge begins with it.

use super::StartError;
use crate::actors::tree::LogParts;
use crate::carrier::{Carrier, Carry, RedisLog};
use crate::domain::cluster::{Contact, Parcel, Start, contact, start};
use crate::domain::model::Position;
use crate::ledger::{self, Doubt, Ledger, LedgerReader, Options, Parcels};
use crate::limits;
use crate::settings::{Alone, Role, Valid};
use std::time::Duration;

/// The log that the settings name; nothing for a single node.
fn log_of(settings: &Valid) -> Result<Option<Carrier>, StartError> {
    let url = settings
        .cache
        .redis_url
        .as_ref()
        .filter(|_| settings.cluster.role != Role::All);
    let log = url
        .map(|url| RedisLog::new(url, settings.cluster.log_entries))
        .transpose()?;
    Ok(log.map(Carrier::Redis))
}

/// Has the ledger's parcels continue the log. A log that has more of this ledger than the ledger itself is a doubt, as a store is; one
/// of another ledger is continued by a chain of its own. One that does not answer now is looked at as soon as it does.
pub(super) async fn meet(settings: &Valid, ledger: &mut Ledger) -> Result<Option<LogParts>, StartError> {
    let Some(carrier) = log_of(settings)?.filter(|_| settings.cluster.role == Role::Ingest) else {
        return Ok(None);
    };
    let mut begun_after = None;
    match tokio::time::timeout(limits::LOG_START, carrier.head()).await {
        Ok(Ok(head)) => {
            let number = head.as_ref().map_or(0, |head| head.number);
            let own = ledger.reader().parcel_hash(number)?;
            if let (Contact::Foreign, Some(head)) = (contact(head.as_ref(), ledger.last_parcel(), own), head) {
                if head.lineage == ledger.reader().lineage() {
                    ledger.renumber(Doubt::LogAhead, Position(0))?;
                }
                ledger.begin_parcels_after(head.number)?;
                tracing::warn!(
                    parcel = number,
                    lineage = head.lineage,
                    "the log is of another ledger, or of more of this one: edges begin anew"
                );
                begun_after = Some(head.number);
            }
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "the log of the cluster is not there yet: it is filled from the ledger when it is");
        }
        Err(_) => tracing::warn!("the log of the cluster does not answer: it is filled from the ledger when it does"),
    }
    Ok(Some(LogParts {
        carrier,
        begun_after,
        tells_alone: settings.cluster.alone == Alone::Tell,
    }))
}

/// The ledger of an edge and the log that it follows.
pub(super) async fn begin_edge(settings: &Valid) -> Result<(Ledger, Carrier), StartError> {
    let Some(carrier) = log_of(settings)? else {
        return Err(StartError::Log("cache.redis_url is empty".to_owned())); // the settings were checked for it
    };
    let folder = &settings.ledger.dir;
    let own = ledger::followed_chain(folder)?;
    let number = own.as_ref().map_or(0, |own| own.number);
    let found = tokio::time::timeout(limits::LOG_START, carrier.look(number)).await;
    let begins = match found
        .map_err(|_| "no answer in time".to_owned())
        .and_then(|found| found.map_err(|error| error.to_string()))
    {
        Ok(found) => start(
            own.as_ref().map(|own| (own.number, own.hash, own.lineage.as_str())),
            &found,
        ),
        Err(why) if own.is_some() => {
            tracing::warn!(error = %why, "the log of the cluster is not there yet: what this edge has is old until it is");
            Start::GoOn
        }
        Err(why) => {
            return Err(StartError::Log(format!(
                "it cannot be read ({why}), and this edge has nothing yet"
            )));
        }
    };
    let begin = match begins {
        Start::GoOn => None,
        Start::Nothing(why) => return Err(StartError::Log(why.to_owned())),
        Start::Anew { number } => {
            let opening = opening(&carrier, number).await?;
            if folder.exists() && !LedgerReader::open(folder)?.session_dates().is_empty() {
                tracing::warn!(
                    parcel = number,
                    "what this edge has does not continue the log: it is put aside, and begun anew"
                );
                ledger::set_aside(folder)?;
            }
            Some(opening)
        }
    };
    let date = chrono::NaiveDate::default(); // its files have the leader's dates
    let options = Options {
        days: settings.ledger.days,
        backup: settings.ledger.backup_dir.clone(),
        parcels: Parcels::Followed(begin),
        ..Options::new(date, fastrand::u64(..))
    };
    Ok((Ledger::open(folder, options)?, carrier))
}

async fn opening(carrier: &Carrier, number: u64) -> Result<Parcel, StartError> {
    let found = carrier
        .follow(number.saturating_sub(1), 1, Duration::from_millis(1))
        .await;
    let found = found.map_err(|error| StartError::Log(error.to_string()))?;
    let opening = found
        .into_iter()
        .map(|entry| entry.parcel)
        .find(|parcel| parcel.number == number);
    opening.ok_or_else(|| StartError::Log(format!("its opening {number} was let go at this moment: start again")))
}
