//! LogFollower: the Recorder of an edge. It appends parcels from the cluster log to its ledger, and only then publishes their events.
//!
//! owns   the right to append to the ledger, its place in the cluster log, one read of the cluster log at a time
//! hears  the cluster log
//! says   Recorded → each Fanout · LogForeign, LedgerUnwritable, LedgerWritable → Root · LatestView, LogNews, ClusterView → views ·
//!        what this node is → the cluster log
//! fails  a cluster log that does not answer is read again; one that does not continue this ledger ends the process, and the next start
//!        begins a new ledger. After a panic it continues after its ledger's last parcel

use crate::actors::cluster::node_teller::{NodeFacts, NodeName, NodeTeller};
use crate::actors::core::{LedgerReports, TellsReaders, ToldReaders, recorder};
use crate::actors::messages::{Item, Recorded, Report, Told};
use crate::actors::repeat::RepeatEvery;
use crate::actors::services::Services;
use crate::carrier::{Carrier, Carry};
use crate::clock::Stopwatch;
use crate::domain::cluster::{EntryStep, FormingBar, LeaderNews, LogEntry, LogNews, LogPlace};
use crate::domain::model::{Channel, JournalEntry, Position};
use crate::ledger::{Disposition, Ledger, LedgerError};
use crate::limits;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Recipient, Supervised, WrapFuture};
use std::sync::{Arc, Mutex, PoisonError};

/// The dependencies of a LogFollower; they outlive its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The services that every actor may use.
    pub services: Services,
    /// The ledger, for appending.
    pub ledger: Arc<Mutex<Ledger>>,
    /// The cluster log.
    pub carrier: Carrier,
    /// The readers, by name.
    pub readers: Vec<(String, Recipient<Recorded>)>,
    /// What other nodes know this one as.
    pub name: NodeName,
}

/// See the module.
#[derive(Debug)]
pub struct LogFollower {
    deps: Deps,
    readers: ToldReaders,
    follower: LogPlace,
    news: LogNews,
    heard: Option<Stopwatch>,
    ledger_reports: LedgerReports,
    teller: NodeTeller,
    /// Up to where forming bars were heard.
    forming_mark: String,
    /// Why the cluster log does not continue this ledger, once that was found.
    ended: Option<String>,
    /// Whether Root still has to be sent `LogForeign`.
    owes_end: bool,
}

impl LogFollower {
    /// Not started yet.
    pub fn new(deps: Deps) -> Self {
        let (number, hash) = deps.ledger.lock().unwrap_or_else(PoisonError::into_inner).parcel_end();
        Self {
            readers: ToldReaders::new(deps.readers.clone()),
            follower: LogPlace::at(number, hash),
            news: LogNews::default(),
            heard: None,
            ledger_reports: LedgerReports::default(),
            teller: NodeTeller::new(deps.services.clone(), deps.carrier.clone(), deps.name.clone()),
            forming_mark: String::new(),
            ended: None,
            owes_end: false,
            deps,
        }
    }

    /// Waits for the next parcels, again and again.
    fn follow(&self, ctx: &mut Context<Self>) {
        let carrier = self.deps.carrier.clone();
        let after = self.follower.number();
        let mark = self.forming_mark.clone();
        let reading = async move {
            let read = carrier.read(after, &mark, limits::CLUSTER_READ, limits::LOG_READ_WAIT);
            let limited = tokio::time::timeout(limits::LOG_READ_WAIT + limits::LOG_ANSWER, read).await;
            let found =
                limited.unwrap_or_else(|_| Err(crate::cache::CacheError::Unreachable("no answer in time".to_owned())));
            if found.is_err() {
                tokio::time::sleep(limits::LOG_RETRY).await;
            }
            found
        };
        ctx.spawn(reading.into_actor(self).map(|found, actor, ctx| {
            let mut written = true;
            match found {
                Ok(read) => {
                    actor.news.trouble = None;
                    written = actor.take(read.entries, ctx);
                    actor.forming_mark = read.mark;
                    if written && actor.ended.is_none() {
                        actor.tell_forming(&read.forming);
                    }
                }
                Err(error) => actor.news.trouble = Some(error.to_string()),
            }
            if actor.ended.is_some() {
                return;
            }
            if written {
                actor.follow(ctx);
            } else {
                ctx.run_later(limits::APPEND_RETRY, |actor, ctx| actor.follow(ctx));
            }
        }));
    }

    /// Appends the parcels that continue this ledger, in order, and publishes their events in one message. `false`: the ledger did not take
    /// all.
    fn take(&mut self, entries: Vec<LogEntry>, ctx: &mut Context<Self>) -> bool {
        let mut told: Vec<Told> = Vec::new();
        let mut head = None;
        let mut written = true;
        for entry in entries {
            match self.follower.on(&entry) {
                EntryStep::Take => {}
                EntryStep::Known => continue,
                EntryStep::Lower => {
                    self.end(format!("its parcel {} is of a term that is over", entry.parcel.number));
                    break;
                }
                EntryStep::Hole => {
                    self.end(format!(
                        "parcels between {} and {} are missing in it",
                        self.follower.number(),
                        entry.parcel.number
                    ));
                    break;
                }
                EntryStep::Anew => {
                    self.end("the leader has begun a new ledger".to_owned());
                    break;
                }
                EntryStep::Diverged => {
                    self.end(format!(
                        "its parcel {} does not continue this ledger",
                        entry.parcel.number
                    ));
                    break;
                }
            }
            match self.append(&entry) {
                Ok(entries) => {
                    self.ledger_reports.succeeded(&self.deps.services.root);
                    self.follower.taken(&entry);
                    told.extend(entries.iter().filter_map(recorder::told));
                    head = Some(Position(entry.parcel.last));
                }
                Err(error) if error.disposition() == Disposition::Fatal => {
                    self.end(error.to_string());
                    break;
                }
                Err(error) => {
                    self.ledger_reports.failed(&error, &self.deps.services.root);
                    written = false;
                    break; // read again from here
                }
            }
        }
        self.teller.reach(self.follower.number());
        if let Some(head) = head {
            let told: Arc<[Told]> = told.into();
            recorder::show(&self.deps.services.views, &told, head);
            recorder::count_events(&self.deps.services, &told);
            self.readers.tell(&Recorded { told, head });
            self.remind_later(ctx);
        }
        written
    }

    fn append(&self, entry: &LogEntry) -> Result<Vec<JournalEntry>, LedgerError> {
        let mut ledger = self.deps.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let took = Stopwatch::start();
        let taken = ledger.apply_parcel(&entry.parcel);
        let measures = &self.deps.services.views.measures;
        measures.ledger_append.observe(took.elapsed().as_secs_f64());
        taken
    }

    /// Tells how bars form, where this node has told all that was told before them. One that comes late is left out.
    fn tell_forming(&mut self, said: &[String]) {
        let mut told: Vec<Told> = Vec::new();
        for text in said {
            let Ok(bars) = serde_json::from_str::<Vec<FormingBar>>(text) else {
                tracing::debug!("how bars form is not understood");
                continue;
            };
            let heads = self.deps.services.ledger.heads();
            told.extend(bars.into_iter().filter_map(|forming| {
                let (symbol, interval) = forming.channel();
                let head = heads.get(&Channel::bars(interval, symbol))?;
                let bar = forming.bar().filter(|_| head.seq == forming.base)?;
                let base = forming.base;
                Some(Told::from(Item::Partial { bar, base }))
            }));
        }
        if !told.is_empty() {
            let head = self.told_head();
            self.readers.tell(&Recorded {
                told: told.into(),
                head,
            });
        }
    }

    /// The cluster log does not continue this ledger: the process must restart.
    fn end(&mut self, cause: String) {
        tracing::error!(error = %cause, "the cluster log does not continue this ledger: the process ends, and a restart begins a new ledger");
        self.ended = Some(cause);
        self.owes_end = true;
        self.tell_end();
    }

    /// Sends `LogForeign` to Root; if the mailbox is full, again later.
    fn tell_end(&mut self) {
        if let Some(cause) = self.ended.clone().filter(|_| self.owes_end) {
            self.owes_end = self.deps.services.root.try_send(Report::LogForeign { cause }).is_err();
        }
    }

    /// Reads the leader's latest news.
    fn hear(&mut self, ctx: &mut Context<Self>) {
        self.tell_end();
        self.show();
        let carrier = self.deps.carrier.clone();
        let hearing = async move { tokio::time::timeout(limits::LOG_ANSWER, carrier.hear()).await };
        ctx.spawn(hearing.into_actor(self).map(|heard, actor, _| {
            let Ok(Ok(Some(text))) = heard else { return };
            match serde_json::from_str::<LeaderNews>(&text) {
                Ok(news) => {
                    // Parcels do not count: those of a leader that is gone arrive as well. Nor does the first news, which may be its last.
                    let known = actor.news.leader.as_ref().map(|known| known.said);
                    if known.is_some_and(|known| known != news.said) {
                        actor.heard = Some(Stopwatch::start());
                    }
                    if known != Some(news.said) {
                        actor.news.leader = Some(news);
                        actor.show();
                    }
                }
                Err(error) => tracing::debug!(%error, "failed to decode the leader's report"),
            }
        }));
    }

    /// What changes of this node.
    fn facts(&self) -> NodeFacts {
        NodeFacts {
            term: self.follower.term(),
            alone: false,
            leader_age: self.heard.as_ref().map(Stopwatch::elapsed),
        }
    }

    /// Says how this node is, and hears how all are.
    fn say(&mut self, ctx: &mut Context<Self>) {
        if self.teller.is_stopping() {
            ctx.spawn(self.teller.leave().into_actor(self));
            return;
        }
        let saying = self.teller.say(self.facts());
        ctx.spawn(saying.into_actor(self).map(|found, actor, _| {
            actor.teller.heard(found, actor.follower.number(), actor.facts());
        }));
    }

    fn show(&mut self) {
        self.news.lag = self.teller.lag();
        self.news.age = self.heard.as_ref().map(Stopwatch::elapsed);
        self.deps.services.views.log.send_replace(Some(self.news.clone()));
    }
}

impl TellsReaders for LogFollower {
    fn readers(&mut self) -> &mut ToldReaders {
        &mut self.readers
    }

    fn told_head(&self) -> Position {
        self.deps.services.views.latest.borrow().head
    }
}

impl Actor for LogFollower {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let head = self.deps.ledger.lock().unwrap_or_else(PoisonError::into_inner).head();
        self.deps
            .services
            .views
            .latest
            .send_modify(|view| view.head = view.head.max(head));
        self.remind_later(ctx); // a fresh one does not know whom it owes
        self.follow(ctx);
        self.hear(ctx);
        ctx.repeat_every(limits::LEADER_HEARD, Self::hear);
        self.say(ctx);
        ctx.repeat_every(limits::NODE_SAYS, Self::say);
        let stops = self.teller.stops();
        ctx.spawn(stops.into_actor(self).map(|(), actor, ctx| actor.say(ctx)));
    }
}

impl Supervised for LogFollower {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}
