//! Certifies the sessions of one pair: a fold over the events of its channels. The same events always give the same certificates, so
//! that anyone who has the ledger can compute them again.
//!
//! ```text
//! open ──► closed ──► every expected bar there or unfillable ──► certificate 1 ──correction──► certificate 2 …
//! ```

use crate::domain::model::certificate::{Unfillable, seal};
use crate::domain::model::{
    Bar, Certificate, Event, Flags, Gap, GapStatus, Interval, Position, Predecessor, Seam, Sequenced, Session,
    SessionChange, SessionPhase, Slot, SlotGrid, Symbol, Timestamp,
};
use crate::limits;
use chrono::NaiveDate;
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Clone)]
pub struct Certifier {
    symbol: Symbol,
    days: BTreeMap<NaiveDate, SessionRecord>,
    gaps: BTreeMap<u64, Gap>,
    /// The last certificate of each session, of sessions before the first known one as well.
    told: BTreeMap<NaiveDate, Certificate>,
    /// What the first certificate continues, where the events before it are no longer known.
    assumed: Option<Predecessor>,
    through: Position,
}

/// What was published of one session.
#[derive(Debug, Clone)]
struct SessionRecord {
    session: Session,
    closed: bool,
    /// Breaks between an end of the session and its continuation.
    pauses: Vec<(Timestamp, Timestamp)>,
    /// The last revisions of its bars, by open.
    bars: BTreeMap<Timestamp, Bar>,
    seam: Option<Seam>,
}

impl Certifier {
    /// Knows of no session yet.
    pub const fn new(symbol: Symbol) -> Self {
        Self {
            symbol,
            days: BTreeMap::new(),
            gaps: BTreeMap::new(),
            told: BTreeMap::new(),
            assumed: None,
            through: Position(0),
        }
    }

    /// The pair.
    pub const fn symbol(&self) -> Symbol {
        self.symbol
    }

    /// The position up to which events were applied.
    pub const fn through(&self) -> Position {
        self.through
    }

    /// The last certificate of a session that was published.
    pub fn told(&self, date: NaiveDate) -> Option<&Certificate> {
        self.told.get(&date)
    }

    /// Whether the session's opening is known.
    pub fn knows(&self, date: NaiveDate) -> bool {
        self.days.contains_key(&date)
    }

    /// The last revisions of a session's bars, earliest first; empty if the session's opening is not known.
    pub fn bars_of(&self, date: NaiveDate) -> Vec<Bar> {
        let day = self.days.get(&date);
        day.map_or_else(Vec::new, |day| day.own_bars().copied().collect())
    }

    /// Applies an event of the pair's channels of sessions, base bars and quality, in the order of the ledger.
    pub fn apply(&mut self, numbered: &Sequenced) {
        self.through = self.through.max(numbered.position);
        match &numbered.event {
            Event::Session(change) => self.apply_session(change, numbered.at),
            Event::Bar(bar) if bar.key.interval == Interval::BASE => {
                if let Some(day) = self.days.get_mut(&bar.session_date) {
                    day.bars.insert(bar.key.opens_at, *bar);
                }
            }
            Event::Gap(gap) if gap.interval == Interval::BASE => {
                self.gaps.insert(gap.id, gap.clone());
            }
            Event::Seam(found) => {
                let first = found.seam.first_live_bar;
                let mut days = self.days.values_mut();
                if let Some(day) = days.find(|day| day.session.contains(first)) {
                    day.seam = Some(found.seam.clone());
                }
            }
            Event::Certificate(certificate) => {
                self.told.insert(certificate.date, certificate.as_ref().clone());
            }
            _ => {}
        }
    }

    /// The first certificate continues this one, whose own event is no longer known.
    pub fn assume_predecessor(&mut self, before: Predecessor) {
        self.assumed = Some(before);
    }

    /// Everything up to `position` was applied.
    pub fn reach(&mut self, position: Position) {
        self.through = self.through.max(position);
    }

    fn apply_session(&mut self, change: &SessionChange, at: Timestamp) {
        let session = change.session();
        match (change.phase, self.days.get_mut(&change.date)) {
            (SessionPhase::Open, Some(day)) => {
                if day.closed {
                    day.pauses.push((day.session.closes, at));
                }
                (day.session, day.closed) = (session, false);
            }
            (SessionPhase::Open, None) => {
                self.days.insert(change.date, SessionRecord::begin(session));
                self.forget_old();
            }
            (SessionPhase::ClosingSoon, Some(day)) => day.session = session,
            (SessionPhase::Closed, Some(day)) => (day.session, day.closed) = (session, true),
            (SessionPhase::OpeningSoon, _) | (_, None) => {}
        }
    }

    /// Drops sessions that can no longer be corrected.
    fn forget_old(&mut self) {
        while self.days.len() > limits::SESSIONS_CERTIFIED {
            self.days.pop_first();
        }
        while self.told.len() > limits::SESSIONS_CERTIFIED {
            self.told.pop_first();
        }
        if let Some(first) = self.days.values().next().map(|day| day.session.opens) {
            self.gaps.retain(|_, gap| gap.status.pending() || gap.to > first);
        }
    }

    /// The certificates that are due: of sessions that have none, or were corrected since. `compares` says whether bars of a session are
    /// still to be compared with the vendor's.
    pub fn due(&self, compares: impl Fn(&Session) -> bool) -> Vec<Certificate> {
        let ready = self.days.iter().filter(|(_, day)| !compares(&day.session));
        let computed = ready.filter_map(|(date, _)| self.certify(*date));
        let news = computed.filter(|certificate| {
            let told = self.told.get(&certificate.date);
            told.is_none_or(|told| !told.certifies_same(certificate))
        });
        news.collect()
    }

    /// The next certificate of a session, as far as events were applied; `None` while it is open, a bar of it is pending, or its opening
    /// is not known.
    pub fn certify(&self, date: NaiveDate) -> Option<Certificate> {
        let day = self.days.get(&date).filter(|day| day.closed)?;
        let Session { opens, closes, .. } = day.session;
        let touching = self.gaps.values().filter(|gap| gap.from < closes && opens < gap.to);
        let gaps: Vec<&Gap> = touching.collect();
        if gaps.iter().any(|gap| gap.status.pending()) {
            return None;
        }
        let mut unfillable: Vec<&Gap> = gaps;
        unfillable.retain(|gap| gap.status == GapStatus::Unfillable);
        unfillable.sort_by_key(|gap| gap.from);
        let expected = day.expected_slots(&unfillable);
        let lacks = expected.iter().filter(|slot| !day.bars.contains_key(&slot.opens_at));
        let lacks: Vec<&Slot> = lacks.collect();
        if !lacks.iter().all(|slot| is_covered(&unfillable, slot)) {
            return None;
        }
        let bars: Vec<&Bar> = day.own_bars().collect();
        let told = self.told.get(&date);
        let previous = match told {
            Some(told) => told.previous.clone(), // a correction stays in its place of the chain
            None => self.predecessor(date),
        };
        let hash = previous.as_ref().map(|previous| previous.hash.as_str());
        Some(Certificate {
            symbol: self.symbol,
            date,
            revision: told.map_or(1, |told| told.revision.saturating_add(1)),
            interval: Interval::BASE,
            opens,
            closes,
            expected: count(expected.len()),
            present: by_provenance(&bars),
            missing: count(lacks.len()),
            revised: count(bars.iter().filter(|bar| bar.revision > 0).count()),
            mismatched: count(
                bars.iter()
                    .filter(|bar| bar.flags.contains(Flags::VENDOR_MISMATCH))
                    .count(),
            ),
            unfillable: unfillable.into_iter().map(Unfillable::of).collect(),
            seam: day.seam.clone(),
            hash: seal(hash, (self.symbol, date, Interval::BASE), bars),
            previous,
            through: self.through,
        })
    }

    /// The certificate of the last session before `date` that has one.
    fn predecessor(&self, date: NaiveDate) -> Option<Predecessor> {
        let before = self.told.range(..date).next_back();
        let known = before.map(|(_, certificate)| certificate.as_predecessor());
        known.or_else(|| self.assumed.clone().filter(|assumed| assumed.date < date))
    }
}

impl SessionRecord {
    const fn begin(session: Session) -> Self {
        Self {
            session,
            closed: false,
            pauses: Vec::new(),
            bars: BTreeMap::new(),
            seam: None,
        }
    }

    /// The bars of the session as it was last, earliest first.
    fn own_bars(&self) -> impl Iterator<Item = &Bar> {
        let bars = self.bars.values();
        bars.filter(|bar| self.session.contains(bar.key.opens_at))
    }

    /// The slots that should have a bar. A slot of a pause is one only if it has a bar, or a gap says that it lacks one.
    fn expected_slots(&self, unfillable: &[&Gap]) -> Vec<Slot> {
        let mut slots: Vec<Slot> = SlotGrid::BASE.slots(&self.session).collect();
        for (from, to) in &self.pauses {
            slots.retain(|slot| {
                slot.opens_at < *from
                    || *to <= slot.opens_at
                    || self.bars.contains_key(&slot.opens_at)
                    || is_covered(unfillable, slot)
            });
        }
        slots
    }
}

impl Unfillable {
    fn of(gap: &Gap) -> Self {
        Self {
            from: gap.from,
            to: gap.to,
            bars: gap.bars,
            cause: gap.cause.clone(),
        }
    }
}

fn is_covered(gaps: &[&Gap], slot: &Slot) -> bool {
    gaps.iter()
        .any(|gap| gap.from <= slot.opens_at && slot.closes_at <= gap.to)
}

fn by_provenance(bars: &[&Bar]) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for bar in bars {
        let counted: &mut u32 = counts.entry(bar.provenance.name().to_owned()).or_default();
        *counted = counted.saturating_add(1);
    }
    counts
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "tests/certifier.rs"]
mod tests;
