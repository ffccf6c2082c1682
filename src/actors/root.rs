//! Root: the only one who decides what the service does.
//!
//! owns   `domain::lifecycle::Lifecycle`, one timer at its next deadline
//! hears  Report (every child, its supervisor, and the app)
//! says   LookAtFlag → L0Watcher · Validate, FillHistory, MarkSeam → Validator · whether prices are wanted → Feed, Poller · Overall → views ·
//!        how the process must end → app
//! fails  a panic restarts it from the last life cycle that was whole; a spent budget ends the process

use crate::actors::messages::{FillHistory, LookAtFlag, MarkSeam, Report, Validate};
use crate::actors::supervise::{Row, WhenSpent};
use crate::actors::vitals::Vitals;
use crate::cache::stream_key;
use crate::clock::Clock;
use crate::domain::channel::Channel;
use crate::domain::health::{Condition, ConditionKind};
use crate::domain::lifecycle::{Effect, Event, Lifecycle};
use crate::domain::market_time::{Break, Distrust};
use crate::domain::session_watch::{Stage, Turn};
use crate::domain::stream::Disturbance;
use crate::domain::symbol::Symbol;
use crate::domain::timestamp::Timestamp;
use crate::domain::verdict::Verdicts;
use crate::exit::Exit;
use crate::ledger::Renumbered;
use crate::limits;
use crate::views::Overall;
use actix::{Actor, AsyncContext, Context, Handler, Recipient, SpawnHandle, Supervised};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// What Root is made of; outlives its restarts.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Market time.
    pub clock: Clock,
    /// The life cycle after the last event that was dealt with to its end.
    pub kept: Arc<Mutex<Lifecycle>>,
    /// The children, to resume those that were parked.
    pub children: Vec<(Row, Vitals)>,
    /// Looks at the ready flag.
    pub flag: Recipient<LookAtFlag>,
    /// Checks the history.
    pub validator: Recipient<Validate>,
    /// Has missing history fetched.
    pub filler: Recipient<FillHistory>,
    /// Finds the seam of a session.
    pub seam: Recipient<MarkSeam>,
    /// Whether prices are wanted.
    pub wanted: watch::Sender<bool>,
    /// What it shows.
    pub overall: watch::Sender<Overall>,
    /// The last verdict on each pair.
    pub verdicts: watch::Sender<Arc<Verdicts>>,
    /// How the process must end.
    pub ending: watch::Sender<Option<Exit>>,
}

/// See the module.
#[derive(Debug)]
pub struct Root {
    parts: Parts,
    lifecycle: Lifecycle,
    timer: Option<SpawnHandle>,
    /// Ends the condition that tells of a pause.
    pause_told: Option<SpawnHandle>,
    /// End the conditions that tell of disturbed streams, by pair.
    disturbance_told: BTreeMap<Symbol, SpawnHandle>,
}

/// What the condition `feed_silent` says.
const SILENT: &str = "The link is up, and prices are overdue by this half-hour's habit.";

/// What the condition `log_lines_lost` says.
const LOG_LOST: &str =
    "Whoever reads the log is too slow, away or out of room: lines are dropped, nothing else waits for it.";

/// What the views show before Root has begun.
#[must_use]
pub fn starting(now: Timestamp) -> Overall {
    Overall {
        name: "initializing".to_owned(),
        since: now,
        reason: "the process started".to_owned(),
        good: true,
        verified: Vec::new(),
        conditions: Vec::new(),
        flag: None,
        changes: Vec::new(),
        changes_total: 0,
    }
}

/// What the condition `ledger_renumbered` says.
#[must_use]
pub fn renumbered(found: Renumbered) -> String {
    let Renumbered { why, head, told } = found;
    let lost = match told.saturating_sub(head) {
        0 => String::new(),
        lost => format!(" ({lost} events after position {head} are lost)"),
    };
    format!("All channels have new epochs: {}{lost}.", why.meaning())
}

impl Root {
    /// Not started yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let lifecycle = parts.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self {
            parts,
            lifecycle,
            timer: None,
            pause_told: None,
            disturbance_told: BTreeMap::new(),
        }
    }

    /// Tells the machine, and does what it says.
    fn on(&mut self, event: Event, ctx: &mut Context<Self>) {
        let effects = self.lifecycle.on(event, self.parts.clock.now());
        for effect in effects {
            self.act(effect);
        }
        self.settled(ctx);
    }

    /// No prices are wanted: that none come is as it should be.
    fn close_feed(&mut self) {
        self.parts.wanted.send_replace(false);
        let (conditions, now) = (self.lifecycle.conditions_mut(), self.parts.clock.now());
        for kind in [ConditionKind::FeedDown, ConditionKind::FeedSilent] {
            conditions.clear(kind, None, now);
        }
    }

    fn link_down(&mut self, cause: &str, ctx: &mut Context<Self>) {
        if *self.parts.wanted.borrow() {
            let message = format!("The link to the vendor is down: {cause}.");
            self.raise(ConditionKind::FeedDown, cause, &message, ctx);
        }
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::LookForFlag => drop(self.parts.flag.try_send(LookAtFlag)), // a full mailbox has others before it
            Effect::Validate(flag) => drop(self.parts.validator.try_send(Validate { flag })), // asked again when no verdict comes
            Effect::OpenFeed => drop(self.parts.wanted.send_replace(true)),
            Effect::CloseFeed => self.close_feed(),
            Effect::Changed(change) => {
                let lasted_s = change.lasted.as_secs();
                tracing::info!(from = %change.from, to = %change.to, reason = change.reason, lasted_s, "the state changed");
                self.parts.overall.send_modify(|overall| {
                    if overall.changes.len() >= limits::CHANGES_SHOWN {
                        overall.changes.remove(0);
                    }
                    overall.changes_total = overall.changes_total.saturating_add(1);
                    overall.changes.push(change);
                });
            }
            Effect::FetchHistory(missing) => drop(self.parts.filler.try_send(FillHistory(missing))), // a deadline runs
            // The Recorder tries by itself, and the app stops everything.
            Effect::Probe(_) | Effect::Stop | Effect::Ignored => {}
        }
    }

    /// An event is dealt with to its end: keep the life cycle, show it, arm the timer.
    fn settled(&mut self, ctx: &mut Context<Self>) {
        *self.parts.kept.lock().unwrap_or_else(PoisonError::into_inner) = self.lifecycle.clone();
        self.show();
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(due) = self.lifecycle.next_deadline() {
            let sleep = self.parts.clock.until(due).min(limits::LOOK_AT_CLOCK);
            self.timer = Some(ctx.run_later(sleep, |root, ctx| {
                root.timer = None;
                if root
                    .lifecycle
                    .next_deadline()
                    .is_some_and(|due| due <= root.parts.clock.now())
                {
                    root.on(Event::Deadline, ctx);
                } else {
                    root.settled(ctx);
                }
            }));
        }
    }

    fn show(&self) {
        let view = self.lifecycle.view(self.parts.clock.now());
        let first = self.lifecycle.conditions().holding().next();
        let conditions = view
            .conditions
            .iter()
            .filter_map(|condition| serde_json::to_value(condition).ok())
            .collect();
        let (changes, changes_total) = {
            let shown = self.parts.overall.borrow();
            (shown.changes.clone(), shown.changes_total)
        };
        let next = Overall {
            name: view.name.name().to_owned(),
            since: view.since,
            reason: view.reason,
            good: first.is_none(),
            verified: self.lifecycle.verified(),
            conditions,
            flag: view.flag.map(|flag| flag.at),
            changes,
            changes_total,
        };
        self.parts.overall.send_if_modified(|overall| {
            let news = *overall != next;
            *overall = next;
            news
        });
    }

    fn raise(&mut self, kind: ConditionKind, reason: &str, message: &str, ctx: &mut Context<Self>) {
        self.lifecycle
            .conditions_mut()
            .raise(kind, None, reason, message, self.parts.clock.now());
        self.settled(ctx);
    }

    fn clear(&mut self, kind: ConditionKind, ctx: &mut Context<Self>) {
        self.lifecycle
            .conditions_mut()
            .clear(kind, None, self.parts.clock.now());
        self.settled(ctx);
    }

    fn gave_up(&mut self, child: &str, then: WhenSpent, ctx: &mut Context<Self>) {
        match then {
            WhenSpent::Exit => {
                tracing::error!(
                    actor = child,
                    "an actor without which nothing goes on was given up: the process ends"
                );
                self.parts.ending.send_replace(Some(Exit::GaveUp));
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
        for (_, vitals) in self.parts.children.iter().filter(|(_, vitals)| vitals.name() == child) {
            vitals.resume();
        }
    }

    /// One condition for all children that are out of budget.
    fn overspent(&mut self, ctx: &mut Context<Self>) {
        let out = |(_, vitals): &&(Row, Vitals)| vitals.overspent();
        let names: Vec<&str> = self
            .parts
            .children
            .iter()
            .filter(out)
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

    fn polling(&mut self, pairs: &[Symbol], ctx: &mut Context<Self>) {
        let pairs = pairs.iter().map(Symbol::as_str).collect::<Vec<_>>().join(", ");
        let message = format!("Prices of {pairs} are asked for over REST.");
        self.raise(ConditionKind::Polling, "link_without", &message, ctx);
    }

    fn keys_exhausted(&mut self, reason: &str, until: Timestamp, ctx: &mut Context<Self>) {
        let why = match reason {
            "retired" => "the vendor refuses every key (401); one is tried again",
            _ => "every key's day is spent, or the vendor refuses it; one may be used",
        };
        let message = format!("No API key can be used: {why} at {until}.");
        self.raise(ConditionKind::KeysExhausted, reason, &message, ctx);
    }

    fn clock_stepped(&mut self, distrust: &Distrust, ctx: &mut Context<Self>) {
        let message = distrust.to_string();
        tracing::warn!(ahead_ms = distrust.ahead_ms, reason = distrust.reason, "{message}");
        self.raise(ConditionKind::ClockStepped, distrust.reason, &message, ctx);
    }

    /// The condition stands for a while after the pause, so that it is seen.
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

    /// The condition stands for a while after the last disturbance of a pair's streams, so that it is seen.
    fn stream_disturbed(&mut self, channel: Channel, disturbance: Disturbance, ctx: &mut Context<Self>) {
        let symbol = channel.symbol;
        let message = format!(
            "The Redis stream {} {}; it is filled again from the ledger.",
            stream_key(channel),
            disturbance.sentence()
        );
        let now = self.parts.clock.now();
        let conditions = self.lifecycle.conditions_mut();
        conditions.raise(
            ConditionKind::StreamDisturbed,
            Some(symbol),
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

    fn stream_calm(&mut self, symbol: Symbol, ctx: &mut Context<Self>) {
        self.disturbance_told.remove(&symbol);
        let now = self.parts.clock.now();
        if self
            .lifecycle
            .conditions_mut()
            .clear(ConditionKind::StreamDisturbed, Some(symbol), now)
        {
            self.settled(ctx);
        }
    }

    /// After a panic nothing ends what was told before; a stream that is not whole is told again.
    fn streams_calm(&mut self, ctx: &mut Context<Self>) {
        let disturbed = |one: &&Condition| one.kind == ConditionKind::StreamDisturbed;
        let conditions = self.lifecycle.conditions_mut();
        let symbols: Vec<Symbol> = conditions
            .holding()
            .filter(disturbed)
            .filter_map(|one| one.symbol)
            .collect();
        for symbol in symbols {
            self.stream_calm(symbol, ctx);
        }
    }

    fn turned(&mut self, turn: &Turn, ctx: &mut Context<Self>) {
        if turn.stage == Stage::Open {
            let (symbol, session) = (turn.symbol, turn.session);
            drop(self.parts.seam.try_send(MarkSeam { symbol, session })); // a full mailbox costs one seam
        }
        if let Some(event) = turn.event() {
            self.on(event, ctx);
        }
    }

    /// What the store has more than the ledger is kept, and its numbers are not given out again.
    fn store_ahead(&mut self, events: u64, restart: bool, ctx: &mut Context<Self>) {
        let done = if restart {
            "candela starts again, and numbers what comes in new epochs"
        } else {
            "they are kept, and what comes is numbered in new epochs"
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
            self.parts.ending.send_replace(Some(Exit::TryAgain));
        }
    }

    /// What was found at the start is shown for a while.
    fn forget_later(&self, kind: ConditionKind, ctx: &mut Context<Self>) {
        let real = self.parts.clock.real(limits::START_FINDING_SHOWN);
        ctx.run_later(real, move |root, ctx| root.clear(kind, ctx));
    }

    /// The ledger is the part without which nothing goes on.
    fn ledger(&mut self, trouble: Option<(&str, String)>, ctx: &mut Context<Self>) {
        match trouble {
            Some((reason, cause)) => {
                self.raise(
                    ConditionKind::LedgerUnwritable,
                    reason,
                    &format!("Nothing new is told: {cause}"),
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
        self.on(Event::Started, ctx); // to one that goes on after a panic it means nothing
        self.clear(ConditionKind::ProcessPaused, ctx); // whose end went with the panic
        self.forget_later(ConditionKind::LedgerRenumbered, ctx);
        self.streams_calm(ctx);
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
        use ConditionKind::{
            CacheDown, CalendarFileWrong, ClockStepped, FeedDown, FeedSilent, KeysExhausted, LogLinesLost, Polling,
            StoreBehind,
        };
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
            Report::StoreLost { reason, cause } => {
                let message = format!("The database is behind the ledger: {cause}.");
                self.raise(StoreBehind, reason, &message, ctx);
            }
            Report::StoreBack => {
                self.clear(StoreBehind, ctx);
                self.on(Event::StoreBack, ctx); // history that could not be read is checked at once
            }
            Report::StoreAhead { events, restart } => self.store_ahead(events, restart, ctx),
            Report::CacheLost { reason, cause } => {
                let message = format!("The cache is out of reach: {cause}.");
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
                let (by_ms, since, until) = (set.by_ms(), set.since, set.until);
                tracing::warn!(by_ms, %since, %until, "market time was set to the wall clock");
                self.lifecycle.set(&set);
                self.settled(ctx);
            }
            Report::ProcessPaused(pause) => self.paused(&pause, ctx),
            Report::CalendarRead(Ok(())) => self.clear(CalendarFileWrong, ctx),
            Report::CalendarRead(Err(problem)) => self.raise(CalendarFileWrong, "unreadable", &problem, ctx),
            Report::Judged(verdicts) => {
                self.parts.verdicts.send_replace(Arc::clone(&verdicts));
                self.on(Event::Judged(verdicts), ctx);
            }
            Report::HistoryFetched(pair) => self.on(Event::HistoryFetched(pair), ctx),
            Report::LogLinesLost(true) => self.raise(LogLinesLost, "log_not_taken", LOG_LOST, ctx),
            Report::LogLinesLost(false) => self.clear(LogLinesLost, ctx),
            Report::Restarted { .. } => {}
            Report::GaveUp { child, then } => self.gave_up(&child, then, ctx),
            Report::Steady { .. } => self.overspent(ctx),
            Report::Stopping => self.on(Event::StopAsked, ctx),
        }
    }
}
