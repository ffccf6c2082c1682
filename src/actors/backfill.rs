//! Backfill: asks the vendor's REST interface for the bars that are missing.
//!
//! owns   `domain::gaps::Healer`, one question at a time, one timer
//! hears  `PipelineView` (a watched snapshot of the gaps that may still be filled)
//! says   LeaseKey, KeyAnswered → KeyPool · Arrived → Aggregator: that it asks, and what the vendor answered
//! fails  never on the vendor: a refusal is waited out, or passed to another key. A panic forgets the question; the gap it was
//!        about is still open, and is asked about again

use crate::actors::aggregator::PipelineView;
use crate::actors::messages::{Arrived, KeyAnswered, LeaseKey};
use crate::actors::rest_call::{Rest, key_answered};
use crate::clock::Clock;
use crate::domain::event::{Arrival, Asked, Heard, HeardKind, Says};
use crate::domain::gaps::{Healer, Step};
use crate::domain::keys::Purpose;
use crate::domain::rest::{self, SeriesRequest};
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use crate::domain::trouble::{Trouble, refusal};
use crate::limits;
use actix::prelude::*;
use futures_util::stream;
use std::sync::Arc;
use tokio::sync::watch;

/// Everything a backfill is made of, and made of again after a panic.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The vendor's REST interface, without a slash at its end.
    pub rest_url: String,
    /// Whom to trust: `actors::vendor::tls`.
    pub tls: Arc<rustls::ClientConfig>,
    /// Market time.
    pub clock: Clock,
    /// The gaps.
    pub pipeline: watch::Receiver<PipelineView>,
    /// To the key pool.
    pub lease: Recipient<LeaseKey>,
    /// To the key pool.
    pub answered: Recipient<KeyAnswered>,
    /// To the aggregator.
    pub arrived: Recipient<Arrived>,
    /// What is shown.
    pub view: watch::Sender<BackfillView>,
}

/// What backfill shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackfillView {
    /// What the vendor is being asked now.
    pub asking: Option<SeriesRequest>,
    /// Questions that were answered.
    pub answered_total: u64,
    /// Bars that came.
    pub bars_total: u64,
    /// Questions that failed.
    pub failed_total: u64,
    /// The last failure, for people.
    pub last_error: Option<String>,
    /// When to look again, if not at once.
    pub next_at: Option<Timestamp>,
}

/// See the module.
pub struct Backfill {
    parts: Parts,
    healer: Healer,
    rest: Option<Rest>,
    busy: bool,
    timer: Option<SpawnHandle>,
    shown: BackfillView,
}

impl std::fmt::Debug for Backfill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backfill")
            .field("busy", &self.busy)
            .finish_non_exhaustive()
    }
}

/// How a question went.
enum Outcome {
    /// No key before then.
    NoKey(Timestamp),
    /// So many bars came.
    Answered(usize),
    /// Refused, or nobody answered.
    Failed(Option<Trouble>, String),
}

impl Backfill {
    /// A backfill that has asked nothing yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            healer: Healer::default(),
            rest: None,
            busy: false,
            timer: None,
            shown: BackfillView::default(),
        }
    }

    /// Looks at the gaps, and asks or waits.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.busy {
            return;
        }
        let now = self.parts.clock.now();
        let step = self.healer.next(&self.parts.pipeline.borrow().gaps, now);
        match step {
            Step::Rest => {}
            Step::Wait(at) => self.wait_until(at, ctx),
            Step::Ask(request) => self.ask(request, ctx),
        }
    }

    fn ask(&mut self, request: SeriesRequest, ctx: &mut Context<Self>) {
        let (Some(rest), [symbol]) = (self.rest.clone(), request.symbols.as_slice()) else {
            return;
        };
        let symbol = *symbol;
        let parts = self.parts.clone();
        self.busy = true;
        self.shown.asking = Some(request.clone());
        self.parts.view.send_replace(self.shown.clone());
        let asking = async move { ask(&parts, &rest, request, symbol).await };
        ctx.spawn(
            asking
                .into_actor(self)
                .map(move |outcome, actor, ctx| actor.conclude(symbol, outcome, ctx)),
        );
    }

    fn conclude(&mut self, symbol: Symbol, outcome: Outcome, ctx: &mut Context<Self>) {
        self.busy = false;
        self.shown.asking = None;
        let now = self.parts.clock.now();
        match outcome {
            Outcome::NoKey(at) => self.wait_until(at, ctx),
            Outcome::Answered(bars) => {
                tracing::info!(%symbol, bars, "backfill answered");
                self.shown.answered_total = self.shown.answered_total.saturating_add(1);
                self.shown.bars_total = self.shown.bars_total.saturating_add(u64::try_from(bars).unwrap_or(0));
                self.healer.answered(symbol, now);
                self.look(ctx);
            }
            Outcome::Failed(trouble, error) => {
                tracing::warn!(%symbol, error, "failed to ask for missing bars");
                self.shown.failed_total = self.shown.failed_total.saturating_add(1);
                self.shown.last_error = Some(error);
                self.healer.failed(symbol, trouble, now, fastrand::f64());
                self.look(ctx);
            }
        }
        self.parts.view.send_replace(self.shown.clone());
    }

    fn wait_until(&mut self, at: Timestamp, ctx: &mut Context<Self>) {
        if let Some(handle) = self.timer.take() {
            ctx.cancel_future(handle);
        }
        self.shown.next_at = Some(at);
        let wait = self.parts.clock.until(at).max(limits::LOOK_EVERY);
        self.timer = Some(ctx.run_later(wait, |actor, ctx| {
            actor.timer = None;
            actor.look(ctx);
        }));
    }
}

/// Leases a key, says that it asks, asks, and passes the answer on.
async fn ask(parts: &Parts, rest: &Rest, request: SeriesRequest, symbol: Symbol) -> Outcome {
    let purpose = Purpose::Backfill;
    let lease = match parts.lease.send(LeaseKey { purpose, credits: 1 }).await {
        Ok(Ok(lease)) => lease,
        Ok(Err(refused)) => return Outcome::NoKey(refused.at),
        Err(error) => return Outcome::Failed(None, format!("the key pool does not answer: {error}")),
    };
    let (from, to) = (request.from, request.to);
    hand_on(parts, HeardKind::Asked(Asked { symbol, from, to }), Says::Nothing).await;
    let path = request.path();
    let answer = match rest.get(&path, &lease.key).await {
        Ok(answer) => answer,
        Err(failure) => {
            key_answered(&parts.answered, &lease, purpose, None).await;
            return Outcome::Failed(None, failure.to_string());
        }
    };
    let refused = refusal(answer.status, &answer.body).filter(|refusal| refusal.trouble != Trouble::NoData);
    let told = Some((refused.as_ref().map(|refusal| refusal.trouble), &answer));
    key_answered(&parts.answered, &lease, purpose, told).await;
    if let Some(refusal) = refused {
        return Outcome::Failed(Some(refusal.trouble), refusal.to_string());
    }
    let raw = rest::capture(&path, parts.clock.now(), &answer.body);
    match rest::says(&raw, parts.clock.now()) {
        Ok(says) => {
            let bars = if let Says::Bars(fetched) = &says {
                fetched.bars.len()
            } else {
                0
            };
            hand_on(parts, HeardKind::Answer(raw), says).await;
            Outcome::Answered(bars)
        }
        Err(error) => Outcome::Failed(None, error.to_string()),
    }
}

async fn hand_on(parts: &Parts, what: HeardKind, says: Says) {
    let heard = Heard {
        at: parts.clock.now(),
        what,
    };
    if let Err(error) = parts.arrived.send(Arrived(vec![Arrival { heard, says }])).await {
        tracing::error!(%error, "failed to hand an answer to the aggregator");
    }
}

/// The gaps may have changed.
struct Look;

impl StreamHandler<Look> for Backfill {
    fn handle(&mut self, _: Look, ctx: &mut Context<Self>) {
        self.look(ctx);
    }

    fn finished(&mut self, _: &mut Context<Self>) {} // nobody opens gaps any more
}

impl Actor for Backfill {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.rest = Some(Rest::new(Arc::clone(&self.parts.tls), self.parts.rest_url.clone()));
        let mut pipeline = self.parts.pipeline.clone();
        pipeline.mark_changed();
        // The view changes with every price: one look in a while sees the same gaps.
        ctx.add_stream(stream::unfold(pipeline, |mut pipeline| async move {
            pipeline.changed().await.ok()?;
            pipeline.mark_unchanged();
            tokio::time::sleep(limits::LOOK_EVERY).await;
            Some((Look, pipeline))
        }));
    }
}

impl Supervised for Backfill {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.parts.clone());
    }
}

#[cfg(test)]
#[path = "backfill_tests.rs"]
mod tests;
