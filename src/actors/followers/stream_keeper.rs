//! Compares the Redis streams with the ledger, and refills those that lack entries or that other programs changed.

use crate::actors::followers::FollowError;
use crate::cache::{Redis, StreamAdd, stream_key};
use crate::clock::Clock;
use crate::domain::followers::{
    ChannelLog, Disturbance, FoundStream, StreamId, StreamPlan, StreamState, Streams, stream::plan_stream,
};
use crate::domain::model::{Channel, Epoch, Head, Sequenced};
use crate::domain::protocol::{Zones, frames};
use crate::ledger::{Ancestor, LedgerError, LedgerReader};
use crate::limits;
use std::sync::{Arc, Mutex, PoisonError};

/// The dependencies of a comparison.
#[derive(Clone)]
pub(crate) struct StreamKeeper {
    pub(crate) redis: Redis,
    pub(crate) ledger: Arc<Mutex<LedgerReader>>,
    pub(crate) zones: Arc<Zones>,
    pub(crate) clock: Clock,
}

/// How a stream is repaired, and with which entries.
struct Refill {
    head: Head,
    plan: StreamPlan,
    entries: Vec<StreamAdd>,
}

impl StreamKeeper {
    /// Compares every stream with the ledger.
    pub(super) async fn survey_all(&self, streams: &mut Streams) -> Result<(), FollowError> {
        let heads = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).heads();
        self.survey(streams, heads.into_iter().collect()).await
    }

    /// Compares the streams whose state is unknown, as far as they may be repaired now.
    pub(super) async fn survey_doubtful(&self, streams: &mut Streams) -> Result<(), FollowError> {
        let now = self.clock.now();
        let mut due = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).heads();
        due.retain(|channel, _| streams.doubtful().contains(channel) && streams.may_mend(*channel, now));
        self.survey(streams, due.into_iter().collect()).await
    }

    async fn survey(&self, streams: &mut Streams, heads: Vec<(Channel, Head)>) -> Result<(), FollowError> {
        let channels: Vec<Channel> = heads.iter().map(|(channel, _)| *channel).collect();
        let found = self.redis.inspect(&channels).await?;
        for ((channel, head), found) in heads.into_iter().zip(found) {
            if !streams.is_as_left(channel, head.epoch, &found) {
                self.mend(streams, channel, found).await?;
            }
        }
        Ok(())
    }

    async fn mend(&self, streams: &mut Streams, channel: Channel, found: FoundStream) -> Result<(), FollowError> {
        streams.doubt(channel); // until it is complete
        let Some(Refill { head, plan, entries }) = self.refill(streams.state(channel), channel, found).await? else {
            return Ok(());
        };
        if let Some(disturbance) = plan.disturbance.filter(|one| streams.is_others_doing(channel, *one)) {
            let now = self.clock.now();
            streams.note_disturbance(channel, disturbance);
            if !streams.may_mend(channel, now) {
                return Ok(()); // with the next probe
            }
            streams.mending(channel, now);
            let stream = stream_key(channel);
            let reason = disturbance.name();
            tracing::warn!(
                stream,
                reason,
                entries = entries.len(),
                "another program changed a Redis stream: it is filled again from the ledger"
            );
        }
        if self.redis.fill(channel, plan.clear, &entries).await? {
            let state = StreamState {
                epoch: head.epoch,
                generation: plan.generation,
                first: plan.first,
                told: head.seq,
            };
            streams.made_whole(channel, state);
        } else {
            streams.note_disturbance(channel, Disturbance::ForeignEntry); // written while it was refilled
        }
        Ok(())
    }

    async fn refill(
        &self,
        known: Option<StreamState>,
        channel: Channel,
        found: FoundStream,
    ) -> Result<Option<Refill>, FollowError> {
        let now_ms = u64::try_from(self.clock.now().micros() / 1_000).unwrap_or(0);
        let ledger = Arc::clone(&self.ledger);
        let zones = Arc::clone(&self.zones);
        let read = tokio::task::spawn_blocking(move || {
            let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(head) = ledger.heads().get(&channel).copied() else {
                return Ok(None);
            };
            let first = ledger.first_seq(channel)?.unwrap_or(head.seq.saturating_add(1));
            let end = match &found {
                FoundStream::Stream {
                    ends: Some((_, end)), ..
                } => Some(end),
                _ => None,
            };
            let message = match end {
                Some(end) => ledger
                    .read_channel(channel, end.id.seq, end.id.seq, 1)?
                    .first()
                    .map(|event| json(&zones, event)),
                None => None,
            };
            let before = end
                .and_then(|end| end.epoch)
                .and_then(|epoch| earlier(&ledger.ancestors(), channel, epoch));
            let log = ChannelLog {
                head,
                first,
                message,
                before,
            };
            let plan = plan_stream(known, &found, &log, now_ms);
            let most = usize::try_from(limits::STREAM_ENTRIES).unwrap_or(usize::MAX);
            let events = ledger.read_channel(channel, plan.from, head.seq, most)?;
            let entries = events.iter().map(|event| StreamAdd {
                channel,
                id: StreamId {
                    generation: plan.generation,
                    seq: event.seq,
                },
                epoch: head.epoch,
                message: json(&zones, event),
            });
            let entries = entries.collect();
            Ok::<_, LedgerError>(Some(Refill { head, plan, entries }))
        });
        read.await
            .map_err(|error| FollowError::Cut(error.to_string()))?
            .map_err(FollowError::from)
    }
}

/// Where a channel's earlier epoch ended, as far as the ledger still has it.
fn earlier(ancestors: &[Ancestor], channel: Channel, epoch: Epoch) -> Option<Head> {
    let mut heads = ancestors.iter().rev().flat_map(Ancestor::heads);
    let found = heads.find(|(known, head)| *known == channel && head.epoch == epoch);
    found.map(|(_, head)| head)
}

/// An event as JSON, as clients receive it.
pub(crate) fn json(zones: &Zones, event: &Sequenced) -> String {
    String::from_utf8(frames::event_json(zones, event)).unwrap_or_default()
}
