//! Root: the only actor that decides what the service does.
//!
//! owns   `domain::lifecycle::Lifecycle`, one timer at its next deadline
//! hears  Report (every child, its supervisor, and the app) · RunAction (web)
//! says   LookAtFlag → L0Watcher · Validate, FillHistory, MarkSeam → Validator · UseKey → KeyPool · whether prices are wanted → Feed,
//!        Poller · Overall → views · entries of the journal → Aggregator · how the process must end → app
//! fails  a panic restarts it from the last complete life cycle; a spent budget ends the process

use crate::actors::control::JournalKeeper;
use crate::actors::messages::{FillHistory, LookAtFlag, MarkSeam, Report, UseKey, Validate, WhenSpent};
use crate::actors::services::Services;
use crate::actors::supervision::{Row, Vitals};
use crate::cache::stream_key;
use crate::domain::cluster::ClusterView;
use crate::domain::followers::Disturbance;
use crate::domain::followers::lease::{AnotherWriter, Place};
use crate::domain::history::WaitPolicy;
use crate::domain::lifecycle::{Break, Distrust, Effect, Event, Lifecycle, Stage, Turn};
use crate::domain::model::{Channel, Symbol, Timestamp};
use crate::domain::status::{Condition, ConditionHolder, ConditionKind};
use crate::domain::vendor::describe_cause;
use crate::exit::Exit;
use crate::ledger::Renumbered;
use crate::limits;
use crate::views::Overall;
use actix::{Actor, AsyncContext, Context, Handler, Recipient, SpawnHandle, Supervised};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The dependencies of Root; they outlive its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The services that every actor may use.
    pub services: Services,
    /// The life cycle after the last event that was handled completely.
    pub kept: Arc<Mutex<Lifecycle>>,
    /// The children, to resume those that are parked.
    pub children: Vec<(Row, Vitals)>,
    /// The actors that it commands.
    pub commands: Commands,
    /// Records what it does and what is reported to it.
    pub journal: JournalKeeper,
}

/// The actors that Root commands, one address for each command.
#[derive(Debug, Clone)]
pub struct Commands {
    /// Checks the ready flag.
    pub flag: Recipient<LookAtFlag>,
    /// Checks the history.
    pub validate: Recipient<Validate>,
    /// Has missing history requested.
    pub fill: Recipient<FillHistory>,
    /// Finds the seam of a session.
    pub seam: Recipient<MarkSeam>,
    /// Takes a key out of use, or puts it back.
    pub key: Recipient<UseKey>,
}

/// See the module.
#[derive(Debug)]
pub struct Root {
    pub(super) deps: Deps,
    lifecycle: Lifecycle,
    timer: Option<SpawnHandle>,
    /// Clears the condition of a pause.
    pause_told: Option<SpawnHandle>,
    /// Clear the conditions of disturbed streams, by pair.
    disturbance_told: BTreeMap<Option<Symbol>, SpawnHandle>,
}

/// The message of the condition `feed_silent`.
const SILENT: &str = "The link is up, and no price has come for longer than is usual in this half-hour.";

/// The message of the condition `log_lines_lost`.
pub(crate) const LOG_LOST: &str = "The log reader is too slow, not connected or out of space: lines are dropped, and nothing else waits for the reader.";

/// The life cycle at the start; a renumbered ledger is a condition of it.
pub fn first_lifecycle(
    pairs: &[Symbol],
    policy: WaitPolicy,
    can_fetch: bool,
    found: Option<Renumbered>,
    now: Timestamp,
) -> Lifecycle {
    let mut lifecycle = Lifecycle::new(pairs, policy, can_fetch, now);
    if let Some(found) = found {
        let kind = ConditionKind::LedgerRenumbered;
        let reason = found.why.name();
        lifecycle
            .conditions_mut()
            .raise(kind, None, reason, &renumbered(found), now);
    }
    lifecycle
}

/// The message of the condition `ledger_renumbered`.
fn renumbered(found: Renumbered) -> String {
    let Renumbered { why, head, told } = found;
    let lost = match told.saturating_sub(head) {
        0 => String::new(),
        lost => format!(" ({lost} events after position {head} are lost)"),
    };
    format!("All channels have new epochs: {}{lost}.", why.meaning())
}

impl Root {
    /// Not started yet.
    pub fn new(deps: Deps) -> Self {
        let lifecycle = deps.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self {
            deps,
            lifecycle,
            timer: None,
            pause_told: None,
            disturbance_told: BTreeMap::new(),
        }
    }

    /// Feeds the state machine and performs its effects.
    pub(super) fn on(&mut self, event: Event, ctx: &mut Context<Self>) {
        let effects = self.lifecycle.on(event, self.deps.services.clock.now());
        for effect in effects {
            self.act(effect);
        }
        self.settled(ctx);
    }

    /// Closes the feed and clears the conditions that concern missing prices.
    fn close_feed(&mut self) {
        self.deps.services.views.wanted.send_replace(false);
        let conditions = self.lifecycle.conditions_mut();
        let now = self.deps.services.clock.now();
        for kind in [ConditionKind::FeedDown, ConditionKind::FeedSilent] {
            conditions.clear(kind, None, now);
        }
    }

    fn link_down(&mut self, cause: &str, ctx: &mut Context<Self>) {
        if *self.deps.services.views.wanted.borrow() {
            let message = format!("The link to the vendor is down: {}.", describe_cause(cause));
            self.raise(ConditionKind::FeedDown, cause, &message, ctx);
        }
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::LookForFlag => drop(self.deps.commands.flag.try_send(LookAtFlag)), // a full mailbox has others before it
            Effect::Validate(flag) => drop(self.deps.commands.validate.try_send(Validate { flag })), // asked again when no verdict comes
            Effect::OpenFeed => drop(self.deps.services.views.wanted.send_replace(true)),
            Effect::CloseFeed => self.close_feed(),
            Effect::Changed(change) => {
                self.deps.journal.note(change.entry());
                let lasted_s = change.lasted.as_secs();
                tracing::info!(from = %change.from, to = %change.to, reason = change.reason, lasted_s, "the state changed");
                self.deps.services.views.overall.send_modify(|overall| {
                    if overall.changes.len() >= limits::CHANGES_SHOWN {
                        overall.changes.remove(0);
                    }
                    overall.changes_total = overall.changes_total.saturating_add(1);
                    overall.changes.push(change);
                });
            }
            Effect::FetchHistory(missing) => drop(self.deps.commands.fill.try_send(FillHistory(missing))), // a deadline runs
        }
    }

    /// Ends the handling of an event: stores the life cycle, publishes it, arms the timer.
    fn settled(&mut self, ctx: &mut Context<Self>) {
        *self.deps.kept.lock().unwrap_or_else(PoisonError::into_inner) = self.lifecycle.clone();
        self.show();
        self.deps
            .journal
            .note_conditions(ConditionHolder::Root, &self.lifecycle.conditions().list());
        self.deps.journal.hand_over();
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(due) = self.lifecycle.next_deadline() {
            let sleep = self.deps.services.clock.until(due).min(limits::LOOK_AT_CLOCK);
            self.timer = Some(ctx.run_later(sleep, |root, ctx| {
                root.timer = None;
                if root
                    .lifecycle
                    .next_deadline()
                    .is_some_and(|due| due <= root.deps.services.clock.now())
                {
                    root.on(Event::Deadline, ctx);
                } else {
                    root.settled(ctx);
                }
            }));
        }
    }

    fn show(&self) {
        let lifecycle = &self.lifecycle;
        let first = lifecycle.conditions().holding().next();
        let (changes, changes_total) = {
            let shown = self.deps.services.views.overall.borrow();
            (shown.changes.clone(), shown.changes_total)
        };
        let next = Overall {
            name: lifecycle.state().name().to_owned(),
            since: lifecycle.since(),
            reason: lifecycle.reason().to_owned(),
            good: first.is_none(),
            verified: lifecycle.verified(),
            conditions: lifecycle.conditions().list(),
            flag: lifecycle.flag().map(|flag| flag.at),
            changes,
            changes_total,
        };
        self.deps.services.views.overall.send_if_modified(|overall| {
            let news = *overall != next;
            *overall = next;
            news
        });
    }

    fn raise(&mut self, kind: ConditionKind, reason: &str, message: &str, ctx: &mut Context<Self>) {
        self.lifecycle
            .conditions_mut()
            .raise(kind, None, reason, message, self.deps.services.clock.now());
        self.settled(ctx);
    }

    fn clear(&mut self, kind: ConditionKind, ctx: &mut Context<Self>) {
        self.lifecycle
            .conditions_mut()
            .clear(kind, None, self.deps.services.clock.now());
        self.settled(ctx);
    }

    fn gave_up(&mut self, child: &str, then: WhenSpent, ctx: &mut Context<Self>) {
        match then {
            WhenSpent::Exit => {
                tracing::error!(actor = child, "required actor exhausted its restart budget; exiting");
                self.deps.services.views.ending.send_replace(Some(Exit::GaveUp));
            }
            WhenSpent::FallBack => {
                self.overspent(ctx);
                let parked = child.to_owned();
                ctx.run_later(limits::RESUME_PARKED, move |root, _| root.resume(&parked));
            }
            WhenSpent::KeepTrying => self.overspent(ctx),
        }
    }

    fn resume(&self, child: &str) {
        for (_, vitals) in self.deps.children.iter().filter(|(_, vitals)| vitals.name() == child) {
            vitals.resume();
        }
    }

    /// One condition for all children that are out of budget.
    fn overspent(&mut self, ctx: &mut Context<Self>) {
        let names: Vec<&str> = self
            .deps
            .children
            .iter()
            .filter(|(_, vitals): &&(Row, Vitals)| vitals.overspent())
            .map(|(_, vitals)| vitals.name())
            .collect();
        match names.join(", ") {
            none if none.is_empty() => self.clear(ConditionKind::ActorParked, ctx),
            names => {
                let message = format!("Failed more often than their budget allows, and are tried again: {names}.");
                self.raise(ConditionKind::ActorParked, &names, &message, ctx);
            }
        }
    }

    fn polling(&mut self, polled: &[Symbol], ctx: &mut Context<Self>) {
        let pairs = polled.iter().map(Symbol::as_str).collect::<Vec<_>>().join(", ");
        let lines = self.deps.services.views.feed.borrow().symbols.clone();
        let in_vain: Vec<&str> = lines
            .iter()
            .filter(|line| line.unaccepted && polled.contains(&line.symbol))
            .map(|line| line.symbol.as_str())
            .collect();
        let why = if in_vain.is_empty() {
            String::new()
        } else {
            format!(
                " Prices of {} are received over the link, and none is accepted.",
                in_vain.join(", ")
            )
        };
        let message = format!("Prices of {pairs} are requested over REST.{why}");
        self.raise(ConditionKind::Polling, "link_without", &message, ctx);
    }

    fn keys_exhausted(&mut self, reason: &str, until: Timestamp, ctx: &mut Context<Self>) {
        let why = match reason {
            "retired" => "the vendor refuses every key (401); one is tried again",
            _ => "the calls of the day are spent for every key that the vendor does not refuse; one may be used",
        };
        let message = format!("No API key can be used: {why} at {until}.");
        self.raise(ConditionKind::KeysExhausted, reason, &message, ctx);
    }

    fn clock_stepped(&mut self, distrust: &Distrust, ctx: &mut Context<Self>) {
        let message = distrust.to_string();
        tracing::warn!(ahead_ms = distrust.ahead_ms, reason = distrust.reason, "{message}");
        self.raise(ConditionKind::ClockStepped, distrust.reason, &message, ctx);
    }

    /// The condition holds for a while after the pause, so that it is seen.
    fn paused(&mut self, pause: &Break, ctx: &mut Context<Self>) {
        let lasted_ms = pause.by_ms();
        let message = pause.to_string();
        tracing::warn!(lasted_ms, since = %pause.since, until = %pause.until, "{message}");
        self.raise(ConditionKind::ProcessPaused, "paused", &message, ctx);
        if let Some(told) = self.pause_told.take() {
            ctx.cancel_future(told);
        }
        self.pause_told = Some(ctx.run_later(limits::PAUSE_TOLD, |root, ctx| {
            root.clear(ConditionKind::ProcessPaused, ctx);
        }));
    }

    /// The condition holds for a while after the last disturbance of a pair's streams, or of the journal's, so that it is seen.
    fn stream_disturbed(&mut self, channel: Channel, disturbance: Disturbance, ctx: &mut Context<Self>) {
        let symbol = channel.pair();
        let message = format!(
            "The Redis stream {} {}; it is filled again from the ledger.",
            stream_key(channel),
            disturbance.sentence()
        );
        let now = self.deps.services.clock.now();
        let conditions = self.lifecycle.conditions_mut();
        conditions.raise(
            ConditionKind::StreamDisturbed,
            symbol,
            disturbance.name(),
            &message,
            now,
        );
        self.settled(ctx);
        if let Some(told) = self.disturbance_told.remove(&symbol) {
            ctx.cancel_future(told);
        }
        let told = ctx.run_later(limits::DISTURBANCE_TOLD, move |root, ctx| root.stream_calm(symbol, ctx));
        self.disturbance_told.insert(symbol, told);
    }

    fn stream_calm(&mut self, symbol: Option<Symbol>, ctx: &mut Context<Self>) {
        self.disturbance_told.remove(&symbol);
        let now = self.deps.services.clock.now();
        if self
            .lifecycle
            .conditions_mut()
            .clear(ConditionKind::StreamDisturbed, symbol, now)
        {
            self.settled(ctx);
        }
    }

    /// Clears the conditions of disturbed streams after a panic, which lost their timers; a stream that is still incomplete is reported
    /// again.
    fn streams_calm(&mut self, ctx: &mut Context<Self>) {
        let conditions = self.lifecycle.conditions_mut();
        let symbols: Vec<Option<Symbol>> = conditions
            .holding()
            .filter(|one: &&Condition| one.kind == ConditionKind::StreamDisturbed)
            .map(|one| one.symbol)
            .collect();
        for symbol in symbols {
            self.stream_calm(symbol, ctx);
        }
    }

    fn turned(&mut self, turn: &Turn, ctx: &mut Context<Self>) {
        if turn.stage == Stage::Open {
            let symbol = turn.symbol;
            let session = turn.session;
            drop(self.deps.commands.seam.try_send(MarkSeam { symbol, session })); // a full mailbox costs one seam
        }
        if let Some(event) = turn.event() {
            self.on(event, ctx);
        }
    }

    fn store_lost(&mut self, reason: &'static str, cause: &str, ctx: &mut Context<Self>) {
        let message = format!("The database is behind the ledger: {cause}.");
        self.raise(ConditionKind::StoreBehind, reason, &message, ctx);
    }

    /// The store has events of other ledgers only: the ledger's folder is new or wrong, or the database is wrong.
    fn store_of_another(&mut self, events: u64, ctx: &mut Context<Self>) {
        let message = format!(
            "The database has {events} events of another ledger, which this one does not know: they are kept, and new events are numbered in new epochs."
        );
        self.raise(ConditionKind::StoreAhead, "another_ledger", &message, ctx);
        self.forget_later(ConditionKind::StoreAhead, ctx);
    }

    /// The store has events that the ledger lacks: they are kept, and their numbers are not used again.
    fn store_ahead(&mut self, events: u64, restart: bool, ctx: &mut Context<Self>) {
        let done = if restart {
            "candela starts again, and numbers new events in new epochs"
        } else {
            "they are kept, and new events are numbered in new epochs"
        };
        let message = format!("The database has {events} events of this ledger that the ledger does not have: {done}.");
        let reason = if restart { "found_late" } else { "kept" };
        self.raise(ConditionKind::StoreAhead, reason, &message, ctx);
        self.forget_later(ConditionKind::StoreAhead, ctx);
        if restart {
            tracing::error!(
                events,
                "the database is ahead of the ledger: the process ends, and a restart begins new epochs"
            );
            self.deps.services.views.ending.send_replace(Some(Exit::TryAgain));
        }
    }

    fn lease_unrenewable(&mut self, cause: &str, ctx: &mut Context<Self>) {
        let message = format!(
            "The lease cannot be renewed, and no standby can take over; this leader continues while the cluster log accepts its parcels: {cause}."
        );
        self.raise(ConditionKind::LeaseUnrenewable, "away", &message, ctx);
    }

    fn log_away(&mut self, cause: &str, ctx: &mut Context<Self>) {
        let message = format!("The cluster log accepts no parcels, and edges receive nothing new: {cause}.");
        self.raise(ConditionKind::LogDown, "away", &message, ctx);
    }

    /// This process no longer leads: the next start waits for the lease, and continues the cluster log or begins a chain behind it.
    fn log_foreign(&mut self, cause: &str, ctx: &mut Context<Self>) {
        let message = format!("The cluster log is not of this leader: {cause}.");
        self.raise(ConditionKind::LogDiverged, "diverged", &message, ctx);
        self.deps.services.views.ending.send_replace(Some(Exit::TryAgain));
    }

    /// Another process writes to the store or to Redis. If it is the store, this process ends, and its next start waits for the lease.
    /// Redis is optional: the service continues without it.
    fn another_writer(&mut self, other: &AnotherWriter, ctx: &mut Context<Self>) {
        let message = format!("This candela writes nothing to {}: {other}.", other.place.words());
        tracing::error!(place = other.place.name(), "{message}");
        self.raise(ConditionKind::AnotherWriter, other.place.name(), &message, ctx);
        if other.place != Place::Redis {
            self.deps.services.views.ending.send_replace(Some(Exit::TryAgain));
        }
    }

    /// Clears a condition that was found at the start, after a while.
    fn forget_later(&self, kind: ConditionKind, ctx: &mut Context<Self>) {
        let real = self.deps.services.clock.real(limits::START_FINDING_SHOWN);
        ctx.run_later(real, move |root, ctx| root.clear(kind, ctx));
    }

    /// Ends a leader whose ledger stays unwritable, if a standby can take its place.
    fn hand_over_later(ctx: &mut Context<Self>) {
        ctx.run_later(limits::LEDGER_HAND_OVER, |root, ctx| {
            if !root.lifecycle.conditions().holds(ConditionKind::LedgerUnwritable, None) {
                return;
            }
            let views = &root.deps.services.views;
            let cluster = views.cluster.borrow();
            let successor = cluster.as_ref().and_then(ClusterView::successor);
            let Some(successor) = successor.and_then(|node| node.news.address.clone()) else {
                return Self::hand_over_later(ctx);
            };
            drop(cluster);
            tracing::error!(
                address = successor,
                "the ledger cannot be written: this leader ends, and a standby takes over"
            );
            views.ending.send_replace(Some(Exit::TryAgain));
        });
    }

    /// Raises or clears the condition that the ledger cannot be written.
    fn ledger(&mut self, trouble: Option<(&str, String)>, ctx: &mut Context<Self>) {
        match trouble {
            Some((reason, cause)) => {
                if !self.lifecycle.conditions().holds(ConditionKind::LedgerUnwritable, None) {
                    Self::hand_over_later(ctx);
                }
                self.raise(
                    ConditionKind::LedgerUnwritable,
                    reason,
                    &format!("Nothing new is published: {cause}"),
                    ctx,
                );
                self.on(
                    Event::Failed {
                        part: "ledger",
                        reason: cause,
                    },
                    ctx,
                );
            }
            None => {
                self.clear(ConditionKind::LedgerUnwritable, ctx);
                self.on(Event::Healed { part: "ledger" }, ctx);
            }
        }
    }
}

impl Actor for Root {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.on(Event::Started, ctx); // a Root that was restarted ignores it
        self.clear(ConditionKind::ProcessPaused, ctx); // their timers were lost with the panic
        self.forget_later(ConditionKind::LedgerRenumbered, ctx);
        self.streams_calm(ctx);
    }
}

impl Supervised for Root {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}

impl Handler<Report> for Root {
    type Result = ();

    fn handle(&mut self, msg: Report, ctx: &mut Context<Self>) {
        use ConditionKind::{
            CacheDown, CalendarFileWrong, ClockStepped, FeedDown, FeedSilent, KeysExhausted, LogLinesLost, Polling,
            StoreBehind,
        };
        self.deps.journal.note_report(&msg, &self.deps.children);
        match msg {
            Report::LinkUp => self.clear(FeedDown, ctx),
            Report::LinkDown { cause } => self.link_down(&cause, ctx),
            Report::FeedSilent => self.raise(FeedSilent, "overdue", SILENT, ctx),
            Report::FeedHeard => self.clear(FeedSilent, ctx),
            Report::Polling(pairs) => self.polling(&pairs, ctx),
            Report::PollingOver => self.clear(Polling, ctx),
            Report::KeysExhausted { reason, until } => self.keys_exhausted(reason, until, ctx),
            Report::KeysUsable => self.clear(KeysExhausted, ctx),
            Report::LedgerUnwritable { reason, cause } => self.ledger(Some((reason, cause)), ctx),
            Report::LedgerWritable => self.ledger(None, ctx),
            Report::StoreLost { reason, cause } => self.store_lost(reason, &cause, ctx),
            Report::StoreBack => {
                self.clear(StoreBehind, ctx);
                self.on(Event::StoreBack, ctx); // history that could not be read is checked at once
            }
            Report::StoreAhead { events, restart } => self.store_ahead(events, restart, ctx),
            Report::StoreOfAnother { events } => self.store_of_another(events, ctx),
            Report::CacheLost { reason, cause } => {
                let message = format!("The cache cannot be reached: {cause}.");
                self.raise(CacheDown, reason, &message, ctx);
            }
            Report::CacheBack => self.clear(CacheDown, ctx),
            Report::StreamDisturbed { channel, disturbance } => self.stream_disturbed(channel, disturbance, ctx),
            Report::Flag(Ok(flag)) => self.on(Event::L0Ready(flag), ctx),
            Report::Flag(Err(trouble)) => self.on(Event::L0Lost(trouble), ctx),
            Report::SessionTurned(turn) => self.turned(&turn, ctx),
            Report::ClockStepped(distrust) => self.clock_stepped(&distrust, ctx),
            Report::ClockTrusted => {
                tracing::info!("the wall clock is trusted again");
                self.clear(ClockStepped, ctx);
            }
            Report::ClockSet(set) => {
                let by_ms = set.by_ms();
                let since = set.since;
                let until = set.until;
                tracing::warn!(by_ms, %since, %until, "market time was set to the wall clock");
                self.lifecycle.set(&set);
                self.settled(ctx);
            }
            Report::ProcessPaused(pause) => self.paused(&pause, ctx),
            Report::CalendarRead(Ok(())) => self.clear(CalendarFileWrong, ctx),
            Report::CalendarRead(Err(problem)) => self.raise(CalendarFileWrong, "unreadable", &problem, ctx),
            Report::Judged(verdicts) => {
                self.deps.services.views.verdicts.send_replace(Arc::clone(&verdicts));
                self.on(Event::Judged(verdicts), ctx);
            }
            Report::HistoryFetched(pair) => self.on(Event::HistoryFetched(pair), ctx),
            Report::LogLinesLost(true) => self.raise(LogLinesLost, "log_not_taken", LOG_LOST, ctx),
            Report::LogLinesLost(false) => self.clear(LogLinesLost, ctx),
            Report::Restarted { .. } => {}
            Report::GaveUp { child, then } => self.gave_up(&child, then, ctx),
            Report::Steady { .. } => self.overspent(ctx),
            Report::AnotherWriter(other) => self.another_writer(&other, ctx),
            Report::LogAway { cause } => self.log_away(&cause, ctx),
            Report::LeaseUnrenewable { cause } => self.lease_unrenewable(&cause, ctx),
            Report::LeaseRenewed => self.clear(ConditionKind::LeaseUnrenewable, ctx),
            Report::LogBack => self.clear(ConditionKind::LogDown, ctx),
            Report::LogForeign { cause } => self.log_foreign(&cause, ctx),
            Report::SoleWriter(place) => {
                tracing::info!(place = place.name(), "this candela is the only writer again");
                self.clear(ConditionKind::AnotherWriter, ctx);
            }
            Report::Stopping => self.on(Event::StopAsked, ctx),
        }
    }
}
