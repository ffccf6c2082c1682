//! Validator: checks the prepared history when Root asks, one check at a time.
//!
//! owns   the check that runs, the last question that came meanwhile, the session whose seam is looked for
//! hears  Validate, FillHistory, MarkSeam (Root)
//! says   Report::Judged, Report::HistoryFetched → Root · Arrived → Aggregator: bars that nobody has, the seam · the seam → views ·
//!        one row of `system_health` for each verdict and each change of the seam
//! fails  never on what it finds: a database that does not answer is a verdict. A panic forgets the check; Root asks again when
//!        no verdict comes. The session of the seam outlives it

use crate::actors::aggregator::PipelineView;
use crate::actors::completion;
use crate::actors::messages::{Arrived, FillHistory, MarkSeam, Report, Validate};
use crate::actors::recorder::LatestView;
use crate::clock::{Clock, Stopwatch};
use crate::domain::batch::ReaderView;
use crate::domain::calendar::Calendar;
use crate::domain::event::HeardKind;
use crate::domain::l0::Flag;
use crate::domain::l0_table::L0Table;
use crate::domain::seam::{Seam, SeamFound};
use crate::domain::session::Session;
use crate::domain::symbol::Symbol;
use crate::domain::verdict::Verdict;
use crate::limits;
use crate::store::{HealthRow, HistoryQuery, Store};
use actix::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Everything the validator is made of, and made of again after a panic.
#[derive(Debug, Clone)]
pub struct ValidatorParts {
    /// Where the history lies.
    pub store: Store,
    /// In which table.
    pub table: L0Table,
    /// The pair whose history opens the gate: the first of the settings.
    pub symbol: Symbol,
    /// Its calendar; watched, because it may be corrected.
    pub calendar: watch::Receiver<Calendar>,
    /// Market time.
    pub clock: Clock,
    /// To Root.
    pub root: Recipient<Report>,
    /// The seam of the present or last session.
    pub seam: watch::Sender<Option<Seam>>,
    /// The session whose seam is looked for.
    pub marked: Arc<Mutex<Option<Session>>>,
    /// To the pipeline.
    pub arrived: Recipient<Arrived>,
    /// The gaps that may still be filled.
    pub pipeline: watch::Receiver<PipelineView>,
    /// How far the ledger goes.
    pub latest: watch::Receiver<LatestView>,
    /// How far the store has come.
    pub written: watch::Receiver<ReaderView>,
}

/// The actor.
#[derive(Debug)]
pub struct Validator {
    parts: ValidatorParts,
    checking: bool,
    next: Option<Validate>,
    filling: bool,
    seam_timer: Option<SpawnHandle>,
}

impl Validator {
    /// A validator that waits to be asked.
    #[must_use]
    pub const fn new(parts: ValidatorParts) -> Self {
        Self {
            parts,
            checking: false,
            next: None,
            filling: false,
            seam_timer: None,
        }
    }

    /// Looks once a minute until the session is over: bars of the history may come later, and be compared.
    fn look_for_seam(&mut self, session: Session, ctx: &mut Context<Self>) {
        if let Some(timer) = self.seam_timer.take() {
            ctx.cancel_future(timer);
        }
        ctx.spawn(find_seam(self.parts.clone(), session).into_actor(self));
        if self.parts.clock.now() < session.closes + limits::SEAM_LOOK {
            let pause = self.parts.clock.real(limits::SEAM_LOOK);
            self.seam_timer = Some(ctx.run_later(pause, move |actor, ctx| actor.look_for_seam(session, ctx)));
        }
    }

    fn check(&mut self, ask: Validate, ctx: &mut Context<Self>) {
        self.checking = true;
        let checked = check(self.parts.clone(), ask.flag)
            .into_actor(self)
            .map(|(), actor, ctx| {
                actor.checking = false;
                if let Some(next) = actor.next.take() {
                    actor.check(next, ctx);
                }
            });
        ctx.spawn(checked);
    }
}

/// One check, from the question to the row that keeps its verdict.
async fn check(parts: ValidatorParts, flag: Option<Flag>) {
    let watch = Stopwatch::start();
    let verdict = Arc::new(judge(&parts, flag).await);
    let took_ms = u32::try_from(watch.elapsed().as_millis()).unwrap_or(u32::MAX);
    let passed = verdict.passed();
    tracing::info!(
        verdict.passed = passed,
        verdict.reason = verdict.reason(),
        rows = verdict.rows,
        took_ms,
        "history was checked"
    );
    if parts.root.send(Report::Judged(Arc::clone(&verdict))).await.is_err() {
        return; // Root is gone: the process ends
    }
    let row = HealthRow {
        status: if passed { "l0_passed" } else { "l0_failed" }.to_owned(),
        details: serde_json::json!({ "verdict": *verdict }),
        response_ms: Some(took_ms),
        error: (!passed).then(|| verdict.message()),
        at: verdict.at,
    };
    if let Err(error) = parts.store.record_health(row).await {
        tracing::warn!(%error, "the verdict could not be kept in system_health");
    }
}

/// One look for the seam of a session; what it says anew is shown and kept.
async fn find_seam(parts: ValidatorParts, session: Session) {
    if !completion::is_written(&parts) {
        return; // a bar on its way to the store would seem to be missing
    }
    let query = HistoryQuery {
        table: parts.table.clone(),
        symbol: parts.symbol,
        since: session.opens - limits::SEAM_REACH,
    };
    let bars = match parts.store.seam_bars(query).await {
        Ok(bars) => bars,
        Err(error) => return tracing::debug!(%error, "the seam cannot be looked for now"),
    };
    let seam = Seam::of(&bars, session.opens, &parts.calendar.borrow());
    let Some((seam, stretches)) = seam.filter(|(seam, _)| parts.seam.borrow().as_ref() != Some(seam)) else {
        return;
    };
    tracing::info!(first_live_bar = %seam.first_live_bar, missing = seam.missing, differing = seam.differing, "the seam was found");
    let row = HealthRow {
        status: "seam".to_owned(),
        details: serde_json::json!({ "seam": seam }),
        response_ms: None,
        error: None,
        at: parts.clock.now(),
    };
    let before = parts.seam.send_replace(Some(seam.clone()));
    if before.is_none_or(|before| seam.news_to(&before)) {
        let symbol = parts.symbol;
        let told = HeardKind::Seam(SeamFound { symbol, seam });
        let lacks = (!stretches.is_empty()).then(|| completion::lacks(&parts, "seam", stretches));
        completion::hear(&parts, lacks.into_iter().chain([told]).collect()).await;
    }
    if let Err(error) = parts.store.record_health(row).await {
        tracing::warn!(%error, "the seam could not be kept in system_health");
    }
}

async fn judge(parts: &ValidatorParts, flag: Option<Flag>) -> Verdict {
    let now = parts.clock.now();
    let query = HistoryQuery {
        table: parts.table.clone(),
        symbol: parts.symbol,
        since: now - limits::VERDICT_FETCHED,
    };
    let history = match parts.store.history(query).await {
        Ok(history) => history,
        Err(error) => return Verdict::unreachable(&error.to_string(), flag, now),
    };
    let calendar = parts.calendar.borrow().clone();
    let kept = flag.clone();
    // Six years are compared with the calendar in milliseconds, but not on the thread of the ticks.
    let judged = tokio::task::spawn_blocking(move || Verdict::on(&history, flag, &calendar, now));
    judged
        .await
        .unwrap_or_else(|error| Verdict::unreachable(&format!("the check failed: {error}"), kept, now))
}

impl Actor for Validator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let marked = *self.parts.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = marked {
            self.look_for_seam(session, ctx); // that of before a panic
        }
    }
}

impl Supervised for Validator {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.parts.clone());
    }
}

impl Handler<Validate> for Validator {
    type Result = ();

    fn handle(&mut self, ask: Validate, ctx: &mut Context<Self>) {
        if self.checking {
            self.next = Some(ask);
            return;
        }
        self.check(ask, ctx);
    }
}

impl Handler<MarkSeam> for Validator {
    type Result = ();

    fn handle(&mut self, MarkSeam { symbol, session }: MarkSeam, ctx: &mut Context<Self>) {
        if symbol == self.parts.symbol {
            *self.parts.marked.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
            self.look_for_seam(session, ctx);
        }
    }
}

impl Handler<FillHistory> for Validator {
    type Result = ();

    fn handle(&mut self, FillHistory(stretches): FillHistory, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.filling, true) {
            return; // the one before is still waited for
        }
        let parts = self.parts.clone();
        let filled = async move {
            completion::complete(&parts, &stretches).await;
            parts.root.send(Report::HistoryFetched).await.unwrap_or_default(); // a Root that is gone ends the process
        };
        ctx.spawn(filled.into_actor(self).map(|(), actor, _| actor.filling = false));
    }
}

#[cfg(test)]
#[path = "validator_tests.rs"]
mod tests;
