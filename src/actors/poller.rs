//! Poller: asks for prices over REST while the link does not bring them.
//!
//! owns   `domain::poll::Poll`, one round at a time, one timer
//! hears  whether prices are wanted (a watched flag that Root sets) · `FeedView`, `KeysView` (watched snapshots)
//! says   LeaseKey, KeyAnswered → KeyPool · Arrived → Aggregator: prices, and that the pairs are heard or lost · `PollerView` ·
//!        Report → Root: which pairs are polled
//! fails  never on the vendor: a round that brings nothing is one of many. A panic forgets whom it polled; the views tell again

use crate::actors::messages::{Arrived, KeyAnswered, LeaseKey, Report};
use crate::actors::rest_call::{Rest, key_answered};
use crate::clock::Clock;
use crate::domain::budget::Forecast;
use crate::domain::event::{Arrival, Heard, HeardKind, LinkChange, Says};
use crate::domain::feed_view::FeedView;
use crate::domain::keys::Purpose;
use crate::domain::keys_view::KeysView;
use crate::domain::poll::{Poll, Step};
use crate::domain::repeats::Repeats;
use crate::domain::rest::{self, AnswerError};
use crate::domain::session::Sessions;
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use crate::domain::trouble::{Disposition, Trouble, refusal};
use crate::domain::wire;
use crate::limits;
use actix::prelude::*;
use futures_util::stream;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Everything a poller is made of, and made of again after a panic.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The vendor's REST interface, without a slash at its end.
    pub rest_url: String,
    /// Whom to trust: `actors::vendor::tls`.
    pub tls: Arc<rustls::ClientConfig>,
    /// The pairs, each with its market's sessions.
    pub symbols: Vec<(Symbol, Arc<dyn Sessions>)>,
    /// How long the link may be without a pair.
    pub patience: Duration,
    /// Market time.
    pub clock: Clock,
    /// Whether prices are wanted.
    pub wanted: watch::Receiver<bool>,
    /// The link.
    pub feed: watch::Receiver<FeedView>,
    /// What there is to spend.
    pub keys: watch::Receiver<KeysView>,
    /// To the key pool.
    pub lease: Recipient<LeaseKey>,
    /// To the key pool.
    pub answered: Recipient<KeyAnswered>,
    /// To the aggregator.
    pub arrived: Recipient<Arrived>,
    /// To Root.
    pub up: Recipient<Report>,
    /// What is shown.
    pub view: watch::Sender<PollerView>,
}

/// What polling shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PollerView {
    /// The pairs that are polled now.
    pub polled: Vec<Symbol>,
    /// The last round brought no price of them.
    pub failing: bool,
    /// When a price of each pair was last answered.
    pub answered: BTreeMap<Symbol, Timestamp>,
    /// The pairs whose last answer was none, and what the vendor said.
    pub failed: BTreeMap<Symbol, String>,
    /// Between two rounds.
    pub every: Option<Duration>,
    /// Prices that came.
    pub prices_total: u64,
    /// Calls that failed.
    pub failed_total: u64,
    /// The last failure, for people.
    pub last_error: Option<String>,
    /// What today will have cost.
    pub forecast: Option<Forecast>,
}

/// See the module.
pub struct Poller {
    parts: Parts,
    poll: Poll,
    rest: Option<Rest>,
    busy: bool,
    timer: Option<SpawnHandle>,
    shown: PollerView,
    failures: Repeats,
    /// The pairs that Root knows of.
    told: Vec<Symbol>,
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poller")
            .field("busy", &self.busy)
            .finish_non_exhaustive()
    }
}

/// How a round went: the pairs whose prices came, and the last failure with a name that stays the same while it does.
struct Round {
    priced: Vec<Symbol>,
    /// The pairs that the vendor does not serve under our plan, and what it said of each.
    refused: BTreeMap<Symbol, String>,
    error: Option<(&'static str, String)>,
}

impl Poller {
    /// A poller that has asked nothing yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            poll: Poll::new(&parts.symbols, parts.patience, parts.clock.now()),
            rest: None,
            busy: false,
            timer: None,
            shown: PollerView::default(),
            failures: Repeats::default(),
            told: Vec::new(),
            parts,
        }
    }

    /// Looks at the link and the purse, and asks or waits.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let now = self.parts.clock.now();
        self.poll.watch(&self.parts.feed.borrow(), now);
        if self.busy || !*self.parts.wanted.borrow() {
            return self.report();
        }
        let budget = self.parts.keys.borrow().spendable;
        match self.poll.step(budget, now) {
            Step::Rest => {}
            Step::Wait(at) => self.wait_until(at, ctx),
            Step::Poll(symbols) => self.ask(symbols, budget.per_minute, ctx),
        }
        self.show(now);
    }

    fn ask(&mut self, symbols: Vec<Symbol>, per_call: u32, ctx: &mut Context<Self>) {
        let Some(rest) = self.rest.clone() else { return };
        self.busy = true;
        let parts = self.parts.clone();
        let per_call = usize::try_from(per_call.max(1)).unwrap_or(1);
        let asking = async move {
            let mut round = Round {
                priced: Vec::new(),
                refused: BTreeMap::new(),
                error: None,
            };
            for some in symbols.chunks(per_call) {
                if ask(&parts, &rest, some, &mut round).await == Asked::Apart {
                    for one in some.chunks(1) {
                        ask(&parts, &rest, one, &mut round).await;
                    }
                }
            }
            round
        };
        ctx.spawn(
            asking
                .into_actor(self)
                .map(|round, poller, ctx| poller.conclude(&round, ctx)),
        );
    }

    fn conclude(&mut self, round: &Round, ctx: &mut Context<Self>) {
        self.busy = false;
        let now = self.parts.clock.now();
        if let Some((kind, error)) = &round.error {
            match self.failures.again(kind, now) {
                // The next round has the key: nothing is wrong.
                _ if ["spacing", "in_use"].contains(kind) => tracing::debug!(error, "no key for this round"),
                Some(times) => tracing::warn!(error, times, "failed to poll"),
                None => {}
            }
            self.shown.failed_total = self.shown.failed_total.saturating_add(1);
            self.shown.last_error = Some(error.clone());
        }
        for symbol in self.poll.polled(now) {
            if round.priced.contains(&symbol) {
                self.shown.answered.insert(symbol, now);
                self.shown.failed.remove(&symbol);
            } else if let Some(said) = round.refused.get(&symbol) {
                self.shown.failed.insert(symbol, said.clone());
                self.poll.refused(symbol, now);
            } else if let Some((_, error)) = &round.error {
                self.shown.failed.insert(symbol, error.clone());
            }
        }
        let priced = u64::try_from(round.priced.len()).unwrap_or(0);
        self.shown.prices_total = self.shown.prices_total.saturating_add(priced);
        if priced > 0 {
            if round.error.is_none()
                && let Some(failed) = self.failures.over()
            {
                tracing::info!(failed, "polling works again");
            }
            self.poll.succeeded();
        } else if self.poll.failed(now) {
            self.lost(now, ctx);
        }
        self.look(ctx);
    }

    /// Neither the link nor polling brings these pairs.
    fn lost(&self, now: Timestamp, ctx: &mut Context<Self>) {
        let what = HeardKind::Link(LinkChange::Lost {
            symbols: self.poll.polled(now),
            cause: "poll_failed".to_owned(),
        });
        let heard = Heard { at: now, what };
        let telling = self.parts.arrived.send(Arrived(vec![Arrival {
            heard,
            says: Says::Nothing,
        }]));
        ctx.wait(telling.into_actor(self).map(|_, _, _| ()));
    }

    fn wait_until(&mut self, at: Timestamp, ctx: &mut Context<Self>) {
        if let Some(handle) = self.timer.take() {
            ctx.cancel_future(handle);
        }
        let wait = self.parts.clock.until(at).max(Duration::from_millis(1));
        self.timer = Some(ctx.run_later(wait, |poller, ctx| {
            poller.timer = None;
            poller.look(ctx);
        }));
    }

    fn show(&mut self, now: Timestamp) {
        let budget = self.parts.keys.borrow().spendable;
        self.shown.polled = self.poll.polled(now);
        self.shown.failing = self.poll.failing();
        self.shown.every = self.poll.every();
        self.shown.forecast = Some(self.poll.forecast(budget, now));
        self.parts.view.send_replace(self.shown.clone());
        self.report();
    }

    /// Tells Root which pairs are polled, when that has changed. What a full mailbox does not take is told at the next look.
    fn report(&mut self) {
        let polled = if *self.parts.wanted.borrow() {
            self.shown.polled.clone()
        } else {
            Vec::new()
        };
        if polled == self.told {
            return;
        }
        let report = if polled.is_empty() {
            Report::PollingOver
        } else {
            Report::Polling(polled.clone())
        };
        if self.parts.up.try_send(report).is_ok() {
            self.told = polled;
        }
    }
}

/// Whether a question was dealt with.
#[derive(PartialEq, Eq)]
enum Asked {
    /// Answered, refused or failed.
    Done,
    /// One of its pairs is refused, so all were: each is to be asked for alone.
    Apart,
}

/// The vendor refuses the pair, not the key that asked for it.
const fn concerns_pair(trouble: Trouble) -> bool {
    matches!(trouble, Trouble::PlanRefused | Trouble::UnknownSymbol)
}

/// Asks for the prices of some pairs, with as many keys as it takes.
async fn ask(parts: &Parts, rest: &Rest, symbols: &[Symbol], round: &mut Round) -> Asked {
    let credits = u32::try_from(symbols.len()).unwrap_or(u32::MAX);
    let purpose = Purpose::Poll;
    // Each key that refuses is put aside by the pool, so this ends.
    loop {
        let lease = match parts.lease.send(LeaseKey { purpose, credits }).await {
            Ok(Ok(lease)) => lease,
            Ok(Err(refused)) => {
                round.error = Some((refused.reason, refused.to_string()));
                return Asked::Done;
            }
            Err(error) => {
                round.error = Some(("no_key_pool", format!("the key pool does not answer: {error}")));
                return Asked::Done;
            }
        };
        let path = rest::price_path(symbols);
        let answer = match rest.get(&path, &lease.key).await {
            Ok(answer) => answer,
            Err(failure) => {
                key_answered(&parts.answered, &lease, purpose, None).await;
                round.error = Some((failure.kind(), failure.to_string()));
                return Asked::Done;
            }
        };
        let refused = refusal(answer.status, &answer.body);
        let told = Some((refused.as_ref().map(|refusal| refusal.trouble), &answer));
        key_answered(&parts.answered, &lease, purpose, told).await;
        let Some(refusal) = refused else {
            hand_on(parts, symbols, &answer.body, round).await;
            return Asked::Done;
        };
        if concerns_pair(refusal.trouble) {
            let [symbol] = symbols else { return Asked::Apart };
            round.refused.insert(*symbol, refusal.to_string());
        }
        round.error = Some((refusal.trouble.name(), refusal.to_string()));
        if refusal.trouble.disposition() != Disposition::NextKey {
            return Asked::Done;
        }
    }
}

/// The kind of an answer that says something else than prices.
const BAD_ANSWER: &str = "bad_answer";

/// Prices, after word that their pairs are heard: what a link says when it comes up.
async fn hand_on(parts: &Parts, symbols: &[Symbol], body: &[u8], round: &mut Round) {
    let at = parts.clock.now();
    let nulled = wire::without_nan(body);
    let answers = match rest::parts(symbols, nulled.as_deref().unwrap_or(body)) {
        Ok(answers) => answers,
        Err(error) => return round.error = Some((BAD_ANSWER, error.to_string())),
    };
    let mut arrivals = Vec::new();
    let mut heard = Vec::new();
    for (symbol, part) in answers {
        let raw = rest::capture(&rest::price_path(&[symbol]), at, part);
        match rest::says(&raw, at) {
            Ok(says) => {
                if let Says::Unusable(unusable) = &says {
                    let reason = unusable.reason.name();
                    round.error = Some((
                        reason,
                        format!("{symbol}: the price in the answer is set aside: {reason}"),
                    ));
                } else {
                    heard.push(symbol);
                }
                let what = HeardKind::Answer(raw);
                arrivals.push(Arrival {
                    heard: Heard { at, what },
                    says,
                });
            }
            Err(error) => {
                if let AnswerError::Refused(refusal) = &error
                    && concerns_pair(refusal.trouble)
                {
                    round.refused.insert(symbol, refusal.to_string());
                }
                round.error = Some((BAD_ANSWER, format!("{symbol}: {error}")));
            }
        }
    }
    if arrivals.is_empty() {
        return;
    }
    round.error = round.error.take().filter(|_| heard.len() < symbols.len());
    if !heard.is_empty() {
        let up = HeardKind::Link(LinkChange::Up { symbols: heard.clone() });
        arrivals.insert(
            0,
            Arrival {
                heard: Heard { at, what: up },
                says: Says::Nothing,
            },
        );
    }
    round.priced.extend(heard);
    if let Err(error) = parts.arrived.send(Arrived(arrivals)).await {
        tracing::error!(%error, "failed to hand prices to the aggregator");
    }
}

/// The link, the purse or the wish may have changed.
struct Look;

impl StreamHandler<Look> for Poller {
    fn handle(&mut self, _: Look, ctx: &mut Context<Self>) {
        self.look(ctx);
    }

    fn finished(&mut self, _: &mut Context<Self>) {} // whoever shows it is gone; what is known stays
}

impl Actor for Poller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.rest = Some(Rest::new(Arc::clone(&self.parts.tls), self.parts.rest_url.clone()));
        ctx.add_stream(changes(self.parts.feed.clone()));
        ctx.add_stream(changes(self.parts.wanted.clone()));
    }
}

impl Supervised for Poller {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.parts.clone());
    }
}

/// One look at once, and one in a while as long as the snapshot changes.
fn changes<T: Send + Sync + 'static>(mut snapshot: watch::Receiver<T>) -> impl futures_util::Stream<Item = Look> {
    snapshot.mark_changed();
    stream::unfold(snapshot, |mut snapshot| async move {
        snapshot.changed().await.ok()?;
        snapshot.mark_unchanged();
        tokio::time::sleep(limits::LOOK_EVERY).await;
        Some((Look, snapshot))
    })
}

#[cfg(test)]
#[path = "poller_tests.rs"]
mod tests;
