//! Backfill: requests missing bars from the vendor's REST interface, and the vendor's bars of finished slots to compare with ours.
//!
//! owns   `domain::history::BackfillPlanner`, one request at a time, one timer
//! hears  `PipelineView` (a watched snapshot of the gaps that may still be filled, and of bars that are not compared)
//! says   AcquireKey, KeyAnswered → KeyPool · Arrived → Aggregator: each request, and the vendor's answer · `BackfillView` → views
//! fails  never on the vendor: after a refusal it waits, or uses another key. A panic drops the request; the gap is still open, and is
//!        requested again

use crate::actors::messages::Arrived;
use crate::actors::services::Services;
use crate::actors::vendor::{AskError, KeyPoolLink, VendorAccess, VendorClient};
use crate::actors::views::BackfillView;
use crate::domain::history::{BackfillPlanner, Step};
use crate::domain::model::{Decoded, Inbound, Input, InputKind, Requested, Symbol, Timestamp};
use crate::domain::vendor::{Purpose, Repeats, SeriesRequest, Trouble, rest};
use crate::limits;
use actix::prelude::*;
use futures_util::stream;

/// The dependencies of a Backfill; they outlive its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The services that every actor may use.
    pub services: Services,
    /// The vendor's REST interface.
    pub vendor: VendorAccess,
    /// The Aggregator.
    pub arrived: Recipient<Arrived>,
}

/// See the module.
pub struct Backfill {
    deps: Deps,
    planner: BackfillPlanner,
    client: Option<VendorClient<KeyPoolLink>>,
    busy: bool,
    timer: Option<SpawnHandle>,
    shown: BackfillView,
    failures: Repeats,
    /// How many breaks of market time it knows.
    breaks: u64,
}

impl std::fmt::Debug for Backfill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backfill")
            .field("busy", &self.busy)
            .finish_non_exhaustive()
    }
}

/// The outcome of a request.
enum Outcome {
    /// No key may be used before then.
    NoKey(Timestamp),
    /// How many bars were received, which stretch the answer covers, and whether some bars are of slots in which the pair was quiet.
    Answered(usize, Option<Requested>, Option<bool>),
    /// Refused, or no answer: what that means, a name that equal failures share, and the error.
    Failed(Option<Trouble>, &'static str, String),
}

impl Outcome {
    fn of_error(error: &AskError) -> Self {
        Self::Failed(error.trouble(), error.kind(), error.to_string())
    }
}

impl Backfill {
    /// A Backfill that has requested nothing yet.
    pub fn new(deps: Deps) -> Self {
        Self {
            deps,
            planner: BackfillPlanner::default(),
            client: None,
            busy: false,
            timer: None,
            shown: BackfillView::default(),
            failures: Repeats::default(),
            breaks: 0,
        }
    }

    /// Checks the gaps; requests bars or waits.
    fn request_next(&mut self, ctx: &mut Context<Self>) {
        if self.busy {
            return;
        }
        let now = self.deps.services.clock.now();
        let breaks = self.deps.services.clock.breaks_after(&mut self.breaks);
        if breaks.iter().any(|found| found.by_ms() < 0) {
            self.planner.set_back(now);
        }
        let step = {
            let pipeline = self.deps.services.views.pipeline.borrow();
            self.planner.next(&pipeline.gaps, &pipeline.unchecked, now)
        };
        match step {
            Step::Rest => {}
            Step::Wait(at) => self.wait_until(at, ctx),
            Step::Ask(request) => self.ask(request, Purpose::Backfill, ctx),
            Step::Compare(request) => self.ask(request, Purpose::Compare, ctx),
        }
    }

    fn ask(&mut self, request: SeriesRequest, purpose: Purpose, ctx: &mut Context<Self>) {
        let (Some(client), [symbol]) = (self.client.clone(), request.symbols.as_slice()) else {
            return;
        };
        let symbol = *symbol;
        let deps = self.deps.clone();
        self.busy = true;
        self.shown.asking = Some(request.clone());
        self.deps.services.views.backfill.send_replace(self.shown.clone());
        let asking = async move { ask(&deps, &client, request, (symbol, purpose)).await };
        ctx.spawn(
            asking
                .into_actor(self)
                .map(move |outcome, actor, ctx| actor.conclude((symbol, purpose), outcome, ctx)),
        );
    }

    fn conclude(&mut self, (symbol, purpose): (Symbol, Purpose), outcome: Outcome, ctx: &mut Context<Self>) {
        self.busy = false;
        self.shown.asking = None;
        let now = self.deps.services.clock.now();
        match outcome {
            Outcome::NoKey(at) if purpose == Purpose::Compare => {
                self.planner.defer_comparisons(at); // requests for missing bars do not wait for this
                self.request_next(ctx);
            }
            Outcome::NoKey(at) => self.wait_until(at, ctx),
            Outcome::Answered(bars, told, quiet) => {
                let failed = self.failures.over().unwrap_or(0);
                let comparing = purpose == Purpose::Compare;
                tracing::info!(%symbol, bars, comparing, failed, "backfill answered");
                self.shown.answered_total = self.shown.answered_total.saturating_add(1);
                self.shown.bars_total = self.shown.bars_total.saturating_add(u64::try_from(bars).unwrap_or(0));
                if let Some(told) = told {
                    let pipeline = self.deps.services.views.pipeline.borrow();
                    self.planner.note_stretch(&pipeline.gaps, &told);
                }
                self.planner.note_answer(symbol, quiet, now);
                self.request_next(ctx);
            }
            Outcome::Failed(trouble, kind, error) => {
                if let Some(times) = self.failures.again(kind, now) {
                    tracing::warn!(%symbol, error, times, "failed to request bars");
                }
                self.shown.failed_total = self.shown.failed_total.saturating_add(1);
                self.shown.last_error = Some(error);
                self.planner.note_failure(symbol, trouble, now, fastrand::f64());
                self.request_next(ctx);
            }
        }
        self.deps.services.views.backfill.send_replace(self.shown.clone());
    }

    fn wait_until(&mut self, at: Timestamp, ctx: &mut Context<Self>) {
        if let Some(handle) = self.timer.take() {
            ctx.cancel_future(handle);
        }
        self.shown.next_at = Some(at);
        let wait = self.deps.services.clock.until(at).max(limits::LOOK_EVERY);
        self.timer = Some(ctx.run_later(wait, |actor, ctx| {
            actor.timer = None;
            actor.request_next(ctx);
        }));
    }
}

/// Acquires a key, records the request, sends it, and forwards the answer.
async fn ask(
    deps: &Deps,
    client: &VendorClient<KeyPoolLink>,
    request: SeriesRequest,
    (symbol, purpose): (Symbol, Purpose),
) -> Outcome {
    let acquired = match client.acquire(purpose, 1).await {
        Ok(acquired) => acquired,
        Err(AskError::NoKey(refused)) => return Outcome::NoKey(refused.at),
        Err(error) => return Outcome::of_error(&error),
    };
    let asked = Requested {
        symbol,
        interval: request.interval,
        from: request.from,
        to: request.to,
    };
    hand_on(deps, InputKind::Requested(asked), Decoded::Nothing).await;
    let path = request.path();
    let answer = match client.ask(&path, &acquired, purpose).await {
        Ok(answer) => answer,
        Err(error) => return Outcome::of_error(&error),
    };
    let raw = rest::capture(&path, deps.services.clock.now(), &answer.body);
    match rest::says(&raw, deps.services.clock.now()) {
        Ok(says) => {
            let (bars, told, quiet) = match &says {
                Decoded::Bars(fetched) | Decoded::FlawedBars(fetched, _) => {
                    let quiet = BackfillPlanner::found_quiet(&deps.services.views.pipeline.borrow().gaps, fetched);
                    let told = Requested {
                        symbol: fetched.symbol,
                        interval: fetched.interval,
                        from: fetched.from,
                        to: fetched.to,
                    };
                    (fetched.bars.len(), Some(told), quiet)
                }
                Decoded::Nothing | Decoded::Price(_) | Decoded::Rounded(_) | Decoded::Unusable(_) => (0, None, None),
            };
            hand_on(deps, InputKind::Answer(raw), says).await;
            Outcome::Answered(bars, told, quiet)
        }
        Err(error) => Outcome::Failed(None, "bad_answer", error.to_string()),
    }
}

async fn hand_on(deps: &Deps, what: InputKind, says: Decoded) {
    let heard = Input {
        at: deps.services.clock.now(),
        what,
    };
    if let Err(error) = deps.arrived.send(Arrived(vec![Inbound { heard, says }])).await {
        tracing::error!(%error, "failed to send an answer to the aggregator");
    }
}

/// The gaps may have changed.
struct Look;

impl StreamHandler<Look> for Backfill {
    fn handle(&mut self, _: Look, ctx: &mut Context<Self>) {
        self.request_next(ctx);
    }

    fn finished(&mut self, _: &mut Context<Self>) {} // the Aggregator is gone: no gaps are opened any more
}

impl Actor for Backfill {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.client = Some(VendorClient::open(&self.deps.vendor));
        let mut pipeline = self.deps.services.views.pipeline.subscribe();
        pipeline.mark_changed();
        // The view changes with every price: an occasional check sees the same gaps.
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
        *self = Self::new(self.deps.clone());
    }
}

#[cfg(test)]
#[path = "tests/backfill.rs"]
mod tests;
