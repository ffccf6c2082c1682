//! Applies the vendor's bars: a corrected bar corrects the longer bars that contain it, also in earlier sessions.

use crate::domain::model::{
    Bar, BarKey, Expected, Gap, Interval, JournalEntry, Listed, MissingBars, Session, Sessions, Slot, SlotGrid,
    Timestamp,
};
use crate::domain::pipeline::{
    BarBuilder, ClosedSlot, GapChange, GapTracker, Longer, MissingSlot, PipelineCounts, Sequencer, SymbolState,
};
use crate::limits;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The bars of an earlier session: one builder per interval, in the market's order.
#[derive(Debug, Clone)]
pub(super) struct Past {
    session: Session,
    pub(super) builders: Vec<BarBuilder>,
}

/// What was told of a pair's earlier days.
#[derive(Debug, Clone, Default)]
pub struct ToldDays {
    /// Their sessions as they were told last, earliest first.
    pub sessions: Vec<Session>,
    /// The last revisions of their bars, of all intervals.
    pub bars: Vec<Bar>,
}

impl SymbolState {
    /// The pending gaps, those of base bars first.
    pub(in crate::domain) fn pending_gaps(&self) -> impl Iterator<Item = &Gap> {
        let minutes = self.minutes.iter().flat_map(|minutes| minutes.pending());
        self.gaps.pending().chain(minutes)
    }

    /// Marks the gaps that a request covers as `filling`.
    pub(in crate::domain) fn mark_requested(&mut self, interval: Interval, from: Timestamp, to: Timestamp) -> Vec<Gap> {
        let trackers = [Some(&mut self.gaps), self.minutes.as_mut()];
        let trackers = trackers.into_iter().flatten();
        trackers
            .flat_map(|tracker| tracker.mark_requested(interval, from, to))
            .collect()
    }

    /// Opens gaps for missing bars of past sessions, each published once; slots that were part of a gap before are skipped.
    pub(in crate::domain) fn open_missing(
        &mut self,
        lacking: &MissingBars,
        at: Timestamp,
        sequencer: &mut Sequencer,
        counts: &mut PipelineCounts,
        out: &mut Vec<JournalEntry>,
    ) {
        let interval = self.market.intervals.first().copied().unwrap_or(Interval::M5);
        let stretches: BTreeSet<_> = lacking.stretches.iter().copied().collect();
        let mut opened: BTreeMap<u64, Gap> = BTreeMap::new();
        let sessions = Arc::clone(&self.market.sessions);
        let slots = stretches
            .into_iter()
            .flat_map(|(from, to)| SlotGrid::of_interval(interval).touching(&*sessions, from, to));
        for Expected { slot, session } in slots.take(limits::HOLES_RESTORED) {
            let hole = MissingSlot {
                slot,
                session,
                bar: None,
            };
            let built = self.session.is_some_and(|session| session.contains(slot.opens_at));
            if !built && slot.closes_at <= at && !self.gaps.knows_slot(slot) {
                self.past_of(session);
                let gap = self.gaps.open(hole, &lacking.cause, &mut self.gap_ids);
                opened.insert(gap.id, gap);
            }
        }
        for gap in opened.into_values() {
            self.tell_gap(gap, at, sequencer, counts, out);
        }
    }

    /// A day's file begins: gaps that are not settled are asked for as a whole again.
    pub(in crate::domain) fn ask_again(&mut self) {
        let present = self.session.map(|session| (session, &self.builders));
        let past = self.past.iter().map(|past| (past.session, &past.builders));
        let days: Vec<_> = past.chain(present).collect();
        for gaps in [Some(&mut self.gaps), self.minutes.as_mut()].into_iter().flatten() {
            let interval = gaps.interval();
            let day_of = |slot: Slot| days.iter().find(|(session, _)| session.contains(slot.opens_at));
            let bar_of = |slot: Slot| {
                let (_, builders) = day_of(slot)?;
                let own = builders.iter().find(|builder| builder.interval() == interval)?;
                own.closed_bar(slot.opens_at).copied()
            };
            gaps.ask_again(|slot| day_of(slot).map(|(session, _)| *session), bar_of);
        }
    }

    /// Drops every gap, before the published ones are restored.
    pub(in crate::domain) fn forget_gaps(&mut self) {
        (self.gap_ids, self.counted_gap) = (0, 0);
        for gaps in [Some(&mut self.gaps), self.minutes.as_mut()].into_iter().flatten() {
            *gaps = GapTracker::new(self.market.symbol, gaps.interval());
        }
    }

    /// A gap of before has this id: it is neither given nor counted again.
    fn note_gap_id(&mut self, id: u64) {
        self.gap_ids = self.gap_ids.max(id);
        self.counted_gap = self.counted_gap.max(id);
    }

    /// Restores a gap of an earlier day. Its slots are those of the sessions as they were told: the calendar may have been corrected
    /// since.
    pub(in crate::domain) fn restore_gap(&mut self, gap: Gap, told: &ToldDays) {
        self.note_gap_id(gap.id);
        let calendar = Arc::clone(&self.market.sessions);
        let told_sessions = Listed {
            sessions: told.sessions.clone(),
            zone: calendar.zone(),
        };
        let sessions: &dyn Sessions = if has_slots_of(&told_sessions, &gap) {
            &told_sessions
        } else {
            &*calendar
        };
        let of_gap: Vec<Bar> = told
            .bars
            .iter()
            .filter(|bar| bar.key.interval == gap.interval)
            .copied()
            .collect();
        if gap.status.pending() && gap.interval == self.gaps.interval() {
            let mut touched: Vec<Session> = Vec::new();
            for expected in SlotGrid::BASE
                .touching(sessions, gap.from, gap.to)
                .take(limits::HOLES_RESTORED)
            {
                if touched.last() != Some(&expected.session) {
                    touched.push(expected.session);
                }
            }
            for session in touched {
                let Some(past) = self.past_of(session) else { continue };
                for bar in told.bars.iter().filter(|bar| bar.session_date == session.date) {
                    let builders = past.builders.iter_mut();
                    let own = builders.filter(|builder| builder.interval() == bar.key.interval);
                    own.for_each(|builder| builder.adopt_bar(*bar));
                }
            }
        }
        match &mut self.minutes {
            Some(minutes) if minutes.interval() == gap.interval => minutes.restore(gap, sessions, &of_gap),
            _ if gap.interval == self.gaps.interval() => self.gaps.restore(gap, sessions, &of_gap),
            _ => {} // of an interval that is no longer served
        }
    }

    /// Restores published bars where a replay of the day made different ones; later revisions start from the published ones.
    pub(in crate::domain) fn restore_told(&mut self, told: &[Bar], last_gap: u64) {
        self.note_gap_id(last_gap);
        for bar in told {
            let builders = self.builders.iter_mut();
            let own = builders.filter(|builder| builder.interval() == bar.key.interval);
            own.for_each(|builder| builder.restore(*bar));
        }
    }

    /// Keeps the last session while it has pending gaps, and drops earlier sessions without any.
    pub(super) fn keep_session(&mut self) {
        let gaps = &self.gaps;
        self.past
            .retain(|past| gaps.pending_in(past.session.opens, past.session.closes));
        if let Some(session) = self.session.filter(|last| gaps.pending_in(last.opens, last.closes)) {
            let builders = self.builders.clone();
            self.push_past(Past { session, builders });
        }
    }

    /// The known bars of an earlier session; `None` for the present one.
    pub(super) fn past_of(&mut self, session: Session) -> Option<&mut Past> {
        if self.session.is_some_and(|present| present.date == session.date) {
            return None;
        }
        if !self.past.iter().any(|past| past.session.date == session.date) {
            let symbol = self.market.symbol;
            let lateness = self.market.lateness;
            let intervals = self.market.intervals.iter();
            let builders = intervals.map(|interval| {
                let mut builder = BarBuilder::new(symbol, *interval, lateness);
                builder.correct_session(session, session.closes);
                builder
            });
            let builders = builders.collect();
            self.push_past(Past { session, builders });
        }
        self.past.iter_mut().find(|past| past.session.date == session.date)
    }

    fn push_past(&mut self, past: Past) {
        if self.past.len() >= limits::SESSIONS_HEALED {
            self.past.pop_front();
        }
        self.past.push_back(past);
    }

    /// Whether the `i`th interval is one minute, which has gaps of its own.
    pub(super) fn is_minutes(&self, i: usize) -> bool {
        self.market.intervals.get(i) == Some(&Interval::M1)
    }

    /// The slot of a longer interval that contains `place`, if it is closed: its bar is then composed only.
    pub(super) fn closed_longer(&self, i: usize, place: Timestamp) -> Option<Slot> {
        if i == 0 || self.is_minutes(i) {
            return None;
        }
        self.builders.get(i)?.closed_slot(place)
    }

    /// Composes the bar of a longer slot that was just closed. Other intervals are unchanged.
    pub(super) fn compose_closed(&mut self, i: usize, closed: ClosedSlot) -> ClosedSlot {
        let (slot, own) = match closed {
            ClosedSlot::Bar(bar) => (bar.slot(), Some(bar)),
            ClosedSlot::Missing(slot) => (slot, None),
        };
        if i == 0 || self.is_minutes(i) {
            return closed;
        }
        let lost = self.gaps.lost_in(slot);
        let Some(bar) = compose_bar(&self.builders, i, slot, own.as_ref(), lost) else {
            return closed;
        };
        self.builders
            .iter_mut()
            .skip(i)
            .take(1)
            .for_each(|builder| builder.adopt_bar(bar));
        ClosedSlot::Bar(bar)
    }

    /// The next revision of a longer bar of the present session, if its base bars make another one than was published.
    pub(super) fn recompose_bar(&mut self, i: usize, slot: Slot) -> Option<Bar> {
        let lost = self.gaps.lost_in(slot);
        revise(&mut self.builders, i, slot, lost)
    }

    /// Publishes the result of an answer or a correction: first the bars, then the gaps, then the longer bars that change.
    pub(in crate::domain) fn tell_findings(
        &mut self,
        findings: Vec<GapChange>,
        at: Timestamp,
        sequencer: &mut Sequencer,
        counts: &mut PipelineCounts,
        out: &mut Vec<JournalEntry>,
    ) {
        let mut changed: Vec<(Timestamp, Timestamp)> = Vec::new();
        let base = self.gaps.interval();
        for finding in findings {
            match finding {
                GapChange::Bar(bar) => {
                    let Some(i) = self.market.intervals.iter().position(|own| *own == bar.key.interval) else {
                        continue;
                    };
                    self.adopt_bar(i, bar);
                    changed.extend((i == 0).then_some((bar.key.opens_at, bar.closes_at)));
                    self.tell_bar(i, bar, at, sequencer, counts, out);
                }
                GapChange::Gap(gap) => {
                    let settled = gap.interval == base && !gap.status.pending();
                    changed.extend(settled.then_some((gap.from, gap.to)));
                    self.tell_gap(gap, at, sequencer, counts, out);
                }
            }
        }
        for (i, bar) in self.recompose_all(&changed) {
            self.tell_bar(i, bar, at, sequencer, counts, out);
        }
    }

    /// Replaces our bar with the vendor's, in the present session or an earlier one.
    fn adopt_bar(&mut self, i: usize, bar: Bar) {
        let past = self
            .past
            .iter_mut()
            .filter(|past| past.session.date == bar.session_date);
        let sets = past.map(|past| &mut past.builders).chain([&mut self.builders]);
        for builder in sets.filter_map(|builders| builders.get_mut(i)) {
            builder.adopt_bar(bar);
        }
    }

    /// The next revisions of the closed longer bars that overlap these ranges, in the present session and earlier ones.
    fn recompose_all(&mut self, changed: &[(Timestamp, Timestamp)]) -> Vec<(usize, Bar)> {
        let mut revised = Vec::new();
        if changed.is_empty() {
            return revised;
        }
        let gaps = &self.gaps;
        let present = self.session.map(|session| (session, &mut self.builders));
        let past = self.past.iter_mut().map(|past| (past.session, &mut past.builders));
        for (session, builders) in past.chain(present) {
            for i in 1..builders.len() {
                let Some(interval) = builders.get(i).map(BarBuilder::interval) else {
                    continue;
                };
                if interval == Interval::M1 {
                    continue;
                }
                for slot in SlotGrid::of_interval(interval).slots(&session) {
                    let mut stretches = changed.iter();
                    if !stretches.any(|(from, to)| *from < slot.closes_at && slot.opens_at < *to) {
                        continue;
                    }
                    let closed = builders.get(i).and_then(|builder| builder.closed_slot(slot.opens_at));
                    if closed == Some(slot) && is_accounted(builders, slot, session, gaps) {
                        let lost = gaps.lost_in(slot);
                        revised.extend(revise(builders, i, slot, lost).map(|bar| (i, bar)));
                    }
                }
            }
        }
        revised
    }
}

/// Whether the slots of a gap are those that these sessions have in its stretch.
fn has_slots_of(sessions: &dyn Sessions, gap: &Gap) -> bool {
    let grid = SlotGrid::of_interval(gap.interval);
    let slots: Vec<Slot> = grid
        .touching(sessions, gap.from, gap.to)
        .take(limits::HOLES_RESTORED)
        .map(|expected| expected.slot)
        .collect();
    let ends = (
        slots.first().map(|slot| slot.opens_at),
        slots.last().map(|slot| slot.closes_at),
    );
    ends == (Some(gap.from), Some(gap.to)) && u32::try_from(slots.len()) == Ok(gap.bars)
}

/// Whether every base slot has a bar or a gap.
fn is_accounted(
    builders: &[BarBuilder],
    slot: Slot,
    session: Session,
    gaps: &crate::domain::pipeline::GapTracker,
) -> bool {
    let Some(base) = builders.first() else { return false };
    let within = Session {
        closes: slot.closes_at,
        ..session
    };
    let mut parts = SlotGrid::of_interval(base.interval())
        .slots(&within)
        .skip_while(|part| part.closes_at <= slot.opens_at);
    parts.all(|part| base.closed_bar(part.opens_at).is_some() || gaps.knows_slot(part))
}

/// Composes the bar of the `i`th interval from the base bars in a slot, with the revision of `own`.
fn compose_bar(builders: &[BarBuilder], i: usize, slot: Slot, own: Option<&Bar>, lost: bool) -> Option<Bar> {
    let base = builders.first()?;
    let builder = builders.get(i)?;
    let longer = Longer {
        key: BarKey {
            symbol: builder.symbol(),
            interval: builder.interval(),
            opens_at: slot.opens_at,
        },
        slot,
        session: builder.session()?,
        own,
        lost,
    };
    longer.compose_bar(base.closed_in(slot))
}

/// Composes the bar as the next revision of the published one; `None` if nothing changed.
fn revise(builders: &mut [BarBuilder], i: usize, slot: Slot, lost: bool) -> Option<Bar> {
    let own = builders.get(i)?.closed_bar(slot.opens_at).copied();
    let mut bar = compose_bar(builders, i, slot, own.as_ref(), lost)?;
    if own == Some(bar) {
        return None;
    }
    if own.is_some() {
        bar.revise();
    }
    builders.get_mut(i)?.adopt_bar(bar);
    Some(bar)
}
