//! Parcels from other nodes: a follower that was away for longer than the cluster log reaches fetches from them what lies between its ledger
//! and the cluster log.

use super::StartError;
use crate::carrier::{Carrier, Carry};
use crate::domain::cluster::{NodeSeen, Parcel, Start, is_heard, start};
use crate::ledger::{Ledger, LedgerOptions};
use crate::limits;
use crate::settings::Valid;
use secrecy::{ExposeSecret, SecretString};

/// Opens the ledger and appends what it lacks; `None` where no node has it.
pub(super) async fn catch_up(
    settings: &Valid,
    carrier: &Carrier,
    options: LedgerOptions,
) -> Result<Option<Ledger>, StartError> {
    let found = tokio::time::timeout(limits::LOG_ANSWER, carrier.nodes(None)).await;
    let nodes = found.ok().and_then(Result::ok).map(|found| found.nodes());
    let mut ledger = Ledger::open(&settings.ledger.dir, options)?;
    let token = settings.cluster.peer_token.as_ref();
    // Edges before the leader, which has other work.
    for node in nodes.unwrap_or_default().iter().rev() {
        let Some(address) = address_of(node) else { continue };
        let before = ledger.last_parcel();
        match fetch_from(address, token, &mut ledger, carrier).await {
            Ok(()) => {
                let count = ledger.last_parcel().saturating_sub(before);
                tracing::info!(
                    address,
                    count,
                    "the parcels that the cluster log no longer has come from another node"
                );
                return Ok(Some(ledger));
            }
            Err(error) => tracing::warn!(
                address,
                error,
                "another node does not give the parcels that are missing here"
            ),
        }
    }
    Ok(None)
}

fn address_of(node: &NodeSeen) -> Option<&str> {
    node.news.address.as_deref().filter(|_| is_heard(node))
}

/// Appends parcels of that node until the cluster log continues the ledger.
async fn fetch_from(
    address: &str,
    token: Option<&SecretString>,
    ledger: &mut Ledger,
    carrier: &Carrier,
) -> Result<(), String> {
    loop {
        let (number, hash) = ledger.parcel_end();
        let look = tokio::time::timeout(limits::LOG_ANSWER, carrier.look(number)).await;
        let found = look.map_err(|_| "the cluster log does not answer".to_owned())?;
        let found = found.map_err(|error| error.to_string())?;
        let lineage = ledger.reader().lineage();
        if start(Some((number, hash, lineage.as_str())), false, &found) == Start::GoOn {
            return Ok(());
        }
        let next = number.saturating_add(1);
        let parcels = ask(address, token, next).await?;
        // Whatever the cluster log has comes from there.
        let wanted = parcels.iter().filter(|parcel| parcel.number < found.first);
        let mut taken = false;
        for parcel in wanted {
            ledger.apply_parcel(parcel).map_err(|error| error.to_string())?;
            taken = true;
        }
        if !taken {
            return Err(format!("it has no parcel {next} that the cluster log continues"));
        }
    }
}

async fn ask(address: &str, token: Option<&SecretString>, from: u64) -> Result<Vec<Parcel>, String> {
    const LARGEST: usize = limits::PARCELS_READ * 4; // the last parcel of an answer may be a large one
    let client = awc::Client::builder().timeout(limits::PEER_ANSWER).finish();
    let mut request = client.get(format!("http://{address}/cluster/parcels?from={from}"));
    if let Some(token) = token {
        request = request.bearer_auth(token.expose_secret());
    }
    let mut answer = request.send().await.map_err(|error| error.to_string())?;
    if !answer.status().is_success() {
        return Err(format!("it answers {}", answer.status()));
    }
    let body = answer.body().limit(LARGEST).await.map_err(|error| error.to_string())?;
    Parcel::read_all(body).ok_or_else(|| "its answer is not whole".to_owned())
}
