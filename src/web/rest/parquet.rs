//! Bars and ticks as Apache Parquet, written a session at a time: memory does not grow with the range.
//!
//! A row group holds a session, so that a reader of one day reads only that day; in a long file the later row groups hold several sessions.
//! The footer has what the rows lack: the market's zone, the instant that the bars are as of, and which bars are missing. A row group is
//! collected column by column, as it is written.

use crate::domain::model::{Flags, Interval, Price, Symbol};
use crate::limits;
use crate::store::{BarTable, StoredTick};
use crate::web::rest::parquet_text::TextRuns;
use bytes::Bytes;
use chrono::NaiveDate;
use parquet::data_type::{DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::{parser::parse_message_type, types::SchemaDescriptor};
use std::ops::Range;
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

/// The values of a column that are in no row group yet.
#[derive(Debug)]
enum Values {
    Text(TextRuns),
    Whole(Vec<i64>),
    /// Millionths.
    Price(Vec<i64>),
    /// The existing values, and for each row whether it has one.
    Maybe(Vec<i64>, Vec<i16>),
    /// Days since 1970.
    Date(Vec<i32>),
}

#[derive(Debug)]
struct ParquetColumn {
    name: &'static str,
    values: Values,
}

const fn text(name: &'static str) -> ParquetColumn {
    column(name, Values::Text(TextRuns::new()))
}

const fn whole(name: &'static str) -> ParquetColumn {
    column(name, Values::Whole(Vec::new()))
}

const fn price(name: &'static str) -> ParquetColumn {
    column(name, Values::Price(Vec::new()))
}

const fn maybe(name: &'static str) -> ParquetColumn {
    column(name, Values::Maybe(Vec::new(), Vec::new()))
}

const fn column(name: &'static str, values: Values) -> ParquetColumn {
    ParquetColumn { name, values }
}

impl ParquetColumn {
    /// Its line of the schema. `volume` is the only number that may be missing and is no price.
    fn schema(&self, prices: Prices) -> String {
        let price = match prices {
            Prices::Decimal => ("INT64", " (DECIMAL(12,6))"),
            Prices::Float => ("DOUBLE", ""),
        };
        let instant = ["open_time", "close_time", "timestamp", "received_at"].contains(&self.name);
        let (repeated, (kind, logical)) = match &self.values {
            Values::Text(_) => ("REQUIRED", ("BYTE_ARRAY", " (STRING)")),
            Values::Whole(_) if instant => ("REQUIRED", ("INT64", " (TIMESTAMP(MICROS,true))")),
            Values::Whole(_) => ("REQUIRED", ("INT64", "")),
            Values::Price(_) => ("REQUIRED", price),
            Values::Maybe(..) if self.name == "volume" => ("OPTIONAL", ("INT64", "")),
            Values::Maybe(..) => ("OPTIONAL", price),
            Values::Date(_) => ("REQUIRED", ("INT32", " (DATE)")),
        };
        format!("{repeated} {kind} {}{logical};\n", self.name)
    }

    /// Adds a number or a missing value.
    fn push(&mut self, number: Option<i64>) {
        match &mut self.values {
            Values::Whole(all) | Values::Price(all) => all.extend(number),
            Values::Maybe(all, present) => {
                all.extend(number);
                present.push(i16::from(number.is_some()));
            }
            Values::Text(_) | Values::Date(_) => {}
        }
    }

    /// Adds numbers.
    fn extend(&mut self, numbers: Option<&[i64]>) {
        if let (Values::Whole(all) | Values::Price(all), Some(numbers)) = (&mut self.values, numbers) {
            all.extend_from_slice(numbers);
        }
    }

    /// Adds a text `times` times.
    fn repeat(&mut self, text: &str, times: usize) {
        if let Values::Text(runs) = &mut self.values {
            runs.push(text, times);
        }
    }

    /// Writes the collected values to the row group, and empties the column.
    fn write(
        &mut self,
        group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
        (schema, at): (&SchemaDescriptor, usize),
        prices: Prices,
    ) -> Result<(), ParquetError> {
        if let Values::Text(runs) = &mut self.values {
            return runs.write(group, at, schema);
        }
        let Some(mut writer) = group.next_column()? else {
            return Err(ParquetError::General(format!("no column for {}", self.name)));
        };
        let levels = match &self.values {
            Values::Maybe(_, present) => Some(present.as_slice()),
            _ => None,
        };
        let is_price = matches!(self.values, Values::Price(_))
            || matches!(self.values, Values::Maybe(..)) && self.name != "volume";
        match &self.values {
            Values::Price(all) | Values::Maybe(all, _) if is_price && prices == Prices::Float => {
                let all: Vec<f64> = all.iter().map(|price| float(*price)).collect();
                writer.typed::<DoubleType>().write_batch(&all, levels, None)?;
            }
            Values::Whole(all) | Values::Price(all) | Values::Maybe(all, _) => {
                writer.typed::<Int64Type>().write_batch(all, levels, None)?;
            }
            Values::Date(all) => {
                writer.typed::<Int32Type>().write_batch(all, None, None)?;
            }
            Values::Text(_) => {}
        }
        writer.close()?;
        match &mut self.values {
            Values::Whole(all) | Values::Price(all) => all.clear(),
            Values::Maybe(all, present) => {
                all.clear();
                present.clear();
            }
            Values::Date(all) => all.clear(),
            Values::Text(_) => {}
        }
        Ok(())
    }
}

/// A file being written. Rows of one `group` form one row group, up to a limit.
#[derive(Debug)]
pub(crate) struct ParquetFile {
    writer: SerializedFileWriter<Vec<u8>>,
    schema: Arc<SchemaDescriptor>,
    columns: Vec<ParquetColumn>,
    prices: Prices,
    /// Rows that are in no row group yet, and the day of the last one.
    rows: usize,
    last: Option<NaiveDate>,
    /// Row groups that are written.
    groups: usize,
}

/// The floating-point number nearest to a price: both halves and their sum are exact, so only the division rounds.
fn float(micros: i64) -> f64 {
    let half = |micros: i64| f64::from(i32::try_from(micros).unwrap_or(i32::MAX));
    let whole = half(micros / Price::UNIT) * 1e6 + half(micros % Price::UNIT);
    whole / 1e6
}

fn days(date: NaiveDate) -> i32 {
    let days = date.signed_duration_since(NaiveDate::default()).num_days();
    i32::try_from(days).unwrap_or(i32::MAX)
}

/// Bars of one pair and interval.
#[derive(Debug)]
pub(crate) struct BarFileWriter {
    file: ParquetFile,
    symbol: Symbol,
    interval: Interval,
}

impl BarFileWriter {
    /// Begins a file.
    pub(crate) fn new(symbol: Symbol, interval: Interval, prices: Prices) -> Result<Self, ParquetError> {
        let columns = vec![
            text("symbol"),
            text("interval"),
            whole("open_time"),
            whole("close_time"),
            price("open"),
            price("high"),
            price("low"),
            price("close"),
            maybe("volume"),
            whole("ticks"),
            text("state"),
            whole("revision"),
            text("provenance"),
            text("flags"),
            column("session_date", Values::Date(Vec::new())),
            text("session_type"),
            text("source"),
        ];
        Ok(Self {
            file: ParquetFile::begin("bars", columns, prices)?,
            symbol,
            interval,
        })
    }

    /// Adds bars, in order, and returns the bytes of the file that are complete.
    pub(crate) fn push(&mut self, bars: &BarTable) -> Result<Bytes, ParquetError> {
        let mut begin = 0_usize;
        for (date, count) in bars.session_date.within(0..bars.len()) {
            let end = begin.saturating_add(count);
            // Bars of a whole session are one a session: with a row group for each, the footer would exceed the rows.
            let group = self.interval.length().map(|_| date);
            while begin < end {
                let rows = begin..end.min(begin.saturating_add(limits::PARQUET_GROUP));
                begin = rows.end;
                self.file.make_room(group, rows.len())?;
                self.add(bars, rows, date);
            }
        }
        self.file.written()
    }

    /// Adds some bars of a session.
    fn add(&mut self, bars: &BarTable, rows: Range<usize>, date: NaiveDate) {
        let count = rows.len();
        let [open, high, low, close] = &bars.prices;
        for column in &mut self.file.columns {
            match (column.name, &mut column.values) {
                ("volume", Values::Maybe(_, present)) => present.resize(present.len().saturating_add(count), 0),
                (_, Values::Date(all)) => all.resize(all.len().saturating_add(count), days(date)),
                ("open_time", _) => column.extend(bars.opens_at.get(rows.clone())),
                ("close_time", _) => column.extend(bars.closes_at.get(rows.clone())),
                ("open", _) => column.extend(open.get(rows.clone())),
                ("high", _) => column.extend(high.get(rows.clone())),
                ("low", _) => column.extend(low.get(rows.clone())),
                ("close", _) => column.extend(close.get(rows.clone())),
                ("ticks", _) => column.extend(bars.ticks.get(rows.clone())),
                ("revision", _) => column.extend(bars.revision.get(rows.clone())),
                ("symbol", _) => column.repeat(self.symbol.as_str(), count),
                ("interval", _) => column.repeat(self.interval.name(), count),
                ("state", _) => runs(column, bars.state.within(rows.clone()), |state| state.name()),
                ("provenance", _) => runs(column, bars.provenance.within(rows.clone()), |provenance| {
                    provenance.name()
                }),
                ("session_type", _) => runs(column, bars.session_kind.within(rows.clone()), |kind| kind.name()),
                ("flags", _) => runs(column, bars.flags.within(rows.clone()), flag_names),
                ("source", _) => {
                    let name = |at| bars.sources.get(at).map_or("", String::as_str);
                    runs(column, bars.source.within(rows.clone()), name);
                }
                _ => {}
            }
        }
    }

    /// The rest of the file, with `said` in its footer.
    pub(crate) fn finish(&mut self, said: Vec<(&str, String)>) -> Result<Bytes, ParquetError> {
        self.file.finish(said)
    }
}

fn flag_names(flags: Flags) -> String {
    flags.names().collect::<Vec<_>>().join("|")
}

/// Adds the name of each value, as often as it repeats.
fn runs<T, N: AsRef<str>>(column: &mut ParquetColumn, values: impl Iterator<Item = (T, usize)>, name: impl Fn(T) -> N) {
    for (value, count) in values {
        column.repeat(name(value).as_ref(), count);
    }
}

/// Ticks of one pair.
#[derive(Debug)]
pub(super) struct TickFileWriter {
    file: ParquetFile,
    zone: chrono_tz::Tz,
}

impl TickFileWriter {
    /// Begins a file; a row group is a day of the market's zone.
    pub(super) fn new(zone: chrono_tz::Tz, prices: Prices) -> Result<Self, ParquetError> {
        let columns = vec![
            text("symbol"),
            text("epoch"),
            whole("seq"),
            whole("timestamp"),
            whole("received_at"),
            price("price"),
            maybe("bid"),
            maybe("ask"),
            text("provenance"),
        ];
        let file = ParquetFile::begin("ticks", columns, prices)?;
        Ok(Self { file, zone })
    }

    /// Adds ticks, in order, and returns the bytes of the file that are complete.
    pub(super) fn push(&mut self, ticks: &[StoredTick]) -> Result<Bytes, ParquetError> {
        for stored in ticks {
            let tick = &stored.tick.tick;
            let received_at = stored.tick.received_at;
            let day = received_at.datetime().with_timezone(&self.zone).date_naive();
            self.file.make_room(Some(day), 1)?;
            for column in &mut self.file.columns {
                match column.name {
                    "symbol" => column.repeat(tick.symbol.as_str(), 1),
                    "epoch" => column.repeat(stored.epoch.as_str(), 1),
                    "seq" => column.push(Some(i64::try_from(stored.seq).unwrap_or(i64::MAX))),
                    "timestamp" => column.push(Some(tick.at.micros())),
                    "received_at" => column.push(Some(received_at.micros())),
                    "price" => column.push(Some(tick.price.micros())),
                    "bid" => column.push(tick.bid.map(Price::micros)),
                    "ask" => column.push(tick.ask.map(Price::micros)),
                    _ => column.repeat(tick.provenance.name(), 1),
                }
            }
        }
        self.file.written()
    }

    /// The rest of the file, with `said` in its footer.
    pub(super) fn finish(&mut self, said: Vec<(&str, String)>) -> Result<Bytes, ParquetError> {
        self.file.finish(said)
    }
}

impl ParquetFile {
    fn begin(name: &str, columns: Vec<ParquetColumn>, prices: Prices) -> Result<Self, ParquetError> {
        let fields: String = columns.iter().map(|column| column.schema(prices)).collect();
        let schema = parse_message_type(&format!("message {name} {{\n{fields}}}"))?;
        // A column of a row group is one page: an index of pages would repeat its statistics, and be held until the footer. Numbers of a
        // session hardly repeat, and looking for repetitions is most of the work.
        let properties = WriterProperties::builder()
            .set_created_by("candela".to_owned())
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_dictionary_enabled(false)
            .set_offset_index_disabled(true);
        let writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties.build()))?;
        Ok(Self {
            schema: Arc::new(writer.schema_descr().clone()),
            writer,
            columns,
            prices,
            rows: 0,
            last: None,
            groups: 0,
        })
    }

    /// Ends the row group if the next rows do not belong to it, and counts them.
    fn make_room(&mut self, group: Option<NaiveDate>, rows: usize) -> Result<(), ParquetError> {
        let ends = self.rows > 0 && self.last != group;
        // The footer lists every group and is held until the end, so a long file collects several sessions in a group.
        let gathers = self.groups >= limits::PARQUET_SESSION_GROUPS && self.rows < limits::PARQUET_GATHERED;
        if (ends && !gathers) || self.rows.saturating_add(rows) > limits::PARQUET_GROUP {
            self.end_group()?;
        }
        self.rows = self.rows.saturating_add(rows);
        self.last = group;
        Ok(())
    }

    fn finish(&mut self, said: Vec<(&str, String)>) -> Result<Bytes, ParquetError> {
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
        let buffer = self.writer.inner_mut();
        let bytes = Bytes::copy_from_slice(buffer);
        buffer.clear(); // the next row group is written into the same memory
        Ok(bytes)
    }

    fn end_group(&mut self) -> Result<(), ParquetError> {
        if self.rows == 0 {
            return Ok(());
        }
        let schema = Arc::clone(&self.schema);
        let mut group = self.writer.next_row_group()?;
        for (at, column) in self.columns.iter_mut().enumerate() {
            column.write(&mut group, (&schema, at), self.prices)?;
        }
        group.close()?;
        self.groups = self.groups.saturating_add(1);
        self.rows = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};

    #[test]
    fn a_long_file_gathers_sessions_in_its_later_row_groups_and_divides_none() {
        const ROWS: usize = 59;
        let mut file = ParquetFile::begin("rows", vec![whole("n")], Prices::Decimal).unwrap();
        let days = NaiveDate::from_ymd_opt(2020, 1, 1).unwrap().iter_days();
        let a_group = limits::PARQUET_GATHERED.div_ceil(ROWS);
        let mut bytes = Vec::new();
        for day in days.take(limits::PARQUET_SESSION_GROUPS + 2 * a_group + 7) {
            file.make_room(Some(day), ROWS).unwrap();
            file.columns[0].extend(Some(&[4; ROWS]));
            bytes.extend(file.written().unwrap());
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
        // Twice the first whole number of sessions that reaches the limit, and the rest.
        let of = |sessions: usize| i64::try_from(sessions * ROWS).unwrap();
        assert_eq!(late, [of(a_group), of(a_group), of(7)]);
    }
}
