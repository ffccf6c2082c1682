//! The pipeline: filters ticks, numbers events, builds bars, tracks gaps. A single value that makes all of these decisions.
//!
//! ```text
//!              ┌────────────── advance(now): every deadline that has come, in order ──────────────┐
//!  Inbound ──► │ session opens/closes · slot over → bar closed, or gap opened · bar_end           │ ──► JournalEntry …
//!              └────────────── then the arrival itself ────────────────────────────────────────────┘
//!                price → TickFilter → Sequencer → BarBuilder   link → OutageLog   bars → GapTracker
//! ```
//!
//! Time enters only with arrivals and deadlines, and both are recorded as entries: feeding the [`JournalEntry::Input`]s of a day
//! to [`Pipeline::replay`] gives the same entries again, byte for byte (invariant B4). A restart rebuilds its state in this way.

mod corrections;
mod deadlines;
mod runs;

use crate::domain::pipeline::{
    AcceptanceView, ChannelNumbers, Dropped, GapChange, PairCounts, PairRules, PipelineCounts, Sequencer, SymbolState,
    TickVerdict, ToldDays, Unchecked,
};

use crate::domain::model::{
    AcceptedTick, Bar, BarEnd, Channel, Decoded, Event, Fetched, Flawed, Gap, Inbound, Input, InputKind, JournalEntry,
    LastClose, LinkChange, Position, Provenance, RejectReason, Requested, RoundedSource, SessionPhase, Symbol, Tick,
    Timestamp, Unusable,
};
use std::collections::BTreeMap;

/// The state of the pipeline, of all pairs.
#[derive(Debug, Clone)]
pub struct Pipeline {
    sequencer: Sequencer,
    pairs: Vec<SymbolState>,
    /// The time of the last input. Decreases only where the clock was set back.
    at: Timestamp,
    /// The same, of the last input that was no correction of a calendar.
    heard: Timestamp,
    /// When the clock was last set, as far as the day's ledger file records it.
    clock_since: Timestamp,
    /// The next deadline, and whether a pair waits for its session to open. Both are kept, because every price asks for them and none
    /// changes them: whatever else changes a pair is followed by [`Pipeline::replan`].
    due: Option<Timestamp>,
    opening: bool,
    /// Whether `out` is not told of the prices themselves ([`Pipeline::accept_prices`]).
    brief: bool,
    /// Whether the ledger is still empty.
    blank: bool,
    counts: PipelineCounts,
}

impl Pipeline {
    /// A pipeline that begins at `now` and continues the numbers after `head` and `heads`.
    pub fn new(
        markets: &[PairRules],
        head: Position,
        heads: impl IntoIterator<Item = (Channel, u64)>,
        now: Timestamp,
    ) -> Self {
        let mut sequencer = Sequencer::after(head, heads);
        let pairs = markets
            .iter()
            .map(|market| SymbolState::new(market.clone(), &mut sequencer, now))
            .collect();
        let mut pipeline = Self {
            sequencer,
            pairs,
            at: now,
            heard: now,
            clock_since: now,
            due: None,
            opening: false,
            brief: false,
            blank: head == Position(0),
            counts: PipelineCounts::default(),
        };
        pipeline.replan();
        pipeline
    }

    /// The counters over all pairs.
    pub const fn counts(&self) -> &PipelineCounts {
        &self.counts
    }

    /// The counters of each pair.
    pub fn counts_of_pairs(&self) -> BTreeMap<Symbol, PairCounts> {
        self.pairs
            .iter()
            .map(|pair| (pair.market.symbol, pair.counted))
            .collect()
    }

    /// The last position assigned.
    pub const fn head(&self) -> Position {
        self.sequencer.head()
    }

    /// The last seq of every channel.
    pub fn heads(&self) -> &[(Channel, u64)] {
        self.sequencer.heads()
    }

    /// The gaps that may still be filled.
    pub fn pending_gaps(&self) -> impl Iterator<Item = &Gap> {
        self.pairs.iter().flat_map(SymbolState::pending_gaps)
    }

    /// The bars that are still to be compared with the vendor's.
    pub fn unchecked_bars(&self) -> impl Iterator<Item = Unchecked> {
        self.pairs.iter().filter_map(SymbolState::unchecked_bars)
    }

    /// How each pair's prices were judged.
    pub fn prices(&self) -> impl Iterator<Item = (Symbol, AcceptanceView)> {
        self.pairs.iter().map(|pair| (pair.market.symbol, pair.prices()))
    }

    /// The time of the last input.
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Restores a gap of an earlier day, with what was published of the days in it; a settled gap is restored for its id.
    pub fn restore_gap(&mut self, gap: Gap, told: &ToldDays) {
        if let Some(pair) = pair_of(&mut self.pairs, gap.symbol) {
            pair.restore_gap(gap, told);
        }
    }

    /// Drops every gap, before the published ones are restored.
    pub fn forget_gaps(&mut self) {
        self.pairs.iter_mut().for_each(SymbolState::forget_gaps);
    }

    /// Restores published state of the newest session where a replay differs from it: the last revisions of its bars, and the last gap id.
    pub fn restore_told(&mut self, symbol: Symbol, bars: &[Bar], last_gap: u64) {
        if let Some(pair) = pair_of(&mut self.pairs, symbol) {
            pair.restore_told(bars, last_gap);
        }
    }

    /// Restores the last good price of an earlier day.
    pub fn restore_close(&mut self, close: LastClose) {
        if let Some(pair) = pair_of(&mut self.pairs, close.symbol) {
            pair.judge.carry_close(close);
        }
    }

    /// The last good price of each pair that has one.
    pub fn last_closes(&self) -> impl Iterator<Item = LastClose> {
        self.pairs.iter().filter_map(|pair| pair.judge.close())
    }

    /// Processes every deadline up to `now`.
    pub fn advance(&mut self, now: Timestamp, out: &mut Vec<JournalEntry>) {
        self.begin_ledger(out);
        self.correct_calendars(now.max(self.at), out);
        self.keep_deadlines(now, out);
    }

    /// Processes one arrival, after every deadline before it.
    pub fn accept(&mut self, arrival: Inbound, out: &mut Vec<JournalEntry>) {
        if matches!(arrival.heard.what, InputKind::Started) {
            self.start_again(out);
            return self.advance(arrival.heard.at, out);
        }
        self.advance(arrival.heard.at, out);
        self.decide(arrival, out);
    }

    fn decide(&mut self, arrival: Inbound, out: &mut Vec<JournalEntry>) {
        let at = arrival.heard.at.max(self.at);
        self.at = at;
        if !matches!(arrival.heard.what, InputKind::Calendar(_) | InputKind::MissingBars(_)) {
            self.heard = at;
        }
        if let Decoded::Price(tick) | Decoded::Rounded(tick) = &arrival.says {
            self.open_early(tick, at, out);
        }
        let begun = out.len();
        let price = matches!(
            arrival.says,
            Decoded::Price(_) | Decoded::Rounded(_) | Decoded::Unusable(_)
        );
        let live = matches!(arrival.heard.what, InputKind::Frame(_));
        out.push(JournalEntry::Input(Input {
            at,
            what: arrival.heard.what,
        }));
        match arrival.says {
            Decoded::Price(tick) => self.price(&tick, at, out),
            Decoded::Rounded(tick) => {
                let source = match tick.provenance {
                    Provenance::Live => RoundedSource::Link,
                    _ => RoundedSource::Poll,
                };
                self.count_rounded(tick.symbol, source, 1);
                self.price(&tick, at, out);
            }
            Decoded::Unusable(unusable) => self.count_unusable(unusable, live, at),
            Decoded::Bars(fetched) => self.apply_bars(&fetched, at, out),
            Decoded::FlawedBars(fetched, flawed) => {
                self.count_flawed(fetched.symbol, flawed);
                self.apply_bars(&fetched, at, out);
            }
            Decoded::Nothing => self.apply_input(begun, at, out),
        }
        if !price {
            self.replan();
        }
    }

    /// Processes one captured input again. Deadlines are captured too, so only inputs advance the time.
    pub fn replay(&mut self, arrival: Inbound, out: &mut Vec<JournalEntry>) {
        self.begin_ledger(out);
        match &arrival.heard.what {
            // Each was captured: one more that was due then, and is not there, was cut off with the end of the ledger.
            InputKind::Deadline => drop(self.keep_deadline(arrival.heard.at, out)),
            InputKind::Started => self.start_again(out),
            // A copy that the replayed opening has already produced, unless the replay begins with this day.
            InputKind::Carried(LinkChange::Up { symbols }) if self.all_up(symbols) => {}
            InputKind::Carried(link @ (LinkChange::Lost { symbols, .. } | LinkChange::Missed { symbols, .. }))
                if self.knows_link(link, symbols) => {}
            InputKind::CarriedTick(carried) if self.take_carried(carried) => {}
            InputKind::CarriedClose(close) if self.knows_close(close) => {}
            InputKind::Calendar(known) if known.carried && self.knows_calendar(known) => {}
            // A corrected calendar is applied before the deadlines that are processed with it.
            InputKind::Calendar(_) | InputKind::MissingBars(_) => self.decide(arrival, out),
            _ => {
                self.keep_deadlines(arrival.heard.at, out);
                self.decide(arrival, out);
            }
        }
    }

    /// Continues with the published numbers where a replay gives others.
    pub fn align_numbers(&mut self, head: Position, heads: impl IntoIterator<Item = (Channel, u64)>) {
        self.sequencer.align_numbers(head, heads);
    }

    fn knows_close(&self, close: &LastClose) -> bool {
        let mut pairs = self.pairs.iter().filter(|pair| pair.market.symbol == close.symbol);
        pairs.any(|pair| pair.judge.close() == Some(*close) || pair.has_carried())
    }

    fn take_carried(&mut self, carried: &AcceptedTick) -> bool {
        pair_of(&mut self.pairs, carried.tick.symbol).is_some_and(|pair| pair.take_carried(carried))
    }

    fn all_up(&self, symbols: &[Symbol]) -> bool {
        self.pairs
            .iter()
            .filter(|pair| symbols.contains(&pair.market.symbol))
            .all(|pair| pair.outages.is_up())
    }

    /// Whether the opening that was replayed produced this state of the link, so that the recorded copy is redundant.
    fn knows_link(&self, link: &LinkChange, symbols: &[Symbol]) -> bool {
        let mut pairs = self.pairs.iter().filter(|pair| symbols.contains(&pair.market.symbol));
        pairs.all(|pair| pair.link_at_open().as_ref() == Some(link))
    }

    /// Applies the state of the link when the session opened, for a day that is replayed alone.
    fn carry_link(&mut self, link: &LinkChange, at: Timestamp) {
        for pair in &mut self.pairs {
            let symbol = pair.market.symbol;
            match link {
                LinkChange::Up { symbols } if symbols.contains(&symbol) => pair.outages.mark_up(pair.opened_at(at)),
                LinkChange::Lost { symbols, cause } if symbols.contains(&symbol) => {
                    pair.outages.carry_loss(cause, None);
                }
                LinkChange::Missed { symbols, until, cause } if symbols.contains(&symbol) => {
                    pair.outages.carry_loss(cause, Some(*until));
                }
                _ => {}
            }
        }
    }

    /// Handles a restart of the process: nothing was received since the last input.
    fn start_again(&mut self, out: &mut Vec<JournalEntry>) {
        out.push(JournalEntry::Input(Input {
            at: self.at,
            what: InputKind::Started,
        }));
        for pair in &mut self.pairs {
            pair.outages.mark_down(self.at, "not_running");
        }
    }

    /// Applies an input without prices: link changes, requests, and findings of the history.
    fn apply_input(&mut self, begun: usize, at: Timestamp, out: &mut Vec<JournalEntry>) {
        let Some(JournalEntry::Input(heard)) = out.get(begun) else {
            return;
        };
        match heard.what.clone() {
            InputKind::Link(LinkChange::Up { symbols }) => {
                let pairs = self.pairs.iter_mut();
                let up = pairs.filter(|pair| symbols.contains(&pair.market.symbol));
                up.for_each(|pair| pair.outages.mark_up(at));
            }
            InputKind::Carried(
                link @ (LinkChange::Up { .. } | LinkChange::Lost { .. } | LinkChange::Missed { .. }),
            ) => {
                self.carry_link(&link, at);
            }
            InputKind::Link(LinkChange::Down { cause }) | InputKind::Carried(LinkChange::Down { cause }) => {
                self.pairs
                    .iter_mut()
                    .for_each(|pair| pair.outages.mark_down(at, &cause));
            }
            InputKind::Link(LinkChange::Doubt { since, cause })
            | InputKind::Carried(LinkChange::Doubt { since, cause }) => {
                for pair in &mut self.pairs {
                    pair.doubt_bars(since, &cause, at, &mut self.sequencer, &mut self.counts, out);
                }
            }
            InputKind::Link(LinkChange::Lost { symbols, cause }) => {
                let pairs = self.pairs.iter_mut();
                let lost = pairs.filter(|pair| symbols.contains(&pair.market.symbol));
                lost.for_each(|pair| pair.outages.mark_down(at, &cause));
            }
            InputKind::Unwatched(unwatched) => self.apply_unwatched(&unwatched, at, out),
            InputKind::Opened(symbol) => self.open_now(symbol, at, out),
            InputKind::Requested(asked) => self.apply_requested(&asked, at, out),
            InputKind::MissingBars(lacking) => {
                if let Some(pair) = pair_of(&mut self.pairs, lacking.symbol) {
                    pair.open_missing(&lacking, at, &mut self.sequencer, &mut self.counts, out);
                }
            }
            InputKind::Seam(found) => {
                self.tell_quality(found.symbol, Event::Seam(found), at, out);
            }
            InputKind::Certificate(certificate) => {
                self.tell_quality(certificate.symbol, Event::Certificate(certificate), at, out);
            }
            InputKind::LastClose(found) => {
                if let Some(i) = self.pairs.iter().position(|pair| pair.market.symbol == found.symbol) {
                    let learned = self.pairs.get_mut(i).map(|pair| pair.learn_close(found, at));
                    let (good, dropped) = learned.unwrap_or_default();
                    self.count_dropped(dropped);
                    self.take_good(i, &good, at, out);
                }
            }
            InputKind::CarriedClose(close) => self.restore_close(close),
            InputKind::Calendar(known) => self.apply_calendar(&known, at),
            InputKind::CarriedTick(carried) => self.take_price(&carried.tick, carried.received_at, at, out),
            InputKind::Noted(entry) => {
                let events = self.sequencer.channel_numbers(Channel::events());
                self.tell_event(events, Event::Journal(entry), at, out);
            }
            InputKind::Link(LinkChange::Alive | LinkChange::Missed { .. })
            | InputKind::Carried(LinkChange::Alive)
            | InputKind::Frame(_)
            | InputKind::Answer(_)
            | InputKind::Deadline
            | InputKind::Started => {}
        }
    }

    /// Marks the gaps that a request to the vendor covers as `filling`.
    fn apply_requested(&mut self, asked: &Requested, at: Timestamp, out: &mut Vec<JournalEntry>) {
        for i in 0..self.pairs.len() {
            let gaps = match self.pairs.get_mut(i).filter(|pair| pair.market.symbol == asked.symbol) {
                Some(pair) => pair.mark_requested(asked.interval, asked.from, asked.to),
                None => Vec::new(),
            };
            self.tell_findings(i, gaps.into_iter().map(GapChange::Gap).collect(), at, out);
        }
    }

    /// Publishes a finding on the pair's channel of quality, unchanged.
    fn tell_quality(&mut self, symbol: Symbol, event: Event, at: Timestamp, out: &mut Vec<JournalEntry>) {
        let pair = self.pairs.iter().find(|pair| pair.market.symbol == symbol);
        if let Some(quality) = pair.map(|pair| pair.logs.quality) {
            self.tell_event(quality, event, at, out);
        }
    }

    fn tell_event(&mut self, numbers: ChannelNumbers, event: Event, at: Timestamp, out: &mut Vec<JournalEntry>) {
        let sequenced = self.sequencer.number_event(numbers, at, event);
        out.push(JournalEntry::Event(sequenced));
    }

    fn price(&mut self, tick: &Tick, at: Timestamp, out: &mut Vec<JournalEntry>) {
        self.take_price(tick, at, at, out);
    }

    /// Processes a price that arrived at `received_at`; `at` is the pipeline's time.
    fn take_price(&mut self, tick: &Tick, received_at: Timestamp, at: Timestamp, out: &mut Vec<JournalEntry>) {
        let Some(i) = self.pairs.iter().position(|pair| pair.market.symbol == tick.symbol) else {
            return self.set_aside(RejectReason::UnknownSymbol, 1);
        };
        let Some(pair) = self.pairs.get_mut(i) else { return };
        if pair.keep_for_open(tick, received_at) {
            return;
        }
        let (ruling, dropped) = pair.check_tick(tick, received_at);
        if matches!(ruling, TickVerdict::Aside(RejectReason::OffSession)) {
            pair.hold(*tick, received_at);
        }
        self.count_dropped(dropped);
        match ruling {
            TickVerdict::Good => {
                let heard = AcceptedTick {
                    tick: *tick,
                    received_at,
                };
                self.take_good(i, &[heard], at, out);
            }
            TickVerdict::Confirmed(ticks) => self.take_good(i, &ticks, at, out),
            TickVerdict::Held => {}
            TickVerdict::Aside(reason) => self.set_aside(reason, 1),
        }
    }

    /// Processes ticks that came between a session's old end and its continuation. They are no longer counted as rejected.
    fn take_back(&mut self, held: Vec<(Tick, Timestamp)>, now: Timestamp, out: &mut Vec<JournalEntry>) {
        for (tick, received_at) in held {
            if let Some(count) = self.counts.ticks_set_aside.get_mut(&RejectReason::OffSession) {
                *count = count.saturating_sub(1);
            }
            self.take_price(&tick, received_at, now, out);
        }
    }

    /// Numbers accepted ticks and adds them to bars.
    fn take_good(&mut self, i: usize, ticks: &[AcceptedTick], at: Timestamp, out: &mut Vec<JournalEntry>) {
        let Some(pair) = self.pairs.get_mut(i) else { return };
        for accepted in ticks {
            self.counts.ticks_accepted = self.counts.ticks_accepted.saturating_add(1);
            if self.brief {
                self.sequencer.take_numbers(pair.logs.ticks);
            } else {
                let event = Event::Tick(*accepted);
                let event = self.sequencer.number_event(pair.logs.ticks, at, event);
                out.push(JournalEntry::Event(event));
            }
            pair.build(&accepted.tick, at, &mut self.sequencer, &mut self.counts, out);
            if !self.brief {
                pair.tell_forming(at, &self.sequencer, out);
            }
        }
        if pair.take_wait() {
            for gap in pair.prove_silence() {
                pair.number_gap(gap, at, &mut self.sequencer, out);
            }
        }
    }

    /// Applies the vendor's bars for one range of time.
    fn apply_bars(&mut self, fetched: &Fetched, at: Timestamp, out: &mut Vec<JournalEntry>) {
        for i in 0..self.pairs.len() {
            let Some(pair) = self.pairs.get_mut(i) else { continue };
            let (good, dropped) = pair.learn(fetched, at);
            let findings = pair.apply_answer(fetched, at, &mut self.counts);
            self.count_dropped(dropped);
            self.take_good(i, &good, at, out);
            self.tell_findings(i, findings, at, out);
        }
    }

    fn count_unusable(&mut self, Unusable { symbol, reason }: Unusable, live: bool, at: Timestamp) {
        let known = self.pairs.iter_mut().find(|pair| Some(pair.market.symbol) == symbol);
        let Some(pair) = known else {
            return self.set_aside(RejectReason::UnknownSymbol, 1);
        };
        pair.count_unusable(reason, live, at);
        self.set_aside(reason, 1);
    }

    fn count_flawed(&mut self, symbol: Symbol, flawed: Flawed) {
        self.count_rounded(symbol, RoundedSource::VendorBars, flawed.rounded);
        for (reason, count) in [
            (RejectReason::UnreadablePrice, flawed.unreadable),
            (RejectReason::OutOfRange, flawed.out_of_range),
            (RejectReason::BeyondScale, flawed.beyond_scale),
        ] {
            self.set_aside(reason, u64::from(count));
        }
    }

    fn count_rounded(&mut self, symbol: Symbol, source: RoundedSource, count: u32) {
        if count > 0 && self.pairs.iter().any(|pair| pair.market.symbol == symbol) {
            let rounded = self.counts.rounded.entry(symbol).or_default();
            let rounded = rounded.entry(source).or_default();
            *rounded = rounded.saturating_add(u64::from(count));
        }
    }

    fn count_dropped(&mut self, dropped: Dropped) {
        if let Some((reason, count)) = dropped {
            self.set_aside(reason, count);
        }
    }

    fn set_aside(&mut self, reason: RejectReason, count: u64) {
        if count > 0 {
            let counted = self.counts.ticks_set_aside.entry(reason).or_default();
            *counted = counted.saturating_add(count);
        }
    }

    /// Closes every slot that is due, and publishes [`BarEnd`] after the last symbol's bar of each interval.
    fn close_due(&mut self, due: Timestamp, out: &mut Vec<JournalEntry>) {
        let mut ends: Vec<BarEnd> = Vec::new();
        for pair in &mut self.pairs {
            pair.close_due(due, self.at, &mut self.sequencer, &mut self.counts, &mut ends, out);
        }
        ends.sort_by_key(|end| end.interval);
        for end in ends {
            out.push(JournalEntry::Event(
                self.sequencer.number_for_all(self.at, Event::BarEnd(end)),
            ));
        }
    }

    /// Opens and closes sessions that are due. When a session opens, the state of the link and the last good prices are recorded again, so
    /// that
    /// its day can be replayed alone.
    fn turn_sessions(&mut self, due: Timestamp, out: &mut Vec<JournalEntry>) {
        let mut released = Vec::new();
        let mut waited = Vec::new();
        let mut carried = false;
        for i in 0..self.pairs.len() {
            let Some(pair) = self.pairs.get_mut(i) else { continue };
            let Some(change) = pair.turn_session(due) else {
                continue;
            };
            let opened = change.phase == SessionPhase::Open;
            let date = change.date;
            out.push(JournalEntry::Event(self.sequencer.number_event(
                pair.logs.session,
                self.at,
                Event::Session(change),
            )));
            if opened && !carried {
                carried = true;
                self.pairs.iter_mut().for_each(SymbolState::ask_again);
                self.carry_calendars(date, out);
                self.carry_closes(i, due, out);
            }
            let Some(pair) = self.pairs.get_mut(i) else { continue };
            if let Some(link) = pair.link_at_open().filter(|_| opened) {
                out.push(JournalEntry::Input(Input {
                    at: self.at,
                    what: InputKind::Carried(link),
                }));
            }
            let back = if opened { pair.release_held(self.at) } else { Vec::new() };
            // A session with released ticks is one that continues; its day has a copy already.
            if let Some(close) = pair.judge.close().filter(|_| opened && back.is_empty()) {
                out.push(JournalEntry::Input(Input {
                    at: due,
                    what: InputKind::CarriedClose(close),
                }));
            }
            released.extend(back);
            if opened {
                waited.extend(pair.take_waiting());
            }
            let dropped = pair.take_dropped(pair.outages.is_up(), due);
            self.count_dropped(dropped);
        }
        self.take_back(released, self.at, out);
        for carried in waited {
            out.push(JournalEntry::Input(Input {
                at: self.at,
                what: InputKind::CarriedTick(carried),
            }));
            self.take_price(&carried.tick, carried.received_at, self.at, out);
        }
    }

    /// Records the last good price of every pair except the one that opens, which records its own.
    fn carry_closes(&self, opens: usize, due: Timestamp, out: &mut Vec<JournalEntry>) {
        for (i, pair) in self.pairs.iter().enumerate() {
            if let Some(close) = pair.judge.close().filter(|_| i != opens) {
                out.push(JournalEntry::Input(Input {
                    at: due,
                    what: InputKind::CarriedClose(close),
                }));
            }
        }
    }

    fn tell_findings(&mut self, i: usize, findings: Vec<GapChange>, at: Timestamp, out: &mut Vec<JournalEntry>) {
        if let Some(pair) = self.pairs.get_mut(i) {
            pair.tell_findings(findings, at, &mut self.sequencer, &mut self.counts, out);
        }
    }
}

fn pair_of(pairs: &mut [SymbolState], symbol: Symbol) -> Option<&mut SymbolState> {
    pairs.iter_mut().find(|pair| pair.market.symbol == symbol)
}
