//! The pairs on a link: what was subscribed, what the vendor answered, and whose prices are overdue.

use crate::domain::model::{Price, Sessions, Symbol, Tick, Timestamp};
use crate::domain::vendor::{Cadence, Silence, SubscribeStatus, SubscriptionView};
use crate::limits;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The state of a pair's subscription.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Sent, or to be sent.
    Pending,
    /// The vendor streams the pair.
    Confirmed,
    /// The vendor does not stream the pair under this plan.
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
    /// Its silence was noticed, and it was subscribed again.
    nudged: bool,
    /// How many of its live prices were accepted, by the last report.
    accepted: Option<u64>,
    /// Prices come, but none is accepted.
    unaccepted: bool,
}

/// The pipeline's judgement of the prices that the link delivered for a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Judged {
    /// How many were accepted since the day's ledger file began.
    pub accepted: u64,
    /// When the last accepted price arrived.
    pub accepted_at: Option<Timestamp>,
    /// The newest prices of the pair were all rejected, or wait for a confirmation that does not come.
    pub in_vain: bool,
}

/// The changes that a subscribe status made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answered {
    /// A pair was newly confirmed.
    pub confirmed: bool,
    /// Pairs that were newly refused.
    pub refused: Vec<Symbol>,
}

/// What to do about silence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overdue {
    /// Some pair's prices are overdue.
    pub noticed: bool,
    /// Pairs to subscribe again: other pairs still have prices.
    pub nudge: Vec<Symbol>,
    /// No pair has prices any more, or subscribing again did not help.
    pub give_up: bool,
}

/// The deadlines of a subscription's silence.
#[derive(Clone, Copy)]
struct Due {
    noticed_at: Timestamp,
    nudge_at: Option<Timestamp>,
    give_up_at: Timestamp,
}

impl Subscriptions {
    /// Subscriptions that were not sent yet. `jitter` is the delay that a busy machine may add to any wait.
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

    /// Marks every pair to be subscribed again, refused pairs included.
    pub fn want_all(&mut self) {
        for subscription in self.0.values_mut() {
            subscription.status = Status::Pending;
        }
    }

    /// A new connection has no subscriptions. Returns the pairs to subscribe.
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

    /// Applies the vendor's answer. A missing list is derived from the overall status; without either, the pair's first price confirms it.
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

    /// Applies a price. `None` if its pair is unknown or the price is not positive; otherwise whether it newly confirmed its pair.
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

    /// Applies the judgement of a pair's prices so far. Returns when the last accepted price arrived, if any was accepted since the
    /// previous judgement; only that clears `unaccepted`.
    pub fn judged(&mut self, symbol: Symbol, judged: &Judged) -> Option<Timestamp> {
        let subscription = self.0.get_mut(&symbol)?;
        let before = subscription.accepted.replace(judged.accepted);
        // The count of another day, or of another feed, starts anew: of the prices before it only the last is known.
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

    /// Market time is discontinuous: restarts the silence of every watched pair.
    pub fn broken(&mut self, now: Timestamp) {
        for subscription in self.0.values_mut() {
            subscription.cadence.broken(now);
            subscription.nudged = false;
        }
    }

    /// The link ended; `silent` if it was given up for its silence.
    pub fn unwatch(&mut self, silent: bool) {
        for subscription in self.0.values_mut() {
            subscription.cadence.unwatch(silent);
            subscription.nudged = false;
            subscription.unaccepted = false;
        }
    }

    /// Whether every pair is refused.
    pub fn all_refused(&self) -> bool {
        self.0
            .values()
            .all(|subscription| subscription.status == Status::Refused)
    }

    /// The pairs that the vendor streams.
    pub fn confirmed(&self) -> Vec<Symbol> {
        self.symbols_with(Status::Confirmed)
    }

    /// What to do about silence now. `any_price_at` is when the last price of any pair came.
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

    /// When [`Subscriptions::overdue`] will next give another result.
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
    /// The deadlines of the link's silence. A rejected price counts, because it shows that the link delivers the pair and a new link would
    /// deliver the same. Action follows a little later than notice, so that a feed of many prices a second is not dropped for a hiccup.
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
