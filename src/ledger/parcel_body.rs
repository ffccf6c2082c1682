//! The body of a parcel: rows as the tables store them, in sequence, so that another node stores identical rows.
//!
//! ```text
//!  row    kind (1 byte: input, tick, bar or note) · number of columns (1 byte) · columns
//! column 0 null · 1 integer (8 bytes) · 2 real (8 bytes) · 3 text · 4 blob; the last two after a length of 4 bytes
//! ```
//! Numbers are big-endian. The id of an input is left out, because each node counts its own.

use super::rows::{self, ColumnSink, Table};
use crate::domain::model::{Event, Input, JournalEntry, Sequenced};
use bytes::{BufMut, Bytes, BytesMut};
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};

/// The kind of a row in a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowKind {
    Input,
    Event(Table),
}

impl RowKind {
    const ALL: [Self; 4] = [
        Self::Input,
        Self::Event(Table::Ticks),
        Self::Event(Table::Bars),
        Self::Event(Table::Notes),
    ];

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    const fn code(self) -> u8 {
        match self {
            Self::Input => 0,
            Self::Event(Table::Ticks) => 1,
            Self::Event(Table::Bars) => 2,
            Self::Event(Table::Notes) => 3,
        }
    }
}

/// Writes a body row by row.
#[derive(Debug, Default)]
pub(super) struct ParcelBody {
    bytes: BytesMut,
    kind: Option<RowKind>,
}

impl ParcelBody {
    /// Writes an input that came after the event at `after`.
    pub(super) fn push_input(&mut self, after: u64, heard: &Input) -> rusqlite::Result<()> {
        self.kind = Some(RowKind::Input);
        rows::insert_input(self, 0, after, heard)
    }

    pub(super) fn push_event(&mut self, numbered: &Sequenced) -> rusqlite::Result<()> {
        match &numbered.event {
            Event::Tick(accepted) => {
                self.kind = Some(RowKind::Event(Table::Ticks));
                rows::insert_tick(self, numbered, accepted)
            }
            Event::Bar(bar) => {
                self.kind = Some(RowKind::Event(Table::Bars));
                rows::insert_bar(self, numbered, bar)
            }
            Event::BarEnd(_)
            | Event::Gap(_)
            | Event::Session(_)
            | Event::Seam(_)
            | Event::Certificate(_)
            | Event::Journal(_) => {
                self.kind = Some(RowKind::Event(Table::Notes));
                rows::insert_note(self, numbered)
            }
        }
    }

    /// Writes a row with the columns of its table; for an input without the id.
    pub(super) fn push_row(&mut self, kind: RowKind, columns: &[Value]) {
        self.begin_row(kind, columns.len());
        columns.iter().for_each(|value| self.push_value(ValueRef::from(value)));
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes.freeze()
    }

    fn begin_row(&mut self, kind: RowKind, columns: usize) {
        self.bytes.put_u8(kind.code());
        self.bytes.put_u8(u8::try_from(columns).unwrap_or(u8::MAX)); // no table has as many
    }

    fn push_value(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.bytes.put_u8(0),
            ValueRef::Integer(number) => {
                self.bytes.put_u8(1);
                self.bytes.put_i64(number);
            }
            ValueRef::Real(number) => {
                self.bytes.put_u8(2);
                self.bytes.put_f64(number);
            }
            ValueRef::Text(text) => self.push_bytes(3, text),
            ValueRef::Blob(blob) => self.push_bytes(4, blob),
        }
    }

    fn push_bytes(&mut self, tag: u8, bytes: &[u8]) {
        self.bytes.put_u8(tag);
        self.bytes.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX)); // SQLite stores none as long
        self.bytes.put_slice(bytes);
    }
}

impl ColumnSink for ParcelBody {
    fn bind_row(&mut self, columns: &[&dyn ToSql]) -> rusqlite::Result<()> {
        let kind = self.kind.unwrap_or(RowKind::Input);
        let columns = match kind {
            RowKind::Input => columns.get(1..).unwrap_or_default(),
            RowKind::Event(_) => columns,
        };
        self.begin_row(kind, columns.len());
        for column in columns {
            match column.to_sql()? {
                ToSqlOutput::Borrowed(value) => self.push_value(value),
                ToSqlOutput::Owned(value) => self.push_value(ValueRef::from(&value)),
                _ => return Err(rusqlite::Error::InvalidQuery), // none of our types gives one
            }
        }
        Ok(())
    }
}

/// A row of a parcel: its entry, and its columns as stored.
#[derive(Debug)]
pub(super) struct ParcelRow {
    pub(super) kind: RowKind,
    pub(super) columns: Vec<Value>,
    pub(super) entry: JournalEntry,
}

/// Parses a body.
///
/// # Errors
/// A sentence, when the body is cut short or has a row that this version does not know.
pub(super) fn read(body: &[u8]) -> Result<Vec<ParcelRow>, String> {
    let mut rest = body;
    let mut rows = Vec::new();
    while !rest.is_empty() {
        let code = read_byte(&mut rest)?;
        let kind = RowKind::from_code(code).ok_or_else(|| format!("{code} is not a kind of row"))?;
        let mut columns = Vec::new();
        if kind == RowKind::Input {
            columns.push(Value::Null); // the id
        }
        for _ in 0..read_byte(&mut rest)? {
            columns.push(read_value(&mut rest)?);
        }
        let entry = match kind {
            RowKind::Input => JournalEntry::Input(rows::input_from_row(columns.as_slice())?),
            RowKind::Event(table) => JournalEntry::Event(table.read(columns.as_slice())?),
        };
        rows.push(ParcelRow { kind, columns, entry });
    }
    Ok(rows)
}

fn read_value(rest: &mut &[u8]) -> Result<Value, String> {
    Ok(match read_byte(rest)? {
        0 => Value::Null,
        1 => Value::Integer(i64::from_be_bytes(read_array(rest)?)),
        2 => Value::Real(f64::from_be_bytes(read_array(rest)?)),
        3 => Value::Text(String::from_utf8(read_bytes(rest)?).map_err(|error| error.to_string())?),
        4 => Value::Blob(read_bytes(rest)?),
        other => return Err(format!("{other} is not a kind of column")),
    })
}

fn read_byte(rest: &mut &[u8]) -> Result<u8, String> {
    read_array::<1>(rest).map(|[byte]| byte)
}

fn read_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (bytes, after) = rest.split_first_chunk().ok_or("it is cut short")?;
    *rest = after;
    Ok(*bytes)
}

fn read_bytes(rest: &mut &[u8]) -> Result<Vec<u8>, String> {
    let length = usize::try_from(u32::from_be_bytes(read_array(rest)?)).unwrap_or(usize::MAX);
    let (bytes, after) = rest.split_at_checked(length).ok_or("it is cut short")?;
    *rest = after;
    Ok(bytes.to_vec())
}
