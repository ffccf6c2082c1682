//! Bars and ticks as Apache Parquet, written a session at a time: memory does not grow with the range.
//!
//! A row group holds a session, so that a reader that looks for a day reads that day; in a long file the later ones hold several. The footer has what the rows lack: the
//! market's zone, the instant that the bars are as of, and which bars are missing.

use crate::domain::model::{Flags, Interval, Price};
use crate::limits;
use crate::store::{StoredBar, StoredTick};
use bytes::Bytes;
use chrono::NaiveDate;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::{parser::parse_message_type, types::ColumnPath};
use std::sync::Arc;

/// The content type.
pub(super) const KIND: &str = "application/vnd.apache.parquet";

/// How prices are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prices {
    /// Exact.
    Decimal,
    /// The nearest floating-point number.
    Float,
}

/// One value of a row.
enum ParquetCell {
    Text(Bytes),
    Whole(i64),
    Small(i32),
    Float(f64),
    Absent,
}

/// A column: what the schema says of it, and its value in a row.
struct ParquetColumn<R> {
    schema: String,
    cell: Box<dyn FnMut(&R) -> ParquetCell + Send>,
}

/// A file being written. Rows of one `group` become one row group, as long as there are few.
pub(crate) struct ParquetFile<R> {
    writer: SerializedFileWriter<Vec<u8>>,
    columns: Vec<ParquetColumn<R>>,
    group_of: fn(&R, chrono_tz::Tz) -> Option<NaiveDate>,
    zone: chrono_tz::Tz,
    rows: Vec<R>,
    /// Row groups that are written.
    groups: usize,
}

impl<R> std::fmt::Debug for ParquetFile<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetFile").field("rows", &self.rows.len()).finish()
    }
}

const TEXT: &str = "REQUIRED BYTE_ARRAY {} (STRING)";
const INSTANT: &str = "REQUIRED INT64 {} (TIMESTAMP(MICROS,true))";

fn column<R>(name: &str, kind: &str, cell: impl FnMut(&R) -> ParquetCell + Send + 'static) -> ParquetColumn<R> {
    ParquetColumn {
        schema: kind.replace("{}", name),
        cell: Box::new(cell),
    }
}

fn price<R>(
    name: &str,
    prices: Prices,
    of: impl Fn(&R) -> Option<Price> + Send + 'static,
    always: bool,
) -> ParquetColumn<R> {
    let repeated = if always { "REQUIRED" } else { "OPTIONAL" };
    let kind = match prices {
        Prices::Decimal => "INT64 {} (DECIMAL(12,6))",
        Prices::Float => "DOUBLE {}",
    };
    column(name, &format!("{repeated} {kind}"), move |row: &R| {
        match (of(row), prices) {
            (None, _) => ParquetCell::Absent,
            (Some(price), Prices::Decimal) => ParquetCell::Whole(price.micros()),
            (Some(price), Prices::Float) => ParquetCell::Float(float(price)),
        }
    })
}

/// The floating-point number that is nearest to a price: both halves and their sum are exact, so only the division rounds.
fn float(price: Price) -> f64 {
    let half = |micros: i64| f64::from(i32::try_from(micros).unwrap_or(i32::MAX));
    let whole = half(price.micros() / Price::UNIT) * 1e6 + half(price.micros() % Price::UNIT);
    whole / 1e6
}

/// A text that is mostly that of the row before: it is copied when it changes.
#[derive(Default)]
struct LastText(Bytes);

impl LastText {
    fn cell(&mut self, text: &str) -> ParquetCell {
        if self.0 != text {
            self.0 = Bytes::copy_from_slice(text.as_bytes());
        }
        ParquetCell::Text(self.0.clone())
    }
}

fn text(text: &'static str) -> ParquetCell {
    ParquetCell::Text(Bytes::from_static(text.as_bytes()))
}

fn number(number: impl TryInto<i64>) -> ParquetCell {
    ParquetCell::Whole(number.try_into().unwrap_or(i64::MAX))
}

fn date(date: NaiveDate) -> ParquetCell {
    let days = date.signed_duration_since(NaiveDate::default()).num_days();
    ParquetCell::Small(i32::try_from(days).unwrap_or(i32::MAX))
}

/// A file of bars of one pair and interval.
pub(crate) fn bars(
    interval: Interval,
    zone: chrono_tz::Tz,
    prices: Prices,
) -> Result<ParquetFile<StoredBar>, ParquetError> {
    let mut symbols = LastText::default();
    let mut flags = LastText::default();
    let mut sources = LastText::default();
    let columns = vec![
        column("symbol", TEXT, move |stored: &StoredBar| {
            symbols.cell(stored.bar.key.symbol.as_str())
        }),
        column("interval", TEXT, |stored: &StoredBar| {
            text(stored.bar.key.interval.name())
        }),
        column("open_time", INSTANT, |stored: &StoredBar| {
            ParquetCell::Whole(stored.bar.key.opens_at.micros())
        }),
        column("close_time", INSTANT, |stored: &StoredBar| {
            ParquetCell::Whole(stored.bar.closes_at.micros())
        }),
        price("open", prices, |stored: &StoredBar| Some(stored.bar.ohlc.open), true),
        price("high", prices, |stored: &StoredBar| Some(stored.bar.ohlc.high), true),
        price("low", prices, |stored: &StoredBar| Some(stored.bar.ohlc.low), true),
        price("close", prices, |stored: &StoredBar| Some(stored.bar.ohlc.close), true),
        column("volume", "OPTIONAL INT64 {}", |_: &StoredBar| ParquetCell::Absent),
        column("ticks", "REQUIRED INT64 {}", |stored: &StoredBar| {
            number(stored.bar.ticks)
        }),
        column("state", TEXT, |stored: &StoredBar| text(stored.bar.state.name())),
        column("revision", "REQUIRED INT64 {}", |stored: &StoredBar| {
            number(stored.bar.revision)
        }),
        column("provenance", TEXT, |stored: &StoredBar| {
            text(stored.bar.provenance.name())
        }),
        column("flags", TEXT, move |stored: &StoredBar| {
            if stored.bar.flags == Flags::default() {
                return text("");
            }
            let names: Vec<&str> = stored.bar.flags.names().collect();
            flags.cell(&names.join("|"))
        }),
        column("session_date", "REQUIRED INT32 {} (DATE)", |stored: &StoredBar| {
            date(stored.bar.session_date)
        }),
        column("session_type", TEXT, |stored: &StoredBar| {
            text(stored.bar.session_kind.name())
        }),
        column("source", TEXT, move |stored: &StoredBar| sources.cell(&stored.source)),
    ];
    // Bars of a whole session are one a session: with a row group each, the footer would exceed the rows.
    let group_of: fn(&StoredBar, chrono_tz::Tz) -> Option<NaiveDate> = match interval.length() {
        Some(_) => |stored: &StoredBar, _| Some(stored.bar.session_date),
        None => |_: &StoredBar, _| None,
    };
    ParquetFile::begin("bars", columns, group_of, zone)
}

/// A file of ticks of one pair.
pub(super) fn ticks(zone: chrono_tz::Tz, prices: Prices) -> Result<ParquetFile<StoredTick>, ParquetError> {
    let mut symbols = LastText::default();
    let mut epochs = LastText::default();
    let columns = vec![
        column("symbol", TEXT, move |stored: &StoredTick| {
            symbols.cell(stored.tick.tick.symbol.as_str())
        }),
        column("epoch", TEXT, move |stored: &StoredTick| {
            epochs.cell(&stored.epoch.to_string())
        }),
        column("seq", "REQUIRED INT64 {}", |stored: &StoredTick| number(stored.seq)),
        column("timestamp", INSTANT, |stored: &StoredTick| {
            ParquetCell::Whole(stored.tick.tick.at.micros())
        }),
        column("received_at", INSTANT, |stored: &StoredTick| {
            ParquetCell::Whole(stored.tick.received_at.micros())
        }),
        price(
            "price",
            prices,
            |stored: &StoredTick| Some(stored.tick.tick.price),
            true,
        ),
        price("bid", prices, |stored: &StoredTick| stored.tick.tick.bid, false),
        price("ask", prices, |stored: &StoredTick| stored.tick.tick.ask, false),
        column("provenance", TEXT, |stored: &StoredTick| {
            text(stored.tick.tick.provenance.name())
        }),
    ];
    ParquetFile::begin(
        "ticks",
        columns,
        |stored: &StoredTick, zone: chrono_tz::Tz| {
            let at = stored.tick.received_at.datetime();
            Some(at.with_timezone(&zone).date_naive())
        },
        zone,
    )
}

impl<R> ParquetFile<R> {
    fn begin(
        name: &str,
        columns: Vec<ParquetColumn<R>>,
        group_of: fn(&R, chrono_tz::Tz) -> Option<NaiveDate>,
        zone: chrono_tz::Tz,
    ) -> Result<Self, ParquetError> {
        let fields: String = columns.iter().map(|column| format!("{};\n", column.schema)).collect();
        let schema = parse_message_type(&format!("message {name} {{\n{fields}}}"))?;
        // A column of a row group is one page: an index of pages would say what its statistics say, and be held until the footer.
        let mut properties = WriterProperties::builder()
            .set_created_by("candela".to_owned())
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true);
        for field in schema.get_fields() {
            // Strings repeat; numbers of a session hardly do, and looking for repetitions is most of the work.
            let words = field.get_physical_type() == parquet::basic::Type::BYTE_ARRAY;
            let path = ColumnPath::from(field.name());
            properties = properties.set_column_dictionary_enabled(path, words);
        }
        let writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties.build()))?;
        Ok(Self {
            writer,
            columns,
            group_of,
            zone,
            rows: Vec::new(),
            groups: 0,
        })
    }

    /// Adds rows, in order, and returns the bytes of the file that are complete.
    pub(crate) fn push(&mut self, rows: impl IntoIterator<Item = R>) -> Result<Bytes, ParquetError> {
        for row in rows {
            let group = |row: &R| (self.group_of)(row, self.zone);
            let ends = self.rows.last().is_some_and(|last| group(last) != group(&row));
            // The footer lists every group and is held until the end, so a long file gathers sessions.
            let gathers = self.groups >= limits::PARQUET_SESSION_GROUPS && self.rows.len() < limits::PARQUET_GATHERED;
            if (ends && !gathers) || self.rows.len() >= limits::PARQUET_GROUP {
                self.end_group()?;
            }
            self.rows.push(row);
        }
        self.written()
    }

    /// The rest of the file, with a footer that says this.
    pub(crate) fn finish(&mut self, said: Vec<(&str, String)>) -> Result<Bytes, ParquetError> {
        self.end_group()?;
        for (key, value) in said {
            self.writer
                .append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        self.writer.finish()?;
        self.written()
    }

    fn written(&mut self) -> Result<Bytes, ParquetError> {
        self.writer.flush()?;
        Ok(Bytes::from(std::mem::take(self.writer.inner_mut())))
    }

    fn end_group(&mut self) -> Result<(), ParquetError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for column in &mut self.columns {
            if let Some(mut writer) = group.next_column()? {
                write(&mut writer, self.rows.iter().map(&mut column.cell))?;
                writer.close()?;
            }
        }
        group.close()?;
        self.groups = self.groups.saturating_add(1);
        self.rows.clear();
        Ok(())
    }
}

/// Writes the cells of one column: those that are there, and for each row whether it is.
fn write(
    writer: &mut SerializedColumnWriter<'_>,
    cells: impl ExactSizeIterator<Item = ParquetCell>,
) -> Result<(), ParquetError> {
    let mut texts: Vec<ByteArray> = Vec::new();
    let mut wholes: Vec<i64> = Vec::new();
    let mut smalls: Vec<i32> = Vec::new();
    let mut floats: Vec<f64> = Vec::new();
    let mut present: Vec<i16> = Vec::with_capacity(cells.len());
    for cell in cells {
        present.push(i16::from(!matches!(cell, ParquetCell::Absent)));
        match cell {
            ParquetCell::Text(text) => texts.push(ByteArray::from(text)),
            ParquetCell::Whole(whole) => wholes.push(whole),
            ParquetCell::Small(small) => smalls.push(small),
            ParquetCell::Float(float) => floats.push(float),
            ParquetCell::Absent => {}
        }
    }
    let levels = Some(present.as_slice());
    match writer.untyped() {
        ColumnWriter::ByteArrayColumnWriter(_) => writer.typed::<ByteArrayType>().write_batch(&texts, levels, None),
        ColumnWriter::Int64ColumnWriter(_) => writer.typed::<Int64Type>().write_batch(&wholes, levels, None),
        ColumnWriter::Int32ColumnWriter(_) => writer.typed::<Int32Type>().write_batch(&smalls, levels, None),
        ColumnWriter::DoubleColumnWriter(_) => writer.typed::<DoubleType>().write_batch(&floats, levels, None),
        _ => {
            return Err(ParquetError::General(
                "a column of a kind that is not written".to_owned(),
            ));
        }
    }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};

    type Row = (NaiveDate, i64);

    #[test]
    fn a_long_file_gathers_sessions_in_its_later_row_groups_and_divides_none() {
        let number = column("n", "REQUIRED INT64 {}", |row: &Row| ParquetCell::Whole(row.1));
        let group_of = |row: &Row, _: chrono_tz::Tz| Some(row.0);
        let mut file = ParquetFile::begin("rows", vec![number], group_of, chrono_tz::Tz::UTC).unwrap();
        let days = NaiveDate::from_ymd_opt(2020, 1, 1).unwrap().iter_days();
        let mut bytes = Vec::new();
        for day in days.take(limits::PARQUET_SESSION_GROUPS + 200) {
            bytes.extend(file.push((0..59).map(|number| (day, number))).unwrap());
        }
        bytes.extend(file.finish(Vec::new()).unwrap());
        let read = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
        let groups: Vec<i64> = read
            .metadata()
            .row_groups()
            .iter()
            .map(|group| group.num_rows())
            .collect();
        let (early, late) = groups.split_at(limits::PARQUET_SESSION_GROUPS);
        assert!(early.iter().all(|rows| *rows == 59), "{early:?}");
        // 68 sessions are the first whole number of them that reaches the limit.
        assert_eq!(late, [68 * 59, 68 * 59, 64 * 59]);
    }
}
