//! Aggregator: turns what arrives into accepted ticks, bars and gaps.
//!
//! owns   `domain::pipeline::Pipeline`, one timer at its next deadline
//! hears  Arrived (Feed, Poller, Backfill)
//! says   Handed → Recorder (the tray has something) · PipelineView → views
//! fails  never on data: a bad tick is counted and set aside. After a panic it waits until everything decided is written, and
//!        rebuilds by feeding the session's captured inputs through a fresh pipeline

use crate::actors::messages::{Arrived, Handed, Report};
use crate::actors::rebuild::rebuild;
use crate::actors::tray::Tray;
use crate::clock::{Clock, Stopwatch};
use crate::domain::acceptance::AcceptanceView;
use crate::domain::event::{Arrival, Entry, Heard, HeardKind, Says, Unwatched};
use crate::domain::gap::Gap;
use crate::domain::market_time::{Break, BreakCause};
use crate::domain::mismatch::Unchecked;
use crate::domain::pipeline::{Counts, Market, PairCounts, Pipeline};
use crate::domain::rejection_log::RejectionLog;
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use crate::ledger::LedgerReader;
use crate::limits;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, Supervised, WrapFuture};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// What the pipeline shows.
#[derive(Debug, Clone, Default)]
pub struct PipelineView {
    /// When it was made; `None`: never.
    pub made_at: Option<Stopwatch>,
    /// Counted since the session's file began.
    pub counts: Counts,
    /// Counted of each pair in its session.
    pub pairs: BTreeMap<Symbol, PairCounts>,
    /// What became of each pair's prices.
    pub prices: BTreeMap<Symbol, AcceptanceView>,
    /// Gaps that may still be filled.
    pub gaps: Vec<Gap>,
    /// Bars that were not yet compared with the vendor's.
    pub unchecked: Vec<Unchecked>,
}

/// What an Aggregator is made of; outlives its restarts.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The pairs.
    pub markets: Vec<Market>,
    /// To rebuild from.
    pub ledger: LedgerReader,
    /// Where decisions go.
    pub tray: Tray,
    /// Who looks at the tray.
    pub recorder: Recipient<Handed>,
    /// Root.
    pub up: Recipient<Report>,
    /// Market time.
    pub clock: Clock,
    /// What it shows.
    pub view: watch::Sender<PipelineView>,
    /// Arrivals that are not decided yet: they outlive a restart.
    pub inbox: Inbox,
    /// Whether this process has rebuilt before: the first time, the time since the last input was not watched.
    pub begun: Arc<AtomicBool>,
    /// The breaks of market time that the pipeline was told of.
    pub breaks: Arc<AtomicU64>,
}

/// Arrivals in order. Bounded by the mailbox: the actor takes no message while there are some.
#[derive(Debug, Clone, Default)]
pub struct Inbox(Arc<Mutex<VecDeque<Arrival>>>);

impl Inbox {
    fn extend(&self, arrivals: Vec<Arrival>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(arrivals);
    }

    fn pop(&self) -> Option<Arrival> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Aggregator {
    parts: Parts,
    /// `None` until it is rebuilt.
    pipeline: Option<Pipeline>,
    decided: Vec<Entry>,
    timer: Option<SpawnHandle>,
    /// What the log says of prices that were set aside.
    rejections: RejectionLog,
}

impl Aggregator {
    /// Not started yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            pipeline: None,
            decided: Vec::new(),
            timer: None,
            rejections: RejectionLog::default(),
        }
    }

    /// Rebuilds once everything that was decided is written; until then the mailbox waits.
    fn rebuild(&self, ctx: &mut Context<Self>) {
        let tray = self.parts.tray.clone();
        let rebuilt = async move { tray.emptied().await }
            .into_actor(self)
            .map(
                |(), actor, ctx| match rebuild(&actor.parts.ledger, &actor.parts.markets, actor.parts.clock.now()) {
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
                },
            );
        ctx.wait(rebuilt);
    }

    fn begin(&mut self, pipeline: Pipeline, ctx: &mut Context<Self>) {
        self.parts.clock.recorded(pipeline.at());
        self.pipeline = Some(pipeline);
        if !self.parts.begun.swap(true, Ordering::Relaxed) && !self.parts.ledger.dates().is_empty() {
            let heard = Heard {
                at: self.parts.clock.now(),
                what: HeardKind::Started,
            };
            self.decide(Arrival {
                heard,
                says: Says::Nothing,
            });
        }
        self.work(ctx);
    }

    /// Decides what waits, as far as the tray has room.
    fn work(&mut self, ctx: &mut Context<Self>) {
        let now = self.parts.clock.now();
        let mut breaks = self.breaks(now);
        while self.parts.tray.has_room() {
            let arrival = self.parts.inbox.pop();
            // What arrived before a break is decided before it.
            let after = |found: &Break| arrival.as_ref().is_none_or(|arrival| arrival.heard.at > found.since);
            while let Some(found) = breaks.pop_front_if(|found| found.by_ms() < 0 || after(found)) {
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
        let tray = self.parts.tray.clone();
        ctx.wait(
            async move { tray.roomy().await }
                .into_actor(self)
                .map(|(), actor, ctx| actor.work(ctx)),
        );
    }

    /// The breaks of market time that the pipeline was not told of. That a clock which is trusted shows less than what was
    /// recorded before the start is one as well.
    fn breaks(&self, until: Timestamp) -> VecDeque<Break> {
        let mut seen = self.parts.breaks.load(Ordering::Relaxed);
        let mut breaks = VecDeque::from(self.parts.clock.breaks_after(&mut seen));
        self.parts.breaks.store(seen, Ordering::Relaxed);
        let at = self.pipeline.as_ref().map(Pipeline::at);
        if breaks.is_empty()
            && let Some(since) = at.filter(|at| until + limits::CLOCK_STEP < *at)
            && self.parts.clock.distrust().is_none()
        {
            let cause = BreakCause::ClockStepped;
            breaks.push_back(Break { since, until, cause });
        }
        breaks
    }

    fn decide(&mut self, arrival: Arrival) {
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.accept(arrival, &mut self.decided);
            self.parts.tray.put(&mut self.decided);
        }
    }

    /// Closes what is due, tells, and arms the timer. It looks at least once a second, because wall clocks step.
    fn look_at_the_clock(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        let Some(pipeline) = &mut self.pipeline else { return };
        pipeline.advance(now, &mut self.decided);
        let sleep = pipeline
            .next_deadline()
            .map_or(limits::LOOK_AT_CLOCK, |due| self.parts.clock.until(due));
        self.parts.tray.put(&mut self.decided);
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
            for line in self.rejections.look(&prices, self.parts.clock.now()) {
                let (symbol, reason) = (line.symbol, line.reason.name());
                tracing::warn!(%symbol, reason, count = line.count, "prices set aside");
            }
            self.parts.view.send_replace(PipelineView {
                made_at: Some(Stopwatch::start()),
                prices,
                counts: pipeline.counts().clone(),
                pairs: pipeline.counts_of_pairs(),
                gaps: pipeline.pending_gaps().cloned().collect(),
                unchecked: pipeline.unchecked().collect(),
            });
        }
        if !self.parts.tray.is_empty() {
            // A full mailbox is as good: the Recorder looks at the whole tray with each of its messages.
            drop(self.parts.recorder.try_send(Handed));
        }
    }
}

/// What the pipeline is told of a break.
fn broken(found: &Break) -> Arrival {
    let unwatched = Unwatched {
        until: found.until,
        cause: found.cause.name().to_owned(),
    };
    Arrival {
        heard: Heard {
            at: found.since,
            what: HeardKind::Unwatched(unwatched),
        },
        says: Says::Nothing,
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
        *self = Self::new(self.parts.clone());
    }
}

impl Handler<Arrived> for Aggregator {
    type Result = ();

    fn handle(&mut self, msg: Arrived, ctx: &mut Context<Self>) {
        self.parts.inbox.extend(msg.0);
        self.work(ctx);
    }
}
