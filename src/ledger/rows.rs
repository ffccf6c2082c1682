//! Events and inputs as rows, and back. A row that does not read back is an error with its place, never a guess.

use super::files::{from_sql_int, sql_int};
use crate::domain::bar::{Bar, BarKey, BarState, Flags, Ohlc};
use crate::domain::channel::Channel;
use crate::domain::event::{Event, Heard, HeardKind, Numbered, Position};
use crate::domain::price::Price;
use crate::domain::session::SessionKind;
use crate::domain::tick::{AcceptedTick, Provenance, Tick};
use crate::domain::timestamp::Timestamp;
use bytes::Bytes;
use rusqlite::types::FromSql;
use rusqlite::{Row, Statement, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::str::FromStr;

pub(super) const INSERT_INPUT: &str = "INSERT INTO inputs VALUES (?1, ?2, ?3, ?4, ?5)";
pub(super) const INSERT_TICK: &str = "INSERT INTO ticks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
pub(super) const INSERT_BAR: &str = "INSERT INTO bars VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)";
pub(super) const INSERT_NOTE: &str = "INSERT INTO notes VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

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

/// The table of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Ticks,
    Bars,
    Notes,
}

impl Table {
    pub(super) const ALL: [Self; 3] = [Self::Ticks, Self::Bars, Self::Notes];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ticks => "ticks",
            Self::Bars => "bars",
            Self::Notes => "notes",
        }
    }

    pub(super) fn read(self, row: &Row<'_>) -> Result<Numbered, String> {
        match self {
            Self::Ticks => tick(row),
            Self::Bars => bar(row),
            Self::Notes => note(row),
        }
    }
}

/// The channel that an event belongs to by its kind.
pub(super) fn channel_of(event: &Event) -> Option<Channel> {
    match event {
        Event::Tick(accepted) => Some(Channel::ticks(accepted.tick.symbol)),
        Event::Bar(bar) => Some(Channel::bars(bar.key.interval, bar.key.symbol)),
        Event::BarEnd(_) => None,
        Event::Gap(gap) => Some(Channel::quality(gap.symbol)),
        Event::Session(change) => Some(Channel::session(change.symbol)),
        Event::Seam(found) => Some(Channel::quality(found.symbol)),
    }
}

pub(super) fn insert_input(to: &mut Statement<'_>, id: i64, after: u64, heard: &Heard) -> rusqlite::Result<()> {
    let (kind, json) = match &heard.what {
        HeardKind::Frame(raw) => return insert_raw(to, (id, FRAME), after, heard, Some(raw)),
        HeardKind::Answer(raw) => return insert_raw(to, (id, ANSWER), after, heard, Some(raw)),
        HeardKind::Deadline => return insert_raw(to, (id, DEADLINE), after, heard, None),
        HeardKind::Started => return insert_raw(to, (id, STARTED), after, heard, None),
        HeardKind::Link(change) => (LINK, to_json(change)?),
        HeardKind::Carried(change) => (CARRIED, to_json(change)?),
        HeardKind::Asked(asked) => (ASKED, to_json(asked)?),
        HeardKind::Lacking(lacking) => (LACKING, to_json(lacking)?),
        HeardKind::Seam(found) => (SEAM, to_json(found)?),
        HeardKind::Opened(symbol) => (OPENED, to_json(symbol)?),
        HeardKind::Unwatched(unwatched) => (UNWATCHED, to_json(unwatched)?),
        HeardKind::LastClose(close) => (LAST_CLOSE, to_json(close)?),
        HeardKind::CarriedClose(close) => (CARRIED_CLOSE, to_json(close)?),
    };
    insert_raw(to, (id, kind), after, heard, Some(json.as_bytes()))
}

fn insert_raw(
    to: &mut Statement<'_>,
    (id, kind): (i64, i64),
    after: u64,
    heard: &Heard,
    raw: Option<&[u8]>,
) -> rusqlite::Result<()> {
    to.execute(params![id, kind, heard.at.micros(), sql_int(after), raw])?;
    Ok(())
}

pub(super) fn insert_tick(
    to: &mut Statement<'_>,
    numbered: &Numbered,
    accepted: &AcceptedTick,
) -> rusqlite::Result<()> {
    let tick = &accepted.tick;
    to.execute(params![
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
    ])?;
    Ok(())
}

pub(super) fn insert_bar(to: &mut Statement<'_>, numbered: &Numbered, bar: &Bar) -> rusqlite::Result<()> {
    to.execute(params![
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
    ])?;
    Ok(())
}

/// Everything rare: kept as JSON beside its numbers.
pub(super) fn insert_note(to: &mut Statement<'_>, numbered: &Numbered) -> rusqlite::Result<()> {
    let (kind, body) = match &numbered.event {
        Event::BarEnd(end) => ("bar_end", to_json(end)?),
        Event::Gap(gap) => ("gap", to_json(gap)?),
        Event::Session(change) => ("session", to_json(change)?),
        Event::Seam(found) => ("seam", to_json(found)?),
        Event::Tick(_) | Event::Bar(_) => return Ok(()),
    };
    to.execute(params![
        sql_int(numbered.position.0),
        numbered.channel.map(|channel| channel.to_string()),
        sql_int(numbered.seq),
        numbered.at.micros(),
        kind,
        body,
    ])?;
    Ok(())
}

fn tick(row: &Row<'_>) -> Result<Numbered, String> {
    let symbol = parsed(row, 2)?;
    let provenance: String = get(row, 8)?;
    let tick = Tick {
        symbol,
        price: Price::from_micros(get(row, 3)?),
        bid: get::<Option<i64>>(row, 4)?.map(Price::from_micros),
        ask: get::<Option<i64>>(row, 5)?.map(Price::from_micros),
        at: Timestamp::from_micros(get(row, 6)?),
        provenance: named_provenance(&provenance)?,
    };
    let received_at = Timestamp::from_micros(get(row, 7)?);
    Ok(Numbered {
        position: Position(from_sql_int(get(row, 0)?)),
        channel: Some(Channel::ticks(symbol)),
        seq: from_sql_int(get(row, 1)?),
        at: Timestamp::from_micros(get(row, 9)?),
        event: Event::Tick(AcceptedTick { tick, received_at }),
    })
}

fn bar(row: &Row<'_>) -> Result<Numbered, String> {
    let key = BarKey {
        symbol: parsed(row, 2)?,
        interval: parsed(row, 3)?,
        opens_at: Timestamp::from_micros(get(row, 4)?),
    };
    let price = |column| get(row, column).map(Price::from_micros);
    let instant = |column| get::<Option<i64>>(row, column).map(|us| us.map(Timestamp::from_micros));
    let (state, provenance, kind): (String, String, String) = (get(row, 13)?, get(row, 15)?, get(row, 18)?);
    let bar = Bar {
        key,
        closes_at: Timestamp::from_micros(get(row, 5)?),
        ohlc: Ohlc {
            open: price(6)?,
            high: price(7)?,
            low: price(8)?,
            close: price(9)?,
        },
        ticks: get(row, 10)?,
        first_tick_at: instant(11)?,
        last_tick_at: instant(12)?,
        state: [BarState::Partial, BarState::Closed, BarState::Revised]
            .into_iter()
            .find(|candidate| candidate.name() == state)
            .ok_or_else(|| format!("{state:?} is no state of a bar"))?,
        revision: get(row, 14)?,
        provenance: named_provenance(&provenance)?,
        flags: Flags::from_bits(get(row, 16)?),
        session_date: parsed(row, 17)?,
        session_kind: [SessionKind::Spot, SessionKind::NextDay]
            .into_iter()
            .find(|candidate| candidate.name() == kind)
            .ok_or_else(|| format!("{kind:?} is no kind of session"))?,
    };
    Ok(Numbered {
        position: Position(from_sql_int(get(row, 0)?)),
        channel: Some(Channel::bars(key.interval, key.symbol)),
        seq: from_sql_int(get(row, 1)?),
        at: Timestamp::from_micros(get(row, 19)?),
        event: Event::Bar(bar),
    })
}

fn note(row: &Row<'_>) -> Result<Numbered, String> {
    let (kind, body): (String, String) = (get(row, 4)?, get(row, 5)?);
    let event = match kind.as_str() {
        "bar_end" => Event::BarEnd(from_json(&body)?),
        "gap" => Event::Gap(from_json(&body)?),
        "session" => Event::Session(from_json(&body)?),
        "seam" => Event::Seam(from_json(&body)?),
        _ => return Err(format!("{kind:?} is no kind of note")),
    };
    let channel: Option<String> = get(row, 1)?;
    Ok(Numbered {
        position: Position(from_sql_int(get(row, 0)?)),
        channel: channel.map(|name| name.parse().map_err(say)).transpose()?,
        seq: from_sql_int(get(row, 2)?),
        at: Timestamp::from_micros(get(row, 3)?),
        event,
    })
}

/// Reads `id, kind, at_us, after_position, raw`.
pub(super) fn input(row: &Row<'_>) -> Result<Heard, String> {
    let at = Timestamp::from_micros(get(row, 2)?);
    let raw = || get::<Vec<u8>>(row, 4);
    let json = || raw().and_then(|raw| String::from_utf8(raw).map_err(say));
    let what = match get::<i64>(row, 1)? {
        FRAME => HeardKind::Frame(Bytes::from(raw()?)),
        ANSWER => HeardKind::Answer(Bytes::from(raw()?)),
        DEADLINE => HeardKind::Deadline,
        STARTED => HeardKind::Started,
        LINK => HeardKind::Link(from_json(&json()?)?),
        CARRIED => HeardKind::Carried(from_json(&json()?)?),
        ASKED => HeardKind::Asked(from_json(&json()?)?),
        LACKING => HeardKind::Lacking(from_json(&json()?)?),
        SEAM => HeardKind::Seam(from_json(&json()?)?),
        OPENED => HeardKind::Opened(from_json(&json()?)?),
        UNWATCHED => HeardKind::Unwatched(from_json(&json()?)?),
        LAST_CLOSE => HeardKind::LastClose(from_json(&json()?)?),
        CARRIED_CLOSE => HeardKind::CarriedClose(from_json(&json()?)?),
        other => return Err(format!("{other} is no kind of input")),
    };
    Ok(Heard { at, what })
}

fn say(error: impl Display) -> String {
    error.to_string()
}

fn get<T: FromSql>(row: &Row<'_>, column: usize) -> Result<T, String> {
    row.get(column).map_err(say)
}

fn parsed<T: FromStr<Err: Display>>(row: &Row<'_>, column: usize) -> Result<T, String> {
    get::<String>(row, column)?.parse().map_err(say)
}

fn named_provenance(name: &str) -> Result<Provenance, String> {
    Provenance::named(name).ok_or_else(|| format!("{name:?} is no provenance"))
}

fn to_json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn from_json<T: DeserializeOwned>(body: &str) -> Result<T, String> {
    serde_json::from_str(body).map_err(say)
}
