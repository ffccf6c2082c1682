//! Publisher: the follower that copies the ledger to the cache and publishes it to subscribers. After an outage it publishes as much of
//! what it missed as a stream holds.
//!
//! It compares each stream with the ledger (`domain::followers::stream`) at the start, after a failure, when a stream refuses or lacks an
//! entry, and with each probe.

use crate::actors::followers::{
    FollowError, LedgerFollower, OutageReports, Outcome, Progress, Sink, StreamKeeper, stream_keeper,
};
use crate::actors::messages::Report;
use crate::actors::services::Services;
use crate::actors::views::Views;
use crate::cache::{Cache, News, StreamAdd, price_json};
use crate::clock::Clock;
use crate::domain::followers::{FlushSchedule, Next, ReaderView, Step, Streams};
use crate::domain::model::{Channel, Epoch, Event, Head, Position, Sequenced};
use crate::domain::protocol::Zones;
use crate::ledger::{LedgerError, LedgerReader};
use crate::limits;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Copies the ledger to the cache.
pub type Publisher = LedgerFollower<CacheSink>;

/// The cache as a sink.
#[derive(Debug, Clone)]
pub struct CacheSink {
    cache: Cache,
    ledger: Arc<Mutex<LedgerReader>>,
    zones: Arc<Zones>,
    clock: Clock,
    /// Locked by one step or probe at a time.
    streams: Arc<tokio::sync::Mutex<Streams>>,
}

impl Sink for CacheSink {
    type Deps = Services;

    fn new(services: &Services) -> Self {
        Self {
            cache: services.cache.clone(),
            ledger: Arc::new(Mutex::new(services.ledger.clone())),
            zones: Arc::clone(&services.zones),
            clock: services.clock.clone(),
            streams: Arc::default(),
        }
    }

    fn services(services: &Services) -> &Services {
        services
    }

    fn flush_schedule() -> FlushSchedule {
        FlushSchedule::at_once()
    }

    fn outage_reports() -> OutageReports {
        OutageReports {
            lost: |reason, cause| Report::CacheLost { reason, cause },
            back: Report::CacheBack,
            lost_log: "failed to write to the cache: its readers see nothing new",
            back_log: "the cache can be written again",
        }
    }

    fn view(views: &Views) -> &watch::Sender<ReaderView> {
        &views.cache
    }

    fn kind(&self) -> &'static str {
        self.cache.kind()
    }

    async fn step(self, step: Step) -> Outcome<Progress> {
        let mut streams = self.streams.lock().await;
        let done = match step {
            Step::Locate => self.locate(&mut streams).await,
            Step::Write { from, limit } => self.tell(&mut streams, from, limit).await,
        };
        let rejected = 0;
        self.outcome(
            &mut streams,
            done.map(|position| Progress::Wrote { position, rejected }),
        )
    }

    async fn probe(self) -> Outcome<Duration> {
        let mut streams = self.streams.lock().await;
        let done = self.ping_and_survey(&mut streams).await;
        self.outcome(&mut streams, done)
    }

    async fn forget(self) {} // streams are trimmed as they are written
}

/// The oldest position that a stream may hold.
fn oldest_told(ledger: &LedgerReader) -> Position {
    let back = ledger.head().0.saturating_sub(limits::STREAM_ENTRIES);
    Position(back.max(ledger.first_position().0.saturating_sub(1)))
}

impl CacheSink {
    /// Reports changes by other programs to Root, and shows no incomplete stream as up to date. After a failure the state of the streams is
    /// unknown.
    fn outcome<T>(&self, streams: &mut Streams, result: Result<T, FollowError>) -> Outcome<T> {
        if result.is_err() {
            streams.doubt_all();
        }
        let disturbed = streams.take_disturbances().into_iter();
        let whole = streams.doubtful().is_empty();
        Outcome {
            result,
            reports: disturbed
                .map(|(channel, disturbance)| Report::StreamDisturbed { channel, disturbance })
                .collect(),
            at_most: (!whole).then(|| oldest_told(&self.ledger.lock().unwrap_or_else(PoisonError::into_inner))),
        }
    }

    async fn ping_and_survey(&self, streams: &mut Streams) -> Result<Duration, FollowError> {
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

    /// Repairs the streams, and publishes prices as far back as a stream holds.
    async fn locate(&self, streams: &mut Streams) -> Result<Position, FollowError> {
        if let Some(keeper) = self.keeper() {
            keeper.survey_all(streams).await?;
        }
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(oldest_told(&ledger))
    }

    /// Publishes the events from `from` on; if they are more than a stream holds, only the newest.
    async fn tell(&self, streams: &mut Streams, from: Position, limit: usize) -> Result<Position, FollowError> {
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
        let ledger = Arc::clone(&self.ledger);
        let zones = Arc::clone(&self.zones);
        let read = tokio::task::spawn_blocking(move || {
            let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let events = ledger.read(begin, limit)?;
            let messages: Vec<String> = events.iter().map(|event| stream_keeper::json(&zones, event)).collect();
            Ok::<_, LedgerError>((events, messages, ledger.heads()))
        });
        let (events, messages, heads) = read.await.map_err(|error| FollowError::Cut(error.to_string()))??;
        let Some(last) = events.last().map(|event| event.position) else {
            let nothing = format!(
                "the ledger returns nothing from position {} on, although that position was announced",
                begin.0
            );
            return Err(FollowError::Cut(nothing));
        };
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
        Ok(last)
    }
}

fn of_channel(event: &Sequenced, heads: &BTreeMap<Channel, Head>) -> Option<(Channel, Epoch)> {
    let channel = event.channel?;
    Some((channel, heads.get(&channel)?.epoch))
}

/// Publishes every tick that is recent enough; of older ones, stores the last of each pair.
fn add_prices(news: &mut News, events: &[Sequenced], now: crate::domain::model::Timestamp) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::messages::Recorded;
    use crate::actors::testing::{listen, services};
    use crate::ledger::event_script::{EventScript, day};
    use crate::ledger::{Ledger, LedgerOptions};
    use crate::store::{Sqlite, Store};
    use actix::Actor;

    #[actix_rt::test]
    async fn what_was_announced_and_cannot_be_read_yet_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(&folder.path().join("ledger"), LedgerOptions::new(day(22), 3)).unwrap();
        let store = Store::Sqlite(Sqlite::open(&folder.path().join("store.db")).unwrap());
        let (root, mut reports) = listen();
        let services = services(Clock::system(), &ledger, store, root);
        let head = ledger.append(&EventScript::default().entries_for(&[0, 5])).unwrap();
        services.ledger.bound_told(Position(0));
        let publisher = Publisher::new(services.clone()).start();
        let told = Arc::new([]);
        publisher.send(Recorded { told, head }).await.unwrap();
        let within = Duration::from_secs(5);
        let lost = async {
            loop {
                if let Report::CacheLost { reason, .. } = reports.recv().await.unwrap() {
                    return reason;
                }
            }
        };
        assert_eq!(tokio::time::timeout(within, lost).await.unwrap(), "cut_short");
        services.ledger.raise_told(head);
        let mut cache = services.views.cache.subscribe();
        let there = cache.wait_for(|view| view.position == head && !view.lost);
        drop(tokio::time::timeout(within, there).await.unwrap().unwrap());
    }
}
