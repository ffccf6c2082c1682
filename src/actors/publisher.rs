//! Publisher: keeps the cache up with the ledger, and tells whoever listens there.
//!
//! owns   a Follower (domain::batch::Pacer), one timer at its next deadline, at most one round trip at a time
//! hears  Recorded (Recorder) · Flush (Root)
//! says   CacheLost, CacheBack, StreamDisturbed → Root · ReaderView → views
//! fails  never on the cache: what it missed is in the ledger, and of that only as much is told later as a stream holds
//!
//! It compares each stream with the ledger (domain::stream) at the start, after a failure, when a stream refuses an entry or lacks
//! one, and with each look.

use crate::actors::follower::{Follower, Words};
use crate::actors::messages::{Flush, Recorded, Report};
use crate::actors::stream_keeper::{self, StreamKeeper};
use crate::cache::{Cache, CacheError, News, StreamAdd, price_json};
use crate::clock::{Clock, Stopwatch};
use crate::domain::batch::{Pacer, ReaderView, Step};
use crate::domain::channel::{Channel, Epoch, Head};
use crate::domain::event::{Event, Numbered, Position};
use crate::domain::frames::Zones;
use crate::domain::stream::{Disturbance, Next, Streams};
use crate::ledger::{LedgerError, LedgerReader};
use crate::limits;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, Supervised, WrapFuture};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What a Publisher is made of; outlives its restarts.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where it tells.
    pub cache: Cache,
    /// Where it reads from. It holds no file: what is gone from the ledger is not news any more.
    pub ledger: LedgerReader,
    /// In which zone each market's people read times.
    pub zones: Arc<Zones>,
    /// Market time.
    pub clock: Clock,
    /// Root.
    pub up: Recipient<Report>,
    /// What it shows.
    pub view: watch::Sender<ReaderView>,
}

/// See the module.
#[derive(Debug)]
pub struct Publisher {
    ledger: Arc<Mutex<LedgerReader>>,
    parts: Parts,
    follower: Follower,
    timer: Option<SpawnHandle>,
    /// Only one step or look changes them at a time.
    streams: Arc<tokio::sync::Mutex<Streams>>,
    /// A look is under way.
    looking: bool,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("the work was cut short: {0}")]
    Cut(String),
}

impl Trouble {
    const fn reason(&self) -> &'static str {
        match self {
            Self::Cache(error) => error.reason(),
            Self::Ledger(_) => "ledger_unreadable",
            Self::Cut(_) => "cut_short",
        }
    }
}

/// What a step needs.
struct Work {
    cache: Cache,
    ledger: Arc<Mutex<LedgerReader>>,
    zones: Arc<Zones>,
    clock: Clock,
    streams: Arc<tokio::sync::Mutex<Streams>>,
}

/// What a step or a look has found out about the streams.
struct Findings {
    disturbances: BTreeMap<Channel, Disturbance>,
    /// No stream is known to lack anything.
    whole: bool,
}

impl Publisher {
    /// Not started yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let words = Words {
            lost: |reason, cause| Report::CacheLost { reason, cause },
            back: Report::CacheBack,
            lost_log: "failed to tell the cache: its readers see nothing new",
            back_log: "the cache is told again",
        };
        let (clock, up) = (parts.clock.clone(), parts.up.clone());
        Self {
            ledger: Arc::new(Mutex::new(parts.ledger.clone())),
            follower: Follower::new(Pacer::at_once(), clock, up, parts.view.clone(), words),
            timer: None,
            streams: Arc::default(),
            looking: false,
            parts,
        }
    }

    /// Does what is due, and sets the timer for what is not.
    fn proceed(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(step) = self.follower.step() {
            let took = Stopwatch::start();
            let work = self.work();
            let slow = ctx.run_later(limits::FOLLOWER_SLOW, |actor, _| actor.follower.slow());
            ctx.spawn(
                work.run(step)
                    .into_actor(self)
                    .map(move |(done, findings), actor, ctx| {
                        ctx.cancel_future(slow);
                        actor.tell_findings(findings);
                        match done {
                            Ok(position) => actor.follower.wrote(position, 0, &took),
                            Err(trouble) => actor.follower.failed(trouble.reason(), &trouble),
                        }
                        actor.proceed(ctx);
                    }),
            );
        } else if let Some(wait) = self.follower.wait() {
            self.timer = Some(ctx.run_later(wait, Self::proceed));
        }
        self.follower.show(self.parts.cache.kind());
    }

    fn work(&self) -> Work {
        Work {
            cache: self.parts.cache.clone(),
            ledger: Arc::clone(&self.ledger),
            zones: Arc::clone(&self.parts.zones),
            clock: self.parts.clock.clone(),
            streams: Arc::clone(&self.streams),
        }
    }

    /// Tells Root what somebody else did, and shows no stream that lacks something as up to date.
    fn tell_findings(&mut self, findings: Findings) {
        for (channel, disturbance) in findings.disturbances {
            let report = Report::StreamDisturbed { channel, disturbance };
            if self.parts.up.try_send(report).is_err() {
                tracing::debug!(%channel, "nobody takes the report of a disturbed stream; the log has it");
            }
        }
        let oldest = oldest_told(&self.parts.ledger);
        self.follower.show_at_most((!findings.whole).then_some(oldest));
    }

    /// Asks whether it is there and as it was left, also when there is nothing to say: an outage at night is known in the morning.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.looking, true) {
            return; // the server is slow, and that is said
        }
        let look = self.work().look().into_actor(self);
        ctx.spawn(look.map(|(answer, findings), actor, _| {
            actor.looking = false;
            actor.tell_findings(findings);
            match answer {
                Ok(took) => actor.follower.answered(took),
                Err(trouble) => actor.follower.unanswered(trouble.reason(), &trouble),
            }
            actor.follower.show(actor.parts.cache.kind());
        }));
    }
}

/// The oldest position that a stream may hold.
fn oldest_told(ledger: &LedgerReader) -> Position {
    let back = ledger.head().0.saturating_sub(limits::STREAM_ENTRIES);
    Position(back.max(ledger.first().0.saturating_sub(1)))
}

impl Work {
    async fn run(self, step: Step) -> (Result<Position, Trouble>, Findings) {
        let shared = Arc::clone(&self.streams);
        let mut streams = shared.lock().await;
        let done = match step {
            Step::Locate => self.locate(&mut streams).await,
            Step::Write { from, limit } => self.tell(&mut streams, from, limit).await,
        };
        let findings = findings(&mut streams, done.is_err());
        (done, findings)
    }

    async fn look(self) -> (Result<Duration, Trouble>, Findings) {
        let shared = Arc::clone(&self.streams);
        let mut streams = shared.lock().await;
        let done = self.ping_and_survey(&mut streams).await;
        let findings = findings(&mut streams, done.is_err());
        (done, findings)
    }

    async fn ping_and_survey(&self, streams: &mut Streams) -> Result<Duration, Trouble> {
        let took = self.cache.ping().await?;
        if let Some(keeper) = self.keeper() {
            keeper.survey_all(streams).await?;
        }
        Ok(took)
    }

    fn keeper(&self) -> Option<StreamKeeper> {
        let redis = self.cache.streams()?.clone();
        Some(StreamKeeper {
            redis,
            ledger: Arc::clone(&self.ledger),
            zones: Arc::clone(&self.zones),
            clock: self.clock.clone(),
        })
    }

    /// Streams are made whole, and prices are told as far back as streams reach.
    async fn locate(&self, streams: &mut Streams) -> Result<Position, Trouble> {
        if let Some(keeper) = self.keeper() {
            keeper.survey_all(streams).await?;
        }
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(oldest_told(&ledger))
    }

    /// Tells the events from `from` on, or, when that is more than a stream holds, the newest of them.
    async fn tell(&self, streams: &mut Streams, from: Position, limit: usize) -> Result<Position, Trouble> {
        let head = Position(
            from.0
                .saturating_add(u64::try_from(limit).unwrap_or(u64::MAX))
                .saturating_sub(1),
        );
        let begin = Position(
            head.0
                .saturating_sub(limits::STREAM_ENTRIES)
                .saturating_add(1)
                .max(from.0),
        );
        let now = self.clock.now();
        let (ledger, zones) = (Arc::clone(&self.ledger), Arc::clone(&self.zones));
        let read = tokio::task::spawn_blocking(move || {
            let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let events = ledger.read(begin, limit)?;
            let messages: Vec<String> = events.iter().map(|event| stream_keeper::json(&zones, event)).collect();
            Ok::<_, LedgerError>((events, messages, ledger.heads()))
        });
        let (events, messages, heads) = read.await.map_err(|error| Trouble::Cut(error.to_string()))??;
        let mut news = News::default();
        add_prices(&mut news, &events, now);
        let keeper = self.keeper();
        if keeper.is_some() {
            for (event, message) in events.iter().zip(messages) {
                let Some((channel, epoch)) = of_channel(event, &heads) else {
                    continue;
                };
                match streams.next(channel, epoch, event.seq) {
                    Next::Add(id) => {
                        news.entries.push(StreamAdd {
                            channel,
                            id,
                            epoch,
                            message,
                        });
                        streams.sent(channel, event.seq);
                    }
                    Next::Has => {}
                    Next::Unknown => streams.doubt(channel),
                }
            }
        }
        let refused = self.cache.tell(news, now).await?;
        streams.taken(&refused);
        if let Some(keeper) = keeper {
            keeper.survey_doubtful(streams).await?;
        }
        Ok(events.last().map_or(head, |last| last.position))
    }
}

/// After a failure how the streams stand is not known.
fn findings(streams: &mut Streams, failed: bool) -> Findings {
    if failed {
        streams.doubt_all();
    }
    Findings {
        disturbances: streams.take_disturbances(),
        whole: streams.doubtful().is_empty(),
    }
}

/// The channel of an event and its epoch.
fn of_channel(event: &Numbered, heads: &BTreeMap<Channel, Head>) -> Option<(Channel, Epoch)> {
    let channel = event.channel?;
    Some((channel, heads.get(&channel)?.epoch))
}

/// Every tick that is still news is published; of older ones only the last of each pair is kept.
fn add_prices(news: &mut News, events: &[Numbered], now: crate::domain::timestamp::Timestamp) {
    let mut latest = BTreeMap::new();
    for event in events {
        if let Event::Tick(accepted) = &event.event {
            let price = price_json(accepted);
            if now.since(event.at) < limits::UPDATE_AGE {
                news.updates.push(crate::cache::update_json(&price));
            }
            latest.insert(accepted.tick.symbol, (accepted.received_at, price));
        }
    }
    news.latest = latest
        .into_iter()
        .map(|(symbol, (at, price))| (symbol, at, price))
        .collect();
}

impl Actor for Publisher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.follower.heard(self.parts.ledger.head());
        ctx.run_interval(limits::STORE_LOOK, Self::look);
        self.proceed(ctx);
    }
}

impl Supervised for Publisher {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.parts.clone());
    }
}

impl Handler<Recorded> for Publisher {
    type Result = ();

    fn handle(&mut self, msg: Recorded, ctx: &mut Context<Self>) {
        self.follower.heard(msg.head);
        self.proceed(ctx);
    }
}

impl Handler<Flush> for Publisher {
    type Result = ();

    fn handle(&mut self, _: Flush, ctx: &mut Context<Self>) {
        self.follower.flush(self.parts.ledger.head());
        self.proceed(ctx);
    }
}
