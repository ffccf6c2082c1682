//! Builds the bars of one symbol and one interval from ticks, by their event time.
//!
//! ```text
//!                first tick of the slot          slot's end + lateness (a deadline, not the next tick)
//!  (nothing) ───────────────────────────► forming ──────────────────────────────► closed, revision 0
//!      │                                     ▲ │ tick: revise the prices            │  ▲
//!      │                                     └─┘                                    ▼  │ late tick, vendor's bar
//!      └── slot's end + lateness, no tick ──► missing ──vendor's bar──► closed    revised, revision + 1
//! ```
//!
//! A published bar is never changed: a correction is a new revision (invariant B2). Slots come from the session, so the last bar of a
//! session closes with it, and a slot without ticks is noticed on time. When a session's end moves, the session continues: a bar whose slot
//! was cut short and has grown forms again, and is published as the next revision. The same holds for slots that a clock that was ahead
//! closed too early, once it is set back.

use crate::domain::model::{
    Bar, BarKey, BarState, Flags, Interval, Ohlc, Price, Provenance, Session, Slot, SlotGrid, Symbol, Tick, Timestamp,
};
use std::collections::VecDeque;
use std::time::Duration;

/// The effect of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was added to the forming bar.
    Forming,
    /// It came late and corrected a closed bar, or made one; this is the new revision.
    Revised(Bar),
    /// It came late, and its bar can no longer be corrected.
    TooLate,
}

/// The result of closing a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedSlot {
    /// The closed bar.
    Bar(Bar),
    /// The slot had no tick.
    Missing(Slot),
}

/// Builds the bars of one symbol and interval, one session at a time.
#[derive(Debug, Clone)]
pub struct BarBuilder {
    symbol: Symbol,
    interval: Interval,
    lateness: Duration,
    /// The session whose bars are built.
    session: Option<Session>,
    /// The next slot to close; `None` when the session has no more.
    next: Option<Slot>,
    /// Every slot that ends by then is closed.
    closed_to: Timestamp,
    /// Forming bars, earliest first: one, or more while earlier ones wait for late ticks.
    forming: VecDeque<Forming>,
    /// The last revision of each closed bar of this session, earliest first.
    closed: VecDeque<Bar>,
}

#[derive(Debug, Clone, Copy)]
struct Forming {
    slot: Slot,
    ohlc: Ohlc,
    ticks: u32,
    first_at: Timestamp,
    last_at: Timestamp,
    provenance: Provenance,
    /// The last published revision, if the bar was closed before and forms again.
    told: Option<Bar>,
}

impl Forming {
    const fn new(slot: Slot, tick: &Tick) -> Self {
        let ohlc = Ohlc::flat_at(tick.price);
        Self {
            slot,
            ohlc,
            ticks: 1,
            first_at: tick.at,
            last_at: tick.at,
            provenance: tick.provenance,
            told: None,
        }
    }

    /// Reopens a published bar, so that it forms again.
    fn reopen_bar(slot: Slot, told: Bar) -> Self {
        Self {
            slot,
            ohlc: told.ohlc,
            ticks: told.ticks,
            first_at: told.first_tick_at.unwrap_or(slot.opens_at),
            last_at: told.last_tick_at.unwrap_or(slot.opens_at),
            provenance: told.provenance,
            told: Some(told),
        }
    }

    fn push(&mut self, tick: &Tick) {
        merge_price(
            &mut self.ohlc,
            tick.price,
            tick.at < self.first_at,
            tick.at >= self.last_at,
        );
        self.first_at = self.first_at.min(tick.at);
        self.last_at = self.last_at.max(tick.at);
        self.ticks = self.ticks.saturating_add(1);
        self.provenance = self.provenance.with(tick.provenance);
    }
}

/// Adds one price. Event time decides which price is first and last; among equal timestamps the order of arrival does.
fn merge_price(ohlc: &mut Ohlc, price: Price, first: bool, last: bool) {
    ohlc.high = ohlc.high.max(price);
    ohlc.low = ohlc.low.min(price);
    if first {
        ohlc.open = price;
    }
    if last {
        ohlc.close = price;
    }
}

impl BarBuilder {
    /// A builder without a session.
    pub const fn new(symbol: Symbol, interval: Interval, lateness: Duration) -> Self {
        Self {
            symbol,
            interval,
            lateness,
            session: None,
            next: None,
            closed_to: Timestamp::from_micros(i64::MIN),
            forming: VecDeque::new(),
            closed: VecDeque::new(),
        }
    }

    /// The pair whose bars it builds.
    pub const fn symbol(&self) -> Symbol {
        self.symbol
    }

    /// The interval that it builds.
    pub const fn interval(&self) -> Interval {
        self.interval
    }

    /// Begins a session. Bars of the previous one can no longer be revised.
    pub fn open_session(&mut self, session: Session) {
        self.next = SlotGrid::of_interval(self.interval).slot_of(&session, session.opens);
        self.session = Some(session);
        self.closed_to = session.opens;
        self.forming.clear();
        self.closed.clear();
    }

    /// The session whose bars it builds, or built last.
    pub const fn session(&self) -> Option<Session> {
        self.session
    }

    /// The session has another end than was known. No bar is expected before `from`. Closed bars stay closed, except the one whose slot
    /// grew, which forms again. No bar extends beyond the new end.
    pub fn correct_session(&mut self, session: Session, from: Timestamp) {
        let grid = SlotGrid::of_interval(self.interval);
        self.session = Some(session);
        self.forming.retain_mut(|forming| {
            let slot = grid.slot_of(&session, forming.slot.opens_at);
            forming.slot = slot.unwrap_or(forming.slot);
            slot.is_some()
        });
        self.closed_to = self.closed_to.max(from);
        self.next = grid.slot_of(&session, self.closed_to);
        let cut = self
            .next
            .and_then(|next| self.closed.iter().position(|bar| bar.key.opens_at == next.opens_at));
        if let Some((slot, told)) = self.next.zip(cut.and_then(|cut| self.closed.remove(cut))) {
            self.forming.push_front(Forming::reopen_bar(slot, told));
        }
    }

    /// The clock was set back to `now`: slots that are not over are open again, whatever their outcome was. A bar that was published for
    /// such a slot forms again, and is published as its next revision when the slot closes.
    pub fn reopen_slots(&mut self, now: Timestamp) {
        let grid = SlotGrid::of_interval(self.interval);
        let session = self.session.filter(|session| now < session.closes);
        let first = session.and_then(|session| grid.slot_of(&session, now.max(session.opens)));
        let Some(first) = first.filter(|first| self.next.is_none_or(|next| first.opens_at < next.opens_at)) else {
            return;
        };
        self.next = Some(first);
        self.closed_to = first.opens_at;
        let over = self.closed.partition_point(|bar| bar.key.opens_at < first.opens_at);
        for told in self.closed.split_off(over) {
            let slot = told.slot();
            match self.forming.iter_mut().find(|forming| forming.slot == slot) {
                Some(forming) => forming.told = Some(told),
                None => self.forming.push_back(Forming::reopen_bar(slot, told)),
            }
        }
        let forming = self.forming.make_contiguous();
        forming.sort_by_key(|forming| forming.slot.opens_at);
    }

    /// The slot that contains `place`, if it is closed.
    pub fn closed_slot(&self, place: Timestamp) -> Option<Slot> {
        let slot = SlotGrid::of_interval(self.interval).slot_of(self.session.as_ref()?, place)?;
        let closed = self.next.is_none_or(|next| slot.opens_at < next.opens_at);
        closed.then_some(slot)
    }

    /// Adds an accepted tick to the bar that contains `place`: the tick's timestamp, or a moment before it where timestamps name the end of
    /// a minute. `place` lies in the session.
    pub fn push(&mut self, tick: &Tick, place: Timestamp) -> Pushed {
        if let Some(newest) = self.forming.back_mut()
            && newest.slot.opens_at <= place
            && place < newest.slot.closes_at
        {
            newest.push(tick);
            return Pushed::Forming;
        }
        self.push_elsewhere(tick, place)
    }

    /// Adds a tick that begins a bar or is late.
    fn push_elsewhere(&mut self, tick: &Tick, place: Timestamp) -> Pushed {
        let Some(slot) = self
            .session
            .as_ref()
            .and_then(|session| SlotGrid::of_interval(self.interval).slot_of(session, place))
        else {
            return Pushed::TooLate;
        };
        if self.closed_slot(place).is_some() {
            return self.revise_with_tick(slot, tick);
        }
        match self.forming.iter_mut().find(|forming| forming.slot == slot) {
            Some(forming) => forming.push(tick),
            None => {
                let place = self
                    .forming
                    .iter()
                    .take_while(|forming| forming.slot.opens_at < slot.opens_at)
                    .count();
                self.forming.insert(place, Forming::new(slot, tick));
            }
        }
        Pushed::Forming
    }

    fn revise_with_tick(&mut self, slot: Slot, tick: &Tick) -> Pushed {
        let Some(bar) = self.closed.iter_mut().find(|bar| bar.key.opens_at == slot.opens_at) else {
            return match self.session {
                // The slot was closed as missing: this late tick makes its first bar.
                Some(session) => Pushed::Revised(self.insert(bar_of(
                    self.symbol,
                    self.interval,
                    &session,
                    &Forming::new(slot, tick),
                ))),
                None => Pushed::TooLate,
            };
        };
        if bar.provenance == Provenance::Backfill {
            return Pushed::TooLate; // the vendor's own bar already holds this price
        }
        let first = bar.first_tick_at.is_none_or(|first_at| tick.at < first_at);
        let last = bar.last_tick_at.is_none_or(|last_at| tick.at >= last_at);
        merge_price(&mut bar.ohlc, tick.price, first, last);
        bar.first_tick_at = Some(bar.first_tick_at.map_or(tick.at, |at| at.min(tick.at)));
        bar.last_tick_at = Some(bar.last_tick_at.map_or(tick.at, |at| at.max(tick.at)));
        bar.ticks = bar.ticks.saturating_add(1);
        bar.provenance = bar.provenance.with(tick.provenance);
        bar.revise();
        Pushed::Revised(*bar)
    }

    /// When the next slot is due to be closed.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.next.map(|slot| slot.closes_at + self.lateness)
    }

    /// Closes the next slot, whose deadline has passed. `flags` gives the flags for outages of the feed in it.
    pub fn close_next(&mut self, flags: impl FnOnce(Slot) -> Flags) -> Option<ClosedSlot> {
        let slot = self.next?;
        let session = self.session?;
        self.closed_to = slot.closes_at;
        self.next = SlotGrid::of_interval(self.interval).slot_after(&session, slot);
        if self.forming.front().is_none_or(|forming| forming.slot != slot) {
            return Some(ClosedSlot::Missing(slot));
        }
        let forming = self.forming.pop_front()?;
        let mut bar = bar_of(self.symbol, self.interval, &session, &forming);
        bar.flags = bar.flags.with(flags(slot));
        if let Some(told) = forming.told {
            bar.revision = told.revision;
            bar.revise();
        }
        Some(ClosedSlot::Bar(self.insert(bar)))
    }

    /// Takes over a revision that was made elsewhere (the vendor's bar), so that later corrections build on it. Ignores a bar of another
    /// session.
    pub fn adopt_bar(&mut self, bar: Bar) {
        if self.session.is_none_or(|session| !session.contains(bar.key.opens_at)) {
            return;
        }
        let opens_at = bar.key.opens_at;
        if let Some(forming) = self
            .forming
            .iter_mut()
            .find(|forming| forming.slot.opens_at == opens_at)
        {
            *forming = Forming::reopen_bar(forming.slot, bar);
            return;
        }
        match self.closed.iter_mut().find(|old| old.key.opens_at == bar.key.opens_at) {
            Some(old) => *old = bar,
            None => {
                self.insert(bar);
            }
        }
    }

    /// Restores a published bar of this session in place of the one built here; later revisions start from it.
    pub fn restore(&mut self, bar: Bar) {
        let opens_at = bar.key.opens_at;
        let Some(slot) = self
            .session
            .and_then(|session| SlotGrid::of_interval(self.interval).slot_of(&session, opens_at))
        else {
            return;
        };
        if self.closed_slot(opens_at).is_some() {
            return self.adopt_bar(bar);
        }
        match self.forming.iter_mut().find(|forming| forming.slot == slot) {
            Some(forming) => forming.told = Some(bar),
            None => self.forming.push_front(Forming::reopen_bar(slot, bar)),
        }
    }

    /// The last revision of a closed bar of this session.
    pub fn closed_bar(&self, opens_at: Timestamp) -> Option<&Bar> {
        self.closed.iter().find(|bar| bar.key.opens_at == opens_at)
    }

    /// The closed bars of this session that open in `slot`, earliest first.
    pub fn closed_in(&self, slot: Slot) -> impl Iterator<Item = &Bar> {
        self.closed
            .iter()
            .filter(move |bar: &&Bar| slot.opens_at <= bar.key.opens_at && bar.key.opens_at < slot.closes_at)
    }

    /// The closed bars of this session that were not over at `since`.
    pub fn closed_after(&self, since: Timestamp) -> Vec<Bar> {
        let late = self.closed.iter().filter(|bar| bar.closes_at > since);
        late.copied().collect()
    }

    /// The bar that is forming now; `None` while an earlier slot is not closed.
    pub fn forming_bar(&self) -> Option<Bar> {
        let forming = self.forming.front().filter(|forming| Some(forming.slot) == self.next)?;
        Some(Bar {
            state: BarState::Partial,
            revision: forming.told.map_or(0, |told| told.revision.saturating_add(1)),
            ..bar_of(self.symbol, self.interval, self.session.as_ref()?, forming)
        })
    }

    fn insert(&mut self, bar: Bar) -> Bar {
        if self
            .closed
            .back()
            .is_none_or(|last| last.key.opens_at < bar.key.opens_at)
        {
            self.closed.push_back(bar);
            return bar;
        }
        let place = self
            .closed
            .iter()
            .take_while(|other| other.key.opens_at < bar.key.opens_at)
            .count();
        self.closed.insert(place, bar);
        bar
    }
}

fn bar_of(symbol: Symbol, interval: Interval, session: &Session, forming: &Forming) -> Bar {
    let stamps = (forming.ticks > 0).then_some((forming.first_at, forming.last_at));
    Bar {
        key: BarKey {
            symbol,
            interval,
            opens_at: forming.slot.opens_at,
        },
        closes_at: forming.slot.closes_at,
        ohlc: forming.ohlc,
        ticks: forming.ticks,
        first_tick_at: stamps.map(|(first, _)| first),
        last_tick_at: stamps.map(|(_, last)| last),
        state: BarState::Closed,
        revision: 0,
        provenance: forming.provenance,
        flags: SlotGrid::of_interval(interval).flags_of(forming.slot),
        session_date: session.date,
        session_kind: session.kind,
    }
}
