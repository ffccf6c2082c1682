//! Compares the Redis streams with the ledger, and fills again what lacks entries or what somebody else changed.

use crate::actors::publisher::Trouble;
use crate::cache::{Redis, StreamAdd, stream_key};
use crate::clock::Clock;
use crate::domain::channel::{Channel, Head};
use crate::domain::event::Numbered;
use crate::domain::frames::{self, Zones};
use crate::domain::stream::{
    ChannelLog, Disturbance, FoundStream, StreamId, StreamPlan, StreamState, Streams, plan_stream,
};
use crate::ledger::{LedgerError, LedgerReader};
use crate::limits;
use std::sync::{Arc, Mutex, PoisonError};

/// What a comparison needs.
#[derive(Clone)]
pub(super) struct StreamKeeper {
    pub(super) redis: Redis,
    pub(super) ledger: Arc<Mutex<LedgerReader>>,
    pub(super) zones: Arc<Zones>,
    pub(super) clock: Clock,
}

/// How a stream is made whole, and the entries for it.
struct Refill {
    head: Head,
    plan: StreamPlan,
    entries: Vec<StreamAdd>,
}

impl StreamKeeper {
    /// Compares every stream with the ledger.
    pub(super) async fn survey_all(&self, streams: &mut Streams) -> Result<(), Trouble> {
        let heads = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).heads();
        self.survey(streams, heads.into_iter().collect()).await
    }

    /// Compares those whose state is not known, as far as they may be mended now.
    pub(super) async fn survey_doubtful(&self, streams: &mut Streams) -> Result<(), Trouble> {
        let now = self.clock.now();
        let due = |channel: &Channel| streams.doubtful().contains(channel) && streams.may_mend(*channel, now);
        let heads = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).heads();
        let due = heads.into_iter().filter(|(channel, _)| due(channel)).collect();
        self.survey(streams, due).await
    }

    async fn survey(&self, streams: &mut Streams, heads: Vec<(Channel, Head)>) -> Result<(), Trouble> {
        let channels: Vec<Channel> = heads.iter().map(|(channel, _)| *channel).collect();
        let found = self.redis.inspect(&channels).await?;
        for ((channel, head), found) in heads.into_iter().zip(found) {
            if !streams.is_as_left(channel, head.epoch, &found) {
                self.mend(streams, channel, found).await?;
            }
        }
        Ok(())
    }

    async fn mend(&self, streams: &mut Streams, channel: Channel, found: FoundStream) -> Result<(), Trouble> {
        streams.doubt(channel); // until it is whole
        let Some(Refill { head, plan, entries }) = self.refill(streams.state(channel), channel, found).await? else {
            return Ok(());
        };
        if let Some(disturbance) = plan.disturbance.filter(|one| streams.is_others_doing(channel, *one)) {
            let now = self.clock.now();
            streams.note_disturbance(channel, disturbance);
            if !streams.may_mend(channel, now) {
                return Ok(()); // with the next look
            }
            streams.mending(channel, now);
            let (stream, reason) = (stream_key(channel), disturbance.name());
            tracing::warn!(
                stream,
                reason,
                entries = entries.len(),
                "somebody else changed a Redis stream: it is filled again from the ledger"
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
            streams.note_disturbance(channel, Disturbance::ForeignEntry); // written while it was filled
        }
        Ok(())
    }

    async fn refill(
        &self,
        known: Option<StreamState>,
        channel: Channel,
        found: FoundStream,
    ) -> Result<Option<Refill>, Trouble> {
        let now_ms = u64::try_from(self.clock.now().micros() / 1_000).unwrap_or(0);
        let (ledger, zones) = (Arc::clone(&self.ledger), Arc::clone(&self.zones));
        let read = tokio::task::spawn_blocking(move || {
            let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(head) = ledger.heads().get(&channel).copied() else {
                return Ok(None);
            };
            let first = ledger.first_seq(channel)?.unwrap_or(head.seq.saturating_add(1));
            let message = match &found {
                FoundStream::Stream {
                    ends: Some((_, end)), ..
                } => ledger
                    .read_channel(channel, end.id.seq, end.id.seq, 1)?
                    .first()
                    .map(|event| json(&zones, event)),
                _ => None,
            };
            let plan = plan_stream(known, &found, &ChannelLog { head, first, message }, now_ms);
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
            .map_err(|error| Trouble::Cut(error.to_string()))?
            .map_err(Trouble::from)
    }
}

/// A message as clients see it.
pub(super) fn json(zones: &Zones, event: &Numbered) -> String {
    String::from_utf8(frames::event_json(zones, event)).unwrap_or_default()
}
