//! Rebuilds the pipeline from the ledger: the same way for a cold start, a restart of the process, and a restart of the actor.

use crate::domain::channel::Channel;
use crate::domain::event::Position;
use crate::domain::event::{Arrival, Event, Says};
use crate::domain::gap::Gap;
use crate::domain::judge::LastClose;
use crate::domain::pipeline::{Market, Pipeline};
use crate::domain::slot_grid::SlotGrid;
use crate::domain::tick::AcceptedTick;
use crate::domain::timestamp::Timestamp;
use crate::domain::wire;
use crate::ledger::{LedgerError, LedgerReader};
use crate::limits;
use std::collections::{BTreeMap, BTreeSet};

/// A pipeline that knows everything that is written down. `now` matters only for a ledger without inputs.
///
/// # Errors
/// What keeps the ledger from being read.
pub fn rebuild(ledger: &LedgerReader, markets: &[Market], now: Timestamp) -> Result<Pipeline, LedgerError> {
    let mut reader = ledger.clone();
    let Some((date, first)) = reader.dates().last().copied() else {
        return Ok(Pipeline::new(markets, Position(0), [], now));
    };
    let before = Position(first.0.saturating_sub(1));
    let heads = reader
        .heads_before(date)?
        .into_iter()
        .map(|(channel, head)| (channel, head.seq));
    let heads: Vec<_> = heads.collect();
    let mut inputs = reader.inputs(date)?.peekable();
    let begun_at = match inputs.peek() {
        Some(Ok(heard)) => heard.at,
        _ => now,
    };
    let mut pipeline = Pipeline::new(markets, before, heads.iter().copied(), begun_at);
    for (gap, bars) in gaps_before(&mut reader, markets, first)? {
        pipeline.restore_gap(gap, &bars);
    }
    for close in closes_before(&mut reader, markets, &heads)? {
        pipeline.restore_close(close);
    }
    let mut again = Vec::new();
    for heard in inputs {
        let heard = heard?;
        let says = wire::says(&heard).unwrap_or(Says::Nothing);
        pipeline.replay(Arrival { heard, says }, &mut again);
        again.clear();
    }
    if pipeline.head() != reader.head() {
        // Other rules than ours decided the day, or settings have changed: the numbers that were told are what counts.
        tracing::warn!(
            rebuilt = pipeline.head().0,
            written = reader.head().0,
            "the session does not replay to what is written"
        );
        pipeline.align(
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

/// The last word on each gap of the files before this one, with the bars of the sessions of those still pending.
fn gaps_before(
    reader: &mut LedgerReader,
    markets: &[Market],
    first: Position,
) -> Result<Vec<(Gap, Vec<crate::domain::bar::Bar>)>, LedgerError> {
    let mut found = Vec::new();
    for market in markets {
        let mut gaps: BTreeMap<u64, Gap> = BTreeMap::new();
        each(reader, Channel::quality(market.symbol), first, |event| {
            if let Event::Gap(gap) = event {
                gaps.insert(gap.id, gap.clone());
            }
        })?;
        let mut dates = BTreeSet::new();
        for gap in gaps.values().filter(|gap| gap.status.pending()) {
            let slots = SlotGrid::of(gap.interval).touching(&*market.sessions, gap.from, gap.to);
            dates.extend(slots.take(limits::HOLES_RESTORED).map(|expected| expected.session.date));
        }
        let mut bars = BTreeMap::new();
        for interval in market.intervals.iter().filter(|_| !dates.is_empty()) {
            each(reader, Channel::bars(*interval, market.symbol), first, |event| {
                if let Event::Bar(bar) = event
                    && dates.contains(&bar.session_date)
                {
                    bars.insert(bar.key, *bar);
                }
            })?;
        }
        let bars: Vec<_> = bars.into_values().collect();
        found.extend(gaps.into_values().map(|gap| (gap, bars.clone())));
    }
    Ok(found)
}

/// What was told of a pair: the last revisions of its bars, earliest first, and the last id of a gap.
fn told(reader: &mut LedgerReader, market: &Market) -> Result<(Vec<crate::domain::bar::Bar>, u64), LedgerError> {
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
fn closes_before(
    reader: &mut LedgerReader,
    markets: &[Market],
    heads: &[(Channel, u64)],
) -> Result<Vec<LastClose>, LedgerError> {
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
fn each(
    reader: &mut LedgerReader,
    channel: Channel,
    first: Position,
    mut see: impl FnMut(&Event),
) -> Result<(), LedgerError> {
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
