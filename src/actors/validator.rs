//! Validator: checks the prepared history of every pair when Root asks, one check at a time.
//!
//! owns   the check that runs, the last question that came meanwhile, each pair's session whose seam is looked for
//! hears  Validate, FillHistory, MarkSeam (Root)
//! says   Report::Judged, Report::HistoryFetched → Root · Arrived → Aggregator: bars that nobody has, the seam · the seam → views ·
//!        one row of `system_health` for each pair's verdict and each change of its seam
//! fails  never on what it finds: a database that does not answer is a verdict. A panic forgets the check; Root asks again when
//!        no verdict comes. The sessions of the seams outlive it

use crate::actors::aggregator::PipelineView;
use crate::actors::completion;
use crate::actors::messages::{Arrived, FillHistory, MarkSeam, Report, Validate};
use crate::actors::recorder::LatestView;
use crate::clock::{Clock, Stopwatch};
use crate::domain::batch::ReaderView;
use crate::domain::calendar::Calendar;
use crate::domain::event::HeardKind;
use crate::domain::judge::LastClose;
use crate::domain::l0::Flag;
use crate::domain::l0_table::L0Table;
use crate::domain::scale;
use crate::domain::seam::{Seam, SeamFound};
use crate::domain::session::Session;
use crate::domain::symbol::Symbol;
use crate::domain::verdict::{Verdict, Verdicts};
use crate::limits;
use crate::store::{HealthRow, HistoryQuery, Store};
use actix::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Everything the validator is made of, and made of again after a panic.
#[derive(Debug, Clone)]
pub struct ValidatorParts {
    /// Where the history lies.
    pub store: Store,
    /// In which table.
    pub table: L0Table,
    /// The pairs with their calendars, which are watched because they may be corrected. The first is the one that L0 is for.
    pub pairs: Vec<(Symbol, watch::Receiver<Calendar>)>,
    /// Market time.
    pub clock: Clock,
    /// To Root.
    pub root: Recipient<Report>,
    /// The seam of each pair's present or last session.
    pub seams: watch::Sender<BTreeMap<Symbol, Seam>>,
    /// Each pair's session whose seam is looked for.
    pub marked: Arc<Mutex<BTreeMap<Symbol, Session>>>,
    /// To the pipeline.
    pub arrived: Recipient<Arrived>,
    /// The gaps that may still be filled.
    pub pipeline: watch::Receiver<PipelineView>,
    /// How far the ledger goes.
    pub latest: watch::Receiver<LatestView>,
    /// How far the store has come.
    pub written: watch::Receiver<ReaderView>,
}

impl ValidatorParts {
    pub(super) fn calendar(&self, symbol: Symbol) -> Option<Calendar> {
        let found = self.pairs.iter().find(|(pair, _)| *pair == symbol);
        found.map(|(_, calendar)| calendar.borrow().clone())
    }
}

/// The actor.
#[derive(Debug)]
pub struct Validator {
    parts: ValidatorParts,
    checking: bool,
    next: Option<Validate>,
    /// Pairs whose missing history is waited for.
    filling: BTreeSet<Symbol>,
    seam_timers: BTreeMap<Symbol, SpawnHandle>,
    /// How the last check of each pair ended: the same again is no news for the log.
    logged: BTreeMap<Symbol, &'static str>,
}

impl Validator {
    /// A validator that waits to be asked.
    #[must_use]
    pub const fn new(parts: ValidatorParts) -> Self {
        Self {
            parts,
            checking: false,
            next: None,
            filling: BTreeSet::new(),
            seam_timers: BTreeMap::new(),
            logged: BTreeMap::new(),
        }
    }

    /// Looks once a minute until the session is over: bars of the history may come later, and be compared.
    fn look_for_seam(&mut self, symbol: Symbol, session: Session, ctx: &mut Context<Self>) {
        if let Some(timer) = self.seam_timers.remove(&symbol) {
            ctx.cancel_future(timer);
        }
        ctx.spawn(find_seam(self.parts.clone(), symbol, session).into_actor(self));
        if self.parts.clock.now() < session.closes + limits::SEAM_LOOK {
            let pause = self.parts.clock.real(limits::SEAM_LOOK);
            let timer = ctx.run_later(pause, move |actor, ctx| actor.look_for_seam(symbol, session, ctx));
            self.seam_timers.insert(symbol, timer);
        }
    }

    fn check(&mut self, ask: Validate, ctx: &mut Context<Self>) {
        self.checking = true;
        let checked = check(self.parts.clone(), ask.flag)
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

/// One check of every pair, from the question to the rows that keep its verdicts.
async fn check(parts: ValidatorParts, flag: Option<Flag>) -> Arc<Verdicts> {
    let mut verdicts = Verdicts::new();
    let mut took = BTreeMap::new();
    for (symbol, calendar) in &parts.pairs {
        let watch = Stopwatch::start();
        let verdict = judge(&parts, *symbol, &calendar.borrow().clone(), flag.clone()).await;
        if verdict.reachable {
            learn_close(&parts, *symbol, verdict.passed()).await;
        }
        verdicts.insert(*symbol, verdict);
        took.insert(*symbol, u32::try_from(watch.elapsed().as_millis()).unwrap_or(u32::MAX));
    }
    let verdicts = Arc::new(verdicts);
    if parts.root.send(Report::Judged(Arc::clone(&verdicts))).await.is_err() {
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
        if let Err(error) = parts.store.record_health(row).await {
            tracing::warn!(%symbol, %error, "the verdict could not be kept in system_health");
        }
    }
    verdicts
}

/// Tells the pipeline at what price the pair closed last, before Root hears the verdict and lets prices in.
async fn learn_close(parts: &ValidatorParts, symbol: Symbol, verified: bool) {
    let now = parts.clock.now();
    let query = HistoryQuery {
        table: parts.table.clone(),
        symbol,
        since: now - limits::CLOSE_REACH,
    };
    match parts.store.seam_bars(query).await {
        Ok(bars) => {
            let found = LastClose::of(symbol, &bars, verified, now);
            if let Some(refused) = found.and_then(|close| scale::refusal_at(symbol, close.price)) {
                tracing::error!(%symbol, refused, "the pair's prices are beyond the scale");
            }
            completion::hear(parts, found.into_iter().map(HeardKind::LastClose).collect()).await;
        }
        Err(error) => {
            tracing::warn!(%symbol, %error, "the last close could not be read: first prices need confirmation");
        }
    }
}

/// One look for the seam of a session; what it says anew is shown and kept.
async fn find_seam(parts: ValidatorParts, symbol: Symbol, session: Session) {
    if !completion::is_written(&parts) {
        return; // a bar on its way to the store would seem to be missing
    }
    let query = HistoryQuery {
        table: parts.table.clone(),
        symbol,
        since: session.opens - limits::SEAM_REACH,
    };
    let bars = match parts.store.seam_bars(query).await {
        Ok(bars) => bars,
        Err(error) => return tracing::debug!(%symbol, %error, "the seam cannot be looked for now"),
    };
    let Some(seam) = parts
        .calendar(symbol)
        .and_then(|calendar| Seam::of(&bars, session.opens, &calendar))
    else {
        return;
    };
    let Some((seam, stretches)) = Some(seam).filter(|(seam, _)| parts.seams.borrow().get(&symbol) != Some(seam)) else {
        return;
    };
    tracing::info!(%symbol, first_live_bar = %seam.first_live_bar, missing = seam.missing, differing = seam.differing, "the seam was found");
    let row = HealthRow {
        status: "seam".to_owned(),
        details: serde_json::json!({ "symbol": symbol, "seam": seam }),
        response_ms: None,
        error: None,
        at: parts.clock.now(),
    };
    let mut before = None;
    parts
        .seams
        .send_modify(|seams| before = seams.insert(symbol, seam.clone()));
    if before.is_none_or(|before| seam.news_to(&before)) {
        let told = HeardKind::Seam(SeamFound { symbol, seam });
        let lacks = (!stretches.is_empty()).then(|| completion::lacks(symbol, "seam", stretches));
        completion::hear(&parts, lacks.into_iter().chain([told]).collect()).await;
    }
    if let Err(error) = parts.store.record_health(row).await {
        tracing::warn!(%symbol, %error, "the seam could not be kept in system_health");
    }
}

async fn judge(parts: &ValidatorParts, symbol: Symbol, calendar: &Calendar, flag: Option<Flag>) -> Verdict {
    let now = parts.clock.now();
    let query = HistoryQuery {
        table: parts.table.clone(),
        symbol,
        since: now - limits::VERDICT_FETCHED,
    };
    let history = match parts.store.history(query).await {
        Ok(history) => history,
        Err(error) => return Verdict::unreachable(&error.to_string(), flag, now),
    };
    let (kept, calendar) = (flag.clone(), calendar.clone());
    let first = parts.pairs.first().is_some_and(|(first, _)| *first == symbol);
    // Six years are compared with the calendar in milliseconds, but not on the thread of the ticks.
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
        let marked = self.parts.marked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (symbol, session) in marked {
            self.look_for_seam(symbol, session, ctx); // that of before a panic
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
        let mut marked = self.parts.marked.lock().unwrap_or_else(PoisonError::into_inner);
        marked.insert(symbol, session);
        drop(marked);
        self.look_for_seam(symbol, session, ctx);
    }
}

impl Handler<FillHistory> for Validator {
    type Result = ();

    fn handle(&mut self, FillHistory(missing): FillHistory, ctx: &mut Context<Self>) {
        for (symbol, stretches) in missing {
            if !self.filling.insert(symbol) {
                continue; // the one before is still waited for
            }
            let parts = self.parts.clone();
            let filled = async move {
                completion::complete(&parts, symbol, &stretches).await;
                let told = parts.root.send(Report::HistoryFetched(symbol));
                told.await.unwrap_or_default(); // a Root that is gone ends the process
            };
            let over = filled.into_actor(self).map(move |(), actor, _| {
                actor.filling.remove(&symbol);
            });
            ctx.spawn(over);
        }
    }
}

#[cfg(test)]
#[path = "validator_tests.rs"]
mod tests;
