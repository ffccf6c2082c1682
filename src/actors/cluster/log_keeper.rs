//! LogKeeper: appends the ledger's parcels to the log of the cluster, and passes on what the log has.
//!
//! owns   its place in the log, what waits to be told, at most one append at a time, a word of the leader each second
//! hears  Recorded (Recorder)
//! says   Recorded → Writer, Publisher, Fanout, once the log has it · LogAway, LogBack, LogForeign → Root · LeaderNews → the log
//! fails  never on the log: what it does not take is read from the ledger again. Away for longer than a moment, it tells all the same
//!        (`cluster.alone`). After a restart it looks where the log ends

use crate::actors::core::{TellsReaders, ToldReaders};
use crate::actors::messages::{Recorded, Report};
use crate::actors::repeat::RepeatEvery;
use crate::actors::services::Services;
use crate::carrier::{Carrier, Carry};
use crate::clock::Stopwatch;
use crate::domain::cluster::{Contact, LeaderNews, LogAnswer, LogEntry, contact};
use crate::domain::followers::lease::Standing;
use crate::domain::model::{Position, Timestamp};
use crate::ledger::LedgerReader;
use crate::limits;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, Supervised, WrapFuture};
use std::collections::VecDeque;
use std::sync::Arc;

/// What a LogKeeper is made of; outlives its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// What every actor may use.
    pub services: Services,
    /// The log.
    pub carrier: Carrier,
    /// Who is told, by name.
    pub readers: Vec<(String, Recipient<Recorded>)>,
    /// The log's last number when this process began its chain behind it.
    pub begun_after: Option<u64>,
    /// Whether it tells while the log is away.
    pub tells_alone: bool,
}

/// See the module.
#[derive(Debug)]
pub struct LogKeeper {
    deps: Deps,
    readers: ToldReaders,
    ledger: LedgerReader,
    /// The number that the log takes next; nothing until it was looked at.
    next: Option<u64>,
    /// The last position that it has.
    logged: Position,
    /// Written, and not told yet.
    waiting: VecDeque<Recorded>,
    appending: bool,
    away: Option<Stopwatch>,
    /// Why it is away, once Root was told.
    told_away: Option<String>,
    said: u64,
}

/// How an append ended.
#[derive(Debug)]
enum LogStep {
    /// The log takes this number next.
    Has {
        next: u64,
        /// It has all up to this position.
        upto: Position,
        /// There may be more to append.
        more: bool,
    },
    /// It must be looked at again.
    Look,
    /// Somebody else's: this process leads no longer.
    Foreign(String),
    /// It does not take anything now.
    Away(String),
}

impl LogKeeper {
    /// Not started yet.
    pub fn new(deps: Deps) -> Self {
        Self {
            readers: ToldReaders::new(deps.readers.clone()),
            ledger: deps.services.ledger.clone(),
            deps,
            next: None,
            logged: Position(0),
            waiting: VecDeque::new(),
            appending: false,
            away: None,
            told_away: None,
            said: 0,
        }
    }

    /// The term of the lease of the database, once it was had.
    fn term(&self) -> Option<u64> {
        let leases = self.deps.services.views.leases.borrow();
        leases.iter().find_map(|lease| match lease.standing {
            Standing::Held { term } => u64::try_from(term).ok(),
            _ => None,
        })
    }

    /// Appends what the log does not have yet, one batch after the other.
    fn append(&mut self, ctx: &mut Context<Self>) {
        if self.appending {
            return;
        }
        self.appending = true;
        let work = Append {
            carrier: self.deps.carrier.clone(),
            ledger: self.ledger.clone(),
            next: self.next,
            term: self.term(),
            begun_after: self.deps.begun_after,
        };
        let appending = async move {
            let limited = tokio::time::timeout(limits::LOG_ANSWER, work.append()).await;
            limited.unwrap_or_else(|_| LogStep::Away("no answer in time".to_owned()))
        };
        ctx.spawn(appending.into_actor(self).map(|appended, actor, ctx| {
            actor.appending = false;
            actor.on(appended, ctx);
        }));
    }

    fn on(&mut self, appended: LogStep, ctx: &mut Context<Self>) {
        match appended {
            LogStep::Has { next, upto, more } => {
                self.next = Some(next);
                self.logged = self.logged.max(upto);
                self.is_back();
                self.pass_on(ctx);
                if more {
                    self.append(ctx);
                }
            }
            LogStep::Look => {
                self.next = None;
                self.try_later(ctx);
            }
            LogStep::Foreign(cause) => {
                tracing::error!(error = %cause, "the log of the cluster is not of this leader: the process ends");
                drop(self.deps.services.root.try_send(Report::LogForeign { cause })); // said again with the next append
                self.next = None;
                self.try_later(ctx);
            }
            LogStep::Away(cause) => {
                self.is_away(cause);
                self.pass_on(ctx);
                self.try_later(ctx);
            }
        }
    }

    fn try_later(&self, ctx: &mut Context<Self>) {
        ctx.run_later(limits::LOG_RETRY, |actor, ctx| actor.append(ctx));
    }

    fn is_away(&mut self, cause: String) {
        let since = self.away.get_or_insert_with(Stopwatch::start);
        if since.elapsed() < limits::LOG_PATIENCE || self.told_away.as_ref() == Some(&cause) {
            return;
        }
        let message = cause.clone();
        if self.deps.services.root.try_send(Report::LogAway { cause }).is_ok() {
            tracing::warn!(error = %message, "the log of the cluster takes no parcels: edges stand still");
            self.told_away = Some(message);
        }
    }

    fn is_back(&mut self) {
        self.away = None;
        if self.told_away.is_some() && self.deps.services.root.try_send(Report::LogBack).is_ok() {
            tracing::info!("the log of the cluster takes parcels again");
            self.told_away = None;
        }
    }

    /// Whether it tells what the log does not have.
    fn is_alone(&self) -> bool {
        let away = self
            .away
            .as_ref()
            .is_some_and(|since| since.elapsed() >= limits::LOG_PATIENCE);
        away && self.deps.tells_alone
    }

    /// Tells what the log has, in order.
    fn pass_on(&mut self, ctx: &mut Context<Self>) {
        let alone = self.is_alone();
        while let Some(recorded) = self
            .waiting
            .pop_front_if(|recorded| alone || recorded.head <= self.logged)
        {
            self.readers.tell(&recorded);
        }
        self.remind_later(ctx);
    }

    /// What edges show of this leader.
    fn say(&mut self, ctx: &mut Context<Self>) {
        let Some(term) = self.term() else { return };
        self.said = self.said.saturating_add(1);
        let view = Arc::clone(&self.deps.services.views.service.borrow());
        let news = LeaderNews {
            said: self.said,
            state: view.state.name.clone(),
            since_us: view.state.since_us.map_or(0, Timestamp::micros),
            reason: view.state.reason.clone(),
            pairs: view.symbols.clone(),
            conditions: view.conditions.clone(),
            gaps: view.gaps.clone(),
        };
        let carrier = self.deps.carrier.clone();
        let saying = async move {
            let text = match serde_json::to_string(&news) {
                Ok(text) => text,
                Err(error) => return tracing::error!(%error, "failed to write what edges show of this leader"),
            };
            let said = carrier.say(term, &text, limits::LEADER_SILENT);
            if let Ok(Err(error)) = tokio::time::timeout(limits::LOG_ANSWER, said).await {
                tracing::debug!(%error, "edges do not hear how this leader is");
            }
        };
        ctx.spawn(saying.into_actor(self));
    }
}

/// One append, beside the actor.
struct Append {
    carrier: Carrier,
    ledger: LedgerReader,
    next: Option<u64>,
    term: Option<u64>,
    begun_after: Option<u64>,
}

impl Append {
    async fn append(mut self) -> LogStep {
        let Some(term) = self.term else {
            return LogStep::Away("no lease of the database was had yet, and so no term".to_owned());
        };
        let next = match self.next {
            Some(next) => next,
            None => match self.look().await {
                Ok(next) => next,
                Err(refused) => return refused,
            },
        };
        let head = self.ledger.head(); // before the parcels: where there are none, the log has all of it
        let parcels = match self.ledger.read_parcels(next, limits::CLUSTER_APPEND) {
            Ok(parcels) => parcels,
            Err(error) => return LogStep::Away(error.to_string()),
        };
        let Some(last) = parcels.last() else {
            return LogStep::Has {
                next,
                upto: head,
                more: false,
            };
        };
        let has = LogStep::Has {
            next: last.number.saturating_add(1),
            upto: Position(last.last),
            more: true,
        };
        let lineage = self.ledger.lineage();
        let entries: Vec<LogEntry> = parcels
            .into_iter()
            .map(|parcel| LogEntry {
                term,
                lineage: lineage.clone(),
                parcel,
            })
            .collect();
        match self.carrier.append(term, &entries).await {
            LogAnswer::Taken => has,
            LogAnswer::Hole { .. } => LogStep::Look,
            LogAnswer::Stale { term } => LogStep::Foreign(format!("a leader of term {term} has written to it")),
            LogAnswer::Differs { number } => LogStep::Foreign(format!("it has another parcel {number}")),
            LogAnswer::Full(cause) | LogAnswer::Away(cause) => LogStep::Away(cause),
        }
    }

    /// Where the log ends, and what it takes next.
    async fn look(&mut self) -> Result<u64, LogStep> {
        let head = self.carrier.head().await;
        let head = head.map_err(|error| LogStep::Away(error.to_string()))?;
        let number = head.as_ref().map_or(0, |head| head.number);
        if head.is_some() && self.begun_after == Some(number) {
            return Ok(number.saturating_add(1));
        }
        let read = |ledger: &mut LedgerReader| {
            Ok::<_, crate::ledger::LedgerError>((ledger.parcel_hash(number)?, ledger.parcel_ends()?))
        };
        let (own, ends) = read(&mut self.ledger).map_err(|error| LogStep::Away(error.to_string()))?;
        match contact(head.as_ref(), ends.last, own) {
            Contact::GoOn { next } => Ok(next),
            Contact::Fill => Ok(ends.begin),
            Contact::Foreign => Err(LogStep::Foreign(format!(
                "it ends with parcel {number}, which this ledger does not have"
            ))),
        }
    }
}

impl TellsReaders for LogKeeper {
    fn readers(&mut self) -> &mut ToldReaders {
        &mut self.readers
    }

    fn told_head(&self) -> Position {
        if self.is_alone() {
            self.ledger.head()
        } else {
            self.logged
        }
    }
}

impl Actor for LogKeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.remind_later(ctx); // a fresh one does not know whom it owes
        self.append(ctx);
        ctx.repeat_every(limits::LEADER_SAYS, |actor, ctx| {
            actor.say(ctx);
            actor.append(ctx); // openings, and what a full mailbox dropped
        });
    }
}

impl Supervised for LogKeeper {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}

impl Handler<Recorded> for LogKeeper {
    type Result = ();

    fn handle(&mut self, recorded: Recorded, ctx: &mut Context<Self>) {
        if self.waiting.len() >= limits::LOG_WAITING {
            self.waiting.pop_front(); // who is told the next sees that it misses some, and reads them from the ledger
        }
        self.waiting.push_back(recorded);
        if self.is_alone() {
            self.pass_on(ctx);
        }
        self.append(ctx);
    }
}
