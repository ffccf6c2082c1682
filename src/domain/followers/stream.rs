//! Compares the Redis stream of a channel with the ledger, and plans how to repair it.
//!
//! An entry's id is `GENERATION-SEQ`. A new generation begins with another epoch of the channel, or when Redis has assigned ids above ours.
//! So a reader that keeps its last id sees from the next id whether the entry continues what it has.

use crate::domain::model::{Channel, Epoch, Head, Timestamp};
use crate::limits;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// The id of a stream entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId {
    /// The first part, in which Redis itself puts milliseconds.
    pub generation: u64,
    /// The second part.
    pub seq: u64,
}

/// The text is not a stream id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a stream id: two numbers with a - between them")]
pub struct StreamIdError;

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.seq)
    }
}

impl FromStr for StreamId {
    type Err = StreamIdError;
    fn from_str(text: &str) -> Result<Self, StreamIdError> {
        let (generation, seq) = text.split_once('-').ok_or(StreamIdError)?;
        Ok(Self {
            generation: generation.parse().map_err(|_| StreamIdError)?,
            seq: seq.parse().map_err(|_| StreamIdError)?,
        })
    }
}

/// An entry as Redis returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its id.
    pub id: StreamId,
    /// The field `epoch`; `None` if another program wrote the entry.
    pub epoch: Option<Epoch>,
    /// The field `seq`; `None` in entries of earlier versions, whose ids were `SEQ-0`.
    pub seq: Option<u64>,
    /// The field `message`.
    pub message: String,
}

/// The state of a stream's key in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundStream {
    /// There is no such key.
    Absent,
    /// A key of another type.
    OtherType,
    /// A stream.
    Stream {
        /// The number of entries.
        length: u64,
        /// The highest id that was assigned.
        last_id: StreamId,
        /// Its first and last entry.
        ends: Option<(StreamEntry, StreamEntry)>,
    },
}

/// The ledger's part of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelLog {
    /// Its epoch and last seq.
    pub head: Head,
    /// The lowest seq in the ledger; one above the last if there is none.
    pub first: u64,
    /// The message with the seq of the stream's last entry, if the ledger has it.
    pub message: Option<String>,
    /// If the stream's last entry is of an earlier epoch of this ledger: that epoch, and its last seq that is still in the ledger.
    pub before: Option<Head>,
}

/// A stream as this process left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// The channel's epoch.
    pub epoch: Epoch,
    /// The first part of its ids.
    pub generation: u64,
    /// The lowest seq that was added; one above `told` if none was.
    pub first: u64,
    /// The highest seq that was added.
    pub told: u64,
}

impl StreamState {
    /// The id of its last entry.
    pub const fn last_id(&self) -> StreamId {
        StreamId {
            generation: self.generation,
            seq: self.told,
        }
    }
}

/// A change to a stream by another program.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disturbance {
    /// The key was deleted.
    Deleted,
    /// The key has another type.
    WrongType,
    /// It holds entries that candela did not write.
    ForeignEntry,
    /// It has assigned ids above its last entry.
    Renumbered,
    /// Entries that it should hold are missing.
    Trimmed,
    /// Its newest entries are missing: an older copy of Redis took over.
    LostTail,
    /// It has entries beyond the end of the ledger.
    AheadOfLedger,
}

impl Disturbance {
    /// Its name for programs, which is the reason of the condition `stream_disturbed`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// A clause for people, which follows the stream's name.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Deleted => "was deleted",
            Self::WrongType => "is a key of another type",
            Self::ForeignEntry => "holds entries that candela did not write",
            Self::Renumbered => "was renumbered (XSETID), or an entry above its last was deleted",
            Self::Trimmed => "lacks entries: it was trimmed, or entries were deleted",
            Self::LostTail => "lacks its newest entries: an older copy of Redis took over",
            Self::AheadOfLedger => "goes further than the ledger",
        }
    }
}

/// What to do with the key before entries are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clear {
    /// Nothing.
    Keep,
    /// Empty the stream. Its consumer groups are kept, and its ids continue to rise.
    Trim,
    /// Delete the key, because it has another type or no higher id exists.
    Delete,
}

/// How to repair a stream: clear it, then add the entries from `from` to the ledger's last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamPlan {
    /// The first step.
    pub clear: Clear,
    /// The first part of the new entries' ids.
    pub generation: u64,
    /// The first seq to add; above the ledger's last if there is none.
    pub from: u64,
    /// The lowest seq in the stream afterwards.
    pub first: u64,
    /// The change by another program, if there was one.
    pub disturbance: Option<Disturbance>,
}

/// The lowest seq that a stream ending at `last` must hold.
const fn first_kept(last: u64) -> u64 {
    let floor = last.saturating_add(1).saturating_sub(limits::STREAM_ENTRIES);
    if floor == 0 { 1 } else { floor }
}

/// Plans the repair of a stream. `known` is how this process left it; `now_ms` is used for a new generation.
pub fn plan_stream(known: Option<StreamState>, found: &FoundStream, log: &ChannelLog, now_ms: u64) -> StreamPlan {
    let last = log.head.seq;
    let from = first_kept(last).max(log.first);
    let risen = known.map_or(0, |state| state.generation.saturating_add(1)).max(now_ms);
    let continued = known.filter(|state| state.epoch == log.head.epoch);
    let own = continued.map_or(risen, |state| state.generation);
    let fill = |clear, generation, disturbance| StreamPlan {
        clear,
        generation,
        from,
        first: from,
        disturbance,
    };
    let held_some = continued.is_some_and(|state| state.first <= state.told);
    let (length, last_id, ends) = match found {
        FoundStream::Absent => return fill(Clear::Keep, own, held_some.then_some(Disturbance::Deleted)),
        FoundStream::OtherType => return fill(Clear::Delete, own, Some(Disturbance::WrongType)),
        FoundStream::Stream { length, last_id, ends } => (*length, *last_id, ends),
    };
    let anew = |disturbance| match last_id.generation.checked_add(1) {
        Some(above) => fill(Clear::Trim, risen.max(above), disturbance),
        None => fill(Clear::Delete, own, disturbance),
    };
    let Some((begin, end)) = ends else {
        let disturbance = held_some.then_some(Disturbance::Trimmed);
        let rises = last_id
            < (StreamId {
                generation: own,
                seq: from,
            });
        return if rises {
            fill(Clear::Keep, own, disturbance)
        } else {
            anew(disturbance)
        };
    };
    if let Err(disturbance) = check_continues(continued, length, last_id, (begin, end), log) {
        return anew(disturbance);
    }
    let told = end.id.seq;
    let next = told.saturating_add(1);
    StreamPlan {
        clear: if next < from { Clear::Trim } else { Clear::Keep }, // a hole cannot be filled: ids only rise
        generation: end.id.generation,
        from: next.max(from),
        first: if next < from { from } else { begin.id.seq },
        disturbance: continued
            .filter(|state| told < state.told)
            .map(|_| Disturbance::LostTail),
    }
}

/// Whether entries can be added after the stream's last. On `Err` it must be filled anew, because of a change by another program or, if
/// `None`, because it is another ledger's or an earlier version's.
fn check_continues(
    continued: Option<StreamState>,
    length: u64,
    last_id: StreamId,
    (begin, end): (&StreamEntry, &StreamEntry),
    log: &ChannelLog,
) -> Result<(), Option<Disturbance>> {
    let foreign = continued.map(|_| Disturbance::ForeignEntry);
    let told = end.id.seq;
    if end.epoch.is_none() {
        return Err(Some(Disturbance::ForeignEntry));
    }
    if end.epoch != Some(log.head.epoch) || end.seq.is_none() {
        // A ledger that lost its end continues under another epoch: the stream has what the ledger lost.
        let before = log.before.filter(|before| end.epoch == Some(before.epoch));
        let ahead = before.is_some_and(|before| before.seq < told && end.seq == Some(told));
        return Err(if ahead {
            Some(Disturbance::AheadOfLedger)
        } else {
            foreign
        });
    }
    if end.seq != Some(told) {
        return Err(Some(Disturbance::ForeignEntry));
    }
    if let Some(state) = continued
        && state.generation != end.id.generation
    {
        let older = end.id.generation < state.generation;
        return Err(if older { Some(Disturbance::LostTail) } else { foreign });
    }
    if end.id != last_id {
        // If the highest id is the last one that this process added, its entry was deleted.
        let deleted = continued.is_some_and(|state| last_id == state.last_id());
        return Err(Some(if deleted {
            Disturbance::Trimmed
        } else {
            Disturbance::Renumbered
        }));
    }
    if told > log.head.seq {
        return Err(Some(Disturbance::AheadOfLedger));
    }
    // Only entries whose arrival this process did not see are compared; the others are what it sent.
    let unseen = continued.is_none_or(|state| told > state.told);
    if unseen && log.message.as_ref().is_some_and(|message| *message != end.message) {
        return Err(foreign);
    }
    let begins = first_kept(told).max(continued.map_or(log.first, |state| state.first));
    if is_whole(length, begin, end, begins) {
        Ok(())
    } else {
        Err(Some(Disturbance::Trimmed))
    }
}

/// Whether a stream of one generation has every seq from `begins` (or below) to its end.
fn is_whole(length: u64, begin: &StreamEntry, end: &StreamEntry, begins: u64) -> bool {
    let numbers = end.id.seq.saturating_sub(begin.id.seq).saturating_add(1);
    begin.id.generation == end.id.generation && begin.id.seq <= begins && length == numbers
}

/// What to do with an event of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Add it with this id.
    Add(StreamId),
    /// The stream has it already.
    Has,
    /// The state of the stream is not known: compare it with the ledger first.
    Unknown,
}

/// The known state of all streams, and which of them must be compared with the ledger.
#[derive(Debug, Clone, Default)]
pub struct Streams {
    states: BTreeMap<Channel, StreamState>,
    /// The highest seq that is being sent to each stream.
    sending: BTreeMap<Channel, u64>,
    doubtful: BTreeSet<Channel>,
    /// Streams that Redis may have lost in an outage of its own.
    unreached: BTreeSet<Channel>,
    mended: BTreeMap<Channel, Timestamp>,
    /// Changes by other programs that were noticed and not taken yet.
    disturbances: BTreeMap<Channel, Disturbance>,
}

impl Streams {
    /// How this process left a stream.
    pub fn state(&self, channel: Channel) -> Option<StreamState> {
        self.states.get(&channel).copied()
    }

    /// What to do with an event.
    pub fn next(&self, channel: Channel, epoch: Epoch, seq: u64) -> Next {
        let known = self.states.get(&channel).filter(|_| !self.doubtful.contains(&channel));
        let Some(state) = known.filter(|state| state.epoch == epoch) else {
            return Next::Unknown;
        };
        let told = self
            .sending
            .get(&channel)
            .map_or(state.told, |sent| state.told.max(*sent));
        match seq.checked_sub(told) {
            None | Some(0) => Next::Has,
            Some(1) => Next::Add(StreamId {
                generation: state.generation,
                seq,
            }),
            Some(_) => Next::Unknown,
        }
    }

    /// An event is being sent to the stream.
    pub fn sent(&mut self, channel: Channel, seq: u64) {
        self.sending.insert(channel, seq);
    }

    /// Redis accepted what was sent, except for the streams in `refused`, whose state is now unknown.
    pub fn taken(&mut self, refused: &BTreeSet<Channel>) {
        for (channel, seq) in std::mem::take(&mut self.sending) {
            if refused.contains(&channel) {
                self.doubt(channel);
            } else if let Some(state) = self.states.get_mut(&channel) {
                state.told = seq;
            }
        }
    }

    /// The state of this stream is no longer known.
    pub fn doubt(&mut self, channel: Channel) {
        self.doubtful.insert(channel);
    }

    /// The state of every stream is no longer known.
    pub fn doubt_all(&mut self) {
        self.sending.clear();
        self.unreached.extend(self.states.keys());
        self.doubtful.extend(self.states.keys());
    }

    /// The streams that must be compared with the ledger.
    pub const fn doubtful(&self) -> &BTreeSet<Channel> {
        &self.doubtful
    }

    /// Whether Redis holds the stream as this process left it.
    pub fn is_as_left(&self, channel: Channel, epoch: Epoch, found: &FoundStream) -> bool {
        let known = self.states.get(&channel).filter(|_| !self.doubtful.contains(&channel));
        let Some(state) = known.filter(|state| state.epoch == epoch) else {
            return false;
        };
        let end = state.last_id();
        let empty = state.first > state.told;
        match found {
            FoundStream::Absent => empty,
            FoundStream::OtherType => false,
            FoundStream::Stream {
                ends: None, last_id, ..
            } => empty && *last_id <= end,
            FoundStream::Stream {
                length,
                last_id,
                ends: Some((begin, last)),
            } => {
                *last_id == end
                    && last.id == end
                    && is_whole(*length, begin, last, first_kept(state.told).max(state.first))
            }
        }
    }

    /// Whether a disturbed stream may be repaired now. The spacing bounds what candela writes if another program disturbs it repeatedly.
    pub fn may_mend(&self, channel: Channel, now: Timestamp) -> bool {
        let last = self.mended.get(&channel);
        last.is_none_or(|last| now.since(*last) >= limits::STREAM_MEND_SPACING || now < *last)
    }

    /// The stream is complete, up to `state.told`.
    pub fn made_whole(&mut self, channel: Channel, state: StreamState) {
        self.states.insert(channel, state);
        self.doubtful.remove(&channel);
        self.unreached.remove(&channel);
    }

    /// Whether another program caused a disturbance. After an outage of Redis, which is reported as such, a stream may be missing or an
    /// older copy.
    pub fn is_others_doing(&self, channel: Channel, disturbance: Disturbance) -> bool {
        let lost = matches!(disturbance, Disturbance::Deleted | Disturbance::LostTail);
        !(lost && self.unreached.contains(&channel))
    }

    /// Another program changed this stream.
    pub fn note_disturbance(&mut self, channel: Channel, disturbance: Disturbance) {
        self.disturbances.insert(channel, disturbance);
    }

    /// The changes that were noticed since the last call.
    #[must_use]
    pub fn take_disturbances(&mut self) -> BTreeMap<Channel, Disturbance> {
        std::mem::take(&mut self.disturbances)
    }

    /// A disturbed stream is being repaired.
    pub fn mending(&mut self, channel: Channel, now: Timestamp) {
        self.mended.insert(channel, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::Symbol;

    const NOW: u64 = 1_000;

    fn epoch(random: u64) -> Epoch {
        Epoch::from_random(random)
    }

    fn log(last: u64) -> ChannelLog {
        ChannelLog {
            head: Head {
                epoch: epoch(1),
                seq: last,
            },
            first: 1,
            message: None,
            before: None,
        }
    }

    fn entry(generation: u64, seq: u64) -> StreamEntry {
        StreamEntry {
            id: StreamId { generation, seq },
            epoch: Some(epoch(1)),
            seq: Some(seq),
            message: format!("{seq}"),
        }
    }

    fn stream(generation: u64, first: u64, last: u64) -> FoundStream {
        FoundStream::Stream {
            length: last + 1 - first,
            last_id: StreamId { generation, seq: last },
            ends: Some((entry(generation, first), entry(generation, last))),
        }
    }

    fn ended_by(end: StreamEntry, length: u64) -> FoundStream {
        FoundStream::Stream {
            length,
            last_id: end.id,
            ends: Some((entry(900, 1), end)),
        }
    }

    fn left(told: u64) -> Option<StreamState> {
        Some(StreamState {
            epoch: epoch(1),
            generation: 900,
            first: first_kept(told),
            told,
        })
    }

    fn plan(clear: Clear, generation: u64, from: u64, first: u64, disturbance: Option<Disturbance>) -> StreamPlan {
        StreamPlan {
            clear,
            generation,
            from,
            first,
            disturbance,
        }
    }

    fn anew(generation: u64, disturbance: Option<Disturbance>) -> StreamPlan {
        plan(Clear::Trim, generation, 1, 1, disturbance)
    }

    #[test]
    fn an_id_is_read_back() {
        let id = StreamId {
            generation: u64::MAX,
            seq: 7,
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "7", "-", "7-", "a-1", "1-1-1"] {
            assert_eq!(text.parse::<StreamId>(), Err(StreamIdError), "{text}");
        }
    }

    #[test]
    fn a_stream_that_is_as_the_ledger_has_it_goes_on_under_its_generation() {
        for known in [None, left(15)] {
            let planned = plan_stream(known, &stream(900, 1, 15), &log(15), NOW);
            assert_eq!(planned, plan(Clear::Keep, 900, 16, 1, None));
        }
        let planned = plan_stream(None, &stream(900, 1, 15), &log(20), NOW);
        assert_eq!(planned, plan(Clear::Keep, 900, 16, 1, None), "what is missing is added");
        let planned = plan_stream(None, &stream(900, 1, 15), &log(5_000), NOW);
        assert_eq!(
            planned,
            plan(Clear::Trim, 900, 3_001, 3_001, None),
            "too far behind: without the old part"
        );
    }

    #[test]
    fn nothing_is_told_of_a_stream_that_is_not_there_yet_and_a_deleted_one_is_refilled_under_its_ids() {
        assert_eq!(
            plan_stream(None, &FoundStream::Absent, &log(15), NOW),
            plan(Clear::Keep, NOW, 1, 1, None)
        );
        let deleted = plan_stream(left(15), &FoundStream::Absent, &log(15), NOW);
        assert_eq!(deleted, plan(Clear::Keep, 900, 1, 1, Some(Disturbance::Deleted)));
    }

    #[test]
    fn a_stream_that_has_what_a_ledger_lost_before_it_took_other_epochs_is_ahead_of_it() {
        let ends_at = |seq| {
            let head = Head {
                epoch: epoch(2),
                seq: 7,
            };
            let before = Some(Head { epoch: epoch(1), seq });
            let log = ChannelLog { head, before, ..log(7) };
            plan_stream(None, &stream(900, 1, 9), &log, NOW).disturbance
        };
        assert_eq!(ends_at(7), Some(Disturbance::AheadOfLedger));
        assert_eq!(ends_at(9), None, "it has what the ledger still has");
    }

    #[test]
    fn another_epoch_and_ids_of_an_earlier_version_begin_a_generation_above_all_ids() {
        let other = ChannelLog {
            head: Head {
                epoch: epoch(2),
                seq: 40,
            },
            ..log(40)
        };
        assert_eq!(plan_stream(None, &stream(900, 1, 15), &other, NOW), anew(NOW, None));
        assert_eq!(
            plan_stream(left(15), &stream(900, 1, 15), &other, 5),
            anew(901, None),
            "the clock went back"
        );
        let old = StreamEntry {
            id: StreamId { generation: 15, seq: 0 },
            seq: None,
            ..entry(15, 0)
        };
        assert_eq!(plan_stream(None, &ended_by(old, 15), &log(15), NOW), anew(NOW, None));
    }

    #[test]
    fn a_strangers_entry_is_foreign_and_the_next_generation_is_above_it() {
        for known in [None, left(15)] {
            let stranger = StreamEntry {
                epoch: None,
                seq: None,
                ..entry(77_000, 0)
            };
            let planned = plan_stream(known, &ended_by(stranger, 16), &log(16), NOW);
            assert_eq!(planned, anew(77_001, Some(Disturbance::ForeignEntry)));
            let highest = StreamEntry {
                epoch: None,
                seq: None,
                ..entry(u64::MAX, u64::MAX)
            };
            let planned = plan_stream(known, &ended_by(highest, 16), &log(16), NOW);
            assert_eq!(
                (planned.clear, planned.disturbance),
                (Clear::Delete, Some(Disturbance::ForeignEntry))
            );
        }
    }

    #[test]
    fn an_entry_that_only_looks_like_ours_is_foreign() {
        let forged = StreamEntry {
            message: "x".to_owned(),
            ..entry(900, 16)
        };
        let ours = ChannelLog {
            message: Some("16".to_owned()),
            ..log(16)
        };
        let planned = plan_stream(left(15), &ended_by(forged, 16), &ours, NOW);
        assert_eq!(planned, anew(NOW, Some(Disturbance::ForeignEntry)));
        let kept = plan_stream(left(15), &stream(900, 1, 16), &ours, NOW);
        assert_eq!(kept, plan(Clear::Keep, 900, 17, 1, None), "the answer to it was lost");
    }

    #[test]
    fn trimmed_renumbered_and_deleted_entries_are_noticed() {
        let found = |length, first, last, last_id| FoundStream::Stream {
            length,
            last_id,
            ends: Some((entry(900, first), entry(900, last))),
        };
        let id = |generation, seq| StreamId { generation, seq };
        for (found, disturbance) in [
            (found(5, 11, 15, id(900, 15)), Disturbance::Trimmed),
            (found(14, 1, 15, id(900, 15)), Disturbance::Trimmed),
            (found(14, 1, 14, id(900, 15)), Disturbance::Trimmed),
            (found(15, 1, 15, id(950, 0)), Disturbance::Renumbered),
        ] {
            let planned = plan_stream(left(15), &found, &log(15), 5);
            let above = if disturbance == Disturbance::Renumbered {
                951
            } else {
                901
            };
            assert_eq!(planned, anew(above, Some(disturbance)));
        }
        let emptied = FoundStream::Stream {
            length: 0,
            last_id: id(900, 15),
            ends: None,
        };
        assert_eq!(
            plan_stream(left(15), &emptied, &log(15), 5),
            anew(901, Some(Disturbance::Trimmed))
        );
        let wrong = plan_stream(left(15), &FoundStream::OtherType, &log(15), NOW);
        assert_eq!(wrong, plan(Clear::Delete, 900, 1, 1, Some(Disturbance::WrongType)));
    }

    #[test]
    fn an_older_copy_gets_what_it_lacks_under_the_same_ids() {
        let planned = plan_stream(left(15), &stream(900, 1, 12), &log(15), NOW);
        assert_eq!(planned, plan(Clear::Keep, 900, 13, 1, Some(Disturbance::LostTail)));
        let planned = plan_stream(left(15), &stream(900, 1, 17), &log(15), NOW);
        assert_eq!(planned, anew(NOW, Some(Disturbance::AheadOfLedger)));
    }

    #[test]
    fn a_stream_that_begins_where_the_ledger_does_is_whole() {
        let kept = ChannelLog { first: 11, ..log(15) };
        let planned = plan_stream(None, &stream(900, 11, 15), &kept, NOW);
        assert_eq!(planned, plan(Clear::Keep, 900, 16, 11, None));
    }

    #[test]
    fn a_group_that_was_made_before_the_first_entry_keeps_its_stream() {
        let made = FoundStream::Stream {
            length: 0,
            last_id: StreamId::default(),
            ends: None,
        };
        assert_eq!(
            plan_stream(None, &made, &log(3), NOW),
            plan(Clear::Keep, NOW, 1, 1, None)
        );
    }

    #[test]
    fn only_the_next_number_is_added_and_only_to_a_stream_that_is_known() {
        let channel = Channel::ticks(Symbol::usdcop());
        let mut streams = Streams::default();
        assert_eq!(streams.next(channel, epoch(1), 1), Next::Unknown);
        streams.made_whole(channel, left(15).unwrap());
        assert_eq!(streams.next(channel, epoch(1), 15), Next::Has);
        assert_eq!(
            streams.next(channel, epoch(1), 16),
            Next::Add(StreamId {
                generation: 900,
                seq: 16
            })
        );
        assert_eq!(streams.next(channel, epoch(1), 17), Next::Unknown, "a hole");
        assert_eq!(streams.next(channel, epoch(2), 16), Next::Unknown, "another epoch");
        assert!(streams.is_as_left(channel, epoch(1), &stream(900, 1, 15)));
        assert!(!streams.is_as_left(channel, epoch(1), &stream(900, 1, 14)));
        assert!(!streams.is_as_left(channel, epoch(1), &stream(900, 2, 15)));
        assert!(!streams.is_as_left(channel, epoch(1), &FoundStream::Absent));
        assert!(streams.is_others_doing(channel, Disturbance::Deleted));
        streams.doubt_all();
        assert!(!streams.is_others_doing(channel, Disturbance::Deleted));
        assert!(streams.is_others_doing(channel, Disturbance::ForeignEntry));
        assert_eq!(streams.next(channel, epoch(1), 16), Next::Unknown);
        assert!(!streams.is_as_left(channel, epoch(1), &stream(900, 1, 15)));
    }

    #[test]
    fn a_stream_is_mended_at_most_once_in_a_while() {
        let channel = Channel::ticks(Symbol::usdcop());
        let mut streams = Streams::default();
        let now = Timestamp::from_secs(100);
        assert!(streams.may_mend(channel, now));
        streams.mending(channel, now);
        assert!(!streams.may_mend(channel, now));
        assert!(streams.may_mend(channel, now + limits::STREAM_MEND_SPACING));
    }
}
