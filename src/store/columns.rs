//! Bars column by column, as a columnar file takes them: a row of the database goes into arrays of numbers and runs of equal values, and no
//! value is made that the file does not hold.

use crate::domain::model::{BarState, Flags, Interval, Price, Provenance, SessionKind, Timestamp};
use crate::store::{
    answer::Damage,
    choice::rank,
    query::StoredBar,
    rows::{BASE, bogota_date},
    sql::Dialect,
};
use chrono::NaiveDate;
use std::ops::Range;
use std::time::Duration;

/// A column in which many consecutive values are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs<T>(Vec<(T, usize)>);

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + PartialEq> Runs<T> {
    fn push(&mut self, value: T) {
        match self.0.last_mut() {
            Some((last, count)) if *last == value => *count = count.saturating_add(1),
            _ => self.0.push((value, 1)),
        }
    }

    /// The values of the given rows, each with the length of its run.
    pub fn within(&self, rows: Range<usize>) -> impl Iterator<Item = (T, usize)> {
        let mut end = 0_usize;
        self.0.iter().filter_map(move |(value, count)| {
            let begin = end.max(rows.start);
            end = end.saturating_add(*count);
            let count = end.min(rows.end).saturating_sub(begin);
            (count > 0).then_some((*value, count))
        })
    }
}

/// Bars of one pair and interval, in order, with the columns of a file.
#[derive(Debug, Default)]
#[expect(
    missing_docs,
    reason = "each is the field of a bar of that name; prices are open, high, low, close"
)]
pub struct BarTable {
    pub opens_at: Vec<i64>,
    pub closes_at: Vec<i64>,
    pub prices: [Vec<i64>; 4],
    pub ticks: Vec<i64>,
    pub revision: Vec<i64>,
    pub state: Runs<BarState>,
    pub provenance: Runs<Provenance>,
    pub flags: Runs<Flags>,
    pub session_date: Runs<NaiveDate>,
    pub session_kind: Runs<SessionKind>,
    /// The index in `sources`.
    pub source: Runs<usize>,
    /// The name of each program, once.
    pub sources: Vec<String>,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
struct ColumnRow {
    opens_at: i64,
    closes_at: i64,
    prices: [i64; 4],
    ticks: i64,
    revision: i64,
    provenance: Provenance,
    flags: Flags,
    session_date: NaiveDate,
    session_kind: SessionKind,
    source: usize,
}

impl BarTable {
    /// The number of bars.
    pub const fn len(&self) -> usize {
        self.opens_at.len()
    }

    /// Whether there are no bars.
    pub const fn is_empty(&self) -> bool {
        self.opens_at.is_empty()
    }

    fn numbers(&mut self) -> impl Iterator<Item = &mut Vec<i64>> {
        let others = [
            &mut self.opens_at,
            &mut self.closes_at,
            &mut self.ticks,
            &mut self.revision,
        ];
        others.into_iter().chain(&mut self.prices)
    }

    /// Allocates memory for so many bars, in the thread that writes them: each thread keeps memory of its own, and the threads that
    /// read SQLite are many.
    pub fn reserve(&mut self, bars: usize) {
        for column in self.numbers() {
            column.reserve_exact(bars.saturating_sub(column.len()));
        }
    }

    /// Removes all bars and keeps the memory.
    pub fn clear(&mut self) {
        for column in self.numbers() {
            column.clear();
        }
        self.state.0.clear();
        self.provenance.0.clear();
        self.flags.0.clear();
        self.session_date.0.clear();
        self.session_kind.0.clear();
        self.source.0.clear();
        self.sources.clear();
    }

    /// Adds a bar.
    pub fn push(&mut self, stored: &StoredBar) {
        let bar = &stored.bar;
        let row = ColumnRow {
            opens_at: bar.key.opens_at.micros(),
            closes_at: bar.closes_at.micros(),
            prices: [bar.ohlc.open, bar.ohlc.high, bar.ohlc.low, bar.ohlc.close].map(Price::micros),
            ticks: i64::from(bar.ticks),
            revision: i64::from(bar.revision),
            provenance: bar.provenance,
            flags: bar.flags,
            session_date: bar.session_date,
            session_kind: bar.session_kind,
            source: self.source_index(&stored.source),
        };
        self.push_row(&row, bar.state);
    }

    fn push_row(&mut self, row: &ColumnRow, state: BarState) {
        self.opens_at.push(row.opens_at);
        self.closes_at.push(row.closes_at);
        for (column, price) in self.prices.iter_mut().zip(row.prices) {
            column.push(price);
        }
        self.ticks.push(row.ticks);
        self.revision.push(row.revision);
        self.state.push(state);
        self.provenance.push(row.provenance);
        self.flags.push(row.flags);
        self.session_date.push(row.session_date);
        self.session_kind.push(row.session_kind);
        self.source.push(row.source);
    }

    fn source_index(&mut self, source: &str) -> usize {
        // Searched from the end, because most rows are of the same program as the row before.
        if let Some(at) = self.sources.iter().rposition(|known| known == source) {
            return at;
        }
        self.sources.push(source.to_owned());
        self.sources.len().saturating_sub(1)
    }
}

impl FromIterator<StoredBar> for BarTable {
    fn from_iter<I: IntoIterator<Item = StoredBar>>(bars: I) -> Self {
        let mut columns = Self::default();
        bars.into_iter().for_each(|bar| columns.push(&bar));
        columns
    }
}

/// The last text of a column with its parsed value: most texts equal that of the row before.
#[derive(Debug)]
struct LastRead<T>(String, Option<T>);

impl<T: Copy> LastRead<T> {
    const fn new() -> Self {
        Self(String::new(), None)
    }

    fn parse(&mut self, text: &str, parse: impl FnOnce(&str) -> Result<T, Damage>) -> Result<T, Damage> {
        match self.1 {
            Some(value) if self.0 == text => Ok(value),
            _ => {
                let value = parse(text)?;
                text.clone_into(&mut self.0);
                self.1 = Some(value);
                Ok(value)
            }
        }
    }
}

/// The columns of a bar's row in the database; texts are borrowed from it.
#[derive(Debug, Default)]
pub(super) struct BarCells<'r> {
    pub(super) opens_at: i64,
    pub(super) closes_at: Option<i64>,
    pub(super) prices: [Option<i64>; 4],
    pub(super) ticks: i64,
    pub(super) revision: i64,
    pub(super) flags: i64,
    pub(super) source: &'r str,
    pub(super) provenance: Option<&'r str>,
    pub(super) session_kind: Option<&'r str>,
    pub(super) session_date: Option<DateCell<'r>>,
}

/// A date in the form of either store.
#[derive(Debug)]
pub(super) enum DateCell<'r> {
    Day(NaiveDate),
    Text(&'r str),
}

/// Takes the rows of each program, by slot and then by program, and keeps the best one of each slot.
#[derive(Debug)]
pub(super) struct ColumnReader {
    columns: BarTable,
    length: Duration,
    /// The best row of the last slot, which may have more rows.
    best: Option<ColumnRow>,
    /// Whether the rule needs more than the rows contain.
    undecided: bool,
    /// The number of rows taken.
    rows: u32,
    provenance: LastRead<Provenance>,
    session_date: LastRead<NaiveDate>,
}

impl ColumnReader {
    /// A reader that fills `columns`, whose content is dropped.
    pub(super) fn new(mut columns: BarTable, interval: Interval) -> Self {
        columns.clear();
        Self {
            columns,
            length: interval.length().unwrap_or(Duration::ZERO),
            best: None,
            undecided: false,
            rows: 0,
            provenance: LastRead::new(),
            session_date: LastRead::new(),
        }
    }

    /// Takes a row. A row of another program lacks columns that only candela fills: it counts as prepared, final and without ticks. A row
    /// without all prices is not a bar.
    pub(super) fn take(&mut self, cells: &BarCells<'_>) -> Result<(), Damage> {
        self.rows = self.rows.saturating_add(1);
        let [Some(open), Some(high), Some(low), Some(close)] = cells.prices else {
            return Ok(());
        };
        let opens_at = Timestamp::from_micros(cells.opens_at);
        let in_range = |number: i64| {
            u32::try_from(number)
                .map(i64::from)
                .map_err(|_| Damage::new(format!("{number} is out of range")))
        };
        let flags = u8::try_from(cells.flags).map_err(|_| Damage::new(format!("{} is out of range", cells.flags)))?;
        let next_day = cells.session_kind == Some(SessionKind::NextDay.name());
        let row = ColumnRow {
            opens_at: cells.opens_at,
            closes_at: cells.closes_at.unwrap_or_else(|| (opens_at + self.length).micros()),
            prices: [open, high, low, close],
            ticks: in_range(cells.ticks)?,
            revision: in_range(cells.revision)?,
            provenance: match cells.provenance {
                None => Provenance::L0,
                Some(name) => self.provenance.parse(name, |name| {
                    Provenance::named(name).ok_or_else(|| Damage::new(format!("{name:?} is not a provenance")))
                })?,
            },
            flags: Flags::from_bits(flags),
            session_date: match &cells.session_date {
                None => bogota_date(opens_at),
                Some(DateCell::Day(day)) => *day,
                Some(DateCell::Text(text)) => self.session_date.parse(text, |text| {
                    text.parse().map_err(|_| Damage::new(format!("{text:?} is not a date")))
                })?,
            },
            session_kind: if next_day {
                SessionKind::NextDay
            } else {
                SessionKind::Spot
            },
            source: self.columns.source_index(cells.source),
        };
        self.choose(row);
        Ok(())
    }

    fn choose(&mut self, row: ColumnRow) {
        let Some(best) = self.best.filter(|best| best.opens_at == row.opens_at) else {
            self.keep_best();
            self.best = Some(row);
            return;
        };
        let rank = |row: &ColumnRow| {
            rank(
                self.columns.sources.get(row.source).map_or("", String::as_str),
                row.flags,
            )
        };
        let before = rank(&best);
        let now = rank(&row);
        self.undecided |= before == now; // the one that was written last counts, which no column here tells
        if now < before {
            self.best = Some(row);
        }
    }

    fn keep_best(&mut self) {
        if let Some(best) = self.best.take() {
            let state = if best.revision == 0 {
                BarState::Closed
            } else {
                BarState::Revised
            };
            self.columns.push_row(&best, state);
        }
    }

    /// The page of at most `limit` rows. As in [`choice::choose`](super::choice::choose), the last slot of a full page begins the next
    /// page.
    pub(super) fn finish(mut self, limit: u32) -> ColumnPage {
        let full = self.rows >= limit;
        if full {
            self.best = None;
        }
        self.keep_best();
        ColumnPage {
            decided: !(self.undecided || full && self.columns.is_empty()),
            columns: self.columns,
            more: full,
        }
    }
}

/// A page of bars, column by column.
#[derive(Debug)]
pub(super) struct ColumnPage {
    pub(super) columns: BarTable,
    /// Whether the rows alone decide which of them are the bars.
    pub(super) decided: bool,
    /// Whether more may follow.
    pub(super) more: bool,
}

impl Dialect {
    /// The rows that each program has written, with the columns of [`BarCells`], by slot and then by program. Parameters: symbol, interval,
    /// from, to, limit.
    pub(super) fn rows_for_columns(self, interval: Interval) -> String {
        let table = if interval == BASE {
            "market_data"
        } else {
            "interval_bars"
        };
        let parameter = |n| self.parameter(n);
        format!(
            "SELECT datetime, closes_at, open, high, low, close, ticks, revision, flags, source, provenance, session_kind, session_date
             FROM {table} WHERE symbol = {} AND \"interval\" = {} AND datetime >= {} AND datetime < {} ORDER BY datetime, source LIMIT {}",
            parameter(1), parameter(2), parameter(3), parameter(4), parameter(5),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: i64 = 2; // Flags::FEED_GAP

    fn cells<'r>(slot: i64, source: &'r str, flags: i64) -> BarCells<'r> {
        BarCells {
            opens_at: slot * 300_000_000,
            prices: [Some(1); 4],
            flags,
            source,
            session_date: Some(DateCell::Text("2025-10-22")),
            ..BarCells::default()
        }
    }

    fn chosen(rows: &[(i64, &str, i64)], limit: u32) -> (Vec<(i64, String)>, bool, bool) {
        let mut reader = ColumnReader::new(BarTable::default(), Interval::M5);
        for (slot, source, flags) in rows {
            reader.take(&cells(*slot, source, *flags)).unwrap();
        }
        let page = reader.finish(limit);
        let columns = &page.columns;
        let sources = columns.source.within(0..columns.len());
        let sources = sources.flat_map(|(at, count)| vec![columns.sources[at].clone(); count]);
        let slots = columns.opens_at.iter().map(|at| at / 300_000_000);
        (slots.zip(sources).collect(), page.decided, page.more)
    }

    #[test]
    fn the_best_row_of_a_slot_is_kept_and_a_full_page_ends_before_its_last_slot() {
        let rows = [
            (1, "candela", 0),
            (1, "l0", 0),
            (2, "candela", GAP),
            (2, "l0", 0),
            (3, "candela", GAP),
            (3, "twelvedata_websocket_aggregated", 0),
        ];
        let best = [(1, "candela"), (2, "l0"), (3, "candela")].map(|(slot, source)| (slot, source.to_owned()));
        assert_eq!(chosen(&rows, 7), (best.to_vec(), true, false));
        assert_eq!(chosen(&rows, 6), (best[..2].to_vec(), true, true));
        assert!(!chosen(&rows[..1], 1).1, "a page of one slot alone");
        assert!(!chosen(&[(1, "a", 0), (1, "b", 0)], 9).1, "two other programs");
    }

    #[test]
    fn a_row_without_a_price_is_no_bar_and_one_with_a_strange_text_is_damage() {
        let mut reader = ColumnReader::new(BarTable::default(), Interval::M5);
        let mut row = cells(1, "l0", 0);
        row.prices[2] = None;
        reader.take(&row).unwrap();
        for strange in [
            BarCells {
                provenance: Some("hearsay"),
                ..cells(2, "l0", 0)
            },
            BarCells {
                session_date: Some(DateCell::Text("soon")),
                ..cells(2, "l0", 0)
            },
            BarCells {
                ticks: -1,
                ..cells(2, "l0", 0)
            },
        ] {
            assert!(reader.take(&strange).is_err(), "{strange:?}");
        }
        assert!(reader.finish(9).columns.is_empty());
    }

    #[test]
    fn runs_are_cut_where_rows_are() {
        let mut runs = Runs::default();
        ["a", "a", "b", "a", "a", "a"]
            .into_iter()
            .for_each(|text| runs.push(text));
        let within = |rows| runs.within(rows).collect::<Vec<_>>();
        assert_eq!(within(0..6), [("a", 2), ("b", 1), ("a", 3)]);
        assert_eq!(within(1..4), [("a", 1), ("b", 1), ("a", 1)]);
        assert_eq!(within(2..3), [("b", 1)]);
        assert_eq!(within(6..9), []);
    }
}
