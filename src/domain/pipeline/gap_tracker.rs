//! Tracks gaps: which expected bars are missing or flawed, and the outcome of each (invariant B3).
//!
//! A *hole* is one slot whose bar is missing, or was made while the feed was interrupted. Adjacent holes with one cause form one gap. A
//! hole is filled when a bar came for it. It is `unfillable` when the vendor answered for that very slot and has no bar: the slot stays
//! empty, or our flawed bar stays, and the gap's cause says which. Decisions made by a clock that was set back since are no longer evidence
//! ([`GapTracker::set_back`]).

use crate::domain::model::{
    Bar, BarKey, BarState, Expected, Fetched, Flags, Gap, GapStatus, Interval, Ohlc, Provenance, Session, Sessions,
    Slot, SlotGrid, Symbol, Timestamp,
};
use crate::domain::pipeline::{SetBack, SlotAnswer};
use crate::limits;
use std::collections::BTreeMap;

/// One slot whose bar is missing or flawed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingSlot {
    /// The slot.
    pub slot: Slot,
    /// The session it belongs to.
    pub session: Session,
    /// The flawed bar, if there is one.
    pub bar: Option<Bar>,
}

/// A change to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GapChange {
    /// A bar from the vendor.
    Bar(Bar),
    /// A gap that was opened or has changed.
    Gap(Gap),
}

/// The outcome of one slot of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotOutcome {
    /// A bar came for it.
    Filled,
    /// The vendor answered for this very slot, and has no usable bar.
    Lacks {
        /// Whether our flawed bar stays.
        ours: bool,
        /// Whether the vendor has a bar whose prices cannot be used.
        broken: bool,
    },
}

impl SlotOutcome {
    /// The cause of a gap of slots with this outcome: why the bars were missing, then the evidence.
    fn cause_of(self, cause: &str) -> String {
        let Self::Lacks { ours, broken } = self else {
            return cause.to_owned();
        };
        let vendor = if broken {
            "the vendor's bar cannot be used"
        } else {
            "the vendor has no bar"
        };
        let stands = if ours { ", candela's bar stays flawed" } else { "" };
        format!("{cause}; {vendor}{stands}")
    }

    const fn status(self) -> GapStatus {
        match self {
            Self::Filled => GapStatus::Filled,
            Self::Lacks { .. } => GapStatus::Unfillable,
        }
    }
}

/// The outcome of one slot, and when it was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decided {
    slot: Slot,
    outcome: SlotOutcome,
    at: Timestamp,
}

/// A gap that was published as filled or unfillable, and when the first of its slots was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SettledGap {
    gap: Gap,
    at: Timestamp,
}

/// The gaps of one symbol and interval. Gap ids are shared by all intervals of the symbol, so the counter is an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapTracker {
    symbol: Symbol,
    interval: Interval,
    pending: Vec<Pending>,
    /// Filled and unfillable gaps. They are not opened again, unless the clock that decided them was wrong.
    settled: Vec<SettledGap>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pending {
    gap: Gap,
    /// Slots without an outcome.
    holes: Vec<MissingSlot>,
    /// The outcomes of the other slots.
    outcomes: Vec<Decided>,
}

impl Pending {
    /// Reopens a slot that was decided before it was over, unless our own bar is whole.
    fn decide_again(&mut self, decided: Decided, back: &SetBack<'_>) {
        let slot = decided.slot;
        let bar = back.bar(self.gap.interval, slot.opens_at);
        let ours = bar.is_some_and(|bar| !is_flawed(&bar) && bar.provenance != Provenance::Backfill);
        let grid = SlotGrid::of_interval(self.gap.interval);
        let expected = grid.touching(back.sessions, slot.opens_at, slot.closes_at).next();
        match expected.filter(|_| back.too_early(slot, decided.at)) {
            Some(_) if ours => self.outcomes.push(Decided {
                outcome: SlotOutcome::Filled,
                ..decided
            }),
            Some(Expected { session, .. }) => self.holes.push(MissingSlot { slot, session, bar }),
            None => self.outcomes.push(decided),
        }
    }

    /// Sets the range and length of the gap by its slots.
    fn measure(&mut self) {
        let decided = self.outcomes.iter().map(|decided| decided.slot);
        let mut slots: Vec<Slot> = self.holes.iter().map(|hole| hole.slot).chain(decided).collect();
        slots.sort_by_key(|slot| slot.opens_at);
        self.gap.from = slots.first().map_or(self.gap.from, |slot| slot.opens_at);
        self.gap.to = slots.last().map_or(self.gap.from, |slot| slot.closes_at);
        self.gap.bars = u32::try_from(slots.len()).unwrap_or(u32::MAX);
    }
}

impl GapTracker {
    /// A tracker without gaps.
    pub const fn new(symbol: Symbol, interval: Interval) -> Self {
        Self {
            symbol,
            interval,
            pending: Vec::new(),
            settled: Vec::new(),
        }
    }

    /// The interval of the bars.
    pub const fn interval(&self) -> Interval {
        self.interval
    }

    /// Whether a slot is, or was, part of a gap, whose outcome is published separately.
    pub fn knows_slot(&self, slot: Slot) -> bool {
        let pending = self.pending.iter().map(|pending| &pending.gap);
        let settled = self.settled.iter().map(|settled| &settled.gap);
        let mut gaps = pending.chain(settled);
        gaps.any(|gap| gap.from <= slot.opens_at && slot.opens_at < gap.to)
    }

    fn settle_gap(&mut self, gap: Gap, at: Timestamp) {
        if self.settled.len() >= limits::GAPS_SETTLED {
            self.settled.remove(0);
        }
        self.settled.push(SettledGap { gap, at });
    }

    /// The gaps that may still be filled, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = &Gap> {
        self.pending.iter().map(|pending| &pending.gap)
    }

    /// Restores a gap of an earlier run. `bars` are the last revisions of the bars that exist in its range.
    pub fn restore(&mut self, gap: Gap, sessions: &dyn Sessions, bars: &[Bar]) {
        if !gap.status.pending() {
            return self.settle_gap(gap, Timestamp::from_micros(i64::MIN));
        }
        if self.pending.iter().any(|pending| pending.gap.id == gap.id) {
            return;
        }
        let bars: BTreeMap<Timestamp, Bar> = bars.iter().map(|bar| (bar.key.opens_at, *bar)).collect();
        let mut holes = Vec::new();
        let mut outcomes = Vec::new();
        let slots = SlotGrid::of_interval(self.interval).touching(sessions, gap.from, gap.to);
        for Expected { slot, session } in slots.take(limits::HOLES_RESTORED) {
            let bar = bars.get(&slot.opens_at).copied();
            if bar.as_ref().is_none_or(is_flawed) {
                holes.push(MissingSlot { slot, session, bar });
            } else {
                outcomes.push(Decided {
                    slot,
                    outcome: SlotOutcome::Filled,
                    at: Timestamp::from_micros(i64::MIN),
                });
            }
        }
        if !holes.is_empty() {
            self.pending.push(Pending { gap, holes, outcomes });
        }
    }

    /// A day's file begins. Of a gap that is not settled only its slots are told: what the vendor was found to lack in some of them is
    /// asked again, so that a restart from this file knows no less. `bar_of` is what a slot has now.
    pub(crate) fn ask_again(
        &mut self,
        session_of: impl Fn(Slot) -> Option<Session>,
        bar_of: impl Fn(Slot) -> Option<Bar>,
    ) {
        for pending in &mut self.pending {
            for decided in std::mem::take(&mut pending.outcomes) {
                let slot = decided.slot;
                match (decided.outcome, session_of(slot)) {
                    (SlotOutcome::Lacks { .. }, Some(session)) => {
                        let bar = bar_of(slot);
                        pending.holes.push(MissingSlot { slot, session, bar });
                    }
                    _ => pending.outcomes.push(decided),
                }
            }
            pending.holes.sort_by_key(|hole| hole.slot.opens_at);
        }
    }

    /// Opens a gap for a hole, or adds the hole to the open gap that ends where it begins.
    pub fn open(&mut self, hole: MissingSlot, cause: &str, ids: &mut u64) -> Gap {
        if let Some(last) = self.pending.last_mut()
            && last.gap.status == GapStatus::Open
            && last.gap.to == hole.slot.opens_at
            && last.gap.cause == cause
        {
            last.gap.to = hole.slot.closes_at;
            last.gap.bars = last.gap.bars.saturating_add(1);
            last.holes.push(hole);
            return last.gap.clone();
        }
        let gap = Gap {
            id: next_id(ids),
            symbol: self.symbol,
            interval: self.interval,
            from: hole.slot.opens_at,
            to: hole.slot.closes_at,
            bars: 1,
            status: GapStatus::Open,
            cause: cause.to_owned(),
        };
        self.pending.push(Pending {
            gap: gap.clone(),
            holes: vec![hole],
            outcomes: Vec::new(),
        });
        gap
    }

    /// Whether a pending gap overlaps `[from, to)`.
    pub fn pending_in(&self, from: Timestamp, to: Timestamp) -> bool {
        self.pending
            .iter()
            .any(|pending: &Pending| pending.gap.from < to && from < pending.gap.to)
    }

    /// Whether a slot within `stretch` has no bar and belongs to a pending gap.
    pub fn lost_in(&self, stretch: Slot) -> bool {
        let stretch = stretch.opens_at..stretch.closes_at;
        let mut holes = self.pending.iter().flat_map(|pending| &pending.holes);
        holes.any(|hole| hole.bar.is_none() && stretch.contains(&hole.slot.opens_at))
    }

    /// A hole's slot was closed again: its session's end moved, the clock was set back, or a late tick made or corrected its bar. `bar` is
    /// its present bar. `None` when the slot is not a hole.
    pub fn closed_again(
        &mut self,
        slot: Slot,
        bar: Option<Bar>,
        at: Timestamp,
        ids: &mut u64,
    ) -> Option<Vec<GapChange>> {
        let (i, place) = self.pending.iter().enumerate().find_map(|(i, pending)| {
            let mut holes = pending.holes.iter();
            Some((i, holes.position(|hole| hole.slot.opens_at == slot.opens_at)?))
        })?;
        let mut pending = self.pending.remove(i);
        if let Some(hole) = pending.holes.get_mut(place) {
            if pending.gap.to == hole.slot.closes_at {
                pending.gap.to = slot.closes_at;
            }
            (hole.slot, hole.bar) = (slot, bar);
        }
        if bar.is_some_and(|bar| !is_flawed(&bar)) {
            pending.holes.remove(place);
            pending.outcomes.push(Decided {
                slot,
                outcome: SlotOutcome::Filled,
                at,
            });
        }
        let mut findings = Vec::new();
        if pending.holes.is_empty() {
            self.conclude_gap(pending, ids, &mut findings);
        } else {
            findings.push(GapChange::Gap(pending.gap.clone()));
            self.pending.insert(i, pending);
        }
        Some(findings)
    }

    /// Marks gaps as `filling` that overlap the requested range and are filled by bars of `interval`.
    pub fn mark_requested(&mut self, interval: Interval, from: Timestamp, to: Timestamp) -> Vec<Gap> {
        let touched = self.pending.iter_mut().filter(|Pending { gap, .. }| {
            gap.status == GapStatus::Open && gap.asked_in() == interval && gap.from < to && from < gap.to
        });
        touched
            .map(|pending| {
                pending.gap.status = GapStatus::Filling;
                pending.gap.clone()
            })
            .collect()
    }

    /// Sets the cause of pending gaps that have no bar at all and that `which` selects. Returns them.
    pub fn explain_gaps(&mut self, which: impl Fn(&Gap) -> bool, cause: &str) -> Vec<Gap> {
        let mut explained = Vec::new();
        for Pending { gap, holes, outcomes } in &mut self.pending {
            if outcomes.is_empty() && holes.iter().all(|hole| hole.bar.is_none()) && which(gap) {
                cause.clone_into(&mut gap.cause);
                explained.push(gap.clone());
            }
        }
        explained
    }

    /// A late tick made or corrected the bar of a slot. A whole bar fills its hole; a flawed one may still be corrected by the vendor's.
    /// Returns the gaps that are settled by it.
    pub fn note_revision(&mut self, bar: &Bar, at: Timestamp, ids: &mut u64) -> Vec<GapChange> {
        if bar.key.interval != self.interval {
            return Vec::new();
        }
        let mut findings = self.closed_again(bar.slot(), Some(*bar), at, ids).unwrap_or_default();
        findings.retain(|finding| matches!(finding, GapChange::Gap(gap) if !gap.status.pending())); // the rest is as it was told
        findings
    }

    /// Applies the vendor's answer: bars for the holes it covers, and the outcomes of gaps. Only an answer for the very slot is evidence
    /// that the vendor has no bar, and only if the slot is over at `at`: otherwise a clock that was set back since made the request. A gap
    /// whose last slot is cut short is settled by one-minute bars ([`Gap::asked_in`]).
    pub fn apply_answer(&mut self, fetched: &Fetched, at: Timestamp, ids: &mut u64) -> Vec<GapChange> {
        if fetched.symbol != self.symbol {
            return Vec::new();
        }
        let mut findings = Vec::new();
        let mut still = Vec::with_capacity(self.pending.len());
        for mut pending in std::mem::take(&mut self.pending) {
            if fetched.interval != self.interval && fetched.interval != pending.gap.asked_in() {
                still.push(pending);
                continue;
            }
            for hole in std::mem::take(&mut pending.holes) {
                let said = SlotAnswer::read(fetched, self.interval, hole.slot);
                let outcome = match (said, hole.bar) {
                    _ if hole.slot.closes_at > at => {
                        pending.holes.push(hole);
                        continue;
                    }
                    (SlotAnswer::Bar(ohlc), _) => {
                        findings.push(GapChange::Bar(fill_slot(self.symbol, self.interval, &hole, ohlc)));
                        SlotOutcome::Filled
                    }
                    (SlotAnswer::Unsaid, _) => {
                        pending.holes.push(hole);
                        continue;
                    }
                    (SlotAnswer::Lacks { .. }, Some(ours)) if !is_flawed(&ours) => SlotOutcome::Filled, // a late tick made it
                    (SlotAnswer::Lacks { broken }, ours) => SlotOutcome::Lacks {
                        ours: ours.is_some(),
                        broken,
                    },
                };
                pending.outcomes.push(Decided {
                    slot: hole.slot,
                    outcome,
                    at,
                });
            }
            if pending.holes.is_empty() {
                self.conclude_gap(pending, ids, &mut findings);
            } else {
                still.push(pending);
            }
        }
        self.pending = still;
        findings
    }

    /// The clock was set back. Slots that are open again leave their gaps; a gap without other slots is withdrawn, which is published as
    /// filled without a bar. A decision about a slot before it was over is no evidence: its gap may be filled again.
    pub(crate) fn set_back(&mut self, back: &SetBack<'_>, ids: &mut u64) -> Vec<GapChange> {
        let mut findings = Vec::new();
        for mut pending in std::mem::take(&mut self.pending) {
            let before = (pending.holes.len(), pending.outcomes.len());
            pending.holes.retain(|hole| !back.reopened(hole.slot));
            for decided in std::mem::take(&mut pending.outcomes) {
                if !back.reopened(decided.slot) {
                    pending.decide_again(decided, back);
                }
            }
            if before == (pending.holes.len(), pending.outcomes.len()) {
                self.pending.push(pending);
            } else {
                self.tell_again(pending, back, ids, &mut findings);
            }
        }
        for settled in std::mem::take(&mut self.settled) {
            match self.reopen_gap(&settled, back) {
                Some(pending) => self.tell_again(pending, back, ids, &mut findings),
                None => self.settled.push(settled),
            }
        }
        self.pending.sort_by_key(|pending| pending.gap.from);
        findings
    }

    /// Whether a slot is a hole of a pending gap.
    fn lacks(&self, slot: Slot) -> bool {
        let mut holes = self.pending.iter().flat_map(|pending| &pending.holes);
        holes.any(|hole| hole.slot.opens_at == slot.opens_at)
    }

    /// Reopens a settled gap if one of its slots was decided before it was over; `None` when it stays settled.
    fn reopen_gap(&self, settled: &SettledGap, back: &SetBack<'_>) -> Option<Pending> {
        let SettledGap { gap, at } = settled;
        if *at < back.wrong_since {
            return None;
        }
        let mut pending = Pending {
            gap: gap.clone(),
            holes: Vec::new(),
            outcomes: Vec::new(),
        };
        let slots = SlotGrid::of_interval(self.interval).touching(back.sessions, gap.from, gap.to);
        let slots: Vec<Slot> = slots
            .take(limits::HOLES_RESTORED)
            .map(|expected| expected.slot)
            .collect();
        let withdrawn = gap.status == GapStatus::Unfillable && slots.iter().any(|slot| back.reopened(*slot));
        for slot in slots
            .into_iter()
            .filter(|slot| !back.reopened(*slot) && !self.lacks(*slot))
        {
            let outcome = match gap.status {
                GapStatus::Unfillable => SlotOutcome::Lacks {
                    ours: back.bar(self.interval, slot.opens_at).is_some(),
                    broken: false,
                },
                _ => SlotOutcome::Filled,
            };
            pending.decide_again(Decided { slot, outcome, at: *at }, back);
        }
        let bettered = gap.status == GapStatus::Unfillable
            && pending
                .outcomes
                .iter()
                .any(|decided| decided.outcome == SlotOutcome::Filled);
        (withdrawn || bettered || !pending.holes.is_empty()).then_some(pending)
    }

    /// Publishes a gap whose slots have changed, or its outcome if none is left to be filled.
    fn tell_again(&mut self, mut pending: Pending, back: &SetBack<'_>, ids: &mut u64, findings: &mut Vec<GapChange>) {
        pending.measure();
        if !pending.gap.status.pending() {
            pending.gap.status = GapStatus::Open;
            back.cause.clone_into(&mut pending.gap.cause);
        }
        if !pending.holes.is_empty() {
            findings.push(GapChange::Gap(pending.gap.clone()));
            return self.pending.push(pending);
        }
        if !pending.outcomes.is_empty() {
            return self.conclude_gap(pending, ids, findings);
        }
        pending.gap.status = GapStatus::Filled;
        findings.push(GapChange::Gap(pending.gap));
    }

    /// Settles a gap whose every slot has an outcome. The gap keeps its first run of filled slots, or else its first run; each further run
    /// of slots with one outcome becomes a gap of its own.
    fn conclude_gap(&mut self, pending: Pending, ids: &mut u64, findings: &mut Vec<GapChange>) {
        let Pending { gap, mut outcomes, .. } = pending;
        outcomes.sort_by_key(|decided| decided.slot.opens_at);
        let mut runs: Vec<(Decided, u32)> = Vec::new();
        for decided in outcomes {
            match runs.last_mut() {
                Some((run, bars)) if run.outcome == decided.outcome && run.slot.closes_at == decided.slot.opens_at => {
                    run.slot.closes_at = decided.slot.closes_at;
                    run.at = run.at.min(decided.at);
                    *bars = bars.saturating_add(1);
                }
                _ => runs.push((decided, 1)),
            }
        }
        let kept = runs.iter().position(|(run, _)| run.outcome == SlotOutcome::Filled);
        let kept = kept.unwrap_or_default();
        let mut first = None;
        for (i, (Decided { slot, outcome, at }, bars)) in runs.into_iter().enumerate() {
            let mut record = Gap {
                from: slot.opens_at,
                to: slot.closes_at,
                bars,
                status: outcome.status(),
                cause: outcome.cause_of(&gap.cause),
                ..gap.clone()
            };
            if i != kept {
                record.id = next_id(ids);
            }
            self.settle_gap(record.clone(), at);
            if i == kept {
                first = Some(record);
            } else {
                findings.push(GapChange::Gap(record));
            }
        }
        findings.extend(first.map(GapChange::Gap));
    }
}

/// The next gap id.
const fn next_id(ids: &mut u64) -> u64 {
    *ids = ids.saturating_add(1);
    *ids
}

/// The vendor's bar for a hole: revision 0 where no bar was published, the next revision where ours was flawed.
fn fill_slot(symbol: Symbol, interval: Interval, hole: &MissingSlot, ohlc: Ohlc) -> Bar {
    match hole.bar {
        None => Bar {
            key: BarKey {
                symbol,
                interval,
                opens_at: hole.slot.opens_at,
            },
            closes_at: hole.slot.closes_at,
            ohlc,
            ticks: 0,
            first_tick_at: None,
            last_tick_at: None,
            state: BarState::Closed,
            revision: 0,
            provenance: Provenance::Backfill,
            flags: SlotGrid::of_interval(interval).flags_of(hole.slot),
            session_date: hole.session.date,
            session_kind: hole.session.kind,
        },
        Some(ours) => {
            let mut bar = ours;
            bar.ohlc = ohlc;
            bar.provenance = Provenance::Backfill;
            bar.flags = bar.flags.without(Flags::FEED_GAP.with(Flags::LATE_START));
            bar.revise();
            bar
        }
    }
}

/// Whether the vendor's bar should replace this one, by its flags.
pub const fn is_flawed(bar: &Bar) -> bool {
    bar.flags.contains(Flags::FEED_GAP) || bar.flags.contains(Flags::LATE_START)
}
