//! Poller: requests prices over REST while the link does not deliver them.
//!
//! owns   `domain::vendor::Poll`, one round at a time, one timer
//! hears  whether prices are wanted (a watched flag that Root sets) · `FeedView`, `KeysView` (watched snapshots)
//! says   AcquireKey, KeyAnswered → KeyPool · Arrived → Aggregator: prices, and that the pairs are up or lost · `PollerView` → views · Report
//!        → Root: which pairs are polled
//! fails  never on the vendor: after an empty round comes the next. A panic forgets which pairs it polled; the views show it again

use crate::actors::messages::{Arrived, Report};
use crate::actors::services::Services;
use crate::actors::vendor::{KeyPoolLink, VendorAccess, VendorClient};
use crate::actors::views::{PollerView, changes};
use crate::domain::model::{Decoded, Inbound, Input, InputKind, LinkChange, Sessions, Symbol, Timestamp};
use crate::domain::vendor::{AnswerError, Disposition, Poll, Purpose, Repeats, Step, Trouble, rest, wire};
use actix::prelude::*;
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The dependencies of a Poller; they outlive its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The services that every actor may use.
    pub services: Services,
    /// The vendor's REST interface.
    pub vendor: VendorAccess,
    /// The pairs, each with its market's sessions.
    pub symbols: Vec<(Symbol, Arc<dyn Sessions>)>,
    /// How long the link may be without a pair before the pair is polled.
    pub patience: Duration,
    /// The Aggregator.
    pub arrived: Recipient<Arrived>,
}

/// See the module.
pub struct Poller {
    deps: Deps,
    poll: Poll,
    client: Option<VendorClient<KeyPoolLink>>,
    busy: bool,
    timer: Option<SpawnHandle>,
    shown: PollerView,
    failures: Repeats,
    /// The pairs that were last reported to Root.
    told: Vec<Symbol>,
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poller")
            .field("busy", &self.busy)
            .finish_non_exhaustive()
    }
}

/// The outcome of a round: the pairs whose prices were received, and the last failure with a name that equal failures share.
struct Round {
    priced: Vec<Symbol>,
    /// The pairs that the vendor does not serve under our plan, each with the vendor's words.
    refused: BTreeMap<Symbol, String>,
    error: Option<(&'static str, String)>,
}

impl Poller {
    /// A Poller that has requested nothing yet.
    pub fn new(deps: Deps) -> Self {
        Self {
            poll: Poll::new(&deps.symbols, deps.patience, deps.services.clock.now()),
            client: None,
            busy: false,
            timer: None,
            shown: PollerView::default(),
            failures: Repeats::default(),
            told: Vec::new(),
            deps,
        }
    }

    /// Checks link state and credit budget; polls or waits.
    fn poll_if_due(&mut self, ctx: &mut Context<Self>) {
        let now = self.deps.services.clock.now();
        self.poll.watch(&self.deps.services.views.feed.borrow(), now);
        if self.busy || !*self.deps.services.views.wanted.borrow() {
            return self.report();
        }
        let budget = self.deps.services.views.keys.borrow().spendable;
        match self.poll.step(budget, now) {
            Step::Rest => {}
            Step::Wait(at) => self.wait_until(at, ctx),
            Step::Poll(symbols) => self.ask(symbols, budget.per_minute, ctx),
        }
        self.show(now);
    }

    fn ask(&mut self, symbols: Vec<Symbol>, per_call: u32, ctx: &mut Context<Self>) {
        let Some(client) = self.client.clone() else { return };
        self.busy = true;
        let deps = self.deps.clone();
        let per_call = usize::try_from(per_call.max(1)).unwrap_or(1);
        let asking = async move {
            let mut round = Round {
                priced: Vec::new(),
                refused: BTreeMap::new(),
                error: None,
            };
            for some in symbols.chunks(per_call) {
                if ask(&deps, &client, some, &mut round).await == Asked::Apart {
                    for one in some.chunks(1) {
                        ask(&deps, &client, one, &mut round).await;
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
        let now = self.deps.services.clock.now();
        if let Some((kind, error)) = &round.error {
            match self.failures.again(kind, now) {
                // The next round gets the key: this is no failure.
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
        self.poll_if_due(ctx);
    }

    /// Reports the polled pairs as lost: neither the link nor polling delivers them.
    fn lost(&self, now: Timestamp, ctx: &mut Context<Self>) {
        let what = InputKind::Link(LinkChange::Lost {
            symbols: self.poll.polled(now),
            cause: "poll_failed".to_owned(),
        });
        let heard = Input { at: now, what };
        let telling = self.deps.arrived.send(Arrived(vec![Inbound {
            heard,
            says: Decoded::Nothing,
        }]));
        ctx.wait(telling.into_actor(self).map(|_, _, _| ()));
    }

    fn wait_until(&mut self, at: Timestamp, ctx: &mut Context<Self>) {
        if let Some(handle) = self.timer.take() {
            ctx.cancel_future(handle);
        }
        let wait = self.deps.services.clock.until(at).max(Duration::from_millis(1));
        self.timer = Some(ctx.run_later(wait, |poller, ctx| {
            poller.timer = None;
            poller.poll_if_due(ctx);
        }));
    }

    fn show(&mut self, now: Timestamp) {
        let budget = self.deps.services.views.keys.borrow().spendable;
        self.shown.polled = self.poll.polled(now);
        self.shown.failing = self.poll.failing();
        self.shown.every = self.poll.every();
        self.shown.forecast = Some(self.poll.forecast(budget, now));
        self.deps.services.views.poller.send_replace(self.shown.clone());
        self.report();
    }

    /// Reports to Root which pairs are polled, when that changes. A report that a full mailbox refuses is sent at the next check.
    fn report(&mut self) {
        let polled = if *self.deps.services.views.wanted.borrow() {
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
        if self.deps.services.root.try_send(report).is_ok() {
            self.told = polled;
        }
    }
}

/// How a request ended.
#[derive(PartialEq, Eq)]
enum Asked {
    /// Answered, refused or failed.
    Done,
    /// One pair was refused, and the whole request with it: each pair must be requested alone.
    Apart,
}

/// Whether the vendor refuses the pair, not the key.
const fn concerns_pair(trouble: Trouble) -> bool {
    matches!(trouble, Trouble::PlanRefused | Trouble::UnknownSymbol)
}

/// Requests the prices of some pairs, with as many keys as it takes.
async fn ask(deps: &Deps, client: &VendorClient<KeyPoolLink>, symbols: &[Symbol], round: &mut Round) -> Asked {
    let credits = u32::try_from(symbols.len()).unwrap_or(u32::MAX);
    let path = rest::price_path(symbols);
    // The pool suspends each key that is refused, so this ends.
    loop {
        let asked = match client.acquire(Purpose::Poll, credits).await {
            Ok(acquired) => client.ask(&path, &acquired, Purpose::Poll).await,
            Err(error) => Err(error),
        };
        let error = match asked {
            Ok(answer) => {
                hand_on(deps, symbols, &answer.body, round).await;
                return Asked::Done;
            }
            Err(error) => error,
        };
        let trouble = error.trouble();
        if trouble.is_some_and(concerns_pair) {
            let [symbol] = symbols else { return Asked::Apart };
            round.refused.insert(*symbol, error.to_string());
        }
        round.error = Some((error.kind(), error.to_string()));
        if trouble.is_none_or(|trouble| trouble.disposition() != Disposition::NextKey) {
            return Asked::Done;
        }
    }
}

/// The kind of failure of an answer without prices.
const BAD_ANSWER: &str = "bad_answer";

/// Sends prices to the Aggregator, after an input that their pairs are up, as the link does.
async fn hand_on(deps: &Deps, symbols: &[Symbol], body: &[u8], round: &mut Round) {
    let at = deps.services.clock.now();
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
                if let Decoded::Unusable(unusable) = &says {
                    let reason = unusable.reason.name();
                    round.error = Some((
                        reason,
                        format!("{symbol}: the price in the answer is set aside: {reason}"),
                    ));
                } else {
                    heard.push(symbol);
                }
                let what = InputKind::Answer(raw);
                arrivals.push(Inbound {
                    heard: Input { at, what },
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
        let up = InputKind::Link(LinkChange::Up { symbols: heard.clone() });
        arrivals.insert(
            0,
            Inbound {
                heard: Input { at, what: up },
                says: Decoded::Nothing,
            },
        );
    }
    round.priced.extend(heard);
    if let Err(error) = deps.arrived.send(Arrived(arrivals)).await {
        tracing::error!(%error, "failed to send prices to the aggregator");
    }
}

/// The link, the credit budget or whether prices are wanted may have changed.
struct Look;

impl StreamHandler<Look> for Poller {
    fn handle(&mut self, _: Look, ctx: &mut Context<Self>) {
        self.poll_if_due(ctx);
    }

    fn finished(&mut self, _: &mut Context<Self>) {} // the publisher of the view is gone; the last one stays in force
}

impl Actor for Poller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.client = Some(VendorClient::open(&self.deps.vendor));
        ctx.add_stream(changes(self.deps.services.views.feed.subscribe()).map(|()| Look));
        ctx.add_stream(changes(self.deps.services.views.wanted.subscribe()).map(|()| Look));
    }
}

impl Supervised for Poller {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}

#[cfg(test)]
#[path = "tests/poller.rs"]
mod tests;
