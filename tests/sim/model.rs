//! The independent model: what must be true of a run, folded from the vendor's record and from what was told. It asks no code that
//! is under test for an answer.

use crate::disk::Disk;
use crate::plan::{Plan, S};
use crate::reach::Reach;
use crate::vendor::{Prices, Vendor, fold};
use bytes::Bytes;
use candela::domain::model::{
    Bar, BarState, Channel, Epoch, Event, Flags, GapStatus, Interval, Position, Provenance, Sequenced, SessionPhase,
    Symbol,
};
use candela::domain::pipeline::{Boundary, OnMismatch};
use candela::domain::protocol::{Zones, frames};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A price as the model knows it: pair, stamp in seconds, millionths.
pub(crate) type Seen = (Symbol, i64, i64);

/// Everything that was told, whatever the disk lost since.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// By channel, epoch and number: the frame's payload.
    pub(crate) frames: HashMap<(Channel, Epoch, u64), Bytes>,
    /// By name of the ledger and position.
    positions: HashMap<(u64, u64), Sequenced>,
    /// How often each price was delivered to a service that listened.
    pub(crate) delivered: HashMap<Seen, u32>,
    /// Stretches (µs) in which the vendor's answers lacked bars that its record has.
    pub(crate) lies: Vec<(i64, i64)>,
    /// Sessions as the calendar was corrected: pair and day, with what holds.
    pub(crate) corrected: BTreeMap<(usize, i64), (i64, i64)>,
    /// Those of past days of which an older copy of the ledger knows nothing.
    pub(crate) unrecorded: BTreeSet<(usize, i64)>,
    /// Market time was moved: instants of ours say nothing.
    pub(crate) clock_moved: bool,
    /// When a price of a pair was last told, by our clock and by the true one; and the gaps that were told as open.
    pub(crate) last_tick: BTreeMap<Symbol, i64>,
    pub(crate) last_told: BTreeMap<Symbol, i64>,
    pub(crate) pending: BTreeMap<(Symbol, u64), (i64, i64)>,
    pub(crate) ticks: u64,
    pub(crate) bars: u64,
    pub(crate) gaps: u64,
    pub(crate) sessions: u64,
    /// How often a pair was called safe to trade.
    pub(crate) safe: u64,
}

impl Told {
    /// A start finds events that were written and not told before the process died: whoever comes back is told them now.
    pub(crate) fn find_untold(&mut self, disk: &Disk, zones: &Zones) {
        for numbered in disk.events() {
            let Some(channel) = numbered.channel else { continue };
            let place = (channel, disk.heads()[&channel].epoch, numbered.seq);
            self.frames.entry(place).or_insert_with(|| {
                let frame = frames::event(zones, numbered);
                Bytes::copy_from_slice(frames::payload(&frame))
            });
        }
    }

    /// An event is told, at this true time. Checks T1, T2, B1, and that a bar is on the disk for good.
    pub(crate) fn tell(&mut self, disk: &Disk, numbered: &Sequenced, payload: Bytes, now: i64) -> Vec<String> {
        let mut wrong = Vec::new();
        let written = disk.event(numbered.position);
        if written != Some(numbered) {
            wrong.push(format!(
                "T1: told, and not in the ledger: {numbered:?}; there: {written:?}"
            ));
        }
        let tick = matches!(numbered.event, Event::Tick(_));
        if !tick && !disk.synced_to(numbered.position) {
            wrong.push(format!("T1: told before it was synced: {numbered:?}"));
        }
        let place = (disk.state.lineage, numbered.position.0);
        if let Some(before) = self.positions.insert(place, numbered.clone())
            && before != *numbered
        {
            wrong.push(format!(
                "T2: position {} means {before:?} and {numbered:?}",
                numbered.position.0
            ));
        }
        if let Some(channel) = numbered.channel {
            let epoch = disk.heads()[&channel].epoch;
            if let Some(before) = self.frames.insert((channel, epoch, numbered.seq), payload.clone())
                && before != payload
            {
                wrong.push(format!(
                    "T2: {channel} {epoch} {} means two things: {before:?} and {payload:?}",
                    numbered.seq
                ));
            }
        }
        match &numbered.event {
            Event::Tick(accepted) => {
                self.ticks += 1;
                self.last_tick.insert(accepted.tick.symbol, numbered.at.micros());
                self.last_told.insert(accepted.tick.symbol, now);
            }
            Event::Bar(bar) => {
                self.bars += 1;
                let [open, high, low, close] = prices(bar);
                if low > open.min(close) || high < open.max(close) {
                    wrong.push(format!("B1: {bar:?}"));
                }
            }
            Event::Gap(gap) => {
                self.gaps += 1;
                let key = (gap.symbol, gap.id);
                let last = self.last_tick.get(&gap.symbol).map_or(i64::MIN, |at| at.div_euclid(S));
                if gap.status.pending() && gap.cause == "no_ticks" {
                    self.pending.remove(&key);
                    if last + 60 < gap.to.secs() && !self.clock_moved {
                        wrong.push(format!(
                            "no price after it proves that the market was silent: {gap:?}, {last}"
                        ));
                    }
                } else if gap.status.pending() {
                    self.pending.insert(key, (gap.from.secs(), gap.to.secs()));
                } else {
                    self.pending.remove(&key);
                }
            }
            Event::Session(change) if change.phase == SessionPhase::Open => self.sessions += 1,
            _ => {}
        }
        wrong
    }
}

fn prices(bar: &Bar) -> Prices {
    let ohlc = bar.ohlc;
    [ohlc.open, ohlc.high, ohlc.low, ohlc.close].map(candela::domain::model::Price::micros)
}

/// The seconds by which an interval's slots are made; `None`: one slot a session.
fn seconds(interval: Interval) -> Option<i64> {
    match interval {
        Interval::M1 => Some(60),
        Interval::M5 => Some(300),
        Interval::M15 => Some(900),
        Interval::M30 => Some(1_800),
        Interval::H1 => Some(3_600),
        Interval::Session | Interval::D1 => None,
    }
}

/// Longer bars as they are told: a late price that revises a part revises them at the same instant.
#[derive(Default)]
struct Longer {
    at: i64,
    bars: BTreeMap<(Symbol, Interval, i64), Bar>,
    /// The parts that late prices revised at this instant, by their opening.
    revised: BTreeMap<(Symbol, i64), Bar>,
}

impl Longer {
    fn follow(&mut self, numbered: &Sequenced, wrong: &mut Vec<String>) {
        if self.at != numbered.at.micros() {
            self.at = numbered.at.micros();
            for part in std::mem::take(&mut self.revised).values() {
                self.check(part, wrong);
            }
        }
        let Event::Bar(bar) = &numbered.event else { return };
        if bar.key.interval == Interval::M5 && bar.revision > 0 && bar.provenance != Provenance::Backfill {
            self.revised.insert((bar.key.symbol, bar.key.opens_at.secs()), *bar);
        }
        self.bars
            .insert((bar.key.symbol, bar.key.interval, bar.key.opens_at.secs()), *bar);
    }

    /// What was told of the longer bars that hold a part has its high, its low, and its close if it is the last.
    fn check(&self, part: &Bar, wrong: &mut Vec<String>) {
        let (from, to) = (part.key.opens_at, part.closes_at);
        let holds = |bar: &&Bar| {
            let longer = !matches!(bar.key.interval, Interval::M1 | Interval::M5);
            longer && bar.key.symbol == part.key.symbol && bar.key.opens_at <= from && to <= bar.closes_at
        };
        for bar in self.bars.values().filter(holds) {
            let [[_, high, low, close], [_, most, least, last]] = [prices(bar), prices(part)];
            let stale = high < most || low > least || bar.closes_at == to && close != last;
            if stale {
                wrong.push(format!(
                    "a longer bar is not revised with its part: {bar:?} for {part:?}"
                ));
            }
        }
    }
}

/// The log at the end of a run, folded.
struct Folded<'a> {
    plan: &'a Plan,
    vendor: &'a Vendor,
    told: &'a Told,
    ticks: BTreeMap<Symbol, Vec<(i64, u64, i64, Provenance)>>,
    /// All revisions of each bar, in order.
    bars: BTreeMap<(Symbol, Interval, i64), Vec<Bar>>,
    /// The position of each revision.
    places: HashMap<(Symbol, Interval, i64, u32), u64>,
    gaps: BTreeMap<(Symbol, u64), Vec<candela::domain::model::Gap>>,
    sessions: BTreeMap<(Symbol, i64), (i64, i64)>,
}

/// Checks the whole log of the ledger.
#[expect(clippy::too_many_lines, reason = "one arm a kind of event")]
pub(crate) fn check_log(
    plan: &Plan,
    vendor: &Vendor,
    told: &Told,
    disk: &Disk,
    settled: bool,
    reach: &mut Reach,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut folded = Folded {
        plan,
        vendor,
        told,
        ticks: BTreeMap::new(),
        bars: BTreeMap::new(),
        places: HashMap::new(),
        gaps: BTreeMap::new(),
        sessions: BTreeMap::new(),
    };
    let mut seqs: BTreeMap<Channel, u64> = BTreeMap::new();
    let mut times: HashMap<Seen, u32> = HashMap::new();
    let mut longer = Longer::default();
    for (numbered, position) in disk.events().zip(1..) {
        if numbered.position != Position(position) {
            wrong.push(format!("T2: position {} where {position} is next", numbered.position.0));
        }
        if let Some(channel) = numbered.channel {
            let seq = seqs.entry(channel).or_default();
            *seq += 1;
            if numbered.seq != *seq {
                wrong.push(format!("T2: {channel} {} where {seq} is next", numbered.seq));
            }
        }
        if !told.clock_moved {
            longer.follow(numbered, &mut wrong);
        }
        match &numbered.event {
            Event::Tick(accepted) => {
                let tick = accepted.tick;
                let at = tick.at.micros();
                folded
                    .ticks
                    .entry(tick.symbol)
                    .or_default()
                    .push((at, position, tick.price.micros(), tick.provenance));
                if tick.provenance == Provenance::Live {
                    *times
                        .entry((tick.symbol, tick.at.secs(), tick.price.micros()))
                        .or_default() += 1;
                }
            }
            Event::Bar(bar) => {
                let key = (bar.key.symbol, bar.key.interval, bar.key.opens_at.secs());
                folded.bars.entry(key).or_default().push(*bar);
                folded.places.insert((key.0, key.1, key.2, bar.revision), position);
            }
            Event::Gap(gap) => folded.gaps.entry((gap.symbol, gap.id)).or_default().push(gap.clone()),
            Event::Session(change) if change.phase == SessionPhase::Open => {
                let day = change.closes.secs() - 1;
                let day = if change.closes.secs() - change.opens.secs() == 86_400 {
                    change.opens.secs()
                } else {
                    day
                };
                folded
                    .sessions
                    .insert((change.symbol, day), (change.opens.secs(), change.closes.secs()));
            }
            Event::Session(_) | Event::BarEnd(_) | Event::Seam(_) | Event::Certificate(_) | Event::Journal(_) => {}
        }
    }
    for (seen, count) in times {
        let delivered = told.delivered.get(&seen).copied().unwrap_or(0);
        if count > delivered {
            wrong.push(format!(
                "a price was delivered {delivered} times and counted {count} times: {seen:?}"
            ));
        }
    }
    for ticks in folded.ticks.values_mut() {
        ticks.sort_by_key(|(at, position, ..)| (*at, *position));
    }
    folded.see(reach);
    folded.revisions(&mut wrong);
    folded.contents(&mut wrong);
    folded.gap_words(&mut wrong);
    if settled {
        folded.every_slot(&mut wrong);
    }
    wrong
}

impl Folded<'_> {
    fn pair(&self, symbol: Symbol) -> usize {
        self.plan
            .pairs
            .iter()
            .position(|pair| pair.symbol == symbol)
            .expect("a pair of the plan")
    }

    /// What this log has of what a long run must have.
    fn see(&self, reach: &mut Reach) {
        for ((_, interval, _), bars) in &self.bars {
            let base = *interval == Interval::M5;
            let own = |bar: &Bar| bar.provenance != Provenance::Backfill;
            for (i, bar) in bars.iter().enumerate() {
                match (base, i, own(bar)) {
                    (true, 0, false) => reach.see("the vendor's bar fills a slot without a bar"),
                    (true, 1.., false) if own(&bars[0]) => reach.see("the vendor's bar takes the place of one of ours"),
                    (true, 1.., true) => reach.see("a late tick revises a bar that was told"),
                    (false, 1.., _) => reach.see("a longer bar is revised"),
                    _ => {}
                }
            }
        }
        for words in self.gaps.values() {
            let last = &words[words.len() - 1];
            match last.status {
                GapStatus::Filled => reach.see("a gap is filled"),
                GapStatus::Unfillable => reach.see("a gap is unfillable"),
                _ => {}
            }
            if last.to.secs() - last.from.secs() > seconds(last.interval).unwrap_or(i64::MAX) {
                reach.see("a gap has more than one slot");
            }
            if words.iter().any(|gap| gap.cause == "no_ticks") {
                reach.see("a gap that no tick has explained");
            }
        }
        let polled = |ticks: &Vec<(i64, u64, i64, Provenance)>| ticks.iter().any(|tick| tick.3 == Provenance::Polled);
        if self.ticks.values().any(polled) {
            reach.see("a price is polled");
        }
    }

    /// B2: revisions rise by one and the first is `closed`.
    fn revisions(&self, wrong: &mut Vec<String>) {
        for (key, bars) in &self.bars {
            for (bar, revision) in bars.iter().zip(0_u32..) {
                let state = if revision == 0 {
                    BarState::Closed
                } else {
                    BarState::Revised
                };
                if bar.revision != revision || bar.state != state {
                    wrong.push(format!(
                        "B2: {key:?} has {:?} {} where revision {revision} is next",
                        bar.state, bar.revision
                    ));
                }
            }
        }
    }

    /// Bars are what the accepted prices, or the vendor's record, make of their slots.
    fn contents(&self, wrong: &mut Vec<String>) {
        for ((symbol, interval, opens), bars) in &self.bars {
            let (pair, last) = (self.pair(*symbol), bars[bars.len() - 1]);
            let closes = last.closes_at.secs();
            let base = matches!(interval, Interval::M5 | Interval::M1);
            let from_vendor = |bar: &&Bar| bar.provenance == Provenance::Backfill;
            if base {
                self.own_revisions(pair, bars, wrong);
            }
            let any_backfill = bars.iter().any(|bar| from_vendor(&bar));
            let expect = if !base {
                self.composed(*symbol, *opens, closes)
            } else if last.provenance == Provenance::Backfill {
                self.vendor.bar(pair, *opens, closes) // of a slot that is cut, only what lies in the session
            } else if any_backfill {
                continue; // it goes on from the vendor's bar, where its slot grew
            } else {
                let made = self.of_ticks(pair, *symbol, (*opens * S, closes * S), u64::MAX);
                made.map(|(prices, _)| prices)
            };
            let Some(expect) = expect else {
                if base {
                    wrong.push(format!("a bar of nothing: {last:?}"));
                }
                continue;
            };
            let differs = if from_vendor(&&last) || !base {
                far(expect, prices(&last))
            } else {
                expect != prices(&last)
            };
            if differs {
                wrong.push(format!(
                    "bar {symbol} {interval} of {opens} is {:?}, the model has {expect:?}: {last:?}",
                    prices(&last)
                ));
            }
            let flagged = last.flags.contains(Flags::VENDOR_MISMATCH);
            let policy = self.plan.pairs[pair].on_mismatch;
            if flagged
                && policy == OnMismatch::Flag
                && last.provenance == Provenance::Backfill
                && base
                && bars.len() < 2
            {
                wrong.push(format!("a bar of the vendor's differs from the vendor's: {last:?}"));
            }
        }
    }

    /// Each revision that is our own is what the prices told before it make of its slot, until the vendor's bar takes its place.
    fn own_revisions(&self, pair: usize, bars: &[Bar], wrong: &mut Vec<String>) {
        for bar in bars.iter().take_while(|bar| bar.provenance != Provenance::Backfill) {
            let key = bar.key;
            let span = (key.opens_at.micros(), bar.closes_at.micros());
            let place = (key.symbol, key.interval, key.opens_at.secs(), bar.revision);
            let told_before = self.places.get(&place).copied().unwrap_or(u64::MAX);
            let made = self.of_ticks(pair, key.symbol, span, told_before);
            let counted = usize::try_from(bar.ticks).unwrap_or(usize::MAX);
            if made != Some((prices(bar), counted)) {
                wrong.push(format!(
                    "a revision is not what was told before it: {made:?} for {bar:?}"
                ));
            }
        }
    }

    /// The bar of the accepted prices of a stretch, and how many there are.
    fn of_ticks(
        &self,
        pair: usize,
        symbol: Symbol,
        (from, to): (i64, i64),
        told_before: u64,
    ) -> Option<(Prices, usize)> {
        let closes = self.plan.pairs[pair].boundary == Boundary::Closes;
        let place = |at: i64| {
            if closes && at.div_euclid(S).rem_euclid(60) == 0 {
                at - 1
            } else {
                at
            }
        };
        let ticks = self.ticks.get(&symbol)?;
        let begin = ticks.partition_point(|(at, ..)| *at < from - S);
        let within = ticks[begin..].iter().take_while(|(at, ..)| *at <= to + S);
        let inside =
            within.filter(|(at, position, ..)| from <= place(*at) && place(*at) < to && *position < told_before);
        let prices: Vec<i64> = inside.map(|(_, _, price, _)| *price).collect();
        Some((fold(prices.iter().copied())?, prices.len()))
    }

    /// What the last revisions of the five-minute bars make of a longer stretch.
    fn composed(&self, symbol: Symbol, from: i64, to: i64) -> Option<Prices> {
        let parts = self
            .bars
            .range((symbol, Interval::M5, from)..(symbol, Interval::M5, to));
        let mut all: Option<Prices> = None;
        for (_, bars) in parts {
            let part = prices(&bars[bars.len() - 1]);
            all = Some(all.map_or(part, |so_far| {
                [so_far[0], so_far[1].max(part[1]), so_far[2].min(part[2]), part[3]]
            }));
        }
        all
    }

    /// `filled` only where a bar came; `unfillable` only where the vendor has none. A gap's status goes one way, unless the clock that
    /// decided was set back.
    fn gap_words(&self, wrong: &mut Vec<String>) {
        for ((symbol, id), words) in &self.gaps {
            let (pair, last) = (self.pair(*symbol), &words[words.len() - 1]);
            let length = seconds(last.interval).unwrap_or(300);
            let settled = words.iter().position(|gap| !gap.status.pending());
            let again = settled.is_some_and(|at| at + 1 < words.len());
            if again && !self.told.clock_moved {
                wrong.push(format!("gap {symbol} g-{id} was settled and told again: {words:?}"));
            }
            let mut at = last.from.secs();
            while at < last.to.secs() {
                let bar = self
                    .bars
                    .get(&(*symbol, last.interval, at))
                    .map(|bars| bars[bars.len() - 1]);
                let flawed = |bar: &Bar| bar.flags.contains(Flags::FEED_GAP) || bar.flags.contains(Flags::LATE_START);
                // A slot that was open again since, by a clock that was set back, has a later gap, which speaks of it.
                let mut later = self.gaps.range((*symbol, *id + 1)..=(*symbol, u64::MAX));
                let spoken_of = self.told.clock_moved
                    && later.any(|(_, words)| {
                        let gap = &words[words.len() - 1];
                        gap.interval == last.interval && gap.from.secs() <= at && at < gap.to.secs()
                    });
                match last.status {
                    GapStatus::Filled if bar.is_none_or(|bar| flawed(&bar)) && !spoken_of => {
                        wrong.push(format!("B3: {symbol} g-{id} is filled, and {at} has {bar:?}: {last:?}"));
                    }
                    GapStatus::Unfillable if !self.told.clock_moved => {
                        let vendor = self.vendor.bar(pair, at, (at + length).min(last.to.secs()));
                        let lied = self.told.lies.iter().any(|(from, to)| *from < *to);
                        if vendor.is_some() && !lied {
                            wrong.push(format!(
                                "B3: {symbol} g-{id} is unfillable, and the vendor has {vendor:?} for {at}: {last:?}"
                            ));
                        }
                    }
                    _ => {}
                }
                at += length;
            }
        }
    }

    /// Whether a slot is in a gap that stays open because no key may be used before the next day.
    fn waits(&self, symbol: Symbol, at: i64) -> bool {
        let day = self.plan.ends.div_euclid(crate::plan::DAY);
        let last = self.gaps.values().filter_map(|words| words.last());
        let mut pending = last.filter(|gap| gap.symbol == symbol && gap.status.pending());
        self.vendor.all_spent(self.plan.keys, day) && pending.any(|gap| gap.from.secs() <= at && at < gap.to.secs())
    }

    /// B3: for each expected slot of a finished session there is one current bar or one `unfillable` record.
    fn every_slot(&self, wrong: &mut Vec<String>) {
        let unfillable: BTreeSet<(Symbol, i64)> = self
            .gaps
            .values()
            .filter_map(|words| words.last())
            .filter(|gap| gap.interval == Interval::M5 && gap.status == GapStatus::Unfillable)
            .flat_map(|gap| {
                let slots = (gap.from.secs()..gap.to.secs()).step_by(300);
                slots.map(|at| (gap.symbol, at)).collect::<Vec<_>>()
            })
            .collect();
        for (pair, i) in self.plan.pairs.iter().zip(0..) {
            for day in &self.plan.dates {
                if self.told.unrecorded.contains(&(i, *day)) {
                    continue;
                }
                let expected = self
                    .told
                    .corrected
                    .get(&(i, *day))
                    .copied()
                    .or_else(|| pair.session(*day));
                let Some((opens, closes)) =
                    expected.filter(|(opens, closes)| self.plan.begins <= *opens && *closes < self.plan.calm)
                else {
                    continue;
                };
                let opened = self
                    .sessions
                    .iter()
                    .any(|((symbol, _), (from, _))| *symbol == pair.symbol && *from == opens);
                if !opened {
                    wrong.push(format!(
                        "the session of {} that opens at {opens} was not told",
                        pair.symbol
                    ));
                    continue;
                }
                let mut at = opens;
                while at < closes {
                    let bar = self.bars.contains_key(&(pair.symbol, Interval::M5, at));
                    if !bar && !unfillable.contains(&(pair.symbol, at)) && !self.waits(pair.symbol, at) {
                        let gaps: Vec<_> = self
                            .gaps
                            .values()
                            .flatten()
                            .filter(|gap| gap.symbol == pair.symbol && gap.from.secs() <= at && at < gap.to.secs())
                            .collect();
                        wrong.push(format!(
                            "B3: {} has neither a bar nor an unfillable record for {at}: {gaps:?}",
                            pair.symbol
                        ));
                    }
                    at += 300;
                }
            }
        }
        for (symbol, _) in self.sessions.keys() {
            let pair = self.pair(*symbol);
            for ((_, _), (opens, _)) in self.sessions.iter().filter(|((of, _), _)| of == symbol) {
                let known = self.plan.dates[0] - 1..=self.plan.dates[self.plan.dates.len() - 1] + 1;
                let mut expected = known.filter_map(|day| self.plan.pairs[pair].session(day));
                if !expected.any(|(at, _)| at == *opens) && !self.told.corrected.values().any(|(at, _)| at == opens) {
                    wrong.push(format!(
                        "a session of {symbol} was told that does not exist: it opens at {opens}"
                    ));
                }
            }
        }
    }
}

/// Whether prices differ by more than the noise below which the vendor's are taken as equal.
fn far(one: Prices, other: Prices) -> bool {
    one.iter()
        .zip(other)
        .any(|(one, other)| one.abs_diff(other) > 10.max(one.unsigned_abs() / 4_000_000))
}

/// The gaps that the ledger tells as open.
pub(crate) fn pending(disk: &Disk) -> BTreeMap<(Symbol, u64), (i64, i64)> {
    let mut pending = BTreeMap::new();
    for numbered in disk.events() {
        if let Event::Gap(gap) = &numbered.event {
            pending.remove(&(gap.symbol, gap.id));
            if gap.status.pending() && gap.cause != "no_ticks" {
                pending.insert((gap.symbol, gap.id), (gap.from.secs(), gap.to.secs()));
            }
        }
    }
    pending
}
