//! Backfill: asks the vendor's REST interface for the bars that are missing, and for its own of those that are not, to compare.
//!
//! owns   `domain::gaps::Healer`, one question at a time, one timer
//! hears  `PipelineView` (a watched snapshot of the gaps that may still be filled, and of what is not compared)
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
use crate::domain::repeats::Repeats;
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
    failures: Repeats,
    /// The breaks of market time that were minded.
    breaks: u64,
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
    /// So many bars came; and whether some are of slots in which the pair was quiet.
    Answered(usize, Option<bool>),
    /// Refused, or nobody answered: what it means, a name that stays the same while the failure does, and the error.
    Failed(Option<Trouble>, &'static str, String),
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
            failures: Repeats::default(),
            breaks: 0,
        }
    }

    /// Looks at the gaps, and asks or waits.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.busy {
            return;
        }
        let now = self.parts.clock.now();
        if self
            .parts
            .clock
            .breaks_after(&mut self.breaks)
            .iter()
            .any(|found| found.by_ms() < 0)
        {
            self.healer.set_back(now);
        }
        let step = {
            let pipeline = self.parts.pipeline.borrow();
            self.healer.next(&pipeline.gaps, &pipeline.unchecked, now)
        };
        match step {
            Step::Rest => {}
            Step::Wait(at) => self.wait_until(at, ctx),
            Step::Ask(request) => self.ask(request, Purpose::Backfill, ctx),
            Step::Compare(request) => self.ask(request, Purpose::Compare, ctx),
        }
    }

    fn ask(&mut self, request: SeriesRequest, purpose: Purpose, ctx: &mut Context<Self>) {
        let (Some(rest), [symbol]) = (self.rest.clone(), request.symbols.as_slice()) else {
            return;
        };
        let symbol = *symbol;
        let parts = self.parts.clone();
        self.busy = true;
        self.shown.asking = Some(request.clone());
        self.parts.view.send_replace(self.shown.clone());
        let asking = async move { ask(&parts, &rest, request, (symbol, purpose)).await };
        ctx.spawn(
            asking
                .into_actor(self)
                .map(move |outcome, actor, ctx| actor.conclude((symbol, purpose), outcome, ctx)),
        );
    }

    fn conclude(&mut self, (symbol, purpose): (Symbol, Purpose), outcome: Outcome, ctx: &mut Context<Self>) {
        self.busy = false;
        self.shown.asking = None;
        let now = self.parts.clock.now();
        match outcome {
            Outcome::NoKey(at) if purpose == Purpose::Compare => {
                self.healer.poor(at); // missing bars do not wait for this
                self.look(ctx);
            }
            Outcome::NoKey(at) => self.wait_until(at, ctx),
            Outcome::Answered(bars, quiet) => {
                let failed = self.failures.over().unwrap_or(0);
                let comparing = purpose == Purpose::Compare;
                tracing::info!(%symbol, bars, comparing, failed, "backfill answered");
                self.shown.answered_total = self.shown.answered_total.saturating_add(1);
                self.shown.bars_total = self.shown.bars_total.saturating_add(u64::try_from(bars).unwrap_or(0));
                self.healer.answered(symbol, quiet, now);
                self.look(ctx);
            }
            Outcome::Failed(trouble, kind, error) => {
                if let Some(times) = self.failures.again(kind, now) {
                    tracing::warn!(%symbol, error, times, "failed to ask for bars");
                }
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
async fn ask(parts: &Parts, rest: &Rest, request: SeriesRequest, (symbol, purpose): (Symbol, Purpose)) -> Outcome {
    let lease = match parts.lease.send(LeaseKey { purpose, credits: 1 }).await {
        Ok(Ok(lease)) => lease,
        Ok(Err(refused)) => return Outcome::NoKey(refused.at),
        Err(error) => {
            let error = format!("the key pool does not answer: {error}");
            return Outcome::Failed(None, "no_key_pool", error);
        }
    };
    let asked = Asked {
        symbol,
        interval: request.interval,
        from: request.from,
        to: request.to,
    };
    hand_on(parts, HeardKind::Asked(asked), Says::Nothing).await;
    let path = request.path();
    let answer = match rest.get(&path, &lease.key).await {
        Ok(answer) => answer,
        Err(failure) => {
            key_answered(&parts.answered, &lease, purpose, None).await;
            return Outcome::Failed(None, failure.kind(), failure.to_string());
        }
    };
    let refused = refusal(answer.status, &answer.body).filter(|refusal| refusal.trouble != Trouble::NoData);
    let told = Some((refused.as_ref().map(|refusal| refusal.trouble), &answer));
    key_answered(&parts.answered, &lease, purpose, told).await;
    if let Some(refusal) = refused {
        return Outcome::Failed(Some(refusal.trouble), refusal.trouble.name(), refusal.to_string());
    }
    let raw = rest::capture(&path, parts.clock.now(), &answer.body);
    match rest::says(&raw, parts.clock.now()) {
        Ok(says) => {
            let (bars, quiet) = match &says {
                Says::Bars(fetched) | Says::FlawedBars(fetched, _) => {
                    let quiet = Healer::found_quiet(&parts.pipeline.borrow().gaps, fetched);
                    (fetched.bars.len(), quiet)
                }
                Says::Nothing | Says::Price(_) | Says::Rounded(_) | Says::Unusable(_) => (0, None),
            };
            hand_on(parts, HeardKind::Answer(raw), says).await;
            Outcome::Answered(bars, quiet)
        }
        Err(error) => Outcome::Failed(None, "bad_answer", error.to_string()),
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
