//! Completes a pair's history ("L0 incremental"): tells the pipeline which bars of past sessions nobody has, so that their gaps are
//! opened, and waits until backfill has settled them and the store holds what came.

use crate::actors::messages::Arrived;
use crate::actors::validator::ValidatorParts;
use crate::domain::event::{Arrival, Heard, HeardKind, Lacking, Says};
use crate::domain::gap::Gap;
use crate::domain::slot_grid::SlotGrid;
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use crate::domain::verdict::{Stretch, stretches};
use crate::limits;
use crate::store::{HistoryQuery, StoreError};
use std::collections::BTreeSet;

/// Asks for the bars of a pair in these stretches, and waits until each came or is known not to exist: at the longest for
/// [`limits::HISTORY_WAIT`].
pub(super) async fn complete(parts: &ValidatorParts, symbol: Symbol, wanted: &[Stretch]) {
    let patience = parts.clock.real(limits::HISTORY_WAIT);
    match tokio::time::timeout(patience, ask_and_wait(parts, symbol, wanted)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%symbol, %error, "missing history could not be asked for"),
        Err(_) => tracing::warn!(%symbol, "missing history did not come in time: it is still being asked for"),
    }
}

async fn ask_and_wait(parts: &ValidatorParts, symbol: Symbol, wanted: &[Stretch]) -> Result<(), StoreError> {
    written(parts).await; // a bar on its way to the store is not missing
    let lacking = nobody_has(parts, symbol, wanted).await?;
    if lacking.is_empty() {
        return Ok(());
    }
    tracing::info!(%symbol, stretches = lacking.len(), "missing history is asked for");
    hear(parts, vec![lacks(symbol, "history", lacking.clone())]).await;
    let mut pipeline = parts.pipeline.clone();
    let ours = |gap: &Gap| gap.symbol == symbol && lacking.iter().any(|(from, to)| gap.from < *to && *from < gap.to);
    drop(pipeline.wait_for(|view| !view.gaps.iter().any(ours)).await);
    written(parts).await;
    Ok(())
}

/// Waits until the store has what the ledger has.
async fn written(parts: &ValidatorParts) {
    let head = parts.latest.borrow().head;
    let mut written = parts.written.clone();
    drop(written.wait_for(|view| view.position >= head.max(view.head)).await);
}

/// Whether the store has what the ledger has.
pub(super) fn is_written(parts: &ValidatorParts) -> bool {
    let written = parts.written.borrow();
    written.position >= written.head.max(parts.latest.borrow().head)
}

/// The parts of the stretches for which there is no bar, be it of the history or of ours.
async fn nobody_has(parts: &ValidatorParts, symbol: Symbol, wanted: &[Stretch]) -> Result<Vec<Stretch>, StoreError> {
    let Some(since) = wanted.iter().map(|(from, _)| *from).min() else {
        return Ok(Vec::new());
    };
    let query = HistoryQuery {
        table: parts.table.clone(),
        symbol,
        since,
    };
    let bars = parts.store.seam_bars(query).await?;
    let there: BTreeSet<Timestamp> = [&bars.history, &bars.live, &bars.fetched]
        .into_iter()
        .flatten()
        .map(|bar| bar.opens_at)
        .collect();
    let Some(calendar) = parts.calendar(symbol) else {
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

/// That these stretches of a pair are missing, as the pipeline hears it.
pub(super) fn lacks(symbol: Symbol, cause: &str, stretches: Vec<Stretch>) -> HeardKind {
    HeardKind::Lacking(Lacking {
        symbol,
        cause: cause.to_owned(),
        stretches,
    })
}

/// Tells the pipeline what was found.
pub(super) async fn hear(parts: &ValidatorParts, found: Vec<HeardKind>) {
    if found.is_empty() {
        return;
    }
    let at = parts.clock.now();
    let arrival = |what| Arrival {
        heard: Heard { at, what },
        says: Says::Nothing,
    };
    if let Err(error) = parts
        .arrived
        .send(Arrived(found.into_iter().map(arrival).collect()))
        .await
    {
        tracing::error!(%error, "failed to tell the aggregator what was found of the history");
    }
}
