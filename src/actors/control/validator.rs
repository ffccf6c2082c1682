//! Validator: checks the prepared history of every pair when Root asks, one check at a time, and issues the certificates of finished
//! sessions.
//!
//! owns   the running check, the last request that arrived meanwhile, each pair's session whose seam is looked for, the certificates
//! hears  Validate, FillHistory, MarkSeam (Root)
//! says   Report::Judged, Report::HistoryFetched → Root · Arrived → Aggregator: missing bars, the seam, certificates · the seam → views · one row of
//!        `system_health` for each verdict and each change of a seam
//! fails  never on what it finds: a database that does not answer is a verdict. A panic drops the check; Root asks again when no verdict
//!        comes. The sessions whose seams are looked for outlive it

use crate::actors::control::{Certificates, completion};
use crate::actors::messages::{Arrived, FillHistory, MarkSeam, Report, Validate};
use crate::actors::services::Services;
use crate::clock::Stopwatch;
use crate::domain::calendar::Calendar;
use crate::domain::history::{Flag, L0Table, Verdict, Verdicts};
use crate::domain::model::{InputKind, LastClose, Seam, SeamFound, Session, Symbol, scale};
use crate::limits;
use crate::store::{HealthRow, HistoryQuery};
use actix::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The dependencies of a validator; they outlive its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The services that every actor may use.
    pub services: Services,
    /// The table that holds the history.
    pub table: L0Table,
    /// The pairs with their calendars, which are watched because they may be corrected. L0 is the history of the first pair.
    pub pairs: Vec<(Symbol, watch::Receiver<Calendar>)>,
    /// Each pair's session whose seam is looked for.
    pub marked: Arc<Mutex<BTreeMap<Symbol, Session>>>,
    /// The certificates of the pairs' sessions.
    pub certificates: Arc<Mutex<Certificates>>,
    /// The Aggregator, which takes the findings as input.
    pub arrived: Recipient<Arrived>,
}

impl Deps {
    pub(crate) fn calendar(&self, symbol: Symbol) -> Option<Calendar> {
        let found = self.pairs.iter().find(|(pair, _)| *pair == symbol);
        found.map(|(_, calendar)| calendar.borrow().clone())
    }
}

/// See the module.
#[derive(Debug)]
pub struct Validator {
    deps: Deps,
    checking: bool,
    next: Option<Validate>,
    /// Pairs whose missing history is being requested.
    filling: BTreeSet<Symbol>,
    seam_timers: BTreeMap<Symbol, SpawnHandle>,
    /// The outcome of the last check of each pair: an equal one is not logged again.
    logged: BTreeMap<Symbol, &'static str>,
}

impl Validator {
    /// A validator that waits for requests.
    pub const fn new(deps: Deps) -> Self {
        Self {
            deps,
            checking: false,
            next: None,
            filling: BTreeSet::new(),
            seam_timers: BTreeMap::new(),
            logged: BTreeMap::new(),
        }
    }

    /// Looks for the seam, and again each minute until the session is over: bars of the history may arrive later, and are then compared.
    fn look_for_seam(&mut self, symbol: Symbol, session: Session, ctx: &mut Context<Self>) {
        self.cancel_seam_timer(symbol, ctx);
        let looked = find_seam(self.deps.clone(), symbol, session).into_actor(self);
        ctx.spawn(looked.map(move |(), actor, ctx| actor.look_again(symbol, session, ctx)));
    }

    /// Ends a search. A result for a session that was replaced is dropped.
    fn look_again(&mut self, symbol: Symbol, session: Session, ctx: &mut Context<Self>) {
        let marked = self.deps.marked.lock().unwrap_or_else(PoisonError::into_inner);
        let replaced = marked.get(&symbol) != Some(&session);
        drop(marked);
        if replaced || self.deps.services.clock.now() >= session.closes + limits::SEAM_LOOK {
            return;
        }
        self.cancel_seam_timer(symbol, ctx); // that of another look at the same session
        let pause = self.deps.services.clock.real(limits::SEAM_LOOK);
        let timer = ctx.run_later(pause, move |actor, ctx| actor.look_for_seam(symbol, session, ctx));
        self.seam_timers.insert(symbol, timer);
    }

    fn cancel_seam_timer(&mut self, symbol: Symbol, ctx: &mut Context<Self>) {
        if let Some(timer) = self.seam_timers.remove(&symbol) {
            ctx.cancel_future(timer);
        }
    }

    /// Issues the certificates that are due, and looks again later.
    fn certify_sessions(&mut self, ctx: &mut Context<Self>) {
        let issued = issue_certificates(self.deps.clone()).into_actor(self);
        ctx.spawn(issued.map(|(), actor, ctx| actor.certify_later(ctx)));
    }

    fn certify_later(&self, ctx: &mut Context<Self>) {
        let pause = self.deps.services.clock.real(limits::CERTIFY_LOOK);
        ctx.run_later(pause, Self::certify_sessions);
    }

    fn check(&mut self, ask: Validate, ctx: &mut Context<Self>) {
        self.checking = true;
        let checked = check(self.deps.clone(), ask.flag)
            .into_actor(self)
            .map(|verdicts, actor, ctx| {
                actor.checking = false;
                actor.log(&verdicts);
                if let Some(next) = actor.next.take() {
                    actor.check(next, ctx);
                }
            });
        ctx.spawn(checked);
    }

    fn log(&mut self, verdicts: &Verdicts) {
        for (symbol, verdict) in verdicts {
            let reason = verdict.reason();
            if self.logged.insert(*symbol, reason) != Some(reason) {
                tracing::info!(
                    %symbol,
                    verdict.passed = verdict.passed(),
                    verdict.reason = reason,
                    rows = verdict.rows,
                    "history was checked"
                );
            }
        }
    }
}

/// Checks every pair: reads the history, decides, and stores the verdicts.
async fn check(deps: Deps, flag: Option<Flag>) -> Arc<Verdicts> {
    let mut verdicts = Verdicts::new();
    let mut took = BTreeMap::new();
    for (symbol, calendar) in &deps.pairs {
        let watch = Stopwatch::start();
        let verdict = judge(&deps, *symbol, &calendar.borrow().clone(), flag.clone()).await;
        if verdict.reachable {
            learn_close(&deps, *symbol, verdict.passed()).await;
        }
        verdicts.insert(*symbol, verdict);
        took.insert(*symbol, u32::try_from(watch.elapsed().as_millis()).unwrap_or(u32::MAX));
    }
    let verdicts = Arc::new(verdicts);
    if deps
        .services
        .root
        .send(Report::Judged(Arc::clone(&verdicts)))
        .await
        .is_err()
    {
        return verdicts; // Root is gone: the process ends
    }
    for (symbol, verdict) in verdicts.iter().filter(|(_, verdict)| verdict.reachable) {
        let passed = verdict.passed();
        let row = HealthRow {
            status: if passed { "l0_passed" } else { "l0_failed" }.to_owned(),
            details: serde_json::json!({ "symbol": symbol, "verdict": verdict }),
            response_ms: took.get(symbol).copied(),
            error: (!passed).then(|| verdict.message()),
            at: verdict.at,
        };
        if let Err(error) = deps.services.store.record_health(row).await {
            tracing::warn!(%symbol, %error, "the verdict could not be kept in system_health");
        }
    }
    verdicts
}

/// Sends the last close of the pair to the pipeline, before Root gets the verdict and opens the feed.
async fn learn_close(deps: &Deps, symbol: Symbol, verified: bool) {
    let now = deps.services.clock.now();
    let query = HistoryQuery {
        table: deps.table.clone(),
        symbol,
        since: now - limits::CLOSE_REACH,
    };
    match deps.services.store.seam_bars(query).await {
        Ok(bars) => {
            let found = LastClose::of(symbol, &bars, verified, now);
            if let Some(refused) = found.and_then(|close| scale::refusal_at(symbol, close.price)) {
                tracing::error!(%symbol, refused, "the pair's prices are beyond the scale");
            }
            completion::hear(deps, found.into_iter().map(InputKind::LastClose).collect()).await;
        }
        Err(error) => {
            tracing::warn!(%symbol, %error, "the last close could not be read: first prices need confirmation");
        }
    }
}

/// Looks once for the seam of a session; publishes and stores a new result.
async fn find_seam(deps: Deps, symbol: Symbol, session: Session) {
    if !completion::is_written(&deps).await {
        // Without this, a bar that is not in the store yet would count as missing.
        return tracing::debug!(%symbol, "the seam cannot be looked for now: the store is behind");
    }
    let query = HistoryQuery {
        table: deps.table.clone(),
        symbol,
        since: session.opens - limits::SEAM_REACH,
    };
    let bars = match deps.services.store.seam_bars(query).await {
        Ok(bars) => bars,
        Err(error) => return tracing::debug!(%symbol, %error, "the seam cannot be looked for now"),
    };
    let Some(seam) = deps
        .calendar(symbol)
        .and_then(|calendar| Seam::of(&bars, session.opens, &calendar))
    else {
        return;
    };
    let Some((seam, stretches)) =
        Some(seam).filter(|(seam, _)| deps.services.views.seams.borrow().get(&symbol) != Some(seam))
    else {
        return;
    };
    tracing::info!(%symbol, first_live_bar = %seam.first_live_bar, missing = seam.missing, differing = seam.differing, "the seam was found");
    let row = HealthRow {
        status: "seam".to_owned(),
        details: serde_json::json!({ "symbol": symbol, "seam": seam }),
        response_ms: None,
        error: None,
        at: deps.services.clock.now(),
    };
    let mut before = None;
    deps.services
        .views
        .seams
        .send_modify(|seams| before = seams.insert(symbol, seam.clone()));
    if before.is_none_or(|before| seam.news_to(&before)) {
        let told = InputKind::Seam(SeamFound { symbol, seam });
        let lacks = (!stretches.is_empty()).then(|| completion::lacks(symbol, "seam", stretches));
        completion::hear(&deps, lacks.into_iter().chain([told]).collect()).await;
    }
    if let Err(error) = deps.services.store.record_health(row).await {
        tracing::warn!(%symbol, %error, "the seam could not be kept in system_health");
    }
}

/// Issues the certificates that are due by what the pipeline has decided and the ledger has written.
async fn issue_certificates(deps: Deps) {
    let view = deps.services.views.pipeline.borrow();
    let position = view.head;
    let unchecked = view.unchecked.clone();
    drop(view);
    let kept = Arc::clone(&deps.certificates);
    let issued = tokio::task::spawn_blocking(move || {
        let mut certificates = kept.lock().unwrap_or_else(PoisonError::into_inner);
        certificates.issue(position, &unchecked)
    });
    match issued.await {
        Ok(Ok(issued)) => completion::hear(&deps, issued).await,
        Ok(Err(error)) => tracing::warn!(%error, "the ledger could not be read for certificates"),
        Err(error) => tracing::error!(%error, "failed to compute certificates"),
    }
}

async fn judge(deps: &Deps, symbol: Symbol, calendar: &Calendar, flag: Option<Flag>) -> Verdict {
    let now = deps.services.clock.now();
    let query = HistoryQuery {
        table: deps.table.clone(),
        symbol,
        since: now - limits::VERDICT_FETCHED,
    };
    let history = match deps.services.store.read_history(query).await {
        Ok(history) => history,
        Err(error) => return Verdict::unreachable(&error.to_string(), flag, now),
    };
    let kept = flag.clone();
    let calendar = calendar.clone();
    let first = deps.pairs.first().is_some_and(|(first, _)| *first == symbol);
    // Comparing six years with the calendar takes milliseconds: it runs off the thread that handles messages.
    let judged = tokio::task::spawn_blocking(move || {
        let judge = if first { Verdict::on } else { Verdict::on_other_pair };
        judge(&history, flag, &calendar, now)
    });
    judged
        .await
        .unwrap_or_else(|error| Verdict::unreachable(&format!("the check failed: {error}"), kept, now))
}

impl Actor for Validator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let marked = self.deps.marked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (symbol, session) in marked {
            self.look_for_seam(symbol, session, ctx); // that of before a panic
        }
        self.certify_later(ctx);
    }
}

impl Supervised for Validator {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
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
        let mut marked = self.deps.marked.lock().unwrap_or_else(PoisonError::into_inner);
        marked.insert(symbol, session);
        drop(marked);
        self.look_for_seam(symbol, session, ctx);
    }
}

impl Handler<FillHistory> for Validator {
    type Result = bool;

    fn handle(&mut self, FillHistory(missing): FillHistory, ctx: &mut Context<Self>) -> bool {
        let mut all = true;
        for (symbol, stretches) in missing {
            if !self.filling.insert(symbol) {
                all = false; // the one before is still waited for
                continue;
            }
            let deps = self.deps.clone();
            let filled = async move {
                completion::complete(&deps, symbol, &stretches).await;
                let told = deps.services.root.send(Report::HistoryFetched(symbol));
                told.await.unwrap_or_default(); // a Root that is gone ends the process
            };
            let over = filled.into_actor(self).map(move |(), actor, _| {
                actor.filling.remove(&symbol);
            });
            ctx.spawn(over);
        }
        all
    }
}

#[cfg(test)]
#[path = "tests/validator.rs"]
mod tests;
