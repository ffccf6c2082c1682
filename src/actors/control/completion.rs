//! Completes a pair's history ("L0 incremental"): reports the missing bars of past sessions to the pipeline, which opens gaps for them, and
//! waits until Backfill has settled the gaps and the store has the bars.

use crate::actors::control::validator::Deps;
use crate::actors::messages::Arrived;
use crate::domain::history::{Stretch, verdict::stretches};
use crate::domain::model::{
    Decoded, Gap, Inbound, Input, InputKind, MissingBars, Position, SlotGrid, Symbol, Timestamp,
};
use crate::limits;
use crate::store::{HistoryQuery, StoreError};
use std::collections::BTreeSet;

/// Requests the bars of a pair in these stretches, and waits until each one is stored or known not to exist; at most
/// [`limits::HISTORY_WAIT`].
pub(crate) async fn complete(deps: &Deps, symbol: Symbol, wanted: &[Stretch]) {
    let patience = deps.services.clock.real(limits::HISTORY_WAIT);
    match tokio::time::timeout(patience, ask_and_wait(deps, symbol, wanted)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%symbol, %error, "failed to request missing history"),
        Err(_) => tracing::warn!(%symbol, "missing history was not received in time: it is still being requested"),
    }
}

async fn ask_and_wait(deps: &Deps, symbol: Symbol, wanted: &[Stretch]) -> Result<(), StoreError> {
    if !is_written(deps).await {
        return Err(StoreError::Other(
            "the store is behind: a bar on its way to it would seem to be missing".to_owned(),
        ));
    }
    let lacking = nobody_has(deps, symbol, wanted).await?;
    if lacking.is_empty() {
        return Ok(());
    }
    tracing::info!(%symbol, stretches = lacking.len(), "missing history is requested");
    hear(deps, vec![lacks(symbol, "history", lacking.clone())]).await;
    let mut pipeline = deps.services.views.pipeline.subscribe();
    drop(
        pipeline
            .wait_for(|view| {
                !view.gaps.iter().any(|gap: &Gap| {
                    gap.symbol == symbol && lacking.iter().any(|(from, to)| gap.from < *to && *from < gap.to)
                })
            })
            .await,
    );
    if !is_written(deps).await {
        tracing::warn!(%symbol, "the received history is not in the store yet");
    }
    Ok(())
}

/// Waits until the store has all events that were numbered before the call; at most [`limits::STORE_WAIT`]. Returns whether it has. Later
/// events are not waited for: on a busy day there is no end of them.
pub(super) async fn is_written(deps: &Deps) -> bool {
    let asked = decided(deps);
    let mut written = deps.services.views.store.subscribe();
    let reached = written.wait_for(|view| view.position >= asked);
    matches!(tokio::time::timeout(limits::STORE_WAIT, reached).await, Ok(Ok(_)))
}

/// The last position assigned so far, whether its event is in the ledger already or in the commit queue.
fn decided(deps: &Deps) -> Position {
    let in_ledger = deps
        .services
        .views
        .latest
        .borrow()
        .head
        .max(deps.services.views.store.borrow().head);
    deps.services.views.pipeline.borrow().head.max(in_ledger)
}

/// The parts of the stretches for which the store has no bar, neither in the history nor among ours.
async fn nobody_has(deps: &Deps, symbol: Symbol, wanted: &[Stretch]) -> Result<Vec<Stretch>, StoreError> {
    let Some(since) = wanted.iter().map(|(from, _)| *from).min() else {
        return Ok(Vec::new());
    };
    let query = HistoryQuery {
        table: deps.table.clone(),
        symbol,
        since,
    };
    let bars = deps.services.store.seam_bars(query).await?;
    let there: BTreeSet<Timestamp> = [&bars.history, &bars.live, &bars.fetched]
        .into_iter()
        .flatten()
        .map(|bar| bar.opens_at)
        .collect();
    let Some(calendar) = deps.calendar(symbol) else {
        return Ok(Vec::new());
    };
    let slots: BTreeSet<Timestamp> = wanted
        .iter()
        .flat_map(|(from, to)| SlotGrid::BASE.touching(&calendar, *from, *to))
        .map(|expected| expected.slot.opens_at)
        .collect();
    let missing: Vec<Timestamp> = slots.difference(&there).copied().collect();
    Ok(stretches(&missing))
}

/// The input that reports these stretches of a pair as missing.
pub(crate) fn lacks(symbol: Symbol, cause: &str, stretches: Vec<Stretch>) -> InputKind {
    InputKind::MissingBars(MissingBars {
        symbol,
        cause: cause.to_owned(),
        stretches,
    })
}

/// Sends the findings to the pipeline as input.
pub(crate) async fn hear(deps: &Deps, found: Vec<InputKind>) {
    if found.is_empty() {
        return;
    }
    let at = deps.services.clock.now();
    if let Err(error) = deps
        .arrived
        .send(Arrived(
            found
                .into_iter()
                .map(|what| Inbound {
                    heard: Input { at, what },
                    says: Decoded::Nothing,
                })
                .collect(),
        ))
        .await
    {
        tracing::error!(%error, "failed to send the result of the history's check to the aggregator");
    }
}
