//! The link to the vendor's WebSocket, as a state machine: events in, effects out.
//!
//! ```text
//!           Started                 Opened                  a pair confirmed
//!    idle ──────────► connecting ───────────► confirming ─────────────────────► live
//!     ▲                ▲     │                     │ none in time · all refused   │ closed · dead · silent
//!     │ Stopped        │     │ refused, too slow   ▼                              ▼
//!     └── (any)        │     └──────────────► waiting ◄───────────────────────────┘
//!                      └──────── Deadline ────────┘
//! ```
//!
//! Every end of a link, a clean close included, is the same edge to `waiting`; attempts are unlimited. Only an accepted price shortens the
//! next wait (`backoff`), even if it is judged after the link's end. A refused pair is not subscribed again before the next
//! [`Event::Started`], unless every pair is refused: then the next connection subscribes all of them, with another key if there is one.

use crate::domain::model::{LinkChange, Sessions, Symbol, Tick, Timestamp};
use crate::domain::vendor::{
    AtDeadline, Backoff, FeedView, Frame, Judged, Liveness, Refusal, SubscribeStatus, Subscriptions, Trouble,
    trouble::classify, wire,
};
use crate::limits;
use std::sync::Arc;
use std::time::Duration;

/// The configuration of a link.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// The pairs to subscribe, each with its market's sessions.
    pub symbols: Vec<(Symbol, Arc<dyn Sessions>)>,
    /// How long a handshake, a confirmation or a pong may take, in market time: `demo` speeds up market time, not networks.
    pub patience: Duration,
    /// The delay that a busy machine may add to any wait, in market time: zero, unless market time runs faster than real time.
    pub jitter: Duration,
}

/// An input of the machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// The link is wanted.
    Started,
    /// The link is no longer wanted.
    Stopped,
    /// The vendor accepted the upgrade.
    Opened,
    /// The vendor refused the upgrade.
    Refused(&'a Refusal),
    /// The connection failed or ended: `connect_failed`, `upstream_close_1006`, …
    Lost(String),
    /// No key may be used before this instant.
    NoKey(Timestamp),
    /// A frame came.
    Heard(&'a Frame),
    /// Bytes came that are not a frame.
    Garbled,
    /// A protocol pong came.
    Ponged,
    /// The pipeline's judgement of a pair's prices so far.
    Judged(Symbol, Judged),
    /// The time of [`Link::next_deadline`] came.
    Deadline,
    /// Market time is discontinuous: the process did not run, or the clock was set.
    Broken,
}

/// An action for the caller to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Open a connection.
    Connect,
    /// Drop the connection.
    Disconnect,
    /// Send a text frame.
    Send(String),
    /// Send a protocol ping.
    Ping,
    /// Report the change to the pipeline.
    Tell(LinkChange),
    /// The key in use was refused, for this reason.
    KeyFailed(Trouble),
    /// The vendor asks not to be contacted: with this key, or with any key when the trouble is the vendor's own.
    StayAway {
        /// The cause.
        trouble: Trouble,
        /// For how long, if the vendor says so.
        wait: Option<Duration>,
    },
    /// The key's plan does not stream these pairs: they must be obtained in another way.
    SymbolsRefused(Vec<Symbol>),
}

/// The state of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The link is not wanted.
    Idle,
    /// The handshake is under way.
    Connecting {
        /// When it has taken too long.
        until: Timestamp,
    },
    /// Connected, and the pairs are subscribed.
    Confirming {
        /// When the confirmation has taken too long.
        until: Timestamp,
    },
    /// At least one pair is confirmed.
    Live,
    /// Between attempts.
    Waiting {
        /// When the next attempt begins.
        until: Timestamp,
    },
}

/// A connection that has ended.
#[derive(Debug, Clone, Copy)]
struct Ended {
    opened_at: Timestamp,
    lived: Duration,
}

/// The state machine.
#[derive(Debug, Clone)]
pub struct Link {
    settings: LinkSettings,
    state: State,
    since: Timestamp,
    subscriptions: Subscriptions,
    liveness: Liveness,
    backoff: Backoff,
    /// No key's plan has streamed any of the pairs since a pair was last confirmed.
    refused_all: bool,
    opened_at: Timestamp,
    /// Whether this connection delivered a price, and whether one of its prices was accepted.
    priced: bool,
    accepted: bool,
    /// The last connection, if it ended before any of its prices was judged.
    unjudged: Option<Ended>,
    garbled_in_row: u32,
    told_up: Option<bool>,
    silent: bool,
    connections_total: u64,
    last_frame_at: Option<Timestamp>,
    last_price_at: Option<Timestamp>,
    last_cause: Option<String>,
}

impl Link {
    /// A link in state `idle`.
    pub fn new(settings: LinkSettings, now: Timestamp) -> Self {
        Self {
            state: State::Idle,
            since: now,
            subscriptions: Subscriptions::new(&settings.symbols, settings.jitter),
            liveness: Liveness::new(settings.patience),
            backoff: Backoff::new(now),
            refused_all: false,
            opened_at: now,
            priced: false,
            accepted: false,
            unjudged: None,
            garbled_in_row: 0,
            told_up: None,
            silent: false,
            connections_total: 0,
            last_frame_at: None,
            last_price_at: None,
            last_cause: None,
            settings,
        }
    }

    /// Handles an event. Total: an event that does not fit the state changes nothing. `jitter` (from 0 to below 1) spreads reconnects.
    #[must_use]
    pub fn on(&mut self, event: Event<'_>, now: Timestamp, jitter: f64) -> Vec<Effect> {
        match (self.state, event) {
            (_, Event::Broken) => {
                self.restart_at(now, jitter);
                Vec::new()
            }
            (_, Event::Judged(symbol, judged)) => {
                if let Some(at) = self.subscriptions.judged(symbol, &judged) {
                    self.accepted(at, now, jitter);
                }
                Vec::new()
            }
            (State::Idle, Event::Started) => self.start(now),
            (State::Idle, _) => Vec::new(),
            (_, Event::Stopped) => self.stop(now),
            (State::Connecting { .. }, Event::Opened) => self.open(now),
            (State::Connecting { .. }, Event::Refused(refusal)) => self.on_refused(refusal, now, jitter),
            (State::Connecting { .. }, Event::NoKey(until)) => self.no_key(until, now),
            (State::Connecting { until }, Event::Deadline) if until <= now => {
                self.enter_waiting("connect_timeout", now, jitter)
            }
            (State::Connecting { .. } | State::Confirming { .. } | State::Live, Event::Lost(cause)) => {
                self.enter_waiting(&cause, now, jitter)
            }
            (State::Confirming { .. } | State::Live, Event::Heard(frame)) => self.on_frame(frame, now, jitter),
            (State::Confirming { .. } | State::Live, Event::Garbled) => self.on_garbled(now, jitter),
            (State::Confirming { .. } | State::Live, Event::Ponged) => self.on_pong(now),
            (State::Confirming { until }, Event::Deadline) if until <= now => {
                self.enter_waiting("unconfirmed", now, jitter)
            }
            (State::Confirming { .. } | State::Live, Event::Deadline) => self.on_live_deadline(now, jitter),
            (State::Waiting { until }, Event::Deadline) if until <= now => self.connect(now),
            _ => Vec::new(),
        }
    }

    /// Begins every wait anew after a discontinuity of market time. Deadlines that passed meanwhile prove nothing: frames may wait in the
    /// socket, and times of a clock that was ahead are meaningless. A new ping checks whether the vendor still answers.
    fn restart_at(&mut self, now: Timestamp, jitter: f64) {
        self.liveness = Liveness::new(self.settings.patience);
        self.backoff = Backoff::new(now);
        self.unjudged = None;
        self.opened_at = self.opened_at.min(now);
        self.last_frame_at = self.last_frame_at.map(|at| at.min(now));
        self.last_price_at = self.last_price_at.map(|at| at.min(now));
        self.subscriptions.broken(now);
        let patience = now + self.settings.patience;
        self.state = match self.state {
            State::Connecting { .. } => State::Connecting { until: patience },
            State::Confirming { .. } => State::Confirming { until: patience },
            State::Waiting { until } => State::Waiting {
                until: until.min(now + self.backoff.wait(jitter)),
            },
            State::Idle | State::Live => self.state,
        };
    }

    /// When [`Event::Deadline`] is due.
    #[must_use]
    pub fn next_deadline(&mut self, now: Timestamp) -> Option<Timestamp> {
        match self.state {
            State::Idle => None,
            State::Connecting { until } | State::Waiting { until } => Some(until),
            State::Confirming { until } => Some(until.min(self.liveness.next_deadline())),
            State::Live => {
                let silence = self.subscriptions.next_silence(self.last_price_at, now);
                Some(silence.map_or(self.liveness.next_deadline(), |at| {
                    at.min(self.liveness.next_deadline())
                }))
            }
        }
    }

    /// Whether this connection has delivered a price.
    pub const fn priced(&self) -> bool {
        self.priced
    }

    /// The link as `/status` shows it.
    #[must_use]
    pub fn view(&mut self, now: Timestamp) -> FeedView {
        let state = match self.state {
            State::Idle => "idle",
            State::Connecting { .. } => "connecting",
            State::Confirming { .. } => "confirming",
            State::Live if self.silent => "silent",
            State::Live => "live",
            State::Waiting { .. } => "waiting",
        };
        FeedView {
            state,
            since: self.since,
            connections_total: self.connections_total,
            last_frame_at: self.last_frame_at,
            last_price_at: self.last_price_at,
            last_cause: self.last_cause.clone(),
            refused_all: self.refused_all,
            symbols: self.subscriptions.view(now),
        }
    }

    fn enter_state(&mut self, state: State, now: Timestamp) {
        self.state = state;
        self.since = now;
        self.silent = false;
    }

    fn start(&mut self, now: Timestamp) -> Vec<Effect> {
        self.subscriptions.want_all();
        self.connect(now)
    }

    fn stop(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = vec![Effect::Disconnect];
        effects.extend(self.down_effects("stopped", false));
        self.told_up = None;
        self.enter_state(State::Idle, now);
        effects
    }

    fn connect(&mut self, now: Timestamp) -> Vec<Effect> {
        self.enter_state(
            State::Connecting {
                until: now + self.settings.patience,
            },
            now,
        );
        vec![Effect::Connect]
    }

    fn no_key(&mut self, until: Timestamp, now: Timestamp) -> Vec<Effect> {
        let effects = self.down_effects("no_key", false);
        self.enter_state(
            State::Waiting {
                until: until.min(now + limits::RECONNECT_REFUSED).max(now),
            },
            now,
        );
        effects
    }

    fn open(&mut self, now: Timestamp) -> Vec<Effect> {
        self.connections_total = self.connections_total.saturating_add(1);
        self.opened_at = now;
        (self.priced, self.accepted) = (false, false);
        self.garbled_in_row = 0;
        let wanted = self.subscriptions.reopen();
        let at = self.liveness.open(now);
        self.enter_state(
            State::Confirming {
                until: at + self.settings.patience,
            },
            now,
        );
        self.liveness
            .say(wire::subscribe(&wanted), now)
            .into_iter()
            .map(Effect::Send)
            .collect()
    }

    fn on_refused(&mut self, refusal: &Refusal, now: Timestamp, jitter: f64) -> Vec<Effect> {
        let mut effects = self.enter_waiting(&format!("refused_{}", refusal.code), now, jitter);
        // A 403 refuses the WebSocket to the key; whether the key works for REST is decided by REST answers.
        let trouble = if refusal.code == 403 {
            Trouble::PlanRefused
        } else {
            refusal.trouble
        };
        if matches!(trouble, Trouble::BadKey | Trouble::PlanRefused) {
            effects.insert(0, Effect::KeyFailed(trouble));
        } else if refusal.retry_after.is_some() || matches!(trouble, Trouble::MinuteSpent | Trouble::DaySpent) {
            let wait = refusal.retry_after;
            effects.insert(0, Effect::StayAway { trouble, wait });
        }
        effects
    }

    /// The only transition from a connection to `waiting`.
    fn enter_waiting(&mut self, cause: &str, now: Timestamp, jitter: f64) -> Vec<Effect> {
        let mut effects = vec![Effect::Disconnect];
        effects.extend(self.doubt_effect(cause));
        effects.extend(self.down_effects(cause, cause == "silent"));
        let ended = Ended {
            opened_at: self.opened_at,
            lived: now.since(self.opened_at),
        };
        if std::mem::take(&mut self.accepted) {
            self.backoff.forgive(ended.lived, now);
        } else if self.priced {
            self.unjudged = Some(ended);
        }
        self.priced = false;
        let wait = self.backoff.wait(jitter);
        self.enter_state(State::Waiting { until: now + wait }, now);
        effects
    }

    /// Handles the acceptance of a price that arrived at `at`, from this connection or from the last one, which has ended.
    fn accepted(&mut self, at: Timestamp, now: Timestamp, jitter: f64) {
        if matches!(self.state, State::Confirming { .. } | State::Live) && at >= self.opened_at {
            self.accepted = true;
        } else if let Some(ended) = self.unjudged.take_if(|ended| ended.opened_at <= at) {
            self.backoff.forgive(ended.lived, now);
            if let State::Waiting { until } = self.state {
                let until = until.min(now + self.backoff.wait(jitter));
                self.state = State::Waiting { until };
            }
        }
    }

    /// A failure that was noticed late: data missed in between must not pass for market silence.
    fn doubt_effect(&self, cause: &str) -> Option<Effect> {
        let last = match cause {
            "silent" => self.last_price_at,
            "pong_timeout" | "heartbeat_unanswered" => self.last_frame_at,
            _ => return None,
        };
        let since = last.unwrap_or(self.opened_at).max(self.opened_at);
        let cause = cause.to_owned();
        (self.told_up == Some(true)).then_some(Effect::Tell(LinkChange::Doubt { since, cause }))
    }

    /// Marks every pair as not received. Reports [`LinkChange::Down`] once.
    fn down_effects(&mut self, cause: &str, silent: bool) -> Vec<Effect> {
        self.last_cause = Some(cause.to_owned());
        self.subscriptions.unwatch(silent);
        if self.told_up == Some(false) {
            return Vec::new();
        }
        self.told_up = Some(false);
        vec![Effect::Tell(LinkChange::Down {
            cause: cause.to_owned(),
        })]
    }

    fn on_frame(&mut self, frame: &Frame, now: Timestamp, jitter: f64) -> Vec<Effect> {
        self.last_frame_at = Some(now);
        self.garbled_in_row = 0;
        self.liveness.heard(frame, now);
        match frame {
            Frame::Price(tick) | Frame::Rounded(tick) => self.on_price(tick, now),
            Frame::SubscribeStatus(status) => self.on_subscribe_status(status, now, jitter),
            Frame::Error { code, message } => self.on_error_frame(code.unwrap_or(0), message, now, jitter),
            _ => Vec::new(), // the liveness has heard it
        }
    }

    fn on_garbled(&mut self, now: Timestamp, jitter: f64) -> Vec<Effect> {
        self.last_frame_at = Some(now);
        self.garbled_in_row = self.garbled_in_row.saturating_add(1);
        if self.garbled_in_row < limits::GARBLED_IN_A_ROW {
            return Vec::new();
        }
        self.enter_waiting("garbage", now, jitter)
    }

    fn on_pong(&mut self, now: Timestamp) -> Vec<Effect> {
        let only_proof = self.liveness.ponged(now);
        let tell = only_proof && self.state == State::Live;
        tell.then_some(Effect::Tell(LinkChange::Alive)).into_iter().collect()
    }

    fn on_price(&mut self, tick: &Tick, now: Timestamp) -> Vec<Effect> {
        let Some(newly_confirmed) = self.subscriptions.price(tick, now) else {
            return Vec::new();
        };
        self.priced = true;
        self.silent = false;
        self.last_price_at = Some(now);
        if newly_confirmed {
            self.enter_live(now)
        } else {
            Vec::new()
        }
    }

    fn on_subscribe_status(&mut self, said: &SubscribeStatus, now: Timestamp, jitter: f64) -> Vec<Effect> {
        let answer = self.subscriptions.answered(said, now);
        let mut effects = Vec::new();
        if !answer.refused.is_empty() {
            effects.push(Effect::SymbolsRefused(answer.refused));
        }
        if self.subscriptions.all_refused() {
            self.subscriptions.want_all(); // under another key's plan, or this one's when it has changed
            self.refused_all = true;
            effects.push(Effect::KeyFailed(Trouble::PlanRefused));
            effects.extend(self.enter_waiting("plan_refused", now, jitter));
        } else if answer.confirmed {
            effects.extend(self.enter_live(now));
        }
        effects
    }

    fn enter_live(&mut self, now: Timestamp) -> Vec<Effect> {
        if self.state != State::Live {
            self.enter_state(State::Live, now);
        }
        self.told_up = Some(true);
        self.refused_all = false;
        vec![Effect::Tell(LinkChange::Up {
            symbols: self.subscriptions.confirmed(),
        })]
    }

    fn on_error_frame(&mut self, code: u16, message: &str, now: Timestamp, jitter: f64) -> Vec<Effect> {
        let refusal = Refusal {
            trouble: classify(code, message),
            code,
            message: message.to_owned(),
            retry_after: None,
        };
        if matches!(refusal.trouble, Trouble::BadKey | Trouble::PlanRefused) {
            return self.on_refused(&refusal, now, jitter);
        }
        self.last_cause = Some(format!("error_{code}"));
        Vec::new()
    }

    /// Handles deadlines of heartbeats, pings and silence.
    fn on_live_deadline(&mut self, now: Timestamp, jitter: f64) -> Vec<Effect> {
        match self.liveness.on_deadline(now) {
            AtDeadline::Dead(cause) => self.enter_waiting(cause, now, jitter),
            AtDeadline::Fine(said) => {
                let mut effects: Vec<Effect> = Vec::new();
                if said.ping {
                    effects.push(Effect::Ping);
                }
                effects.extend(said.texts.into_iter().map(Effect::Send));
                effects.extend(self.check_silence(now, jitter));
                effects
            }
        }
    }

    /// Subscribes again a pair that is silent while others are not. Gives the link up when all pairs are silent, or when subscribing again
    /// did not help.
    fn check_silence(&mut self, now: Timestamp, jitter: f64) -> Vec<Effect> {
        let overdue = self.subscriptions.overdue(self.last_price_at, now);
        self.silent = overdue.noticed;
        if overdue.give_up {
            return self.enter_waiting("silent", now, jitter);
        }
        let nudge = (!overdue.nudge.is_empty()).then(|| wire::subscribe(&overdue.nudge));
        let again = nudge.and_then(|text| self.liveness.say(text, now));
        again.map(Effect::Send).into_iter().collect()
    }
}

#[cfg(test)]
#[path = "tests/link.rs"]
mod tests;
