//! Bars for readers of history. Bars of longer intervals are stored from the first one that candela made; those before it are composed of
//! the stored five-minute bars when they are requested, on the same slots and by the same rule as new ones.
//!
//! ```text
//! five-minute bars   ──────────────────────────────────────────►  the history of before, and candela's
//! longer bars        ┄┄┄┄┄┄┄┄┄┄┄ composed ┄┄┄┄┄┄┄┄│────── stored ──►
//!                                                 the first stored
//! ```

use crate::domain::model::{BarKey, Expected, Flags, Interval, Sessions, SlotGrid, Symbol, Timestamp};
use crate::domain::pipeline::Longer;
use crate::limits;
use crate::store::{BarQuery, BarTable, Store, StoreError, StoredBar};
use crate::web::shared::{EVER, Thread};
use std::sync::Arc;
use std::time::Duration;

/// The bars of one pair.
#[derive(Clone)]
pub(crate) struct BarHistory {
    pub(crate) store: Store,
    sessions: Option<Arc<dyn Sessions>>,
    now: Timestamp,
}

impl BarHistory {
    pub(crate) fn of(thread: &Thread, store: Store, symbol: Symbol) -> Self {
        Self {
            store,
            sessions: thread.calendar(symbol),
            now: thread.registry.clock().now(),
        }
    }

    /// The best bar of each slot, as [`Store::read_bars`] returns them.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub(crate) async fn read(&self, query: BarQuery) -> Result<Vec<StoredBar>, StoreError> {
        match self.composed_until(&query).await? {
            Some((first, sessions)) => self.read_composed(query, first, sessions.as_ref()).await,
            None => self.store.read_bars(query).await,
        }
    }

    /// The same, where bars that open before `first` are composed.
    async fn read_composed(
        &self,
        query: BarQuery,
        first: Timestamp,
        sessions: &dyn Sessions,
    ) -> Result<Vec<StoredBar>, StoreError> {
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let composer = Composer {
            query: &query,
            to: query.to.min(first),
            sessions,
            now: self.now,
        };
        if query.latest {
            let stored = self.store.read_bars(query.clone()).await?;
            let mut bars = composer.latest(&self.store, limit.saturating_sub(stored.len())).await?;
            bars.extend(stored);
            return Ok(bars);
        }
        let mut bars = composer.earliest(&self.store, limit).await?;
        let left = limit.saturating_sub(bars.len());
        if left > 0 && query.to > first {
            let stored = BarQuery {
                from: first,
                cursor: None,
                limit: u32::try_from(left).unwrap_or(query.limit),
                ..query
            };
            bars.extend(self.store.read_bars(stored).await?);
        }
        Ok(bars)
    }

    /// A page of the same bars, and whether more may follow, as [`Store::bars_in_turn`] returns them.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub(crate) async fn read_page(&self, query: BarQuery) -> Result<(Vec<StoredBar>, bool), StoreError> {
        let Some((first, sessions)) = self.composed_until(&query).await? else {
            return self.store.bars_in_turn(query).await;
        };
        let limit = query.limit;
        let bars = self.read_composed(query, first, sessions.as_ref()).await?;
        Ok(with_more(bars, limit))
    }

    /// A page of the same bars, column by column, into the memory of `into`.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub(crate) async fn read_columns(&self, query: BarQuery, into: BarTable) -> Result<(BarTable, bool), StoreError> {
        let Some((first, sessions)) = self.composed_until(&query).await? else {
            return self.store.bar_columns_in_turn(query, into).await;
        };
        let limit = query.limit;
        let (bars, more) = with_more(self.read_composed(query, first, sessions.as_ref()).await?, limit);
        Ok((bars.into_iter().collect(), more))
    }

    /// The open of the first stored bar of the interval, if bars before it are requested and can be composed.
    async fn composed_until(&self, query: &BarQuery) -> Result<Option<(Timestamp, Arc<dyn Sessions>)>, StoreError> {
        let Some(sessions) = self.sessions.clone().filter(|_| query.interval > Interval::BASE) else {
            return Ok(None);
        };
        let first = BarQuery {
            as_of: query.as_of,
            ..BarQuery::between(query.symbol, query.interval, EVER.0, EVER.1, 1)
        };
        let first = self.store.read_bars(first).await?;
        let first = first.first().map_or(EVER.1, |first| first.bar.key.opens_at);
        let begin = query.from.max(query.cursor.unwrap_or(EVER.0));
        Ok((begin < first).then_some((first, sessions)))
    }
}

/// Composes the bars of a query that open before `to`.
struct Composer<'a> {
    query: &'a BarQuery,
    to: Timestamp,
    sessions: &'a dyn Sessions,
    now: Timestamp,
}

impl Composer<'_> {
    async fn earliest(&self, store: &Store, count: usize) -> Result<Vec<StoredBar>, StoreError> {
        let mut bars = Vec::new();
        let after = self.query.cursor.map(|cursor| cursor + Duration::from_micros(1));
        let mut from = after.map_or(self.query.from, |after| after.max(self.query.from));
        loop {
            let parts = self.parts(from, self.reach(), count);
            let parts = BarQuery { latest: false, ..parts };
            let (rows, full) = read_full(store, parts).await?;
            let mut next = rows.last().map(|row| row.bar.key.opens_at + Duration::from_micros(1));
            let mut slots = self.by_slot(rows);
            if full && let Some((cut, _)) = slots.pop() {
                next = Some(cut.slot.opens_at); // the rest of it is in the next page
            }
            let fitting = slots.into_iter().filter(|(expected, _)| expected.slot.opens_at >= from);
            bars.extend(fitting.filter_map(|(expected, parts)| self.compose(expected, &parts)));
            match next {
                Some(next) if full && bars.len() < count && next < self.to => from = next,
                _ => break,
            }
        }
        bars.truncate(count);
        Ok(bars)
    }

    /// The latest `count`, earliest first.
    async fn latest(&self, store: &Store, count: usize) -> Result<Vec<StoredBar>, StoreError> {
        let mut bars: Vec<StoredBar> = Vec::new();
        let mut to = self.reach();
        while bars.len() < count {
            let parts = self.parts(self.query.from, to, count);
            let (rows, full) = read_full(store, BarQuery { latest: true, ..parts }).await?;
            to = rows.first().map_or(to, |row| row.bar.key.opens_at);
            let mut slots = self.by_slot(rows);
            if full && !slots.is_empty() {
                let (cut, _) = slots.remove(0); // the beginning of it is in the next page
                to = cut.slot.closes_at;
            }
            let fitting = slots.into_iter();
            let fitting = fitting.filter(|(expected, _)| expected.slot.opens_at >= self.query.from);
            let mut page: Vec<_> = fitting
                .filter_map(|(expected, parts)| self.compose(expected, &parts))
                .collect();
            page.append(&mut bars);
            bars = page;
            if !full {
                break;
            }
        }
        let more = bars.len().saturating_sub(count);
        Ok(bars.split_off(more))
    }

    /// The end of the last slot that opens before `to`, as far as slots are over.
    fn reach(&self) -> Timestamp {
        let to = self.to.min(self.now);
        let within = self.sessions.at(to - Duration::from_micros(1));
        let slot = within.and_then(|session| {
            SlotGrid::of_interval(self.query.interval).slot_of(&session, to - Duration::from_micros(1))
        });
        slot.map_or(to, |slot| slot.closes_at)
    }

    /// The query for the parts of `count` bars, as far as a page goes.
    fn parts(&self, from: Timestamp, to: Timestamp, count: usize) -> BarQuery {
        let each = self.query.interval.vendor_length().as_secs() / Interval::BASE.vendor_length().as_secs();
        let rows = u64::try_from(count)
            .unwrap_or(u64::MAX)
            .saturating_add(2)
            .saturating_mul(each);
        BarQuery {
            as_of: self.query.as_of,
            ..BarQuery::between(
                self.query.symbol,
                Interval::BASE,
                from,
                to,
                u32::try_from(rows).unwrap_or(u32::MAX).min(limits::REST_PAGE_MAX),
            )
        }
    }

    /// The parts of each slot that opens before the end, earliest first. Parts outside of every session belong to no slot.
    fn by_slot(&self, rows: Vec<StoredBar>) -> Vec<(Expected, Vec<StoredBar>)> {
        let grid = SlotGrid::of_interval(self.query.interval);
        let mut slots: Vec<(Expected, Vec<StoredBar>)> = Vec::new();
        for row in rows {
            let at = row.bar.key.opens_at;
            if let Some((last, parts)) = slots.last_mut()
                && at < last.slot.closes_at
            {
                parts.push(row);
                continue;
            }
            let expected = self.sessions.at(at).and_then(|session| {
                let slot = grid.slot_of(&session, at)?;
                Some(Expected { slot, session })
            });
            if let Some(expected) = expected.filter(|expected| expected.slot.opens_at < self.to) {
                slots.push((expected, vec![row]));
            }
        }
        slots
    }

    /// The bar of a slot that is over.
    fn compose(&self, expected: Expected, parts: &[StoredBar]) -> Option<StoredBar> {
        let Expected { slot, session } = expected;
        let first = parts.first().filter(|_| slot.closes_at <= self.now)?;
        let longer = Longer {
            key: BarKey {
                interval: self.query.interval,
                opens_at: slot.opens_at,
                ..first.bar.key
            },
            slot,
            session,
            own: None,
            lost: false,
        };
        let mut bar = longer.compose_bar(parts.iter().map(|part| &part.bar))?;
        let wanted = SlotGrid::BASE.expected(self.sessions, slot.opens_at, slot.closes_at);
        let is_there = |opens_at| parts.iter().any(|part: &StoredBar| part.bar.key.opens_at == opens_at);
        if !wanted.iter().all(|part| is_there(part.slot.opens_at)) {
            bar.flags = bar.flags.with(Flags::FEED_GAP);
        }
        let one_source = parts.iter().all(|part| part.source == first.source);
        Some(StoredBar {
            bar,
            source: if one_source {
                first.source.clone()
            } else {
                "candela".to_owned()
            },
            seq: None,
            known_at: parts.iter().map(|part| part.known_at).max().flatten(),
        })
    }
}

/// The rows of a query, earliest first, and whether there may be more than its limit.
async fn read_full(store: &Store, query: BarQuery) -> Result<(Vec<StoredBar>, bool), StoreError> {
    let limit = query.limit;
    Ok(with_more(store.read_bars(query).await?, limit))
}

/// Bars, and whether they are as many as were requested, so that more may follow.
fn with_more(bars: Vec<StoredBar>, limit: u32) -> (Vec<StoredBar>, bool) {
    let more = u32::try_from(bars.len()).is_ok_and(|bars| bars >= limit);
    (bars, more)
}
