//! The pipeline's state of one pair: its tick filter, outages, bars and gaps, and the phase of its session.

mod agenda;
mod heal;
mod prices;
mod replan;
mod set_back;

pub use heal::ToldDays;

use crate::domain::model::{
    AcceptedTick, Bar, BarEnd, Channel, Event, Fetched, Flags, Gap, GapStatus, Interval, JournalEntry, KnownSessions,
    Provenance, RejectReason, Session, Sessions, Slot, Tick, Timestamp, gap::NO_TICKS,
};
use crate::domain::pipeline::{
    Acceptance, BarBuilder, Boundary, ChannelNumbers, ClosedSlot, GapChange, GapTracker, MissingSlot, OutageLog,
    PairCounts, PairRules, PipelineCounts, Pushed, Sequencer, TickFilter, Unchecked, VendorAudit,
    gap_tracker::is_flawed, symbol_state::agenda::Appointment, symbol_state::heal::Past,
};
use crate::limits;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The cause of a slot in which the feed was up and no price was accepted, for an unknown reason.
const NO_ACCEPTED_PRICE: &str = "no_accepted_price";

/// The indexes of one pair's channels in the sequencer.
#[derive(Debug, Clone)]
pub(crate) struct Logs {
    pub(crate) ticks: ChannelNumbers,
    pub(crate) quality: ChannelNumbers,
    pub(crate) session: ChannelNumbers,
    bars: Vec<ChannelNumbers>,
}

/// Dropped held ticks: the reason, and how many.
pub(crate) type Dropped = Option<(RejectReason, u64)>;

/// The pipeline's state of one pair.
#[derive(Debug, Clone)]
pub(crate) struct SymbolState {
    pub(crate) market: PairRules,
    pub(crate) outages: OutageLog,
    /// The gaps of the base bars.
    gaps: GapTracker,
    /// The gaps of the one-minute bars, if these are built: the vendor is asked for them too.
    minutes: Option<GapTracker>,
    /// Minutes of this session without a tick while the feed was up. They become gaps when the session has no further bars, so that one
    /// request covers them all.
    quiet: Vec<Slot>,
    /// The last gap id.
    gap_ids: u64,
    /// The last gap id that is counted as opened.
    counted_gap: u64,
    pub(crate) logs: Logs,
    audit: VendorAudit,
    pub(crate) judge: TickFilter,
    /// How the pair's prices were judged.
    prices: Acceptance,
    /// One builder for each interval of the market, in its order.
    builders: Vec<BarBuilder>,
    /// Earlier sessions with pending gaps.
    past: VecDeque<Past>,
    /// Breaks between an end of this session and its next opening on the same day.
    pauses: Vec<(Timestamp, Timestamp)>,
    /// Ticks after the end of the last session, in case it continues.
    held: VecDeque<(Tick, Timestamp)>,
    /// Ticks of the next session, which opens as soon as the bars of the previous one are closed.
    waiting: Vec<AcceptedTick>,
    /// The waiting ticks that the last opening released.
    carried: Vec<AcceptedTick>,
    /// The session that is open, or was last.
    session: Option<Session>,
    /// The next phase of the session, and the edition of the calendar that it was planned by.
    agenda: Option<Appointment>,
    edition: Option<u64>,
    /// The calendar as people correct it; `market.sessions` is the recorded calendar.
    calendar: Arc<dyn Sessions>,
    /// The recorded part of the calendar, once there is one.
    known: Option<KnownSessions>,
    partial_told_at: Timestamp,
    /// Counters of the session that is open, or was last.
    pub(crate) counted: PairCounts,
}

impl SymbolState {
    pub(crate) fn new(market: PairRules, sequencer: &mut Sequencer, now: Timestamp) -> Self {
        let symbol = market.symbol;
        let logs = Logs {
            ticks: sequencer.channel_numbers(Channel::ticks(symbol)),
            quality: sequencer.channel_numbers(Channel::quality(symbol)),
            session: sequencer.channel_numbers(Channel::session(symbol)),
            bars: market
                .intervals
                .iter()
                .map(|interval| sequencer.channel_numbers(Channel::bars(*interval, symbol)))
                .collect(),
        };
        let builders = market
            .intervals
            .iter()
            .map(|interval| BarBuilder::new(symbol, *interval, market.lateness))
            .collect();
        let base = market.intervals.first().copied().unwrap_or(Interval::M5);
        let mut state = Self {
            gaps: GapTracker::new(symbol, base),
            minutes: market
                .intervals
                .contains(&Interval::M1)
                .then(|| GapTracker::new(symbol, Interval::M1)),
            quiet: Vec::new(),
            gap_ids: 0,
            counted_gap: 0,
            past: VecDeque::new(),
            pauses: Vec::new(),
            held: VecDeque::new(),
            waiting: Vec::new(),
            carried: Vec::new(),
            outages: OutageLog::new(),
            audit: VendorAudit::new(symbol, base, market.on_mismatch),
            judge: TickFilter::new(market.jump_basis_points),
            prices: Acceptance::default(),
            logs,
            builders,
            session: None,
            agenda: None,
            calendar: Arc::clone(&market.sessions),
            known: None,
            edition: Some(market.sessions.edition()),
            partial_told_at: Timestamp::from_micros(i64::MIN),
            counted: PairCounts::default(),
            market,
        };
        state.plan_first(now);
        state
    }

    /// Why the slot has no bar, or a flawed one. `no_ticks` only where accepted prices prove that the market was silent.
    fn cause_of(&self, slot: Slot) -> &str {
        match self.outages.cause_of(slot) {
            Some(cause) => cause,
            None if self.proves_silent(slot.opens_at, slot.closes_at) => NO_TICKS,
            None => NO_ACCEPTED_PRICE,
        }
    }

    fn proves_silent(&self, from: Timestamp, to: Timestamp) -> bool {
        self.prices.proves_silent(from, to, self.market.lateness)
    }

    /// Whether an accepted price ended a wait since the last call, so that it may prove that the market was silent.
    pub(super) fn take_wait(&mut self) -> bool {
        self.prices.take_wait()
    }

    /// The gaps whose cause changes to `no_ticks`, because the last accepted price proves that the market was silent before it.
    pub(super) fn prove_silence(&mut self) -> Vec<Gap> {
        let prices = &self.prices;
        let lateness = self.market.lateness;
        let trackers = [Some(&mut self.gaps), self.minutes.as_mut()];
        let explained = trackers.into_iter().flatten().flat_map(|gaps| {
            gaps.explain_gaps(
                |gap| gap.cause == NO_ACCEPTED_PRICE && prices.proves_silent(gap.from, gap.to, lateness),
                NO_TICKS,
            )
        });
        explained.collect()
    }

    fn in_session(&self, place: Timestamp) -> bool {
        let paused = self.pauses.iter().any(|(from, to)| *from <= place && place < *to);
        !paused && self.session.is_some_and(|session| session.contains(place))
    }

    /// The instant that decides to which bar a tick belongs.
    fn place(&self, tick: &Tick) -> Timestamp {
        match self.market.boundary {
            Boundary::Closes if tick.at.secs() % 60 == 0 => tick.at - Duration::from_micros(1),
            Boundary::Closes | Boundary::Opens => tick.at,
        }
    }

    /// Adds an accepted tick to every bar to which it belongs.
    pub(super) fn build(
        &mut self,
        tick: &Tick,
        at: Timestamp,
        sequencer: &mut Sequencer,
        counts: &mut PipelineCounts,
        out: &mut Vec<JournalEntry>,
    ) {
        let place = self.place(tick);
        let base = self.push(0, tick, place);
        let mut findings = Vec::new();
        for i in 0..self.builders.len() {
            let revised = match base {
                Pushed::Forming if i == 0 => None,
                Pushed::Revised(bar) if i == 0 => {
                    findings.extend(self.gaps.note_revision(&bar, at, &mut self.gap_ids));
                    Some(bar)
                }
                Pushed::TooLate if !self.is_minutes(i) => None, // the vendor's bar holds it, or nothing does
                _ => match self.closed_longer(i, place) {
                    Some(slot) => self.recompose_bar(i, slot),
                    None => match self.push(i, tick, place) {
                        Pushed::Revised(bar) => {
                            if let Some(minutes) = &mut self.minutes {
                                findings.extend(minutes.note_revision(&bar, at, &mut self.gap_ids));
                            }
                            Some(bar)
                        }
                        Pushed::Forming | Pushed::TooLate => None,
                    },
                },
            };
            if let Some(bar) = revised {
                self.tell_bar(i, bar, at, sequencer, counts, out);
            }
        }
        if !findings.is_empty() {
            self.tell_findings(findings, at, sequencer, counts, out);
        }
    }

    /// Tells the forming bar of the base interval, at most once a second.
    pub(super) fn tell_forming(&mut self, at: Timestamp, sequencer: &Sequencer, out: &mut Vec<JournalEntry>) {
        if at.since(self.partial_told_at) >= limits::PARTIAL_EVERY
            && let Some(bar) = self.builders.first().and_then(BarBuilder::forming_bar)
            && let Some(log) = self.logs.bars.first()
        {
            self.partial_told_at = at;
            out.push(JournalEntry::Partial {
                bar,
                base: sequencer.seq(*log),
            });
        }
    }

    /// Adds a tick to the bars of one interval. A late tick that makes the bar of a missing slot leaves it flagged by the outages in that
    /// slot.
    fn push(&mut self, i: usize, tick: &Tick, place: Timestamp) -> Pushed {
        let Some(builder) = self.builders.get_mut(i) else {
            return Pushed::TooLate;
        };
        let pushed = builder.push(tick, place);
        let Pushed::Revised(mut bar) = pushed else {
            return pushed;
        };
        if bar.revision == 0 {
            bar.flags = bar.flags.with(self.outages.flags_of(bar.slot()));
            builder.adopt_bar(bar);
        }
        Pushed::Revised(bar)
    }

    /// Closes the slots whose deadline is `due`. `at` is the pipeline's time, which is later where a session continues.
    pub(super) fn close_due(
        &mut self,
        due: Timestamp,
        at: Timestamp,
        sequencer: &mut Sequencer,
        counts: &mut PipelineCounts,
        ends: &mut Vec<BarEnd>,
        out: &mut Vec<JournalEntry>,
    ) {
        for i in 0..self.builders.len() {
            let Some(builder) = self
                .builders
                .get_mut(i)
                .filter(|builder| builder.next_deadline().is_some_and(|at| at <= due))
            else {
                continue;
            };
            let (interval, outages) = (builder.interval(), &self.outages);
            let Some(closed) = builder.close_next(|slot| outages.flags_of(slot)) else {
                continue;
            };
            let closed = self.compose_closed(i, closed);
            let (slot, trouble) = match closed {
                ClosedSlot::Bar(bar) => {
                    self.tell_bar(i, bar, at, sequencer, counts, out);
                    let flaws = is_flawed(&bar).then(|| bar.flags.names().collect::<Vec<_>>().join(","));
                    (bar.slot(), flaws)
                }
                ClosedSlot::Missing(slot) => (slot, Some(self.cause_of(slot).to_owned())),
            };
            BarEnd::note(ends, interval, slot.opens_at, self.market.symbol, trouble.clone());
            if i == 0 || self.is_minutes(i) {
                self.note_gap(i, closed, trouble, at, sequencer, counts, out);
            }
        }
    }

    /// Opens a gap for a closed slot whose bar is missing or flawed, in an interval that is requested from the vendor.
    #[expect(
        clippy::too_many_arguments,
        reason = "what happened, and where decisions are written down"
    )]
    fn note_gap(
        &mut self,
        i: usize,
        closed: ClosedSlot,
        trouble: Option<String>,
        due: Timestamp,
        sequencer: &mut Sequencer,
        counts: &mut PipelineCounts,
        out: &mut Vec<JournalEntry>,
    ) {
        let (slot, bar) = match closed {
            ClosedSlot::Bar(bar) => (bar.slot(), Some(bar)),
            ClosedSlot::Missing(slot) => (slot, None),
        };
        let minutes = self.minutes.as_mut().filter(|_| i > 0);
        let gaps = minutes.unwrap_or(&mut self.gaps);
        if let Some(findings) = gaps.closed_again(slot, bar, due, &mut self.gap_ids) {
            return self.tell_findings(findings, due, sequencer, counts, out);
        }
        match trouble.as_deref() {
            Some(_) if i > 0 && bar.is_none() && self.outages.cause_of(slot).is_none() => self.quiet.push(slot),
            Some(_) => self.open_gap(i, closed, due, sequencer, counts, out),
            None => {}
        }
        let own = self.builders.get(i);
        if i > 0 && own.is_some_and(|builder| builder.next_deadline().is_none()) {
            let mut opened: BTreeMap<u64, Gap> = BTreeMap::new();
            for slot in std::mem::take(&mut self.quiet) {
                // A late tick may have made its bar meanwhile.
                let bar = self
                    .builders
                    .get(i)
                    .and_then(|builder| builder.closed_bar(slot.opens_at))
                    .copied();
                let known = self.minutes.as_ref().is_some_and(|minutes| minutes.knows_slot(slot));
                if bar.is_some_and(|bar| !is_flawed(&bar) || known) {
                    continue;
                }
                let cause = self.cause_of(slot).to_owned();
                opened.extend(self.open_hole(i, slot, bar, &cause).map(|gap| (gap.id, gap)));
            }
            for gap in opened.into_values() {
                self.tell_gap(gap, due, sequencer, counts, out);
            }
        }
    }

    fn open_hole(&mut self, i: usize, slot: Slot, bar: Option<Bar>, cause: &str) -> Option<Gap> {
        let hole = MissingSlot {
            slot,
            session: self.session?,
            bar,
        };
        let minutes = self.minutes.as_mut().filter(|_| i > 0);
        Some(minutes.unwrap_or(&mut self.gaps).open(hole, cause, &mut self.gap_ids))
    }

    fn open_gap(
        &mut self,
        i: usize,
        closed: ClosedSlot,
        due: Timestamp,
        sequencer: &mut Sequencer,
        counts: &mut PipelineCounts,
        out: &mut Vec<JournalEntry>,
    ) {
        let (slot, bar) = match closed {
            ClosedSlot::Bar(bar) => (bar.slot(), Some(bar)),
            ClosedSlot::Missing(slot) => (slot, None),
        };
        let cause = self.cause_of(slot).to_owned();
        if let Some(gap) = self.open_hole(i, slot, bar, &cause) {
            self.tell_gap(gap, due, sequencer, counts, out);
        }
    }

    /// The whole bars of the `i`th interval that an outage since `since` makes flawed. A vendor's bar is whole whatever was received, and
    /// so is a longer bar whose base bars since then are.
    fn doubtful_bars(&self, i: usize, since: Timestamp) -> Vec<Bar> {
        let (Some(base), Some(builder)) = (self.builders.first(), self.builders.get(i)) else {
            return Vec::new();
        };
        let own = i == 0 || self.is_minutes(i);
        let mut bars = builder.closed_after(since);
        bars.retain(|bar| {
            let mut parts = base
                .closed_in(bar.slot())
                .filter(|part| part.closes_at > since)
                .peekable();
            let doubtful = if own {
                bar.provenance != Provenance::Backfill
            } else {
                parts.peek().is_none() || parts.any(is_flawed)
            };
            doubtful && !is_flawed(bar)
        });
        bars
    }

    /// An outage since `since` was noticed late: bars published as whole since then are published again as flawed.
    pub(crate) fn doubt_bars(
        &mut self,
        since: Timestamp,
        cause: &str,
        at: Timestamp,
        sequencer: &mut Sequencer,
        counts: &mut PipelineCounts,
        out: &mut Vec<JournalEntry>,
    ) {
        self.outages.mark_down(since, cause);
        for i in 0..self.builders.len() {
            for mut bar in self.doubtful_bars(i, since) {
                bar.flags = bar.flags.with(Flags::FEED_GAP);
                bar.revise();
                if let Some(builder) = self.builders.get_mut(i) {
                    builder.adopt_bar(bar);
                }
                self.tell_bar(i, bar, at, sequencer, counts, out);
                if i == 0 || self.is_minutes(i) {
                    self.open_gap(i, ClosedSlot::Bar(bar), at, sequencer, counts, out);
                }
            }
        }
    }

    /// Applies the vendor's answer: bars for the holes it covers, and corrections of bars that differ.
    pub(crate) fn apply_answer(
        &mut self,
        fetched: &Fetched,
        at: Timestamp,
        counts: &mut PipelineCounts,
    ) -> Vec<GapChange> {
        // With a clock that differs from the vendor's, a missing bar proves nothing: only the bars in the answer are used.
        let answers = if self.prices.clock_doubtful() {
            runs_of(fetched)
        } else {
            vec![fetched.clone()]
        };
        let mut findings = Vec::new();
        for answer in &answers {
            findings.extend(self.gaps.apply_answer(answer, at, &mut self.gap_ids));
            if let Some(minutes) = &mut self.minutes {
                findings.extend(minutes.apply_answer(answer, at, &mut self.gap_ids));
            }
        }
        let base = self.builders.first();
        // A late tick may have made a bar in a hole: the answer for the hole applies to it, not the comparison.
        let healed: BTreeSet<Timestamp> = findings
            .iter()
            .filter_map(|finding| match finding {
                GapChange::Bar(bar) => Some(bar.key.opens_at),
                _ => None,
            })
            .collect();
        let compared = self.audit.compare_bars(fetched, at, |opens_at| {
            let base = base.filter(|_| !healed.contains(&opens_at))?;
            base.closed_bar(opens_at).copied()
        });
        self.counted.add_compared(&compared);
        counts.bars_compared = counts.bars_compared.saturating_add(compared.bars);
        counts.bars_mismatched = counts.bars_mismatched.saturating_add(compared.mismatch_count());
        findings.extend(compared.corrected.into_iter().map(GapChange::Bar));
        findings
    }

    /// The bars of the base interval that are still to be compared with the vendor's.
    pub(super) fn unchecked_bars(&self) -> Option<Unchecked> {
        let over = self.builders.first().is_none_or(|base| base.next_deadline().is_none());
        self.audit.unchecked_bars(over)
    }

    /// Numbers and counts a bar of the `i`th interval.
    pub(super) fn tell_bar(
        &mut self,
        i: usize,
        bar: Bar,
        at: Timestamp,
        sequencer: &mut Sequencer,
        counts: &mut PipelineCounts,
        out: &mut Vec<JournalEntry>,
    ) {
        let Some(log) = self.logs.bars.get(i) else { return };
        // A bar that fills a gap of an earlier day is not counted for this session.
        let counted = self.session.is_none_or(|session| session.date == bar.session_date);
        if i == 0 && counted {
            let count = if bar.revision == 0 {
                &mut counts.bars_closed
            } else {
                &mut counts.bars_revised
            };
            *count = count.saturating_add(1);
            self.counted.bars_closed = self.counted.bars_closed.saturating_add(u64::from(bar.revision == 0));
            self.audit.note_told(&bar);
        }
        out.push(JournalEntry::Event(sequencer.number_event(*log, at, Event::Bar(bar))));
    }

    pub(super) fn tell_gap(
        &mut self,
        gap: Gap,
        at: Timestamp,
        sequencer: &mut Sequencer,
        counts: &mut PipelineCounts,
        out: &mut Vec<JournalEntry>,
    ) {
        match gap.status {
            GapStatus::Open if gap.id > self.counted_gap => {
                self.counted_gap = gap.id;
                counts.gaps_opened = counts.gaps_opened.saturating_add(1);
            }
            GapStatus::Filled => counts.gaps_filled = counts.gaps_filled.saturating_add(1),
            GapStatus::Unfillable => counts.gaps_unfillable = counts.gaps_unfillable.saturating_add(1),
            GapStatus::Open | GapStatus::Filling => {}
        }
        self.number_gap(gap, at, sequencer, out);
    }

    /// Numbers a gap without counting it.
    pub(super) fn number_gap(
        &mut self,
        gap: Gap,
        at: Timestamp,
        sequencer: &mut Sequencer,
        out: &mut Vec<JournalEntry>,
    ) {
        out.push(JournalEntry::Event(sequencer.number_event(
            self.logs.quality,
            at,
            Event::Gap(gap),
        )));
    }
}

/// Splits an answer into runs of adjacent bars, each an answer that covers no other slots.
fn runs_of(fetched: &Fetched) -> Vec<Fetched> {
    let length = fetched.interval.vendor_length();
    let mut runs: Vec<Fetched> = Vec::new();
    for bar in &fetched.bars {
        match runs.last_mut() {
            Some(run) if run.to == bar.opens_at => {
                run.to = bar.opens_at + length;
                run.bars.push(*bar);
            }
            _ => runs.push(Fetched {
                from: bar.opens_at,
                to: bar.opens_at + length,
                bars: vec![*bar],
                unusable: Vec::new(), // a bar that cannot be used ends its run
                ..*fetched
            }),
        }
    }
    runs
}
