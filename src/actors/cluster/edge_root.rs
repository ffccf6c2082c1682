//! EdgeRoot: derives the state of an edge from what its leader publishes. Its only decision is when the process must end.
//!
//! owns   the edge's own conditions, a check of how long the leader has been silent
//! hears  Report (every child, its supervisor, and the app)
//! says   Overall → views · how the process must end → app
//! fails  a panic restarts it from what the cluster log says; a spent budget ends the process

use crate::actors::control::root::LOG_LOST;
use crate::actors::messages::{Report, WhenSpent};
use crate::actors::repeat::RepeatEvery;
use crate::actors::services::Services;
use crate::actors::supervision::{Row, Vitals};
use crate::domain::model::Timestamp;
use crate::domain::status::{ConditionKind, Conditions};
use crate::exit::Exit;
use crate::limits;
use crate::views::Overall;
use actix::{Actor, AsyncContext, Context, Handler, Supervised};

/// The dependencies of an EdgeRoot; they outlive its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The services that every actor may use.
    pub services: Services,
    /// The children, to resume those that are parked.
    pub children: Vec<(Row, Vitals)>,
}

/// See the module.
#[derive(Debug)]
pub struct EdgeRoot {
    deps: Deps,
    conditions: Conditions,
    since: Timestamp,
    stopping: bool,
}

impl EdgeRoot {
    /// Not started yet.
    pub fn new(deps: Deps) -> Self {
        Self {
            conditions: Conditions::default(),
            since: deps.services.clock.now(),
            stopping: false,
            deps,
        }
    }

    /// Shows the leader's state while news of it arrive, else that they do not.
    fn show(&mut self) {
        let now = self.deps.services.clock.now();
        let log = self.deps.services.views.log.borrow().clone().unwrap_or_default();
        if let Some((reason, message)) = log.stale() {
            self.conditions
                .raise(ConditionKind::LogStale, None, reason, &message, now);
        } else {
            self.conditions.clear(ConditionKind::LogStale, None, now);
        }
        let (name, since, reason) = match (log.believed(), log.stale()) {
            _ if self.stopping => ("shutdown".to_owned(), now, "a stop was requested".to_owned()),
            (Some(leader), _) => {
                let since = Timestamp::from_micros(leader.since_us);
                (leader.state.clone(), since, leader.reason.clone())
            }
            (None, stale) => (
                "error".to_owned(),
                self.since,
                stale.map(|(_, message)| message).unwrap_or_default(),
            ),
        };
        let conditions = self.conditions.list();
        let leaders = log.believed().map_or(&[][..], |leader| leader.conditions.as_slice());
        let good = !conditions.iter().any(|one| one.status) && !leaders.iter().any(|one| one.status);
        let shown = self.deps.services.views.overall.borrow().clone();
        let since = if shown.name == name { shown.since } else { since };
        let next = Overall {
            name,
            since,
            reason,
            good,
            verified: Vec::new(),
            flag: None,
            conditions,
            ..shown
        };
        self.deps.services.views.overall.send_if_modified(|overall| {
            let news = *overall != next;
            *overall = next;
            news
        });
    }

    fn raise(&mut self, kind: ConditionKind, reason: &str, message: &str) {
        let now = self.deps.services.clock.now();
        self.conditions.raise(kind, None, reason, message, now);
        self.show();
    }

    fn clear(&mut self, kind: ConditionKind) {
        let now = self.deps.services.clock.now();
        self.conditions.clear(kind, None, now);
        self.show();
    }

    fn end(&self, exit: Exit) {
        self.deps.services.views.ending.send_replace(Some(exit));
    }

    fn gave_up(&self, child: &str, then: WhenSpent, ctx: &mut Context<Self>) {
        if then == WhenSpent::Exit {
            tracing::error!(
                actor = child,
                "a required actor failed more often than its budget allows: the process ends"
            );
            return self.end(Exit::GaveUp);
        }
        let parked = child.to_owned();
        ctx.run_later(limits::RESUME_PARKED, move |root, _| {
            let children = root.deps.children.iter();
            children
                .filter(|(_, vitals)| vitals.name() == parked)
                .for_each(|(_, vitals)| vitals.resume());
        });
    }
}

impl Actor for EdgeRoot {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.show();
        ctx.repeat_every(limits::EDGE_LOOK, |root, _| root.show());
    }
}

impl Supervised for EdgeRoot {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}

impl Handler<Report> for EdgeRoot {
    type Result = ();

    fn handle(&mut self, report: Report, ctx: &mut Context<Self>) {
        match report {
            Report::GaveUp { child, then } => self.gave_up(&child, then, ctx),
            Report::LedgerUnwritable { reason, cause } => {
                let message = format!("Nothing new is published: {cause}");
                self.raise(ConditionKind::LedgerUnwritable, reason, &message);
            }
            Report::LedgerWritable => self.clear(ConditionKind::LedgerUnwritable),
            Report::LogForeign { cause } => {
                let message = format!("The cluster log does not continue this ledger: {cause}.");
                self.raise(ConditionKind::LogDiverged, "diverged", &message);
                self.end(Exit::TryAgain);
            }
            Report::CalendarRead(Ok(())) => self.clear(ConditionKind::CalendarFileWrong),
            Report::CalendarRead(Err(problem)) => self.raise(ConditionKind::CalendarFileWrong, "unreadable", &problem),
            Report::LogLinesLost(true) => {
                self.raise(ConditionKind::LogLinesLost, "log_not_taken", LOG_LOST);
            }
            Report::LogLinesLost(false) => self.clear(ConditionKind::LogLinesLost),
            Report::Stopping => {
                self.stopping = true;
                self.show();
            }
            _ => {} // an edge has no link, no store and no gate of its own
        }
    }
}
