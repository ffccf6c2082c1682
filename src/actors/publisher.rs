//! Publisher: keeps the cache up with the ledger, and tells whoever listens there.
//!
//! owns   a Follower (domain::batch::Pacer), one timer at its next deadline, at most one round trip at a time
//! hears  Recorded (Recorder) · Flush (Root)
//! says   CacheLost, CacheBack → Root · ReaderView → views
//! fails  never on the cache: what it missed is in the ledger, and of that only as much is told later as a stream holds

use crate::actors::follower::{Follower, Words};
use crate::actors::messages::{Flush, Recorded, Report};
use crate::cache::{Cache, CacheError, News, price_json};
use crate::clock::{Clock, Stopwatch};
use crate::domain::batch::{Pacer, ReaderView, Step};
use crate::domain::event::{Event, Numbered, Position};
use crate::domain::frames::{self, Zones};
use crate::ledger::{LedgerError, LedgerReader};
use crate::limits;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, Supervised, WrapFuture};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
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
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum Trouble {
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
            let work = Work {
                cache: self.parts.cache.clone(),
                ledger: Arc::clone(&self.ledger),
                zones: Arc::clone(&self.parts.zones),
                clock: self.parts.clock.clone(),
            };
            let slow = ctx.run_later(limits::FOLLOWER_SLOW, |actor, _| actor.follower.slow());
            ctx.spawn(work.run(step).into_actor(self).map(move |done, actor, ctx| {
                ctx.cancel_future(slow);
                match done {
                    Ok(position) => actor.follower.wrote(position, 0, &took),
                    Err(trouble) => actor.follower.failed(trouble.reason(), &trouble),
                }
                actor.proceed(ctx);
            }));
        } else if let Some(wait) = self.follower.wait() {
            self.timer = Some(ctx.run_later(wait, Self::proceed));
        }
        self.follower.show(self.parts.cache.kind());
    }

    /// Asks whether it is there, also when there is nothing to say: an outage at night is known in the morning.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let cache = self.parts.cache.clone();
        ctx.spawn(
            async move { cache.ping().await }
                .into_actor(self)
                .map(|answer, actor, _| match answer {
                    Ok(took) => actor.follower.answered(took),
                    Err(error) => actor.follower.unanswered(error.reason(), &error),
                }),
        );
    }
}

impl Work {
    async fn run(self, step: Step) -> Result<Position, Trouble> {
        match step {
            Step::Locate => self.locate().await,
            Step::Write { from, limit } => self.tell(from, limit).await,
        }
    }

    /// Streams are filled again from the ledger, as far back as they reach.
    async fn locate(&self) -> Result<Position, Trouble> {
        let (head, first, heads) = {
            let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            (ledger.head(), ledger.first(), ledger.heads())
        };
        let epochs = heads.iter().map(|(channel, head)| (*channel, head.epoch)).collect();
        self.cache.adopt(epochs).await?;
        let back = head.0.saturating_sub(limits::STREAM_ENTRIES);
        Ok(Position(back.max(first.0.saturating_sub(1))))
    }

    /// Tells the events from `from` on, or, when that is more than a stream holds, the newest of them.
    async fn tell(self, from: Position, limit: usize) -> Result<Position, Trouble> {
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
        let (ledger, zones) = (self.ledger, self.zones);
        let read = tokio::task::spawn_blocking(move || {
            let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let events = ledger.read(begin, limit)?;
            let heads = ledger.heads();
            let epochs = |event: &Numbered| {
                event
                    .channel
                    .and_then(|channel| Some((channel, heads.get(&channel)?.epoch)))
            };
            let mut news = News::default();
            for event in &events {
                if let Some((channel, epoch)) = epochs(event) {
                    let json = String::from_utf8(frames::event_json(&zones, event)).unwrap_or_default();
                    news.entries.push((channel, epoch, event.seq, json));
                }
            }
            add_prices(&mut news, &events, now);
            Ok::<_, LedgerError>((news, events.last().map_or(head, |last| last.position)))
        });
        let (news, position) = read.await.map_err(|error| Trouble::Cut(error.to_string()))??;
        self.cache.tell(news, now).await?;
        Ok(position)
    }
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
