//! Aggregator: turns inputs into accepted ticks, bars and gaps.
//!
//! owns   `domain::pipeline::Pipeline`, one timer at its next deadline
//! hears  Arrived (Feed, Poller, Backfill, Validator; Root and Health for the journal)
//! says   Handed → Recorder (the commit queue has something) · PipelineView → views
//! fails  never on data: a bad tick is counted and set aside. After a panic it waits until every decided entry is written, then rebuilds by
//!        feeding the session's recorded inputs through a fresh pipeline

use crate::actors::core::{CommitQueue, rebuild::rebuild};
use crate::actors::messages::{Arrived, Handed};
use crate::actors::services::Services;
use crate::actors::views::PipelineView;
use crate::clock::Stopwatch;
use crate::domain::lifecycle::{Break, BreakCause};
use crate::domain::model::{Decoded, Inbound, Input, InputKind, JournalEntry, Symbol, Timestamp, Unwatched};
use crate::domain::pipeline::{AcceptanceView, PairRules, Pipeline, RejectionLog};
use crate::limits;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, Supervised, WrapFuture};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The dependencies of an Aggregator; they outlive its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The services that every actor may use.
    pub services: Services,
    /// The pairs.
    pub markets: Vec<PairRules>,
    /// Takes the decided entries.
    pub commit_queue: CommitQueue,
    /// The Recorder, which empties the commit queue.
    pub recorder: Recipient<Handed>,
    /// The state that outlives a restart.
    pub carried: Carried,
}

/// The state that outlives a restart.
#[derive(Debug, Clone, Default)]
pub struct Carried {
    /// Inputs that are not decided yet.
    inbox: Inbox,
    /// Whether this process has rebuilt before. At the first rebuild, the time since the last input counts as an outage.
    begun: Arc<AtomicBool>,
    /// How many breaks of market time the pipeline knows.
    breaks: Arc<AtomicU64>,
}

/// Inputs in order. Bounded by the mailbox: the actor handles no message while some are undecided.
#[derive(Debug, Clone, Default)]
struct Inbox(Arc<Mutex<VecDeque<Inbound>>>);

impl Inbox {
    fn extend(&self, arrivals: Vec<Inbound>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(arrivals);
    }

    fn pop(&self) -> Option<Inbound> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Aggregator {
    deps: Deps,
    /// `None` until it is rebuilt.
    pipeline: Option<Pipeline>,
    decided: Vec<JournalEntry>,
    timer: Option<SpawnHandle>,
    /// Aggregates rejected prices into log lines.
    rejections: RejectionLog,
}

impl Aggregator {
    /// Not started yet.
    pub fn new(deps: Deps) -> Self {
        Self {
            deps,
            pipeline: None,
            decided: Vec::new(),
            timer: None,
            rejections: RejectionLog::default(),
        }
    }

    /// Rebuilds once every decided entry is written; until then no message is handled.
    fn rebuild(&self, ctx: &mut Context<Self>) {
        let commit_queue = self.deps.commit_queue.clone();
        let rebuilt = async move { commit_queue.wait_until_empty().await }
            .into_actor(self)
            .map(|(), actor, ctx| {
                match rebuild(
                    &actor.deps.services.ledger.whole(),
                    &actor.deps.markets,
                    actor.deps.services.clock.now(),
                ) {
                    Ok(pipeline) => actor.begin(pipeline, ctx),
                    Err(error) => {
                        tracing::error!(error = %error, "failed to rebuild the pipeline from the ledger");
                        let later = limits::APPEND_RETRY;
                        ctx.wait(
                            tokio::time::sleep(later)
                                .into_actor(actor)
                                .map(|(), actor, ctx| actor.rebuild(ctx)),
                        );
                    }
                }
            });
        ctx.wait(rebuilt);
    }

    fn begin(&mut self, pipeline: Pipeline, ctx: &mut Context<Self>) {
        self.deps.services.clock.recorded(pipeline.at());
        self.pipeline = Some(pipeline);
        if !self.deps.carried.begun.swap(true, Ordering::Relaxed)
            && !self.deps.services.ledger.session_dates().is_empty()
        {
            let heard = Input {
                at: self.deps.services.clock.now(),
                what: InputKind::Started,
            };
            self.decide(Inbound {
                heard,
                says: Decoded::Nothing,
            });
        }
        self.work(ctx);
    }

    /// Decides the waiting inputs, as far as the commit queue has room.
    fn work(&mut self, ctx: &mut Context<Self>) {
        let now = self.deps.services.clock.now();
        let mut breaks = self.breaks(now);
        while self.deps.commit_queue.has_room() {
            let arrival = self.deps.carried.inbox.pop();
            // An input that arrived before a break is decided before it.
            let until = arrival.as_ref().map(|arrival| arrival.heard.at);
            while let Some(found) =
                breaks.pop_front_if(|found| found.by_ms() < 0 || until.is_none_or(|until| until > found.since))
            {
                self.decide(broken(&found));
            }
            let Some(mut arrival) = arrival else {
                return self.look_at_the_clock(now, ctx);
            };
            arrival.heard.at = arrival.heard.at.min(now); // stamped before the clock was set back
            self.decide(arrival);
        }
        breaks.into_iter().for_each(|found| self.decide(broken(&found)));
        self.hand_over();
        let commit_queue = self.deps.commit_queue.clone();
        ctx.wait(
            async move { commit_queue.wait_for_room().await }
                .into_actor(self)
                .map(|(), actor, ctx| actor.work(ctx)),
        );
    }

    /// The breaks of market time that the pipeline does not know yet. A trusted clock that is behind the last recorded input counts as one.
    fn breaks(&self, until: Timestamp) -> VecDeque<Break> {
        let mut seen = self.deps.carried.breaks.load(Ordering::Relaxed);
        let mut breaks = VecDeque::from(self.deps.services.clock.breaks_after(&mut seen));
        self.deps.carried.breaks.store(seen, Ordering::Relaxed);
        let at = self.pipeline.as_ref().map(Pipeline::at);
        if breaks.is_empty()
            && let Some(since) = at.filter(|at| until + limits::CLOCK_STEP < *at)
            && self.deps.services.clock.distrust().is_none()
        {
            let cause = BreakCause::ClockStepped;
            breaks.push_back(Break { since, until, cause });
        }
        breaks
    }

    fn decide(&mut self, arrival: Inbound) {
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.accept(arrival, &mut self.decided);
            self.deps.commit_queue.push_all(&mut self.decided);
        }
    }

    /// Closes what is due, passes it on, and arms the timer: at most a second ahead, because wall clocks step.
    fn look_at_the_clock(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        let Some(pipeline) = &mut self.pipeline else { return };
        pipeline.advance(now, &mut self.decided);
        let sleep = pipeline
            .next_deadline()
            .map_or(limits::LOOK_AT_CLOCK, |due| self.deps.services.clock.until(due));
        self.deps.commit_queue.push_all(&mut self.decided);
        self.hand_over();
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let sleep = sleep.min(limits::LOOK_AT_CLOCK);
        self.timer = Some(ctx.run_later(sleep, |actor, ctx| {
            actor.timer = None;
            actor.work(ctx);
        }));
    }

    fn hand_over(&mut self) {
        if let Some(pipeline) = &self.pipeline {
            let prices: BTreeMap<Symbol, AcceptanceView> = pipeline.prices().collect();
            for line in self
                .rejections
                .describe_rejections(&prices, self.deps.services.clock.now())
            {
                let symbol = line.symbol;
                let reason = line.reason.name();
                tracing::warn!(%symbol, reason, count = line.count, "prices set aside");
            }
            let now = self.deps.services.clock.now();
            for (symbol, source, count) in self.rejections.describe_rounded(&pipeline.counts().rounded, now) {
                let kind = source.name();
                tracing::warn!(%symbol, kind, count, "prices rounded to six decimals");
            }
            self.deps.services.views.pipeline.send_replace(PipelineView {
                made_at: Some(Stopwatch::start()),
                head: pipeline.head(),
                prices,
                counts: pipeline.counts().clone(),
                pairs: pipeline.counts_of_pairs(),
                gaps: pipeline.pending_gaps().cloned().collect(),
                unchecked: pipeline.unchecked_bars().collect(),
            });
        }
        if !self.deps.commit_queue.is_empty() {
            // A full mailbox does no harm: each message makes the Recorder look at the whole commit queue.
            drop(self.deps.recorder.try_send(Handed));
        }
    }
}

/// The input that reports a break to the pipeline.
fn broken(found: &Break) -> Inbound {
    let unwatched = Unwatched {
        until: found.until,
        cause: found.cause.name().to_owned(),
    };
    Inbound {
        heard: Input {
            at: found.since,
            what: InputKind::Unwatched(unwatched),
        },
        says: Decoded::Nothing,
    }
}

impl Actor for Aggregator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.rebuild(ctx);
    }
}

impl Supervised for Aggregator {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}

impl Handler<Arrived> for Aggregator {
    type Result = ();

    fn handle(&mut self, msg: Arrived, ctx: &mut Context<Self>) {
        self.deps.carried.inbox.extend(msg.0);
        self.work(ctx);
    }
}
