//! Converts events and inputs to rows and back. A row that cannot be parsed is an error that names its place, never a guess.

use super::files::{from_sql_int, sql_int};
use crate::domain::model::{
    AcceptedTick, Bar, BarKey, BarState, Channel, Event, Flags, Input, InputKind, Ohlc, Position, Price, Provenance,
    Sequenced, SessionKind, Tick, Timestamp,
};
use arrayvec::ArrayVec;
use bytes::Bytes;
use flate2::Crc;
use rusqlite::types::{FromSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{Row, Statement, ToSql, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::str::FromStr;

// The last column of each is the check sum of the others.
pub(super) const INSERT_INPUT: &str = "INSERT INTO inputs VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
pub(super) const INSERT_TICK: &str = "INSERT INTO ticks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
pub(super) const INSERT_BAR: &str = "INSERT INTO bars VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)";
pub(super) const INSERT_NOTE: &str = "INSERT INTO notes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// How many columns of an input are summed.
pub(super) const INPUT_COLUMNS: usize = 5;
/// The most columns that a row has, with its check sum.
const MOST_COLUMNS: usize = 21;

const FRAME: i64 = 0;
const LINK: i64 = 1;
const DEADLINE: i64 = 2;
const ANSWER: i64 = 3;
const STARTED: i64 = 4;
const ASKED: i64 = 5;
const CARRIED: i64 = 6;
const LACKING: i64 = 7;
const SEAM: i64 = 8;
const UNWATCHED: i64 = 9;
const OPENED: i64 = 10;
const LAST_CLOSE: i64 = 11;
const CARRIED_CLOSE: i64 = 12;
const CARRIED_TICK: i64 = 13;
const NOTED: i64 = 14;
const CALENDAR: i64 = 15;
const CERTIFICATE: i64 = 16;

/// Takes the columns of a row: a statement, or a parcel.
pub(super) trait ColumnSink {
    fn bind_row(&mut self, columns: &[&dyn ToSql]) -> rusqlite::Result<()>;
}

impl ColumnSink for Statement<'_> {
    fn bind_row(&mut self, columns: &[&dyn ToSql]) -> rusqlite::Result<()> {
        let mut sum = RowSum::of_columns(columns.len());
        for column in columns {
            match column.to_sql()? {
                ToSqlOutput::Borrowed(value) => sum.add_value(value),
                ToSqlOutput::Owned(value) => sum.add_value(ValueRef::from(&value)),
                _ => return Err(rusqlite::Error::InvalidQuery), // none of our types gives one
            }
        }
        let sum = sum.finish();
        let mut row: ArrayVec<&dyn ToSql, MOST_COLUMNS> = ArrayVec::new();
        row.extend(columns.iter().copied().take(MOST_COLUMNS - 1));
        row.push(&sum);
        self.execute(row.as_slice()).map(drop)
    }
}

/// The check sum of a row: CRC-32 of its columns. SQLite's files have none, but for the write-ahead log: a byte that flips in one would
/// be another price.
struct RowSum(Crc);

impl RowSum {
    fn of_columns(count: usize) -> Self {
        let mut sum = Crc::new();
        sum.update(&count.to_le_bytes());
        Self(sum)
    }

    fn add_value(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.0.update(&[0]),
            ValueRef::Integer(number) => self.add_bytes(1, &number.to_le_bytes()),
            ValueRef::Real(number) => self.add_bytes(2, &number.to_le_bytes()),
            ValueRef::Text(text) => self.add_bytes(3, text),
            ValueRef::Blob(blob) => self.add_bytes(4, blob),
        }
    }

    fn add_bytes(&mut self, tag: u8, bytes: &[u8]) {
        self.0.update(&[tag]);
        self.0.update(&bytes.len().to_le_bytes());
        self.0.update(bytes);
    }

    fn finish(&self) -> u32 {
        self.0.sum()
    }
}

/// Compares a row's check sum with its columns, of which there are so many. Files of format 1 have none.
pub(super) fn check_sum(row: &Row<'_>, columns: usize) -> Result<(), String> {
    if row.as_ref().column_count() == columns {
        return Ok(());
    }
    let stored: u32 = get_column(row, columns)?;
    if stored == sum_of_row(row, columns).map_err(error_text)? {
        return Ok(());
    }
    Err("its check sum is another: a byte of it is not what was written".to_owned())
}

/// The check sum that so many columns of a row give.
pub(super) fn sum_of_row(row: &Row<'_>, columns: usize) -> rusqlite::Result<u32> {
    let mut sum = RowSum::of_columns(columns);
    for at in 0..columns {
        sum.add_value(row.get_ref(at)?);
    }
    Ok(sum.finish())
}

/// Provides the columns of a row: a row of a file, or of a parcel.
pub(super) trait ColumnSource {
    fn read_column<T: FromSql>(&self, at: usize) -> Result<T, String>;
}

impl ColumnSource for Row<'_> {
    fn read_column<T: FromSql>(&self, at: usize) -> Result<T, String> {
        self.get(at).map_err(error_text)
    }
}

impl ColumnSource for [Value] {
    fn read_column<T: FromSql>(&self, at: usize) -> Result<T, String> {
        let value = self.get(at).ok_or_else(|| format!("column {at} is missing"))?;
        T::column_result(ValueRef::from(value)).map_err(error_text)
    }
}

/// The table of an event.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Ticks,
    Bars,
    Notes,
}

impl Table {
    pub(super) const ALL: [Self; 3] = [Self::Ticks, Self::Bars, Self::Notes];

    pub(super) fn name(self) -> &'static str {
        self.into()
    }

    /// How many columns are summed.
    pub(super) const fn columns(self) -> usize {
        match self {
            Self::Ticks => 10,
            Self::Bars => 20,
            Self::Notes => 6,
        }
    }

    pub(super) fn read(self, row: &(impl ColumnSource + ?Sized)) -> Result<Sequenced, String> {
        match self {
            Self::Ticks => tick_from_row(row),
            Self::Bars => bar_from_row(row),
            Self::Notes => note_from_row(row),
        }
    }
}

/// The channel of an event, by its kind.
pub(super) fn channel_of(event: &Event) -> Option<Channel> {
    match event {
        Event::Tick(accepted) => Some(Channel::ticks(accepted.tick.symbol)),
        Event::Bar(bar) => Some(Channel::bars(bar.key.interval, bar.key.symbol)),
        Event::BarEnd(_) => None,
        Event::Gap(gap) => Some(Channel::quality(gap.symbol)),
        Event::Session(change) => Some(Channel::session(change.symbol)),
        Event::Seam(found) => Some(Channel::quality(found.symbol)),
        Event::Certificate(certificate) => Some(Channel::quality(certificate.symbol)),
        Event::Journal(_) => Some(Channel::events()),
    }
}

pub(super) fn insert_input(to: &mut impl ColumnSink, id: i64, after: u64, heard: &Input) -> rusqlite::Result<()> {
    let (kind, json) = match &heard.what {
        InputKind::Frame(raw) => return insert_raw(to, (id, FRAME), after, heard, Some(raw)),
        InputKind::Answer(raw) => return insert_raw(to, (id, ANSWER), after, heard, Some(raw)),
        InputKind::Deadline => return insert_raw(to, (id, DEADLINE), after, heard, None),
        InputKind::Started => return insert_raw(to, (id, STARTED), after, heard, None),
        InputKind::Link(change) => (LINK, to_json(change)?),
        InputKind::Carried(change) => (CARRIED, to_json(change)?),
        InputKind::Requested(asked) => (ASKED, to_json(asked)?),
        InputKind::MissingBars(lacking) => (LACKING, to_json(lacking)?),
        InputKind::Seam(found) => (SEAM, to_json(found)?),
        InputKind::Certificate(certificate) => (CERTIFICATE, to_json(certificate)?),
        InputKind::Opened(symbol) => (OPENED, to_json(symbol)?),
        InputKind::Unwatched(unwatched) => (UNWATCHED, to_json(unwatched)?),
        InputKind::LastClose(close) => (LAST_CLOSE, to_json(close)?),
        InputKind::CarriedClose(close) => (CARRIED_CLOSE, to_json(close)?),
        InputKind::CarriedTick(carried) => (CARRIED_TICK, to_json(carried)?),
        InputKind::Noted(entry) => (NOTED, to_json(entry)?),
        InputKind::Calendar(known) => (CALENDAR, to_json(known)?),
    };
    insert_raw(to, (id, kind), after, heard, Some(json.as_bytes()))
}

fn insert_raw(
    to: &mut impl ColumnSink,
    (id, kind): (i64, i64),
    after: u64,
    heard: &Input,
    raw: Option<&[u8]>,
) -> rusqlite::Result<()> {
    to.bind_row(params![id, kind, heard.at.micros(), sql_int(after), raw])
}

pub(super) fn insert_tick(
    to: &mut impl ColumnSink,
    numbered: &Sequenced,
    accepted: &AcceptedTick,
) -> rusqlite::Result<()> {
    let tick = &accepted.tick;
    to.bind_row(params![
        sql_int(numbered.position.0),
        sql_int(numbered.seq),
        tick.symbol.as_str(),
        tick.price.micros(),
        tick.bid.map(Price::micros),
        tick.ask.map(Price::micros),
        tick.at.micros(),
        accepted.received_at.micros(),
        tick.provenance.name(),
        numbered.at.micros(),
    ])
}

pub(super) fn insert_bar(to: &mut impl ColumnSink, numbered: &Sequenced, bar: &Bar) -> rusqlite::Result<()> {
    to.bind_row(params![
        sql_int(numbered.position.0),
        sql_int(numbered.seq),
        bar.key.symbol.as_str(),
        bar.key.interval.name(),
        bar.key.opens_at.micros(),
        bar.closes_at.micros(),
        bar.ohlc.open.micros(),
        bar.ohlc.high.micros(),
        bar.ohlc.low.micros(),
        bar.ohlc.close.micros(),
        bar.ticks,
        bar.first_tick_at.map(Timestamp::micros),
        bar.last_tick_at.map(Timestamp::micros),
        bar.state.name(),
        bar.revision,
        bar.provenance.name(),
        bar.flags.bits(),
        bar.session_date.to_string(),
        bar.session_kind.name(),
        numbered.at.micros(),
    ])
}

/// Writes an event of a rare kind as JSON beside its numbers.
pub(super) fn insert_note(to: &mut impl ColumnSink, numbered: &Sequenced) -> rusqlite::Result<()> {
    let (kind, body) = match &numbered.event {
        Event::BarEnd(end) => ("bar_end", to_json(end)?),
        Event::Gap(gap) => ("gap", to_json(gap)?),
        Event::Session(change) => ("session", to_json(change)?),
        Event::Seam(found) => ("seam", to_json(found)?),
        Event::Certificate(certificate) => ("certificate", to_json(certificate)?),
        Event::Journal(entry) => ("journal", to_json(entry)?),
        Event::Tick(_) | Event::Bar(_) => return Ok(()),
    };
    to.bind_row(params![
        sql_int(numbered.position.0),
        numbered.channel.map(|channel| channel.to_string()),
        sql_int(numbered.seq),
        numbered.at.micros(),
        kind,
        body,
    ])
}

fn tick_from_row(row: &(impl ColumnSource + ?Sized)) -> Result<Sequenced, String> {
    let symbol = parse_column(row, 2)?;
    let provenance: String = get_column(row, 8)?;
    let tick = Tick {
        symbol,
        price: Price::from_micros(get_column(row, 3)?),
        bid: get_column::<Option<i64>>(row, 4)?.map(Price::from_micros),
        ask: get_column::<Option<i64>>(row, 5)?.map(Price::from_micros),
        at: Timestamp::from_micros(get_column(row, 6)?),
        provenance: named_provenance(&provenance)?,
    };
    let received_at = Timestamp::from_micros(get_column(row, 7)?);
    Ok(Sequenced {
        position: Position(from_sql_int(get_column(row, 0)?)),
        channel: Some(Channel::ticks(symbol)),
        seq: from_sql_int(get_column(row, 1)?),
        at: Timestamp::from_micros(get_column(row, 9)?),
        event: Event::Tick(AcceptedTick { tick, received_at }),
    })
}

fn bar_from_row(row: &(impl ColumnSource + ?Sized)) -> Result<Sequenced, String> {
    let key = BarKey {
        symbol: parse_column(row, 2)?,
        interval: parse_column(row, 3)?,
        opens_at: Timestamp::from_micros(get_column(row, 4)?),
    };
    let state: String = get_column(row, 13)?;
    let provenance: String = get_column(row, 15)?;
    let kind: String = get_column(row, 18)?;
    let bar = Bar {
        key,
        closes_at: Timestamp::from_micros(get_column(row, 5)?),
        ohlc: Ohlc {
            open: Price::from_micros(get_column(row, 6)?),
            high: Price::from_micros(get_column(row, 7)?),
            low: Price::from_micros(get_column(row, 8)?),
            close: Price::from_micros(get_column(row, 9)?),
        },
        ticks: get_column(row, 10)?,
        first_tick_at: get_column::<Option<i64>>(row, 11)?.map(Timestamp::from_micros),
        last_tick_at: get_column::<Option<i64>>(row, 12)?.map(Timestamp::from_micros),
        state: [BarState::Partial, BarState::Closed, BarState::Revised]
            .into_iter()
            .find(|candidate| candidate.name() == state)
            .ok_or_else(|| format!("{state:?} is not a state of a bar"))?,
        revision: get_column(row, 14)?,
        provenance: named_provenance(&provenance)?,
        flags: Flags::from_bits(get_column(row, 16)?),
        session_date: parse_column(row, 17)?,
        session_kind: [SessionKind::Spot, SessionKind::NextDay]
            .into_iter()
            .find(|candidate| candidate.name() == kind)
            .ok_or_else(|| format!("{kind:?} is not a kind of session"))?,
    };
    Ok(Sequenced {
        position: Position(from_sql_int(get_column(row, 0)?)),
        channel: Some(Channel::bars(key.interval, key.symbol)),
        seq: from_sql_int(get_column(row, 1)?),
        at: Timestamp::from_micros(get_column(row, 19)?),
        event: Event::Bar(bar),
    })
}

fn note_from_row(row: &(impl ColumnSource + ?Sized)) -> Result<Sequenced, String> {
    let kind: String = get_column(row, 4)?;
    let body: String = get_column(row, 5)?;
    let event = match kind.as_str() {
        "bar_end" => Event::BarEnd(from_json(&body)?),
        "gap" => Event::Gap(from_json(&body)?),
        "session" => Event::Session(from_json(&body)?),
        "seam" => Event::Seam(from_json(&body)?),
        "certificate" => Event::Certificate(from_json(&body)?),
        "journal" => Event::Journal(from_json(&body)?),
        _ => return Err(format!("{kind:?} is not a kind of note")),
    };
    let channel: Option<String> = get_column(row, 1)?;
    Ok(Sequenced {
        position: Position(from_sql_int(get_column(row, 0)?)),
        channel: channel.map(|name| name.parse().map_err(error_text)).transpose()?,
        seq: from_sql_int(get_column(row, 2)?),
        at: Timestamp::from_micros(get_column(row, 3)?),
        event,
    })
}

/// Parses `id, kind, at_us, after_position, raw`, whatever follows.
pub(super) fn input_from_row(row: &(impl ColumnSource + ?Sized)) -> Result<Input, String> {
    let at = Timestamp::from_micros(get_column(row, 2)?);
    let what = match get_column::<i64>(row, 1)? {
        FRAME => InputKind::Frame(Bytes::from(get_column::<Vec<u8>>(row, 4)?)),
        ANSWER => InputKind::Answer(Bytes::from(get_column::<Vec<u8>>(row, 4)?)),
        DEADLINE => InputKind::Deadline,
        STARTED => InputKind::Started,
        LINK => InputKind::Link(json_of_input(row)?),
        CARRIED => InputKind::Carried(json_of_input(row)?),
        ASKED => InputKind::Requested(json_of_input(row)?),
        LACKING => InputKind::MissingBars(json_of_input(row)?),
        SEAM => InputKind::Seam(json_of_input(row)?),
        CERTIFICATE => InputKind::Certificate(json_of_input(row)?),
        OPENED => InputKind::Opened(json_of_input(row)?),
        UNWATCHED => InputKind::Unwatched(json_of_input(row)?),
        LAST_CLOSE => InputKind::LastClose(json_of_input(row)?),
        CARRIED_CLOSE => InputKind::CarriedClose(json_of_input(row)?),
        CARRIED_TICK => InputKind::CarriedTick(json_of_input(row)?),
        NOTED => InputKind::Noted(json_of_input(row)?),
        CALENDAR => InputKind::Calendar(json_of_input(row)?),
        other => return Err(format!("{other} is not a kind of input")),
    };
    Ok(Input { at, what })
}

fn json_of_input<T: DeserializeOwned>(row: &(impl ColumnSource + ?Sized)) -> Result<T, String> {
    from_json(&String::from_utf8(get_column(row, 4)?).map_err(error_text)?)
}

fn error_text(error: impl Display) -> String {
    error.to_string()
}

fn get_column<T: FromSql>(row: &(impl ColumnSource + ?Sized), column: usize) -> Result<T, String> {
    row.read_column(column)
}

fn parse_column<T: FromStr<Err: Display>>(row: &(impl ColumnSource + ?Sized), column: usize) -> Result<T, String> {
    get_column::<String>(row, column)?.parse().map_err(error_text)
}

fn named_provenance(name: &str) -> Result<Provenance, String> {
    Provenance::named(name).ok_or_else(|| format!("{name:?} is not a provenance"))
}

fn to_json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn from_json<T: DeserializeOwned>(body: &str) -> Result<T, String> {
    serde_json::from_str(body).map_err(error_text)
}
