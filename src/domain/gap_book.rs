//! The book of gaps: which expected bars are missing or flawed, and what became of each (invariant B3).
//!
//! A *hole* is one slot whose bar is missing, or was made while the feed was not heard all the time. Neighbouring holes with one
//! cause are one gap. The vendor's answer fills holes; where it has no bar either, the slot is `unfillable`, or our flawed bar stands.

use crate::domain::bar::{Bar, BarKey, BarState, Flags};
use crate::domain::bars::{Slot, cut_short, slot_of};
use crate::domain::event::{Fetched, VendorBar};
use crate::domain::gap::{Gap, GapStatus};
use crate::domain::interval::Interval;
use crate::domain::session::{Session, Sessions};
use crate::domain::symbol::Symbol;
use crate::domain::tick::Provenance;
use crate::domain::timestamp::Timestamp;
use crate::limits;

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

/// The gaps of one symbol's base bars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapBook {
    symbol: Symbol,
    interval: Interval,
    last_id: u64,
    pending: Vec<Pending>,
    /// Stretches of gaps that were filled or found unfillable: nobody opens them again.
    settled: Vec<(Timestamp, Timestamp)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pending {
    gap: Gap,
    /// Nobody knows yet.
    holes: Vec<Hole>,
    /// How many the vendor had.
    filled: u32,
    /// The vendor was asked and has none.
    unfillable: Vec<Slot>,
}

impl GapBook {
    /// Without gaps; ids go on after `last_id`.
    #[must_use]
    pub const fn new(symbol: Symbol, interval: Interval, last_id: u64) -> Self {
        Self {
            symbol,
            interval,
            last_id,
            pending: Vec::new(),
            settled: Vec::new(),
        }
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

    /// Takes up a gap of an earlier run, with the holes it has.
    pub fn restore(&mut self, gap: Gap, holes: Vec<Hole>) {
        self.last_id = self.last_id.max(gap.id);
        if !gap.status.pending() {
            return self.settle(&gap);
        }
        if gap.status.pending() && !holes.is_empty() && self.pending.iter().all(|pending| pending.gap.id != gap.id) {
            self.pending.push(Pending {
                gap,
                holes,
                filled: 0,
                unfillable: Vec::new(),
            });
        }
    }

    /// Makes sure that ids go on after `id`.
    pub fn seen(&mut self, id: u64) {
        self.last_id = self.last_id.max(id);
    }

    /// Opens a gap for a hole, or adds the hole to the open gap before it.
    pub fn open(&mut self, hole: Hole, cause: &str) -> Gap {
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
        let gap = self.new_gap(hole.slot.opens_at, hole.slot.closes_at, 1, GapStatus::Open, cause);
        self.pending.push(Pending {
            gap: gap.clone(),
            holes: vec![hole],
            filled: 0,
            unfillable: Vec::new(),
        });
        gap
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

    /// The vendor's answer: bars for the holes it covers, and what became of the gaps.
    pub fn answer(&mut self, fetched: &Fetched) -> Vec<Finding> {
        if fetched.symbol != self.symbol || fetched.interval != self.interval {
            return Vec::new();
        }
        let mut findings = Vec::new();
        let mut still = Vec::with_capacity(self.pending.len());
        for mut pending in std::mem::take(&mut self.pending) {
            let asked = |hole: &Hole| fetched.from <= hole.slot.opens_at && hole.slot.closes_at <= fetched.to;
            let (answered, open): (Vec<Hole>, Vec<Hole>) = pending.holes.into_iter().partition(asked);
            pending.holes = open;
            for hole in answered {
                match fetched
                    .bars
                    .iter()
                    .find(|bar| bar.opens_at == hole.slot.opens_at && bar.ohlc.ordered())
                {
                    Some(vendor) => {
                        pending.filled = pending.filled.saturating_add(1);
                        findings.push(Finding::Bar(filled(self.symbol, self.interval, &hole, vendor)));
                    }
                    None if hole.bar.is_some() => {} // the vendor knows no better: ours stands, flagged
                    None => pending.unfillable.push(hole.slot),
                }
            }
            if pending.holes.is_empty() {
                self.conclude(pending, &mut findings);
            } else {
                still.push(pending);
            }
        }
        self.pending = still;
        findings
    }

    /// All holes of a gap are answered. What the vendor has not is a gap record of its own, one a run of slots.
    fn conclude(&mut self, pending: Pending, findings: &mut Vec<Finding>) {
        let Pending {
            mut gap,
            unfillable,
            filled,
            ..
        } = pending;
        self.settle(&gap);
        let missing = u32::try_from(unfillable.len()).unwrap_or(u32::MAX);
        let evidence = format!("{}; the vendor has no bar", gap.cause);
        if missing == gap.bars {
            gap.status = GapStatus::Unfillable;
            gap.cause = evidence;
            findings.push(Finding::Gap(gap));
            return;
        }
        let mut runs: Vec<(Slot, u32)> = Vec::new();
        for slot in unfillable {
            match runs.last_mut() {
                Some((run, bars)) if run.closes_at == slot.opens_at => {
                    run.closes_at = slot.closes_at;
                    *bars = bars.saturating_add(1);
                }
                _ => runs.push((slot, 1)),
            }
        }
        for (run, bars) in runs {
            let gap = self.new_gap(run.opens_at, run.closes_at, bars, GapStatus::Unfillable, &evidence);
            findings.push(Finding::Gap(gap));
        }
        gap.status = GapStatus::Filled;
        gap.bars = if missing == 0 { gap.bars } else { filled };
        findings.push(Finding::Gap(gap));
    }

    fn new_gap(&mut self, from: Timestamp, to: Timestamp, bars: u32, status: GapStatus, cause: &str) -> Gap {
        self.last_id = self.last_id.saturating_add(1);
        Gap {
            id: self.last_id,
            symbol: self.symbol,
            interval: self.interval,
            from,
            to,
            bars,
            status,
            cause: cause.to_owned(),
        }
    }
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
            flags: cut_short(interval, hole.slot),
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

/// The holes of a stretch of earlier days, from the bars that exist in it.
pub fn holes_of(
    from: Timestamp,
    to: Timestamp,
    interval: Interval,
    sessions: &dyn Sessions,
    bars: &[Bar],
) -> Vec<Hole> {
    let mut holes = Vec::new();
    let mut at = from;
    while at < to && holes.len() < limits::HOLES_RESTORED {
        let Some(session) = sessions
            .at(at)
            .or_else(|| sessions.after(at))
            .filter(|session| session.opens < to)
        else {
            break;
        };
        let Some(slot) = slot_of(&session, interval, at.max(session.opens)) else {
            break;
        };
        let bar = bars.iter().find(|bar| bar.key.opens_at == slot.opens_at).copied();
        if bar.as_ref().is_none_or(flawed) {
            holes.push(Hole { slot, session, bar });
        }
        at = slot.closes_at;
    }
    holes
}
