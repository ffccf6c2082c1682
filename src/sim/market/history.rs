//! A file of real five-minute bars: CSV, plain or gzipped; columns are found by their names in the header.
//!
//! *Architecture invariant*: nothing is guessed and no row is skipped. A row that is no bar is reported with its line.

use crate::domain::model::{Ohlc, Parsed, Price, Symbol};
use crate::limits;
use chrono::{DateTime, FixedOffset, NaiveDateTime, Timelike};
use csv::{ReaderBuilder, StringRecord};
use std::fmt;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

/// One bar of the file. Its time is not an instant yet: that needs a zone (`crate::sim::market::day`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Line of the file, the header being line 1.
    pub line: u64,
    /// The pair.
    pub symbol: Symbol,
    /// The wall time at which the bar opened.
    pub wall: NaiveDateTime,
    /// The offset that the file gives for it; UTC if it gives none.
    pub label: FixedOffset,
    /// The prices.
    pub ohlc: Ohlc,
    /// Whether a price had more than six decimals in the file.
    pub rounded: bool,
}

/// All bars of a file.
#[derive(Debug, Clone)]
pub struct History {
    pub(crate) path: PathBuf,
    pub(super) rows: Vec<Row>,
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// Line of the file.
    pub line: u64,
    /// What is wrong, with the column and its text.
    pub what: String,
}

/// Why a file of bars cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum HistoryError {
    #[error("history file {} cannot be read: {source}; give a readable .csv or .csv.gz file", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("history file {} holds more than {} MiB: give a file of five-minute bars, one pair, a few years", path.display(), limits::SIM_HISTORY_BYTES >> 20)]
    TooLarge { path: PathBuf },
    #[error("history file {} has no column {column}: its header names {found}; needed are time (or datetime), open, high, low, close", path.display())]
    NoColumn {
        path: PathBuf,
        column: &'static str,
        found: String,
    },
    #[error("history file {} has {total} malformed row{}: {}", path.display(), if *total == 1 { "" } else { "s" }, Faults(faults, *total))]
    Malformed {
        path: PathBuf,
        faults: Vec<RowFault>,
        total: usize,
    },
}

struct Faults<'a>(&'a [RowFault], usize);

impl fmt::Display for Faults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "; " };
            write!(f, "{comma}line {}: {}", fault.line, fault.what)?;
        }
        match self.1.saturating_sub(self.0.len()) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl History {
    /// Reads a file, gzipped or not.
    ///
    /// # Errors
    /// [`HistoryError`] when it cannot be read, lacks a column, or has rows that are no bars.
    pub fn read(path: &Path) -> Result<Self, HistoryError> {
        let limit = limits::SIM_HISTORY_BYTES.saturating_add(1);
        let text = read_unpacked(path, limit).map_err(|source| HistoryError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        if u64::try_from(text.len()).unwrap_or(u64::MAX) >= limit {
            return Err(HistoryError::TooLarge { path: path.to_owned() });
        }
        Self::parse(path, &text)
    }

    /// Reads the text of a file; `path` is only for its errors.
    ///
    /// # Errors
    /// [`HistoryError`] when a column is missing or a row is no bar.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, HistoryError> {
        let mut reader = ReaderBuilder::new().flexible(true).has_headers(false).from_reader(text);
        let mut records = reader.records();
        let header = records.next().and_then(Result::ok).unwrap_or_default();
        let columns = Columns::from_header(path, &header)?;
        let mut rows = Vec::new();
        let mut faults = Vec::new();
        let mut total = 0_usize;
        for (record, line) in records.zip(2_u64..) {
            let read = record
                .map_err(|error| (line, unreadable_row(&error)))
                .and_then(|record| {
                    let line = record.position().map_or(line, csv::Position::line);
                    columns.parse_row(&record, line).map_err(|what| (line, what))
                });
            match read {
                Ok(row) => rows.push(row),
                Err((line, what)) => {
                    total += 1;
                    if faults.len() < limits::SIM_FAULTS_SHOWN {
                        faults.push(RowFault { line, what });
                    }
                }
            }
        }
        let path = path.to_owned();
        if total > 0 {
            return Err(HistoryError::Malformed { path, faults, total });
        }
        Ok(Self { path, rows })
    }

    /// How many bars there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The number of bars with prices of more than six decimals, which were rounded.
    pub fn rounded_prices(&self) -> usize {
        self.rows.iter().filter(|row| row.rounded).count()
    }

    /// Whether there is no bar.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

fn unreadable_row(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8 text".to_owned(),
        _ => format!("is not CSV ({error})"),
    }
}

/// The indexes of the columns.
struct Columns {
    count: usize,
    time: usize,
    symbol: Option<usize>,
    prices: [usize; 4],
}

impl Columns {
    fn from_header(path: &Path, header: &StringRecord) -> Result<Self, HistoryError> {
        let names: Vec<String> = header
            .iter()
            .map(|name| name.trim().trim_start_matches('\u{feff}').to_ascii_lowercase())
            .collect();
        Self::from_names(&names).map_err(|column| HistoryError::NoColumn {
            path: path.to_owned(),
            column,
            found: if header.is_empty() {
                "nothing".to_owned()
            } else {
                names.join(", ")
            },
        })
    }

    /// The columns by name, or the name of the missing one.
    fn from_names(names: &[String]) -> Result<Self, &'static str> {
        Ok(Self {
            count: names.len(),
            time: find_column(names, &["time", "datetime", "timestamp"]).ok_or("time")?,
            symbol: find_column(names, &["symbol", "pair"]),
            prices: [
                find_column(names, &["open"]).ok_or("open")?,
                find_column(names, &["high"]).ok_or("high")?,
                find_column(names, &["low"]).ok_or("low")?,
                find_column(names, &["close"]).ok_or("close")?,
            ],
        })
    }

    fn parse_row(&self, record: &StringRecord, line: u64) -> Result<Row, String> {
        if record.len() != self.count {
            return Err(format!(
                "has {} fields where the header names {}",
                record.len(),
                self.count
            ));
        }
        let field = |index: usize| record.get(index).unwrap_or_default().trim();
        let symbol = match self.symbol {
            Some(index) => field(index).parse::<Symbol>().map_err(|error| error.to_string())?,
            None => Symbol::usdcop(),
        };
        let (wall, label) = read_time(field(self.time))?;
        let [open, high, low, close] = self.prices.map(|index| read_price(field(index)));
        let prices = [
            open.map_err(|what| format!("open {what}"))?,
            high.map_err(|what| format!("high {what}"))?,
            low.map_err(|what| format!("low {what}"))?,
            close.map_err(|what| format!("close {what}"))?,
        ];
        let rounded = prices.iter().any(|parsed| parsed.rounded);
        let [open, high, low, close] = prices.map(|parsed| parsed.price);
        let ohlc = Ohlc { open, high, low, close };
        if !ohlc.is_ordered() {
            let Ohlc { open, high, low, close } = ohlc;
            return Err(format!(
                "open {open} and close {close} do not lie between low {low} and high {high}"
            ));
        }
        Ok(Row {
            line,
            symbol,
            wall,
            label,
            ohlc,
            rounded,
        })
    }
}

fn read_price(text: &str) -> Result<Parsed, String> {
    let parsed = Price::parse(text).map_err(|error| error.to_string())?;
    if parsed.beyond_scale() {
        return Err(format!(
            "{text} has digits that six decimals cannot hold: its bars would be flat"
        ));
    }
    if parsed.price <= Price::default() {
        return Err(format!("{} is not above zero", parsed.price));
    }
    Ok(parsed)
}

/// The unpacked file, or its first `limit` bytes.
fn read_unpacked(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let packed = std::fs::read(path)?;
    if !packed.starts_with(&[0x1f, 0x8b]) {
        return Ok(packed);
    }
    let mut text = Vec::new();
    let unpacked = flate2::read::MultiGzDecoder::new(Cursor::new(packed));
    unpacked.take(limit).read_to_end(&mut text)?;
    Ok(text)
}

fn find_column(names: &[String], wanted: &[&str]) -> Option<usize> {
    names.iter().position(|name| wanted.contains(&name.as_str()))
}

/// The wall time, and the offset that the file gives for it.
fn read_time(text: &str) -> Result<(NaiveDateTime, FixedOffset), String> {
    let shown: String = text.chars().take(40).collect();
    let utc = FixedOffset::east_opt(0).ok_or_else(|| shown.clone())?;
    let labelled = ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z"]
        .into_iter()
        .find_map(|format| DateTime::parse_from_str(text, format).ok())
        .map(|at| (at.naive_local(), *at.offset()));
    let (wall, label) = labelled
        .or_else(|| {
            ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"]
                .into_iter()
                .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
                .map(|wall| (wall, utc))
        })
        .ok_or_else(|| format!("time {shown:?} is not like 2025-10-22 13:00:00+00:00"))?;
    if wall.minute() % 5 != 0 || wall.second() != 0 || wall.nanosecond() != 0 {
        return Err(format!("time {shown:?} is not on a five-minute boundary"));
    }
    Ok((wall, label))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: &str = "time,symbol,open,high,low,close,volume";
    const GOOD: &str = "2025-10-22 13:00:00+00:00,USD/COP,3885.25,3909.19995,3870.25,3881.25,0";

    #[test]
    fn bars_whose_prices_were_rounded_are_counted() {
        let text = "time,open,high,low,close\n2025-10-22 08:00,3900,3900,3900,3900\n\
            2025-10-22 08:05,3900.1234567,3901,3900,3900.5\n2025-10-22 08:10,3900.1234560,3901,3900,3900.5\n";
        assert_eq!(parse(text).unwrap().rounded_prices(), 1);
    }

    fn parse(text: &str) -> Result<History, HistoryError> {
        History::parse(Path::new("bars.csv"), text.as_bytes())
    }

    fn check_row(row: &str, expect: &str) {
        let error = parse(&format!("{HEADER}\n{GOOD}\n{row}\n")).unwrap_err().to_string();
        assert!(error.contains(&format!("line 3: {expect}")), "{row}: {error}");
    }

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let history = parse("close,low,HIGH, open ,datetime\n3,1,4,2,2025-10-22T13:05:00Z\n").unwrap();
        let row = history.rows[0];
        assert_eq!(row.ohlc.open.to_string(), "2");
        assert_eq!((row.line, row.symbol), (2, Symbol::usdcop()));
        assert_eq!(row.wall.to_string(), "2025-10-22 13:05:00");
    }

    #[test]
    fn rows_that_are_no_bars_are_named_with_their_line() {
        check_row("x,USD/COP,1,1,1,1,0", "time \"x\" is not like");
        check_row(
            "2025-10-22 13:02:00+00:00,USD/COP,1,1,1,1,0",
            "time \"2025-10-22 13:02:00+00:00\" is not on a five",
        );
        check_row(
            "2025-10-22 13:05:00+00:00,USD/COP,1,2,3,2,0",
            "open 1 and close 2 do not lie between low 3",
        );
        check_row(
            "2025-10-22 13:05:00+00:00,USD/COP,1,abc,1,1,0",
            "high \"abc\" is not a decimal number",
        );
        check_row(
            "2025-10-22 13:05:00+00:00,USD/COP,1,1,1,,0",
            "close \"\" is not a decimal number",
        );
        check_row(
            "2025-10-22 13:05:00+00:00,USD/COP,0,0,0,0,0",
            "open 0 is not above zero",
        );
        check_row("2025-10-22 13:05:00+00:00,??,1,1,1,1,0", "symbol \"??\" is not a pair");
        check_row(
            "2025-10-22 13:05:00+00:00,USD/COP,1,1",
            "has 4 fields where the header names 7",
        );
    }

    #[test]
    fn many_faults_are_counted_and_the_first_shown() {
        let rows = "x,USD/COP,1,1,1,1,0\n".repeat(90);
        let error = parse(&format!("{HEADER}\n{rows}")).unwrap_err().to_string();
        assert!(
            error.starts_with("history file bars.csv has 90 malformed rows: line 2: "),
            "{error}"
        );
        assert!(error.ends_with("; and 85 more"), "{error}");
    }

    #[test]
    fn a_missing_column_is_named_with_those_that_are_there() {
        let error = parse("time,open,high,low\n").unwrap_err().to_string();
        assert!(
            error.contains("has no column close: its header names time, open, high, low"),
            "{error}"
        );
        assert!(parse("").unwrap_err().to_string().contains("names nothing"));
    }

    #[test]
    fn a_file_that_is_not_there_or_broken_is_named() {
        let error = History::read(Path::new("/no/such/file.csv")).unwrap_err().to_string();
        assert!(
            error.starts_with("history file /no/such/file.csv cannot be read: "),
            "{error}"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.csv.gz");
        std::fs::write(&path, [0x1f, 0x8b, 8, 0]).unwrap();
        assert!(matches!(History::read(&path), Err(HistoryError::Unreadable { .. })));
        std::fs::write(&path, [b't', 0xff, b'\n']).unwrap();
        assert!(matches!(History::read(&path), Err(HistoryError::NoColumn { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut text = format!("{HEADER}\n").into_bytes();
            text.extend(bytes);
            drop(History::parse(Path::new("x"), &text));
        }
    }
}
