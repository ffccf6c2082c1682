//! The cluster log at the start of a node: a leader joins it, an edge begins with it.

use super::{StartError, peers};
use crate::actors::tree::LogParts;
use crate::carrier::{Carrier, Carry, RedisLog};
use crate::domain::cluster::{
    EntryStep, LeaderNews, LogAnswer, LogPlace, Meeting, Parcel, Start, is_behind, look_at_end, meet as meet_log,
    start, why_unproven,
};
use crate::domain::model::Position;
use crate::ledger::{self, Doubt, Ledger, LedgerOptions, LedgerReader, Parcels};
use crate::limits;
use crate::settings::{Alone, Role, Valid};
use crate::store::{Store, StoreError};
use std::time::Duration;

/// The cluster log in the settings; `None` for a single node.
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

/// What a leader inherits from the leader before.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// The former leader's holder id; `None` if this ledger's folder led last, or no node did.
    pub(super) from: Option<String>,
    /// Why it is not certain that everything that the former leader published is here.
    pub(super) unproven: Option<String>,
    /// The former leader's last news.
    pub(super) said: Option<LeaderNews>,
}

/// Fences the cluster log with the new term, and follows it to its end: it then has everything that the former leader published, and takes
/// nothing more from that leader. Afterwards the ledger in the folder is that of the cluster log, if that is possible.
pub(super) async fn inherit(settings: &Valid, own: &str, store: &Store) -> Result<Inherited, StartError> {
    let succession = store.succession();
    let led = ledger::has_led(&settings.ledger.dir); // else it lost its end since, and followed
    let Some(from) = succession.from.clone().filter(|from| from != own || !led) else {
        return Ok(Inherited::default());
    };
    let Some(carrier) = log_of(settings)? else {
        return Ok(Inherited::default());
    };
    let term = u64::try_from(succession.term).unwrap_or(0);
    let fenced = tokio::time::timeout(limits::LOG_ANSWER, carrier.append(term, &[])).await;
    let unproven = match fenced.unwrap_or_else(|_| LogAnswer::Away("no answer in time".to_owned())) {
        LogAnswer::Taken => follow_to_end(settings).await?,
        LogAnswer::Stale { term } => {
            return Err(StartError::Log(format!(
                "a leader of term {term} has written to it meanwhile"
            )));
        }
        other => Some(format!("the cluster log cannot be fenced: {other:?}")),
    };
    let unproven = why_unproven(unproven, succession.provable);
    let said = tokio::time::timeout(limits::LOG_ANSWER, carrier.hear()).await;
    let said = said.ok().and_then(Result::ok).flatten();
    Ok(Inherited {
        from: Some(from),
        unproven,
        said: said.and_then(|text| serde_json::from_str(&text).ok()),
    })
}

/// Follows the cluster log to its end. Returns why the ledger does not end where the cluster log does, if it does not.
async fn follow_to_end(settings: &Valid) -> Result<Option<String>, StartError> {
    let (mut ledger, carrier) = match begin_edge(settings).await {
        Ok(begun) => begun,
        Err(StartError::Log(problem)) => return Ok(Some(problem)),
        Err(error) => return Err(error),
    };
    let (number, hash) = ledger.parcel_end();
    let mut place = LogPlace::at(number, hash);
    loop {
        let read = carrier.follow(place.number(), limits::CLUSTER_READ, Duration::from_millis(1));
        let entries = match tokio::time::timeout(limits::LOG_ANSWER, read).await {
            Ok(Ok(entries)) if entries.is_empty() => break,
            Ok(Ok(entries)) => entries,
            Ok(Err(error)) => return Ok(Some(error.to_string())),
            Err(_) => return Ok(Some("the cluster log does not answer".to_owned())),
        };
        for entry in entries {
            match place.on(&entry) {
                EntryStep::Take => {
                    ledger.apply_parcel(&entry.parcel)?;
                    place.taken(&entry);
                }
                EntryStep::Known => {}
                step => {
                    return Ok(Some(format!(
                        "its parcel {} does not continue: {step:?}",
                        entry.parcel.number
                    )));
                }
            }
        }
    }
    let head = match tokio::time::timeout(limits::LOG_ANSWER, carrier.head()).await {
        Ok(Ok(head)) => head,
        Ok(Err(error)) => return Ok(Some(error.to_string())),
        Err(_) => return Ok(Some("the log does not answer".to_owned())),
    };
    Ok(look_at_end(head.as_ref(), ledger.parcel_end()))
}

/// Makes the ledger's parcels continue the cluster log. A cluster log that has more of this ledger than the ledger itself makes new epochs
/// necessary, as such a store does; behind that of another ledger this ledger begins a chain of its own. A cluster log that does not answer
/// now is filled when it does.
///
/// Events that the cluster log lacks are published only when it has them. Records beside the lease that this process leads; `provable`: as
/// far as this ledger goes, the cluster log may have everything that was published.
pub(super) async fn meet(
    settings: &Valid,
    ledger: &mut Ledger,
    (store, provable): (&Store, bool),
) -> Result<Option<LogParts>, StartError> {
    let Some(carrier) = log_of(settings)?.filter(|_| settings.cluster.role == Role::Ingest) else {
        return Ok(None);
    };
    let mut reader = ledger.reader();
    let met = match tokio::time::timeout(limits::LOG_START, carrier.head()).await {
        Ok(Ok(head)) => {
            let number = head.as_ref().map_or(0, |head| head.number);
            let own = reader
                .read_parcels(number, 1)?
                .into_iter()
                .find(|parcel| parcel.number == number);
            let hash = own.as_ref().map(|parcel| parcel.hash);
            let met = meet_log(head.as_ref(), (ledger.last_parcel(), hash), &reader.lineage(), provable);
            if let (true, Some(parcel)) = (met.bounded, &own) {
                reader.bound_told(Position(parcel.last));
            }
            met
        }
        away => {
            let problem = away.map_or_else(
                |_| "no answer in time".to_owned(),
                |found| found.err().map_or_else(String::new, |error| error.to_string()),
            );
            tracing::warn!(
                error = problem,
                "the cluster log does not answer yet: it is filled from the ledger when it answers"
            );
            Meeting::AWAY
        }
    };
    if met.renumbers {
        ledger.renumber(Doubt::LogAhead, Position(0))?;
    }
    if let Some(number) = met.begins_after {
        ledger.begin_parcels_after(number)?;
        tracing::warn!(
            parcel = number,
            "the cluster log is of another ledger, or of more of this one: edges begin a new ledger"
        );
    }
    if !store.set_provable(met.provable).await? {
        return Err(StartError::Store(StoreError::NoLease));
    }
    Ok(Some(LogParts {
        carrier,
        begun_after: met.begins_after,
        tells_alone: settings.cluster.alone == Alone::Tell,
        took_over: false,
    }))
}

/// The ledger of an edge and the cluster log that it follows.
pub(super) async fn begin_edge(settings: &Valid) -> Result<(Ledger, Carrier), StartError> {
    let Some(carrier) = log_of(settings)? else {
        return Err(StartError::Log("cache.redis_url is empty".to_owned())); // the settings were checked for it
    };
    let folder = &settings.ledger.dir;
    let own = ledger::followed_chain(folder)?;
    let led = ledger::has_led(folder);
    let number = own.as_ref().map_or(0, |own| own.number);
    let found = tokio::time::timeout(limits::LOG_START, carrier.look(number)).await;
    let begins = match found
        .map_err(|_| "no answer in time".to_owned())
        .and_then(|found| found.map_err(|error| error.to_string()))
    {
        Ok(found) => {
            let chain = own.as_ref().map(|own| (own.number, own.hash, own.lineage.as_str()));
            let begins = start(chain, led, &found);
            let behind = chain.is_some_and(|(number, _, lineage)| is_behind(number, lineage, &found));
            if begins != Start::GoOn
                && behind
                && let Some(ledger) = peers::catch_up(settings, &carrier, follower_options(settings, None)).await?
            {
                ledger::note_followed(folder)?;
                return Ok((ledger, carrier));
            }
            begins
        }
        Err(why) if own.is_some() && !led => {
            tracing::warn!(error = %why, "the cluster log does not answer yet: the data of this edge is old until it does");
            Start::GoOn
        }
        Err(why) => {
            return Err(StartError::Log(format!(
                "it cannot be read ({why}), and this node has nothing that it may show without it"
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
                    "this edge's ledger does not continue the cluster log: it is put aside, and a new one begins"
                );
                ledger::set_aside(folder)?;
            }
            Some(opening)
        }
    };
    let ledger = Ledger::open(folder, follower_options(settings, begin))?;
    ledger::note_followed(folder)?;
    Ok((ledger, carrier))
}

/// The options of a ledger that follows, and begins with an opening if there is one.
fn follower_options(settings: &Valid, begin: Option<Parcel>) -> LedgerOptions {
    let date = chrono::NaiveDate::default(); // its files have the leader's dates
    LedgerOptions {
        days: settings.ledger.days,
        backup: settings.ledger.backup_dir.clone(),
        parcels: Parcels::Followed(begin),
        ..LedgerOptions::new(date, fastrand::u64(..))
    }
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
    opening.ok_or_else(|| StartError::Log(format!("its opening {number} was removed at this moment: start again")))
}
