//! Everything the pipeline keeps of one pair: its judge, its watch, its bars, its gaps, and where its session stands.

mod heal;
mod prices;
mod replan;

use crate::domain::acceptance::Acceptance;
use crate::domain::bar::{Bar, Flags};
use crate::domain::bars::{BarBuilder, Closed, Pushed};
use crate::domain::book::heal::Past;
use crate::domain::channel::Channel;
use crate::domain::event::{BarEnd, Entry, Event, Fetched, SessionChange, SessionPhase, VendorBar};
use crate::domain::gap::{Gap, GapStatus};
use crate::domain::gap_book::{Finding, GapBook, Hole, flawed};
use crate::domain::interval::Interval;
use crate::domain::judge::Judge;
use crate::domain::mismatch::{Audit, Unchecked};
use crate::domain::pipeline::{Boundary, Counts, Market, PairCounts};
use crate::domain::sequence::{Log, Sequencer};
use crate::domain::session::Session;
use crate::domain::slot_grid::Slot;
use crate::domain::tick::{SetAside, Tick};
use crate::domain::timestamp::Timestamp;
use crate::domain::watch::Watch;
use crate::limits;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The cause of a slot in which accepted prices before and after it prove that the market was silent.
const NO_TICKS: &str = "no_ticks";
/// The cause of a slot in which the feed was up and no price was accepted, whyever.
const NO_ACCEPTED_PRICE: &str = "no_accepted_price";

/// Where the channels of one pair stand in the sequencer.
#[derive(Debug, Clone)]
pub(super) struct Logs {
    pub(super) ticks: Log,
    pub(super) quality: Log,
    pub(super) session: Log,
    bars: Vec<Log>,
}

/// Held ticks that were given up: why, and how many.
pub(super) type Dropped = Option<(SetAside, u64)>;

/// One pair's part of the pipeline.
#[derive(Debug, Clone)]
pub(super) struct Book {
    pub(super) market: Market,
    pub(super) watch: Watch,
    /// The gaps of the base bars.
    gaps: GapBook,
    /// The gaps of the one-minute bars, where these are served: the vendor is asked for them too.
    minutes: Option<GapBook>,
    /// Minutes of this session without a tick, while the feed was heard. They become gaps when the session has no further bars, so
    /// that one question asks for them all.
    quiet: Vec<Slot>,
    /// The last id of a gap.
    gap_ids: u64,
    pub(super) logs: Logs,
    audit: Audit,
    pub(super) judge: Judge,
    /// What became of the pair's prices.
    prices: Acceptance,
    /// One for each interval of the market, in its order.
    builders: Vec<BarBuilder>,
    /// Earlier sessions whose bars may still be healed.
    past: VecDeque<Past>,
    /// Stretches between the end of this session and its next opening on the same day.
    pauses: Vec<(Timestamp, Timestamp)>,
    /// Ticks after the end of the last session, for the case that it goes on.
    held: VecDeque<(Tick, Timestamp)>,
    /// The session that is open, or was last.
    session: Option<Session>,
    /// What the session does next, and which edition of the calendar says so.
    agenda: Option<Appointment>,
    edition: u64,
    partial_told_at: Timestamp,
    /// Counted in the session that is open, or was last.
    pub(super) counted: PairCounts,
}

/// The next thing that a session does.
#[derive(Debug, Clone, Copy)]
struct Appointment {
    at: Timestamp,
    phase: SessionPhase,
    session: Session,
}

impl Book {
    pub(super) fn new(market: Market, sequencer: &mut Sequencer, now: Timestamp) -> Self {
        let symbol = market.symbol;
        let logs = Logs {
            ticks: sequencer.log(Channel::ticks(symbol)),
            quality: sequencer.log(Channel::quality(symbol)),
            session: sequencer.log(Channel::session(symbol)),
            bars: market
                .intervals
                .iter()
                .map(|interval| sequencer.log(Channel::bars(*interval, symbol)))
                .collect(),
        };
        let builders = market
            .intervals
            .iter()
            .map(|interval| BarBuilder::new(symbol, *interval, market.lateness))
            .collect();
        let base = market.intervals.first().copied().unwrap_or(Interval::M5);
        let open = market.sessions.at(now).map(|session| Appointment {
            at: now,
            phase: SessionPhase::Open,
            session,
        });
        let mut book = Self {
            gaps: GapBook::new(symbol, base),
            minutes: market
                .intervals
                .contains(&Interval::M1)
                .then(|| GapBook::new(symbol, Interval::M1)),
            quiet: Vec::new(),
            gap_ids: 0,
            past: VecDeque::new(),
            pauses: Vec::new(),
            held: VecDeque::new(),
            watch: Watch::new(),
            audit: Audit::new(symbol, base, market.on_mismatch),
            judge: Judge::new(market.jump_basis_points),
            prices: Acceptance::default(),
            logs,
            builders,
            session: None,
            agenda: open,
            edition: market.sessions.edition(),
            partial_told_at: Timestamp::from_micros(i64::MIN),
            counted: PairCounts::default(),
            market,
        };
        if book.agenda.is_none() {
            book.await_session(now);
        }
        book
    }

    /// Makes the opening of the first session after `now` the next appointment.
    fn await_session(&mut self, now: Timestamp) {
        self.agenda = self.market.sessions.after(now).map(|session| {
            let soon = session.opens - limits::SESSION_SOON;
            let (at, phase) = if soon >= now {
                (soon, SessionPhase::OpeningSoon)
            } else {
                (session.opens, SessionPhase::Open)
            };
            Appointment { at, phase, session }
        });
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let slots = self.builders.iter().filter_map(BarBuilder::next_deadline);
        // A session is not turned while bars of the one before it wait to be closed.
        slots.chain(self.agenda.map(|next| next.at)).min()
    }

    /// Keeps the appointment that is due.
    pub(super) fn turn_session(&mut self, due: Timestamp) -> Option<SessionChange> {
        let Appointment { phase, mut session, .. } = self.agenda.filter(|next| next.at <= due)?;
        let next = |at, phase| Some(Appointment { at, phase, session });
        match phase {
            SessionPhase::OpeningSoon => self.agenda = next(session.opens, SessionPhase::Open),
            SessionPhase::Open => {
                match self.session.filter(|told| told.date == session.date) {
                    Some(told) => session = self.reopen(told, session),
                    None => self.begin(session),
                }
                let next = |at, phase| Some(Appointment { at, phase, session });
                let soon = (session.closes - limits::SESSION_SOON).max(due);
                self.agenda = next(soon.min(session.closes), SessionPhase::ClosingSoon);
            }
            SessionPhase::ClosingSoon => self.agenda = next(session.closes, SessionPhase::Closed),
            SessionPhase::Closed => {
                self.prices.end_session();
                self.await_session(due);
            }
        }
        let Session {
            date,
            opens,
            closes,
            kind,
        } = session;
        Some(SessionChange {
            symbol: self.market.symbol,
            phase,
            date,
            kind,
            opens,
            closes,
        })
    }

    /// Whether a price is stamped inside the session that opens in a moment, no further ahead of our clock than clocks differ.
    pub(super) fn opens_with(&self, tick: &Tick, at: Timestamp) -> bool {
        let near = |session: Session| at < session.opens && session.opens <= at + limits::FUTURE_TOLERANCE;
        let coming = self
            .agenda
            .filter(|next| next.phase == SessionPhase::Open && near(next.session));
        tick.symbol == self.market.symbol
            && tick.at <= at + limits::FUTURE_TOLERANCE
            && coming.is_some_and(|next| next.session.contains(self.place(tick)))
    }

    /// The session that comes opens now.
    pub(super) fn open_at(&mut self, at: Timestamp) {
        if let Some(next) = self.agenda.as_mut().filter(|next| next.phase == SessionPhase::Open) {
            next.at = next.at.min(at);
        }
    }

    /// A session of a date that was not open before.
    fn begin(&mut self, session: Session) {
        self.keep_session();
        self.counted = PairCounts::default();
        self.session = Some(session);
        self.judge.open_session();
        self.audit.forget();
        self.prices.open_session();
        self.held.clear();
        self.pauses.clear();
        self.quiet.clear();
        for builder in &mut self.builders {
            builder.open_session(session);
        }
    }

    /// Keeps a tick that came after the last session's end: the session may go on.
    pub(super) fn hold(&mut self, tick: Tick, at: Timestamp) {
        let after = |session: Session| session.closes <= self.place(&tick);
        if self.session.is_some_and(after) && self.held.len() < limits::TICKS_HELD {
            self.held.push_back((tick, at));
        }
    }

    /// The held ticks that belong to the session as it is now.
    pub(super) fn release(&mut self, now: Timestamp) -> Vec<(Tick, Timestamp)> {
        let held = std::mem::take(&mut self.held);
        if let Some((last, _)) = held.back().filter(|_| held.len() >= limits::TICKS_HELD)
            && self.watch.is_up()
        {
            self.watch.down(last.at, "session_closed"); // what came after it was not kept
            self.watch.up(now);
        }
        held.into_iter()
            .filter(|(tick, _)| self.in_session(self.place(tick)))
            .collect()
    }

    /// Why no bar, or a flawed one, is in this slot. That the market was silent is said only where accepted prices prove it.
    fn cause(&self, slot: Slot) -> &str {
        match self.watch.cause(slot) {
            Some(cause) => cause,
            None if self.prices.proves_watched(slot.opens_at, slot.closes_at) => NO_TICKS,
            None => NO_ACCEPTED_PRICE,
        }
    }

    /// Prices that came since may prove that the market was silent.
    fn prove_silence(&mut self) {
        let prices = &self.prices;
        let silent = |gap: &Gap| gap.cause == NO_ACCEPTED_PRICE && prices.proves_watched(gap.from, gap.to);
        let books = [Some(&mut self.gaps), self.minutes.as_mut()];
        books
            .into_iter()
            .flatten()
            .for_each(|gaps| gaps.explain(silent, NO_TICKS));
    }

    fn in_session(&self, place: Timestamp) -> bool {
        let paused = self.pauses.iter().any(|(from, to)| *from <= place && place < *to);
        !paused && self.session.is_some_and(|session| session.contains(place))
    }

    /// The instant by which a tick belongs to a bar.
    fn place(&self, tick: &Tick) -> Timestamp {
        match self.market.boundary {
            Boundary::Closes if tick.at.secs() % 60 == 0 => tick.at - Duration::from_micros(1),
            Boundary::Closes | Boundary::Opens => tick.at,
        }
    }

    /// Adds an accepted tick to every bar it belongs to.
    pub(super) fn build(
        &mut self,
        tick: &Tick,
        at: Timestamp,
        sequencer: &mut Sequencer,
        counts: &mut Counts,
        out: &mut Vec<Entry>,
    ) {
        let place = self.place(tick);
        let base = self.push(0, tick, place);
        for i in 0..self.builders.len() {
            let revised = match base {
                Pushed::Forming if i == 0 => None,
                Pushed::Revised(bar) if i == 0 => {
                    self.gaps.revised(&bar);
                    Some(bar)
                }
                Pushed::TooLate if !self.is_minutes(i) => None, // the vendor's bar holds it, or nothing does
                _ => match self.closed_longer(i, place) {
                    Some(slot) => self.recompose(i, slot),
                    None => match self.push(i, tick, place) {
                        Pushed::Revised(bar) => Some(bar),
                        Pushed::Forming | Pushed::TooLate => None,
                    },
                },
            };
            if let Some(bar) = revised {
                self.tell_bar(i, bar, at, sequencer, counts, out);
            }
        }
        if at.since(self.partial_told_at) >= limits::PARTIAL_EVERY
            && let Some(bar) = self.builders.first().and_then(BarBuilder::partial)
            && let Some(log) = self.logs.bars.first()
        {
            self.partial_told_at = at;
            out.push(Entry::Partial {
                bar,
                base: sequencer.seq(*log),
            });
        }
    }

    /// Adds a tick to the bars of one interval. A slot that was over without a tick lacks what was not heard in it, also when a
    /// late tick makes its bar.
    fn push(&mut self, i: usize, tick: &Tick, place: Timestamp) -> Pushed {
        let Some(builder) = self.builders.get_mut(i) else {
            return Pushed::TooLate;
        };
        let pushed = builder.push(tick, place);
        let Pushed::Revised(mut bar) = pushed else {
            return pushed;
        };
        if bar.revision == 0 {
            bar.flags = bar.flags.with(self.watch.flags(bar.slot()));
            builder.adopt(bar);
        }
        Pushed::Revised(bar)
    }

    /// Closes the slots whose deadline is `due`, at the instant `at`, which is later where a session goes on.
    pub(super) fn close_due(
        &mut self,
        due: Timestamp,
        at: Timestamp,
        sequencer: &mut Sequencer,
        counts: &mut Counts,
        ends: &mut Vec<BarEnd>,
        out: &mut Vec<Entry>,
    ) {
        for i in 0..self.builders.len() {
            let Some(builder) = self
                .builders
                .get_mut(i)
                .filter(|builder| builder.next_deadline().is_some_and(|at| at <= due))
            else {
                continue;
            };
            let (interval, watch) = (builder.interval(), &self.watch);
            let Some(closed) = builder.close_next(|slot| watch.flags(slot)) else {
                continue;
            };
            let closed = self.composed(i, closed);
            let (slot, trouble) = match closed {
                Closed::Bar(bar) => {
                    self.tell_bar(i, bar, at, sequencer, counts, out);
                    let flags = || bar.flags.names().collect::<Vec<_>>().join(",");
                    (bar.slot(), flawed(&bar).then(flags))
                }
                Closed::Missing(slot) => (slot, Some(self.cause(slot).to_owned())),
            };
            BarEnd::note(ends, interval, slot.opens_at, self.market.symbol, trouble.clone());
            if i == 0 || self.is_minutes(i) {
                self.note_gap(i, closed, trouble, at, sequencer, counts, out);
            }
        }
    }

    /// A slot of an interval that the vendor is asked for is closed: if its bar is missing or flawed, that is a gap.
    #[expect(
        clippy::too_many_arguments,
        reason = "what happened, and where decisions are written down"
    )]
    fn note_gap(
        &mut self,
        i: usize,
        closed: Closed,
        trouble: Option<String>,
        due: Timestamp,
        sequencer: &mut Sequencer,
        counts: &mut Counts,
        out: &mut Vec<Entry>,
    ) {
        let (slot, bar) = match closed {
            Closed::Bar(bar) => (bar.slot(), Some(bar)),
            Closed::Missing(slot) => (slot, None),
        };
        let minutes = self.minutes.as_mut().filter(|_| i > 0);
        let gaps = minutes.unwrap_or(&mut self.gaps);
        if let Some(findings) = gaps.closed_again(slot, bar, &mut self.gap_ids) {
            return self.tell_findings(findings, due, sequencer, counts, out);
        }
        match trouble.as_deref() {
            Some(_) if i > 0 && bar.is_none() && self.watch.cause(slot).is_none() => self.quiet.push(slot),
            Some(_) => self.open_gap(i, closed, due, sequencer, counts, out),
            None => {}
        }
        let over = |builder: &BarBuilder| builder.next_deadline().is_none();
        if i > 0 && self.builders.get(i).is_some_and(over) {
            let mut opened: BTreeMap<u64, Gap> = BTreeMap::new();
            for slot in std::mem::take(&mut self.quiet) {
                let cause = self.cause(slot).to_owned();
                opened.extend(self.open_hole(i, slot, None, &cause).map(|gap| (gap.id, gap)));
            }
            for gap in opened.into_values() {
                counts.gaps_opened += u64::from(gap.bars > 1); // one of one counts itself
                self.tell_gap(gap, due, sequencer, counts, out);
            }
        }
    }

    fn open_hole(&mut self, i: usize, slot: Slot, bar: Option<Bar>, cause: &str) -> Option<Gap> {
        let hole = Hole {
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
        closed: Closed,
        due: Timestamp,
        sequencer: &mut Sequencer,
        counts: &mut Counts,
        out: &mut Vec<Entry>,
    ) {
        let (slot, bar) = match closed {
            Closed::Bar(bar) => (bar.slot(), Some(bar)),
            Closed::Missing(slot) => (slot, None),
        };
        let cause = self.cause(slot).to_owned();
        if let Some(gap) = self.open_hole(i, slot, bar, &cause) {
            self.tell_gap(gap, due, sequencer, counts, out);
        }
    }

    /// Nothing was heard since then, which only shows now: bars that were told as whole since are told again as flawed.
    pub(super) fn doubt(
        &mut self,
        since: Timestamp,
        cause: &str,
        at: Timestamp,
        sequencer: &mut Sequencer,
        counts: &mut Counts,
        out: &mut Vec<Entry>,
    ) {
        self.watch.down(since, cause);
        for i in 0..self.builders.len() {
            let doubtful = self.builders.get(i).map(|builder| builder.closed_after(since));
            for mut bar in doubtful.unwrap_or_default().into_iter().filter(|bar| !flawed(bar)) {
                bar.flags = bar.flags.with(Flags::FEED_GAP);
                bar.revise();
                if let Some(builder) = self.builders.get_mut(i) {
                    builder.adopt(bar);
                }
                self.tell_bar(i, bar, at, sequencer, counts, out);
                if i == 0 || self.is_minutes(i) {
                    self.open_gap(i, Closed::Bar(bar), at, sequencer, counts, out);
                }
            }
        }
    }

    /// The vendor's answer: bars for the holes it covers, and corrections of ours that tell something else.
    pub(super) fn answer(&mut self, fetched: &Fetched, at: Timestamp, counts: &mut Counts) -> Vec<Finding> {
        self.prove_silence();
        // Whether the vendor has a bar for a slot cannot be said by a clock that differs from its own: what came is taken.
        let answers = if self.prices.clock_doubtful() {
            self.bars_of(fetched)
        } else {
            vec![fetched.clone()]
        };
        let mut findings = Vec::new();
        for answer in &answers {
            findings.extend(self.gaps.answer(answer, &mut self.gap_ids));
            if let Some(minutes) = &mut self.minutes {
                findings.extend(minutes.answer(answer, &mut self.gap_ids));
            }
        }
        let base = self.builders.first();
        // A late tick may have made a bar in a hole: the hole's answer is the answer to it.
        let healed = |opens_at: Timestamp| {
            let is = |finding: &Finding| matches!(finding, Finding::Bar(bar) if bar.key.opens_at == opens_at);
            findings.iter().any(is)
        };
        let ours = |opens_at| {
            let base = base.filter(|_| !healed(opens_at))?;
            base.closed_bar(opens_at).copied()
        };
        let compared = self.audit.compare(fetched, at, ours);
        self.counted.compared(&compared);
        counts.bars_compared = counts.bars_compared.saturating_add(compared.bars);
        counts.bars_mismatched = counts.bars_mismatched.saturating_add(compared.mismatched());
        findings.extend(compared.corrected.into_iter().map(Finding::Bar));
        findings
    }

    /// Each bar of an answer as an answer of its own, which says nothing of other slots.
    fn bars_of(&self, fetched: &Fetched) -> Vec<Fetched> {
        let length = fetched.interval.vendor_length();
        let one = |bar: &VendorBar| Fetched {
            from: bar.opens_at,
            to: bar.opens_at + length,
            bars: vec![*bar],
            ..fetched.clone()
        };
        fetched.bars.iter().map(one).collect()
    }

    /// The bars of the base interval that were not yet compared with the vendor's.
    pub(super) fn unchecked(&self) -> Option<Unchecked> {
        let over = self.builders.first().is_none_or(|base| base.next_deadline().is_none());
        self.audit.unchecked(over)
    }

    /// Numbers a bar of the `i`th interval.
    pub(super) fn tell_bar(
        &mut self,
        i: usize,
        bar: Bar,
        at: Timestamp,
        sequencer: &mut Sequencer,
        counts: &mut Counts,
        out: &mut Vec<Entry>,
    ) {
        let Some(log) = self.logs.bars.get(i) else { return };
        // A bar that completes the history of earlier days is none of this session's.
        let counted = self.session.is_none_or(|session| session.date == bar.session_date);
        if i == 0 && counted {
            let count = if bar.revision == 0 {
                &mut counts.bars_closed
            } else {
                &mut counts.bars_revised
            };
            *count = count.saturating_add(1);
            self.counted.bars_closed = self.counted.bars_closed.saturating_add(u64::from(bar.revision == 0));
            self.audit.told(&bar);
        }
        out.push(Entry::Event(sequencer.number(*log, at, Event::Bar(bar))));
    }

    pub(super) fn tell_gap(
        &mut self,
        gap: Gap,
        at: Timestamp,
        sequencer: &mut Sequencer,
        counts: &mut Counts,
        out: &mut Vec<Entry>,
    ) {
        match gap.status {
            GapStatus::Open if gap.bars == 1 => counts.gaps_opened = counts.gaps_opened.saturating_add(1),
            GapStatus::Filled => counts.gaps_filled = counts.gaps_filled.saturating_add(1),
            GapStatus::Unfillable => counts.gaps_unfillable = counts.gaps_unfillable.saturating_add(1),
            GapStatus::Open | GapStatus::Filling => {}
        }
        out.push(Entry::Event(sequencer.number(self.logs.quality, at, Event::Gap(gap))));
    }
}
