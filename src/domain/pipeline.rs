//! The heart: judge, number, build bars, keep the book of gaps. One value, one way in, and every decision in it.
//!
//! ```text
//!              ┌────────────── advance(now): every deadline that has come, in order ──────────────┐
//!  Arrival ──► │ session opens/closes · slot over → bar closed, or gap opened · bar_end           │ ──► Entry …
//!              └────────────── then the arrival itself ────────────────────────────────────────────┘
//!                price → Judge → Sequencer → BarBuilder      link → Watch      bars → GapBook
//! ```
//!
//! Time enters only with arrivals and deadlines, and both are among the entries: feeding the [`Entry::Heard`] of a day through
//! [`Pipeline::replay`] gives the same entries again, byte for byte (invariant B4). That is also how a restart rebuilds.

pub use crate::domain::market::{Boundary, Market};

use crate::domain::acceptance::AcceptanceView;
use crate::domain::bar::Bar;
use crate::domain::book::{Book, Dropped};
use crate::domain::channel::Channel;
use crate::domain::event::{
    Arrival, BarEnd, Entry, Event, Fetched, Flawed, Heard, HeardKind, LinkChange, Position, Says, SessionPhase,
    Unusable, Unwatched,
};
use crate::domain::gap::Gap;
use crate::domain::gap_book::Finding;
use crate::domain::judge::{LastClose, Ruling};
use crate::domain::mismatch::{Compared, Unchecked};
use crate::domain::sequence::Sequencer;
use crate::domain::symbol::Symbol;
use crate::domain::tick::{AcceptedTick, SetAside, Tick};
use crate::domain::timestamp::Timestamp;
use std::collections::BTreeMap;

/// What was counted since the ledger file of the day began.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counts {
    /// Ticks that were judged good and numbered.
    pub ticks_accepted: u64,
    /// Ticks set aside, by reason.
    pub ticks_set_aside: BTreeMap<SetAside, u64>,
    /// Prices and bars of which digits beyond the sixth decimal were rounded away.
    pub rounded: BTreeMap<Symbol, u64>,
    /// Bars of the base interval closed, whoever made them.
    pub bars_closed: u64,
    /// Revisions of such bars.
    pub bars_revised: u64,
    /// Gaps opened.
    pub gaps_opened: u64,
    /// Gaps whose every bar came.
    pub gaps_filled: u64,
    /// Gaps the vendor has no bars for.
    pub gaps_unfillable: u64,
    /// Bars of ours that were compared with the vendor's own.
    pub bars_compared: u64,
    /// Of these, bars that tell something else than the vendor's.
    pub bars_mismatched: u64,
}

/// What was counted of one pair in the session that is open, or was last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct PairCounts {
    /// Bars of the base interval closed, whoever made them.
    pub bars_closed: u64,
    /// Bars of ours that were compared with the vendor's own.
    pub bars_compared: u64,
    /// Of these, bars that tell something else than the vendor's.
    pub bars_mismatched: u64,
}

impl PairCounts {
    pub(super) fn compared(&mut self, compared: &Compared) {
        self.bars_compared = self.bars_compared.saturating_add(compared.bars);
        self.bars_mismatched = self.bars_mismatched.saturating_add(compared.mismatched());
    }
}

impl Counts {
    /// Ticks set aside for any reason.
    #[must_use]
    pub fn set_aside(&self) -> u64 {
        self.ticks_set_aside.values().sum()
    }
}

/// Judges, numbers and builds. See the module.
#[derive(Debug, Clone)]
pub struct Pipeline {
    sequencer: Sequencer,
    books: Vec<Book>,
    /// The stamp of the last input: time runs backwards here only where the clock was set back.
    at: Timestamp,
    counts: Counts,
}

impl Pipeline {
    /// Starts at `now`, numbering on after `head` and `heads`.
    #[must_use]
    pub fn new(
        markets: &[Market],
        head: Position,
        heads: impl IntoIterator<Item = (Channel, u64)>,
        now: Timestamp,
    ) -> Self {
        let mut sequencer = Sequencer::after(head, heads);
        let books = markets
            .iter()
            .map(|market| Book::new(market.clone(), &mut sequencer, now))
            .collect();
        Self {
            sequencer,
            books,
            at: now,
            counts: Counts::default(),
        }
    }

    /// What was counted.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What was counted of each pair.
    #[must_use]
    pub fn counts_of_pairs(&self) -> BTreeMap<Symbol, PairCounts> {
        self.books
            .iter()
            .map(|book| (book.market.symbol, book.counted))
            .collect()
    }

    /// The last position given out.
    #[must_use]
    pub const fn head(&self) -> Position {
        self.sequencer.head()
    }

    /// The last seq of every channel.
    #[must_use]
    pub fn heads(&self) -> &[(Channel, u64)] {
        self.sequencer.heads()
    }

    /// The gaps that may still be filled.
    pub fn pending_gaps(&self) -> impl Iterator<Item = &Gap> {
        self.books.iter().flat_map(Book::pending_gaps)
    }

    /// The bars that were not yet compared with the vendor's.
    pub fn unchecked(&self) -> impl Iterator<Item = Unchecked> {
        self.books.iter().filter_map(Book::unchecked)
    }

    /// What became of each pair's prices.
    pub fn prices(&self) -> impl Iterator<Item = (Symbol, AcceptanceView)> {
        self.books.iter().map(|book| (book.market.symbol, book.prices()))
    }

    /// The stamp of the last input.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Takes up a gap of an earlier day: pending, with the bars (last revisions) that exist in its stretch; or settled, for its id.
    pub fn restore_gap(&mut self, gap: Gap, bars: &[Bar]) {
        if let Some(book) = self.books.iter_mut().find(|book| book.market.symbol == gap.symbol) {
            book.restore_gap(gap, bars);
        }
    }

    /// Takes up what was told of the newest session where a replay came to others: the last revisions of its bars, and the last id
    /// of a gap.
    pub fn restore_told(&mut self, symbol: Symbol, bars: &[Bar], last_gap: u64) {
        if let Some(book) = self.books.iter_mut().find(|book| book.market.symbol == symbol) {
            book.restore_told(bars, last_gap);
        }
    }

    /// Takes up the last good price of an earlier day.
    pub fn restore_close(&mut self, close: LastClose) {
        if let Some(book) = self.books.iter_mut().find(|book| book.market.symbol == close.symbol) {
            book.judge.carry(close);
        }
    }

    /// The last good price of each pair that has one.
    pub fn last_closes(&self) -> impl Iterator<Item = LastClose> {
        self.books.iter().filter_map(|book| book.judge.close())
    }

    /// When something is due without anything arriving.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.books.iter().filter_map(Book::next_deadline).min()
    }

    /// Does everything that is due at `now`.
    pub fn advance(&mut self, now: Timestamp, out: &mut Vec<Entry>) {
        self.replan(now.max(self.at), out);
        while let Some(due) = self.next_deadline().filter(|due| *due <= now) {
            self.at = self.at.max(due); // slots of a session that goes on were over before it did
            out.push(Entry::Heard(Heard {
                at: self.at,
                what: HeardKind::Deadline,
            }));
            self.close_due(due, out);
            self.turn_sessions(due, out);
        }
    }

    /// Takes up calendars that were corrected.
    fn replan(&mut self, now: Timestamp, out: &mut Vec<Entry>) {
        for book in &mut self.books {
            let Some(lacking) = book.replan(now) else { continue };
            self.at = now;
            out.push(Entry::Heard(Heard {
                at: now,
                what: HeardKind::Lacking(lacking.clone()),
            }));
            book.lack(&lacking, now, &mut self.sequencer, &mut self.counts, out);
        }
    }

    /// Takes in one arrival, after everything that was due before it.
    pub fn accept(&mut self, arrival: Arrival, out: &mut Vec<Entry>) {
        if arrival.heard.what == HeardKind::Started {
            return self.start_again(arrival.heard.at, out);
        }
        self.advance(arrival.heard.at, out);
        let at = arrival.heard.at.max(self.at);
        self.at = at;
        if let Says::Price(tick) | Says::Rounded(tick) = &arrival.says {
            self.open_early(tick, at, out);
        }
        let begun = out.len();
        out.push(Entry::Heard(Heard {
            at,
            what: arrival.heard.what,
        }));
        match arrival.says {
            Says::Price(tick) => self.price(&tick, at, out),
            Says::Rounded(tick) => {
                self.round(tick.symbol, 1);
                self.price(&tick, at, out);
            }
            Says::Unusable(unusable) => self.unusable(unusable, at),
            Says::Bars(fetched) => self.bars(&fetched, at, out),
            Says::FlawedBars(fetched, flawed) => {
                self.flawed(fetched.symbol, flawed);
                self.bars(&fetched, at, out);
            }
            Says::Nothing => self.hear(begun, at, out),
        }
    }

    /// Feeds one captured input again. Deadlines are among them, so nothing else advances the time.
    pub fn replay(&mut self, arrival: Arrival, out: &mut Vec<Entry>) {
        match &arrival.heard.what {
            HeardKind::Deadline => self.advance(arrival.heard.at, out),
            // Known already, and said again by the opening before it, unless the replay begins with this day.
            HeardKind::Carried(LinkChange::Up { symbols }) if self.all_up(symbols) => {}
            HeardKind::CarriedClose(close) if self.last_closes().any(|known| known == *close) => {}
            _ => self.accept(arrival, out),
        }
    }

    /// Takes numbers as they were told, where a replay came to others.
    pub fn align(&mut self, head: Position, heads: impl IntoIterator<Item = (Channel, u64)>) {
        self.sequencer.align(head, heads);
    }

    fn all_up(&self, symbols: &[Symbol]) -> bool {
        self.books
            .iter()
            .filter(|book| symbols.contains(&book.market.symbol))
            .all(|book| book.watch.is_up())
    }

    /// The process was started again: since the last input nothing was heard.
    fn start_again(&mut self, now: Timestamp, out: &mut Vec<Entry>) {
        out.push(Entry::Heard(Heard {
            at: self.at,
            what: HeardKind::Started,
        }));
        for book in &mut self.books {
            book.watch.down(self.at, "not_running");
        }
        self.advance(now, out);
    }

    /// An input without prices: link changes, questions, and what was found of the history.
    fn hear(&mut self, begun: usize, at: Timestamp, out: &mut Vec<Entry>) {
        let Some(Entry::Heard(heard)) = out.get(begun) else {
            return;
        };
        match heard.what.clone() {
            HeardKind::Link(LinkChange::Up { symbols }) | HeardKind::Carried(LinkChange::Up { symbols }) => {
                for book in self
                    .books
                    .iter_mut()
                    .filter(|book| symbols.contains(&book.market.symbol))
                {
                    book.watch.up(at);
                }
            }
            HeardKind::Link(LinkChange::Down { cause }) | HeardKind::Carried(LinkChange::Down { cause }) => {
                self.books.iter_mut().for_each(|book| book.watch.down(at, &cause));
            }
            HeardKind::Link(LinkChange::Doubt { since, cause })
            | HeardKind::Carried(LinkChange::Doubt { since, cause }) => {
                for book in &mut self.books {
                    book.doubt(since, &cause, at, &mut self.sequencer, &mut self.counts, out);
                }
            }
            HeardKind::Link(LinkChange::Lost { symbols, cause })
            | HeardKind::Carried(LinkChange::Lost { symbols, cause }) => {
                let lost = |book: &&mut Book| symbols.contains(&book.market.symbol);
                let books = self.books.iter_mut().filter(lost);
                books.for_each(|book| book.watch.down(at, &cause));
            }
            HeardKind::Unwatched(unwatched) => self.unwatched(&unwatched, at),
            HeardKind::Opened(symbol) => self.open_now(symbol, at, out),
            HeardKind::Asked(asked) => {
                for i in 0..self.books.len() {
                    let gaps = match self.books.get_mut(i).filter(|book| book.market.symbol == asked.symbol) {
                        Some(book) => book.asked(asked.interval, asked.from, asked.to),
                        None => Vec::new(),
                    };
                    self.tell_findings(i, gaps.into_iter().map(Finding::Gap).collect(), at, out);
                }
            }
            HeardKind::Lacking(lacking) => {
                if let Some(book) = self.books.iter_mut().find(|book| book.market.symbol == lacking.symbol) {
                    book.lack(&lacking, at, &mut self.sequencer, &mut self.counts, out);
                }
            }
            HeardKind::Seam(found) => {
                if let Some(book) = self.books.iter().find(|book| book.market.symbol == found.symbol) {
                    let event = Event::Seam(found);
                    out.push(Entry::Event(self.sequencer.number(book.logs.quality, at, event)));
                }
            }
            HeardKind::LastClose(found) => {
                if let Some(i) = self.books.iter().position(|book| book.market.symbol == found.symbol) {
                    let learned = self.books.get_mut(i).map(|book| book.learn_close(found, at));
                    let (good, dropped) = learned.unwrap_or_default();
                    self.count_dropped(dropped);
                    self.take_good(i, &good, at, out);
                }
            }
            HeardKind::CarriedClose(close) => self.restore_close(close),
            HeardKind::Link(LinkChange::Alive)
            | HeardKind::Carried(LinkChange::Alive)
            | HeardKind::Frame(_)
            | HeardKind::Answer(_)
            | HeardKind::Deadline
            | HeardKind::Started => {}
        }
    }

    /// Clocks differ: a price that is stamped inside the session that comes opens it, a moment before our clock would.
    fn open_early(&mut self, tick: &Tick, at: Timestamp, out: &mut Vec<Entry>) {
        if self.books.iter().any(|book| book.opens_with(tick, at)) {
            out.push(Entry::Heard(Heard {
                at,
                what: HeardKind::Opened(tick.symbol),
            }));
            self.open_now(tick.symbol, at, out);
        }
    }

    fn open_now(&mut self, symbol: Symbol, at: Timestamp, out: &mut Vec<Entry>) {
        let books = self.books.iter_mut().filter(|book| book.market.symbol == symbol);
        books.for_each(|book| book.open_at(at));
        self.turn_sessions(at, out);
    }

    /// Market time went from `at` to another instant without anybody watching.
    fn unwatched(&mut self, unwatched: &Unwatched, at: Timestamp) {
        let Unwatched { until, cause } = unwatched;
        if *until < at {
            self.at = *until;
        }
        for book in &mut self.books {
            if *until < at {
                book.watch.set_back(*until, cause);
            } else {
                book.watch.missed(at, *until, cause);
            }
        }
    }

    fn price(&mut self, tick: &Tick, at: Timestamp, out: &mut Vec<Entry>) {
        self.take_price(tick, at, at, out);
    }

    /// A price that arrived at `received_at` and is decided on at `at`.
    fn take_price(&mut self, tick: &Tick, received_at: Timestamp, at: Timestamp, out: &mut Vec<Entry>) {
        let Some(i) = self.books.iter().position(|book| book.market.symbol == tick.symbol) else {
            return self.set_aside(SetAside::UnknownSymbol, 1);
        };
        let Some(book) = self.books.get_mut(i) else { return };
        let (ruling, dropped) = book.admit(tick, received_at);
        if ruling == Ruling::Aside(SetAside::OffSession) {
            book.hold(*tick, received_at);
        }
        self.count_dropped(dropped);
        match ruling {
            Ruling::Good => {
                let heard = AcceptedTick {
                    tick: *tick,
                    received_at,
                };
                self.take_good(i, &[heard], at, out);
            }
            Ruling::Confirmed(ticks) => self.take_good(i, &ticks, at, out),
            Ruling::Held => {}
            Ruling::Aside(reason) => self.set_aside(reason, 1),
        }
    }

    /// Ticks that came between a session's old end and the moment in which it went on.
    fn take_back(&mut self, held: Vec<(Tick, Timestamp)>, now: Timestamp, out: &mut Vec<Entry>) {
        for (tick, received_at) in held {
            if let Some(count) = self.counts.ticks_set_aside.get_mut(&SetAside::OffSession) {
                *count = count.saturating_sub(1);
            }
            self.take_price(&tick, received_at, now, out);
        }
    }

    /// Numbers ticks that were judged good, and builds bars of them.
    fn take_good(&mut self, i: usize, ticks: &[AcceptedTick], at: Timestamp, out: &mut Vec<Entry>) {
        let Some(book) = self.books.get_mut(i) else { return };
        for accepted in ticks {
            self.counts.ticks_accepted = self.counts.ticks_accepted.saturating_add(1);
            let event = Event::Tick(*accepted);
            out.push(Entry::Event(self.sequencer.number(book.logs.ticks, at, event)));
            book.build(&accepted.tick, at, &mut self.sequencer, &mut self.counts, out);
        }
    }

    /// The vendor's bars of one stretch.
    fn bars(&mut self, fetched: &Fetched, at: Timestamp, out: &mut Vec<Entry>) {
        for i in 0..self.books.len() {
            let Some(book) = self.books.get_mut(i) else { continue };
            let (good, dropped) = book.learn(fetched, at);
            let findings = book.answer(fetched, at, &mut self.counts);
            self.count_dropped(dropped);
            self.take_good(i, &good, at, out);
            self.tell_findings(i, findings, at, out);
        }
    }

    fn unusable(&mut self, Unusable { symbol, reason }: Unusable, at: Timestamp) {
        let known = self.books.iter_mut().find(|book| Some(book.market.symbol) == symbol);
        let Some(book) = known else {
            return self.set_aside(SetAside::UnknownSymbol, 1);
        };
        book.unusable(reason, at);
        self.set_aside(reason, 1);
    }

    fn flawed(&mut self, symbol: Symbol, flawed: Flawed) {
        self.round(symbol, flawed.rounded);
        for (reason, count) in [
            (SetAside::UnreadablePrice, flawed.unreadable),
            (SetAside::OutOfRange, flawed.out_of_range),
            (SetAside::BeyondScale, flawed.beyond_scale),
        ] {
            self.set_aside(reason, u64::from(count));
        }
    }

    fn round(&mut self, symbol: Symbol, count: u32) {
        if count > 0 && self.books.iter().any(|book| book.market.symbol == symbol) {
            let rounded = self.counts.rounded.entry(symbol).or_default();
            *rounded = rounded.saturating_add(u64::from(count));
        }
    }

    fn count_dropped(&mut self, dropped: Dropped) {
        if let Some((reason, count)) = dropped {
            self.set_aside(reason, count);
        }
    }

    fn set_aside(&mut self, reason: SetAside, count: u64) {
        if count > 0 {
            let counted = self.counts.ticks_set_aside.entry(reason).or_default();
            *counted = counted.saturating_add(count);
        }
    }

    /// Closes every slot that is due, and tells the end of each interval once its last symbol is out.
    fn close_due(&mut self, due: Timestamp, out: &mut Vec<Entry>) {
        let mut ends: Vec<BarEnd> = Vec::new();
        for book in &mut self.books {
            book.close_due(due, self.at, &mut self.sequencer, &mut self.counts, &mut ends, out);
        }
        ends.sort_by_key(|end| end.interval);
        for end in ends {
            out.push(Entry::Event(self.sequencer.number_for_all(self.at, Event::BarEnd(end))));
        }
    }

    /// Opens and closes sessions that are due. A new session begins with what the link is and with the last good price, so that
    /// its day can be replayed alone.
    fn turn_sessions(&mut self, due: Timestamp, out: &mut Vec<Entry>) {
        let mut released = Vec::new();
        for i in 0..self.books.len() {
            let Some(book) = self.books.get_mut(i) else { continue };
            let Some(change) = book.turn_session(due) else { continue };
            let opened = change.phase == SessionPhase::Open;
            out.push(Entry::Event(self.sequencer.number(
                book.logs.session,
                self.at,
                Event::Session(change),
            )));
            if opened && book.watch.is_up() {
                let link = LinkChange::Up {
                    symbols: vec![book.market.symbol],
                };
                out.push(Entry::Heard(Heard {
                    at: self.at,
                    what: HeardKind::Carried(link),
                }));
            }
            let back = if opened { book.release(self.at) } else { Vec::new() };
            // With ticks to take back, the session is one that goes on: its day has a copy already.
            if let Some(close) = book.judge.close().filter(|_| opened && back.is_empty()) {
                out.push(Entry::Heard(Heard {
                    at: due,
                    what: HeardKind::CarriedClose(close),
                }));
            }
            released.extend(back);
            let dropped = book.dropped(due);
            self.count_dropped(dropped);
        }
        self.take_back(released, self.at, out);
    }

    fn tell_findings(&mut self, book: usize, findings: Vec<Finding>, at: Timestamp, out: &mut Vec<Entry>) {
        if let Some(book) = self.books.get_mut(book) {
            book.tell_findings(findings, at, &mut self.sequencer, &mut self.counts, out);
        }
    }
}
