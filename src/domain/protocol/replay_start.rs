//! Decides where the replay of a channel begins: which messages the client has, and whether all later ones can be replayed.
//!
//! Messages are in memory and in the ledger, and those of bars and quality also in the store. Memory and ledger are read during the
//! decision ([`HeldLog`]). The store is queried beforehand, for the range that [`ReplayQuestion::span_wanted`] names.

use crate::domain::model::{Epoch, Head, Timestamp};
use crate::domain::protocol::Since;
use crate::limits;

/// The parts of a channel's log in memory and in the ledger.
pub trait HeldLog {
    /// The lowest seq in memory.
    fn first_in_memory(&self) -> Option<u64>;

    /// The lowest seq in the ledger; reads a file.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn first_in_ledger(&mut self) -> Result<Option<u64>, Unreadable>;

    /// When an event was published, if the ledger has it; reads a file.
    fn told_at(&mut self, seq: u64) -> Option<Timestamp>;

    /// Since when the ledger has every published event; `None` if unknown.
    fn complete_since(&mut self) -> Option<Timestamp>;
}

/// The ledger cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// A range of a log to query from the store: the seqs `[from, to]`, and their relation to an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanWanted {
    /// The first seq.
    pub from: u64,
    /// The last seq.
    pub to: u64,
    /// Also return the last seq before this instant.
    pub before: Option<Timestamp>,
}

/// The store's part of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogSpan {
    /// The first seq of the run without a hole that ends with the range's last seq; `None` when that seq is not in the store.
    pub first: Option<u64>,
    /// The last seq that was published before the instant in question.
    pub before: Option<u64>,
}

/// Where a replay begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayStart {
    /// The last seq that is not replayed.
    pub after: u64,
    /// `None` if the client did not ask for earlier messages; else whether all of them can be replayed, or why not.
    pub recovered: Option<Result<(), &'static str>>,
}

/// A client's request for a channel, and the channel's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayQuestion {
    /// Where the client asks to begin.
    pub since: Since,
    /// Where the channel ends; `None` before its first message.
    pub head: Option<Head>,
    /// The instant that `since` names; for `session_start` the open of the session, if there is one.
    pub instant: Option<Timestamp>,
}

impl ReplayQuestion {
    /// The range to query from the store, if memory and ledger do not reach back far enough. No file is read for a client that begins with
    /// the next message, or that missed no more than memory holds.
    pub fn span_wanted(&self, log: &mut impl HeldLog) -> Option<SpanWanted> {
        if self.since == Since::Now {
            return None;
        }
        let head = self.head?;
        let (wanted, own) = match self.since {
            Since::Position { epoch, seq } => {
                let misses = head.seq.saturating_sub(seq);
                let strange = epoch.is_some_and(|epoch| epoch != head.epoch);
                if strange || misses == 0 || misses > limits::REPLAY {
                    return None; // answered without looking
                }
                (seq.saturating_add(1), first_at_hand(log, seq, head.seq))
            }
            Since::Last(count) => {
                let after = head.seq.saturating_sub(count);
                (after.saturating_add(1), first_at_hand(log, after, head.seq))
            }
            Since::Now | Since::Time(_) | Since::SessionStart => {
                let own = own_first(log, head.seq);
                let reaches = reaches_back(log, own, self.instant?);
                (if reaches { own } else { 0 }, own)
            }
        };
        let from = head.seq.saturating_sub(limits::REPLAY).saturating_add(1);
        let to = own.saturating_sub(1);
        let before = self.instant;
        (wanted < own && from <= to).then_some(SpanWanted { from, to, before })
    }

    /// Decides where the replay begins, given the store's answer to [`ReplayQuestion::span_wanted`].
    pub fn find_start(&self, log: &mut impl HeldLog, stored: LogSpan) -> ReplayStart {
        let last = self.head.map_or(0, |head| head.seq);
        let found = match self.since {
            Since::Now => {
                return ReplayStart {
                    after: last,
                    recovered: None,
                };
            }
            Since::Position { epoch, seq } => after_position((epoch, seq), self.head, |wanted| {
                let stored = stored.first.filter(|first| *first <= wanted);
                stored.unwrap_or_else(|| first_at_hand(log, seq, last))
            }),
            Since::Last(count) => {
                let after = last.saturating_sub(count.min(limits::REPLAY));
                let first = stored.first.unwrap_or_else(|| first_at_hand(log, after, last));
                Ok(after.max(first.saturating_sub(1)).min(last))
            }
            Since::Time(_) | Since::SessionStart => match self.instant {
                Some(at) => find_last_before(log, last, at, stored),
                None => Ok(last),
            },
        };
        ReplayStart {
            after: found.unwrap_or(last),
            recovered: Some(found.map(drop)),
        }
    }
}

/// The last seq that is not replayed to a client that has everything up to `seq` of `epoch`, in a channel that ends at `head`.
/// `first_at_hand` returns the lowest seq that can be replayed, at least as far back as its argument where possible; it is called only when
/// something is to be replayed.
///
/// # Errors
/// Why nothing is replayed. A replay is never partial.
pub fn after_position(
    (epoch, seq): (Option<Epoch>, u64),
    head: Option<Head>,
    first_at_hand: impl FnOnce(u64) -> u64,
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
    let next = seq.saturating_add(1);
    if seq < last && first_at_hand(next) > next {
        return Err("position_expired");
    }
    Ok(seq)
}

/// The lowest seq that memory or ledger can replay; the ledger is read only when memory does not continue after `seq`.
fn first_at_hand(log: &mut impl HeldLog, seq: u64, last: u64) -> u64 {
    let in_memory = log.first_in_memory();
    match in_memory.filter(|first| *first <= seq.saturating_add(1)) {
        Some(first) => first,
        None => own_first(log, last),
    }
}

/// The lowest seq that memory or ledger can replay; the one after the last if there is none.
fn own_first(log: &mut impl HeldLog, last: u64) -> u64 {
    let in_memory = log.first_in_memory();
    let in_ledger = log.first_in_ledger().unwrap_or_default();
    let first = in_memory.into_iter().chain(in_ledger).min();
    first.unwrap_or_else(|| last.saturating_add(1))
}

/// Whether the ledger has every event of a channel that was published at or after an instant; `own` is its first.
fn reaches_back(log: &mut impl HeldLog, own: u64, at: Timestamp) -> bool {
    own <= 1
        || log.complete_since().is_some_and(|since| since <= at)
        || log.told_at(own).is_some_and(|told_at| told_at < at)
}

/// The last seq before the first event at or after `at`, found by bisection over the numbered events of the ledger.
fn find_last_before(log: &mut impl HeldLog, head: u64, at: Timestamp, stored: LogSpan) -> Result<u64, &'static str> {
    let own = match log.first_in_ledger() {
        Ok(first) => first.unwrap_or_else(|| head.saturating_add(1)),
        Err(Unreadable) => return Err("position_expired"),
    };
    let mut low = own;
    let mut high = head.saturating_add(1); // the answer's next seq lies in [low, high]
    while low < high {
        let middle = low.midpoint(high);
        match log.told_at(middle) {
            Some(told_at) if told_at < at => low = middle.saturating_add(1),
            Some(_) => high = middle,
            None => return Err("position_expired"),
        }
    }
    let mut after = low.saturating_sub(1);
    if low == own && !reaches_back(log, own, at) {
        after = stored.before.unwrap_or(0);
        if stored.first.is_none_or(|first| first > after.saturating_add(1)) {
            return Err("position_expired");
        }
    }
    if head.saturating_sub(after) > limits::REPLAY {
        return Err("too_large");
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::Moment;

    const EPOCH: u64 = 7;

    fn resumed(epoch: Option<u64>, seq: u64, last: u64, first: u64) -> Result<u64, &'static str> {
        let head = Head {
            epoch: Epoch::from_random(EPOCH),
            seq: last,
        };
        after_position((epoch.map(Epoch::from_random), seq), Some(head), |_| first)
    }

    #[test]
    fn all_of_what_is_missed_is_at_hand_or_nothing_is_replayed() {
        assert_eq!(resumed(Some(EPOCH), 10, 20, 11), Ok(10));
        assert_eq!(
            resumed(None, 10, 20, 1),
            Ok(10),
            "without an epoch only the number counts"
        );
        assert_eq!(resumed(Some(EPOCH), 10, 20, 12), Err("position_expired"));
        assert_eq!(resumed(Some(EPOCH), 20, 20, 99), Ok(20), "nothing is missed");
        assert_eq!(resumed(Some(EPOCH), 21, 20, 1), Err("position_ahead"));
        assert_eq!(resumed(Some(8), 10, 20, 1), Err("epoch_changed"));
        assert_eq!(resumed(Some(EPOCH), 0, limits::REPLAY + 1, 1), Err("too_large"));
        assert_eq!(
            after_position((None, 0), None, |_| 1),
            Ok(0),
            "a channel without messages"
        );
    }

    /// A log whose events were published a second apart, the first at second 1: memory has the last few, the ledger more.
    #[derive(Default)]
    struct MemoryLog {
        memory: Option<u64>,
        ledger: Option<u64>,
        last: u64,
        unreadable: bool,
        since: Option<u64>,
        /// How often a file was read.
        looks: u32,
    }

    fn second(second: u64) -> Timestamp {
        Timestamp::from_secs(i64::try_from(second).unwrap())
    }

    impl HeldLog for MemoryLog {
        fn first_in_memory(&self) -> Option<u64> {
            self.memory
        }

        fn first_in_ledger(&mut self) -> Result<Option<u64>, Unreadable> {
            self.looks += 1;
            if self.unreadable {
                Err(Unreadable)
            } else {
                Ok(self.ledger)
            }
        }

        fn told_at(&mut self, seq: u64) -> Option<Timestamp> {
            self.looks += 1;
            let kept = self.ledger.is_some_and(|first| first <= seq) && seq <= self.last && !self.unreadable;
            kept.then(|| second(seq))
        }

        fn complete_since(&mut self) -> Option<Timestamp> {
            self.looks += 1;
            self.since.map(second)
        }
    }

    /// A log of 100 events, of which the ledger has those from 41 and memory those from 91.
    fn memory_log() -> MemoryLog {
        MemoryLog {
            memory: Some(91),
            ledger: Some(41),
            last: 100,
            ..MemoryLog::default()
        }
    }

    fn asks(since: Since) -> ReplayQuestion {
        let instant = match since {
            Since::Time(Moment::Instant(at)) => Some(at),
            _ => None,
        };
        let head = Head {
            epoch: Epoch::from_random(EPOCH),
            seq: 100,
        };
        ReplayQuestion {
            since,
            head: Some(head),
            instant,
        }
    }

    fn position(seq: u64) -> ReplayQuestion {
        asks(Since::Position { epoch: None, seq })
    }

    fn time(at: u64) -> ReplayQuestion {
        asks(Since::Time(Moment::Instant(second(at))))
    }

    /// The store's answer for a log that it has from `first` on.
    fn stored(first: u64, before: Option<u64>) -> LogSpan {
        LogSpan {
            first: Some(first),
            before,
        }
    }

    #[test]
    fn who_misses_no_more_than_memory_holds_costs_no_look_into_a_file() {
        for question in [asks(Since::Now), position(90), position(100), asks(Since::Last(10))] {
            let mut log = memory_log();
            assert_eq!(question.span_wanted(&mut log), None);
            question.find_start(&mut log, LogSpan::default());
            assert_eq!(log.looks, 0, "{question:?}");
        }
    }

    #[test]
    fn the_store_is_asked_only_for_what_memory_and_ledger_do_not_have() {
        assert_eq!(position(40).span_wanted(&mut memory_log()), None, "41 is in the ledger");
        let wanted = SpanWanted {
            from: 1,
            to: 40,
            before: None,
        };
        assert_eq!(position(39).span_wanted(&mut memory_log()), Some(wanted));
        assert_eq!(asks(Since::Last(61)).span_wanted(&mut memory_log()), Some(wanted));
        assert_eq!(asks(Since::Last(60)).span_wanted(&mut memory_log()), None);
        let before = Some(second(20));
        assert_eq!(
            time(20).span_wanted(&mut memory_log()),
            Some(SpanWanted { before, ..wanted })
        );
        assert_eq!(time(50).span_wanted(&mut memory_log()), None, "the ledger began before");
        let strange = asks(Since::Position {
            epoch: Some(Epoch::from_random(EPOCH + 1)),
            seq: 39,
        });
        assert_eq!(
            strange.span_wanted(&mut memory_log()),
            None,
            "another epoch is answered at once"
        );
    }

    #[test]
    fn a_position_is_recovered_from_the_store_or_not_at_all() {
        let start = position(39).find_start(&mut memory_log(), LogSpan::default());
        assert_eq!((start.after, start.recovered), (100, Some(Err("position_expired"))));
        let start = position(39).find_start(&mut memory_log(), stored(30, None));
        assert_eq!((start.after, start.recovered), (39, Some(Ok(()))));
        let start = position(20).find_start(&mut memory_log(), stored(30, None));
        assert_eq!(
            start.recovered,
            Some(Err("position_expired")),
            "the store lacks 21 to 29"
        );
    }

    #[test]
    fn the_last_few_are_as_many_as_there_are() {
        let after = |count, span| asks(Since::Last(count)).find_start(&mut memory_log(), span).after;
        assert_eq!(after(10, LogSpan::default()), 90);
        assert_eq!(after(80, LogSpan::default()), 40, "the ledger begins with 41");
        assert_eq!(after(80, stored(30, None)), 29);
        assert_eq!(after(0, LogSpan::default()), 100);
    }

    #[test]
    fn a_time_is_found_between_the_events_around_it() {
        let start = |at, span| time(at).find_start(&mut memory_log(), span);
        assert_eq!(start(60, LogSpan::default()).after, 59);
        assert_eq!(start(101, LogSpan::default()).after, 100, "nothing was told since");
        assert_eq!(
            start(20, LogSpan::default()).recovered,
            Some(Err("position_expired")),
            "what was told at 20 is gone"
        );
        assert_eq!(start(20, stored(1, Some(19))).after, 19);
        assert_eq!(
            start(20, stored(25, Some(19))).recovered,
            Some(Err("position_expired")),
            "the store lacks 20 to 24"
        );
        let mut whole = MemoryLog {
            since: Some(10),
            ..memory_log()
        };
        let found = time(20).find_start(&mut whole, LogSpan::default());
        assert_eq!(
            (found.after, found.recovered),
            (40, Some(Ok(()))),
            "nothing was told before"
        );
    }

    #[test]
    fn a_ledger_that_cannot_be_read_promises_nothing() {
        let unreadable = || MemoryLog {
            unreadable: true,
            ..memory_log()
        };
        let start = |question: ReplayQuestion| question.find_start(&mut unreadable(), LogSpan::default());
        assert_eq!(start(time(95)).recovered, Some(Err("position_expired")));
        assert_eq!(start(position(50)).recovered, Some(Err("position_expired")));
        assert_eq!(start(position(95)).recovered, Some(Ok(())), "memory has it");
    }

    #[test]
    fn a_channel_without_messages_begins_with_what_comes() {
        let question = ReplayQuestion {
            head: None,
            ..asks(Since::Last(5))
        };
        let mut log = MemoryLog::default();
        assert_eq!(question.span_wanted(&mut log), None);
        assert_eq!(question.find_start(&mut log, LogSpan::default()).after, 0);
    }
}
