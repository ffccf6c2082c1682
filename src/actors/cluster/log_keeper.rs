//! LogKeeper: appends the ledger's parcels to the cluster log, and passes on the events that the cluster log has.
//!
//! owns   its place in the cluster log, events not passed on yet, at most one append at a time, the leader's news each second
//! hears  Recorded (Recorder)
//! says   Recorded → Writer, Publisher, Fanout, once the cluster log has it · LogAway, LogBack, LogForeign → Root · LeaderNews and what
//!        this node is → the cluster log · ClusterView → views
//! fails  never on the cluster log: what it does not take is read from the ledger again. If it is away for longer than a moment, events are
//!        passed on without it (`cluster.alone`), once the database records that for the next leader. After a restart it looks up where the
//!        cluster log ends
//!
//! It passes events on only while less than a lease's time has passed since the lease was renewed, or since the cluster log last took a
//! parcel under this term: a process that was stopped first finds out whether it still leads.

use crate::actors::cluster::log_append::LogAppend;
use crate::actors::cluster::node_teller::{NodeFacts, NodeName, NodeTeller};
use crate::actors::core::{TellsReaders, ToldReaders, recorder};
use crate::actors::messages::{Item, Recorded, Report};
use crate::actors::repeat::RepeatEvery;
use crate::actors::services::Services;
use crate::actors::views::LeaseView;
use crate::carrier::{Carrier, Carry};
use crate::clock::Stopwatch;
use crate::domain::cluster::{AppendStep, FormingBar, LeaderNews, Leading, is_young};
use crate::domain::followers::lease::{Place, Standing};
use crate::domain::model::{Interval, Position, Symbol, Timestamp};
use crate::domain::vendor::{KeySlot, KeyUse};
use crate::ledger::LedgerReader;
use crate::limits;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, Supervised, WrapFuture};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The dependencies of a LogKeeper; they outlive its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The services that every actor may use.
    pub services: Services,
    /// The cluster log.
    pub carrier: Carrier,
    /// The readers, by name.
    pub readers: Vec<(String, Recipient<Recorded>)>,
    /// The cluster log's last number when this process began its chain behind it.
    pub begun_after: Option<u64>,
    /// Whether events are passed on while the cluster log is away.
    pub tells_alone: bool,
    /// What other nodes know this one as.
    pub name: NodeName,
}

/// See the module.
#[derive(Debug)]
pub struct LogKeeper {
    deps: Deps,
    readers: ToldReaders,
    ledger: LedgerReader,
    /// What it decides.
    leading: Leading,
    /// Since when its instants are measured.
    clock: Stopwatch,
    /// The last position that readers were sent.
    said_head: Position,
    /// Written to the ledger and not passed on yet.
    waiting: VecDeque<Recorded>,
    appending: bool,
    /// Why the cluster log is away, once Root was sent it.
    told_away: Option<String>,
    /// The scheduled retry; while it is set, no other one is scheduled.
    retry: Option<SpawnHandle>,
    said: u64,
    teller: NodeTeller,
    /// The newest forming bars that other nodes were not told yet, of each pair and interval.
    forming: BTreeMap<(Symbol, Interval), FormingBar>,
    /// They are being told.
    telling_forming: bool,
}

impl LogKeeper {
    /// Not started yet.
    pub fn new(deps: Deps) -> Self {
        Self {
            readers: ToldReaders::new(deps.readers.clone()),
            ledger: deps.services.ledger.whole(),
            leading: Leading::new(deps.services.ledger.head(), deps.begun_after, deps.tells_alone),
            clock: Stopwatch::start(),
            said_head: deps.services.ledger.head(),
            teller: NodeTeller::new(deps.services.clone(), deps.carrier.clone(), deps.name.clone()),
            forming: BTreeMap::new(),
            telling_forming: false,
            deps,
            waiting: VecDeque::new(),
            appending: false,
            told_away: None,
            retry: None,
            said: 0,
        }
    }

    /// The term of the database's lease, if this process holds it; one that has handed on publishes nothing more.
    fn term(&self) -> Option<u64> {
        if self.deps.services.store.has_given_back() {
            return None;
        }
        let leases = self.deps.services.views.leases.borrow();
        leases.iter().find_map(|lease| match lease.standing {
            Standing::Held { term } if lease.place == Place::Database => u64::try_from(term).ok(),
            _ => None,
        })
    }

    /// Whether no other process can have taken the lease yet.
    fn is_leased(&self) -> bool {
        let leases = self.deps.services.views.leases.borrow();
        leases.iter().any(|lease| {
            let held = lease.place == Place::Database && matches!(lease.standing, Standing::Held { .. });
            held && lease.renewed.is_some_and(|renewed| is_young(renewed.elapsed()))
        })
    }

    /// Appends what the cluster log lacks, one batch after the other.
    fn append(&mut self, ctx: &mut Context<Self>) {
        if self.appending || self.deps.services.store.has_given_back() {
            return;
        }
        self.appending = true;
        let work = LogAppend {
            carrier: self.deps.carrier.clone(),
            ledger: self.ledger.clone(),
            begins: self
                .leading
                .begin_append(self.term(), self.is_leased(), self.clock.elapsed()),
            clock: self.clock,
            measures: self.deps.services.views.measures.clone(),
        };
        let appending = async move {
            let limited = tokio::time::timeout(limits::LOG_ANSWER, work.append()).await;
            limited.unwrap_or_else(|_| AppendStep::Away("no answer in time".to_owned()))
        };
        ctx.spawn(appending.into_actor(self).map(|appended, actor, ctx| {
            actor.appending = false;
            actor.on(appended, ctx);
        }));
    }

    fn on(&mut self, appended: AppendStep, ctx: &mut Context<Self>) {
        self.leading.on(&appended, self.clock.elapsed());
        match appended {
            AppendStep::Has { more, .. } => {
                self.note_back();
                self.pass_on(ctx);
                if more {
                    self.append(ctx);
                }
            }
            AppendStep::Look => self.try_later(ctx),
            // It was on its way when the lease was given back.
            AppendStep::Foreign(_) if self.deps.services.store.has_given_back() => {}
            AppendStep::Foreign(cause) => {
                tracing::error!(error = %cause, "the cluster log is not of this leader: the process ends");
                drop(self.deps.services.root.try_send(Report::LogForeign { cause })); // said again with the next append
                self.try_later(ctx);
            }
            AppendStep::Away(cause) => {
                self.note_away(cause);
                if self.leading.go_alone(self.is_leased(), self.clock.elapsed()) {
                    self.prove(false, ctx);
                }
                self.pass_on(ctx);
                self.try_later(ctx);
            }
        }
    }

    fn try_later(&mut self, ctx: &mut Context<Self>) {
        if self.retry.is_none() {
            self.retry = Some(ctx.run_later(limits::LOG_RETRY, |actor, ctx| {
                actor.retry = None;
                actor.append(ctx);
            }));
        }
    }

    fn note_away(&mut self, cause: String) {
        if !self.leading.is_long_away(self.clock.elapsed()) || self.told_away.as_ref() == Some(&cause) {
            return;
        }
        let message = cause.clone();
        if self.deps.services.root.try_send(Report::LogAway { cause }).is_ok() {
            if self.told_away.is_none() {
                tracing::warn!(error = %message, "the cluster log accepts no parcels: edges receive nothing new");
            }
            self.told_away = Some(message);
        }
    }

    fn note_back(&mut self) {
        if self.told_away.is_some() && self.deps.services.root.try_send(Report::LogBack).is_ok() {
            tracing::info!("the cluster log accepts parcels again");
            self.told_away = None;
        }
    }

    /// Has the database record, for the next leader, whether the cluster log has everything that is published.
    fn prove(&self, provable: bool, ctx: &mut Context<Self>) {
        let store = self.deps.services.store.clone();
        let proving = async move { store.set_provable(provable).await };
        ctx.spawn(proving.into_actor(self).map(move |said, actor, ctx| {
            let done = matches!(said, Ok(true));
            let alone = actor.leading.proved(provable, done);
            if let Err(error) = said {
                tracing::debug!(%error, "failed to report to the database whether the cluster log has everything that is published");
            }
            if alone {
                actor.pass_on(ctx);
            }
        }));
    }

    /// Passes on the events that the cluster log has, in order.
    fn pass_on(&mut self, ctx: &mut Context<Self>) {
        let leased = self.is_leased();
        if let Some(logged) = self.leading.tell_logged(leased, self.clock.elapsed()) {
            self.ledger.raise_told(logged);
            while let Some(recorded) = self
                .waiting
                .pop_front_if(|recorded| self.leading.may_tell(recorded.head, leased))
            {
                self.leading.raise_told(recorded.head);
                self.ledger.raise_told(self.leading.told());
                self.tell(&recorded);
            }
            if self.said_head < self.leading.told() {
                // They were appended while this actor was not running: readers find them in the ledger.
                let head = self.leading.told();
                self.tell(&Recorded {
                    told: Arc::new([]),
                    head,
                });
            }
        }
        self.tell_forming(ctx);
        self.remind_later(ctx);
    }

    fn tell(&mut self, recorded: &Recorded) {
        recorder::show(
            &self.deps.services.views,
            &recorded.told,
            recorded.head.max(self.said_head),
        );
        self.note_forming(recorded);
        self.readers.tell(recorded);
        self.said_head = self.said_head.max(recorded.head);
    }

    /// Keeps the newest of each bar that forms: who is told it has the parcels before it.
    fn note_forming(&mut self, recorded: &Recorded) {
        if self.leading.is_away() {
            return self.forming.clear(); // losing one is right: the next takes its place
        }
        for told in recorded.told.iter() {
            if let Item::Partial { bar, base } = &told.item {
                let forming = FormingBar::new(bar, *base);
                self.forming.insert(forming.channel(), forming);
            }
        }
    }

    /// Tells other nodes how bars form.
    fn tell_forming(&mut self, ctx: &mut Context<Self>) {
        let Some(term) = self
            .term()
            .filter(|_| !self.forming.is_empty() && !self.telling_forming)
        else {
            return;
        };
        self.telling_forming = true;
        let bars: Vec<FormingBar> = std::mem::take(&mut self.forming).into_values().collect();
        let carrier = self.deps.carrier.clone();
        let telling = async move {
            let text = match serde_json::to_string(&bars) {
                Ok(text) => text,
                Err(error) => return tracing::error!(%error, "failed to write how bars form"),
            };
            if let Ok(Err(error)) = tokio::time::timeout(limits::LOG_ANSWER, carrier.form(term, &text)).await {
                tracing::debug!(%error, "edges do not hear how bars form");
            }
        };
        ctx.spawn(telling.into_actor(self).map(|(), actor, ctx| {
            actor.telling_forming = false;
            actor.tell_forming(ctx);
        }));
    }

    /// The credits that each key has used today, for the next leader.
    fn key_use(&self) -> Vec<KeyUse> {
        let now = self.deps.services.clock.now();
        let keys = self.deps.services.views.keys.borrow();
        let used = keys.keys.iter().filter(|(key, _)| key.used_day > 0);
        used.map(|(key, _)| KeyUse {
            day: now.datetime().date_naive(),
            slot: key.slot,
            calls: key.used_day,
            minute: key.used_minute,
            last_at: now,
        })
        .collect()
    }

    fn link_key(&self) -> Option<KeySlot> {
        let keys = self.deps.services.views.keys.borrow();
        keys.keys.iter().find(|(key, _)| key.of_link).map(|(key, _)| key.slot)
    }

    /// Publishes this leader's news, which edges show.
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
            keys: self.key_use(),
            link_key: self.link_key(),
        };
        let carrier = self.deps.carrier.clone();
        let saying = async move {
            let text = match serde_json::to_string(&news) {
                Ok(text) => text,
                Err(error) => return tracing::error!(%error, "failed to write the leader's report for edges"),
            };
            let said = carrier.say(term, &text, limits::LEADER_SILENT);
            if let Ok(Err(error)) = tokio::time::timeout(limits::LOG_ANSWER, said).await {
                tracing::debug!(%error, "failed to send the leader's report to edges");
            }
        };
        ctx.spawn(saying.into_actor(self));
    }

    /// What changes of this node.
    fn facts(&self) -> NodeFacts {
        NodeFacts {
            term: self.term().unwrap_or(0),
            alone: self.leading.is_alone(self.is_leased()),
            leader_age: None,
        }
    }

    /// Says how this node is, and hears how all are.
    fn say_node(&mut self, ctx: &mut Context<Self>) {
        if self.teller.is_stopping() {
            ctx.spawn(self.teller.leave().into_actor(self));
            return;
        }
        let mut ledger = self.ledger.clone();
        let saying = self.teller.say(self.facts());
        let saying = async move {
            let found = saying.await;
            (found, ledger.parcel_ends())
        };
        ctx.spawn(saying.into_actor(self).map(|(found, ends), actor, _| match ends {
            Ok(ends) => actor.teller.heard(found, ends.last, actor.facts()),
            Err(error) => tracing::warn!(%error, "where the ledger's parcels end cannot be read"),
        }));
    }
}

impl TellsReaders for LogKeeper {
    fn readers(&mut self) -> &mut ToldReaders {
        &mut self.readers
    }

    fn told_head(&self) -> Position {
        self.leading.told()
    }
}

impl Actor for LogKeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let told = self.leading.told();
        let latest = &self.deps.services.views.latest;
        latest.send_modify(|view| view.head = view.head.max(told));
        self.remind_later(ctx); // a fresh one does not know whom it owes
        self.append(ctx);
        let mut leases = self.deps.services.views.leases.subscribe();
        let leased = async move {
            let is_held = |lease: &LeaseView| lease.place == Place::Database && lease.is_held();
            drop(leases.wait_for(|leases| leases.iter().any(is_held)).await);
        };
        ctx.spawn(leased.into_actor(self).map(|(), actor, ctx| {
            actor.say(ctx);
            actor.say_node(ctx);
            actor.append(ctx);
        }));
        ctx.repeat_every(limits::NODE_SAYS, Self::say_node);
        let stops = self.teller.stops();
        ctx.spawn(stops.into_actor(self).map(|(), actor, ctx| actor.say_node(ctx)));
        ctx.repeat_every(limits::LEADER_SAYS, |actor, ctx| {
            actor.say(ctx);
            actor.leading.look_again();
            actor.append(ctx); // openings, and what a full mailbox dropped
            if actor.leading.go_together() {
                actor.prove(true, ctx);
            }
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
        if self.leading.is_alone(self.is_leased()) {
            self.pass_on(ctx);
        }
        if !self.leading.is_away() || self.retry.is_none() {
            self.append(ctx);
        }
    }
}
