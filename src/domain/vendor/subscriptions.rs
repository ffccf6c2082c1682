//! The pairs on a link: what was asked for, what the vendor made of it, and whose prices are overdue.

use crate::domain::model::{Price, Sessions, Symbol, Tick, Timestamp};
use crate::domain::vendor::{Cadence, Silence, SubscribeStatus, SubscriptionView};
use crate::limits;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What became of our asking for a pair.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Asked, or to be asked.
    Pending,
    /// The vendor sends it.
    Confirmed,
    /// The vendor will not send it under this plan.
    Refused,
}

impl Status {
    /// Its name on `/status`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// All pairs of a link.
#[derive(Debug, Clone)]
pub struct Subscriptions(BTreeMap<Symbol, Subscription>);

#[derive(Debug, Clone)]
struct Subscription {
    status: Status,
    cadence: Cadence,
    /// Its silence was noticed, and it was asked for again.
    nudged: bool,
    /// How many of its live prices were accepted, as far as it was told.
    accepted: Option<u64>,
    /// Its prices come, and none is accepted.
    unaccepted: bool,
}

/// What became of the prices that the link brought of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Judged {
    /// How many were accepted since the ledger file of the day began.
    pub accepted: u64,
    /// When the last of them arrived.
    pub accepted_at: Option<Timestamp>,
    /// The newest prices of the pair were all set aside, or wait in vain to be confirmed.
    pub in_vain: bool,
}

/// What a status changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answered {
    /// A pair was confirmed that was not before.
    pub confirmed: bool,
    /// Pairs that are refused now and were not before.
    pub refused: Vec<Symbol>,
}

/// What to do about silence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overdue {
    /// Some pair's prices are overdue.
    pub noticed: bool,
    /// Ask for these again: others speak.
    pub nudge: Vec<Symbol>,
    /// Nothing speaks any more, or asking did not help.
    pub give_up: bool,
}

/// Instants at which a subscription's silence matters.
#[derive(Clone, Copy)]
struct Due {
    noticed_at: Timestamp,
    nudge_at: Option<Timestamp>,
    give_up_at: Timestamp,
}

impl Subscriptions {
    /// Pairs nobody was asked for yet. `jitter` is what a busy machine may add to any wait.
    pub fn new(symbols: &[(Symbol, Arc<dyn Sessions>)], jitter: Duration) -> Self {
        Self(
            symbols
                .iter()
                .map(|(symbol, sessions): &(Symbol, Arc<dyn Sessions>)| {
                    let subscription = Subscription {
                        status: Status::Pending,
                        cadence: Cadence::new(Arc::clone(sessions), jitter),
                        nudged: false,
                        accepted: None,
                        unaccepted: false,
                    };
                    (*symbol, subscription)
                })
                .collect(),
        )
    }

    /// Also those that were refused are to be asked for again.
    pub fn want_all(&mut self) {
        for subscription in self.0.values_mut() {
            subscription.status = Status::Pending;
        }
    }

    /// A new connection knows of no subscription. Returns what to ask for.
    pub fn reopen(&mut self) -> Vec<Symbol> {
        for subscription in self
            .0
            .values_mut()
            .filter(|subscription| subscription.status == Status::Confirmed)
        {
            subscription.status = Status::Pending;
        }
        self.symbols_with(Status::Pending)
    }

    /// The vendor answered. Missing lists mean what the status says of the whole; without either, the first price tells.
    pub fn answered(&mut self, said: &SubscribeStatus, now: Timestamp) -> Answered {
        let mut answer = Answered::default();
        let all_fine = said.status == "ok" && said.success.is_empty();
        let all_refused = said.status == "error" && said.fails.is_empty();
        for (symbol, subscription) in self
            .0
            .iter_mut()
            .filter(|(_, subscription)| subscription.status != Status::Refused)
        {
            let failed = said.fails.contains(symbol);
            let succeeded = said.success.contains(symbol);
            if (succeeded || (all_fine && !failed)) && subscription.status == Status::Pending {
                subscription.status = Status::Confirmed;
                subscription.cadence.watch(now);
                answer.confirmed = true;
            } else if failed || (all_refused && !succeeded) {
                subscription.status = Status::Refused;
                subscription.cadence.unwatch(false);
                answer.refused.push(*symbol);
            }
        }
        answer
    }

    /// A price came. `None` if it is not ours or no price; else whether it confirmed its pair.
    pub fn price(&mut self, tick: &Tick, now: Timestamp) -> Option<bool> {
        let subscription = self.0.get_mut(&tick.symbol).filter(|_| tick.price > Price::default())?;
        let newly_confirmed = subscription.status != Status::Confirmed;
        subscription.status = Status::Confirmed;
        subscription.nudged = false;
        if newly_confirmed {
            subscription.cadence.watch(now);
        }
        subscription.cadence.heard((tick.price, tick.bid, tick.ask), now);
        Some(newly_confirmed)
    }

    /// What became of the pair's prices so far. Only a live price that is accepted ends that none is: returns when the last of
    /// those arrived that were not told before.
    pub fn judged(&mut self, symbol: Symbol, judged: &Judged) -> Option<Timestamp> {
        let subscription = self.0.get_mut(&symbol)?;
        let before = subscription.accepted.replace(judged.accepted);
        // Another day's count, or another feed's, begins anew: of those before it nothing but the last is known.
        let more = before.map_or(1, |before| judged.accepted.checked_sub(before).unwrap_or(1));
        match judged.accepted_at {
            Some(at) if more > 0 => {
                subscription.unaccepted = false;
                subscription.cadence.accepted(more, at);
                Some(at)
            }
            _ => {
                subscription.unaccepted |= judged.in_vain && subscription.status == Status::Confirmed;
                None
            }
        }
    }

    /// Market time broke: the silence of every pair that is watched begins anew.
    pub fn broken(&mut self, now: Timestamp) {
        for subscription in self.0.values_mut() {
            subscription.cadence.broken(now);
            subscription.nudged = false;
        }
    }

    /// The link is gone.
    pub fn unwatch(&mut self, silent: bool) {
        for subscription in self.0.values_mut() {
            subscription.cadence.unwatch(silent);
            subscription.nudged = false;
            subscription.unaccepted = false;
        }
    }

    /// Whether there is nothing left to wait for.
    pub fn all_refused(&self) -> bool {
        self.0
            .values()
            .all(|subscription| subscription.status == Status::Refused)
    }

    /// The pairs that the vendor sends.
    pub fn confirmed(&self) -> Vec<Symbol> {
        self.symbols_with(Status::Confirmed)
    }

    /// What silence demands now. `any_price_at` is when a price of any pair last came.
    pub fn overdue(&mut self, any_price_at: Option<Timestamp>, now: Timestamp) -> Overdue {
        let mut overdue = Overdue::default();
        for (symbol, subscription) in &mut self.0 {
            let Some(due) = subscription.due_times(any_price_at, now) else {
                continue;
            };
            overdue.noticed |= due.noticed_at <= now;
            overdue.give_up |= due.give_up_at <= now;
            if due.nudge_at.is_some_and(|at| at <= now) {
                subscription.nudged = true;
                overdue.nudge.push(*symbol);
            }
        }
        overdue
    }

    /// When [`Subscriptions::overdue`] will next have something new to say.
    pub fn next_silence(&mut self, any_price_at: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        let dues = self
            .0
            .values_mut()
            .filter_map(|subscription| subscription.due_times(any_price_at, now));
        let instants = dues.flat_map(|due| [Some(due.noticed_at), due.nudge_at, Some(due.give_up_at)]);
        instants.flatten().filter(|at| *at > now).min()
    }

    /// Each pair as `/status` shows it.
    #[must_use]
    pub fn view(&mut self, now: Timestamp) -> Vec<SubscriptionView> {
        self.0
            .iter_mut()
            .map(
                |(symbol, subscription): (&Symbol, &mut Subscription)| SubscriptionView {
                    symbol: *symbol,
                    status: subscription.status,
                    last_price_at: subscription.cadence.last_at(),
                    gap_p99: subscription.cadence.p99(now),
                    patience: subscription
                        .cadence
                        .usual(subscription.cadence.last_at().unwrap_or(now)),
                    silent: subscription
                        .cadence
                        .silence(now)
                        .is_some_and(|silence| silence.noticed_at <= now),
                    unaccepted: subscription.unaccepted,
                    suspicion: subscription.cadence.suspicion(now),
                },
            )
            .collect()
    }

    fn symbols_with(&self, status: Status) -> Vec<Symbol> {
        let held = self.0.iter().filter(|(_, subscription)| subscription.status == status);
        held.map(|(symbol, _)| *symbol).collect()
    }
}

impl Subscription {
    /// The link's silence: a price that is set aside shows that it brings the pair, and another link would bring the same. It is acted
    /// on a little later than noticed, so that a feed of many prices a second is not thrown away for a hiccup.
    fn due_times(&mut self, any_price_at: Option<Timestamp>, now: Timestamp) -> Option<Due> {
        if self.status != Status::Confirmed {
            return None;
        }
        let Silence { noticed_at, patience } = self.cadence.stillness(now)?;
        let act_at = noticed_at.max(noticed_at - patience + limits::SILENCE_ACT);
        let others_silent_at = any_price_at.map_or(act_at, |at| at + patience.max(limits::SILENCE_ACT));
        let others_speak = others_silent_at > act_at;
        Some(Due {
            noticed_at,
            nudge_at: (others_speak && !self.nudged).then_some(act_at),
            give_up_at: others_silent_at.max(act_at),
        })
    }
}
