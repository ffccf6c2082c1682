//! Root: the only one who decides what the service does.
//!
//! owns   the state of the service and its conditions
//! hears  Report (every child and its supervisor)
//! says   whether prices are wanted → Feed · how the process must end → app · Overall → views
//! fails  a panic restarts it, and the facts it needs are reported again; a spent budget ends the process

use crate::actors::messages::Report;
use crate::actors::supervise::{Row, WhenSpent};
use crate::actors::vitals::Vitals;
use crate::clock::Clock;
use crate::domain::health::{ConditionKind, Conditions};
use crate::domain::timestamp::Timestamp;
use crate::exit::Exit;
use crate::limits;
use crate::views::Overall;
use actix::{Actor, AsyncContext, Context, Handler, Supervised};
use tokio::sync::watch;

/// What Root is made of; outlives its restarts.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Market time.
    pub clock: Clock,
    /// The children, to resume those that were parked.
    pub children: Vec<(Row, Vitals)>,
    /// Whether the feed should run.
    pub wanted: watch::Sender<bool>,
    /// What it shows.
    pub overall: watch::Sender<Overall>,
    /// How the process must end.
    pub ending: watch::Sender<Option<Exit>>,
}

/// See the module.
#[derive(Debug)]
pub struct Root {
    parts: Parts,
    conditions: Conditions,
}

/// What the views show before Root has begun.
#[must_use]
pub fn starting(now: Timestamp) -> Overall {
    Overall {
        name: "initializing".to_owned(),
        since: now,
        reason: "starting".to_owned(),
        good: true,
        conditions: Vec::new(),
    }
}

impl Root {
    /// Not started yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            conditions: Conditions::default(),
        }
    }

    fn raise(&mut self, kind: ConditionKind, reason: &str, message: &str) {
        self.conditions.raise(kind, reason, message, self.parts.clock.now());
        self.show();
    }

    fn clear(&mut self, kind: ConditionKind) {
        self.conditions.clear(kind, self.parts.clock.now());
        self.show();
    }

    fn show(&self) {
        let now = self.parts.clock.now();
        let first = self.conditions.holding().next();
        let name = if self.conditions.holds(ConditionKind::LedgerUnwritable) {
            "error"
        } else {
            "active"
        };
        let reason = first.map_or_else(|| "prices flow".to_owned(), |condition| condition.message.clone());
        let conditions = self
            .conditions
            .list()
            .iter()
            .filter_map(|condition| serde_json::to_value(condition).ok())
            .collect();
        self.parts.overall.send_if_modified(|overall| {
            let since = if overall.name == name && overall.reason == reason {
                overall.since
            } else {
                now
            };
            let next = Overall {
                name: name.to_owned(),
                since,
                reason,
                good: first.is_none(),
                conditions,
            };
            let news = *overall != next;
            *overall = next;
            news
        });
    }

    fn gave_up(&mut self, child: &str, then: WhenSpent, ctx: &mut Context<Self>) {
        let message = format!("The actor {child} failed more often than its budget allows.");
        match then {
            WhenSpent::Exit => {
                tracing::error!(
                    actor = child,
                    "an actor without which nothing goes on was given up: the process ends"
                );
                self.parts.ending.send_replace(Some(Exit::GaveUp));
            }
            WhenSpent::FallBack => {
                self.raise(ConditionKind::ActorParked, child, &message);
                let parked = child.to_owned();
                ctx.run_later(limits::RESUME_PARKED, move |root, _| root.resume(&parked));
            }
            WhenSpent::KeepTrying => self.raise(ConditionKind::ActorParked, child, &message),
        }
    }

    fn resume(&mut self, child: &str) {
        for (_, vitals) in self.parts.children.iter().filter(|(_, vitals)| vitals.name() == child) {
            vitals.resume();
        }
        self.clear(ConditionKind::ActorParked);
    }
}

impl Actor for Root {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.parts.wanted.send_replace(true);
        self.show();
    }
}

impl Supervised for Root {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.parts.clone());
    }
}

impl Handler<Report> for Root {
    type Result = ();

    fn handle(&mut self, msg: Report, ctx: &mut Context<Self>) {
        match msg {
            Report::LinkUp => self.clear(ConditionKind::FeedDown),
            Report::LinkDown { cause } => {
                let message = format!("The link to the vendor is down: {cause}.");
                self.raise(ConditionKind::FeedDown, &cause, &message);
            }
            Report::LedgerUnwritable { cause } => {
                let message = format!("Nothing new is told: {cause}");
                self.raise(ConditionKind::LedgerUnwritable, "append_failed", &message);
            }
            Report::LedgerWritable => self.clear(ConditionKind::LedgerUnwritable),
            Report::StoreLost { cause } => {
                let message = format!("The database is behind the ledger: {cause}");
                self.raise(ConditionKind::StoreBehind, "write_failed", &message);
            }
            Report::StoreBack => self.clear(ConditionKind::StoreBehind),
            Report::CacheLost { cause } => {
                let message = format!("The cache cannot be told anything: {cause}");
                self.raise(ConditionKind::CacheDown, "tell_failed", &message);
            }
            Report::CacheBack => self.clear(ConditionKind::CacheDown),
            Report::Restarted { .. }
            | Report::Flag(_)
            | Report::SessionTurned(_)
            | Report::ClockStepped { .. }
            | Report::CalendarRead(_)
            | Report::Judged(_) => {}
            Report::GaveUp { child, then } => self.gave_up(&child, then, ctx),
            Report::Stopping => {
                self.parts.wanted.send_replace(false);
            }
        }
    }
}
