//! Where a client's part in a channel begins: which messages it has, and whether all after them can be brought.
//!
//! What can be brought lies in memory, in the ledger, and for bars and quality in the store. The store is asked beforehand, beside
//! the shard ([`Question`]); what it said comes along as [`Older`].

use crate::actors::fanout::Fanout;
use crate::domain::channel::{Channel, Epoch, Head};
use crate::domain::requests::Since;
use crate::domain::timestamp::Timestamp;
use crate::limits;
use crate::store::{LogQuery, LogSpan};

/// The answer to "where do I begin".
pub(super) struct Beginning {
    /// The last seq that is not replayed.
    pub(super) after: u64,
    /// `None` when nothing was asked; else whether all was found, or why not.
    pub(super) recovered: Option<Result<(), &'static str>>,
}

/// What must be asked of the store before a beginning can be found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) log: LogQuery,
    pub(super) before: Option<Timestamp>,
}

/// What the store keeps of the logs that it was asked for; nothing where it could not be read.
pub(super) type Older = Vec<(Channel, Option<LogSpan>)>;

impl Fanout {
    /// What the store must be asked: where memory and ledger do not reach back far enough. Whoever begins with what comes next, or
    /// missed no more than memory holds, costs no look into a file.
    pub(super) fn question(&mut self, channel: Channel, since: Since) -> Option<Question> {
        if since == Since::Now || !self.archive.keeps(channel) {
            return None;
        }
        let head = self.head(channel)?;
        let before = self.instant(channel, since);
        let (wanted, own) = match since {
            Since::Position { epoch, seq } => {
                let misses = head.seq.saturating_sub(seq);
                let strange = epoch.is_some_and(|epoch| epoch != head.epoch);
                if strange || misses == 0 || misses > limits::REPLAY {
                    return None; // answered without looking
                }
                (seq.saturating_add(1), self.first_at_hand(channel, seq, head.seq))
            }
            Since::Last(count) => {
                let after = head.seq.saturating_sub(count);
                (after.saturating_add(1), self.first_at_hand(channel, after, head.seq))
            }
            Since::Now | Since::Time(_) | Since::SessionStart => {
                let own = self.own_first(channel, head.seq);
                let reaches = self.reaches_back(channel, own, before?);
                (if reaches { own } else { 0 }, own)
            }
        };
        let log = LogQuery {
            channel,
            epoch: head.epoch,
            from: head.seq.saturating_sub(limits::REPLAY).saturating_add(1),
            to: own.saturating_sub(1),
        };
        (wanted < own && log.from <= log.to).then_some(Question { log, before })
    }

    pub(super) fn beginning(&mut self, channel: Channel, since: Since, head: Option<Head>, older: &Older) -> Beginning {
        let last = head.map_or(0, |head| head.seq);
        let older = older.iter().find(|(asked, _)| *asked == channel);
        let older = older.and_then(|(_, span)| *span).unwrap_or_default();
        let found = match since {
            Since::Now => {
                return Beginning {
                    after: last,
                    recovered: None,
                };
            }
            Since::Position { epoch, seq } => self.after_position(channel, (epoch, seq), head, older),
            Since::Last(count) => {
                let after = last.saturating_sub(count.min(limits::REPLAY));
                let first = older.first.unwrap_or_else(|| self.first_at_hand(channel, after, last));
                Ok(after.max(first.saturating_sub(1)).min(last))
            }
            Since::Time(_) | Since::SessionStart => match self.instant(channel, since) {
                Some(at) => self.before(channel, last, at, older),
                None => Ok(last),
            },
        };
        Beginning {
            after: found.unwrap_or(last),
            recovered: Some(found.map(drop)),
        }
    }

    fn after_position(
        &mut self,
        channel: Channel,
        (epoch, seq): (Option<Epoch>, u64),
        head: Option<Head>,
        older: LogSpan,
    ) -> Result<u64, &'static str> {
        let last = head.map_or(0, |head| head.seq);
        if epoch.is_some() && epoch != head.map(|head| head.epoch) {
            return Err("epoch_changed");
        }
        if seq > last {
            return Err("position_ahead");
        }
        if last.saturating_sub(seq) > limits::REPLAY {
            return Err("too_large");
        }
        let reaches = |first: u64| first <= seq.saturating_add(1);
        if seq < last && !older.first.is_some_and(reaches) && !reaches(self.first_at_hand(channel, seq, last)) {
            return Err("position_expired");
        }
        Ok(seq)
    }

    /// The instant that a client names; that of the session for `session_start`, if there is one.
    fn instant(&self, channel: Channel, since: Since) -> Option<Timestamp> {
        match since {
            Since::Time(moment) => Some(moment.in_zone(self.parts.zones.of(channel.symbol))),
            Since::SessionStart => {
                let start = self.parts.session_start.as_ref()?;
                start(channel.symbol, self.parts.deck.clock().now())
            }
            Since::Now | Since::Position { .. } | Since::Last(_) => None,
        }
    }

    /// The lowest seq that memory or ledger can bring; the ledger is asked only when memory does not go on after `seq`.
    fn first_at_hand(&mut self, channel: Channel, seq: u64, last: u64) -> u64 {
        let in_memory = self.rings.first(channel);
        match in_memory.filter(|first| *first <= seq.saturating_add(1)) {
            Some(first) => first,
            None => self.own_first(channel, last),
        }
    }

    /// The lowest seq that memory or ledger can bring; the one after the last when there is none.
    fn own_first(&mut self, channel: Channel, last: u64) -> u64 {
        self.first_kept(channel).unwrap_or_else(|| last.saturating_add(1))
    }

    fn first_kept(&mut self, channel: Channel) -> Option<u64> {
        let in_memory = self.rings.first(channel);
        match self.ledger.first_seq(channel) {
            Ok(Some(in_ledger)) => Some(in_memory.map_or(in_ledger, |seq| seq.min(in_ledger))),
            Ok(None) => in_memory,
            Err(error) => {
                tracing::warn!(%channel, error, "failed to look for the first event of a channel");
                in_memory
            }
        }
    }

    /// Whether all that was told of a channel at or after an instant lies in the ledger, of which `own` is the first.
    fn reaches_back(&mut self, channel: Channel, own: u64, at: Timestamp) -> bool {
        own <= 1
            || self.ledger.since().is_some_and(|since| since <= at)
            || self.told_at(channel, own).is_some_and(|told_at| told_at < at)
    }

    /// The last seq before the first event at or after `at`, found by bisection over the numbered events of the ledger.
    fn before(&mut self, channel: Channel, head: u64, at: Timestamp, older: LogSpan) -> Result<u64, &'static str> {
        let own = match self.ledger.first_seq(channel) {
            Ok(first) => first.unwrap_or_else(|| head.saturating_add(1)),
            Err(_) => return Err("position_expired"),
        };
        let (mut low, mut high) = (own, head.saturating_add(1)); // the answer's next seq lies in [low, high]
        while low < high {
            let middle = low.midpoint(high);
            match self.told_at(channel, middle) {
                Some(told_at) if told_at < at => low = middle.saturating_add(1),
                Some(_) => high = middle,
                None => return Err("position_expired"),
            }
        }
        let mut after = low.saturating_sub(1);
        if low == own && !self.reaches_back(channel, own, at) {
            after = older.before.unwrap_or(0);
            if older.first.is_none_or(|first| first > after.saturating_add(1)) {
                return Err("position_expired");
            }
        }
        if head.saturating_sub(after) > limits::REPLAY {
            return Err("too_large");
        }
        Ok(after)
    }

    fn told_at(&mut self, channel: Channel, seq: u64) -> Option<Timestamp> {
        let events = self.ledger.read_channel(channel, seq, seq, 1).ok()?;
        events.first().map(|event| event.at)
    }
}
