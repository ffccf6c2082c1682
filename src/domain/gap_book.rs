//! The book of gaps: which expected bars are missing or flawed, and what became of each (invariant B3).
//!
//! A *hole* is one slot whose bar is missing, or was made while the feed was not heard all the time. Neighbouring holes with one
//! cause are one gap. A hole is filled when a bar came for it. It is `unfillable` when the vendor answered for that very slot and
//! has no bar: nothing is there then, or our flawed bar stands, and the gap's cause says which.

use crate::domain::bar::{Bar, BarKey, BarState, Flags};
use crate::domain::event::{Fetched, VendorBar};
use crate::domain::gap::{Gap, GapStatus};
use crate::domain::interval::Interval;
use crate::domain::session::{Session, Sessions};
use crate::domain::slot_grid::{Expected, Slot, SlotGrid};
use crate::domain::symbol::Symbol;
use crate::domain::tick::Provenance;
use crate::domain::timestamp::Timestamp;
use crate::limits;
use std::collections::BTreeMap;

/// One slot whose bar is missing or flawed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// The slot.
    pub slot: Slot,
    /// The session it belongs to.
    pub session: Session,
    /// The flawed bar, when there is one.
    pub bar: Option<Bar>,
}

/// Something that the book decided and that must be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A bar the vendor had.
    Bar(Bar),
    /// A gap was opened or changed.
    Gap(Gap),
}

/// What became of one slot of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// A bar came for it.
    Filled,
    /// The vendor answered for this very slot, and has no bar that could be used.
    Lacks {
        /// A flawed bar of ours stands.
        ours: bool,
        /// The vendor has a bar that breaks its own prices.
        broken: bool,
    },
}

impl Outcome {
    /// The cause of a gap of such slots: why bars were missing, then the evidence.
    fn cause(self, cause: &str) -> String {
        let Self::Lacks { ours, broken } = self else {
            return cause.to_owned();
        };
        let vendor = if broken {
            "the vendor's bar cannot be used"
        } else {
            "the vendor has no bar"
        };
        let stands = if ours { ", ours stays flawed" } else { "" };
        format!("{cause}; {vendor}{stands}")
    }

    const fn status(self) -> GapStatus {
        match self {
            Self::Filled => GapStatus::Filled,
            Self::Lacks { .. } => GapStatus::Unfillable,
        }
    }
}

/// The gaps of one symbol and interval. Ids are counted over all intervals of the symbol, so they are an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapBook {
    symbol: Symbol,
    interval: Interval,
    pending: Vec<Pending>,
    /// Stretches of gaps that were filled or found unfillable: nobody opens them again.
    settled: Vec<(Timestamp, Timestamp)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pending {
    gap: Gap,
    /// Nobody knows yet.
    holes: Vec<Hole>,
    /// What became of the others.
    outcomes: Vec<(Slot, Outcome)>,
}

impl GapBook {
    /// Without gaps.
    #[must_use]
    pub const fn new(symbol: Symbol, interval: Interval) -> Self {
        Self {
            symbol,
            interval,
            pending: Vec::new(),
            settled: Vec::new(),
        }
    }

    /// Of which bars.
    #[must_use]
    pub const fn interval(&self) -> Interval {
        self.interval
    }

    /// Whether a slot is, or was, part of a gap: what became of it is told already, or will be.
    #[must_use]
    pub fn knows(&self, slot: Slot) -> bool {
        let holds = |from: Timestamp, to: Timestamp| from <= slot.opens_at && slot.opens_at < to;
        self.pending
            .iter()
            .any(|pending| holds(pending.gap.from, pending.gap.to))
            || self.settled.iter().any(|(from, to)| holds(*from, *to))
    }

    fn settle(&mut self, gap: &Gap) {
        if self.settled.len() >= limits::GAPS_SETTLED {
            self.settled.remove(0);
        }
        self.settled.push((gap.from, gap.to));
    }

    /// The gaps that may still be filled, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = &Gap> {
        self.pending.iter().map(|pending| &pending.gap)
    }

    /// Takes up a gap of an earlier run, with the bars (last revisions) that exist in its stretch.
    pub fn restore(&mut self, gap: Gap, sessions: &dyn Sessions, bars: &[Bar]) {
        if !gap.status.pending() {
            return self.settle(&gap);
        }
        if self.pending.iter().any(|pending| pending.gap.id == gap.id) {
            return;
        }
        let bars: BTreeMap<Timestamp, Bar> = bars.iter().map(|bar| (bar.key.opens_at, *bar)).collect();
        let (mut holes, mut outcomes) = (Vec::new(), Vec::new());
        let slots = SlotGrid::of(self.interval).touching(sessions, gap.from, gap.to);
        for Expected { slot, session } in slots.take(limits::HOLES_RESTORED) {
            let bar = bars.get(&slot.opens_at).copied();
            if bar.as_ref().is_none_or(flawed) {
                holes.push(Hole { slot, session, bar });
            } else {
                outcomes.push((slot, Outcome::Filled));
            }
        }
        if !holes.is_empty() {
            self.pending.push(Pending { gap, holes, outcomes });
        }
    }

    /// Opens a gap for a hole, or adds the hole to the open gap before it.
    pub fn open(&mut self, hole: Hole, cause: &str, ids: &mut u64) -> Gap {
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

    /// Whether a gap that may still be filled touches a stretch.
    #[must_use]
    pub fn pending_in(&self, from: Timestamp, to: Timestamp) -> bool {
        let touches = |pending: &Pending| pending.gap.from < to && from < pending.gap.to;
        self.pending.iter().any(touches)
    }

    /// Whether a slot in a stretch has no bar and its gap may still be filled.
    #[must_use]
    pub fn lost_in(&self, stretch: Slot) -> bool {
        let within = |slot: Slot| stretch.opens_at <= slot.opens_at && slot.opens_at < stretch.closes_at;
        let holes = self.pending.iter().flat_map(|pending| &pending.holes);
        holes.into_iter().any(|hole| hole.bar.is_none() && within(hole.slot))
    }

    /// A slot that is a hole was closed again, after its session's end moved; `bar` is what it has now. `None` when it is no hole.
    pub fn closed_again(&mut self, slot: Slot, bar: Option<Bar>, ids: &mut u64) -> Option<Vec<Finding>> {
        let holds = |pending: &Pending| {
            pending
                .holes
                .iter()
                .position(|hole| hole.slot.opens_at == slot.opens_at)
        };
        let (i, place) = self
            .pending
            .iter()
            .enumerate()
            .find_map(|(i, pending)| Some((i, holds(pending)?)))?;
        let mut pending = self.pending.remove(i);
        if let Some(hole) = pending.holes.get_mut(place) {
            if pending.gap.to == hole.slot.closes_at {
                pending.gap.to = slot.closes_at;
            }
            (hole.slot, hole.bar) = (slot, bar);
        }
        if bar.is_some_and(|bar| !flawed(&bar)) {
            pending.holes.remove(place);
            pending.outcomes.push((slot, Outcome::Filled));
        }
        let mut findings = Vec::new();
        if pending.holes.is_empty() {
            self.conclude(pending, ids, &mut findings);
        } else {
            findings.push(Finding::Gap(pending.gap.clone()));
            self.pending.insert(i, pending);
        }
        Some(findings)
    }

    /// The vendor is being asked for a stretch: gaps that touch it are `filling`.
    pub fn asked(&mut self, from: Timestamp, to: Timestamp) -> Vec<Gap> {
        let touched = self
            .pending
            .iter_mut()
            .filter(|pending| pending.gap.status == GapStatus::Open && pending.gap.from < to && from < pending.gap.to);
        touched
            .map(|pending| {
                pending.gap.status = GapStatus::Filling;
                pending.gap.clone()
            })
            .collect()
    }

    /// Gaps that may still be filled and that `which` picks get another cause; it is told with their next change.
    pub fn explain(&mut self, which: impl Fn(&Gap) -> bool, cause: &str) {
        for pending in self.pending.iter_mut().filter(|pending| which(&pending.gap)) {
            cause.clone_into(&mut pending.gap.cause);
        }
    }

    /// A late tick made or corrected the bar of a slot: the vendor's bar may still correct it.
    pub fn revised(&mut self, bar: &Bar) {
        for hole in self.pending.iter_mut().flat_map(|pending| pending.holes.iter_mut()) {
            if hole.slot.opens_at == bar.key.opens_at {
                hole.bar = Some(*bar);
            }
        }
    }

    /// The vendor's answer: bars for the holes it covers, and what became of the gaps. Only an answer for the very slot is
    /// evidence that the vendor has no bar.
    pub fn answer(&mut self, fetched: &Fetched, ids: &mut u64) -> Vec<Finding> {
        if fetched.symbol != self.symbol || fetched.interval != self.interval {
            return Vec::new();
        }
        let mut findings = Vec::new();
        let mut still = Vec::with_capacity(self.pending.len());
        for mut pending in std::mem::take(&mut self.pending) {
            for hole in std::mem::take(&mut pending.holes) {
                let at = hole.slot.opens_at;
                let vendor = fetched.bars.iter().find(|bar| bar.opens_at == at && bar.ohlc.ordered());
                let outcome = match (vendor, hole.bar) {
                    (Some(vendor), _) => {
                        findings.push(Finding::Bar(filled(self.symbol, self.interval, &hole, vendor)));
                        Outcome::Filled
                    }
                    (None, _) if !fetched.speaks_of(hole.slot) => {
                        pending.holes.push(hole);
                        continue;
                    }
                    (None, Some(ours)) if !flawed(&ours) => Outcome::Filled, // a late tick made it
                    (None, ours) => Outcome::Lacks {
                        ours: ours.is_some(),
                        broken: fetched.unusable.contains(&at),
                    },
                };
                pending.outcomes.push((hole.slot, outcome));
            }
            if pending.holes.is_empty() {
                self.conclude(pending, ids, &mut findings);
            } else {
                still.push(pending);
            }
        }
        self.pending = still;
        findings
    }

    /// Every slot of a gap has its outcome. The gap keeps its first run of filled slots, or else its first run; each further run
    /// of slots with one outcome is a gap record of its own.
    fn conclude(&mut self, pending: Pending, ids: &mut u64, findings: &mut Vec<Finding>) {
        let Pending { gap, mut outcomes, .. } = pending;
        self.settle(&gap);
        outcomes.sort_by_key(|(slot, _)| slot.opens_at);
        let mut runs: Vec<(Slot, u32, Outcome)> = Vec::new();
        for (slot, outcome) in outcomes {
            match runs.last_mut() {
                Some((run, bars, same)) if *same == outcome && run.closes_at == slot.opens_at => {
                    run.closes_at = slot.closes_at;
                    *bars = bars.saturating_add(1);
                }
                _ => runs.push((slot, 1, outcome)),
            }
        }
        let kept = runs.iter().position(|(_, _, outcome)| *outcome == Outcome::Filled);
        let kept = kept.unwrap_or_default();
        let mut first = None;
        for (i, (run, bars, outcome)) in runs.into_iter().enumerate() {
            let mut record = Gap {
                from: run.opens_at,
                to: run.closes_at,
                bars,
                status: outcome.status(),
                cause: outcome.cause(&gap.cause),
                ..gap.clone()
            };
            if i == kept {
                first = Some(record);
            } else {
                record.id = next_id(ids);
                findings.push(Finding::Gap(record));
            }
        }
        findings.extend(first.map(Finding::Gap));
    }
}

/// Gap ids count up.
const fn next_id(ids: &mut u64) -> u64 {
    *ids = ids.saturating_add(1);
    *ids
}

/// The vendor's bar in a hole: the first revision where none was told, the next one where ours was flawed.
fn filled(symbol: Symbol, interval: Interval, hole: &Hole, vendor: &VendorBar) -> Bar {
    match hole.bar {
        None => Bar {
            key: BarKey {
                symbol,
                interval,
                opens_at: hole.slot.opens_at,
            },
            closes_at: hole.slot.closes_at,
            ohlc: vendor.ohlc,
            ticks: 0,
            first_tick_at: None,
            last_tick_at: None,
            state: BarState::Closed,
            revision: 0,
            provenance: Provenance::Backfill,
            flags: SlotGrid::of(interval).flags(hole.slot),
            session_date: hole.session.date,
            session_kind: hole.session.kind,
        },
        Some(ours) => {
            let mut bar = ours;
            bar.ohlc = vendor.ohlc;
            bar.provenance = Provenance::Backfill;
            bar.flags = bar.flags.without(Flags::FEED_GAP.with(Flags::LATE_START));
            bar.revise();
            bar
        }
    }
}

/// The flags that make a bar worth asking the vendor for.
#[must_use]
pub const fn flawed(bar: &Bar) -> bool {
    bar.flags.contains(Flags::FEED_GAP) || bar.flags.contains(Flags::LATE_START)
}
