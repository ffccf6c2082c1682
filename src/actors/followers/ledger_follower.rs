//! LedgerFollower: copies the ledger to one sink. The Writer copies to the store, the Publisher to the cache.
//!
//! owns   the schedule (`domain::followers::FlushSchedule`), one timer at its next deadline, at most one step and one probe at a time
//! hears  Recorded (Recorder, LogKeeper) · Flush (the app)
//! says   that its sink is lost or back, and what the sink finds → Root · ReaderView → views
//! fails  never on its sink: the ledger keeps what could not be written, and the step is retried with back-off. After a restart it asks the
//!        sink for its position

use crate::actors::messages::{Flush, Recorded, Report};
use crate::actors::repeat::RepeatEvery;
use crate::actors::services::Services;
use crate::actors::views::Views;
use crate::cache::CacheError;
use crate::clock::{Clock, Stopwatch};
use crate::domain::followers::lease::Place;
use crate::domain::followers::{FlushSchedule, ReaderView, Step};
use crate::domain::model::{Position, Timestamp};
use crate::ledger::LedgerError;
use crate::limits;
use crate::store::StoreError;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, Supervised, WrapFuture};
use std::fmt::Display;
use std::time::Duration;
use tokio::sync::watch;

/// A sink that a follower writes to.
pub trait Sink: Clone + Unpin + 'static {
    /// Its dependencies; they outlive restarts.
    type Deps: Clone + Unpin + 'static;

    /// A sink that has done nothing yet.
    fn new(deps: &Self::Deps) -> Self;

    /// The services that every actor may use.
    fn services(deps: &Self::Deps) -> &Services;

    /// Its schedule of writes.
    fn flush_schedule() -> FlushSchedule;

    /// Its reports to Root.
    fn outage_reports() -> OutageReports;

    /// The view that shows its position.
    fn view(views: &Views) -> &watch::Sender<ReaderView>;

    /// Its kind, for `/status`.
    fn kind(&self) -> &'static str;

    /// Performs one step, off the actor's thread where it blocks.
    fn step(self, step: Step) -> impl Future<Output = Outcome<Progress>> + 'static;

    /// Probes the server, also when there is nothing to write, so that an outage is noticed at any time. Returns how long a trivial query
    /// took.
    fn probe(self) -> impl Future<Output = Outcome<Duration>> + 'static;

    /// Deletes what is past its retention.
    fn forget(self) -> impl Future<Output = ()> + 'static;
}

/// The outcome of a step or a probe.
#[derive(Debug)]
pub struct Outcome<T> {
    /// What it did, or why it failed.
    pub result: Result<T, FollowError>,
    /// Reports to send to Root.
    pub reports: Vec<Report>,
    /// Writes after this position may be lost.
    pub at_most: Option<Position>,
}

/// The progress of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The sink is at this position. That alone does not show that writing works.
    Located(Position),
    /// Events up to `position` are written, `rejected` of them set aside.
    Wrote {
        /// The last position.
        position: Position,
        /// How many events were set aside.
        rejected: usize,
    },
}

/// Why a step or a probe failed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The thread that read the ledger failed.
    #[error("the work was interrupted: {0}")]
    Cut(String),
    /// The store has events that the ledger lacks: the ledger is an older copy.
    #[error(
        "the database has the ledger's events up to position {stored}, and the ledger ended at {opened} when it was opened: a restart \
         begins new epochs"
    )]
    Ahead {
        /// How far the store is.
        stored: u64,
        /// How far the ledger was.
        opened: u64,
    },
}

impl FollowError {
    /// Whose lease refuses it, when it is because another leads.
    const fn fenced_by(&self) -> Option<Place> {
        match self {
            Self::Store(StoreError::NoLease | StoreError::AnotherWriter(_)) => Some(Place::Database),
            Self::Cache(CacheError::AnotherWriter(_)) => Some(Place::Redis),
            _ => None,
        }
    }

    /// Its name, for programs.
    fn reason(&self) -> &'static str {
        match self {
            Self::Store(error) => error.reason(),
            Self::Cache(error) => error.reason(),
            Self::Ledger(_) => "ledger_unreadable",
            Self::Cut(_) => "cut_short",
            Self::Ahead { .. } => "store_ahead",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct LedgerFollower<S: Sink> {
    services: Services,
    deps: S::Deps,
    sink: S,
    follower: FollowerState,
    timer: Option<SpawnHandle>,
    /// A probe is running.
    looking: bool,
}

impl<S: Sink> LedgerFollower<S> {
    /// Not started yet.
    pub fn new(deps: S::Deps) -> Self {
        let services = S::services(&deps).clone();
        Self {
            sink: S::new(&deps),
            follower: FollowerState {
                schedule: S::flush_schedule(),
                clock: services.clock.clone(),
                up: services.root.clone(),
                view: S::view(&services.views).clone(),
                reports: S::outage_reports(),
                lost: None,
                at_most: None,
            },
            timer: None,
            looking: false,
            services,
            deps,
        }
    }

    /// Does what is due, and sets the timer for what is not.
    fn proceed(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(step) = self.follower.step() {
            let took = Stopwatch::start();
            let slow = ctx.run_later(limits::FOLLOWER_SLOW, |actor, _| actor.follower.slow());
            let work = self.sink.clone().step(step).into_actor(self);
            ctx.spawn(work.map(move |outcome, actor, ctx| {
                ctx.cancel_future(slow);
                match actor.note(outcome) {
                    Ok(Progress::Located(position)) => actor.follower.located(position),
                    Ok(Progress::Wrote { position, rejected }) => actor.follower.wrote(position, rejected, &took),
                    Err(error) => {
                        if let Some(place) = error.fenced_by() {
                            actor.services.views.measures.count_fence_refusal(place.name());
                        }
                        actor.follower.failed(error.reason(), &error);
                    }
                }
                actor.proceed(ctx);
            }));
        } else if let Some(wait) = self.follower.wait() {
            self.timer = Some(ctx.run_later(wait, Self::proceed));
        }
        self.follower.show(self.sink.kind());
    }

    /// Reports the findings to Root, and shows nothing as written that may be lost.
    fn note<T>(&mut self, outcome: Outcome<T>) -> Result<T, FollowError> {
        for report in outcome.reports {
            if let Err(error) = self.services.root.try_send(report) {
                tracing::debug!(%error, "failed to report to root; the next probe finds what persists");
            }
        }
        self.follower.at_most = outcome.at_most;
        outcome.result
    }

    fn probe(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.looking, true) {
            return; // the server is slow, which is reported elsewhere
        }
        let look = self.sink.clone().probe().into_actor(self);
        ctx.spawn(look.map(|outcome, actor, _| {
            actor.looking = false;
            match actor.note(outcome) {
                Ok(took) => actor.follower.answered(took),
                Err(error) => actor.follower.unanswered(error.reason(), &error),
            }
            actor.follower.show(actor.sink.kind());
        }));
    }

    fn forget(&mut self, ctx: &mut Context<Self>) {
        ctx.spawn(self.sink.clone().forget().into_actor(self));
    }
}

impl<S: Sink> Actor for LedgerFollower<S> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.follower.heard(self.services.ledger.head());
        ctx.repeat_every(limits::STORE_LOOK, Self::probe);
        ctx.repeat_every(limits::FORGET_EVERY, Self::forget);
        self.proceed(ctx);
    }
}

impl<S: Sink> Supervised for LedgerFollower<S> {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}

impl<S: Sink> Handler<Recorded> for LedgerFollower<S> {
    type Result = ();

    fn handle(&mut self, msg: Recorded, ctx: &mut Context<Self>) {
        self.follower.heard(msg.head);
        self.proceed(ctx);
    }
}

impl<S: Sink> Handler<Flush> for LedgerFollower<S> {
    type Result = ();

    fn handle(&mut self, _: Flush, ctx: &mut Context<Self>) {
        self.follower.flush(self.services.ledger.head());
        self.proceed(ctx);
    }
}

/// The reports and log messages of a follower whose server is lost, or is back.
#[derive(Debug)]
pub struct OutageReports {
    /// Makes the report that it is lost, from the error's name for programs and its sentence for people.
    pub lost: fn(&'static str, String) -> Report,
    /// The report that it is back.
    pub back: Report,
    /// The log message when it is lost.
    pub lost_log: &'static str,
    /// The log message when it is back.
    pub back_log: &'static str,
}

/// Schedules a follower's steps, and reports once when its server is lost and once when it is back.
#[derive(Debug)]
struct FollowerState {
    schedule: FlushSchedule,
    clock: Clock,
    up: Recipient<Report>,
    view: watch::Sender<ReaderView>,
    reports: OutageReports,
    /// The reason with which Root was last sent that the server is lost.
    lost: Option<&'static str>,
    /// The highest position to show as written: another program changed what is after it.
    at_most: Option<Position>,
}

impl FollowerState {
    /// Notes the ledger's last position.
    fn heard(&mut self, head: Position) {
        self.schedule.note_head(head, self.clock.now());
    }

    /// Makes everything up to `head` due for writing now.
    fn flush(&mut self, head: Position) {
        self.heard(head);
        self.schedule.flush_all();
    }

    /// The step that is due, if any.
    fn step(&mut self) -> Option<Step> {
        self.schedule.next_step(self.clock.now())
    }

    /// How long to wait for the next step, in real time.
    fn wait(&self) -> Option<Duration> {
        self.schedule.next_deadline().map(|due| self.clock.until(due))
    }

    /// Notes a write up to `position`, with `rejected` events set aside.
    fn wrote(&mut self, position: Position, rejected: usize, took: &Stopwatch) {
        self.schedule.note_written(position, self.clock.now());
        self.view.send_modify(|view| {
            view.rejected_total = view
                .rejected_total
                .saturating_add(u64::try_from(rejected).unwrap_or(u64::MAX));
            view.last_write_us = micros(took.elapsed());
            view.lost = false;
        });
        if took.elapsed() < limits::FOLLOWER_SLOW && self.caught_up() {
            self.back();
        }
    }

    /// Notes that the server is at `position`. That alone does not show that writing works.
    fn located(&mut self, position: Position) {
        self.schedule.note_located(position, self.clock.now());
    }

    /// Notes a failed step.
    fn failed(&mut self, reason: &'static str, cause: &impl Display) {
        self.schedule.note_failure(self.clock.now(), fastrand::f64());
        self.lost(reason, cause.to_string());
    }

    /// Notes a step that takes too long; it is still awaited.
    fn slow(&mut self) {
        let text = format!("no answer for {:?}; still waiting", limits::FOLLOWER_SLOW);
        self.trouble("slow", text);
    }

    /// Notes that the server refused or failed.
    fn lost(&mut self, reason: &'static str, cause: String) {
        self.view.send_modify(|view| view.lost = true);
        self.trouble(reason, cause);
    }

    /// Shows a problem of the server.
    fn trouble(&mut self, reason: &'static str, cause: String) {
        let now = self.clock.now();
        self.view.send_modify(|view| match &mut view.trouble {
            Some((_, said)) => said.clone_from(&cause),
            none => *none = Some((now, cause.clone())),
        });
        if self.lost != Some(reason) {
            tracing::warn!(reason, error = %cause, "{}", self.reports.lost_log);
            if self.up.try_send((self.reports.lost)(reason, cause)).is_ok() {
                self.lost = Some(reason);
            }
        }
    }

    /// Notes that the server answered a probe in this time. While events wait, only a write shows that writing works.
    fn answered(&mut self, took: Duration) {
        self.view.send_modify(|view| view.answer_us = micros(took));
        if took >= limits::FOLLOWER_SLOW {
            self.trouble("slow", format!("a trivial query took {took:.1?}"));
        } else if self.schedule.written().is_some() && self.schedule.distance() == 0 {
            self.back();
        }
    }

    /// Notes that the server did not answer a probe.
    fn unanswered(&mut self, reason: &'static str, cause: &impl Display) {
        self.lost(reason, cause.to_string());
    }

    /// Whether the waiting events fit into one step: while events arrive, some always wait.
    fn caught_up(&self) -> bool {
        usize::try_from(self.schedule.distance()).is_ok_and(|distance| distance <= limits::WRITER_CATCH_UP)
    }

    fn back(&mut self) {
        self.view.send_if_modified(|view| {
            let lost = std::mem::take(&mut view.lost);
            view.trouble.take().is_some() || lost
        });
        if self.lost.is_some() && self.up.try_send(self.reports.back.clone()).is_ok() {
            tracing::info!("{}", self.reports.back_log);
            self.lost = None;
        }
    }

    /// Publishes the view.
    fn show(&self, kind: &'static str) {
        let now = self.clock.now();
        let written = self.schedule.written().unwrap_or_default();
        let head = self.schedule.head();
        let position = self.at_most.map_or(written, |most| most.min(written));
        let waiting_since: Option<Timestamp> = (head > position).then(|| now - self.schedule.age(now));
        self.view.send_modify(|view| {
            view.kind = kind;
            (view.position, view.head, view.waiting_since) = (position, head, waiting_since);
        });
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
