//! Rebuilds the pipeline from the ledger: the same at a cold start, a restart of the process, and a restart of the actor.

use crate::domain::model::{
    AcceptedTick, Channel, Decoded, Event, Gap, Head, Inbound, Input, InputKind, JournalEntry, KnownSessions,
    LastClose, Position, Sequenced, Session, SessionPhase, SlotGrid, Timestamp,
};
use crate::domain::pipeline::{PairRules, Pipeline, ToldDays};
use crate::domain::vendor::wire;
use crate::ledger::{Inputs, LedgerError, LedgerReader};
use crate::limits;
use chrono::NaiveDate;
use std::collections::{BTreeMap, BTreeSet};

/// The record that a pipeline is rebuilt from: the ledger, or, in simulation, a disk that crashes.
pub trait Record: Clone {
    /// Why a read failed.
    type Error;
    /// The inputs of one session, in order.
    type Inputs: Iterator<Item = Result<Input, Self::Error>>;

    /// The session dates that are kept, each with the position of its first event, earliest first.
    fn dates(&self) -> Vec<(NaiveDate, Position)>;

    /// Where each channel ended before the session of `date`.
    ///
    /// # Errors
    /// When the record cannot be read.
    fn heads_before(&self, date: NaiveDate) -> Result<BTreeMap<Channel, Head>, Self::Error>;

    /// The inputs of the session of `date`, in order.
    ///
    /// # Errors
    /// When the record cannot be read.
    fn inputs(&self, date: NaiveDate) -> Result<Self::Inputs, Self::Error>;

    /// The last written position.
    fn head(&self) -> Position;

    /// Where each channel ends.
    fn heads(&self) -> BTreeMap<Channel, Head>;

    /// The lowest number of a channel that is kept, if any.
    ///
    /// # Errors
    /// When the record cannot be read.
    fn first_seq(&mut self, channel: Channel) -> Result<Option<u64>, Self::Error>;

    /// The events of a channel with numbers in `[from, to]`, in order, at most `limit` of them.
    ///
    /// # Errors
    /// When the record cannot be read.
    fn read_channel(
        &mut self,
        channel: Channel,
        from: u64,
        to: u64,
        limit: usize,
    ) -> Result<Vec<Sequenced>, Self::Error>;
}

impl Record for LedgerReader {
    type Error = LedgerError;
    type Inputs = Inputs;

    fn dates(&self) -> Vec<(NaiveDate, Position)> {
        Self::session_dates(self)
    }

    fn heads_before(&self, date: NaiveDate) -> Result<BTreeMap<Channel, Head>, LedgerError> {
        Self::heads_before(self, date)
    }

    fn inputs(&self, date: NaiveDate) -> Result<Inputs, LedgerError> {
        Self::inputs_of(self, date)
    }

    fn head(&self) -> Position {
        Self::head(self)
    }

    fn heads(&self) -> BTreeMap<Channel, Head> {
        Self::heads(self)
    }

    fn first_seq(&mut self, channel: Channel) -> Result<Option<u64>, LedgerError> {
        Self::first_seq(self, channel)
    }

    fn read_channel(
        &mut self,
        channel: Channel,
        from: u64,
        to: u64,
        limit: usize,
    ) -> Result<Vec<Sequenced>, LedgerError> {
        Self::read_channel(self, channel, from, to, limit)
    }
}

/// The pipeline in the state that the ledger records. `now` matters only for a ledger without inputs.
///
/// # Errors
/// When the ledger cannot be read.
pub fn rebuild<R: Record>(ledger: &R, markets: &[PairRules], now: Timestamp) -> Result<Pipeline, R::Error> {
    let mut reader = ledger.clone();
    let dates = reader.dates();
    let Some(last) = dates.last().copied() else {
        return Ok(Pipeline::new(markets, Position(0), [], now));
    };
    let earlier = dates.iter().rev().nth(1).copied();
    let mut pipeline = at_file(&mut reader, markets, (earlier, last), now)?;
    replay_date(&mut pipeline, &reader, last.0, drop)?;
    if differs(&pipeline, &reader) {
        // An earlier version or other settings decided this session: the published numbers are kept.
        tracing::warn!(
            rebuilt = pipeline.head().0,
            written = reader.head().0,
            "the replay of the session differs from the ledger: the written numbers are kept"
        );
        pipeline.align_numbers(
            reader.head(),
            reader.heads().into_iter().map(|(channel, head)| (channel, head.seq)),
        );
        for market in markets {
            let (bars, last_gap) = told(&mut reader, market)?;
            pipeline.restore_told(market.symbol, &bars, last_gap);
        }
    }
    Ok(pipeline)
}

/// Whether a replay came to other numbers than are written: as many events may be others.
fn differs<R: Record>(pipeline: &Pipeline, reader: &R) -> bool {
    let written = reader.heads();
    let mut decided = pipeline.heads().iter();
    pipeline.head() != reader.head()
        || decided.any(|(channel, seq)| written.get(channel).is_some_and(|head| head.seq != *seq))
}

/// Decides again on the recorded inputs of the session of `date`, and passes the outcome to `show`, in order. It equals what the ledger has
/// of that date, as long as settings and program are the same.
///
/// # Errors
/// When the ledger cannot be read.
pub fn replay_session<R: Record>(
    ledger: &R,
    markets: &[PairRules],
    date: NaiveDate,
    show: impl FnMut(JournalEntry),
) -> Result<(), R::Error> {
    let mut reader = ledger.clone();
    let dates = reader.dates();
    let Some(at) = dates.iter().position(|(known, _)| *known == date) else {
        return Ok(());
    };
    let Some(file) = dates.get(at).copied() else {
        return Ok(());
    };
    let earlier = at.checked_sub(1).and_then(|before| dates.get(before)).copied();
    let mut pipeline = at_file(&mut reader, markets, (earlier, file), Timestamp::from_micros(0))?;
    replay_date(&mut pipeline, &reader, date, show)
}

/// A pipeline as it was before the first input of a file; the file before it may hold the beginning of a session that goes on.
fn at_file<R: Record>(
    reader: &mut R,
    markets: &[PairRules],
    (earlier, file): (Option<(NaiveDate, Position)>, (NaiveDate, Position)),
    now: Timestamp,
) -> Result<Pipeline, R::Error> {
    let opened_in = match earlier {
        Some(earlier) if any_runs_on(reader, markets, file.0)? => Some(earlier),
        _ => None,
    };
    let mut pipeline = begin(reader, markets, opened_in.unwrap_or(file), now)?;
    if let Some((date, _)) = opened_in {
        replay_date(&mut pipeline, reader, date, drop)?;
        enter_file(&mut pipeline, reader, markets, file)?;
    }
    Ok(pipeline)
}

/// Whether a session goes on when the file of `date` begins: its bars, gaps and outages are known from the file before.
fn any_runs_on<R: Record>(reader: &mut R, markets: &[PairRules], date: NaiveDate) -> Result<bool, R::Error> {
    let heads = reader.heads_before(date)?;
    for market in markets {
        let channel = Channel::session(market.symbol);
        let seq = heads.get(&channel).map_or(0, |head| head.seq);
        let last = reader.read_channel(channel, seq.max(1), seq, 1)?;
        let runs = last.iter().any(|numbered| {
            matches!(&numbered.event, Event::Session(change)
                if matches!(change.phase, SessionPhase::Open | SessionPhase::ClosingSoon))
        });
        if runs {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The last number of each channel before the file of `date`.
fn numbers_before<R: Record>(reader: &R, date: NaiveDate) -> Result<Vec<(Channel, u64)>, R::Error> {
    let heads = reader.heads_before(date)?.into_iter();
    Ok(heads.map(|(channel, head)| (channel, head.seq)).collect())
}

/// A pipeline as it was before the first input of a file.
fn begin<R: Record>(
    reader: &mut R,
    markets: &[PairRules],
    file: (NaiveDate, Position),
    now: Timestamp,
) -> Result<Pipeline, R::Error> {
    let (date, first) = file;
    let before = Position(first.0.saturating_sub(1));
    let heads = numbers_before(reader, date)?;
    let begun_at = match reader.inputs(date)?.next() {
        Some(Ok(heard)) => heard.at,
        _ => now,
    };
    let mut pipeline = Pipeline::new(markets, before, heads.iter().copied(), begun_at);
    for known in calendars::<R>(reader.inputs(date)?, markets)? {
        pipeline.restore_calendar(&known);
    }
    restore_gaps(&mut pipeline, reader, markets, first)?;
    for close in closes_before(reader, markets, &heads)? {
        pipeline.restore_close(close);
    }
    Ok(pipeline)
}

/// The file before this one was replayed. If that file began in the middle of another session, the replay may differ from what was
/// published until that session was over: the published numbers and gaps are used.
fn enter_file<R: Record>(
    pipeline: &mut Pipeline,
    reader: &mut R,
    markets: &[PairRules],
    file: (NaiveDate, Position),
) -> Result<(), R::Error> {
    let (date, first) = file;
    let before = Position(first.0.saturating_sub(1));
    if pipeline.head() == before {
        return Ok(());
    }
    pipeline.align_numbers(before, numbers_before(reader, date)?);
    pipeline.forget_gaps();
    restore_gaps(pipeline, reader, markets, first)?;
    Ok(())
}

/// Replays the inputs of a date, and passes the outcome to `show`.
fn replay_date<R: Record>(
    pipeline: &mut Pipeline,
    reader: &R,
    date: NaiveDate,
    mut show: impl FnMut(JournalEntry),
) -> Result<(), R::Error> {
    let mut again = Vec::new();
    for heard in reader.inputs(date)? {
        let heard = heard?;
        let says = wire::says(&heard).unwrap_or(Decoded::Nothing);
        pipeline.replay(Inbound { heard, says }, &mut again);
        again.drain(..).for_each(&mut show);
    }
    Ok(())
}

/// What was known of each pair's calendar when a day's file began: the file's opening entries repeat it. Older files have no such input.
fn calendars<R: Record>(inputs: R::Inputs, markets: &[PairRules]) -> Result<Vec<KnownSessions>, R::Error> {
    let mut found: Vec<KnownSessions> = Vec::new();
    for heard in inputs.take(limits::LEDGER_READ_MAX) {
        if let InputKind::Calendar(known) = heard?.what
            && known.carried
            && !found.iter().any(|other| other.symbol == known.symbol)
        {
            found.push(known);
        }
        if found.len() == markets.len() {
            break;
        }
    }
    Ok(found)
}

/// Restores the last state of each gap of earlier files, with what was told of the days of pending ones.
fn restore_gaps<R: Record>(
    pipeline: &mut Pipeline,
    reader: &mut R,
    markets: &[PairRules],
    first: Position,
) -> Result<(), R::Error> {
    for market in markets {
        let mut gaps: BTreeMap<u64, Gap> = BTreeMap::new();
        each(reader, Channel::quality(market.symbol), first, |event| {
            if let Event::Gap(gap) = event {
                gaps.insert(gap.id, gap.clone());
            }
        })?;
        let pending: Vec<&Gap> = gaps.values().filter(|gap| gap.status.pending()).collect();
        let told = told_of_days(reader, market, &pending, first)?;
        for gap in gaps.into_values() {
            pipeline.restore_gap(gap, &told);
        }
    }
    Ok(())
}

/// What was told before `first` of the days in which these gaps lie.
fn told_of_days<R: Record>(
    reader: &mut R,
    market: &PairRules,
    pending: &[&Gap],
    first: Position,
) -> Result<ToldDays, R::Error> {
    let mut told = ToldDays::default();
    if pending.is_empty() {
        return Ok(told);
    }
    let mut sessions: BTreeMap<NaiveDate, Session> = BTreeMap::new();
    each(reader, Channel::session(market.symbol), first, |event| {
        if let Event::Session(change) = event
            && change.phase != SessionPhase::OpeningSoon
        {
            sessions.insert(change.date, change.session());
        }
    })?;
    let mut dates = BTreeSet::new();
    for gap in pending {
        let touches = |session: &&Session| session.opens < gap.to && gap.from < session.closes;
        dates.extend(sessions.values().filter(touches).map(|session| session.date));
        let slots = SlotGrid::of_interval(gap.interval).touching(&*market.sessions, gap.from, gap.to);
        dates.extend(slots.take(limits::HOLES_RESTORED).map(|expected| expected.session.date));
    }
    let mut bars = BTreeMap::new();
    for interval in &market.intervals {
        each(reader, Channel::bars(*interval, market.symbol), first, |event| {
            if let Event::Bar(bar) = event
                && dates.contains(&bar.session_date)
            {
                bars.insert(bar.key, *bar);
            }
        })?;
    }
    sessions.retain(|date, _| dates.contains(date));
    told.sessions = sessions.into_values().collect();
    told.bars = bars.into_values().collect();
    Ok(told)
}

/// What was published of a pair: the last revision of each bar, earliest first, and the last gap id.
fn told<R: Record>(reader: &mut R, market: &PairRules) -> Result<(Vec<crate::domain::model::Bar>, u64), R::Error> {
    let mut bars = BTreeMap::new();
    let mut last_gap = 0;
    let channels = market
        .intervals
        .iter()
        .map(|interval| Channel::bars(*interval, market.symbol));
    for channel in channels.chain([Channel::quality(market.symbol)]) {
        each(reader, channel, Position(u64::MAX), |event| match event {
            Event::Bar(bar) => drop(bars.insert(bar.key, *bar)),
            Event::Gap(gap) => last_gap = last_gap.max(gap.id),
            _ => {}
        })?;
    }
    Ok((bars.into_values().collect(), last_gap))
}

/// The last good price of each pair before this file: its last accepted tick, as far back as the ledger is kept.
fn closes_before<R: Record>(
    reader: &mut R,
    markets: &[PairRules],
    heads: &[(Channel, u64)],
) -> Result<Vec<LastClose>, R::Error> {
    let mut found = Vec::new();
    for market in markets {
        let channel = Channel::ticks(market.symbol);
        let head = heads
            .iter()
            .find(|(known, _)| *known == channel)
            .map_or(0, |(_, seq)| *seq);
        let kept = reader
            .first_seq(channel)?
            .is_some_and(|first| first <= head && head > 0);
        if !kept {
            continue;
        }
        let page = reader.read_channel(channel, head, head, 1)?;
        found.extend(page.iter().filter_map(|numbered| match &numbered.event {
            Event::Tick(AcceptedTick { tick, .. }) => Some(LastClose::firm(market.symbol, tick.price, tick.at)),
            _ => None,
        }));
    }
    Ok(found)
}

/// Calls `see` with every event of a channel before `first`, in order.
fn each<R: Record>(
    reader: &mut R,
    channel: Channel,
    first: Position,
    mut see: impl FnMut(&Event),
) -> Result<(), R::Error> {
    let Some(mut from) = reader.first_seq(channel)? else {
        return Ok(());
    };
    loop {
        let page = reader.read_channel(channel, from, u64::MAX, limits::LEDGER_READ_MAX)?;
        for numbered in page.iter().filter(|numbered| numbered.position < first) {
            see(&numbered.event);
        }
        match page.last() {
            Some(last) if last.position < first => from = last.seq.saturating_add(1),
            _ => return Ok(()),
        }
    }
}
